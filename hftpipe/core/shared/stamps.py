"""Event time of recorded time stamps, of which one may be absurd.

Event time follows the stamps as long as they make sense:

====================================== ============================================================================
a stamp, against the newest before it  event time
====================================== ============================================================================
up to an hour ahead                    the stamp
up to a minute behind                  the stamp: recorded streams may be out of order
anything else                          goes on from where it was; counted as a jump. Later stamps that fit better to
                                       those before the jump are believed as those were (a jump back), the others
                                       are shifted by the jump's length
====================================== ============================================================================

So one absurd stamp costs nothing but two jumps, and a recording of two sessions plays on without the time between.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view

AHEAD_NS = 3600 * 10**9
BEHIND_NS = 60 * 10**9

#: ``newest`` event time; what is added to stamps, now and before the last jump; jumps so far; 1 after the first stamp.
STAMPS = np.dtype([("newest", "i8"), ("shift", "i8"), ("shift_before", "i8"), ("jumps", "i8"), ("begun", "i8")])


@jit
def _makes_sense(s, event_ts):
    return event_ts >= s.newest - BEHIND_NS and event_ts - s.newest <= AHEAD_NS


@jit
def _is_nearer(s, event_ts, than_ts):
    return abs(event_ts - s.newest) < abs(than_ts - s.newest)


@jit
def _take(s, shift):
    """From here on stamps are shifted otherwise."""
    s.jumps += 1
    s.shift_before, s.shift = s.shift, shift


@jit
def event_time(stamps, stamp_ns):
    """Event time (ns) of a recorded time stamp; ``stamps`` is the address of a STAMPS, all zeros at the start."""
    s = view(stamps, STAMPS)
    if s.begun == 0:
        s.begun, s.newest = 1, stamp_ns
    makes_sense = _makes_sense(s, stamp_ns + s.shift)
    if s.jumps > 0 and _makes_sense(s, stamp_ns + s.shift_before):
        if not makes_sense or _is_nearer(s, stamp_ns + s.shift_before, stamp_ns + s.shift):
            _take(s, s.shift_before)
    elif not makes_sense:
        _take(s, s.newest - stamp_ns)
    event_ts = stamp_ns + s.shift
    s.newest = max(s.newest, event_ts)
    return event_ts
