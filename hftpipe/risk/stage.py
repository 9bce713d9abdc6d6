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
the supervisor halts trading by that name. So does a fill that cannot be booked: UNBOOKABLE_FILL; and so does a loss beyond its
limit, which risk sees at orders and fills and by looking around in between: DRAWDOWN, DAILY_LOSS.

A refused REPLACE is a CANCEL_REJECT, never a REJECT: the order it names goes on working, and a REJECT would end it in
the strategy's table.
"""

import numpy as np

from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_relaxed, rdtsc, store_release, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.halts import VENUE_SCOPE
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import (
    CANCEL,
    CANCEL_REJECT,
    NEW,
    RECORD_BYTES,
    REDUCES,
    REJECT,
    REPLACE,
    REPORT,
    REQUEST,
)
from hftpipe.core.shared.cell import halted
from hftpipe.core.shared.event_time import event_now, known_until
from hftpipe.core.shared.halts import is_reducing, order_scope, scope_word
from hftpipe.core.shared.ring import (
    ring_claim,
    ring_consumed,
    ring_has_space,
    ring_peek,
    ring_pop,
    ring_publish,
)
from hftpipe.core.shared.tape import REDUCING, RING_FULL, WITH_RECORD, tape_halt, tape_record, tape_top
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    ON_CANCEL_SENT,
    ORDER,
    is_open,
    order_find,
    order_insert,
    order_move,
)
from hftpipe.risk.changes import take_changes
from hftpipe.risk.checks import evaluate
from hftpipe.risk.context import CONTEXT
from hftpipe.risk.crossing import TOUCH_BYTES, crosses, narrow, widen
from hftpipe.risk.desks import DESK, RATES, desk_at, own_position
from hftpipe.risk.exposure import (
    POSITION_BYTES,
    recount,
)
from hftpipe.risk.groups import groups_count, member_at
from hftpipe.risk.limits import LIMITS, LIMITS_BYTES
from hftpipe.risk.looking import look_around
from hftpipe.risk.marking import TOP_AT, copy_top, mark_position
from hftpipe.risk.rate import RATE_BYTES, rate_add
from hftpipe.risk.repeats import repeat_add, repeat_key
from hftpipe.risk.reports import drain_reports
from hftpipe.risk.standings import standing_at
from hftpipe.risk.state import LANE, STATE
from hftpipe.risk.worth import WORTH, desk_total, own_worth_at, regross_own, run_total, venue_total, worth_at

MAX_INTENTS_PER_STEP = 256

_CONTEXT = np.uint64(offset_of(STATE, "context"))
_LANE_SHIFT = np.uint64(6)
assert LANE.itemsize == 64
_PAYLOAD = np.uint64(8)
_PAYLOAD_BYTES = np.int64(RECORD_BYTES - 8)
_ROOM = np.int64(1)
# Flags of a HALT_SEEN: it is about the request before, judged while halted (1) or while only reducing was allowed, or refused
# as the orders ring was full.
_WHILE_HALTED = np.int64(WITH_RECORD | 1)
_WHILE_FULL = np.int64(WITH_RECORD | RING_FULL)
_WHILE_REDUCING = np.int64(WITH_RECORD | REDUCING)
_UNMARKED = np.uint8(0xFF & ~REDUCES)


@jit
def _lane(s, index):
    return view(s.lanes + (U64(index) << _LANE_SHIFT), LANE)


@jit
def _lane_of(s, instrument):
    """The lane to the venue of an instrument; of an unknown one the first, where only the time is read."""
    if U64(instrument) >= U64(s.n_instruments):
        return view(s.lanes, LANE)
    return _lane(s, view(s.instruments + U64(instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT).at)


@jit
def _refuse(s, intent, reason):
    """Tell the strategy; the caller has made sure of room in the updates ring."""
    s.rejects[reason] += 1
    slot = ring_claim(s.updates)
    copy_bytes(slot + _PAYLOAD, intent + _PAYLOAD, _PAYLOAD_BYTES)
    answer = view(slot, REPORT)
    # No venue saw it.
    answer.venue_id, answer.exchange_ts = ZERO, 0
    answer.flags = np.uint8(reason)
    if answer.kind == NEW:
        answer.kind = REJECT
    else:
        answer.kind, answer.price, answer.qty = CANCEL_REJECT, 0, 0
    ring_publish(s.updates)


@jit
def _send(s, orders, intent, order, tsc):
    """Hand an approved intent to the gateway under its order's own instrument, side and flags."""
    slot = ring_claim(orders)
    copy_bytes(slot + _PAYLOAD, intent + _PAYLOAD, _PAYLOAD_BYTES)
    r = view(slot, REQUEST)
    r.sent_tsc = tsc
    r.instrument, r.side, r.flags = order.instrument, order.side, order.flags
    hist_since(s.h_tick_to_risk, r.origin_tsc, tsc)
    ring_publish(orders)


@jit
def _confirm_top(s, state, instrument):
    """A top that has long been the same was right as long as the market is known. The cell is read again behind that."""
    known = known_until(_lane_of(s, instrument).time)
    copy_top(s, state, instrument)
    top = view(state + TOP_AT, TOP_CELL)
    top.local_ts = max(top.local_ts, known)


