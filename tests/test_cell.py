"""Cells: a reader sees one write whole, whatever the writer does, and whatever becomes of it."""

import os
import signal

import numpy as np
from memory import address, fork, join, record, shared

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    ONE,
    U64,
    fence_release,
    load_i64,
    load_relaxed,
    rdtsc,
    sched_yield,
    store_i64,
    store_relaxed,
)
from hftpipe.core.schema.cells import CELL_BYTES, HALT_CAUSES, HALT_CELL, TOP_CELL
from hftpipe.core.shared.cell import cell_read, cell_write, halted, set_halt, write_top

WRITES = 300_000
PATIENCE_TICKS = 100_000_000_000
STOP_AT, CELL_AT, SHARED_BYTES = 0, 64, 4096


@jit
def write_many(cell, scratch, stop, count, deadline_tsc):
    """Write (k, k, ... k) for k in 1..count and until ``stop`` is set; the last k."""
    k = np.int64(0)
    while k < count or (load_relaxed(stop) == U64(0) and rdtsc() < deadline_tsc):
        k += 1
        for word in range(1, 8):
            store_i64(scratch + U64(8 * word), k)
        cell_write(cell, scratch)
        if k % 1024 == 0:
            sched_yield()
    return k


@jit
def read_many(cell, target, count, deadline_tsc):
    """0 after ``count`` reads of which each was one write whole and none older than the one before."""
    last = np.int64(0)
    done = 0
    while done < count:
        if rdtsc() > deadline_tsc:
            return np.int64(3)
        if not cell_read(cell, target):
            sched_yield()
            continue
        k = load_i64(target + U64(8))
        for word in range(2, 8):
            if load_i64(target + U64(8 * word)) != k:
                return np.int64(1)
        if k < last:
            return np.int64(2)
        last = k
        done += 1
        if done % 1024 == 0:
            sched_yield()
    return np.int64(0)


@jit
def deadline(ticks):
    return rdtsc() + ticks


@jit
def begin_write_and_stop(cell):
    """The first half of a write: what a killed writer leaves."""
    store_relaxed(cell, load_relaxed(cell) + ONE)
    fence_release()
    store_relaxed(cell + U64(8), U64(666))


def test_readers_in_other_processes_never_see_two_writes_mixed() -> None:
    memory = shared(SHARED_BYTES)
    stop, cell = address(memory), address(memory) + np.uint64(CELL_AT)
    until = deadline(np.uint64(PATIENCE_TICKS))
    scratch, target = record(TOP_CELL), record(TOP_CELL)
    assert read_many(cell, address(target), np.int64(0), until) == 0
    write_many(cell, address(scratch), stop, np.int64(1), np.uint64(0))

    readers = [fork(lambda: bool(read_many(cell, address(target), np.int64(WRITES), until) == 0)) for _ in range(2)]
    writer = fork(lambda: bool(write_many(cell, address(scratch), stop, np.int64(WRITES), until) >= WRITES))
    codes = [join(pid) for pid in readers]
    memory[STOP_AT] = 1
    assert (codes, join(writer)) == ([0, 0], 0)


def test_a_cell_left_half_written_is_refused_and_the_next_write_mends_it() -> None:
    memory = shared(CELL_BYTES)
    cell, source, target = address(memory), record(TOP_CELL), record(TOP_CELL)
    source["bid"], source["ask"] = 100, 101
    cell_write(cell, address(source))
    begin_write_and_stop(np.uint64(record(TOP_CELL).ctypes.data))  # compiled before the fork

    def die_writing() -> None:
        begin_write_and_stop(cell)
        os.kill(os.getpid(), signal.SIGKILL)

    assert join(fork(die_writing)) == -signal.SIGKILL
    assert not cell_read(cell, address(target))
    for bid in (102, 103, 104):
        source["bid"] = bid
        cell_write(cell, address(source))
        assert cell_read(cell, address(target))
        assert int(target["bid"][0]) == bid and int(target["version"][0]) % 2 == 0


def test_a_top_is_read_back_field_by_field() -> None:
    cell, scratch, target = record(TOP_CELL), record(TOP_CELL), record(TOP_CELL)
    values = [np.int64(v) for v in (11, 12, 13, 14, 15, 2)]
    write_top(address(cell), address(scratch), *values, np.uint64(17))
    assert cell_read(address(cell), address(target))
    assert target[0].tolist()[1:] == (11, 12, 13, 14, 15, 2, 17)


def test_halt_is_one_word_and_carries_its_cause() -> None:
    cell, target = record(HALT_CELL), record(HALT_CELL)
    assert not halted(address(cell))
    set_halt(cell, True, 3, 99)
    assert halted(address(cell))
    assert cell_read(address(cell), address(target))
    assert (int(target["cause"][0]), int(target["local_ts"][0])) == (3, 99) and HALT_CAUSES[3] == "operator"
    set_halt(cell, False, 0, 100)
    assert not halted(address(cell))


def test_halt_works_on_a_cell_whose_last_writer_died() -> None:
    cell, target = record(HALT_CELL), record(HALT_CELL)
    cell["version"] = 7
    set_halt(cell, True, 1, 5)
    assert cell_read(address(cell), address(target)) and int(target["halted"][0]) == 1
