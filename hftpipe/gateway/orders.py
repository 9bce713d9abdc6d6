"""What a venue's report does to an order of the gateway's own table.

The states are those of ``core/trading/order_reports.py`` and ``core/trading/order_table.py``. Around them:

=================================== ====================================================================== ==========
report                              what is done                                                           forwarded
=================================== ====================================================================== ==========
FILL, number already seen           counted ``duplicate_fills``, nothing else                              no
of an unknown id                    counted; a fill is still a fill, counted and trips: ``orphan_fill``    fills only
FILL, more than the order's total   booked, counted ``overfills``, trips: ``overfill``; UNKNOWN            yes
FILL, worse than the order's price  booked, counted ``wrong_prices``, trips: ``wrong_price``; UNKNOWN if   yes
                                    something is left of it
FILL, no positive price or quantity counted ``unbookable_fills``, trips: ``unbookable_fill``               yes
FILL on an ended order              booked, counted ``late_fills``, trips: ``late_fill``; UNKNOWN          yes
ACK, REPLACED on wrong terms        not believed: counted ``wrong_terms``, trips by that name; UNKNOWN     no
CANCEL_REJECT on an ended order     nothing: the cancel crossed the order's end                            yes
anything the table does not allow   state stays, counted ``illegal``                                       yes
=================================== ====================================================================== ==========

A CANCEL_REJECT while cancels of our own are unanswered is marked OWN_CANCEL: risk and strategy, which know of none, must not
take it for the answer to a replace.

A tripped gateway cancels what is open, so also an order that is UNKNOWN because the venue executes what we did not ask for.

Fill numbers: a venue that numbers its executions gives the number as the fill's ``trade_id``, any 64 bits but 0, each once
within an order (:mod:`hftpipe.core.trading.seen_fills`); 0 says "not numbered", and then every fill counts.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.records import CANCEL_REJECT, EXECUTION, FILL, OWN_CANCEL, RECORD, REPORT
from hftpipe.core.trading.order_reports import (
    NOT_ALLOWED,
    NOT_AS_ASKED,
    is_worse,
    move_beside,
    move_filled,
    move_reported,
    note_venue_id,
)
from hftpipe.core.trading.order_table import (
    A_CANCEL,
    BOTH,
    ON_NO_ANSWER,
    ORDER,
    is_open,
    order_find,
    order_move,
    unfilled,
)
from hftpipe.core.trading.seen_fills import seen_add, seen_stray

# What became of a report, as bits; 0 is the normal case.
UNKNOWN_ID, DUPLICATE_FILL, LATE, ILLEGAL_MOVE, UNBOOKABLE, TOO_MUCH, NOT_ASKED, WORSE_PRICE = (
    1 << n for n in range(8)
)


@jit
def _is_repeated(seen, order, r):
    """Whether a numbered fill has been heard of before; the order's ``quote`` is the newest of its executions."""
    if r.trade_id == ZERO:
        return False
    head = seen_add(seen, U64(order.quote), r.id, r.trade_id)
    if head == ZERO:
        return True
    order.quote = np.int64(head)
    return False


@jit
def _fill(table, seen, slot, r):
    order = view(slot, ORDER)
    if _is_repeated(seen, order, r):
        return DUPLICATE_FILL
    if r.qty <= 0 or r.price <= 0:
        return UNBOOKABLE
    outcome = TOO_MUCH if r.qty > unfilled(order) else 0
    if is_worse(order, r.price):
        outcome |= WORSE_PRICE
    if move_filled(table, slot, r.qty):
        if outcome & WORSE_PRICE and is_open(order.state):
            # It stands at the venue on other terms than ours.
            order_move(table, slot, np.int64(ON_NO_ANSWER))
        return outcome
    # No stop has looked at this order since it is open again: its cancel is due at once.
    order.user = 0
    return outcome | LATE


@jit
def _own_refused(table, slot, record):
    """A refusal while cancels of our own are unanswered: it is taken for that of one of them, and is told as such."""
    order, r = view(slot, ORDER), view(record, REPORT)
    order.own_cancels -= 1
    r.venue_id = OWN_CANCEL
    if order.under_way == A_CANCEL or (order.under_way == BOTH and order.own_cancels == 0):
        move_reported(table, slot, view(record, RECORD))
    else:
        # A replace that was sent after them is still to be answered.
        move_beside(table, slot)


@jit
def apply_report(table, seen, record):
    """Apply the report at address ``record`` to the order table at address ``table``.

    Args:
        seen: address of the executions seen before.

    Returns:
        0, or the bits UNKNOWN_ID, DUPLICATE_FILL, LATE, ILLEGAL_MOVE, UNBOOKABLE, TOO_MUCH, NOT_ASKED, WORSE_PRICE.
    """
    r, x = view(record, RECORD), view(record, EXECUTION)
    slot = order_find(table, r.id)
    if slot == ZERO:
        is_stray = r.kind != FILL or x.trade_id == ZERO or seen_stray(seen, r.id, x.trade_id)
        return UNKNOWN_ID if is_stray else DUPLICATE_FILL
    if r.kind == FILL:
        return _fill(table, seen, slot, x)
    note_venue_id(slot, record)
    if r.kind == CANCEL_REJECT:
        # No venue's to say.
        view(record, REPORT).venue_id = ZERO
        if view(slot, ORDER).own_cancels > 0:
            _own_refused(table, slot, record)
            return 0
    done = move_reported(table, slot, r)
    if done == NOT_AS_ASKED:
        return NOT_ASKED
    return ILLEGAL_MOVE if done == NOT_ALLOWED else 0
