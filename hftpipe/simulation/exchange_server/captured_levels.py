"""A captured market in a matching book: every level of the capture is held by orders of FLOW_OWNER.

============================================ ==========================================================================
case                                         what happens
============================================ ==========================================================================
a level has grown                            a new order at the end of its queue
a level has shrunk, without a trade          the newest synthetic orders there are reduced or cancelled
a trade                                      better-priced synthetic orders that it shows to be gone are cancelled; then
                                             an incoming order with the trade's price as its limit takes its quantity
                                             in price-time order, participants' orders included
a trade older than the book                  the same, but nothing is cancelled; if a better synthetic price has come
                                             since then, nothing happens (``late_trades``)
a participant has taken of a level           it stays taken: what the capture shows to leave is that, and only what is
                                             added is new (``captured_taken``)
a level that crosses a participant's order   trades with it in the matching engine; what is left rests
the capture has lost its book                every synthetic order is cancelled, until there is a snapshot again
quantity that is no whole number of shares   rounded down (``rounded``); below one share there is no order
price off the tick, beyond the wire or       left out (``left_out``)
outside the book's window of prices
============================================ ==========================================================================

So after each depth update the synthetic orders at every price that can be had add up to the captured level, less what
participants took of it. They never hold more than the capture shows, and a capture that is not crossed never trades
with itself.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, view
from hftpipe.core.schema.reasons import NONE
from hftpipe.core.schema.records import ASK, BID, BUY, GTC, IOC, VALID
from hftpipe.core.trading.book import BOOK, book_qty_at, book_walk, book_walk_level, book_walk_next
from hftpipe.core.trading.books import book_at
from hftpipe.simulation.exchange_server.captured_state import CAPTURED, REACH
from hftpipe.simulation.exchange_server.captured_taken import hear_captured, note_taken, taken_at
from hftpipe.simulation.exchange_server.trading import EXCHANGE, book_of, settle
from hftpipe.simulation.flow.state import FLOW_OWNER
from hftpipe.simulation.matching.engine import (
    STP_CANCEL_MAKER,
    STP_NONE,
    match_event,
    match_event_count,
    match_new,
    match_reduce,
)
from hftpipe.simulation.matching.levels import level_above, level_at, level_below
from hftpipe.simulation.matching.memory import EVENT, EXPIRE, MATCHING, ORDER, PRICE_LEVEL, order_at
from hftpipe.simulation.matching.query import best_opposite
from hftpipe.venues.message import MESSAGE, MESSAGE_BYTES
from hftpipe.venues.nasdaq.itch.messages import FIELD_MAX, PRICE_UNIT

_ALL = np.int64(1) << np.int64(62)
_PAIR = np.uint64(16)
_LEVELS = np.uint64(MESSAGE_BYTES)
_REACH_BYTES = np.uint64(REACH.itemsize)
#: The two rounds in which levels are set: all that shrinks first, so that what grows meets no stale order.
SHRINK, GROW = 0, 1


@jit
def _captured(exchange):
    return view(view(exchange, EXCHANGE).captured, CAPTURED)


@jit
def captured_book(exchange, instrument):
    """Address of the BOOK that the capture's depth stream makes."""
    c = _captured(exchange)
    return book_at(c.books, instrument)


@jit
def _reach(exchange, instrument):
    """The REACH of an instrument."""
    return view(_captured(exchange).reach + _REACH_BYTES * U64(instrument), REACH)


@jit
def _holds(book, tick):
    m = view(book, MATCHING)
    return tick >= m.base_tick and tick < m.base_tick + m.window


@jit
def synthetic_at(book, side, tick):
    """Quantity of the synthetic orders of ``side`` at a tick."""
    total = np.int64(0)
    if not _holds(book, tick):
        return total
    index = np.int64(view(level_at(book, tick - view(book, MATCHING).base_tick), PRICE_LEVEL).head)
    while index != 0:
        order = view(order_at(book, index), ORDER)
        if order.owner == FLOW_OWNER and np.int64(order.side) == side:
            total += order.qty
        index = order.next
    return total


@jit
def _shrink(exchange, instrument, side, tick, by):
    """Take ``by`` off the synthetic orders of a level, the newest first."""
    book = book_of(exchange, instrument)
    index = np.int64(view(level_at(book, tick - view(book, MATCHING).base_tick), PRICE_LEVEL).tail)
    while index != 0 and by > 0:
        order = view(order_at(book, index), ORDER)
        index = order.previous
        if order.owner == FLOW_OWNER and np.int64(order.side) == side:
            taken = min(by, order.qty)
            match_reduce(book, order.id, taken)
            settle(exchange, instrument, ZERO)
            by -= taken


@jit
def _enter(exchange, instrument, side, price, qty, tif, stp):
    """An order of the captured market; returns why it was refused, and whether any of it expired."""
    c, book = _captured(exchange), book_of(exchange, instrument)
    c.order_id += ONE
    reason = match_new(book, c.order_id, np.int64(FLOW_OWNER), side, price, qty, tif, stp)
    count = match_event_count(book)
    expired = count > 0 and view(match_event(book, count - 1), EVENT).kind == EXPIRE
    settle(exchange, instrument, ZERO)
    return reason, expired


