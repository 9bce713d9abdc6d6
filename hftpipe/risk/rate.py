"""Order rates over sliding windows of event time, in constant memory and (nearly always) constant time.

A window is a ring of counts, one per slice of time. The orders of the current slice and of enough slices before it
to cover the whole period are counted together, so that:

========= ============= ================== ==========================================================
window    one slice     slices counted     what holds
========= ============= ================== ==========================================================
second    2**24 ns      current + 60       never more than the limit in any 1 s; free again within 1.024 s
minute    2**30 ns      current + 56       never more than the limit in any 60 s; free again within 61.3 s
========= ============= ================== ==========================================================

Time is the moment of the verdict (CONTEXT ``now``), not that of the event behind it: a backlog does not pass at once. An
older one than the newest seen counts in the newest slice, so a clock that steps back never frees anything. Counting is pure; only an approved order is added.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.layout import offset_of

SLICES = 64
WINDOW = np.dtype([("slice", "i8"), ("total", "i8"), ("counts", "u4", SLICES)], align=True)
#: One row per instrument; all zeros is "no order yet".
RATE = np.dtype([("second", WINDOW), ("minute", WINDOW)], align=True)
RATE_BYTES = RATE.itemsize

#: Bits of a slice in ns, and the slices before the current one that still count. Typed, so that one compiled function
#: serves both windows (a plain literal would make numba compile one for each).
SECOND_SHIFT, SECOND_BEFORE = np.int64(24), np.int64(60)
MINUTE_SHIFT, MINUTE_BEFORE = np.int64(30), np.int64(56)
MINUTE_OFFSET = np.uint64(offset_of(RATE, "minute"))


@jit
def window_count(window, slice_, before):
    """Orders that count against one more in slice ``slice_``: this one and the ``before`` slices ahead of it."""
    w = view(window, WINDOW)
    if slice_ - w.slice > before:
        return np.int64(0)
    total = w.total
    # The window holds slices (w.slice - before) .. w.slice; those up to (slice_ - before - 1) fall out.
    old = w.slice - before
    while old < slice_ - before:
        total -= np.int64(w.counts[old & (SLICES - 1)])
        old += 1
    return total


@jit
def window_add(window, slice_, before):
    """Count one order in slice ``slice_``, clearing the slices that fall out."""
    w = view(window, WINDOW)
    if slice_ > w.slice:
        w.total = window_count(window, slice_, before)
        old = max(w.slice - before, slice_ - before - SLICES)
        while old < slice_ - before:
            w.counts[old & (SLICES - 1)] = np.uint32(0)
            old += 1
        w.slice = slice_
    w.counts[w.slice & (SLICES - 1)] += np.uint32(1)
    w.total += 1


@jit
def rate_add(rate, now_ts):
    """Count one order approved at event time ``now_ts`` (ns) in the RATE row at address ``rate``."""
    window_add(rate, now_ts >> SECOND_SHIFT, SECOND_BEFORE)
    window_add(rate + MINUTE_OFFSET, now_ts >> MINUTE_SHIFT, MINUTE_BEFORE)


@jit
def rate_fits(rate, now_ts, per_s, per_min):
    """Whether one more order at event time ``now_ts`` (ns) keeps the RATE row at address ``rate`` within both limits."""
    in_second = window_count(rate, now_ts >> SECOND_SHIFT, SECOND_BEFORE)
    return in_second < per_s and window_count(rate + MINUTE_OFFSET, now_ts >> MINUTE_SHIFT, MINUTE_BEFORE) < per_min
