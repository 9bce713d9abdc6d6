"""The duty cycle with two small stages in one loop."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from memory import address, record

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import view
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.status import ENDED, RUNNING, SERVING, STARTING, STATUS
from hftpipe.core.shared.stage import (
    FINISHED,
    IDLE_NAMES,
    SERVICE,
    SLEEP,
    SPIN,
    STOPPED,
    YIELD,
    Stage,
    build_loop,
    decode_exit,
    duty_loop,
    request_stop,
    run_stages,
    stuck_stage,
)

COUNTER = np.dtype(
    [("left", "i8"), ("done", "i8"), ("need_at", "i8"), ("answer", "i8"), ("last_now", "i8"), ("calls", "i8")],
    align=True,
)


@jit
def count_down(state, now_ns):
    """Does ``left`` things, one a step; answers ``answer`` once when ``need_at`` are left."""
    s = view(state, COUNTER)
    s.last_now = now_ns
    s.calls += 1
    if s.answer != 0 and s.left == s.need_at:
        answer = s.answer
        s.answer = 0
        return answer
    if s.left > 0:
        s.left -= 1
        s.done += 1
        return np.int64(1)
    return np.int64(0)


@jit
def always_needy(state, now_ns):
    """Asks for service at every step."""
    view(state, COUNTER).calls += 1
    return np.int64(SERVICE)


@entry("int64(uint64, int64)")
def count_down_entry(state, now_ns):
    return count_down(state, now_ns)


@entry("int64(uint64, int64)")
def always_needy_entry(state, now_ns):
    return always_needy(state, now_ns)


class Rig:
    """Two stages, their states and status lines, a clock and a stop word."""

    def __init__(self, idle: int = YIELD) -> None:
        self.clock, self.stop = record(CLOCK), np.zeros(1, np.uint64)
        calibrate(self.clock, 0.01)
        self.states = [record(COUNTER) for _ in range(2)]
        self.status = [record(STATUS) for _ in range(2)]
        self.log: list[str] = []
        self.stages = [self._stage(index) for index in range(2)]
        self.idle = idle

    def _stage(self, index: int) -> Stage:
        return Stage(
            name="ab"[index],
            step=count_down_entry.address,
            state=int(address(self.states[index])),
            opened=lambda: self.log.append(f"{'ab'[index]} opened"),
            closed=lambda: self.log.append(f"{'ab'[index]} closed"),
        )

    def loop(self) -> np.ndarray:
        statuses = [int(address(line)) for line in self.status]
        return build_loop(self.stages, self.idle, int(address(self.stop)), int(address(self.clock)), statuses)

    def turn(self, loop: np.ndarray, rounds: int) -> int:
        return int(duty_loop(address(loop), np.int64(rounds)))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    request_stop(made.stop)


def test_both_stages_of_a_loop_do_their_work(rig: Rig) -> None:
    rig.states[0]["left"], rig.states[1]["left"] = 5, 3
    assert rig.turn(rig.loop(), 10) == 0
    assert [int(state["done"][0]) for state in rig.states] == [5, 3]
    assert [int(line["work"][0]) for line in rig.status] == [5, 3]
    assert [int(line["loops"][0]) for line in rig.status] == [10, 10]
    assert all(line["first_work_tsc"][0] > 0 for line in rig.status)


def test_a_step_is_told_the_monotonic_time(rig: Rig) -> None:
    before = steady_ns()
    rig.turn(rig.loop(), 1)
    assert before - 10**7 < int(rig.states[0]["last_now"][0]) < steady_ns() + 10**7


def test_the_heartbeat_advances_even_when_there_is_nothing_to_do(rig: Rig) -> None:
    loop, beats = rig.loop(), []
    for _ in range(3):
        rig.turn(loop, 1)
        beats.append(int(rig.status[0]["heartbeat_tsc"][0]))
    assert 0 < beats[0] < beats[1] < beats[2]
    assert rig.status[0]["first_work_tsc"][0] == 0


@pytest.mark.parametrize("answer", [SERVICE, FINISHED])
@pytest.mark.parametrize("index", [0, 1])
def test_a_need_ends_the_loop_and_names_its_stage(rig: Rig, index: int, answer: int) -> None:
    rig.states[index]["left"], rig.states[index]["need_at"], rig.states[index]["answer"] = 4, 2, answer
    loop = rig.loop()
    assert decode_exit(rig.turn(loop, 10)) == (index, answer)
    assert int(rig.states[index]["done"][0]) == 2
    assert rig.turn(loop, 10) == 0 and int(rig.states[index]["done"][0]) == 4


def test_the_stop_word_ends_the_loop(rig: Rig) -> None:
    request_stop(rig.stop)
    assert rig.turn(rig.loop(), 10) == STOPPED
    assert int(rig.states[0]["calls"][0]) == 0


def test_a_stage_that_always_needs_service_does_not_starve_the_next(rig: Rig) -> None:
    rig.stages[0].step, rig.states[1]["left"] = always_needy_entry.address, 100
    loop = rig.loop()
    for _ in range(6):
        assert decode_exit(rig.turn(loop, 100)) == (0, SERVICE)
    assert int(rig.states[1]["done"][0]) >= 5


def test_two_stages_in_need_in_one_round_are_both_heard(rig: Rig) -> None:
    for state in rig.states:
        state["answer"] = FINISHED
    loop = rig.loop()
    assert [decode_exit(rig.turn(loop, 10)) for _ in range(2)] == [(0, FINISHED), (1, FINISHED)]


@pytest.mark.parametrize("idle", IDLE_NAMES.values(), ids=IDLE_NAMES)
def test_every_idle_mode_stops_when_told(idle: int) -> None:
    rig = Rig(idle)
    loop = rig.loop()
    runner = threading.Thread(target=run_stages, args=(rig.stages, loop, rig.status), daemon=True)
    runner.start()
    deadline = time.monotonic() + 20
    while rig.status[1]["loops"][0] < 500 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [int(line["state"][0]) for line in rig.status] == [RUNNING, RUNNING]
    request_stop(rig.stop)
    runner.join(20)
    assert not runner.is_alive()
    assert [int(line["state"][0]) for line in rig.status] == [ENDED, ENDED]
    assert rig.log == ["a opened", "b opened", "a closed", "b closed"]
    assert {SPIN, YIELD, SLEEP} == set(IDLE_NAMES.values())


def test_service_is_called_and_its_last_no_marks_the_stage_finished(rig: Rig) -> None:
    rig.states[0]["answer"], rig.states[1]["left"] = SERVICE, 50
    served = []

    def service() -> bool:
        served.append("a")
        if len(served) == 1:
            rig.states[0]["answer"] = SERVICE
            return True
        request_stop(rig.stop)
        return False

    rig.stages[0].service = service
    run_stages(rig.stages, rig.loop(), rig.status)
    assert served == ["a", "a"]
    assert [int(line["finished"][0]) for line in rig.status] == [1, 0]


def test_a_stage_that_says_finished_is_marked_even_without_a_service(rig: Rig) -> None:
    rig.states[1]["answer"] = FINISHED
    rig.stages[0].step = always_needy_entry.address
    rig.stages[0].service = lambda: bool(rig.status[1]["finished"][0]) is False or not request_stop(rig.stop)
    run_stages(rig.stages, rig.loop(), rig.status)
    assert int(rig.status[1]["finished"][0]) == 1


@pytest.mark.parametrize(
    ("steps", "states", "stuck"),
    [
        ((7, 7, 7), (RUNNING, RUNNING, RUNNING), "a"),
        ((8, 7, 7), (RUNNING, RUNNING, RUNNING), "b"),
        ((8, 8, 7), (RUNNING, RUNNING, RUNNING), "c"),
        ((8, 8, 7), (RUNNING, SERVING, RUNNING), "b"),
        ((8, 8, 8), (RUNNING, RUNNING, SERVING), "c"),
        ((0, 0, 0), (RUNNING, STARTING, STARTING), "b"),
    ],
)
def test_of_stages_that_stand_still_together_the_one_that_did_not_come_back_is_named(steps, states, stuck):
    statuses = {name: np.zeros(1, STATUS) for name in "abc"}
    for status, loops, state in zip(statuses.values(), steps, states, strict=True):
        status["loops"], status["state"] = loops, state
    assert stuck_stage(statuses) == stuck
