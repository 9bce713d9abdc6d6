"""The arbitrage: it earns where a market lags, rests where none does, and never holds more of one leg than it may."""

import io
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_rig import START_NS, TURN_NS, turns
from leg_rig import LARGEST, UNHEDGED, Venues, arbitrage
from rich.console import Console
from strategy_rig import E8, LOT, Rig
from test_replay_verify import record_run, verify
from test_run import LIMIT_S, REPO, start

from hftpipe.config import load
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BID, BUY, INVALID, IOC, NEW, REJECT, SELL, VALID
from hftpipe.core.schema.spreads import SPREADS
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.monitor.metrics import snapshot
from hftpipe.monitor.opportunities import look, screen
from hftpipe.monitor.summary import summarise
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline

CONFIGS = [REPO / "configs" / f"{name}.toml" for name in ("paper", "risk_limits", "two_venues", "arbitrage")]
EXTRA = [text for path in CONFIGS[2:] for text in ("--config", str(path))]
SEEDS = range(1, 6)
TURNS = 400


# --- two embedded markets ---


def demo(seed: int, lag_ms: int, basis_bps: float = 0.0, **more: Any) -> Pipeline:
    """The pipeline of the configuration files with other seeds and another lag of beta."""
    as_configured = load(CONFIGS, {})
    venues = [
        {"name": one.name, "market": {"seed": 2 * seed + at, "fair_seed": seed,
                                      "fair_lag_ms": lag_ms if at else 0, "fair_basis_bps": basis_bps if at else 0.0},
         "sim": {"latency_new_us": one.sim.latency_new_us}}
        for at, one in enumerate(as_configured.venues)
    ]  # fmt: skip
    config = load(CONFIGS, {}, {"venues": venues, **more})
    strategy = load_strategy("arbitrage", dict(config.strategy.effective_params()))
    return Pipeline(config, [strategy], 1, START_NS, PrivateSegment)


class Playing:
    """A pipeline in one thread on simulated time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.now = pipeline, START_NS
        runners = [pipeline.stages[stage] for stage in pipeline.graph.stages]
        self._steps = np.array([one.step for one in runners], np.uint64)
        self._states = np.array([one.state for one in runners], np.uint64)

    def play(self, seconds: float) -> None:
        count = round(seconds * 1e9) // TURN_NS
        turns(self._steps, self._states, np.int64(self.now), np.int64(count))
        self.now += count * TURN_NS

    def held(self) -> list[int]:
        """Positions as risk has booked them."""
        return [int(qty) for qty in self.pipeline.segment.region("risk.positions").view(POSITION)["qty"]]

    def summary(self) -> dict[str, Any]:
        return summarise(snapshot(self.pipeline.segment), {})


@cache
def run_of(seed: int, lag_ms: int) -> tuple[Playing, dict[str, Any]]:
    playing = Playing(demo(seed, lag_ms))
    playing.play(30.0)
    return playing, playing.summary()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_market_that_lags_is_earned_from_after_all_fees(seed):
    playing, summary = run_of(seed, 150)
    assert summary["pnl_parts"]["net"] > 0 < summary["pnl_parts"]["fees"], summary["pnl_parts"]
    assert summary["fills"] >= 20 and summary["maker_fills"] == 0
    assert abs(sum(playing.held())) <= 0.002 * E8 and max(map(abs, playing.held())) <= 0.005 * E8
    assert not summary["faults"] and not summary["rejects"], summary["rejects"]


@pytest.mark.parametrize("seed", SEEDS)
def test_markets_that_agree_are_not_traded_in_at_all(seed):
    playing, summary = run_of(seed, 0)
    assert summary["orders"] == 0 and summary["intents"] == 0
    facts = look(playing.pipeline.segment)
    assert facts["spreads"] == 2 and facts["crossings"] == 0
    assert all(one.net_bps is not None and one.net_bps < 0 for one in facts["opportunities"])


def test_a_basis_between_the_markets_is_one_opportunity_that_stands_and_is_taken_once():
    playing = Playing(demo(1, 0, basis_bps=12.0))
    playing.play(5.0)
    assert playing.held() == [round(0.001 * E8), -round(0.001 * E8)]
    best = look(playing.pipeline.segment)["opportunities"][0]
    assert best.buy == "alpha:BTCUSDT" and best.times == 1 and 4_000 < best.stands_ms < 5_000


def test_a_market_follows_the_other_by_its_lag_and_no_other_way():
    """The mid of beta, 150 ms later, is that of alpha to within a spread, though each has its own order flow."""
    playing, mids = Playing(demo(3, 150)), []
    for _ in range(2_000):
        playing.play(0.01)
        shown = snapshot(playing.pipeline.segment).instruments.shown
        mids.append([one.mid for one in sorted(shown, key=lambda one: one.symbol)])
    alpha, beta = np.array(mids[100:], float).T
    apart = {lag: float(np.median(np.abs(beta[lag:] / alpha[: len(alpha) - lag] - 1))) for lag in (0, 15, 30)}
    assert apart[15] < 1.5e-4 and apart[15] < min(apart[0], apart[30]), apart


def test_a_leg_that_a_venue_always_refuses_leaves_no_more_than_the_limit_unhedged():
    """Beta's limit lets no order pass: each round is taken back at alpha, and the next one waits."""
    playing = Playing(demo(2, 150, **{"risk.limits.beta:BTCUSDT.max_position": "0.0001"}))
    worst = 0
    for _ in range(15_000):
        playing.play(0.001)
        worst = max(worst, abs(sum(playing.held())))
    assert 0 < worst <= 0.002 * E8 and playing.held() == [0, 0]
    me = playing.pipeline.segment.region("strategy.self").view(playing.pipeline.strategies[0].dtype)[0]
    assert me["rounds"] == me["mended"] > 0 and set(playing.summary()["rejects"]) == {"max_position"}


