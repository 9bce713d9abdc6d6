"""Promises of the embedded market: repeatable by seed, never crossed or empty, clustered, and truthful as records."""

import numpy as np
import pytest
from memory import address, aligned

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import ASK, BID, BOOK_RESET, BUY, GTC, IOC, LAST, LEVEL, RECORD, RECORD_BYTES, TRADE
from hftpipe.core.trading.book import book_bytes, book_commit, book_init, book_level, book_qty_at, book_set
from hftpipe.simulation.flow.flow import (
    FLOW_MAX_RECORDS,
    SNAPSHOT_MAX_RECORDS,
    flow_book,
    flow_bytes,
    flow_init,
    flow_next_ts,
    flow_publish,
    flow_snapshot,
    flow_step,
)
from hftpipe.simulation.flow.state import FLOW, FLOW_HEADER_BYTES
from hftpipe.simulation.matching.engine import STP_NONE, match_event_count, match_new
from hftpipe.simulation.matching.memory import HEADER_BYTES, MATCHING
from hftpipe.simulation.matching.query import match_best, match_level_qty, match_next_level, match_order

START = 1_700_000_000_000_000_000
RATE = 1000.0
EVENTS = 200_000
I = np.int64  # noqa: E741
#: Name: tick, lot, reference price, min notional; 1e-8 units.
MARKETS = {
    "BTC": (10_000_000, 100_000, 60_000 * 10**8, 5 * 10**8),
    "coarse": (10**8, 10**8, 150 * 10**8, 0),
    "tiny price": (1, 10**8, 1_200, 10**8),
    "fine tick": (10**6, 1_000, 100_000 * 10**8, 10 * 10**8),
}


def instrument(tick: int, lot: int, price: int, min_notional: int) -> np.void:
    row = np.zeros(1, INSTRUMENT)
    row["tick"], row["lot"], row["reference_price"], row["min_notional"] = tick, lot, price, min_notional
    return row[0]


class Market:
    """A flow behind Python calls."""

    def __init__(self, seed: int = 1, name: str = "BTC", rate: float = RATE) -> None:
        self.memory = aligned(flow_bytes())
        flow_init(self.memory, instrument(*MARKETS[name]), 3, seed, rate, START)
        self.address = address(self.memory)
        self.book = np.uint64(flow_book(self.address))
        self.out = np.zeros(SNAPSHOT_MAX_RECORDS, RECORD)
        self.flow = self.memory[:FLOW_HEADER_BYTES].view(FLOW)[0]
        self.matching = self.memory[FLOW_HEADER_BYTES : FLOW_HEADER_BYTES + HEADER_BYTES].view(MATCHING)[0]
        self.executions_before = int(self.matching["executions"])

    def step(self) -> np.ndarray:
        return self.out[: flow_step(self.address, address(self.out), I(FLOW_MAX_RECORDS))]

    def snapshot(self) -> np.ndarray:
        return self.out[: flow_snapshot(self.address, address(self.out), I(len(self.out)))]

    def publish(self) -> np.ndarray:
        return self.out[: flow_publish(self.address, address(self.out), I(2100))]

    def levels(self, side: int) -> dict[int, int]:
        """Level quantities of the matching book itself, best first."""
        result, (price, qty) = {}, match_best(self.book, I(side))
        while qty:
            result[price] = qty
            price, qty = match_next_level(self.book, I(side), I(price))
        return result


STAT = np.dtype(
    [
        ("ts", "i8"),
        ("bid", "i8"),
        ("ask", "i8"),
        ("records", "i8"),
        ("trades", "i8"),
        ("traded", "i8"),
        ("taken", "i8"),
        ("wrong", "i8"),
    ],
    align=True,
)


@jit
def apply_record(book, address):
    """One market record into a core book; 1 if it breaks what :mod:`hftpipe.simulation.flow.flow` promises of its form."""
    r = view(address, RECORD)
    if r.kind != LEVEL:
        return np.int64(r.kind != TRADE or r.qty <= 0 or r.price <= 0 or r.id == U64(0))
    book_set(book, np.int64(r.side), r.price, r.qty)
    if r.flags == LAST:
        book_commit(book, r.id, r.exchange_ts, r.local_ts)
    return np.int64(r.qty < 0)


@jit
def same_levels(flow, book):
    """Whether the rebuilt book has exactly the matching book's levels."""
    matching = flow_book(flow)
    for side in range(2):
        index = np.int64(0)
        price, qty = match_best(matching, side)
        while True:
            ours, ours_qty = book_level(book, side, index)
            if ours != price or ours_qty != qty or match_level_qty(matching, side, price) != qty:
                return False
            if qty == 0:
                break
            index += 1
            price, qty = match_next_level(matching, side, price)
    return True


