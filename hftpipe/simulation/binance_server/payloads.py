"""The JSON of the market streams, in the key order of recordings; what a time is written in (ms or us) is the reader's choice.

``unit``: ns of one unit of time. Times given are ns of the wall clock: ``now`` when it is sent, ``ts`` when it happened.
"""

from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.binance_server.premium import Premium
from hftpipe.simulation.market_server.history import Aggregate, Candle, Trade
from hftpipe.simulation.market_server.symbols import Day, Symbol
from hftpipe.simulation.market_server.text import decimal_text

Payload = dict[str, Any]
Pairs = list[tuple[str, str]]
#: What USD-M events name besides the symbol: the kind of market (1: USD-M).
_USDM_KIND = 1


@dataclass(frozen=True, slots=True)
class DepthChange:
    """What has changed in a book since the event before on the same stream.

    Attributes:
        first_id, last_id: the update ids it covers; previous_id: the last one of the event before.
        ts: when the last change happened, ns; bids, asks: levels as text, 0 where one is gone.
    """

    first_id: int
    last_id: int
    previous_id: int
    ts: int
    bids: Pairs
    asks: Pairs


def _day(event: str, one: Symbol, day: Day, now: int, unit: int) -> Payload:
    price, candle = one.decimals.price_text, day.candle
    return {
        "e": event, "E": now // unit, "s": one.name, "c": price(candle.close), "o": price(candle.open),
        "h": price(candle.high), "l": price(candle.low), "v": one.decimals.qty_text(candle.volume),
        "q": one.decimals.quote_text(candle.quote),
    }  # fmt: skip


def _ticker_tail(one: Symbol, day: Day, unit: int) -> Payload:
    price, candle, ms = one.decimals.price_text, day.candle, 1_000_000 // unit
    return {
        "o": price(candle.open), "h": price(candle.high), "l": price(candle.low),
        "v": one.decimals.qty_text(candle.volume), "q": one.decimals.quote_text(candle.quote),
        "O": day.open_ms * ms, "C": day.close_ms * ms, "F": candle.first_id, "L": candle.last_id, "n": candle.count,
    }  # fmt: skip


class SpotPayloads:
    """Spot."""

    def depth(self, one: Symbol, change: DepthChange, now: int, unit: int) -> Payload:
        """``@depth``."""
        return {
            "e": "depthUpdate", "E": now // unit, "s": one.name, "U": change.first_id, "u": change.last_id,
            "b": change.bids, "a": change.asks,
        }  # fmt: skip

    def partial(self, one: Symbol, change: DepthChange, now: int, unit: int) -> Payload:
        """``@depth5``: neither symbol nor event."""
        return {"lastUpdateId": change.last_id, "bids": change.bids, "asks": change.asks}

    def book_ticker(
        self, one: Symbol, update_id: int, top: tuple[int, int, int, int], ts: int, now: int, unit: int
    ) -> Payload:
        """``@bookTicker``: neither event nor time."""
        price, qty = one.decimals.price_text, one.decimals.qty_text
        return {
            "u": update_id, "s": one.name, "b": price(top[0]), "B": qty(top[1]), "a": price(top[2]), "A": qty(top[3]),
        }  # fmt: skip

    def trade(self, one: Symbol, trade: Trade, now: int, unit: int) -> Payload:
        """``@trade``."""
        return {
            "e": "trade", "E": now // unit, "s": one.name, "t": trade.id, "p": one.decimals.price_text(trade.price),
            "q": one.decimals.qty_text(trade.qty), "T": trade.ts // unit, "m": trade.is_sold, "M": True,
        }  # fmt: skip

    def aggregate(self, one: Symbol, made: Aggregate, now: int, unit: int) -> Payload:
        """``@aggTrade``."""
        return {
            "e": "aggTrade", "E": now // unit, "s": one.name, "a": made.id, "p": one.decimals.price_text(made.price),
            "q": one.decimals.qty_text(made.qty), "f": made.first_id, "l": made.last_id, "T": made.ts // unit,
            "m": made.is_sold, "M": True,
        }  # fmt: skip

    def mini_ticker(self, one: Symbol, day: Day, now: int, unit: int) -> Payload:
        """``@miniTicker``."""
        return _day("24hrMiniTicker", one, day, now, unit)

    def ticker(self, one: Symbol, day: Day, top: tuple[int, int, int, int], now: int, unit: int) -> Payload:
        """``@ticker``."""
        price, qty, candle = one.decimals.price_text, one.decimals.qty_text, day.candle
        return {
            "e": "24hrTicker", "E": now // unit, "s": one.name, "p": price(day.change),
            "P": decimal_text(day.change_percent, 3), "w": price(day.average), "x": price(candle.open),
            "c": price(candle.close), "Q": qty(day.last_qty), "b": price(top[0]), "B": qty(top[1]), "a": price(top[2]),
            "A": qty(top[3]),
        } | _ticker_tail(one, day, unit)  # fmt: skip


