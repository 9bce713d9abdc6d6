"""The slow, forgiving decoder behind the scanner: any well-formed Bybit v5 market message to the same MESSAGE.

Exact, and independent of the scanner's tricks (:mod:`hftpipe.venues.scan.slow`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.bybit.keys import KEYS
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    IGNORED,
    MAX_TRADES,
    MESSAGE_BYTES,
    SNAPSHOT,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    TRADES,
    Symbols,
)
from hftpipe.venues.scan.slow import Refused, decode_with, fixed, header, integer, put_levels, side, take, time_ns

_SIDES = {"Buy": BUY, "Sell": SELL}
#: Levels a side of a stream at most, as digits.
_MOST_DIGITS = 4
_TIME_DIGITS = 19


def _time(data: Mapping[str, Any], key: str) -> int:
    """A time, as a number or as a string of digits: the venue's documentation has both."""
    value = data.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _TIME_DIGITS:
        return time_ns({key: int(value)}, key)
    return time_ns(data, key)


def _instrument(data: Any, symbols: Symbols, topic: str) -> int:
    """The id of a symbol, which must be that of the topic."""
    symbol = take(data, "s")
    if not isinstance(symbol, str):
        raise Refused(f"'s' is not a string: {symbol!r:.40}")
    found = symbols.id_of(symbol)
    if found != symbols.id_of(topic):
        raise Refused(f"'s' is {symbol!r:.40} in a message about {topic!r:.40}")
    return found


def _best(levels: list[tuple[int, int]], key: str) -> tuple[int, int]:
    """The best price of a side that has one level or none."""
    if len(levels) > 1:
        raise Refused(f"{key!r} has {len(levels)} levels in a snapshot of one level")
    return levels[0] if levels and levels[0][1] else (0, 0)


def _book(payload: Mapping[str, Any], depth: int, topic: str, symbols: Symbols, memory: np.ndarray) -> None:
    h, data, kind = header(memory), take(payload, "data"), take(payload, "type")
    if not isinstance(data, dict):
        raise Refused(f"'data' of a book is not an object: {data!r:.40}")
    if kind not in ("snapshot", "delta"):
        raise Refused(f"'type' is neither snapshot nor delta: {kind!r:.40}")
    take(payload, "ts")
    h["instrument"] = _instrument(data, symbols, topic)
    h["event_ts"], h["transaction_ts"] = _time(payload, "ts"), _time(payload, "cts")
    update, sequence = integer(data, "u"), integer(data, "seq")
    h["sequence"], h["stream"], h["last_id"] = sequence, depth, update
    places = symbols.places_of(int(h["instrument"]))
    bids, asks = side(data, "b", places), side(data, "a", places)
    # A service that has started anew counts from 1, whatever it calls the message.
    is_whole = kind == "snapshot" or update == 1
    h["kind"] = SNAPSHOT if is_whole else DEPTH
    if is_whole and depth == 1:
        h["kind"], h["first_id"], h["last_id"] = BOOK_TICKER, update, sequence
        (h["bid"], h["bid_qty"]), (h["ask"], h["ask_qty"]) = _best(bids, "b"), _best(asks, "a")
        return
    put_levels(memory, bids, asks)


def _trade(data: Any, topic: str, symbols: Symbols, row: np.void) -> None:
    if not isinstance(data, dict):
        raise Refused(f"a trade is not an object: {data!r:.40}")
    of_price, of_qty = symbols.places_of(_instrument(data, symbols, topic))
    taker, number, block = take(data, "S"), take(data, "i"), data.get("BT", False)
    if taker not in _SIDES:
        raise Refused(f"'S' is neither Buy nor Sell: {taker!r:.40}")
    if not isinstance(number, str) or not number:
        raise Refused(f"'i' is not a string: {number!r:.40}")
    if not isinstance(block, bool):
        raise Refused(f"'BT' is not true or false: {block!r:.40}")
    if "seq" in data:
        integer(data, "seq")
    take(data, "T")
    row["price"], row["qty"] = fixed(take(data, "p"), "p", of_price), fixed(take(data, "v"), "v", of_qty)
    row["transaction_ts"], row["side"] = _time(data, "T"), _SIDES[taker]
    row["trade_id"] = trade_id_of(number)
    row["accepted"] = int(not block and row["price"] > 0 and row["qty"] > 0)


def _trades(payload: Mapping[str, Any], topic: str, symbols: Symbols, memory: np.ndarray) -> None:
    h, data = header(memory), take(payload, "data")
    if take(payload, "type") not in ("snapshot", "delta"):
        raise Refused(f"'type' is neither snapshot nor delta: {payload['type']!r:.40}")
    if not isinstance(data, list) or len(data) > MAX_TRADES:
        raise Refused(f"'data' is not a list of at most {MAX_TRADES} trades")
    take(payload, "ts")
    h["kind"], h["instrument"], h["n_trades"] = TRADES, symbols.id_of(topic), len(data)
    h["event_ts"], h["transaction_ts"] = _time(payload, "ts"), _time(payload, "cts")
    rows = memory[MESSAGE_BYTES : MESSAGE_BYTES + TRADE_ROW_BYTES * len(data)].view(TRADE_ROW)
    for at, one in enumerate(data):
        _trade(one, topic, symbols, rows[at])


def _dispatch(payload: dict[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    """Answers to requests, other topics, and books of no level are none of ours."""
    topic = payload.get("topic")
    name, _, rest = topic.partition(".") if isinstance(topic, str) else ("", "", "")
    depth, _, symbol = rest.partition(".")
    if name == "publicTrade":
        return _trades(payload, rest, symbols, memory)
    if name == "orderbook" and depth.isascii() and depth.isdigit() and len(depth) <= _MOST_DIGITS and int(depth):
        return _book(payload, int(depth), symbol, symbols, memory)
    h = header(memory)
    h["kind"], h["instrument"] = IGNORED, -1


def decode(text: bytes, symbols: Symbols, memory: np.ndarray) -> str | None:
    """Decode one JSON text into a MESSAGE and its levels or trades.

    Answers to requests and messages of other topics are kind IGNORED.

    Args:
        text: the message; symbols: the instruments; others decode with instrument -1.
        memory: uint8 array of :func:`hftpipe.venues.message.message_bytes`.

    Returns:
        None, or in a few words why the text was refused (``memory`` then holds nothing of use).
    """
    return decode_with(lambda payload: _dispatch(payload, symbols, memory), text, KEYS, memory)
