"""Session files: what is written is read back; any change to them is noticed and named."""

import os
import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_files import append, header, make_session, records, writer_of

from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import RECORD, RECORD_BYTES, SCHEMA_VERSION
from hftpipe.core.shared.tape import TAPE_GAP
from hftpipe.record.tape.block import Pool, block_bytes
from hftpipe.record.tape.format import BLOCK, CORRUPT, FILE_HEADER, FORMAT_VERSION, HEADER_BYTES, TORN, RecordError
from hftpipe.record.tape.reader import Gap, open_session, verify_files
from hftpipe.record.tape.session import SESSION_FILE, OtherSchema, create_session, read_session, segment_file
from hftpipe.record.tape.writer import CACHED_BYTES, WRITEBACK_BYTES

#: Every two records are a block, and a file of their own.
TINY = {"segment_bytes": 5 * RECORD_BYTES, "block_records": 2}
BLOCK_2 = HEADER_BYTES + 2 * RECORD_BYTES


def first_file(folder: Path, stage: str = "risk") -> Path:
    return folder / segment_file(stage, 1)


def flip(path: Path, offset: int, bits: int = 0x40) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def test_layout_is_64_byte_headers() -> None:
    assert FILE_HEADER.itemsize == BLOCK.itemsize == HEADER_BYTES == 64
    assert offset_of(FILE_HEADER, "crc") == offset_of(BLOCK, "crc") == 60


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    block_records=st.integers(1, 9),
    segment_slots=st.integers(4, 40),
)
def test_what_is_appended_is_read_back(tmp_path_factory, counts: list[int], block_records: int, segment_slots: int):
    folder = create_session(tmp_path_factory.mktemp("s"), header(("risk",)), "s")
    writer = writer_of(folder, "risk", segment_bytes=64 * segment_slots)
    rows = records(sum(counts))
    at = 0
    for count in counts:
        append(writer, rows[at : at + count], block_records)
        at += count
    writer.close(0)
    session = open_session(folder)
    assert session.records("risk").array().tobytes() == rows.tobytes()
    assert len(session.records("risk")) == len(rows) == writer.stored
    files = sorted(folder.glob("*.tape"))
    assert len(files) == writer.segments
    assert sum(path.stat().st_size for path in files) == writer.bytes_written
    assert all(path.stat().st_size % 64 == 0 for path in files)


def test_memory_for_waiting_records_is_bounded_and_used_again() -> None:
    pool = Pool(3, 10)
    taken = [pool.take() for _ in range(3)]
    assert pool.take() is None and pool.free_min == 0 and pool.refused == 1
    taken[1].added(10, 5)
    assert taken[1].room == 0 and len(taken[1].bytes()) == block_bytes(10)
    assert len({int(block.target) for block in taken}) == 3
    pool.give(taken[1])
    again = pool.take()
    assert again is taken[1] and again.room == 10 and pool.take() is None


