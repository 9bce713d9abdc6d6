"""The ten scenarios that other engines get wrong, the venue against its slow twin, and what must never be lost."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from exchange_reference import ReferenceExchange, Venue, fills, kinds, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, record

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.schema import reasons as why
from hftpipe.core.schema import records as r
from hftpipe.simulation.campaign import Violation
from hftpipe.simulation.world.checkers.taken import TakenChecker
from hftpipe.simulation.world.truth import Fields
from hftpipe.venues.paper import exchange
from hftpipe.venues.paper.models import SimModel
from hftpipe.venues.paper.state import (
    CONSUMED,
    EXCHANGE_BYTES,
    INBOUND,
    MARKET,
    MARKET_BYTES,
    MAX_CONSUMED,
    outbound_capacity,
)

BUY, SELL, IOC = r.BUY, r.SELL, r.IOC
MS = 10**6


@pytest.fixture
def venue() -> Venue:
    """The book of the scenarios: 10 at 100.0 and 99.9, 10 at 100.1 and 100.2; no latency, no fees."""
    v = Venue()
    v.open_book([("100.0", 10), ("99.9", 10)], [("100.1", 10), ("100.2", 10)])
    return v


def test_scenario_01_trade_beyond_the_queue_fills_only_its_excess(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 12)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(2))]
    assert venue.position() == unit(2) and venue.left(1) == unit(3)


def test_scenario_02_two_own_orders_share_one_trade(venue):
    venue.new(1, BUY, 2, "100.0")
    venue.new(2, BUY, 2, "100.0")
    venue.trade(SELL, "100.0", 12)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(2))]
    venue.trade(SELL, "100.0", 1)
    assert fills(venue.reports()) == [(2, unit("100.0"), unit(1))]


def test_scenario_03_ioc_walks_levels_at_each_levels_price(venue):
    got = fills(venue.new(1, BUY, 15, "100.2", IOC))
    assert got == [(1, unit("100.1"), unit(10)), (1, unit("100.2"), unit(5))]
    assert venue.position() == unit(15)
    assert sum(p * q for _, p, q in got) == unit(1502) * unit(1)


def test_scenario_04_displayed_liquidity_is_taken_once_and_only_what_is_added_is_new(venue):
    for id_ in (1, 2, 3):
        venue.new(id_, BUY, 10, "100.1", IOC)
    assert venue.position() == unit(10)
    venue.depth(asks=[("100.1", 4)])
    venue.new(4, BUY, 10, "100.1", IOC)
    assert venue.position() == unit(10)
    venue.depth(asks=[("100.1", 7)])
    venue.new(5, BUY, 10, "100.1", IOC)
    assert venue.position() == unit(13)


def test_scenario_05_an_ask_of_one_at_our_bid_fills_one(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 0)], asks=[("100.0", 1)])
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(1))]
    venue.depth(bids=[("99.8", 3)])
    assert venue.reports() == [] and venue.left(1) == unit(4)


def test_scenario_06_exact_fill_then_another_trade_goes_on(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 15)
    venue.trade(SELL, "100.0", 15)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(5))]
    assert venue.left(1) == -1
    assert kinds(venue.new(2, BUY, 1, "100.0")) == ["ack"]


def test_scenario_07_gtc_takes_what_is_displayed_and_rests_the_rest(venue):
    assert fills(venue.new(1, BUY, 50, "100.2")) == [(1, unit("100.1"), unit(10)), (1, unit("100.2"), unit(10))]
    assert venue.left(1) == unit(30) and venue.ahead(1) == 0
    venue.depth(bids=[("99.8", 1)])
    assert venue.reports() == []


def test_scenario_08_trade_through_fills_up_to_its_quantity(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "99.9", "0.001")
    assert fills(venue.reports()) == [(1, unit("100.0"), unit("0.001"))]
    assert venue.ahead(1) == 0
    venue.trade(SELL, "99.9", 50)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit("4.999"))]


def test_scenario_09_amended_total_counts_what_is_filled(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 12)
    venue.reports()
    assert kinds(venue.replace(1, BUY, "2.5", "100.0")) == ["replaced"]
    assert venue.left(1) == unit("0.5")


def test_scenario_10_cancel_in_flight_when_filled_is_rejected_and_the_fill_kept():
    v = Venue(SimModel(latency_new_ns=0, latency_cancel_ns=1000, latency_report_ns=0))
    v.open_book([("100.0", 10)], [("100.1", 10)])
    v.new(1, BUY, 5, "100.0")
    v.submit(kind=r.CANCEL, id=1, side=BUY, local_ts=0)
    v.time = 500
    v.trade(SELL, "100.0", 15)
    v.tick(1000)
    got = v.reports()
    assert kinds(got) == ["fill", "cancel_reject"]
    assert got[1]["flags"] == why.VENUE_UNKNOWN_ORDER and v.position() == unit(5)


# The venue against its twin: random markets and orders, every report compared.
def random_step(rng: random.Random) -> tuple:
    """One event near the touch: prices are ticks above 100.0, quantities lots; weights give orders time to rest."""
    kind = rng.choices(
        ("level", "trade", "top", "new", "cancel", "replace", "reset", "state", "wait"),
        (20, 20, 8, 20, 4, 6, 1, 3, 15),
    )[0]
    side, price = rng.randrange(2), rng.randrange(8)
    made = {
        "level": lambda: (side, rng.randrange(4) + 4 * side, rng.randrange(7), rng.random() < 0.8),
        "trade": lambda: (side, price, rng.randint(1, 12), rng.randint(-3, 3)),
        "top": lambda: (
            rng.randrange(5),
            rng.randrange(7),
            rng.randint(1, 3),
            rng.randrange(7),
            rng.randrange(6),
            rng.randrange(2),
        ),
        "new": lambda: (side, price, rng.randint(2, 9), rng.choice((0, 0, 0, 1, 2, 3, 3, 4)), rng.choice((0, 0, 0, 8))),
        "cancel": lambda: (rng.randint(0, 7), price, 0),
        "replace": lambda: (rng.randint(0, 7), price, rng.randint(1, 9)),
        "reset": lambda: (price,),
        "state": lambda: (rng.choice((r.VALID, r.VALID, r.SYNCING)),),
        "wait": lambda: (rng.randint(-2, 8),),
    }
    return (kind, *made[kind]())


STREAMS = st.builds(
    lambda seed, n: [random_step(rng) for rng in [random.Random(seed)] for _ in range(n)],
    st.integers(0, 2**32), st.integers(60, 250),
)  # fmt: skip
MODELS = st.builds(
    SimModel,
    queue_model=st.sampled_from(("risk_averse", "power")),
    power_n=st.sampled_from((1.0, 2.0, 3.0)),
    latency_new_ns=st.integers(0, 4).map(lambda ms: ms * MS),
    latency_cancel_ns=st.integers(0, 4).map(lambda ms: ms * MS),
    latency_report_ns=st.integers(0, 4).map(lambda ms: ms * MS),
)


class Pair:
    """Both venues fed the same records."""

    def __init__(self, model: SimModel) -> None:
        self.venue = Venue(model, n=2, max_orders=4, lot="1", min_notional=200, maker=-12_345, taker=40_001)
        self.twin = ReferenceExchange(self.venue.instruments, model, 4)
        self.time, self.update_id, self.orders, self.got = 1000 * MS, 0, 0, []
        self.records: list[Fields] = []

    def price(self, n: int) -> int:
        return unit("100.0") + n * unit("0.1")

    def market(self, **given) -> None:
        full = dict(instrument=0, side=0, price=0, qty=0, id=0, flags=0, exchange_ts=0, local_ts=self.time) | given
        assert self.venue.feed(**full) == 1
        self.twin.market(full)
        self.records.append(fields(full))

    def open_books(self) -> None:
        for instrument in (0, 1):
            for side, n in ((0, 2), (0, 3), (1, 4), (1, 5)):
                self.market(kind=r.LEVEL, side=side, price=self.price(n), qty=unit(5), id=1, flags=n == 5,
                            instrument=instrument)  # fmt: skip
            self.market(kind=r.BOOK_STATE, flags=r.VALID, instrument=instrument)
        self.update_id = 1

    def submit(self, **fields) -> None:
        full = dict(instrument=0, price=0, qty=0, flags=0, local_ts=self.time) | fields
        assert self.venue.submit(**full) == 1
        self.twin.submit(full)

    def compare(self) -> None:
        new, expected = self.venue.reports(), []
        while (report := self.twin.poll()) is not None:
            expected.append(report)
        assert new == expected
        self.got += new
        assert [self.venue.position(i) for i in (0, 1)] == [m.position for m in self.twin.markets]
        for i, m in enumerate(self.twin.markets):
            for order in m.own[0] + m.own[1]:
                assert (self.venue.left(order.id, i), self.venue.ahead(order.id, i)) == (order.left, order.ahead)

    def play(self, step: tuple) -> None:
        kind, instrument = step[0], len(self.got) % 2
        if kind == "level":
            self.update_id += 1
            self.market(kind=r.LEVEL, side=step[1], price=self.price(step[2]), qty=unit(step[3]), id=self.update_id,
                        flags=r.LAST if step[4] else 0, exchange_ts=self.time)  # fmt: skip
        elif kind == "top":
            self.update_id += 1
            for side, n, qty in ((0, step[1], step[2]), (1, step[1] + step[3], step[4])):
                self.market(kind=r.TOP, side=side, price=self.price(n) if qty else 0, qty=unit(qty),
                            id=self.update_id + step[5], flags=side, exchange_ts=self.time * step[6])  # fmt: skip
        elif kind == "trade":
            self.market(kind=r.TRADE, side=step[1], price=self.price(step[2]), qty=unit(step[3]),
                        exchange_ts=self.time + step[4] * MS)  # fmt: skip
        elif kind == "new":
            self.orders += 1
            self.submit(kind=r.NEW, id=self.orders, side=step[1], price=self.price(step[2]), qty=unit(step[3]),
                        flags=step[4] | step[5], instrument=instrument)  # fmt: skip
        elif kind in ("cancel", "replace"):
            self.submit(kind=r.CANCEL if kind == "cancel" else r.REPLACE, id=max(self.orders - step[1], 1), side=0,
                        price=self.price(step[2]), qty=unit(step[3]))  # fmt: skip
        elif kind == "reset":
            self.update_id += 1
            self.market(kind=r.BOOK_RESET, id=self.update_id, exchange_ts=self.time)
            self.market(kind=r.LEVEL, price=self.price(step[1]), qty=unit(5), id=self.update_id, flags=r.LAST)
        elif kind == "state":
            self.market(kind=r.BOOK_STATE, flags=step[1])
        else:
            self.time += step[1] * MS
            self.market(kind=r.TIMER)


@settings(max_examples=200)
@given(MODELS, STREAMS)
def test_every_report_equals_that_of_the_slow_twin(model, stream):
    pair = Pair(model)
    pair.open_books()
    for step in stream:
        pair.play(step)
        pair.compare()
    pair.time += 100 * MS
    pair.market(kind=r.TIMER)
    pair.market(kind=r.TIMER, local_ts=pair.time + 100 * MS)
    pair.compare()
    _check_invariants(pair.got)
    assert pair.venue.header["early_reports"] == 0 and not pair.twin.outbound


def _check_invariants(reports: list[dict]) -> None:
    """Fills within the order's size, nothing after an order's end, time never back, positions are sums of fills."""
    size, filled, ended = {}, {}, set()
    for x in reports:
        if x["kind"] == r.ACK:
            size[x["id"]], filled[x["id"]] = x["qty"], 0
        elif x["kind"] == r.REPLACED:
            size[x["id"]] = x["qty"]
        elif x["kind"] == r.FILL:
            assert x["id"] not in ended
            filled[x["id"]] += x["qty"]
            assert filled[x["id"]] <= size[x["id"]]
        elif x["kind"] in (r.CANCELED, r.EXPIRED):
            assert x["qty"] == size[x["id"]] - filled[x["id"]]
            ended.add(x["id"])
    times = [x["exchange_ts"] for x in reports]
    assert times == sorted(times)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=20))
def test_takers_together_never_take_more_than_is_displayed(orders):
    v = Venue(lot="1")
    v.open_book([("100.0", 7), ("99.9", 4)], [("100.1", 6), ("100.2", 5)])
    for id_, (side, qty, n) in enumerate(orders, 1):
        v.new(id_, side, qty, f"{99.8 + n / 10:.1f}", IOC)
        taken = {}
        for market_side in (0, 1):
            entries = _consumed(v, market_side)
            taken |= entries
        assert all(qty <= shown for shown, qty in taken.values())
    assert -unit(11) <= v.position() <= unit(11)


@settings(max_examples=100)
@given(STREAMS)
def test_fills_are_never_more_than_was_offered_and_traded(stream):
    """Random markets, as in the differential test; the account is kept from the records and the reports alone."""
    pair = Pair(SimModel(latency_new_ns=0, latency_cancel_ns=0, latency_report_ns=0))
    pair.open_books()
    plan = SimpleNamespace(instruments=(0, 1), is_paper=False)
    venue = SimpleNamespace(played=pair.records, executed=[], is_between_updates=lambda: False)
    checker = TakenChecker(SimpleNamespace(plan=plan, ports=[SimpleNamespace(venue=venue)]))
    for step in stream:
        pair.play(step)
        pair.market(kind=r.TIMER)
        pair.compare()
        venue.executed = [fields(report) for report in pair.got]
        pair.got.clear()
        checker.check()


def test_an_account_of_what_was_offered_catches_a_venue_that_forgets_what_we_took():
    v = Venue()
    v.open_book([("100.0", 10)], [("100.1", 10)])
    level = dict(kind=r.LEVEL, side=r.ASK, price=unit("100.1"), qty=unit(10), id=1, flags=r.LAST)
    venue = SimpleNamespace(played=[fields(level)], executed=[], is_between_updates=lambda: False)
    plan = SimpleNamespace(instruments=(0,), is_paper=False)
    checker = TakenChecker(SimpleNamespace(plan=plan, ports=[SimpleNamespace(venue=venue)]))
    venue.executed = [fields(x) for x in v.new(1, BUY, 6, "100.1", IOC)]
    checker.check()
    v.memory[EXCHANGE_BYTES : EXCHANGE_BYTES + MARKET_BYTES].view(MARKET)["n_consumed"] = 0
    venue.executed = [fields(x) for x in v.new(2, BUY, 6, "100.1", IOC)]
    with pytest.raises(Violation, match="taken at 10010000000, 1000000000 offered"):
        checker.check()


def fields(values: dict) -> Fields:
    """The fields of a record; those not given are 0."""
    return Fields._make(values.get(name, 0) for name in Fields._fields)


def _consumed(v: Venue, side: int) -> dict[int, tuple[int, int]]:
    """price -> (shown, taken) of the table of consumed liquidity."""
    market = v.memory[EXCHANGE_BYTES : EXCHANGE_BYTES + MARKET_BYTES].view(MARKET)[0]
    start = int(market["consumed"]) - v.memory.ctypes.data
    table = v.memory[start : start + 2 * MAX_CONSUMED * CONSUMED.itemsize].view(CONSUMED)
    rows = table[side * MAX_CONSUMED :][: int(market["n_consumed"][side])]
    return {int(x["price"]): (int(x["shown"]), int(x["qty"])) for x in rows}


# Nothing is dropped, nothing overtakes, the pointers work.
def test_a_full_inbound_queue_refuses_and_loses_nothing():
    v = Venue(max_orders=64)
    v.open_book([("100.0", 10)], [("100.1", 10)])
    took = [v.submit(kind=r.CANCEL, id=n, side=BUY) for n in range(INBOUND + 3)]
    assert took == [1] * INBOUND + [0] * 3
    assert int(v.header["refused_requests"][0]) == 3
    seen = []
    for _ in range(100):
        v.tick()
        seen += v.reports()
    assert [x["id"] for x in seen] == list(range(INBOUND))


def test_reports_are_never_dropped_when_nobody_polls():
    """Requests wait once room runs out, market data is refused at the end, and then all reports come, in order."""
    v = Venue(SimModel(latency_new_ns=0, latency_cancel_ns=0, latency_report_ns=10**12), max_orders=1)
    v.open_book([("100.0", 10)], [("100.1", 10)])
    sent, refused = 0, False
    for _ in range(3 * outbound_capacity(1)):
        sent += v.submit(kind=r.CANCEL, id=sent + 1, side=BUY)
        if v.feed(kind=r.TIMER) == 0:
            refused = True
            break
    assert refused and exchange.exchange_report_room(v.at) == 0
    seen = []
    for _ in range(4 * sent):
        seen += v.reports()
        v.tick(v.time + 10**10)
    assert [x["id"] for x in seen] == list(range(1, sent + 1))
    assert int(v.header["early_reports"][0]) > 0


def test_a_thousand_level_sweep_takes_at_most_the_levels_it_can_remember():
    v = Venue()
    v.open_book([("100.0", 10)], [(f"{100.1 + n / 10:.1f}", 1) for n in range(400)])
    got = v.new(1, BUY, 400, flags=r.MARKET)
    assert len(fills(got)) == MAX_CONSUMED
    assert got[-1]["kind"] == r.EXPIRED and got[-1]["qty"] == unit(400 - MAX_CONSUMED)
    assert fills(v.new(2, BUY, 400, flags=r.MARKET)) == []


def test_entry_points_do_what_the_direct_functions_do():
    v = Venue()
    v.open_book([("100.0", 10)], [("100.1", 10)])
    request, out = record(r.REQUEST), record(r.REPORT)
    request["kind"], request["id"], request["side"] = r.NEW, 7, BUY
    request["price"], request["qty"], request["origin_tsc"] = unit("100.1"), unit(1), 99
    timer = record(r.RECORD)
    timer["kind"] = r.TIMER
    assert _call(np.uint64(exchange.submit_entry.address), v.at, np.int64(address(request))) == 1
    assert _call(np.uint64(exchange.market_entry.address), v.at, np.int64(address(timer))) == 1
    assert _call(np.uint64(exchange.poll_entry.address), v.at, np.int64(address(out))) == 1
    assert (int(out["kind"][0]), int(out["venue_id"][0])) == (r.ACK, 1)
    assert _call(np.uint64(exchange.poll_entry.address), v.at, np.int64(address(out))) == 1
    assert int(out["kind"][0]) == r.FILL
    assert _call(np.uint64(exchange.poll_entry.address), v.at, np.int64(address(out))) == 0


@jit
def _call(function, state, argument):
    return call_step(function, state, argument)


def test_exchange_init_names_what_is_wrong():
    v = Venue()
    with pytest.raises(ValueError, match="needs"):
        exchange.exchange_init(v.memory[:100], v.instruments, v.model)
    v.instruments["tick"] = 0
    with pytest.raises(ValueError, match="SYM0"):
        exchange.exchange_init(v.memory, v.instruments, v.model, 64, 512)
    for bad in (dict(queue_model="none"), dict(power_n=0.0), dict(latency_new_ns=-1)):
        with pytest.raises(ValueError):
            SimModel(**bad)
    with pytest.raises(ValueError, match="max_orders"):
        exchange.exchange_bytes(1, 0, 16)
