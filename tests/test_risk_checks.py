"""The pre-trade checks: table and chain are one, no type is exempt, every boundary, and a twin that agrees on all."""

import inspect
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned, record
from risk_rig import ASK, BID, E8, LOT, MIN_NOTIONAL, NOW, TICK, fill_instrument, fill_limits, fill_top, make

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import (
    BUY,
    FOK,
    GTC,
    INVALID,
    IOC,
    MARKET,
    NEW,
    NOT_A_NUMBER,
    POST_ONLY,
    REDUCE_ONLY,
    REPLACE,
    SELL,
    SYNCING,
    TIF_MASK,
    TIF_NAMES,
    VALID,
)
from hftpipe.core.trading import order_table
from hftpipe.core.trading.order_table import ORDER, PENDING_NEW, PENDING_REPLACE, TRANSITIONS, UNKNOWN, WORKING
from hftpipe.risk import checks
from hftpipe.risk.crossing import TOUCH
from hftpipe.risk.desks import DESK, RATES
from hftpipe.risk.groups import GROUP, MEMBER, groups_count
from hftpipe.risk.limits import LIMITS, limits_row
from hftpipe.risk.rate import (
    MINUTE_BEFORE,
    MINUTE_SHIFT,
    RATE,
    SECOND_BEFORE,
    SECOND_SHIFT,
    rate_add,
    window_add,
    window_count,
)
from hftpipe.risk.repeats import REPEATS, REPEATS_BYTES, repeat_add, repeat_key
from hftpipe.risk.standings import STANDING
from hftpipe.risk.worth import TOTAL, WORTH

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


class Case:
    """Everything a verdict depends on; as made, the order passes."""

    def __init__(self, kind: int = NEW, tif: int = GTC, side: int = BUY) -> None:
        self.intent = make(kind=kind, flags=tif, side=side, price=0 if tif == MARKET else 100 * E8)
        self.instrument, self.limits = record(INSTRUMENT), record(LIMITS)
        self.position, self.rates, self.top = record(POSITION), record(RATE), record(TOP_CELL)
        self.desk, self.own, self.is_of_a_strategy = record(DESK), record(POSITION), True
        self.group, self.member = record(GROUP), record(MEMBER)
        self.member["units"], self.member["count"] = UNITS, 1
        for name in ("max_net", "orders_per_s", "orders_per_min"):
            self.group[name] = INT64_MAX
        for name in ("max_position", "orders_per_s", "orders_per_min"):
            self.desk[name] = INT64_MAX
        self.worth, self.own_worth, self.standing, self.touch = (record(one) for one in (WORTH, WORTH, STANDING, TOUCH))
        self.run, self.venue, self.desk_sum = (record(TOTAL) for _ in range(3))
        self.repeats, self.before = aligned(REPEATS_BYTES), list[tuple[int, ...]]()
        self.has_own, self.is_matched = True, False
        for total in (self.run, self.venue, self.desk_sum):
            total["max_gross"] = 10**9 * E8
        self.standing["is_allowed"], self.touch["lowest_sell"] = 1, INT64_MAX
        self.repeats[: REPEATS.itemsize].view(REPEATS)["window_ns"] = WINDOW_NS
        self.order, self.has_order = record(ORDER), kind == REPLACE
        self.known, self.halted, self.reducing, self.sent_at = True, False, False, []
        #: How long after the intent's time it is judged.
        self.late_ns = 0
        fill_instrument(self.instrument)
        fill_limits(self.limits)
        fill_top(self.top)
        for name, value in (
            ("id", 1), ("price", 100 * E8), ("qty", E8), ("state", WORKING), ("side", side), ("flags", tif), ("user", E8),
        ):  # fmt: skip
            self.order[name] = value

    def verdict(self) -> int:
        """What the jitted chain says."""
        c = record(checks.CONTEXT)
        c["intent"], c["top"] = address(self.intent), address(self.top)
        c["halted"], c["known"], c["now"] = int(self.halted), int(self.known), self.now
        c["reducing"] = int(self.reducing)
        if self.known:
            for name in ("instrument", "limits", "position", "rates"):
                c[name] = address(getattr(self, name))
        c["desk"], c["own"] = address(self.desk) if self.is_of_a_strategy else 0, address(self.own)
        if self.known:
            c["groups"], c["member"] = address(self.group), address(self.member)
        for name, row in (("worth", self.worth), ("run_total", self.run), ("venue_total", self.venue),
                          ("standing", self.standing), ("repeats", self.repeats), ("touch", self.touch)):  # fmt: skip
            c[name] = address(row)
        if self.has_own:
            c["own_worth"], c["desk_total"] = address(self.own_worth), address(self.desk_sum)
        if self.has_order:
            c["order"] = address(self.order)
        return int(checks.evaluate(address(c)))

    @property
    def now(self) -> int:
        """When it is judged."""
        return min(self["intent.local_ts"] + self.late_ns, INT64_MAX)

    def send(self, at: int, times: int = 1) -> None:
        """Count earlier orders."""
        for _ in range(times):
            self.sent_at.append(at)
            rate_add(address(self.rates), np.int64(at))
            rate_add(np.uint64(int(address(self.desk)) + int(RATES)), np.int64(at))
            groups_count(address(self.group), address(self.member), np.int64(at))

    def send_alike(self, ago_ns: int) -> None:
        """The same order was approved so long ago."""
        flags = self["order.flags"] if self["intent.kind"] == REPLACE else self["intent.flags"]
        what = self["intent.strategy"], self["intent.instrument"], self["intent.side"], flags
        price, qty, at = self["intent.price"], self["intent.qty"], self.now - ago_ns
        key = np.uint64(repeat_key(*(np.int64(one) for one in what)))
        repeat_add(address(self.repeats), key, np.int64(price), np.int64(qty), np.int64(at))
        self.before.append((*what, price, qty, at))

    def __getitem__(self, path: str) -> int:
        row, field = path.split(".")
        return int(getattr(self, row)[field][0])


