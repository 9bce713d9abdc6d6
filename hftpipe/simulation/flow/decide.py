"""What the next event of the synthetic flow is: the fair value moves, and somebody answers.

:func:`decide` writes its choice (action, side, price, qty, target_id) into the FLOW record and touches nothing else,
so that the matching engine is called, and compiled, in one place.
"""

import math

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.machine.random import exponential_of, random_below, random_exponential, random_normal, random_uniform
from hftpipe.core.schema.records import ASK, BID, BUY, SELL
from hftpipe.simulation.flow.fair_value import fair_value, push_fair_value
from hftpipe.simulation.flow.state import (
    ACT_ADD,
    ACT_CANCEL,
    ACT_REDUCE,
    ACT_REPLACE,
    ACT_TAKE,
    BOOK_AT,
    FLOW,
    FLOW_OWNER,
    MAX_MAKERS,
)
from hftpipe.simulation.matching.levels import level_above, level_at, level_below
from hftpipe.simulation.matching.memory import MATCHING, ORDER, PRICE_LEVEL, STP_NONE, order_at
from hftpipe.simulation.matching.query import match_best, match_fillable

#: Orders a side that nobody takes or withdraws in a market whose fair value others have too.
_LEFT_ALONE = 8
#: More than can rest: a sweep takes all that its limit allows.
_EVERYTHING = 1 << 62


@jit
def _best_tick(flow, side):
    """Best tick of a side, 0 if it is empty."""
    return match_best(flow + BOOK_AT, side)[0] // view(flow, FLOW).tick


@jit
def _size(flow, median, sigma):
    """A lognormal-like quantity, whole lots."""
    f = view(flow, FLOW)
    lots = median * exponential_of(sigma * random_normal(flow))
    return np.int64(min(max(lots, f.min_lots), f.max_lots) + 0.5) * f.lot


@jit
def _distance(flow, scale):
    """A power-law distance in ticks, 0..max_distance; what falls beyond is spread evenly."""
    f = view(flow, FLOW)
    u = random_uniform(flow)
    if u * (np.float64(f.max_distance) + scale) <= scale:
        return random_below(flow, f.max_distance + 1)
    return np.int64(scale / u - scale)


@jit
def _quote_tick(flow, side):
    """Best tick at which someone would quote ``side`` now: behind the fair value, never through the book."""
    f = view(flow, FLOW)
    half = f.half_floor + f.half_spread * random_exponential(flow)
    opposite = _best_tick(flow, 1 - side)
    if side == BID:
        tick = np.int64(math.floor(fair_value(flow) - half))
        return min(tick, opposite - 1) if opposite > 0 else tick
    return max(np.int64(math.ceil(fair_value(flow) + half)), opposite + 1)


@jit
def _spread_is_wide(flow):
    spread = _best_tick(flow, np.int64(ASK)) - _best_tick(flow, np.int64(BID))
    return spread > view(flow, FLOW).wide_spread


@jit
def _placement(flow, side):
    """Ticks behind the quote: many orders join it, most of them while the spread is wide."""
    f = view(flow, FLOW)
    if random_uniform(flow) < (f.refill_share if _spread_is_wide(flow) else f.touch_share):
        return np.int64(0)
    return _distance(flow, f.add_scale)


@jit
def _limit_price(flow, side):
    """Price of a new limit order; at least one tick."""
    distance, tick = _placement(flow, side), _quote_tick(flow, side)
    tick = tick - distance if side == BID else tick + distance
    return max(tick, np.int64(1)) * view(flow, FLOW).tick


@jit
def _choose(flow, action, side, price, qty):
    f = view(flow, FLOW)
    f.action, f.side, f.price, f.qty = action, side, price, qty


@jit
def _decide_add(flow, side):
    """A new limit order of ``side``."""
    f = view(flow, FLOW)
    qty = _size(flow, f.limit_lots, f.limit_sigma)
    _choose(flow, np.int64(ACT_ADD), side, _limit_price(flow, side), qty)


@jit
def _take(flow, side, limit_tick, qty):
    """An immediate order of ``side`` up to ``limit_tick``, cut to what MAX_MAKERS makers hold."""
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    limit = limit_tick - view(book, MATCHING).base_tick
    qty = match_fillable(book, np.int64(FLOW_OWNER), side, limit, qty, np.int64(STP_NONE), np.int64(MAX_MAKERS))
    _choose(flow, np.int64(ACT_TAKE), side, limit_tick * f.tick, qty)


@jit
def _stale_limit(flow, side):
    """Limit, in ticks, of whoever takes quotes that lie beyond the fair value, with an order of ``side``; 0: none do."""
    best = _best_tick(flow, 1 - side)
    if side == BUY:
        limit = np.int64(math.floor(fair_value(flow) - 0.5))
        return limit if best > 0 and best <= limit else np.int64(0)
    limit = np.int64(math.ceil(fair_value(flow) + 0.5))
    return limit if best >= limit else np.int64(0)


@jit
def _market_side(flow):
    """Side of a market order: towards the fair value, surely when that is 4 ticks off the mid."""
    mid = 0.5 * np.float64(_best_tick(flow, np.int64(BID)) + _best_tick(flow, np.int64(ASK)))
    gap = fair_value(flow) - mid
    return np.int64(BUY) if random_uniform(flow) < 0.5 + 0.125 * gap else np.int64(SELL)


@jit
def _market_limit(flow, side):
    """Limit of a market order, in ticks: as on venues, it reaches no farther than a band."""
    f = view(flow, FLOW)
    best = _best_tick(flow, 1 - side)
    return best + f.market_band if side == BUY else max(best - f.market_band, np.int64(1))


