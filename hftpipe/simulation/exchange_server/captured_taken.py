"""What participants took of the levels of a captured market, which goes on showing it.

Of a level, what leaves was taken as long as there is any of that; only what is added is new (decision 0013). A table per
instrument remembers :data:`MAX_TAKEN` levels; one more is not remembered and becomes whole when the capture next speaks
of it (``not_remembered``).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.trading.book import book_qty_at
from hftpipe.core.trading.books import book_at
from hftpipe.simulation.exchange_server.captured_state import CAPTURED, MAX_TAKEN, REACH, TAKEN
from hftpipe.simulation.flow.state import FLOW_OWNER
from hftpipe.simulation.matching.memory import EVENT

_REACH_BYTES, _TAKEN_BYTES = np.uint64(REACH.itemsize), np.uint64(TAKEN.itemsize)


@jit
def _reach(c, instrument):
    return view(c.reach + _REACH_BYTES * U64(instrument), REACH)


@jit
def _row(c, instrument, index):
    return view(c.taken + _TAKEN_BYTES * (U64(MAX_TAKEN) * U64(instrument) + U64(index)), TAKEN)


@jit
def _find(c, instrument, side, price):
    for index in range(_reach(c, instrument).n_taken):
        row = _row(c, instrument, index)
        if row.price == price and row.side == side:
            return index
    return np.int64(-1)


@jit
def note_taken(captured, instrument, side, price, qty):
    """A participant has had ``qty`` of the captured level at ``price`` (CAPTURED at address ``captured``)."""
    c = view(captured, CAPTURED)
    index, reach = _find(c, instrument, side, price), _reach(c, instrument)
    if index < 0:
        if reach.n_taken == MAX_TAKEN:
            c.not_remembered += 1
            return
        index = reach.n_taken
        reach.n_taken += 1
        row = _row(c, instrument, index)
        row.side, row.price, row.qty = side, price, 0
        row.shown = book_qty_at(book_at(c.books, instrument), side, price)
    _row(c, instrument, index).qty += qty


@jit
def note_execution(captured, instrument, event):
    """The same from the EXECUTE at address ``event``, if a participant met an order of the captured market."""
    e = view(event, EVENT)
    if e.maker_owner == FLOW_OWNER and e.owner != FLOW_OWNER:
        note_taken(captured, instrument, 1 - np.int64(e.side), e.price, e.qty)


@jit
def taken_at(captured, instrument, side, price):
    """What participants have of a level as the capture last spoke of it."""
    c = view(captured, CAPTURED)
    index = _find(c, instrument, side, price)
    return _row(c, instrument, index).qty if index >= 0 else np.int64(0)


@jit
def _hear(c, instrument, index):
    """The capture's book may have changed: bring one row up to date; False when nothing of it is left."""
    row = _row(c, instrument, index)
    shown = book_qty_at(book_at(c.books, instrument), row.side, row.price)
    row.qty = max(row.qty - max(row.shown - shown, np.int64(0)), np.int64(0))
    row.shown = shown
    return row.qty > 0


@jit
def hear_captured(captured, instrument):
    """Bring all that was taken of an instrument up to date with the capture's book."""
    c, index = view(captured, CAPTURED), np.int64(0)
    reach = _reach(c, instrument)
    while index < reach.n_taken:
        if _hear(c, instrument, index):
            index += 1
            continue
        reach.n_taken -= 1
        row, last = _row(c, instrument, index), _row(c, instrument, reach.n_taken)
        row.side, row.price, row.shown, row.qty = last.side, last.price, last.shown, last.qty
