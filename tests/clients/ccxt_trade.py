"""ccxt.pro trades on a local venue: ``PORT binance|binanceusdm SYMBOL KEY SECRET``; prints what it was told, as JSON."""

import asyncio
import sys
from typing import Any

import ccxt.pro
from ccxt_local import exchange_at, tell_trading


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


def main(port: int, name: str, symbol: str, key: str, secret: str) -> None:
    is_usdm = name == "binanceusdm"
    exchange = exchange_at(port, name, "linear" if is_usdm else "spot", apiKey=key, secret=secret)
    asyncio.run(tell_trading(exchange, symbol, lambda *given: trade(*given, is_usdm=is_usdm)))


main(int(sys.argv[1]), *sys.argv[2:])
