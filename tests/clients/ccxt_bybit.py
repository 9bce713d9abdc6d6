"""ccxt.pro's bybit on a local venue: ``PORT spot|linear SYMBOL``.

Prints as JSON the markets it loaded, the trades it was told of, its ticker, and its book at a moment when nothing happens.
"""

import asyncio
import json
import sys
from typing import Any

from ccxt_local import control, exchange_at, last_book


async def main(port: int, category: str, symbol: str) -> None:
    exchange = exchange_at(port, "bybit", category)
    book: Any = None
    try:
        markets = await exchange.load_markets()
        for _ in range(30):
            book = await asyncio.wait_for(exchange.watch_order_book(symbol, 50), 20)
        trades = await asyncio.wait_for(exchange.watch_trades(symbol), 30)
        await control(port, freeze=True)
        book = await last_book(exchange, symbol, 50) or book
        fetched = await exchange.fetch_order_book(symbol, 50)
        ticker = await exchange.fetch_ticker(symbol)
        candles = await exchange.fetch_ohlcv(symbol, "1m")
    finally:
        await control(port, freeze=False)
        await exchange.close()
    made = {
        "markets": {
            name: [one["precision"]["price"], one["precision"]["amount"], one["limits"]["cost"]["min"]]
            for name, one in markets.items()
        },
        "trades": [[one["id"], one["side"], one["price"], one["amount"]] for one in trades],
        "last": ticker["last"], "candles": len(candles),
        "bids": list(book["bids"]), "asks": list(book["asks"]),
        "fetched": {"bids": fetched["bids"], "asks": fetched["asks"]},
    }  # fmt: skip
    print(json.dumps(made))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
