"""Facts to reports: what a venue says of an order is compared with what is known of it, and only what is new is told.

====================================== ======================================================================================
what is learned                        what is told
====================================== ======================================================================================
that the venue has it, the first time  ACK, on the terms that the venue names
an execution, the first time           FILL (before it ACK, if that was not told yet); one that may have been forgotten is told only
                                       as far as the venue says that more has filled than was told
that it stands on the terms asked for  REPLACED, once
that it has ended                      CANCELED, EXPIRED or REJECT, once as much has been told to have filled as the venue says:
                                       an end comes by another way than its last executions, and may overtake them
that a request was refused             REJECT or CANCEL_REJECT
that nothing is known                  nothing; the gateway holds it for UNKNOWN, and the venue is asked
what became of one that was UNKNOWN    ACK if it rests, CANCEL_REJECT for a change that was not carried out
that the venue does not know it        REJECT if it was never told of; else a VENUE_FAULT: it has lost our order
that one lives which nobody holds for  nothing; it is cancelled (:mod:`hftpipe.venues.orders.revived`)
open
====================================== ======================================================================================

What is told of an order before the newest of its revisions counts for its executions alone.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED, VENUE_FORGOT, WRONG_TERMS
from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    MARKET,
    REDUCE_ONLY,
    REJECT,
    REPLACED,
    TIF_MASK,
)
from hftpipe.core.trading.order_table import (
    ORDER,
    is_open,
    may_be_replaced,
    open_count,
    open_order,
    order_address,
    order_find,
    remaining,
)
from hftpipe.core.trading.seen_fills import seen_add, seen_is_sure
from hftpipe.venues.orders.errors import ASK, STOP
from hftpipe.venues.orders.facts import (
    ASK_STATE,
    ASKED_ABOUT,
    CANCEL_ASKED,
    CANCELLED,
    CHANGED,
    DONE,
    FACT,
    GONE,
    LIVE,
    NO_REQUEST,
    PLACED,
    REFUSED,
    RESYNC,
    STATE,
    TRADE,
    TURNED_DOWN,
    UNSAID,
)
from hftpipe.venues.orders.quiet import note_found
from hftpipe.venues.orders.revived import cancel_again, note_proof, revive, stray, stray_execution
from hftpipe.venues.orders.state import (
    ACCOUNT,
    ACKED,
    ASKED,
    CANCEL_OUT,
    END_TOLD,
    MAYBE_CANCELLED,
    RECEIVED,
    REVISION,
    STRAY,
    TOLD_UNKNOWN,
    UNTOLD,
    extra_of,
)
from hftpipe.venues.orders.telling import ask, doubt, emit, tell_fill

_REASON = np.int64(256)


# --- what is learned ---------------------------------------------------------------------------------------------------------


@jit
def _acknowledge(account, slot, fact):
    o, f = view(slot, ORDER), view(fact, FACT)
    if o.user & ACKED != 0 or f.state in (UNSAID, TURNED_DOWN) or not is_open(o.state):
        return
    o.user |= ACKED
    if f.request == ASKED_ABOUT:
        note_found(account, extra_of(view(account, ACCOUNT), slot).sent_ns)
    price, qty = (f.price, f.qty) if f.qty > 0 and f.revision == o.user & REVISION else (o.price, o.qty)
    emit(account, slot, ACK, price, qty, o.flags, fact)
    o.user &= ~TOLD_UNKNOWN


@jit
def _is_missing(o, f):
    """Whether the venue says that as much more has filled as an execution is of."""
    return o.filled + f.last_qty <= max(o.cancel_due_ns, f.cum)


@jit
def _execute(account, slot, fact, now_ns):
    """An execution is told once, by its number; also one that is told later than the end, for it is one all the same."""
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if o.user & STRAY != 0:
        stray_execution(a, f)
        return
    if f.request == ASKED_ABOUT and o.filled >= f.cum:
        # All of it has been told: one of these may be too old to be remembered.
        a.repeated += 1
        return
    if not _is_missing(o, f) and not seen_is_sure(a.seen, U64(o.quote), f.trade_id):
        # An old one, as far as one can know; what else has filled is found out by asking.
        a.repeated += 1
        if f.cum < 0 and o.user & ASKED == 0:
            ask(account, slot, np.int64(ASK_STATE))
        return
    head = seen_add(a.seen, U64(o.quote), o.id, f.trade_id)
    if head == ZERO:
        a.repeated += 1
        return
    o.quote = np.int64(head)
    if f.request == ASKED_ABOUT:
        a.missed_fills += 1
        note_found(account, f.ts - a.wall_offset_ns)
    tell_fill(account, slot, fact)
    o.created_ts = now_ns


@jit
def _is_changed(a, slot, o, f):
    """Whether a change that was asked for has been carried out."""
    if f.state in (UNSAID, TURNED_DOWN):
        return False
    extra = extra_of(a, slot)
    if a.is_revised != 0:
        # Also after it was refused: that it exists is the better proof.
        return o.asked_qty != 0 and np.int64(f.revision) == (o.user & REVISION) + 1
    # Here, too, the terms themselves prove it, whatever was said of the request; an answer does while it is awaited.
    is_answer = f.request == CHANGED and f.number == extra.change_no and may_be_replaced(o)
    is_new = f.price != o.price or f.qty != o.qty or is_answer
    # What is older than the last change that was made shows its terms before that.
    is_past = f.ts != 0 and f.ts < extra.changed_ts
    return (
        is_new and (is_answer or not is_past) and o.asked_qty != 0 and f.qty == o.asked_qty and f.price == o.asked_price
    )


@jit
def _change(account, slot, fact):
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if not _is_changed(a, slot, o, f):
        return
    if a.is_revised != 0:
        o.user = (o.user & ~REVISION) | ((o.user + 1) & REVISION)
        # The end of the one before is none of the order's.
        o.own_cancels = UNSAID
    if not is_open(o.state):
        # What lives is open again by now (revived): this one has ended, too, and nobody waits to hear that it was there.
        return
    price, qty = (f.price, f.qty) if f.qty > 0 else (o.asked_price, o.asked_qty)
    emit(account, slot, REPLACED, price, qty, 0, fact)
    extra_of(a, slot).changed_ts = f.ts
    o.user &= ~TOLD_UNKNOWN


@jit
def _note_end(slot, f, now_ns):
    """An end, or at least how much has filled, as the venue says it; it is told when that has been."""
    o = view(slot, ORDER)
    is_end = f.state >= DONE
    if f.cum >= 0 and (is_end or f.cum > o.filled):
        # What is found out of an order that has ended is final; all else may be older than what was told.
        is_final = is_end and f.request == ASKED_ABOUT
        o.cancel_due_ns = f.cum if is_final else max(o.cancel_due_ns, f.cum)
        o.created_ts = now_ns
    # Another teller of the same end may know why.
    if is_end and o.own_cancels < _REASON:
        o.own_cancels = np.int16(np.int64(f.state) + _REASON * np.int64(f.reason))


@jit
def _is_outdated(account, o, f):
    """Whether something was asked of the order after what a fact answers."""
    extra = extra_of(view(account, ACCOUNT), order_address(o))
    return f.number != (extra.change_no if f.request == CHANGED else extra.last_no)


@jit
def _may_go_on(account, o, fact):
    """Whether an end may be that of the old one of two orders, of which the new one is not heard of yet."""
    if view(account, ACCOUNT).is_revised == 0 or not may_be_replaced(o):
        return False
    f = view(fact, FACT)
    # An answer tells both fates; so does a question that was asked after the last request.
    return f.request not in (CHANGED, ASKED_ABOUT) or _is_outdated(account, o, f)


@jit
def settle(account, slot, fact):
    """Tell the end of the order at ``slot`` if it has come, and all that has filled before it is told."""
    o = view(slot, ORDER)
    state, reason = np.int64(o.own_cancels) & (_REASON - 1), np.int64(o.own_cancels) >> 8
    is_short = o.filled < o.cancel_due_ns and o.user & STRAY == 0
    if state == UNSAID or not is_open(o.state) or is_short or _may_go_on(account, o, fact):
        return
    left = remaining(o)
    if state == TURNED_DOWN and o.user & ACKED == 0:
        emit(account, slot, REJECT, o.price, o.qty, reason, fact)
    elif state == CANCELLED:
        if reason == reasons.NONE:
            is_ours = o.cancels > 0 or o.user & MAYBE_CANCELLED != 0
            reason = reasons.USER_REQUEST if is_ours else reasons.VENUE_ENDED
        emit(account, slot, CANCELED if reason == reasons.USER_REQUEST else EXPIRED, o.price, left, reason, fact)
    else:
        emit(account, slot, EXPIRED, o.price, left, reasons.VENUE_ENDED if reason == reasons.NONE else reason, fact)


@jit
def _is_strange(a, slot, f):
    """Whether a FACT (a view) shows terms that nobody asked for, and is no older than those that the order has."""
    o = view(slot, ORDER)
    is_market = np.int64(o.flags & TIF_MASK) == MARKET
    is_told = f.qty > 0 and np.int64(f.revision) == o.user & REVISION and o.user & (ACKED | STRAY) == ACKED
    # What only reduces may be cut down to what there is to reduce.
    is_cut = o.flags & REDUCE_ONLY != 0 and f.qty < o.qty
    is_other = (f.qty != o.qty and not is_cut) or (f.price != o.price and not is_market)
    is_asked = f.qty == o.asked_qty and f.price == o.asked_price
    return is_told and is_other and not is_asked and f.ts >= extra_of(a, slot).changed_ts


@jit
def _stands(account, slot, fact, now_ns):
    """What was asked for is answered: the order rests, and what was under way was not carried out."""
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    o.user &= ~ASKED
    if _is_outdated(account, o, f):
        # It says nothing about what was asked since: that has its own answer, or the next question.
        o.created_ts = now_ns
        return
    if f.state != LIVE or not is_open(o.state) or np.int64(f.revision) != o.user & REVISION or f.cum > o.filled:
        return
    if o.user & END_TOLD != 0:
        # It is to end, whatever has become of the cancels so far.
        cancel_again(account, slot, now_ns)
        return
    if _is_strange(a, slot, f):
        # It was changed, but not to what was asked for: what it may fill is not what it counts for.
        o.created_ts = now_ns
        if a.fault == 0:
            a.fault, a.fault_id = WRONG_TERMS, o.id
        return
    extra = extra_of(a, slot)
    if (o.cancels > 0 or may_be_replaced(o)) and extra.asked_ns - extra.left_ns < a.answer_ns:
        # It was asked so soon that what is under way need not have got there: it is asked again.
        o.created_ts = now_ns
        return
    unanswered = o.cancels + np.int32(may_be_replaced(o))
    if o.cancels > 0:
        # It was not carried out when the venue looked; it may be still.
        o.user |= MAYBE_CANCELLED
    o.cancels = 0
    for _ in range(unanswered):
        emit(account, slot, CANCEL_REJECT, 0, 0, reasons.VENUE_BUSY, fact)
    if is_open(o.state) and o.user & (TOLD_UNKNOWN | UNTOLD) != 0:
        emit(account, slot, ACK, o.price, o.qty, o.flags, fact)
        o.user &= ~(TOLD_UNKNOWN | UNTOLD)
    a.check_ns = min(a.check_ns, now_ns)


@jit
def _learn(account, slot, fact, now_ns):
    """The state of an order, or an execution with the state after it."""
    o, f = view(slot, ORDER), view(fact, FACT)
    revive(account, slot, fact, now_ns)
    note_proof(account, slot, fact)
    _acknowledge(account, slot, fact)
    if f.kind == TRADE:
        _execute(account, slot, fact, now_ns)
    _change(account, slot, fact)
    if np.int64(f.revision) == o.user & REVISION:
        if f.venue_id != ZERO:
            o.venue_id = f.venue_id
        _note_end(slot, f, now_ns)
    settle(account, slot, fact)
    is_event = f.kind == STATE and f.state == LIVE and f.request == NO_REQUEST
    if is_event and is_open(o.state) and o.user & ASKED == 0 and _is_strange(view(account, ACCOUNT), slot, f):
        # A late event looks the same: the venue is asked.
        ask(account, slot, np.int64(ASK_STATE))


@jit
def _finds_none_to_change(a, f):
    """Whether a change is refused because no such order is open: it was not made, whatever ended the order.

    Where a change makes a new order, the refusal says that the old one is gone: nothing is known of the new one.
    """
    return f.request == CHANGED and f.action == ASK and f.reason == reasons.VENUE_UNKNOWN_ORDER and a.is_revised == 0


@jit
def _refused(account, slot, fact, now_ns):
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if f.action == STOP and a.fault == 0:
        a.fault, a.fault_id = LOGIN_REFUSED, o.id
    if f.request == CANCEL_ASKED:
        o.cancels = max(o.cancels - 1, 0)
        if f.action == ASK:
            # The venue does not know whether it was carried out, or knows of none to carry out: an earlier one may have been.
            o.user |= MAYBE_CANCELLED
    if not is_open(o.state) or (f.request == CHANGED and _is_outdated(account, o, f)):
        a.crossed += 1
        return
    if f.request == CANCEL_ASKED:
        emit(account, slot, CANCEL_REJECT, 0, 0, f.reason, fact)
        if f.action == ASK and o.user & ASKED == 0:
            ask(account, slot, np.int64(ASK_STATE))
    elif _finds_none_to_change(a, f):
        # The execution or the end that it crossed with is on its way; should it be lost, asking tells.
        if may_be_replaced(o):
            emit(account, slot, CANCEL_REJECT, 0, 0, f.reason, fact)
            settle(account, slot, fact)
        if is_open(o.state) and o.user & ASKED == 0:
            ask(account, slot, np.int64(ASK_STATE))
    elif f.action == ASK or (f.request == PLACED and o.user & ACKED != 0):
        doubt(account, slot, now_ns)
    elif f.request == PLACED:
        emit(account, slot, REJECT, o.price, o.qty, f.reason, fact)
    elif may_be_replaced(o):
        emit(account, slot, CANCEL_REJECT, 0, 0, f.reason, fact)
        settle(account, slot, fact)


@jit
def _gone(account, slot, fact):
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    o.user &= ~ASKED
    if not is_open(o.state) or _is_outdated(account, o, view(fact, FACT)):
        return
    if o.user & ACKED == 0 or o.user & END_TOLD != 0:
        emit(account, slot, REJECT, o.price, o.qty, reasons.VENUE_REFUSED, fact)
        return
    a.gone += 1
    if a.fault == 0:
        a.fault, a.fault_id = VENUE_FORGOT, o.id


@jit
def _resync(account):
    """After an outage nothing is known of any open order; an answer that is under way may be from before, and outdated by this."""
    a = view(account, ACCOUNT)
    a.heard_ns = a.now_ns
    for index in range(open_count(a.table)):
        slot = open_order(a.table, np.int64(index))
        a.requests += 1
        extra_of(a, slot).last_no = a.requests
        # There is another connection for cancels.
        view(slot, ORDER).user &= ~CANCEL_OUT
        ask(account, slot, np.int64(ASK_STATE))


@jit
def apply_fact(account, fact, now_ns):
    """Take the FACT at address ``fact``; reports go to the account's queue."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if f.kind == RESYNC:
        _resync(account)
        return
    slot = order_find(a.table, f.id)
    if slot == ZERO:
        stray(account, fact, now_ns)
        return
    o = view(slot, ORDER)
    if f.request == CANCEL_ASKED:
        o.user &= ~CANCEL_OUT
    if f.request == PLACED and f.kind == STATE:
        o.user |= RECEIVED
    if f.kind == REFUSED:
        _refused(account, slot, fact, now_ns)
    elif f.kind == GONE:
        _gone(account, slot, fact)
    else:
        _learn(account, slot, fact, now_ns)
        if f.request == ASKED_ABOUT and f.kind != TRADE:
            _stands(account, slot, fact, now_ns)


@jit
def is_waiting(o):
    """Whether something about an order is still to be heard."""
    is_asked = o.under_way != 0 or o.cancels > 0 or o.user & ACKED == 0 or o.user & (TOLD_UNKNOWN | END_TOLD) != 0
    return is_asked or o.cancel_due_ns > o.filled


__all__ = ["apply_fact", "ask", "doubt", "emit", "is_waiting", "settle"]
