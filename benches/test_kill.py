"""The kill switch on a pipeline that trades as fast as it can: flag to the last new order, to the last cancel, to the last confirmation.

::

    hftpipe kill (a process of its own) ─▶ halt cell ─▶ two gateways, 500 working orders, new orders with every book update
                                            │ time of the flag        │ counters, watched from another CPU

Two embedded paper venues in the gateways' process, all stages on one CPU: what is measured is ours, from the flag to the request handed
to the venue; a venue outside adds the way of its bytes. A figure is as late as the watcher was, never earlier than the truth.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import Report
from harness import cpus, fork_pinned, join, percentiles, pin

from hftpipe.app.halt_command import resume
from hftpipe.app.halt_scope import Scope
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.shared.shm import Segment, SegmentError
from hftpipe.core.trading.order_table import TABLE
from hftpipe.gateway.state import STATE
from hftpipe.kill_switch.look import Attachment
from hftpipe.kill_switch.switch import Killed, kill

BENCH, NAME = "kill", f"bench-kill-{os.getpid()}"
ORDERS, REPETITIONS, PATIENCE_S, WATCH_NS = 500, 15, 180.0, 400_000_000
#: Bar 2, in ms.
LAST_ORDER_MS, LAST_CANCEL_MS = 1.0, 100.0
ROOT = Path(__file__).resolve().parents[1]
STRATEGY = f"""
from hftpipe.strategy import IOC, POST_ONLY, Strategy


class Ladder(Strategy):
    def on_book(self, ctx, book):
        deep = book.bid - (50 + ctx.open_orders() % 100) * ctx.tick()
        if ctx.open_orders() < {ORDERS}:
            for _ in range(4):
                ctx.buy(deep, ctx.lot(), POST_ONLY)
        else:
            ctx.buy(deep, ctx.lot(), IOC)
"""
LIMITS = {"max_position": 100, "orders_per_s": 1_000_000, "orders_per_min": 60_000_000}


class Watched:
    """The gateways and the halt cell of the running pipeline."""

    def __init__(self, segment: Segment) -> None:
        venues = segment.meta["venues"]
        self._states = [segment.record(f"state.gateway@{venue}", STATE) for venue in venues]
        self._tables = [segment.record(f"gateway.table@{venue}", TABLE) for venue in venues]
        self.cell = segment.record("halt", HALT_CELL)

    def total(self, counter: str) -> int:
        return sum(int(state[counter][0]) for state in self._states)

    @property
    def open(self) -> list[int]:
        return [int(table["n_open"][0]) for table in self._tables]


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def _start(folder: Path, cpu: int) -> subprocess.Popen[bytes]:
    (folder / "ladder.py").write_text(STRATEGY)
    settings = [f"risk.limits.BTCUSDT.{key}={value}" for key, value in LIMITS.items()]
    settings += ["market.event_rate_per_s=4000", "pipeline.idle=spin", "log.level=warning"]
    files = [f"--config={ROOT / 'configs' / name}.toml" for name in ("risk_limits", "two_venues")]
    command = [
        sys.executable, "-c", "from hftpipe.cli import main; main()", "run", *files, "--name", NAME, "--processes", "1", "--cpus", str(cpu),
        "--strategy", f"{folder / 'ladder.py'}:Ladder", *(f"--set={one}" for one in settings),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "run.log").open("wb"))


def _attached(process: subprocess.Popen[bytes], folder: Path) -> Segment:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Segment.attach(NAME)
        except SegmentError:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "run.log").read_text()
            time.sleep(0.05)


def _killed(watched: Watched, cpu: int) -> dict[str, int]:
    """Kill once: ns from the flag to the last new order, the last first cancel, and the last confirmation, as the watcher saw them."""
    cancels, confirmed, sent = (watched.total(one) for one in ("halt_cancels", "halt_cancels_confirmed", "sent"))
    before, child = sum(watched.open), fork_pinned(cpu, _kill_it)
    while not watched.cell["halted"][0]:
        sent = watched.total("sent")
    flag_ns, seen, deadline = (
        int(watched.cell["local_ts"][0]),
        {"order": 0, "cancel": 0, "confirmation": 0},
        steady_ns() + WATCH_NS,
    )
    while steady_ns() < deadline:
        news = {
            "order": watched.total("sent") - sent,
            "cancel": watched.total("halt_cancels") - cancels,
            "confirmation": watched.total("halt_cancels_confirmed") - confirmed,
        }
        now_ns = wall_ns()
        for name, count in news.items():
            if count:
                seen[name] = now_ns - flag_ns
        sent, cancels, confirmed = sent + news["order"], cancels + news["cancel"], confirmed + news["confirmation"]
    join(child)
    assert before >= ORDERS and sum(watched.open) == 0, "not every order has ended"
    return seen


def _kill_it() -> None:
    killed: Killed = kill(NAME, "bench", Attachment(NAME))
    assert killed.is_running and killed.is_latched and not killed.problem, killed


def test_kill_with_500_working_orders_on_two_venues(report: Report, tmp_path: Path) -> None:
    """Kill, look, reset, and again when the orders stand."""
    own, watcher = cpus(2)
    os.environ["HFTPIPE_STATE_DIR"] = str(tmp_path)
    process = _start(tmp_path, own)
    runs: list[dict[str, int]] = []
    try:
        watched = Watched(_attached(process, tmp_path))
        pin(watcher)
        for _ in range(REPETITIONS):
            _until(lambda: sum(watched.open) >= ORDERS and min(watched.open) > ORDERS // 5, "the orders do not stand")
            runs.append(_killed(watched, watcher))
            assert resume(NAME, Scope(), lambda _: True, lambda _: None) == 0
    finally:
        process.terminate()
        process.wait(60)
    for name, bar in (("order", LAST_ORDER_MS), ("cancel", LAST_CANCEL_MS), ("confirmation", None)):
        ms = {key: value / 1e6 for key, value in percentiles(np.array([run[name] for run in runs])).items()}
        is_kept = None if bar is None else ms["p50"] <= bar
        note = f"{len(runs)} kills, {ORDERS} orders, two embedded venues" + (f"; at most {bar:g} ms" if bar else "")
        report.row(BENCH, f"flag to last {name}", unit="ms", ok=is_kept, note=note, **ms)
