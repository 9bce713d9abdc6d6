"""Last-value cells (seqlock): one writer, any number of readers, no reader ever blocks the writer.

A cell is one or more cache lines of uint64 words; word 0 is the version, odd while a write is under way. The
payload words are atomics too, so that a torn read is a retry and not undefined behaviour (Boehm, "Can seqlocks
get along with programming language memory models?", MSPC 2012).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    ONE,
    U64,
    address_of,
    fence_acquire,
    fence_release,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
    view,
)
from hftpipe.core.schema.cells import CELL_WORDS, TOP_CELL

READ_TRIES = 1000
_EVEN = ~ONE


@jit
def cell_write(cell, source):
    """Writer: publish the seven payload words at ``source`` (same layout; its version word is ignored).

    An odd version is what a writer that died half-way left behind: this write completes it.
    """
    version = load_relaxed(cell) & _EVEN
    store_relaxed(cell, version + ONE)
    fence_release()
    for word in range(1, CELL_WORDS):
        offset = U64(8 * word)
        store_relaxed(cell + offset, load_relaxed(source + offset))
    store_release(cell, version + U64(2))


@jit
def cell_read(cell, target):
    """Reader: copy the cell to ``target``; False if the writer kept writing through READ_TRIES attempts."""
    for _ in range(READ_TRIES):
        version = load_acquire(cell)
        if version & ONE:
            continue
        for word in range(1, CELL_WORDS):
            offset = U64(8 * word)
            store_relaxed(target + offset, load_relaxed(cell + offset))
        fence_acquire()
        if load_relaxed(cell) == version:
            store_relaxed(target, version)
            return True
    return False


@jit
def write_top(cell, scratch, bid, bid_qty, ask, ask_qty, local_ts, state, update_id):
    """Writer: publish a top of book through ``scratch`` (a private TOP_CELL)."""
    s = view(scratch, TOP_CELL)
    s.bid, s.bid_qty, s.ask, s.ask_qty = bid, bid_qty, ask, ask_qty
    s.local_ts, s.state, s.update_id = local_ts, state, update_id
    cell_write(cell, address_of(s))


@jit
def halted(cell):
    """Whether the halt cell is set; one relaxed load."""
    return load_relaxed(cell + U64(8)) != U64(0)


def set_halt(cell: np.ndarray, is_halted: bool, cause: int, local_ts: int) -> None:
    """Cold writer of the halt cell (the supervisor or an operator): ``cell`` is a HALT_CELL array of length 1."""
    version = int(cell["version"][0]) & ~1
    cell["version"] = version + 1
    cell["cause"], cell["local_ts"] = cause, local_ts
    cell["halted"] = int(is_halted)
    cell["version"] = version + 2
