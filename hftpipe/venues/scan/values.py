"""Other values of venues' JSON: literals, symbols, times. Every parser returns the address after what it read, 0 if it is none."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO
from hftpipe.core.trading.symbols import find_in_words
from hftpipe.venues.scan.swar import EIGHT, QUOTE, integer, string_end, text_word, word_at

#: Times below this are ms, above it us (Binance's stream option timeUnit=MICROSECOND).
MICROSECONDS_FROM = 10**14
MAX_TIME_MS = (2**63 - 1) // 10**6
MAX_TIME_US = (2**63 - 1) // 10**3
_1, _4, _5 = (np.uint64((1 << 8 * count) - 1) for count in (1, 4, 5))
_TRUE, _FALSE, _NULL = text_word("true"), text_word("false"), text_word("null")


@jit
def literal(at, end):
    """Address after true, false or null; 0 if it is none of them."""
    word = word_at(at, end)
    if word & _4 == _TRUE or word & _4 == _NULL:
        return at + U64(4)
    return at + U64(5) if word & _5 == _FALSE else ZERO


@jit
def skip_plain(at, end):
    """Step over a plain value: a string without escapes, a short whole number, true, false, null."""
    first = word_at(at, end) & _1
    if first == QUOTE:
        quote = string_end(at + ONE, end)
        return quote + ONE if quote != ZERO else ZERO
    if first - U64(48) <= U64(9):
        return integer(at, end)[0]
    return literal(at, end)


@jit
def time_ns(value):
    """A venue time in ns; -1 if it does not fit."""
    if value < U64(MICROSECONDS_FROM):
        return np.int64(value * U64(1_000_000)) if value <= U64(MAX_TIME_MS) else np.int64(-1)
    return np.int64(value * U64(1_000)) if value <= U64(MAX_TIME_US) else np.int64(-1)


@jit
def symbol(at, end, symbols):
    """A symbol: (address after its quote or 0, instrument id or -1)."""
    first, second, third = word_at(at, end), word_at(at + EIGHT, end), word_at(at + U64(16), end)
    quote = string_end(at, end)
    if quote == ZERO:
        return ZERO, np.int64(0)
    return quote + ONE, find_in_words(symbols, first, second, third, np.int64(quote - at))
