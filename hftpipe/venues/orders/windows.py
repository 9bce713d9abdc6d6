"""How many orders a venue takes in its windows of time, counted here so that it never has to say so.

A share of each is left alone: the venue's clock runs a little beside ours, and other processes may use the account. Cancels are
not counted by the venues, and never held back here.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.venues.orders.state import WINDOWS

#: Per cent of a venue's limit that is used.
SHARE = np.int64(80)
_MS = np.int64(1_000_000)


@jit
def may_send(a, now_ns):
    """Whether one more order may be sent now (an ACCOUNT record); begins the windows whose time has come."""
    now_ms = (now_ns + a.wall_offset_ns) // _MS
    if now_ms < a.paused_ms:
        return False
    for index in range(WINDOWS):
        w = a.windows[index]
        if w.length_ms <= 0:
            continue
        began_ms = now_ms - now_ms % w.length_ms
        if began_ms > w.began_ms:
            w.began_ms, w.count = began_ms, 0
        if w.count >= w.limit * SHARE // 100:
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
def pause_window(a):
    """Send nothing new before the first of the venue's windows has ended."""
    now_ms, length_ms = (a.now_ns + a.wall_offset_ns) // _MS, max(a.windows[0].length_ms, np.int64(1000))
    pause_until(a, now_ms - now_ms % length_ms + length_ms)
