"""What waits to be sent on a WebSocket connection of a simulated venue, and the ways in which a connection ends badly."""

import asyncio
import struct
from collections import deque

from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns

_SECOND_NS = 1_000_000_000
_MOST_WAITING = 20_000
_CUT_S = 0.5


class Stall:
    """Nothing is sent on any connection of a venue before ``until_ns`` (steady clock)."""

    def __init__(self) -> None:
        self.until_ns = 0

    async def over(self) -> None:
        """Wait until something may be sent."""
        while (left := self.until_ns - steady_ns()) > 0:
            await asyncio.sleep(left / _SECOND_NS)


class Outbox:
    """The texts that wait for one connection.

    Args:
        request: the HTTP request that became the connection; socket: the connection; stall: of the venue.

    Attributes:
        ended: set once the connection is over; is_mute: whether nothing is said or heard on it any more.
    """

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, stall: Stall) -> None:
        self._request, self._socket, self._stall = request, socket, stall
        self._waiting, self._wake = deque[str](), asyncio.Event()
        self._cut_next, self.is_mute, self.ended = False, False, asyncio.Event()

    def put(self, text: str) -> None:
        """Send a text in its turn; who leaves too many unread is cut off."""
        if self.is_mute:
            return
        self._waiting.append(text)
        self._wake.set()
        if len(self._waiting) > _MOST_WAITING:
            self._abort()

    async def run(self) -> None:
        """Send what is put in, until the connection breaks."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._stall.over()
                text = self._waiting.popleft()
                if self._cut_next:
                    self._break_off(text)
                    return
                try:
                    await self._socket.send_str(text)
                except ConnectionError:
                    return

    def mute(self) -> None:
        """Say and hear nothing any more, as if the way there were gone: only the client's side knows of the connection now."""
        self.is_mute = True
        self._waiting.clear()

    async def cut(self) -> None:
        """Break the connection off in the middle of its next message, or at once if there is none for a while."""
        self._cut_next = True
        try:
            await asyncio.wait_for(self.ended.wait(), _CUT_S)
        except TimeoutError:
            self._abort()

    def _break_off(self, text: str) -> None:
        """Send the head of a frame and half of what it promises; then there is no connection."""
        data, transport = text.encode(), self._request.transport
        if transport is None:
            return
        size = len(data)
        head = struct.pack("!BBH", 0x81, 126, size) if size < 1 << 16 else struct.pack("!BBQ", 0x81, 127, size)
        transport.write(head + data[: size // 2])
        transport.close()

    def _abort(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.abort()
