"""What is asked of an order, and what a report does to it: the same in every table, the strategy's, risk's, the gateway's, OUCH's.

A venue tells of an order in the order in which things happened there, and answers each request once. Only a refusal may come
earlier: a stage nearer by refuses too, and no answer says which request it is about.

============== =============== ====================================================================
report         event           on the order
============== =============== ====================================================================
ACK            ACK             -
REPLACED       REPLACED        takes the new price and total; FILLED if that much has filled already
  UNASKED      none            likewise; what is under way is still to be answered
FILL           PART_FILL       filled grows; FILLED once the total is reached, though a replace to
                               more is under way: the venue has none of the order left to replace
  beyond it    PART_FILL       of a replace that may be carried out: it has been, and is told later
  too much     NO_ANSWER       the order is UNKNOWN until its end is told: more may be executed
  late         (reopened)      likewise: an order that had ended
CANCELED       CANCELED        -
EXPIRED        EXPIRED         -
REJECT         REJECT          the NEW was refused, whatever was asked of the order since
CANCEL_REJECT  REFUSED         what was asked for is forgotten, once no replace may be carried out
============== =============== ====================================================================

On an ended order a CANCEL_REJECT does nothing: the change crossed the end. All else but a FILL is NOT_ALLOWED there, and counted.

No table is more careful than the others. Each counts the larger quantity from when it sees the replace sent until it is carried out, or
refused beyond doubt: after a cancel and a replace that means two refusals, as the first may be the cancel's. Each knows
the requests and answers that pass it, so that a refusal nearer by than risk is one answer less to wait for at the strategy, and
nothing at all to risk.

What the venue may not say of an order, as we did not ask for it. It is not believed: nothing of it is taken over, a fill is
measured by what we asked for, and the order is UNKNOWN (NO_ANSWER).

=================================== ===================================================================================
report                              wrong terms
=================================== ===================================================================================
ACK of an order that is new         more quantity than asked for; another price (but of a market order)
REPLACED                            no quantity; or neither within the last replace asked for (its price, at most its
                                    quantity, or no more than has filled) nor within what the order is
REPLACED, UNASKED                   no quantity, more than the order has, or another price
=================================== ===================================================================================

The last replace counts though it was refused: the refusal may have been that of an earlier cancel, told twice.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    MARKET,
    OWN_CANCEL,
    REJECT,
    REPLACED,
    REPORT,
    TIF_MASK,
    UNASKED,
)
from hftpipe.core.trading.order_table import (
    A_REPLACE,
    ON_ACK,
    ON_CANCEL_SENT,
    ON_CANCELED,
    ON_EXPIRED,
    ON_FILLED,
    ON_NO_ANSWER,
    ON_PART_FILL,
    ON_REFUSED,
    ON_REJECT,
    ON_REPLACE_SENT,
    ON_REPLACED,
    ORDER,
    PENDING_NEW,
    is_open,
    may_be_replaced,
    order_move,
    order_reopen,
)

#: What became of a report: applied; not allowed in the order's state; not what was asked for.
APPLIED, NOT_ALLOWED, NOT_AS_ASKED = 0, 1, 2
_MOST = np.int64(2**63 - 1)
NO_EVENT = 255
#: EVENT_OF_KIND[kind] is the event of core.order_table, or NO_EVENT for a FILL and for a record that is not a report.
EVENT_OF_KIND = np.full(256, NO_EVENT, np.uint8)
for _kind, _event in (
    (ACK, ON_ACK), (REPLACED, ON_REPLACED), (CANCELED, ON_CANCELED), (EXPIRED, ON_EXPIRED), (REJECT, ON_REJECT),
    (CANCEL_REJECT, ON_REFUSED),
):  # fmt: skip
    EVENT_OF_KIND[_kind] = _event


# --- what is asked ---------------------------------------------------------------------------------


@jit
def replace_sent(table, slot, price, qty):
    """A replace of the order at ``slot`` to ``price`` and total ``qty`` (1e-8) is under way; False if its state forbids one."""
    if not order_move(table, slot, np.int64(ON_REPLACE_SENT)):
        return False
    order = view(slot, ORDER)
    order.new_price, order.new_qty = price, qty
    order.asked_price, order.asked_qty = price, qty
    return True


@jit
def replace_dropped(table, slot):
    """The replace of the open order at ``slot`` was not sent after all: it stands as it stood, but for a cancel asked for since."""
    order = view(slot, ORDER)
    order.new_price, order.new_qty, order.asked_price, order.asked_qty = 0, 0, 0, 0
    order_move(table, slot, np.int64(ON_REPLACED))


# --- what is told ----------------------------------------------------------------------------------


@jit
def is_worse(order, price):
    """Whether an execution is at a price that we did not agree to: neither the order's, nor that of the last replace."""
    if np.int64(order.flags & TIF_MASK) == MARKET:
        return False
    is_replaced = order.asked_qty != 0
    if order.side == BUY:
        return price > order.price and not (is_replaced and price <= order.asked_price)
    return price < order.price and not (is_replaced and price >= order.asked_price)


