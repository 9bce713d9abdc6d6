"""Price levels of a book as venues write them, ``[["price","quantity"],...]``, to pairs of int64 (1e-8).

Every function returns the address after what it read, 0 when it is not what was asked for.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, store_i64
from hftpipe.venues.scan.packs import packed_levels
from hftpipe.venues.scan.swar import (
    ASCII_ZEROS,
    EIGHT,
    POINT,
    SCALE,
    WORD_BITS,
    decimal,
    digit_bits,
    eight_digits,
    leading,
    load_word,
    text_word,
    word_at,
)

#: The first n bytes of a word.
_1, _2, _3, _5 = (np.uint64((1 << 8 * count) - 1) for count in (1, 2, 3, 5))
_CLOSE_BRACKET = np.uint64(ord("]"))
_LEVEL_OPEN, _LEVEL_MIDDLE, _LEVEL_NEXT, _LEVELS_END = (
    text_word('["'),
    text_word('","'),
    text_word('"],["'),
    text_word('"]]'),
)
#: Two numbers of at most 8 + 1 + 8 characters (a whole part of 8 ends the fast path), 3 between, a word after.
_LEVEL_REACH = np.uint64(2 * 17 + 3 + 8)


@jit
def _is_long(bits):
    """Not 1 to 7 digits."""
    return bits - EIGHT > U64(48)


@jit
def _shape(at, end):
    """Bits taken by the whole part and by the decimals of a number, (0, 0) when it is not short and plain."""
    whole = digit_bits(word_at(at, end) ^ ASCII_ZEROS)
    point = at + (whole >> U64(3))
    decimals = digit_bits(word_at(point + ONE, end) ^ ASCII_ZEROS)
    if _is_long(whole) or decimals == ZERO or word_at(point, end) & _1 != POINT:
        return ZERO, ZERO
    return whole, decimals


@jit
def _similar_levels(at, end, target, room):
    """Levels shaped like the first one, followed by another level: (address of the next price, how many).

    Prices of one symbol nearly always have as many digits as the one before, and quantities as many decimals. Where
    the next number starts is then known before this one is read, and the CPU works on several at a time. A level of
    another shape is left to the caller.
    """
    count = np.int64(0)
    whole, decimals = _shape(at, end)
    fraction = (whole >> U64(3)) + ONE
    middle = fraction + (decimals >> U64(3))
    qty_decimals = _shape(at + middle + U64(3), end)[1]
    if whole == ZERO or qty_decimals == ZERO:
        return at, count
    keep, qty_keep = ~ZERO >> (WORD_BITS - decimals), ~ZERO >> (WORD_BITS - qty_decimals)
    while at + _LEVEL_REACH <= end and count < room:
        a, b = load_word(at) ^ ASCII_ZEROS, load_word(at + fraction) ^ ASCII_ZEROS
        qty = at + middle + U64(3)
        c = load_word(qty) ^ ASCII_ZEROS
        qty_whole = digit_bits(c)
        qty_fraction = qty + (qty_whole >> U64(3)) + ONE
        d = load_word(qty_fraction) ^ ASCII_ZEROS
        after = qty_fraction + (qty_decimals >> U64(3))
        wrong = (digit_bits(a) ^ whole) | (digit_bits(b) ^ decimals) | (digit_bits(d) ^ qty_decimals)
        wrong |= (U64(load_u8(at + fraction - ONE)) ^ POINT) | (U64(load_u8(qty_fraction - ONE)) ^ POINT)
        wrong |= (load_word(at + middle) & _3) ^ _LEVEL_MIDDLE
        wrong |= (load_word(after) & _5) ^ _LEVEL_NEXT
        if wrong != ZERO or _is_long(qty_whole):
            break
        store_i64(target, np.int64(leading(a, whole) * SCALE + eight_digits(b & keep)))
        store_i64(target + EIGHT, np.int64(leading(c, qty_whole) * SCALE + eight_digits(d & qty_keep)))
        target += U64(16)
        count += 1
        at = after + U64(5)
    return at, count


@jit
def levels(at, end, target, room, power):
    """Price levels after the opening bracket: (address after the closing bracket or 0, how many)."""
    word = word_at(at, end)
    if word & _1 == _CLOSE_BRACKET:
        return at + ONE, np.int64(0)
    if word & _2 != _LEVEL_OPEN:
        return ZERO, np.int64(0)
    at += U64(2)
    count = np.int64(0)
    if power != 0:
        return packed_levels(at, end, target, room, power)
    while True:
        at, similar = _similar_levels(at, end, target + U64(16) * U64(count), room - count)
        count += similar
        if count >= room:
            return ZERO, np.int64(0)
        at, price = decimal(at, end)
        if at == ZERO or word_at(at, end) & _3 != _LEVEL_MIDDLE:
            return ZERO, np.int64(0)
        at, qty = decimal(at + U64(3), end)
        if at == ZERO:
            return ZERO, np.int64(0)
        store_i64(target + U64(16) * U64(count), np.int64(price))
        store_i64(target + U64(16) * U64(count) + EIGHT, np.int64(qty))
        count += 1
        word = word_at(at, end)
        if word & _5 == _LEVEL_NEXT:
            at += U64(5)
        elif word & _3 == _LEVELS_END:
            return at + U64(3), count
        else:
            return ZERO, np.int64(0)
