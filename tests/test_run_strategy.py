"""A strategy in a pipeline of real processes: it sees halts, and what goes wrong in it is named."""

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_run import REPO, stages_of, start

from hftpipe.core.cell import HALT_CELL, set_halt
from hftpipe.core.shm import Segment, segment_path
from hftpipe.strategy.loader import load

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
