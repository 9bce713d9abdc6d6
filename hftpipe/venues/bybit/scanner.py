"""Bybit v5 JSON to MESSAGE without building objects: ``orderbook.{depth}.{symbol}`` and ``publicTrade.{symbol}``, spot and linear.

The text is read once, eight bytes at a time (:mod:`hftpipe.venues.scan.swar`), keys in any order, unknown keys with plain values
stepped over. What the scanner accepts is fully checked JSON; everything it is not sure of (other topics, escapes, blanks, data
before its topic, asks before bids, nested unknown values, numbers as strings) is FALLBACK and goes to
:mod:`hftpipe.venues.bybit.fallback`, which agrees with it on every message that it does accept.

============================ =========== ============================================================================
message                      kind        what is in it
============================ =========== ============================================================================
``orderbook.1``, snapshot    BOOK_TICKER best prices; ``last_id`` is ``seq``, ``first_id`` is ``u``
``orderbook.N``, snapshot    SNAPSHOT    levels; ``last_id`` is ``u``, ``sequence`` is ``seq``, ``stream`` is N
``orderbook.N``, delta       DEPTH       the same; with ``u`` 1 it is a SNAPSHOT: the venue has started anew
``publicTrade``              TRADES      rows; ``accepted`` is 0 for a block trade, or a price or quantity of 0
============================ =========== ============================================================================

No byte outside ``[text, end)`` is ever read.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, load_u8, store_i64, view
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.core.trading.symbols import power_of
from hftpipe.venues.bybit.ids import trade_id
from hftpipe.venues.bybit.keys import (
    ASKS,
    BIDS,
    BLOCK,
    CTS,
    DATA,
    OTHER,
    PRICE,
    QTY,
    SEQUENCE,
    SIDE,
    SYMBOL,
    TIME,
    TOPIC,
    TRADE_ID,
    TS,
    TYPE,
    UPDATE,
    key_at,
)
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    FALLBACK,
    MAX_LEVELS,
    MAX_TRADES,
    MESSAGE,
    MESSAGE_BYTES,
    OK,
    SNAPSHOT,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    TRADES,
)
from hftpipe.venues.scan.levels import levels
from hftpipe.venues.scan.packs import packed_decimal
from hftpipe.venues.scan.swar import EIGHT, QUOTE, decimal, integer, text_word, word_at
from hftpipe.venues.scan.values import skip_plain, symbol, time_ns

#: The first n bytes of a word.
_1, _2, _4, _5, _6 = (np.uint64((1 << 8 * count) - 1) for count in (1, 2, 4, 5, 6))
_COMMA, _POINT = np.uint64(ord(",")), np.uint64(ord("."))
_OPEN_BRACKET, _CLOSE_BRACKET = np.uint64(ord("[")), np.uint64(ord("]"))
_OPEN_BRACE, _CLOSE_BRACE = np.uint64(ord("{")), np.uint64(ord("}"))
_BOOK_A, _BOOK_B = text_word("orderboo"), text_word("k.")
_TRADE_A, _TRADE_B = text_word("publicTr"), text_word("ade.")
_SNAPSHOT_A, _SNAPSHOT_B, _DELTA = text_word("snapshot"), text_word('"'), text_word('delta"')
_BUY, _SELL = text_word('Buy"'), text_word('Sell"')
_TRUE, _FALSE = text_word("true"), text_word("false")
_FIRST_LEVEL, _PAIR, _ROW = np.uint64(MESSAGE_BYTES), np.uint64(16), np.uint64(TRADE_ROW_BYTES)
_MESSAGE_WORDS = MESSAGE_BYTES // 8
#: Levels a side of a stream at most: four digits.
_MOST_LEVELS = np.uint64(9999)


def _bits(*keys: int) -> np.uint64:
    return np.uint64(sum(1 << key for key in keys))


_ENVELOPE_NEEDS = _bits(TOPIC, TYPE, TS, DATA)
_BOOK_NEEDS = _bits(SYMBOL, BIDS, ASKS, UPDATE, SEQUENCE)
_TRADE_NEEDS = _bits(TIME, SYMBOL, SIDE, QTY, PRICE, TRADE_ID)


@jit
def _text_at(at, end):
    """Address of the first letter of a string at ``at``; 0 if there is none."""
    return at + ONE if word_at(at, end) & _1 == QUOTE else ZERO


@jit
def _after(at, end, close):
    """After a member: (address of the next one, or after ``close``; 0 if neither stands there; whether it is the end)."""
    if at == ZERO:
        return ZERO, False
    found = word_at(at, end) & _1
    if found != _COMMA and found != close:
        return ZERO, False
    return at + ONE, found == close


@jit
def _time(at, end):
    """A time in ms: (address after it or 0, ns)."""
    at, number = integer(at, end)
    value = time_ns(number)
    return (at if value >= 0 else ZERO), value


@jit
def _topic(at, end, symbols, message):
    """A topic from its first letter on: address after its quote; 0 if it is not one of a book or of trades."""
    m = view(message, MESSAGE)
    word, rest = word_at(at, end), word_at(at + EIGHT, end)
    if word == _TRADE_A and rest & _4 == _TRADE_B:
        m.kind = TRADES
        at, m.instrument = symbol(at + U64(12), end, symbols)
        return at
    if word != _BOOK_A or rest & _2 != _BOOK_B:
        return ZERO
    m.kind = DEPTH
    after, depth = integer(at + U64(10), end)
    if after == ZERO or depth == ZERO or depth > _MOST_LEVELS or word_at(after, end) & _1 != _POINT:
        return ZERO
    m.stream = np.int64(depth)
    at, m.instrument = symbol(after + ONE, end, symbols)
    return at


@jit
def _type(at, end, message):
    """``snapshot`` or ``delta`` from the first letter on: address after its quote or 0."""
    word = word_at(at, end)
    if word == _SNAPSHOT_A and word_at(at + EIGHT, end) & _1 == _SNAPSHOT_B:
        view(message, MESSAGE).has_previous = 0
        return at + U64(9)
    if word & _6 == _DELTA:
        view(message, MESSAGE).has_previous = 1
        return at + U64(6)
    return ZERO


@jit
def _own_symbol(at, end, symbols, message):
    """A symbol that must be that of the topic: address after its quote or 0."""
    at = _text_at(at, end)
    if at == ZERO:
        return ZERO
    at, found = symbol(at, end, symbols)
    return at if found == view(message, MESSAGE).instrument else ZERO


@jit
def _side(key, at, end, message, power):
    """The levels of a side, behind those before: address after them or 0."""
    m = view(message, MESSAGE)
    if word_at(at, end) & _1 != _OPEN_BRACKET or (key == BIDS and m.n_asks != 0):
        return ZERO
    target, room = message + _FIRST_LEVEL + _PAIR * U64(m.n_bids), MAX_LEVELS - m.n_bids
    at, count = levels(at + ONE, end, target, room, power)
    if key == BIDS:
        m.n_bids = count
    else:
        m.n_asks = count
    return at


@jit
def _book(at, end, symbols, message, power):
    """A book's members from the first key on: (address after its closing brace or 0, keys seen)."""
    m, seen, is_end = view(message, MESSAGE), ZERO, False
    while not is_end:
        key, at = key_at(at, end)
        if at == ZERO or (key != OTHER and seen & (ONE << U64(key)) != ZERO):
            return ZERO, ZERO
        seen |= ONE << U64(key)
        if key == OTHER:
            at = skip_plain(at, end)
        elif key in (BIDS, ASKS):
            at = _side(key, at, end, message, power)
        elif key == UPDATE:
            at, m.last_id = integer(at, end)
        elif key == SEQUENCE:
            at, m.sequence = integer(at, end)
        elif key == SYMBOL:
            at = _own_symbol(at, end, symbols, message)
        else:
            return ZERO, ZERO
        at, is_end = _after(at, end, _CLOSE_BRACE)
        if at == ZERO:
            return ZERO, ZERO
    return at, seen