def test_the_kernel_is_told_to_write_early_and_to_forget_what_is_old(tmp_path: Path, monkeypatch) -> None:
    told: list[tuple[int, int]] = []

    def advise(fd: int, start: int, length: int, advice: int) -> None:
        told.append((start, start + length))
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    rows = np.zeros((CACHED_BYTES + 4 * WRITEBACK_BYTES) // RECORD_BYTES, RECORD)
    folder = make_session(tmp_path, {"risk": rows})
    assert open_session(folder).is_complete
    # Without holes, never past what has been cached long, and never nothing (which would mean the whole file).
    assert [start for start, _ in told] == [0, *(end for _, end in told[:-1])]
    assert all(start < end for start, end in told)
    assert 3 * WRITEBACK_BYTES <= told[-1][1] <= first_file(folder).stat().st_size - CACHED_BYTES


def test_a_closed_session_has_no_problems_and_rolls_over(tmp_path: Path) -> None:
    rows = {"risk": records(11), "gateway": records(4)}
    folder = make_session(tmp_path, rows, **TINY)
    assert verify_files(folder) == []
    session = open_session(folder)
    assert session.is_complete and session.stages == ("risk", "gateway")
    assert len(list(folder.glob("risk-*.tape"))) == 6
    for stage, expected in rows.items():
        assert session.records(stage).array().tobytes() == expected.tobytes()


def test_records_are_views_of_the_file(tmp_path: Path) -> None:
    session = open_session(make_session(tmp_path, {"risk": records(5)}, block_records=2))
    parts = list(session.records("risk"))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert all(part.dtype == RECORD and not part.flags.owndata and not part.flags.writeable for part in parts)


def test_session_header_holds_what_a_replay_needs(tmp_path: Path) -> None:
    facts = open_session(make_session(tmp_path, {"risk": records(1)})).header
    assert facts["instruments"][0]["symbol"] == "BTCUSDT" and facts["instruments"][0]["tick"] == 10_000_000
    assert facts["strategies"][0]["params"] == {"spread_bps": "5.0"}
    assert facts["config"] == {"pipeline": {"name": "test"}}
    assert {"build", "schema", "epoch", "fingerprint", "clock", "start_wall_ns"} <= set(facts)


def test_secrets_do_not_reach_session_json(tmp_path: Path) -> None:
    facts = header(("risk",), config={"venue": {"api_key": "hunter2", "name": "x"}})
    folder = create_session(tmp_path, facts)
    assert folder.name == "20231114T221320Z-e7"
    assert b"hunter2" not in (folder / SESSION_FILE).read_bytes()
    assert read_session(folder)["config"]["venue"]["name"] == "x"


def test_a_session_is_never_overwritten(tmp_path: Path) -> None:
    create_session(tmp_path, header(("risk",)), "same")
    with pytest.raises(RecordError, match=r"same-e7.*never overwritten"):
        create_session(tmp_path, header(("risk",)), "same")


def test_gap_marks_are_listed(tmp_path: Path) -> None:
    rows = records(7)
    rows["kind"][[2, 5]], rows["id"][[2, 5]] = TAPE_GAP, [40, 2]
    session = open_session(make_session(tmp_path, {"risk": rows}, block_records=2))
    assert session.gaps("risk") == [Gap(2, 40), Gap(5, 2)]


def test_an_unrecorded_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no tape of 'strategy'; recorded: risk"):
        open_session(make_session(tmp_path, {"risk": records(1)})).records("strategy")


def test_flipping_any_byte_of_any_file_is_detected_and_named(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(6)}, **TINY)
    files = sorted(folder.iterdir())
    assert len(files) == 4
    for path in files:
        good = path.read_bytes()
        for offset in range(len(good)):
            flip(path, offset)
            problems = verify_files(folder)
            assert problems and path in [problem.file for problem in problems], f"{path.name} byte {offset}"
            if path.suffix == ".tape":
                named = problems[0]
                assert named.file == path and named.kind == CORRUPT and named.offset <= offset
                assert offset < max(named.offset + BLOCK_2, 64)
            if offset % 16 == 0:
                with pytest.raises(RecordError, match=path.name):
                    open_session(folder)
            flip(path, offset)
        assert path.read_bytes() == good
    assert verify_files(folder) == []


def test_a_flipped_record_is_named_with_file_block_offset_and_records(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(10)}, block_records=2)
    flip(first_file(folder), HEADER_BYTES + 2 * BLOCK_2 + HEADER_BYTES + 70)
    (problem,) = verify_files(folder)
    assert problem[:6] == (CORRUPT, first_file(folder), 2, HEADER_BYTES + 2 * BLOCK_2, 4, 5)
    assert "block 2, byte 448, records 4 to 5: damaged payload" in str(problem)


def test_valid_prefix_comes_before_the_corruption(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(10), "gateway": records(3)}, block_records=2)
    flip(first_file(folder), HEADER_BYTES + 2 * BLOCK_2 + HEADER_BYTES + 70)
    session = open_session(folder, valid_prefix=True)
    assert session.records("risk").array().tobytes() == records(4).tobytes()
    assert session.records("gateway").array().tobytes() == records(3).tobytes()
    assert not session.is_complete


