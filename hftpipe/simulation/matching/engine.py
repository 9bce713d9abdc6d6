"""One instrument's matching engine: individual orders, price-time priority, in flat preallocated memory.

Every operation is a plain function on the book's address. It returns a code of :mod:`hftpipe.core.schema.reasons` (NONE:
done as asked) and appends what happened to the event list, from which a publisher makes level changes, an
order-by-order feed and the reports to owners. The caller reads the events and clears them between operations; an
operation that finds fewer than 4 free places there is refused with VENUE_BUSY.

======== ==================== ========== ============ =================== ==================== ============== ==========
kind     order_id, owner      maker_*    price        qty                 leaves               side           reason
======== ==================== ========== ============ =================== ==================== ============== ==========
ADD      the order            0          its price    now resting         the same             its side
EXECUTE  the taker            the maker  maker's      executed            of the maker         taker's side
CANCEL   the order            0          its price    taken away          still resting        its side       why
DELETE   the order            0          its price    taken away          0                    its side       why
REPLACE  the order, new id    id before  new price    now resting         the same             its side
EXPIRE   an incoming order    0          its limit    never rested        0                    its side       why
======== ==================== ========== ============ =================== ==================== ============== ==========

EXECUTE alone has a ``match_id``; its maker has left the book when ``leaves`` is 0, without a DELETE. REPLACE alone has
an ``old_price``; the order has gone to the back of the queue at ``price``. EXPIRE does not touch the book.

===================================================== =================================================================
case                                                  what happens
===================================================== =================================================================
value, side, type, tick or lot is not legal           refused: INVALID_VALUE, TICK_FILTER or LOT_FILTER
id of an order that rests now                         refused: DUPLICATE_ID
GTC or POST_ONLY priced outside the movable window    refused: VENUE_FILTER (:mod:`hftpipe.simulation.matching.levels`)
GTC or POST_ONLY while the pool is full               refused: VENUE_BUSY, even if it would have been filled whole
POST_ONLY that would take                             refused: POST_ONLY_WOULD_TAKE
FOK that cannot be filled whole                       EXPIRE with FOK_UNFILLABLE; nothing is executed
IOC remainder                                         EXPIRE with IOC_REMAINDER
MARKET remainder                                      EXPIRE with IOC_REMAINDER, or NO_LIQUIDITY if nothing was executed
order meets one of its owner, stp STP_CANCEL_MAKER    the resting one: DELETE with SELF_TRADE; matching goes on
order meets one of its owner, stp STP_CANCEL_TAKER    the incoming one's remainder: EXPIRE with SELF_TRADE
order would need more events than there is room for   the remainder: EXPIRE with VENUE_BUSY (it cannot rest crossed)
replace, same id and price, total not larger          CANCEL of the difference: keeps its place
any other replace                                     goes to the back; if it crosses: DELETE, EXECUTEs, ADD of the rest
replace of a POST_ONLY order that would take          refused: POST_ONLY_WOULD_TAKE; the order stays as it was
replace whose total is not above what is filled       DELETE with AMEND_BELOW_FILLED
===================================================== =================================================================

Refused means that nothing has changed but ``refused``. Questions to the book that change nothing are in
:mod:`hftpipe.simulation.matching.query`. From Python, pass ``np.uint64`` for addresses and ids and
``np.int64`` for all else.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.reasons import (
    AMEND_BELOW_FILLED,
    DUPLICATE_ID,
    FOK_UNFILLABLE,
    INVALID_VALUE,
    IOC_REMAINDER,
    LOT_FILTER,
    NO_LIQUIDITY,
    NONE,
    POST_ONLY_WOULD_TAKE,
    SELF_TRADE,
    TICK_FILTER,
    USER_REQUEST,
    VENUE_BUSY,
    VENUE_FILTER,
    VENUE_UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import BUY, FOK, GTC, MARKET, POST_ONLY, SELL
from hftpipe.simulation.matching.levels import level_append, level_at, level_remove, window_holds
from hftpipe.simulation.matching.memory import (
    ADD,
    CANCEL,
    DELETE,
    EVENT,
    EXECUTE,
    EXPIRE,
    MATCHING,
    MAX_EVENTS,
    ORDER,
    PRICE_LEVEL,
    REPLACE,
    STP_CANCEL_MAKER,
    STP_CANCEL_TAKER,
    STP_NONE,
    event_push,
    id_find,
    id_put,
    id_remove,
    match_event,
    match_event_count,
    match_events_clear,
    matching_bytes,
    matching_init,
    order_at,
    order_give,
    order_take,
)
from hftpipe.simulation.matching.query import best_opposite, match_fillable

__all__ = [
    "STP_CANCEL_MAKER", "STP_CANCEL_TAKER", "STP_NONE",
    "match_cancel", "match_event", "match_event_count", "match_events_clear", "match_new", "match_reduce",
    "match_replace", "matching_bytes", "matching_init",
]  # fmt: skip

#: Free places in the event list that an operation asks for before it starts.
_EVENTS_NEEDED = 4
#: Kept free while matching, for the ADD or EXPIRE that ends the operation.
_EVENTS_KEPT = 2


@jit
def _refuse(book, reason):
    view(book, MATCHING).refused += 1
    return reason


@jit
def _no_room(book):
    return view(book, MATCHING).n_events + _EVENTS_NEEDED > MAX_EVENTS


@jit
def _rests(tif):
    return tif in (GTC, POST_ONLY)


@jit
def _takes(book, side, limit):
    """Whether an order of ``side`` with a limit at window index ``limit`` would take liquidity."""
    m = view(book, MATCHING)
    if side == BUY:
        return m.best_ask <= limit and m.best_ask < m.window
    return m.best_bid >= limit and m.best_bid >= 0


@jit
def _limit_index(book, side, price, tif):
    """Window index of a limit, possibly outside the window; a market order's is the far end."""
    m = view(book, MATCHING)
    if tif == MARKET:
        return m.window if side == BUY else np.int64(-1)
    return price // m.tick - m.base_tick