@jit
def _filled_event(order):
    """What an order is, by what of it has filled. One filled beyond its old total has been replaced already."""
    total = order.qty if order.filled <= order.qty else max(order.qty, order.new_qty)
    if order.filled > total:
        return np.int64(ON_NO_ANSWER)
    return np.int64(ON_FILLED if order.filled == total else ON_PART_FILL)


@jit
def move_filled(table, slot, qty):
    """Book ``qty`` (1e-8, positive) on the order at ``slot``; False if it had ended before (now it is UNKNOWN, and open)."""
    order = view(slot, ORDER)
    order.filled = order.filled + qty if qty <= _MOST - order.filled else _MOST
    if not is_open(order.state):
        order_reopen(table, slot)
        return False
    order_move(table, slot, _filled_event(order))
    return True


@jit
def _is_exceeded(order):
    """Whether more has filled than was ever asked for."""
    return order.filled > max(order.qty, order.new_qty)


@jit
def _is_as_asked(order, r):
    """Whether an ACK or REPLACED says no more than we asked for."""
    if r.kind == ACK:
        is_priced = np.int64(order.flags & TIF_MASK) != MARKET
        return order.state != PENDING_NEW or (r.qty <= order.qty and (r.price == order.price or not is_priced))
    if r.qty <= 0:
        return False
    if r.flags & UNASKED == 0 and order.asked_qty > 0 and r.price == order.asked_price:
        # A total that has filled already leaves nothing, whatever was asked for.
        most = order.asked_qty if _is_exceeded(order) else max(order.asked_qty, order.filled)
        if r.qty <= most:
            return True
    return r.qty <= order.qty and r.price == order.price


@jit
def _take_terms(order, r):
    """The new price and total; one below what has filled within the old one is just that. What was exceeded stays so."""
    order.price, order.qty = r.price, r.qty if _is_exceeded(order) else max(r.qty, order.filled)


@jit
def _settle(table, slot):
    """An answer may have ended what was under way, or left a total that has filled already, or been exceeded."""
    order = view(slot, ORDER)
    if not is_open(order.state):
        return
    if not may_be_replaced(order):
        order.new_price, order.new_qty = 0, 0
    event = _filled_event(order)
    if order.filled > 0 and event != ON_PART_FILL:
        order_move(table, slot, event)


@jit
def note_venue_id(slot, record):
    """Keep the venue's number of the order at ``slot``, where the report at address ``record`` tells it; whatever else it says."""
    r = view(record, REPORT)
    if (r.kind == ACK or r.kind == REPLACED) and r.venue_id != ZERO:
        view(slot, ORDER).venue_id = r.venue_id


@jit
def is_beside(record):
    """Whether the report at address ``record`` may answer a cancel of the gateway's own, and none that was asked for here."""
    r = view(record, REPORT)
    return r.kind == CANCEL_REJECT and r.venue_id == OWN_CANCEL


@jit
def move_beside(table, slot):
    """A refusal that may be that of the gateway's own cancel: a replace under way may be carried out all the same.

    Of what was asked for here it answers nothing, as far as one can know; the answer that is one comes too.
    """
    order = view(slot, ORDER)
    if is_open(order.state) and order.under_way == A_REPLACE:
        order_move(table, slot, np.int64(ON_CANCEL_SENT))
        order_move(table, slot, np.int64(ON_REFUSED))


@jit
def move_reported(table, slot, r):
    """Apply the report ``r`` (a RECORD that is no FILL) to the order at ``slot``: APPLIED, NOT_ALLOWED or NOT_AS_ASKED."""
    order, event = view(slot, ORDER), np.int64(EVENT_OF_KIND[r.kind])
    if event == NO_EVENT:
        return NOT_ALLOWED
    if not is_open(order.state):
        # A change that crossed the order's end is refused: the normal outcome of a race, and nothing more to do.
        return APPLIED if r.kind == CANCEL_REJECT or order_move(table, slot, event) else NOT_ALLOWED
    if (r.kind == ACK or r.kind == REPLACED) and not _is_as_asked(order, r):
        order_move(table, slot, np.int64(ON_NO_ANSWER))
        return NOT_AS_ASKED
    if r.kind == REPLACED:
        _take_terms(order, r)
    is_answer = r.kind != REPLACED or r.flags & UNASKED == 0
    if is_answer and not order_move(table, slot, event):
        return NOT_ALLOWED
    _settle(table, slot)
    return APPLIED