@pytest.mark.parametrize("tail", ["cut", "zeros", "garbage"])
def test_torn_tail_is_cut_at_the_last_whole_block(tmp_path: Path, tail: str) -> None:
    folder = make_session(tmp_path, {"risk": records(8)}, closed=False, block_records=2)
    path = first_file(folder)
    whole = path.read_bytes()
    assert len(whole) == HEADER_BYTES + 4 * BLOCK_2
    noise = np.random.default_rng(3).integers(0, 256, len(whole), np.uint8).tobytes()
    filler = {"cut": b"", "zeros": bytes(len(whole)), "garbage": noise}[tail]
    for size in range(HEADER_BYTES + BLOCK_2, len(whole)):
        path.write_bytes(whole[:size] + filler[size:])
        blocks = (size - HEADER_BYTES) // BLOCK_2
        session = open_session(folder)
        assert session.records("risk").array().tobytes() == records(2 * blocks).tobytes()
        (problem,) = session.problems
        assert problem[:5] == (TORN, path, blocks, HEADER_BYTES + blocks * BLOCK_2, 2 * blocks)


def test_a_closed_session_that_is_truncated_anywhere_is_an_error(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(6)}, **TINY)
    path = folder / segment_file("risk", 3)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordError, match=path.name):
            open_session(folder)
        assert open_session(folder, valid_prefix=True).records("risk").array().tobytes() in (
            records(4).tobytes(), records(6).tobytes(),
        )  # fmt: skip


def test_damage_inside_an_unclosed_file_is_no_torn_tail(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(6)}, closed=False, block_records=2)
    path = first_file(folder)
    for offset in range(HEADER_BYTES + 2 * BLOCK_2):
        flip(path, offset)
        with pytest.raises(RecordError, match="corrupt"):
            open_session(folder)
        flip(path, offset)


def test_bytes_taken_out_of_the_middle_are_corruption(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(8)}, closed=False, block_records=2)
    path = first_file(folder)
    good = path.read_bytes()
    path.write_bytes(good[:300] + good[310:])
    with pytest.raises(RecordError, match="corrupt at block 1"):
        open_session(folder)


def block(data: bytes, number: int) -> bytes:
    return data[HEADER_BYTES + number * BLOCK_2 :][:BLOCK_2]


def splice(data: bytes, number: int, replacement: bytes) -> bytes:
    at = HEADER_BYTES + number * BLOCK_2
    return data[:at] + replacement + data[at + BLOCK_2 :]


@pytest.mark.parametrize("case", ["other session", "swapped", "duplicate", "missing", "other stage"])
@pytest.mark.parametrize("closed", [True, False])
def test_moved_blocks_are_detected(tmp_path: Path, case: str, closed: bool) -> None:
    rows = {"risk": records(10), "gateway": records(10)}
    folder = make_session(tmp_path, rows, "a", closed, block_records=2)
    other = make_session(tmp_path, rows, "b", closed, block_records=2)
    path = first_file(folder)
    data, foreign = path.read_bytes(), first_file(other).read_bytes()
    sibling = first_file(folder, "gateway").read_bytes()
    path.write_bytes({
        "other session": splice(data, 1, block(foreign, 1)),
        "swapped": splice(splice(data, 1, block(data, 2)), 2, block(data, 1)),
        "duplicate": splice(data, 1, block(data, 1) * 2),
        "missing": splice(data, 1, b""),
        "other stage": splice(data, 1, block(sibling, 1)),
    }[case])  # fmt: skip
    with pytest.raises(RecordError, match=r"risk-000001\.tape: corrupt at block"):
        open_session(folder)
    assert len(open_session(folder, valid_prefix=True).records("risk")) in (2, 4)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_missing_segment_is_detected(tmp_path: Path, number: int, closed: bool) -> None:
    folder = make_session(tmp_path, {"risk": records(8)}, closed=closed, **TINY)
    (folder / segment_file("risk", number)).unlink()
    with pytest.raises(RecordError, match=rf"risk-00000{number}\.tape: missing"):
        open_session(folder)


