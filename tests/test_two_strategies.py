"""Several strategies in one run: each has its own instruments, parameters, positions and limits, and a fault of one is its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from demo_rig import paper_run
from running import CONFIGS, Running, configs, hftpipe

from hftpipe.config import ConfigError, load
from hftpipe.topology.strategies import load_strategies, seats_of

FILES = configs("paper", "risk_limits", "two_strategies")
ETH = {"symbol": "ETHUSDT", "tick_size": "0.01", "lot_size": "0.001", "min_notional": "5", "reference_price": "3000"}
INSTRUMENTS = [{"symbol": "BTCUSDT"}, ETH]
MAKER = {"spread_bps": 8.0, "order_size": 0.001, "reprice_threshold": 0.5, "max_inventory": 0.005}
ETH_MAKER = MAKER | {"order_size": 0.01, "max_inventory": 0.05}
LIMITED = {f"risk.limits.ETHUSDT.{name}": value for name, value in (
    ("max_order_qty", "0.1"), ("max_market_order_qty", "0.05"), ("max_order_notional", "2000"), ("max_position", "1"),
)}  # fmt: skip
RAISES = """
from hftpipe.strategy import BUY, Strategy, state


class Raises(Strategy):
    \"\"\"Quotes far away, and after a while fails.\"\"\"

    calls: int = state()
    levels: int = state(shape=4)

    def on_book(self, ctx, book):
        self.calls += 1
        ctx.quote(0, BUY, book.bid - 20 * ctx.tick(), 100000)
        if self.calls > 500:
            self.levels[self.calls] += 1
