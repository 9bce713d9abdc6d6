"""Writing amounts as decimal text, and numbers as hexadecimal, on the hot path: eight digits at a time, no division by a variable, no loop.

An amount is units of 1e-8, so what stands behind its point is always eight digits, and a text is those cut off where the
instrument's precision ends. Eight digits are told apart with three multiplications, the reverse of D. Lemire's "Quickly parsing
eight digits" (2022).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hftpipe.core.machine.bits import lowest_bit
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, load_u8, store_u8

#: What is written over from a text's first byte on, at most: 18 digits, a point, and eight more.
TEXT_BYTES = 32

_SCALE = np.uint64(10**8)
_ASCII_ZEROS = np.uint64(0x3030303030303030)
_POINT = np.uint8(ord("."))
_EIGHT = np.uint64(8)
_POW10 = np.array([10**n for n in range(17)], np.uint64)


@intrinsic
def store_text(typingctx: Any, address: Any, word: Any) -> Any:
    """Store eight bytes at any address; the lowest byte of ``word`` is the first character."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        builder.store(args[1], pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), codegen


@jit
def eight_digits(number):
    """The digits of ``number`` (uint64, below 1e8) as bytes of 0..9, the first digit lowest."""
    high = number // U64(10_000)
    # Two numbers below 10,000 in 32 bits each, then four below 100 in 16 each, then the digits.
    pair = high | ((number - high * U64(10_000)) << U64(32))
    hundreds = ((pair * U64(10_486)) >> U64(20)) & U64(0x0000007F0000007F)
    quad = hundreds | ((pair - hundreds * U64(100)) << U64(16))
    tens = ((quad * U64(103)) >> U64(10)) & U64(0x000F000F000F000F)
    return tens | ((quad - tens * U64(10)) << _EIGHT)


@jit
def _write_short(target, number):
    """Write a number below 1e8 without leading zeros; its end."""
    digits = eight_digits(number)
    # The last digit stands even where it is 0.
    zeros = U64(lowest_bit(digits | (ONE << U64(56)))) >> U64(3)
    store_text(target, (digits | _ASCII_ZEROS) >> (zeros << U64(3)))
    return target + _EIGHT - zeros


@jit
def _write_group(target, number):
    """Write a number below 1e8 with all of its eight digits; its end."""
    store_text(target, eight_digits(number) | _ASCII_ZEROS)
    return target + _EIGHT


@jit
def _write_whole(target, number):
    """Write a number (uint64) without leading zeros; its end."""
    if number < _SCALE:
        return _write_short(target, number)
    high = number // _SCALE
    if high < _SCALE:
        at = _write_short(target, high)
    else:
        highest = high // _SCALE
        at = _write_group(_write_short(target, highest), high - highest * _SCALE)
    return _write_group(at, number - high * _SCALE)


@jit
def write_shifted(target, value, places, decimals):
    """As :func:`write_amount`, of units of 10**-``places`` (0..16), with ``decimals`` of 0..places."""
    unit = _POW10[places]
    whole = U64(value) // unit
    at = _write_whole(target, whole)
    if decimals == 0:
        return at
    store_u8(at, _POINT)
    rest = (U64(value) - whole * unit) * _POW10[16 - places]
    high = rest // _SCALE
    _write_group(at + ONE, high)
    if decimals > 8:
        _write_group(at + ONE + _EIGHT, rest - high * _SCALE)
    return at + ONE + U64(decimals)


@jit
def write_amount(target, value, decimals):
    """Write ``value`` (0 or more, units of 1e-8) with exactly ``decimals`` (0..8) decimals; returns the end address.

    Cut, not rounded, as :func:`hftpipe.core.machine.fixed.format_fixed` does it. The TEXT_BYTES from ``target`` on may be
    written over, also behind the end.
    """
    amount = U64(value)
    whole = amount // _SCALE
    if whole < _SCALE:
        at = _write_short(target, whole)
    else:
        high = whole // _SCALE
        at = _write_group(_write_short(target, high), whole - high * _SCALE)
    if decimals == 0:
        return at
    store_u8(at, _POINT)
    store_text(at + ONE, eight_digits(amount - whole * _SCALE) | _ASCII_ZEROS)
    return at + ONE + U64(decimals)


@jit
def hex_word(number):
    """The eight hexadecimal digits (lower case) of the low 32 bits of ``number``, the first one lowest."""
    n = number & U64(0xFFFFFFFF)
    n = ((n >> U64(24)) | ((n >> _EIGHT) & U64(0xFF00)) | ((n << _EIGHT) & U64(0xFF0000)) | (n << U64(24))) & U64(
        0xFFFFFFFF
    )
    n = (n | (n << U64(16))) & U64(0x0000FFFF0000FFFF)
    n = (n | (n << _EIGHT)) & U64(0x00FF00FF00FF00FF)
    spread = ((n >> U64(4)) & U64(0x000F000F000F000F)) | ((n & U64(0x000F000F000F000F)) << _EIGHT)
    # 1 in each byte that is above 9.
    letters = ((spread + U64(0x0606060606060606)) >> U64(4)) & U64(0x0101010101010101)
    return spread + _ASCII_ZEROS + letters * U64(39)


@jit
def write_hex(target, number):
    """Write the 16 hexadecimal digits of ``number`` (uint64); the end address."""
    store_text(target, hex_word(number >> U64(32)))
    store_text(target + _EIGHT, hex_word(number))
    return target + U64(16)


@jit
def read_hex(at, digits):
    """Hexadecimal digits (lower case) at ``at``: (whether all are, their value)."""
    value = U64(0)
    for index in range(digits):
        letter = U64(load_u8(at + U64(index)))
        digit = letter - U64(48)
        if digit > U64(9):
            digit = letter - U64(87)
            if digit < U64(10) or digit > U64(15):
                return False, U64(0)
        value = (value << U64(4)) | digit
    return True, value


@jit
def write_number(target, number):
    """Write a whole number (uint64) without leading zeros; the end address. TEXT_BYTES from ``target`` on may be written over."""
    return _write_whole(target, number)
