"""The context of a strategy: where its actions are buffered, its orders and positions kept.

Every action is admitted or refused when it is asked for: room in this callback's buffer, room in the intents ring
(the strategy is its only writer, so room that is there stays there; what it found is kept in :mod:`strategy.room`
for the tape), room in the open-order table. A refusal is
counted by reason and answered with 0 or False at once; what was admitted is sent, in order, after the callback.

Constants are passed on as ``np.int64(NAME)``: a bare one is a literal type, and numba compiles a function once more for
every literal it is called with.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, address_of, load_relaxed, view
from hftpipe.core.schema.halts import CLOSED_SCOPE, INSTRUMENT_SCOPE, STRATEGY_SCOPE, VENUE_SCOPE
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.reasons import (
    CHANGE_IN_FLIGHT,
    DUPLICATE_ID,
    ILLEGAL_TRANSITION,
    INTENTS_RING_FULL,
    REASON_SLOTS,
    TOO_MANY_ACTIONS,
    TOO_MANY_OPEN_ORDERS,
    UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import CANCEL, ID_EPOCH_BITS, NEW, NOT_A_NUMBER, RECORD_BYTES, REPLACE, REQUEST
from hftpipe.core.schema.spreads import SPREAD
from hftpipe.core.shared.halts import scope_word
from hftpipe.core.trading.books import book_at
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    EMPTY,
    ILLEGAL,
    NOTHING,
    ON_CANCEL_SENT,
    ON_REPLACE_SENT,
    ORDER,
    ORDER_BYTES,
    PENDING_NEW,
    TRANSITIONS,
    is_cancelling,
    is_open,
    open_count,
    open_order,
    order_find,
    order_insert,
    order_move,
    remaining,
)
from hftpipe.strategy.pacing import PACE, PACE_BYTES, pace_add
from hftpipe.strategy.quote_slots import QUOTE_SLOTS, drop_wish, drop_wishes, note_cancel
from hftpipe.strategy.room import ring_is_full

MAX_ACTIONS = 16
CONTEXT = np.dtype(
    [
        # What strategies see. ``now``: ns, the event's time. ``halted``: 1 while the current instrument must not be traded.
        ("now", "i8"), ("instrument", "i8"), ("n_instruments", "i8"), ("halted", "i8"),
        # The engine's own. ``halted`` is that of the current instrument; of everything; the copy of HALTS.
        ("halted_all", "i8"), ("scopes", "u8"),
        # Of each instrument the seats that trade it (u64), and the bit of this one.
        ("users", "u8"), ("own_bit", "u8"),
        ("n_actions", "i8"), ("sequence", "u8"), ("strategy", "i8"), ("epoch", "u8"), ("origin_tsc", "u8"),
        ("intents", "u8"), ("table", "u8"), ("positions", "u8"), ("instruments", "u8"),
        # Table of the addresses of the books, by instrument.
        ("books", "u8"),
        # Admitted since start, by kind; prices or quantities that were no number; cancels of a cancel under way.
        ("news", "i8"), ("cancels", "i8"), ("replaces", "i8"), ("not_numbers", "i8"), ("repeated_cancels", "i8"),
        # Quote slots (QUOTE), how fast they may be sent (PACE), and the queue of slots with something to be done:
        # indices, its size less one, its ends; when (ns) the first of them is due.
        ("quotes", "u8"), ("paces", "u8"), ("quote_queue", "u8"), ("queue_mask", "u8"), ("queue_in", "u8"), ("queue_out", "u8"),
        ("quote_due", "i8"), ("wishes", "i8"),
        # How fast all its orders together may be sent; all zeros: as fast as those of each instrument.
        ("own_pace", PACE),
        # Refused since start, by reason code.
        ("refused", "i8", REASON_SLOTS),
        # ROOM in the intents ring, as it was found while one record was handled; how much of it is left for the strategies behind.
        ("room", "u8"), ("spare", "i8"),
        # SPREADS between instruments that are the same thing; 0: nobody follows them.
        ("spreads", "u8"),
        # Where in the list of open orders cancel_all begins: where it had no more room the last time.
        ("cancel_from", "i8"), ("_pad", "i8", 5),
        # What find() and order() answer for "no such order", and spread() and crossing() for "no such spread".
        ("nothing", ORDER), ("no_spread", SPREAD), ("actions", REQUEST, MAX_ACTIONS),
    ],
    align=True,
)  # fmt: skip
_NOTHING = np.uint64(offset_of(CONTEXT, "nothing"))
ACTIONS_OFFSET = np.uint64(offset_of(CONTEXT, "actions"))
_OWN_PACE = np.uint64(offset_of(CONTEXT, "own_pace"))
_LAST_SEQUENCE = np.uint64(0xFFFFFFFF)
_EPOCH_SHIFT = np.uint64(ID_EPOCH_BITS)
_FLAGS = np.int64(0x7F)
_SHIFT = np.uint64(3)
_POSITION_BYTES = np.uint64(POSITION.itemsize)
assert int(ACTIONS_OFFSET) % 64 == 0

#: The part of CONTEXT that strategy code sees.
CONTEXT_VIEW = np.dtype(
    {
        "names": ["now", "instrument", "n_instruments", "halted"],
        "formats": ["i8"] * 4,
        "offsets": [0, 8, 16, 24],
        "itemsize": CONTEXT.itemsize,
    },
    align=True,
)


@jit
def action_at(ctx, index):
    """Address of buffered action ``index``."""
    return ctx + ACTIONS_OFFSET + U64(RECORD_BYTES) * U64(index)


@jit
def users_of(users, instrument):
    """The seats that trade a registered instrument, a bit each (uint64)."""
    return load_relaxed(users + (U64(instrument) << _SHIFT))


@jit
def is_own(ctx, instrument):
    """Whether the id is one of the strategy's own instruments."""
    c = view(ctx, CONTEXT)
    if instrument < 0 or instrument >= c.n_instruments:
        return False
    return users_of(c.users, instrument) & c.own_bit != ZERO


