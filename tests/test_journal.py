"""The journal's files: what is written is read, what is torn is cut, what is damaged is refused by name and place."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from journal_rig import E8, SMALL, Written, trades

from hftpipe.core.schema.records import BUY, CANCEL, CANCELED, NEW, SELL
from hftpipe.journal import keeper as keeper_module
from hftpipe.journal.append import journal_sync, journal_takes_orders
from hftpipe.journal.checksum import crc32c
from hftpipe.journal.files import JournalError, numbered, pack
from hftpipe.journal.layout import ENTRY, ENTRY_BYTES, FILE_BEGIN, FILE_END, HEADER, HEADER_BYTES
from hftpipe.journal.query import Question, answer, export, follow
from hftpipe.journal.reading import BARE, DECISIONS, ENDED, FOUND, TORN, ZEROS, read_file
from hftpipe.journal.recovery import recover
from hftpipe.journal.verify import verify


def files(folder: Path) -> list[Path]:
    return list(numbered(folder).values())


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """The file of a run that ended in order."""
    run = Written(tmp_path / "j")
    trades(run)
    run.close()
    (path,) = files(tmp_path / "j")
    return path


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The file of a run that was killed: zeros behind its last entry."""
    run = Written(tmp_path / "j")
    trades(run)
    run.crash()
    (path,) = files(tmp_path / "j")
    return path


def test_every_entry_has_the_checksum_that_a_slow_reader_works_out(closed: Path) -> None:
    raw = closed.read_bytes()
    header = np.frombuffer(raw[:HEADER_BYTES], HEADER)[0]
    assert crc32c(raw[: HEADER_BYTES - 4]) == int(header["crc"])
    body = raw[int(header["head_bytes"]) :]
    assert len(body) % ENTRY_BYTES == 0 and len(body) // ENTRY_BYTES == 11
    for at in range(0, len(body), ENTRY_BYTES):
        seq = at // ENTRY_BYTES + 1
        entry = np.frombuffer(body[at : at + ENTRY_BYTES], ENTRY)[0]
        crc = crc32c(seq.to_bytes(8, "little") + body[at + 8 : at + ENTRY_BYTES], int(header["crc"]))
        assert (int(entry["seq"]), int(entry["crc"])) == (seq, crc)


def test_the_usual_check_value_of_crc32c() -> None:
    assert crc32c(b"123456789", 0xFFFFFFFF) ^ 0xFFFFFFFF == 0xE3069283


