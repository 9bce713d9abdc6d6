"""Matching: our orders take displayed liquidity, rest in the queue, and are filled by trades and by crossing levels.

Each displayed quantity and each traded quantity is used once, whoever of us uses it.
"""

import numpy as np

from hftpipe.core.machine.fixed import OVERFLOW
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, address_of, view
from hftpipe.core.schema.reasons import IOC_REMAINDER, NO_LIQUIDITY, REDUCE_ONLY_REJECT, SELF_TRADE
from hftpipe.core.schema.records import (
    BUY,
    CANCELED,
    EXECUTION,
    EXPIRED,
    FEE_ASSET,
    FILL,
    FILL_MAKER,
    GTC,
    MARKET,
    POST_ONLY,
    REDUCE_ONLY,
    TIF_MASK,
)
from hftpipe.core.trading.book import BOOK, is_top_only
from hftpipe.venues.paper.clock import known_time
from hftpipe.venues.paper.levels import (
    available,
    behind_top,
    book_open,
    can_consume,
    consume,
    consumed,
    find_consumed,
    hear_changes,
    is_topmost,
    live_level,
    shown_at,
    shown_id,
    top_of,
)
from hftpipe.venues.paper.models import fee_of, in_asset
from hftpipe.venues.paper.own_orders import OWN, better, own_first, own_left, own_link, own_trade, own_unlink
from hftpipe.venues.paper.reports import report_order
from hftpipe.venues.paper.state import MAX_CONSUMED, own_head

#: Ahead of an order behind the top of a book that shows nothing there: more than ever trades, until the top comes to it.
NOT_SHOWN = np.int64(1 << 61)


@jit
def tif_of(order):
    """Time in force of an OWN record."""
    return order.flags & TIF_MASK


@jit
def reducible(m, side):
    """How much an order of ``side`` can take off our position."""
    return max(-m.position if side == BUY else m.position, np.int64(0))


@jit
def fillable(m, order):
    """What the order may still trade: what is left of it, for reduce-only at most the position against it."""
    left = own_left(order)
    if order.flags & REDUCE_ONLY:
        return min(left, reducible(m, order.side))
    return left


@jit
def reaches(order, price):
    """Whether the order would trade at ``price`` on the other side."""
    if tif_of(order) == MARKET:
        return True
    return not better(order.side, price, order.price)


@jit
def _fee(ex, m, price, qty, flags):
    """Fee of a fill in the asset that fees are paid in; OVERFLOW if it does not fit."""
    fee = fee_of(price, qty, m.maker_fee if flags == FILL_MAKER else m.taker_fee)
    return fee if ex.fee_asset == 0 or fee == np.int64(OVERFLOW) else in_asset(fee, ex.fee_price)


@jit
def fill(ex, m, order, price, qty, flags):
    """Book one fill (``flags`` FILL_MAKER or 0) and report it; ending a filled order is the caller's business."""
    order.filled += qty
    m.position += qty if order.side == BUY else -qty
    fee = _fee(ex, m, price, qty, flags)
    if fee == np.int64(OVERFLOW):
        ex.overflows += 1
        fee = np.int64(0)
    ex.fills += 1
    report = report_order(ex, order, np.int64(FILL), price, qty, flags | ex.fee_asset << FEE_ASSET)
    execution = view(address_of(report), EXECUTION)
    execution.trade_id, execution.fee = U64(ex.fills), fee


@jit
def alloc(ex):
    """A free slot; there is always one more than may rest."""
    slot = ex.free
    ex.free = view(slot, OWN).next
    return slot


@jit
def release(ex, slot):
    """Give a slot back that stands in no list."""
    view(slot, OWN).next = ex.free
    ex.free = slot


@jit
def unlist(ex, m, slot):
    """Take a resting order out of its queue."""
    order = view(slot, OWN)
    own_unlink(own_head(m, order.side), slot)
    ex.n_open -= 1
    if order.flags & REDUCE_ONLY:
        m.n_reduce_only -= 1


@jit
def drop(ex, m, slot):
    """End a resting order without a report."""
    unlist(ex, m, slot)
    release(ex, slot)


@jit
def end(ex, m, slot, kind, reason):
    """End a resting order with CANCELED or EXPIRED."""
    order = view(slot, OWN)
    report_order(ex, order, kind, order.price, own_left(order), reason)
    drop(ex, m, slot)


@jit
def rest(ex, m, slot):
    """Join the queue: behind everything displayed at our price at this instant, and behind whatever is not."""
    order = view(slot, OWN)
    order.ahead = shown_at(m.book, order.side, order.price)
    if is_top_only(m.book) and not is_topmost(m.book, order.side, order.price):
        order.ahead = NOT_SHOWN
    order.seen, order.traded, order.n_cuts = order.ahead, 0, 0
    order.seen_id = shown_id(m.book, order.side, order.price)
    order.seen_ts = m.top_ts if is_topmost(m.book, order.side, order.price) else m.update_ts
    order.joined_ts, order.touched = known_time(m), 0
    own_link(own_head(m, order.side), slot)
    ex.n_open += 1
    if order.flags & REDUCE_ONLY:
        m.n_reduce_only += 1


@jit
def expire_reduce_only(ex, m):
    """End the reduce-only orders that no longer have a position to reduce."""
    if m.n_reduce_only == 0:
        return
    for side in range(2):
        if reducible(m, side) > 0:
            continue
        slot = own_first(own_head(m, side))
        while slot != ZERO:
            order = view(slot, OWN)
            after = order.next
            if order.flags & REDUCE_ONLY:
                end(ex, m, slot, np.int64(EXPIRED), np.int64(REDUCE_ONLY_REJECT))
            slot = after


