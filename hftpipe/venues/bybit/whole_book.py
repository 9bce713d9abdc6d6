"""Whole books of Bybit by REST, as messages of their topic: ours are compared with them.

The venue's ``u`` there is that of the topic of most levels; ``seq`` is common to all, and says of which moment a book is.
"""

import orjson

from hftpipe.transport.http.rest import RestClient
from hftpipe.venues.bybit.discovery import result
from hftpipe.venues.bybit.markets import Market
from hftpipe.venues.bybit.streams import depth_of
from hftpipe.venues.live.plan import BookCheck

BOOK = "/v5/market/orderbook"
#: A book is of a moment of our stream now and then only: every 20 or 100 ms, and the market moves in between.
TRIES = 10


def book_check(client: RestClient, market: Market, period_s: float) -> BookCheck | None:
    """How books are compared with the venue's own; None: never."""
    if not period_s:
        return None

    def fetch(symbol: str, levels: int) -> bytes:
        depth = depth_of(levels)
        query = {"category": market.category, "symbol": symbol, "limit": str(depth)}
        book = result(client, BOOK, query)
        data = {name: book.get(name) for name in ("s", "b", "a", "u", "seq")}
        message = {"topic": f"orderbook.{depth}.{symbol}", "type": "snapshot", "ts": book.get("ts"), "data": data}
        return orjson.dumps(message)

    return BookCheck(fetch, depth_of, is_named=False, tries=TRIES, period_s=period_s)
