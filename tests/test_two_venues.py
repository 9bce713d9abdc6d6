"""Two venues in one pipeline: each with its own feed and gateway, and a fault of one is not the other's."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Running, configs, hftpipe

from hftpipe.app.halt_scope import scope_of
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.halts import halted_scopes, set_scope
from hftpipe.core.shared.shm import Segment

_FILES = configs("paper", "risk_limits", "two_venues")
OWN_PROCESSES = 'pipeline.processes=[["market_data@alpha"],["market_data@beta"],["strategy"],["risk"],["gateway@alpha"],["gateway@beta"]]'


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return os.environ | {"HFTPIPE_STATE_DIR": str(tmp_path_factory.mktemp("state"))}


@pytest.fixture
def runs(state: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    started: list[Running] = []

    def start(name: str, *args: str) -> Running:
        started.append(Running(state, tmp_path / f"{name}.json", name, *args, files=_FILES))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def orders(summary: dict[str, Any]) -> dict[str, int]:
    return {venue: summary["counters"][f"gateway@{venue}"]["sent"] for venue in ("alpha", "beta")}


def test_both_venues_are_traded_recorded_and_replayed_identically(state: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "two.json"
    done = hftpipe(
        state, "run", *_FILES, "--name", "t-two", "--duration", "5", "--json", str(out), "--record", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert min(orders(summary).values()) > 0 and summary["faults"] == {}
    assert set(summary["positions"]) == {"alpha:BTCUSDT", "beta:BTCUSDT"}
    assert sum(summary["drops"].values()) == 0 and summary["stop"]["still_open"] == []
    again = hftpipe(state, "replay", "--verify", summary["recording"]["session"])
    assert again.returncode == 0 and again.stdout.startswith("identical:"), again.stdout + again.stderr


def test_a_dead_gateway_halts_its_venue_and_the_other_goes_on(runs: Any, state: dict[str, str]) -> None:
    run = runs("t-dead", "--set", OWN_PROCESSES, "--set", "pipeline.on_venue_fault=halt_venue")
    pids = run.says("pipeline started")["processes"]
    run.says("running")
    os.kill(pids[4], signal.SIGKILL)
    assert run.says("trading is halted")["scope"] == "venue.alpha"
    time.sleep(1.0)
    look = hftpipe(state, "top", "--name", "t-dead", "--once").stdout
    assert "HALTED: venue alpha" in look and "stage died" in look, look
    time.sleep(3.0)
    summary = run.end()
    assert run.process.returncode == 1 and set(summary["venue_faults"]) == {"alpha"}
    assert summary["halted"] is None and summary["latched_scopes"]["venue.alpha"]["cause"] == "stage_died"
    assert orders(summary)["beta"] > 0
    # It stays halted until a person clears it.
    again = hftpipe(state, "run", *_FILES, "--name", "t-dead", "--duration", "4", "--json", str(run.out))
    summary = json.loads(run.out.read_text())
    assert again.returncode == 0 and orders(summary)["alpha"] == 0 < orders(summary)["beta"], again.stdout
    assert hftpipe(state, "resume", "t-dead", "--venue", "alpha", "--yes").returncode == 0
    again = hftpipe(state, "run", *_FILES, "--name", "t-dead", "--duration", "4", "--json", str(run.out))
    assert min(orders(json.loads(run.out.read_text())).values()) > 0, again.stdout


def comes_back(name: str, scope: str) -> bool:
    """Whether a scope's halt is set again after its word was cleared, as by a person who resumes at the wrong moment."""
    segment = Segment.attach(name, is_writable=True)
    words, part = segment.region("halts"), scope_of(scope)
    set_scope(words, part.place(segment.meta), 0, steady_ns())
    return any(time.sleep(0.05) or scope in halted_scopes(words, segment.meta) for _ in range(100))


