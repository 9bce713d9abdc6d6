"""ccxt.pro trades on a local venue: ``PORT binance|binanceusdm SYMBOL KEY SECRET``; prints what it was told, as JSON."""

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


async def trade(exchange: Any, symbol: str, is_usdm: bool) -> dict[str, Any]:
    price = (await exchange.fetch_order_book(symbol, 5))["bids"][0][0] - 50
    placed = await exchange.create_order(symbol, "limit", "buy", 0.02, price)
    seen = await exchange.fetch_order(placed["id"], symbol)
    opened = await exchange.fetch_open_orders(symbol)
    changed = await exchange.edit_order(placed["id"], symbol, "limit", "buy", 0.03, price)
    gone = await exchange.cancel_order(changed["id"], symbol)
    bought = await exchange.create_order(symbol, "market", "buy", 0.02)
    held = [one["contracts"] for one in await exchange.fetch_positions([symbol])] if is_usdm else []
    params = {"reduceOnly": True} if is_usdm else {}
    sold = await exchange.create_order(symbol, "market", "sell", 0.02, None, params)
    by_api = await exchange.create_order_ws(symbol, "limit", "buy", 0.02, price)
    api_gone = await exchange.cancel_order_ws(by_api["id"], symbol)
    await exchange.create_order(symbol, "limit", "buy", 0.02, price)
    await exchange.cancel_all_orders(symbol)
    try:
        await exchange.create_order(symbol, "limit", "buy", 0.02, price + 500, {"postOnly": True})
        refusal = ""
    except ccxt.pro.BaseError as wrong:
        refusal = type(wrong).__name__
    return {
        "placed": placed["status"], "seen": seen["status"], "open": len(opened), "changed": changed["amount"],
        "gone": gone["status"], "bought": bought["id"], "sold": sold["id"], "held": held, "refusal": refusal,
        "api": [by_api["status"], api_gone["status"]],
        "trades": [one["id"] for one in await exchange.fetch_my_trades(symbol)],
        "left": len(await exchange.fetch_open_orders(symbol)),
        "balances": (await exchange.fetch_balance())["total"],
    }  # fmt: skip


async def main(port: int, name: str, symbol: str, key: str, secret: str) -> None:
    kinds = ["spot"] if name == "binance" else ["linear"]
    options = {"fetchMarkets": {"types": kinds}, "fetchCurrencies": False, "fetchMargins": False}
    exchange = getattr(ccxt.pro, name)({"apiKey": key, "secret": secret, "options": options})
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = remapped(exchange.urls["api"], port)
    orders: list[Any] = []
    trades: list[Any] = []
    try:
        await exchange.load_markets()
        watching = [
            asyncio.create_task(one(exchange, symbol, kept))
            for one, kept in ((watched, orders), (watched_trades, trades))
        ]
        await asyncio.sleep(1)
        told = await trade(exchange, symbol, name == "binanceusdm")
        await asyncio.sleep(0.5)
        failed = [one.exception() for one in watching if one.done()]
        for one in watching:
            one.cancel()
    finally:
        await exchange.close()
    print(json.dumps(told | {"watched": orders, "watched_trades": trades, "failed": [repr(one) for one in failed]}))


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
