"""The displayed book as an order meets it: live levels, best first, less what we have already taken from them.

Level 0 is the published top (of the depth stream or of a newer best bid/ask message); behind it come the depth
levels that are strictly worse. A depth level better than a newer top is stale: nothing can be traded there.

Of a book that only hears best prices the top is all there is: whoever takes it gets no farther, and what it says is the newest
word on every price.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.records import BID, VALID
from hftpipe.core.trading.book import BOOK, book_first_live, book_level, book_qty_at, is_top_only
from hftpipe.venues.paper.own_orders import better
from hftpipe.venues.paper.state import CONSUMED, CONSUMED_BYTES


@jit
def book_open(book):
    """Whether orders can be matched: VALID and not crossed. A side may be empty."""
    b = view(book, BOOK)
    return b.state == VALID and (b.bid == 0 or b.ask == 0 or b.bid < b.ask)


@jit
def top_of(book, side):
    """Published best ``(price, qty)`` of a side; (0, 0) when empty."""
    b = view(book, BOOK)
    if side == BID:
        return b.bid, b.bid_qty
    return b.ask, b.ask_qty


@jit
def shown_at(book, side, price):
    """Displayed quantity at ``price``, the newest word winning: 0 where the published top says there is nothing."""
    top, qty = top_of(book, side)
    if price == top:
        return qty
    if top == 0 or better(side, price, top):
        return np.int64(0)
    return book_qty_at(book, side, price)


@jit
def is_topmost(book, side, price):
    """Whether the published top is what speaks of ``price``: it is at or before the top, or the side is empty."""
    top, _qty = top_of(book, side)
    return top == 0 or price == top or better(side, price, top)


@jit
def shown_id(book, side, price):
    """Update id of what is known about ``price``: the top's at or before the top, the depth stream's behind it."""
    b = view(book, BOOK)
    return b.top_id if is_topmost(book, side, price) or is_top_only(book) else b.update_id


@jit
def behind_top(book, side):
    """Index of the first depth level strictly worse than the published top."""
    top, _qty = top_of(book, side)
    index = book_first_live(book, side)
    price, _shown = book_level(book, side, index)
    return index + 1 if price == top else index


@jit
def live_level(book, side, behind, index):
    """Live level ``index`` from the best, ``behind`` from :func:`behind_top`: ``(price, shown)``, (0, 0) at the end."""
    if index == 0:
        return top_of(book, side)
    return book_level(book, side, behind + index - 1)


@jit
def _entry(m, side, index):
    return m.consumed + U64(CONSUMED_BYTES) * U64(side * m.most_consumed + index)


@jit
def find_consumed(m, side, price):
    """Index of what we took from the level at ``price``; -1 if that is nothing."""
    for index in range(m.n_consumed[side]):
        if view(_entry(m, side, index), CONSUMED).price == price:
            return index
    return np.int64(-1)


@jit
def consumed(m, side, index):
    """How much of a level is ours already (``index`` from :func:`find_consumed`)."""
    return view(_entry(m, side, index), CONSUMED).qty if index >= 0 else np.int64(0)


@jit
def available(m, side, index, shown):
    """What is left of a level that displays ``shown``, as far as the newest word on it goes."""
    if index < 0:
        return shown
    entry = view(_entry(m, side, index), CONSUMED)
    return entry.shown - entry.qty


@jit
def can_consume(m, side, index):
    """Whether taking from this level can be remembered."""
    return index >= 0 or m.n_consumed[side] < m.most_consumed


@jit
def consume(m, side, index, price, shown, qty):
    """Remember ``qty`` more taken from a level that displays ``shown``; the caller has asked :func:`can_consume`."""
    if index >= 0:
        view(_entry(m, side, index), CONSUMED).qty += qty
        return
    entry = view(_entry(m, side, m.n_consumed[side]), CONSUMED)
    entry.price, entry.shown, entry.qty, entry.id = price, shown, qty, shown_id(m.book, side, price)
    m.n_consumed[side] += 1


@jit
def _hear(m, side, entry):
    """News of a level that we took from: what has left it was ours, what is added is new. Older news changes nothing."""
    id_ = shown_id(m.book, side, entry.price)
    if id_ < entry.id:
        return
    shown = shown_at(m.book, side, entry.price)
    entry.qty = max(entry.qty - max(entry.shown - shown, np.int64(0)), np.int64(0))
    entry.shown, entry.id = shown, id_


@jit
def hear_changes(m):
    """After a change of the book: bring what we took up to date, and forget where nothing of it is left.

    A level of which a newer top spoke last is kept until the depth stream, which shows it again, has caught up.
    """
    b = view(m.book, BOOK)
    depth_id = b.top_id if is_top_only(m.book) else b.update_id
    for side in range(2):
        index = np.int64(0)
        while index < m.n_consumed[side]:
            entry = view(_entry(m, side, index), CONSUMED)
            _hear(m, side, entry)
            if entry.qty > 0 or entry.id > depth_id:
                index += 1
                continue
            m.n_consumed[side] -= 1
            last = view(_entry(m, side, m.n_consumed[side]), CONSUMED)
            entry.price, entry.shown, entry.qty, entry.id = last.price, last.shown, last.qty, last.id


@jit
def hear_anything(m, side):
    """The book is replaced: whatever it says next of the levels we took from is newer."""
    for index in range(m.n_consumed[side]):
        view(_entry(m, side, index), CONSUMED).id = ZERO
