"""The official SDKs' streams and REST on a local venue: ``PORT spot|usdm``; prints what came, as JSON."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams


def client_of(port: int, market: str) -> Any:
    rest = ConfigurationRestAPI(api_key="K", api_secret="S", base_path=f"http://127.0.0.1:{port}", retries=0)
    streams = ConfigurationWebSocketStreams(stream_url=f"ws://127.0.0.1:{port}")
    if market == "spot":
        from binance_sdk_spot.spot import Spot

        return Spot(config_rest_api=rest, config_ws_streams=streams)
    from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
        DerivativesTradingUsdsFutures,
    )

    return DerivativesTradingUsdsFutures(config_rest_api=rest, config_ws_streams=streams)


async def main(port: int, market: str) -> None:
    client = client_of(port, market)
    heard: dict[str, list[Any]] = {"depth": [], "aggregates": []}
    streams = await client.websocket_streams.create_connection()
    if market == "spot":
        depth = await streams.diff_book_depth(symbol="btcusdt", update_speed="100ms")
        aggregates = await streams.agg_trade(symbol="btcusdt")
    else:
        depth = await streams.diff_book_depth_streams(symbol="btcusdt", update_speed="100ms")
        aggregates = await streams.aggregate_trade_streams(symbol="btcusdt")
    depth.on("message", lambda message: heard["depth"].append(message.to_dict()))
    aggregates.on("message", lambda message: heard["aggregates"].append(message.to_dict()))
    await asyncio.sleep(1)
    call = client.rest_api.depth if market == "spot" else client.rest_api.order_book
    snapshot = (await asyncio.to_thread(call, symbol="BTCUSDT", limit=1000)).data().to_dict()
    await asyncio.sleep(4)
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{port}/control", json={"freeze": True})
    await asyncio.sleep(0.6)
    print(json.dumps(heard | {"snapshot": snapshot}))
    await streams.close_connection(close_session=True)


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
