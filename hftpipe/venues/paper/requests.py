"""Requests as the matching side treats them at the instant they arrive: new, cancel, replace."""

import numpy as np

from hftpipe.core.machine.fixed import OVERFLOW, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, ZERO, view
from hftpipe.core.schema.reasons import (
    AMEND_BELOW_FILLED,
    DUPLICATE_ID,
    FOK_UNFILLABLE,
    NONE,
    POST_ONLY_WOULD_TAKE,
    REDUCE_ONLY_REJECT,
    TOO_MANY_OPEN_ORDERS,
    UNKNOWN_INSTRUMENT,
    USER_REQUEST,
    VENUE_BUSY,
    VENUE_FILTER,
    VENUE_UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import (
    ACK,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FOK,
    GTC,
    MARKET,
    NEW,
    NOT_A_NUMBER,
    POST_ONLY,
    RECORD,
    REDUCE_ONLY,
    REJECT,
    REPLACED,
    SELL,
    TIF_MASK,
)
from hftpipe.venues.paper import state as exchange_state
from hftpipe.venues.paper.levels import book_open, top_of
from hftpipe.venues.paper.match import alloc, end, fillable, reducible, release, settle, takeable, tif_of, unlist
from hftpipe.venues.paper.own_orders import OWN, better, own_find, own_first, own_left
from hftpipe.venues.paper.reports import report_order, report_refusal
from hftpipe.venues.paper.state import market_at, own_head


@jit
def find_own(m, id_):
    """Address of the resting order with client id ``id_``; 0 if there is none."""
    slot = own_find(own_head(m, np.int64(0)), id_)
    if slot == ZERO:
        slot = own_find(own_head(m, np.int64(1)), id_)
    return slot


@jit
def _would_take(m, side, price):
    """Whether a limit at ``price`` meets the displayed best of the other side, or our own order there."""
    best, _shown = top_of(m.book, 1 - side)
    if best != 0 and not better(side, best, price):
        return True
    slot = own_first(own_head(m, 1 - side))
    return slot != ZERO and not better(side, view(slot, OWN).price, price)


@jit
def _bad_size(m, price, qty, reduce_only):
    """Lot, notional and minimum notional (reduce-only is exempt); ``price`` 0 is not known."""
    if qty <= 0 or qty % m.lot != 0:
        return True
    value = notional(price, qty)
    return value == np.int64(OVERFLOW) or (price != 0 and not reduce_only and value < m.min_notional)


@jit
def _breaks_filter(m, side, flags, price, qty):
    tif = flags & TIF_MASK
    if side > SELL or tif > MARKET or flags & NOT_A_NUMBER:
        return True
    if tif == MARKET:
        price, _shown = top_of(m.book, 1 - side)
    elif price <= 0 or price % m.tick != 0:
        return True
    return _bad_size(m, price, qty, flags & REDUCE_ONLY)


@jit
def _refusal(ex, m, r):
    """Why a new order is refused; NONE when it is taken on."""
    side, flags, tif = np.int64(r.side), np.int64(r.flags), np.int64(r.flags & TIF_MASK)
    if find_own(m, r.id) != ZERO:
        return DUPLICATE_ID
    if _breaks_filter(m, side, flags, r.price, r.qty):
        return VENUE_FILTER
    if not book_open(m.book):
        return VENUE_BUSY
    if flags & REDUCE_ONLY and reducible(m, side) == 0:
        return REDUCE_ONLY_REJECT
    if tif == POST_ONLY and _would_take(m, side, r.price):
        return POST_ONLY_WOULD_TAKE
    if tif in (GTC, POST_ONLY) and ex.n_open >= ex.max_orders:
        return TOO_MANY_OPEN_ORDERS
    return NONE


@jit
def _new(ex, m, r):
    reason = _refusal(ex, m, r)
    if reason != NONE:
        report_refusal(ex, r, np.int64(REJECT), reason)
        return
    slot = alloc(ex)
    order = view(slot, OWN)
    order.id, order.price, order.qty, order.filled = r.id, r.price, r.qty, 0
    order.instrument, order.side, order.strategy, order.flags = r.instrument, r.side, r.strategy, r.flags
    if tif_of(order) == MARKET:
        order.price = 0
    ex.orders_taken += ONE
    report_order(ex, order, np.int64(ACK), order.price, order.qty, order.flags).venue_id = ex.orders_taken
    if tif_of(order) == FOK and takeable(m, order, fillable(m, order)) < fillable(m, order):
        report_order(ex, order, np.int64(EXPIRED), order.price, order.qty, np.int64(FOK_UNFILLABLE))
        release(ex, slot)
        return
    settle(ex, m, slot)


@jit
def _cancel(ex, m, r):
    slot = find_own(m, r.id)
    if slot == ZERO:
        report_refusal(ex, r, np.int64(CANCEL_REJECT), np.int64(VENUE_UNKNOWN_ORDER))
    else:
        end(ex, m, slot, np.int64(CANCELED), np.int64(USER_REQUEST))


@jit
def _replace(ex, m, r):
    """New price and total: in place when the order only shrinks, else from the back of the queue."""
    slot = find_own(m, r.id)
    if slot == ZERO:
        report_refusal(ex, r, np.int64(CANCEL_REJECT), np.int64(VENUE_UNKNOWN_ORDER))
        return
    order = view(slot, OWN)
    if _breaks_filter(m, order.side, order.flags | (r.flags & NOT_A_NUMBER), r.price, r.qty):
        report_refusal(ex, r, np.int64(CANCEL_REJECT), np.int64(VENUE_FILTER))
    elif r.qty <= order.filled:
        end(ex, m, slot, np.int64(CANCELED), np.int64(AMEND_BELOW_FILLED))
    elif not book_open(m.book):
        report_refusal(ex, r, np.int64(CANCEL_REJECT), np.int64(VENUE_BUSY))
    elif tif_of(order) == POST_ONLY and _would_take(m, order.side, r.price):
        end(ex, m, slot, np.int64(CANCELED), np.int64(POST_ONLY_WOULD_TAKE))
    else:
        in_place = r.price == order.price and r.qty <= order.qty
        if not in_place:
            unlist(ex, m, slot)
        order.price, order.qty = r.price, r.qty
        report_order(ex, order, np.int64(REPLACED), order.price, order.qty, np.int64(0))
        if not in_place:
            settle(ex, m, slot)


@jit
def execute(ex, address):
    """Carry out the request at ``address`` at exchange time ``ex.now``."""
    r = view(address, RECORD)
    if r.instrument >= ex.n_instruments:
        report_refusal(ex, r, np.int64(REJECT if r.kind == NEW else CANCEL_REJECT), np.int64(UNKNOWN_INSTRUMENT))
        return
    m = view(market_at(ex, r.instrument), exchange_state.MARKET)
    if r.kind == NEW:
        _new(ex, m, r)
    elif r.kind == CANCEL:
        _cancel(ex, m, r)
    else:
        _replace(ex, m, r)


@jit
def left_of(m, id_):
    """Unfilled quantity of a resting order; -1 if there is none with that id."""
    slot = find_own(m, id_)
    return own_left(view(slot, OWN)) if slot != ZERO else np.int64(-1)


@jit
def ahead_of(m, id_):
    """Quantity ahead of a resting order in its queue; -1 if there is none with that id."""
    slot = find_own(m, id_)
    return view(slot, OWN).ahead if slot != ZERO else np.int64(-1)