def test_what_was_open_and_held_is_known_again(closed: Path) -> None:
    found = recover(closed.parent)
    assert found.ended and not found.notes
    standing = found.standing
    assert standing is not None
    shown = {row["state"]: (row["side"], row["price"], row["qty"], row["filled"]) for row in standing.order_rows()}
    assert shown == {
        "PARTIAL": ("sell", "60010", "2", "0.5"),
        "PENDING_NEW": ("buy", "60000", "3", "0"),
    }
    held = standing.holdings["BTCUSDT"]
    assert (held.qty, held.average, held.fees, held.fills) == (E8 // 2, 60_000 * E8, 12 * E8, 2)
    assert held.realised == 5 * E8 and standing.fees == {"BNB": E8 // 1000}


def test_positions_go_on_over_runs_and_the_sequence_too(closed: Path) -> None:
    folder = closed.parent
    again = Written(folder, epoch=8)
    order = again.order(side=SELL, qty=E8, venue_id=21)
    again.fill(order, 61_000 * E8, E8, trade=5, side=SELL)
    again.close()
    standing = recover(folder).standing
    assert standing is not None and not len(standing.orders)
    assert (standing.holdings["BTCUSDT"].qty, standing.holdings["BTCUSDT"].average) == (-E8 // 2, 61_000 * E8)
    assert standing.fees == {"BNB": E8 // 1000}
    first, second = (read_file(path) for path in files(folder))
    assert second.first_seq == first.last_seq + 1 and second.epoch == 8


def test_a_cut_at_every_byte_of_the_last_three_entries_leaves_exactly_the_entries_before(crashed: Path) -> None:
    whole = read_file(crashed)
    raw, entries = crashed.read_bytes()[: whole.offset], len(whole.entries)
    for size in range(len(raw) - 3 * ENTRY_BYTES, len(raw) + 1):
        crashed.write_bytes(raw[:size])
        found = recover(crashed.parent)
        kept = entries - (len(raw) - size + ENTRY_BYTES - 1) // ENTRY_BYTES
        assert len(found.files[0].entries) == kept and found.last_seq == kept, size
        is_torn = (len(raw) - size) % ENTRY_BYTES != 0
        assert bool(found.notes) == is_torn, size
        assert crashed.stat().st_size == whole.offset - (entries - kept) * ENTRY_BYTES
        if is_torn:
            assert f"byte {crashed.stat().st_size}" in found.notes[0]


def test_every_flipped_bit_of_an_inner_entry_is_refused_with_file_and_offset(crashed: Path) -> None:
    raw, whole = bytearray(crashed.read_bytes()), read_file(crashed)
    for number in (0, 4, len(whole.entries) - 2):
        at = int(whole.header["head_bytes"]) + number * ENTRY_BYTES
        for bit in range(ENTRY_BYTES * 8):
            broken = bytearray(raw)
            broken[at + bit // 8] ^= 1 << bit % 8
            crashed.write_bytes(broken)
            with pytest.raises(JournalError, match=re.escape(f"{crashed}: byte {at}: ")):
                recover(crashed.parent)
            assert crashed.read_bytes() == broken, "nothing is changed"


def test_every_flipped_bit_of_the_header_is_refused(closed: Path) -> None:
    raw = bytearray(closed.read_bytes())
    for bit in range(HEADER_BYTES * 8):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << bit % 8
        closed.write_bytes(broken)
        with pytest.raises(JournalError, match=re.escape(f"{closed}: ")):
            recover(closed.parent)


def test_a_damaged_last_entry_is_a_torn_tail(crashed: Path) -> None:
    raw, whole = bytearray(crashed.read_bytes()), read_file(crashed)
    at = whole.offset - ENTRY_BYTES
    for bit in range(ENTRY_BYTES * 8):
        broken = bytearray(raw)
        broken[at + bit // 8] ^= 1 << bit % 8
        crashed.write_bytes(broken)
        found = recover(crashed.parent)
        assert found.last_seq == whole.last_seq - 1 and f"cut at byte {at} " in found.notes[0]


def changed(raw: bytes, start: int, how: str) -> bytes:
    entries = [raw[at : at + ENTRY_BYTES] for at in range(start, len(raw) - ENTRY_BYTES + 1, ENTRY_BYTES)]
    match how:
        case "swapped":
            entries[3], entries[4] = entries[4], entries[3]
        case "doubled":
            entries.insert(4, entries[3])
        case "missing":
            del entries[4]
        case "zeroed":
            entries[4] = bytes(ENTRY_BYTES)
        case "behind the end":
            entries.append(b"\1" * ENTRY_BYTES)
    return raw[:start] + b"".join(entries)


@pytest.mark.parametrize("how", ["swapped", "doubled", "missing", "zeroed", "behind the end"])
def test_entries_in_the_wrong_place_are_refused(closed: Path, how: str) -> None:
    whole = read_file(closed)
    start = int(whole.header["head_bytes"])
    closed.write_bytes(changed(closed.read_bytes(), start, how))
    place = {"swapped": 3, "doubled": 4, "missing": 4, "zeroed": 4, "behind the end": len(whole.entries)}[how]
    with pytest.raises(JournalError, match=f"byte {start + place * ENTRY_BYTES}: "):
        recover(closed.parent)


def test_an_entry_of_another_run_is_not_taken_for_one_of_this(tmp_path: Path, closed: Path) -> None:
    other = Written(tmp_path / "other")
    trades(other)
    other.close()
    (theirs,) = files(tmp_path / "other")
    whole = read_file(closed)
    at = int(whole.header["head_bytes"]) + 5 * ENTRY_BYTES
    raw = bytearray(closed.read_bytes())
    raw[at : at + ENTRY_BYTES] = theirs.read_bytes()[at : at + ENTRY_BYTES]
    closed.write_bytes(raw)
    with pytest.raises(JournalError, match=f"byte {at}: "):
        recover(closed.parent)


@pytest.mark.parametrize("tail", [bytes(640), b"\x5a" * 640, b"\x5a" * 33])
def test_a_tail_of_zeros_or_of_anything_is_cut(crashed: Path, tail: bytes) -> None:
    whole = read_file(crashed)
    crashed.write_bytes(crashed.read_bytes()[: whole.offset] + tail)
    found = recover(crashed.parent)
    assert found.last_seq == whole.last_seq and crashed.stat().st_size == whole.offset
    assert bool(found.notes) == any(tail)


def test_the_table_knows_all_that_can_be_found() -> None:
    assert set(DECISIONS) == set(FOUND)
    assert DECISIONS[TORN] == ("cut", "refused") and DECISIONS[ENDED] == DECISIONS[BARE] == ("kept", "kept")
    assert DECISIONS[ZEROS] == ("cut", "cut")


def test_a_full_file_is_followed_by_the_next_and_the_chain_is_checked(tmp_path: Path) -> None:
    run = Written(tmp_path / "j")
    ids = []
    for _ in range(300):
        ids.append(run.order())
        run.writer._turn()
    run.close()
    names = files(tmp_path / "j")
    assert len(names) > 3
    found = recover(tmp_path / "j")
    kept = np.concatenate([one.entries for one in found.files])
    assert kept["id"][kept["kind"] == NEW].tolist() == ids
    assert [int(one.entries["kind"][0]) for one in found.files] == [FILE_BEGIN] * len(names)
    assert [int(one.entries["kind"][-1]) for one in found.files] == [FILE_END] * len(names)
    assert verify(tmp_path / "j", lambda line: None).problems == []
    names[1].unlink()
    with pytest.raises(JournalError, match=r"file 2 of the journal is missing"):
        recover(tmp_path / "j")


def test_a_file_that_another_follows_may_not_be_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "pack", lambda path: None)
    run = Written(tmp_path / "j")
    for _ in range(60):
        run.order()
        run.writer._turn()
    run.close()
    first = files(tmp_path / "j")[0]
    first.write_bytes(first.read_bytes()[:-70])
    with pytest.raises(JournalError, match=re.escape(str(first))):
        recover(tmp_path / "j")
    # Cut between two entries it looks whole, and the next file says that it is not.
    first.write_bytes(first.read_bytes()[: -(first.stat().st_size % 64) or None])
    with pytest.raises(JournalError, match="goes on from entry"):
        recover(tmp_path / "j")


def test_without_a_next_file_new_orders_end_before_cancels_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what is left of the file is for cancels and reports."""

    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Written(tmp_path / "j", size=64 * 1024)
    monkeypatch.setattr(keeper_module.os, "posix_fallocate", full)
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(keeper_module, "event", lambda log, level, text, **facts: said.append((text, facts["reason"])))
    run.writer._turn()
    assert said == [("no journal file can be made", said[0][1])] and "No space left on device" in said[0][1]
    sent = 0
    while journal_takes_orders(run.address):
        assert run.entry(NEW, sent + 1)
        sent += 1
    cancels = 0
    while run.entry(CANCEL, 1):
        cancels += 1
    assert cancels == int(run.memory["reserve"][0]) and sent > 10 * cancels and run.memory["missed"][0] == 1
    assert not [path for path in (tmp_path / "j").iterdir() if path.name.endswith(".tmp")]
    monkeypatch.undo()
    run.writer._try_at_ns = 0
    run.writer._turn()
    assert journal_takes_orders(run.address) and run.entry(NEW, 10**6)
    run.close()
    assert verify(tmp_path / "j", lambda line: None).problems == []


def test_a_disk_that_failed_once_is_trusted_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Written(tmp_path / "j")
    run.order()

    def broken(begin: int, end: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(run.writer._file, "sync", broken)
    run.writer._sync()
    monkeypatch.undo()
    run.writer._sync()
    assert int(run.memory["failed"][0]) == errno.EIO and not journal_takes_orders(run.address)
    run.close()


def test_what_is_taken_back_was_never_there(tmp_path: Path) -> None:
    run = Written(tmp_path / "j")
    kept = run.order(venue_id=1)
    run.entry(CANCEL, kept)
    run.withdraw()
    run.entry(CANCELED, kept, 60_000 * E8, E8, side=BUY)
    run.close()
    found = recover(tmp_path / "j")
    kinds = found.files[0].entries["kind"].tolist()
    assert CANCEL not in kinds and kinds[-2] == CANCELED and found.standing is not None
    assert found.standing.order_rows() == []


def test_a_new_day_is_a_new_file_and_old_files_are_packed(tmp_path: Path) -> None:
    run = Written(tmp_path / "j")
    first = run.order()
    run.writer._turn()
    run.writer._day_ns -= 86_400 * 10**9
    run.writer._turn()
    second = run.order()
    run.writer._turn()
    run.close()
    run.writer._packer._thread.join(30)
    names = [path.name for path in files(tmp_path / "j")]
    assert names == ["00000001.journal.zst", "00000002.journal"]
    found = recover(tmp_path / "j")
    assert [int(one["id"]) for file in found.files for one in file.entries[file.entries["kind"] == NEW]] == [
        first,
        second,
    ]


def test_a_packed_file_is_read_like_a_plain_one(closed: Path) -> None:
    plain = read_file(closed)
    packed = read_file(pack(closed))
    assert not closed.exists() and packed.entries.tobytes() == plain.entries.tobytes()
    assert recover(closed.parent).last_seq == plain.last_seq


def test_what_was_laid_out_and_never_begun_is_dropped(tmp_path: Path) -> None:
    run = Written(tmp_path / "j")
    run.order()
    run.writer._turn()
    run.crash()
    assert len(files(tmp_path / "j")) == 2
    (tmp_path / "j" / "00000009.journal.tmp").write_bytes(b"half")
    found = recover(tmp_path / "j")
    assert found.next_number == 2 and not found.ended and not found.notes
    assert [path.name for path in (tmp_path / "j").iterdir()] == ["00000001.journal"]


def test_another_version_is_refused_by_its_number(closed: Path) -> None:
    raw = bytearray(closed.read_bytes())
    header = np.frombuffer(bytes(raw[:HEADER_BYTES]), HEADER).copy()
    header["version"] = 2
    header["crc"] = crc32c(header.tobytes()[:-4])
    raw[:HEADER_BYTES] = header.tobytes()
    closed.write_bytes(raw)
    with pytest.raises(JournalError, match=r"version 2, .*this build reads version 1"):
        recover(closed.parent)


def test_the_same_journal_gives_the_same_state_each_time(closed: Path) -> None:
    once, again = recover(closed.parent).standing, recover(closed.parent).standing
    assert once is not None and again is not None
    assert (once.holdings, once.fees) == (again.holdings, again.fees)
    for field in ("id", "price", "qty", "filled", "state", "venue_id", "under_way"):
        assert once.orders[field].tolist() == again.orders[field].tolist()


def test_each_request_is_on_the_disk_when_that_is_asked_for(tmp_path: Path) -> None:
    run = Written(tmp_path / "j", size=SMALL, sync_each=True)
    assert run.memory["sync_each"][0] == 1
    run.order()
    assert journal_sync(run.address) and run.memory["synced"][0] == run.memory["at"][0]
    run.close()


def test_who_follows_is_told_each_entry_once_over_files_and_runs(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    run = Written(folder)
    before = run.order(venue_id=999)
    steps = iter(range(400))
    told: list[int] = []
    runs = [run]

    def wait() -> bool:
        """Between two looks something happens: orders over several files, a kill, and another run."""
        at = next(steps, None)
        if at is None:
            return False
        if at < 100:
            runs[-1].order(venue_id=at + 1)
            runs[-1].writer._turn()
        elif at == 100:
            runs[-1].crash()
            runs.append(Written(folder, epoch=8))
        elif at < 140:
            runs[-1].order(venue_id=at + 1)
            runs[-1].writer._turn()
        return True

    for _, entries in follow(folder, Question(), wait):
        told += entries["id"][entries["kind"] == NEW].tolist()
    runs[-1].close()
    written = np.concatenate([read_file(path).entries for path in files(folder)])
    assert [before, *told] == written["id"][written["kind"] == NEW].tolist() and len(files(folder)) > 4


def follow_once(folder: Path, between: Callable[[], object]) -> list[int]:
    """Ids of the NEW entries that are told of what happened between the first look and the ones after."""
    looks, told = iter([between, *[lambda: None] * 20]), list[int]()

    def wait() -> bool:
        look = next(looks, None)
        if look:
            look()
        return look is not None

    for _, entries in follow(folder, Question(), wait):
        told += entries["id"][entries["kind"] == NEW].tolist()
    return told


def test_who_looks_late_is_told_what_was_packed_meanwhile(tmp_path: Path) -> None:
    folder, sent = tmp_path / "j", list[int]()
    run = Written(folder)
    run.order(venue_id=999)

    def between() -> None:
        while len(files(folder)) < 6:
            sent.append(run.order())
            run.writer._turn()
        # The newest request may be taken back until something stands behind it.
        sent.append(run.order(venue_id=1))
        until = time.monotonic() + 30
        while any(path.name.endswith(".journal") for path in list(numbered(folder).values())[:-2]):
            assert time.monotonic() < until
            time.sleep(0.01)

    assert follow_once(folder, between) == sent and len(sent) > 100
    run.close()


def test_who_follows_is_told_the_last_request_of_a_killed_run_when_the_next_one_begins(tmp_path: Path) -> None:
    folder, sent = tmp_path / "j", list[int]()
    run = Written(folder)
    run.order(venue_id=999)

    def between() -> None:
        sent.append(run.order())
        run.crash()
        Written(folder, epoch=8)

    assert follow_once(folder, between) == sent and len(sent) == 1


def test_who_follows_an_order_by_the_venues_number_is_told_its_end(tmp_path: Path) -> None:
    folder, told = tmp_path / "j", list[int]()
    run = Written(folder)
    one = run.order(venue_id=77)
    looks = iter([lambda: (run.entry(CANCELED, one), run.order(venue_id=78)), lambda: None, lambda: None])

    def wait() -> bool:
        look = next(looks, None)
        if look:
            look()
        return look is not None

    for _, entries in follow(folder, Question(venue_id=77), wait):
        told += entries["kind"].tolist()
    assert told == [CANCELED]
    run.close()


def test_a_request_that_was_the_newest_when_following_began_is_told_when_it_is_sure(tmp_path: Path) -> None:
    folder, ids = tmp_path / "j", list[int]()
    run = Written(folder)
    run.order()

    def between() -> None:
        run.withdraw()
        ids.append(run.order(venue_id=5))

    assert follow_once(folder, between) == ids
    run.close()


def over_files(folder: Path) -> Written:
    """A run whose orders stand in three files; the next one is ready."""
    run = Written(folder)
    while len(files(folder)) < 4:
        run.order(venue_id=1)
        run.writer._turn()
    return run


def test_without_the_files_that_the_last_run_began_with_a_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "j"
    monkeypatch.setattr(keeper_module, "pack", lambda path: None)
    run = over_files(folder)
    run.close()
    files(folder)[0].unlink()
    before = {path.name: path.read_bytes() for path in files(folder)}
    with pytest.raises(JournalError, match=r"00000002.*its run began in an earlier file, which is missing"):
        recover(folder)
    assert {path.name: path.read_bytes() for path in files(folder)} == before


def test_what_is_refused_by_its_links_is_not_cut_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "j"
    # Whoever packs may be later than the crash.
    monkeypatch.setattr(keeper_module, "pack", lambda path: None)
    run = over_files(folder)
    run.order(venue_id=2)
    run.crash()
    _, second, third, _ = files(folder)
    offset = read_file(third).offset
    with third.open("r+b") as file:
        file.seek(offset - 1)
        file.write(b"x")
    second.unlink()
    assert read_file(third).found == TORN
    before = {path.name: path.read_bytes() for path in files(folder)}
    with pytest.raises(JournalError, match="file 2 of the journal is missing"):
        recover(folder)
    assert {path.name: path.read_bytes() for path in files(folder)} == before


def test_a_last_file_that_was_torn_at_its_first_entry_is_dropped(crashed: Path) -> None:
    run = Written(crashed.parent, epoch=8)
    run.crash()
    _, second = files(crashed.parent)
    head = int(np.frombuffer(second.read_bytes()[:HEADER_BYTES], HEADER)[0]["head_bytes"])
    with second.open("r+b") as file:
        file.seek(head)
        file.write(bytes(8))
    found = recover(crashed.parent)
    assert (
        files(crashed.parent) == [crashed] and found.next_number == 2 and any("00000002" in one for one in found.notes)
    )


def test_what_could_not_be_written_is_said_at_the_next_start(tmp_path: Path) -> None:
    run = Written(tmp_path / "j")
    run.order(venue_id=1)
    run.memory["missed"] = 3
    run.close()
    (note,) = recover(tmp_path / "j").notes
    assert "3 cancels or reports" in note and "positions are not sure" in note


def test_a_request_in_the_place_of_one_that_was_withdrawn_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, synced = Written(tmp_path / "j"), list[int]()
    monkeypatch.setattr(type(run.writer._file), "sync", lambda self, begin, end: synced.append(end - begin))
    run.order()
    run.writer._sync()
    run.writer._sync()
    run.withdraw()
    run.order()
    run.writer._sync()
    assert len(synced) == 2 and synced[1] >= ENTRY_BYTES


def test_a_pack_that_fails_leaves_nothing_on_the_disk(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        pack(closed)
    assert list(closed.parent.iterdir()) == [closed]


def test_questions_pick_what_they_ask_for(closed: Path) -> None:
    whole = read_file(closed)

    def picked(**asked: object) -> list[int]:
        parts = [part for _, part in answer(closed.parent, Question(**asked))]  # type: ignore[arg-type]
        return np.concatenate(parts)["seq"].tolist()

    new = int(whole.entries["id"][1])
    assert picked() == list(range(1, 12)) and picked(run=8) == []
    assert picked(order=new) == [2, 3, 4, 5] and picked(venue_id=11) == [2, 3, 4, 5] and picked(venue_id=999) == []
    assert picked(instrument="BTCUSDT") == list(range(2, 11)) and picked(instrument="ETHUSDT") == []
    time_ns = int(whole.entries["time_ns"][3])
    assert picked(since_ns=time_ns, until_ns=time_ns + 1) == [4]


def test_what_is_exported_is_what_was_written(closed: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    assert export(answer(closed.parent, Question()), target) == 11
    rows = pyarrow.parquet.read_table(target).to_pylist()
    fill = next(row for row in rows if row["kind"] == "fill")
    assert (fill["price"], fill["qty"], fill["trade_id"], fill["fee"]) == (60_000 * E8, E8, 1, 12 * E8)
    assert fill["instrument"] == "BTCUSDT" and fill["venue_id"] is None and fill["run"] == 7
    assert next(row for row in rows if row["kind"] == "ack")["venue_id"] == 11
    assert export(answer(closed.parent, Question()), tmp_path / "all.csv") == 11
    assert (tmp_path / "all.csv").read_text().count("\n") == 12
    with pytest.raises(JournalError, match=r"ending '.txt'; allowed: .parquet, .csv"):
        export(answer(closed.parent, Question()), tmp_path / "all.txt")
