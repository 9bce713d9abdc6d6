"""Promises of the seeded generator: the published sequence, the stated distributions, and nothing from outside."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftpipe.core.machine.random import (
    RANDOM,
    RANDOM_BYTES,
    exponential_of,
    log_of,
    random_below,
    random_exponential,
    random_init,
    random_next,
    random_normal,
    random_uniform,
)

MASK = 2**64 - 1
DRAWS = 100_000


class Reference:
    """splitmix64 and xoshiro256** as their authors publish them, in Python integers."""

    def __init__(self, seed: int) -> None:
        self.words = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & MASK
            z = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
            self.words.append(z ^ z >> 31)

    def next(self) -> int:
        s = self.words
        five = s[1] * 5 & MASK
        result = ((five << 7 | five >> 57) & MASK) * 9 & MASK
        shifted = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = (s[3] << 45 | s[3] >> 19) & MASK
        return result


class Generator:
    """A generator in memory of its own."""

    def __init__(self, seed: int) -> None:
        self.memory = np.zeros(1, RANDOM)
        self.address = np.uint64(self.memory.ctypes.data)
        random_init(self.address, np.uint64(seed))

    def draw(self, function, count: int = DRAWS) -> np.ndarray:
        return np.array([function(self.address) for _ in range(count)])


def test_state_is_32_bytes():
    assert RANDOM.itemsize == RANDOM_BYTES == 32


def test_splitmix_fills_the_state_with_its_published_values():
    words = list(Generator(0).memory[0].tolist())
    assert words[:3] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(0, MASK))
@settings(max_examples=50, deadline=None)
def test_sequence_is_that_of_the_published_algorithm(seed):
    ours, reference = Generator(seed), Reference(seed)
    for _ in range(20):
        assert int(random_next(ours.address)) & MASK == reference.next()


def test_same_seed_same_sequence_and_other_seed_another():
    first, second, other = (Generator(seed).draw(random_uniform, 100) for seed in (5, 5, 6))
    assert (first == second).all() and (first != other).any()


@given(st.integers(1, MASK))
@settings(max_examples=200, deadline=None)
def test_logarithm_is_right_to_the_last_digits(number):
    assert log_of(np.uint64(number)) == pytest.approx(math.log(number), rel=2e-15, abs=2e-15)


@given(st.floats(-42.5, 42.5))
@settings(max_examples=200, deadline=None)
def test_exponential_function_is_right_to_the_last_digits(x):
    assert exponential_of(np.float64(x)) == pytest.approx(math.exp(x), rel=2e-14)


def test_exponential_function_is_cut_far_out():
    assert exponential_of(np.float64(-44.0)) == 0.0
    assert exponential_of(np.float64(1000.0)) == 2.0**62


def test_uniform_fills_the_unit_interval():
    u = Generator(1).draw(random_uniform)
    assert 0 <= u.min() < 1e-3 and 1 - 1e-3 < u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.005) and u.var() == pytest.approx(1 / 12, rel=0.02)


def test_below_reaches_every_value_equally():
    generator = Generator(2)
    counts = np.bincount([random_below(generator.address, np.int64(7)) for _ in range(70_000)])
    assert len(counts) == 7 and abs(counts - 10_000).max() < 500


def test_exponential_draws_have_mean_and_spread_one_and_are_never_negative():
    e = Generator(3).draw(random_exponential)
    assert e.min() >= 0 and e.mean() == pytest.approx(1, rel=0.02) and e.var() == pytest.approx(1, rel=0.05)
    assert (e > 3).mean() == pytest.approx(math.exp(-3), rel=0.1)


def test_normal_draws_have_mean_zero_spread_one_and_normal_shares():
    z = Generator(4).draw(random_normal)
    assert z.mean() == pytest.approx(0, abs=0.02) and z.var() == pytest.approx(1, rel=0.03)
    assert (abs(z) < 1).mean() == pytest.approx(0.6827, abs=0.01)
    assert (abs(z) < 2).mean() == pytest.approx(0.9545, abs=0.01)