@jit
def _amount(at, end, places):
    """A price or quantity of so many places: (address after its quote or 0, its value)."""
    at = _text_at(at, end)
    if at == ZERO:
        return ZERO, np.int64(0)
    at, value = decimal(at, end) if places == 8 else packed_decimal(at, end, places)
    return (at + ONE if at != ZERO else ZERO), np.int64(value)


@jit
def _taker(at, end):
    """Whose order took: (address after it or 0, BUY or SELL)."""
    at = _text_at(at, end)
    word = word_at(at, end) if at != ZERO else ZERO
    if word & _4 == _BUY:
        return at + U64(4), np.int64(BUY)
    return (at + U64(5) if word & _5 == _SELL else ZERO), np.int64(SELL)


@jit
def _flag(at, end):
    """true or false: (address after it or 0, 1 or 0)."""
    word = word_at(at, end)
    if word & _4 == _TRUE:
        return at + U64(4), np.int64(1)
    return (at + U64(5) if word & _5 == _FALSE else ZERO), np.int64(0)


@jit
def _trade_value(key, at, end, row, power):
    """Read and store the value of one key of a trade: address after it or 0. ``accepted`` holds whether it is a block until the end."""
    r = view(row, TRADE_ROW)
    if key == PRICE:
        at, r.price = _amount(at, end, np.int64(8) + power)
    elif key == QTY:
        at, r.qty = _amount(at, end, np.int64(8) - power)
    elif key == TIME:
        at, r.transaction_ts = _time(at, end)
    elif key == SIDE:
        at, r.side = _taker(at, end)
    elif key == BLOCK:
        at, r.accepted = _flag(at, end)
    elif key == TRADE_ID:
        at = _text_at(at, end)
        if at != ZERO:
            at, r.trade_id = trade_id(at, end)
    elif key == SEQUENCE:
        at = integer(at, end)[0]
    else:
        at = ZERO
    return at


