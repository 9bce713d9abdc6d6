"""What accounts have on the simulated Bybit venue, whatever they do: against a slow reference that is told what they are told.

One account for both categories: what the events of its private topics say it has, and has open, is what it has, at every step; its
coins are what they were at the start and what its executions say; every open order is in the engine with what is left of it.
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
from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.settings import LINEAR, SPOT
from hftpipe.simulation.flow.state import FLOW
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.symbols import Symbols
from hftpipe.simulation.market_server.trading.accounts import AccountSettings
from hftpipe.simulation.matching.memory import ORDER
from hftpipe.simulation.matching.query import match_order

pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")

E8 = 10**8
CATEGORIES = ("spot", "linear")
START = {"BTC": Decimal(10), "USDT": Decimal(100_000)}
OPEN = ("New", "PartiallyFilled")
ENDED = ("Filled", "Cancelled", "PartiallyFilledCanceled")


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_ns = self.flow_ns = self.start_ns = 1_700_000_000 * 10**9
        self.offset_ns = 0

    def when(self, flow_ns: int) -> int:
        return flow_ns

    def hold(self, flow_ns: int) -> None:
        self.flow_ns = flow_ns


@dataclass(eq=False)
class Reference:
    """One account, from what its private topics told."""

    have: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal, START))
    qty: Decimal = Decimal(0)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    filled: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    coins: dict[str, dict[str, Any]] = field(default_factory=dict)
    size: Decimal = Decimal(0)

    def hear(self, event: dict[str, Any]) -> None:
        hears = {"order": self._order, "execution": self._execution, "position": self._position, "wallet": self._wallet}
        for row in event["data"]:
            hears[event["topic"]](row)

    def _order(self, row: dict[str, Any]) -> None:
        before, done = self.orders.get(row["orderId"]), Decimal(row["cumExecQty"])
        if before:
            assert before["orderStatus"] in OPEN, f"{before['orderStatus']} and then {row['orderStatus']}"
            assert done >= Decimal(before["cumExecQty"])
        assert row["orderStatus"] in OPEN + ENDED
        is_by_quote = row.get("marketUnit") == "quoteCoin"
        if not is_by_quote:
            assert done <= Decimal(row["qty"])
            assert (row["orderStatus"] == "Filled") == (done == Decimal(row["qty"]))
        if row["orderStatus"] in OPEN:
            assert Decimal(row["leavesQty"]) == Decimal(row["qty"]) - done
        self.orders[row["orderId"]] = row

    def _execution(self, row: dict[str, Any]) -> None:
        assert row["execId"] not in self.executions
        self.executions[row["execId"]] = row
        self.filled[row["orderId"]] += Decimal(row["execQty"])
        sign, qty = (1 if row["side"] == "Buy" else -1), Decimal(row["execQty"])
        assert row["orderType"] == "Market" or (Decimal(row["orderPrice"]) - Decimal(row["execPrice"])) * sign >= 0
        value = Decimal(row["execValue"])
        assert abs(value - qty * Decimal(row["execPrice"])) < Decimal("1e-7")
        if row["category"] == "spot":
            self.have["BTC"] += sign * qty
            self.have[row["feeCurrency"]] -= Decimal(row["execFee"])
        else:
            assert Decimal(row["closedSize"]) == (min(qty, abs(self.qty)) if self.qty * sign < 0 else 0)
            self.qty += sign * qty
            self.have["USDT"] -= Decimal(row["execFee"])
        self.have["USDT"] -= sign * value

    def _position(self, row: dict[str, Any]) -> None:
        self.size = Decimal(row["size"]) * (-1 if row["side"] == "Sell" else 1)

    def _wallet(self, row: dict[str, Any]) -> None:
        self.coins |= {one["coin"]: one for one in row["coin"]}

    def open(self) -> list[dict[str, Any]]:
        return [one for one in self.orders.values() if one["orderStatus"] in OPEN]


class Rig:
    """A venue with accounts in both categories, and the references beside them."""

    def __init__(self, seed: int, count: int = 2) -> None:
        self.clock: Any = Clock()
        self.feeds = {rules.name: self._feed(rules, seed + at) for at, rules in enumerate((SPOT, LINEAR))}
        # Imported here: it needs aiohttp.
        from hftpipe.simulation.bybit_server.trading.assembly import trading_of
        from hftpipe.simulation.bybit_server.trading.keys import Keys

        have = {name: int(amount * E8) for name, amount in START.items()}
        accounts = tuple(AccountSettings(key=f"key{at}", balances=have) for at in range(count))
        faults = {name: RequestFaults() for name in self.feeds}
        self.trading = trading_of(
            self.feeds, accounts, Keys(accounts), faults, lambda account: (), lambda: None, 1000
        )  # fmt: skip
        self.accounts = self.trading.state.accounts
        self.references = [Reference() for _ in accounts]
        for account, reference in zip(self.accounts, self.references, strict=True):
            account.events.follow(reference, reference.hear)

    def _feed(self, rules: Any, seed: int) -> Feed:
        rows = np.zeros(1, INSTRUMENT)
        rows["symbol"], rows["base"], rows["quote"] = b"BTCUSDT", b"BTC", b"USDT"
        rows["tick"], rows["lot"], rows["min_notional"] = E8 // 100, E8 // 1000, 5 * E8
        rows["reference_price"] = 60_000 * E8
        market = Market(Listing(rules, rows, np.array([1000.0])), seed, None, self.clock.flow_ns, 10**6, 5000)
        return Feed(market, Symbols(market, 5000), self.clock, EventFaults("book"))

    def play(self, ms: int) -> None:
        self.clock.now_ns += ms * 10**6
        self.clock.flow_ns += ms * 10**6
        for feed in self.feeds.values():
            feed.advance()
        self.trading.advance()

    def ask(self, who: int, op: str, category: str, **params: object) -> Any:
        """What a request is answered; the code of a refusal."""
        given = {"category": category, "symbol": "BTCUSDT"} | params
        try:
            return self.trading.rest["POST", f"/v5/order/{op}"].answer(self.accounts[who], given)
        except Refused as wrong:
            return wrong.code

    def check(self) -> None:
        """Every account has what its topics say, and its orders are in the books as they say."""
        for account, reference in zip(self.accounts, self.references, strict=True):
            truth = self.trading.truth(account)
            rows = [row for name in CATEGORIES for row in truth[name]["openOrders"]]
            assert {one["orderId"]: one for one in rows} == {one["orderId"]: one for one in reference.open()}
            for one in reference.orders.values():
                assert reference.filled[one["orderId"]] == Decimal(one["cumExecQty"])
            self._check_coins(reference, truth)
            for name in CATEGORIES:
                for order in account.clients[name].orders.of():
                    assert self.in_book(name, order.id) == (0 if order.is_far else order.left)
            assert account.available("USDT") >= 0
        self._check_levels()

    @staticmethod
    def _check_coins(reference: Reference, truth: Any) -> None:
        held = truth["positions"].get("BTCUSDT", {"qty": "0", "cost": "0"})
        assert Decimal(held["qty"]) == reference.qty == reference.size
        assert bool(reference.qty) or not Decimal(held["cost"])
        locked: dict[str, Decimal] = defaultdict(Decimal)
        for one in reference.open():
            if one["category"] == "spot":
                left = Decimal(one["leavesQty"])
                is_buy = one["side"] == "Buy"
                locked["USDT" if is_buy else "BTC"] += left * (Decimal(one["price"]) if is_buy else 1)
        for coin, one in truth["coins"].items():
            cost = Decimal(held["cost"]) if coin == "USDT" else 0
            assert Decimal(one["wallet"]) == reference.have[coin] + cost, coin
            assert Decimal(one["locked"]) == locked[coin]
            told = reference.coins.get(coin)
            assert not told or (told["walletBalance"], told["locked"]) == (one["wallet"], one["locked"])

    def _check_levels(self) -> None:
        """All that is open is part of its level."""
        for name, feed in self.feeds.items():
            levels = [dict(feed.market.side(0, side, 10_000)) for side in range(2)]
            own: dict[tuple[int, int], int] = defaultdict(int)
            for account in self.accounts:
                for order in account.clients[name].orders.of():
                    own[order.side, order.asked.price] += order.left
            assert all(levels[side][price] >= qty for (side, price), qty in own.items())

    def in_book(self, category: str, id_: int) -> int:
        """What is left in the engine of an order, 0 if it is not there."""
        flows = self.feeds[category].market._flows
        address = int(match_order(np.uint64(flows.ctypes.data + FLOW.itemsize), np.uint64(id_)))
        if not address:
            return 0
        offset = address - flows.ctypes.data
        return int(flows.reshape(-1)[offset : offset + ORDER.itemsize].view(ORDER)["qty"][0])


WHO, WHERE = st.integers(0, 1), st.sampled_from(CATEGORIES)
LOTS = st.one_of(st.integers(1, 60), st.integers(1, 3000))
TICKS = st.one_of(st.integers(-4, 6), st.integers(-40, 40))
SMPS = st.sampled_from(["None", "CancelMaker", "CancelTaker", "CancelBoth"])
LIVES = st.sampled_from(["GTC", "IOC", "FOK", "PostOnly", "Market"])
PLACES = st.tuples(
    st.just("create"), WHO, WHERE, st.sampled_from(["Buy", "Sell"]), LOTS,
    st.one_of(TICKS, st.sampled_from([-200_000, 400_000])), LIVES, SMPS, st.booleans(),
)  # fmt: skip
STEPS = st.one_of(
    PLACES,
    PLACES,
    st.tuples(st.just("cancel"), WHO, WHERE, st.integers(0, 50)),
    st.tuples(st.just("amend"), WHO, WHERE, st.integers(0, 50), LOTS, TICKS),
    st.tuples(st.just("play"), st.integers(1, 60)),
    st.tuples(st.just("cancel-all"), WHO, WHERE),
)


def create(rig: Rig, step: tuple[Any, ...]) -> Any:
    _, who, where, side, lots, ticks, life, smp, flag = step
    bid, _, ask, _ = rig.feeds[where].market.top(0)
    cent = E8 // 100
    # Distance from the own side's best price: negative rests, positive takes.
    price = max(1, (bid or ask) // cent + ticks) if side == "Buy" else max(1, (ask or bid) // cent - ticks)
    asked: dict[str, object] = {"side": side, "qty": str(Decimal(lots) / 1000), "smpType": smp}
    if where == "linear":
        asked["reduceOnly"] = flag
    if life == "Market":
        unit = {"marketUnit": "quoteCoin" if flag else "baseCoin"} if where == "spot" else {}
        qty = {"qty": str(lots)} if flag and where == "spot" else {}
        return rig.ask(who, "create", where, **asked | {"orderType": "Market"} | unit | qty)
    return rig.ask(
        who, "create", where, **asked, orderType="Limit", timeInForce=life, price=str(Decimal(price) / 100)
    )  # fmt: skip


def carry_out(rig: Rig, step: tuple[Any, ...]) -> Any:
    kind = step[0]
    if kind == "play":
        return rig.play(step[1])
    if kind == "create":
        return create(rig, step)
    _, who, where, *rest = step
    if kind == "cancel-all":
        return rig.ask(who, "cancel-all", where)
    opened = [one for one in rig.references[who].open() if one["category"] == where]
    if not opened:
        return None
    order = opened[rest[0] % len(opened)]
    if kind == "cancel":
        return rig.ask(who, "cancel", where, orderId=order["orderId"])
    price = Decimal(order["price"]) + Decimal(rest[2]) / 100
    return rig.ask(
        who, "amend", where, orderId=order["orderId"], qty=str(Decimal(rest[1]) / 1000), price=str(price)
    )  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(1, 50), steps=st.lists(STEPS, min_size=25, max_size=70))
def test_whatever_accounts_do_their_books_balance(seed: int, steps: list[tuple[Any, ...]]) -> None:
    rig = Rig(seed)
    for step in steps:
        carry_out(rig, step)
        rig.check()
    rig.play(500)
    rig.check()


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_two_accounts_trade_with_each_other_is_told_to_both(category: str) -> None:
    rig = Rig(3)
    bid, _, ask, _ = rig.feeds[category].market.top(0)
    given_ = {"orderType": "Limit", "price": str(Decimal((bid + ask) // 2 // (E8 // 100)) / 100)}
    rests = rig.ask(0, "create", category, side="Buy", qty="0.5", **given_)["orderId"]
    takes = rig.ask(1, "create", category, side="Sell", qty="0.2", timeInForce="IOC", **given_)["orderId"]
    rig.check()
    maker, taker = ([*one.executions.values()] for one in rig.references)
    assert [one["execId"] for one in maker] == [one["execId"] for one in taker] and len(maker) == 1
    assert (maker[0]["orderId"], maker[0]["isMaker"], taker[0]["orderId"], taker[0]["isMaker"]) == (
        rests,
        True,
        takes,
        False,
    )


def test_an_order_with_more_executions_than_the_book_can_tell_of_is_executed_so_far_and_ends() -> None:
    rig = Rig(4, 4)
    ask = Decimal(rig.feeds["linear"].market.top(0)[2]) / E8
    given_: dict[str, Any] = {"side": "Sell", "orderType": "Limit", "qty": "0.001"}
    for who in range(3):
        for at in range(450):
            assert isinstance(rig.ask(who, "create", "linear", **given_, price=str(ask + Decimal(at) / 100)), dict)
    rig.accounts[3].margin.position(0).leverage = 100
    made = rig.ask(3, "create", "linear", side="Buy", orderType="Market", qty="40")
    row = rig.references[3].orders[made["orderId"]]
    assert (row["orderStatus"], row["rejectReason"]) == ("Cancelled", "EC_Others")
    assert len(rig.references[3].executions) == 1022
    rig.check()


def test_the_check_of_the_books_can_fail() -> None:
    rig = Rig(1)
    rig.ask(0, "create", "spot", side="Buy", orderType="Market", marketUnit="baseCoin", qty="0.1")
    rig.check()
    rig.accounts[0].spot.free["USDT"] += 1
    with pytest.raises(AssertionError):
        rig.check()


def test_random_steps_do_something() -> None:
    """Or the test above proves nothing."""
    rng, kinds = np.random.default_rng(1), defaultdict[str, int](int)
    rig = Rig(2)
    for _ in range(400):
        where, side = rng.choice(CATEGORIES), rng.choice(["Buy", "Sell"])
        life = rng.choice(["GTC", "IOC", "FOK", "PostOnly", "Market"])
        lots, ticks = int(rng.integers(1, 500)), int(rng.integers(-40, 40))
        create(
            rig, ("create", int(rng.integers(2)), where, side, lots, ticks, life, "CancelMaker", bool(rng.integers(2)))
        )
        rig.play(20)
    for reference in rig.references:
        for one in reference.orders.values():
            kinds[one["orderStatus"]] += 1
            kinds[one["rejectReason"]] += 1
            kinds["reduces"] += bool(one["reduceOnly"])
        for one in reference.executions.values():
            kinds["maker"] += one["isMaker"]
    wanted = (
        *ENDED,
        "maker",
        "reduces",
        "EC_PostOnlyWillTakeLiquidity",
        "EC_CancelForNoFullFill",
        "EC_NoImmediateQtyToFill",
    )
    assert all(kinds[name] > 3 for name in wanted), dict(kinds)
    rig.check()
