"""The duty cycle: open / step(now) -> work done / close, with the idling chosen outside the stage.

A stage is one compiled function ``int64 step(uint64 state, int64 now_ns)`` and the address of its state. Its result
is the number of things it did, or :data:`SERVICE` when it needs Python (more input, a message for the slow parser).
One loop runs any number of stages by address, so two stages sharing a process cost one indirect call each.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftpipe.core.machine.clock import monotonic_ns
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    ONE,
    U64,
    ZERO,
    call_step,
    load_relaxed,
    pause,
    rdtsc,
    sched_yield,
    store_relaxed,
    usleep,
    view,
)
from hftpipe.core.schema.instruments import MAX_VENUES
from hftpipe.core.schema.status import ENDED, RUNNING, SERVING, STARTING, STATUS

#: A step's way of saying "call my service() from Python, then go on".
SERVICE = -1
#: A step's way of saying "nothing will ever come again" (end of a recording).
FINISHED = -2
STOPPED = -100

MAX_STAGES = 2 * MAX_VENUES + 2
SPINS_BEFORE_YIELD = 1
SPINS_BEFORE_SLEEP = 200
SLEEP_US = 50
LOOPS_PER_SLICE = 1 << 62

SPIN, YIELD, SLEEP = 0, 1, 2
IDLE_NAMES = {"spin": SPIN, "yield": YIELD, "sleep": SLEEP}

LOOP = np.dtype(
    [
        ("count", "i8"), ("idle", "i8"), ("stop", "u8"), ("clock", "u8"),
        ("function", "u8", MAX_STAGES), ("state", "u8", MAX_STAGES), ("status", "u8", MAX_STAGES),
        ("idle_spins", "i8"), ("next", "i8"),
    ],
    align=True,
)  # fmt: skip


@dataclass
class Stage:
    """One stage, ready to run.

    Attributes:
        name: as in the configuration, e.g. ``risk``.
        step: C address of ``int64 step(uint64 state, int64 now_ns)``.
        state: address of the stage's state.
        service: called from Python when a step returns SERVICE or FINISHED; False means "no more, ever".
        opened: called in the stage's own process before the first step.
        closed: called in the stage's own process after the last step.
    """

    name: str
    step: int
    state: int
    service: Callable[[], bool] | None = None
    opened: Callable[[], None] | None = None
    closed: Callable[[], None] | None = None


@jit
def _idle(mode, spins):
    if mode == SPIN or spins < SPINS_BEFORE_YIELD:
        pause()
    elif mode == YIELD or spins < SPINS_BEFORE_SLEEP:
        sched_yield()
    else:
        usleep(np.uint32(SLEEP_US))


@jit
def _run_one(loop, index, now_ns, tsc):
    """One step of stage ``index``: its result, with its status line brought up to date."""
    r = view(loop, LOOP)
    done = call_step(r.function[index], r.state[index], now_ns)
    status = view(r.status[index], STATUS)
    store_relaxed(r.status[index] + U64(8), tsc)
    status.loops += ONE
    if done > 0:
        if status.first_work_tsc == ZERO:
            status.first_work_tsc = tsc
        status.work += U64(done)
    return done


@jit
def duty_loop(loop, max_loops):
    """Run the stages of the LOOP record at address ``loop`` until the stop word is set.

    A stage that needs Python ends the call; the next call goes on with the stage after it, so that one stage which
    always needs something does not starve the others.

    Returns:
        ``STOPPED``; or ``index * 16 - SERVICE``-coded need of stage ``index`` (see :func:`decode_exit`);
        or 0 after ``max_loops`` rounds.
    """
    r = view(loop, LOOP)
    for _ in range(max_loops):
        if load_relaxed(r.stop) != ZERO:
            return np.int64(STOPPED)
        tsc = rdtsc()
        now_ns = monotonic_ns(r.clock, tsc)
        total = r.next
        for index in range(r.next, r.count):
            done = _run_one(loop, index, now_ns, tsc)
            if done < 0:
                r.next = index + 1
                return np.int64(index * 16) - done
            total += done
        r.next = 0
        if total > 0:
            r.idle_spins = 0
        else:
            r.idle_spins += 1
            _idle(r.idle, r.idle_spins)
    return np.int64(0)


def warm() -> None:
    """Compile (or load) the loop, before any process is forked."""
    duty_loop.compile("int64(uint64, int64)")


def decode_exit(code: int) -> tuple[int, int]:
    """Split :func:`duty_loop`'s positive result into (stage index, SERVICE or FINISHED)."""
    return code // 16, -(code % 16)


def build_loop(stages: list[Stage], idle: int, stop: int, clock: int, status: list[int]) -> np.ndarray:
    """The LOOP record (array of length 1) for the given stages; addresses are uint64."""
    loop = np.zeros(1, LOOP)
    loop["count"], loop["idle"], loop["stop"], loop["clock"] = len(stages), idle, stop, clock
    for index, stage in enumerate(stages):
        loop["function"][0][index], loop["state"][0][index] = stage.step, stage.state
        loop["status"][0][index] = status[index]
    return loop


def run_stages(stages: list[Stage], loop: np.ndarray, statuses: list[Any]) -> None:
    """Run until the stop word is set, serving Python requests in between.

    A stage that says FINISHED, or whose service returns False, is marked finished and stays in the loop (its step returns 0 from then on).
    """
    address = np.uint64(loop.ctypes.data)
    for stage, status in zip(stages, statuses, strict=True):
        status["pid"], status["cpu"] = os.getpid(), min(os.sched_getaffinity(0))
        if stage.opened:
            stage.opened()
        status["state"] = RUNNING
    while True:
        code = int(duty_loop(address, np.int64(LOOPS_PER_SLICE)))
        if code == STOPPED:
            break
        if code > 0:
            index, need = decode_exit(code)
            service = stages[index].service
            statuses[index]["state"] = SERVING
            is_served = service is None or service()
            statuses[index]["state"] = RUNNING
            if need == FINISHED or not is_served:
                statuses[index]["finished"] = 1
    for stage, status in zip(stages, statuses, strict=True):
        if stage.closed:
            stage.closed()
        status["state"] = ENDED


def stuck_stage(statuses: dict[str, np.ndarray]) -> str:
    """Of the stages of one process that stands still, in the order of its loop: the one that did not come back.

    Every stage takes one step a round, in order. So it is the one in its service, or the first that is a step behind the
    first; where none is, the first one.
    """
    names = list(statuses)
    steps = {name: int(statuses[name]["loops"][0]) for name in names}
    states = {name: int(statuses[name]["state"][0]) for name in names}
    outside = [name for name in names if states[name] in (STARTING, SERVING)]
    behind = [name for name in names if steps[name] < steps[names[0]]]
    return (*outside, *behind, names[0])[0]


def request_stop(word: np.ndarray) -> None:
    """Set a stop word (uint64 array of length 1)."""
    word[0] = 1