@jit
def _whole_lots(exchange, instrument, qty):
    """What of a quantity whole shares can be had for."""
    lot = view(book_of(exchange, instrument), MATCHING).lot
    whole = min(qty // lot, np.int64(FIELD_MAX)) * lot
    _captured(exchange).rounded += 1 if whole != qty else 0
    return whole


@jit
def _is_price(exchange, instrument, price):
    """Whether a price is one of this book's and of the wire's."""
    return price % view(book_of(exchange, instrument), MATCHING).tick == 0 and price // PRICE_UNIT <= FIELD_MAX


@jit
def _set_level(exchange, instrument, side, price, qty, which):
    """Bring the synthetic orders of a level to the captured quantity, in the round ``which``."""
    book = book_of(exchange, instrument)
    if not _is_price(exchange, instrument, price):
        _captured(exchange).left_out += 1 if which == GROW and qty > 0 else 0
        return
    tick = price // view(book, MATCHING).tick
    have = synthetic_at(book, side, tick)
    if which == SHRINK:
        if have > qty:
            _shrink(exchange, instrument, side, tick, have - _whole_lots(exchange, instrument, qty))
        return
    want = _whole_lots(exchange, instrument, qty) if qty > have else have
    if want <= have:
        return
    reason, _ = _enter(exchange, instrument, side, price, want - have, np.int64(GTC), np.int64(STP_CANCEL_MAKER))
    if reason != NONE:
        _captured(exchange).left_out += 1
        return
    missing = want - synthetic_at(book, side, tick)
    if missing > 0:
        note_taken(view(exchange, EXCHANGE).captured, instrument, side, price, missing)


@jit
def _wanted(exchange, instrument, side, price):
    """What synthetic orders a level should have: what the capture shows, less what participants have of it."""
    shown = book_qty_at(captured_book(exchange, instrument), side, price)
    return max(shown - taken_at(view(exchange, EXCHANGE).captured, instrument, side, price), np.int64(0))


@jit
def _set_levels(exchange, instrument, message, which):
    """The levels of a depth update."""
    m, at = view(message, MESSAGE), message + _LEVELS
    for index in range(m.n_bids + m.n_asks):
        side, price = np.int64(BID if index < m.n_bids else ASK), load_i64(at)
        _set_level(exchange, instrument, side, price, _wanted(exchange, instrument, side, price), which)
        at += _PAIR


@jit
def _refill(exchange, instrument, side, worst):
    """Restore the levels from the best to the price ``worst`` (0: to the end of the book)."""
    source = captured_book(exchange, instrument)
    cursor = book_walk(source, side, np.int64(0))
    while cursor >= 0:
        price, _shown = book_walk_level(source, side, cursor)
        if worst != 0 and (price < worst if side == BID else price > worst):
            return
        _set_level(exchange, instrument, side, price, _wanted(exchange, instrument, side, price), np.int64(GROW))
        cursor = book_walk_next(source, side, cursor)


@jit
def captured_reload(exchange, instrument):
    """Follow a captured book that has been replaced, or lost: all of it."""
    book = book_of(exchange, instrument)
    if view(captured_book(exchange, instrument), BOOK).state == VALID:
        hear_captured(view(exchange, EXCHANGE).captured, instrument)
    m = view(book, MATCHING)
    index = level_above(book, np.int64(-1))
    while index < m.window:
        after = level_above(book, index)
        side = np.int64(view(order_at(book, np.int64(view(level_at(book, index), PRICE_LEVEL).head)), ORDER).side)
        price = (m.base_tick + index) * m.tick
        _set_level(exchange, instrument, side, price, _wanted(exchange, instrument, side, price), np.int64(SHRINK))
        index = after
    reach = _reach(exchange, instrument)
    reach.recentred = m.recentred
    for side in range(2):
        _refill(exchange, instrument, np.int64(side), np.int64(0))
        reach.price[side] = 0


@jit
def captured_depth(exchange, instrument, message):
    """Follow a depth update that has been applied to the captured book."""
    hear_captured(view(exchange, EXCHANGE).captured, instrument)
    for which in range(2):
        _set_levels(exchange, instrument, message, np.int64(which))
    reach = _reach(exchange, instrument)
    if view(book_of(exchange, instrument), MATCHING).recentred != reach.recentred:
        # Levels that were outside of the window may be inside now.
        captured_reload(exchange, instrument)
    for side in range(2):
        if reach.price[side] != 0:
            _refill(exchange, instrument, np.int64(side), reach.price[side])
        reach.price[side] = 0


@jit
def _better_tick(book, side, tick):
    """The best tick, better for a taker of ``side`` than ``tick``, that has synthetic orders; -1 if there is none."""
    m = view(book, MATCHING)
    at, limit = best_opposite(book, side), tick - m.base_tick
    while at >= 0 and at < m.window and (at < limit if side == BUY else at > limit):
        if synthetic_at(book, 1 - side, m.base_tick + at) > 0:
            return m.base_tick + at
        at = level_above(book, at) if side == BUY else level_below(book, at)
    return np.int64(-1)


@jit
def captured_trade(exchange, instrument, message):
    """Follow a trade of the capture."""
    c, m, book = _captured(exchange), view(message, MESSAGE), book_of(exchange, instrument)
    if not _is_price(exchange, instrument, m.price):
        c.left_out += 1
        return
    ts = m.transaction_ts if m.transaction_ts != 0 else m.event_ts
    is_late = ts <= view(captured_book(exchange, instrument), BOOK).exchange_ts
    tick, maker_side = m.price // view(book, MATCHING).tick, 1 - m.side
    better = _better_tick(book, m.side, tick)
    if better >= 0 and is_late:
        c.late_trades += 1
        return
    while better >= 0:
        _shrink(exchange, instrument, maker_side, better, _ALL)
        better = _better_tick(book, m.side, tick)
    reach = _reach(exchange, instrument)
    worst = reach.price[maker_side]
    if worst == 0 or (m.price < worst if maker_side == BID else m.price > worst):
        reach.price[maker_side] = m.price
    qty = _whole_lots(exchange, instrument, m.qty)
    if qty > 0:
        _, expired = _enter(exchange, instrument, m.side, m.price, qty, np.int64(IOC), np.int64(STP_NONE))
        c.short_trades += np.int64(expired)