def test_the_opportunities_are_shown_with_how_long_they_stood():
    playing, _ = run_of(1, 150)
    facts = look(playing.pipeline.segment)
    assert facts["threshold_bps"] == 2.0 and facts["crossings"] == sum(one.times for one in facts["opportunities"]) > 0
    for one in facts["opportunities"]:
        assert {one.buy, one.sell} == {"alpha:BTCUSDT", "beta:BTCUSDT"} and one.name == "BTCUSDT"
        assert 2.0 <= one.best_bps < 50 and 0 < one.longest_ms <= one.total_ms < 30_000
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(screen(facts))
    text = console.export_text()
    assert "alpha:BTCUSDT" in text and "net bps" in text


# --- legs that do not come ---


@pytest.mark.parametrize("policy", [0, 1], ids=["hedge", "unwind"])
@pytest.mark.parametrize("listed", ["one unit", "packs"])
def test_whatever_the_venues_do_no_more_is_unhedged_than_is_allowed(policy, listed):
    """A hundred seeds each: silent, refusing, late and halted venues. The checker knows the executions alone."""
    loaded, rounds, worst = arbitrage(policy), 0, 0
    for seed in range(100):
        venues = Venues(seed, loaded, listed)
        for _ in range(TURNS):
            venues.turn()
            executed = venues.executed
            assert executed.worst <= UNHEDGED, f"seed {seed}: {executed.worst / E8} unhedged"
            for held, units in zip(executed.held, executed.units, strict=True):
                assert abs(held) // units <= LARGEST, f"seed {seed}"
        venues.calm()
        assert executed.unhedged == 0, f"seed {seed}: {executed.unhedged / E8} was left"
        rounds, worst = rounds + int(venues.rig.self_record["rounds"]), max(worst, executed.worst)
    assert rounds > 500 and worst > 0


def test_the_checker_sees_a_strategy_that_holds_more():
    loaded = arbitrage(0, order_size="0.02", max_unhedged="1")
    found = 0
    for seed in range(20):
        venues = Venues(seed, loaded)
        for _ in range(TURNS):
            venues.turn()
        found += venues.executed.worst > UNHEDGED
    assert found >= 5


def crossed(policy: int = 0) -> tuple[Rig, list[Any]]:
    """Two books, of which the second is bid 20 basis points above the ask of the first: both legs of a round."""
    rig = Rig(arbitrage(policy), listed=("BTCUSDT", "BTC-USDT"), fees=(20_000, 30_000))
    for at, price in enumerate((100.0, 100.3)):
        rig.book_state(VALID, at)
        rig.levels((BID, price - 0.1, 1.0), (1, price, 1.0), instrument=at)
    legs = rig.run()
    assert [(int(leg["instrument"]), int(leg["side"])) for leg in legs] == [(0, BUY), (1, SELL)]
    return rig, legs


def test_both_legs_go_at_the_prices_seen_and_in_one_quantity():
    _, (buy, sell) = crossed()
    assert (buy["kind"], buy["flags"], buy["price"]) == (NEW, IOC, 100 * E8)
    assert (sell["flags"], sell["price"]) == (IOC, round(100.2 * E8)) and buy["qty"] == sell["qty"] == 10 * LOT


