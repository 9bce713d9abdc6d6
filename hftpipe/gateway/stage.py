"""PROCESS 4: the gateway. Sends what risk approved, and nothing else; passes back what the venue says.

::

    orders ──▶ halt cell, order table ──▶ venue          sim ──▶ venue   (paper: the market the venue lives in)
                        └──▶ reports ◀── order table ◀── venue

The venue is three functions behind C pointers, ``int64 f(uint64 venue, int64 record_address)``:

============= =======================================================================================
function      result
============= =======================================================================================
venue_submit  1: the request is on its way; 0: the venue cannot take it now; 2: nothing left the machine, and the
              answer is the next report
venue_market  1: the market record is played; 0: poll reports first, then offer it again
venue_poll    1: the oldest report that has arrived is copied to the record; 0: none
venue_room    reports the venue can still hold; 0: poll first (address 0: no such limit)
============= =======================================================================================

**Stopping.** The gateway is stopped while the halt cell is set, and for good once it has *tripped* itself, by name (``trip_cause``):
more requests sent than the orders ring delivered, a fill without price or quantity, beyond an order's quantity, worse than its
price or after its end, terms nobody asked for (:mod:`hftpipe.gateway.orders`), or a VENUE_FAULT: an execution of an order
nobody knows, one taken back, a message that cannot be read, a venue that lost our orders, one that lets nobody in, or one
whose session stays away.
Stopped, it refuses every NEW and REPLACE (the cell is read again immediately before each send), lets every CANCEL
pass, and cancels each open order of its own table, whether or not risk and strategy still live: at once (one whose
cancel is under way already after CANCEL_AGAIN_NS), and again and again, each wait twice as long up to
CANCEL_AGAIN_MAX_NS, until the venue says that the order has ended. A refused or unanswered cancel is no end, and
neither is UNKNOWN. The market of the paper venue runs on by our own clock once nothing more comes of it, so that
cancels are confirmed after the end of a recording, too. The halt cell itself belongs to the supervisor and the
operator; the supervisor sees ``tripped`` and sets it.

**Reducing.** While only orders pass that make a position smaller, a NEW or REPLACE that risk has not approved for that (REDUCES in
its flags) is refused, the word being read again like the halt cell, and every open order that has not been is cancelled.

**Too old.** An approved NEW or REPLACE whose event lies further back than ``max_ages`` is refused, INTENT_STALE: when this
process goes on after having been stopped, it does not send what was decided before.

**Journal.** Where there is one (:mod:`hftpipe.gateway.journaling`) a request stands in it before it is sent, and a report
before it is passed on. A NEW or REPLACE that cannot is refused, JOURNAL_UNWRITABLE.

**Refusing.** A refused NEW is answered with REJECT; a refused REPLACE or CANCEL with CANCEL_REJECT, because the order
it names goes on working. Reports are never dropped: what needs room in the reports ring waits for it.
"""

import numpy as np

from hftpipe.core.machine.hist import hist_since
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, call_step, load_acquire, load_i64, rdtsc, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.halts import VENUE_SCOPE
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import (
    CANCEL,
    CANCEL_REJECT,
    FILL,
    LEFT,
    NEW,
    NOT_TAKEN,
    RECORD,
    REJECT,
    REPLACE,
    REPORT,
    REQUEST,
    VENUE_FAULT,
)
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.cell import halted
from hftpipe.core.shared.event_time import event_now
from hftpipe.core.shared.halts import follow_reducing, follow_scopes, is_barred, is_scope_news, scope_word
from hftpipe.core.shared.ring import ring_consumed, ring_has_space, ring_peek, ring_pop, ring_push
from hftpipe.core.shared.tape import (
    NO_ANSWER_SEEN,
    TOO_OLD_SEEN,
    UNJOURNALED_SEEN,
    VENUE_BUSY_SEEN,
    WITH_RECORD,
    tape_halt,
    tape_mark,
    tape_record,
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
    order_find,
    order_insert,
    order_move,
)
from hftpipe.gateway.counting import count_outcome, count_report, trip_unapproved, venue_fault
from hftpipe.gateway.journaling import (
    REFUSED,
    journal_time,
    note_no_answer,
    note_report,
    note_request,
    withdraw_request,
)
from hftpipe.gateway.orders import DUPLICATE_FILL, NOT_ASKED, UNKNOWN_ID, apply_report
from hftpipe.gateway.state import MIN_REPORT_ROOM, STATE
from hftpipe.gateway.stopping import cancel_open, forget_reducing, mark_reducing, run_on, submit

