"""The strategy stage: market and update records in, hooks called, intents out.

::

    updates ─▶ orders, positions ─▶ on_fill ─┐
    params  ─▶ self ─────────────▶ on_params ─┼─▶ actions ─▶ intents
    markets ─▶ books ─▶ on_book, on_trade ────┤
               TIMER ─▶ on_timer ─────────────┘
                          └─▶ wishes ─▶ quotes (quotes.py) ─▶ actions, after the hook's own

Order of one step: the halts, updates (a strategy decides on its latest position), parameters, market records.
The intents of a record are in the ring before that record counts as read: who watches the market ring's progress
(risk, the simulated exchange) knows that no earlier answer is still to come. Where there are several strategies each record
goes to all that trade its instrument, in their order in the configuration, each one's intents before the next one's hook.

A hook that raises disables its strategy: what it had asked for is not sent (:mod:`hftpipe.strategy.undo`), its open orders are
cancelled, its position is kept up to date, and no hook of it is called again. The others go on.
"""

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, fence_acquire, load_acquire, load_relaxed, store_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    EXECUTION,
    FILL,
    FILL_MAKER,
    RECORD,
    REQUEST,
    TIMER,
)
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.ring import ring_ahead, ring_peek, ring_pop, ring_push
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.shared.tape import tape_params, tape_record
from hftpipe.core.trading.books import MANY, book_ask_for, book_at
from hftpipe.core.trading.order_reports import is_beside, move_beside, move_filled, move_reported, note_venue_id
from hftpipe.core.trading.order_table import open_count, order_find
from hftpipe.core.trading.position import position_fill, quote_fee
from hftpipe.strategy.api.hooks import call_hook
from hftpipe.strategy.context import CONTEXT, action_at, cancel_all, is_halted, position_at, users_of
from hftpipe.strategy.halting import watch_halts
from hftpipe.strategy.market_records import market_record
from hftpipe.strategy.params import PARAMS_HEADER_BYTES
from hftpipe.strategy.quotes import answered, bring_about
from hftpipe.strategy.room import room_done
from hftpipe.strategy.stage_state import CTX, NO_HOOK, ON_BOOK, ON_FILL, ON_PARAMS, ON_TIMER, SEAT, STATE, seat_at
from hftpipe.strategy.undo import keep_cancels

MAX_UPDATES = np.int64(64)
MAX_MARKET = np.int64(256)
#: How many records ahead the memory of one is asked for.
AHEAD = np.int64(8)
PARAM_READ_TRIES = 100
_ROOM = np.uint64(offset_of(STATE, "room"))
_SCRATCH = np.uint64(offset_of(STATE, "params_scratch"))
_HEADER = np.uint64(PARAMS_HEADER_BYTES)


@jit
def _flush(s, seat):
    """Send what a strategy's callback asked for, in order; room was made sure of when each was admitted."""
    ctx = seat + CTX
    c = view(ctx, CONTEXT)
    sent_tsc = stamp()
    for index in range(c.n_actions):
        action = action_at(ctx, index)
        view(action, REQUEST).sent_tsc = sent_tsc
        ring_push(c.intents, action)
    s.intents_sent += c.n_actions
    view(seat, SEAT).intents_sent += c.n_actions
    c.n_actions = 0


@jit
def _raised(s, seat, number, raised):
    """A hook has raised: its strategy is switched off, and of what it had asked for only cancels are left."""
    t = view(seat, SEAT)
    t.failed, t.raised = number, U64(raised)
    t.dropped = keep_cancels(seat + CTX)
    s.dropped += t.dropped
    s.faults += 1
    s.cancel_due = 1


@jit
def _call(s, seat, number, instrument, origin_tsc, argument):
    """Call a strategy's hook ``number`` with the current instrument set, then send its actions; of one that raised only cancels."""
    t, c = view(seat, SEAT), view(seat + CTX, CONTEXT)
    hook = t.hooks[number]
    if hook == ZERO or t.failed != 0:
        return
    c.instrument, c.origin_tsc, c.halted = instrument, origin_tsc, np.int64(is_halted(seat + CTX, instrument))
    t.running = number
    started = stamp()
    raised = call_hook(hook, t.self_record, seat + CTX, argument)
    hist_since(s.h_strategy, started, stamp())
    t.running = NO_HOOK
    s.callbacks += 1
    t.callbacks += 1
    if raised != 0:
        _raised(s, seat, number, raised)
    if c.n_actions > 0:
        _flush(s, seat)


