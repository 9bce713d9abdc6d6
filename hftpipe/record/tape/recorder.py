"""The recorder process: drains the tape rings of all stages into the session's files.

It has a process of its own and only reads: the one thing it writes in shared memory outside its own region is the
consumer's counter of each tape ring. One thread moves records from the tapes into blocks of memory, another checksums
and writes them. When the disk stalls the blocks fill, then the tapes, then the stages drop and count; when it fails, recording is over: the tapes are still drained, what could not be stored is counted, the reason is logged once
and the session is marked incomplete. No stage ever waits.

Exact at the end of every run, per tape::

    records offered by the stage = records on the tape (without gap marks) + lost
    records on the tape          = records stored + untaken
"""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, copy_bytes, load_acquire, store_release, view
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.core.shared.ring import ring_depth
from hftpipe.core.shared.shm import Segment
from hftpipe.log import event
from hftpipe.record.tape.block import BLOCK_RECORDS, BUFFER_BYTES, Block, Pool, block_bytes
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.session import COMPLETE, INCOMPLETE, read_session, write_session
from hftpipe.record.tape.writer import SEGMENT_BYTES, TapeWriter

LOG = logging.getLogger("hftpipe.recorder")
#: A record is in its file at most this long after it was read from the tape (bounded loss when killed). While the disk
#: is slower than that, what waits for it is at risk: at most the buffer.
FLUSH_NS = 50_000_000
#: A block that is not full goes to the file at this age, which is looked at every fifth of FLUSH_NS.
OLD_NS = FLUSH_NS * 3 // 5
IDLE_S = 0.001
FINAL_DRAIN_NS = 2_000_000_000
WRITING_DIED = "the recorder's writing thread has died"

STARTING, RUNNING, FAILED, ENDED = 0, 1, 2, 3
#: First line of the recorder's region: what it shows of itself. ``errno`` of the write that failed, or 0;
#: ``buffer_used_max``: most blocks that were in use at a time; ``buffer_refused``: how often a tape found none free.
RECORDER = np.dtype(
    [
        ("state", "u8"), ("heartbeat_tsc", "u8"), ("pid", "i8"), ("errno", "i8"), ("rounds", "u8"),
        ("buffer_used_max", "u8"), ("buffer_refused", "u8"), ("_pad", "u8"),
    ]
)  # fmt: skip
#: One line per tape behind it, in the order of the tapes. ``lost``: dropped by the stage because the tape was full;
#: ``untaken``: read from the tape but not stored; ``round_max``: most records taken in one round.
RECORDED = np.dtype(
    [
        ("records", "u8"), ("bytes", "u8"), ("blocks", "u8"), ("segments", "u8"), ("lost", "u8"), ("untaken", "u8"),
        ("slowest_write_ns", "i8"), ("round_max", "i8"),
    ]
)  # fmt: skip

_NEXT_OUT = np.uint64(offset_of(RING, "next_out"))
_SLOTS = np.uint64(RING_HEADER_BYTES)
_SHIFT = np.uint64(6)


def recorder_bytes(tapes: int) -> int:
    """Size of the recorder's region for a number of tapes."""
    return RECORDER.itemsize + RECORDED.itemsize * tapes


@jit
def _unread(ring, header, limit):
    """How many consecutive slots hold the record the consumer expects there, at most ``limit``."""
    count = np.int64(0)
    index = header.next_out
    while count < limit and load_acquire(ring + _SLOTS + ((index & header.mask) << _SHIFT)) == index + ONE:
        index += ONE
        count += 1
    return count


@jit
def drain(ring, target, limit):
    """Consumer: move up to ``limit`` (int64) records from the ring to ``target``; how many there were.

    The records are copied as they are, in at most two pieces, and their slots given back with one store.
    """
    header = view(ring, RING)
    count = _unread(ring, header, min(limit, np.int64(header.capacity)))
    if count == 0:
        return count
    start = header.next_out & header.mask
    head = min(count, np.int64(header.capacity - start))
    copy_bytes(target, ring + _SLOTS + (start << _SHIFT), head * RECORD_BYTES)
    copy_bytes(target + (U64(head) << _SHIFT), ring + _SLOTS, (count - head) * RECORD_BYTES)
    store_release(ring + _NEXT_OUT, header.next_out + U64(count))
    return count


def warm() -> None:
    """Compile what the recorder runs; call before forking."""
    drain.compile("int64(uint64, uint64, int64)")
    ring_depth.compile("int64(uint64,)")


