"""The true books of the simulated exchange at every sequence number, and the comparison with a feed's.

The engine's own events become a HISTORY: one CHANGE for each level a message alters. A TRUTH is a dense array of
quantities by price that follows a history up to any message; a second one, fed with the records that a feed hands on,
shows what the rest of the pipeline sees. Nothing here reads ITCH.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, load_i64, store_i64, view
from hftpipe.core.schema.records import BOOK_RESET, LEVEL, RECORD, RECORD_BYTES
from hftpipe.core.trading.book import BOOK, book_walk, book_walk_level, book_walk_next
from hftpipe.simulation.matching.engine import match_event, match_event_count
from hftpipe.simulation.matching.memory import ADD, EVENT, EXECUTE, EXPIRE, MATCHING, ORDER, REPLACE, order_at
from hftpipe.simulation.matching.query import match_best, match_level_qty, match_next_level

INSTRUMENTS, SIDES = 2, 2
#: Prices are kept by tick, from 0 on; every instrument of the campaign has this tick (1e-8).
TICK, TICKS = 10**6, 1 << 15
CHANGES = 1 << 15
CHANGE = np.dtype([("sequence", "u8"), ("cell", "i8"), ("qty", "i8")], align=True)
#: ``head``: a TRUTH that is always as new as the history. ``wrong``: levels where it is not the engine's.
HISTORY = np.dtype([("changes", "u8"), ("count", "i8"), ("head", "u8"), ("wrong", "i8"), ("dropped", "i8")], align=True)
#: ``next``: first change that has not been applied.
TRUTH = np.dtype([("cells", "u8"), ("next", "i8"), ("levels", "i8", INSTRUMENTS * SIDES)], align=True)
_CHANGE_BYTES = np.uint64(CHANGE.itemsize)


class Truth:
    """Quantities by price of every book; ``address`` is that of its TRUTH."""

    def __init__(self) -> None:
        self.cells = np.zeros((INSTRUMENTS, SIDES, TICKS), np.int64)
        self.state = np.zeros(1, TRUTH)
        self.state["cells"] = self.cells.ctypes.data
        self.address = np.uint64(self.state.ctypes.data)

    def clear(self) -> None:
        """Empty books, before the first change."""
        self.cells[:] = 0
        self.state["next"], self.state["levels"] = 0, 0


class History:
    """What the engine did in one session; ``address`` is that of its HISTORY."""

    def __init__(self) -> None:
        self._changes, self.head = np.zeros(CHANGES, CHANGE), Truth()
        self.state = np.zeros(1, HISTORY)
        self.state["changes"], self.state["head"] = self._changes.ctypes.data, self.head.address
        self.address = np.uint64(self.state.ctypes.data)


@jit
def _cell(instrument, side, price):
    return (instrument * SIDES + side) * TICKS + price // TICK


@jit
def _put(truth, cell, qty):
    """Set a level."""
    t = view(truth, TRUTH)
    at = t.cells + U64(8) * U64(cell)
    before = load_i64(at)
    t.levels[cell // TICKS] += np.int64(qty != 0) - np.int64(before != 0)
    store_i64(at, qty)


@jit
def _qty(truth, cell):
    return load_i64(view(truth, TRUTH).cells + U64(8) * U64(cell))


@jit
def _note(history, sequence, cell, by):
    """A message altered a level ``by`` so much."""
    h = view(history, HISTORY)
    if h.count >= CHANGES:
        h.dropped += 1
        return
    qty = _qty(h.head, cell) + by
    c = view(h.changes + _CHANGE_BYTES * U64(h.count), CHANGE)
    c.sequence, c.cell, c.qty = sequence, cell, qty
    h.count += 1
    _put(h.head, cell, qty)


@jit
def _note_replace(history, book, instrument, e, sequence):
    """An order left one level for another (or the same): how much it had is what the engine's levels say."""
    side = np.int64(e.side)
    old, new = _cell(instrument, side, e.old_price), _cell(instrument, side, e.price)
    left = match_level_qty(book, side, e.old_price) - (e.qty if old == new else np.int64(0))
    _note(history, sequence, old, left - _qty(view(history, HISTORY).head, old))
    # With its number unchanged it is a deletion and an addition on the wire.
    sequence += ONE if e.order_id == e.maker_id else U64(0)
    _note(history, sequence, new, e.qty)
    return sequence + ONE


