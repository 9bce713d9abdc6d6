"""What the ccxt.pro scripts share: an exchange on a local venue, the venue's control endpoint, and orders that are watched while one trades."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import ccxt.pro


def _remapped(urls: Any, port: int) -> Any:
    if isinstance(urls, dict):
        return {name: _remapped(value, port) for name, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    return re.sub(r"^(http|ws)s?://[^/]+", lambda found: f"{found[1]}://127.0.0.1:{port}", urls)


def exchange_at(port: int, name: str, kind: str, **keys: str) -> Any:
    """ccxt's exchange of this name, with markets of one kind, on a local venue."""
    options = {"fetchMarkets": {"types": [kind]}, "fetchCurrencies": False, "fetchMargins": False}
    exchange = getattr(ccxt.pro, name)({"options": options} | keys)
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = _remapped(exchange.urls["api"], port)
    if name == "bybit":
        exchange.hostname = f"127.0.0.1:{port}"
    return exchange


async def control(port: int, **asked: object) -> None:
    """Ask the control endpoint for something."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{port}/control", json=asked)


async def last_book(exchange: Any, symbol: str, *depth: int) -> Any:
    """The book after the last event of a frozen market."""
    book: Any = None
    try:
        while True:
            book = await asyncio.wait_for(exchange.watch_order_book(symbol, *depth), 1.5)
    except TimeoutError:
        return book


async def _watched(exchange: Any, symbol: str, orders: list[Any]) -> None:
    while True:
        orders += [[one["id"], one["status"]] for one in await exchange.watch_orders(symbol)]


async def _watched_trades(exchange: Any, symbol: str, trades: list[Any]) -> None:
    while True:
        trades += [one["id"] for one in await exchange.watch_my_trades(symbol)]


async def tell_trading(exchange: Any, symbol: str, trade: Callable[[Any, str], Awaitable[dict[str, Any]]]) -> None:
    """Print what ``trade`` was told, and what was watched meanwhile."""
    orders: list[Any] = []
    trades: list[Any] = []
    try:
        await exchange.load_markets()
        watching = [
            asyncio.create_task(one(exchange, symbol, kept))
            for one, kept in ((_watched, orders), (_watched_trades, trades))
        ]
        await asyncio.sleep(1)
        told = await trade(exchange, symbol)
        await asyncio.sleep(0.7)
        failed = [repr(one.exception()) for one in watching if one.done()]
        for one in watching:
            one.cancel()
    finally:
        await exchange.close()
    print(json.dumps(told | {"watched": orders, "watched_trades": trades, "failed": failed}))
