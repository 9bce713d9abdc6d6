"""When the next event is due, and the timers that carry time through a quiet market.

Event time is the recording's (or the flow's) own; it runs at ``speed`` against the monotonic clock. Time reaches the
stages only as records: a TIMER every ``timer_ns`` of event time, in order with the events.
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import ZERO, view
from hftpipe.market.publish import flush, has_room, put_timer, seal
from hftpipe.market.state import STATE


@jit
def due(state, event_ts, now_ns):
    """Whether an event of ``event_ts`` may happen at monotonic ``now_ns``. Sets the origin at the first event."""
    s = view(state, STATE)
    if s.started_ns == 0:
        s.started_ns, s.first_ts, s.event_ts = now_ns, event_ts, event_ts
        s.next_timer_ts = event_ts + s.timer_ns
    if s.inverse_speed == 0.0:
        return True
    at_ns = s.started_ns + np.int64(np.float64(event_ts - s.first_ts) * s.inverse_speed)
    if now_ns < at_ns:
        return False
    s.max_lag_ns = max(s.max_lag_ns, now_ns - at_ns)
    return True


@jit
def timer_first(state, event_ts, now_ns, origin_tsc):
    """Emit one TIMER if it comes before ``event_ts`` and is due; True if so (ask again before the event).

    A timer that finds no room is skipped: the next one carries the time.
    """
    s = view(state, STATE)
    if s.started_ns == 0 or s.next_timer_ts > event_ts or not due(state, s.next_timer_ts, now_ns):
        return False
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
