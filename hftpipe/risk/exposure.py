"""What our orders may still do to the position: risk is the single writer of the POSITION rows.

Exposure grows at the verdict (an approved order counts before the venue has seen it) and shrinks only on a report,
so at every moment ``|qty + working_buy|`` and ``|qty - working_sell|`` bound what the venue can have done to us.
Each order of risk's own table carries what it counts for in ``user``; ``working_buy`` and ``working_sell`` are the
sums of that over the orders of a side, and :func:`recount` is the only thing that changes either.

How a report moves an order is data, :data:`EVENT_OF_KIND`; what else it does:

============== =============== ====================================================================
report         event           on the order, before the move
============== =============== ====================================================================
ACK            ACK             -
REPLACED       CHANGE_DONE     takes the new price and total; no change is under way any more
FILL           PART_FILL       filled grows, the position is booked; FILLED once the total is reached
CANCELED       CANCELED        -
EXPIRED        EXPIRED         -
REJECT         REJECT          -
CANCEL_REJECT  CHANGE_DONE     a refused replace is forgotten; on an ended order nothing happens
============== =============== ====================================================================

A fill is booked whatever the state of its order, known or not: the position follows the venue.
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import U64, ZERO, view
from hftpipe.core.order_table import (
    ON_ACK,
    ON_CANCELED,
    ON_CHANGE_DONE,
    ON_EXPIRED,
    ON_FILLED,
    ON_PART_FILL,
    ON_REJECT,
    ORDER,
    PENDING_REPLACE,
    is_open,
    order_find,
    order_move,
)
from hftpipe.core.position import POSITION, position_fill
from hftpipe.core.records import (
    ACK,
    BUY,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    RECORD,
    REJECT,
    REPLACED,
    SELL,
)

POSITION_BYTES = np.uint64(POSITION.itemsize)
NO_EVENT = 255
#: EVENT_OF_KIND[kind] is the event of core.order_table, or NO_EVENT for a record that is not a report.
EVENT_OF_KIND = np.full(256, NO_EVENT, np.uint8)
for _kind, _event in (
    (ACK, ON_ACK), (REPLACED, ON_CHANGE_DONE), (FILL, ON_PART_FILL), (CANCELED, ON_CANCELED),
    (EXPIRED, ON_EXPIRED), (REJECT, ON_REJECT), (CANCEL_REJECT, ON_CHANGE_DONE),
):  # fmt: skip
    EVENT_OF_KIND[_kind] = _event

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
    return max(max(order.qty, order.new_qty) - order.filled, np.int64(0))


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
    return position_fill(positions + instrument * POSITION_BYTES, side, r.price, r.qty, r.local_ts)


@jit
def _fill(table, positions, n_instruments, slot, r):
    """Book a fill, and move its order if that is known (``slot`` is not 0) and open."""
    if slot == ZERO:
        booked = _book(positions, n_instruments, U64(r.instrument), r.side, r)
        return UNKNOWN_ID | LATE_FILL if booked else UNKNOWN_ID | NOT_BOOKED
    order = view(slot, ORDER)
    if not _book(positions, n_instruments, U64(order.instrument), order.side, r):
        return NOT_BOOKED
    outcome = OVERFILL if r.qty > max(order.qty, order.new_qty) - order.filled else 0
    order.filled += r.qty
    if not is_open(order.state):
        return outcome | LATE_FILL
    order_move(table, slot, np.int64(ON_FILLED if order.filled >= order.qty else ON_PART_FILL))
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
    order, event = view(slot, ORDER), EVENT_OF_KIND[r.kind]
    if not is_open(order.state):
        # A cancel that crossed the order's end is refused: the normal outcome of a race, and nothing more to do.
        return 0 if r.kind == CANCEL_REJECT else ILLEGAL_MOVE
    if r.kind == REPLACED:
        order.price, order.qty = r.price, r.qty
    # A refusal while the state is PENDING_CANCEL may be the cancel's: the replace then counts on until the order ends.
    if r.kind == REPLACED or (r.kind == CANCEL_REJECT and order.state == PENDING_REPLACE):
        order.new_price, order.new_qty = 0, 0
    if event == NO_EVENT or not order_move(table, slot, np.int64(event)):
        return ILLEGAL_MOVE
    recount(positions, order)
    return 0
