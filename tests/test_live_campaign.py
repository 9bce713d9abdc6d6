"""Campaigns on live venues: short ones hold, and what they look for is found."""

import json
import random
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from binance_rig import PlainBook

from hftpipe.simulation.live_campaign import disconnects, soak
from hftpipe.simulation.live_campaign.checks import SAME_LEVELS, difference
from hftpipe.simulation.live_campaign.flood import Flood
from hftpipe.simulation.live_campaign.kinds import KINDS, MINUTE_S, WEIGHT_PER_MIN, Plan


def test_lost_connections_of_two_venues_come_back_right_with_all_orders_and_fills(tmp_path: Path) -> None:
    campaign = disconnects.Campaign(tmp_path, seed=1, symbols=16, connections=2, rate_per_s=100.0)
    try:
        said: list[str] = []
        found = disconnects.run_campaign(campaign, 4, said.append)
    finally:
        campaign.close()
    # How long it took is no matter for a machine that does other things meanwhile.
    problems = [one for one in found["problems"] if "books were back after" not in one]
    assert not problems, "".join(said)
    assert sum(one["lost"] for one in found["losses"]) > 0 and all(one["compared"] for one in found["losses"])
    assert found["orders"] > 0


def test_a_short_soak_is_flat(tmp_path: Path) -> None:
    made = soak.Soak(tmp_path, 4_000.0)
    try:
        found = soak.run_soak(made, 15.0, 0.5, lambda text: None)
    finally:
        made.close()
    assert not found["problems"] and found["sent"] > 1_000
    assert {"supervisor", "strategy", "risk"} <= {one["name"].partition(" ")[0] for one in found["processes"]}


def _book() -> dict[str, Any]:
    bids, asks = ([[price, 10 + price % 3] for price in prices] for prices in (range(100, 60, -1), range(101, 141)))
    return {"id": 7, "bids": bids, "asks": asks, "top": [*bids[0], *asks[0]]}


def test_a_book_that_is_not_the_venues_is_found_wherever_it_differs() -> None:
    truth = _book()
    assert difference(_book(), truth) == ""
    for side, at in (("bids", 0), ("asks", SAME_LEVELS - 1), ("bids", SAME_LEVELS + 5)):
        ours = _book()
        ours[side][at][1] += 1
        assert difference(ours, truth).startswith(side)
    gone, late = _book(), _book()
    del gone["asks"][3]
    late["top"][1] += 1
    assert difference(gone, truth).startswith("asks[3]") and difference(late, truth).startswith("top")
    # What lies beyond the levels that are followed may be unknown; what is there must be the venue's.
    short, long = _book(), _book()
    del short["bids"][30:]
    long["bids"].append([50, 1])
    assert difference(short, truth) == "" and difference(long, truth).startswith("bids")


def test_losses_are_drawn_within_what_the_venue_gives_snapshots_for() -> None:
    venues: Any = [SimpleNamespace(protocol=one) for one in ("binance", "bybit")]
    plan, drawn, spent = Plan(random.Random(1), venues, [250, 250], 5, "shallow"), [], list[tuple[float, int]]()
    for second in range(0, 1200, 3):
        if loss := plan.next(float(second)):
            drawn.append(loss)
            books = {"all": 250, "one": 50}[loss.kind.share] if 0 in loss.asked else 0
            spent.append((float(second), 5 * books))
        assert sum(cost for at, cost in spent if at >= second - MINUTE_S) <= WEIGHT_PER_MIN
    assert {one.kind.name for one in drawn} == {one.name for one in KINDS} and len(drawn) > 100


@pytest.mark.parametrize(
    ("field", "values", "is_flat"),
    [
        ("pss", [50_000_000 + 900 * n for n in range(100)], True),
        ("pss", [50_000_000 + 40_000 * n for n in range(100)], False),
        ("descriptors", [9, 10] * 50, True),
        ("descriptors", [9] * 60 + [10] * 40, False),
        ("threads", [4 + n // 20 for n in range(100)], False),
    ],
)
def test_what_grows_is_found_and_what_is_flat_is_not(field: str, values: list[int], is_flat: bool) -> None:
    seen = soak.Samples("risk", [float(n) for n in range(100)])
    for name, level in (("pss", 50_000_000), ("rss", 60_000_000), ("descriptors", 9), ("threads", 4)):
        setattr(seen, name, values if name == field else [level] * 100)
    _, problems = soak.judge(seen, 10.0)
    assert (problems == []) is is_flat, problems


def test_what_the_flood_sends_is_a_book_by_the_venues_rules() -> None:
    flood = Flood(["AUSDT"], 1.0)
    try:
        book = next(iter(flood.books.values()))
        plain, tops = PlainBook.of(json.loads(book.snapshot(1)), usdm=True), 0
        for _ in range(400):
            message = json.loads(book.next(2))["data"]
            if message["e"] == "depthUpdate":
                plain.apply(message)
            elif message["e"] == "bookTicker":
                assert plain.top() == tuple(Decimal(message[key]) for key in "bBaA")
                tops += 1
        whole = PlainBook.of(json.loads(book.snapshot(3)), usdm=True)
        assert plain.sides() == whole.sides() and plain.id == whole.id and tops > 50
    finally:
        flood.close()
