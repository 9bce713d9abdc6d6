"""One WebSocket connection, of whatever kind. It is closed when nothing has been said on it, by either side, for a while."""

import asyncio
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable

from aiohttp import WSMsgType, web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.bybit_server.settings import SILENCE_S
from hftpipe.simulation.market_server.outbox import Outbox, Stall

_CLOSE_S = 1.0
_LAST_WORDS_S = 0.05
_GOING_AWAY, _POLICY = 1001, 1008
_SECOND_NS = 1_000_000_000
_ACTIVE_TIME = re.compile(r"(\d{1,4})([sm])", re.ASCII)
_ACTIVE_LEAST_S, _ACTIVE_MOST_S = 30, 600


def silence_s(text: str) -> float:
    """What ``max_active_time`` asks for, ``30s`` to ``600s`` or ``1m`` to ``10m``, in seconds; the venue's own if it is something else."""
    match = _ACTIVE_TIME.fullmatch(text)
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    return float(seconds) if _ACTIVE_LEAST_S <= seconds <= _ACTIVE_MOST_S else SILENCE_S


class Peer(ABC):
    """A client.

    Attributes:
        id: as answers name the connection; kind: what it is for; market: the category it is of, empty: none.
        outbox: what waits for it.

    Args:
        request: the HTTP request that becomes the connection; refresh: brings the venue to now.
    """

    kind, market = "", ""

    def __init__(self, request: web.Request, stall: Stall, refresh: Callable[[], None]) -> None:
        self.id, self.refresh = str(uuid.uuid4()), refresh
        self._request, self._stall = request, stall
        self._silence_s = silence_s(request.query.get("max_active_time", ""))
        self._socket = web.WebSocketResponse(timeout=_CLOSE_S, autoping=False, compress=False)
        self.outbox = Outbox(request, self._socket, stall)
        self._heard_ns = steady_ns()

    @abstractmethod
    def take(self, text: str) -> None:
        """Answer a request."""

    @abstractmethod
    def leave(self) -> None:
        """The connection is over: hear nothing any more."""

    def say(self, text: str) -> None:
        """Send a text in its turn."""
        self._heard_ns = steady_ns()
        self.outbox.put(text)

    async def run(self) -> web.WebSocketResponse:
        """Serve the client until it, or the venue, ends the connection."""
        try:
            await self._socket.prepare(self._request)
            tasks = [asyncio.create_task(one) for one in (self.outbox.run(), self._keep())]
            try:
                await self._read()
            finally:
                self.outbox.ended.set()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self.leave()
        return self._socket

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            if self.outbox.is_mute:
                continue
            self._heard_ns = steady_ns()
            if message.type == WSMsgType.PING:
                await self._stall.over()
                await self._socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                self.take(message.data)

    async def _keep(self) -> None:
        while steady_ns() - self._heard_ns < self._silence_s * _SECOND_NS:
            await asyncio.sleep(1.0)
        await self.end()

    async def end(self, code: int = _GOING_AWAY) -> None:
        """Close the connection."""
        await self._socket.close(code=code, message=b"")

    async def throw_out(self) -> None:
        """Close the connection of a client that may not have one."""
        await asyncio.sleep(_LAST_WORDS_S)
        await self.end(_POLICY)
