"""Reading text eight bytes at a time: words near the end of a buffer, digits, decimals, plain strings.

Eight digits are told apart and converted with three multiplications (D. Lemire, "Quickly parsing eight digits",
2022). No function reads a byte outside ``[text, end)`` of a text of at least eight bytes: a load that would cross the
end reads the last eight bytes instead and shifts them, which fills with zeros, and a zero byte is legal nowhere.
Every parser returns the address after what it read, 0 when it is not what was asked for.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8

EIGHT = np.uint64(8)
WORD_BITS = np.uint64(64)
ASCII_ZEROS = np.uint64(0x3030303030303030)
SCALE = np.uint64(10**8)
QUOTE, POINT = np.uint64(ord('"')), np.uint64(ord("."))
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_OVER_NINE = np.uint64(0x7676767676767676)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_BYTE = np.uint64(0xFF)
_POW10 = np.array([10**n for n in range(9)], np.uint64)
#: Largest whole part whose 1e-8 value, with any decimals, is an int64.
_MAX_WHOLE = np.uint64((2**63 - 1) // 10**8 - 1)


def text_word(text: str) -> np.uint64:
    """Up to eight characters as a little-endian word."""
    return np.uint64(int.from_bytes(text.encode(), "little"))


@intrinsic
def load_word(typingctx: Any, address: Any) -> Any:
    """Unaligned load of eight bytes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        return builder.load(builder.inttoptr(args[0], ir.PointerType(word)), align=1, typ=word)

    return types.uint64(types.uint64), codegen


@intrinsic
def trailing_zeros(typingctx: Any, value: Any) -> Any:
    """Number of zero bits below the lowest set bit (64 for 0); one instruction."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@jit
def word_at(at, end):
    """The eight bytes at ``at``, zeros from ``end`` on. The whole text has at least eight bytes."""
    if at + EIGHT <= end:
        return load_word(at)
    if at >= end:
        return ZERO
    return load_word(end - EIGHT) >> (EIGHT * (at + EIGHT - end))


@jit
def digit_bits(digits):
    """Bits (0, 8 .. 64) taken by the leading digit characters of a word already xored with ASCII zeros."""
    # A byte above 9 sets its high bit; a carry can only spoil the bytes after the first such one.
    return trailing_zeros(((digits + _OVER_NINE) | digits) & _HIGH_BITS) & U64(0x78)


@jit
def eight_digits(digits):
    """Value of eight digits (0..9 a byte, most significant first)."""
    pairs = (digits * U64(2561)) >> EIGHT
    fours = ((pairs & U64(0x00FF00FF00FF00FF)) * U64(6553601)) >> U64(16)
    return ((fours & U64(0x0000FFFF0000FFFF)) * U64(42949672960001)) >> U64(32)


@jit
def leading(digits, bits):
    """Value of the first ``bits`` / 8 (1..8) digits of a word."""
    return eight_digits(digits << (WORD_BITS - bits))


@jit
def integer(at, end):
    """JSON integer of up to 16 digits: (address after it or 0, value)."""
    digits = word_at(at, end) ^ ASCII_ZEROS
    bits = digit_bits(digits)
    if bits == ZERO or ((digits & _BYTE) == ZERO and bits > EIGHT):
        return ZERO, ZERO
    value = leading(digits, bits)
    if bits < WORD_BITS:
        return at + (bits >> U64(3)), value
    digits = word_at(at + EIGHT, end) ^ ASCII_ZEROS
    bits = digit_bits(digits)
    if bits == ZERO:
        return at + EIGHT, value
    return at + EIGHT + (bits >> U64(3)), value * _POW10[bits >> U64(3)] + leading(digits, bits)


@jit
def long_whole(at, end):
    """Whole part of more than 7 digits: (address after it or 0, value)."""
    after, value = at, ZERO
    while after < end and after < at + U64(12):
        digit = U64(load_u8(after)) - U64(48)
        if digit > U64(9):
            break
        value = value * U64(10) + digit
        after += ONE
    if value > _MAX_WHOLE or after >= at + U64(12):
        return ZERO, ZERO
    return after, value


@jit
def decimal(at, end):
    """Plain decimal of at most 8 decimals: (address of the quote after it or 0, 1e-8 units)."""
    digits = word_at(at, end) ^ ASCII_ZEROS
    bits = digit_bits(digits)
    if bits == ZERO:
        return ZERO, ZERO
    if bits < WORD_BITS:
        at += bits >> U64(3)
        whole = leading(digits, bits)
    else:
        at, whole = long_whole(at, end)
        if at == ZERO:
            return ZERO, ZERO
    value = whole * SCALE
    word = word_at(at, end)
    if word & _BYTE == POINT:
        digits = word_at(at + ONE, end) ^ ASCII_ZEROS
        bits = digit_bits(digits)
        if bits == ZERO:
            return ZERO, ZERO
        # The first decimal is the most significant: blanking what follows leaves units of 1e-8.
        value += eight_digits(digits & (~ZERO >> (WORD_BITS - bits)))
        at += ONE + (bits >> U64(3))
        word = word_at(at, end)
    if word & _BYTE != QUOTE:
        return ZERO, ZERO
    return at, value


@jit
def string_end(at, end):
    """Address of the quote that ends a plain printable ASCII string; 0 if there is none."""
    while at < end:
        word = word_at(at, end)
        odd = ((word - _SPACES) & ~word) | word
        quotes, escapes = word ^ _QUOTES, word ^ _BACKSLASHES
        odd |= (escapes - _LOW_BITS) & ~escapes
        quote = trailing_zeros((quotes - _LOW_BITS) & ~quotes & _HIGH_BITS)
        if trailing_zeros(odd & _HIGH_BITS) < quote:
            return ZERO
        if quote < WORD_BITS:
            return at + (quote >> U64(3))
        at += EIGHT
    return ZERO
