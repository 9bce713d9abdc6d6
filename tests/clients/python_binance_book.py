"""python-binance's DepthCacheManager on a local venue: ``PORT``; prints its book as JSON, at a moment when nothing happens."""

import asyncio
import json
import sys

import aiohttp
from binance import AsyncClient, BinanceSocketManager
from binance.ws.depthcache import DepthCacheManager


async def main(port: int) -> None:
    # Not AsyncClient.create(): that asks the real host first.
    client = AsyncClient(api_key="K", api_secret="S")
    client.API_URL = f"http://127.0.0.1:{port}/api"
    sockets = BinanceSocketManager(client)
    sockets.STREAM_URL = f"ws://127.0.0.1:{port}/"
    updates = 0
    async with DepthCacheManager(client, "BTCUSDT", bm=sockets, ws_interval=100, limit=5000, conv_type=str) as manager:
        while updates < 20:
            await asyncio.wait_for(manager.recv(), 20)
            updates += 1
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://127.0.0.1:{port}/control", json={"freeze": True})
        try:
            while True:
                await asyncio.wait_for(manager.recv(), 1.5)
        except TimeoutError:
            pass
        book = manager.get_depth_cache()
        print(json.dumps({"id": manager._last_update_id, "bids": book._bids, "asks": book._asks}))
    await client.close_connection()


asyncio.run(main(int(sys.argv[1])))
