"""The calibrated time-stamp counter."""

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, record

from hftpipe.core.machine.clock import calibrate, measure_skew, monotonic_ns
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import rdtsc
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK

SECOND = 1_000_000_000


@jit
def now(clock):
    return monotonic_ns(clock, rdtsc())


@pytest.fixture(scope="module")
def clock() -> np.ndarray:
    calibrated = record(CLOCK)
    calibrate(calibrated)
    return calibrated


def test_the_counter_reads_as_monotonic_time(clock: np.ndarray) -> None:
    """Between two readings of the system's clock, give or take what calibration may be off by."""
    now(address(clock))
    before = steady_ns()
    reading = int(now(address(clock)))
    after = steady_ns()
    assert before - SECOND // 100 < reading < after + SECOND // 100


def test_readings_of_one_cpu_never_go_back(clock: np.ndarray) -> None:
    readings = [int(now(address(clock))) for _ in range(1000)]
    assert readings == sorted(readings)


def test_wall_and_monotonic_are_read_together(clock: np.ndarray) -> None:
    offset = int(clock["wall0_ns"][0]) - int(clock["mono0_ns"][0])
    assert abs((wall_ns() - steady_ns()) - offset) < 5 * SECOND


@given(st.integers(0, 2**57), st.integers(2**28, 2**34), st.integers(0, 2**62))
def test_conversion_is_exact_over_years(ticks: int, mult: int, tsc0: int) -> None:
    fake = record(CLOCK)
    fake["tsc0"], fake["mono0_ns"], fake["mult"] = tsc0, 12345, mult
    assert int(monotonic_ns(address(fake), np.uint64(tsc0 + ticks))) == 12345 + (ticks * mult >> 32)


def test_skew_is_measured_and_its_bound_published(clock: np.ndarray) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    skew, bound = measure_skew(clock, cpus if len(cpus) == 2 else cpus * 2)
    assert math.isfinite(skew) and skew >= 0
    assert math.isfinite(bound) and bound > 0
    assert (float(clock["skew_ns"][0]), float(clock["skew_bound_ns"][0])) == (skew, bound)


def test_one_cpu_has_no_skew(clock: np.ndarray) -> None:
    assert measure_skew(clock, [min(os.sched_getaffinity(0))]) == (0.0, 0.0)


def test_skew_against_a_cpu_we_may_not_use_is_an_error_not_a_hang(clock: np.ndarray) -> None:
    mine = os.sched_getaffinity(0)
    with pytest.raises(OSError):
        measure_skew(clock, [min(mine), 1023])
    assert os.sched_getaffinity(0) == mine
