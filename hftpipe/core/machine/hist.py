"""Latency histogram: log-linear buckets in shared memory, written from jitted code in one add.

Values are time-stamp counter ticks (converted to ns when read, so that recording costs no multiplication).
128 linear buckets per power of two: the relative error of a percentile is below 1/128 = 0.78 %. Range: 0 to
2**43 ticks (about an hour). Negative values (recorded clocks may run behind the venue's) are counted apart.
"""

import numpy as np

from hftpipe.core.machine.build import METRICS
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, rdtsc, store_i64
from hftpipe.core.schema.histogram import BUCKETS, HEADER_WORDS, SUB, SUB_BITS

_SUB_U64 = np.uint64(SUB)


@jit
def _bit_length(value):
    """Number of bits of a uint64 (0 for 0); compiles to one instruction with a shift ladder otherwise."""
    bits, rest = ZERO, value
    for shift in (U64(32), U64(16), U64(8), U64(4), U64(2), U64(1)):
        if rest >> shift != ZERO:
            rest >>= shift
            bits += shift
    return bits + rest


@jit
def bucket_of(value):
    """Bucket index of a non-negative int64; values beyond the range fall into the last bucket."""
    v = U64(value)
    if v < _SUB_U64:
        return np.int64(v)
    exponent = _bit_length(v) - U64(SUB_BITS + 1)
    index = (exponent + U64(1)) * _SUB_U64 + ((v >> exponent) & U64(SUB - 1))
    return min(np.int64(index), np.int64(BUCKETS - 1))


@jit
def _add(address, amount):
    store_i64(address, load_i64(address) + amount)


@jit
def hist_record(hist, value):
    """Count ``value`` (int64 ticks) in the histogram at address ``hist``. One writer per histogram."""
    if value < 0:
        _add(hist + U64(8), np.int64(1))
        return
    _add(hist, np.int64(1))
    _add(hist + U64(24), value)
    if value > load_i64(hist + U64(16)):
        store_i64(hist + U64(16), value)
    _add(hist + U64(8 * HEADER_WORDS) + U64(8) * U64(bucket_of(value)), np.int64(1))


@jit
def stamp():
    """Time-stamp counter, or 0 in a build without metrics (then it compiles to nothing)."""
    if METRICS:
        return rdtsc()
    return ZERO


@jit
def hist_since(hist, start_tsc, end_tsc):
    """Count ``end_tsc - start_tsc`` unless the start is unknown (0); nothing in a build without metrics."""
    if METRICS and start_tsc != ZERO:
        hist_record(hist, np.int64(end_tsc - start_tsc))
