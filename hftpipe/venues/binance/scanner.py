"""Binance JSON to MESSAGE without building objects: depthUpdate, bookTicker, trade and aggTrade, spot and USD-M.

The text is read once, eight bytes at a time (:mod:`hftpipe.venues.scan.swar`). Keys may come in any order and unknown
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
from hftpipe.core.trading.symbols import power_of
from hftpipe.venues.message import BOOK_TICKER, DEPTH, FALLBACK, MAX_LEVELS, MESSAGE, MESSAGE_BYTES, OK, TRADE
from hftpipe.venues.scan.levels import levels
from hftpipe.venues.scan.packs import packed_decimal
from hftpipe.venues.scan.swar import EIGHT, QUOTE, decimal, integer, string_end, text_word, word_at
from hftpipe.venues.scan.values import skip_plain, symbol, time_ns

#: The first n bytes of a word.
_1, _2, _3, _4, _5, _6, _7 = (np.uint64((1 << 8 * count) - 1) for count in range(1, 8))
_COMMA, _COLON = np.uint64(ord(",")), np.uint64(ord(":"))
_OPEN_BRACKET, _CLOSE_BRACKET, _CLOSE_BRACE = np.uint64(ord("[")), np.uint64(ord("]")), np.uint64(ord("}"))
_STREAM_A, _STREAM_B = text_word('{"stream'), text_word('":"')
_DATA_A, _DATA_B = text_word('","data"'), text_word(":{")
_DEPTH_A, _DEPTH_B = text_word("depthUpd"), text_word('ate"')
_TICKER_A, _TICKER_B = text_word("bookTick"), text_word('er"')
_TRADE = text_word('trade"')
_AGGREGATE_TEXT = text_word("aggTrade")
#: An aggregate until all of it has been read: it is a TRADE then.
_AGGREGATE = np.int64(100)
_MARKET = text_word('MARKET"')
_AT_DEPTH = text_word("@depth")
_KEY_FRAME, _KEY_FRAME_MASK = text_word('"\0":'), np.uint64(0xFFFF00FF)
_PU = text_word('"pu":')
_TRUE, _FALSE = text_word("true"), text_word("false")

# What the value of a one-letter key is, where it goes, and its bit in the set of keys seen.
# (Integers are _INTEGER to _SIDE, decimals _SIDE and _DECIMAL, true or false _FLAG and _MAKER.)
_UNKNOWN, _INTEGER, _TIME, _SIDE, _DECIMAL, _EVENT, _SYMBOL, _ORIGIN, _FLAG, _MAKER = range(10)
_KEYS = (
    ("e", _EVENT, "kind"), ("s", _SYMBOL, "instrument"), ("E", _TIME, "event_ts"), ("T", _TIME, "transaction_ts"),
    ("U", _INTEGER, "first_id"), ("u", _INTEGER, "last_id"), ("t", _INTEGER, "trade_id"),
    ("p", _DECIMAL, "price"), ("q", _DECIMAL, "qty"), ("B", _DECIMAL, "bid_qty"), ("A", _DECIMAL, "ask_qty"),
    ("b", _SIDE, "bid"), ("a", _SIDE, "ask"), ("X", _ORIGIN, "accepted"), ("m", _MAKER, "side"), ("M", _FLAG, "_pad"),
    ("f", _INTEGER, "first_id"), ("l", _INTEGER, "last_id"),
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
# "b" and "a" are prices in a bookTicker (the bits above), levels in a depthUpdate, order ids in an old spot trade; "a" is the
# number of an aggregate.
_PU_BIT, _BIDS_BIT, _ASKS_BIT, _BUYER_BIT, _SELLER_BIT = (np.uint64(1 << place) for place in range(20, 25))


def _bits(letters: str) -> int:
    return sum(_BITS[letter] for letter in letters)


_DEPTH_NEEDS = np.uint64(_bits("eEsUu") | int(_BIDS_BIT | _ASKS_BIT))
_DEPTH_MAY = np.uint64(int(_DEPTH_NEEDS | _PU_BIT) | _bits("T"))
_TICKER_NEEDS = np.uint64(_bits("usbBaA"))
_TICKER_MAY = np.uint64(int(_TICKER_NEEDS) | _bits("eET"))
_TRADE_NEEDS = np.uint64(_bits("eEstpqm"))
_TRADE_MAY = np.uint64(int(_TRADE_NEEDS | _BUYER_BIT | _SELLER_BIT) | _bits("TXM"))
_AGGREGATE_NEEDS = np.uint64(_bits("eEspqmfl") | int(_SELLER_BIT))
_AGGREGATE_MAY = np.uint64(int(_AGGREGATE_NEEDS) | _bits("TM"))
_SYMBOL_BIT = np.uint64(_BITS["s"])
_AMOUNT_BITS = np.uint64(_bits("pqBAba") | int(_BIDS_BIT | _ASKS_BIT))
_EVENT_BIT, _ORIGIN_BIT = np.uint64(_BITS["e"]), np.uint64(_BITS["X"])
_KEY_B = np.uint8(ord("b"))
_FIRST_LEVEL = np.uint64(MESSAGE_BYTES)
_MESSAGE_WORDS = MESSAGE_BYTES // 8


@jit
def _skip_extra(at, end):
    """Step over an unknown key of two or three letters and its plain value; 0 if it is not that simple."""
    quote = string_end(at + ONE, end)
    if quote < at + U64(3) or quote > at + U64(4) or (word_at(quote, end) >> EIGHT) & _1 != _COLON:
        return ZERO
    return skip_plain(quote + U64(2), end)


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
    if word == _AGGREGATE_TEXT and word_at(at + EIGHT, end) & _1 == QUOTE:
        return at + U64(9), _AGGREGATE
    return ZERO, np.int64(0)


@jit
def _amount(key, at, end, power):
    """The price or quantity that a key has: (address of the quote after it or 0, units of 1e-8)."""
    if power == 0:
        return decimal(at, end)
    return packed_decimal(at, end, np.int64(8) - power if _IS_QTY[key] else np.int64(8) + power)


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
        return symbol(at, end, symbols)
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
        value = time_ns(number)
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
        at, count = levels(at + ONE, end, target, room, power)
        if key == _KEY_B:
            m.n_bids = count
            return at, _BIDS_BIT
        m.n_asks = count
        return at, _ASKS_BIT
    else:
        at, value = _plain_value(kind, at, end)
        if kind == _SIDE:
            store_i64(target, value)
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
def _finish_aggregate(message, seen):
    """Make an aggregate a trade; False if it is not all there."""
    m = view(message, MESSAGE)
    if seen & _AGGREGATE_NEEDS != _AGGREGATE_NEEDS or seen & ~_AGGREGATE_MAY != ZERO or m.first_id > m.last_id:
        return False
    m.kind, m.trade_id, m.ask, m.n_trades = TRADE, U64(m.ask), 0, np.int64(m.last_id - m.first_id) + 1
    m.accepted = np.int64(m.price != 0 and m.qty != 0)
    return True


@jit
def _finish(message, seen):
    """Check that the keys seen make up the event, and fill in what follows from them."""
    m = view(message, MESSAGE)
    if m.kind == DEPTH:
        m.has_previous = np.int64(seen & _PU_BIT != ZERO)
        whole = seen & _DEPTH_NEEDS == _DEPTH_NEEDS and seen & ~_DEPTH_MAY == ZERO
        return whole and m.first_id <= m.last_id
    if m.kind == TRADE:
        # Order ids are not kept.
        m.bid, m.ask = 0, 0
        market = seen & _ORIGIN_BIT == ZERO or m.accepted != 0
        m.accepted = np.int64(market and m.price != 0 and m.qty != 0)
        return seen & _TRADE_NEEDS == _TRADE_NEEDS and seen & ~_TRADE_MAY == ZERO
    if m.kind == _AGGREGATE:
        return _finish_aggregate(message, seen)
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
