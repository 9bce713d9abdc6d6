"""The venue on one port of 127.0.0.1: REST and WebSocket paths of its markets, the control endpoint, and what drives them.

======================================== ===========================================================================
path                                     what it is
======================================== ===========================================================================
/api/v3/..., /fapi/v1/...                public REST of spot, of USD-M
/ws/<stream>/<stream>, /stream?streams=  spot; where there is no spot, USD-M as it has been since April 2026: everything
                                         is acked there, but only what belongs to /public is sent. Where there is both,
                                         a Host that begins with ``fstream`` means USD-M
/public/ws, /market/stream, /private/ws  USD-M by route; what belongs to another route is acked and silent
/control                                 POST: :mod:`hftpipe.simulation.binance_server.faults`; GET: figures
======================================== ===========================================================================
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.binance_server.answers import Answers
from hftpipe.simulation.binance_server.connection import MS_NS, US_NS, Connection, Line
from hftpipe.simulation.binance_server.faults import BadOrder, DepthFaults, RestFaults, checked
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.rest import Rest
from hftpipe.simulation.binance_server.settings import LIFETIME_S, STREAMS_MOST, BinanceConfig
from hftpipe.simulation.binance_server.streams import LEGACY, MARKET, PRIVATE, PUBLIC
from hftpipe.simulation.binance_server.weights import Weights
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.process import bind_port
from hftpipe.simulation.market_server.symbols import Symbols
from hftpipe.simulation.market_server.tls import Identity, new_identity

_TICK_S = 0.005
_LAST_WORDS_S = 0.05
_GRACE_MS = 1000
#: Seeds of the second market's flows are so far from those of the first.
_SEED_APART = 1 << 20


class _Venue:
    """One market with all that serves it."""

    def __init__(self, listing: Listing, config: BinanceConfig, clock: VenueClock, seed: int) -> None:
        # Ids go on from where an earlier start's can have been: a microsecond, or a millisecond, of the wall clock each.
        first_id, first_trade = clock.start_ns // US_NS, clock.start_ns // MS_NS
        market = Market(listing, seed, config.market, clock.start_ns, first_id, first_trade)
        self.depth_faults, self.rest_faults = DepthFaults(), RestFaults()
        self.feed = Feed(market, Symbols(market, first_trade), clock, self.depth_faults)
        per_min = config.weight_per_min or listing.rules.weight_per_min
        self.answers = Answers(self.feed, per_min, clock.start_ns // MS_NS)
        self.per_min = per_min


class BinanceServer:
    """The venue, ready to be opened.

    Attributes:
        config: as given; listings: its markets; port: what is really served, once it is open; identity: its certificate, with TLS.

    Raises:
        ValueError: an instrument that makes no market.
    """

    def __init__(self, config: BinanceConfig) -> None:
        self.config, self.port, self.listings = config, 0, config.listings
        self._clock, self._line = VenueClock(config.speed), Line(LIFETIME_S)
        self.identity: Identity | None = new_identity(self._clock.start_ns) if config.tls else None
        self._venues: dict[str, _Venue] = {
            listing.rules.name: _Venue(listing, config, self._clock, config.seed + at * _SEED_APART)
            for at, listing in enumerate(config.listings)
        }
        self._connections: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._app = web.Application()
        for venue in self._venues.values():
            rest = Rest(venue.answers, Weights(venue.per_min), venue.rest_faults, self._refresh)
            self._app.add_routes(rest.routes())
        self._app.add_routes(self._paths())

    def _paths(self) -> list[web.RouteDef]:
        routes = [LEGACY, *([PUBLIC, MARKET, PRIVATE] if "usdm" in self._venues else [])]
        made = [web.post("/control", self._control), web.get("/control", self._tell_figures)]
        for route in routes:
            head = f"/{route}" if route else ""
            made += [web.get(f"{head}{tail}", self._stream) for tail in ("/ws", "/ws/{names:.*}", "/stream")]
        return made

    def _refresh(self) -> None:
        """Bring every market to now: an answer is of the moment it is given."""
        self._clock.advance()
        for venue in self._venues.values():
            venue.feed.advance()

    def _feed_for(self, request: web.Request, route: str) -> Feed:
        is_usdm = bool(route) or "spot" not in self._venues or request.host.startswith("fstream")
        name = "usdm" if is_usdm and "usdm" in self._venues else "spot"
        return self._venues[name].feed

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        head = request.path.split("/")[1]
        route, is_combined = (head if head in (PUBLIC, MARKET, PRIVATE) else LEGACY), request.path.endswith("/stream")
        feed = self._feed_for(request, route)
        text = request.query.get("streams", "") if is_combined else request.match_info.get("names", "")
        names = list(dict.fromkeys(name for name in text.split("/") if name))
        if len(names) > STREAMS_MOST:
            return web.Response(status=400, text=f"{len(names)} streams; allowed: at most {STREAMS_MOST}")
        is_fine = feed.rules.name == "spot" and request.query.get("timeUnit", "").upper() == "MICROSECOND"
        connection = Connection(request, feed, self._line, route, is_combined, US_NS if is_fine else MS_NS)
        self._connections[connection] = None
        try:
            connection.subscribe(names)
            return await connection.run()
        finally:
            # A request that does not become a connection must hear nothing, either.
            connection.unsubscribe(list(connection.names))
            del self._connections[connection]

    def _meant(self, asked: Any) -> list[Connection]:
        return [one for one in self._connections if asked.get("market", one.market) == one.market]

    def _begin(self, work: Iterable[Any]) -> None:
        for one in work:
            task = asyncio.ensure_future(one)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _control(self, request: web.Request) -> web.Response:
        try:
            asked = checked(await request.json())
        except (BadOrder, json.JSONDecodeError) as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        self._refresh()
        for name, venue in self._venues.items():
            if asked.get("market", name) == name:
                venue.depth_faults.ask(asked)
                venue.rest_faults.ask(asked)
        meant, line = self._meant(asked), self._line
        self._clock.frozen = asked.get("freeze", self._clock.frozen)
        if "stall_ms" in asked:
            line.stalled_until = steady_ns() + asked["stall_ms"] * MS_NS
        for name in ("ping", "pong"):
            if f"{name}_ms" in asked:
                setattr(line, f"{name}_s", asked[f"{name}_ms"] / 1000 or None)
        if "disconnect" in asked:
            self._begin(one.cut() for one in (meant if asked["disconnect"] == "all" else meant[:1]))
        if asked.get("shutdown") or asked.get("expire"):
            self._begin(one.end(asked.get("grace_ms", _GRACE_MS) / 1000) for one in meant)
        return web.json_response(self.figures())

    async def _tell_figures(self, request: web.Request) -> web.Response:
        return web.json_response(self.figures())

    def figures(self) -> dict[str, int]:
        """Counters for a summary: of each market its events, trades and how often it was late; connections now."""
        made = {"connections": len(self._connections)}
        for name, venue in self._venues.items():
            made |= {f"{name}_events": venue.feed.market.events, f"{name}_behind": venue.feed.behind}
        return made

    def bind(self) -> socket.socket:
        """Take the port, for :meth:`serve` to open.

        Raises:
            OSError: it cannot be had.
        """
        listener = bind_port(self.config.port)
        self.port = listener.getsockname()[1]
        return listener

    async def serve(self, stop: asyncio.Event, opened: Any, bound: socket.socket | None = None) -> None:
        """Open the port (``bound``, if it has been taken before), call ``opened`` with nothing, and serve until ``stop`` is set;
        then see everybody off.

        Raises:
            OSError: the port cannot be had.
        """
        with bound or self.bind() as listener:
            runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await runner.setup()
            context = self.identity.server_context() if self.identity else None
            await web.SockSite(runner, listener, ssl_context=context).start()
            self._clock.begin()
            opened()
            try:
                await self._drive(stop)
                await self._see_off()
            finally:
                await runner.cleanup()

    async def _drive(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TICK_S)

    async def _see_off(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self._line.stalled_until = 0
        await asyncio.gather(*(one.end(_LAST_WORDS_S) for one in self._connections), return_exceptions=True)