@jit
def _trade(at, end, symbols, message, row, power):
    """A trade from its first key on: address after its closing brace, or 0."""
    r, seen, is_end = view(row, TRADE_ROW), ZERO, False
    r.accepted = 0
    while not is_end:
        key, at = key_at(at, end)
        if at == ZERO or (key != OTHER and seen & (ONE << U64(key)) != ZERO):
            return ZERO
        seen |= ONE << U64(key)
        if key == OTHER:
            at = skip_plain(at, end)
        elif key == SYMBOL:
            at = _own_symbol(at, end, symbols, message)
        else:
            at = _trade_value(key, at, end, row, power)
        at, is_end = _after(at, end, _CLOSE_BRACE)
        if at == ZERO:
            return ZERO
    r.accepted = np.int64(r.accepted == 0 and r.price != 0 and r.qty != 0)
    return at if seen & _TRADE_NEEDS == _TRADE_NEEDS else ZERO


@jit
def _trades(at, end, symbols, message, power):
    """Trades from the first one's brace on: address after the closing bracket, or 0."""
    m, row, is_end = view(message, MESSAGE), message + _FIRST_LEVEL, False
    while not is_end:
        if m.n_trades == MAX_TRADES or word_at(at, end) & _1 != _OPEN_BRACE:
            return ZERO
        at = _trade(at + ONE, end, symbols, message, row, power)
        m.n_trades += 1
        row += _ROW
        at, is_end = _after(at, end, _CLOSE_BRACKET)
        if at == ZERO:
            return ZERO
    return at