"""


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"HFTPIPE_STATE_DIR": str(tmp_path / "state")}


def entry(name: str, *instruments: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "strategy": "market_making", "instruments": list(instruments), "params": MAKER} | more


def together(*entries: dict[str, Any], seconds: float = 20, **settings: Any) -> dict[str, Any]:
    """A run in one thread on simulated time."""
    given = LIMITED | {"instruments": INSTRUMENTS, "strategies": list(entries)} | settings
    return paper_run(5, seconds, **{key.replace(".", "__"): value for key, value in given.items()})


def run_of(
    state: dict[str, str], tmp_path: Path, *flags: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    out = tmp_path / "summary.json"
    done = hftpipe(state, "run", *FILES, "--json", str(out), *flags)
    return done, json.loads(out.read_text())


def test_strategies_on_different_instruments_trade_as_if_each_were_alone() -> None:
    both = [entry("one", "BTCUSDT"), entry("other", "ETHUSDT", params=ETH_MAKER)]
    shared = together(*both)["strategies"]
    assert min(one["fills"] for one in shared.values()) > 3
    for alone in both:
        assert together(alone)["strategies"][alone["name"]] == shared[alone["name"]]


def test_what_the_strategies_earn_and_hold_adds_up_to_the_account() -> None:
    summary = together(entry("one", "*"), entry("other", "ETH*", params=ETH_MAKER), entry("third", "BTCUSDT"))
    each = summary["strategies"].values()
    for part in ("captured", "inventory", "fees", "net"):
        assert round(sum(one["pnl_parts"][part] for one in each), 8) == summary["pnl_parts"][part]
    for symbol, qty in summary["positions"].items():
        assert round(sum(one["positions"].get(symbol, 0) for one in each), 8) == qty
    assert sum(one["fills"] for one in each) == summary["fills"] > 0


def test_a_strategy_is_held_to_its_own_limits_and_the_others_are_not() -> None:
    free = together(entry("one", "BTCUSDT"), entry("other", "BTCUSDT"))
    small = together(entry("one", "BTCUSDT", max_position="0.001"), entry("other", "BTCUSDT"))
    assert "strategy_position" in small["rejects"] and "strategy_position" not in free["rejects"]
    assert abs(small["strategies"]["one"]["positions"].get("BTCUSDT", 0)) <= 0.001
    slow = together(entry("one", "BTCUSDT", orders_per_min=10), entry("other", "BTCUSDT"))
    assert "strategy_rate" not in slow["rejects"], "quotes keep within the rate"
    assert slow["strategies"]["one"]["intents_sent"] < free["strategies"]["one"]["intents_sent"] / 4
    for held in (small, slow):
        assert held["strategies"]["one"]["fills"] < free["strategies"]["one"]["fills"]
        assert held["strategies"]["other"]["fills"] >= free["strategies"]["other"]["fills"]


def test_the_example_runs_is_recorded_and_replays_identically(state: dict[str, str], tmp_path: Path) -> None:
    done, summary = run_of(
        state, tmp_path, "--name", "t-twos", "--duration", "5", "--record", str(tmp_path / "sessions")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert min(one["intents_sent"] for one in summary["strategies"].values()) > 0 and summary["faults"] == {}
    assert "maker" in done.stdout and "wide_maker" in done.stdout
    again = hftpipe(state, "replay", "--verify", summary["recording"]["session"])
    assert again.returncode == 0 and again.stdout.startswith("identical:"), again.stdout + again.stderr
    other = hftpipe(state, "replay", summary["recording"]["session"], "--strategy", "momentum")
    assert other.returncode == 2 and "maker, wide_maker" in other.stderr


def test_a_strategy_that_raises_is_halted_alone_and_stays_so(state: dict[str, str], tmp_path: Path) -> None:
    source, files = tmp_path / "raises.py", tmp_path / "three.toml"
    source.write_text(RAISES)
    text = (CONFIGS / "two_strategies.toml").read_text()
    files.write_text(text + f'\n[[strategies]]\nname = "bad"\nstrategy = "{source}:Raises"\n')
    flags = ("--config", str(files), "--name", "t-bad-one", "--duration", "5")
    done, summary = run_of(state, tmp_path, *flags, "--record", str(tmp_path / "sessions"))
    assert done.returncode == 1 and summary["reason"] == "duration reached", done.stderr
    assert summary["halted"] is None and summary["halted_scopes"] == {"strategy.bad": "strategy_fault"}
    assert (
        summary["strategies"]["bad"]["fault"]["exception"] == "IndexError"
        and summary["faults"]["strategy@bad.on_book"] == 1
    )
    assert "STRATEGY FAULT" in done.stdout and "bad: " in done.stdout
    calls = {name: one["callbacks"] for name, one in summary["strategies"].items()}
    assert calls["bad"] == 501 < calls["maker"], "the others go on"
    assert summary["stop"]["still_open"] == []
    replayed = hftpipe(state, "replay", "--verify", summary["recording"]["session"])
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical:"), replayed.stdout + replayed.stderr
    refused = hftpipe(state, "run", *FILES, *flags, "--set", "pipeline.on_latched_halt=refuse")
    assert refused.returncode == 2 and "strategy.bad is halted" in refused.stderr
    again, summary = run_of(state, tmp_path, *flags)
    assert summary["strategies"]["bad"]["intents_sent"] == 0 < summary["strategies"]["maker"]["intents_sent"], (
        again.stderr
    )
    assert hftpipe(state, "resume", "t-bad-one", "--strategy", "bad", "--yes").returncode == 0


def test_a_person_halts_one_strategy_and_changes_the_parameters_of_another(
    state: dict[str, str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text((CONFIGS / "two_strategies.toml").read_text())
    run = Running(
        state,
        tmp_path / "halted.json",
        "t-halt-one",
        f"--config={mine}",
        "--record",
        str(tmp_path / "sessions"),
        files=FILES[:2],
    )
    try:
        run.says("running")
        asked = hftpipe(state, "halt", "t-halt-one", "--strategy", "wide_maker", "--reason", "looks odd")
        assert asked.returncode == 0
        assert "looks odd" in run.says("trading is halted")["what"]
        mine.write_text(mine.read_text().replace("spread_bps = 8.0", "spread_bps = 8.5"))
        changed = run.says("strategy parameters changed")
        assert changed["strategy"] == "maker" and changed["new"]["spread_bps"] == 8.5
        time.sleep(1.0)
        summary = run.end()
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    assert summary["halted_scopes"] == {"strategy.wide_maker": "operator"} and summary["halted"] is None
    assert summary["counters"]["strategy"]["params_applied"] == 1
    replayed = hftpipe(state, "replay", "--verify", summary["recording"]["session"])
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical:"), replayed.stdout + replayed.stderr


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([entry("a"), entry("a")], "a stands twice"),
        ([{"strategy": "market_making"}], "strategies[0].name: missing"),
        ([entry("a", instruments=["btc"])], "strategies[0].instruments"),
        ([entry("a", max_position="0")], "strategies[0].max_position"),
        ([entry("a", on_fault="ignore")], "strategies[0].on_fault"),
        ([entry("a", speed=1)], "strategies[0].speed = 1: unknown key"),
        ([entry("a", params={"spread_bps": [1]})], "strategies[0].params.spread_bps"),
        ([entry("a", params=3)], "strategies[0].params"),
        ([entry(f"s{number}") for number in range(65)], "1 to 64 tables"),
    ],
)  # fmt: skip
def test_bad_strategies_are_refused_by_name(entries: list[dict[str, Any]], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load([], {}, {"strategies": entries})
    assert named in str(refused.value)


def test_a_strategy_of_no_instrument_is_refused_with_those_there_are() -> None:
    config = load([], {}, {"strategies": [entry("a", "SOL*")], "instruments": INSTRUMENTS})
    with pytest.raises(ConfigError, match=r"strategies: a\.instruments = \['SOL\*'\].*BTCUSDT, ETHUSDT"):
        seats_of(config, load_strategies(config))


def test_a_strategy_that_is_asked_for_beside_a_list_of_them_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hftpipe.cli import main; main()", "run", *FILES, "--strategy", "momentum"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 2 and "strategy.name" in done.stderr and "maker, wide_maker" in done.stderr