@jit
def play(flow, out, book, stats, count):
    """Steps ``count`` times into the core book and notes what it saw; number of times the books differed."""
    wrong_books = np.int64(0)
    for n in range(count):
        s = stats[n]
        expected_ts = flow_next_ts(flow)
        s.records = flow_step(flow, out, np.int64(FLOW_MAX_RECORDS))
        levels = np.int64(0)
        for i in range(s.records):
            at = out + U64(i) * U64(RECORD_BYTES)
            r = view(at, RECORD)
            if r.kind == LEVEL:
                s.taken += book_qty_at(book, np.int64(r.side), r.price) - r.qty
            s.wrong += apply_record(book, at)
            last = i == s.records - 1
            s.wrong += r.exchange_ts != expected_ts or r.local_ts != expected_ts or r.instrument != 3
            s.wrong += (r.flags == LAST) != last or (last and r.kind != LEVEL)
            if r.kind == TRADE:
                s.trades += 1
                s.traded += r.qty
                s.wrong += levels
            else:
                levels += 1
        s.ts = expected_ts
        s.bid, s.ask = match_best(flow_book(flow), np.int64(BID))[0], match_best(flow_book(flow), np.int64(ASK))[0]
        if n % 100 == 0 and not same_levels(flow, book):
            wrong_books += 1
    return wrong_books


def run(market: Market, count: int) -> tuple[np.ndarray, int]:
    memory = aligned(book_bytes(4096))
    book_init(memory, 3, 4096)
    for record in market.snapshot():
        book_set(address(memory), I(record["side"]), I(record["price"]), I(record["qty"]))
    stats = np.zeros(count, STAT)
    wrong_books = play(market.address, address(market.out), address(memory), stats, I(count))
    return stats, wrong_books


@pytest.fixture(scope="module", params=[1, 2])
def long_run(request):
    market = Market(request.param)
    return market, *run(market, EVENTS)


# --- repeatable ---


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    def play_bytes(seed: int) -> bytes:
        market = Market(seed)
        parts = [market.snapshot().tobytes()]
        parts += [market.step().tobytes() for _ in range(3000)]
        return b"".join(parts) + market.memory.tobytes()

    assert play_bytes(7) == play_bytes(7) != play_bytes(8)


def test_copy_of_the_memory_goes_on_as_the_original():
    market, other = Market(4), Market(5)
    for _ in range(500):
        market.step()
    other.memory[:] = market.memory
    assert [market.step().tobytes() for _ in range(500)] == [other.step().tobytes() for _ in range(500)]


# --- the market ---


def test_book_is_never_crossed_and_no_side_is_ever_empty(long_run):
    _, stats, _ = long_run
    assert (stats["bid"] > 0).all() and (stats["ask"] > stats["bid"]).all()


def test_spread_is_a_few_ticks_and_comes_back_when_it_is_not(long_run):
    market, stats, _ = long_run
    spread = (stats["ask"] - stats["bid"]) // int(market.flow["tick"])
    assert 1 <= np.median(spread) <= 4 and spread.mean() < 5 and np.percentile(spread, 99.9) < 60
    wide = np.flatnonzero(spread[:-200] >= 15)
    assert len(wide) > 0 and spread[wide + 200].mean() < 8


def test_rate_is_the_one_asked_for(long_run):
    _, stats, _ = long_run
    assert EVENTS / (stats["ts"][-1] - START) * 1e9 == pytest.approx(RATE, rel=0.15)


@pytest.mark.parametrize("rate", [5.0, 100_000.0])
def test_rate_is_the_one_asked_for_far_from_the_usual(rate):
    stats, _ = run(Market(rate=rate), 50_000)
    assert 50_000 / (stats["ts"][-1] - START) * 1e9 == pytest.approx(rate, rel=0.15)