MAX_ORDERS_PER_STEP = 256
MAX_MARKET_PER_STEP = 512

_REPORT = np.uint64(offset_of(STATE, "report"))
_ROOM = np.int64(1)
_LAST_REASON = np.int64(reasons.REASON_SLOTS - 1)


@jit
def _is_stopped(s):
    return halted(s.halt) or s.tripped != 0 or scope_word(s.halts, np.int64(VENUE_SCOPE) + s.venue_index) != ZERO


@jit
def _must_refuse(s, r):
    """The last look before a send. What it sees that the step did not goes on the tape, behind the request."""
    stopped = np.int64(_is_stopped(s) or is_barred(s.halts, r.strategy, r.instrument, r.flags))
    if stopped != np.int64(s.stopped != 0 or is_barred(s.scopes, r.strategy, r.instrument, r.flags)):
        tape_halt(s.tape, stopped | WITH_RECORD)
    return stopped != 0


# Reports.


@jit
def _poll(s, state):
    """Pass on every report that has arrived: (number polled, whether none is left)."""
    report = state + _REPORT
    r = view(report, RECORD)
    polled = np.int64(0)
    while ring_has_space(s.reports, _ROOM):
        if call_step(s.venue_poll, s.venue, np.int64(report)) == 0:
            return polled, True
        polled += 1
        r.instrument += s.first
        if s.sim == ZERO:
            tape_record(s.tape, report)
        if r.kind == VENUE_FAULT:
            venue_fault(s, r)
            note_report(s, report, np.int64(0))
            continue
        outcome = apply_report(s.table, s.seen, report)
        if outcome & DUPLICATE_FILL == 0:
            note_report(s, report, outcome)
        if outcome != 0:
            count_outcome(s, outcome, r)
            if outcome & (DUPLICATE_FILL | NOT_ASKED) or (outcome & UNKNOWN_ID and r.kind != FILL):
                continue
        count_report(s, r)
        ring_push(s.reports, report)
    s.reports_held += 1
    return polled, False


@jit
def _note_unanswered(s, state):
    """No answer is not "no": such an order is UNKNOWN, and goes on counting as working until the venue says otherwise."""
    if s.venue_unanswered == ZERO:
        return
    report = state + _REPORT
    for _ in range(open_count(s.table)):
        if call_step(s.venue_unanswered, s.venue, np.int64(report)) == 0:
            return
        tape_mark(s.tape, NO_ANSWER_SEEN, view(report, RECORD).id)
        slot = order_find(s.table, view(report, RECORD).id)
        if slot != ZERO and TRANSITIONS[view(slot, ORDER).state, ON_NO_ANSWER] != ILLEGAL:
            order_move(s.table, slot, np.int64(ON_NO_ANSWER))
            note_no_answer(s, slot)
            s.unanswered += 1


@jit
def _refuse(s, state, order, reason):
    """Answer a request ourselves; the caller has made sure of room in the reports ring."""
    r, answer = view(order, REQUEST), view(state + _REPORT, REPORT)
    answer.venue_id, answer.exchange_ts, answer.local_ts = ZERO, 0, r.local_ts
    answer.id, answer.instrument, answer.side, answer.strategy = r.id, r.instrument, r.side, r.strategy
    answer.flags = np.uint8(reason)
    if r.kind == NEW:
        answer.kind, answer.price, answer.qty = REJECT, r.price, r.qty
    else:
        answer.kind, answer.price, answer.qty = CANCEL_REJECT, 0, 0
    count_report(s, answer)
    ring_push(s.reports, state + _REPORT)


# Requests.


