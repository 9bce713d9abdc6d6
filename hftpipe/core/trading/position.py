"""Position, average entry price, realised PnL and fees, in integers (linear contracts and spot).

Average-cost method: a fill in the direction of the position adds its value to ``cost``; a fill against it takes
out the same share of ``cost`` and realises the difference; what is left of a fill that passes zero opens the other
way at its own price. Rounding remainders stay in ``cost``, so that at every moment, exactly::

    realised + (mark value of qty - cost)  ==  sum of sells - sum of buys + mark value of qty

The same total in the parts it came from. Each fill is also valued at ``mark``, the mid of the market when it was booked
(its own price before there is one), and ``at_mid`` is the sum of those values::

    captured   =  at_mid - (sum of buys - sum of sells)     the edge of each fill against its mid
    inventory  =  mark value of qty - at_mid                what the mid did while we held the position
    net        =  captured + inventory - fees

Nothing is left over: captured + inventory is the total above by construction, whatever was rounded on the way.
"""

import numpy as np

from hftpipe.core.machine.fixed import OVERFLOW, muldiv, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, FEE_ASSET


@jit
def _open(p, signed_qty, value):
    """Grow the position; ``value`` is the positive value of the fill."""
    p.qty += signed_qty
    p.cost += value if signed_qty > 0 else -value


@jit
def _close(p, signed_qty, value):
    """Shrink the position by ``signed_qty`` (against it, at most all of it) and realise the difference."""
    share = p.cost if -signed_qty == p.qty else muldiv(p.cost, -signed_qty, abs(p.qty))
    if p.qty < 0 and -signed_qty != p.qty:
        share = -share
    proceeds = value if signed_qty < 0 else -value
    p.realised += proceeds - share
    p.cost -= share
    p.qty += signed_qty


@jit
def _value_at_mid(p, signed_qty, value):
    """Signed value of a fill at the mark; its own without one, or when that does not fit."""
    marked = notional(p.mark, signed_qty) if p.mark > 0 else np.int64(OVERFLOW)
    if marked == np.int64(OVERFLOW):
        return value if signed_qty > 0 else -value
    return marked


@jit
def _count_taker(p, fee, value):
    p.taker_fees += fee
    p.taker_fills += 1
    p.taker_turnover += value


@jit
def quote_fee(execution):
    """What a fill (an EXECUTION) costs in the instrument's quote currency (1e-8): 0 where its fee is in another asset."""
    return execution.fee if execution.flags >> FEE_ASSET == 0 else np.int64(0)


@jit
def position_fill(position, side, price, qty, fee, is_maker):
    """Book one fill on the POSITION record at address ``position``.

    Args:
        side: BUY or SELL; price, qty: positive 1e-8; fee: 1e-8 quote units, negative for a rebate.
        is_maker: whether the order was resting.

    Returns:
        False (and ``overflows`` + 1) when the value does not fit an int64: nothing but the counter changes.
    """
    p = view(position, POSITION)
    value = notional(price, qty)
    if value == np.int64(OVERFLOW):
        p.overflows += 1
        return False
    signed = qty if side == BUY else -qty
    if p.qty == 0 or (p.qty > 0) == (signed > 0):
        _open(p, signed, value)
    elif qty <= abs(p.qty):
        _close(p, signed, value)
    else:
        closing = abs(p.qty)
        part = notional(price, closing)
        _close(p, -p.qty, part)
        _open(p, signed - closing if signed > 0 else signed + closing, value - part)
    p.at_mid += _value_at_mid(p, signed, value)
    if not is_maker:
        _count_taker(p, fee, value)
    p.fees += fee
    p.fills += 1
    p.turnover += value
    if side == BUY:
        p.bought_qty += qty
    else:
        p.sold_qty += qty
    return True


@jit
def average_price(position):
    """Average entry price (1e-8), 0 when flat."""
    p = view(position, POSITION)
    if p.qty == 0:
        return np.int64(0)
    return abs(muldiv(p.cost, np.int64(100_000_000), abs(p.qty)))


@jit
def unrealised(position, mark):
    """Profit (1e-8 quote units) of closing everything at ``mark``, before fees; 0 without a mark."""
    p = view(position, POSITION)
    if p.qty == 0 or mark <= 0:
        return np.int64(0)
    return notional(mark, p.qty) - p.cost
