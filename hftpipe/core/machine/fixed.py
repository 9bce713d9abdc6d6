"""Fixed point: every price, quantity and amount of money is an int64 in units of 1e-8.

The cold path (configuration, display) converts exactly through :class:`decimal.Decimal` and refuses what does
not fit. The hot path multiplies and divides with a 128-bit intermediate, and says when a result does not fit.
"""

from decimal import Decimal, InvalidOperation

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, div_wide, load_u8, mul_wide

DECIMALS = 8
SCALE: int = 10**DECIMALS
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
#: What :func:`muldiv` and :func:`notional` return when the result does not fit; never a legal amount.
OVERFLOW = INT64_MIN

_SIGN = np.uint64(1 << 63)


class FixedError(ValueError):
    """A number that has no exact int64 representation in units of 1e-8."""


def to_fixed(value: str | int | Decimal) -> int:
    """Convert a decimal number exactly to units of 1e-8.

    Raises:
        FixedError: not a finite number, more than 8 decimals, or outside the int64 range.
    """
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise FixedError(f"{value!r} is not a decimal number") from error
    if not number.is_finite():
        raise FixedError(f"{value!r} is not a finite number")
    scaled = number.scaleb(DECIMALS)
    if scaled != scaled.to_integral_value():
        raise FixedError(f"{value!r} has more than {DECIMALS} decimals")
    result = int(scaled)
    if not INT64_MIN < result <= INT64_MAX:
        raise FixedError(f"{value!r} is outside +-{Decimal(INT64_MAX).scaleb(-DECIMALS)}")
    return result


def format_fixed(value: int, decimals: int | None = None) -> str:
    """Write a 1e-8 integer as a decimal string.

    Args:
        value: units of 1e-8.
        decimals: exactly that many (cut, not rounded); None writes as many as needed.
    """
    sign, digits = ("-" if value < 0 else ""), f"{abs(int(value)):09d}"
    whole, part = digits[:-DECIMALS], digits[-DECIMALS:]
    part = part.rstrip("0") if decimals is None else part[:decimals]
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


@jit
def magnitude(value):
    """Absolute value as uint64; exact for the most negative int64 too."""
    if value < 0:
        return ZERO - U64(value)
    return U64(value)


@jit
def muldiv_rem(a, b, divisor):
    """``a * b / divisor`` rounded toward zero with a 128-bit product: ``(quotient, remainder magnitude)``.

    ``divisor`` must be positive. A result outside int64 is :data:`OVERFLOW`.
    """
    high, low = mul_wide(magnitude(a), magnitude(b))
    d = U64(divisor)
    if divisor <= 0 or high >= d:
        return np.int64(OVERFLOW), ZERO
    quotient, remainder = div_wide(high, low, d)
    if quotient >= _SIGN:
        return np.int64(OVERFLOW), ZERO
    if (a < 0) != (b < 0):
        return -np.int64(quotient), remainder
    return np.int64(quotient), remainder


@jit
def muldiv(a, b, divisor):
    """``a * b / divisor`` rounded toward zero with a 128-bit product; OVERFLOW if it does not fit."""
    return muldiv_rem(a, b, divisor)[0]


@jit
def notional(price, qty):
    """Value of ``qty`` at ``price`` in 1e-8 quote units, rounded toward zero (exact on venue ticks and lots)."""
    return muldiv_rem(price, qty, np.int64(SCALE))[0]


@jit
def floor_to(value, step):
    """Largest multiple of ``step`` (> 0) not above ``value``."""
    return value - value % step


@jit
def ceil_to(value, step):
    """Smallest multiple of ``step`` (> 0) not below ``value``."""
    return value + (-value) % step


@jit
def parse_decimal(start, end):
    """Parse plain decimal ASCII in ``[start, end)`` to units of 1e-8: ``(ok, value)``.

    Accepts an optional minus sign, digits, and at most one point; zeros beyond 8 decimals; nothing else
    (no exponent, no plus sign, no blank, no empty part before the point).
    """
    at = start
    negative = at < end and load_u8(at) == 45
    if negative:
        at += ONE
    value, digits, decimals, seen_point = ZERO, 0, 0, False
    while at < end:
        c = load_u8(at)
        at += ONE
        if c == 46:
            if seen_point or digits == 0:
                return False, np.int64(0)
            seen_point = True
            continue
        if c < 48 or c > 57:
            return False, np.int64(0)
        digits += 1
        if seen_point:
            decimals += 1
            if decimals > DECIMALS:
                if c != 48:
                    return False, np.int64(0)
                continue
        if value > U64(922337203685477580):
            return False, np.int64(0)
        value = value * U64(10) + U64(c - 48)
        if value >= _SIGN:
            return False, np.int64(0)
    if digits == 0 or (seen_point and decimals == 0):
        return False, np.int64(0)
    for _ in range(decimals, DECIMALS):
        if value > U64(922337203685477580):
            return False, np.int64(0)
        value = value * U64(10)
    if value >= _SIGN:
        return False, np.int64(0)
    return True, -np.int64(value) if negative else np.int64(value)