def name_of(code: int) -> str:
    return reasons.NAMES[code]


# The twin.


def twin_value(case: Case, side: int, tif: int, price: int) -> int | None:
    """Price that values the order; None when a market order has no far touch."""
    if tif != MARKET:
        return price
    far = case["top.ask"] if side == BUY else case["top.bid"]
    return far if far > 0 else None


def twin_is_legal(case: Case, tif: int) -> bool:
    flags, price, qty = case["intent.flags"], case["intent.price"], case["intent.qty"]
    if not case.is_of_a_strategy:
        return False
    if flags & NOT_A_NUMBER or flags & (16 | 32 | 64) or flags & TIF_MASK not in TIF_NAMES:
        return False
    if case["intent.side"] not in (BUY, SELL) or qty <= 0 or case["intent.local_ts"] < 0:
        return False
    if case["intent.kind"] == REPLACE and (
        case["intent.side"] != case["order.side"] or case["intent.instrument"] != case["order.instrument"]
    ):
        return False
    if tif == MARKET:
        return price == 0
    return price > 0 and price * qty // E8 <= INT64_MAX


def twin_in_window(case: Case, shift: int, before: int) -> int:
    now = case.now >> shift
    return sum(now - (at >> shift) <= before for at in case.sent_at)


def twin_fits(case: Case, row: str, side: int, growth: int, limit: int) -> bool:
    held, working = case[f"{row}.qty"], case[f"{row}.working_buy"]
    if side == SELL:
        held, working = -held, case[f"{row}.working_sell"]
    return held <= limit and held + working + growth <= limit


def twin_has_room(case: Case, row: str, worth: str, total: str, side: int, growth: int) -> bool:
    qty, buys, sells = (case[f"{row}.{name}"] for name in ("qty", "working_buy", "working_sell"))
    buys, sells = (buys + growth, sells) if side == BUY else (buys, sells + growth)
    mid = (case["top.bid"] + case["top.ask"]) // 2
    value = min(int(Fraction(max(qty + buys, sells - qty) * mid, E8)), 2**62)
    added = value - case[f"{worth}.gross"]
    return added <= 0 or (
        (value < 2**62 or case[f"{worth}.gross"] == 2**62)
        and case[f"{total}.gross"] + added <= case[f"{total}.max_gross"]
    )


def twin_crosses(case: Case, side: int, tif: int, price: int) -> bool:
    buy, sell = case["touch.highest_buy"], case["touch.lowest_sell"]
    if side == BUY:
        return sell != INT64_MAX and (tif == MARKET or price >= sell)
    return buy != 0 and (tif == MARKET or price <= buy)


#: How long an order is remembered.
WINDOW_NS = 5_000_000
#: One of the test instrument is so many of its base currency.
UNITS = 1000
_WINDOWS = ((SECOND_SHIFT, SECOND_BEFORE), (MINUTE_SHIFT, MINUTE_BEFORE))


