"""The JSON of the public topics, in the key orders of recordings: spot, and books of one level, write ``ts`` before ``type``."""

import uuid
from typing import Any

from hftpipe.simulation.bybit_server.books import BookStream, Change
from hftpipe.simulation.bybit_server.settings import CategoryRules
from hftpipe.simulation.market_server.history import MINUTE_MS, Trade
from hftpipe.simulation.market_server.symbols import Day, Symbol, day_of
from hftpipe.simulation.market_server.text import decimal_text

Payload = dict[str, Any]
SNAPSHOT, DELTA = "snapshot", "delta"
_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
_MS_NS = 1_000_000
_HOUR_MS = 60 * MINUTE_MS
_PERCENT_DECIMALS = 6


def amount_text(value: int) -> str:
    """An amount (1e-8) as short as it can be written."""
    text = decimal_text(value, 8)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _pairs(symbol: Symbol, rules: CategoryRules, levels: Change) -> list[tuple[str, str]]:
    """Levels as text; spot writes no zeros behind, and what is gone is a plain 0."""
    price = amount_text if rules.name == "spot" else symbol.decimals.price_text
    qty = amount_text if rules.name == "spot" else symbol.decimals.qty_text
    return [(price(at), qty(of) if of else "0") for at, of in levels]


def _head(topic: str, kind: str, ts_ms: int, ts_first: bool) -> Payload:
    if ts_first:
        return {"topic": topic, "ts": ts_ms, "type": kind}
    return {"topic": topic, "type": kind, "ts": ts_ms}


def book(
    topic: str, kind: str, symbol: Symbol, rules: CategoryRules, stream: BookStream, changes: tuple[Change, Change],
    depth: int, now_ms: int,
) -> Payload:  # fmt: skip
    """``orderbook``: a whole book or what has changed."""
    bids, asks = (_pairs(symbol, rules, side) for side in changes)
    data = {"s": symbol.name, "b": bids, "a": asks, "u": stream.u, "seq": stream.seq}
    head = _head(topic, kind, now_ms, rules.name == "spot" or depth == 1)
    return head | {"data": data, "cts": stream.ts}


def trade_id(rules: CategoryRules, symbol: Symbol, number: int) -> str:
    """A number in spot, a UUID elsewhere."""
    return str(number) if rules.name == "spot" else str(uuid.uuid5(_NAMESPACE, f"{symbol.name}.{number}"))


def trade(symbol: Symbol, rules: CategoryRules, one: Trade, seq: int, before: int) -> Payload:
    """A trade of ``publicTrade``; ``before``: the price before."""
    price, qty = symbol.decimals.price_text(one.price), symbol.decimals.qty_text(one.qty)
    number, side, time = trade_id(rules, symbol, one.id), "Sell" if one.is_sold else "Buy", one.ts // _MS_NS
    if rules.name == "spot":
        return {
            "i": number, "T": time, "p": amount_text(one.price), "v": amount_text(one.qty), "S": side,
            "s": symbol.name, "BT": False, "RPI": False, "seq": seq,
        }  # fmt: skip
    moved = "PlusTick" if one.price > before else "MinusTick" if one.price < before else "ZeroPlusTick"
    return {
        "T": time, "s": symbol.name, "S": side, "v": qty, "p": price, "L": moved, "i": number, "BT": False, "RPI": False,
        "seq": seq,
    }  # fmt: skip


def trades(topic: str, rules: CategoryRules, rows: list[Payload], now_ms: int) -> Payload:
    """``publicTrade``: always called a snapshot."""
    return _head(topic, SNAPSHOT, now_ms, rules.name == "spot") | {"data": rows}


def _day_fields(symbol: Symbol, day: Day) -> Payload:
    price, candle = symbol.decimals.price_text, day.candle
    part = candle.close * 10**8 // candle.open - 10**8 if candle.open else 0
    return {
        "symbol": symbol.name, "lastPrice": price(candle.close), "prevPrice24h": price(candle.open),
        "price24hPcnt": decimal_text(part, _PERCENT_DECIMALS), "highPrice24h": price(candle.high),
        "lowPrice24h": price(candle.low), "volume24h": symbol.decimals.qty_text(candle.volume),
        "turnover24h": symbol.decimals.quote_text(candle.quote),
    }  # fmt: skip


def _tops(symbol: Symbol, top: tuple[int, int, int, int]) -> Payload:
    price, qty = symbol.decimals.price_text, symbol.decimals.qty_text
    return {"bid1Price": price(top[0]), "bid1Size": qty(top[1]), "ask1Price": price(top[2]), "ask1Size": qty(top[3])}


def ticker(
    symbol: Symbol, rules: CategoryRules, top: tuple[int, int, int, int], fair: int, now_ms: int, in_rest: bool
) -> Payload:
    """24 hours and best prices; the topic of spot has no best prices. There is no open interest and no funding here."""
    made = _day_fields(symbol, day_of(symbol, now_ms))
    if rules.name == "spot":
        return made | (_tops(symbol, top) if in_rest else {})
    hour = symbol.history.since((now_ms - _HOUR_MS) // MINUTE_MS * MINUTE_MS)
    price = symbol.decimals.price_text
    return made | {
        "prevPrice1h": price(hour.open) if hour else made["lastPrice"], "markPrice": price(fair),
        "indexPrice": price(fair),
    } | _tops(symbol, top)  # fmt: skip


def tickers(topic: str, kind: str, rules: CategoryRules, fields: Payload, seq: int, now_ms: int) -> Payload:
    """``tickers``."""
    if rules.name == "spot":
        return {"topic": topic, "ts": now_ms, "type": kind, "cs": seq, "data": fields}
    return {"topic": topic, "type": kind, "data": fields, "cs": seq, "ts": now_ms}
