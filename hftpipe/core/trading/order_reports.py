"""What a venue's report does to an order, the same in every table that follows the venue: risk's, the gateway's, its own.

============== =============== ====================================================================
report         event           on the order, before the move
============== =============== ====================================================================
ACK            ACK             -
REPLACED       CHANGE_DONE     takes the new price and total; no change is under way any more
  UNASKED      none            takes the new price and total; what is under way is still to be answered
FILL           PART_FILL       filled grows; FILLED once the total is reached
  too much     NO_ANSWER       the order is UNKNOWN: more may be executed
  late         (reopened)      likewise: an order that had ended
CANCELED       CANCELED        -
EXPIRED        EXPIRED         -
REJECT         REJECT          -
CANCEL_REJECT  CHANGE_DONE     a refused replace is forgotten; on an ended order nothing happens
============== =============== ====================================================================

What the venue may not say of an order, as we did not ask for it. It is not believed: nothing of it is taken over, a fill is
measured by what we asked for, and the order is UNKNOWN (NO_ANSWER).

=================================== ===================================================================================
report                              wrong terms
=================================== ===================================================================================
ACK of an order that is new         more quantity than asked for; another price (but of a market order)
REPLACED                            neither within the last replace asked for (its price, at most its quantity) nor within
                                    what the order is
REPLACED, UNASKED                   more quantity than the order has, or another price
=================================== ===================================================================================

The last replace counts though it was refused: the refusal may have been that of an earlier cancel, told twice.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    MARKET,
    REJECT,
    REPLACED,
    TIF_MASK,
    UNASKED,
)
from hftpipe.core.trading.order_table import (
    ON_ACK,
    ON_CANCELED,
    ON_CHANGE_DONE,
    ON_EXPIRED,
    ON_FILLED,
    ON_NO_ANSWER,
    ON_PART_FILL,
    ON_REJECT,
    ORDER,
    PENDING_NEW,
    PENDING_REPLACE,
    is_open,
    order_move,
    order_reopen,
)

#: What became of a report: applied; not allowed in the order's state; not what was asked for.
APPLIED, NOT_ALLOWED, NOT_AS_ASKED = 0, 1, 2
_MOST = np.int64(2**63 - 1)
NO_EVENT = 255
#: EVENT_OF_KIND[kind] is the event of core.order_table, or NO_EVENT for a record that is not a report.
EVENT_OF_KIND = np.full(256, NO_EVENT, np.uint8)
for _kind, _event in (
    (ACK, ON_ACK), (REPLACED, ON_CHANGE_DONE), (FILL, ON_PART_FILL), (CANCELED, ON_CANCELED),
    (EXPIRED, ON_EXPIRED), (REJECT, ON_REJECT), (CANCEL_REJECT, ON_CHANGE_DONE),
):  # fmt: skip
    EVENT_OF_KIND[_kind] = _event


@jit
def can_fill(order):
    """Quantity (1e-8) that may still fill without a breach: a replace under way may have been carried out already."""
    return max(order.qty, order.new_qty) - order.filled


@jit
def _filled_event(order):
    """What an order is once ``filled`` has grown. One filled beyond its old total has been replaced already."""
    total = order.qty if order.filled <= order.qty else max(order.qty, order.new_qty)
    if order.filled > total:
        return np.int64(ON_NO_ANSWER)
    return np.int64(ON_FILLED if order.filled == total else ON_PART_FILL)


@jit
def move_filled(table, slot, qty):
    """Book ``qty`` on the order at ``slot``; False if it had ended before (then it is UNKNOWN, and open again)."""
    order = view(slot, ORDER)
    order.filled = order.filled + qty if qty <= _MOST - order.filled else _MOST
    if not is_open(order.state):
        order_reopen(table, slot)
        return False
    order_move(table, slot, _filled_event(order))
    return True


@jit
def _is_as_asked(order, r):
    """Whether an ACK or REPLACED says no more than we asked for."""
    if r.kind == ACK:
        is_priced = np.int64(order.flags & TIF_MASK) != MARKET
        return order.state != PENDING_NEW or (r.qty <= order.qty and (r.price == order.price or not is_priced))
    if r.flags & UNASKED == 0 and r.qty <= order.asked_qty and r.price == order.asked_price:
        return True
    return r.qty <= order.qty and r.price == order.price


@jit
def move_reported(table, slot, r):
    """Apply the report ``r`` (a RECORD that is no FILL) to the order at ``slot``: APPLIED, NOT_ALLOWED or NOT_AS_ASKED."""
    order, event = view(slot, ORDER), EVENT_OF_KIND[r.kind]
    if not is_open(order.state):
        # A cancel that crossed the order's end is refused: the normal outcome of a race, and nothing more to do.
        return APPLIED if r.kind == CANCEL_REJECT else NOT_ALLOWED
    if (r.kind == ACK or r.kind == REPLACED) and not _is_as_asked(order, r):
        order_move(table, slot, np.int64(ON_NO_ANSWER))
        return NOT_AS_ASKED
    if r.kind == REPLACED:
        order.price, order.qty = r.price, r.qty
        if r.flags & UNASKED:
            return APPLIED
    # A refusal while the state is PENDING_CANCEL may be the cancel's: the replace then counts on until the order ends.
    if r.kind == REPLACED or (r.kind == CANCEL_REJECT and order.state == PENDING_REPLACE):
        order.new_price, order.new_qty = 0, 0
    return APPLIED if event != NO_EVENT and order_move(table, slot, np.int64(event)) else NOT_ALLOWED