def twin(case: Case) -> int:
    """The decision in Python integers, one plain condition after the other."""
    replace = case["intent.kind"] == REPLACE
    open_order = case.has_order and PENDING_NEW <= case["order.state"] <= UNKNOWN
    if case.halted:
        return reasons.HALTED
    if not case.known:
        return reasons.UNKNOWN_INSTRUMENT
    if replace and not open_order:
        return reasons.UNKNOWN_ORDER
    tif = (case["order.flags"] if replace else case["intent.flags"]) & TIF_MASK
    if not twin_is_legal(case, tif):
        return reasons.INVALID_VALUE
    if not case["standing.is_allowed"]:
        return reasons.RESTRICTED
    side, price, qty = case["intent.side"], case["intent.price"], case["intent.qty"]
    sizes = ("max_order_qty", "max_market_qty", "max_order_notional", "max_position")
    if any(case[f"limits.{name}"] <= 0 for name in sizes) or case["run.max_gross"] <= 0:
        return reasons.NO_LIMIT
    if case["instrument.tick"] <= 0 or price % case["instrument.tick"]:
        return reasons.TICK_FILTER
    if case["instrument.lot"] <= 0 or qty % case["instrument.lot"]:
        return reasons.LOT_FILTER
    worth = twin_value(case, side, tif, price)
    if worth is not None and Fraction(worth * qty, E8) < case["instrument.min_notional"]:
        return reasons.MIN_NOTIONAL
    if qty > case["limits.max_order_qty"]:
        return reasons.MAX_ORDER_QTY
    if tif == MARKET and qty > case["limits.max_market_qty"]:
        return reasons.MAX_MARKET_QTY
    if worth is not None and Fraction(worth * qty, E8) > case["limits.max_order_notional"]:
        return reasons.MAX_ORDER_NOTIONAL
    growth = qty
    if replace:
        counted = max(max(case["order.qty"], case["order.new_qty"]) - case["order.filled"], 0)
        growth = max(qty - case["order.filled"] - counted, 0)
    if case.reducing and not twin_fits(case, "position", side, growth, 0):
        return reasons.REDUCING
    if not twin_fits(case, "position", side, growth, case["limits.max_position"]):
        return reasons.MAX_POSITION
    is_limited = case["desk.is_limited"] != 0
    if is_limited and not twin_fits(case, "own", side, growth, case["desk.max_position"]):
        return reasons.STRATEGY_POSITION
    if not twin_fits(case, "group", side, growth * UNITS, case["group.max_net"]):
        return reasons.NET_LIMIT
    bid, ask = case["top.bid"], case["top.ask"]
    if case["top.state"] != VALID or bid <= 0 or ask <= bid:
        return reasons.BOOK_INVALID
    if case.now - case["top.local_ts"] > case["limits.max_book_age_ns"]:
        return reasons.BOOK_STALE
    if case.now - case["intent.local_ts"] > case["limits.max_intent_age_ns"]:
        return reasons.INTENT_STALE
    mid = Fraction(bid + ask, 2)
    collar = case["limits.post_only_collar_e8"] if tif == POST_ONLY else case["limits.collar_e8"]
    if abs(worth - mid) > Fraction(collar, E8) * mid:
        return reasons.PRICE_COLLAR
    if not all(twin_has_room(case, "position", "worth", total, side, growth) for total in ("run", "venue")):
        return reasons.GROSS_NOTIONAL
    if case.has_own and not twin_has_room(case, "own", "own_worth", "desk_sum", side, growth):
        return reasons.STRATEGY_NOTIONAL
    if twin_crosses(case, side, tif, price):
        return reasons.SELF_MATCH
    if twin_in_window(case, int(SECOND_SHIFT), int(SECOND_BEFORE)) + 1 > case["limits.orders_per_s"]:
        return reasons.RATE_PER_S
    if twin_in_window(case, int(MINUTE_SHIFT), int(MINUTE_BEFORE)) + 1 > case["limits.orders_per_min"]:
        return reasons.RATE_PER_MIN
    spent = [twin_in_window(case, int(shift), int(before)) + 1 for shift, before in _WINDOWS]
    if is_limited and (spent[0] > case["desk.orders_per_s"] or spent[1] > case["desk.orders_per_min"]):
        return reasons.STRATEGY_RATE
    if spent[0] > case["group.orders_per_s"] or spent[1] > case["group.orders_per_min"]:
        return reasons.GROUP_RATE
    if case["standing.is_over"]:
        return reasons.REPEATED_EXECUTIONS
    flags = case["order.flags"] if replace else case["intent.flags"]
    what = case["intent.strategy"], case["intent.instrument"], side, flags, price, qty
    if any(one[:-1] == what and case.now - one[-1] < WINDOW_NS for one in case.before):
        return reasons.DUPLICATE_ORDER
    if not replace and case.has_order:
        return reasons.DUPLICATE_ID
    if replace and case["order.state"] not in (WORKING, order_table.PARTIAL):
        return reasons.ILLEGAL_TRANSITION
    return reasons.NONE


# The table.


def test_chain_runs_exactly_the_checks_of_the_table_in_its_order():
    source = inspect.getsource(checks.evaluate.py_func)
    chain = re.findall(r"if not (\w+)\(c\):\n\s+return reasons\.(\w+)\n", source)
    assert chain == [(c.function.py_func.__name__, name_of(c.reason).upper()) for c in checks.CHECKS]
    assert source.count("return") == len(chain) + 1, "no way round"


def test_docstring_shows_the_table():
    rows = re.findall(r"^(\d+) +(\w+) +([A-Z_]+) ", checks.__doc__, re.MULTILINE)
    wanted = [(str(i), c.function.py_func.__name__, name_of(c.reason).upper()) for i, c in enumerate(checks.CHECKS, 1)]
    assert rows == wanted


# No type is exempt.

TYPES = [(kind, tif, side) for kind in (NEW, REPLACE) for tif in TIF_NAMES for side in (BUY, SELL)]


def off(case: Case, path: str, value: int) -> None:
    row, field = path.split(".")
    getattr(case, row)[field] = value


def halt(case: Case) -> None:
    case.halted = True


def forget_instrument(case: Case) -> None:
    case.known = False


def end_order(case: Case) -> None:
    off(case, "order.state", order_table.CANCELED)


def only_reduce(case: Case) -> None:
    # A position that the order would make larger.
    case.reducing = True
    off(case, "position.qty", 1 if case["intent.side"] == BUY else -1)


def over_position(case: Case) -> None:
    # Three working orders of a side that leave room for less than one more.
    row, growth = case.position, case["intent.qty"]
    if case["intent.kind"] == REPLACE:
        off(case, "intent.qty", 2 * growth)
    row["working_buy"] = row["working_sell"] = case["limits.max_position"] - growth + 1


def over_own_position(case: Case) -> None:
    # The account has room, the strategy has none.
    growth = case["intent.qty"]
    if case["intent.kind"] == REPLACE:
        off(case, "intent.qty", 2 * growth)
    off(case, "desk.is_limited", 1)
    off(case, "desk.max_position", 3 * growth)
    case.own["working_buy"] = case.own["working_sell"] = 2 * growth + 1


def over_net(case: Case) -> None:
    growth = case["intent.qty"]
    if case["intent.kind"] == REPLACE:
        off(case, "intent.qty", 2 * growth)
    off(case, "group.max_net", 3 * growth * UNITS)
    case.group["working_buy"] = case.group["working_sell"] = 2 * growth * UNITS + 1


