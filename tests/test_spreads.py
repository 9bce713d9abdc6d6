"""Spreads between venues: the tracker is its slow twin, and what may not count never does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned
from spreads_reference import Listed, Reference

from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.names import common_name
from hftpipe.core.schema.spreads import NO_NET, common_sets, spreads_bytes, spreads_init, spreads_views
from hftpipe.core.trading.spreads import (
    counterpart,
    counterpart_count,
    find_spread,
    net_of,
    spreads_lost,
    spreads_update,
    take_crossed,
    watch_spreads,
)

E8 = 10**8
BPS = 10_000
MS = 1_000_000


class Tracker:
    """The compiled tracker over some instruments."""

    def __init__(self, listed: list[tuple[str, int, int]], threshold: int, hysteresis: int, max_age: int) -> None:
        rows = np.zeros(len(listed), INSTRUMENT)
        for at, (symbol, fee, lot) in enumerate(listed):
            rows["symbol"][at], rows["taker_fee"][at], rows["lot"][at], rows["at"][at] = symbol.encode(), fee, lot, at
        self.memory = aligned(spreads_bytes(rows))
        spreads_init(self.memory, rows)
        self.head = self.memory.view(np.uint8)
        n_rows = (len(self.memory) - 384 - 64 * len(rows)) // 128
        self.head, self.legs, self.rows = spreads_views(self.memory, len(rows), n_rows)
        self.at = np.uint64(address(self.memory))
        watch_spreads(self.at, np.int64(threshold), np.int64(hysteresis), np.int64(max_age))

    def show(self, at: int, top: tuple[int, int, int, int] | None, now: int) -> None:
        if top is None:
            spreads_lost(self.at, np.int64(at), np.int64(now))
        else:
            spreads_update(self.at, np.int64(at), *map(np.int64, top), np.int64(now), np.int64(now))

    def row(self, buy: int, sell: int) -> np.void:
        (found,) = self.rows[(self.rows["buy"] == buy) & (self.rows["sell"] == sell)]
        return found

    def crossed(self) -> list[tuple[int, int]]:
        found = []
        while slot := int(take_crossed(self.at)):
            row = self.rows[(slot - self.rows.ctypes.data) // 128]
            found.append((int(row["buy"]), int(row["sell"])))
        return found

    def facts(self, buy: int, sell: int) -> dict[str, Any]:
        row = self.row(buy, sell)
        names = ("net", "since", "fired", "best", "lasted", "longest", "total")
        return {name: None if row[name] == NO_NET else int(row[name]) for name in names}


def top(price: float, spread: float = 0.0, qty: float = 1.0) -> tuple[int, int, int, int]:
    """A top of book around a price."""
    half = max(round(price * spread * E8 / 2), 1)
    return round(price * E8) - half, round(qty * E8), round(price * E8) + half, round(qty * E8)


# --- names ---


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTCUSDT", ("BTCUSDT", 1)), ("BTC-USDT", ("BTCUSDT", 1)), ("1000PEPEUSDT", ("PEPEUSDT", 1000)),
        ("10000SATSUSDT", ("SATSUSDT", 10_000)), ("1MBABYDOGEUSDT", ("BABYDOGEUSDT", 1_000_000)),
        ("1000000MOGUSDT", ("MOGUSDT", 1_000_000)), ("SHIB1000USDT", ("SHIBUSDT", 1000)), ("1INCHUSDT", ("1INCHUSDT", 1)),
        ("BTCUSDT_240628", ("BTCUSDT240628", 1)), ("ETHUSDC", ("ETHUSDC", 1)), ("1000USDT", ("1000USDT", 1)), ("AAPL", ("AAPL", 1)),
    ],
)  # fmt: skip
def test_a_name_says_what_it_is_and_how_many(symbol, expected):
    assert common_name(symbol) == expected


def test_only_what_is_the_same_thing_is_joined():
    rows = np.zeros(5, INSTRUMENT)
    rows["symbol"] = [b"BTCUSDT", b"1000PEPEUSDT", b"ETHUSDT", b"PEPEUSDT", b"BTC-USDT"]
    assert common_sets(rows) == [[(0, 1), (4, 1)], [(1, 1), (3, 1000)]]


@pytest.mark.parametrize(("field", "value"), [("multiplier", 10 * E8), ("quote", b"USD"), ("contract", 1)])
def test_what_is_counted_or_paid_in_something_else_is_not_joined(field, value):
    rows = np.zeros(3, INSTRUMENT)
    rows["symbol"], rows["multiplier"], rows["quote"] = [b"BTCUSDT", b"BTC-USDT", b"BTC_USDT"], E8, b"USDT"
    rows[field][1] = value
    assert common_sets(rows) == [[(0, 1), (2, 1)]]


def test_inverse_contracts_have_no_counterparts():
    rows = np.zeros(2, INSTRUMENT)
    rows["symbol"], rows["contract"] = [b"BTCUSD", b"BTC-USD"], 1
    assert common_sets(rows) == []


def test_counterparts_are_found_from_either_side_and_from_nowhere_else():
    tracker = Tracker([("BTCUSDT", 0, 1), ("ETHUSDT", 0, 1), ("BTC-USDT", 0, 1), ("BTC_USDT", 0, 1)], 0, 0, 1)
    found = [[int(counterpart(tracker.at, np.int64(i), np.int64(k))) for k in range(-1, 3)] for i in range(4)]
    assert found == [[-1, 2, 3, -1], [-1, -1, -1, -1], [-1, 0, 3, -1], [-1, 0, 2, -1]]
    assert [int(counterpart_count(tracker.at, np.int64(i))) for i in range(4)] == [2, 0, 2, 2]
    assert int(find_spread(tracker.at, np.int64(0), np.int64(1))) == 0


# --- the net spread ---


@given(ask=st.integers(1, 2**55), bps=st.integers(-9_000, 9_000), fees=st.tuples(*[st.integers(-(10**6), 10**7)] * 2))
def test_a_net_spread_is_exact_and_rounded_down(ask, bps, fees):
    bid = max(ask + ask * bps // 10_000, 1)
    exact = (bid * (E8 - fees[1]) - ask * (E8 + fees[0])) // ask
    found = int(net_of(np.int64(bid), np.int64(ask), np.int64(E8 - fees[1]), np.int64(E8 + fees[0])))
    assert found == exact


def test_a_net_spread_too_large_for_an_int64_is_beyond_the_largest():
    assert int(net_of(np.int64(2**62), np.int64(1), np.int64(E8), np.int64(E8))) > E8 // 10


# --- the twin ---

LISTED = [("BTCUSDT", 50_000, 10**5), ("BTC-USDT", 20_000, 10**4), ("1000PEPEUSDT", 0, 10**8), ("PEPEUSDT", 50_000, 10**9),
          ("ETHUSDT", 10_000, 10**5), ("BTC_USDT", -5_000, 3 * 10**5)]  # fmt: skip
PRICES = [60_000.0, 60_000.0, 0.012, 0.000012, 3_000.0, 60_000.0]
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(st.none(), st.integers(-30, 30), st.integers(-30, 30), st.integers(-30, 30), st.just(3_000)),
        st.integers(0, 8),
        st.sampled_from([0, 1, 1_000, 1_000_000, 4_000_000, 30_000_000]),
    ),
    max_size=60,
)


@given(changes=CHANGES, threshold=st.integers(0, 15), hysteresis=st.integers(0, 6), max_age_ms=st.integers(0, 20))
def test_the_tracker_is_its_slow_twin(changes, threshold, hysteresis, max_age_ms):
    settings = (threshold * BPS, hysteresis * BPS, max_age_ms * MS)
    tracker = Tracker(LISTED, *settings)
    twin = Reference([Listed(*common_name(symbol), fee, lot) for symbol, fee, lot in LISTED], *settings)
    now = 1_700_000_000 * 10**9
    for at, bps, spread, passed in changes:
        now += passed
        change = None if bps is None else top(PRICES[at] * (1 + bps * 1e-4), spread * 1e-4)
        tracker.show(at, change, now)
        twin.show(at, change, now)
        assert tracker.crossed() == twin.crossed
        for pair in twin.ways:
            assert tracker.facts(*pair) == twin.facts(pair), pair
    assert int(tracker.head["implausible"][0]) == twin.implausible
    for pair, way in twin.ways.items():
        assert int(tracker.row(*pair)["step"]) == twin.step(way)
        assert int(tracker.legs["units"][pair[0]]) == twin.units(pair[0])


# --- promises ---


def two(threshold: int = 5 * BPS, hysteresis: int = 2 * BPS, max_age: int = 100 * MS) -> Tracker:
    tracker = Tracker([("BTCUSDT", 0, 1), ("BTC-USDT", 0, 1)], threshold, hysteresis, max_age)
    tracker.show(0, top(100.0), 1_000)
    return tracker


def test_it_fires_once_a_crossing_and_again_only_after_it_has_fallen_by_the_hysteresis():
    tracker, fired = two(), []
    for at, bps in enumerate([0, 6, 7, 4, 6, 2, 4, 6, 1, 9]):
        tracker.show(1, top(100.0 * (1 + bps * 1e-4)), 2_000 + at)
        fired.append(tracker.crossed())
    assert [bool(one) for one in fired] == [False, True, False, False, False, False, False, True, False, True]
    assert all(one in ([], [(0, 1)]) for one in fired)


def test_a_crossing_is_handed_out_once():
    tracker = two()
    tracker.show(1, top(101.0), 2_000)
    assert tracker.crossed() == [(0, 1)] and tracker.crossed() == []


def test_a_leg_that_is_too_old_does_not_count_to_the_nanosecond():
    for late, counts in ((0, True), (1, False)):
        tracker = two()
        tracker.show(1, top(101.0), 1_000 + 100 * MS + late)
        assert bool(tracker.crossed()) is counts


def test_an_opportunity_ends_when_a_leg_grows_too_old_whenever_that_is_noticed():
    tracker = two()
    tracker.show(1, top(101.0), 2_000)
    tracker.show(1, top(101.0), 2_000 + 500 * MS)
    row = tracker.row(0, 1)
    assert (int(row["since"]), int(row["lasted"]), int(row["fired"])) == (0, 1_000 + 100 * MS - 2_000, 1)


def test_a_book_that_is_not_valid_ends_it_at_once_and_none_begins_with_it():
    tracker = two()
    tracker.show(1, top(101.0), 2_000)
    tracker.show(0, None, 5_000)
    assert int(tracker.row(0, 1)["lasted"]) == 3_000
    tracker.show(1, top(102.0), 6_000)
    assert tracker.crossed() == [] and tracker.facts(0, 1)["net"] is None
    tracker.show(0, top(100.0), 7_000)
    assert tracker.crossed() == [(0, 1)]


def test_an_absurd_difference_is_counted_and_no_opportunity():
    tracker = two()
    tracker.show(1, top(115.0), 2_000)
    assert tracker.crossed() == [] and int(tracker.head["implausible"][0]) == 1


def test_fees_of_both_sides_are_taken_off():
    tracker = Tracker([("BTCUSDT", 30_000, 1), ("BTC-USDT", 40_000, 1)], 0, 0, 100 * MS)
    tracker.show(0, (99 * E8, E8, 100 * E8, E8), 1_000)
    tracker.show(1, (101 * E8, E8, 102 * E8, E8), 1_001)
    # (101 x 0.9996 - 100 x 1.0003) / 100, in 1e-8
    assert int(tracker.row(0, 1)["net"]) == (101 * (E8 - 40_000) - 100 * (E8 + 30_000)) // 100


def test_packs_are_compared_in_the_largest():
    tracker = Tracker([("1000PEPEUSDT", 0, 10**8), ("PEPEUSDT", 0, 10**9)], 0, 0, 100 * MS)
    tracker.show(0, (1_200_000, E8, 1_201_000, E8), 1_000)
    tracker.show(1, (1_202, E8, 1_203, E8), 1_001)
    assert int(tracker.row(0, 1)["net"]) == (1_202_000 - 1_201_000) * E8 // 1_201_000
    # Whole PEPE-1000, and tens of PEPE: a hundredth of a pack.
    assert int(tracker.row(0, 1)["step"]) == E8


def test_a_price_that_has_no_int64_in_the_common_unit_does_not_count():
    tracker = Tracker([("1000PEPEUSDT", 0, 1), ("PEPEUSDT", 0, 1)], 0, 0, 100 * MS)
    tracker.show(0, (E8, E8, E8 + 1, E8), 1_000)
    tracker.show(1, (2**62, E8, 2**62 + 1, E8), 1_001)
    assert tracker.crossed() == [] and tracker.facts(0, 1)["net"] is None and int(tracker.head["implausible"][0]) == 0