@jit
def _bring_quotes(s, seat, origin_tsc):
    """Bring what stands nearer to what is wanted, where something is due; ``origin_tsc``: of the record that made it so."""
    c = view(seat + CTX, CONTEXT)
    if c.now < c.quote_due or c.halted_all != 0 or view(seat, SEAT).failed != 0:
        return
    c.origin_tsc = origin_tsc
    while bring_about(seat + CTX):
        _flush(s, seat)
    if c.n_actions > 0:
        _flush(s, seat)


@jit
def _cancel_everything(s):
    """After a hook raised nothing of its strategy may stay in the market; what is refused is retried at each timer."""
    s.cancel_due = 0
    for index in range(s.n_seats):
        seat = seat_at(s, index)
        ctx = seat + CTX
        if view(seat, SEAT).failed != 0 and open_count(view(ctx, CONTEXT).table) != 0:
            cancel_all(ctx)
            _flush(s, seat)


@jit
def _after_hook(state):
    """What a failed hook leaves to cancel; then what all this found of the intents ring goes on the tape."""
    s = view(state, STATE)
    if s.cancel_due != 0:
        _cancel_everything(s)
    if s.room.asked != 0:
        room_done(state + _ROOM, s.tape)


# --- updates ---------------------------------------------------------------------------------------


@jit
def _book(s, seat, x):
    """Book a fill (an EXECUTION), whether or not its order is known: it is ours. False if it is none that risk has booked."""
    is_maker, position = (x.flags & FILL_MAKER) != 0, position_at(seat + CTX, np.int64(x.instrument))
    if x.price <= 0 or x.qty <= 0 or not position_fill(position, x.side, x.price, x.qty, quote_fee(x), is_maker):
        s.bad_records += 1
        return False
    s.fills += 1
    view(seat, SEAT).fills += 1
    return True


@jit
def _answer(s, seat, record):
    """An answer to one of a strategy's orders: the hook to call for it."""
    r = view(record, RECORD)
    if r.kind == FILL and not _book(s, seat, view(record, EXECUTION)):
        return NO_HOOK
    ctx = seat + CTX
    table = view(ctx, CONTEXT).table
    slot = order_find(table, r.id)
    if slot == ZERO:
        s.unknown_orders += 1
    elif r.kind == FILL:
        move_filled(table, slot, r.qty)
        answered(ctx, slot, r)
    elif is_beside(record):
        move_beside(table, slot)
    else:
        note_venue_id(slot, record)
        move_reported(table, slot, r)
        answered(ctx, slot, r)
    return ON_FILL if r.kind == FILL else NO_HOOK


@jit
def _update(state, record):
    """A record of risk's: to the strategy whose order it is about, then its hook, then what that leaves to do."""
    s, r = view(state, STATE), view(record, RECORD)
    s.updates_seen += 1
    if r.kind > CANCEL_REJECT or U64(r.strategy) >= U64(s.n_seats):
        s.bad_records += 1
        return
    seat = seat_at(s, r.strategy)
    view(seat + CTX, CONTEXT).now = s.now
    if _answer(s, seat, record) != NO_HOOK:
        _call(s, seat, ON_FILL, np.int64(r.instrument), ZERO, record)
    # What an answer leads to was not caused by the market event that its order came from.
    _bring_quotes(s, seat, ZERO)


# --- parameters ------------------------------------------------------------------------------------


@jit
def _gather_params(s, t):
    """Copy a strategy's shared parameters into the scratch: their version, or 0 while the writer is busy."""
    for _ in range(PARAM_READ_TRIES):
        version = load_acquire(t.params_cell)
        if version & ONE:
            continue
        for index in range(t.n_params):
            s.params_scratch[index] = load_relaxed(t.params_cell + _HEADER + U64(8) * U64(index))
        fence_acquire()
        if load_relaxed(t.params_cell) == version:
            return version
    return ZERO


@jit
def _take_params(state, seat, index):
    """Take a strategy's changed parameters over, if they can be read now: how many (0 or 1)."""
    s, t = view(state, STATE), view(seat, SEAT)
    version = _gather_params(s, t)
    if version == ZERO or version == t.params_version:
        return np.int64(0)
    tape_params(s.tape, index, version, state + _SCRATCH, t.n_params * 8)
    for at in range(t.n_params):
        store_i64(t.self_record + U64(8) * U64(at + 1), np.int64(s.params_scratch[at]))
    t.params_version = version
    s.params_applied += 1
    view(seat + CTX, CONTEXT).now = s.now
    _call(s, seat, ON_PARAMS, t.first, ZERO, ZERO)
    _bring_quotes(s, seat, ZERO)
    _after_hook(state)
    return np.int64(1)


