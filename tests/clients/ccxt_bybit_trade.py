"""ccxt.pro's bybit trades on a local venue: ``PORT spot|linear SYMBOL KEY SECRET``; prints what it was told, as JSON."""

import asyncio
import json
import re
import sys
from typing import Any

import ccxt.pro


def remapped(urls: Any, port: int) -> Any:
    if isinstance(urls, dict):
        return {name: remapped(value, port) for name, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    return re.sub(r"^(http|ws)s?://[^/]+", lambda found: f"{found[1]}://127.0.0.1:{port}", urls)


async def watched(exchange: Any, symbol: str, orders: list[Any]) -> None:
    while True:
        orders += [[one["id"], one["status"]] for one in await exchange.watch_orders(symbol)]


async def watched_trades(exchange: Any, symbol: str, trades: list[Any]) -> None:
    while True:
        trades += [one["id"] for one in await exchange.watch_my_trades(symbol)]


async def trade(exchange: Any, symbol: str, is_linear: bool) -> dict[str, Any]:
    price = int((await exchange.fetch_order_book(symbol, 5))["bids"][0][0]) - 50
    placed = await exchange.create_order(symbol, "limit", "buy", 0.02, price, {"clientOrderId": f"ccxt-{is_linear:d}"})
    opened = await exchange.fetch_open_orders(symbol)
    seen = await exchange.fetch_open_order(placed["id"], symbol)
    await exchange.edit_order(placed["id"], symbol, "limit", "buy", 0.03, price)
    changed = await exchange.fetch_open_order(placed["id"], symbol)
    await exchange.cancel_order(placed["id"], symbol)
    canceled = await exchange.fetch_canceled_orders(symbol)
    market = {"marketUnit": "baseCoin"} if not is_linear else {}
    bought = await exchange.create_order(symbol, "market", "buy", 0.02, None, market)
    held = [one["contracts"] for one in await exchange.fetch_positions([symbol])] if is_linear else []
    params = {"reduceOnly": True} if is_linear else {}
    sold = await exchange.create_order(symbol, "market", "sell", 0.02, None, params)
    closed = await exchange.fetch_closed_order(sold["id"], symbol)
    by_socket = await exchange.create_order_ws(symbol, "limit", "buy", 0.02, price)
    await exchange.edit_order_ws(by_socket["id"], symbol, "limit", "buy", 0.04, price)
    await exchange.cancel_order_ws(by_socket["id"], symbol)
    await exchange.create_order(symbol, "limit", "buy", 0.02, price)
    await exchange.cancel_all_orders(symbol)
    try:
        await exchange.create_order(symbol, "limit", "buy", 5000 if is_linear else 100, price)
        refusal = ""
    except ccxt.pro.BaseError as wrong:
        refusal = type(wrong).__name__
    return {
        "seen": seen["status"], "open": len(opened), "changed": changed["amount"], "refusal": refusal,
        "closed": closed["status"], "canceled": [one["id"] for one in canceled], "placed": placed["id"],
        "bought": bought["id"], "sold": sold["id"], "held": held, "by_socket": by_socket["id"],
        "trades": [one["id"] for one in await exchange.fetch_my_trades(symbol)],
        "left": len(await exchange.fetch_open_orders(symbol)),
        "balances": (await exchange.fetch_balance())["total"],
    }  # fmt: skip


async def main(port: int, category: str, symbol: str, key: str, secret: str) -> None:
    options = {"fetchMarkets": {"types": [category]}, "fetchCurrencies": False}
    exchange = ccxt.pro.bybit({"apiKey": key, "secret": secret, "options": options})
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = remapped(exchange.urls["api"], port)
    exchange.hostname = f"127.0.0.1:{port}"
    orders: list[Any] = []
    trades: list[Any] = []
    try:
        await exchange.load_markets()
        watching = [
            asyncio.create_task(one(exchange, symbol, kept))
            for one, kept in ((watched, orders), (watched_trades, trades))
        ]
        await asyncio.sleep(1)
        told = await trade(exchange, symbol, category == "linear")
        await asyncio.sleep(0.7)
        failed = [one.exception() for one in watching if one.done()]
        for one in watching:
            one.cancel()
    finally:
        await exchange.close()
    print(json.dumps(told | {"watched": orders, "watched_trades": trades, "failed": [repr(one) for one in failed]}))


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
