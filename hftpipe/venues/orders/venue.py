"""A venue's orders behind the gateway's C pointers: ``int64 f(uint64 account, int64 record_address)``.

============= =====================================================================================================
function      result
============= =====================================================================================================
submit        LEFT: signed and handed to the kernel. ANSWERED_HERE: what the venue cannot be told is a REJECT or CANCEL_REJECT with
              VENUE_FILTER at the next poll. NOT_TAKEN: no session, the venue counts too many orders, or every connection over REST
              has a request under way
poll          1: the next report is in the record; 0: none. To be without a session for ``login_ns`` is a VENUE_FAULT, once each
              time: LOGIN_REFUSED if there never was one, else SESSION_LOST
unanswered    1: the record names an order of which nothing is known
============= =====================================================================================================

NEW and REPLACE go over the connection for requests alone (or those over REST, where orders go that way), while that for events is
there, too. A CANCEL is always taken: without such a connection the threads beside ask for it over REST, and of an order that the venue
has neither acknowledged nor given a receipt for it waits for that. While the threads beside are at a cancel another one is answered here.
"""

import numpy as np

from hftpipe.core.machine.clock import monotonic_ns
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, ZERO, call_words, copy_bytes, rdtsc, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import (
    ANSWERED_HERE,
    CANCEL_REJECT,
    LEFT,
    MARKET,
    NEW,
    NOT_TAKEN,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACE,
    REPORT,
    TIF_MASK,
)
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    ILLEGAL,
    ON_CANCEL_SENT,
    ON_NO_ANSWER,
    ON_REJECT,
    ON_REPLACE_SENT,
    ORDER,
    TRANSITIONS,
    is_open,
    open_count,
    open_order,
    order_find,
    order_insert,
    order_move,
)
from hftpipe.transport.websocket.link import LINK, LINK_BYTES, OPEN, TEXT, next_message, receive
from hftpipe.transport.websocket.sending import LOST, NOT_SENT
from hftpipe.venues.orders.apply import apply_fact, ask, doubt, emit, is_waiting
from hftpipe.venues.orders.calls import NONE, next_answer, receive_answers
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    CANCEL_IT,
    CHANGE,
    FACT,
    FACT_BYTES,
    NO_REQUEST,
    PLACE,
    queue_drop,
    queue_first,
    queue_put,
)
from hftpipe.venues.orders.presence import is_ready, tell_presence
from hftpipe.venues.orders.quiet import look_at_resting
from hftpipe.venues.orders.requests import NO_TEMPLATE, put_amounts, send_request, template_of
from hftpipe.venues.orders.state import (
    ACCOUNT,
    ACKED,
    ASKED,
    CANCEL_OUT,
    FACT_AT,
    LAST_REVISION,
    MOST_CANCELS,
    RECEIVED,
    REPORT_AT,
    REVISION,
    TOLD_UNKNOWN,
    UNTOLD,
    WANTS_CANCEL,
    extra_of,
)
from hftpipe.venues.orders.windows import count_order, may_send

#: While nothing is awaited, sockets may be looked at this seldom.
IDLE_READ_NS = np.int64(5_000)
_MOST_READS = 32


@jit
def _now(a):
    return monotonic_ns(a.clock, rdtsc())


# --- requests ----------------------------------------------------------------------------------------------------------------


@jit
def _answer(account, r, reason):
    """An answer of our own to a request, for the next poll."""
    a = view(account, ACCOUNT)
    x = view(account + REPORT_AT, REPORT)
    is_new = r.kind == NEW
    x.seq, x.venue_id, x.exchange_ts, x.local_ts = ZERO, ZERO, 0, 0
    x.price, x.qty = (r.price, r.qty) if is_new else (np.int64(0), np.int64(0))
    x.id, x.instrument, x.side, x.strategy = r.id, r.instrument, r.side, r.strategy
    x.kind, x.flags = REJECT if is_new else CANCEL_REJECT, reason
    if not queue_put(a.reports, account + REPORT_AT, RECORD_BYTES):
        return np.int64(NOT_TAKEN)
    a.unsendable += np.int64(reason == reasons.VENUE_FILTER)
    return np.int64(ANSWERED_HERE)


@jit
def _new(account, r, now_ns):
    a = view(account, ACCOUNT)
    template = template_of(a, np.int64(PLACE), r.side, r.flags)
    is_market = np.int64(r.flags & TIF_MASK) == MARKET
    is_known = np.int64(r.instrument) < a.n_instruments and order_find(a.table, r.id) == ZERO
    if template == NO_TEMPLATE or not is_known or not put_amounts(a, r.instrument, r.price, r.qty, is_market):
        return _answer(account, r, reasons.VENUE_FILTER)
    slot = order_insert(a.table, r.id)
    if slot == ZERO:
        return np.int64(NOT_TAKEN)
    o = view(slot, ORDER)
    o.price, o.qty, o.instrument, o.side = r.price, r.qty, r.instrument, r.side
    o.strategy, o.flags, o.created_ts, o.cancel_due_ns = r.strategy, r.flags, now_ns, 0
    extra = extra_of(a, slot)
    extra.last_no, extra.change_no, extra.changed_ts, extra.sent_ns, extra.looked_ns = 0, 0, 0, now_ns, now_ns
    extra.left_ns, extra.asked_ns = 0, 0
    sent = send_request(account, slot, np.int64(PLACE), template, np.int64(0), now_ns)
    if sent == NOT_SENT:
        order_move(a.table, slot, np.int64(ON_REJECT))
        return np.int64(NOT_TAKEN)
    a.placed += 1
    count_order(a)
    if sent == LOST:
        a.sent_lost += 1
        doubt(account, slot, now_ns)
    return np.int64(LEFT)


