"""What a venue's report does to an order of the gateway's own table.

The report -> event table is data, :data:`EVENT_OF_KIND`; ``core/order_table.py`` says which state each event leads to.
Around it:

=================================== ============================================================ ==========
report                              what is done                                                 forwarded
=================================== ============================================================ ==========
of an unknown id                    counted; a fill is still a fill                              fills only
FILL, number already seen           counted ``duplicate_fills``, nothing else                    no
FILL, more than the order's total   invariant breach: booked, counted, and the gateway trips     yes
FILL, no positive price or quantity invariant breach: counted, the gateway trips                 yes
FILL on an ended order              filled grows, state stays, counted ``late_fills``            yes
CANCEL_REJECT on an ended order     nothing: the cancel crossed the order's end                  yes
anything the table does not allow   state stays, counted ``illegal``                             yes
=================================== ============================================================ ==========

Fill numbers: a venue that numbers its executions puts the number in the report's ``seq`` (which means nothing outside
a ring), growing within an order; 0 says "not numbered", and then every fill counts.
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import ZERO, view
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
from hftpipe.core.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    RECORD,
    REJECT,
    REPLACED,
)

NO_EVENT = 255
#: EVENT_OF_KIND[kind] is the event of core.order_table (a FILL is FILLED once the total is reached), or NO_EVENT.
EVENT_OF_KIND = np.full(256, NO_EVENT, np.uint8)
for _kind, _event in (
    (ACK, ON_ACK), (REPLACED, ON_CHANGE_DONE), (FILL, ON_PART_FILL), (CANCELED, ON_CANCELED),
    (EXPIRED, ON_EXPIRED), (REJECT, ON_REJECT), (CANCEL_REJECT, ON_CHANGE_DONE),
):  # fmt: skip
    EVENT_OF_KIND[_kind] = _event

# What became of a report, as bits; 0 is the normal case.
UNKNOWN_ID, DUPLICATE_FILL, LATE_FILL, ILLEGAL_MOVE, BREACH = 1, 2, 4, 8, 16


@jit
def _fill(table, slot, r):
    order = view(slot, ORDER)
    if r.seq != ZERO and np.int64(r.seq) <= order.user:
        return DUPLICATE_FILL
    if r.qty <= 0 or r.price <= 0:
        return BREACH
    order.user = np.int64(r.seq)
    # A replace under way may already have been carried out.
    outcome = BREACH if r.qty > max(order.qty, order.new_qty) - order.filled else 0
    order.filled += r.qty
    if not is_open(order.state):
        return outcome | LATE_FILL
    order_move(table, slot, np.int64(ON_FILLED if order.filled >= order.qty else ON_PART_FILL))
    return outcome


@jit
def apply_report(table, record):
    """Apply the report at address ``record`` to the order table at address ``table``.

    Returns:
        0, or the bits UNKNOWN_ID, DUPLICATE_FILL, LATE_FILL, ILLEGAL_MOVE, BREACH.
    """
    r = view(record, RECORD)
    slot = order_find(table, r.id)
    if slot == ZERO:
        return UNKNOWN_ID
    if r.kind == FILL:
        return _fill(table, slot, r)
    order, event = view(slot, ORDER), EVENT_OF_KIND[r.kind]
    if not is_open(order.state):
        return 0 if r.kind == CANCEL_REJECT else ILLEGAL_MOVE
    if r.kind == REPLACED:
        order.price, order.qty = r.price, r.qty
    if r.kind == REPLACED or (r.kind == CANCEL_REJECT and order.state == PENDING_REPLACE):
        order.new_price, order.new_qty = 0, 0
    if event == NO_EVENT or not order_move(table, slot, np.int64(event)):
        return ILLEGAL_MOVE
    return 0
