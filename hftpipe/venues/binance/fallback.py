"""The slow, forgiving decoder behind the scanner: any well-formed Binance market message to the same MESSAGE.

orjson does the parsing and Python integers do the arithmetic, so that the result is exact and independent of the
scanner's tricks. Bad input is a short reason, never an exception: one broken message must not stop a feed.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.binance.scanner import MAX_TIME_MS, MAX_TIME_US, MICROSECONDS_FROM
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    IGNORED,
    MAX_LEVELS,
    MESSAGE,
    MESSAGE_BYTES,
    SNAPSHOT,
    TRADE,
    Symbols,
)

_PLAIN_DECIMAL = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)
#: Keys whose repetition would make the meaning depend on the parser.
_ONCE = frozenset("eEsTUuptqbBaAXmM") | {"pu", "stream", "data", "lastUpdateId", "bids", "asks"}
#: Longest text looked at: a snapshot of 5,000 levels a side takes about 400 kB.
MAX_BYTES = 8 << 20


class _Refused(ValueError):
    """Why a message is not decoded."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        for key in keys:
            if key in _ONCE and keys.count(key) > 1:
                raise _Refused(f"key {key!r} appears more than once")
    return result


def _parse(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise _Refused(f"longer than {MAX_BYTES} bytes")
    try:
        payload = orjson.loads(text)
        # orjson keeps the last of several equal keys; json shows them all.
        json.loads(text, object_pairs_hook=_once)
    except _Refused:
        raise
    except ValueError as error:
        # Both parsers' errors, and an integer with more digits than Python converts.
        raise _Refused(f"not valid JSON: {error}") from error
    if not isinstance(payload, dict):
        raise _Refused(f"a JSON object is expected, not {type(payload).__name__}")
    return payload


def _take(data: Mapping[str, Any], key: str) -> Any:
    if key not in data:
        raise _Refused(f"key {key!r} is missing")
    return data[key]


def _integer(data: Mapping[str, Any], key: str) -> int:
    value = _take(data, key)
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise _Refused(f"{key!r} is not an integer between 0 and 2**63 - 1: {value!r:.40}")
    return value


def _time(data: Mapping[str, Any], key: str) -> int:
    if key not in data:
        return 0
    value = _integer(data, key)
    if value < MICROSECONDS_FROM:
        if value <= MAX_TIME_MS:
            return value * 1_000_000
    elif value <= MAX_TIME_US:
        return value * 1_000
    raise _Refused(f"{key!r} is not a time in ms or us: {value}")


def _fixed(value: Any, name: str, places: int) -> int:
    """Units of 10**-places."""
    match = _PLAIN_DECIMAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _Refused(f"{name!r} is not a plain non-negative decimal string: {value!r:.40}")
    whole, decimals = match[1], (match[2] or "").rstrip("0")
    if len(decimals) > places:
        raise _Refused(f"{name!r} has more than {places} decimals: {value!r}")
    result = int(whole + decimals.ljust(places, "0"))
    if result > INT64_MAX:
        raise _Refused(f"{name!r} is too large: {value!r}")
    return result


def _side(data: Mapping[str, Any], key: str, places: tuple[int, int]) -> list[tuple[int, int]]:
    rows = _take(data, key)
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise _Refused(f"{key!r} is not a list of [price, quantity] pairs")
    of_price, of_qty = places
    return [(_fixed(price, key, of_price), _fixed(qty, key, of_qty)) for price, qty in rows]


def _instrument(data: Mapping[str, Any], symbols: Symbols) -> int:
    symbol = _take(data, "s")
    if not isinstance(symbol, str):
        raise _Refused(f"'s' is not a string: {symbol!r:.40}")
    return symbols.id_of(symbol)


def _put_levels(memory: np.ndarray, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
    total = len(bids) + len(asks)
    if total > MAX_LEVELS:
        raise _Refused(f"{total} levels are more than {MAX_LEVELS}")
    target = memory[MESSAGE_BYTES : MESSAGE_BYTES + 16 * total].view(np.int64)
    target[:] = np.array(bids + asks, np.int64).reshape(-1)
    header = _header(memory)
    header["n_bids"], header["n_asks"] = len(bids), len(asks)


def _header(memory: np.ndarray) -> np.void:
    header: np.void = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
    return header


def _depth(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = _header(memory)
    _take(data, "E")
    first, last = _integer(data, "U"), _integer(data, "u")
    if first > last:
        raise _Refused(f"'U' {first} is greater than 'u' {last}")
    h["kind"], h["instrument"] = DEPTH, _instrument(data, symbols)
    h["event_ts"], h["transaction_ts"] = _time(data, "E"), _time(data, "T")
    h["first_id"], h["last_id"] = first, last
    if "pu" in data:
        h["previous_id"], h["has_previous"] = _integer(data, "pu"), 1
    places = symbols.places_of(int(h["instrument"]))
    _put_levels(memory, _side(data, "b", places), _side(data, "a", places))


def _ticker(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = _header(memory)
    h["kind"], h["instrument"], h["last_id"] = BOOK_TICKER, _instrument(data, symbols), _integer(data, "u")
    h["event_ts"], h["transaction_ts"] = _time(data, "E"), _time(data, "T")
    of_price, of_qty = symbols.places_of(int(h["instrument"]))
    amounts = (("b", "bid", of_price), ("B", "bid_qty", of_qty), ("a", "ask", of_price), ("A", "ask_qty", of_qty))
    for key, field, places in amounts:
        h[field] = _fixed(_take(data, key), key, places)


def _trade(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = _header(memory)
    _take(data, "E")
    maker = _take(data, "m")
    if not isinstance(maker, bool):
        raise _Refused(f"'m' is not true or false: {maker!r:.40}")
    origin = data.get("X", "MARKET")
    if not isinstance(origin, str):
        raise _Refused(f"'X' is not a string: {origin!r:.40}")
    instrument = _instrument(data, symbols)
    of_price, of_qty = symbols.places_of(instrument)
    price, qty = _fixed(_take(data, "p"), "p", of_price), _fixed(_take(data, "q"), "q", of_qty)
    h["kind"], h["instrument"], h["trade_id"] = TRADE, instrument, _integer(data, "t")
    h["event_ts"], h["transaction_ts"] = _time(data, "E"), _time(data, "T")
    h["price"], h["qty"] = price, qty
    # The buyer is the maker, so the taker sold.
    h["side"] = SELL if maker else BUY
    h["accepted"] = int(origin == "MARKET" and price > 0 and qty > 0)


def _snapshot(data: Mapping[str, Any], instrument: int, places: tuple[int, int], memory: np.ndarray) -> None:
    h = _header(memory)
    h["kind"], h["instrument"], h["last_id"] = SNAPSHOT, instrument, _integer(data, "lastUpdateId")
    h["event_ts"], h["transaction_ts"] = _time(data, "E"), _time(data, "T")
    _put_levels(memory, _side(data, "bids", places), _side(data, "asks", places))


def _ignored(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = _header(memory)
    h["kind"], h["instrument"] = IGNORED, symbols.id_of(data.get("s"))


_EVENTS: dict[str, Callable[[Mapping[str, Any], Symbols, np.ndarray], None]] = {
    "depthUpdate": _depth,
    "bookTicker": _ticker,
    "trade": _trade,
}


def _snapshot_owner(name: str, channel: str, symbols: Symbols) -> int | None:
    """Instrument of a snapshot: from the stream name of a recorder, or the only one there is; None if it is partial.

    The REST snapshot carries no symbol, and a partial-depth stream (``<symbol>@depth5``) looks just like it.
    """
    if channel == "depthSnapshot":
        return symbols.id_of(name.upper())
    if name:
        return None
    return next(iter(symbols.ids.values())) if len(symbols.ids) == 1 else -1


def _dispatch(payload: dict[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    stream, data = payload.get("stream", ""), payload
    if "stream" in payload and "data" in payload:
        data = payload["data"]
        if not isinstance(stream, str):
            raise _Refused(f"'stream' is not a string: {stream!r:.40}")
        if not isinstance(data, dict):
            # Array streams such as !markPrice@arr.
            return _ignored({}, symbols, memory)
    name, _, channel = stream.partition("@") if isinstance(stream, str) else ("", "", "")
    event = data.get("e")
    if event is None and {"u", "s", "b", "B", "a", "A"} <= data.keys():
        event = "bookTicker"
    if event is None and "lastUpdateId" in data:
        owner = _snapshot_owner(name, channel, symbols)
        if owner is None:
            return _ignored(data, symbols, memory)
        return _snapshot(data, owner, symbols.places_of(owner), memory)
    if event is None and channel == "bookTicker":
        event = "bookTicker"
    partial = event == "depthUpdate" and stream and channel != "depth" and not channel.startswith("depth@")
    if not isinstance(event, str) or event not in _EVENTS or partial:
        return _ignored(data, symbols, memory)
    return _EVENTS[event](data, symbols, memory)


def decode(text: bytes, symbols: Symbols, memory: np.ndarray) -> str | None:
    """Decode one JSON text into a MESSAGE and its levels.

    Subscription acks, other events, partial books and array streams are kind IGNORED. A bare REST snapshot names no
    symbol: it goes to the only instrument there is, and to -1 when there are several.

    Args:
        text: the message, with or without a combined-stream envelope.
        symbols: the instruments; others decode with instrument -1.
        memory: uint8 array of :func:`hftpipe.venues.message.message_bytes`.

    Returns:
        None, or in a few words why the text was refused (``memory`` then holds nothing of use).
    """
    memory[:MESSAGE_BYTES] = 0
    try:
        _dispatch(_parse(text), symbols, memory)
    except _Refused as reason:
        return str(reason)
    except RecursionError:
        return "not valid JSON: nested too deeply"
    return None
