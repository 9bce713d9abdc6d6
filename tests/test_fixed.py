"""Fixed point against exact arithmetic: Python integers and Decimal."""

import ctypes
import mmap
import re
from decimal import ROUND_DOWN, Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memory import address, fork, join

from hftpipe.core.machine.fixed import (
    INT64_MAX,
    INT64_MIN,
    OVERFLOW,
    SCALE,
    FixedError,
    ceil_to,
    floor_to,
    format_fixed,
    magnitude,
    muldiv,
    muldiv_rem,
    notional,
    parse_decimal,
    to_fixed,
)

EDGES = [0, 1, -1, 2, SCALE, -SCALE, SCALE + 1, 2**31, 2**32, 2**62, INT64_MAX, INT64_MIN, INT64_MIN + 1]
INT64 = st.integers(INT64_MIN, INT64_MAX) | st.sampled_from(EDGES) | st.integers(-(10**6), 10**6)
AMOUNT = st.integers(INT64_MIN + 1, INT64_MAX) | st.sampled_from([0, 1, -1, INT64_MAX, INT64_MIN + 1])
LEGAL = re.compile(rb"-?[0-9]+(\.[0-9]+)?")


def parse(text: bytes) -> tuple[bool, int]:
    buffer = np.frombuffer(text + b"9", np.uint8)
    ok, value = parse_decimal(address(buffer), address(buffer) + np.uint64(len(text)))
    return bool(ok), int(value)


def reference_parse(text: bytes) -> tuple[bool, int]:
    if not LEGAL.fullmatch(text):
        return False, 0
    scaled = Decimal(text.decode()) * SCALE
    if scaled != scaled.to_integral_value() or abs(scaled) > INT64_MAX:
        return False, 0
    return True, int(scaled)


def truncated(a: int, b: int, divisor: int) -> tuple[int, int]:
    quotient, remainder = divmod(abs(a * b), divisor)
    return (-quotient if (a < 0) != (b < 0) else quotient), remainder


@given(AMOUNT)
def test_a_fixed_amount_survives_text(value: int) -> None:
    text = format_fixed(value)
    assert to_fixed(text) == value
    assert Decimal(text) == Decimal(value).scaleb(-8)


@given(AMOUNT, st.integers(0, 8))
def test_format_cuts_to_the_decimals_asked_for(value: int, decimals: int) -> None:
    text = format_fixed(value, decimals)
    exact = Decimal(value).scaleb(-8)
    assert Decimal(text) == exact.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN)
    assert len(text.partition(".")[2]) == decimals


@pytest.mark.parametrize("value", ["1e3", 5, "0.00000001", Decimal("-2.5"), "92233720368.54775807"])
def test_to_fixed_is_exact(value: str | int | Decimal) -> None:
    assert to_fixed(value) == Decimal(value) * SCALE


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("ten", "not a decimal number"),
        ("", "not a decimal number"),
        (None, "not a decimal number"),
        ("NaN", "not a finite number"),
        ("-inf", "not a finite number"),
        ("0.000000001", "more than 8 decimals"),
        ("92233720368.54775808", "outside"),
        ("-92233720368.54775808", "outside"),
        ("1e300", "outside"),
    ],
)
def test_to_fixed_refuses_what_does_not_fit_and_says_why(value: str, why: str) -> None:
    with pytest.raises(FixedError, match=why) as refusal:
        to_fixed(value)
    assert repr(value) in str(refusal.value)


@given(INT64)
@example(INT64_MIN)
def test_magnitude_is_exact_at_the_extremes(value: int) -> None:
    assert int(magnitude(np.int64(value))) == abs(value)


@given(INT64, INT64, st.integers(1, INT64_MAX) | st.sampled_from([1, 2, SCALE, INT64_MAX]))
@example(INT64_MIN, INT64_MIN, 1)
@example(INT64_MIN, 1, 1)
@example(INT64_MAX, INT64_MAX, INT64_MAX)
@example(INT64_MIN, -1, 1)
def test_muldiv_equals_whole_numbers_and_overflows_exactly_when_it_must(a: int, b: int, divisor: int) -> None:
    quotient, remainder = truncated(a, b, divisor)
    got, got_remainder = muldiv_rem(np.int64(a), np.int64(b), np.int64(divisor))
    assert int(muldiv(np.int64(a), np.int64(b), np.int64(divisor))) == int(got)
    if INT64_MIN < quotient <= INT64_MAX:
        assert (int(got), int(got_remainder)) == (quotient, remainder)
    else:
        assert int(got) == OVERFLOW


@pytest.mark.parametrize("divisor", [0, -1, INT64_MIN])
def test_muldiv_refuses_a_divisor_that_is_not_positive(divisor: int) -> None:
    assert int(muldiv(np.int64(6), np.int64(7), np.int64(divisor))) == OVERFLOW


@given(INT64, INT64)
@example(INT64_MAX, SCALE)
@example(INT64_MAX, SCALE + 1)
@example(INT64_MIN, SCALE)
def test_notional_is_price_times_quantity(price: int, qty: int) -> None:
    exact, _ = truncated(price, qty, SCALE)
    expected = exact if INT64_MIN < exact <= INT64_MAX else OVERFLOW
    assert int(notional(np.int64(price), np.int64(qty))) == expected


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**40))
def test_rounding_to_a_step_brackets_the_value(value: int, step: int) -> None:
    low, high = int(floor_to(np.int64(value), np.int64(step))), int(ceil_to(np.int64(value), np.int64(step)))
    assert low == value // step * step
    assert high == -(-value // step) * step


NUMBERS = st.from_regex(rb"-?[0-9]{0,13}(\.[0-9]{0,11})?", fullmatch=True)
NOISE = st.lists(st.sampled_from(list(b'0123456789.-+eE ,"x')), max_size=24).map(bytes)


@given(NUMBERS | NOISE | st.binary(max_size=12))
@example(b"92233720368.54775807")
@example(b"-92233720368.54775807")
@example(b"92233720368.54775808")
@example(b"-92233720368.54775808")
@example(b"99999999999999999999999999")
@example(b"18446744073709551617")
@example(b"0.0000000000000000000000000000")
@example(b"0.000000001")
@example(b"000000000000000000000000000001.5")
@example(b"-0")
@example(b".5")
@example(b"5.")
@example(b"-")
@example(b"")
def test_parse_accepts_plain_decimals_and_nothing_else(text: bytes) -> None:
    assert parse(text) == reference_parse(text)


def _parse_against_guard_page() -> bool:
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    base = np.frombuffer(memory, np.uint8).ctypes.data
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for guard in (base, base + 2 * page):
        assert protect(guard, page, 0) == 0
    texts = [b"61800.30000000", b"-1", b"5.", b"-", b"", b"9" * 40, b"0." + b"0" * 60, b"1" + b"0" * 30 + b"."]
    for text in texts:
        for start in (page, 2 * page - len(text)):
            memory[start : start + len(text)] = text
            ok, value = parse_decimal(np.uint64(base + start), np.uint64(base + start + len(text)))
            if (bool(ok), int(value)) != reference_parse(text):
                return False
    return True


def test_parse_never_reads_outside_the_text() -> None:
    """The text stands against unmapped pages on both sides: one byte too far is a SIGSEGV of the child."""
    parse(b"1")  # compiled before the fork
    assert join(fork(_parse_against_guard_page)) == 0
