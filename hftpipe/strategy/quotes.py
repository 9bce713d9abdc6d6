"""Quotes: the author says what should stand in a slot, and this brings it about.

::

    ctx.quote(slot, ...) ─▶ wish ─▶ queue ─▶ NEW, REPLACE or CANCEL ─▶ answer ─▶ queue ─▶ ...

============================== =============================================================================
what stands, against the wish  what is done
============================== =============================================================================
nothing; nothing wanted        nothing
nothing; something wanted      NEW
a change is under way          nothing until it is answered; the newest wish goes then (nothing wanted: CANCEL)
nothing wanted, other side or  CANCEL, and NEW once the order has ended
flags
other price or quantity        REPLACE; CANCEL, and NEW after it, if the order's state does not allow that time and again
the same                       nothing
============================== =============================================================================

NEW and REPLACE wait for their time: after a refusal, or an end that we did not ask for, a pause that doubles with each one in a
row (by reason, see :data:`PAUSE_NS`; the row ends with a fill, or with an order that has stood for as long as the last pause:
a venue may take every order and end it at once), and the pace that keeps within the limits of risk (:mod:`hftpipe.strategy.pacing`). While a change waits,
an order that stands at a better price for others than wanted, or is larger, is cancelled: cancels are never throttled.
Fills are taken off the wish, so a quote that was filled whole is gone until it is asked for again.

The queue is worked through after each record that makes something due, whatever hook it led to, so all of this depends on
the records alone. Slots in it take turns. While halted nothing is sent: the gateway cancels what stands.
"""

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, store_i64, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    GTC,
    POST_ONLY,
    REDUCE_ONLY,
    REJECT,
    REPLACED,
    SELL,
    TIF_MASK,
)
from hftpipe.core.trading.order_table import ORDER, PARTIAL, WORKING, is_cancelling, is_open, remaining
from hftpipe.strategy.context import (
    CONTEXT,
    MAX_ACTIONS,
    cancel_order,
    change_order,
    is_halted,
    is_in_scope,
    own_pace,
    pace_of,
    place_order,
)
from hftpipe.strategy.pacing import pace_ready
from hftpipe.strategy.quote_slots import QUOTE, QUOTE_SLOTS, drop_wish, quote_address

_MS = 1_000_000
#: Pause after a refusal for the reason, doubled for each further one in a row up to LONGEST_PAUSE_NS.
PAUSE_NS = np.full(reasons.REASON_SLOTS, 100 * _MS, np.int64)
for _reason, _pause_ms in (
    # Races and moments of fullness: over with the next answer.
    (reasons.UNKNOWN_ORDER, 5), (reasons.VENUE_UNKNOWN_ORDER, 5), (reasons.ILLEGAL_TRANSITION, 5),
    (reasons.AMEND_BELOW_FILLED, 5), (reasons.POST_ONLY_WOULD_TAKE, 5), (reasons.INTENTS_RING_FULL, 1),
    (reasons.ORDERS_RING_FULL, 5), (reasons.VENUE_BUSY, 5),
    # Windows that have to pass.
    (reasons.RATE_PER_S, 250), (reasons.RATE_PER_MIN, 2000), (reasons.HALTED, 1000),
):  # fmt: skip
    PAUSE_NS[_reason] = _pause_ms * _MS
LONGEST_PAUSE_NS = np.int64(10_000 * _MS)
_MOST_DOUBLINGS = np.int64(12)
#: Changes refused in a row as the order's state does not allow them: once may be a race; more often nobody knows the order's
#: fate (its session has ended, say), and only a cancel finds that out.
_CHANGELESS = np.int64(2)
_REASON_MASK = np.int64(reasons.REASON_SLOTS - 1)
#: Not a part of the trading, but all of it.
EVERYTHING = -1
#: Nothing in the queue is due.
NEVER = np.int64(INT64_MAX)
#: A wish larger than this is no quantity: what has filled and what is wanted must add up within an int64.
_LARGEST = np.int64(1 << 62)
_LEGAL = np.int64(TIF_MASK | REDUCE_ONLY)


