"""What our orders may still do to the position: risk is the single writer of the POSITION rows.

Exposure grows at the verdict (an approved order counts before the venue has seen it) and shrinks only on a report,
so at every moment ``|qty + working_buy|`` and ``|qty - working_sell|`` bound what the venue can have done to us.
Each order of risk's own table carries what it counts for in ``user``; ``working_buy`` and ``working_sell`` are the
sums of that over the orders of a side, and :func:`recount` is the only thing that changes either.

How a report moves an order stands in ``core/trading/order_reports.py``. A fill is booked whatever the state of its order, known
or not: the position follows the venue. No approved order can take a position beyond its limit; a fill that does so all the
same was not asked for, and is BEYOND_LIMIT.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, FILL, FILL_MAKER, RECORD, SELL
from hftpipe.core.trading.order_reports import APPLIED, can_fill, move_filled, move_reported
from hftpipe.core.trading.order_table import ORDER, is_open, order_find
from hftpipe.core.trading.position import position_fill
from hftpipe.risk.limits import LIMITS, LIMITS_BYTES

POSITION_BYTES = np.uint64(POSITION.itemsize)
# What became of a report, as bits; 0 is the normal case.
LATE, UNKNOWN_ID, ILLEGAL_MOVE, TOO_MUCH, NOT_BOOKED, BEYOND_LIMIT = 1, 2, 4, 8, 16, 32


@jit
def exposure_of(order):
    """Quantity (1e-8) an order may still fill, at worst; 0 once it has ended.

    While a change of quantity is under way (``new_qty`` is set) the larger total counts, whatever happened to the
    state since: a cancel sent after a replace does not undo it.
    """
    if not is_open(order.state):
        return np.int64(0)
    return max(can_fill(order), np.int64(0))


@jit
def recount(positions, order):
    """Bring the working quantities up to date after any change of ``order``."""
    now = exposure_of(order)
    p = view(positions + U64(order.instrument) * POSITION_BYTES, POSITION)
    if order.side == BUY:
        p.working_buy += now - order.user
    else:
        p.working_sell += now - order.user
    order.user = now


@jit
def _book(positions, limits, n_instruments, instrument, side, r):
    """Book a fill: 0, NOT_BOOKED when it is no legal fill or does not fit, BEYOND_LIMIT where it took the position."""
    if instrument >= U64(n_instruments) or side > SELL or r.price <= 0 or r.qty <= 0:
        return NOT_BOOKED
    position = positions + instrument * POSITION_BYTES
    is_maker = (r.flags & FILL_MAKER) != 0
    if not position_fill(position, side, r.price, r.qty, r.local_ts, is_maker):
        return NOT_BOOKED
    held = view(position, POSITION).qty if side == BUY else -view(position, POSITION).qty
    return BEYOND_LIMIT if held > view(limits + instrument * U64(LIMITS_BYTES), LIMITS).max_position else 0


@jit
def _fill(table, positions, limits, n_instruments, slot, r):
    """Book a fill, and move its order if that is known (``slot`` is not 0)."""
    if slot == ZERO:
        booked = _book(positions, limits, n_instruments, U64(r.instrument), r.side, r)
        return UNKNOWN_ID | booked if booked == NOT_BOOKED else UNKNOWN_ID | LATE | booked
    order = view(slot, ORDER)
    outcome = _book(positions, limits, n_instruments, U64(order.instrument), order.side, r)
    if outcome == NOT_BOOKED:
        return outcome
    if r.qty > can_fill(order):
        outcome |= TOO_MUCH
    if not move_filled(table, slot, r.qty):
        outcome |= LATE
    recount(positions, order)
    return outcome


@jit
def apply_report(table, positions, limits, n_instruments, record):
    """Apply one report to risk's order table and positions.

    Args:
        table: order table; positions, limits: first POSITION and LIMITS row; record: the report (all addresses, uint64).
        n_instruments: rows in ``positions`` and ``limits``.

    Returns:
        0, or the bits LATE, UNKNOWN_ID, ILLEGAL_MOVE, TOO_MUCH, NOT_BOOKED, BEYOND_LIMIT.
    """
    r = view(record, RECORD)
    slot = order_find(table, r.id)
    if r.kind == FILL:
        return _fill(table, positions, limits, n_instruments, slot, r)
    if slot == ZERO:
        return UNKNOWN_ID
    done = move_reported(table, slot, r)
    recount(positions, view(slot, ORDER))
    return 0 if done == APPLIED else ILLEGAL_MOVE
