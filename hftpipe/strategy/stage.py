"""The strategy stage: market and update records in, hooks called, intents out.

::

    updates ─▶ orders, positions ─▶ on_fill ─┐
    params  ─▶ self ─────────────▶ on_params ─┼─▶ actions ─▶ intents
    market  ─▶ books ─▶ on_book, on_trade ────┤
               TIMER ─▶ on_timer ─────────────┘
                          └─▶ wishes ─▶ quotes (quotes.py) ─▶ actions, after the hook's own

Order of one step: the halt cell, updates (a strategy decides on its latest position), parameters, market records.
The intents of a record are in the ring before that record counts as read: who watches the market ring's progress
(risk, the simulated exchange) knows that no earlier answer is still to come. A hook that raises disables the strategy:
what it had asked for is not sent (:mod:`hftpipe.strategy.undo`), its open orders are cancelled, its position is kept up to
date, and no hook is called again.
"""

import numpy as np

from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, fence_acquire, load_acquire, load_relaxed, store_i64, view
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.records import (
    ACK,
    BID,
    BOOK_RESET,
    BOOK_STATE,
    CANCEL_REJECT,
    FILL,
    FILL_MAKER,
    LAST,
    LEVEL,
    RECORD,
    TIMER,
    TOP,
    TRADE,
)
from hftpipe.core.shared.cell import halted
from hftpipe.core.shared.ring import ring_peek, ring_pop, ring_push
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.shared.tape import tape_halt, tape_params, tape_record
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_set, book_set_top, book_tradable
from hftpipe.core.trading.order_table import open_count, order_find
from hftpipe.core.trading.position import position_fill
from hftpipe.strategy.api.hooks import call_hook
from hftpipe.strategy.context import CONTEXT, action_at, book_of, cancel_all, known_instrument, position_at
from hftpipe.strategy.params import MAX_PARAMS, PARAMS_HEADER_BYTES
from hftpipe.strategy.quotes import answered, bring_about, halt_quotes
from hftpipe.strategy.room import room_done
from hftpipe.strategy.undo import keep_cancels
from hftpipe.strategy.updates import apply_update

MAX_UPDATES = np.int64(64)
MAX_MARKET = np.int64(256)
PARAM_READ_TRIES = 100
NO_HOOK, ON_BOOK, ON_TRADE, ON_FILL, ON_TIMER, ON_PARAMS = (np.int64(n) for n in range(6))
HOOK_NUMBERS = {"on_book": 1, "on_trade": 2, "on_fill": 3, "on_timer": 4, "on_params": 5}