# --- the wish --------------------------------------------------------------------------------------


@jit
def enqueue(ctx, index):
    """Have slot ``index`` looked at when this record's hook is through."""
    c = view(ctx, CONTEXT)
    q = view(quote_address(c.quotes, index), QUOTE)
    c.quote_due = np.int64(0)
    if q.queued == 0:
        q.queued = np.uint8(1)
        store_i64(c.quote_queue + U64(8) * (c.queue_in & c.queue_mask), index)
        c.queue_in += ONE


@jit
def _is_legal(side, price, qty, flags):
    tif = flags & TIF_MASK
    if (tif != GTC and tif != POST_ONLY) or flags & ~_LEGAL:
        return False
    return side >= BUY and side <= SELL and price > 0 and qty > 0 and qty <= _LARGEST


@jit
def _index_of(ctx, slot):
    """Number of the current instrument's slot; -1 if there is no such slot."""
    if slot < 0 or slot >= QUOTE_SLOTS:
        return np.int64(-1)
    return view(ctx, CONTEXT).instrument * QUOTE_SLOTS + slot


@jit
def _refused(ctx):
    view(ctx, CONTEXT).refused[reasons.INVALID_VALUE] += 1
    return False


@jit
def _withdraw(ctx, index):
    """Nothing is wanted in slot ``index`` any more; nothing happens if that was so already."""
    c = view(ctx, CONTEXT)
    if view(quote_address(c.quotes, index), QUOTE).asked_qty != 0:
        drop_wish(c.quotes, index)
        enqueue(ctx, index)


@jit
def quote(ctx, slot, side, price, qty, flags, is_number):
    """Wish for what shall stand in a slot of the current instrument: whether the wish is taken.

    What is no legal wish (slot, side, price, quantity, flags) is refused and counted as invalid_value, and withdraws
    the slot: a model that has lost its bearings must not go on showing its last price. While halted only withdrawing
    is taken.
    """
    c, index = view(ctx, CONTEXT), _index_of(ctx, slot)
    if index < 0:
        return _refused(ctx)
    q = view(quote_address(c.quotes, index), QUOTE)
    if q.qty > 0 and q.price == price and q.asked_qty == qty and q.side == side and q.flags == flags and is_number:
        return True
    if qty == 0 and is_number:
        _withdraw(ctx, index)
        return True
    if not is_number or not _is_legal(side, price, qty, flags):
        _withdraw(ctx, index)
        return _refused(ctx)
    if c.halted != 0:
        return False
    q.price, q.qty, q.asked_qty, q.instrument = price, qty, qty, np.uint32(c.instrument)
    q.side, q.flags = np.uint8(side), np.uint8(flags)
    c.wishes += 1
    enqueue(ctx, index)
    return True


@jit
def withdraw(ctx, slot):
    """Nothing shall stand in a slot of the current instrument; False if there is no such slot."""
    index = _index_of(ctx, slot)
    if index < 0:
        return _refused(ctx)
    _withdraw(ctx, index)
    return True


@jit
def withdraw_all(ctx):
    """Nothing shall stand in any slot of any instrument."""
    for index in range(view(ctx, CONTEXT).n_instruments * QUOTE_SLOTS):
        _withdraw(ctx, index)


@jit
def quoted(ctx, slot):
    """``(price, quantity still to show)`` of a slot's wish; (0, 0) if nothing is wanted there."""
    index = _index_of(ctx, slot)
    if index >= 0:
        q = view(quote_address(view(ctx, CONTEXT).quotes, index), QUOTE)
        if q.qty > 0:
            return q.price, q.qty
    return np.int64(0), np.int64(0)


@jit
def quote_id(ctx, slot):
    """Client id of the order that stands in a slot (or is on its way there); 0 if none does."""
    index = _index_of(ctx, slot)
    if index >= 0:
        order = view(quote_address(view(ctx, CONTEXT).quotes, index), QUOTE).order
        if order != ZERO:
            return np.int64(view(order, ORDER).id)
    return np.int64(0)