def wait_too_long(case: Case) -> None:
    case.late_ns = case["limits.max_intent_age_ns"] + 1


def far_price(case: Case) -> None:
    """Two per cent from the mid, seen from this order."""
    if case["intent.price"]:
        off(case, "intent.price", 102 * E8)
    else:
        off(case, "top.bid", 98 * E8)
        off(case, "top.ask", 102 * E8)


def spend_rate(case: Case) -> None:
    case.send(NOW, case["limits.orders_per_s"])


def spend_minute_rate(case: Case) -> None:
    off(case, "limits.orders_per_min", 3)
    case.send(NOW - 30 * 10**9, 3)


def spend_own_rate(case: Case) -> None:
    off(case, "desk.is_limited", 1)
    off(case, "desk.orders_per_min", 2)
    case.send(NOW - 30 * 10**9, 2)


def spend_group_rate(case: Case) -> None:
    off(case, "group.orders_per_s", 1)
    case.send(NOW, 1)


def reuse_id(case: Case) -> None:
    case.has_order = True


def over_gross(case: Case) -> None:
    """The instrument's own worst case is counted already; the order makes it larger."""
    row, growth = case.position, case["intent.qty"]
    if case["intent.kind"] == REPLACE:
        off(case, "intent.qty", 2 * growth)
    row["working_buy"] = row["working_sell"] = growth
    off(case, "worth.gross", 100 * growth)
    off(case, "venue.gross", 250 * E8)
    off(case, "venue.max_gross", 250 * E8 + 100 * growth - 1)


def over_own_gross(case: Case) -> None:
    if case["intent.kind"] == REPLACE:
        off(case, "intent.qty", 2 * case["intent.qty"])
    off(case, "desk_sum.gross", 50 * E8)
    off(case, "desk_sum.max_gross", 150 * E8 - 1)


def meet_own(case: Case) -> None:
    off(case, "touch.lowest_sell", 100 * E8)
    off(case, "touch.highest_buy", 100 * E8)


BREAK = {
    reasons.HALTED: halt,
    reasons.UNKNOWN_INSTRUMENT: forget_instrument,
    reasons.UNKNOWN_ORDER: end_order,
    reasons.INVALID_VALUE: lambda case: off(case, "intent.flags", case["intent.flags"] | NOT_A_NUMBER),
    reasons.RESTRICTED: lambda case: off(case, "standing.is_allowed", 0),
    reasons.NO_LIMIT: lambda case: off(case, "limits.max_position", 0),
    reasons.TICK_FILTER: lambda case: off(case, "instrument.tick", 0),
    reasons.LOT_FILTER: lambda case: off(case, "intent.qty", E8 + 1),
    reasons.MIN_NOTIONAL: lambda case: off(case, "intent.qty", LOT),
    reasons.MAX_ORDER_QTY: lambda case: off(case, "limits.max_order_qty", E8 - 1),
    reasons.MAX_MARKET_QTY: lambda case: off(case, "limits.max_market_qty", E8 - 1),
    reasons.MAX_ORDER_NOTIONAL: lambda case: off(case, "limits.max_order_notional", 99 * E8),
    reasons.REDUCING: only_reduce,
    reasons.MAX_POSITION: over_position,
    reasons.STRATEGY_POSITION: over_own_position,
    reasons.NET_LIMIT: over_net,
    reasons.BOOK_INVALID: lambda case: off(case, "top.state", SYNCING),
    reasons.BOOK_STALE: lambda case: off(case, "top.local_ts", NOW - 3 * 10**9),
    reasons.INTENT_STALE: wait_too_long,
    reasons.PRICE_COLLAR: far_price,
    reasons.GROSS_NOTIONAL: over_gross,
    reasons.STRATEGY_NOTIONAL: over_own_gross,
    reasons.SELF_MATCH: meet_own,
    reasons.RATE_PER_S: spend_rate,
    reasons.RATE_PER_MIN: spend_minute_rate,
    reasons.STRATEGY_RATE: spend_own_rate,
    reasons.GROUP_RATE: spend_group_rate,
    reasons.REPEATED_EXECUTIONS: lambda case: off(case, "standing.is_over", 1),
    reasons.DUPLICATE_ORDER: lambda case: case.send_alike(WINDOW_NS - 1),
    reasons.DUPLICATE_ID: reuse_id,
    reasons.ILLEGAL_TRANSITION: lambda case: off(case, "order.state", PENDING_REPLACE),
}
#: What a check cannot concern: a reason here is what the other kinds and types pass.
ONLY_REPLACE = {reasons.UNKNOWN_ORDER, reasons.ILLEGAL_TRANSITION}
ONLY_NEW = {reasons.DUPLICATE_ID}
ONLY_MARKET = {reasons.MAX_MARKET_QTY}


def test_matrix_covers_every_check():
    assert list(BREAK) == [check.reason for check in checks.CHECKS]


@pytest.mark.parametrize("kind, tif, side", TYPES)
def test_plain_order_of_every_type_passes(kind, tif, side):
    case = Case(kind, tif, side)
    assert name_of(case.verdict()) == "none"


