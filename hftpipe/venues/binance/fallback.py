"""The slow, forgiving decoder behind the scanner: any well-formed Binance market message to the same MESSAGE.

Exact, and independent of the scanner's tricks (:mod:`hftpipe.venues.scan.slow`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.message import BOOK_TICKER, DEPTH, IGNORED, SNAPSHOT, TRADE, Symbols
from hftpipe.venues.scan.slow import Refused, decode_with, fixed, header, integer, put_levels, side, take, time_ns

#: Keys whose repetition would make the meaning depend on the parser.
_ONCE = frozenset("eEsTUuptqbBaAXmMfl") | {"pu", "stream", "data", "lastUpdateId", "bids", "asks"}


def _instrument(data: Mapping[str, Any], symbols: Symbols) -> int:
    symbol = take(data, "s")
    if not isinstance(symbol, str):
        raise Refused(f"'s' is not a string: {symbol!r:.40}")
    return symbols.id_of(symbol)


def _depth(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = header(memory)
    take(data, "E")
    first, last = integer(data, "U"), integer(data, "u")
    if first > last:
        raise Refused(f"'U' {first} is greater than 'u' {last}")
    h["kind"], h["instrument"] = DEPTH, _instrument(data, symbols)
    h["event_ts"], h["transaction_ts"] = time_ns(data, "E"), time_ns(data, "T")
    h["first_id"], h["last_id"] = first, last
    if "pu" in data:
        h["previous_id"], h["has_previous"] = integer(data, "pu"), 1
    places = symbols.places_of(int(h["instrument"]))
    put_levels(memory, side(data, "b", places), side(data, "a", places))


def _ticker(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = header(memory)
    h["kind"], h["instrument"], h["last_id"] = BOOK_TICKER, _instrument(data, symbols), integer(data, "u")
    h["event_ts"], h["transaction_ts"] = time_ns(data, "E"), time_ns(data, "T")
    of_price, of_qty = symbols.places_of(int(h["instrument"]))
    amounts = (("b", "bid", of_price), ("B", "bid_qty", of_qty), ("a", "ask", of_price), ("A", "ask_qty", of_qty))
    for key, field, places in amounts:
        h[field] = fixed(take(data, key), key, places)


def _trade(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = header(memory)
    take(data, "E")
    maker = take(data, "m")
    if not isinstance(maker, bool):
        raise Refused(f"'m' is not true or false: {maker!r:.40}")
    origin = data.get("X", "MARKET")
    if not isinstance(origin, str):
        raise Refused(f"'X' is not a string: {origin!r:.40}")
    instrument = _instrument(data, symbols)
    of_price, of_qty = symbols.places_of(instrument)
    price, qty = fixed(take(data, "p"), "p", of_price), fixed(take(data, "q"), "q", of_qty)
    h["kind"], h["instrument"], h["trade_id"] = TRADE, instrument, integer(data, "t")
    h["event_ts"], h["transaction_ts"] = time_ns(data, "E"), time_ns(data, "T")
    h["price"], h["qty"] = price, qty
    # The buyer is the maker, so the taker sold.
    h["side"] = SELL if maker else BUY
    h["accepted"] = int(origin == "MARKET" and price > 0 and qty > 0)


def _aggregate(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    """What one order took at one price (USD-M: within 100 ms), as one trade."""
    h, first, last = header(memory), integer(data, "f"), integer(data, "l")
    if first > last:
        raise Refused(f"'f' {first} is greater than 'l' {last}")
    _trade({**data, "t": integer(data, "a")}, symbols, memory)
    h["first_id"], h["last_id"], h["n_trades"] = first, last, last - first + 1


def _snapshot(data: Mapping[str, Any], instrument: int, places: tuple[int, int], memory: np.ndarray) -> None:
    h = header(memory)
    h["kind"], h["instrument"], h["last_id"] = SNAPSHOT, instrument, integer(data, "lastUpdateId")
    h["event_ts"], h["transaction_ts"] = time_ns(data, "E"), time_ns(data, "T")
    put_levels(memory, side(data, "bids", places), side(data, "asks", places))


def _ignored(data: Mapping[str, Any], symbols: Symbols, memory: np.ndarray) -> None:
    h = header(memory)
    h["kind"], h["instrument"] = IGNORED, symbols.id_of(data.get("s"))


_EVENTS: dict[str, Callable[[Mapping[str, Any], Symbols, np.ndarray], None]] = {
    "depthUpdate": _depth,
    "bookTicker": _ticker,
    "trade": _trade,
    "aggTrade": _aggregate,
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
            raise Refused(f"'stream' is not a string: {stream!r:.40}")
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
    return decode_with(lambda payload: _dispatch(payload, symbols, memory), text, _ONCE, memory)