@jit
def _venue_of(c, instrument):
    return view(c.instruments + U64(INSTRUMENT_BYTES) * U64(instrument), INSTRUMENT).at


@jit
def is_halted(ctx, instrument):
    """Whether the strategy may not trade an instrument: everything is halted, or its venue, the strategy, or itself; or the
    venue takes no orders now."""
    c = view(ctx, CONTEXT)
    venue = _venue_of(c, instrument)
    word = scope_word(c.scopes, np.int64(VENUE_SCOPE) + venue) | scope_word(c.scopes, np.int64(CLOSED_SCOPE) + venue)
    word |= scope_word(c.scopes, np.int64(STRATEGY_SCOPE) + c.strategy)
    word |= scope_word(c.scopes, np.int64(INSTRUMENT_SCOPE) + instrument)
    return c.halted_all != 0 or word != ZERO


@jit
def is_in_scope(ctx, place, instrument):
    """Whether a halt of the scope at ``place`` (core/schema/halts.py) is one of this strategy's trading in an instrument."""
    c = view(ctx, CONTEXT)
    if place >= INSTRUMENT_SCOPE:
        return place - INSTRUMENT_SCOPE == instrument
    if place >= STRATEGY_SCOPE:
        return place - STRATEGY_SCOPE == c.strategy
    if place >= CLOSED_SCOPE:
        return place - CLOSED_SCOPE == _venue_of(c, instrument)
    return place - VENUE_SCOPE == _venue_of(c, instrument)


@jit
def instrument_row(ctx):
    """INSTRUMENT record of the current instrument."""
    c = view(ctx, CONTEXT)
    return view(c.instruments + U64(INSTRUMENT_BYTES) * U64(c.instrument), INSTRUMENT)


@jit
def book_of(ctx, instrument):
    """Address of the book of a registered instrument."""
    return book_at(view(ctx, CONTEXT).books, instrument)


@jit
def current_book(ctx):
    """Address of the current instrument's book."""
    return book_of(ctx, view(ctx, CONTEXT).instrument)


@jit
def position_at(ctx, instrument):
    """Address of the POSITION of a registered instrument."""
    return view(ctx, CONTEXT).positions + _POSITION_BYTES * U64(instrument)


@jit
def current_position(ctx):
    """Address of the current instrument's POSITION."""
    return position_at(ctx, view(ctx, CONTEXT).instrument)


@jit
def position_qty(ctx, instrument):
    """The strategy's own signed position (1e-8); 0 for an instrument that is not one of its own."""
    if not is_own(ctx, instrument):
        return np.int64(0)
    return view(position_at(ctx, instrument), POSITION).qty


@jit
def select(ctx, instrument):
    """Make ``instrument`` the current one until the hook returns; False if it is not one of the strategy's own."""
    if not is_own(ctx, instrument):
        return False
    view(ctx, CONTEXT).instrument = instrument
    return True


