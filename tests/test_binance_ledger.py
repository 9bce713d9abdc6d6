"""Random requests of two accounts in the real matching engine, with its flow: their books balance, whatever happens.

The reference knows what an account started with and what its user data told, and nothing else.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.simulation.binance_server.answers import Answers, Refused
from hftpipe.simulation.binance_server.faults import RestFaults
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.settings import SPOT, USDM, Listing, MarketRules
from hftpipe.simulation.binance_server.weights import Weights
from hftpipe.simulation.flow.state import FLOW
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.symbols import Symbols
from hftpipe.simulation.market_server.trading.accounts import AccountSettings
from hftpipe.simulation.matching.memory import ORDER
from hftpipe.simulation.matching.query import match_order

pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")

E8 = 10**8
BTC = {"symbol": "BTCUSDT"}
START = {"BTC": Decimal(10), "USDT": Decimal(100_000)}
ENDED = ("FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH")


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_ns = self.flow_ns = 1_700_000_000 * 10**9
        self.offset_ns = 0

    def when(self, flow_ns: int) -> int:
        return flow_ns

    def hold(self, flow_ns: int) -> None:
        self.flow_ns = flow_ns


@dataclass(eq=False)
class Reference:
    """One account, from what it was told."""

    market: str
    have: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal, START))
    qty: Decimal = Decimal(0)
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)
    trades: list[int] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    def hear(self, event: dict[str, Any]) -> None:
        kind = event["e"]
        if kind == "outboundAccountPosition":
            self.told |= {one["a"]: (Decimal(one["f"]), Decimal(one["l"])) for one in event["B"]}
        elif kind == "ACCOUNT_UPDATE":
            self.told |= {one["a"]: Decimal(one["wb"]) for one in event["a"]["B"]}
            self.told["qty"] = Decimal(event["a"]["P"][0]["pa"])
        elif kind in ("executionReport", "ORDER_TRADE_UPDATE"):
            self._report(event["o"] if kind == "ORDER_TRADE_UPDATE" else event)

    def _report(self, told: dict[str, Any]) -> None:
        before = self.orders.get(told["i"])
        assert (told["x"] == "NEW") == (before is None)
        if before:
            assert before["X"] not in ENDED, f"{before['X']} and then {told['X']}"
            gained = Decimal(told["z"]) - Decimal(before["z"])
            assert gained == (Decimal(told["l"]) if told["x"] == "TRADE" else 0)
        assert Decimal(told["z"]) <= Decimal(told["q"])
        assert (told["X"] == "FILLED") == (Decimal(told["z"]) == Decimal(told["q"]))
        self.orders[told["i"]] = told
        if told["x"] == "TRADE":
            self._fill(told)

    def _fill(self, told: dict[str, Any]) -> None:
        assert told["t"] not in self.trades and (not self.trades or told["t"] > max(self.trades))
        self.trades.append(told["t"])
        sign, qty = (1 if told["S"] == "BUY" else -1), Decimal(told["l"])
        limit = Decimal(told["p"])
        assert told["o"] == "MARKET" or (limit - Decimal(told["L"])) * sign >= 0
        self.qty += sign * qty
        if self.market == "spot":
            self.have["BTC"] += sign * qty
        self.have["USDT"] -= sign * qty * Decimal(told["L"])
        self.have[told["N"]] -= Decimal(told["n"])

    def open(self) -> list[dict[str, Any]]:
        return [one for one in self.orders.values() if one["X"] not in ENDED]


class Rig:
    """A market with two accounts, and the references beside them."""

    def __init__(self, rules: MarketRules, seed: int, count: int = 2) -> None:
        rows = np.zeros(1, INSTRUMENT)
        rows["symbol"], rows["base"], rows["quote"] = b"BTCUSDT", b"BTC", b"USDT"
        rows["tick"], rows["lot"], rows["min_notional"] = E8 // 100, E8 // 1000, 5 * E8
        rows["reference_price"] = 60_000 * E8
        self.clock: Any = Clock()
        self.market = Market(Listing(rules, rows, np.array([1000.0])), seed, None, self.clock.flow_ns, 10**6, 5000)
        self.feed = Feed(self.market, Symbols(self.market, 5000), self.clock, EventFaults("depth"))
        # Imported here: it needs aiohttp.
        from hftpipe.simulation.binance_server.trading.assembly import trading_of
        from hftpipe.simulation.binance_server.trading.keys import Keys

        have = {name: int(amount * E8) for name, amount in START.items()}
        accounts = tuple(AccountSettings(key=f"key{at}", balances=have) for at in range(count))
        answers = Answers(self.feed, 10**6, 0)
        self.trading = trading_of(
            self.feed, answers, accounts, Keys(accounts), Weights(10**6), RestFaults(), lambda: None, 1000
        )
        self.traders = self.trading.state.traders
        self.references = [Reference(rules.name) for _ in accounts]
        for trader, reference in zip(self.traders, self.references, strict=True):
            trader.events.follow(reference, reference.hear)

    def play(self, ms: int) -> None:
        self.clock.now_ns += ms * 10**6
        self.clock.flow_ns += ms * 10**6
        self.feed.advance()
        self.trading.advance()

    def ask(self, who: int, method: str, **params: object) -> Any:
        """What a request is answered; the code of a refusal."""
        self.clock.now_ns += 11_000_000_000  # So that nobody sends too many orders within ten seconds.
        call = self.trading.methods[method]
        try:
            return call.answer(self.traders[who], {name: str(value) for name, value in (BTC | params).items()})
        except Refused as wrong:
            return wrong.code

    def check(self) -> None:
        """Every account has what its user data says, and its orders are in the book as it says."""
        for trader, reference in zip(self.traders, self.references, strict=True):
            truth = self.trading.truth(trader)
            opened = {one["i"]: Decimal(one["q"]) - Decimal(one["z"]) for one in reference.open()}
            assert opened == {
                one["orderId"]: Decimal(one["origQty"]) - Decimal(one["executedQty"]) for one in truth["openOrders"]
            }
            (self._check_spot if reference.market == "spot" else self._check_usdm)(reference, truth)
            for order in trader.orders.of():
                assert self.in_book(order.id) == (0 if order.is_far else order.left)
        self._check_levels()

    def _check_spot(self, reference: Reference, truth: Any) -> None:
        locked: dict[str, Decimal] = defaultdict(Decimal)
        for one in reference.open():
            left = Decimal(one["q"]) - Decimal(one["z"])
            locked["USDT" if one["S"] == "BUY" else "BTC"] += left * (Decimal(one["p"]) if one["S"] == "BUY" else 1)
        for asset, one in truth["balances"].items():
            free, held = Decimal(one["free"]), Decimal(one["locked"])
            assert held == locked[asset] and free + held == reference.have[asset]
            assert free >= 0 and reference.told.get(asset, (free, held)) == (free, held)

    def _check_usdm(self, reference: Reference, truth: Any) -> None:
        held = truth["positions"].get("BTCUSDT", {"qty": "0", "cost": "0"})
        wallet = Decimal(truth["balances"]["USDT"]["wallet"])
        assert Decimal(held["qty"]) == reference.qty == reference.told.get("qty", reference.qty)
        assert wallet == reference.have["USDT"] + Decimal(held["cost"]) == reference.told.get("USDT", wallet)
        assert bool(reference.qty) or not Decimal(held["cost"])

    def _check_levels(self) -> None:
        """All that is open is part of its level."""
        levels = [dict(self.market.side(0, side, 10_000)) for side in range(2)]
        own: dict[tuple[int, int], int] = defaultdict(int)
        for trader in self.traders:
            for order in trader.orders.of():
                own[order.side, order.asked.price] += order.left
        for (side, price), qty in own.items():
            assert levels[side][price] >= qty

    def in_book(self, id_: int) -> int:
        """What is left in the engine of an order, 0 if it is not there."""
        book = np.uint64(self.market._flows.ctypes.data + FLOW.itemsize)
        address = int(match_order(book, np.uint64(id_)))
        if not address:
            return 0
        offset = address - self.market._flows.ctypes.data
        return int(self.market._flows.reshape(-1)[offset : offset + ORDER.itemsize].view(ORDER)["qty"][0])


WHO = st.integers(0, 1)
LOTS = st.one_of(st.integers(1, 60), st.integers(1, 3000))
TICKS = st.one_of(st.integers(-4, 6), st.integers(-40, 40))
PLACES = st.tuples(
    st.just("place"), WHO, st.sampled_from(["BUY", "SELL"]), LOTS, st.one_of(TICKS, st.sampled_from([-2_000_000, 200_000])),
    st.sampled_from(["GTC", "IOC", "FOK", "POST", "MARKET"]), st.sampled_from(["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"]),
    st.booleans(),
)  # fmt: skip
STEPS = st.one_of(
    PLACES,
    PLACES,
    st.tuples(st.just("cancel"), WHO, st.integers(0, 50)),
    st.tuples(st.just("change"), WHO, st.integers(0, 50), LOTS, TICKS),
    st.tuples(st.just("play"), st.integers(1, 60)),
    st.tuples(st.just("cancel all"), WHO),
)


def place(rig: Rig, rules: MarketRules, step: tuple[Any, ...]) -> Any:
    _, who, side, lots, ticks, life, stp, reduces = step
    bid, _, ask, _ = rig.market.top(0)
    # Distance from the own side's best price: negative rests, positive takes.
    price = (
        max(1, (bid or ask) // (E8 // 100) + ticks) if side == "BUY" else max(1, (ask or bid) // (E8 // 100) - ticks)
    )
    asked: dict[str, object] = {"side": side, "quantity": Decimal(lots) / 1000, "selfTradePreventionMode": stp}
    if life == "MARKET":
        return rig.ask(
            who, "order.place", **asked, type="MARKET", **({"reduceOnly": "true"} if reduces and rules is USDM else {})
        )
    asked |= {"price": Decimal(price) / 100, "type": "LIMIT", "timeInForce": life}
    if life == "POST":
        asked |= {"timeInForce": "GTX"} if rules is USDM else {"type": "LIMIT_MAKER"}
        if rules is SPOT:
            del asked["timeInForce"]
    return rig.ask(who, "order.place", **asked)


def change(rig: Rig, rules: MarketRules, step: tuple[Any, ...]) -> Any:
    _, who, which, lots, ticks = step
    opened = rig.traders[who].orders.of()
    if not opened:
        return None
    order = opened[which % len(opened)]
    if rules is SPOT:
        return rig.ask(who, "order.amend.keepPriority", orderId=order.id, newQty=Decimal(lots) / 1000)
    price = Decimal(order.asked.price // (E8 // 100) + ticks) / 100
    return rig.ask(
        who, "order.modify", orderId=order.id, side=order.side_text, quantity=Decimal(lots) / 1000, price=price
    )


def carry_out(rig: Rig, rules: MarketRules, step: tuple[Any, ...]) -> Any:
    kind = step[0]
    if kind == "play":
        return rig.play(step[1])
    if kind == "place":
        return place(rig, rules, step)
    if kind == "change":
        return change(rig, rules, step)
    opened = rig.traders[step[1]].orders.of()
    if kind == "cancel":
        return rig.ask(step[1], "order.cancel", orderId=opened[step[2] % len(opened)].id) if opened else None
    if rules is SPOT:
        return rig.ask(step[1], "openOrders.cancelAll")
    return [rig.ask(step[1], "order.cancel", orderId=one.id) for one in opened]


@pytest.mark.parametrize("rules", [SPOT, USDM], ids=["spot", "usdm"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(1, 50), steps=st.lists(STEPS, min_size=25, max_size=70))
def test_whatever_accounts_do_their_books_balance(rules: MarketRules, seed: int, steps: list[tuple[Any, ...]]) -> None:
    rig = Rig(rules, seed)
    for step in steps:
        carry_out(rig, rules, step)
        rig.check()
    rig.play(500)
    rig.check()


@pytest.mark.parametrize("rules", [SPOT, USDM], ids=["spot", "usdm"])
def test_what_two_accounts_trade_with_each_other_is_told_to_both(rules: MarketRules) -> None:
    rig = Rig(rules, 3)
    bid, _, ask, _ = rig.market.top(0)
    price = Decimal((bid + ask) // 2 // (E8 // 100)) / 100
    rests = rig.ask(0, "order.place", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.5", price=price)
    takes = rig.ask(1, "order.place", side="SELL", type="LIMIT", timeInForce="IOC", quantity="0.2", price=price)
    rig.check()
    assert rig.references[0].trades == rig.references[1].trades and len(rig.references[0].trades) == 1
    assert rig.references[0].orders[rests["orderId"]]["m"] and not rig.references[1].orders[takes["orderId"]]["m"]


def test_an_order_with_more_executions_than_the_book_can_tell_of_is_executed_so_far_and_expires() -> None:
    rig = Rig(USDM, 4, 7)
    ask = Decimal(rig.market.top(0)[2]) / E8
    for who in range(6):
        for at in range(200):
            made = rig.ask(
                who,
                "order.place",
                side="SELL",
                type="LIMIT",
                timeInForce="GTC",
                quantity="0.001",
                price=ask + Decimal(at) / 100,
            )
            assert isinstance(made, dict)
    made = rig.ask(6, "order.place", side="BUY", type="MARKET", quantity="30", newOrderRespType="RESULT")
    assert made["status"] == "EXPIRED" and len(rig.references[6].trades) == 1022
    rig.check()


def test_a_level_that_the_flow_and_a_far_order_share_is_told_whole() -> None:
    rig = Rig(SPOT, 5)
    rig.market._far[0, 0][rig.market.top(0)[0]] = 7 * E8
    bid, qty, _, _ = rig.market.top(0)
    assert rig.market.side(0, 0, 1) == [(bid, qty + 7 * E8)] and rig.market.far_qty(0, 0, bid) == 7 * E8


def test_the_check_of_the_books_can_fail() -> None:
    rig = Rig(SPOT, 1)
    rig.ask(0, "order.place", side="BUY", type="MARKET", quantity="0.1")
    rig.check()
    rig.traders[0].ledger.free["USDT"] += 1
    with pytest.raises(AssertionError):
        rig.check()


def test_random_steps_do_something() -> None:
    """Or the test above proves nothing."""
    rng, kinds = np.random.default_rng(1), defaultdict[str, int](int)
    rig = Rig(SPOT, 2)
    for _ in range(200):
        side, life = rng.choice(["BUY", "SELL"]), rng.choice(["GTC", "IOC", "FOK", "POST", "MARKET"])
        place(
            rig,
            SPOT,
            (
                "place",
                int(rng.integers(2)),
                side,
                int(rng.integers(1, 500)),
                int(rng.integers(-40, 40)),
                life,
                "EXPIRE_MAKER",
                False,
            ),
        )
        rig.play(20)
    for reference in rig.references:
        for one in reference.orders.values():
            kinds[one["X"]] += 1
            kinds["maker"] += bool(one["m"])
    assert all(kinds[name] > 3 for name in ("FILLED", "EXPIRED", "maker")), dict(kinds)