def test_events_come_in_clusters(long_run):
    _, stats, _ = long_run
    assert (np.diff(stats["ts"]) >= 0).all()
    counts = np.bincount((stats["ts"] - START) // 10_000_000)
    assert counts.var() > 1.5 * counts.mean()


def test_price_stays_near_the_reference_and_moves(long_run):
    market, stats, _ = long_run
    middle = (stats["bid"] + stats["ask"]) / 2 / market.flow["tick"] - market.flow["reference"]
    sd = market.flow["volatility"] / np.sqrt(2 * market.flow["reversion"])
    assert abs(middle).max() < 8 * sd and abs(middle.mean()) < 3 * sd and middle.std() > sd / 5


def test_depth_stays_between_twenty_and_a_few_hundred_levels():
    market = Market(3)
    for _ in range(100):
        for _ in range(200):
            market.step()
        for side in (BID, ASK):
            assert 20 <= len(market.levels(side)) <= 400
        assert market.matching["side_orders"].min() > 125 and market.matching["side_orders"].max() < 1000


def test_limit_orders_and_cancels_are_densest_near_the_touch():
    market, near, far = Market(6), 0, 0
    for _ in range(20_000):
        records = market.step()
        last = records[-1]
        best = match_best(market.book, I(last["side"]))[0]
        distance = abs(int(last["price"]) - best) // int(market.flow["tick"])
        near, far = near + (distance <= 10), far + (distance > 50)
    assert near > 4 * far > 0


@pytest.mark.parametrize("name", MARKETS)
def test_every_kind_of_instrument_makes_a_market(name):
    market = Market(9, name)
    stats, wrong_books = run(market, 30_000)
    tick, lot, *_ = MARKETS[name]
    assert wrong_books == 0 and not stats["wrong"].any() and stats["trades"].sum() > 100
    assert (stats["bid"] > 0).all() and (stats["ask"] > stats["bid"]).all()
    snapshot = market.snapshot()[1:]
    assert (
        not (snapshot["price"] % tick).any() and not (snapshot["qty"] % lot).any() and market.matching["refused"] == 0
    )


# --- the records ---


def test_book_rebuilt_from_level_records_is_the_matching_book_at_all_times(long_run):
    _, stats, wrong_books = long_run
    assert wrong_books == 0 and not stats["wrong"].any()


def test_no_event_writes_nothing_or_more_than_the_stated_bound(long_run):
    _, stats, _ = long_run
    assert stats["records"].min() >= 1 and stats["records"].max() <= FLOW_MAX_RECORDS


def test_trades_are_exactly_what_left_the_book(long_run):
    market, stats, _ = long_run
    taken = stats[stats["trades"] > 0]
    assert len(taken) > EVENTS / 100 and (taken["traded"] == taken["taken"]).all()
    assert stats["traded"].sum() == market.flow["traded_qty"] and stats["trades"].sum() == (
        market.matching["executions"] - market.executions_before
    )
    assert taken["trades"].max() > 3


def test_snapshot_is_a_reset_and_every_level_with_last_on_the_final_one():
    market = Market(2)
    for _ in range(100):
        update_id = int(market.step()[-1]["id"])
    records = market.snapshot().copy()
    assert records[0]["kind"] == BOOK_RESET and (records[1:]["kind"] == LEVEL).all()
    assert (records["flags"][:-1] == 0).all() and records["flags"][-1] == LAST and (records["id"] == update_id).all()
    for side in (BID, ASK):
        mine = records[1:][records[1:]["side"] == side]
        assert dict(zip(mine["price"].tolist(), mine["qty"].tolist(), strict=True)) == market.levels(side)
    assert market.step()[-1]["id"] == update_id + 1


def test_too_small_an_array_is_refused_and_nothing_happens():
    market = Market(2)
    before = market.memory.tobytes()
    assert flow_step(market.address, address(market.out), I(FLOW_MAX_RECORDS - 1)) == -1
    assert flow_snapshot(market.address, address(market.out), I(20)) == -1
    assert market.memory.tobytes() == before


# --- others in the same book ---


def test_others_trade_in_the_book_and_their_orders_are_never_cancelled_by_the_flow():
    market = Market(2)
    bid = match_best(market.book, I(BID))[0]
    mine = np.uint64(77)
    price = I(bid - 20 * int(market.flow["tick"]))
    assert match_new(market.book, mine, I(5), I(BUY), price, I(10**8), I(GTC), I(STP_NONE)) == 0
    assert flow_step(market.address, address(market.out), I(FLOW_MAX_RECORDS)) == -1
    assert [(r["kind"], r["price"]) for r in market.publish()] == [(LEVEL, price)]
    for _ in range(5000):
        records = market.step()
        if match_order(market.book, mine) == 0:
            assert (records["kind"] == TRADE).any()
            break


def test_taking_from_the_book_publishes_trades_before_levels():
    market = Market(2)
    match_new(market.book, np.uint64(1), I(5), I(BUY), I(10**14), I(50 * 10**8), I(IOC), I(STP_NONE))
    assert match_event_count(market.book) > 2
    kinds = market.publish()["kind"].tolist()
    assert kinds == sorted(kinds, reverse=True) and set(kinds) == {TRADE, LEVEL} and match_event_count(market.book) == 0


def test_market_recovers_when_others_empty_a_side():
    market = Market(2)
    for id_ in range(1, 20):
        match_new(market.book, np.uint64(id_), I(5), I(BUY), I(10**14), I(10**13), I(IOC), I(STP_NONE))
        market.publish()
    assert match_best(market.book, I(ASK)) == (0, 0)
    for _ in range(2000):
        market.step()
        bid, ask = match_best(market.book, I(BID))[0], match_best(market.book, I(ASK))[0]
        assert ask == 0 or bid < ask
    assert match_best(market.book, I(ASK))[0] > 0 and market.matching["side_orders"].min() > 125


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        ({"tick": 0}, 1.0),
        ({"lot": 0}, 1.0),
        ({"reference_price": 99 * 10_000_000}, 1.0),
        ({"lot": 2**62}, 1.0),
        ({"min_notional": 2**62, "reference_price": 10**9}, 1.0),
        ({}, 0.0),
        ({}, 2e6),
        ({}, float("nan")),
    ],
)
def test_what_makes_no_market_is_refused(change, rate):
    row = instrument(*MARKETS["BTC"]).copy()
    for name, value in change.items():
        row[name] = value
    with pytest.raises(ValueError, match=r"tick|lot|min_notional|rate_per_s"):
        flow_init(aligned(flow_bytes()), row, 0, 1, rate, START)
