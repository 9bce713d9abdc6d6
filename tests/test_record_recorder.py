"""The recorder as a real process: exact counts whatever happens to it, and nothing but the tail lost (I13)."""

import errno
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned, fork, join, record, shared
from record_files import header

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import LEVEL, RECORD, RECORD_BYTES
from hftpipe.core.schema.ring import RING, ring_bytes
from hftpipe.core.shared.ring import ring_consumed, ring_init, ring_peek, ring_pop, ring_produced
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.tape import TAPE_GAP, tape_record
from hftpipe.record.tape import recorder as recorder_module
from hftpipe.record.tape.block import Pool, block_bytes
from hftpipe.record.tape.format import TORN, RecordError
from hftpipe.record.tape.reader import Session, open_session
from hftpipe.record.tape.recorder import (
    ENDED,
    FAILED,
    OLD_NS,
    RECORDED,
    RECORDER,
    RUNNING,
    Recorder,
    Tape,
    drain,
    recorder_bytes,
    warm,
)
from hftpipe.record.tape.session import COMPLETE, INCOMPLETE, RECORDING, create_session, read_session
from hftpipe.record.tape.writer import TapeWriter

CAPACITY = 1024
BLOCK_RECORDS, BUFFER_BLOCKS = 256, 16
STAGES = ("market_data", "strategy", "risk", "gateway")
PATIENCE_S = 30.0


@jit
def offer(tape, scratch, first, count):
    """Put records numbered from ``first`` on the tape, dropping what does not fit (as a stage does)."""
    r = view(scratch, RECORD)
    for number in range(first, first + count):
        r.price, r.id, r.kind = number, np.uint64(number) * np.uint64(31), LEVEL
        tape_record(tape, scratch)


