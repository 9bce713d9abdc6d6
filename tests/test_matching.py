"""Promises of the matching engine: price-time priority, the case table, and memory that refuses before it breaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import Book as Reference
from memory import address, aligned

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import ASK, BID, BUY, FOK, GTC, IOC, MARKET, POST_ONLY, SELL
from hftpipe.simulation.matching import engine as matching
from hftpipe.simulation.matching import query as matching_query
from hftpipe.simulation.matching.engine import STP_CANCEL_MAKER, STP_CANCEL_TAKER, STP_NONE
from hftpipe.simulation.matching.memory import (
    ADD,
    CANCEL,
    DELETE,
    EVENT,
    EXECUTE,
    EXPIRE,
    HEADER_BYTES,
    MATCHING,
    MAX_EVENTS,
    ORDER,
    REPLACE,
)

TICK, LOT, CENTRE = 10, 5, 100_000
WINDOW = 4096
FIELDS = (
    "kind", "order_id", "maker_id", "price", "old_price", "qty", "leaves", "match_id",
    "owner", "maker_owner", "side", "reason",
)  # fmt: skip
I = np.int64  # noqa: E741


class Engine:
    """The jitted book behind Python calls."""

    def __init__(self, max_orders: int = 1000, window: int = WINDOW) -> None:
        self.memory = aligned(matching.matching_bytes(max_orders, window))
        matching.matching_init(self.memory, TICK, LOT, CENTRE, max_orders, window)
        self.address = address(self.memory)
        self.header = self.memory[:HEADER_BYTES].view(MATCHING)[0]

    def new(self, id_, owner, side, price, qty, tif=GTC, stp=STP_NONE) -> int:
        return matching.match_new(self.address, np.uint64(id_), I(owner), I(side), I(price), I(qty), I(tif), I(stp))

    def cancel(self, id_) -> int:
        return matching.match_cancel(self.address, np.uint64(id_))

    def reduce(self, id_, by) -> int:
        return matching.match_reduce(self.address, np.uint64(id_), I(by))

    def replace(self, id_, new_id, price, qty) -> int:
        return matching.match_replace(self.address, np.uint64(id_), np.uint64(new_id), I(price), I(qty))

    def best(self, side) -> tuple[int, int]:
        return matching_query.match_best(self.address, I(side))

    def qty_at(self, side, price) -> int:
        return matching_query.match_level_qty(self.address, I(side), I(price))

    def levels(self, side) -> dict[int, int]:
        """All levels, best first."""
        result, (price, qty) = {}, self.best(side)
        while qty:
            result[price] = qty
            price, qty = matching_query.match_next_level(self.address, I(side), I(price))
        return result

    def drain(self) -> list[tuple[int, ...]]:
        """Events since the last call, as the reference writes them."""
        start = int(self.header["events_at"])
        count = matching.match_event_count(self.address)
        events = self.memory[start : start + count * EVENT.itemsize].view(EVENT)
        result = [tuple(int(e[name]) for name in FIELDS) for e in events]
        matching.match_events_clear(self.address)
        return result

    def kinds(self) -> list[int]:
        return [event[0] for event in self.drain()]


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_records_have_the_sizes_their_addresses_assume():
    assert (MATCHING.itemsize, EVENT.itemsize, ORDER.itemsize) == (256, 72, 64)


@pytest.mark.parametrize(("orders", "window"), [(0, 4096), (10, 4095), (10, 2048), (1 << 31, 4096)])
def test_sizes_that_make_no_book_are_refused(orders, window):
    with pytest.raises(ValueError, match=r"max_orders|window_ticks"):
        matching.matching_bytes(orders, window)


# --- against the slow twin ---

IDS, PRICES, QTYS = st.integers(0, 12), st.integers(-1, 12), st.integers(-1, 9)
NEW = st.tuples(
    st.just("new"), IDS, st.integers(1, 3), st.integers(0, 1), PRICES, QTYS, st.integers(0, 4), st.integers(0, 2)
)
CHANGE = st.one_of(
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.just("reduce"), IDS, QTYS),
    st.tuples(st.just("replace"), IDS, IDS, PRICES, QTYS),
)
ODD = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1])


def scaled(name: str, arguments: tuple[int, ...], odd: int) -> tuple[int, ...]:
    """Small numbers to prices and quantities, now and then off the grid."""
    price, qty = {"new": (3, 4), "replace": (2, 3), "reduce": (None, 1), "cancel": (None, None)}[name]
    values = list(arguments)
    if price is not None:
        values[price] = 99_900 + values[price] * TICK + odd if values[price] >= 0 else values[price]
    if qty is not None:
        values[qty] = values[qty] * LOT + odd
    return tuple(values)


@given(st.lists(st.tuples(st.one_of(NEW, NEW, CHANGE), ODD), max_size=60))
@settings(max_examples=200, deadline=None)
def test_every_event_and_level_is_the_slow_twins(operations):
    fast, slow = Engine(), Reference(TICK, LOT)
    for (name, *arguments), odd in operations:
        values = scaled(name, tuple(arguments), odd)
        assert getattr(fast, name)(*values) == getattr(slow, name)(*values), (name, values)
        assert fast.drain() == slow.events, (name, values)
        slow.events.clear()
        for side in (BID, ASK):
            levels = slow.levels(side)
            assert fast.best(side) == slow.best(side)
            assert fast.levels(side) == levels
            assert all(fast.qty_at(side, p) == levels.get(p, 0) for p in range(99_900, 100_030, TICK))
    assert int(fast.header["side_orders"].sum()) == len(slow.queue)


class Feed:
    """An order-by-order consumer: what it knows of the book comes from events alone."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}
        self.added = self.executed = self.removed = 0

    def apply(self, event: tuple[int, ...]) -> None:
        kind, id_, maker, price, old_price, qty, leaves, side = *event[:7], event[10]
        if kind == ADD:
            self.orders[id_] = [side, price, qty]
            self.added += qty
        elif kind == EXECUTE:
            order = self.orders[maker]
            assert order[:2] == [1 - side, price]
            self.shrink(maker, qty, leaves)
            self.executed += qty
        elif kind in (CANCEL, DELETE):
            self.shrink(id_, qty, leaves)
            self.removed += qty
        elif kind == REPLACE:
            before = self.orders.pop(maker)
            assert before[:2] == [side, old_price]
            self.orders[id_] = [side, price, qty]
            self.added += qty - before[2]

    def shrink(self, id_: int, qty: int, leaves: int) -> None:
        self.orders[id_][2] -= qty
        assert self.orders[id_][2] == leaves
        if leaves == 0:
            del self.orders[id_]

    def levels(self, side: int) -> dict[int, int]:
        result: dict[int, int] = {}
        for at, price, qty in self.orders.values():
            if at == side:
                result[price] = result.get(price, 0) + qty
        return result


