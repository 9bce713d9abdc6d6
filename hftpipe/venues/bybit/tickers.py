"""Bybit's tickers: a snapshot first; of linear contracts what has changed from then on, of spot snapshots alone (v5 documentation of 2026)."""

from collections.abc import Sequence

import orjson

from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.bybit.streams import ALIVE_S, PING, Topics
from hftpipe.venues.live.plan import TickerPlan, Told, like_one

_KEYS = {
    "lastPrice": "last", "volume24h": "volume_24h", "turnover24h": "turnover_24h", "markPrice": "mark", "indexPrice": "index",
    "fundingRate": "funding_rate", "nextFundingTime": "next_funding_ms", "openInterest": "open_interest",
}  # fmt: skip


def read(text: bytes) -> Sequence[Told]:
    """What a text tells: of a delta the keys that it has; nothing where it is of another kind."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ()
    if not isinstance(message, dict) or not str(message.get("topic", "")).startswith("tickers."):
        return ()
    data = message.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("symbol"), str):
        return ()
    return ((data["symbol"], {name: data[key] for key, name in _KEYS.items() if key in data}),)


def ticker_plan(asked: Topics, url: str, patterns: Sequence[str]) -> TickerPlan | None:
    """How the tickers of a category are followed; None: none are wanted."""
    if not patterns:
        return None

    def subscribe(connection: Connection, symbols: Sequence[str]) -> list[Told]:
        heard = asked.ask_for(connection, [f"tickers.{symbol}" for symbol in symbols])
        return [told for one in heard for told in read(one.text)]

    return TickerPlan(url, subscribe, read, like_one(patterns), PING, ALIVE_S)
