"""What a venue's report does to an order of the gateway's own table.

The states are those of ``core/trading/order_reports.py`` and ``core/trading/order_table.py``. Around them:

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

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.records import FILL, RECORD
from hftpipe.core.trading.order_reports import can_fill, move_filled, move_reported
from hftpipe.core.trading.order_table import ORDER, order_find

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
    outcome = BREACH if r.qty > can_fill(order) else 0
    return outcome if move_filled(table, slot, r.qty) else outcome | LATE_FILL


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
    return 0 if move_reported(table, slot, r) else ILLEGAL_MOVE
