"""ccxt.pro's watch_order_book on a local venue: ``PORT binance|binanceusdm SYMBOL [EVENTS]``.

Prints as JSON how many updates came, the trades it was told of, the error that ended it (if any), and its book at a moment when
nothing happens. With EVENTS it is the number of updates after which the venue is asked to drop a depth event.
"""

import asyncio
import json
import re
import sys
from typing import Any

import aiohttp
import ccxt.pro


def remapped(urls: Any, port: int) -> Any:
    if isinstance(urls, dict):
        return {name: remapped(value, port) for name, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    return re.sub(r"^(http|ws)s?://[^/]+", lambda found: f"{found[1]}://127.0.0.1:{port}", urls)


async def control(port: int, **asked: object) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{port}/control", json=asked)


async def main(port: int, name: str, symbol: str, drop_after: int) -> None:
    kinds = ["spot"] if name == "binance" else ["linear"]
    exchange = getattr(ccxt.pro, name)({"options": {"fetchMarkets": {"types": kinds}, "fetchCurrencies": False}})
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = remapped(exchange.urls["api"], port)
    updates, error, book = 0, "", None
    try:
        markets = await exchange.load_markets()
        while updates < 30:
            book = await asyncio.wait_for(exchange.watch_order_book(symbol), 20)
            updates += 1
            if updates == drop_after:
                await control(port, drop_next_depth=1)
        trades = [one["id"] for one in await asyncio.wait_for(exchange.watch_trades(symbol), 30)]
        await control(port, freeze=True)
        try:
            while True:
                book = await asyncio.wait_for(exchange.watch_order_book(symbol), 1.5)
        except TimeoutError:
            pass
        ticker = await exchange.fetch_ticker(symbol)
    except ccxt.pro.ChecksumError as wrong:
        error, markets, trades, ticker = str(wrong), {}, [], {}
    finally:
        await exchange.close()
    made = {
        "updates": updates,
        "error": error,
        "markets": sorted(markets),
        "trades": trades,
        "last": ticker.get("last"),
    }
    if not error:
        made |= {"id": book["nonce"], "bids": list(book["bids"]), "asks": list(book["asks"])}
    print(json.dumps(made))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int((sys.argv[4:] or ["0"])[0])))