class Tape:
    """One tape ring and the files it goes to: one thread fills blocks from the ring, another writes them.

    Args:
        ring: the ring's memory (its region).
        writer: where its records go; must start at the ring's next unread record.
        stats: RECORDED array of length 1.
        pool: where blocks are taken from.
        full: where they go when they are to be written, with the tape.
    """

    def __init__(
        self, ring: np.ndarray, writer: TapeWriter, stats: np.ndarray, pool: Pool, full: "SimpleQueue[Work | None]"
    ) -> None:
        self._header = ring[:RING_HEADER_BYTES].view(RING)
        self._ring = np.uint64(ring.ctypes.data)
        self.capacity = int(self._header["capacity"][0])
        self.writer, self._stats, self._pool, self._full = writer, stats, pool, full
        self._block: Block | None = None
        # Blocks handed over and written: each counted by one thread alone.
        self._handed = self._written = 0

    @property
    def lost(self) -> int:
        """Records the stage has dropped because the tape was full."""
        return int(self._header["lost"][0])

    @property
    def depth(self) -> int:
        """Unread records."""
        return int(ring_depth(self._ring))

    def drain(self, now_ns: int) -> int:
        """Take what is on the tape, at most one ring's worth and as far as there are free blocks."""
        total = 0
        while total < self.capacity:
            block = self._block = self._block or self._pool.take()
            if block is None:
                break
            count = int(drain(self._ring, block.target, np.int64(min(block.room, self.capacity - total))))
            block.added(count, now_ns)
            total += count
            # Room left: the tape was empty. Chasing a busy stage record by record would cost a whole CPU.
            if block.room:
                break
            self.hand_over()
        self._stats["round_max"] = max(int(self._stats["round_max"][0]), total)
        return total

    def hand_over(self) -> None:
        """Give the block under way to the writing thread, if it holds anything."""
        if self._block is not None and self._block.count:
            self._block.lost = self.lost
            self._handed += 1
            self._full.put((self, self._block))
            self._block = None

    def hand_over_old(self, now_ns: int) -> None:
        """The same with a block that has waited long, unless the disk is behind: then it had better be filled."""
        block = self._block
        if block and block.count and now_ns - block.since_ns >= OLD_NS and self._handed == self._written:
            self.hand_over()
        self._stats["lost"] = self.lost

    def store(self, block: Block) -> None:
        """Write a block and show the totals: the writing thread's part."""
        self.writer.write(block)
        self._pool.give(block)
        self._written += 1
        self.show()

    def close(self) -> None:
        """Close the files, when both threads are done with the tape."""
        self.writer.close(self.lost, self.depth)
        self.show()

    def show(self) -> None:
        """Bring the statistics up to date."""
        stats, writer = self._stats, self.writer
        stats["records"], stats["bytes"], stats["blocks"] = writer.stored, writer.bytes_written, writer.blocks
        stats["segments"], stats["lost"], stats["untaken"] = writer.segments, self.lost, writer.untaken
        stats["slowest_write_ns"] = writer.slowest_write_ns


#: A block to write, and the tape it is of.
Work = tuple[Tape, Block]


