"""What the public REST calls are answered: read from the engine and from what was traded."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from hftpipe.simulation.bybit_server import payloads
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.listing import TRADED, linear_info, spot_info
from hftpipe.simulation.bybit_server.payloads import amount_text
from hftpipe.simulation.bybit_server.settings import (
    BOOK_MOST,
    KLINES_DEFAULT,
    KLINES_MOST,
    PAGE_DEFAULT,
    PAGE_MOST,
)
from hftpipe.simulation.market_server.candles import candles_of
from hftpipe.simulation.market_server.history import Candle
from hftpipe.simulation.market_server.symbols import Symbol

Query = Mapping[str, str]
PARAMETER = 10001
#: The venue's names of intervals, and the engine's.
_INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
_MS_NS = 1_000_000
_FAR_MS = 10**14


class Refused(Exception):
    """A request that the venue answers with a code and a text, and HTTP 200."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not re.fullmatch(r"\d{1,15}", text):
        raise Refused(PARAMETER, f"params error: {name} is not a whole number")
    if not 1 <= int(text) <= most:
        raise Refused(PARAMETER, f"params error: {name} invalid")
    return int(text)


class Answers:
    """The answers of the venue.

    Args:
        feeds: its categories by name; opened_ms: since when it is open.
    """

    def __init__(self, feeds: Mapping[str, Feed], opened_ms: int) -> None:
        self._feeds, self._opened_ms = feeds, opened_ms

    def category(self, query: Query) -> str:
        """The category that a request names; empty: none of ours."""
        return query["category"] if query.get("category") in self._feeds else ""

    def _feed(self, query: Query) -> Feed:
        name = self.category(query)
        if not name:
            raise Refused(PARAMETER, "params error: category is invalid")
        return self._feeds[name]

    def _symbol(self, feed: Feed, query: Query) -> Symbol:
        symbol = feed.symbols.by_name.get(query.get("symbol", ""))
        if symbol is None:
            raise Refused(
                PARAMETER, "Not supported symbols" if query.get("symbol") else "params error: symbol is empty"
            )
        return symbol

    def _asked(self, feed: Feed, query: Query) -> list[Symbol]:
        return [self._symbol(feed, query)] if query.get("symbol") else feed.symbols.all

    def time(self, query: Query) -> Any:
        """The venue's time."""
        now = next(iter(self._feeds.values())).clock.now_ns
        return {"timeSecond": str(now // 10**9), "timeNano": str(now)}

    def book(self, query: Query) -> Any:
        """The book as the engine has it now; its number is that of the stream of most levels."""
        feed = self._feed(query)
        symbol, limit = self._symbol(feed, query), _number(query, "limit", feed.rules.book_default, BOOK_MOST)
        stream = feed.rest_book(symbol)
        bids, asks = (symbol.decimals.pairs(list(side.items())[:limit]) for side in (stream.bids, stream.asks))
        now = feed.clock.now_ns // _MS_NS
        return {"s": symbol.name, "b": bids, "a": asks, "ts": now, "u": stream.u, "seq": stream.seq, "cts": stream.ts}

    def trades(self, query: Query) -> Any:
        """The last trades, the newest first."""
        feed = self._feed(query)
        symbol, rules = self._symbol(feed, query), feed.rules
        count = _number(query, "limit", rules.trades_default, KLINES_MOST)
        newest = list(symbol.history.trades)[-min(count, rules.trades_most) :][::-1]
        rows = [
            {
                "execId": payloads.trade_id(rules, symbol, one.id), "symbol": symbol.name,
                "price": symbol.decimals.price_text(one.price), "size": symbol.decimals.qty_text(one.qty),
                "side": "Sell" if one.is_sold else "Buy", "time": str(one.ts // _MS_NS), "isBlockTrade": False,
                "isRPITrade": False,
            }
            for one in newest
        ]  # fmt: skip
        return {"category": rules.name, "list": rows}

    def klines(self, query: Query) -> Any:
        """Candles, the newest first; the first of them is not closed yet."""
        feed = self._feed(query)
        symbol, interval = self._symbol(feed, query), _INTERVALS.get(query.get("interval", ""))
        if interval is None:
            raise Refused(PARAMETER, "Invalid period!")
        count, now = _number(query, "limit", KLINES_DEFAULT, KLINES_MOST), feed.clock.now_ns // _MS_NS
        first, last = _number(query, "start", 1, _FAR_MS), _number(query, "end", _FAR_MS, _FAR_MS)
        found = [one for one in candles_of(symbol.history, interval, now) if first <= one.open_ms <= last]
        rows = [self._candle(symbol, one) for one in found[::-1][:count]]
        return {"symbol": symbol.name, "category": feed.rules.name, "list": rows}

    def _candle(self, symbol: Symbol, one: Candle) -> list[str]:
        prices = (symbol.decimals.price_text(value) for value in (one.open, one.high, one.low, one.close))
        return [str(one.open_ms), *prices, symbol.decimals.qty_text(one.volume), amount_text(one.quote // 10**8)]

    def tickers(self, query: Query) -> Any:
        """24 hours and best prices."""
        feed = self._feed(query)
        market, now = feed.market, feed.clock.now_ns // _MS_NS
        rows = [
            payloads.ticker(one, feed.rules, market.top(one.index), market.fair_price(one.index), now, True)
            for one in self._asked(feed, query)
        ]
        return {"category": feed.rules.name, "list": rows}

    def instruments(self, query: Query) -> Any:
        """What is listed; of linear contracts a page at a time."""
        feed = self._feed(query)
        rows, make = feed.market.listing.instruments, linear_info if feed.rules.name == "linear" else spot_info
        statuses = feed.market.statuses
        asked = [one for one in self._asked(feed, query) if statuses.get(one.index, TRADED)]
        first, end, cursor = 0, len(asked), ""
        if feed.rules.pages:
            first, size = self._first(query), _number(query, "limit", PAGE_DEFAULT, PAGE_MOST)
            end = first + size
            cursor = quote(f"first={end}", safe="") if end < len(asked) else ""
        found = [
            make(one, rows[one.index], statuses.get(one.index, TRADED), self._opened_ms) for one in asked[first:end]
        ]
        made = {"category": feed.rules.name, "list": found}
        return made | ({"nextPageCursor": cursor} if feed.rules.pages else {})

    def _first(self, query: Query) -> int:
        """Where the page begins that a cursor names; cursors come back as they were given, or decoded once."""
        given = query.get("cursor", "")
        if not given:
            return 0
        match = re.fullmatch(r"first=(\d{1,9})", unquote(given))
        if match is None:
            raise Refused(PARAMETER, "params error: cursor invalid")
        return int(match[1])