@jit
def _check_values(book, price, qty):
    m = view(book, MATCHING)
    if price <= 0 or qty <= 0:
        return np.int64(INVALID_VALUE)
    if price % m.tick != 0:
        return np.int64(TICK_FILTER)
    if qty % m.lot != 0:
        return np.int64(LOT_FILTER)
    return np.int64(NONE)


@jit
def _check_new(book, id_, side, price, qty, tif, stp):
    """Why an order cannot be taken at all, or NONE."""
    m = view(book, MATCHING)
    if (
        id_ == ZERO
        or side < BUY
        or side > SELL
        or tif < GTC
        or tif > MARKET
        or stp < STP_NONE
        or stp > STP_CANCEL_TAKER
    ):
        return np.int64(INVALID_VALUE)
    reason = _check_values(book, m.tick if tif == MARKET else price, qty)
    if reason != NONE:
        return reason
    if id_find(book, id_) != 0:
        return np.int64(DUPLICATE_ID)
    if _no_room(book) or (_rests(tif) and m.free == 0):
        return np.int64(VENUE_BUSY)
    if _rests(tif) and not window_holds(book, price // m.tick):
        return np.int64(VENUE_FILTER)
    return np.int64(NONE)


@jit
def _drop(book, index):
    """Take an order out of the book altogether."""
    level_remove(book, index)
    id_remove(book, view(order_at(book, index), ORDER).id)
    order_give(book, index)


@jit
def _delete(book, index, reason):
    order = view(order_at(book, index), ORDER)
    price = order.tick * view(book, MATCHING).tick
    event_push(
        book,
        np.int64(DELETE),
        order.id,
        np.int64(order.owner),
        np.int64(order.side),
        price,
        order.qty,
        np.int64(0),
        reason,
    )
    _drop(book, index)


@jit
def _execute(book, index, id_, owner, side, qty):
    """Trade ``qty`` (at most what rests) of the maker at ``index`` with the taker ``id_``."""
    m = view(book, MATCHING)
    maker = view(order_at(book, index), ORDER)
    m.match_id += U64(1)
    m.executions += 1
    leaves = maker.qty - qty
    address = event_push(book, np.int64(EXECUTE), id_, owner, side, maker.tick * m.tick, qty, leaves, np.int64(NONE))
    event = view(address, EVENT)
    event.maker_id, event.maker_owner, event.match_id = maker.id, maker.owner, m.match_id
    if leaves == 0:
        _drop(book, index)
        return
    maker.qty = leaves
    maker.filled += qty
    view(level_at(book, maker.tick - m.base_tick), PRICE_LEVEL).qty -= qty


@jit
def _match(book, id_, owner, side, limit, qty, stp):
    """Execute against the opposite side up to window index ``limit``: ``(quantity left, why it stopped early)``."""
    m = view(book, MATCHING)
    left = qty
    while left > 0 and _takes(book, side, limit):
        if m.n_events + _EVENTS_KEPT >= MAX_EVENTS:
            return left, np.int64(VENUE_BUSY)
        index = np.int64(view(level_at(book, best_opposite(book, side)), PRICE_LEVEL).head)
        maker = view(order_at(book, index), ORDER)
        if stp != STP_NONE and np.int64(maker.owner) == owner:
            if stp == STP_CANCEL_TAKER:
                return left, np.int64(SELF_TRADE)
            _delete(book, index, np.int64(SELF_TRADE))
            continue
        executed = min(left, maker.qty)
        _execute(book, index, id_, owner, side, executed)
        left -= executed
    return left, np.int64(NONE)


@jit
def _rest(book, id_, owner, side, tick, qty, filled, tif, stp):
    """Put an order at the back of its queue; the caller has made sure of a free order and of the window."""
    index = order_take(book)
    order = view(order_at(book, index), ORDER)
    order.id, order.tick, order.qty, order.filled = id_, tick, qty, filled
    order.owner, order.side, order.tif, order.stp = owner, side, tif, stp
    id_put(book, id_, index)
    level_append(book, index)


@jit
def _finish(book, id_, owner, side, price, qty, left, tif, stopped):
    """EXPIRE what is left of an incoming order that may not rest, and say why."""
    reason = stopped
    if reason == NONE:
        reason = np.int64(NO_LIQUIDITY if tif == MARKET and left == qty else IOC_REMAINDER)
    event_push(book, np.int64(EXPIRE), id_, owner, side, price, left, np.int64(0), reason)
    return reason


@jit
def match_new(book, id_, owner, side, price, qty, tif, stp):
    """A new order; see the tables above.

    Args:
        id_: uint64, not 0; owner: 0..2**32-1; price, qty: 1e-8 (price is ignored for MARKET).
        tif: GTC, IOC, FOK, POST_ONLY or MARKET of :mod:`hftpipe.core.schema.records`; stp: one of STP_*.
    """
    reason = _check_new(book, id_, side, price, qty, tif, stp)
    if reason != NONE:
        return _refuse(book, reason)
    m = view(book, MATCHING)
    limit = _limit_index(book, side, price, tif)
    if tif == POST_ONLY and _takes(book, side, limit):
        return _refuse(book, np.int64(POST_ONLY_WOULD_TAKE))
    if tif == FOK:
        room = MAX_EVENTS - _EVENTS_KEPT - m.n_events
        if match_fillable(book, owner, side, limit, qty, stp, room) < qty:
            return _finish(book, id_, owner, side, price, qty, qty, tif, np.int64(FOK_UNFILLABLE))
    left, stopped = _match(book, id_, owner, side, limit, qty, stp)
    if left == 0:
        return np.int64(NONE)
    if stopped != NONE or not _rests(tif):
        return _finish(book, id_, owner, side, price, qty, left, tif, stopped)
    _rest(book, id_, owner, side, price // m.tick, left, qty - left, tif, stp)
    event_push(book, np.int64(ADD), id_, owner, side, price, left, left, np.int64(NONE))
    return np.int64(NONE)


@jit
def match_cancel(book, id_):
    """Take a whole order out: DELETE with USER_REQUEST; VENUE_UNKNOWN_ORDER if it does not rest."""
    index = id_find(book, id_)
    if index == 0:
        return _refuse(book, np.int64(VENUE_UNKNOWN_ORDER))
    if _no_room(book):
        return _refuse(book, np.int64(VENUE_BUSY))
    _delete(book, index, np.int64(USER_REQUEST))
    return np.int64(NONE)


@jit
def _shrink(book, index, by):
    """CANCEL ``by`` (less than what rests) of an order; it keeps its place."""
    m = view(book, MATCHING)
    order = view(order_at(book, index), ORDER)
    order.qty -= by
    view(level_at(book, order.tick - m.base_tick), PRICE_LEVEL).qty -= by
    price = order.tick * m.tick
    event_push(
        book,
        np.int64(CANCEL),
        order.id,
        np.int64(order.owner),
        np.int64(order.side),
        price,
        by,
        order.qty,
        np.int64(USER_REQUEST),
    )
    return np.int64(NONE)


@jit
def match_reduce(book, id_, by):
    """Take ``by`` (1e-8, positive, whole lots) off an order, which keeps its place; all of it or more is a DELETE."""
    reason = _check_values(book, view(book, MATCHING).tick, by)
    if reason != NONE:
        return _refuse(book, reason)
    index = id_find(book, id_)
    if index == 0 or by >= view(order_at(book, index), ORDER).qty:
        return match_cancel(book, id_)
    if _no_room(book):
        return _refuse(book, np.int64(VENUE_BUSY))
    return _shrink(book, index, by)


@jit
def _replace_taking(book, index, id_, price, qty, limit):
    """A replace that crosses: out of the book, and in again as an incoming order that keeps what it has filled."""
    order = view(order_at(book, index), ORDER)
    owner, side, filled = np.int64(order.owner), np.int64(order.side), order.filled
    tif, stp = np.int64(order.tif), np.int64(order.stp)
    _delete(book, index, np.int64(USER_REQUEST))
    left, stopped = _match(book, id_, owner, side, limit, qty - filled, stp)
    if left == 0:
        return np.int64(NONE)
    if stopped != NONE:
        return _finish(book, id_, owner, side, price, qty, left, tif, stopped)
    _rest(book, id_, owner, side, price // view(book, MATCHING).tick, left, qty - left, tif, stp)
    event_push(book, np.int64(ADD), id_, owner, side, price, left, left, np.int64(NONE))
    return np.int64(NONE)


@jit
def _requeue(book, index, id_, price, leaves):
    """A replace that does not cross: to the back of the queue at ``price``."""
    m = view(book, MATCHING)
    order = view(order_at(book, index), ORDER)
    old_id, old_price = order.id, order.tick * m.tick
    level_remove(book, index)
    if id_ != old_id:
        id_remove(book, old_id)
        id_put(book, id_, index)
    order.id, order.tick, order.qty = id_, price // m.tick, leaves
    level_append(book, index)
    address = event_push(
        book, np.int64(REPLACE), id_, np.int64(order.owner), np.int64(order.side), price, leaves, leaves, np.int64(NONE)
    )
    event = view(address, EVENT)
    event.maker_id, event.old_price = old_id, old_price
    return np.int64(NONE)


@jit
def _check_replace(book, id_, new_id, price, qty):
    """Why a replace cannot be done at all, or NONE."""
    m = view(book, MATCHING)
    reason = _check_values(book, price, qty)
    if reason != NONE:
        return reason
    if new_id == ZERO:
        return np.int64(INVALID_VALUE)
    if id_find(book, id_) == 0:
        return np.int64(VENUE_UNKNOWN_ORDER)
    if new_id != id_ and id_find(book, new_id) != 0:
        return np.int64(DUPLICATE_ID)
    if _no_room(book):
        return np.int64(VENUE_BUSY)
    return np.int64(NONE) if window_holds(book, price // m.tick) else np.int64(VENUE_FILTER)


@jit
def match_replace(book, id_, new_id, price, qty):
    """Change an order's price and total quantity (what is filled included, as in a REPLACE record).

    ``new_id == id_`` amends as crypto venues do: the same price and no larger total keeps its place. Another
    ``new_id`` is a cancel/replace as on ITCH venues, which always goes to the back.
    """
    reason = _check_replace(book, id_, new_id, price, qty)
    if reason != NONE:
        return _refuse(book, reason)
    m = view(book, MATCHING)
    index = id_find(book, id_)
    order = view(order_at(book, index), ORDER)
    leaves, limit, side = qty - order.filled, price // m.tick - m.base_tick, np.int64(order.side)
    if leaves <= 0:
        _delete(book, index, np.int64(AMEND_BELOW_FILLED))
        return np.int64(AMEND_BELOW_FILLED)
    if new_id == id_ and price == order.tick * m.tick and leaves <= order.qty:
        return _shrink(book, index, order.qty - leaves) if leaves < order.qty else np.int64(NONE)
    if not _takes(book, side, limit):
        return _requeue(book, index, new_id, price, leaves)
    if order.tif == POST_ONLY:
        return _refuse(book, np.int64(POST_ONLY_WOULD_TAKE))
    return _replace_taking(book, index, new_id, price, qty, limit)