@jit
def note_events(history, book, instrument, sequence):
    """Add a book's events, the first of which is message ``sequence``; returns the sequence after them."""
    h = view(history, HISTORY)
    for index in range(match_event_count(book)):
        e = view(match_event(book, np.int64(index)), EVENT)
        if e.kind == EXPIRE:
            continue
        if e.kind == REPLACE:
            sequence = _note_replace(history, book, instrument, e, sequence)
            continue
        side = np.int64(e.side)
        side = 1 - side if e.kind == EXECUTE else side
        _note(history, sequence, _cell(instrument, side, e.price), e.qty if e.kind == ADD else -e.qty)
        sequence += ONE
    for index in range(match_event_count(book)):
        e = view(match_event(book, np.int64(index)), EVENT)
        for side in range(SIDES):
            cell = _cell(instrument, np.int64(side), e.price)
            if e.kind != EXPIRE and _qty(h.head, cell) != match_level_qty(book, np.int64(side), e.price):
                h.wrong += 1
    return sequence


@jit
def note_book(history, book, instrument, sequence):
    """Add every resting order, first slot to last, as a session's opening publishes them; returns as above."""
    m = view(book, MATCHING)
    for index in range(1, m.max_orders + 1):
        order = view(order_at(book, np.int64(index)), ORDER)
        if order.id != U64(0) and order.qty > 0:
            _note(history, sequence, _cell(instrument, np.int64(order.side), order.tick * m.tick), order.qty)
            sequence += ONE
    return sequence


@jit
def follow(truth, history, sequence):
    """Apply the changes of every message before ``sequence``."""
    t, h = view(truth, TRUTH), view(history, HISTORY)
    while t.next < h.count:
        c = view(h.changes + _CHANGE_BYTES * U64(t.next), CHANGE)
        if c.sequence >= sequence:
            return
        _put(truth, c.cell, c.qty)
        t.next += 1


@jit
def tell(truth, records, count):
    """Apply ``count`` market RECORDs; returns how many of them were level changes."""
    t, levels = view(truth, TRUTH), np.int64(0)
    for index in range(count):
        r = view(records + U64(RECORD_BYTES) * U64(index), RECORD)
        instrument = np.int64(r.instrument)
        if r.kind == LEVEL:
            _put(truth, _cell(instrument, np.int64(r.side), r.price), r.qty)
            levels += 1
        elif r.kind == BOOK_RESET:
            for cell in range(instrument * SIDES * TICKS, (instrument + 1) * SIDES * TICKS):
                store_i64(t.cells + U64(8) * U64(cell), np.int64(0))
            for side in range(SIDES):
                t.levels[instrument * SIDES + side] = 0
    return levels


@jit
def wrong_level(truth, told, book, instrument):
    """Where a feed's book, or what was ``told`` of it, is not the truth: side * TICKS + tick, -1 if nowhere."""
    t, other, b = view(truth, TRUTH), view(told, TRUTH), view(book, BOOK)
    for side in range(SIDES):
        row = instrument * SIDES + side
        held = b.n_bids if side == 0 else b.n_asks
        cursor = book_walk(book, np.int64(side), np.int64(0))
        while cursor >= 0:
            price, qty = book_walk_level(book, np.int64(side), cursor)
            cell = _cell(instrument, np.int64(side), price)
            if _qty(truth, cell) != qty or _qty(told, cell) != qty:
                return side * TICKS + price // TICK
            cursor = book_walk_next(book, np.int64(side), cursor)
        if t.levels[row] != held or other.levels[row] != held:
            return np.int64(side * TICKS)
    return np.int64(-1)


@jit
def wrong_engine_level(truth, book, instrument):
    """The same for the engine's own book: every level of it, and no other."""
    for side in range(SIDES):
        count = np.int64(0)
        price, qty = match_best(book, np.int64(side))
        while qty != 0:
            if _qty(truth, _cell(instrument, np.int64(side), price)) != qty:
                return side * TICKS + price // TICK
            count += 1
            price, qty = match_next_level(book, np.int64(side), price)
        if view(truth, TRUTH).levels[instrument * SIDES + side] != count:
            return np.int64(side * TICKS)
    return np.int64(-1)
