"""The market a paper run trades in: what it is made of, and that it pays for making it sensibly and for nothing else."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_rig import paper_run
from memory import address, aligned

from hftpipe.config import load
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import ASK, BID, RECORD
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.flow.flow import FLOW_MAX_RECORDS, flow_book, flow_bytes, flow_init, flow_step
from hftpipe.simulation.flow.state import FLOW, FLOW_HEADER_BYTES
from hftpipe.simulation.matching.query import match_best
from hftpipe.topology.configured import instrument_rows
from hftpipe.venues.paper.demo import demo_market

REPO = Path(__file__).resolve().parents[1]
SEEDS = range(1, 11)
MINUTE = 60.0
BLIND = """
from hftpipe.strategy import BUY, SELL, Price, Qty, Strategy, param


class Blind(Strategy):
    \"\"\"Quotes a fixed distance from the mid, whatever that costs.\"\"\"

    half_bps: float = param(0.1, gt=0)
    size: Qty = param("0.001", gt=0)
    most: Qty = param("0.005", gt=0)

    def on_book(self, ctx, book):
        half = book.mid() * self.half_bps / 10_000
        bid = min(ctx.round_down(book.mid() - half), book.ask - ctx.tick())
        ask = max(ctx.round_up(book.mid() + half), book.bid + ctx.tick())
        ctx.quote(0, BUY, bid, self.size if ctx.position() < self.most else 0)
        ctx.quote(1, SELL, ask, self.size if ctx.position() > -self.most else 0)
"""


@cache
def reference(seed: int, seconds: float = MINUTE) -> dict[str, Any]:
    return paper_run(seed, seconds)


@pytest.fixture(scope="module")
def blind(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("blind") / "blind.py"
    file.write_text(BLIND)
    return f"{file}:Blind"


def e8(amount: float) -> int:
    return round(amount * 10**8)


def net(summary: dict[str, Any]) -> float:
    return summary["pnl_parts"]["net"]


# --- what it pays for ---


def test_reference_strategy_earns_in_at_least_eight_minutes_of_ten():
    earned = {seed: net(reference(seed)) for seed in SEEDS}
    assert sum(one > 0 for one in earned.values()) >= 8, earned
    assert all(reference(seed)["fills"] >= 30 for seed in SEEDS)


def test_a_blindly_tight_quote_loses(blind):
    lost = [net(paper_run(seed, MINUTE, blind)) for seed in SEEDS[:5]]
    assert max(lost) < 0, lost


def test_a_quote_that_only_earns_its_fee_back_loses_to_the_informed(blind):
    """2.1 bps on each side against a maker fee of 2.0."""
    lost = [net(paper_run(seed, MINUTE, blind, strategy__params__half_bps=2.1)) for seed in SEEDS]
    assert sum(lost) < 0 and sum(one < 0 for one in lost) >= 8, lost


def test_without_fees_a_tight_quote_still_loses_to_the_informed(blind):
    free = [{"symbol": "BTCUSDT", "maker_fee_bps": "0"}]
    runs = [paper_run(seed, MINUTE, blind, instruments=free) for seed in SEEDS[:5]]
    assert all(run["pnl_parts"]["fees"] == 0 for run in runs) and sum(map(net, runs)) < 0


def test_the_share_of_uninformed_takers_is_what_the_market_is_worth():
    def worth(uninformed_share: float) -> float:
        return sum(net(paper_run(seed, 30.0, market__uninformed_share=uninformed_share)) for seed in SEEDS[:4])

    assert worth(0.4) < 0 < worth(0.85) < worth(1.0)


# --- what a run says of itself ---


@pytest.mark.parametrize("seed", SEEDS)
def test_profit_is_explained_by_its_parts_to_the_last_unit(seed):
    summary = reference(seed)
    parts, pnl = summary["pnl_parts"], summary["pnl"]
    assert e8(parts["net"]) == e8(parts["captured"]) + e8(parts["inventory"]) - e8(parts["fees"])
    assert e8(parts["fees"]) == e8(parts["maker_fees"]) + e8(parts["taker_fees"]) == e8(pnl["fees"])
    assert e8(parts["net"]) == e8(pnl["realised"]) + e8(pnl["unrealised"]) - e8(pnl["fees"])
    assert parts["captured"] > 0 and summary["maker_fills"] == summary["fills"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_strategy_is_hardly_ever_refused(seed):
    summary = reference(seed)
    assert sum(summary["rejects"].values()) <= summary["intents"] / 100, summary["rejects"]
    assert not summary["faults"]


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_example_in_the_readme_is_hardly_ever_refused(tmp_path, seed):
    blocks = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "quoter.py"
    file.write_text(next(block for block in blocks if "class Quoter" in block))
    summary = paper_run(seed, MINUTE, f"{file}:Quoter")
    assert summary["fills"] > 0 and sum(summary["rejects"].values()) <= summary["intents"] / 100, summary["rejects"]


def test_the_same_seed_is_the_same_run_and_another_is_not():
    def facts(summary: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(str(summary[key]) for key in ("pnl_parts", "fills", "intents", "races", "events", "volume"))

    again = facts(paper_run(3, 20.0))
    assert again == facts(paper_run(3, 20.0)) != facts(paper_run(4, 20.0))


# --- what it is made of ---


class Flow:
    """The configured market's flow, event by event."""

    def __init__(
        self, seed: int, market: DemoMarket | None, row: np.void | None = None, rate: float = 2000.0, start_ts: int = 0
    ) -> None:
        self.memory = aligned(flow_bytes())
        self.row = instrument_rows(load([], {}, {}))[0] if row is None else row
        flow_init(self.memory, self.row, 0, seed, rate, start_ts, market)
        self.header = self.memory[:FLOW_HEADER_BYTES].view(FLOW)[0]
        self.out = np.zeros(FLOW_MAX_RECORDS, RECORD)

    def digest(self, events: int) -> str:
        """Of the records of so many events."""
        digest = hashlib.sha256()
        for _ in range(events):
            count = flow_step(address(self.memory), address(self.out), np.int64(FLOW_MAX_RECORDS))
            digest.update(self.out[:count].tobytes())
        return digest.hexdigest()[:16]

    def spreads_bps(self, events: int, every: int = 20) -> np.ndarray:
        book, spreads = np.uint64(flow_book(address(self.memory))), []
        for event in range(events):
            assert flow_step(address(self.memory), address(self.out), np.int64(FLOW_MAX_RECORDS)) > 0
            if event % every == 0:
                bid, ask = match_best(book, np.int64(BID))[0], match_best(book, np.int64(ASK))[0]
                assert 0 < bid < ask
                spreads.append(20_000 * (ask - bid) / (ask + bid))
        return np.array(spreads)


