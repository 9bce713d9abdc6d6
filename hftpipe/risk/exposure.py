"""What our orders may still do to the position: risk is the single writer of the POSITION rows.

Exposure grows at the verdict (an approved order counts before the venue has seen it) and shrinks only on a report,
so at every moment ``|qty + working_buy|`` and ``|qty - working_sell|`` bound what the venue can have done to us.
Each order of risk's own table carries what it counts for in ``user``; ``working_buy`` and ``working_sell`` are the
sums of that over the orders of a side, and :func:`recount` is the only thing that changes either.

What an order counts for is ``remaining`` of ``core/trading/order_table.py``, the larger total for as long as a replace may be carried
out; how a report moves it stands in ``core/trading/order_reports.py``. A fill is booked whatever the state of its order, known
or not: the position follows the venue. No approved order can take a position beyond its limit, or beyond what was approved before the
limit was lowered; a fill that does so all the same was not asked for, and is BEYOND_LIMIT.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, EXECUTION, FILL, FILL_MAKER, RECORD, SELL
from hftpipe.core.trading.order_reports import (
    APPLIED,
    is_beside,
    move_beside,
    move_filled,
    move_reported,
    note_venue_id,
)
from hftpipe.core.trading.order_table import ORDER, is_open, order_find, remaining, unfilled
from hftpipe.core.trading.position import position_fill, quote_fee
from hftpipe.risk.crossing import TOUCH_BYTES, widen
from hftpipe.risk.desks import own_position
from hftpipe.risk.fees import book_fee
from hftpipe.risk.groups import groups_add
from hftpipe.risk.limits import LIMITS, LIMITS_BYTES
from hftpipe.risk.standings import count_execution
from hftpipe.risk.worth import regross, reprofit

POSITION_BYTES = np.uint64(POSITION.itemsize)
# What became of a report, as bits; 0 is the normal case.
LATE, UNKNOWN_ID, ILLEGAL_MOVE, TOO_MUCH, NOT_BOOKED, BEYOND_LIMIT, UNKNOWN_FEE = 1, 2, 4, 8, 16, 32, 64


@jit
def _work(position, buy, sell):
    """What may still fill on each side of a POSITION has changed by so much."""
    p = view(position, POSITION)
    p.working_buy += buy
    p.working_sell += sell


@jit
def recount(s, order):
    """Bring what may still fill, of the account, its strategy and its groups, up to date after any change of ``order``."""
    now = remaining(order)
    change = now - order.user
    buy, sell = (change, np.int64(0)) if order.side == BUY else (np.int64(0), change)
    _work(s.positions + U64(order.instrument) * POSITION_BYTES, buy, sell)
    own = own_position(s, order.strategy, order.instrument)
    if own != ZERO:
        _work(own, buy, sell)
    groups_add(s, order.instrument, np.int64(0), buy, sell)
    order.user = now
    if s.touches != ZERO and is_open(order.state):
        # A report may bring back a price that no longer counted: a replacement held for refused, an end that was none.
        widen(s.touches + U64(order.instrument) * TOUCH_BYTES, order.side, order.flags, order.price)
    regross(s, order.strategy, order.instrument, own)


@jit
def _most_held(s, instrument, p, side):
    """How large a fill may make a POSITION: its limit; where that was lowered, what was approved before and works still, if that is more."""
    limits = view(s.limits + instrument * U64(LIMITS_BYTES), LIMITS)
    if limits.is_lowered == 0:
        return limits.max_position
    # What ends or fills lowers it; nothing that is approved from now on could raise it.
    limits.most_long = min(limits.most_long, p.qty + p.working_buy)
    limits.most_short = min(limits.most_short, p.working_sell - p.qty)
    most = max(limits.max_position, limits.most_long if side == BUY else limits.most_short)
    if max(limits.most_long, limits.most_short) <= limits.max_position:
        limits.is_lowered = 0
    return most


@jit
def _book(s, strategy, instrument, side, r):
    """Book a fill: NOT_BOOKED when it is no legal fill or does not fit; else 0, BEYOND_LIMIT or UNKNOWN_FEE, or both."""
    if instrument >= U64(s.n_instruments) or side > SELL or r.price <= 0 or r.qty <= 0:
        return NOT_BOOKED
    position = s.positions + instrument * POSITION_BYTES
    p, is_maker = view(position, POSITION), (r.flags & FILL_MAKER) != 0
    most = _most_held(s, instrument, p, side)
    if not position_fill(position, side, r.price, r.qty, quote_fee(r), is_maker):
        return NOT_BOOKED
    own = own_position(s, strategy, instrument)
    if own != ZERO:
        # A value that fits the account's row fits its strategy's; both are marked alike.
        view(own, POSITION).mark = p.mark
        position_fill(own, side, r.price, r.qty, quote_fee(r), is_maker)
    groups_add(s, instrument, r.qty if side == BUY else -r.qty, np.int64(0), np.int64(0))
    regross(s, strategy, instrument, own)
    reprofit(s, instrument, s.seen_ts)
    count_execution(s, strategy, instrument, s.seen_ts)
    outcome = 0 if book_fee(s, strategy, r) else UNKNOWN_FEE
    held = p.qty if side == BUY else -p.qty
    if held > most:
        outcome |= BEYOND_LIMIT
    return outcome


@jit
def _fill(s, slot, r):
    """Book a fill, and move its order if that is known (``slot`` is not 0)."""
    if slot == ZERO:
        booked = _book(s, r.strategy, U64(r.instrument), r.side, r)
        return UNKNOWN_ID | booked if booked == NOT_BOOKED else UNKNOWN_ID | LATE | booked
    order = view(slot, ORDER)
    outcome = _book(s, order.strategy, U64(order.instrument), order.side, r)
    if outcome == NOT_BOOKED:
        return outcome
    if r.qty > unfilled(order):
        outcome |= TOO_MUCH
    if not move_filled(s.table, slot, r.qty):
        outcome |= LATE
    recount(s, order)
    return outcome


@jit
def apply_report(s, record):
    """Apply one report (its address, uint64) to risk's order table and positions (``s``: risk's STATE).

    Returns:
        0, or the bits LATE, UNKNOWN_ID, ILLEGAL_MOVE, TOO_MUCH, NOT_BOOKED, BEYOND_LIMIT, UNKNOWN_FEE.
    """
    r = view(record, RECORD)
    slot = order_find(s.table, r.id)
    if r.kind == FILL:
        return _fill(s, slot, view(record, EXECUTION))
    if slot == ZERO:
        return UNKNOWN_ID
    note_venue_id(slot, record)
    done = np.int64(APPLIED)
    if is_beside(record):
        move_beside(s.table, slot)
    else:
        done = np.int64(move_reported(s.table, slot, r))
    recount(s, view(slot, ORDER))
    return 0 if done == APPLIED else ILLEGAL_MOVE