@pytest.mark.parametrize("seed", [1, 2])
def test_events_alone_rebuild_the_book_and_no_quantity_is_lost(seed):
    rng, engine, feed = np.random.default_rng(seed), Engine(), Feed()
    for n in range(1, 8001):
        pick = rng.random()
        known = int(rng.integers(max(1, n - 200), n + 1))
        price, qty = CENTRE + TICK * int(rng.normal(0, 12)), LOT * int(rng.integers(1, 40))
        if pick < 0.55:
            engine.new(n, n % 7, int(rng.integers(0, 2)), price, qty, int(rng.integers(0, 5)), int(rng.integers(0, 3)))
        elif pick < 0.8:
            engine.cancel(known)
        elif pick < 0.9:
            engine.reduce(known, qty)
        else:
            engine.replace(known, n if pick < 0.95 else known, price, qty)
        for event in engine.drain():
            feed.apply(event)
        bid, ask = engine.best(BID)[0], engine.best(ASK)[0]
        assert bid == 0 or ask == 0 or bid < ask
        if n % 100 == 0:
            assert {side: engine.levels(side) for side in (0, 1)} == {side: feed.levels(side) for side in (0, 1)}
    assert feed.added == feed.executed + feed.removed + sum(order[2] for order in feed.orders.values())
    assert feed.executed > 0 and len(feed.orders) == engine.header["side_orders"].sum()