class Recorder:
    """Drains tapes to a session until its stop word is set or its parent is gone.

    Args:
        segment: the pipeline's shared memory, writable.
        tapes: stage name to name of the region that holds the stage's tape ring.
        folder: session folder made by :func:`hftpipe.record.tape.session.create_session`, with the same stages.
        region: region of :func:`recorder_bytes` for the statistics.
        stop: region whose first word ends the recording. Set it when the stages have ended, not before: it is
            followed by a last, complete drain.
        segment_bytes: size of a file.
        buffer_bytes: memory for records that wait for the disk; at least two blocks a tape.
        block_records: records in a block.

    Raises:
        RecordError: session.json cannot be read, or the folder holds tapes already.
    """

    def __init__(
        self,
        segment: Segment,
        tapes: Mapping[str, str],
        folder: Path,
        region: str = "recorder",
        stop: str = "recorder.stop",
        segment_bytes: int = SEGMENT_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        block_records: int = BLOCK_RECORDS,
    ) -> None:
        self.folder, self._session = Path(folder), read_session(folder)
        if any(self.folder.glob("*.tape")):
            raise RecordError(f"{self.folder}: has tapes already; a recording is never overwritten, make a new session")
        memory = segment.region(region)
        memory[:] = 0
        self._status = memory[: RECORDER.itemsize].view(RECORDER)
        rows = memory[RECORDER.itemsize : recorder_bytes(len(tapes))].view(RECORDED)
        self._stop = segment.region(stop)[:8].view(np.uint64)
        self._pool = Pool(max(buffer_bytes // block_bytes(block_records), 2 * len(tapes)), block_records)
        self._full: SimpleQueue[Work | None] = SimpleQueue()
        self._tapes: dict[str, Tape] = {}
        for index, (stage, ring_region) in enumerate(tapes.items()):
            ring = segment.region(ring_region)
            first = int(ring[:RING_HEADER_BYTES].view(RING)["next_out"][0])
            writer = TapeWriter(
                self.folder, stage, self._session["session_id"], self._session["epoch"], first, segment_bytes
            )
            self._tapes[stage] = Tape(ring, writer, rows[index : index + 1], self._pool, self._full)
        self._parent, self._has_failed, self._cause = 0, False, ""

    def request_stop(self) -> None:
        """Set the stop word."""
        self._stop[0] = 1

    def main(self, parent: int) -> None:
        """Body of the forked process: it ends cleanly when told to by memory, or when ``parent`` is gone.

        Signals to the whole group are the parent's to act on.
        """
        self._parent = parent
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        # Linux shares CPUs out by session first (autogroup): beside spinning stages of its own session the recorder
        # would get little of a CPU that others want too.
        if os.getpid() != os.getpgrp():
            os.setsid()
        gc.collect()
        gc.freeze()
        gc.disable()
        self.run()

    def run(self) -> None:
        """Record until there is a reason to end; then drain what is left (bounded) and close the session.

        Raises:
            RuntimeError: the writing thread has died of a defect (its traceback is on stderr).
        """
        self._open()
        writing = threading.Thread(target=self._write, name="recorder files", daemon=True)
        writing.start()
        tapes = list(self._tapes.values())
        next_look_ns = 0
        while not int(self._stop[0]) and (not self._parent or os.getppid() == self._parent):
            now_ns = steady_ns()
            fullest = max(tape.drain(now_ns) / tape.capacity for tape in tapes)
            if now_ns >= next_look_ns:
                next_look_ns = now_ns + FLUSH_NS // 5
                self._look(tapes, now_ns, writing)
            # A quarter of a ring in one round: the stages are faster than naps allow.
            if fullest < 0.25:
                time.sleep(IDLE_S)
        self._finish(tapes, writing)

    def _write(self) -> None:
        """The writing thread: blocks to files in the order they were filled, until None comes."""
        while (work := self._full.get()) is not None:
            tape, block = work
            tape.store(block)
            self._notice_failure()

    def _open(self) -> None:
        self._status["pid"], self._status["state"] = os.getpid(), RUNNING
        for tape in self._tapes.values():
            try:
                tape.writer.open()
            except OSError as error:
                tape.writer.error = error
        self._notice_failure()

    def _look(self, tapes: list[Tape], now_ns: int, writing: threading.Thread) -> None:
        """Every fifth of FLUSH_NS: hand over blocks that have waited long, show signs of life."""
        for tape in tapes:
            tape.hand_over_old(now_ns)
        self._status["heartbeat_tsc"] = tsc_now()
        self._status["rounds"] += np.uint64(1)
        self._status["buffer_used_max"] = self._pool.blocks - self._pool.free_min
        self._status["buffer_refused"] = self._pool.refused
        if not writing.is_alive():
            raise RuntimeError(WRITING_DIED)

    def _notice_failure(self) -> None:
        """After the first failed write no tape is written any more: a replay needs all of them."""
        error = next((tape.writer.error for tape in self._tapes.values() if tape.writer.error), None)
        if error is None or self._has_failed:
            return
        self._has_failed, self._cause = True, str(error)
        self._status["errno"], self._status["state"] = error.errno or 0, FAILED
        for tape in self._tapes.values():
            tape.writer.error = tape.writer.error or error
        event(LOG, "error", "recording has failed, trading goes on", folder=str(self.folder), reason=str(error))

    def _finish(self, tapes: list[Tape], writing: threading.Thread) -> None:
        deadline_ns = steady_ns() + FINAL_DRAIN_NS
        # Lists, not generators: every tape is drained in every round. A tape that is not empty waits for a free block.
        while any([tape.drain(steady_ns()) or tape.depth for tape in tapes]) and steady_ns() < deadline_ns:
            time.sleep(IDLE_S)
        for tape in tapes:
            tape.hand_over()
        self._full.put(None)
        writing.join()
        if not self._full.empty():
            raise RuntimeError(WRITING_DIED)
        for tape in tapes:
            tape.close()
        self._notice_failure()
        self._close_session()
        self._status["state"] = FAILED if self._has_failed else ENDED

    def _close_session(self) -> None:
        totals = {stage: tape.writer.totals() for stage, tape in self._tapes.items()}
        untaken = sum(total["untaken"] for total in totals.values())
        is_whole = not untaken and not self._has_failed
        header = {**self._session, "state": COMPLETE, "totals": totals}
        if not is_whole:
            header |= {"state": INCOMPLETE, "cause": self._cause or f"{untaken} records could not be stored"}
        try:
            write_session(self.folder, header)
        except OSError as error:
            if self._has_failed:
                return
            self._has_failed, self._status["errno"] = True, error.errno or 0
            event(LOG, "error", "session.json not brought up to date", folder=str(self.folder), reason=str(error))