@jit
def _halt_slots(ctx, instrument):
    c = view(ctx, CONTEXT)
    for index in range(instrument * QUOTE_SLOTS, (instrument + 1) * QUOTE_SLOTS):
        drop_wish(c.quotes, index)
        if view(quote_address(c.quotes, index), QUOTE).order != ZERO:
            enqueue(ctx, index)


@jit
def halt_quotes(ctx, place):
    """The scope at ``place`` (or EVERYTHING) was halted or re-armed: no wish survives that, and what still stands is
    cancelled once nothing forbids it."""
    c = view(ctx, CONTEXT)
    if c.wishes == 0:
        return
    for instrument in range(c.n_instruments):
        if place == EVERYTHING or is_in_scope(ctx, place, np.int64(instrument)):
            _halt_slots(ctx, np.int64(instrument))


# --- answers ---------------------------------------------------------------------------------------


@jit
def _pause(reason, failures):
    """How long to wait after ``failures`` refusals in a row, the last one for ``reason``."""
    return min(PAUSE_NS[reason & _REASON_MASK] << min(failures - 1, _MOST_DOUBLINGS), LONGEST_PAUSE_NS)


@jit
def _note_refusal(q, reason, now):
    if q.good_at != 0 and now >= q.good_at:
        q.failures = 0
    q.failures += 1
    q.reason, q.pause_ns, q.good_at = reason, _pause(reason, q.failures), 0
    q.retry_at = now + q.pause_ns


@jit
def _note_success(q, now):
    """An order stands as it was wanted: once it has done so for a while, refusals before it count no more."""
    if q.failures != 0 and q.good_at == 0:
        q.good_at = now + q.pause_ns


@jit
def _note_cancel_refusal(q, reason, now):
    q.cancelling = np.uint8(0)
    q.cancel_failures += 1
    q.cancel_at = now + _pause(reason, q.cancel_failures)


@jit
def _note_answer(q, order, r, now):
    """What an answer says about how requests for this slot fare."""
    reason = np.int64(r.flags)
    if r.kind == CANCEL_REJECT and q.cancelling != 0 and not is_cancelling(order):
        _note_cancel_refusal(q, reason, now)
    elif r.kind == REJECT or r.kind == EXPIRED or r.kind == CANCEL_REJECT:
        _note_refusal(q, reason, now)
    elif r.kind == CANCELED and q.cancelling == 0:
        _note_refusal(q, np.int64(reasons.NONE), now)
    elif r.kind == REPLACED and (r.price != q.sent_price or r.qty != q.sent_qty):
        # The venue made something else of it. To insist at once would go on for ever.
        _note_refusal(q, np.int64(reasons.NONE), now)
    elif r.kind == ACK or r.kind == REPLACED:
        _note_success(q, now)


@jit
def answered(ctx, slot, r):
    """The answer ``r`` (a RECORD) has been applied to the order at ``slot``, which may stand for a quote."""
    c, order = view(ctx, CONTEXT), view(slot, ORDER)
    if order.quote == 0:
        return
    q = view(quote_address(c.quotes, order.quote - 1), QUOTE)
    if q.order != slot:
        return
    if r.kind == FILL:
        q.failures, q.good_at = 0, 0
        if order.side == q.side:
            q.qty = max(q.qty - r.qty, np.int64(0))
    else:
        _note_answer(q, order, r, c.now)
    if not is_open(order.state):
        q.order, q.cancelling, q.cancel_failures, q.cancel_at = ZERO, np.uint8(0), 0, 0
        q.good_at = q.good_at if q.good_at <= c.now else 0
    enqueue(ctx, order.quote - 1)


# --- bringing it about -----------------------------------------------------------------------------


