"""The kill switch beside real pipelines: what it stops, with whom dead or standing still, and what outlives the run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import Running, configs, hftpipe
from test_kill_switch import JSON, RESET, Ask, asking

from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.shm import Segment
from hftpipe.core.trading.order_table import TABLE
from hftpipe.topology.sizes import STATE_OF

BUSY = ("--set", "risk.limits.BTCUSDT.orders_per_min=60000", "--set", "risk.limits.BTCUSDT.orders_per_s=1000")
OWN = (
    "--set",
    "kill_switch.enabled=true",
    "--set",
    "kill_switch.address=127.0.0.1:0",
    "--cpus",
    "0-1",
    "--processes",
    "4",
)
ENOUGH_S = 20.0


def env(**more: str) -> dict[str, str]:
    return {**os.environ, "HFTPIPE_SECRET_RESET_TOKEN": RESET, **more}


@contextmanager
def running(tmp_path: Path, name: str, *flags: str) -> Iterator[tuple[Running, Ask]]:
    """A run with its kill switch, which trades."""
    one = Running(env(), tmp_path / f"{name}.json", name, *OWN, *BUSY, *flags, files=configs("paper", "risk_limits"))
    try:
        host, _, port = one.says("the kill switch serves")["address"].rpartition(":")
        one.says("pipeline started")
        yield one, asking((host, int(port)))
    finally:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait(60)


class Seen:
    """The gateway of a running pipeline, looked at from outside."""

    def __init__(self, name: str) -> None:
        self._segment = Segment.attach(name)
        self._state = self._segment.record("state.gateway", STATE_OF["gateway"])
        self._table = self._segment.record("gateway.table", TABLE)

    @property
    def sent(self) -> int:
        return int(self._state["sent"][0] + self._state["replaces_sent"][0])

    @property
    def open(self) -> int:
        return int(self._table["n_open"][0])

    def pid(self, stage: str) -> int:
        return int(self._segment.record(f"status.{stage}", STATUS)["pid"][0])


def until(what: Any, said: str) -> None:
    deadline = time.monotonic() + ENOUGH_S
    while not what():
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


def reset(ask: Ask) -> tuple[int, dict[str, Any]]:
    return ask("POST", "/reset", b"{}", Authorization=f"Bearer {RESET}", **JSON)


def assert_halted(ask: Ask, seen: Seen) -> None:
    """Nothing is sent any more, and nothing is open."""
    until(lambda: seen.open == 0, "orders stay open after the kill")
    before = seen.sent
    time.sleep(0.3)
    assert seen.sent == before
    status = ask("GET", "/status")[1]
    orders = status["orders"]
    assert status["state"] == "HALTED" and status["latched"] and orders["open"] == 0
    assert orders["cancels_sent"] >= orders["cancels_confirmed"] >= 0
    assert not ask("GET", "/health")[1]["trading_enabled"]


def test_each_way_kills_and_a_reset_lets_it_trade_again(tmp_path: Path, own_state: Path) -> None:
    name, file = "test-kill-ways", tmp_path / "KILL"
    with running(tmp_path, name, "--set", f"kill_switch.file={file}") as (one, ask):
        seen = Seen(name)

        def trades() -> bool:
            before = seen.sent
            time.sleep(0.05)
            return seen.sent > before

        pid = ask("GET", "/status")[1]["kill_switch"]["pid"]
        ways = {
            "HTTP from": lambda: ask("POST", "/kill")[0] == 200,
            "SIGUSR2": lambda: os.kill(pid, signal.SIGUSR2),
            "file": file.touch,
            "hftpipe kill": lambda: hftpipe(env(), "kill", name),
        }
        for way, kill in ways.items():
            until(trades, f"it does not trade before {way}")
            health = ask("GET", "/health")[1]
            assert (
                health["status"] == "ok"
                and health["trading_enabled"]
                and all(venue["connected"] for venue in health["exchanges"].values())
            )
            until(lambda: seen.open > 0, "no open order")
            kill()
            until(lambda: ask("GET", "/status")[1]["latched"], f"not latched by {way}")
            assert_halted(ask, seen)
            assert way in ask("GET", "/status")[1]["halt"]["what"]
            if file.exists():
                assert reset(ask)[0] == 409
                file.unlink()
            code, told = reset(ask)
            assert code == 200 and told["state"] == "ACTIVE" and "trades again" in told["what"], told
        until(trades, "it does not trade again")
        limits = ask("GET", "/risk/params")[1]["limits"]["BTCUSDT"]
        assert limits["orders_per_s"] == 1000 and limits["max_position"] != "0"
        summary = one.end()
    assert summary["exit_code"] == 0 and summary["halted"] is None and summary["latched_halt"] is None
    assert summary["counters"]["gateway"]["halt_cancels_confirmed"] > 0
    actions = [json.loads(line)["action"] for line in (own_state / f"{name}.halts").read_text().splitlines()]
    assert actions.count("resumed") == 4


def test_the_signal_that_kills_harms_no_other_process_of_the_run(tmp_path: Path) -> None:
    with running(tmp_path, "test-kill-unit") as (one, ask):
        seen = Seen("test-kill-unit")
        others = [one.process.pid, *one.says("pipeline started")["processes"]]
        for pid in others:
            os.kill(pid, signal.SIGUSR2)
        before = seen.sent
        until(lambda: seen.sent > before, "it does not trade on")
        assert ask("GET", "/status")[1]["state"] == "ACTIVE"
        os.kill(ask("GET", "/status")[1]["kill_switch"]["pid"], signal.SIGUSR2)
        until(lambda: ask("GET", "/status")[1]["latched"], "not latched")
        assert_halted(ask, seen)
        assert one.end()["exit_code"] == 0


@pytest.mark.parametrize("victim", ["strategy", "risk"])
def test_it_kills_while_a_stage_stands_still(tmp_path: Path, victim: str) -> None:
    name = f"test-kill-still-{victim}"
    with running(tmp_path, name) as (one, ask):
        seen = Seen(name)
        until(lambda: seen.open > 0, "no open order")
        os.kill(seen.pid(victim), signal.SIGSTOP)
        try:
            began = time.monotonic()
            code, told = ask("POST", "/kill")
            assert code == 200 and told["killed"], told
            assert_halted(ask, seen)
            assert time.monotonic() - began < 4, "the supervisor would have found it by itself"
        finally:
            os.kill(seen.pid(victim), signal.SIGCONT)
        assert one.end()["halted"] == "operator"


@pytest.mark.parametrize("victim", ["strategy", "risk", "market_data"])
def test_it_kills_while_a_stage_is_dead_and_the_next_run_is_halted(tmp_path: Path, victim: str) -> None:
    name = f"test-kill-dead-{victim}"
    with running(tmp_path, name) as (one, ask):
        seen = Seen(name)
        until(lambda: seen.open > 0, "no open order")
        os.kill(seen.pid(victim), signal.SIGKILL)
        assert ask("POST", "/kill")[0] == 200 == ask("POST", "/kill")[0]
        one.process.wait(60)
        summary = json.loads(one.out.read_text())
    assert summary["exit_code"] == 1 and summary["stop"]["still_open"] == []
    with running(tmp_path, name) as (one, ask):
        assert ask("GET", "/status")[1]["state"] == "HALTED"
        assert reset(ask)[0] == 409, "a fault asks for a new start"
        assert one.end()["orders"] == 0


def test_after_a_kill_a_killed_supervisor_and_a_new_start_it_is_still_halted(tmp_path: Path) -> None:
    name = "test-kill-restart"
    with running(tmp_path, name) as (one, ask):
        assert ask("POST", "/kill", b'{"reason": "looks wrong"}')[0] == 200
        one.process.kill()
        one.process.wait(60)
    with running(tmp_path, name) as (one, ask):
        status = ask("GET", "/status")[1]
        assert status["state"] == "HALTED" and "looks wrong" in status["halt"]["what"]
        assert_halted(ask, seen := Seen(name))
        assert reset(ask)[0] == 200
        until(lambda: seen.sent > 0, "it does not trade after the reset")
        assert one.end()["latched_halt"] is None


def test_alone_it_answers_though_nothing_runs_and_kills_what_starts_later(tmp_path: Path) -> None:
    name, log = "test-kill-alone", tmp_path / "alone.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from hftpipe.cli import main; main()", "kill-switch", "--name", name]
    with log.open("w") as out:
        alone = subprocess.Popen([*command, "--address", f"127.0.0.1:{port}"], env=env(), stdout=out, stderr=out)
    try:
        until(lambda: "the kill switch serves" in log.read_text(), "it does not serve")
        ask = asking(("127.0.0.1", port))
        assert ask("GET", "/health")[1]["status"] == "not_running"
        assert ask("POST", "/kill")[1]["is_running"] is False
        with running(tmp_path, name) as (one, _):
            seen = Seen(name)
            assert_halted(ask, seen)
            assert reset(ask)[0] == 200
            until(lambda: seen.open > 0, "it does not trade after the reset")
            assert ask("POST", "/kill")[1]["is_running"]
            assert_halted(ask, seen)
            assert one.end()["halted"] == "operator"
        taken = hftpipe(env(), "run", *configs("paper", "risk_limits"), "--name", "test-kill-taken", "--set",
                        "kill_switch.enabled=true", "--set", f"kill_switch.address=127.0.0.1:{port}")  # fmt: skip
        assert taken.returncode == 2 and f"127.0.0.1:{port}" in taken.stderr and "Traceback" not in taken.stderr
    finally:
        alone.send_signal(signal.SIGTERM)
        assert alone.wait(20) == 0, log.read_text()
    assert RESET not in log.read_text()
