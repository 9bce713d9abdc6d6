"""Orders of ours that could meet orders of ours, whichever strategy they are of: self-match prevention before the venue's own.

Of each instrument the highest price at which anything of ours may buy is kept, and the lowest at which it may sell: bounds that are
never too narrow. They widen with each approved order and are made exact again (:func:`narrow`) when an order would
cross one, so that the orders are looked through only then. A price counts for as long as its order is open, UNKNOWN or not, and of a
replace under way both prices do; an order without a price may trade at any.
"""

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import BUY, MARKET, TIF_MASK
from hftpipe.core.trading.order_table import ORDER, may_be_replaced, open_count, open_order

#: One instrument; nothing of ours: 0 and the largest number.
TOUCH = np.dtype([("highest_buy", "i8"), ("lowest_sell", "i8")])
TOUCH_BYTES = np.uint64(TOUCH.itemsize)
_ANY_BUY, _ANY_SELL = np.int64(INT64_MAX), np.int64(0)


@jit
def _limit(side, flags, price):
    """The worst price at which an order may trade."""
    if flags & TIF_MASK == MARKET:
        return _ANY_BUY if side == BUY else _ANY_SELL
    return price


@jit
def crosses(touch, side, flags, price):
    """Whether an order could trade with an open one on the other side of a TOUCH."""
    t = view(touch, TOUCH)
    limit = _limit(side, flags, price)
    return (
        limit >= t.lowest_sell and t.lowest_sell != INT64_MAX
        if side == BUY
        else limit <= t.highest_buy and t.highest_buy != 0
    )


@jit
def widen(touch, side, flags, price):
    """An order was approved."""
    t = view(touch, TOUCH)
    limit = _limit(side, flags, price)
    if side == BUY:
        t.highest_buy = max(t.highest_buy, limit)
    else:
        # 1: an order without a price, below all that have one.
        t.lowest_sell = min(t.lowest_sell, max(limit, np.int64(1)))


@jit
def narrow(touch, table, instrument):
    """Make the TOUCH of an instrument what its open orders make it."""
    t = view(touch, TOUCH)
    t.highest_buy, t.lowest_sell = np.int64(0), np.int64(INT64_MAX)
    for index in range(open_count(table)):
        order = view(open_order(table, index), ORDER)
        if order.instrument != instrument:
            continue
        widen(touch, order.side, order.flags, order.price)
        if may_be_replaced(order):
            widen(touch, order.side, order.flags, order.new_price)
