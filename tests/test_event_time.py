"""Event time by the monotonic clock: its speed, its start, and what stages without a clock see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, record

from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.shared.event_time import (
    EVENT_TIME,
    event_now,
    event_time_start,
    known_until,
    show_known,
    speed_mult,
    wind_event_time,
)

MONO, EVENT = 5_000 * 10**9, 1_700_000_000 * 10**9


def now(time: np.ndarray, now_ns: int, event_ts: int = 0, clock: np.ndarray | None = None, tsc: int = 0) -> int:
    at = np.uint64(0) if clock is None else address(clock)
    return int(event_now(address(time), at, np.uint64(tsc), np.int64(now_ns), np.int64(event_ts)))


def started(speed: float = 1.0) -> np.ndarray:
    time = record(EVENT_TIME)
    event_time_start(address(time), np.int64(MONO), np.int64(EVENT), np.uint64(speed_mult(speed)))
    return time


def test_before_the_first_event_and_at_full_speed_now_is_the_newest_event():
    assert now(record(EVENT_TIME), MONO, 77) == 77
    assert now(started(0.0), MONO + 10**12, 77) == 77


@settings(max_examples=60)
@given(passed=st.integers(0, 10**15), speed=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0, 1000.0]))
def test_event_time_runs_at_its_speed(passed, speed):
    error = abs(now(started(speed), MONO + passed) - EVENT - passed * speed)
    assert error <= 1 + passed * 1e-9


def test_at_speed_one_it_is_exact():
    for passed in (0, 1, 999, 10**15 + 7):
        assert now(started(), MONO + passed) == EVENT + passed


def test_it_never_lies_before_the_newest_event_nor_before_its_start():
    assert now(started(), MONO, EVENT + 5) == EVENT + 5
    assert now(started(), MONO - 10**9) == EVENT


def test_a_clock_is_read_by_the_time_stamp_counter_where_there_is_one():
    clock = record(CLOCK)
    clock["tsc0"], clock["mono0_ns"], clock["mult"] = 1000, MONO, 1 << 31
    assert now(started(), 0, clock=clock, tsc=1000 + 40) == EVENT + 20


def test_wound_it_is_what_was_asked_for():
    time = started(7.0)
    wind_event_time(time, EVENT + 3)
    assert now(time, 0) == EVENT + 3
    wind_event_time(time, None)
    assert now(time, 0, 9) == 9


def test_the_market_is_known_up_to_what_was_last_shown():
    time = started()
    assert known_until(address(time)) == 0
    show_known(address(time), np.int64(EVENT + 9))
    assert known_until(address(time)) == EVENT + 9


@pytest.mark.parametrize("name, offset", [("mult", 0), ("mono_ns", 8), ("event_ts", 16), ("known_ts", 64)])
def test_what_is_written_once_and_what_is_written_always_share_no_cache_line(name, offset):
    assert offset_of(EVENT_TIME, name) == offset and EVENT_TIME.itemsize == 128