@jit
def _no_room(q, now):
    """Ring or table are full: try again a little later (:func:`cancel_order` and the like have counted it)."""
    _note_refusal(q, np.int64(reasons.INTENTS_RING_FULL), now)
    return q.retry_at


@jit
def _cancel(ctx, q):
    """Cancel the slot's order: 0 once that is under way, else when to try again."""
    c, order = view(ctx, CONTEXT), view(q.order, ORDER)
    if is_cancelling(order):
        return np.int64(0)
    if c.now < q.cancel_at:
        return q.cancel_at
    if cancel_order(ctx, q.order):
        return np.int64(0)
    _note_cancel_refusal(q, np.int64(reasons.INTENTS_RING_FULL), c.now)
    return q.cancel_at


@jit
def _is_exposed(order, q):
    """Whether the order offers others more than is wanted: a better price, or a larger quantity."""
    if order.price != q.price:
        return (order.price > q.price) == (q.side == BUY)
    return remaining(order) > q.qty


@jit
def _ready_at(ctx, q):
    return max(max(q.retry_at, pace_ready(own_pace(ctx))), pace_ready(pace_of(ctx, q.instrument)))


@jit
def _change(ctx, q):
    """Replace the slot's order, or cancel it if it must wait and should not stand meanwhile."""
    now, order, ready = view(ctx, CONTEXT).now, view(q.order, ORDER), _ready_at(ctx, q)
    if q.failures >= _CHANGELESS and q.reason == reasons.ILLEGAL_TRANSITION:
        return _cancel(ctx, q)
    if now < ready:
        return _cancel(ctx, q) if _is_exposed(order, q) else ready
    total = order.filled + q.qty
    if not change_order(ctx, q.order, q.price, total, np.int64(0)):
        return _no_room(q, now)
    q.sent_price, q.sent_qty = q.price, total
    return np.int64(0)


@jit
def _place(ctx, q, index):
    """Send a new order for the slot."""
    c, ready = view(ctx, CONTEXT), _ready_at(ctx, q)
    if c.now < ready:
        return ready
    c.instrument = np.int64(q.instrument)
    slot = place_order(ctx, np.int64(q.side), q.price, q.qty, np.int64(q.flags))
    if slot == ZERO:
        return _no_room(q, c.now)
    q.order, q.cancelling = slot, np.uint8(0)
    view(slot, ORDER).quote = index + 1
    return np.int64(0)


@jit
def _bring_about(ctx, index):
    """One slot nearer to its wish: when (ns) to look at it again; 0: with the next wish or answer."""
    c = view(ctx, CONTEXT)
    q = view(quote_address(c.quotes, index), QUOTE)
    if is_halted(ctx, np.int64(q.instrument)):
        return np.int64(0)
    if q.order == ZERO:
        return _place(ctx, q, index) if q.qty > 0 else np.int64(0)
    order = view(q.order, ORDER)
    if q.qty == 0 or order.side != q.side or order.flags != q.flags:
        return _cancel(ctx, q)
    if order.state != WORKING and order.state != PARTIAL:
        return np.int64(0)
    if order.price == q.price and remaining(order) == q.qty:
        return np.int64(0)
    return _change(ctx, q)


@jit
def _take(ctx):
    """Take the first slot off the queue."""
    c = view(ctx, CONTEXT)
    index = load_i64(c.quote_queue + U64(8) * (c.queue_out & c.queue_mask))
    c.queue_out += ONE
    view(quote_address(c.quotes, index), QUOTE).queued = np.uint8(0)
    return index


@jit
def bring_about(ctx):
    """Work through the queue once: True if the buffer of actions was full before its end, and must be sent first."""
    c, due = view(ctx, CONTEXT), NEVER
    for _ in range(np.int64(c.queue_in - c.queue_out)):
        if c.n_actions >= MAX_ACTIONS:
            return True
        index = _take(ctx)
        again = _bring_about(ctx, index)
        if again != 0:
            enqueue(ctx, index)
            due = min(due, again)
    c.quote_due = due
    return False
