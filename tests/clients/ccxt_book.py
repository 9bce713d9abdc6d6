"""ccxt.pro's watch_order_book on a local venue: ``PORT binance|binanceusdm SYMBOL [EVENTS]``.

Prints as JSON how many updates came, the trades it was told of, the error that ended it (if any), and its book at a moment when
nothing happens. With EVENTS it is the number of updates after which the venue is asked to drop a depth event.
"""

import asyncio
import json
import sys

import ccxt.pro
from ccxt_local import control, exchange_at, last_book


async def main(port: int, name: str, symbol: str, drop_after: int) -> None:
    exchange = exchange_at(port, name, "spot" if name == "binance" else "linear")
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
        book = await last_book(exchange, symbol) or book
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
