"""Real processes stopped for seconds and let go again: nothing that was decided long ago reaches the venue.

What is counted are orders, in the running pipeline's own memory; no latency is asserted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ouch_rig import free_port

from hftpipe.core.schema import reasons
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.shm import Segment
from hftpipe.topology.sizes import STATE_OF

REPO = Path(__file__).resolve().parents[1]
STOP_S, LIMIT_S = 4.0, 240
#: Orders a second and instrument in configs/paper.toml.
RATE = 100

STRATEGY = '''
from hftpipe.strategy import IOC, OrderId, Strategy, state


class EveryTimer(Strategy):
    """An order at each timer, 100 a second, that nobody takes."""

    def on_timer(self, ctx):
        book = ctx.book()
        if ctx.tradable():
            ctx.buy(book.bid - 100 * ctx.tick(), ctx.lot(), IOC)


class EveryFill(Strategy):
    """Six orders that cross the book; each fill leads to the next order, whatever the market does."""

    ids: OrderId = state(shape=6)
    sent: int = state()

    def on_book(self, ctx, book):
        self._keep_going(ctx, book)

    def on_fill(self, ctx, fill):
        self._keep_going(ctx, ctx.book())

    def _keep_going(self, ctx, book):
        for slot in range(6):
            if not ctx.is_open(self.ids[slot]):
                self.sent += 1
                if self.sent % 2:
                    self.ids[slot] = ctx.sell(book.bid - 20 * ctx.tick(), ctx.lot(), IOC)
                else:
                    self.ids[slot] = ctx.buy(book.ask + 20 * ctx.tick(), ctx.lot(), IOC)
'''


class Run:
    """A run of the product with a process for each stage."""

    def __init__(self, folder: Path, strategy: str, *flags: str) -> None:
        self.name, self.json = f"stalls-{os.getpid()}", folder / "summary.json"
        (folder / "mine.py").write_text(STRATEGY)
        files = [text for name in ("paper", "risk_limits") for text in ("--config", f"configs/{name}.toml")]
        command = [
            sys.executable, "-c", "from hftpipe.cli import main; main()", "run", *files, "--name", self.name,
            "--strategy", f"{folder / 'mine.py'}:{strategy}", "--processes", "4", "--json", str(self.json),
            "--set", "pipeline.heartbeat_timeout_s=60", "--set", "market.event_rate_per_s=200", *flags,
        ]  # fmt: skip
        params = folder / "params.toml"
        params.write_text("[risk.limits.default]\norders_per_min = 1000000\n")
        command += ["--config", str(params)]
        environment = os.environ | {"HFTPIPE_STATE_DIR": str(folder / "state")}
        with open(folder / "stderr", "w") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, text=True, cwd=REPO, env=environment
            )
        self.log, self.stopped = folder / "stderr", 0

    def wait(self) -> "Run":
        """Until it moves."""
        self._until(lambda: Path(f"/dev/shm/hftpipe-{self.name}").exists())
        self._until(self._attach)
        return self

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def _attach(self) -> bool:
        if "pipeline started" not in self.log.read_text():
            return False
        self.segment = Segment.attach(self.name)
        return True

    def counter(self, stage: str, name: str) -> int:
        return int(self.segment.record(f"state.{stage}", STATE_OF[stage])[name][0])

    def refused(self, stage: str, reason: int) -> int:
        return int(self.segment.record(f"state.{stage}", STATE_OF[stage])["rejects"][0][reason])

    def sent(self) -> int:
        return self.counter("gateway", "sent")

    def until_sent(self, count: int) -> None:
        self._until(lambda: self.sent() >= count)

    def stop(self, stage: str) -> None:
        self.stopped = int(self.segment.record(f"status.{stage}", STATUS)["pid"][0])
        os.kill(self.stopped, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.stopped, signal.SIGCONT)
        self.stopped = 0

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(LIMIT_S)
        return json.loads(self.json.read_text())

    def close(self) -> None:
        if self.stopped:
            self.go_on()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(LIMIT_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    made: list[Run] = []

    def make(strategy: str, *flags: str) -> Run:
        made.append(Run(tmp_path, strategy, *flags))
        return made[-1].wait()

    yield make
    for one in made:
        one.close()


def udp() -> list[str]:
    settings = {"udp.group_a": "239.192.31.1", "udp.group_b": "239.192.31.2"}
    settings |= {"udp.port_a": str(free_port()), "udp.port_b": str(free_port())}
    return ["--venue", "udp", *(text for key, value in settings.items() for text in ("--set", f"{key}={value}"))]


def allowed(since: float) -> int:
    """Orders that the rate limit lets through from monotonic time ``since`` (s) until now."""
    return RATE * int(np.ceil(time.monotonic() - since))


def test_no_order_leaves_on_a_book_that_stands_still(start):
    """The market process is stopped; fills go on coming, and each asks for another order."""
    run = start("EveryFill", *udp(), "--set", "risk.limits.default.orders_per_s=100000")
    run.until_sent(50)
    run.stop("market_data")
    time.sleep(3.0)
    sent, fills = run.sent(), run.counter("gateway", "fills")
    time.sleep(STOP_S - 3.0)
    assert (run.sent(), run.counter("gateway", "fills")) == (sent, fills), "orders on a book of more than 3 s"
    run.go_on()
    summary = run.end()
    assert summary["rejects"].get("intent_stale", 0) + summary["rejects"].get("book_stale", 0) > 0


def test_what_a_stopped_strategy_decides_on_waking_is_refused_by_name(start):
    run = start("EveryTimer")
    run.until_sent(20)
    run.stop("strategy")
    time.sleep(STOP_S)
    seen, passed = run.counter("risk", "intents_seen"), run.counter("risk", "approved")
    run.go_on()
    run._until(lambda: run.counter("risk", "intents_seen") > seen + 2 * RATE)
    refused, approved = run.refused("risk", reasons.INTENT_STALE), run.counter("risk", "approved") - passed
    # Of the ~400 timers that had come meanwhile only those of the last second may lead to orders.
    assert refused > 2 * RATE - 50 and approved <= 2 * RATE
    run.until_sent(run.sent() + 20)
    assert run.end()["rejects"]["intent_stale"] >= refused


def test_a_backlog_is_not_approved_at_once_when_risk_wakes(start):
    run = start("EveryTimer")
    run.until_sent(20)
    run.stop("risk")
    time.sleep(STOP_S)
    sent, since, seen = run.sent(), time.monotonic(), run.counter("risk", "intents_seen")
    run.go_on()
    run._until(lambda: run.counter("risk", "intents_seen") > seen + 2 * RATE)
    time.sleep(0.3)
    assert run.sent() - sent <= allowed(since)
    assert run.refused("risk", reasons.INTENT_STALE) > 2 * RATE
    run.until_sent(run.sent() + 20)
    run.end()


def test_what_was_approved_while_the_gateway_stood_still_is_not_sent_when_it_wakes(start):
    run = start("EveryTimer", "--set", "risk.limits.BTCUSDT.max_position=10")
    run.until_sent(20)
    run.stop("gateway")
    time.sleep(STOP_S)
    sent, since, seen = run.sent(), time.monotonic(), run.counter("gateway", "orders_seen")
    run.go_on()
    run._until(lambda: run.counter("gateway", "orders_seen") > seen + 2 * RATE)
    assert run.sent() - sent <= RATE + allowed(since)
    assert run.refused("gateway", reasons.INTENT_STALE) > RATE
    run.until_sent(run.sent() + 20)
    summary = run.end()
    assert summary["counters"]["gateway"]["illegal"] == summary["counters"]["risk"]["illegal"] == 0


def test_a_quiet_book_is_traded_on_as_long_as_its_line_is_heard_of(start):
    """An exchange whose market stands still sends nothing but heartbeats, for longer than a book may be old."""
    run = start("EveryTimer", *udp(), "--set", "market.event_rate_per_s=0.001")
    run.until_sent(20)
    updates = run.counter("market_data", "book_updates")
    time.sleep(3.0)
    run.until_sent(run.sent() + 100)
    assert run.counter("market_data", "book_updates") == updates, "the market does stand still"
    assert "book_stale" not in run.end()["rejects"]
