"""One public WebSocket connection. It is closed when nothing has been said on it, by either side, for ten minutes."""

import asyncio
import uuid
from collections.abc import Callable

import orjson
from aiohttp import WSMsgType, web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.bybit_server.commands import answer
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.settings import SILENCE_S
from hftpipe.simulation.market_server.outbox import Outbox, Stall

_CLOSE_S = 1.0
_GOING_AWAY = 1001
_SECOND_NS = 1_000_000_000


class Connection:
    """A client of the public topics of one category.

    Attributes:
        id: as answers name it; names: what it has subscribed to; feed, faults: of the category; outbox: what waits for it.

    Args:
        request: the HTTP request that becomes the connection; refresh: brings the market to now.
    """

    def __init__(
        self, request: web.Request, feed: Feed, faults: RequestFaults, stall: Stall, refresh: Callable[[], None]
    ) -> None:
        self.id, self.names, self.feed, self.faults = str(uuid.uuid4()), dict[str, None](), feed, faults
        self._request, self._stall, self._refresh = request, stall, refresh
        self._socket = web.WebSocketResponse(timeout=_CLOSE_S, autoping=False, compress=False)
        self.outbox = Outbox(request, self._socket, stall)
        self._heard_ns = steady_ns()

    @property
    def market(self) -> str:
        """``spot`` or ``linear``."""
        return self.feed.rules.name

    def subscribe(self, names: list[str]) -> None:
        """Hear these topics from now on."""
        for name in names:
            self.names[name] = None
            if not self.faults.next("mute_next"):
                self.feed.follow(name, self)

    def unsubscribe(self, names: list[str]) -> None:
        """Hear these no longer."""
        for name in names:
            if name in self.names:
                del self.names[name]
                self.feed.leave(name, self)

    def say(self, text: str) -> None:
        """Send a text in its turn."""
        self._heard_ns = steady_ns()
        self.outbox.put(text)

    async def run(self) -> web.WebSocketResponse:
        """Serve the client until it, or the venue, ends the connection."""
        await self._socket.prepare(self._request)
        tasks = [asyncio.create_task(one) for one in (self.outbox.run(), self._keep())]
        try:
            await self._read()
        finally:
            self.outbox.ended.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._socket

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            self._heard_ns = steady_ns()
            if message.type == WSMsgType.PING:
                await self._stall.over()
                await self._socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                self._take(message.data)

    def _take(self, text: str) -> None:
        """Answer a request; the data that it asks for comes before the answer, as it often does at the venue, or after it."""
        self._refresh()
        said, names = answer(text, self)
        made = orjson.dumps(said).decode()
        if self.faults.late_acks:
            self.subscribe(names)
            self.say(made)
        else:
            self.say(made)
            self.subscribe(names)

    async def _keep(self) -> None:
        while steady_ns() - self._heard_ns < SILENCE_S * _SECOND_NS:
            await asyncio.sleep(1.0)
        await self._socket.close(code=_GOING_AWAY, message=b"")

    async def end(self) -> None:
        """Close the connection."""
        await self._socket.close(code=_GOING_AWAY, message=b"")