@jit
def _replace(account, slot, r, now_ns):
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    template = template_of(a, np.int64(CHANGE), r.side, o.flags)
    # Where a change makes a new order, that has all of the new quantity: none of it may have filled already.
    is_too_late = a.is_revised != 0 and (o.filled != 0 or o.cancel_due_ns != 0)
    is_legal = o.user & ACKED != 0 and TRANSITIONS[o.state, ON_REPLACE_SENT] != ILLEGAL and not is_too_late
    if template == NO_TEMPLATE or not is_legal or not put_amounts(a, o.instrument, r.price, r.qty, False):
        return _answer(account, r, reasons.VENUE_FILTER if not is_too_late else reasons.AMEND_BELOW_FILLED)
    revision = (o.user & REVISION) + np.int64(a.is_revised != 0)
    if revision > LAST_REVISION:
        return _answer(account, r, reasons.VENUE_NUMBERS_USED_UP)
    sent = send_request(account, slot, np.int64(CHANGE), template, revision, now_ns)
    if sent == NOT_SENT:
        return np.int64(NOT_TAKEN)
    replace_sent(a.table, slot, r.price, r.qty)
    o.created_ts = now_ns
    extra_of(a, slot).left_ns = now_ns
    a.changed += 1
    count_order(a)
    if sent == LOST:
        a.sent_lost += 1
        doubt(account, slot, now_ns)
    return np.int64(LEFT)