# --- priority ---


def test_first_come_is_first_served_within_a_price(engine):
    for id_ in (1, 2, 3):
        engine.new(id_, id_, BUY, CENTRE, 10)
    engine.drain()
    engine.new(9, 9, SELL, CENTRE, 25, IOC)
    assert [(e[2], e[5], e[6]) for e in engine.drain()] == [(1, 10, 0), (2, 10, 0), (3, 5, 5)]


def test_better_price_goes_before_earlier_time(engine):
    engine.new(1, 1, SELL, CENTRE + TICK, 10)
    engine.new(2, 1, SELL, CENTRE, 10)
    engine.drain()
    engine.new(9, 9, BUY, CENTRE + TICK, 20)
    assert [(e[2], e[3]) for e in engine.drain()] == [(2, CENTRE), (1, CENTRE + TICK)]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda e: e.replace(1, 1, CENTRE, 5), 1),
        (lambda e: e.reduce(1, 5), 1),
        (lambda e: e.replace(1, 1, CENTRE, 10), 1),
        (lambda e: e.replace(1, 1, CENTRE, 15), 2),
        (lambda e: e.replace(1, 7, CENTRE, 10), 2),
        (lambda e: (e.replace(1, 1, CENTRE - TICK, 10), e.replace(1, 1, CENTRE, 10)), 2),
    ],
    ids=["size down", "reduce", "nothing changed", "size up", "new id", "price away and back"],
)
def test_only_a_smaller_size_keeps_its_place(engine, change, first):
    engine.new(1, 1, BUY, CENTRE, 10)
    engine.new(2, 2, BUY, CENTRE, 10)
    change(engine)
    engine.drain()
    engine.new(9, 9, SELL, CENTRE, 5, IOC)
    assert engine.drain()[0][2] == first


# --- order types ---


def test_taker_walks_levels_at_each_makers_price_and_the_rest_rests(engine):
    engine.new(1, 1, SELL, CENTRE, 10)
    engine.new(2, 1, SELL, CENTRE + TICK, 10)
    engine.drain()
    assert engine.new(9, 9, BUY, CENTRE + TICK, 50) == reasons.NONE
    assert [(e[0], e[3], e[5]) for e in engine.drain()] == [
        (EXECUTE, CENTRE, 10),
        (EXECUTE, CENTRE + TICK, 10),
        (ADD, CENTRE + TICK, 30),
    ]
    assert engine.best(BID) == (CENTRE + TICK, 30) and engine.best(ASK) == (0, 0)


def test_fok_is_all_or_nothing(engine):
    engine.new(1, 1, SELL, CENTRE, 10)
    engine.drain()
    assert engine.new(2, 2, BUY, CENTRE, 15, FOK) == reasons.FOK_UNFILLABLE
    assert engine.kinds() == [EXPIRE] and engine.best(ASK) == (CENTRE, 10)
    assert engine.new(3, 2, BUY, CENTRE, 10, FOK) == reasons.NONE
    assert engine.kinds() == [EXECUTE] and engine.best(ASK) == (0, 0)


def test_post_only_that_would_take_is_refused_and_nothing_changes(engine):
    engine.new(1, 1, SELL, CENTRE, 10)
    engine.drain()
    assert engine.new(2, 2, BUY, CENTRE, 10, POST_ONLY) == reasons.POST_ONLY_WOULD_TAKE
    assert engine.drain() == [] and engine.best(ASK) == (CENTRE, 10)
    assert engine.new(3, 2, BUY, CENTRE - TICK, 10, POST_ONLY) == reasons.NONE
    assert engine.replace(3, 3, CENTRE, 10) == reasons.POST_ONLY_WOULD_TAKE
    assert engine.best(BID) == (CENTRE - TICK, 10)


