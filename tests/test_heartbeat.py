"""A stage that hangs is noticed, also in its first round; one that could not run is not blamed for it."""

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_run import assert_clean, run, stages_of, start

from hftpipe.app.heartbeat import FIRST_ROUND_NS, LATE_NS, HeartbeatWatch

S = 1_000_000_000
POLL = S // 10
TIMEOUT = 5 * S


class Rig:
    """A watch, its clock, and one stage."""

    def __init__(self, timeout_ns: int = TIMEOUT) -> None:
        self.now, self.beat = 7 * S, 0
        self.watch = HeartbeatWatch(timeout_ns, self.now)

    def look(self, after_ns: int = POLL, moved: bool = True) -> tuple[str, int] | None:
        self.now += after_ns
        self.beat += moved
        return self.watch.overdue(self.now, {"risk": self.beat, "idle": self.now})

    def stand_still(self) -> int:
        """Looks in time until the stage is overdue: for how long (ns)."""
        began = self.now
        for _ in range(1000):
            if found := self.look(moved=False):
                assert found == ("risk", self.now - began)
                return self.now - began
        raise AssertionError("never noticed")


def test_a_stage_that_stands_still_is_overdue_after_its_timeout() -> None:
    rig = Rig()
    assert not any(rig.look() for _ in range(100))
    assert TIMEOUT < rig.stand_still() <= TIMEOUT + POLL


def test_a_stage_that_never_ends_its_first_round_is_noticed() -> None:
    rig = Rig()
    rig.look(moved=False)
    assert FIRST_ROUND_NS < rig.stand_still() <= FIRST_ROUND_NS + POLL


@pytest.mark.parametrize("gap_s", [2, 5, 60, 86_400])
def test_after_a_late_look_a_full_timeout_of_looks_in_time_is_waited_for(gap_s: int) -> None:
    rig = Rig()
    rig.look()
    for _ in range(49):
        assert rig.look(moved=False) is None
    # Everybody stood still, and the stage has not had its turn yet.
    assert rig.look(gap_s * S, moved=False) is None and rig.watch.late == 1
    assert TIMEOUT < rig.stand_still() <= TIMEOUT + POLL


def test_looks_a_little_late_count() -> None:
    rig = Rig()
    rig.look()
    for _ in range(5):
        assert rig.look(LATE_NS, moved=False) is None
    assert rig.look(LATE_NS, moved=False) == ("risk", 6 * LATE_NS) and rig.watch.late == 0


@given(st.lists(st.tuples(st.integers(1, 20 * S), st.booleans()), max_size=60))
def test_a_verdict_always_rests_on_a_full_timeout_of_looks_in_time(looks: list[tuple[int, bool]]) -> None:
    rig = Rig()
    rig.look()
    since = rig.now
    for after_ns, moved in looks:
        found = rig.look(after_ns, moved)
        if moved or after_ns > max(LATE_NS, TIMEOUT // 4):
            since = rig.now
        assert (found is not None) == (rig.now - since > TIMEOUT)


def _signal_group(process, number: int) -> None:
    os.killpg(process.pid, number)


def test_a_group_that_is_stopped_and_goes_on_is_not_halted() -> None:
    """Ctrl-Z and fg."""
    process = start("t-suspend", "--set", "pipeline.heartbeat_timeout_s=1", new_group=True)
    pids = stages_of(process)
    time.sleep(1)
    for _ in range(2):
        _signal_group(process, signal.SIGSTOP)
        time.sleep(4)
        _signal_group(process, signal.SIGCONT)
        time.sleep(1.5)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "HALTED" not in out, out + err
    assert_clean("t-suspend", pids)


def test_a_stage_alone_that_is_stopped_halts_and_ends_the_run(own_state: Path) -> None:
    process = start("t-stopped", "--set", "pipeline.heartbeat_timeout_s=1")
    pids = stages_of(process)
    time.sleep(0.5)
    os.kill(pids[1], signal.SIGSTOP)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "stage strategy has not moved for" in out and "HALTED             heartbeat lost" in out
    assert '"cause": "heartbeat_lost"' in (own_state / "t-stopped.halt").read_text()
    assert_clean("t-stopped", pids)


PLANTED = """
import time
from hftpipe.app import supervisor
from hftpipe.cli import main

real = supervisor.run_stages

def hang_in_risk(stages, loop, statuses):
    if stages[0].name == "risk":
        time.sleep(1000)
    real(stages, loop, statuses)

supervisor.run_stages = hang_in_risk
main()
"""


def test_a_stage_that_never_gets_round_once_ends_the_run() -> None:
    flags = ("--duration", "60", "--set", "pipeline.heartbeat_timeout_s=1")
    done = run("t-planted", *flags, code=PLANTED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stage risk has not moved for 10" in done.stdout and "heartbeat_lost" in done.stdout
    assert_clean("t-planted", [])


HANGS = """
from hftpipe.strategy import Strategy

class Hangs(Strategy):
    def on_book(self, ctx, book):
        n = book.bid
        while n != 0:
            n = n | 1

    def on_timer(self, ctx):
        n = ctx.now
        while n != 0:
            n = n | 1
"""


def test_a_strategy_that_never_returns_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "hangs.py"
    path.write_text(HANGS)
    done = run("t-hangs", "--strategy", f"{path}:Hangs", "--duration", "90", "--set", "pipeline.heartbeat_timeout_s=1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stage strategy has not moved for" in done.stdout
    assert_clean("t-hangs", [])