@jit
def _is_too_old(s, r, tsc, now_ns):
    """The last look at the clock: an order may have lain in its ring while this process stood still."""
    now = event_now(s.time, s.clock, tsc, now_ns, r.local_ts)
    return now - r.local_ts > load_i64(s.max_ages + (U64(r.instrument) << U64(3)))


@jit
def _send_new(s, order):
    """Enter and send a NEW: a reason code, NONE if it is on its way."""
    r = view(order, REQUEST)
    if order_find(s.table, r.id) != ZERO:
        return reasons.DUPLICATE_ID
    slot = order_insert(s.table, r.id)
    if slot == ZERO:
        return reasons.GATEWAY_TABLE_FULL
    o = view(slot, ORDER)
    o.price, o.qty, o.created_ts = r.price, r.qty, r.local_ts
    o.instrument, o.side, o.strategy, o.flags = r.instrument, r.side, r.strategy, r.flags
    noted, reason = note_request(s, order, np.int64(0)), reasons.JOURNAL_UNWRITABLE
    if noted != REFUSED:
        # The last look at the halt cell, with nothing between it and the send.
        reason = reasons.HALTED
        if _must_refuse(s, r):
            withdraw_request(s, noted)
        else:
            taken = submit(s, order, noted)
            if taken != NOT_TAKEN:
                s.sent += np.int64(taken == LEFT)
                return reasons.NONE
            reason = reasons.VENUE_BUSY
    order_move(s.table, slot, np.int64(ON_REJECT))
    return reason


@jit
def _send_change(s, order):
    """Send a REPLACE or CANCEL: a reason code, NONE if it is on its way."""
    r, slot = view(order, REQUEST), order_find(s.table, view(order, REQUEST).id)
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        return reasons.UNKNOWN_ORDER
    if r.kind == REPLACE and TRANSITIONS[view(slot, ORDER).state, ON_REPLACE_SENT] == ILLEGAL:
        return reasons.ILLEGAL_TRANSITION
    noted = note_request(s, order, np.int64(0))
    if noted == REFUSED:
        return reasons.JOURNAL_UNWRITABLE
    if r.kind == REPLACE and _must_refuse(s, r):
        withdraw_request(s, noted)
        return reasons.HALTED
    taken = submit(s, order, noted)
    if taken == NOT_TAKEN:
        return reasons.VENUE_BUSY
    if r.kind == REPLACE:
        replace_sent(s.table, slot, r.price, r.qty)
        mark_reducing(slot, r.flags)
        s.replaces_sent += np.int64(taken == LEFT)
    else:
        order_move(s.table, slot, np.int64(ON_CANCEL_SENT))
        s.cancels_sent += np.int64(taken == LEFT)
    return reasons.NONE


@jit
def _take_order(s, state, order, now_ns):
    """One record of the orders ring. False leaves it unread, unchanged: a refusal could not be told.

    A CANCEL needs no room beforehand (only its refusal does), so a full reports ring never holds one up.
    """
    r, tsc = view(order, REQUEST), rdtsc()
    has_room = ring_has_space(s.reports, _ROOM)
    if not has_room and r.kind != CANCEL:
        return False
    if has_room:
        tape_record(s.tape, order)
    s.event_ts = max(s.event_ts, r.local_ts)
    # Requests sent <= records delivered, by the ring's own count: one approval is never sent twice.
    if s.sent + s.replaces_sent + s.cancels_sent > np.int64(ring_consumed(s.orders)):
        trip_unapproved(s, r)
    if (r.kind == NEW or r.kind == REPLACE) and _is_too_old(s, r, tsc, now_ns):
        tape_mark(s.tape, TOO_OLD_SEEN, r.id)
        reason = reasons.INTENT_STALE
    elif r.kind == NEW:
        reason = _send_new(s, order)
    elif r.kind == REPLACE or r.kind == CANCEL:
        reason = _send_change(s, order)
    else:
        reason = reasons.INVALID_VALUE
    if reason == reasons.NONE:
        if not has_room:
            tape_record(s.tape, order)
        hist_since(s.h_risk_to_gateway, r.sent_tsc, tsc)
        return True
    if has_room:
        if reason == reasons.VENUE_BUSY and s.sim == ZERO:
            tape_mark(s.tape, VENUE_BUSY_SEEN, r.id)
        elif reason == reasons.JOURNAL_UNWRITABLE:
            s.unjournaled += 1
            tape_mark(s.tape, UNJOURNALED_SEEN, r.id)
        _refuse(s, state, order, reason)
    return has_room