def test_market_order_says_whether_it_found_anything(engine):
    assert engine.new(1, 1, BUY, 0, 10, MARKET) == reasons.NO_LIQUIDITY
    engine.new(2, 2, SELL, CENTRE, 5)
    assert engine.new(3, 1, BUY, 0, 10, MARKET) == reasons.IOC_REMAINDER


def test_amend_below_what_is_filled_ends_the_order(engine):
    engine.new(1, 1, BUY, CENTRE, 25)
    engine.new(2, 2, SELL, CENTRE, 10)
    engine.drain()
    assert engine.replace(1, 1, CENTRE, 15) == reasons.NONE
    assert engine.best(BID) == (CENTRE, 5)
    assert engine.replace(1, 1, CENTRE, 10) == reasons.AMEND_BELOW_FILLED
    assert engine.best(BID) == (0, 0) and engine.kinds() == [CANCEL, DELETE]


# --- self-trade prevention ---


def test_cancel_maker_removes_own_orders_and_trades_on(engine):
    engine.new(1, 7, SELL, CENTRE, 10)
    engine.new(2, 8, SELL, CENTRE, 10)
    engine.drain()
    assert engine.new(3, 7, BUY, CENTRE, 10, GTC, STP_CANCEL_MAKER) == reasons.NONE
    events = engine.drain()
    assert [(e[0], e[11]) for e in events] == [(DELETE, reasons.SELF_TRADE), (EXECUTE, 0)] and events[1][2] == 2


def test_cancel_taker_ends_the_incoming_order_at_its_own(engine):
    engine.new(1, 8, SELL, CENTRE, 10)
    engine.new(2, 7, SELL, CENTRE, 10)
    engine.drain()
    assert engine.new(3, 7, BUY, CENTRE, 15, GTC, STP_CANCEL_TAKER) == reasons.SELF_TRADE
    assert [(e[0], e[5]) for e in engine.drain()] == [(EXECUTE, 10), (EXPIRE, 5)]
    assert engine.best(ASK) == (CENTRE, 10)


def test_fok_does_not_count_own_orders_that_it_may_not_trade_with(engine):
    engine.new(1, 7, SELL, CENTRE, 10)
    engine.new(2, 8, SELL, CENTRE, 10)
    engine.drain()
    for id_, stp in ((3, STP_CANCEL_MAKER), (4, STP_CANCEL_TAKER)):
        assert engine.new(id_, 7, BUY, CENTRE, 15, FOK, stp) == reasons.FOK_UNFILLABLE
    assert engine.best(ASK) == (CENTRE, 20)


# --- limits of the memory ---


def test_full_pool_refuses_and_stays_whole():
    engine = Engine(max_orders=8)
    for id_ in range(1, 9):
        assert engine.new(id_, 1, BUY, CENTRE - id_ * TICK, 10) == reasons.NONE
    before = engine.levels(BID)
    assert engine.new(9, 1, BUY, CENTRE, 10) == reasons.VENUE_BUSY
    assert engine.new(9, 1, SELL, CENTRE, 10, IOC) == reasons.IOC_REMAINDER
    assert engine.levels(BID) == before and engine.header["refused"] == 1
    assert engine.cancel(4) == reasons.NONE and engine.new(9, 1, BUY, CENTRE, 10) == reasons.NONE
    engine.drain()
    engine.new(10, 2, SELL, CENTRE - 8 * TICK, 80, IOC)
    assert [e[2] for e in engine.drain()] == [9, 1, 2, 3, 5, 6, 7, 8]
    assert engine.levels(BID) == {} and engine.header["side_orders"].tolist() == [0, 0]


def test_order_that_meets_too_many_makers_is_cut_and_never_rests_crossed():
    engine = Engine(max_orders=2000)
    for id_ in range(1, 1501):
        engine.new(id_, 1, SELL, CENTRE, 5)
        engine.drain()
    assert engine.new(5000, 2, BUY, CENTRE, 1500 * 5) == reasons.VENUE_BUSY
    kinds = engine.kinds()
    assert len(kinds) <= MAX_EVENTS and kinds[-1] == EXPIRE and engine.best(BID) == (0, 0)
    assert engine.best(ASK) == (CENTRE, (1500 - kinds.count(EXECUTE)) * 5)


