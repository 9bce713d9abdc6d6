"""PROCESS 3: risk. Every order passes here; positions and exposure have their single writer here.

::

    intents ──▶ checks ──▶ orders          (approved NEW and REPLACE, every CANCEL of a working order)
                   └─────▶ updates         (REJECT of a NEW; CANCEL_REJECT of a refused REPLACE or CANCEL)
    reports ──▶ position, exposure ──▶ updates   (unchanged)

What happens when a ring is full:

============ ====================== ==============================================================================
full         record                 what is done
============ ====================== ==============================================================================
updates      report                 left unread (``updates_held``): never dropped
updates      NEW, REPLACE           left unread (``updates_held``): a refusal could not be told
updates      CANCEL, known order    passes: nothing has to be told
updates      CANCEL, unknown order  left unread (``updates_held``)
orders       NEW, REPLACE           refused, ORDERS_RING_FULL
orders       CANCEL                 left unread and tried again (``orders_held``)
============ ====================== ==============================================================================

Each NEW and REPLACE is judged by the time it is then (``core/shared/event_time.py``), read for it alone: when a stage was stopped,
or a backlog built up, the book, the intent and the rates are as they are when it goes on.

A position that a fill has taken beyond its limit was not caused by what was approved here: risk trips, POSITION_LIMIT, and
the supervisor halts trading by that name.

A refused REPLACE is a CANCEL_REJECT, never a REJECT: the order it names goes on working, and a REJECT would end it in
the strategy's table.
"""

import numpy as np

from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_relaxed, rdtsc, store_release, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import POSITION_LIMIT, TOP_CELL
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.instruments import INSTRUMENT_BYTES
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import (
    CANCEL,
    CANCEL_REJECT,
    FILL,
    INVALID,
    NEW,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACE,
    VALID,
)
from hftpipe.core.shared.cell import cell_read, halted
from hftpipe.core.shared.event_time import event_now, known_until
from hftpipe.core.shared.ring import (
    ring_claim,
    ring_consumed,
    ring_has_space,
    ring_peek,
    ring_pop,
    ring_publish,
    ring_push,
)
from hftpipe.core.shared.tape import RING_FULL, WITH_RECORD, tape_halt, tape_record, tape_top
from hftpipe.core.trading.order_table import (
    ON_CANCEL_SENT,
    ON_REPLACE_SENT,
    ORDER,
    is_open,
    order_find,
    order_insert,
    order_move,
)
from hftpipe.risk.checks import CONTEXT, evaluate
from hftpipe.risk.exposure import (
    BEYOND_LIMIT,
    ILLEGAL_MOVE,
    LATE,
    NOT_BOOKED,
    POSITION_BYTES,
    TOO_MUCH,
    UNKNOWN_ID,
    apply_report,
    recount,
)
from hftpipe.risk.limits import LIMITS, LIMITS_BYTES
from hftpipe.risk.rate import RATE_BYTES, rate_add

MAX_REPORTS_PER_STEP = 256
MAX_INTENTS_PER_STEP = 256

