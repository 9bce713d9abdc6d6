"""What a journal entry costs the gateway: written before each send, so every ns of it is on the way of an order.

::

    gateway -> checksum, 8 stores -> mapped file      the keeper beside: next file, pages ahead, disk

The figures are of single entries, with two readings of the time-stamp counter around each (about 20 ns of every figure,
ours and C++ alike). Rivals: the same entry from C++ into the same kind of file; what one would write in Python in an
afternoon, a packed struct to an unbuffered file; a row in SQLite without waiting for its disk; and ours with every entry
waiting for the disk, which is the disk's figure.
"""

import os
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import Report
from harness import compile_cpp, cpus, interleave, pin, ratio

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, rdtsc, rdtscp, store_i64
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import NEW
from hftpipe.journal.append import entry_tail, journal_append, journal_sync
from hftpipe.journal.files import make_file
from hftpipe.journal.keeper import JournalWriter
from hftpipe.journal.layout import JOURNAL
from hftpipe.journal.reading import read_file
from hftpipe.journal.recovery import Recovered

BATCH, BATCHES, REPETITIONS, SLOW, SYNCED = 20_000, 5, 5, 5_000, 200
SIZE, META = 64 << 20, {"instruments": []}
TARGET_NS = 200


@jit
def append_many(journal, first, count, samples):
    """Ticks of each entry into int64 ``samples``; how many were written."""
    written = 0
    for index in range(count):
        start = rdtsc()
        tail = entry_tail(U64(1), U64(NEW), U64(0), U64(0), U64(0))
        done = journal_append(journal, first + U64(index), np.int64(60_000), np.int64(100), U64(3), np.int64(0), tail)
        store_i64(samples + U64(8) * U64(index), np.int64(rdtscp() - start))
        written += done
    return written


@jit
def append_and_sync(journal, first, count, samples):
    """The same with the disk waited for each time."""
    written = 0
    for index in range(count):
        start = rdtsc()
        tail = entry_tail(U64(1), U64(NEW), U64(0), U64(0), U64(0))
        journal_append(journal, first + U64(index), np.int64(60_000), np.int64(100), U64(3), np.int64(0), tail)
        written += journal_sync(journal)
        store_i64(samples + U64(8) * U64(index), np.int64(rdtscp() - start))
    return written


class Ours:
    """A journal in a folder; the keeper's turn is taken between two batches, as its thread would."""

    def __init__(self, folder: Path, ns_per_tick: float, sync_each: bool = False) -> None:
        folder.mkdir()
        self._memory, self._ns = aligned(JOURNAL.itemsize).view(JOURNAL), ns_per_tick
        self.writer = JournalWriter(folder, self._memory, META, 1, SIZE, sync_each, 0, Recovered([]))
        self._address, self.written = np.uint64(self._memory.ctypes.data), 0

    def batches(self, count: int, size: int, append: Callable[..., int]) -> np.ndarray:
        samples = np.zeros((count, size), np.int64)
        samples[:] = 1
        for batch in samples:
            self.writer._turn()
            first, address = np.uint64(self.written + 1), np.uint64(batch.ctypes.data)
            self.written += int(append(self._address, first, np.int64(size), address))
        return samples.reshape(-1) * self._ns


def timed(count: int, action: Callable[[int], object]) -> np.ndarray:
    samples = np.zeros(count)
    for index in range(count):
        start = time.perf_counter_ns()
        action(index)
        samples[index] = time.perf_counter_ns() - start
    return samples


def in_python(folder: Path) -> Callable[[], np.ndarray]:
    fd, pack = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND), struct.Struct("<IIqQqqQqIBBBB").pack
    return lambda: timed(SLOW, lambda i: os.write(fd, pack(0, i, 1, i, 60_000, 100, 3, 0, 1, 16, 0, 0, 0)))


def in_sqlite(folder: Path) -> Callable[[], np.ndarray]:
    base = sqlite3.connect(folder / "sqlite", isolation_level=None)
    base.execute("pragma journal_mode = wal")
    base.execute("pragma synchronous = off")
    base.execute("create table entries (seq, time_ns, id, price, qty, a, b, instrument, kind)")
    row = "insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    return lambda: timed(SLOW, lambda i: base.execute(row, (i, 1, i, 60_000, 100, 3, 0, 1, 16)))


def test_an_entry(report: Report, tmp_path: Path) -> None:
    pin(cpus(1)[0])
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    ns = float(clock["ns_per_tick"][0])
    ours, synced = Ours(tmp_path / "ours", ns), Ours(tmp_path / "synced", ns, sync_each=True)
    library = compile_cpp("journal.cpp", tmp_path, "-msse4.2")
    theirs = make_file(tmp_path, 1, 1, SIZE, META)

    def in_cpp() -> np.ndarray:
        samples = np.ones((BATCHES, BATCH), np.int64)
        theirs.populate(theirs.base, theirs.base + BATCH * 64)
        for batch in samples:
            library.append_many(
                *(np.ctypeslib.ctypes.c_uint64(x) for x in (theirs.at, BATCH, theirs.seed, batch.ctypes.data))
            )
        return samples.reshape(-1) * ns

    ours.batches(1, BATCH, append_many), synced.batches(1, 2, append_and_sync), in_cpp()
    series = interleave(
        {
            "ours": lambda: ours.batches(BATCHES, BATCH, append_many), "C++": in_cpp,
            "os.write of a struct": in_python(tmp_path), "SQLite, synchronous = off": in_sqlite(tmp_path),
            "ours, disk waited for": lambda: synced.batches(1, SYNCED, append_and_sync),
        },
        REPETITIONS,
    )  # fmt: skip
    mine = series["ours"]
    report.row(
        "journal",
        "one entry",
        **mine.figures(),
        ok=mine["p50"] <= TARGET_NS,
        note=f"target p50 {TARGET_NS} ns; {mine.spread('p50')}",
    )
    bars = {"C++": "<= 1.60", "os.write of a struct": "<= 0.20", "SQLite, synchronous = off": "<= 0.05"}
    for name, bar in bars.items():
        report.row(
            "journal", "one entry", name, **series[name].figures(), ratio=ratio(mine, series[name], "p50"), bar=bar
        )
    report.row(
        "journal",
        "one entry on the disk (every_order)",
        **series["ours, disk waited for"].figures(),
        note="this disk's figure",
    )
    ours.writer._thread.start()
    ours.writer.close()
    files = sorted((tmp_path / "ours").glob("*.journal"))
    assert sum(int((read_file(path).entries["kind"] == NEW).sum()) for path in files) == ours.written > BATCH
