"""The fill model against a referee: thousands of orders on each capture, judged in the order in which things happened.

``-s`` prints the figures. The referee (fill_referee.py) shares no code with the venue and knows what no venue can know.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from capture_records import records_of
from data import DATA, needs_data
from fill_plan import LATENCY_NS, ends_at_venue, fills_at_venue, plan_of, takers_of
from fill_referee import Capture, End, Offered, Order, VenueOrder

pytestmark = needs_data
CAPTURES = (
    "binance-usdm-2024/usdm_btcusdt_20240808.gz",
    "binance-spot-2024/spot_btcusdt_20240808.gz",
    "binance-spot-2024/spot_ethusdt_20240808.gz",
)
BTC = 10**8
TAKER_EVERY_NS = 10_000_000


@dataclass
class Match:
    """One capture, what the venue is fed of it, and what really happened in it."""

    name: str
    capture: Capture
    truth: VenueOrder
    records: np.ndarray
    instruments: np.ndarray

    @property
    def tick(self) -> int:
        return int(self.instruments["tick"][0])


@pytest.fixture(scope="module", params=CAPTURES, ids=lambda path: Path(path).name[:12])
def match(request: pytest.FixtureRequest) -> Match:
    path = DATA / request.param
    capture = Capture(path)
    return Match(path.name, capture, VenueOrder(capture), *records_of(path))


def _shares(pairs: list[tuple[End, End]]) -> tuple[float, float]:
    """Shares of orders that end the same way with the same quantity, and of those at the same nanosecond."""
    same = [ours.at_ns == truth.at_ns for ours, truth in pairs if (ours.how, ours.filled) == (truth.how, truth.filled)]
    return len(same) / len(pairs), sum(same) / len(pairs)


def _groups(plan: list[Order], pairs: list[tuple[End, End]]) -> dict[str, list[tuple[End, End]]]:
    groups = defaultdict(list)
    for order, pair in zip(plan, pairs, strict=True):
        groups[order.what].append(pair)
        groups["taking" if not order.life_ns else "resting" if order.what != "large" else "large"].append(pair)
    return groups


def test_orders_end_as_the_referee_says(match):
    plan = plan_of(match.capture, match.tick, int(match.instruments["lot"][0]))
    ours = ends_at_venue(match.records, match.instruments, plan)
    pairs = list(zip(ours, (match.truth.end_of(order, LATENCY_NS, match.tick) for order in plan), strict=True))
    groups = _groups(plan, pairs)
    for what, some in groups.items():
        same, exact = _shares(some)
        early = sum(a.filled > b.filled for a, b in some)
        late = sum(a.filled < b.filled for a, b in some)
        print(f"{match.name} {what:9}{len(some):6} orders: same end {same:.3%}, same ns {exact:.3%}; "
              f"more filled {early}, less {late}")  # fmt: skip
    same, exact = _shares(groups["resting"])
    assert len(groups["resting"]) > 10_000 and sum(truth.filled > 0 for _, truth in groups["resting"]) > 3_900
    assert same >= 0.9995 and exact >= 0.985
    assert _shares(groups["taking"])[1] >= 0.999 and _shares(groups["large"])[0] >= 0.997


@pytest.mark.parametrize("reach", [0, 20])
def test_takers_never_get_more_than_the_market_has_offered(match, reach):
    """2 BTC (ETH) every 10 ms, far more than there is: what they took at a price by any moment had been displayed there."""
    plan = takers_of(match.capture, match.tick, 2 * BTC, TAKER_EVERY_NS, reach)
    fills, offered = fills_at_venue(match.records, match.instruments, plan), Offered(match.truth)
    taken, beyond = defaultdict(int), defaultdict(int)
    for fill in fills:
        level = 1 - plan[fill["order"]].side, int(fill["price"])
        taken[level] += int(fill["qty"])
        beyond[level] = max(beyond[level], taken[level] - offered.until(int(fill["at_ns"]), *level))
    print(f"{match.name} takers of 2, {reach} ticks: {len(plan)} orders took {sum(taken.values()) / BTC}, "
          f"{sum(max(x, 0) for x in beyond.values()) / BTC} beyond what was offered")  # fmt: skip
    assert sum(taken.values()) > 1000 * BTC
    assert max(beyond.values()) <= 0