def test_events_that_nobody_reads_stop_the_book_rather_than_overflow(engine):
    results = [engine.new(id_, 1, BUY, CENTRE, 5) for id_ in range(1, 1001)]
    results += [engine.cancel(id_) for id_ in range(1, 101)]
    assert results.count(reasons.NONE) == len(engine.drain()) <= MAX_EVENTS
    assert results[-1] == reasons.VENUE_BUSY and engine.cancel(1000) == reasons.NONE


def test_window_follows_the_market_with_every_order_in_place(engine):
    base = int(engine.header["base_tick"])
    for n in range(1, 5001):
        engine.new(n, 1, BUY, CENTRE + n * TICK, 5 * n)
        assert engine.best(BID) == (CENTRE + n * TICK, 5 * n)
        if n > 50:
            engine.cancel(n - 50)
        engine.drain()
    assert engine.header["recentred"] > 0 and engine.header["base_tick"] > base
    assert engine.levels(BID) == {CENTRE + n * TICK: 5 * n for n in range(5000, 4950, -1)}
    engine.new(9000, 2, SELL, CENTRE, 10**7, IOC)
    assert [e[2] for e in engine.drain()][:50] == list(range(5000, 4950, -1))


def test_window_follows_the_market_down_too(engine):
    for n in range(1, 5001):
        engine.new(n, 1, SELL, CENTRE - n * TICK, 5)
        assert engine.best(ASK) == (CENTRE - n * TICK, 5)
        if n > 50:
            engine.cancel(n - 50)
        engine.drain()
    assert engine.levels(ASK) == {CENTRE - n * TICK: 5 for n in range(5000, 4950, -1)}


def test_price_far_from_the_market_is_refused_and_cannot_pin_the_window(engine):
    engine.new(1, 1, BUY, CENTRE, 10)
    far = CENTRE + (WINDOW // 2 + 1) * TICK
    assert engine.new(2, 1, SELL, far, 10) == reasons.VENUE_FILTER
    assert engine.replace(1, 1, CENTRE - WINDOW * TICK, 10) == reasons.VENUE_FILTER
    assert engine.best(BID) == (CENTRE, 10) and engine.best(ASK) == (0, 0)


def test_price_far_outside_the_window_still_takes(engine):
    engine.new(1, 1, SELL, CENTRE, 10)
    engine.drain()
    assert engine.new(2, 2, BUY, CENTRE * 100, 10, IOC) == reasons.NONE
    assert engine.kinds() == [EXECUTE]


def test_ids_that_share_a_slot_are_all_found_after_any_removal():
    engine, rng = Engine(max_orders=256), np.random.default_rng(3)
    live: set[int] = set()
    for n in range(1, 20_001):
        id_ = int(rng.integers(1, 600)) << 40
        if id_ in live:
            assert engine.cancel(id_) == reasons.NONE
            live.remove(id_)
        elif len(live) < 256:
            assert engine.new(id_, 1, BUY, CENTRE, 5) == reasons.NONE
            live.add(id_)
        if n % 500 == 0:
            found = [matching_query.match_order(engine.address, np.uint64(i << 40)) != 0 for i in range(1, 600)]
            assert found == [(i << 40) in live for i in range(1, 600)]
        matching.match_events_clear(engine.address)


def test_same_operations_give_the_same_bytes():
    def play() -> bytes:
        engine, rng = Engine(), np.random.default_rng(11)
        for n in range(1, 2000):
            engine.new(
                n, 1, int(rng.integers(0, 2)), CENTRE + TICK * int(rng.integers(-9, 9)), 5, int(rng.integers(0, 5))
            )
            matching.match_events_clear(engine.address)
        return engine.memory.tobytes()

    assert play() == play()