class UsdmPayloads(SpotPayloads):
    """USD-M futures."""

    def depth(self, one: Symbol, change: DepthChange, now: int, unit: int) -> Payload:
        """``@depth``; ``pu`` is the ``u`` before on the same stream."""
        return {
            "e": "depthUpdate", "E": now // unit, "T": change.ts // unit, "s": one.name, "ps": one.name,
            "st": _USDM_KIND, "U": change.first_id, "u": change.last_id, "pu": change.previous_id,
            "b": change.bids, "a": change.asks,
        }  # fmt: skip

    def partial(self, one: Symbol, change: DepthChange, now: int, unit: int) -> Payload:
        """``@depth5``: an event as that of ``@depth``, with all of the levels."""
        return self.depth(one, change, now, unit)

    def book_ticker(
        self, one: Symbol, update_id: int, top: tuple[int, int, int, int], ts: int, now: int, unit: int
    ) -> Payload:
        """``@bookTicker``."""
        price, qty = one.decimals.price_text, one.decimals.qty_text
        return {
            "e": "bookTicker", "u": update_id, "E": now // unit, "T": ts // unit, "s": one.name, "b": price(top[0]),
            "B": qty(top[1]), "a": price(top[2]), "A": qty(top[3]), "ps": one.name, "st": _USDM_KIND,
        }  # fmt: skip

    def trade(self, one: Symbol, trade: Trade, now: int, unit: int) -> Payload:
        """``@trade``; what the engine matches is all ``MARKET``."""
        return {
            "e": "trade", "E": now // unit, "T": trade.ts // unit, "s": one.name, "t": trade.id,
            "p": one.decimals.price_text(trade.price), "q": one.decimals.qty_text(trade.qty), "X": "MARKET",
            "m": trade.is_sold,
        }  # fmt: skip

    def aggregate(self, one: Symbol, made: Aggregate, now: int, unit: int) -> Payload:
        """``@aggTrade``; ``nq`` is what did not meet orders of retail price improvement, of which there are none."""
        qty = one.decimals.qty_text(made.qty)
        return {
            "e": "aggTrade", "E": now // unit, "s": one.name, "a": made.id, "p": one.decimals.price_text(made.price),
            "q": qty, "nq": qty, "f": made.first_id, "l": made.last_id, "T": made.ts // unit, "m": made.is_sold,
        }  # fmt: skip

    def ticker(self, one: Symbol, day: Day, top: tuple[int, int, int, int], now: int, unit: int) -> Payload:
        """``@ticker``: without the best prices."""
        price, candle = one.decimals.price_text, day.candle
        return {
            "e": "24hrTicker", "E": now // unit, "s": one.name, "p": price(day.change),
            "P": decimal_text(day.change_percent, 3), "w": price(day.average), "c": price(candle.close),
            "Q": one.decimals.qty_text(day.last_qty),
        } | _ticker_tail(one, day, unit)  # fmt: skip


def mark_price(one: Symbol, made: Premium, now: int, unit: int) -> Payload:
    """``@markPrice`` (USD-M)."""
    return {
        "e": "markPriceUpdate", "E": now // unit, "s": one.name, "p": decimal_text(made.mark, 8),
        "i": decimal_text(made.index, 8), "P": decimal_text(made.index, 8), "r": decimal_text(made.funding, 8),
        "T": made.next_ms * (1_000_000 // unit),
    }  # fmt: skip


def candle_row(one: Symbol, candle: Candle, close_ms: int) -> list[Any]:
    """A row of REST klines."""
    price, qty, quote = one.decimals.price_text, one.decimals.qty_text, one.decimals.quote_text
    return [
        candle.open_ms, price(candle.open), price(candle.high), price(candle.low), price(candle.close),
        qty(candle.volume), close_ms, quote(candle.quote), candle.count, qty(candle.taker_volume),
        quote(candle.taker_quote), "0",
    ]  # fmt: skip
