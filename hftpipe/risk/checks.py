"""The pre-trade checks: one table, run from the top for every NEW and every REPLACE; the first failure is the answer.

No order type is exempt from any check. What each compares, and on which side its boundary lies:

== =================== ================== ==============================================================================
#  check               reason             an order passes when
== =================== ================== ==============================================================================
1  not_halted          HALTED             not halted: all, the venue, strategy or instrument, or risk by itself
2  known_instrument    UNKNOWN_INSTRUMENT the instrument id is below the number registered
3  known_order         UNKNOWN_ORDER      NEW: always; REPLACE: its order is in the table and has not ended
4  legal_value         INVALID_VALUE      the strategy is one of this run; flags, type and side are defined; no
                                          NOT_A_NUMBER; qty > 0; limit price > 0 and price x qty fits an int64 of 1e-8;
                                          market price = 0; event time >= 0; a REPLACE names its order's instrument and
                                          side
5  permitted           RESTRICTED         the instrument is one of the strategy's, and not restricted
6  has_limits          NO_LIMIT           all four size limits are configured (> 0), and the gross notional of the run is
7  on_tick             TICK_FILTER        price is a multiple of the tick (0, a market order's, is one)
8  on_lot              LOT_FILTER         qty is a multiple of the lot
9  min_notional        MIN_NOTIONAL       value >= min_notional
10 max_order_qty       MAX_ORDER_QTY      qty <= max_order_qty
11 max_market_qty      MAX_MARKET_QTY     not a market order, or qty <= max_market_qty
12 max_order_notional  MAX_ORDER_NOTIONAL value <= max_order_notional
13 only_reduces        REDUCING           not reducing; or buy: position + working buys + growth <= 0; sell: -position + working
                                          sells + growth <= 0
14 max_position        MAX_POSITION       buy: position + working buys + growth <= max_position;
                                          sell: -position + working sells + growth <= max_position
15 strategy_position   STRATEGY_POSITION  the same of the strategy's own position and orders <= its max_position
16 net_limit           NET_LIMIT          the same of each group of the instrument, in the base currency, <= its max_net
17 valid_book          BOOK_INVALID       the top of book is VALID, two-sided and not crossed or locked
18 fresh_book          BOOK_STALE         now - book time <= max_book_age_ns (signed: a newer book passes)
19 fresh_intent        INTENT_STALE       now - intent time <= max_intent_age_ns
20 price_collar        PRICE_COLLAR       |price - mid| <= collar x mid (post-only: post_only_collar)
21 gross_notional      GROSS_NOTIONAL     it adds nothing to the worst case of its instrument, or the value of the worst cases of all
                                          instruments of the run, and of the venue, stays <= max_gross_notional
22 strategy_notional   STRATEGY_NOTIONAL  the same of the strategy's own positions and orders
23 no_self_match       SELF_MATCH         no open order of ours on the other side of the instrument, of any strategy, has a price
                                          that it could trade at
24 rate_per_s          RATE_PER_S         orders approved in the last second + 1 <= orders_per_s
25 rate_per_min        RATE_PER_MIN       orders approved in the last minute + 1 <= orders_per_min
26 strategy_rate       STRATEGY_RATE      the same of all orders of the strategy <= its orders_per_s and orders_per_min
27 group_rate          GROUP_RATE         the same of all orders of each group of the instrument <= those of the group
28 not_throttled       REPEATED_EXECUTIONS executions of the strategy in the instrument were never more than executions_per_min
29 not_repeated        DUPLICATE_ORDER    the strategy has had no order of the same side, type, price and quantity approved there
                                          for duplicate_window_ms
30 unused_id           DUPLICATE_ID       NEW: the client id is not in the table; REPLACE: always
31 replaceable         ILLEGAL_TRANSITION NEW: always; REPLACE: the order is acknowledged and no change is under way
== =================== ================== ==============================================================================

Exactly at a limit passes; one unit beyond fails. Comparisons of products are exact (128-bit), never rounded.

* **Now** is the event time at the moment of the verdict (``core/shared/event_time.py``), not that of the event behind the intent:
  what had to wait is as old as it is. **Book time** is the last change, or up to when the market is known if that is later:
  a quiet book on a healthy line is fresh, and gets old when nothing more is heard.
* **Market orders** have no price: they are valued, and held to the collar, at the far touch (the ask for a buy, the
  bid for a sell), so a far touch more than the collar away from the mid refuses them. Without a far touch 9 and 12
  have nothing to compare and pass; 17 then refuses.
* **Growth** is the quantity of a NEW, reduce-only or not. For a REPLACE it is what the new remainder exceeds the
  old one by, at least 0. Checks 13 to 16 are strict: while the worst case is beyond the limit (the limit was lowered), even
  a REPLACE that only reduces is refused; a cancel is the way down.
  21 and 22 are not: what makes no worst case larger passes, however much the mids have moved.
* **Value** in 21 and 22 is the worst case, long or short, with everything that may still fill, at the last mid of a VALID book
  (``risk/worth.py``); each quote currency has sums of its own.
* **A market order** is taken to trade at any price in 23, and so is an open one of ours (``risk/crossing.py``).
* **A REPLACE** keeps the type and time in force of its order, and counts against the rates like a NEW.
* **Reducing** a fill of all that works on the order's side, with the order, leaves the position smaller, or flat: never turned
  round. An order approved then bears that in its flags (REDUCES), for the gateway's last look.
* **A CANCEL** is not checked at all: nothing but an unknown order stops it (see ``risk/stage.py``).

The table is :data:`CHECKS`; :func:`evaluate` is the same chain written out, because a loop over functions cannot be
inlined; a test asserts that the two are the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hftpipe.core.machine.fixed import SCALE
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, MARKET, NEW, POST_ONLY, REDUCE_ONLY, REQUEST, SELL, TIF_MASK, VALID
from hftpipe.core.trading.order_table import ILLEGAL, ON_REPLACE_SENT, ORDER, TRANSITIONS, is_open
from hftpipe.risk.context import CONTEXT, at_most, growth_of, reference_price, type_of
from hftpipe.risk.crossing import crosses
from hftpipe.risk.desks import DESK, RATES
from hftpipe.risk.groups import net_fits, rates_fit
from hftpipe.risk.limits import LIMITS
from hftpipe.risk.rate import (
    MINUTE_BEFORE,
    MINUTE_OFFSET,
    MINUTE_SHIFT,
    SECOND_BEFORE,
    SECOND_SHIFT,
    rate_fits,
    window_count,
)
from hftpipe.risk.repeats import is_repeat, repeat_key
from hftpipe.risk.room import room_holds
from hftpipe.risk.standings import STANDING
from hftpipe.risk.worth import TOTAL, added_value, has_room

_SCALE = np.uint64(SCALE)
_INT64_LIMIT = np.uint64(1 << 63)
_LEGAL_FLAGS = TIF_MASK | REDUCE_ONLY


@jit
def not_halted(c):
    return c.halted == 0


@jit
def known_instrument(c):
    return c.known != 0


@jit
def known_order(c):
    if view(c.intent, REQUEST).kind == NEW:
        return True
    return c.order != ZERO and is_open(view(c.order, ORDER).state)


@jit
def legal_value(c):
    r = view(c.intent, REQUEST)
    if c.desk == ZERO:
        return False
    if r.flags & ~_LEGAL_FLAGS or r.flags & TIF_MASK > MARKET or r.side > SELL:
        return False
    if r.qty <= 0 or r.local_ts < 0:
        return False
    if r.kind != NEW:
        order = view(c.order, ORDER)
        if order.instrument != r.instrument or order.side != r.side:
            return False
    if type_of(c, r) == MARKET:
        return r.price == 0
    # floor(price x qty / 1e8) < 2**63
    return r.price > 0 and not at_most(_INT64_LIMIT, _SCALE, U64(r.price), U64(r.qty))


@jit
def permitted(c):
    return view(c.standing, STANDING).is_allowed != 0


@jit
def has_limits(c):
    limits = view(c.limits, LIMITS)
    smallest = min(
        min(limits.max_order_qty, limits.max_market_qty), min(limits.max_order_notional, limits.max_position)
    )
    return smallest > 0 and view(c.run_total, TOTAL).max_gross > 0


@jit
def on_tick(c):
    tick = view(c.instrument, INSTRUMENT).tick
    return tick > 0 and U64(view(c.intent, REQUEST).price) % U64(tick) == ZERO


@jit
def on_lot(c):
    lot = view(c.instrument, INSTRUMENT).lot
    return lot > 0 and U64(view(c.intent, REQUEST).qty) % U64(lot) == ZERO


@jit
def min_notional(c):
    r = view(c.intent, REQUEST)
    price, least = reference_price(c, r), view(c.instrument, INSTRUMENT).min_notional
    return price <= 0 or least <= 0 or at_most(U64(least), _SCALE, U64(price), U64(r.qty))


@jit
def max_order_qty(c):
    return view(c.intent, REQUEST).qty <= view(c.limits, LIMITS).max_order_qty


@jit
def max_market_qty(c):
    r = view(c.intent, REQUEST)
    return type_of(c, r) != MARKET or r.qty <= view(c.limits, LIMITS).max_market_qty


@jit
def max_order_notional(c):
    r = view(c.intent, REQUEST)
    price = reference_price(c, r)
    return price <= 0 or at_most(U64(price), U64(r.qty), U64(view(c.limits, LIMITS).max_order_notional), _SCALE)


@jit
def _fits(c, r, position, limit):
    """Whether the worst case of a POSITION, with an order that is approved, stays within ``limit``."""
    p = view(position, POSITION)
    held, working = (p.qty, p.working_buy) if r.side == BUY else (-p.qty, p.working_sell)
    return room_holds(held, working, U64(growth_of(c, r)), limit)


@jit
def only_reduces(c):
    return c.reducing == 0 or _fits(c, view(c.intent, REQUEST), c.position, np.int64(0))


@jit
def max_position(c):
    return _fits(c, view(c.intent, REQUEST), c.position, view(c.limits, LIMITS).max_position)


@jit
def strategy_position(c):
    desk = view(c.desk, DESK)
    return desk.is_limited == 0 or _fits(c, view(c.intent, REQUEST), c.own, desk.max_position)


@jit
def net_limit(c):
    r = view(c.intent, REQUEST)
    return net_fits(c.groups, c.member, r.side, growth_of(c, r))


@jit
def valid_book(c):
    top = view(c.top, TOP_CELL)
    return top.state == VALID and top.bid > 0 and top.ask > top.bid


@jit
def _is_fresh(now, then, oldest):
    return now <= then or U64(now) - U64(then) <= U64(oldest)


@jit
def fresh_book(c):
    return _is_fresh(c.now, view(c.top, TOP_CELL).local_ts, view(c.limits, LIMITS).max_book_age_ns)


@jit
def fresh_intent(c):
    return _is_fresh(c.now, view(c.intent, REQUEST).local_ts, view(c.limits, LIMITS).max_intent_age_ns)


@jit
def price_collar(c):
    r, limits, top = view(c.intent, REQUEST), view(c.limits, LIMITS), view(c.top, TOP_CELL)
    collar = limits.post_only_collar_e8 if type_of(c, r) == POST_ONLY else limits.collar_e8
    # |price - mid| <= collar x mid, times 2: the mid may fall between two units.
    both = U64(top.bid) + U64(top.ask)
    twice = U64(reference_price(c, r)) * U64(2)
    distance = twice - both if twice > both else both - twice
    return collar >= 0 and at_most(distance, _SCALE, U64(collar), both)


@jit
def _added(c, position, worth):
    """What an approved order adds to the gross notional of a POSITION, at the mid that it is judged by."""
    r, top = view(c.intent, REQUEST), view(c.top, TOP_CELL)
    growth = growth_of(c, r)
    buy, sell = (growth, np.int64(0)) if r.side == BUY else (np.int64(0), growth)
    return added_value(position, worth, top.bid + ((top.ask - top.bid) >> 1), buy, sell)


@jit
def gross_notional(c):
    added = _added(c, c.position, c.worth)
    return has_room(c.run_total, added) and has_room(c.venue_total, added)


@jit
def strategy_notional(c):
    return c.own_worth == ZERO or has_room(c.desk_total, _added(c, c.own, c.own_worth))


@jit
def no_self_match(c):
    r = view(c.intent, REQUEST)
    return c.touch == ZERO or not crosses(c.touch, r.side, type_of(c, r), r.price)


@jit
def rate_per_s(c):
    return window_count(c.rates, c.now >> SECOND_SHIFT, SECOND_BEFORE) < view(c.limits, LIMITS).orders_per_s


@jit
def rate_per_min(c):
    return (
        window_count(c.rates + MINUTE_OFFSET, c.now >> MINUTE_SHIFT, MINUTE_BEFORE)
        < view(c.limits, LIMITS).orders_per_min
    )


@jit
def strategy_rate(c):
    desk = view(c.desk, DESK)
    return desk.is_limited == 0 or rate_fits(c.desk + RATES, c.now, desk.orders_per_s, desk.orders_per_min)


@jit
def group_rate(c):
    return rates_fit(c.groups, c.member, c.now)


@jit
def not_throttled(c):
    return view(c.standing, STANDING).is_over == 0


@jit
def not_repeated(c):
    r = view(c.intent, REQUEST)
    flags = r.flags if r.kind == NEW else view(c.order, ORDER).flags
    return not is_repeat(c.repeats, repeat_key(r.strategy, r.instrument, r.side, flags), r.price, r.qty, c.now)


@jit
def unused_id(c):
    return view(c.intent, REQUEST).kind != NEW or c.order == ZERO


@jit
def replaceable(c):
    if view(c.intent, REQUEST).kind == NEW:
        return True
    return TRANSITIONS[view(c.order, ORDER).state, ON_REPLACE_SENT] != ILLEGAL


class Check(NamedTuple):
    """One row of the table.

    Attributes:
        reason: code in :mod:`hftpipe.core.schema.reasons` when it fails.
        function: jitted, CONTEXT record -> passes.
    """

    reason: int
    function: Callable[[Any], bool]


CHECKS = (
    Check(reasons.HALTED, not_halted),
    Check(reasons.UNKNOWN_INSTRUMENT, known_instrument),
    Check(reasons.UNKNOWN_ORDER, known_order),
    Check(reasons.INVALID_VALUE, legal_value),
    Check(reasons.RESTRICTED, permitted),
    Check(reasons.NO_LIMIT, has_limits),
    Check(reasons.TICK_FILTER, on_tick),
    Check(reasons.LOT_FILTER, on_lot),
    Check(reasons.MIN_NOTIONAL, min_notional),
    Check(reasons.MAX_ORDER_QTY, max_order_qty),
    Check(reasons.MAX_MARKET_QTY, max_market_qty),
    Check(reasons.MAX_ORDER_NOTIONAL, max_order_notional),
    Check(reasons.REDUCING, only_reduces),
    Check(reasons.MAX_POSITION, max_position),
    Check(reasons.STRATEGY_POSITION, strategy_position),
    Check(reasons.NET_LIMIT, net_limit),
    Check(reasons.BOOK_INVALID, valid_book),
    Check(reasons.BOOK_STALE, fresh_book),
    Check(reasons.INTENT_STALE, fresh_intent),
    Check(reasons.PRICE_COLLAR, price_collar),
    Check(reasons.GROSS_NOTIONAL, gross_notional),
    Check(reasons.STRATEGY_NOTIONAL, strategy_notional),
    Check(reasons.SELF_MATCH, no_self_match),
    Check(reasons.RATE_PER_S, rate_per_s),
    Check(reasons.RATE_PER_MIN, rate_per_min),
    Check(reasons.STRATEGY_RATE, strategy_rate),
    Check(reasons.GROUP_RATE, group_rate),
    Check(reasons.REPEATED_EXECUTIONS, not_throttled),
    Check(reasons.DUPLICATE_ORDER, not_repeated),
    Check(reasons.DUPLICATE_ID, unused_id),
    Check(reasons.ILLEGAL_TRANSITION, replaceable),
)


@jit
def evaluate(context):
    """Run all checks in order on the CONTEXT record at address ``context``: a reason code, NONE if all pass."""
    c = view(context, CONTEXT)
    if not not_halted(c):
        return reasons.HALTED
    if not known_instrument(c):
        return reasons.UNKNOWN_INSTRUMENT
    if not known_order(c):
        return reasons.UNKNOWN_ORDER
    if not legal_value(c):
        return reasons.INVALID_VALUE
    if not permitted(c):
        return reasons.RESTRICTED
    if not has_limits(c):
        return reasons.NO_LIMIT
    if not on_tick(c):
        return reasons.TICK_FILTER
    if not on_lot(c):
        return reasons.LOT_FILTER
    if not min_notional(c):
        return reasons.MIN_NOTIONAL
    if not max_order_qty(c):
        return reasons.MAX_ORDER_QTY
    if not max_market_qty(c):
        return reasons.MAX_MARKET_QTY
    if not max_order_notional(c):
        return reasons.MAX_ORDER_NOTIONAL
    if not only_reduces(c):
        return reasons.REDUCING
    if not max_position(c):
        return reasons.MAX_POSITION
    if not strategy_position(c):
        return reasons.STRATEGY_POSITION
    if not net_limit(c):
        return reasons.NET_LIMIT
    if not valid_book(c):
        return reasons.BOOK_INVALID
    if not fresh_book(c):
        return reasons.BOOK_STALE
    if not fresh_intent(c):
        return reasons.INTENT_STALE
    if not price_collar(c):
        return reasons.PRICE_COLLAR
    if not gross_notional(c):
        return reasons.GROSS_NOTIONAL
    if not strategy_notional(c):
        return reasons.STRATEGY_NOTIONAL
    if not no_self_match(c):
        return reasons.SELF_MATCH
    if not rate_per_s(c):
        return reasons.RATE_PER_S
    if not rate_per_min(c):
        return reasons.RATE_PER_MIN
    if not strategy_rate(c):
        return reasons.STRATEGY_RATE
    if not group_rate(c):
        return reasons.GROUP_RATE
    if not not_throttled(c):
        return reasons.REPEATED_EXECUTIONS
    if not not_repeated(c):
        return reasons.DUPLICATE_ORDER
    if not unused_id(c):
        return reasons.DUPLICATE_ID
    if not replaceable(c):
        return reasons.ILLEGAL_TRANSITION
    return reasons.NONE
