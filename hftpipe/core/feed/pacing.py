"""When the next event is due, and the timers that carry time through a quiet market.

Event time is the recording's (or the flow's) own; it runs at ``speed`` against the monotonic clock. Time reaches the
stages only as records: a TIMER every ``timer_ns`` of event time, in order with the events. However long nothing came, or
this stage stood still, no more than MAX_TIMERS follow one another: the older ones are skipped, and counted.
"""

import numpy as np

from hftpipe.core.feed.publish import flush, has_room, put_timer, seal
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.shared.event_time import event_time_start

MAX_TIMERS = 10_000
_NO_CLOCK = np.int64(0x7FFFFFFFFFFFFFFF)


@jit
def due(state, event_ts, now_ns):
    """Whether an event of ``event_ts`` may happen at monotonic ``now_ns``. Sets the origin at the first event."""
    s = view(state, STATE)
    if s.started_ns == 0:
        s.started_ns, s.first_ts, s.event_ts = now_ns, event_ts, event_ts
        s.next_timer_ts = event_ts + s.timer_ns
        event_time_start(s.time, now_ns, event_ts, s.speed_mult)
    if s.inverse_speed == 0.0:
        return True
    at_ns = s.started_ns + np.int64(np.float64(event_ts - s.first_ts) * s.inverse_speed)
    if now_ns < at_ns:
        return False
    s.max_lag_ns = max(s.max_lag_ns, now_ns - at_ns)
    return True


@jit
def _clock(s, now_ns):
    """The event time now; at full speed there is none."""
    if s.inverse_speed == 0.0:
        return _NO_CLOCK
    return s.first_ts + np.int64(np.float64(now_ns - s.started_ns) / s.inverse_speed)


@jit
def _skip_timers(s, until_ts):
    """Leave out the oldest of the timers that are due until ``until_ts``."""
    too_many = (until_ts - s.next_timer_ts) // s.timer_ns - MAX_TIMERS
    if too_many > 0:
        s.timers_skipped += too_many
        s.next_timer_ts += too_many * s.timer_ns


@jit
def timer_first(state, event_ts, now_ns, origin_tsc):
    """Emit one TIMER if it comes before ``event_ts`` and is due; True if so (ask again before the event).

    A timer that finds no room is skipped: the next one carries the time.
    """
    s = view(state, STATE)
    if s.started_ns == 0 or s.next_timer_ts > event_ts or not due(state, s.next_timer_ts, now_ns):
        return False
    _skip_timers(s, min(event_ts, _clock(s, now_ns)))
    timer_ts = s.next_timer_ts
    s.next_timer_ts += s.timer_ns
    if s.pending_n == 0 and has_room(state, np.int64(1)):
        s.timers += 1
        s.event_ts = max(s.event_ts, timer_ts)
        seal(state, put_timer(state, np.int64(0), np.uint64(s.timers)), timer_ts, timer_ts, origin_tsc)
        flush(state)
    return True


@jit
def drained(state, now_ns):
    """After the last event: run timers on for ``drain_ns`` so that orders in flight are answered; True when done."""
    s = view(state, STATE)
    if s.started_ns == 0:
        return True
    if s.end_ts == 0:
        s.end_ts = s.event_ts + s.drain_ns
    timer_first(state, s.end_ts, now_ns, ZERO)
    return s.next_timer_ts > s.end_ts
