"""The displayed book as an order meets it: live levels, best first, less what we have already taken from them.

Level 0 is the published top (of the depth stream or of a newer best bid/ask message); behind it come the depth
levels that are strictly worse. A depth level better than a newer top is stale: nothing can be traded there.
"""

import numpy as np

from hftpipe.core.book import BOOK, book_first_live, book_level, book_qty_at
from hftpipe.core.jit import jit
from hftpipe.core.mem import U64, view
from hftpipe.core.records import BID, VALID
from hftpipe.sim.exchange_state import CONSUMED, CONSUMED_BYTES, MAX_CONSUMED
from hftpipe.sim.own_orders import better


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
def shown_id(book, side, price):
    """Update id of what is known about ``price``: the top's at or before the top, the depth stream's behind it."""
    b = view(book, BOOK)
    top, _qty = top_of(book, side)
    if top == 0 or price == top or better(side, price, top):
        return b.top_id
    return b.update_id


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
    return m.consumed + U64(CONSUMED_BYTES) * U64(side * MAX_CONSUMED + index)


@jit
def consumed_at(m, side, price):
    """What we have taken from the level at ``price`` since it last changed."""
    for index in range(m.n_consumed[side]):
        entry = view(_entry(m, side, index), CONSUMED)
        if entry.price == price:
            return entry.qty
    return np.int64(0)


@jit
def can_consume(m, side):
    """Whether one more level of the side can be remembered as consumed."""
    return m.n_consumed[side] < MAX_CONSUMED


@jit
def consume(m, side, price, shown, qty):
    """Remember ``qty`` more taken from a level that shows ``shown``; the caller has asked :func:`can_consume`."""
    for index in range(m.n_consumed[side]):
        entry = view(_entry(m, side, index), CONSUMED)
        if entry.price == price:
            entry.qty += qty
            return
    entry = view(_entry(m, side, m.n_consumed[side]), CONSUMED)
    entry.price, entry.shown, entry.qty = price, shown, qty
    m.n_consumed[side] += 1


@jit
def forget_refreshed(m):
    """After a change of the book: forget what was taken from levels that now show another quantity."""
    for side in range(2):
        index = np.int64(0)
        while index < m.n_consumed[side]:
            entry = view(_entry(m, side, index), CONSUMED)
            if shown_at(m.book, side, entry.price) == entry.shown:
                index += 1
                continue
            m.n_consumed[side] -= 1
            last = view(_entry(m, side, m.n_consumed[side]), CONSUMED)
            entry.price, entry.shown, entry.qty = last.price, last.shown, last.qty