@jit
def _refuse(ctx, reason):
    view(ctx, CONTEXT).refused[reason] += 1
    return False


@jit
def _has_room(ctx):
    """Whether one more action can be buffered and later sent, with one left for each strategy that has its turn behind this one.

    Who floods the ring, as with cancels at a venue that is gone, keeps nobody else from cancelling.
    """
    c = view(ctx, CONTEXT)
    if c.n_actions >= MAX_ACTIONS:
        return _refuse(ctx, np.int64(TOO_MANY_ACTIONS))
    if ring_is_full(c.room, c.intents, c.n_actions + 1 + c.spare):
        return _refuse(ctx, np.int64(INTENTS_RING_FULL))
    return True


@jit
def pace_of(ctx, instrument):
    """Address of the PACE row of a registered instrument."""
    return view(ctx, CONTEXT).paces + U64(PACE_BYTES) * U64(instrument)


@jit
def own_pace(ctx):
    """Address of the PACE row of all orders of the strategy."""
    return ctx + _OWN_PACE


@jit
def _buffer(ctx, order, kind, price, qty, flags):
    """Append one action about ``order``; the caller has asked :func:`_has_room`."""
    c = view(ctx, CONTEXT)
    action = view(action_at(ctx, c.n_actions), REQUEST)
    c.n_actions += 1
    action.origin_tsc, action.sent_tsc, action.local_ts = c.origin_tsc, ZERO, c.now
    action.price, action.qty, action.id = price, qty, order.id
    action.instrument, action.kind, action.side = order.instrument, kind, order.side
    action.strategy, action.flags = order.strategy, np.uint8(flags)
    if kind != CANCEL:
        pace_add(pace_of(ctx, order.instrument), c.now)
        pace_add(own_pace(ctx), c.now)


@jit
def _next_id(ctx, venue):
    c = view(ctx, CONTEXT)
    base = (U64(venue & 0x7F) << U64(56)) | (U64(c.strategy & 0xFF) << U64(48))
    return base | ((c.epoch << _EPOCH_SHIFT) + c.sequence)


@jit
def _new_order(ctx, side, price, qty, flags):
    """A PENDING_NEW order in the table with the next client id: its address, or 0 when refused and counted."""
    c = view(ctx, CONTEXT)
    if c.sequence > _LAST_SEQUENCE:
        _refuse(ctx, np.int64(DUPLICATE_ID))
        return ZERO
    slot = order_insert(c.table, _next_id(ctx, instrument_row(ctx).venue))
    if slot == ZERO:
        _refuse(ctx, np.int64(TOO_MANY_OPEN_ORDERS))
        return ZERO
    c.sequence += ONE
    order = view(slot, ORDER)
    order.price, order.qty, order.created_ts = price, qty, c.now
    order.instrument, order.side = np.uint32(c.instrument), np.uint8(side)
    order.strategy, order.flags = np.uint8(c.strategy), np.uint8(flags)
    return slot


@jit
def place_order(ctx, side, price, qty, flags):
    """Enter and buffer a new order of the current instrument: its address in the table, 0 when refused and counted."""
    if not _has_room(ctx):
        return ZERO
    slot = _new_order(ctx, side, price, qty, flags)
    if slot != ZERO:
        view(ctx, CONTEXT).news += 1
        _buffer(ctx, view(slot, ORDER), np.int64(NEW), price, qty, flags)
    return slot


@jit
def submit(ctx, side, price, qty, flags, is_number):
    """Buffer a new order: its client id, or 0 when refused.

    Args:
        price, qty: int64; flags: time in force and attributes; is_number: False marks the order NOT_A_NUMBER
            with price and quantity 0, which risk refuses as invalid_value.
    """
    bits = flags & _FLAGS
    if not is_number:
        price, qty, bits = np.int64(0), np.int64(0), bits | NOT_A_NUMBER
    slot = place_order(ctx, side, price, qty, bits)
    if slot == ZERO:
        return np.int64(0)
    view(ctx, CONTEXT).not_numbers += np.int64(not is_number)
    return np.int64(view(slot, ORDER).id)


@jit
def _find_open(ctx, id_):
    """Address of the open order ``id_``; 0, counted, if there is none."""
    slot = order_find(view(ctx, CONTEXT).table, U64(id_)) if id_ != 0 else ZERO
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        _refuse(ctx, np.int64(UNKNOWN_ORDER))
        return ZERO
    return slot


