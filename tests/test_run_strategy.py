"""A strategy in a pipeline of real processes: it sees halts, and what goes wrong in it is named."""

import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_run import REPO, run, stages_of, start

from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.shm import Segment, segment_path
from hftpipe.strategy.compile.loader import load

WATCHER = """
from hftpipe.strategy import BUY, Strategy, state


class Watcher(Strategy):
    \"\"\"Keeps every edge of the halt that it sees, and quotes while there is none.\"\"\"

    edges: int = state()
    halted: int = state()
    quoted: int = state(shape=3)
    refused: int = state(shape=3)

    def on_timer(self, ctx):
        if ctx.halted != self.halted:
            self.halted = ctx.halted
            self.edges += 1
        if ctx.tradable() and self.edges < 3:
            if ctx.quote(0, BUY, ctx.book().bid - 20 * ctx.tick(), 100000):
                self.quoted[self.edges] += 1
            else:
                self.refused[self.edges] += 1
"""


def name_of(test: str) -> str:
    return f"t-strategy-{test}-{os.getpid()}"


@contextlib.contextmanager
def running(name: str, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """A run in the background; stopped, whatever the test did meanwhile."""
    process = start(name, *flags)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def own_record(name: str, spec: str) -> Any:
    """Parameters and state of the strategy of a running pipeline."""
    loaded = load(spec)
    return Segment.attach(name).region("strategy.self")[: loaded.dtype.itemsize].view(loaded.dtype)[0]


def halt_from_outside(name: str, is_halted: bool) -> None:
    """What an operator's console does: write the halt cell of a running pipeline."""
    segment = Segment.attach(name)
    at = segment.address("halt") - segment.base
    with open(segment_path(name), "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        cell = np.frombuffer(mapping, np.uint8)[at : at + HALT_CELL.itemsize].view(HALT_CELL)
        set_halt(cell, is_halted, 3, 1)
        del cell


def wait_for(what: str, is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("processes", ["4", "1"])
def test_a_strategy_sees_trading_halted_and_re_armed_and_the_session_replays(tmp_path, processes):
    path, name, folder = tmp_path / "watcher.py", name_of(f"halt{processes}"), tmp_path / "sessions"
    path.write_text(WATCHER)
    spec = f"{path}:Watcher"
    with running(name, "--strategy", spec, "--processes", processes, "--record", str(folder)):
        own = own_record(name, spec)
        wait_for("quotes", lambda: own["quoted"][0] > 2)
        halt_from_outside(name, True)
        wait_for("the halt seen, and quotes refused", lambda: own["refused"][1] > 2)
        assert (own["edges"], own["halted"], own["quoted"][1]) == (1, 1, 0)
        halt_from_outside(name, False)
        wait_for("the end of the halt seen, and quotes", lambda: own["quoted"][2] > 2)
        assert (own["edges"], own["halted"], own["refused"][2]) == (2, 0, 0)
    (session,) = [one for one in folder.iterdir() if one.is_dir()]
    code = "from hftpipe.cli import main; main()"
    again = [sys.executable, "-c", code, "replay", str(session), "--verify"]
    replayed = subprocess.run(again, capture_output=True, text=True, timeout=240, cwd=REPO)
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical"), replayed.stdout + replayed.stderr


def test_a_strategy_sees_the_halt_while_risk_is_dead(tmp_path):
    path, name = tmp_path / "watcher.py", name_of("risk")
    path.write_text(WATCHER)
    spec = f"{path}:Watcher"
    with running(name, "--strategy", spec) as process:
        own, risk = own_record(name, spec), stages_of(process)[2]
        wait_for("quotes", lambda: own["quoted"][0] > 2)
        os.kill(risk, signal.SIGSTOP)
        try:
            halt_from_outside(name, True)
            wait_for("the halt seen", lambda: own["edges"] == 1)
        finally:
            os.kill(risk, signal.SIGCONT)


FAULTY = """
from hftpipe.strategy import BUY, Strategy, state


class Faulty(Strategy):
    \"\"\"Quotes, and after a while looks one level too far.\"\"\"

    calls: int = state()
    levels: int = state(shape=4)

    def on_book(self, ctx, book):
        ctx.quote(0, BUY, book.bid - 20 * ctx.tick(), 100000)
        self._learn()

    def _learn(self):
        self.calls += 1
        if self.calls > 500:
            self.levels[self.calls] += 1
"""


def fault_of(summary: dict[str, Any]) -> dict[str, Any]:
    (one,) = summary["strategies"].values()
    return dict(one["fault"])


def faulty_run(tmp_path: Path, test: str, *flags: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any], Path]:
    path, out = tmp_path / "faulty.py", tmp_path / "summary.json"
    path.write_text(FAULTY)
    done = run(name_of(test), "--strategy", f"{path}:Faulty", "--json", str(out), *flags)
    return done, json.loads(out.read_text()), path


@pytest.mark.parametrize("processes", ["4", "1"])
def test_a_hook_that_raises_ends_the_run_by_name_with_its_orders_cancelled(tmp_path, processes):
    done, summary, path = faulty_run(tmp_path, f"fault{processes}", "--duration", "60", "--processes", processes)
    assert done.returncode == 1 == summary["exit_code"], done.stderr
    text = f"{path}:18: on_book: IndexError: index is out of bounds"
    assert summary["reason"] == f"strategy fault: {text}"
    assert fault_of(summary) == {
        "hook": "on_book", "file": str(path), "line": 18, "exception": "IndexError",
        "message": "index is out of bounds", "count": 1, "dropped": 0,
    }  # fmt: skip
    assert summary["faults"]["strategy.on_book"] == 1 and summary["halted"] == "strategy_fault"
    assert text in done.stdout and "strategy.on book 1" in done.stdout
    logged = [json.loads(line) for line in done.stderr.splitlines() if "a hook raised" in line]
    assert len(logged) == 1 and (logged[0]["line"], logged[0]["hook"], logged[0]["level"]) == (18, "on_book", "error")
    gateway = summary["counters"]["gateway"]
    assert summary["orders"] > 0
    assert gateway["canceled"] + gateway["rejected"] + gateway["expired"] + summary["fills"] >= gateway["sent"]


HALF_DONE = """
from hftpipe.strategy import BUY, SELL, POST_ONLY, Strategy, state


class HalfDone(Strategy):
    \"\"\"Quotes, and after a while fails in the middle of what it wanted: orders, a change, a cancel.\"\"\"

    calls: int = state()
    mine: int = state()
    levels: int = state(shape=4)

    def on_book(self, ctx, book):
        self.calls += 1
        low = book.bid - 20 * ctx.tick()
        if self.calls == 1:
            self.mine = ctx.buy(low, 100000, POST_ONLY)
        ctx.quote(0, BUY, low, 100000)
        # The venue may be slow to answer: until it has, there is nothing to replace.
        if self.calls > 500 and ctx.replace(self.mine, low - ctx.tick(), 200000):
            for n in range(5):
                ctx.buy(low, 100000, POST_ONLY)
            ctx.cancel(ctx.quote_id(0))
            self.levels[self.calls] += 1
"""


def test_what_a_hook_that_raises_had_asked_for_is_not_sent_and_the_session_replays(tmp_path):
    path, out, folder = tmp_path / "half.py", tmp_path / "summary.json", tmp_path / "sessions"
    path.write_text(HALF_DONE)
    flags = ("--json", str(out), "--record", str(folder), "--duration", "60")
    done = run(name_of("half"), "--strategy", f"{path}:HalfDone", *flags)
    summary = json.loads(out.read_text())
    assert done.returncode == 1 and fault_of(summary)["dropped"] == 6, done.stdout + done.stderr
    assert "IndexError: index is out of bounds (6 actions of this call not sent)" in done.stdout
    assert summary["counters"]["strategy"]["dropped"] == 6
    (session,) = [one for one in folder.iterdir() if one.is_dir()]
    code = "from hftpipe.cli import main; main()"
    again = [sys.executable, "-c", code, "replay", str(session), "--verify"]
    replayed = subprocess.run(again, capture_output=True, text=True, timeout=240, cwd=REPO)
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical"), replayed.stdout + replayed.stderr


def test_a_run_that_is_told_to_goes_on_without_the_strategy_and_its_exit_code_tells(tmp_path):
    done, summary, _ = faulty_run(tmp_path, "goon", "--duration", "5", "--set", "strategy.on_fault=continue")
    assert done.returncode == 1 and summary["reason"] == "duration reached", done.stderr
    assert summary["run_s"] > 4 and fault_of(summary)["line"] == 18 and summary["halted"] == "strategy_fault"
    assert summary["events"] > 5000, "the market was followed to the end"


DIVIDING = """
from hftpipe.strategy import BUY, MARKET, Strategy, state


class Dividing(Strategy):
    \"\"\"Trades on a ratio whose divisor is gone after a while.\"\"\"

    calls: int = state()

    def on_book(self, ctx, book):
        self.calls += 1
        left = max(500 - self.calls, 0)
        if 1.0 / left > 0.6:
            ctx.buy(0, 100000, MARKET)
"""


def test_a_division_by_zero_ends_the_run_by_name_and_nothing_is_traded_on_it(tmp_path):
    path, out = tmp_path / "dividing.py", tmp_path / "summary.json"
    path.write_text(DIVIDING)
    done = run(name_of("divide"), "--strategy", f"{path}:Dividing", "--json", str(out), "--duration", "60")
    summary = json.loads(out.read_text())
    assert done.returncode == 1 and summary["halted"] == "strategy_fault", done.stderr
    assert summary["reason"] == f"strategy fault: {path}:13: on_book: ZeroDivisionError: division by zero"
    assert summary["orders"] == 1, "the call before the last had a ratio of one"