class Rig:
    """Shared memory, a session folder and a recorder process for some tapes."""

    def __init__(self, base: Path, stages: tuple[str, ...] = STAGES) -> None:
        sizes = {f"tape.{stage}": ring_bytes(CAPACITY) for stage in stages}
        sizes |= {"recorder": recorder_bytes(len(stages)), "recorder.stop": 64}
        self.segment = Segment.create(f"test-record-{os.getpid()}", sizes, {})
        for stage in stages:
            ring_init(self.segment.region(f"tape.{stage}"), CAPACITY)
        self.stages, self.folder = stages, create_session(base, header(stages), "s")
        self.scratch, self.offered = record(RECORD), dict.fromkeys(stages, 0)
        warm()
        self.recorder = Recorder(
            self.segment, {stage: f"tape.{stage}" for stage in stages}, self.folder,
            segment_bytes=64 * 2048, buffer_bytes=BUFFER_BLOCKS * block_bytes(BLOCK_RECORDS), block_records=BLOCK_RECORDS,
        )  # fmt: skip
        self.pid = 0

    def start(self, prepare: Callable[[], None] = lambda: None) -> None:
        parent = os.getpid()

        def child() -> None:
            prepare()
            self.recorder.main(parent)

        self.pid = fork(child)

    def offer(self, stage: str, count: int) -> None:
        tape = np.uint64(self.segment.address(f"tape.{stage}"))
        offer(tape, address(self.scratch), np.int64(self.offered[stage]), np.int64(count))
        self.offered[stage] += count

    def offer_slowly(self, stage: str, count: int) -> None:
        """Offer without loss: half a ring at a time, waiting for the recorder to take it."""
        for part in range(0, count, CAPACITY // 2):
            self.offer(stage, min(CAPACITY // 2, count - part))
            self.wait(lambda: not self.unread(stage))

    def ring(self, stage: str) -> np.ndarray:
        return self.segment.record(f"tape.{stage}", RING)

    def unread(self, stage: str) -> int:
        tape = np.uint64(self.segment.address(f"tape.{stage}"))
        return int(ring_produced(tape)) - int(ring_consumed(tape))

    def status(self) -> np.void:
        return self.segment.record("recorder", RECORDER)[0]

    def row(self, stage: str) -> np.void:
        rows = self.segment.region("recorder")[RECORDER.itemsize : recorder_bytes(len(self.stages))].view(RECORDED)
        return rows[self.stages.index(stage)]

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the recorder did not get there"
            time.sleep(0.001)

    def stop(self) -> int:
        self.recorder.request_stop()
        pid, self.pid = self.pid, 0
        return join(pid)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        pid, self.pid = self.pid, 0
        assert join(pid) == -signal.SIGKILL

    def close(self) -> None:
        if self.pid:
            self.kill()
        self.segment.unlink()


@pytest.fixture
def rig(tmp_path: Path, clean_shm: None) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def check_stage(rig: Rig, session: Session, stage: str) -> np.ndarray:
    """Every stored record is the one that was offered there, and every missing one is in a gap mark."""
    rows = session.records(stage).array()
    is_gap = rows["kind"] == TAPE_GAP
    missing_before = np.cumsum(np.where(is_gap, rows["id"].astype(np.int64), 0))
    kept = rows[~is_gap]
    expected = np.arange(len(kept)) + missing_before[~is_gap]
    np.testing.assert_array_equal(kept["price"], expected)
    np.testing.assert_array_equal(kept["id"], (expected * 31).astype(np.uint64))
    np.testing.assert_array_equal(rows["seq"], np.arange(1, len(rows) + 1))
    assert [gap.lost for gap in session.gaps(stage)] == rows["id"][is_gap].tolist()
    return rows


def check_exact(rig: Rig, session: Session, stage: str) -> int:
    """produced = stored + lost, with marks for all but the losses after the last record; how many were lost."""
    rows, ring = check_stage(rig, session, stage), rig.ring(stage)
    marked = sum(gap.lost for gap in session.gaps(stage))
    lost = int(ring["lost"][0])
    assert session.lost[stage] == lost == marked + int(ring["lost_pending"][0])
    assert rig.offered[stage] == len(rows) - len(session.gaps(stage)) + lost
    return lost


class TestDrain:
    @given(
        bits=st.integers(1, 5),
        start=st.sampled_from([0, 2**32 - 3, 2**63 - 3]),
        steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20),
    )
    def test_takes_the_same_as_popping_one_by_one(self, bits: int, start: int, steps: list[tuple[int, int]]) -> None:
        capacity, scratch = 1 << bits, record(RECORD)
        rings = [aligned(ring_bytes(capacity)) for _ in range(2)]
        for ring in rings:
            ring_init(ring, capacity)
            for counter in ("next_in", "known_out", "next_out"):
                ring[:192].view(RING)[counter] = start
        offered = 0
        for pushes, limit in steps:
            for ring in rings:
                offer(address(ring), address(scratch), np.int64(offered), np.int64(pushes))
            offered += pushes
            target = np.zeros(max(limit, 1), RECORD)
            count = int(drain(address(rings[0]), address(target), np.int64(limit)))
            assert target[:count].tobytes() == b"".join(pop_up_to(rings[1], limit))
            assert not target[count:].view(np.uint8).any()
            assert int(ring_consumed(address(rings[0]))) == int(ring_consumed(address(rings[1])))

    def test_a_visible_record_that_is_not_counted_yet_is_taken(self) -> None:
        ring, scratch, target = aligned(ring_bytes(4)), record(RECORD), np.zeros(4, RECORD)
        ring_init(ring, 4)
        offer(address(ring), address(scratch), np.int64(0), np.int64(2))
        ring[:192].view(RING)["next_in"] = 1
        assert drain(address(ring), address(target), np.int64(4)) == 2


def pop_up_to(ring: np.ndarray, limit: int) -> Iterator[bytes]:
    for _ in range(limit):
        slot = int(ring_peek(address(ring)))
        if not slot:
            return
        at = slot - ring.ctypes.data
        yield ring[at : at + RECORD_BYTES].tobytes()
        ring_pop(address(ring))


def test_everything_offered_is_stored_and_the_session_is_complete(rig: Rig) -> None:
    rig.start()
    for turn in range(5):
        for index, stage in enumerate(STAGES):
            rig.offer_slowly(stage, 1000 * index + 700 * turn)
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert session.is_complete and session.header["state"] == COMPLETE
    for stage in STAGES:
        assert check_exact(rig, session, stage) == 0
        totals, row = session.header["totals"][stage], rig.row(stage)
        assert totals["records"] == int(row["records"]) == rig.offered[stage]
        assert totals["bytes"] == int(row["bytes"]) == sum(p.stat().st_size for p in rig.folder.glob(f"{stage}-*"))
        assert totals["segments"] == int(row["segments"]) == len(list(rig.folder.glob(f"{stage}-*")))
    assert rig.status()["state"] == ENDED
    assert session.header["totals"]["gateway"]["segments"] > 1


def test_what_is_on_the_tapes_at_the_stop_is_still_stored(rig: Rig) -> None:
    for stage in STAGES:
        rig.offer(stage, CAPACITY)
    rig.recorder.request_stop()
    rig.start()
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert all(len(session.records(stage)) == CAPACITY for stage in STAGES)
    assert session.is_complete


def test_records_reach_the_file_without_a_full_block(rig: Rig) -> None:
    rig.start()
    rig.offer("risk", 3)
    rig.wait(lambda: int(rig.row("risk")["records"]) == 3)
    session = open_session(rig.folder)
    assert session.header["state"] == RECORDING
    assert len(check_stage(rig, session, "risk")) == 3


def test_overflowing_tapes_are_counted_exactly(rig: Rig) -> None:
    rig.start()
    for stage in STAGES:
        for burst in (3 * CAPACITY, 17, 2 * CAPACITY, CAPACITY // 3):
            rig.offer(stage, burst)
            rig.wait(lambda stage=stage: not rig.unread(stage))
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert sum(check_exact(rig, session, stage) for stage in STAGES) > 0
    assert session.is_complete


def test_losses_after_the_last_record_are_in_the_totals(rig: Rig) -> None:
    rig.offer("risk", CAPACITY + 123)
    rig.start()
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert session.gaps("risk") == [] and check_exact(rig, session, "risk") == 123


def test_stopped_and_resumed_recorder_has_exact_counts(rig: Rig) -> None:
    rig.start()
    rig.offer_slowly("risk", 5000)
    os.kill(rig.pid, signal.SIGSTOP)
    rig.wait(lambda: Path(f"/proc/{rig.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    rig.offer("risk", 10 * CAPACITY)
    os.kill(rig.pid, signal.SIGCONT)
    rig.wait(lambda: not rig.unread("risk"))
    rig.offer_slowly("risk", 5000)
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert check_exact(rig, session, "risk") >= 9 * CAPACITY - CAPACITY // 2
    assert session.is_complete


@pytest.mark.parametrize("turn", range(5))
def test_killed_recorder_leaves_a_valid_prefix_and_loses_only_what_was_in_its_memory(rig: Rig, turn: int) -> None:
    rig.start()
    for stage in STAGES:
        rig.offer_slowly(stage, 1500 + 577 * turn)
    for _ in range(turn * 40):
        rig.offer("risk", 50)
    rig.kill()
    session = open_session(rig.folder)
    assert session.header["state"] == RECORDING and not session.is_complete
    assert {problem.kind for problem in session.problems} == {TORN}
    in_memory = 0
    for stage in STAGES:
        stored = len(check_stage(rig, session, stage))
        taken = int(ring_consumed(np.uint64(rig.segment.address(f"tape.{stage}"))))
        assert int(rig.row(stage)["records"]) <= stored <= taken
        in_memory += taken - stored
    assert in_memory <= BUFFER_BLOCKS * BLOCK_RECORDS


def test_a_recorder_whose_parent_is_gone_ends_cleanly(rig: Rig) -> None:
    rig.offer("risk", 100)
    rig.pid = fork(lambda: rig.recorder.main(parent=1 << 30))
    pid, rig.pid = rig.pid, 0
    assert join(pid) == 0
    assert open_session(rig.folder).is_complete


def test_a_signal_to_the_whole_group_does_not_end_the_recording(rig: Rig) -> None:
    rig.start()
    rig.offer("risk", 100)
    rig.wait(lambda: int(rig.row("risk")["records"]) == 100)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(rig.pid, number)
    rig.offer("risk", 100)
    rig.wait(lambda: int(rig.row("risk")["records"]) == 200)
    assert rig.stop() == 0
    assert open_session(rig.folder).is_complete


class SlowDisk:
    """``os.write`` that waits while ``word`` is 0, and says there that somebody waits."""

    def __init__(self) -> None:
        self.is_open, self.waiting = shared(8).view(np.int64), shared(8).view(np.int64)
        self.write = os.write

    def install(self) -> None:
        os.write = self._write

    def _write(self, fd: int, data: memoryview) -> int:
        # Headers of new files pass: the recorder is up before the disk stalls.
        while len(data) > 64 and not self.is_open[0]:
            self.waiting[0] = 1
            time.sleep(0.001)
        return self.write(fd, data)


#: What a stalled disk leaves of the buffer: a block in use by each other tape, one that was not full when it went.
BUFFER_RECORDS = (BUFFER_BLOCKS - len(STAGES)) * BLOCK_RECORDS


def test_a_stalled_disk_loses_nothing_while_the_buffer_lasts(rig: Rig) -> None:
    disk = SlowDisk()
    rig.start(disk.install)
    rig.offer_slowly("risk", BUFFER_RECORDS)
    rig.offer("risk", CAPACITY)
    rig.wait(lambda: disk.waiting[0])
    assert not int(rig.row("risk")["records"])
    disk.is_open[0] = 1
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert session.is_complete and check_exact(rig, session, "risk") == 0


def fill_the_buffer(rig: Rig, disk: SlowDisk) -> None:
    """Until a tape finds no free block, and then the tape as well."""
    rig.start(disk.install)
    rig.offer_slowly("risk", BUFFER_RECORDS)
    rig.offer("risk", CAPACITY)
    rig.wait(lambda: rig.status()["buffer_refused"] > 0)
    assert rig.status()["buffer_used_max"] == BUFFER_BLOCKS
    rig.offer("risk", 5 * CAPACITY)
    assert rig.unread("risk") == CAPACITY


def test_what_outlasts_the_buffer_is_counted_exactly_and_recording_goes_on(rig: Rig) -> None:
    disk = SlowDisk()
    fill_the_buffer(rig, disk)
    disk.is_open[0] = 1
    rig.wait(lambda: not rig.unread("risk"))
    for stage in STAGES:
        rig.offer_slowly(stage, 3000)
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert session.is_complete and check_exact(rig, session, "risk") >= 4 * CAPACITY
    assert all(check_exact(rig, session, stage) == 0 for stage in STAGES if stage != "risk")


def end_while_the_disk_stalls(rig: Rig, monkeypatch: pytest.MonkeyPatch, drain_ns: int) -> None:
    """Stop a recorder whose buffer and tape are full; the disk goes on when the last drain has begun, or is over if
    it has no time."""
    disk, closing = SlowDisk(), shared(8)
    finish, hand_over = Recorder._finish, Tape.hand_over

    def noted(tape: Tape) -> None:
        hand_over(tape)
        closing[0] = 1

    def begin_closing(recorder: Recorder, *arguments: Any) -> None:
        closing[0] = drain_ns > 0
        monkeypatch.setattr(Tape, "hand_over", noted)
        finish(recorder, *arguments)

    monkeypatch.setattr(Recorder, "_finish", begin_closing)
    monkeypatch.setattr(recorder_module, "FINAL_DRAIN_NS", drain_ns)
    fill_the_buffer(rig, disk)
    rig.recorder.request_stop()
    rig.wait(lambda: closing[0])
    # Not a deadline: without it, the disk might go on before the first look of the last drain.
    time.sleep(0.02)
    disk.is_open[0] = 1
    assert rig.stop() == 0


def test_what_a_stalled_disk_did_not_take_before_the_end_is_untaken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    end_while_the_disk_stalls(rig, monkeypatch, drain_ns=0)
    session, row = open_session(rig.folder), rig.row("risk")
    stored = len(check_stage(rig, session, "risk"))
    assert stored == int(row["records"]) and int(row["untaken"]) == session.untaken["risk"] == CAPACITY
    assert stored + CAPACITY + session.lost["risk"] == rig.offered["risk"]
    assert session.header["state"] == INCOMPLETE and rig.status()["state"] == ENDED


def test_the_last_drain_waits_for_a_disk_that_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    end_while_the_disk_stalls(rig, monkeypatch, drain_ns=int(PATIENCE_S * 1e9))
    session = open_session(rig.folder)
    assert session.is_complete and check_exact(rig, session, "risk") > 0 and not rig.unread("risk")


def test_a_killed_recorder_has_said_what_was_dropped_before(rig: Rig) -> None:
    rig.offer("risk", CAPACITY + 123)
    rig.start()
    rig.wait(lambda: int(rig.row("risk")["records"]) == CAPACITY)
    rig.kill()
    session = open_session(rig.folder)
    assert session.lost["risk"] == 123 and len(check_stage(rig, session, "risk")) == CAPACITY


def test_old_records_are_written_at_once_but_fill_their_block_while_the_disk_is_behind(rig: Rig) -> None:
    full, stats = SimpleQueue(), np.zeros(1, RECORDED)
    facts = read_session(rig.folder)
    writer = TapeWriter(rig.folder, "risk", facts["session_id"], facts["epoch"])
    writer.open()
    tape = Tape(rig.segment.region("tape.risk"), writer, stats, Pool(4, BLOCK_RECORDS), full)

    def offer_and_look(now_ns: int) -> int:
        rig.offer("risk", 1)
        tape.drain(now_ns)
        tape.hand_over_old(now_ns)
        return full.qsize()

    assert [offer_and_look(now_ns) for now_ns in (1, OLD_NS, OLD_NS + 1)] == [0, 0, 1]
    assert [offer_and_look(now_ns) for now_ns in (2 * OLD_NS, 4 * OLD_NS)] == [1, 1]
    tape.store(full.get()[1])
    assert int(stats["records"][0]) == 3 and offer_and_look(4 * OLD_NS) == 1
    assert full.get()[1].count == 3


def test_a_defect_in_the_writing_thread_ends_the_recorder(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(recorder_module.TapeWriter, "write", broken)
    rig.start()
    rig.offer("risk", 10)
    pid, rig.pid = rig.pid, 0
    assert join(pid) == 1
    assert open_session(rig.folder).header["state"] == RECORDING


def test_a_defect_in_the_last_drain_is_not_closed_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(recorder_module.TapeWriter, "write", broken)
    rig.offer("risk", 10)
    rig.recorder.request_stop()
    rig.start()
    assert rig.stop() == 1
    assert open_session(rig.folder).header["state"] == RECORDING


class FullDisk:
    """``os.write`` on a disk with room for ``room`` more bytes: short writes, then ENOSPC; truncation may give room."""

    def __init__(self, room: int) -> None:
        self.room, self.write, self.truncate = room, os.write, os.ftruncate

    def install(self, gives_back: bool) -> None:
        os.write = self._write
        if gives_back:
            os.ftruncate = self._truncate

    def _write(self, fd: int, data: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = self.write(fd, data[: self.room])
        self.room -= done
        return done

    def _truncate(self, fd: int, size: int) -> None:
        self.room += os.fstat(fd).st_size - size
        self.truncate(fd, size)


@pytest.mark.parametrize("gives_back", [True, False])
@pytest.mark.parametrize("json_fails", [True, False])
def test_full_disk_ends_the_recording_but_not_the_draining(
    rig: Rig, tmp_path: Path, gives_back: bool, json_fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"

    def prepare() -> None:
        logging.getLogger("hftpipe").addHandler(logging.FileHandler(log))
        FullDisk(200_000).install(gives_back)
        if json_fails:
            monkeypatch.setattr(recorder_module, "write_session", refuse)

    rig.start(prepare)
    for _ in range(4):
        for stage in STAGES:
            rig.offer_slowly(stage, 1000)
    rig.wait(lambda: int(rig.status()["state"]) == FAILED)
    rig.offer_slowly("risk", 3000)
    assert rig.status()["errno"] == errno.ENOSPC
    assert rig.stop() == 0
    assert log.read_text() == "recording has failed, trading goes on\n"
    session = open_session(rig.folder)
    assert session.header["state"] == (RECORDING if json_fails else INCOMPLETE) and not session.is_complete
    untaken = 0
    for stage in STAGES:
        stored = len(check_stage(rig, session, stage))
        row = rig.row(stage)
        untaken += int(row["untaken"])
        assert int(row["records"]) == stored
        assert stored + int(row["untaken"]) == rig.offered[stage] and not rig.unread(stage)
        if not json_fails:
            assert session.untaken[stage] == int(row["untaken"])
    assert untaken > 3000
    assert rig.status()["state"] == FAILED


def test_one_failing_tape_ends_the_recording_of_all(rig: Rig) -> None:
    real = os.write

    def broken(fd: int, data: memoryview) -> int:
        if "/risk-" in os.readlink(f"/proc/self/fd/{fd}") and len(data) > 64:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, data)

    rig.start(lambda: setattr(os, "write", broken))
    rig.offer("risk", 10)
    rig.wait(lambda: int(rig.status()["state"]) == FAILED)
    rig.offer_slowly("gateway", 3000)
    assert rig.stop() == 0
    session = open_session(rig.folder)
    assert session.header["state"] == INCOMPLETE and session.header["totals"]["gateway"]["untaken"] == 3000
    assert rig.status()["errno"] == errno.EIO


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_folder_that_vanished_fails_the_recording_not_the_draining(rig: Rig) -> None:
    for path in rig.folder.iterdir():
        path.unlink()
    rig.folder.rmdir()
    rig.start()
    rig.offer_slowly("risk", 3000)
    rig.wait(lambda: int(rig.status()["state"]) == FAILED)
    assert rig.stop() == 0
    assert int(rig.row("risk")["untaken"]) == 3000


def test_a_folder_with_tapes_is_refused_and_left_as_it_is(rig: Rig) -> None:
    rig.start()
    rig.offer("risk", 100)
    rig.stop()
    with pytest.raises(RecordError, match="has tapes already; a recording is never overwritten"):
        Recorder(rig.segment, {"risk": "tape.risk"}, rig.folder)
    assert len(open_session(rig.folder).records("risk")) == 100


def test_a_later_recorder_goes_on_where_the_first_one_was(rig: Rig, tmp_path: Path) -> None:
    rig.start()
    rig.offer_slowly("risk", 1000)
    rig.wait(lambda: int(rig.row("risk")["records"]) == 1000)
    rig.kill()
    assert len(open_session(rig.folder).records("risk")) == 1000
    again = create_session(tmp_path, header(STAGES), "again")
    rig.recorder = Recorder(rig.segment, {stage: f"tape.{stage}" for stage in STAGES}, again)
    rig.start()
    rig.offer_slowly("risk", 500)
    assert rig.stop() == 0
    tape = open_session(again).records("risk")
    assert (tape.first_record, tape.next_record) == (1000, 1500)
    np.testing.assert_array_equal(tape.array()["price"], np.arange(1000, 1500))


def test_statistics_show_a_running_recorder(rig: Rig) -> None:
    rig.start()
    rig.wait(lambda: int(rig.status()["state"]) == RUNNING and int(rig.status()["heartbeat_tsc"]) > 0)
    assert int(rig.status()["pid"]) == rig.pid
    assert RECORDER.itemsize == RECORDED.itemsize == 64
    rig.offer("gateway", CAPACITY + 5)
    rig.wait(lambda: int(rig.row("gateway")["lost"]) > 0)
    assert rig.stop() == 0