def test_a_fault_stands_above_a_halt_of_a_person_s_own_and_is_not_cleared_with_it(
    runs: Any, state: dict[str, str]
) -> None:
    run = runs("t-both", "--set", OWN_PROCESSES, "--set", "pipeline.on_venue_fault=halt_venue")
    pids = run.says("pipeline started")["processes"]
    run.says("running")
    assert hftpipe(state, "halt", "t-both", "--venue", "beta", "--reason", "maintenance").returncode == 0
    run.says("trading is halted")
    os.kill(pids[5], signal.SIGKILL)
    file = Path(state["HFTPIPE_STATE_DIR"]) / "hftpipe" / "t-both.halt.venue.beta"
    for _ in range(200):
        if "stage_died" in file.read_text():
            break
        time.sleep(0.05)
    refused = hftpipe(state, "resume", "t-both", "--venue", "beta", "--yes")
    assert refused.returncode == 2 and "is running" in refused.stderr and "stage_died" in refused.stdout
    assert comes_back("t-both", "venue.beta")
    summary = run.end()
    assert summary["latched_scopes"]["venue.beta"]["cause"] == "stage_died"
    history = (Path(state["HFTPIPE_STATE_DIR"]) / "hftpipe" / "t-both.halts").read_text()
    assert "maintenance" in history and history.count('"operator"') == 1


def test_a_dead_gateway_ends_the_run_where_the_strategy_uses_its_venue(runs: Any) -> None:
    run = runs("t-ends", "--set", OWN_PROCESSES)
    pids = run.says("pipeline started")["processes"]
    run.says("running")
    os.kill(pids[4], signal.SIGKILL)
    run.process.wait(60)
    summary = json.loads(run.out.read_text())
    assert run.process.returncode == 1 and summary["halted"] == "stage_died" and "gateway@alpha" in summary["reason"]


@pytest.mark.parametrize("scope", ["--venue=alpha", "--instrument=alpha:BTCUSDT"])
def test_a_person_halts_a_part_of_a_running_pipeline_and_resumes_it(
    runs: Any, state: dict[str, str], scope: str
) -> None:
    run = runs("t-part", "--record", str(Path(state["HFTPIPE_STATE_DIR"]) / "sessions"))
    run.says("running")
    assert hftpipe(state, "halt", "t-part", scope, "--reason", "looks odd").returncode == 0
    run.says("trading is halted")
    time.sleep(2.5)
    cleared = hftpipe(state, "resume", "t-part", scope, "--yes")
    assert cleared.returncode == 0 and "it trades again" in cleared.stdout
    time.sleep(3.0)
    summary = run.end()
    assert run.process.returncode == 0 and min(orders(summary).values()) > 0
    assert summary["halted"] is None and summary["latched_scopes"] == {}
    again = hftpipe(state, "replay", "--verify", summary["recording"]["session"])
    assert again.returncode == 0 and again.stdout.startswith("identical:"), again.stdout + again.stderr


def test_a_scope_that_the_pipeline_has_not_is_named(runs: Any, state: dict[str, str]) -> None:
    run = runs("t-none")
    run.says("running")
    refused = hftpipe(state, "halt", "t-none", "--venue", "gamma")
    assert refused.returncode == 2 and "--venue gamma" in refused.stderr and "alpha, beta" in refused.stderr
    both = hftpipe(state, "halt", "t-none", "--venue", "alpha", "--instrument", "alpha:BTCUSDT")
    assert both.returncode == 2 and "one of them at a time" in both.stderr
    assert run.end()["latched_scopes"] == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[venues]]\nname = "alpha"\n[[venues]]\nname = "alpha"', "alpha stands twice"),
        ('[[venues]]\nname = "a"\nkind = "nowhere"', "nowhere"),
        ('[[venues]]\nkind = "paper"', "venues[0].name: missing"),
        ('[[venues]]\nname = "a"\nspeed = "2"', "venues[0].speed"),
        ('[[venues]]\nname = "a"\n[venues.market]\nseed = "x"', "venues[0].market.seed"),
        ('[[venues]]\nname = "a"\n[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "b"', "instruments[0].venue = b"),
        (
            '[[venues]]\nname = "a"\n[[venues]]\nname = "b"\n[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "a"',
            "none of venue b",
        ),
        (
            '[[venues]]\nname = "a"\n[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "a"\n'
            '[risk.limits."gamma:BTCUSDT"]\nmax_position = "1"',
            "gamma:BTCUSDT.max_position",
        ),
        ('[pipeline]\nprocesses = [["market_data"],["strategy","risk"],["gateway@c"]]', "gateway@c"),
    ],
)
def test_bad_venues_are_refused_by_name(state: dict[str, str], tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    done = hftpipe(state, "run", "--config", str(file), "--duration", "1", "--name", "t-bad")
    assert done.returncode == 2 and named in done.stderr, done.stderr
