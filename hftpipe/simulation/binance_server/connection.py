"""One WebSocket connection: what it hears, what waits to be sent, and the rules that cut it.

It is cut when it sends more frames within a second than the market allows, does not answer a ping in time (with the ping's own
payload: other pongs do not count), or leaves more unread than the venue keeps for it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

import orjson
from aiohttp import WSMsgType, web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.binance_server.commands import answer
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.payloads import Payload
from hftpipe.simulation.binance_server.settings import MarketRules
from hftpipe.simulation.binance_server.streams import Build, Kept
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.outbox import Outbox, Stall

_MS_NS, _SECOND_NS = 1_000_000, 1_000_000_000
_CLOSE_S = 1.0
_POLICY, _GOING_AWAY = 1008, 1001


class Line:
    """What all connections have in common.

    Attributes:
        ping_s, pong_s: None: as the market has them; lifetime_s: of a connection; stall: when nothing is sent.
    """

    def __init__(self, lifetime_s: float, stall: Stall) -> None:
        self.ping_s: float | None = None
        self.pong_s: float | None = None
        self.lifetime_s, self.stall = lifetime_s, stall


class PrivateStreams(Protocol):
    """Where the streams of listen keys are."""

    def follow(self, key: str, who: object, hear: Callable[[str, Payload], None]) -> None:
        """Let somebody hear the events of a key."""

    def leave(self, key: str, who: object) -> None:
        """He hears no more of them."""


def _text(payload: object, combined: bool, stream: str) -> str:
    data = orjson.dumps(payload).decode()
    return f'{{"stream":"{stream}","data":{data}}}' if combined else data


class Peer(ABC):
    """A client on a WebSocket.

    Args:
        request: the HTTP request that becomes the connection; rules: of its market; clock: the venue's; line: what all have in
            common; unit: ns of one unit of time in its messages.

    Attributes:
        kind: empty, for there are no kinds; outbox: what waits for it.
        limits_texts: whether texts count among the frames it may send; pings and pongs always do.
    """

    kind, limits_texts = "", True

    def __init__(self, request: web.Request, rules: MarketRules, clock: VenueClock, line: Line, unit: int) -> None:
        self._request, self._rules, self._clock, self._line, self._unit = request, rules, clock, line, unit
        self._socket = web.WebSocketResponse(timeout=_CLOSE_S, autoping=False, compress=False)
        self.outbox = Outbox(request, self._socket, line.stall)
        self._pings, self._inbound = dict[bytes, int](), deque[int]()

    @property
    def market(self) -> str:
        """``spot`` or ``usdm``."""
        return self._rules.name

    @abstractmethod
    def take(self, text: str) -> None:
        """Answer a text of the client."""

    @abstractmethod
    def warning(self) -> str:
        """What it is told when the venue is about to close the connection."""

    def say(self, text: str) -> None:
        """Send a text in its turn."""
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
            if self.outbox.is_mute:
                continue
            counts = self.limits_texts or message.type != WSMsgType.TEXT
            if counts and self._is_too_fast():
                await self._socket.close(code=_POLICY, message=b"Too many requests")
                return
            if message.type == WSMsgType.PING:
                await self._line.stall.over()
                await self._socket.pong(message.data)
            elif message.type == WSMsgType.PONG:
                self._pings.pop(bytes(message.data), None)
            elif message.type == WSMsgType.TEXT:
                self.take(message.data)

    def _is_too_fast(self) -> bool:
        now, most = steady_ns(), self._rules.inbound_per_s
        self._inbound.append(now)
        while self._inbound[0] <= now - _SECOND_NS:
            self._inbound.popleft()
        return len(self._inbound) > most

    async def _keep(self) -> None:
        """Ping, and end what does not answer or has lived long enough."""
        opened = pinged = steady_ns()
        while True:
            rules, line = self._rules, self._line
            ping_s, pong_s = line.ping_s or rules.ping_s, line.pong_s or rules.pong_s
            await asyncio.sleep(min(1.0, ping_s / 4, pong_s / 4))
            now = steady_ns()
            if self.outbox.is_mute:
                continue
            if self._pings and now - next(iter(self._pings.values())) > pong_s * _SECOND_NS:
                await self._socket.close(code=_POLICY, message=b"Pong timeout")
                return
            if now - opened > line.lifetime_s * _SECOND_NS:
                await self.end(_CLOSE_S)
                return
            if now - pinged >= ping_s * _SECOND_NS:
                pinged, payload = now, str(self._clock.now_ns // _MS_NS).encode()
                await line.stall.over()
                self._pings.setdefault(payload, now)
                try:
                    await self._socket.ping(payload)
                except ConnectionError:
                    return

    async def end(self, grace_s: float) -> None:
        """Warn, and close the connection after a while."""
        self.say(self.warning())
        await asyncio.sleep(grace_s)
        await self._socket.close(code=_GOING_AWAY, message=b"Server shutdown")


class Connection(Peer):
    """A client of the market streams, and on USD-M's ``/private`` of user data.

    Attributes:
        combined: whether messages are wrapped with the name of their stream; names: what it has subscribed to.

    Args:
        request: the HTTP request that becomes the connection; feed: whose streams; line: what all have in common.
        route: under which path (USD-M); unit: ns of one unit of time in its messages.
        private: where the streams of listen keys are, on ``/private``; wanted: the only events of those; empty: all.
    """

    def __init__(
        self, request: web.Request, feed: Feed, line: Line, route: str, combined: bool, unit: int,
        private: PrivateStreams | None = None, wanted: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        super().__init__(request, feed.rules, feed.clock, line, unit)
        self.combined, self.names = combined, dict[str, None]()
        self._feed, self._route, self._private, self._wanted = feed, route, private, wanted

    @property
    def is_private(self) -> bool:
        """Whether what it hears is user data."""
        return self._private is not None

    def subscribe(self, names: list[str]) -> None:
        """Hear these streams from now on."""
        for name in names:
            self._feed.asked_twice += name in self.names
            self.names[name] = None
            if self._private is not None:
                self._private.follow(name, self, self._hear_private)
            else:
                self._feed.follow(name, self._route, self)

    def unsubscribe(self, names: list[str]) -> None:
        """Hear these no longer."""
        for name in names:
            if name in self.names:
                del self.names[name]
                if self._private is not None:
                    self._private.leave(name, self)
                else:
                    self._feed.leave(name, self)

    def hear(self, stream: str, build: Build, kept: Kept) -> None:
        """Take a message of a stream."""
        form = self.combined, self._unit
        if form not in kept:
            kept[form] = _text(build(self._unit), self.combined, stream)
        self.say(kept[form])

    def _hear_private(self, stream: str, event: Payload) -> None:
        if not self._wanted or event["e"] in self._wanted:
            self.say(_text(event, self.combined, stream))

    def take(self, text: str) -> None:
        """Carry out a command."""
        self.say(orjson.dumps(answer(text, self)).decode())

    def warning(self) -> str:
        """What it is told when the venue is about to close the connection."""
        event = {"e": "serverShutdown", "E": self._clock.now_ns // self._unit}
        return _text(event, self.combined, "!serverShutdown")
