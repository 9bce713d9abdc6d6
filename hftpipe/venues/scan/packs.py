"""Numbers of instruments whose unit is a pack of 10**n of the venue's: digit by digit, for few instruments are such.

A price in packs has its point n places further right, a quantity n places further left, so that the quantity of a coin worth a
millionth of a cent fits an int64 (docs/decisions/0018).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, store_i64
from hftpipe.venues.scan.swar import POINT, QUOTE, text_word, word_at

_INT64_LIMIT = np.uint64(2**63)
#: A number above this has no room for one more digit.
_TENTH = np.uint64((2**63 - 1) // 10)
#: As many digits before and after a point as the slow decoder takes.
_MOST_DIGITS = np.uint64(40)
_TEN = np.uint64(10)
_BYTE, _THREE, _FIVE = np.uint64(0xFF), np.uint64(0xFFFFFF), np.uint64(0xFFFFFFFFFF)
_MIDDLE, _NEXT, _END = text_word('","'), text_word('"],["'), text_word('"]]')


@jit
def _append(value, digit):
    """One more digit; from _INT64_LIMIT on it is too large, and stays so."""
    return value * _TEN + digit if value <= _TENTH else _INT64_LIMIT


@jit
def _digit_at(at, end, stop):
    """The digit at ``at``; _TEN where there is none before ``stop`` and ``end``."""
    digit = U64(load_u8(at)) - U64(48) if at < end and at < stop else _TEN
    return min(digit, _TEN)


@jit
def _whole(at, end):
    """A whole part: (address after it, the same if it has no digit; value)."""
    value, stop = ZERO, at + _MOST_DIGITS
    digit = _digit_at(at, end, stop)
    while digit < _TEN:
        value = _append(value, digit)
        at += ONE
        digit = _digit_at(at, end, stop)
    return at, value


@jit
def _decimals(at, end, value, places):
    """Decimals behind a whole part: (address after them, ``value`` with as many of them as ``places``).

    It is too large if a digit that is left out is not 0.
    """
    taken, stop = np.int64(0), at + _MOST_DIGITS
    digit = _digit_at(at, end, stop)
    while digit < _TEN:
        if taken < places:
            value = _append(value, digit)
            taken += 1
        elif digit != ZERO:
            value = _INT64_LIMIT
        at += ONE
        digit = _digit_at(at, end, stop)
    for _ in range(taken, places):
        value = _append(value, ZERO)
    return at, value


@jit
def packed_decimal(at, end, places):
    """Plain decimal of at most ``places`` decimals: (address of the quote after it or 0, units of 10**-places)."""
    point, value = _whole(at, end)
    after = point
    if word_at(point, end) & _BYTE == POINT:
        after, value = _decimals(point + ONE, end, value, places)
        if after == point + ONE:
            return ZERO, ZERO
    else:
        for _ in range(places):
            value = _append(value, ZERO)
    if point == at or value >= _INT64_LIMIT or word_at(after, end) & _BYTE != QUOTE:
        return ZERO, ZERO
    return after, value


@jit
def packed_levels(at, end, target, room, power):
    """Price levels from the first one's price on, of packs of 10**power: (address after the closing bracket or 0, how many)."""
    count = np.int64(0)
    while count < room:
        at, price = packed_decimal(at, end, np.int64(8) + power)
        if at == ZERO or word_at(at, end) & _THREE != _MIDDLE:
            return ZERO, np.int64(0)
        at, qty = packed_decimal(at + U64(3), end, np.int64(8) - power)
        if at == ZERO:
            return ZERO, np.int64(0)
        store_i64(target, np.int64(price))
        store_i64(target + U64(8), np.int64(qty))
        target += U64(16)
        count += 1
        word = word_at(at, end)
        if word & _THREE == _END:
            return at + U64(3), count
        if word & _FIVE != _NEXT:
            return ZERO, np.int64(0)
        at += U64(5)
    return ZERO, np.int64(0)
