"""Seeded random numbers for simulation: xoshiro256** in 32 bytes of memory, and draws made from it.

The generator is that of Blackman and Vigna (https://prng.di.unimi.it), its four words filled by splitmix64 as they
advise. Logarithm and exponential are made here from ``+ - * /`` alone, which IEEE 754 rounds the same everywhere:
the C library's differ in the last bit between versions and CPUs, and one bit is enough to change a whole session.
So a seed gives the same bytes on every machine.
"""

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, mul_wide, view

RANDOM = np.dtype([("a", "u8"), ("b", "u8"), ("c", "u8"), ("d", "u8")], align=True)
RANDOM_BYTES = 32

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW_16 = np.uint64(0xFFFF)
_LN_2 = 0.6931471805599453
_SQRT_2 = 1.4142135623730951
_INV_2_53 = 1.0 / (1 << 53)
_INV_2_63 = 1.0 / (1 << 63)
#: 1/13 .. 1/1: a Taylor series, nested.
_INVERSES = tuple(1.0 / n for n in range(13, 0, -1))
#: Beyond this many powers of two :func:`exponential_of` is cut: 0 below, 2**62 above.
_EXP_BITS = 62.0


@jit
def _rotate(value, left):
    return (value << U64(left)) | (value >> U64(64 - left))


@jit
def splitmix(state):
    """Output of splitmix64 for the counter value ``state`` (uint64): a good hash of 64 bits."""
    z = (state ^ (state >> U64(30))) * _MIX_1
    z = (z ^ (z >> U64(27))) * _MIX_2
    return z ^ (z >> U64(31))


@jit
def random_init(random, seed):
    """Start the generator at address ``random`` from any uint64 ``seed`` (0 is as good as any)."""
    r = view(random, RANDOM)
    r.a = splitmix(seed + _GOLDEN)
    r.b = splitmix(seed + _GOLDEN * U64(2))
    r.c = splitmix(seed + _GOLDEN * U64(3))
    r.d = splitmix(seed + _GOLDEN * U64(4))


@jit
def random_next(random):
    """The next 64 bits, as uint64."""
    r = view(random, RANDOM)
    result = _rotate(r.b * U64(5), 7) * U64(9)
    shifted = r.b << U64(17)
    r.c ^= r.a
    r.d ^= r.b
    r.b ^= r.c
    r.a ^= r.d
    r.c ^= shifted
    r.d = _rotate(r.d, 45)
    return result


@jit
def random_uniform(random):
    """A float in [0, 1) with 53 random bits."""
    return np.float64(random_next(random) >> U64(11)) * _INV_2_53


@jit
def random_below(random, count):
    """An int64 in [0, count), ``count`` >= 1: the high word of a product.

    The bias is below count / 2**64, which no simulation can see; a rejection loop would have no bound.
    """
    return np.int64(mul_wide(random_next(random), U64(count))[0])


@jit
def log_of(number):
    """Natural logarithm of a uint64 >= 1, to about 1e-15: ``number = m * 2**e``, ``ln m`` as an atanh series."""
    zeros = leading_zeros(number)
    m = np.float64(number << U64(zeros)) * _INV_2_63
    e = 63.0 - np.float64(zeros)
    if m > _SQRT_2:
        m *= 0.5
        e += 1.0
    t = (m - 1.0) / (m + 1.0)
    q = t * t
    series = 1.0 / 17.0 + q * (1.0 / 19.0 + q * (1.0 / 21.0))
    series = 1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0 + q * series))
    series = 1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * series))
    return e * _LN_2 + 2.0 * t * (1.0 + q * (1.0 / 3.0 + q * series))


@jit
def exponential_of(x):
    """``e**x`` to about 1e-14 relative; 0 below ``2**-62`` and no more than about ``2**62``."""
    bits = x / _LN_2
    if bits <= -_EXP_BITS:
        return 0.0
    bits = min(bits, _EXP_BITS)
    whole = np.int64(bits + 63.5) - 63
    r = (bits - np.float64(whole)) * _LN_2
    series = 1.0
    for inverse in _INVERSES:
        series = 1.0 + r * inverse * series
    power = np.float64(U64(1) << U64(abs(whole)))
    return series * power if whole >= 0 else series / power


@jit
def random_exponential(random):
    """A float >= 0 with mean 1: the wait for the next event of a Poisson process of rate 1."""
    return 53.0 * _LN_2 - log_of((random_next(random) >> U64(11)) + U64(1))


@jit
def random_normal(random):
    """Nearly normal, mean 0 and variance 1: twelve 16-bit uniforms summed, so never beyond 6 (Irwin-Hall).

    Exact integer arithmetic until the last step. The tails are thin: kurtosis 2.9.
    """
    total = np.int64(0)
    for _ in range(3):
        bits = random_next(random)
        total += np.int64(bits & _LOW_16) + np.int64((bits >> U64(16)) & _LOW_16)
        total += np.int64((bits >> U64(32)) & _LOW_16) + np.int64(bits >> U64(48))
    return np.float64(total - 6 * 65535) / 65536.0
