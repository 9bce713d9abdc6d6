"""python-binance trades on a local venue: ``PORT spot|usdm KEY SECRET``; prints what it was told, as JSON.

It places, looks at, changes (where it can) and cancels an order, buys and sells at the market, over REST and over the WebSocket
API, and listens to its user data meanwhile.
"""

import asyncio
import json
import sys
from typing import Any

from binance import AsyncClient, BinanceSocketManager

BTC = {"symbol": "BTCUSDT"}
LIMIT = BTC | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.02"}


async def listened(socket: Any, events: list[Any]) -> None:
    while True:
        events.append(await socket.recv())


async def trade_spot(client: AsyncClient) -> dict[str, Any]:
    bid = (await client.get_orderbook_ticker(**BTC))["bidPrice"]
    order = LIMIT | {"price": str(int(float(bid)) - 50)}
    await client.create_test_order(**order)
    placed = await client.create_order(**order)
    seen = await client.get_order(**BTC, orderId=placed["orderId"])
    opened = await client.get_open_orders(**BTC)
    replaced = await client.cancel_replace_order(
        **order, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"]
    )
    gone = await client.cancel_order(**BTC, orderId=replaced["newOrderResponse"]["orderId"])
    bought = await client.order_market_buy(**BTC, quantity="0.02")
    sold = await client.order_market_sell(**BTC, quantity="0.02")
    by_api = await client.ws_create_order(**order)
    api_gone = await client.ws_cancel_order(**BTC, orderId=by_api["orderId"])
    return {
        "placed": placed["status"], "seen": seen["status"], "open": len(opened), "changed": replaced["cancelResult"],
        "gone": gone["status"], "bought": bought["executedQty"], "sold": sold["executedQty"],
        "api": [by_api["status"], api_gone["status"]],
        "trades": [one["id"] for one in await client.get_my_trades(**BTC)],
        "balances": {one["asset"]: one["free"] for one in (await client.get_account())["balances"]},
    }  # fmt: skip


async def trade_usdm(client: AsyncClient) -> dict[str, Any]:
    bid = (await client.futures_orderbook_ticker(**BTC))["bidPrice"]
    order = LIMIT | {"price": str(int(float(bid)) - 50)}
    placed = await client.futures_create_order(**order)
    seen = await client.futures_get_order(**BTC, orderId=placed["orderId"])
    opened = await client.futures_get_open_orders(**BTC)
    changed = await client.futures_modify_order(
        **BTC, side="BUY", orderId=placed["orderId"], quantity="0.03", price=order["price"]
    )
    gone = await client.futures_cancel_order(**BTC, orderId=placed["orderId"])
    market = BTC | {"type": "MARKET", "quantity": "0.02", "newOrderRespType": "RESULT"}
    bought = await client.futures_create_order(**market, side="BUY")
    held = (await client.futures_position_information(**BTC))[0]["positionAmt"]
    sold = await client.futures_create_order(**market, side="SELL", reduceOnly="true")
    by_api = await client.ws_futures_create_order(**order)
    await client.ws_futures_edit_order(
        **BTC, side="BUY", orderId=by_api["orderId"], quantity="0.03", price=order["price"]
    )
    api_gone = await client.ws_futures_cancel_order(**BTC, orderId=by_api["orderId"])
    await client.futures_countdown_cancel_all(**BTC, countdownTime=0)
    await client.futures_change_leverage(**BTC, leverage=20)
    return {
        "placed": placed["status"], "seen": seen["status"], "open": len(opened), "changed": changed["origQty"],
        "gone": gone["status"], "bought": bought["executedQty"], "held": held, "sold": sold["executedQty"],
        "api": [by_api["status"], api_gone["status"]],
        "trades": [one["id"] for one in await client.futures_account_trades(**BTC)],
        "balances": {one["asset"]: one["balance"] for one in await client.futures_account_balance()},
        "account": (await client.futures_account())["totalWalletBalance"],
    }  # fmt: skip


async def main(port: int, market: str, key: str, secret: str) -> None:
    client = AsyncClient(api_key=key, api_secret=secret)
    client.API_URL, client.FUTURES_URL = f"http://127.0.0.1:{port}/api", f"http://127.0.0.1:{port}/fapi"
    client.ws_api._url = f"ws://127.0.0.1:{port}/ws-api/v3"
    client.ws_future._url = f"ws://127.0.0.1:{port}/ws-fapi/v1"
    sockets = BinanceSocketManager(client)
    sockets.STREAM_URL = sockets.FSTREAM_URL = f"ws://127.0.0.1:{port}/"
    events: list[Any] = []
    async with sockets.user_socket() if market == "spot" else sockets.futures_user_socket() as socket:
        listening = asyncio.create_task(listened(socket, events))
        told = await (trade_spot if market == "spot" else trade_usdm)(client)
        await asyncio.sleep(0.5)
        listening.cancel()
    await client.close_connection()
    print(json.dumps(told | {"events": events}))


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
