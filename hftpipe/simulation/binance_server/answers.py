"""What the public REST calls of one market are answered: read from the engine and from what was traded."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hftpipe.core.schema.records import ASK, BID
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.listing import TRADING, exchange_info
from hftpipe.simulation.binance_server.payloads import candle_row
from hftpipe.simulation.binance_server.premium import INTEREST, mark_of, premium_of
from hftpipe.simulation.market_server.candles import INTERVALS, candles_of, end_of
from hftpipe.simulation.market_server.history import MINUTE_MS, Aggregate, Trade
from hftpipe.simulation.market_server.symbols import Symbol, day_of
from hftpipe.simulation.market_server.text import decimal_text

_Item = TypeVar("_Item")
Query = Mapping[str, str]
_SYMBOL = re.compile(r"[A-Z0-9_.-]{1,20}")
_TRADES_MOST, _TRADES_DEFAULT = 1000, 500
_AVERAGE_MINUTES = 5


class Refused(Exception):
    """A request that the venue answers with an HTTP status, its code and its text; ``data`` is what else it says."""

    def __init__(self, code: int, text: str, status: int = 400, data: Any = None) -> None:
        super().__init__(text)
        self.code, self.status, self.data = code, status, data


def number_in(query: Query, name: str, default: int | None = None) -> int | None:
    """A parameter that is a whole number.

    Raises:
        Refused: it is not.
    """
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,18}", text):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


class Answers:
    """The answers of one market.

    Args:
        feed: the market; per_min: its request weight of a minute; opened_ms: since when it is open.
    """

    def __init__(self, feed: Feed, per_min: int, opened_ms: int) -> None:
        self._feed, self._market, self._symbols, self.rules = feed, feed.market, feed.symbols, feed.rules
        self._per_min, self._opened_ms = per_min, opened_ms
        self._is_usdm = feed.rules.name == "usdm"

    def now_ms(self) -> int:
        """The venue's time."""
        return self._feed.clock.now_ns // 1_000_000

    def symbol_named(self, name: str) -> Symbol:
        """The symbol of this name.

        Raises:
            Refused: there is none.
        """
        if not _SYMBOL.fullmatch(name):
            raise Refused(
                -1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'."
            )
        symbol = self._symbols.by_name.get(name)
        if symbol is None:
            raise Refused(-1121, "Invalid symbol.")
        return symbol

    def symbol_of(self, query: Query) -> Symbol:
        """The one that is asked for.

        Raises:
            Refused: none is, or there is none of that name.
        """
        if not query.get("symbol"):
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return self.symbol_named(query["symbol"])

    def _asked(self, query: Query) -> list[Symbol] | None:
        """Those of ``symbols``; None: that was not given."""
        if "symbols" not in query:
            return None
        try:
            names = json.loads(query["symbols"])
        except ValueError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise Refused(-1100, "Illegal characters found in parameter 'symbols'; a JSON array of names is expected.")
        return [self.symbol_named(name) for name in names]

    def _one_or_many(self, query: Query, make: Callable[[Symbol], Any]) -> Any:
        if "symbol" in query:
            return make(self.symbol_of(query))
        asked = self._asked(query)
        return [make(one) for one in (self._symbols.all if asked is None else asked)]

    def ping(self, query: Query) -> Any:
        """Nothing, but it came."""
        return {}

    def time(self, query: Query) -> Any:
        """The venue's time."""
        return {"serverTime": self.now_ms()}

    def exchange_info(self, query: Query) -> Any:
        """Limits, and symbols with their filters."""
        asked = [self.symbol_of(query)] if "symbol" in query else self._asked(query)
        rows = self._market.listing.instruments
        symbols = self._symbols.all if asked is None else asked
        told = [(one, self._market.statuses.get(one.index, TRADING)) for one in symbols]
        listed = [(one, status) for one, status in told if status]
        return exchange_info(self.rules, listed, rows, self._per_min, self.now_ms(), self._opened_ms)

    def depth(self, query: Query) -> Any:
        """The book as the engine has it now."""
        symbol, limit = self.symbol_of(query), self.depth_limit(query)
        index, now = symbol.index, self.now_ms()
        bids, asks = (symbol.decimals.pairs(self._market.side(index, side, limit)) for side in (BID, ASK))
        head: dict[str, Any] = {"lastUpdateId": self._market.update_id(index)}
        head |= {"E": now, "T": now} if self._is_usdm else {}
        return head | {"bids": bids, "asks": asks}

    def depth_limit(self, query: Query) -> int:
        """Levels a side that are asked for.

        Raises:
            Refused: there may not be so many.
        """
        limit = number_in(query, "limit", self.rules.snapshot_default) or 0
        if self.rules.snapshot_limits and limit not in self.rules.snapshot_limits:
            raise Refused(-4021, f"{limit} is not valid depth limit.")
        if not limit:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, self.rules.snapshot_most)

    def _count(self, query: Query, default: int, most: int) -> int:
        count = number_in(query, "limit", default) or 0
        if not count:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(count, most)

    def _trade_row(self, symbol: Symbol, trade: Trade) -> dict[str, Any]:
        row = {
            "id": trade.id, "price": symbol.decimals.price_text(trade.price),
            "qty": symbol.decimals.qty_text(trade.qty),
            "quoteQty": symbol.decimals.quote_text(trade.price * trade.qty), "time": trade.ts // 1_000_000,
            "isBuyerMaker": trade.is_sold,
        }  # fmt: skip
        return row if self._is_usdm else row | {"isBestMatch": True}

    def trades(self, query: Query) -> Any:
        """The last trades."""
        symbol, count = self.symbol_of(query), self._count(query, _TRADES_DEFAULT, _TRADES_MOST)
        return [self._trade_row(symbol, one) for one in list(symbol.history.trades)[-count:]]

    def old_trades(self, query: Query) -> Any:
        """Trades from an id on, as far back as they are kept."""
        since = number_in(query, "fromId")
        if since is None:
            return self.trades(query)
        symbol, count = self.symbol_of(query), self._count(query, _TRADES_DEFAULT, _TRADES_MOST)
        return [self._trade_row(symbol, one) for one in symbol.history.trades if one.id >= since][:count]

    def _aggregate_row(self, symbol: Symbol, one: Aggregate) -> dict[str, Any]:
        row = {
            "a": one.id, "p": symbol.decimals.price_text(one.price), "q": symbol.decimals.qty_text(one.qty),
            "f": one.first_id, "l": one.last_id, "T": one.ts // 1_000_000, "m": one.is_sold,
        }  # fmt: skip
        return row if self._is_usdm else row | {"M": True}

    def aggregates(self, query: Query) -> Any:
        """Aggregate trades: from an id on, or of a time, or the last ones."""
        symbol, count = self.symbol_of(query), self._count(query, _TRADES_DEFAULT, _TRADES_MOST)
        since = number_in(query, "fromId")
        found: Iterable[Aggregate] = symbol.history.aggregates
        if since is not None:
            found = [one for one in found if one.id >= since][:count]
        else:
            found = _within(found, query, lambda one: one.ts // 1_000_000, count)
        return [self._aggregate_row(symbol, one) for one in found]

    def klines(self, query: Query) -> Any:
        """Candles."""
        symbol, interval = self.symbol_of(query), query.get("interval", "")
        if interval not in INTERVALS or (self._is_usdm and interval == "1s"):
            raise Refused(-1120, "Invalid interval.")
        count = self._count(query, _TRADES_DEFAULT, self.rules.klines_most)
        found = candles_of(symbol.history, interval, self.now_ms())
        return [
            candle_row(symbol, one, end_of(one.open_ms, interval) - 1)
            for one in _within(found, query, lambda one: one.open_ms, count)
        ]

    def average(self, query: Query) -> Any:
        """Average price of the last five minutes, weighted by quantity; the last one if nothing was traded in them."""
        symbol, now = self.symbol_of(query), self.now_ms()
        trades, price = symbol.history.trades, self.average_price(symbol)
        closed = trades[-1].ts // 1_000_000 if trades else now
        return {"mins": _AVERAGE_MINUTES, "price": symbol.decimals.price_text(price), "closeTime": closed}

    def average_price(self, symbol: Symbol) -> int:
        """The same as a number, 1e-8; 0 if nothing was ever traded."""
        trades = symbol.history.trades
        recent = symbol.history.since((self.now_ms() // MINUTE_MS - _AVERAGE_MINUTES + 1) * MINUTE_MS)
        return recent.quote // recent.volume if recent else trades[-1].price if trades else 0

    def mark_price(self, symbol: Symbol) -> int:
        """The middle of the book; what the flow takes the symbol to be worth while a side is empty."""
        return mark_of(self._market, symbol.index)

    def day(self, query: Query) -> Any:
        """24 hours."""
        kind = query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise Refused(-1139, "Invalid ticker type.")
        return self._one_or_many(query, lambda one: self._day_row(one, kind == "MINI"))

    def _day_row(self, symbol: Symbol, is_mini: bool) -> dict[str, Any]:
        day, price, qty = day_of(symbol, self.now_ms()), symbol.decimals.price_text, symbol.decimals.qty_text
        candle, quote = day.candle, symbol.decimals.quote_text
        change = {
            "priceChange": price(day.change), "priceChangePercent": decimal_text(day.change_percent, 3),
            "weightedAvgPrice": price(day.average),
        }  # fmt: skip
        row: dict[str, Any] = {"symbol": symbol.name} | ({} if is_mini else change)
        if not is_mini and not self._is_usdm:
            row["prevClosePrice"] = price(candle.open)
        row["lastPrice"] = price(candle.close)
        if not is_mini:
            row["lastQty"] = qty(day.last_qty)
            row |= {} if self._is_usdm else self._best(symbol)
        return row | {
            "openPrice": price(candle.open), "highPrice": price(candle.high), "lowPrice": price(candle.low),
            "volume": qty(candle.volume), "quoteVolume": quote(candle.quote), "openTime": day.open_ms,
            "closeTime": day.close_ms, "firstId": candle.first_id, "lastId": candle.last_id, "count": candle.count,
        }  # fmt: skip

    def _best(self, symbol: Symbol) -> dict[str, str]:
        bid, bid_qty, ask, ask_qty = self._market.top(symbol.index)
        price, qty = symbol.decimals.price_text, symbol.decimals.qty_text
        return {"bidPrice": price(bid), "bidQty": qty(bid_qty), "askPrice": price(ask), "askQty": qty(ask_qty)}

    def price(self, query: Query) -> Any:
        """Last prices."""
        return self._one_or_many(query, self._price_row)

    def _price_row(self, symbol: Symbol) -> dict[str, Any]:
        trades = symbol.history.trades
        row = {"symbol": symbol.name, "price": symbol.decimals.price_text(trades[-1].price if trades else 0)}
        return row | ({"time": self.now_ms()} if self._is_usdm else {})

    def best(self, query: Query) -> Any:
        """Best prices."""
        return self._one_or_many(query, self._best_row)

    def _best_row(self, symbol: Symbol) -> dict[str, Any]:
        row = {"symbol": symbol.name} | self._best(symbol)
        if not self._is_usdm:
            return row
        return row | {"time": self.now_ms(), "lastUpdateId": self._market.update_id(symbol.index)}

    def premium(self, query: Query) -> Any:
        """Mark price (the middle of the book), index (what the flow takes it to be worth), and the funding that follows."""
        return self._one_or_many(query, self._premium_row)

    def _premium_row(self, symbol: Symbol) -> dict[str, Any]:
        now = self.now_ms()
        made = premium_of(self._market, symbol.index, now)
        return {
            "symbol": symbol.name, "markPrice": decimal_text(made.mark, 8), "indexPrice": decimal_text(made.index, 8),
            "estimatedSettlePrice": decimal_text(made.index, 8), "lastFundingRate": decimal_text(made.funding, 8),
            "interestRate": decimal_text(INTEREST, 8), "nextFundingTime": made.next_ms, "time": now,
        }  # fmt: skip


def _within(found: Iterable[_Item], query: Query, when: Callable[[_Item], int], count: int) -> list[_Item]:
    """Those of a time: from startTime the oldest, else the newest, in the order they came."""
    start, end = number_in(query, "startTime"), number_in(query, "endTime")
    kept = [one for one in found if (start is None or when(one) >= start) and (end is None or when(one) <= end)]
    return kept[:count] if start is not None else kept[-count:]