@jit
def _judge_top(s, state, c, instrument):
    """The top of book an order is judged by."""
    copy_top(s, state, instrument)
    if c.now - view(state + TOP_AT, TOP_CELL).local_ts > view(c.limits, LIMITS).max_book_age_ns:
        _confirm_top(s, state, instrument)
    tape_top(s.tape, np.uint32(instrument), state + TOP_AT, c.now)
    mark_position(s, state, instrument, c.now)


@jit
def _is_scope_halted(s, r):
    """Whether the venue, strategy or instrument of a request is halted; one that names what there is not is refused for that."""
    if U64(r.instrument) >= U64(s.n_instruments) or U64(r.strategy) >= U64(s.n_desks):
        return False
    lane = _lane_of(s, r.instrument)
    is_venue = lane.dead != 0 or scope_word(s.halts, np.int64(VENUE_SCOPE) + np.int64(lane.venue)) != ZERO
    return is_venue or order_scope(s.halts, r.strategy, r.instrument)


@jit
def _narrow_touch(s, c, r, order):
    """The bounds of what our own orders may trade at are exact where the order would cross one."""
    flags = r.flags if r.kind == NEW or order == ZERO else view(order, ORDER).flags
    if c.touch != ZERO and crosses(c.touch, r.side, flags, r.price):
        narrow(c.touch, s.table, r.instrument)


@jit
def _prepare_controls(s, c, r, instrument, order):
    """The rows of the controls of the whole run."""
    c.worth, c.own_worth = worth_at(s, instrument), own_worth_at(s, r.strategy, instrument)
    quote = view(c.worth, WORTH).quote
    c.run_total = run_total(s, quote)
    c.venue_total = venue_total(s, view(c.instrument, INSTRUMENT).at, quote)
    c.desk_total = desk_total(s, r.strategy, quote) if c.own_worth != ZERO else ZERO
    c.standing, c.repeats = standing_at(s, r.strategy, instrument), s.repeats
    c.touch = s.touches + instrument * TOUCH_BYTES if s.touches != ZERO else ZERO
    _narrow_touch(s, c, r, order)


@jit
def _prepare(s, state, c, intent, order):
    """Fill in the CONTEXT of a verdict; rows stay 0 for an unknown instrument."""
    instrument = U64(view(intent, REQUEST).instrument)
    c.intent, c.order = intent, order
    is_halted = halted(s.halt) or _is_scope_halted(s, view(intent, REQUEST))
    if is_halted:
        tape_halt(s.tape, _WHILE_HALTED)
    c.halted = 1 if is_halted or s.tripped != 0 else 0
    c.reducing = np.int64(is_reducing(s.halts))
    if c.reducing != 0:
        tape_halt(s.tape, _WHILE_REDUCING)
    c.known = 1 if instrument < U64(s.n_instruments) else 0
    c.groups = s.groups
    c.desk = desk_at(s, view(intent, REQUEST).strategy)
    if c.known == 0:
        c.instrument, c.limits, c.position, c.rates, c.own, c.member = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        return
    c.instrument = s.instruments + instrument * U64(INSTRUMENT_BYTES)
    c.limits = s.limits + instrument * U64(LIMITS_BYTES)
    c.position = s.positions + instrument * POSITION_BYTES
    c.rates = s.rates + instrument * U64(RATE_BYTES)
    own = own_position(s, view(intent, REQUEST).strategy, instrument)
    c.own = own if own != ZERO else c.position
    c.member = member_at(s, instrument)
    _prepare_controls(s, c, view(intent, REQUEST), instrument, order)
    _judge_top(s, state, c, instrument)
    regross_own(s, view(intent, REQUEST).strategy, instrument, own)
    if s.tripped != 0:
        # What is held was found to have lost too much just now, by this order's own look.
        c.halted = 1


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
        replace_sent(s.table, slot, r.price, r.qty)
        s.replaces += 1
    else:
        order.price, order.qty, order.created_ts = r.price, r.qty, r.local_ts
        order.instrument, order.side, order.strategy, order.flags = r.instrument, r.side, r.strategy, r.flags
        s.approved += 1
    recount(s, order)
    return slot


@jit
def _note_order(s, c, r, order, now):
    """What the next orders are compared with: this one, at these terms."""
    repeat_add(c.repeats, repeat_key(r.strategy, r.instrument, r.side, order.flags), r.price, r.qty, now)
    if c.touch != ZERO:
        widen(c.touch, r.side, order.flags, r.price)


