"""The official SDKs trade on a local venue: ``PORT spot|usdm KEY SECRET [PEM]``; prints what they were told, as JSON.

With PEM (the file of an Ed25519 private key) the WebSocket API of spot is logged on with it.
"""

import asyncio
import json
import sys
from typing import Any

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)

BTC = {"symbol": "BTCUSDT"}


def configured(port: int, market: str, key: str, secret: str, pem: str) -> dict[str, Any]:
    path = "ws-api/v3" if market == "spot" else "ws-fapi/v1"
    signs = {"private_key": pem} if pem else {"api_secret": secret}
    return {
        "config_rest_api": ConfigurationRestAPI(
            api_key=key, **signs, base_path=f"http://127.0.0.1:{port}", retries=0, timeout=10_000
        ),
        "config_ws_api": ConfigurationWebSocketAPI(api_key=key, **signs, stream_url=f"ws://127.0.0.1:{port}/{path}"),
        "config_ws_streams": ConfigurationWebSocketStreams(stream_url=f"ws://127.0.0.1:{port}"),
    }  # fmt: skip


def said(response: Any) -> Any:
    data = response.data()
    return [one.to_dict() for one in data] if isinstance(data, list) else data.to_dict()


async def spot(configuration: dict[str, Any], logs_on: bool) -> dict[str, Any]:
    from binance_sdk_spot.spot import Spot

    client, events = Spot(**configuration), []
    rest = client.rest_api
    bid = float(said(await asyncio.to_thread(rest.ticker_book_ticker, **BTC))["bidPrice"])
    order = BTC | {"side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.02, "price": int(bid) - 50}
    api = await client.websocket_api.create_connection()
    if logs_on:
        await api.session_logon()
        stream = (await api.user_data_stream_subscribe()).stream
    else:
        stream = (await api.user_data_stream_subscribe_signature()).stream
    stream.on("message", lambda message: events.append(message.to_dict()))
    placed = said(rest.new_order(**order))
    seen = said(rest.get_order(**BTC, order_id=placed["orderId"]))
    opened = said(rest.get_open_orders(**BTC))
    changed = said(rest.order_amend_keep_priority(**BTC, order_id=placed["orderId"], new_qty=0.01))
    gone = said(rest.delete_order(**BTC, order_id=placed["orderId"]))
    bought, sold = (said(rest.new_order(**BTC, side=side, type="MARKET", quantity=0.02)) for side in ("BUY", "SELL"))
    by_api = said(await api.order_place(**order))["result"]
    amended = said(await api.order_amend_keep_priority(**BTC, order_id=by_api["orderId"], new_qty=0.01))["result"]
    api_gone = said(await api.order_cancel(**BTC, order_id=by_api["orderId"]))["result"]
    balances = said(await asyncio.to_thread(rest.get_account))["balances"]
    trades = said(rest.my_trades(**BTC))
    await asyncio.sleep(0.5)
    await api.close_connection(close_session=True)
    return {
        "placed": placed["status"], "seen": seen["status"], "open": len(opened),
        "changed": changed["amendedOrder"]["qty"], "gone": gone["status"], "bought": bought["executedQty"],
        "sold": sold["executedQty"], "api": [by_api["status"], amended["amendedOrder"]["qty"], api_gone["status"]],
        "trades": [one["id"] for one in trades], "balances": {one["asset"]: one["free"] for one in balances},
        "events": events,
    }  # fmt: skip


async def usdm(configuration: dict[str, Any]) -> dict[str, Any]:
    from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
        DerivativesTradingUsdsFutures,
    )

    client, events = DerivativesTradingUsdsFutures(**configuration), []
    rest = client.rest_api
    bid = float(said(await asyncio.to_thread(rest.symbol_order_book_ticker, **BTC))["bidPrice"])
    order = BTC | {"side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.02, "price": int(bid) - 50}
    key = said(rest.start_user_data_stream())["listenKey"]
    streams = await client.websocket_streams.create_connection()
    stream = await streams.user_data(key)
    stream.on("message", lambda message: events.append(message.to_dict()))
    placed = said(rest.new_order(**order))
    seen = said(rest.query_order(**BTC, order_id=placed["orderId"]))
    opened = said(rest.current_all_open_orders(**BTC))
    change = BTC | {"side": "BUY", "order_id": placed["orderId"], "quantity": 0.03, "price": int(bid) - 51}
    changed = said(rest.modify_order(**change))
    gone = said(rest.cancel_order(**BTC, order_id=placed["orderId"]))
    market = BTC | {"type": "MARKET", "quantity": 0.02, "new_order_resp_type": "RESULT"}
    bought = said(rest.new_order(**market, side="BUY"))
    held = said(rest.position_information_v3(**BTC))[0]["positionAmt"]
    sold = said(rest.new_order(**market, side="SELL", reduce_only="true"))
    api = await client.websocket_api.create_connection()
    by_api = said(await api.new_order(**order))["result"]
    amended = said(await api.modify_order(**(change | {"order_id": by_api["orderId"]})))["result"]
    api_gone = said(await api.cancel_order(**BTC, order_id=by_api["orderId"]))["result"]
    balances, trades = said(rest.futures_account_balance_v3()), said(rest.account_trade_list(**BTC))
    account = said(rest.account_information_v3())
    await asyncio.sleep(0.5)
    await api.close_connection(close_session=True)
    await streams.close_connection(close_session=True)
    return {
        "placed": placed["status"], "seen": seen["status"], "open": len(opened), "changed": changed["origQty"],
        "gone": gone["status"], "bought": bought["executedQty"], "held": held, "sold": sold["executedQty"],
        "api": [by_api["status"], amended["origQty"], api_gone["status"]],
        "trades": [one["id"] for one in trades], "balances": {one["asset"]: one["balance"] for one in balances},
        "account": account["totalWalletBalance"], "events": events,
    }  # fmt: skip


async def main(port: int, market: str, key: str, secret: str, pem: str) -> None:
    configuration = configured(port, market, key, secret, pem)
    told = await (spot(configuration, bool(pem)) if market == "spot" else usdm(configuration))
    print(json.dumps(told))


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:5], *(sys.argv[5:] or [""])))
