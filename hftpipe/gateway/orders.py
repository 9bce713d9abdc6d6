"""What a venue's report does to an order of the gateway's own table.

The states are those of ``core/trading/order_reports.py`` and ``core/trading/order_table.py``. Around them:

=================================== ====================================================================== ==========
report                              what is done                                                           forwarded
=================================== ====================================================================== ==========
FILL, number already seen           counted ``duplicate_fills``, nothing else                              no
of an unknown id                    counted; a fill is still a fill, counted and trips: ``orphan_fill``    fills only
FILL, more than the order's total   booked, counted ``overfills``, trips: ``overfill``; UNKNOWN            yes
FILL, no positive price or quantity invariant breach: counted, the gateway trips                           yes
FILL on an ended order              booked, counted ``late_fills``, trips: ``late_fill``; UNKNOWN          yes
ACK, REPLACED on wrong terms        not believed: counted ``wrong_terms``, trips by that name; UNKNOWN     no
CANCEL_REJECT on an ended order     nothing: the cancel crossed the order's end                            yes
anything the table does not allow   state stays, counted ``illegal``                                       yes
=================================== ====================================================================== ==========

A tripped gateway cancels what is open, so also an order that is UNKNOWN because the venue executes what we did not ask for.

Fill numbers: a venue that numbers its executions puts the number in the report's ``seq`` (which means nothing outside
a ring), any 64 bits but 0, each once within an order (:mod:`hftpipe.core.trading.seen_fills`); 0 says "not numbered", and then
every fill counts.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.records import FILL, RECORD
from hftpipe.core.trading.order_reports import NOT_ALLOWED, NOT_AS_ASKED, can_fill, move_filled, move_reported
from hftpipe.core.trading.order_table import ORDER, order_find
from hftpipe.core.trading.seen_fills import seen_add, seen_stray

# What became of a report, as bits; 0 is the normal case.
UNKNOWN_ID, DUPLICATE_FILL, LATE, ILLEGAL_MOVE, BREACH, TOO_MUCH, NOT_ASKED = 1, 2, 4, 8, 16, 32, 64


@jit
def _is_repeated(seen, order, r):
    """Whether a numbered fill has been heard of before; the order's ``user`` is the head of its executions."""
    if r.seq == ZERO:
        return False
    head = seen_add(seen, U64(order.user), r.id, r.seq)
    if head == ZERO:
        return True
    order.user = np.int64(head)
    return False


@jit
def _fill(table, seen, slot, r):
    order = view(slot, ORDER)
    if _is_repeated(seen, order, r):
        return DUPLICATE_FILL
    if r.qty <= 0 or r.price <= 0:
        return BREACH
    outcome = TOO_MUCH if r.qty > can_fill(order) else 0
    if move_filled(table, slot, r.qty):
        return outcome
    # No stop has looked at this order since it is open again: its cancel is due at once.
    order.venue_id = ZERO
    return outcome | LATE


@jit
def apply_report(table, seen, record):
    """Apply the report at address ``record`` to the order table at address ``table``.

    Args:
        seen: address of the executions seen before.

    Returns:
        0, or the bits UNKNOWN_ID, DUPLICATE_FILL, LATE, ILLEGAL_MOVE, BREACH, TOO_MUCH, NOT_ASKED.
    """
    r = view(record, RECORD)
    slot = order_find(table, r.id)
    if slot == ZERO:
        is_stray = r.kind != FILL or r.seq == ZERO or seen_stray(seen, r.id, r.seq)
        return UNKNOWN_ID if is_stray else DUPLICATE_FILL
    if r.kind == FILL:
        return _fill(table, seen, slot, r)
    done = move_reported(table, slot, r)
    if done == NOT_AS_ASKED:
        return NOT_ASKED
    return ILLEGAL_MOVE if done == NOT_ALLOWED else 0
