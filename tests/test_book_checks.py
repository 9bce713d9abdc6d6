"""Books are compared with the venue's own while the feed goes on: a right one is never called wrong, a wrong one is found and begun anew."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from binance_rig import Venue
from bybit_venue import bybit_venue
from live_rig import StageRig

from hftpipe.core.schema.records import ASK, BID, VALID
from hftpipe.core.trading.book import book_level
from hftpipe.transport.http.rest import RestClient
from hftpipe.venues.binance import wiring as wiring_module
from hftpipe.venues.binance.markets import Market, Request
from hftpipe.venues.binance.streams import Snapshots
from hftpipe.venues.live import keeper as keeper_module
from hftpipe.venues.live.compare import ALL, Compared, Difference, Known, NotMade, Whole, compare, reach
from hftpipe.venues.live.source import LIVE

pytest.importorskip("aiohttp", reason="the simulated venues need aiohttp (hftpipe[sim])")

# --- what is compared ---------------------------------------------------------------------------


class Changing:
    """A book that changes, one level at a number, and the updates that are told of it."""

    def __init__(self, rng: random.Random, is_named: bool) -> None:
        self.rng, self.is_named = rng, is_named
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        #: Both sides as they were at each number.
        self.history: list[tuple[dict[int, int], dict[int, int]]] = [({}, {})]

    def change(self) -> tuple[int, int]:
        side = self.rng.randrange(2)
        price, qty = self.rng.randrange(1, 30) + 100 * side, self.rng.choice((0, 0, 1, 2, 3))
        self.sides[side][price] = qty
        if not qty:
            del self.sides[side][price]
        self.history.append((dict(self.sides[0]), dict(self.sides[1])))
        return side, price

    def update(self, number: int) -> Whole:
        """What the next update tells: of some changes all prices that they touched, or those that are other than before."""
        before = self.history[-1]
        touched = [self.change() for _ in range(self.rng.randrange(1, 5))]
        changed: tuple[dict[int, int], dict[int, int]] = {}, {}
        for side, price in touched:
            qty = self.sides[side].get(price, 0)
            if self.is_named or qty != before[side].get(price, 0):
                changed[side][price] = qty
        return Whole(len(self.history) - 1, number, *changed)

    def at(self, moment: int, number: int = 0) -> Whole:
        return Whole(moment, number, *self.history[moment])


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_a_right_book_is_never_called_wrong_and_a_lost_level_always(seed: int, is_named: bool) -> None:
    market = Changing(random.Random(seed), is_named)
    for number in range(1, 6):
        market.update(number)
    start = len(market.history) - 1
    ours = market.at(start, 5)
    updates = [market.update(number) for number in range(6, 16)]
    ends, made = {start, *(one.moment for one in updates)}, 0
    for moment in range(len(market.history)):
        theirs = market.at(moment)
        try:
            assert compare(ours, updates, theirs, is_named).wrong == []
        except NotMade:
            assert moment < start or (not is_named and moment not in ends)
            continue
        made += 1
        # A level of ours that nothing has named since.
        last = next((one.moment for one in updates if one.moment >= moment), start)
        named = {price for one in updates if one.moment <= last for price in one.bids}
        for price in market.history[start][0].keys() - named:
            bids = {known: qty for known, qty in ours.bids.items() if known != price}
            (found,) = compare(ours._replace(bids=bids), updates, theirs, is_named).wrong
            assert found == Difference(BID, price, 0, theirs.bids[price])
    assert made == (len(market.history) - start if is_named else len(ends))


def test_what_is_beyond_what_either_knows_is_not_compared() -> None:
    ours = Whole(7, 7, {100: 1, 99: 2, 90: 5}, {101: 1, 120: 9}, Known(95, 110))
    theirs = Whole(7, 7, {100: 1, 99: 2, 94: 8}, {101: 1, 105: 3, 109: 4}, Known(94, 105))
    assert compare(ours, [], theirs, True) == Compared(
        [Difference(ASK, 105, 0, 3)], [Difference(BID, 94, 0, 8)], 4, False
    )
    beyond = compare(ours._replace(known=ALL), [], theirs._replace(known=ALL), True).wrong
    assert [(one.side, one.price) for one in beyond] == [(BID, 94), (BID, 90), (ASK, 105), (ASK, 109), (ASK, 120)]


def test_a_book_that_the_market_has_half_left_has_something_to_learn() -> None:
    ours = Whole(7, 7, {100: 1, 99: 2, 80: 9}, {101: 1}, Known(99, None))
    theirs = Whole(7, 7, {100: 1, 99: 2, 98: 3, 97: 4, 96: 5}, {101: 1}, Known(90, None))
    made = compare(ours, [], theirs, True)
    assert not made.wrong and made.is_far and [one.price for one in made.unknown] == [98, 97, 96]
    assert reach(ours.known, theirs.known) == Known(90, None) and reach(ALL, theirs.known) == ALL
    lost = ours._replace(known=Known(150, 50))
    assert compare(lost, [], theirs, True).levels == 0, "nothing is left to compare"


def test_updates_that_are_old_already_are_left_out() -> None:
    ours = Whole(50, 9, {100: 1}, {})
    updates = [Whole(40, 8, {100: 7}, {}), Whole(50, 9, {100: 7}, {}), Whole(60, 10, {101: 2}, {})]
    assert compare(ours, updates, Whole(60, 3, {100: 1, 101: 2}, {}), False).wrong == []


# --- against the simulated venues ---------------------------------------------------------------


@pytest.fixture(scope="module")
def binance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 200)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bybit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", 30)
    yield made
    made.close()


class Rig(StageRig):
    """The stage on a simulated venue, its books compared as often as can be."""

    def __init__(self, caplog: pytest.LogCaptureFixture, venue: Venue, market: str) -> None:
        ticks = {"BTCUSDT": ("0.10", "0.001"), "ETHUSDT": ("0.01", "0.001")}
        if market.endswith("spot"):
            ticks = {"BTCUSDT": ("0.01", "0.00001"), "ETHUSDT": ("0.01", "0.0001")}
        tables = [
            {"symbol": symbol, "tick_size": tick, "lot_size": lot, "min_notional": "5", "reference_price": "100"}
            for symbol, (tick, lot) in ticks.items()
        ]
        super().__init__(
            caplog, None,
            {
                "pipeline.venue": market, "live.server": f"http://127.0.0.1:{venue.port}", "instruments": tables,
                "live.book_check_s": 0.02,
            },
        )  # fmt: skip

    def counted(self, name: str) -> int:
        return int(self.pipeline.segment.region("market.source")[: LIVE.itemsize].view(LIVE)[name][0])

    def told(self) -> object:
        return {name: self.counted(name) for name in ("book_checks", "checks_skipped", "book_mismatches")}


MARKETS = [("binance", "binance_usdm"), ("binance", "binance_spot"), ("bybit", "bybit_linear"), ("bybit", "bybit_spot")]


@pytest.mark.parametrize(("which", "market"), MARKETS)
def test_a_level_that_is_lost_without_a_gap_is_found_and_mended(
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    market: str,
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.05)
    venue = request.getfixturevalue(which)
    rig = Rig(caplog, venue, market)
    rig.until(lambda: rig.counted("book_checks") >= 20, 90)
    assert rig.counted("book_mismatches") == 0 and int(rig.state["invalidations"][0]) == 0 and rig.said() == ""
    key = "omit_next_depth" if which == "binance" else "omit_next_book"
    venue.control(**{key: 6, "symbol": "ETHUSDT", "market": market.partition("_")[2]})
    rig.until(lambda: rig.counted("book_mismatches") >= 1, 90)
    assert "ETHUSDT: the book is not the venue's at update " in rig.said() and "it begins anew" in rig.said()
    assert "BTCUSDT: the book" not in rig.said()
    venue.control(**{key: 0})
    rig.until(lambda: all(state == VALID for state in rig.states()))
    # What was lost just before may be found once more.
    found, checks = rig.counted("book_mismatches") + 1, rig.counted("book_checks")
    rig.until(lambda: rig.counted("book_checks") >= checks + 20, 90)
    assert rig.counted("book_mismatches") <= found and all(state == VALID for state in rig.states())
    rig.close()


def test_levels_that_the_market_comes_near_are_learned_from_the_venue(
    binance: Venue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshots of 20 levels a side: without learning the book would soon lack most of what is near the market."""

    def small(client: RestClient, market: Market) -> Snapshots:
        few = Request(market.depth.path, 2, {"limit": "20"})
        return Snapshots(client, replace(market, depth=few, shallow_depth=few))

    monkeypatch.setattr(wiring_module, "Snapshots", small)
    rig = Rig(caplog, binance, "binance_usdm")

    def is_the_engines() -> bool:
        """Whether the best levels of each side, half of what a snapshot has, are the engine's."""
        for index, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
            answer = binance.json("/fapi/v1/depth", symbol=symbol, limit=20)
            for side, name in ((BID, "bids"), (ASK, "asks")):
                held = [(round(float(price) * 1e8), round(float(qty) * 1e8)) for price, qty in answer[name][:10]]
                rows = (book_level(np.uint64(rig.books_at[index]), side, np.int64(level)) for level in range(len(held)))
                if rig.states()[index] != VALID or [(int(price), int(qty)) for price, qty in rows] != held:
                    return False
        return True

    rig.until(lambda: rig.counted("levels_learned") >= 60, 90)
    with binance.frozen():
        learned = rig.counted("levels_learned")
        checks = rig.counted("book_checks") + rig.counted("checks_skipped")
        rig.until(lambda: rig.counted("book_checks") + rig.counted("checks_skipped") >= checks + 6, 90)
        rig.until(is_the_engines)
        assert rig.counted("levels_learned") >= learned
    assert rig.counted("book_mismatches") == 0 and int(rig.state["invalidations"][0]) == 0 and rig.said() == ""
    rig.close()