@jit
def _judge(s, state, orders, intent, slot, now):
    """Verdict on a NEW or REPLACE for ring ``orders`` at event time ``now``; an approved one is booked: (reason, its order)."""
    c = view(state + _CONTEXT, CONTEXT)
    c.top, c.now = state + TOP_AT, now
    s.seen_ts = max(s.seen_ts, now)
    _prepare(s, state, c, intent, slot)
    reason = evaluate(state + _CONTEXT)
    if reason != reasons.NONE:
        return reason, ZERO
    if not ring_has_space(orders, _ROOM):
        tape_halt(s.tape, _WHILE_FULL)
        return reasons.ORDERS_RING_FULL, ZERO
    slot = _book_order(s, view(intent, REQUEST), slot)
    if slot == ZERO:
        return reasons.TOO_MANY_OPEN_ORDERS, ZERO
    order = view(slot, ORDER)
    order.flags = (order.flags & _UNMARKED) | np.uint8(c.reducing * REDUCES)
    rate_add(c.rates, now)
    if view(c.desk, DESK).is_limited != 0:
        rate_add(c.desk + RATES, now)
    groups_count(s.groups, c.member, now)
    _note_order(s, c, view(intent, REQUEST), view(slot, ORDER), now)
    return reasons.NONE, slot


@jit
def _take_order(s, state, intent, slot, now_ns):
    """NEW and REPLACE (and anything that is no intent at all): False leaves the record unread."""
    if not ring_has_space(s.updates, _ROOM):
        s.updates_held += 1
        return False
    tape_record(s.tape, intent)
    r, start = view(intent, REQUEST), rdtsc()
    hist_since(s.h_strategy_to_risk, r.sent_tsc, start)
    if r.kind != NEW and r.kind != REPLACE:
        _refuse(s, intent, reasons.INVALID_VALUE)
        return True
    lane = _lane_of(s, r.instrument)
    now = event_now(lane.time, s.clock, start, now_ns, r.local_ts)
    reason, order = _judge(s, state, lane.orders, intent, slot, now)
    end = stamp()
    hist_since(s.h_risk, start, end)
    if reason == reasons.NONE:
        _send(s, lane.orders, intent, view(order, ORDER), end)
    else:
        _refuse(s, intent, reason)
    return True


@jit
def _refuse_cancel(s, intent, reason):
    """False leaves the record unread: there is no room to tell."""
    if not ring_has_space(s.updates, _ROOM):
        s.updates_held += 1
        return False
    tape_record(s.tape, intent)
    if reason == reasons.HALTED:
        tape_halt(s.tape, _WHILE_HALTED)
    _refuse(s, intent, reason)
    return True


@jit
def _take_cancel(s, intent, slot):
    """CANCEL: only an unknown order or a dead gateway stops it, not a halt, a limit or a throttle. False leaves it unread."""
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        return _refuse_cancel(s, intent, reasons.UNKNOWN_ORDER)
    lane = _lane_of(s, view(slot, ORDER).instrument)
    if lane.dead != 0:
        return _refuse_cancel(s, intent, reasons.HALTED)
    orders = lane.orders
    if not ring_has_space(orders, _ROOM):
        s.orders_held += 1
        return False
    tape_record(s.tape, intent)
    tsc = stamp()
    hist_since(s.h_strategy_to_risk, view(intent, REQUEST).sent_tsc, tsc)
    order_move(s.table, slot, np.int64(ON_CANCEL_SENT))
    recount(s, view(slot, ORDER))
    _send(s, orders, intent, view(slot, ORDER), tsc)
    s.cancels += 1
    return True


@jit
def _drain_intents(s, state, now_ns):
    """Judge what the strategy asked for: (number done, whether nothing is left)."""
    for done in range(MAX_INTENTS_PER_STEP):
        intent = ring_peek(s.intents)
        if intent == ZERO:
            return done, True
        slot = order_find(s.table, view(intent, REQUEST).id)
        if view(intent, REQUEST).kind == CANCEL:
            taken = _take_cancel(s, intent, slot)
        else:
            taken = _take_order(s, state, intent, slot, now_ns)
        if not taken:
            return done, False
        s.intents_seen += 1
        ring_pop(s.intents)
    return MAX_INTENTS_PER_STEP, False


@jit
def _publish_progress(s):
    for index in range(s.n_lanes):
        lane = _lane(s, index)
        if lane.market != ZERO and load_relaxed(lane.progress) != lane.read:
            store_release(lane.progress, lane.read)


@jit
def step(state, now_ns):
    """One round of the risk stage (STATE at address ``state``): number of records handled.

    ``progress`` tells a paper venue how many of its market records it may play: all orders they caused have been handed
    over. The strategy writes its intents *before* it gives a market record back, so what it had given back when P was
    read can have no intent that is still to come. P is therefore read first: read after the draining, it could count
    records whose intents arrived in between and are still unread.
    """
    s, done = view(state, STATE), np.int64(0)
    take_changes(s)
    look_around(s, state, now_ns)
    for index in range(s.n_lanes):
        lane = _lane(s, index)
        lane.read = ring_consumed(lane.market) if lane.market != ZERO else ZERO
    for index in range(s.n_lanes):
        done += drain_reports(s, state, _lane(s, index).reports, _lane(s, index).time, now_ns)
    judged, drained = _drain_intents(s, state, now_ns)
    if drained:
        _publish_progress(s)
    return np.int64(done + judged)


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    """:func:`step` with a C address, for the duty loop."""
    return step(state, now_ns)
