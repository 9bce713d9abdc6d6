"""What a matching book holds, asked without changing it: orders, levels, and how much could be taken.

Plain functions on the book's address, as the operations in :mod:`hftpipe.simulation.matching.engine`.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.records import BID, BUY
from hftpipe.simulation.matching.levels import level_above, level_at, level_below
from hftpipe.simulation.matching.memory import (
    MATCHING,
    ORDER,
    PRICE_LEVEL,
    STP_CANCEL_TAKER,
    STP_NONE,
    id_find,
    order_at,
)

__all__ = ["best_opposite", "match_best", "match_fillable", "match_level_qty", "match_next_level", "match_order"]


@jit
def best_opposite(book, side):
    """Window index of the best price that an order of ``side`` would take; beyond the window if there is none."""
    m = view(book, MATCHING)
    return m.best_ask if side == BUY else m.best_bid


@jit
def match_fillable(book, owner, side, limit, qty, stp, max_makers):
    """How much of ``qty`` an order of ``side`` could take now from at most ``max_makers`` resting orders.

    ``limit`` is a window index (:data:`MATCHING`.base_tick is index 0); orders of ``owner`` count as ``stp`` says.
    """
    total, makers = np.int64(0), np.int64(0)
    at = best_opposite(book, side)
    window = view(book, MATCHING).window
    while at >= 0 and at < window and (at <= limit if side == BUY else at >= limit):
        index = np.int64(view(level_at(book, at), PRICE_LEVEL).head)
        while index != 0:
            maker = view(order_at(book, index), ORDER)
            own = stp != STP_NONE and np.int64(maker.owner) == owner
            if makers >= max_makers or total >= qty or (own and stp == STP_CANCEL_TAKER):
                return min(total, qty)
            makers += 1
            if not own:
                total += maker.qty
            index = maker.next
        at = level_above(book, at) if side == BUY else level_below(book, at)
    return min(total, qty)


@jit
def match_order(book, id_):
    """Address of the resting order ``id_``, to be viewed as ORDER; 0 if there is none."""
    index = id_find(book, id_)
    return order_at(book, index) if index != 0 else ZERO


@jit
def _level(book, index):
    """``(price, qty)`` of a window index; (0, 0) outside the window."""
    m = view(book, MATCHING)
    if index < 0 or index >= m.window:
        return np.int64(0), np.int64(0)
    return (m.base_tick + index) * m.tick, view(level_at(book, index), PRICE_LEVEL).qty


@jit
def match_best(book, side):
    """Best level of a side: ``(price, qty)``, (0, 0) if the side is empty."""
    m = view(book, MATCHING)
    return _level(book, m.best_bid if side == BID else m.best_ask)


@jit
def match_next_level(book, side, price):
    """The next level of ``side`` away from the touch after ``price`` (within the window): ``(price, qty)`` or (0, 0)."""
    m = view(book, MATCHING)
    index = price // m.tick - m.base_tick
    if side == BID:
        return _level(book, level_below(book, index))
    return _level(book, level_above(book, index))


@jit
def match_level_qty(book, side, price):
    """Quantity of ``side`` resting at ``price``; 0 if there is none."""
    m = view(book, MATCHING)
    index = price // m.tick - m.base_tick
    held = index <= m.best_bid if side == BID else index >= m.best_ask
    if not held or price % m.tick != 0:
        return np.int64(0)
    return _level(book, index)[1]
