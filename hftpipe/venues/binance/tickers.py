"""Binance's figures of a day, and of USD-M contracts mark price, index and funding (venue documentation of 2026).

Open interest is not told on any stream.
"""

from collections.abc import Sequence

import orjson

from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.binance.markets import Market
from hftpipe.venues.binance.streams import ALIVE, ALIVE_S, ask_for
from hftpipe.venues.live.plan import TickerPlan, Told, like_one

#: By event: which key tells which figure.
_KEYS = {
    "24hrMiniTicker": {"c": "last", "v": "volume_24h", "q": "turnover_24h"},
    "markPriceUpdate": {"p": "mark", "i": "index", "r": "funding_rate", "T": "next_funding_ms"},
}


def read(text: bytes) -> Sequence[Told]:
    """What a text tells; nothing where it is of another kind."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ()
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("s"), str):
        return ()
    keys = _KEYS.get(str(data.get("e")), {})
    return ((data["s"], {name: data[key] for key, name in keys.items() if key in data}),)


def ticker_plan(market: Market, url: str, patterns: Sequence[str]) -> TickerPlan | None:
    """How the tickers of a market are followed; None: none are wanted."""
    if not patterns:
        return None

    def subscribe(connection: Connection, symbols: Sequence[str]) -> Sequence[Told]:
        ask_for(connection, [f"{symbol.lower()}@{one}" for symbol in symbols for one in market.ticker_streams])
        return ()

    return TickerPlan(url, subscribe, read, like_one(patterns), ALIVE, ALIVE_S)
