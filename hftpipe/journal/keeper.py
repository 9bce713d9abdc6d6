"""The thread beside the writer: the next file is ready before it is needed, and what was written gets to the disk.

It is the only one that waits for the disk. What it cannot do (a full disk) it says by name and tries again; a disk that
could not write what it had taken is trusted no more: nothing new is sent for the rest of the run.
"""

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from hftpipe.core.machine.durable import within
from hftpipe.core.machine.process import leave_hot_cpu
from hftpipe.core.machine.system_clock import midnight_ns, steady_ns, wall_ns
from hftpipe.journal.append import journal_begin, journal_close
from hftpipe.journal.files import ENDING, OpenFile, make_file, numbered, pack
from hftpipe.journal.layout import ENTRY_BYTES
from hftpipe.journal.recovery import Recovered
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.journal")
#: Pages are fetched so far ahead of the writer.
AHEAD_BYTES = 4 << 20
PERIOD_S, AGAIN_NS = 0.05, 1_000_000_000
#: At the end the disk is waited for so long, twice at most.
LAST_WAIT_S = 2.0
#: Of each file so much is kept for cancels and reports when there is no next one.
_RESERVE_SHARE = 16
_LOWEST_PRIORITY = 19


class JournalWriter:
    """The files of one gateway's journal, and the thread beside.

    Args:
        folder: of the journal; memory: its JOURNAL (array of length 1), shared with the monitor.
        meta: what stands in each file's JSON; epoch: of the run.
        size: bytes of a file; sync_each: every request is on the disk before it is sent; sync_ns: how often the rest is
            (0: when the system likes).

    Raises:
        OSError: the first file cannot be made; nothing is left of it.
    """

    def __init__(
        self, folder: Path, memory: np.ndarray, meta: dict[str, Any], epoch: int, size: int, sync_each: bool, sync_ns: int,
        found: Recovered,
    ) -> None:  # fmt: skip
        self._folder, self._memory, self._meta, self._size, self._sync_ns = folder, memory, meta, size, sync_ns
        self._is_over, self._said = threading.Event(), ""
        self._thread, self._packer = threading.Thread(target=self._run, name="journal", daemon=True), _Packer()
        self._next: OpenFile | None = None
        self._file: OpenFile
        self._synced: int
        self._next_number, self._try_at_ns, self._synced_ns, self._withdrawn = found.next_number, 0, 0, 0
        memory["seq"], memory["last_crc"], memory["epoch"] = found.last_seq, found.last_crc, epoch
        memory["sync_each"], memory["wall_offset_ns"] = int(sync_each), wall_ns() - steady_ns()
        memory["now_ns"] = wall_ns()
        self._file = self._make_next()
        self._next = None
        memory["reserve"] = max((self._file.end - self._file.at) // ENTRY_BYTES // _RESERVE_SHARE, 2)
        journal_begin(np.uint64(memory.ctypes.data), np.int64(1))
        # Called when the run ends, in a process that has no time for a compiler.
        journal_close.compile("(uint64,)")
        self._synced, self._populated, self._day_ns = self._file.base, self._file.base, midnight_ns(wall_ns())
        self._sync()

    def open(self) -> None:
        """In the writer's process, before its first step."""
        earlier = (path for number, path in numbered(self._folder).items() if number < self._file.number)
        self._packer.left(path for path in earlier if path.name.endswith(ENDING))
        self._turn()
        self._thread.start()

    def close(self) -> None:
        """In the writer's process, after its last step: the run has ended in order."""
        self._is_over.set()
        self._thread.join(LAST_WAIT_S)
        journal_close(np.uint64(self._memory.ctypes.data))
        # A disk that does not answer holds nobody up: the next start finds a file without its end.
        if not self._thread.is_alive() and (error := within(LAST_WAIT_S, self._end)):
            self._fail(error)

    def _end(self) -> None:
        if self._taken():
            self._finish_old()
        if self._next is not None:
            self._next.discard()
        self._file.finish(int(self._memory["at"][0]))

    def discard(self) -> None:
        """The run was not started: nothing of it is left."""
        self._file.discard()

    # The thread.

    def _run(self) -> None:
        leave_hot_cpu()
        while not self._is_over.wait(PERIOD_S):
            self._turn()

    def _turn(self) -> None:
        """What is due: everything that takes time, so that the writer never waits."""
        memory, now_ns = self._memory, steady_ns()
        memory["wall_offset_ns"] = wall_ns() - now_ns
        if self._taken():
            self._finish_old()
        if self._next is None and now_ns >= self._try_at_ns:
            self._try_next()
        self._populate()
        if midnight_ns(wall_ns()) != self._day_ns and self._next is not None:
            self._day_ns, memory["roll"] = midnight_ns(wall_ns()), 1
        if self._sync_ns and now_ns - self._synced_ns >= self._sync_ns:
            self._synced_ns = now_ns
            self._sync()

    def _taken(self) -> bool:
        """Whether the writer has gone on to the next file."""
        return self._next is not None and not self._memory["next_at"][0]

    def _try_next(self) -> None:
        try:
            self._make_next()
        except OSError as error:
            self._try_at_ns = steady_ns() + AGAIN_NS
            text = f"{error.strerror}: new orders are refused when a sixteenth of the file is left"
            if self._said != text:
                event(LOG, logging.ERROR, "no journal file can be made", folder=str(self._folder), reason=text)
            self._said = text
            return
        if self._said:
            event(LOG, logging.WARNING, "a journal file could be made again", folder=str(self._folder))
        self._said = ""

    def _make_next(self) -> OpenFile:
        number, memory = self._next_number, self._memory
        made = make_file(self._folder, number, int(memory["epoch"][0]), self._size, self._meta)
        made.populate(made.base, made.base + AHEAD_BYTES)
        memory["next_end"], memory["next_seed"], memory["next_number"] = made.end, made.seed, number
        self._next, self._next_number = made, number + 1
        # The writer looks at this one word.
        memory["next_at"] = made.at
        return made

    def _finish_old(self) -> None:
        assert self._next is not None
        old, self._file, self._next = self._file, self._next, None
        self._synced = self._populated = self._file.base
        self._day_ns = midnight_ns(wall_ns())
        try:
            old.finish(int(self._memory["ended_at"][0]))
        except OSError as error:
            self._fail(error)
            return
        self._packer.left([old.path])

    def _populate(self) -> None:
        """Keep the pages ahead of the writer ready, a piece at a time."""
        wanted = min(int(self._memory["at"][0]) + AHEAD_BYTES, self._file.base + self._file.size)
        if wanted > self._populated and wanted - self._populated >= AHEAD_BYTES // 4:
            self._file.populate(self._populated, wanted)
            self._populated = wanted

    def _sync(self) -> None:
        at, withdrawn = int(self._memory["at"][0]), int(self._memory["withdrawn"][0])
        if not self._file.base <= at <= self._file.base + self._file.size or (at, withdrawn) == (
            self._synced,
            self._withdrawn,
        ):
            return
        self._withdrawn = withdrawn
        try:
            # The newest may stand where one stood that was withdrawn.
            self._file.sync(max(min(self._synced, at) - ENTRY_BYTES, self._file.base), at)
        except OSError as error:
            self._fail(error)
            return
        self._synced = at

    def _fail(self, error: OSError) -> None:
        """What was written may not be on the disk, and asking again would not say so again."""
        if not self._memory["failed"][0]:
            event(
                LOG, logging.ERROR, "the journal's disk has failed: nothing new is sent from now on",
                folder=str(self._folder), reason=error.strerror,
            )  # fmt: skip
        self._memory["failed"] = error.errno or errno.EIO


class _Packer:
    """Compresses files that have ended, one after the other, when nobody needs the CPU."""

    def __init__(self) -> None:
        self._lock, self._waiting = threading.Lock(), list[Path]()
        self._thread: threading.Thread | None = None

    def left(self, paths: Any) -> None:
        """Take files that nobody writes to any more; the newest of a journal is not among them."""
        with self._lock:
            self._waiting += paths
            if self._waiting and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="journal packer", daemon=True)
                self._thread.start()

    def _take(self) -> Path | None:
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def _run(self) -> None:
        leave_hot_cpu()
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while path := self._take():
            try:
                pack(path)
            except (OSError, zstandard.ZstdError) as error:
                event(LOG, logging.WARNING, "a journal file stays as it is", file=str(path), reason=str(error))