@pytest.mark.parametrize("reason", BREAK, ids=name_of)
@pytest.mark.parametrize("kind, tif, side", TYPES)
def test_every_check_stops_every_type(reason, kind, tif, side):
    case = Case(kind, tif, side)
    BREAK[reason](case)
    wanted = reason
    if (reason in ONLY_REPLACE and kind == NEW) or (reason in ONLY_NEW and kind == REPLACE):
        wanted = reasons.NONE
    if reason in ONLY_MARKET and tif != MARKET:
        wanted = reasons.NONE
    assert name_of(case.verdict()) == name_of(wanted)
    assert twin(case) == wanted


@pytest.mark.parametrize("first, second", list(pairwise(BREAK)))
def test_the_earlier_of_two_failures_is_the_answer(first, second):
    kind = REPLACE if {first, second} & ONLY_REPLACE else NEW
    tif = MARKET if {first, second} & ONLY_MARKET else GTC
    case = Case(kind, tif)
    BREAK[second](case)
    BREAK[first](case)
    # A used id concerns a NEW only, so beside a REPLACE's check it has nothing to say.
    wanted = second if first in ONLY_NEW and kind == REPLACE else first
    assert name_of(case.verdict()) == name_of(twin(case)) == name_of(wanted)


# Boundaries: the value at the limit passes, one unit beyond fails.


@dataclass
class Boundary:
    """``at`` passes and ``beyond`` gives ``reason``, with ``path`` set to it."""

    reason: int
    path: str
    at: int
    beyond: int
    kind: int = NEW
    tif: int = GTC
    side: int = BUY


