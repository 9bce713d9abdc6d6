"""What a venue's report does to an order, the same in every table that follows the venue (risk's and the gateway's).

============== =============== ====================================================================
report         event           on the order, before the move
============== =============== ====================================================================
ACK            ACK             -
REPLACED       CHANGE_DONE     takes the new price and total; no change is under way any more
  UNASKED      none            takes the new price and total; what is under way is still to be answered
FILL           PART_FILL       filled grows; FILLED once the total is reached
CANCELED       CANCELED        -
EXPIRED        EXPIRED         -
REJECT         REJECT          -
CANCEL_REJECT  CHANGE_DONE     a refused replace is forgotten; on an ended order nothing happens
============== =============== ====================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import ACK, CANCEL_REJECT, CANCELED, EXPIRED, FILL, REJECT, REPLACED, UNASKED
from hftpipe.core.trading.order_table import (
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
    order_move,
)

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
def move_filled(table, slot, qty):
    """Book ``qty`` on the order at ``slot``; False if it had ended before (then only ``filled`` grows)."""
    order = view(slot, ORDER)
    order.filled += qty
    if not is_open(order.state):
        return False
    order_move(table, slot, np.int64(ON_FILLED if order.filled >= order.qty else ON_PART_FILL))
    return True


@jit
def move_reported(table, slot, r):
    """Apply the report ``r`` (a RECORD that is no FILL) to the order at ``slot``; False if its state forbids it."""
    order, event = view(slot, ORDER), EVENT_OF_KIND[r.kind]
    if not is_open(order.state):
        # A cancel that crossed the order's end is refused: the normal outcome of a race, and nothing more to do.
        return r.kind == CANCEL_REJECT
    if r.kind == REPLACED:
        order.price, order.qty = r.price, r.qty
        if r.flags & UNASKED:
            return True
    # A refusal while the state is PENDING_CANCEL may be the cancel's: the replace then counts on until the order ends.
    if r.kind == REPLACED or (r.kind == CANCEL_REJECT and order.state == PENDING_REPLACE):
        order.new_price, order.new_qty = 0, 0
    return event != NO_EVENT and order_move(table, slot, np.int64(event))
