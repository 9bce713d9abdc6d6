"""Layout of a latency histogram, and its percentiles.

Values are time-stamp counter ticks: 128 linear buckets per power of two, so that the relative error of a percentile is below
1/128 = 0.78 %. Range: 0 to 2**43 ticks (about an hour). Negative values are counted apart.
"""

from dataclasses import asdict, dataclass

import numpy as np

SUB_BITS = 7
SUB = 1 << SUB_BITS
TOP_BITS = 43
BUCKETS = (TOP_BITS - SUB_BITS + 1) * SUB
#: Layout: int64 words: count, negative, max, sum, then the buckets.
HEADER_WORDS = 4
HIST_BYTES = (HEADER_WORDS + BUCKETS) * 8
PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999))


def bucket_low(index: int) -> int:
    """Smallest value that falls into a bucket."""
    if index < SUB:
        return index
    exponent = index // SUB - 1
    return (SUB + index % SUB) << exponent


@dataclass(frozen=True)
class Summary:
    """Percentiles of one histogram, in ns."""

    count: int
    negative: int
    p50: float
    p99: float
    p99_9: float
    p99_99: float
    max: float

    def as_dict(self) -> dict[str, float | int]:
        """As in the run summary."""
        return asdict(self)


def percentile(buckets: np.ndarray, quantile: float) -> int:
    """Value at ``quantile``: the middle of the bucket that holds it (0 when empty)."""
    total = int(buckets.sum())
    if total == 0:
        return 0
    rank = max(1, int(np.ceil(quantile * total)))
    index = int(np.searchsorted(np.cumsum(buckets), rank))
    low = bucket_low(index)
    return (low + bucket_low(index + 1) - 1) // 2 if index + 1 < BUCKETS else low


def summarize(words: np.ndarray, ns_per_tick: float) -> Summary:
    """Read a histogram.

    Args:
        words: int64 array of ``HIST_BYTES // 8``, as it lies in shared memory.
        ns_per_tick: length of a time-stamp counter tick.
    """
    buckets = np.array(words[HEADER_WORDS:])
    top = int(words[2])
    values = {name: min(percentile(buckets, q), top) * ns_per_tick for name, q in PERCENTILES}
    return Summary(count=int(words[0]), negative=int(words[1]), max=top * ns_per_tick, **values)
