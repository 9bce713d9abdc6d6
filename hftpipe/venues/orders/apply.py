"""Facts to reports: what a venue says of an order is compared with what is known of it, and only what is new is told.

====================================== ======================================================================================
what is learned                        what is told
====================================== ======================================================================================
that the venue has it, the first time  ACK, on the terms that the venue names
an execution, the first time           FILL (before it ACK, if that was not told yet)
that it stands on the terms asked for  REPLACED, once
that it has ended                      CANCELED, EXPIRED or REJECT, once as much has been told to have filled as the venue says:
                                       an end comes by another way than its last executions, and may overtake them
that a request was refused             REJECT or CANCEL_REJECT
that nothing is known                  nothing; the gateway holds it for UNKNOWN, and the venue is asked
what became of one that was UNKNOWN    ACK if it rests, CANCEL_REJECT for a change that was not carried out
that the venue does not know it        REJECT if it was never told of; else a VENUE_FAULT: it has lost our order
====================================== ======================================================================================

What is told of an order before the newest of its revisions counts for its executions alone.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED, ORPHAN_FILL, VENUE_FORGOT, WRONG_TERMS
from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXECUTION,
    EXPIRED,
    FEE_ASSET,
    FILL,
    FILL_MAKER,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACED,
    REPORT,
)
from hftpipe.core.trading.order_reports import move_filled, move_reported
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
from hftpipe.core.trading.seen_fills import seen_add
from hftpipe.venues.orders.errors import ASK, STOP
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    ASKED_ABOUT,
    CANCEL_ASKED,
    CANCELLED,
    CHANGED,
    DONE,
    FACT,
    GONE,
    LIVE,
    PLACED,
    QUESTION,
    QUESTION_BYTES,
    REFUSED,
    RESYNC,
    TRADE,
    TURNED_DOWN,
    UNSAID,
    queue_put,
)
from hftpipe.venues.orders.state import (
    ACCOUNT,
    ACKED,
    ASKED,
    QUESTION_AT,
    REPORT_AT,
    REVISION,
    TOLD_UNKNOWN,
    UNTOLD,
    extra_of,
)

_REASON = np.int64(256)


# --- what is told ------------------------------------------------------------------------------------------------------------


@jit
def emit(account, slot, kind, price, qty, reason, fact):
    """Put a report (no FILL) about the order at ``slot`` behind those that wait, and do to our own table what it says.

    ``fact``: address of the FACT that it comes of; 0: of none.
    """
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    r = view(account + REPORT_AT, REPORT)
    r.seq, r.venue_id, r.exchange_ts, r.local_ts = ZERO, ZERO, 0, 0
    if fact != ZERO:
        r.exchange_ts = view(fact, FACT).ts
        if kind in (ACK, REPLACED):
            r.venue_id = view(fact, FACT).venue_id
    r.price, r.qty, r.id, r.instrument = price, qty, o.id, o.instrument
    r.kind, r.side, r.strategy, r.flags = kind, o.side, o.strategy, np.uint8(reason)
    queue_put(a.reports, account + REPORT_AT, RECORD_BYTES)
    move_reported(a.table, slot, view(account + REPORT_AT, RECORD))


@jit
def _tell_fill(account, slot, fact):
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    x = view(account + REPORT_AT, EXECUTION)
    x.seq, x.trade_id, x.exchange_ts, x.fee = ZERO, f.trade_id, f.ts, f.fee
    x.price, x.qty, x.id, x.instrument = f.last_price, f.last_qty, o.id, o.instrument
    x.kind, x.side, x.strategy = FILL, o.side, o.strategy
    x.flags = np.uint8(FILL_MAKER * (f.is_maker != 0)) | np.uint8(f.fee_asset << FEE_ASSET)
    queue_put(a.reports, account + REPORT_AT, RECORD_BYTES)
    move_filled(a.table, slot, f.last_qty)


@jit
def ask(account, slot, what):
    """Have the threads beside find out about the order at ``slot`` (or cancel it); False if no more can be asked now."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    q = view(account + QUESTION_AT, QUESTION)
    q.id, q.what, q.venue_id, q.instrument = o.id, what, o.venue_id, np.int64(o.instrument)
    q.revision, q.number = o.user & REVISION, extra_of(a, slot).last_no
    q.was_changed, q.is_changing = np.int64(o.asked_qty != 0), np.int64(may_be_replaced(o))
    if not queue_put(a.questions, account + QUESTION_AT, QUESTION_BYTES):
        return False
    a.questions_asked += 1
    if what == ASK_STATE:
        o.user |= ASKED
    return True


