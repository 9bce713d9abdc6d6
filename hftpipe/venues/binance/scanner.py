"""Binance JSON to MESSAGE without building objects: depthUpdate, bookTicker and trade, spot and USD-M.

The text is read once, eight bytes at a time (:mod:`hftpipe.venues.binance.swar`). Keys may come in any order and unknown
keys of two or three letters are stepped over, because the venue adds and moves keys without notice. What the scanner
accepts is fully checked JSON; everything it is not sure of (escapes, blanks, exponents, more than 8 decimals, other
events, other unknown keys, repeated keys, asks before bids, and where there are packs numbers before the symbol) is FALLBACK and goes to
:mod:`hftpipe.venues.binance.fallback`, which agrees with it on every message that it does accept.

No byte outside ``[text, end)`` is ever read.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, store_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.core.trading.symbols import find_in_words, power_of
from hftpipe.venues.binance.packs import packed_decimal, packed_levels
from hftpipe.venues.binance.swar import (
    ASCII_ZEROS,
    EIGHT,
    POINT,
    QUOTE,
    SCALE,
    WORD_BITS,
    decimal,
    digit_bits,
    eight_digits,
    integer,
    leading,
    load_word,
    string_end,
    text_word,
    word_at,
)
from hftpipe.venues.message import BOOK_TICKER, DEPTH, FALLBACK, MAX_LEVELS, MESSAGE, MESSAGE_BYTES, OK, TRADE

#: Times below this are ms, above it us (the stream option timeUnit=MICROSECOND).
MICROSECONDS_FROM = 10**14
MAX_TIME_MS = (2**63 - 1) // 10**6
MAX_TIME_US = (2**63 - 1) // 10**3


#: The first n bytes of a word.
_1, _2, _3, _4, _5, _6, _7 = (np.uint64((1 << 8 * count) - 1) for count in range(1, 8))
_COMMA, _COLON = np.uint64(ord(",")), np.uint64(ord(":"))
_OPEN_BRACKET, _CLOSE_BRACKET, _CLOSE_BRACE = np.uint64(ord("[")), np.uint64(ord("]")), np.uint64(ord("}"))
_STREAM_A, _STREAM_B = text_word('{"stream'), text_word('":"')
_DATA_A, _DATA_B = text_word('","data"'), text_word(":{")
_DEPTH_A, _DEPTH_B = text_word("depthUpd"), text_word('ate"')
_TICKER_A, _TICKER_B = text_word("bookTick"), text_word('er"')
_TRADE = text_word('trade"')
_MARKET = text_word('MARKET"')
_AT_DEPTH = text_word("@depth")
_LEVEL_OPEN, _LEVEL_MIDDLE, _LEVEL_NEXT, _LEVELS_END = (
    text_word('["'),
    text_word('","'),
    text_word('"],["'),
    text_word('"]]'),
)
_KEY_FRAME, _KEY_FRAME_MASK = text_word('"\0":'), np.uint64(0xFFFF00FF)
_PU = text_word('"pu":')
_TRUE, _FALSE, _NULL = text_word("true"), text_word("false"), text_word("null")

# What the value of a one-letter key is, where it goes, and its bit in the set of keys seen.
# (Integers are _INTEGER to _SIDE, decimals _SIDE and _DECIMAL, true or false _FLAG and _MAKER.)
_UNKNOWN, _INTEGER, _TIME, _SIDE, _DECIMAL, _EVENT, _SYMBOL, _ORIGIN, _FLAG, _MAKER = range(10)
_KEYS = (
    ("e", _EVENT, "kind"), ("s", _SYMBOL, "instrument"), ("E", _TIME, "event_ts"), ("T", _TIME, "transaction_ts"),
    ("U", _INTEGER, "first_id"), ("u", _INTEGER, "last_id"), ("t", _INTEGER, "trade_id"),
    ("p", _DECIMAL, "price"), ("q", _DECIMAL, "qty"), ("B", _DECIMAL, "bid_qty"), ("A", _DECIMAL, "ask_qty"),
    ("b", _SIDE, "bid"), ("a", _SIDE, "ask"), ("X", _ORIGIN, "accepted"), ("m", _MAKER, "side"), ("M", _FLAG, "_pad"),
)  # fmt: skip
# Of which way the point of an amount moves, where the unit is a pack.
_QTY_KEYS = "qBA"
_CLASS, _OFFSET, _BIT = np.zeros(256, np.uint8), np.zeros(256, np.uint64), np.zeros(256, np.uint64)
_IS_QTY = np.zeros(256, np.bool_)
_IS_QTY[[ord(letter) for letter in _QTY_KEYS]] = True
_BITS = {}
for _place, (_letter, _kind, _field) in enumerate(_KEYS):
    _BITS[_letter] = 1 << _place
    _CLASS[ord(_letter)], _BIT[ord(_letter)] = _kind, 1 << _place
    _OFFSET[ord(_letter)] = offset_of(MESSAGE, _field)
# "b" and "a" are prices in a bookTicker (the bits above), levels in a depthUpdate, order ids in an old spot trade.
_PU_BIT, _BIDS_BIT, _ASKS_BIT, _BUYER_BIT, _SELLER_BIT = (np.uint64(1 << place) for place in range(20, 25))


def _bits(letters: str) -> int:
    return sum(_BITS[letter] for letter in letters)


_DEPTH_NEEDS = np.uint64(_bits("eEsUu") | int(_BIDS_BIT | _ASKS_BIT))
_DEPTH_MAY = np.uint64(int(_DEPTH_NEEDS | _PU_BIT) | _bits("T"))
_TICKER_NEEDS = np.uint64(_bits("usbBaA"))
_TICKER_MAY = np.uint64(int(_TICKER_NEEDS) | _bits("eET"))
_TRADE_NEEDS = np.uint64(_bits("eEstpqm"))
_TRADE_MAY = np.uint64(int(_TRADE_NEEDS | _BUYER_BIT | _SELLER_BIT) | _bits("TXM"))
_SYMBOL_BIT = np.uint64(_BITS["s"])
_AMOUNT_BITS = np.uint64(_bits("pqBAba") | int(_BIDS_BIT | _ASKS_BIT))
_EVENT_BIT, _ORIGIN_BIT = np.uint64(_BITS["e"]), np.uint64(_BITS["X"])
_KEY_B = np.uint8(ord("b"))
_FIRST_LEVEL = np.uint64(MESSAGE_BYTES)
#: Two numbers of at most 8 + 1 + 8 characters (a whole part of 8 ends the fast path), 3 between, a word after.
_LEVEL_REACH = np.uint64(2 * 17 + 3 + 8)
_MESSAGE_WORDS = MESSAGE_BYTES // 8


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
def _levels(at, end, target, room, power):
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


@jit
def _literal(at, end):
    """Address after true, false or null; 0 if it is none of them."""
    word = word_at(at, end)
    if word & _4 == _TRUE or word & _4 == _NULL:
        return at + U64(4)
    return at + U64(5) if word & _5 == _FALSE else ZERO


@jit
def _skip_extra(at, end):
    """Step over an unknown key of two or three letters and its plain value; 0 if it is not that simple."""
    quote = string_end(at + ONE, end)
    if quote < at + U64(3) or quote > at + U64(4) or (word_at(quote, end) >> EIGHT) & _1 != _COLON:
        return ZERO
    at = quote + U64(2)
    first = word_at(at, end) & _1
    if first == QUOTE:
        quote = string_end(at + ONE, end)
        return quote + ONE if quote != ZERO else ZERO
    if first - U64(48) <= U64(9):
        return integer(at, end)[0]
    return _literal(at, end)


@jit
def _event_kind(at, end):
    """The event type at ``at``: (address after its quote or 0, kind)."""
    word = word_at(at, end)
    if word == _DEPTH_A and word_at(at + EIGHT, end) & _4 == _DEPTH_B:
        return at + U64(12), np.int64(DEPTH)
    if word == _TICKER_A and word_at(at + EIGHT, end) & _3 == _TICKER_B:
        return at + U64(11), np.int64(BOOK_TICKER)
    if word & _6 == _TRADE:
        return at + U64(6), np.int64(TRADE)
    return ZERO, np.int64(0)


@jit
def _time_ns(value):
    """A venue time in ns; -1 if it does not fit."""
    if value < U64(MICROSECONDS_FROM):
        return np.int64(value * U64(1_000_000)) if value <= U64(MAX_TIME_MS) else np.int64(-1)
    return np.int64(value * U64(1_000)) if value <= U64(MAX_TIME_US) else np.int64(-1)


@jit
def _amount(key, at, end, power):
    """The price or quantity that a key has: (address of the quote after it or 0, units of 1e-8)."""
    if power == 0:
        return decimal(at, end)
    return packed_decimal(at, end, np.int64(8) - power if _IS_QTY[key] else np.int64(8) + power)


@jit
def _symbol(at, end, symbols):
    """A symbol: (address after its quote or 0, instrument id or -1)."""
    first, second, third = word_at(at, end), word_at(at + EIGHT, end), word_at(at + U64(16), end)
    quote = string_end(at, end)
    if quote == ZERO:
        return ZERO, np.int64(0)
    return quote + ONE, find_in_words(symbols, first, second, third, np.int64(quote - at))


@jit
def _text_value(key, at, end, symbols, power):
    """A string value from its first letter on: (address after its quote or 0, what is stored)."""
    kind = _CLASS[key]
    if _SIDE <= kind <= _DECIMAL:
        at, value = _amount(key, at, end, power)
        return (at + ONE, np.int64(value)) if at != ZERO else (ZERO, np.int64(0))
    if kind == _EVENT:
        return _event_kind(at, end)
    if kind == _SYMBOL:
        return _symbol(at, end, symbols)
    quote = string_end(at, end)
    if quote == ZERO:
        return ZERO, np.int64(0)
    if kind == _ORIGIN:
        return quote + ONE, np.int64(word_at(at, end) & _7 == _MARKET)
    return ZERO, np.int64(0)


@jit
def _plain_value(kind, at, end):
    """A number, true or false: (address after it or 0, what is stored)."""
    if kind >= _FLAG:
        word = word_at(at, end)
        if word & _4 == _TRUE:
            return at + U64(4), np.int64(SELL) if kind == _MAKER else np.int64(0)
        return (at + U64(5) if word & _5 == _FALSE else ZERO), np.int64(BUY)
    if kind < _INTEGER or kind > _SIDE:
        return ZERO, np.int64(0)
    at, number = integer(at, end)
    if kind == _TIME:
        value = _time_ns(number)
        return (at if value >= 0 else ZERO), value
    return at, np.int64(number)


@jit
def _value(key, at, end, symbols, message, power):
    """Read and store the value of a one-letter key, in packs of 10**power: (address after it or 0, its bit)."""
    kind, bit = _CLASS[key], _BIT[key]
    target = message + _OFFSET[key]
    first = word_at(at, end) & _1
    if first == QUOTE:
        at, value = _text_value(key, at + ONE, end, symbols, power)
    elif first == _OPEN_BRACKET:
        m = view(message, MESSAGE)
        if kind != _SIDE or m.n_asks != 0:
            return ZERO, ZERO
        target, room = message + _FIRST_LEVEL + U64(16) * U64(m.n_bids), MAX_LEVELS - m.n_bids
        at, count = _levels(at + ONE, end, target, room, power)
        if key == _KEY_B:
            m.n_bids = count
            return at, _BIDS_BIT
        m.n_asks = count
        return at, _ASKS_BIT
    else:
        at, value = _plain_value(kind, at, end)
        if kind == _SIDE:
            return at, _BUYER_BIT if key == _KEY_B else _SELLER_BIT
    store_i64(target, value)
    return at, bit


@jit
def _event(at, end, symbols, message):
    """The members of an event from the first key on: (address after its closing brace or 0, keys seen)."""
    seen, power = ZERO, np.int64(0)
    while True:
        word = word_at(at, end)
        if word & _KEY_FRAME_MASK == _KEY_FRAME:
            at, bit = _value(np.uint8(word >> EIGHT), at + U64(4), end, symbols, message, power)
            if seen & bit != ZERO:
                return ZERO, ZERO
            seen |= bit
            if bit == _SYMBOL_BIT:
                power = power_of(symbols, view(message, MESSAGE).instrument)
                if power != 0 and seen & _AMOUNT_BITS != ZERO:
                    return ZERO, ZERO
        elif word & _5 == _PU:
            if seen & _PU_BIT != ZERO:
                return ZERO, ZERO
            at, previous = integer(at + U64(5), end)
            view(message, MESSAGE).previous_id = previous
            seen |= _PU_BIT
        elif word & _1 == QUOTE:
            at = _skip_extra(at, end)
        else:
            return ZERO, ZERO
        if at == ZERO:
            return ZERO, ZERO
        after = word_at(at, end) & _1
        at += ONE
        if after == _CLOSE_BRACE:
            return at, seen
        if after != _COMMA:
            return ZERO, ZERO


@jit
def _is_diff_stream(start, end):
    """Whether a stream name is ``<symbol>@depth`` or ``<symbol>@depth@<speed>``: partial books are not diffs."""
    at = start
    while at < end:
        if load_u8(at) == 64:
            word = word_at(at, end)
            if word & _6 != _AT_DEPTH:
                return False
            return at + U64(6) == end or load_u8(at + U64(6)) == 64
        at += ONE
    return False


@jit
def _finish(message, seen):
    """Check that the keys seen make up the event, and fill in what follows from them."""
    m = view(message, MESSAGE)
    if m.kind == DEPTH:
        m.has_previous = np.int64(seen & _PU_BIT != ZERO)
        whole = seen & _DEPTH_NEEDS == _DEPTH_NEEDS and seen & ~_DEPTH_MAY == ZERO
        return whole and m.first_id <= m.last_id
    if m.kind == TRADE:
        market = seen & _ORIGIN_BIT == ZERO or m.accepted != 0
        m.accepted = np.int64(market and m.price != 0 and m.qty != 0)
        return seen & _TRADE_NEEDS == _TRADE_NEEDS and seen & ~_TRADE_MAY == ZERO
    m.kind = BOOK_TICKER
    return seen & _TICKER_NEEDS == _TICKER_NEEDS and seen & ~_TICKER_MAY == ZERO


@jit
def scan(text, end, symbols, message):
    """Decode the JSON text in ``[text, end)``, an event or a combined-stream envelope around one.

    Args:
        text: uint64 address of the first byte.
        end: uint64 address after the last byte.
        symbols: address of the SYMBOLS table.
        message: address of :func:`hftpipe.venues.message.message_bytes` of memory.

    Returns:
        OK, or FALLBACK: nothing was decided and ``message`` holds nothing of use.
    """
    if end < text + U64(16):
        return np.int64(FALLBACK)
    for word in range(_MESSAGE_WORDS):
        store_i64(message + U64(8 * word), np.int64(0))
    at, stream, stream_end = text, ZERO, ZERO
    if word_at(at, end) == _STREAM_A and word_at(at + EIGHT, end) & _3 == _STREAM_B:
        stream = at + U64(11)
        stream_end = string_end(stream, end)
        if (
            stream_end == ZERO
            or word_at(stream_end, end) != _DATA_A
            or word_at(stream_end + EIGHT, end) & _2 != _DATA_B
        ):
            return np.int64(FALLBACK)
        at = stream_end + U64(10)
    elif load_u8(at) == 123:
        at += ONE
    else:
        return np.int64(FALLBACK)
    at, seen = _event(at, end, symbols, message)
    if at == ZERO:
        return np.int64(FALLBACK)
    if stream != ZERO:
        is_partial = view(message, MESSAGE).kind == DEPTH and not _is_diff_stream(stream, stream_end)
        if is_partial or word_at(at, end) & _1 != _CLOSE_BRACE:
            return np.int64(FALLBACK)
        at += ONE
    return np.int64(OK) if at == end and _finish(message, seen) else np.int64(FALLBACK)
