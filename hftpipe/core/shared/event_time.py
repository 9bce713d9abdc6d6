"""What time it is in the market, for those who must know how old something is: event time against our monotonic clock.

Two cache lines. The first is written once, by the market-data stage at its first event: event time runs at a speed
against the monotonic clock from there on. The second is written with every event: the time up to which the market is
known, whatever was said of which instrument; a book that stands in its cell unchanged was right until then.

A source that is held back (full speed) has no clock: it is as late as the newest event, and nothing ever gets old.
"""

import numpy as np

from hftpipe.core.machine.clock import monotonic_ns
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_acquire, load_relaxed, mul_wide, store_relaxed, store_release
from hftpipe.core.schema.event_time import EVENT_TIME, REAL_TIME_MULT
from hftpipe.core.schema.layout import offset_of

_MONO, _EVENT, _KNOWN = (np.uint64(offset_of(EVENT_TIME, name)) for name in ("mono_ns", "event_ts", "known_ts"))
_HALF = np.uint64(32)


def speed_mult(speed: float) -> int:
    """``mult`` of a playing speed (a multiple of recorded time); 0 is full speed."""
    return round(speed * REAL_TIME_MULT)


@jit
def event_time_start(time, now_ns, event_ts, mult):
    """Writer: from monotonic ``now_ns`` on, event time is ``event_ts`` and what has passed since, times ``mult``."""
    store_relaxed(time + _MONO, U64(now_ns))
    store_relaxed(time + _EVENT, U64(event_ts))
    store_release(time, mult)


@jit
def event_now(time, clock, tsc, now_ns, event_ts):
    """The event time now, never before ``event_ts``.

    Args:
        time: address of an EVENT_TIME; event_ts: the newest event time that the caller has seen.
        clock: address of a CLOCK, which is read by ``tsc``; 0: ``now_ns`` is the monotonic time.
    """
    mult = load_acquire(time)
    if mult == ZERO:
        return event_ts
    now = monotonic_ns(clock, tsc) if clock != ZERO else now_ns
    passed = now - np.int64(load_relaxed(time + _MONO))
    high, low = mul_wide(U64(max(passed, np.int64(0))), mult)
    return max(np.int64(load_relaxed(time + _EVENT)) + np.int64((high << _HALF) | (low >> _HALF)), event_ts)


@jit
def show_known(time, event_ts):
    """Writer: everything up to ``event_ts`` has been heard, and stands in the cells."""
    store_release(time + _KNOWN, U64(event_ts))


@jit
def known_until(time):
    """Event time up to which the market is known; cells read after this call are at least as new."""
    return np.int64(load_acquire(time + _KNOWN))


def wind_event_time(time: np.ndarray, event_ts: int | None) -> None:
    """Cold: let it be ``event_ts`` at monotonic time 0, or no time at all; ``time`` is an EVENT_TIME array of length 1."""
    time["mult"], time["mono_ns"], time["event_ts"] = (0, 0, 0) if event_ts is None else (REAL_TIME_MULT, 0, event_ts)
