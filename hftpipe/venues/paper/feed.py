"""Market records as they change the venue: books, the queues in front of our orders, and fills that follow."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, address_of, view
from hftpipe.core.schema.records import BID, BOOK_RESET, BOOK_STATE, LAST, LEVEL, SELL, TOP, TRADE
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_qty_at, book_set, book_set_top
from hftpipe.venues.paper.clock import compare_clocks, latest_time
from hftpipe.venues.paper.levels import hear_anything, top_of
from hftpipe.venues.paper.match import cross, trade
from hftpipe.venues.paper.own_orders import OWN, better, own_first, own_see
from hftpipe.venues.paper.state import MARKET, market_at, own_head


@jit
def _touch(m, side, price):
    """Mark our orders at a level that the open update changes."""
    slot = own_first(own_head(m, side))
    while slot != ZERO:
        order = view(slot, OWN)
        if better(side, price, order.price):
            return
        if order.price == price:
            order.touched = 1
            m.n_touched += 1
        slot = order.next


@jit
def _touch_all(m):
    """A reset says something new about every level, whatever was known before."""
    for side in range(2):
        slot = own_first(own_head(m, side))
        while slot != ZERO:
            order = view(slot, OWN)
            order.touched, order.seen_id = 1, ZERO
            m.n_touched += 1
            slot = order.next
        hear_anything(m, side)


@jit
def _see_touched(ex, m):
    """Tell our orders at changed levels what the committed update shows there."""
    for side in range(2):
        slot = own_first(own_head(m, side))
        while slot != ZERO:
            order = view(slot, OWN)
            if order.touched != 0:
                order.touched = 0
                shown = book_qty_at(m.book, side, order.price)
                own_see(order, shown, m.update_id, m.update_ts, ex.queue_model, ex.power_n, m.lot)
            slot = order.next
    m.n_touched = 0


@jit
def _see_top(ex, m, side):
    """A new best price tells what stands at it and that nothing stands before it; behind it nothing is new."""
    b = view(m.book, BOOK)
    top, qty = top_of(m.book, side)
    slot = own_first(own_head(m, side))
    while slot != ZERO:
        order = view(slot, OWN)
        if top != 0 and better(side, top, order.price):
            return
        shown = qty if order.price == top else 0
        if shown == order.seen:
            order.seen_id = b.top_id
        else:
            own_see(order, shown, b.top_id, m.top_ts, ex.queue_model, ex.power_n, m.lot)
        slot = order.next


@jit
def close_update(ex):
    """The open book update is complete: its changes take effect at once."""
    m = view(ex.open_update, MARKET)
    ex.open_update = ZERO
    compare_clocks(ex, m, m.update_ts)
    book_commit(m.book, m.update_id, m.update_ts, ex.now)
    if view(m.book, BOOK).top_id == m.update_id:
        m.top_ts = m.update_ts
    if m.n_touched > 0:
        _see_touched(ex, m)
    cross(ex, m)


@jit
def _level(ex, m, record):
    side = np.int64(record.side)
    book_set(m.book, side, record.price, record.qty)
    _touch(m, side, record.price)
    m.update_id, m.update_ts = record.id, record.exchange_ts
    ex.open_update = address_of(m)
    if record.flags & LAST:
        close_update(ex)


@jit
def _top(ex, m, record):
    """The bid half waits for the ask half, which is flagged LAST."""
    if record.side == BID:
        m.bid, m.bid_qty = record.price, record.qty
    if not record.flags & LAST:
        return
    compare_clocks(ex, m, record.exchange_ts)
    venue_ts = record.exchange_ts if record.exchange_ts != 0 else latest_time(ex, m)
    if book_set_top(m.book, m.bid, m.bid_qty, record.price, record.qty, record.id, venue_ts, ex.now):
        m.top_ts = venue_ts
        for side in range(2):
            _see_top(ex, m, side)
        cross(ex, m)


@jit
def _reset(ex, m, record):
    book_clear(m.book)
    _touch_all(m)
    m.update_id, m.update_ts = record.id, record.exchange_ts
    ex.open_update = address_of(m)


@jit
def apply_record(ex, record):
    """Apply one market record (TIMER and unknown ones only move the time, which the caller has done)."""
    if record.instrument >= ex.n_instruments or record.side > SELL:
        ex.unknown_records += 1
        return
    m = view(market_at(ex, record.instrument), MARKET)
    if record.kind == LEVEL:
        _level(ex, m, record)
    elif record.kind == TOP:
        _top(ex, m, record)
    elif record.kind == TRADE:
        compare_clocks(ex, m, record.exchange_ts)
        trade(ex, m, record)
    elif record.kind == BOOK_RESET:
        _reset(ex, m, record)
    elif record.kind == BOOK_STATE:
        view(m.book, BOOK).state = record.flags
        cross(ex, m)
    else:
        ex.unknown_records += 1