@jit
def _drain_orders(s, state, now_ns):
    """Send what risk approved: (number done, whether nothing is left)."""
    for done in range(MAX_ORDERS_PER_STEP):
        order = ring_peek(s.orders)
        if order == ZERO:
            return done, True
        if not _take_order(s, state, order, now_ns):
            s.reports_held += 1
            return done, False
        s.orders_seen += 1
        ring_pop(s.orders)
    return MAX_ORDERS_PER_STEP, False


# The market of the paper venue.


@jit
def _show(s, record):
    """Play a market record to the paper venue, which knows its own numbers of instruments: whether it took it."""
    r = view(record, RECORD)
    r.instrument -= s.first
    played = call_step(s.venue_market, s.venue, np.int64(record)) != 0
    r.instrument += s.first
    return played


@jit
def _play(s, state, until):
    """Play market records with an index below ``until`` to the paper venue: number of records and reports handled."""
    work, room = np.int64(0), np.int64(min(view(s.reports, RING).capacity, U64(MIN_REPORT_ROOM)))
    for _ in range(MAX_MARKET_PER_STEP):
        record = ring_peek(s.sim)
        if record == ZERO or ring_consumed(s.sim) >= until:
            break
        if not ring_has_space(s.reports, room):
            s.reports_held += 1
            break
        played = s.venue_room == ZERO or call_step(s.venue_room, s.venue, np.int64(0)) > 0
        if played:
            played = _show(s, record)
        if played:
            tape_record(s.tape, record)
            s.event_ts = max(s.event_ts, view(record, RECORD).local_ts)
            s.sim_records += 1
            work += 1
            ring_pop(s.sim)
        polled, emptied = _poll(s, state)
        work += polled
        if not emptied or not (played or polled > 0):
            break
    return work


# Stopping.


@jit
def _watch_halt(s, state, now_ns):
    """While halted or tripped, see to it that every open order ends: (whether stopped, cancels sent).

    Where only a strategy or an instrument is halted, its orders, and while only reducing is allowed those that were not approved
    for that; the gateway itself goes on.
    """
    stopped = _is_stopped(s)
    if np.int64(stopped) != s.stopped:
        tape_halt(s.tape, np.int64(stopped))
        s.stopped = np.int64(stopped)
        if stopped:
            s.stops += ONE
    if is_scope_news(s.halts, s.scopes):
        halts, changes = follow_scopes(s.halts, s.scopes, s.n_scopes, s.tape)
        reducing = follow_reducing(s.halts, s.scopes, s.tape)
        if reducing > 0:
            forget_reducing(s.table)
        s.n_halted += 2 * halts - changes + reducing
        s.stops += U64(halts > 0 or reducing > 0)
    return stopped, cancel_open(s, state, now_ns) if stopped or s.n_halted > 0 else np.int64(0)


@jit
def step(state, now_ns):
    """One round of the gateway (STATE at address ``state``): number of things done.

    ``progress`` is read first: every order that market records below it caused is in the orders ring by then, so once
    that ring has been read empty the paper venue may play those records, and no order comes too late for its market.
    Stopped, nothing new can be sent and there is nothing to wait for: the venue's market then runs free, so that
    cancels are confirmed even when risk is dead.
    """
    s = view(state, STATE)
    journal_time(s, now_ns)
    until = load_acquire(s.progress) if s.progress != ZERO else ZERO
    stopped, work = _watch_halt(s, state, now_ns)
    done, drained = _drain_orders(s, state, now_ns)
    work += done
    if s.sim != ZERO and (drained or stopped):
        work += _play(s, state, ~ZERO if stopped else until)
    if s.sim != ZERO and stopped:
        work += run_on(s, state, now_ns)
    polled, _emptied = _poll(s, state)
    _note_unanswered(s, state)
    return np.int64(work + polled)


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    """:func:`step` with a C address, for the duty loop."""
    return step(state, now_ns)