STATE = np.dtype(
    [
        # Rings: in, out, in, out; ``market`` is only asked how far the strategy has read it (0: no paper venue).
        ("intents", "u8"), ("orders", "u8"), ("reports", "u8"), ("updates", "u8"), ("market", "u8"),
        # Cells: a u64 this stage publishes (see step), HALT_CELL, first TOP_CELL (64 bytes apart).
        ("progress", "u8"), ("halt", "u8"), ("tops", "u8"),
        # EVENT_TIME; and the CLOCK it is read by (0: by the monotonic time each step is given).
        ("time", "u8"), ("clock", "u8"),
        # Arrays indexed by instrument id: INSTRUMENT, LIMITS, POSITION, RATE; and risk's own order table.
        ("instruments", "u8"), ("n_instruments", "i8"),
        ("limits", "u8"), ("positions", "u8"), ("rates", "u8"), ("table", "u8"),
        # Histograms: intent sent -> read; length of the checks; market event received -> order approved.
        ("h_strategy_to_risk", "u8"), ("h_risk", "u8"), ("h_tick_to_risk", "u8"),
        # Counters. ``approved`` counts NEW; ``tripped`` is set by a fill that could not be booked, or that took the position
        # beyond its limit (``trip_cause``; the fill's order, price and quantity), and acts as a halt.
        ("intents_seen", "i8"), ("approved", "i8"), ("cancels", "i8"), ("replaces", "i8"),
        ("reports_seen", "i8"), ("fills", "i8"), ("updates_held", "i8"), ("orders_held", "i8"),
        ("late_fills", "i8"), ("unknown_reports", "i8"), ("illegal", "i8"), ("overfills", "i8"),
        ("not_booked", "i8"), ("beyond_limit", "i8"), ("tripped", "i8"),
        ("trip_cause", "i8"), ("fault_id", "i8"), ("fault_price", "i8"), ("fault_qty", "i8"),
        ("rejects", "i8", reasons.REASON_SLOTS),
        # Everything consumed goes on this tape first (core/shared/tape.py); 0 = not recording. A NEW or REPLACE is followed by
        # what it was judged by: HALT_SEEN if halted, the TOP_SEEN pair, HALT_SEEN if the orders ring was full; a FILL by the
        # TOP_SEEN pair that it is marked at.
        ("tape", "u8"),
        # Private: the verdict's inputs and a copy of the top of book.
        ("context", CONTEXT), ("top", TOP_CELL),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  intents_seen      requests read
  approved          new orders approved
  cancels           cancels passed on
  replaces          replaces approved
  reports_seen      reports read
  fills             executions booked
  updates_held      reports that waited for room
  orders_held       requests that waited for room
! late_fills        executions of orders that had ended
! unknown_reports   reports about orders that risk does not know
! illegal           reports that an order's life does not allow
! overfills         executions beyond what an order can have
! not_booked        executions that could not be booked
! beyond_limit      executions that took a position beyond its limit
= tripped           stopped by itself
""")
_CONTEXT = np.uint64(STATE.fields["context"][1])
_TOP = np.uint64(STATE.fields["top"][1])
_PAYLOAD = np.uint64(8)
_PAYLOAD_BYTES = np.int64(RECORD_BYTES - 8)
_ROOM = np.int64(1)
# Flags of a HALT_SEEN: it is about the request before, judged while halted (1), or refused as the orders ring was full.
_WHILE_HALTED = np.int64(WITH_RECORD | 1)
_WHILE_FULL = np.int64(WITH_RECORD | RING_FULL)


# Reports.


@jit
def _count_outcome(s, outcome, r):
    """Everything but a plain report is counted; a fill that is not in the position, or too much for it, stops new orders."""
    if outcome & LATE:
        s.late_fills += 1
    if outcome & UNKNOWN_ID:
        s.unknown_reports += 1
    if outcome & ILLEGAL_MOVE:
        s.illegal += 1
    if outcome & TOO_MUCH:
        s.overfills += 1
    if outcome & NOT_BOOKED:
        s.not_booked += 1
        s.tripped = 1
    if outcome & BEYOND_LIMIT:
        s.beyond_limit += 1
        if s.tripped == 0:
            s.trip_cause, s.fault_id, s.fault_price, s.fault_qty = POSITION_LIMIT, np.int64(r.id), r.price, r.qty
        s.tripped = 1


@jit
def _copy_top(s, state, instrument):
    """Take a private copy of the top of book."""
    if not cell_read(s.tops + (instrument << U64(6)), state + _TOP):
        # The writer died in the middle of a write, or never stops writing: not a book to trade on.
        view(state + _TOP, TOP_CELL).state = INVALID


@jit
def _mark(s, state, instrument):
    """Mark the position at the copy's mid (at the last one known without it)."""
    top = view(state + _TOP, TOP_CELL)
    if top.state == VALID and top.bid > 0 and top.ask > 0:
        view(s.positions + instrument * POSITION_BYTES, POSITION).mark = top.bid + ((top.ask - top.bid) >> 1)


@jit
def _mark_fill(s, state, fill):
    """What a fill earned is measured against the market as it stands now; on the tape that has the time of the trade."""
    instrument = U64(fill.instrument)
    _copy_top(s, state, instrument)
    tape_top(s.tape, fill.instrument, state + _TOP, fill.exchange_ts)
    _mark(s, state, instrument)


@jit
def _is_fill_of(report, n_instruments):
    r = view(report, RECORD)
    return r.kind == FILL and U64(r.instrument) < U64(n_instruments)


@jit
def _drain_reports(s, state):
    """Book and forward reports: number done. Stops, without loss, when the strategy has no room."""
    done = 0
    while done < MAX_REPORTS_PER_STEP:
        report = ring_peek(s.reports)
        if report == ZERO:
            break
        if not ring_has_space(s.updates, _ROOM):
            s.updates_held += 1
            break
        tape_record(s.tape, report)
        if _is_fill_of(report, s.n_instruments):
            _mark_fill(s, state, view(report, RECORD))
        outcome = apply_report(s.table, s.positions, s.limits, s.n_instruments, report)
        s.reports_seen += 1
        if view(report, RECORD).kind == FILL:
            s.fills += 1
        if outcome != 0:
            _count_outcome(s, outcome, view(report, RECORD))
        ring_push(s.updates, report)
        ring_pop(s.reports)
        done += 1
    return done


# Intents.


@jit
def _refuse(s, intent, reason):
    """Tell the strategy; the caller has made sure of room in the updates ring."""
    s.rejects[reason] += 1
    slot = ring_claim(s.updates)
    copy_bytes(slot + _PAYLOAD, intent + _PAYLOAD, _PAYLOAD_BYTES)
    answer = view(slot, RECORD)
    # No venue saw it; and a time-stamp counter here would differ between a session and its replay.
    answer.exchange_ts = 0
    answer.flags = np.uint8(reason)
    if answer.kind == NEW:
        answer.kind = REJECT
    else:
        answer.kind, answer.price, answer.qty = CANCEL_REJECT, 0, 0
    ring_publish(s.updates)


@jit
def _send(s, intent, order, tsc):
    """Hand an approved intent to the gateway under its order's own instrument, side and flags."""
    slot = ring_claim(s.orders)
    copy_bytes(slot + _PAYLOAD, intent + _PAYLOAD, _PAYLOAD_BYTES)
    r = view(slot, RECORD)
    r.exchange_ts = np.int64(tsc)
    r.instrument, r.side, r.flags = order.instrument, order.side, order.flags
    hist_since(s.h_tick_to_risk, r.origin_tsc, tsc)
    ring_publish(s.orders)


@jit
def _confirm_top(s, state, instrument):
    """A top that has long been the same was right as long as the market is known. The cell is read again behind that."""
    known = known_until(s.time)
    _copy_top(s, state, instrument)
    top = view(state + _TOP, TOP_CELL)
    top.local_ts = max(top.local_ts, known)


@jit
def _judge_top(s, state, c, instrument):
    """The top of book an order is judged by."""
    _copy_top(s, state, instrument)
    if c.now - view(state + _TOP, TOP_CELL).local_ts > view(c.limits, LIMITS).max_book_age_ns:
        _confirm_top(s, state, instrument)
    tape_top(s.tape, np.uint32(instrument), state + _TOP, c.now)
    _mark(s, state, instrument)


@jit
def _prepare(s, state, c, intent, order):
    """Fill in the CONTEXT of a verdict; rows stay 0 for an unknown instrument."""
    instrument = U64(view(intent, RECORD).instrument)
    c.intent, c.order = intent, order
    is_halted = halted(s.halt)
    if is_halted:
        tape_halt(s.tape, _WHILE_HALTED)
    c.halted = 1 if is_halted or s.tripped != 0 else 0
    c.known = 1 if instrument < U64(s.n_instruments) else 0
    if c.known == 0:
        c.instrument, c.limits, c.position, c.rates = ZERO, ZERO, ZERO, ZERO
        return
    c.instrument = s.instruments + instrument * U64(INSTRUMENT_BYTES)
    c.limits = s.limits + instrument * U64(LIMITS_BYTES)
    c.position = s.positions + instrument * POSITION_BYTES
    c.rates = s.rates + instrument * U64(RATE_BYTES)
    _judge_top(s, state, c, instrument)


@jit
def _book_order(s, r, slot):
    """Enter an approved order or change: from now on it counts against the limits. The order's slot; 0 if none is free."""
    replacing = r.kind == REPLACE
    if not replacing:
        slot = order_insert(s.table, r.id)
        if slot == ZERO:
            return ZERO
    order = view(slot, ORDER)
    if replacing:
        order.new_price, order.new_qty = r.price, r.qty
        order.asked_price, order.asked_qty = r.price, r.qty
        order_move(s.table, slot, np.int64(ON_REPLACE_SENT))
        s.replaces += 1
    else:
        order.price, order.qty, order.created_ts = r.price, r.qty, r.local_ts
        order.instrument, order.side, order.strategy, order.flags = r.instrument, r.side, r.strategy, r.flags
        s.approved += 1
    recount(s.positions, order)
    return slot


@jit
def _judge(s, state, intent, slot, now):
    """Verdict on a NEW or REPLACE at event time ``now``; an approved one is booked: (reason, its order)."""
    c = view(state + _CONTEXT, CONTEXT)
    c.top, c.now = state + _TOP, now
    _prepare(s, state, c, intent, slot)
    reason = evaluate(state + _CONTEXT)
    if reason != reasons.NONE:
        return reason, ZERO
    if not ring_has_space(s.orders, _ROOM):
        tape_halt(s.tape, _WHILE_FULL)
        return reasons.ORDERS_RING_FULL, ZERO
    slot = _book_order(s, view(intent, RECORD), slot)
    if slot == ZERO:
        return reasons.TOO_MANY_OPEN_ORDERS, ZERO
    rate_add(c.rates, now)
    return reasons.NONE, slot


@jit
def _take_order(s, state, intent, slot, now_ns):
    """NEW and REPLACE (and anything that is no intent at all): False leaves the record unread."""
    if not ring_has_space(s.updates, _ROOM):
        s.updates_held += 1
        return False
    tape_record(s.tape, intent)
    r, start = view(intent, RECORD), rdtsc()
    hist_since(s.h_strategy_to_risk, U64(r.exchange_ts), start)
    if r.kind != NEW and r.kind != REPLACE:
        _refuse(s, intent, reasons.INVALID_VALUE)
        return True
    now = event_now(s.time, s.clock, start, now_ns, r.local_ts)
    reason, order = _judge(s, state, intent, slot, now)
    end = stamp()
    hist_since(s.h_risk, start, end)
    if reason == reasons.NONE:
        _send(s, intent, view(order, ORDER), end)
    else:
        _refuse(s, intent, reason)
    return True


@jit
def _take_cancel(s, intent, slot):
    """CANCEL: only an unknown order stops it, not a halt, a limit or a throttle. False leaves the record unread."""
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        if not ring_has_space(s.updates, _ROOM):
            s.updates_held += 1
            return False
        tape_record(s.tape, intent)
        _refuse(s, intent, reasons.UNKNOWN_ORDER)
        return True
    if not ring_has_space(s.orders, _ROOM):
        s.orders_held += 1
        return False
    tape_record(s.tape, intent)
    tsc = stamp()
    hist_since(s.h_strategy_to_risk, U64(view(intent, RECORD).exchange_ts), tsc)
    order_move(s.table, slot, np.int64(ON_CANCEL_SENT))
    recount(s.positions, view(slot, ORDER))
    _send(s, intent, view(slot, ORDER), tsc)
    s.cancels += 1
    return True


@jit
def _drain_intents(s, state, now_ns):
    """Judge what the strategy asked for: (number done, whether nothing is left)."""
    for done in range(MAX_INTENTS_PER_STEP):
        intent = ring_peek(s.intents)
        if intent == ZERO:
            return done, True
        slot = order_find(s.table, view(intent, RECORD).id)
        if view(intent, RECORD).kind == CANCEL:
            taken = _take_cancel(s, intent, slot)
        else:
            taken = _take_order(s, state, intent, slot, now_ns)
        if not taken:
            return done, False
        s.intents_seen += 1
        ring_pop(s.intents)
    return MAX_INTENTS_PER_STEP, False


@jit
def step(state, now_ns):
    """One round of the risk stage (STATE at address ``state``): number of records handled.

    ``progress`` tells the paper venue how many market records it may play: all orders they caused have been handed
    over. The strategy writes its intents *before* it gives a market record back, so what it had given back when P was
    read can have no intent that is still to come. P is therefore read first: read after the draining, it could count
    records whose intents arrived in between and are still unread.
    """
    s = view(state, STATE)
    progress = ring_consumed(s.market) if s.market != ZERO else ZERO
    done = _drain_reports(s, state)
    judged, drained = _drain_intents(s, state, now_ns)
    if drained and s.market != ZERO and load_relaxed(s.progress) != progress:
        store_release(s.progress, progress)
    return np.int64(done + judged)


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    """:func:`step` with a C address, for the duty loop."""
    return step(state, now_ns)
