"""ccxt.pro's bybit trades on a local venue: ``PORT spot|linear SYMBOL KEY SECRET``; prints what it was told, as JSON."""

import asyncio
import sys
from typing import Any

import ccxt.pro
from ccxt_local import exchange_at, tell_trading


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


def main(port: int, category: str, symbol: str, key: str, secret: str) -> None:
    exchange = exchange_at(port, "bybit", category, apiKey=key, secret=secret)
    asyncio.run(tell_trading(exchange, symbol, lambda *given: trade(*given, is_linear=category == "linear")))


main(int(sys.argv[1]), *sys.argv[2:])