@pytest.mark.parametrize("source, target", [(2, 3), (3, 2), (4, 5), (1, 2)])
def test_segment_under_another_number_is_detected(tmp_path: Path, source: int, target: int) -> None:
    folder = make_session(tmp_path, {"risk": records(8)}, closed=False, **TINY)
    shutil.copy(folder / segment_file("risk", source), folder / segment_file("risk", target))
    with pytest.raises(RecordError, match=r"not the segment that belongs here|a later segment exists"):
        open_session(folder)


def test_segment_of_another_session_is_detected(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(8)}, "a", **TINY)
    other = make_session(tmp_path, {"risk": records(8)}, "b", **TINY)
    shutil.copy(other / segment_file("risk", 2), folder / segment_file("risk", 2))
    with pytest.raises(RecordError, match=r"risk-000002\.tape: corrupt.*session"):
        open_session(folder)


def test_a_tape_that_was_not_recorded_here_is_detected(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(2)}, "a")
    other = make_session(tmp_path, {"gateway": records(2)}, "b")
    shutil.copy(first_file(other, "gateway"), first_file(folder, "gateway"))
    with pytest.raises(RecordError, match=r"gateway-000001\.tape: corrupt.*does not list"):
        open_session(folder)


def test_killed_between_new_segment_and_old_footer_loses_nothing(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(6)}, closed=False, **TINY)
    old, new = folder / segment_file("risk", 2), folder / segment_file("risk", 3)
    old.write_bytes(old.read_bytes()[:-HEADER_BYTES])
    with pytest.raises(RecordError, match=r"risk-000002\.tape: corrupt.*footer is missing"):
        open_session(folder)
    new.write_bytes(new.read_bytes()[:HEADER_BYTES])
    session = open_session(folder)
    assert session.records("risk").array().tobytes() == records(4).tobytes()
    assert [problem.kind for problem in session.problems] == [TORN]


def test_killed_before_the_first_segment_reads_as_empty(tmp_path: Path) -> None:
    folder = create_session(tmp_path, header(("risk",)), "s")
    session = open_session(folder)
    assert len(session.records("risk")) == 0 and session.records("risk").array().dtype == RECORD
    assert [problem.kind for problem in session.problems] == [TORN]


@pytest.mark.parametrize("key", ["schema", "format"])
@pytest.mark.parametrize("valid_prefix", [False, True])
def test_another_schema_is_refused_by_name_and_is_no_damage(tmp_path: Path, key: str, valid_prefix: bool) -> None:
    ours = {"schema": SCHEMA_VERSION, "format": FORMAT_VERSION}[key]
    for recorded in (999, None):
        facts = {**header(("risk",)), key: recorded, "build": "abc" * 20}
        folder = create_session(
            tmp_path, {name: fact for name, fact in facts.items() if fact is not None}, f"s{recorded}"
        )
        with pytest.raises(OtherSchema) as refused:
            open_session(folder, valid_prefix)
        assert str(refused.value) == (
            f"{folder}: a session of {key} {recorded}, recorded by build abcabcabcabc; this is build {BUILD_HASH[:12]}, "
            f"which reads {key} {ours}: it has to be recorded again"
        )


def test_session_json_with_forged_totals_is_detected(tmp_path: Path) -> None:
    folder = make_session(tmp_path, {"risk": records(2)})
    path = folder / SESSION_FILE
    facts = orjson.loads(path.read_bytes())
    facts["totals"]["risk"]["records"] = 3
    path.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    with pytest.raises(RecordError, match=r"session\.json: corrupt.*checksum"):
        open_session(folder)


def test_a_folder_without_session_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not a session folder"):
        open_session(tmp_path / "absent")
    with pytest.raises(RecordError, match=r"session\.json.*is this a session folder"):
        open_session(tmp_path)
