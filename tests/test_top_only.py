"""Instruments of which only the best prices are followed: the embedded flow, and what the paper exchange does with them."""

import numpy as np
import pytest
from exchange_reference import Venue, fills, kinds, unit
from memory import address, aligned

from hftpipe.core.schema import records as r
from hftpipe.core.schema.instruments import INSTRUMENT, TOP_LEVELS
from hftpipe.core.schema.records import ASK, BID, BOOK_RESET, LAST, RECORD, TOP, TRADE
from hftpipe.simulation.flow.top_flow import (
    TOP_FLOW,
    TOP_FLOW_BYTES,
    TOP_FLOW_RECORDS,
    top_flow_snapshot,
    top_flow_step,
    top_flows_init,
)
from hftpipe.venues.paper.match import NOT_SHOWN

START = 1_700_000_000 * 10**9
E8 = 10**8


def rows_of(n: int) -> np.ndarray:
    rows = np.zeros(n, INSTRUMENT)
    rows["symbol"] = [f"SYM{at}" for at in range(n)]
    rows["tick"], rows["lot"] = 10 ** (1 + np.arange(n) % 7), 10 ** (3 + np.arange(n) % 5)
    rows["reference_price"], rows["min_notional"] = rows["tick"] * (1_000 + 977 * np.arange(n)), 5 * E8
    return rows


class Flows:
    """Some flows and the records that they write."""

    def __init__(self, n: int = 8, seed: int = 1, rate: float = 1_000.0) -> None:
        self.rows, self.memory, self.out = rows_of(n), aligned(n * TOP_FLOW_BYTES), np.zeros(TOP_FLOW_RECORDS, RECORD)
        top_flows_init(self.memory, self.rows, np.arange(n), seed, np.full(n, rate), START, 12.0)

    def call(self, function, index: int) -> np.ndarray:
        count = int(function(np.uint64(self.memory.ctypes.data + index * TOP_FLOW_BYTES), address(self.out)))
        return self.out[:count].copy()

    def state(self, index: int) -> np.void:
        return self.memory.view(TOP_FLOW)[index]


@pytest.mark.parametrize("index", range(8))
def test_every_event_leaves_two_sided_prices_on_ticks_and_lots(index):
    flows = Flows()
    row, last_id, now, prices = flows.rows[index], 0, START, []
    assert flows.call(top_flow_snapshot, index)["kind"].tolist() == [BOOK_RESET, TOP, TOP]
    for _ in range(20_000):
        records = flows.call(top_flow_step, index)
        bid, ask = records[-2:]
        assert records["kind"].tolist() in ([TOP, TOP], [TRADE, TOP, TOP])
        assert (bid["side"], ask["side"], bid["flags"], ask["flags"]) == (BID, ASK, 0, LAST)
        assert 0 < bid["price"] < ask["price"] and (records["qty"] > 0).all()
        assert not (records["price"] % row["tick"]).any() and not (records["qty"] % row["lot"]).any()
        assert bid["id"] == ask["id"] > last_id and (records["local_ts"] >= now).all()
        last_id, now = int(bid["id"]), int(bid["local_ts"])
        prices.append(int(bid["price"]))
    assert len(set(prices)) > 10
    assert np.mean(prices) == pytest.approx(int(row["reference_price"]), rel=0.1)


def test_a_trade_takes_of_what_the_top_showed_before_it():
    flows, shown, trades = Flows(1), {}, 0
    for at in range(20_000):
        records = flows.call(top_flow_step if at else top_flow_snapshot, 0)
        for trade in records[records["kind"] == TRADE]:
            trades += 1
            price, qty = shown[1 - int(trade["side"])]
            assert int(trade["price"]) == price and int(trade["qty"]) <= qty
        shown = {int(one["side"]): (int(one["price"]), int(one["qty"])) for one in records[-2:]}
    assert 0.2 < trades / 20_000 < 0.27


def test_events_come_at_the_rate_asked_for_and_a_seed_says_all():
    one, other, third = Flows(seed=5), Flows(seed=5), Flows(seed=6)
    for flows in (one, other, third):
        for index in range(8):
            for _ in range(5_000):
                flows.call(top_flow_step, index)
    assert (one.memory == other.memory).all() and (one.memory != third.memory).any()
    spans = [int(one.state(index)["now_ts"]) - START for index in range(8)]
    assert np.mean(spans) == pytest.approx(5e9, rel=0.05)


def test_a_flow_that_makes_no_market_is_refused_by_number():
    rows = rows_of(3)
    rows["reference_price"][1] = rows["tick"][1] * 3
    with pytest.raises(ValueError, match="instrument 7"):
        top_flows_init(aligned(3 * TOP_FLOW_BYTES), rows, np.array([5, 7, 9]), 1, np.ones(3), START, 12.0)


# --- the paper exchange ----------------------------------------------------------------------------


@pytest.fixture
def venue() -> Venue:
    """Best prices alone: 10 at 100.0 and 10 at 100.1; no latency, no fees."""
    v = Venue(levels=TOP_LEVELS)
    v.feed(kind=r.BOOK_STATE, flags=r.VALID)
    v.top("100.0", 10, "100.1", 10)
    return v


def test_a_taker_gets_the_best_price_and_nothing_behind_it(venue):
    got = venue.new(1, r.BUY, 15, "100.5", r.IOC)
    assert fills(got) == [(1, unit("100.1"), unit(10))] and kinds(got)[-1] == "expired"
    assert fills(venue.new(2, r.BUY, 5, "100.5", r.IOC)) == [], "what was taken is not there a second time"
    venue.top("100.0", 10, "100.1", 12)
    assert fills(venue.new(3, r.BUY, 5, "100.5", r.IOC)) == [(3, unit("100.1"), unit(2))]


def test_taking_never_ends_however_often_the_price_moves(venue):
    for step in range(1_000):
        ask = f"{100 + step / 10:.1f}"
        venue.top(f"{99 + step / 10:.1f}", 10, ask, 10)
        assert fills(venue.new(step + 10, r.BUY, 4, ask, r.IOC)) == [(step + 10, unit(ask), unit(4))], step


def test_an_order_at_the_best_price_stands_behind_what_is_shown(venue):
    venue.new(1, r.BUY, 5, "100.0")
    assert venue.ahead(1) == unit(10)
    venue.trade(r.SELL, "100.0", 12)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(2))]


def test_an_order_behind_the_best_price_waits_for_all_that_it_cannot_see(venue):
    venue.new(1, r.BUY, 5, "99.9")
    assert venue.ahead(1) == NOT_SHOWN
    venue.trade(r.SELL, "99.9", 50)
    assert fills(venue.reports()) == []
    venue.top("99.9", 7, "100.1", 10)
    assert venue.ahead(1) == unit(7), "the top has come to it: it stands behind what is shown there"
    venue.trade(r.SELL, "99.9", 8)
    assert fills(venue.reports()) == [(1, unit("99.9"), unit(1))]


def test_a_trade_through_an_order_that_was_behind_fills_it(venue):
    venue.new(1, r.BUY, 5, "99.9")
    venue.trade(r.SELL, "99.8", 3)
    assert fills(venue.reports()) == [(1, unit("99.9"), unit(3))]


def test_an_order_inside_the_spread_is_first(venue):
    venue.top("100.0", 10, "100.4", 10)
    venue.new(1, r.BUY, 5, "100.2")
    assert venue.ahead(1) == 0
    venue.top("100.0", 10, "100.2", 3)
    assert fills(venue.reports()) == [(1, unit("100.2"), unit(3))]
