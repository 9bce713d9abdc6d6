"""The time-stamp counter; with :mod:`hftpipe.core.machine.system_clock` the only place that reads a clock.

The time-stamp counter is calibrated once against CLOCK_MONOTONIC and published in shared memory; every stage
converts with the same numbers. The offset between CPUs is measured in both directions at start-up and its bound
published: a one-way latency smaller than the bound means nothing.
"""

import functools
import os
import threading
import time

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    U64,
    load_acquire,
    load_i64,
    mul_wide,
    pause,
    rdtsc,
    rdtscp,
    sched_yield,
    store_i64,
    store_release,
    view,
)
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import LINE, aligned

CALIBRATION_S = 0.05
SKEW_EXCHANGES = 4000
_SPIN_LIMIT = 20_000


@jit
def monotonic_ns(clock, tsc):
    """CLOCK_MONOTONIC in ns for a time-stamp counter value, from the CLOCK record at address ``clock``."""
    c = view(clock, CLOCK)
    high, low = mul_wide(tsc - c.tsc0, c.mult)
    return c.mono0_ns + np.int64((high << U64(32)) | (low >> U64(32)))


@jit
def _read_tsc():
    return rdtscp()


def tsc_now() -> int:
    """The time-stamp counter, for cold code."""
    return int(_read_tsc())


def _paired_reading() -> tuple[int, int]:
    """A TSC value and the monotonic time at the same instant: the tightest of several sandwiches."""
    best = (1 << 62, 0, 0)
    for _ in range(50):
        before = int(_read_tsc())
        now = time.monotonic_ns()
        after = int(_read_tsc())
        best = min(best, (after - before, (before + after) // 2, now))
    return best[1], best[2]


def calibrate(clock: np.ndarray, seconds: float = CALIBRATION_S) -> None:
    """Fill a CLOCK array of length 1, taking ``seconds``."""
    tsc0, mono0 = _paired_reading()
    time.sleep(seconds)
    tsc1, mono1 = _paired_reading()
    ns_per_tick = (mono1 - mono0) / (tsc1 - tsc0)
    clock["tsc0"], clock["mono0_ns"] = tsc1, mono1
    clock["wall0_ns"] = time.time_ns() - (time.monotonic_ns() - mono1)
    clock["ns_per_tick"], clock["mult"] = ns_per_tick, round(ns_per_tick * 2**32)


@functools.cache
def _calibrated() -> np.ndarray:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    return clock


def calibrate_once(clock: np.ndarray) -> None:
    """Fill a CLOCK array of length 1 with what this process has measured once; for runs on simulated time."""
    clock[:] = _calibrated()


@jit
def _await(word, value):
    """Wait until the word at ``word`` is ``value``; gives the CPU away when the peer has none."""
    spins = 0
    while load_acquire(word) != value:
        pause()
        spins += 1
        if spins >= _SPIN_LIMIT:
            spins = 0
            sched_yield()


@jit
def _echo(words, count):
    """Answer each ping with the local TSC: reply word at +64, its stamp at +128."""
    for i in range(1, count + 1):
        _await(words, U64(i))
        store_i64(words + U64(128), np.int64(rdtscp()))
        store_release(words + U64(64), U64(i))


@jit
def _probe(words, count):
    """Smallest round trip and the peer's offset in it, both in ticks (Cristian's method)."""
    best_trip, best_offset = np.int64(1 << 62), np.int64(0)
    for i in range(1, count + 1):
        before = rdtsc()
        store_release(words, U64(i))
        _await(words + U64(64), U64(i))
        after = rdtscp()
        trip = np.int64(after - before)
        if trip < best_trip:
            best_trip = trip
            best_offset = load_i64(words + U64(128)) - np.int64(before + (after - before) // U64(2))
    return best_trip, best_offset


def _exchange(cpu_a: int, cpu_b: int) -> tuple[int, int]:
    words = aligned(3 * LINE)
    base = np.uint64(words.ctypes.data)

    def answer() -> None:
        os.sched_setaffinity(0, {cpu_b})
        _echo(base, SKEW_EXCHANGES)

    peer = threading.Thread(target=answer, daemon=True)
    before = os.sched_getaffinity(0)
    try:
        # Here first, so that a CPU we may not use is an OSError of the caller and not a peer that never answers.
        os.sched_setaffinity(0, {cpu_b})
        os.sched_setaffinity(0, {cpu_a})
        peer.start()
        trip, offset = _probe(base, SKEW_EXCHANGES)
        peer.join()
    finally:
        os.sched_setaffinity(0, before)
    return int(trip), int(offset)


def warm() -> None:
    """Compile (or load) what this module calls from Python."""
    _read_tsc.compile(())
    _echo.compile("(uint64, int64)")
    _probe.compile("(uint64, int64)")


def measure_skew(clock: np.ndarray, cpus: list[int]) -> tuple[float, float]:
    """Measure the TSC offset of every CPU against the first, in both directions, and publish the worst.

    Returns:
        (skew_ns, bound_ns): the largest offset seen and the uncertainty of one reading (half a round trip).

    Raises:
        OSError: one of ``cpus`` is not usable by this process.
    """
    ns_per_tick = float(clock["ns_per_tick"][0])
    worst, bound = 0.0, 0.0
    warm()
    for cpu in cpus[1:]:
        trip_ab, offset_ab = _exchange(cpus[0], cpu)
        trip_ba, offset_ba = _exchange(cpu, cpus[0])
        skew = (offset_ab - offset_ba) / 2 * ns_per_tick
        worst = max(worst, abs(skew))
        bound = max(bound, min(trip_ab, trip_ba) / 2 * ns_per_tick)
    clock["skew_ns"], clock["skew_bound_ns"] = worst, bound
    return worst, bound