@jit
def _check_params(state):
    s, done = view(state, STATE), np.int64(0)
    for index in range(s.n_seats):
        seat = seat_at(s, index)
        t = view(seat, SEAT)
        if t.params_cell != ZERO and load_relaxed(t.params_cell) != t.params_version:
            done += _take_params(state, seat, index)
    return done


# --- the cycle -------------------------------------------------------------------------------------


@jit
def _tell(s, seat, hook, instrument, origin_tsc, argument):
    """Time has gone on for a strategy: its hook (NO_HOOK: nothing for it), then its quotes."""
    view(seat + CTX, CONTEXT).now = s.now
    if hook == ON_TIMER:
        _call(s, seat, hook, view(seat, SEAT).first, origin_tsc, argument)
    elif hook != NO_HOOK:
        _call(s, seat, hook, instrument, origin_tsc, argument)
    _bring_quotes(s, seat, origin_tsc)


@jit
def _handle(state, record):
    """One record of any ring: its effect, then the hooks it leads to, then what they have asked for."""
    s, r = view(state, STATE), view(record, RECORD)
    instrument = np.int64(r.instrument)
    if U64(instrument) >= U64(s.n_instruments):
        if r.kind != TIMER:
            s.bad_records += 1
            return
        instrument = np.int64(0)
    if r.kind >= ACK:
        _update(state, record)
        return
    book, users = book_at(s.books, instrument), users_of(s.users, instrument)
    hook = market_record(s, book, r, users)
    for index in range(s.n_seats):
        seat = seat_at(s, index)
        is_for_it = hook == ON_TIMER or users & view(seat + CTX, CONTEXT).own_bit != ZERO
        _tell(s, seat, hook if is_for_it else NO_HOOK, instrument, r.origin_tsc, book if hook == ON_BOOK else record)


@jit
def _look_ahead(state, ring):
    """Where there are many instruments, ask for the book of a record that comes soon."""
    s = view(state, STATE)
    instrument = np.int64(view(ring_ahead(ring, AHEAD), RECORD).instrument)
    if s.n_instruments > MANY and instrument < s.n_instruments:
        book_ask_for(s.books, instrument)


@jit
def _drain(state, ring, limit):
    """Handle up to ``limit`` records; each counts as read only when its intents are out.

    What a failed hook leaves to cancel is cancelled before the next record, so that the intents depend on the records
    alone and not on how many of them one step found.
    """
    s, done = view(state, STATE), np.int64(0)
    while done < limit:
        record = ring_peek(ring)
        if record == ZERO:
            break
        _look_ahead(state, ring)
        tape_record(s.tape, record)
        _handle(state, record)
        _after_hook(state)
        ring_pop(ring)
        done += 1
    return done


@jit
def _is_over(feed):
    """Whether nothing will ever come of a feed any more."""
    return view(feed, STATUS).finished != ZERO


@jit
def _earliest(state):
    """The market ring whose next record is the oldest; 0 while one of them, not at its end, has none."""
    s, best, best_ts = view(state, STATE), ZERO, np.int64(INT64_MAX)
    for index in range(s.n_markets):
        # Looked at before the ring: a record that came in between is there then.
        is_over = _is_over(s.feeds[index])
        record = ring_peek(s.markets[index])
        if record == ZERO:
            if not is_over:
                return ZERO
        elif view(record, RECORD).local_ts < best_ts:
            best, best_ts = s.markets[index], view(record, RECORD).local_ts
    return best


@jit
def _drain_in_time(state):
    """Up to MAX_MARKET records of all market rings, the oldest first: number handled."""
    for done in range(MAX_MARKET):
        ring = _earliest(state)
        if ring == ZERO:
            return np.int64(done)
        _drain(state, ring, np.int64(1))
    return MAX_MARKET


@jit
def _drain_markets(state):
    s, done = view(state, STATE), np.int64(0)
    if s.in_time != 0:
        return _drain_in_time(state)
    for index in range(s.n_markets):
        done += _drain(state, s.markets[index], MAX_MARKET)
    return done


@jit
def step(state, now_ns):
    """One duty cycle of the stage whose STATE is at address ``state``: records handled (int64), or SERVICE.

    SERVICE is asked for once after each hook that has raised: what it was can only be read by Python, in this process.
    ``now_ns`` is not looked at: a strategy's time is its events' time, so that a recorded session replays the same.
    """
    s = view(state, STATE)
    watch_halts(state)
    done = _drain(state, s.updates, MAX_UPDATES)
    done += _check_params(state)
    done += _drain_markets(state)
    if s.faults != s.faults_told:
        s.faults_told = s.faults
        return np.int64(SERVICE)
    return done


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    """:func:`step` with a C address."""
    return step(state, now_ns)