@jit
def _send_cancel(account, slot, now_ns):
    """Cancel the order at ``slot`` over the connection, or over REST without one; False if neither takes it (now)."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    template = template_of(a, np.int64(CANCEL_IT), np.uint8(0), np.uint8(0))
    sent = send_request(account, slot, np.int64(CANCEL_IT), template, o.user & REVISION, now_ns)
    a.sent_lost += np.int64(sent == LOST)
    # A cancel that is told twice does no harm: of one that may have been lost a second one goes out.
    extra_of(a, slot).left_ns = now_ns
    if sent != NOT_SENT and sent != LOST:
        return True
    return ask(account, slot, np.int64(ASK_CANCEL))


@jit
def _cancel(account, slot, r, now_ns):
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    if o.user & (ACKED | RECEIVED) == 0 and is_open(o.state):
        # The venue could meet the cancel before the order.
        o.user |= WANTS_CANCEL
    elif not _send_cancel(account, slot, now_ns):
        return _answer(account, r, reasons.VENUE_BUSY) if o.user & CANCEL_OUT != 0 else np.int64(NOT_TAKEN)
    elif o.cancels >= MOST_CANCELS:
        return _answer(account, r, reasons.VENUE_BUSY)
    else:
        o.cancels, o.created_ts = o.cancels + 1, now_ns
    if is_open(o.state):
        order_move(a.table, slot, np.int64(ON_CANCEL_SENT))
    a.cancels += 1
    return np.int64(LEFT)


@jit
def venue_submit(account, record):
    """Take the request RECORD at address ``record`` (uint64); see the module for the result."""
    a, r = view(account, ACCOUNT), view(record, RECORD)
    now_ns = _now(a)
    if r.kind == NEW or r.kind == REPLACE:
        if not is_ready(account):
            a.not_ready += 1
            return np.int64(NOT_TAKEN)
        if not may_send(a, now_ns):
            a.limited += 1
            return np.int64(NOT_TAKEN)
    if r.kind == NEW:
        return _new(account, r, now_ns)
    slot = order_find(a.table, r.id)
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        return _answer(account, r, reasons.VENUE_UNKNOWN_ORDER)
    return _replace(account, slot, r, now_ns) if r.kind == REPLACE else _cancel(account, slot, r, now_ns)


# --- what comes in -----------------------------------------------------------------------------------------------------------


@jit
def _take_fact(account, fact, now_ns):
    a, id_ = view(account, ACCOUNT), view(fact, FACT).id
    apply_fact(account, fact, now_ns)
    slot = order_find(a.table, id_)
    if slot == ZERO:
        return
    o = view(slot, ORDER)
    if o.user & WANTS_CANCEL != 0 and o.user & (ACKED | RECEIVED) != 0 and is_open(o.state):
        o.user &= ~WANTS_CANCEL
        if _send_cancel(account, slot, now_ns):
            o.cancels += 1
            o.created_ts = now_ns
        else:
            emit(account, slot, CANCEL_REJECT, np.int64(0), np.int64(0), reasons.VENUE_BUSY, ZERO)


@jit
def _told_fact(account, now_ns):
    """Take what the threads beside have found out; False if there is none."""
    a = view(account, ACCOUNT)
    fact = queue_first(a.facts, np.int64(FACT_BYTES))
    if fact == ZERO:
        return False
    _take_fact(account, fact, now_ns)
    queue_drop(a.facts)
    return True


@jit
def _read_message(account, link, now_ns):
    """Take the next message of a connection; False if there is none."""
    a = view(account, ACCOUNT)
    if a.more != ZERO:
        # The rest of the one before: nothing is received until it has been read.
        text, end = a.more, a.more_end
    else:
        kind, text, end = next_message(link)
        if kind != TEXT:
            return False
        a.messages += 1
    fact = account + FACT_AT
    if call_words(a.scan, (account, text, end, fact)) == 1:
        a.facts_told += 1
        if view(fact, FACT).request == NO_REQUEST:
            a.heard_ns = now_ns
        _take_fact(account, fact, now_ns)
    return True


@jit
def _read_answer(account, now_ns):
    """Take the next answer over REST; False if there is none."""
    told = next_answer(account)
    if told == 1:
        _take_fact(account, account + FACT_AT, now_ns)
    return told != NONE


@jit
def _next_report(account, record):
    a = view(account, ACCOUNT)
    waiting = queue_first(a.reports, np.int64(RECORD_BYTES))
    if waiting == ZERO:
        return False
    copy_bytes(record, waiting, np.int64(RECORD_BYTES))
    queue_drop(a.reports)
    return True


@jit
def _read(account, record, now_ns):
    """Take what has come, up to the first report; whether ``record`` holds one."""
    a = view(account, ACCOUNT)
    for _ in range(_MOST_READS):
        has_read = _told_fact(account, now_ns)
        for index in range(a.n_links):
            if not has_read:
                has_read = _read_message(account, a.links + U64(LINK_BYTES * index), now_ns)
        if has_read or _read_answer(account, now_ns):
            if _next_report(account, record):
                return True
            continue
        if now_ns < a.read_ns and open_count(a.table) == 0:
            return False
        a.read_ns = now_ns + IDLE_READ_NS
        got = receive_answers(account, now_ns)
        for index in range(a.n_links):
            link = a.links + U64(LINK_BYTES * index)
            if view(link, LINK).state == OPEN:
                got += receive(link, now_ns)
        if got == 0:
            return False
    return False


@jit
def venue_poll(account, record):
    """Write the next report to the RECORD at address ``record`` (uint64): 1, or 0 if there is none."""
    a = view(account, ACCOUNT)
    if _next_report(account, record):
        return np.int64(1)
    now_ns = _now(a)
    a.now_ns = now_ns
    return np.int64(_read(account, record, now_ns) or tell_presence(account, record, now_ns))


@jit
def _is_late(a, o, now_ns):
    """Whether something is waited for that has not come for long; that a question is out (for hours, perhaps) makes it no less late."""
    return is_waiting(o) and now_ns - o.created_ts >= a.answer_ns


@jit
def venue_unanswered(account, record):
    """Name the next order of which nothing is known: 1, or 0 if there is none; looks at all every so often."""
    a = view(account, ACCOUNT)
    now_ns = _now(a)
    if now_ns < a.check_ns:
        return np.int64(0)
    for index in range(open_count(a.table)):
        slot = open_order(a.table, np.int64(index))
        o = view(slot, ORDER)
        if _is_late(a, o, now_ns) and (o.user & ASKED != 0 or ask(account, slot, np.int64(ASK_STATE))):
            o.created_ts = now_ns
            if o.user & TOLD_UNKNOWN == 0:
                o.user |= UNTOLD
                a.unanswered += 1
        if o.user & UNTOLD != 0:
            o.user = (o.user & ~UNTOLD) | TOLD_UNKNOWN
            order_move(a.table, slot, np.int64(ON_NO_ANSWER))
            r = view(record, REPORT)
            r.seq, r.venue_id, r.exchange_ts, r.local_ts, r.price, r.qty = ZERO, ZERO, 0, 0, o.price, o.qty
            r.id, r.instrument, r.kind, r.side, r.strategy, r.flags = o.id, o.instrument, 0, o.side, o.strategy, 0
            return np.int64(1)
    look_at_resting(account, now_ns)
    a.check_ns = now_ns + (a.answer_ns >> 2)
    return np.int64(0)


@entry("int64(uint64, int64)")
def submit_entry(account, record):
    """:func:`venue_submit` with a C address."""
    return venue_submit(account, U64(record))


@entry("int64(uint64, int64)")
def market_entry(account, record):
    """A real venue plays its own market."""
    return np.int64(1)


@entry("int64(uint64, int64)")
def poll_entry(account, record):
    """:func:`venue_poll` with a C address."""
    return venue_poll(account, U64(record))


@entry("int64(uint64, int64)")
def unanswered_entry(account, record):
    """:func:`venue_unanswered` with a C address."""
    return venue_unanswered(account, U64(record))