@jit
def _data(at, end, symbols, message):
    """What the topic says: (address after it or 0, keys seen)."""
    m = view(message, MESSAGE)
    power, first = power_of(symbols, m.instrument), word_at(at, end) & _1
    if m.kind == TRADES and first == _OPEN_BRACKET:
        return _trades(at + ONE, end, symbols, message, power), _BOOK_NEEDS
    if m.kind == DEPTH and first == _OPEN_BRACE:
        return _book(at + ONE, end, symbols, message, power)
    return ZERO, ZERO


@jit
def _envelope(at, end, symbols, message):
    """The members of a message from the first key on: (address after its closing brace or 0, keys seen, those of its data)."""
    m, seen, inner, is_end = view(message, MESSAGE), ZERO, ZERO, False
    while not is_end:
        key, at = key_at(at, end)
        if at == ZERO or (key != OTHER and seen & (ONE << U64(key)) != ZERO):
            return ZERO, ZERO, ZERO
        seen |= ONE << U64(key)
        if key == OTHER:
            at = skip_plain(at, end)
        elif key == TOPIC:
            at = _text_at(at, end)
            at = _topic(at, end, symbols, message) if at != ZERO else ZERO
        elif key == TYPE:
            at = _text_at(at, end)
            at = _type(at, end, message) if at != ZERO else ZERO
        elif key == TS:
            at, m.event_ts = _time(at, end)
        elif key == CTS:
            at, m.transaction_ts = _time(at, end)
        elif key == DATA:
            at, inner = _data(at, end, symbols, message)
        else:
            at = ZERO
        at, is_end = _after(at, end, _CLOSE_BRACE)
        if at == ZERO:
            return ZERO, ZERO, ZERO
    return at, seen, inner


@jit
def _best(message, at, count):
    """The best price of a side that has one level or none, from where it lies: (price, quantity)."""
    price, qty = np.int64(0), np.int64(0)
    if count > 0:
        price, qty = load_i64(at), load_i64(at + EIGHT)
    return (price, qty) if qty > 0 else (np.int64(0), np.int64(0))


@jit
def _make_ticker(message):
    """Make a book of one level a side best prices; False if it has more."""
    m = view(message, MESSAGE)
    if m.n_bids > 1 or m.n_asks > 1:
        return False
    at = message + _FIRST_LEVEL
    m.bid, m.bid_qty = _best(message, at, m.n_bids)
    m.ask, m.ask_qty = _best(message, at + _PAIR * U64(m.n_bids), m.n_asks)
    m.kind, m.first_id, m.last_id = BOOK_TICKER, m.last_id, m.sequence
    m.n_bids, m.n_asks = 0, 0
    return True


@jit
def _finish(message, seen, inner):
    """Check that all is there, and say what it is."""
    m = view(message, MESSAGE)
    is_delta, m.has_previous = m.has_previous != 0, 0
    if seen & _ENVELOPE_NEEDS != _ENVELOPE_NEEDS or inner & _BOOK_NEEDS != _BOOK_NEEDS:
        return False
    if m.kind == TRADES or (is_delta and m.last_id != ONE):
        return True
    if m.stream == 1:
        return _make_ticker(message)
    m.kind = SNAPSHOT
    return True


@jit
def scan(text, end, symbols, message):
    """Decode the JSON text in ``[text, end)``.

    Args:
        text: uint64 address of the first byte.
        end: uint64 address after the last byte.
        symbols: address of the SYMBOLS table.
        message: address of :func:`hftpipe.venues.message.message_bytes` of memory.

    Returns:
        OK, or FALLBACK: nothing was decided and ``message`` holds nothing of use.
    """
    if end < text + U64(16) or load_u8(text) != 123:
        return np.int64(FALLBACK)
    for word in range(_MESSAGE_WORDS):
        store_i64(message + U64(8 * word), np.int64(0))
    at, seen, inner = _envelope(text + ONE, end, symbols, message)
    return np.int64(OK) if at == end and at != ZERO and _finish(message, seen, inner) else np.int64(FALLBACK)
