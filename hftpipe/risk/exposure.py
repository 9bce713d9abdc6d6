"""What our orders may still do to the position: risk is the single writer of the POSITION rows.

Exposure grows at the verdict (an approved order counts before the venue has seen it) and shrinks only on a report,
so at every moment ``|qty + working_buy|`` and ``|qty - working_sell|`` bound what the venue can have done to us.
Each order of risk's own table carries what it counts for in ``user``; ``working_buy`` and ``working_sell`` are the
sums of that over the orders of a side, and :func:`recount` is the only thing that changes either.

How a report moves an order stands in ``core/trading/order_reports.py``. A fill is booked whatever the state of its order, known
or not: the position follows the venue.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, FILL, FILL_MAKER, RECORD, SELL
from hftpipe.core.trading.order_reports import can_fill, move_filled, move_reported
from hftpipe.core.trading.order_table import ORDER, is_open, order_find
from hftpipe.core.trading.position import position_fill

POSITION_BYTES = np.uint64(POSITION.itemsize)
# What became of a report, as bits; 0 is the normal case.
LATE_FILL, UNKNOWN_ID, ILLEGAL_MOVE, OVERFILL, NOT_BOOKED = 1, 2, 4, 8, 16


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
def _book(positions, n_instruments, instrument, side, r):
    """Book a fill; False when it is no legal fill or does not fit."""
    if instrument >= U64(n_instruments) or side > SELL or r.price <= 0 or r.qty <= 0:
        return False
    is_maker = (r.flags & FILL_MAKER) != 0
    return position_fill(positions + instrument * POSITION_BYTES, side, r.price, r.qty, r.local_ts, is_maker)


@jit
def _fill(table, positions, n_instruments, slot, r):
    """Book a fill, and move its order if that is known (``slot`` is not 0) and open."""
    if slot == ZERO:
        booked = _book(positions, n_instruments, U64(r.instrument), r.side, r)
        return UNKNOWN_ID | LATE_FILL if booked else UNKNOWN_ID | NOT_BOOKED
    order = view(slot, ORDER)
    if not _book(positions, n_instruments, U64(order.instrument), order.side, r):
        return NOT_BOOKED
    outcome = OVERFILL if r.qty > can_fill(order) else 0
    if not move_filled(table, slot, r.qty):
        return outcome | LATE_FILL
    recount(positions, order)
    return outcome


@jit
def apply_report(table, positions, n_instruments, record):
    """Apply one report to risk's order table and positions.

    Args:
        table: order table; positions: first POSITION row; record: the report (all addresses, uint64).
        n_instruments: rows in ``positions``.

    Returns:
        0, or the bits LATE_FILL, UNKNOWN_ID, ILLEGAL_MOVE, OVERFILL, NOT_BOOKED.
    """
    r = view(record, RECORD)
    slot = order_find(table, r.id)
    if r.kind == FILL:
        return _fill(table, positions, n_instruments, slot, r)
    if slot == ZERO:
        return UNKNOWN_ID
    if not move_reported(table, slot, r):
        return ILLEGAL_MOVE
    recount(positions, view(slot, ORDER))
    return 0