@jit
def doubt(account, slot, now_ns):
    """Nothing is known of the order at ``slot``: the gateway is to hear so, and the venue is asked."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    o.user |= UNTOLD
    a.check_ns = now_ns
    if o.user & ASKED == 0:
        ask(account, slot, np.int64(ASK_STATE))


# --- what is learned ---------------------------------------------------------------------------------------------------------


@jit
def _acknowledge(account, slot, fact):
    o, f = view(slot, ORDER), view(fact, FACT)
    if o.user & ACKED != 0 or f.state in (UNSAID, TURNED_DOWN) or not is_open(o.state):
        return
    o.user |= ACKED
    price, qty = (f.price, f.qty) if f.qty > 0 and f.revision == o.user & REVISION else (o.price, o.qty)
    emit(account, slot, ACK, price, qty, o.flags, fact)
    o.user &= ~TOLD_UNKNOWN


@jit
def _execute(account, slot, fact, now_ns):
    """An execution is told once, by its number; also one that is told later than the end, for it is one all the same."""
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if f.request == ASKED_ABOUT and o.filled >= f.cum:
        # All of it has been told: one of these may be too old to be remembered.
        a.repeated += 1
        return
    head = seen_add(a.seen, U64(o.quote), o.id, f.trade_id)
    if head == ZERO:
        a.repeated += 1
        return
    o.quote = np.int64(head)
    _tell_fill(account, slot, fact)
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
        o.cancel_due_ns = max(o.cancel_due_ns, f.cum)
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
    if state == UNSAID or not is_open(o.state) or o.filled < o.cancel_due_ns or _may_go_on(account, o, fact):
        return
    left = remaining(o)
    if state == TURNED_DOWN and o.user & ACKED == 0:
        emit(account, slot, REJECT, o.price, o.qty, reason, fact)
    elif state == CANCELLED:
        if reason == reasons.NONE:
            reason = reasons.USER_REQUEST if o.cancels > 0 else reasons.VENUE_ENDED
        emit(account, slot, CANCELED if reason == reasons.USER_REQUEST else EXPIRED, o.price, left, reason, fact)
    else:
        emit(account, slot, EXPIRED, o.price, left, reasons.VENUE_ENDED if reason == reasons.NONE else reason, fact)


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
    unanswered = o.cancels + np.int32(may_be_replaced(o))
    o.cancels = 0
    for _ in range(unanswered):
        emit(account, slot, CANCEL_REJECT, 0, 0, reasons.VENUE_BUSY, fact)
    if is_open(o.state) and o.user & (TOLD_UNKNOWN | UNTOLD) != 0:
        emit(account, slot, ACK, o.price, o.qty, o.flags, fact)
        o.user &= ~(TOLD_UNKNOWN | UNTOLD)
    a.check_ns = min(a.check_ns, now_ns)


@jit
def _revive(account, slot, f):
    """A replacement lives of an order that was told to have ended: it is cancelled, and a fault."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    o.user = (o.user & ~REVISION) | np.int64(f.revision)
    a.revived += 1
    ask(account, slot, np.int64(ASK_CANCEL))
    if a.fault == 0:
        a.fault, a.fault_id = WRONG_TERMS, o.id


@jit
def _learn(account, slot, fact, now_ns):
    """The state of an order, or an execution with the state after it."""
    o, f = view(slot, ORDER), view(fact, FACT)
    if not is_open(o.state) and np.int64(f.revision) > o.user & REVISION and f.state == LIVE:
        _revive(account, slot, f)
    _acknowledge(account, slot, fact)
    if f.kind == TRADE:
        _execute(account, slot, fact, now_ns)
    _change(account, slot, fact)
    if np.int64(f.revision) == o.user & REVISION:
        if f.venue_id != ZERO:
            o.venue_id = f.venue_id
        _note_end(slot, f, now_ns)
    settle(account, slot, fact)


@jit
def _refused(account, slot, fact, now_ns):
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if f.action == STOP and a.fault == 0:
        a.fault, a.fault_id = LOGIN_REFUSED, o.id
    if f.request == CANCEL_ASKED:
        o.cancels = max(o.cancels - 1, 0)
    if not is_open(o.state) or (f.request == CHANGED and _is_outdated(account, o, f)):
        a.crossed += 1
        return
    if f.request == CANCEL_ASKED:
        emit(account, slot, CANCEL_REJECT, 0, 0, f.reason, fact)
        if f.action == ASK and o.user & ASKED == 0:
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
    if o.user & ACKED == 0:
        emit(account, slot, REJECT, o.price, o.qty, reasons.VENUE_REFUSED, fact)
        return
    a.gone += 1
    if a.fault == 0:
        a.fault, a.fault_id = VENUE_FORGOT, o.id


@jit
def _resync(account):
    """After an outage nothing is known of any open order."""
    a = view(account, ACCOUNT)
    for index in range(open_count(a.table)):
        slot = open_order(a.table, np.int64(index))
        if view(slot, ORDER).user & ASKED == 0:
            ask(account, slot, np.int64(ASK_STATE))


@jit
def _stray(account, fact):
    """A fact of an order that is ours and not known (any more)."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if f.kind != TRADE:
        a.crossed += 1
    elif a.fault == 0:
        a.fault, a.fault_id = ORPHAN_FILL, f.id


@jit
def apply_fact(account, fact, now_ns):
    """Take the FACT at address ``fact``; reports go to the account's queue."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if f.kind == RESYNC:
        _resync(account)
        return
    slot = order_find(a.table, f.id)
    if slot == ZERO:
        _stray(account, fact)
        return
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
    is_asked = o.under_way != 0 or o.cancels > 0 or o.user & ACKED == 0 or o.user & TOLD_UNKNOWN != 0
    return is_asked or o.cancel_due_ns > o.filled


__all__ = ["apply_fact", "ask", "doubt", "emit", "is_waiting", "settle"]
