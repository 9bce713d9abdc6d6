"""How many orders a venue takes in its windows of time, counted here so that it never has to say so.

A share of each is left alone: the venue's clock runs a little beside ours, and other processes may use the account. Cancels are
never held back here: Binance does not count them, Bybit counts them by themselves. Windows begin with the clock, as Binance's do; where a
venue looks at the last second instead, as Bybit does, it may still refuse what comes around the turn of one, and is then obeyed.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.venues.orders.state import WINDOWS

#: Per cent of a venue's limit that is used.
SHARE = np.int64(80)
_MS, _SECOND_NS = np.int64(1_000_000), np.int64(1_000_000_000)
#: No venue demands a longer rest, s.
_LONGEST_REST_S = np.int64(7 * 86_400)


@jit
def _begin_windows(a, now_ns):
    """Begin the windows whose time has come."""
    now_ms = (now_ns + a.wall_offset_ns) // _MS
    for index in range(WINDOWS):
        w = a.windows[index]
        if w.length_ms > 0:
            began_ms = now_ms - now_ms % w.length_ms
            if began_ms > w.began_ms:
                w.began_ms, w.count = began_ms, 0


@jit
def is_resting(a, now_ns):
    """Whether the venue has demanded that nothing is sent over REST."""
    return now_ns < max(a.rest_ns, a.told_rest_ns)


@jit
def rest_for(a, seconds):
    """Send nothing over REST for so long."""
    a.rest_ns = max(a.rest_ns, a.now_ns + min(seconds, _LONGEST_REST_S) * _SECOND_NS)


@jit
def note_count(a, length_ms, count):
    """The venue has counted so many orders in its window of that length (below 0: it does not say)."""
    _begin_windows(a, a.now_ns)
    for index in range(WINDOWS):
        w = a.windows[index]
        if w.length_ms == length_ms:
            w.count = max(w.count, count)


@jit
def note_left(a, limit, left):
    """The venue allows so many orders in the first of its windows, and so many more now (below 0: it does not say)."""
    w = a.windows[0]
    if limit > 0 and left >= 0 and w.length_ms > 0:
        w.limit = limit
        note_count(a, w.length_ms, limit - left)


@jit
def may_send(a, now_ns):
    """Whether one more order may be sent now (an ACCOUNT record); begins the windows whose time has come."""
    if (now_ns + a.wall_offset_ns) // _MS < a.paused_ms or is_resting(a, now_ns):
        return False
    _begin_windows(a, now_ns)
    for index in range(WINDOWS):
        w = a.windows[index]
        if w.length_ms > 0 and w.count >= max(w.limit * SHARE // 100, 1):
            return False
    return True


@jit
def count_order(a):
    """One more order was sent."""
    for index in range(WINDOWS):
        a.windows[index].count += 1


@jit
def pause_until(a, until_ms):
    """Send nothing new before a time of the venue's clock (ms)."""
    a.paused_ms = max(a.paused_ms, until_ms)


@jit
def pause_for(a, seconds):
    """Send nothing new for so long."""
    pause_until(a, (a.now_ns + min(seconds, _LONGEST_REST_S) * _SECOND_NS + a.wall_offset_ns) // _MS)


@jit
def pause_window(a):
    """Send nothing new before the first of the venue's windows has ended."""
    now_ms, length_ms = (a.now_ns + a.wall_offset_ns) // _MS, max(a.windows[0].length_ms, np.int64(1000))
    pause_until(a, now_ms - now_ms % length_ms + length_ms)