def test_the_configured_settings_are_the_default_ones():
    assert demo_market(load([], {}, {}).market) == DemoMarket()


@pytest.mark.parametrize(("market", "digest"), [(DemoMarket(), "b6a848c9b6a96a3c"), (None, "26e7e3362494ed15")])
def test_a_market_of_its_own_price_is_the_same_byte_by_byte_in_every_build(market, digest):
    flow = Flow(7, market, start_ts=10**18)
    assert flow.digest(20_000) == digest


def price_paths(seconds: float, *markets: DemoMarket) -> list[np.ndarray]:
    """Fair value of each market in ticks, once a millisecond; each has a flow of its own."""
    paths = []
    for seed, market in enumerate(markets):
        flow, path = Flow(seed, market, start_ts=10**18), []
        for at in range(round(seconds * 1000)):
            while flow.header["next_ts"] <= 10**18 + at * 10**6:
                assert flow_step(address(flow.memory), address(flow.out), np.int64(FLOW_MAX_RECORDS)) > 0
            path.append(float(flow.header["reference"] + flow.header["deviation"]))
        paths.append(np.array(path))
    return paths


def test_markets_of_one_fair_seed_have_one_price_and_others_have_not():
    one = DemoMarket(4.0, fair_seed=5)
    first, second, other = price_paths(3.0, one, one, DemoMarket(4.0, fair_seed=6))
    # Each follows at its own events, some of them a few milliseconds apart.
    assert np.median(np.abs(first / second - 1)) < 1e-5 and np.ptp(first) > 20
    assert np.median(np.abs(first / other - 1)) > 1e-4


def test_a_lag_is_the_same_path_later_and_a_basis_is_the_same_path_higher():
    plain, late, dear = price_paths(
        3.0, *(DemoMarket(4.0, fair_seed=5, fair_lag_ms=lag, fair_basis_bps=basis) for lag, basis in ((0, 0), (200, 0), (0, 20)))
    )  # fmt: skip
    assert np.median(np.abs(late[200:] / plain[:-200] - 1)) < 1e-5 < np.median(np.abs(late / plain - 1))
    assert np.ptp(late[:200]) == 0 and np.median(dear / plain) == pytest.approx(1.002, abs=1e-5)


@pytest.mark.parametrize("spread_bps", [4.0, 12.0, 40.0])
def test_the_typical_spread_is_the_one_asked_for(spread_bps):
    spreads = Flow(1, DemoMarket(spread_bps)).spreads_bps(60_000)
    assert np.median(spreads) == pytest.approx(spread_bps, rel=0.25)
    assert np.percentile(spreads, 99) < 3 * spread_bps


@pytest.mark.parametrize("share", [0.0, 0.5, 0.85, 1.0])
def test_the_share_of_uninformed_takers_is_the_one_asked_for(share):
    flow = Flow(2, DemoMarket(uninformed_share=share))
    flow.spreads_bps(150_000, every=1000)
    takers, informed = int(flow.header["takers"]), int(flow.header["informed"])
    assert takers > 100 and 1 - informed / takers == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize(
    ("tick", "lot", "price"),
    [(10**8, 10**8, 150 * 10**8), (1, 10**8, 1_200), (10**6, 1_000, 100_000 * 10**8)],
)
def test_every_kind_of_instrument_makes_such_a_market(tick, lot, price):
    row = np.zeros(1, INSTRUMENT)
    row["tick"], row["lot"], row["reference_price"] = tick, lot, price
    flow = Flow(3, DemoMarket(), row[0])
    flow.spreads_bps(20_000)
    assert flow.header["trades"] > 0


def test_the_price_keeps_near_its_reference_however_long_it_runs():
    flow = Flow(4, DemoMarket(uninformed_share=0.0))
    flow.spreads_bps(300_000, every=1000)
    assert abs(flow.header["deviation"]) <= flow.header["max_deviation"] <= 0.05 * flow.header["reference"]


@pytest.mark.parametrize("market", [{"spread_bps": 0.0}, {"spread_bps": 101.0}, {"uninformed_share": -0.1},
                                    {"uninformed_share": 1.1}, {"spread_bps": float("nan")},
                                    {"fair_lag_ms": -1}, {"fair_basis_bps": 101.0}, {"fair_news_ms": 0}])  # fmt: skip
def test_settings_that_make_no_market_are_refused(market):
    with pytest.raises(ValueError, match=r"spread_bps|uninformed_share|fair_"):
        DemoMarket(**market)
