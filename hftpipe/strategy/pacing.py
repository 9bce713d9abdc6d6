"""How fast quotes may be sent, so that risk need not refuse them: two buckets of event time an instrument.

Each NEW and REPLACE of an instrument puts an *arrival* off by one interval (the generic cell rate algorithm); the next
one may go when the arrival is at most the tolerance ahead. Of a limit N a quarter may go at once, and no window of the
period, with a margin for how risk counts and for clocks that differ, ever holds more than N. A strategy's own orders
count too; they are never held up.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view

#: One row an instrument; all zeros is "as fast as you like". Times in ns of event time.
PACE = np.dtype(
    [
        ("second", "i8"), ("second_interval", "i8"), ("second_tolerance", "i8"),
        ("minute", "i8"), ("minute_interval", "i8"), ("minute_tolerance", "i8"), ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
PACE_BYTES = 64
assert PACE.itemsize == PACE_BYTES

#: Longer than the windows risk counts in (1.024 s, 61.3 s).
SECOND_NS, MINUTE_NS = 1_100_000_000, 62_000_000_000
_BURST_SHARE = 4


def bucket(limit: int, period_ns: int) -> tuple[int, int]:
    """Interval and tolerance (ns) that keep any ``period_ns`` at or below ``limit`` sends."""
    burst = max(1, limit // _BURST_SHARE)
    interval = -(-period_ns // (limit - burst + 1))
    return interval, (burst - 1) * interval


def pace_row(per_s: int, per_min: int) -> np.ndarray:
    """The PACE array of length 1 of an instrument that risk allows so many orders a second and a minute."""
    row = np.zeros(1, PACE)
    row["second_interval"], row["second_tolerance"] = bucket(per_s, SECOND_NS)
    row["minute_interval"], row["minute_tolerance"] = bucket(per_min, MINUTE_NS)
    return row


@jit
def pace_ready(pace):
    """When (ns) the next order of the PACE row at address ``pace`` may go."""
    p = view(pace, PACE)
    return max(p.second - p.second_tolerance, p.minute - p.minute_tolerance)


@jit
def pace_add(pace, now):
    """Count an order sent at ``now`` (ns)."""
    p = view(pace, PACE)
    p.second = max(p.second, now) + p.second_interval
    p.minute = max(p.minute, now) + p.minute_interval