@jit
def _expire_makers(ex, m, taker, price, left, used):
    """Self-trade prevention: cancel our resting orders that the taker gets to before or within the level at ``price``.

    Within the level it first takes what stands ahead of our order. ``price`` 0: no level left, only its limit binds.
    """
    side = 1 - taker.side
    slot = own_first(own_head(m, side))
    while slot != ZERO:
        maker = view(slot, OWN)
        if not reaches(taker, maker.price) or (price != 0 and better(side, price, maker.price)):
            return
        if maker.price == price and fillable(m, taker) <= min(max(maker.ahead - used, np.int64(0)), left):
            return
        after = maker.next
        end(ex, m, slot, np.int64(CANCELED), np.int64(SELF_TRADE))
        slot = after


@jit
def take(ex, m, taker):
    """Walk the live levels of the other side, one FILL a level at its price, until filled, out of reach, or at the end."""
    side = 1 - taker.side
    behind = behind_top(m.book, side)
    for n in range(MAX_CONSUMED):
        want = fillable(m, taker)
        if want == 0:
            return
        price, shown = live_level(m.book, side, behind, n)
        index = find_consumed(m, side, price)
        if shown == 0 or not reaches(taker, price) or not can_consume(m, side, index):
            _expire_makers(ex, m, taker, np.int64(0), np.int64(0), np.int64(0))
            return
        left = available(m, side, index, shown)
        _expire_makers(ex, m, taker, price, left, consumed(m, side, index))
        qty = min(left, want)
        if qty > 0:
            consume(m, side, index, price, shown, qty)
            fill(ex, m, taker, price, qty, np.int64(0))


@jit
def takeable(m, taker, enough):
    """Displayed quantity within the order's reach, counted up to ``enough``."""
    side = 1 - taker.side
    behind, room, total = behind_top(m.book, side), m.most_consumed - m.n_consumed[side], np.int64(0)
    for n in range(MAX_CONSUMED):
        price, shown = live_level(m.book, side, behind, n)
        if total >= enough or room == 0 or shown == 0 or not reaches(taker, price):
            break
        index = find_consumed(m, side, price)
        total += available(m, side, index, shown)
        room -= 1 if index < 0 else 0
    return total


@jit
def settle(ex, m, slot):
    """Let the order take, then rest or expire what is left of it."""
    order = view(slot, OWN)
    take(ex, m, order)
    left, tif = own_left(order), tif_of(order)
    if left == 0:
        release(ex, slot)
    elif order.flags & REDUCE_ONLY and reducible(m, order.side) == 0:
        report_order(ex, order, np.int64(EXPIRED), order.price, left, np.int64(REDUCE_ONLY_REJECT))
        release(ex, slot)
    elif tif in (GTC, POST_ONLY):
        rest(ex, m, slot)
    else:
        _price, shown = top_of(m.book, 1 - order.side)
        reason = NO_LIQUIDITY if shown == 0 and order.filled == 0 else IOC_REMAINDER
        report_order(ex, order, np.int64(EXPIRED), order.price, left, reason)
        release(ex, slot)
    expire_reduce_only(ex, m)


@jit
def _cross_side(ex, m, side):
    """Levels of the other side that appeared at or through our resting orders of ``side`` trade with them."""
    other = 1 - side
    index, behind = np.int64(0), behind_top(m.book, other)
    price, shown = live_level(m.book, other, behind, index)
    slot = own_first(own_head(m, side))
    while slot != ZERO:
        order = view(slot, OWN)
        after = order.next
        while shown != 0 and not better(side, price, order.price) and fillable(m, order) > 0:
            taken = find_consumed(m, other, price)
            qty = min(available(m, other, taken, shown), fillable(m, order))
            if qty > 0:
                if not can_consume(m, other, taken):
                    return
                consume(m, other, taken, price, shown, qty)
                fill(ex, m, order, order.price, qty, np.int64(FILL_MAKER))
            else:
                index += 1
                price, shown = live_level(m.book, other, behind, index)
        if own_left(order) == 0:
            drop(ex, m, slot)
        slot = after


@jit
def cross(ex, m):
    """After every complete change of the book: fill our resting orders that the other side has reached."""
    hear_changes(m)
    if not book_open(m.book):
        return
    b = view(m.book, BOOK)
    for side in range(2):
        slot = own_first(own_head(m, side))
        top = b.ask if side == BUY else b.bid
        if slot != ZERO and top != 0 and not better(side, top, view(slot, OWN).price):
            _cross_side(ex, m, side)
            expire_reduce_only(ex, m)


@jit
def trade(ex, m, record):
    """A trade of the market: it reaches our resting orders at its price and better, best and oldest first.

    What one of our orders takes of the trade is gone for the next, so together they fill at most its quantity.
    """
    side = np.int64(1 - record.side)
    left = record.qty
    slot = own_first(own_head(m, side))
    while slot != ZERO and left > 0:
        order = view(slot, OWN)
        if better(side, record.price, order.price):
            break
        after = order.next
        reach = own_trade(order, record.price, record.qty, left, record.exchange_ts)
        qty = min(reach, fillable(m, order))
        if qty > 0:
            left -= qty
            fill(ex, m, order, order.price, qty, np.int64(FILL_MAKER))
            if own_left(order) == 0:
                drop(ex, m, slot)
        slot = after
    expire_reduce_only(ex, m)
