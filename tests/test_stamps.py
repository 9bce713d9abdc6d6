"""Recorded time stamps: event time follows them, and one that is absurd stalls nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned, record
from risk_rig import new_ring, pop_all

from hftpipe.core.feed.pacing import MAX_TIMERS, due, timer_first
from hftpipe.core.feed.state import STATE
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.records import TIMER
from hftpipe.core.shared.event_time import EVENT_TIME
from hftpipe.core.shared.stamps import AHEAD_NS, BEHIND_NS, STAMPS, event_time

S, DAY, YEAR = 10**9, 86_400 * 10**9, 365 * 86_400 * 10**9
START = 1_700_000_000 * S
INT64_MAX = 2**63 - 1


def times(*stamps: int) -> tuple[list[int], int]:
    """Event times of stamps, and the jumps counted."""
    memory = record(STAMPS)
    found = [int(event_time(address(memory), np.int64(stamp))) for stamp in stamps]
    return found, int(memory["jumps"][0])


def test_stamps_that_make_sense_are_event_times():
    stamps = [START, START + 5, START + 5, START + 3, START + AHEAD_NS, START + AHEAD_NS - BEHIND_NS]
    assert times(*stamps) == (stamps, 0)


@pytest.mark.parametrize("absurd", [START + 10 * YEAR, START + AHEAD_NS + S, 0, 1, START - BEHIND_NS - S, INT64_MAX])
def test_one_absurd_stamp_changes_no_other(absurd):
    found, jumps = times(START, START + 1, absurd, START + 2, START + 3)
    assert found == [START, START + 1, START + 1, START + 2, START + 3]
    assert jumps == 2


@pytest.mark.parametrize("later", [3 * DAY, -3 * DAY])
def test_after_a_jump_time_goes_on_from_where_it_was(later):
    second = [START + later + n for n in (0, 7, 9)]
    assert times(START, START + 1, *second) == ([START, START + 1, START + 1, START + 8, START + 10], 1)


def test_an_absurd_stamp_after_a_jump_does_not_bring_the_old_time_back():
    found, jumps = times(START, START + 3 * DAY, START + 3 * DAY + 5, START + 9 * YEAR, START + 3 * DAY + 6)
    assert found == [START, START, START + 5, START + 5, START + 6] and jumps == 3


@settings(max_examples=200)
@given(st.lists(st.one_of(st.integers(0, INT64_MAX), st.integers(START, START + 2 * DAY)), min_size=1, max_size=40))
def test_whatever_the_stamps_event_time_never_leaps(stamps):
    found, jumps = times(*stamps)
    newest = found[0]
    for event_ts in found[1:]:
        assert -BEHIND_NS <= event_ts - newest <= AHEAD_NS
        newest = max(newest, event_ts)
    assert jumps < len(stamps)


# --- timers ----------------------------------------------------------------------------------------


class Paced:
    """The pacing of a market-data stage whose reader keeps up."""

    def __init__(self, speed: float = 0.0) -> None:
        self.state, self.time, self.ring = record(STATE), record(EVENT_TIME), new_ring(64)
        self.scratch = aligned(64 * 8)
        self.state["market"], self.state["time"] = address(self.ring), address(self.time)
        self.state["scratch"], self.state["timer_ns"] = self.scratch.ctypes.data, 10_000_000
        self.state["inverse_speed"] = 1 / speed if speed else 0.0
        self.hist = aligned(HIST_BYTES)
        self.state["h_decode"] = self.hist.ctypes.data

    def __getitem__(self, name: str) -> int:
        return int(self.state[name][0])

    def due(self, event_ts: int, now_ns: int) -> bool:
        return bool(due(address(self.state), np.int64(event_ts), np.int64(now_ns)))

    def timers(self, event_ts: int, now_ns: int = 1) -> list[int]:
        """Times of the timers that come before an event."""
        found = []
        while timer_first(address(self.state), np.int64(event_ts), np.int64(now_ns), np.uint64(0)):
            (timer,) = pop_all(self.ring)
            assert timer["kind"] == TIMER
            found.append(int(timer["local_ts"]))
            assert len(found) <= MAX_TIMERS + 1
        return found


def test_a_gap_brings_a_bounded_number_of_timers_the_newest_and_counts_the_others():
    paced = Paced()
    assert paced.due(START, 1)
    assert paced.timers(START + S) == list(range(START + 10**7, START + S + 1, 10**7)) and paced["timers_skipped"] == 0
    found = paced.timers(START + 1001 * S)
    assert len(found) == MAX_TIMERS + 1 and found[-1] == START + 1001 * S
    assert paced["timers_skipped"] == 100_000 - len(found)


def test_a_paced_source_that_stood_still_skips_timers_but_one_that_waits_for_its_next_event_does_not():
    paced = Paced(speed=1.0)
    assert paced.due(START, 1)
    for second in range(1, 300):
        assert len(paced.timers(START + 1000 * S, 1 + second * S)) == 100
    assert paced["timers_skipped"] == 0
    assert len(paced.timers(START + 1000 * S, 1 + 899 * S)) == MAX_TIMERS + 1
    assert paced["timers_skipped"] == 60_000 - MAX_TIMERS - 1


def test_the_first_event_starts_event_time():
    paced = Paced(speed=1.0)
    paced.state["speed_mult"] = 1 << 32
    assert paced.due(START, 5)
    assert [int(paced.time[name][0]) for name in ("mult", "mono_ns", "event_ts")] == [1 << 32, 5, START]