@jit
def _is_exposed(flow, side):
    """Whether the touch of ``side`` is nearer to the fair value than anybody would quote who knew it."""
    way = fair_value(flow) - np.float64(_best_tick(flow, side))
    return (way if side == BID else -way) < view(flow, FLOW).half_floor


@jit
def _cancel_level(flow, side):
    """Window index where the next cancel falls: near the touch, and perhaps nothing there.

    The farthest level instead, if that is too far out or a quarter too many orders rest; the touch, once news has
    overtaken it.
    """
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    m = view(book, MATCHING)
    if f.has_news != 0 and _is_exposed(flow, side):
        return m.best_bid if side == BID else m.best_ask
    distance = _distance(flow, f.cancel_scale)
    reach = f.max_distance if m.side_orders[side] <= f.side_target + (f.side_target >> 2) else np.int64(0)
    if side == BID:
        worst = level_above(book, np.int64(-1))
        return worst if worst < m.best_bid - reach else max(m.best_bid - distance, worst)
    worst = level_below(book, m.window)
    return worst if worst > m.best_ask + reach else min(m.best_ask + distance, worst)


@jit
def _pick_order(flow, side):
    """Index of an order of the flow to withdraw, rather young than old; 0 if there is none in that place.

    Then an order is added instead: looking on for the next level would empty the lone ones and tear holes.
    """
    book = flow + BOOK_AT
    level = view(level_at(book, _cancel_level(flow, side)), PRICE_LEVEL)
    index = np.int64(level.tail) if random_uniform(flow) < 0.7 else np.int64(level.head)
    for _ in range(8):
        if index == 0 or view(order_at(book, index), ORDER).owner == FLOW_OWNER:
            return index
        index = view(order_at(book, index), ORDER).previous
    return np.int64(0)


@jit
def _decide_withdraw(flow, side, index):
    """Cancel order ``index``, or part of it, or move it to a new price with one lot more."""
    f = view(flow, FLOW)
    order = view(order_at(flow + BOOK_AT, index), ORDER)
    f.target_id = order.id
    half = order.qty // (2 * f.lot) * f.lot
    u = random_uniform(flow)
    if u < f.reduce_share and half > 0:
        _choose(flow, np.int64(ACT_REDUCE), side, np.int64(0), half)
    elif u > 1.0 - f.replace_share:
        _choose(flow, np.int64(ACT_REPLACE), side, _limit_price(flow, side), order.filled + order.qty + f.lot)
    else:
        _choose(flow, np.int64(ACT_CANCEL), side, np.int64(0), np.int64(0))


@jit
def _learn_news(flow, side):
    """News for a taker of ``side``: the fair value moves past the touch there. Its limit in ticks; 0 if nothing is in reach.

    A fair value in common has its news from nobody: who is informed then takes what lies on the wrong side of it.
    """
    f = view(flow, FLOW)
    if f.fair_ts == 0:
        best = _best_tick(flow, 1 - side)
        way = np.float64(best) - fair_value(flow)
        worth = max(way if side == BUY else -way, 0.0) + 1.0 + f.news_ticks * random_exponential(flow)
        push_fair_value(flow, worth if side == BUY else -worth)
    return _stale_limit(flow, side)


@jit
def _market_order(flow):
    """Whoever takes without being asked: side, limit in ticks (0: nobody, after all) and quantity."""
    f = view(flow, FLOW)
    if f.has_news == 0:
        side = _market_side(flow)
    else:
        side = random_below(flow, np.int64(2))
        f.takers += 1
        if random_uniform(flow) >= f.uninformed_share:
            f.informed += 1
            return side, _learn_news(flow, side), np.int64(_EVERYTHING)
    return side, _market_limit(flow, side), _size(flow, f.market_lots, f.market_sigma)


@jit
def _few(f):
    """So many orders of a side are left alone, that it may not empty.

    Of a fair value in common fewer: what it has left behind must not stay, or the markets would not agree for a while.
    """
    return f.side_target >> 2 if f.fair_ts == 0 else np.int64(_LEFT_ALONE)


@jit
def _decide_take(flow, side):
    """A sweep of stale quotes or a market order, as it falls; False if nobody takes, or too little rests to take."""
    f = view(flow, FLOW)
    m = view(flow + BOOK_AT, MATCHING)
    u, few = random_uniform(flow), _few(f)
    limit, qty = _stale_limit(flow, side), np.int64(_EVERYTHING)
    if limit == 0 or u >= f.sweep_share:
        if u < 1.0 - f.market_share or _spread_is_wide(flow):
            return False
        side, limit, qty = _market_order(flow)
    if limit == 0 or m.side_orders[1 - side] <= few:
        return False
    _take(flow, side, limit, qty)
    return True


@jit
def decide(flow):
    """Choose the next event. Which side gains or loses an order depends on how many it has."""
    f = view(flow, FLOW)
    side = random_below(flow, np.int64(2))
    if _decide_take(flow, side):
        return
    resting = view(flow + BOOK_AT, MATCHING).side_orders[side]
    missing = np.float64(f.side_target - resting) / np.float64(f.side_target)
    add_share = 0.5 + 2.0 * missing
    if _spread_is_wide(flow):
        add_share = max(add_share, f.refill_share)
    if resting > _few(f) and random_uniform(flow) >= add_share:
        index = _pick_order(flow, side)
        if index != 0:
            _decide_withdraw(flow, side, index)
            return
    _decide_add(flow, side)
