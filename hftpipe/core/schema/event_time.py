"""Event time against our monotonic clock: how it lies in memory (:mod:`hftpipe.core.shared.event_time`)."""

import numpy as np

#: ``mult``: event time per monotonic time in 32.32 fixed point, 0 until the first event and at full speed; the moment
#: where both clocks were read; ``known_ts``: event time up to which the market is known.
EVENT_TIME = np.dtype(
    [("mult", "u8"), ("mono_ns", "u8"), ("event_ts", "u8"), ("_pad", "u8", 5), ("known_ts", "u8"), ("_end", "u8", 7)],
    align=True,
)
REAL_TIME_MULT = 1 << 32