@pytest.mark.parametrize(("policy", "at", "side"), [(0, 1, SELL), (1, 0, SELL)], ids=["hedged", "unwound"])
def test_a_refused_leg_is_hedged_or_the_other_unwound_as_configured(policy, at, side):
    rig, (buy, sell) = crossed(policy)
    rig.fill(buy)
    rig.update(REJECT, sell["id"], instrument=1, side=SELL, price=sell["price"], qty=sell["qty"], flags=11)
    rig.timer()
    (mend,) = rig.run()
    assert (int(mend["instrument"]), int(mend["side"]), int(mend["qty"])) == (at, side, 10 * LOT)


def test_a_leg_is_waited_for_until_its_time_is_over_and_then_cancelled():
    rig, (buy, sell) = crossed()
    rig.fill(buy)
    rig.timer(19_000_000)
    assert rig.run() == []
    rig.timer(2_000_000)
    cancel, mend = rig.run()
    assert cancel["id"] == sell["id"] and mend["side"] == SELL and mend["qty"] == 10 * LOT


def test_a_mending_order_that_did_not_fill_is_followed_by_one_the_other_way():
    rig, (buy, sell) = crossed()
    rig.fill(buy)
    for order, at in ((sell, 1), (None, 0)):
        taken = rig.run() if order is None else [order]
        rig.update(REJECT, taken[-1]["id"], instrument=at, side=SELL, qty=10 * LOT, flags=11)
        rig.timer(25_000_000)
    (again,) = rig.run()
    assert again["side"] == SELL and again["instrument"] in (0, 1)


def test_nothing_is_traded_while_halted_and_a_leg_is_mended_after_it():
    rig, (buy, sell) = crossed()
    rig.fill(buy)
    rig.halt()
    rig.update(REJECT, sell["id"], instrument=1, side=SELL, qty=10 * LOT, flags=1)
    rig.timer(100_000_000)
    assert rig.run() == []
    rig.halt(False)
    rig.timer(1_000_000)
    assert [int(one["side"]) for one in rig.run()] == [SELL]


def test_a_book_that_is_not_valid_is_not_mended_in():
    rig, (buy, sell) = crossed()
    rig.book_state(INVALID, 1)
    rig.fill(buy)
    rig.update(REJECT, sell["id"], instrument=1, side=SELL, qty=10 * LOT, flags=11)
    rig.timer()
    (mend,) = rig.run()
    assert (mend["instrument"], mend["side"]) == (0, SELL)


# --- as a user runs it ---


def test_a_recorded_arbitrage_replays_identically(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "arb"
    busy = ("--speed", "max", "--set", "market.fair_news_per_s=4", "--duration", "4", "--processes", "1")
    summary = record_run(folder, *EXTRA, *busy, name=f"test-arb-{os.getpid()}")
    assert summary["fills"] > 0, summary
    assert verify(Path(summary["recording"]["session"])) == 0
    assert "IDENTICAL" in capsys.readouterr().out.upper()


def test_the_command_shows_a_running_pipeline_and_names_one_that_is_not_there():
    name = f"t-opp-{os.getpid()}"
    command = [sys.executable, "-c", "from hftpipe.cli import main; main()", "opportunities", name]
    process = start(name, *EXTRA, "--duration", "60", "--processes", "2")
    try:
        code = "import sys; from hftpipe.cli import app; app(standalone_mode=False); assert 'numba' not in sys.modules"
        seen = subprocess.run(
            [sys.executable, "-c", code, "opportunities", name, "--json"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert seen.returncode == 0, seen.stderr
        facts = json.loads(seen.stdout)
        assert facts["spreads"] == 2 and facts["pipeline"] == name and len(facts["opportunities"]) == 2
        wide = {**os.environ, "COLUMNS": "160"}
        shown = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=LIMIT_S, env=wide)
        assert shown.returncode == 0 and "alpha:BTCUSDT" in shown.stdout and "longest ms" in shown.stdout
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)
    gone = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=LIMIT_S)
    assert gone.returncode == 2 and name in gone.stderr


def test_the_tracker_is_there_whatever_the_strategy_and_costs_one_venue_nothing():
    config = load([], {}, {})
    pipeline = Pipeline(config, [load_strategy("market_making")], 1, START_NS, PrivateSegment)
    assert pipeline.segment.record("strategy.spreads", SPREADS)["n_rows"][0] == 0
    assert look(pipeline.segment)["opportunities"] == []