MID = (BID + ASK) // 2
BOUNDARIES = [
    Boundary(reasons.INVALID_VALUE, "intent.side", SELL, 2),
    Boundary(reasons.INVALID_VALUE, "intent.flags", MARKET - 1, MARKET + 1),
    Boundary(reasons.INVALID_VALUE, "intent.flags", REDUCE_ONLY, 16),
    Boundary(reasons.INVALID_VALUE, "intent.local_ts", 0, -1),
    Boundary(reasons.INVALID_VALUE, "intent.price", 0, TICK, tif=MARKET),
    Boundary(reasons.NO_LIMIT, "limits.max_market_qty", 1, 0),
    Boundary(reasons.TICK_FILTER, "intent.price", 100 * E8, 100 * E8 + 1),
    Boundary(reasons.LOT_FILTER, "intent.qty", E8, E8 - 1),
    Boundary(reasons.MIN_NOTIONAL, "instrument.min_notional", 100 * E8, 100 * E8 + 1),
    Boundary(reasons.MIN_NOTIONAL, "instrument.min_notional", ASK, ASK + 1, tif=MARKET),
    Boundary(reasons.MIN_NOTIONAL, "instrument.min_notional", BID, BID + 1, tif=MARKET, side=SELL),
    Boundary(reasons.MAX_ORDER_QTY, "limits.max_order_qty", E8, E8 - 1),
    Boundary(reasons.MAX_MARKET_QTY, "limits.max_market_qty", E8, E8 - 1, tif=MARKET),
    Boundary(reasons.MAX_ORDER_NOTIONAL, "limits.max_order_notional", 100 * E8, 100 * E8 - 1),
    Boundary(reasons.MAX_ORDER_NOTIONAL, "limits.max_order_notional", ASK, ASK - 1, tif=MARKET),
    Boundary(reasons.MAX_POSITION, "position.qty", 19 * E8, 19 * E8 + 1),
    Boundary(reasons.MAX_POSITION, "position.qty", -19 * E8, -19 * E8 - 1, side=SELL),
    Boundary(reasons.MAX_POSITION, "position.working_buy", 19 * E8, 19 * E8 + 1),
    Boundary(reasons.MAX_POSITION, "position.working_sell", 19 * E8, 19 * E8 + 1, side=SELL),
    Boundary(reasons.MAX_POSITION, "position.working_buy", 20 * E8, 20 * E8 + 1, kind=REPLACE),
    Boundary(reasons.NET_LIMIT, "group.max_net", 1000 * E8, 1000 * E8 - 1),
    Boundary(reasons.NET_LIMIT, "group.max_net", 1000 * E8, 1000 * E8 - 1, side=SELL),
    Boundary(reasons.GROUP_RATE, "group.orders_per_s", 1, 0),
    Boundary(reasons.GROUP_RATE, "group.orders_per_min", 1, 0),
    Boundary(reasons.BOOK_INVALID, "top.bid", ASK - 1, ASK),
    Boundary(reasons.BOOK_INVALID, "top.state", VALID, INVALID),
    Boundary(reasons.BOOK_INVALID, "top.bid", BID, 0),
    Boundary(reasons.BOOK_STALE, "top.local_ts", NOW - 2 * 10**9, NOW - 2 * 10**9 - 1),
    Boundary(reasons.PRICE_COLLAR, "intent.price", MID * 101 // 100, MID * 101 // 100 + TICK),
    Boundary(reasons.PRICE_COLLAR, "intent.price", MID * 99 // 100, MID * 99 // 100 - TICK),
    Boundary(reasons.PRICE_COLLAR, "intent.price", MID * 1005 // 1000, MID * 1005 // 1000 + TICK, tif=POST_ONLY),
    Boundary(reasons.PRICE_COLLAR, "limits.collar_e8", 50_000, 49_999, tif=MARKET),
    Boundary(reasons.NO_LIMIT, "run.max_gross", 10**4 * E8, 0),
    Boundary(reasons.GROSS_NOTIONAL, "run.max_gross", 100 * E8, 100 * E8 - 1),
    Boundary(reasons.GROSS_NOTIONAL, "venue.max_gross", 100 * E8, 100 * E8 - 1, side=SELL),
    Boundary(reasons.GROSS_NOTIONAL, "run.gross", 10**9 * E8 - 100 * E8, 10**9 * E8 - 100 * E8 + 1),
    Boundary(reasons.GROSS_NOTIONAL, "run.max_gross", 100 * E8, 100 * E8 - 1, tif=MARKET),
    Boundary(reasons.STRATEGY_NOTIONAL, "desk_sum.max_gross", 100 * E8, 100 * E8 - 1),
    Boundary(reasons.SELF_MATCH, "touch.lowest_sell", 100 * E8 + TICK, 100 * E8),
    Boundary(reasons.SELF_MATCH, "touch.highest_buy", 100 * E8 - TICK, 100 * E8, side=SELL),
    Boundary(reasons.SELF_MATCH, "touch.lowest_sell", INT64_MAX, INT64_MAX - 1, tif=MARKET),
    Boundary(reasons.SELF_MATCH, "touch.highest_buy", 0, 1, tif=MARKET, side=SELL),
    Boundary(reasons.RATE_PER_S, "limits.orders_per_s", 1, 0),
    Boundary(reasons.RATE_PER_MIN, "limits.orders_per_min", 1, 0),
]


@pytest.mark.parametrize("b", BOUNDARIES, ids=lambda b: f"{name_of(b.reason)}-{b.path}-{b.tif}")
def test_exactly_at_the_limit_passes_and_one_unit_beyond_fails(b):
    if b.path == "intent.local_ts":
        at, beyond = Case(b.kind, b.tif, b.side), Case(b.kind, b.tif, b.side)
        at.top["local_ts"] = beyond.top["local_ts"] = 0
    else:
        at, beyond = Case(b.kind, b.tif, b.side), Case(b.kind, b.tif, b.side)
    off(at, b.path, b.at)
    off(beyond, b.path, b.beyond)
    assert name_of(at.verdict()) == "none"
    assert name_of(beyond.verdict()) == name_of(b.reason)


@pytest.mark.parametrize("what, reason", [("book", "book_stale"), ("intent", "intent_stale")])
def test_age_is_counted_up_to_the_verdict_not_up_to_the_event_behind_the_order(what, reason):
    case = Case()
    off(case, f"limits.max_{what}_age_ns", 10**8)
    case.late_ns = 10**8
    assert case.verdict() == reasons.NONE
    case.late_ns += 1
    assert name_of(case.verdict()) == name_of(twin(case)) == reason


def test_rates_count_at_the_verdict():
    case = Case()
    off(case, "limits.orders_per_s", 1)
    off(case, "limits.max_intent_age_ns", 10 * 10**9)
    off(case, "limits.max_book_age_ns", 10 * 10**9)
    case.send(NOW + 3 * 10**9)
    case.late_ns = 3 * 10**9
    assert name_of(case.verdict()) == "rate_per_s", "an old intent, but an order of this second"
    case.late_ns = 5 * 10**9
    assert case.verdict() == reasons.NONE


def test_book_newer_than_the_intent_is_fresh():
    case = Case()
    off(case, "top.local_ts", NOW + 3600 * 10**9)
    assert case.verdict() == reasons.NONE


def test_value_that_fits_no_int64_is_invalid():
    case = Case()
    off(case, "intent.price", INT64_MAX)
    off(case, "intent.qty", E8)
    assert name_of(case.verdict()) != "invalid_value", "exactly the largest value is legal"
    off(case, "intent.qty", E8 + 1)
    assert name_of(case.verdict()) == "invalid_value"


def test_the_same_order_passes_again_once_its_window_is_over():
    case = Case()
    case.send_alike(WINDOW_NS)
    assert case.verdict() == reasons.NONE
    case.send_alike(WINDOW_NS - 1)
    assert name_of(case.verdict()) == name_of(twin(case)) == "duplicate_order"


@pytest.mark.parametrize(
    "field, value", [("price", 100 * E8 + TICK), ("qty", 2 * E8), ("side", SELL), ("flags", IOC), ("strategy", 2)]
)
def test_an_order_that_differs_in_anything_is_no_repetition(field, value):
    case = Case()
    case.send_alike(0)
    off(case, f"intent.{field}", value)
    assert case.verdict() == reasons.NONE


def test_of_five_orders_of_one_set_the_one_that_is_longest_ago_is_forgotten_and_never_another():
    case = Case()
    for lots in range(1, 4000):
        off(case, "intent.qty", lots * LOT)
        case.send_alike(4000 - lots)
    found = 0
    for lots in range(1, 4000):
        off(case, "intent.qty", lots * LOT)
        case.instrument["min_notional"] = 0
        found += name_of(case.verdict()) == "duplicate_order"
    assert 900 <= found <= 1024, "256 sets of 4, nearly all in use"
    for lots in range(3990, 4000):
        off(case, "intent.qty", lots * LOT)
        assert name_of(case.verdict()) == "duplicate_order", "the newest of all"


def test_an_order_that_makes_no_worst_case_larger_passes_however_much_there_is():
    case = Case(side=SELL)
    off(case, "position.qty", 5 * E8)
    off(case, "worth.gross", 500 * E8)
    for total in ("run", "venue"):
        off(case, f"{total}.gross", 900 * E8)
        off(case, f"{total}.max_gross", 800 * E8)
    assert case.verdict() == reasons.NONE, "the way down is free"
    off(case, "intent.side", BUY)
    assert name_of(case.verdict()) == "gross_notional"


@pytest.mark.parametrize("field, value", [("side", SELL), ("instrument", 1)])
def test_replace_must_name_its_orders_side_and_instrument(field, value):
    case = Case(REPLACE)
    off(case, f"intent.{field}", value)
    assert name_of(case.verdict()) == "invalid_value"


def test_reducing_replace_is_refused_too_while_the_worst_case_is_beyond_the_limit():
    case = Case(REPLACE)
    off(case, "intent.qty", E8 // 2)
    off(case, "position.qty", case["limits.max_position"])
    assert case.verdict() == reasons.NONE, "at the limit"
    off(case, "position.qty", case["limits.max_position"] + 1)
    assert name_of(case.verdict()) == "max_position"


def test_post_only_order_keeps_its_tighter_collar_when_replaced_without_the_flag():
    case = Case(REPLACE, POST_ONLY)
    off(case, "intent.flags", GTC)
    off(case, "intent.price", MID * 1006 // 1000)
    assert name_of(case.verdict()) == "price_collar"


def test_nothing_wraps_at_the_edge_of_int64():
    case = Case()
    for name in ("max_order_qty", "max_market_qty", "max_order_notional", "max_position"):
        off(case, f"limits.{name}", INT64_MAX)
    off(case, "position.qty", INT64_MAX)
    off(case, "position.working_buy", INT64_MAX)
    assert name_of(case.verdict()) == "max_position"
    off(case, "position.qty", -INT64_MAX)
    off(case, "position.working_buy", 0)
    assert name_of(case.verdict()) == "gross_notional", "its value fits no number"
    off(case, "worth.gross", 2**62)
    assert case.verdict() == reasons.NONE


@pytest.mark.parametrize("side", [BUY, SELL])
def test_while_reducing_an_order_passes_that_leaves_the_position_smaller_or_flat_whatever_else_fills(side):
    sign, working = (1, "position.working_buy") if side == BUY else (-1, "position.working_sell")
    case = Case(side=side)
    case.reducing = True
    assert name_of(case.verdict()) == "reducing", "flat: nothing is to be made smaller"
    off(case, "position.qty", -sign * E8)
    assert case.verdict() == reasons.NONE, "to flat"
    off(case, "intent.qty", E8 + LOT)
    assert name_of(case.verdict()) == "reducing", "not round to the other side"
    off(case, "intent.qty", E8 // 2)
    off(case, working, E8 // 2)
    assert case.verdict() == reasons.NONE, "with what works already, just to flat"
    off(case, working, E8 // 2 + 1)
    assert name_of(case.verdict()) == "reducing", "with what works already, beyond"
    off(case, "position.qty", sign * E8)
    off(case, working, 0)
    assert name_of(case.verdict()) == "reducing", "it would make the position larger"


# Agreement with the twin.

EDGES = st.sampled_from([0, 1, -1, INT64_MAX, INT64_MIN, 2**62, -(2**62), E8, TICK, LOT])
AROUND = st.integers(-3, 3)


def near(*centres: int) -> st.SearchStrategy[int]:
    return st.one_of(EDGES, st.builds(lambda c, d: min(c + d, INT64_MAX), st.sampled_from(centres), AROUND))


MUTATIONS = {
    "intent.price": st.one_of(
        near(100 * E8, MID * 101 // 100, MID * 99 // 100), st.integers(9_900, 10_100).map(lambda t: t * TICK)
    ),
    "intent.qty": st.one_of(near(E8, 6 * E8, 10 * E8), st.integers(1, 10**6).map(lambda n: n * LOT)),
    "intent.flags": st.integers(0, 255),
    "intent.side": st.integers(0, 3),
    "intent.local_ts": near(NOW, NOW + 2 * 10**9, NOW + 10**9),
    "intent.instrument": st.integers(0, 1),
    "order.side": st.integers(0, 1),
    "order.flags": st.sampled_from(list(TIF_NAMES)),
    "order.state": st.integers(PENDING_NEW, order_table.REJECTED),
    "order.filled": st.sampled_from([0, LOT, E8 // 2, E8]),
    "order.new_qty": st.sampled_from([0, LOT, 5 * E8]),
    "position.qty": near(19 * E8, -19 * E8, 20 * E8).filter(lambda v: v > INT64_MIN),
    "position.working_buy": near(19 * E8, 20 * E8).filter(lambda v: v >= 0),
    "position.working_sell": near(19 * E8, 20 * E8).filter(lambda v: v >= 0),
    "top.bid": near(BID, ASK),
    "top.ask": near(ASK, BID),
    "top.state": st.integers(0, 2),
    "top.local_ts": near(NOW, NOW - 2 * 10**9),
    "limits.max_order_qty": near(E8),
    "limits.max_market_qty": near(E8),
    "limits.max_order_notional": near(100 * E8, ASK),
    "limits.max_position": near(E8, 20 * E8),
    "limits.collar_e8": st.integers(0, E8),
    "limits.max_intent_age_ns": near(0, 10**9).filter(lambda v: v >= 0),
    "limits.orders_per_s": st.integers(0, 4),
    "limits.orders_per_min": st.integers(0, 4),
    "worth.gross": near(0, 100 * E8, 2000 * E8).filter(lambda v: 0 <= v < 2**61),
    "run.gross": near(0, 10**9 * E8).filter(lambda v: 0 <= v < 2**61),
    "run.max_gross": near(0, 100 * E8, 2000 * E8).filter(lambda v: v >= 0),
    "desk_sum.max_gross": near(100 * E8).filter(lambda v: v >= 0),
    "standing.is_allowed": st.integers(0, 1),
    "standing.is_over": st.integers(0, 1),
    "touch.lowest_sell": near(100 * E8).filter(lambda v: v > 0),
    "touch.highest_buy": near(100 * E8).filter(lambda v: v >= 0),
    "instrument.min_notional": near(MIN_NOTIONAL, 100 * E8).filter(lambda v: v >= 0),
}
MUTATED = st.lists(
    st.sampled_from(sorted(MUTATIONS)).flatmap(lambda path: st.tuples(st.just(path), MUTATIONS[path])), max_size=4
)


@settings(max_examples=200)
@given(
    kind=st.sampled_from([NEW, REPLACE]),
    tif=st.sampled_from(list(TIF_NAMES)),
    side=st.sampled_from([BUY, SELL]),
    changes=MUTATED,
    earlier=st.lists(st.integers(0, 70 * 10**9), max_size=5),
    flags=st.tuples(*[st.sampled_from([False] * 9 + [True])] * 3, st.booleans()),
    late_ns=near(0, 10**9, 2 * 10**9).filter(lambda v: v >= 0),
)
def test_verdict_equals_the_twins(kind, tif, side, changes, earlier, flags, late_ns):
    case = Case(kind, tif, side)
    for age_ns in sorted(earlier, reverse=True):
        case.send(NOW - age_ns)
    case.late_ns = late_ns
    case.halted, case.known, case.reducing = flags[0], not flags[1], flags[3]
    if flags[2]:
        case.has_order = not case.has_order
    for path, value in changes:
        off(case, path, value)
    assert name_of(case.verdict()) == name_of(twin(case))


# Rates.


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 400_000_000), st.booleans()), max_size=120), st.integers(0, 90 * 10**9))
def test_window_never_lets_more_than_the_limit_through_in_any_second(gaps, jump):
    limit, now, sent, rates = 5, NOW, [], record(RATE)
    window = address(rates)
    for index, (gap, _) in enumerate(gaps):
        now += gap // 4 + (jump if index == 60 else 0)
        counted = int(window_count(window, np.int64(now) >> SECOND_SHIFT, SECOND_BEFORE))
        assert counted == sum((now >> 24) - (at >> 24) <= 60 for at in sent)
        if counted < limit:
            window_add(window, np.int64(now) >> SECOND_SHIFT, SECOND_BEFORE)
            sent.append(now)
    for start in sent:
        assert sum(start <= at < start + 10**9 for at in sent) <= limit


@pytest.mark.parametrize("path, period_ns, late_ns", [("s", 10**9, 24_000_000), ("min", 60 * 10**9, 1_300_000_000)])
def test_rate_is_free_again_shortly_after_its_period_and_never_before(path, period_ns, late_ns):
    for offset in range(0, 2 * 10**9, 77_777_777):
        case = Case()
        off(case, f"limits.orders_per_{path}", 1)
        case.send(NOW + offset)
        case.top["local_ts"] = NOW + offset + period_ns
        for delay, wanted in ((period_ns - 1, f"rate_per_{path}"), (period_ns + late_ns, "none")):
            off(case, "intent.local_ts", NOW + offset + delay)
            assert name_of(case.verdict()) == wanted


def test_clock_that_steps_back_frees_nothing():
    case = Case()
    off(case, "limits.orders_per_s", 1)
    case.send(NOW)
    off(case, "intent.local_ts", NOW - 10 * 10**9)
    assert name_of(case.verdict()) == "rate_per_s"


# Limits.


def configured(**changes: object) -> SimpleNamespace:
    values = {
        "max_order_qty": 1, "max_market_order_qty": 2, "max_order_notional": 3, "max_position": 4,
        "collar_bps": Decimal("100"), "post_only_collar_bps": 50, "max_book_age_ms": 2000,
        "max_intent_age_ms": 1000,
        "orders_per_s": 10, "orders_per_min": 200,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def test_limits_row_carries_every_configured_limit():
    row = limits_row(configured())[0]
    names = [n for n in LIMITS.names if n not in ("is_lowered", "most_long", "most_short", "_pad")]
    assert [int(row[n]) for n in names] == [1, 2, 3, 4, 1_000_000, 500_000, 2 * 10**9, 10**9, 10, 200]


@pytest.mark.parametrize("name", ["max_order_qty", "max_market_order_qty", "max_order_notional", "max_position"])
def test_one_missing_size_limit_means_no_order_at_all(name):
    case = Case()
    case.limits = limits_row(configured(**{name: None}))
    assert name_of(case.verdict()) == "no_limit"


def test_fractional_basis_points_are_exact():
    assert limits_row(configured(collar_bps=12.34))["collar_e8"][0] == 123_400


def test_every_legal_replace_state_of_the_order_table_is_the_twins():
    states = [s for s in range(PENDING_NEW, UNKNOWN + 1) if TRANSITIONS[s, order_table.ON_REPLACE_SENT] != 255]
    assert states == [WORKING, order_table.PARTIAL]


def test_order_types_are_those_of_the_record_schema():
    assert set(TIF_NAMES) == {GTC, IOC, FOK, POST_ONLY, MARKET}