#: The stage's own memory. Addresses are set before it starts; counters are read by the monitor.
STATE = np.dtype(
    [
        ("market", "u8"), ("updates", "u8"), ("self_record", "u8"), ("params_cell", "u8"), ("halt", "u8"),
        # Hook addresses by HOOK_NUMBERS, 0 = the strategy does not have it; [0] is never set.
        ("hooks", "u8", 6),
        ("h_market_to_strategy", "u8"), ("h_strategy", "u8"),
        # Parameters: version last applied, how many, and where a consistent copy is gathered.
        ("params_version", "u8"), ("n_params", "i8"), ("params_scratch", "u8", MAX_PARAMS),
        # A TOP pair's bid, and whether a book update has begun.
        ("top_bid", "i8"), ("top_bid_qty", "i8"), ("in_update", "i8"),
        # Number of the hook that raised (HOOK_NUMBERS), 0 while all is well; the address of what it raised; whether to
        # cancel at this step; the hook whose fault has been handed to Python.
        ("failed", "i8"), ("raised", "u8"), ("cancel_due", "i8"), ("fault_told", "i8"),
        # Counters since start.
        ("events", "i8"), ("book_updates", "i8"), ("untradable", "i8"), ("trades", "i8"), ("timers", "i8"),
        ("updates_seen", "i8"), ("fills", "i8"), ("unknown_orders", "i8"), ("bad_records", "i8"),
        ("callbacks", "i8"), ("intents_sent", "i8"), ("params_applied", "i8"),
        ("halts_seen", "i8"),
        # Actions of a hook that raised, which were not sent; the number of the hook that runs now (for who finds us dead).
        ("dropped", "i8"), ("running", "i8"), ("_pad", "i8", 2),
        # Everything consumed goes on this tape first (core/shared/tape.py); 0 = not recording.
        ("tape", "u8"), ("ctx", CONTEXT),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  events            records read
  book_updates      updates of a book
  untradable        updates of a book that is not VALID
  trades            trades
  timers            timers
  updates_seen      answers to our orders
  fills             executions
  callbacks         hooks called
  intents_sent      requests sent
  params_applied    changed parameters taken over
  halts_seen        halts and resumptions noticed
~ dropped           actions of a hook that raised, which were not sent
! unknown_orders    answers about orders we do not know
! bad_records       records that cannot be
""")
_CTX = np.uint64(STATE.fields["ctx"][1])
_ROOM = _CTX + np.uint64(CONTEXT.fields["room"][1])
_SCRATCH = np.uint64(STATE.fields["params_scratch"][1])
_HEADER = np.uint64(PARAMS_HEADER_BYTES)
assert int(_CTX) % 64 == 0


@jit
def _flush(state):
    """Send what the callback asked for, in order; room was made sure of when each was admitted."""
    ctx = state + _CTX
    c, s = view(ctx, CONTEXT), view(state, STATE)
    sent_tsc = np.int64(stamp())
    for index in range(c.n_actions):
        action = action_at(ctx, index)
        view(action, RECORD).exchange_ts = sent_tsc
        ring_push(c.intents, action)
    s.intents_sent += c.n_actions
    c.n_actions = 0


@jit
def _call(state, number, instrument, origin_tsc, argument):
    """Call hook ``number`` with the current instrument set, then send its actions; of one that raised only cancels."""
    s, c = view(state, STATE), view(state + _CTX, CONTEXT)
    hook = s.hooks[number]
    if hook == ZERO or s.failed != 0:
        return
    c.instrument, c.origin_tsc = instrument, origin_tsc
    s.running = number
    started = stamp()
    raised = call_hook(hook, s.self_record, state + _CTX, argument)
    hist_since(s.h_strategy, started, stamp())
    s.running = NO_HOOK
    s.callbacks += 1
    if raised != 0:
        s.failed, s.raised, s.cancel_due = number, U64(raised), 1
        s.dropped = keep_cancels(state + _CTX)
    if c.n_actions > 0:
        _flush(state)


@jit
def _bring_quotes(state, origin_tsc):
    """Bring what stands nearer to what is wanted, where something is due; ``origin_tsc``: of the record that made it so."""
    s, c = view(state, STATE), view(state + _CTX, CONTEXT)
    if c.now < c.quote_due or c.halted != 0 or s.failed != 0:
        return
    c.origin_tsc = origin_tsc
    while bring_about(state + _CTX):
        _flush(state)
    if c.n_actions > 0:
        _flush(state)


@jit
def _cancel_everything(state):
    """After a hook raised nothing of the strategy may stay in the market; what is refused is retried at each timer."""
    ctx = state + _CTX
    view(state, STATE).cancel_due = 0
    if open_count(view(ctx, CONTEXT).table) == 0:
        return
    cancel_all(ctx)
    _flush(state)


# --- updates ---------------------------------------------------------------------------------------


@jit
def _update(state, record):
    """An answer to one of our orders: the hook to call for it."""
    s, c, r = view(state, STATE), view(state + _CTX, CONTEXT), view(record, RECORD)
    s.updates_seen += 1
    if r.kind > CANCEL_REJECT:
        s.bad_records += 1
        return NO_HOOK
    slot = order_find(c.table, r.id)
    if slot == ZERO:
        s.unknown_orders += 1
    else:
        apply_update(c.table, slot, record)
        answered(state + _CTX, slot, r)
    if r.kind != FILL:
        return NO_HOOK
    # A fill counts whether or not the order is known: it is ours.
    is_maker = (r.flags & FILL_MAKER) != 0
    position_fill(position_at(state + _CTX, np.int64(r.instrument)), r.side, r.price, r.qty, r.local_ts, is_maker)
    s.fills += 1
    return ON_FILL


# --- halts -----------------------------------------------------------------------------------------


@jit
def _watch_halt(state):
    """See the halt cell, once per step: the strategy stage looks itself, for risk may be dead by then."""
    s, c = view(state, STATE), view(state + _CTX, CONTEXT)
    is_halted = np.int64(halted(s.halt))
    if is_halted == c.halted:
        return
    tape_halt(s.tape, is_halted)
    c.halted = is_halted
    s.halts_seen += is_halted
    halt_quotes(state + _CTX)


# --- parameters ------------------------------------------------------------------------------------


@jit
def _gather_params(state):
    """Copy the shared parameters into the scratch: their version, or 0 while the writer is busy."""
    s = view(state, STATE)
    for _ in range(PARAM_READ_TRIES):
        version = load_acquire(s.params_cell)
        if version & ONE:
            continue
        for index in range(s.n_params):
            s.params_scratch[index] = load_relaxed(s.params_cell + _HEADER + U64(8) * U64(index))
        fence_acquire()
        if load_relaxed(s.params_cell) == version:
            return version
    return ZERO


@jit
def _check_params(state):
    s = view(state, STATE)
    if s.params_cell == ZERO or load_relaxed(s.params_cell) == s.params_version:
        return np.int64(0)
    version = _gather_params(state)
    if version == ZERO or version == s.params_version:
        return np.int64(0)
    tape_params(s.tape, version, state + _SCRATCH, s.n_params * 8)
    for index in range(s.n_params):
        store_i64(s.self_record + U64(8) * U64(index + 1), np.int64(s.params_scratch[index]))
    s.params_version = version
    s.params_applied += 1
    _call(state, ON_PARAMS, np.int64(0), ZERO, ZERO)
    _bring_quotes(state, ZERO)
    _after_hook(state)
    return np.int64(1)


@jit
def _after_hook(state):
    """What a failed hook leaves to cancel; then what all this found of the intents ring goes on the tape."""
    if view(state, STATE).cancel_due != 0:
        _cancel_everything(state)
    if view(state + _CTX, CONTEXT).room.asked != 0:
        room_done(state + _ROOM, view(state, STATE).tape)


# --- market ----------------------------------------------------------------------------------------


@jit
def _book_changed(state, book):
    """One whole book update is in: the hook to call, if the book may be traded on."""
    s = view(state, STATE)
    s.book_updates += 1
    s.in_update = 0
    if book_tradable(book):
        return ON_BOOK
    s.untradable += 1
    return NO_HOOK


@jit
def _level(state, book, record):
    r = view(record, RECORD)
    book_set(book, np.int64(r.side), r.price, r.qty)
    if r.flags & LAST == 0:
        return NO_HOOK
    book_commit(book, r.id, r.exchange_ts, r.local_ts)
    return _book_changed(state, book)


@jit
def _top(state, book, record):
    """The bid waits for its ask; a pair older than what the book knows is dropped by it."""
    s, r = view(state, STATE), view(record, RECORD)
    if r.side == BID:
        s.top_bid, s.top_bid_qty = r.price, r.qty
        return NO_HOOK
    s.in_update = 0
    if book_set_top(book, s.top_bid, s.top_bid_qty, r.price, r.qty, r.id, r.exchange_ts, r.local_ts):
        return _book_changed(state, book)
    return NO_HOOK


@jit
def _first_of_update(state, record):
    """Time from the socket to here, once per book update."""
    s = view(state, STATE)
    if s.in_update == 0:
        s.in_update = 1
        hist_since(s.h_market_to_strategy, view(record, RECORD).origin_tsc, stamp())


@jit
def _book_record(state, book, record):
    """LEVEL, TOP, BOOK_RESET or BOOK_STATE: the hook to call for it."""
    s, r = view(state, STATE), view(record, RECORD)
    if r.kind == LEVEL or r.kind == TOP:
        _first_of_update(state, record)
        return _level(state, book, record) if r.kind == LEVEL else _top(state, book, record)
    s.in_update = 0
    if r.kind == BOOK_RESET:
        book_clear(book)
    elif r.kind == BOOK_STATE:
        view(book, BOOK).state = np.int64(r.flags)
    else:
        s.bad_records += 1
    return NO_HOOK


@jit
def _market(state, book, record):
    s, r = view(state, STATE), view(record, RECORD)
    s.events += 1
    view(state + _CTX, CONTEXT).now = r.local_ts
    if r.kind == TRADE:
        s.trades += 1
        return ON_TRADE
    if r.kind == TIMER:
        s.timers += 1
        s.cancel_due = np.int64(s.failed != 0)
        return ON_TIMER
    return _book_record(state, book, record)


# --- the cycle -------------------------------------------------------------------------------------


@jit
def _handle(state, record):
    """One record of either ring: its effect, then the hook it leads to, then that hook's intents."""
    r = view(record, RECORD)
    instrument = np.int64(r.instrument)
    if not known_instrument(state + _CTX, instrument):
        if r.kind != TIMER:
            view(state, STATE).bad_records += 1
            return
        instrument = np.int64(0)
    book = book_of(state + _CTX, instrument)
    hook = _update(state, record) if r.kind >= ACK else _market(state, book, record)
    if hook != NO_HOOK:
        _call(state, hook, instrument, r.origin_tsc, book if hook == ON_BOOK else record)
    # What an answer leads to was not caused by the market event that its order came from.
    _bring_quotes(state, r.origin_tsc if r.kind < ACK else ZERO)


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
        tape_record(s.tape, record)
        _handle(state, record)
        _after_hook(state)
        ring_pop(ring)
        done += 1
    return done


@jit
def step(state, now_ns):
    """One duty cycle of the stage whose STATE is at address ``state``: records handled (int64), or SERVICE.

    SERVICE is asked for once, after a hook has raised: what it was can only be read by Python, in this process.
    ``now_ns`` is not looked at: a strategy's time is its events' time, so that a recorded session replays the same.
    """
    s = view(state, STATE)
    _watch_halt(state)
    done = _drain(state, s.updates, MAX_UPDATES)
    done += _check_params(state)
    done += _drain(state, s.market, MAX_MARKET)
    if s.failed != s.fault_told:
        s.fault_told = s.failed
        return np.int64(SERVICE)
    return done


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    """:func:`step` with a C address."""
    return step(state, now_ns)