@jit
def cancel_order(ctx, slot):
    """Buffer the cancel of an open order that has none under way; False if there is no room."""
    c, order = view(ctx, CONTEXT), view(slot, ORDER)
    if not _has_room(ctx):
        return False
    order_move(c.table, slot, np.int64(ON_CANCEL_SENT))
    c.cancels += 1
    if order.quote != 0:
        note_cancel(c.quotes, order.quote - 1)
    _buffer(ctx, order, np.int64(CANCEL), np.int64(0), np.int64(0), np.int64(0))
    return True


@jit
def cancel(ctx, id_):
    """Buffer the cancel of an open order; True if it will be sent. Of a quote's order: the wish is dropped too."""
    c, slot = view(ctx, CONTEXT), _find_open(ctx, id_)
    if slot == ZERO:
        return False
    order = view(slot, ORDER)
    if order.quote != 0:
        drop_wish(c.quotes, order.quote - 1)
    if is_cancelling(order):
        c.repeated_cancels += 1
        return _refuse(ctx, np.int64(CHANGE_IN_FLIGHT))
    return cancel_order(ctx, slot)


@jit
def cancel_all(ctx):
    """Cancel every open order that is not being cancelled, as far as there is room, and drop all wishes: how many (int64).

    It goes on where it had no more room: what is refused time and again, as at a venue that is gone, keeps no other from its turn.
    """
    c, sent = view(ctx, CONTEXT), np.int64(0)
    count = open_count(c.table)
    if c.wishes != 0:
        drop_wishes(c.quotes, c.n_instruments * QUOTE_SLOTS)
    for index in range(c.cancel_from, c.cancel_from + count):
        slot = open_order(c.table, index % count)
        if is_cancelling(view(slot, ORDER)):
            continue
        if not cancel_order(ctx, slot):
            c.cancel_from = index % count
            break
        sent += 1
    return sent


@jit
def change_order(ctx, slot, price, qty, flags):
    """Buffer a change of price and total quantity of an order whose state allows it; False if there is no room."""
    c, order = view(ctx, CONTEXT), view(slot, ORDER)
    if not _has_room(ctx):
        return False
    replace_sent(c.table, slot, price, qty)
    c.replaces += 1
    _buffer(ctx, order, np.int64(REPLACE), price, qty, flags)
    return True


@jit
def _may_change(ctx, slot):
    """Whether the author may replace the order; counted by reason if not. A quote's order belongs to its slot."""
    order = view(slot, ORDER)
    if order.state == PENDING_NEW or order.under_way != NOTHING:
        return _refuse(ctx, np.int64(CHANGE_IN_FLIGHT))
    if order.quote != 0 or TRANSITIONS[order.state, ON_REPLACE_SENT] == ILLEGAL:
        return _refuse(ctx, np.int64(ILLEGAL_TRANSITION))
    return True


@jit
def replace(ctx, id_, price, qty, is_number):
    """Buffer a change of price and total quantity of a WORKING or PARTIAL order; True if it will be sent."""
    slot = _find_open(ctx, id_)
    if slot == ZERO or not _may_change(ctx, slot):
        return False
    flags = np.int64(0)
    if not is_number:
        price, qty, flags = np.int64(0), np.int64(0), np.int64(NOT_A_NUMBER)
    if not change_order(ctx, slot, price, qty, flags):
        return False
    view(ctx, CONTEXT).not_numbers += np.int64(not is_number)
    return True


@jit
def _nothing(ctx):
    order = view(ctx + _NOTHING, ORDER)
    order.id, order.state, order.price, order.qty, order.filled = ZERO, EMPTY, 0, 0, 0
    return address_of(order)


@jit
def find(ctx, id_):
    """Address of the order with this client id, open or recently ended; an EMPTY one if there is none."""
    slot = order_find(view(ctx, CONTEXT).table, U64(id_)) if id_ != 0 else ZERO
    return slot if slot != ZERO else _nothing(ctx)


@jit
def order_at(ctx, index):
    """Address of open order ``index``; an EMPTY one if there are not so many."""
    table = view(ctx, CONTEXT).table
    if index < 0 or index >= open_count(table):
        return _nothing(ctx)
    return open_order(table, index)


@jit
def open_qty(ctx, side):
    """What may still fill of the open orders of one side of the current instrument (1e-8)."""
    c, total = view(ctx, CONTEXT), np.int64(0)
    for index in range(open_count(c.table)):
        order = view(open_order(c.table, index), ORDER)
        if order.side == side and order.instrument == c.instrument:
            total += remaining(order)
    return total


assert ORDER.itemsize == ORDER_BYTES
