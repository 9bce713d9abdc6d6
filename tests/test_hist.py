"""Histograms against exact percentiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address

from hftpipe.core.machine.hist import bucket_of, hist_record, hist_since, stamp
from hftpipe.core.schema.histogram import BUCKETS, HEADER_WORDS, HIST_BYTES, bucket_low, percentile, summarize

RANGE = 1 << 43
VALUES = st.integers(0, RANGE - 1) | st.integers(0, 300) | st.integers(0, 43).map(lambda bits: max(0, (1 << bits) - 1))


def record_all(values: list[int]) -> np.ndarray:
    words = np.zeros(HIST_BYTES // 8, np.int64)
    for value in values:
        hist_record(address(words), np.int64(value))
    return words


@given(st.lists(VALUES, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_percentiles_are_within_one_percent(values: list[int], quantile: float) -> None:
    words = record_all(values)
    exact = int(np.percentile(values, quantile * 100, method="inverted_cdf"))
    assert abs(percentile(words[HEADER_WORDS:], quantile) - exact) <= max(1, exact) / 100


def test_percentiles_of_a_long_tail_are_within_one_percent() -> None:
    values = (np.random.default_rng(1).pareto(1.2, 20_000) * 500).astype(np.int64)
    summary = summarize(record_all(values.tolist()), 0.5)
    assert (summary.count, summary.negative, summary.max) == (20_000, 0, values.max() * 0.5)
    for name, quantile in (("p50", 50), ("p99", 99), ("p99_9", 99.9), ("p99_99", 99.99)):
        exact = np.percentile(values, quantile, method="inverted_cdf") * 0.5
        assert getattr(summary, name) == pytest.approx(exact, rel=0.01)


@given(VALUES)
def test_a_bucket_starts_at_or_below_what_it_holds(value: int) -> None:
    index = int(bucket_of(np.int64(value)))
    assert bucket_low(index) <= value < bucket_low(index + 1)


def test_buckets_are_the_inverse_of_their_lows_and_rise() -> None:
    lows = [bucket_low(index) for index in range(BUCKETS)]
    assert lows == sorted(set(lows))
    assert [int(bucket_of(np.int64(low))) for low in lows] == list(range(BUCKETS))
    assert [int(bucket_of(np.int64(low - 1))) for low in lows[1:]] == list(range(BUCKETS - 1))


@pytest.mark.parametrize("value", [RANGE, RANGE + 1, 2**62, 2**63 - 1])
def test_a_value_beyond_the_range_lands_in_the_last_bucket(value: int) -> None:
    words = record_all([value])
    assert words[HEADER_WORDS + BUCKETS - 1] == 1 and words[2] == value and len(words) == HEADER_WORDS + BUCKETS


def test_negative_latencies_are_counted_apart() -> None:
    words = record_all([-1, -(2**62), 5])
    summary = summarize(words, 1.0)
    assert (summary.count, summary.negative, summary.p50, summary.max) == (1, 2, 5, 5)


def test_no_percentile_is_above_the_largest_value() -> None:
    summary = summarize(record_all([1025] * 10), 1.0)
    assert summary.p50 == summary.p99_99 == summary.max == 1025


def test_an_empty_histogram_is_all_zeros() -> None:
    assert summarize(record_all([]), 1.0).as_dict() == dict.fromkeys(
        ("count", "negative", "p50", "p99", "p99_9", "p99_99", "max"), 0
    )


def test_an_unknown_start_is_not_counted() -> None:
    words = record_all([])
    hist_since(address(words), np.uint64(0), np.uint64(100))
    assert not words.any()
    hist_since(address(words), np.uint64(90), np.uint64(100))
    hist_since(address(words), np.uint64(101), np.uint64(100))
    assert words[:3].tolist() == [1, 1, 10]
    assert int(stamp()) > 0
