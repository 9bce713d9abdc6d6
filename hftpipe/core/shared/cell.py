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

CELL_BYTES = 64
CELL_WORDS = 8
READ_TRIES = 1000
_EVEN = ~ONE

#: Top of book of one instrument. ``local_ts`` is the event time (ns) of the last change.
TOP_CELL = np.dtype(
    [
        ("version", "u8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("local_ts", "i8"), ("state", "i8"), ("update_id", "u8"),
    ],
    align=True,
)  # fmt: skip

#: Halt state of the whole pipeline: ``halted`` 0 or 1, ``cause`` from HALT_CAUSES, times in ns.
HALT_CELL = np.dtype(
    [("version", "u8"), ("halted", "i8"), ("cause", "i8"), ("local_ts", "i8"), ("_pad", "i8", 4)], align=True
)
HALT_CAUSES = {
    0: "none", 1: "stage_died", 2: "heartbeat_lost", 3: "operator", 4: "invariant", 5: "strategy_stalled",
    6: "orphan_fill", 7: "broken_trade", 8: "venue_forgot", 9: "stopping", 10: "login_refused", 11: "unreadable_latch",
    14: "strategy_fault", 15: "wrong_terms", 16: "overfill", 17: "late_fill", 18: "unreadable_report",
    19: "position_limit",
}  # fmt: skip
#: Causes of a VENUE_FAULT: an execution of an order we do not know, an execution taken back, our orders lost there, no
#: session with it, an order held there on other terms than asked for, a message that cannot be read.
ORPHAN_FILL, BROKEN_TRADE, VENUE_FORGOT, LOGIN_REFUSED, WRONG_TERMS, UNREADABLE_REPORT = 6, 7, 8, 10, 15, 18
#: What a stage finds itself: more executed than ordered, an order executed after its end, a position beyond its limit.
OVERFILL, LATE_FILL, POSITION_LIMIT = 16, 17, 19
#: The run is asked to end: everything is cancelled first. Nothing went wrong.
STOPPING = 9


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
