"""The venue on one port of 127.0.0.1: REST and WebSocket paths of its markets, the control endpoint, and what drives them.

======================================== ===========================================================================
path                                     what it is
======================================== ===========================================================================
/api/v3/..., /fapi/v1/...                public REST of spot, of USD-M
/ws/<stream>/<stream>, /stream?streams=  spot; where there is no spot, USD-M as it has been since April 2026: everything
                                         is acked there, but only what belongs to /public is sent. Where there is both,
                                         a Host that begins with ``fstream`` means USD-M
/public/ws, /market/stream, /private/ws  USD-M by route; what belongs to another route is acked and silent. ``/private`` has
                                         user data, by listen key
/ws-api/v3, /ws-fapi/v1                  the WebSocket API of spot, of USD-M
/control                                 POST: :mod:`hftpipe.simulation.binance_server.faults`; GET: figures
/control/account?key=                    GET: what an account has in each market, in truth
======================================== ===========================================================================
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.binance_server.answers import Answers
from hftpipe.simulation.binance_server.connection import MS_NS, US_NS, Connection, Line, Peer
from hftpipe.simulation.binance_server.faults import BadOrder, DepthFaults, RestFaults, checked
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.rest import Rest
from hftpipe.simulation.binance_server.settings import LIFETIME_S, STREAMS_MOST, BinanceConfig
from hftpipe.simulation.binance_server.streams import LEGACY, MARKET, PRIVATE, PUBLIC
from hftpipe.simulation.binance_server.trading.api import ApiConnection
from hftpipe.simulation.binance_server.trading.assembly import trading_of
from hftpipe.simulation.binance_server.trading.calls import public_methods
from hftpipe.simulation.binance_server.trading.keys import Keys
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

    def __init__(
        self, listing: Listing, config: BinanceConfig, clock: VenueClock, seed: int, keys: Keys,
        refresh: Callable[[], None],
    ) -> None:  # fmt: skip
        # Ids go on from where an earlier start's can have been: a microsecond, or a millisecond, of the wall clock each.
        first_id, first_trade = clock.start_ns // US_NS, clock.start_ns // MS_NS
        market = Market(listing, seed, config.market, clock.start_ns, first_id, first_trade)
        self.depth_faults, self.rest_faults = DepthFaults(), RestFaults()
        self.feed = Feed(market, Symbols(market, first_trade), clock, self.depth_faults)
        per_min = config.weight_per_min or listing.rules.weight_per_min
        self.answers = Answers(self.feed, per_min, clock.start_ns // MS_NS)
        self.rest = Rest(self.answers, Weights(per_min), self.rest_faults, refresh)
        self.trading = trading_of(
            self.feed, self.answers, config.accounts, keys, self.rest.weights, self.rest_faults, refresh, first_trade
        )

    def advance(self) -> None:
        """Bring it to now."""
        self.feed.advance()
        self.trading.advance()

    def routes(self) -> list[web.RouteDef]:
        """REST paths."""
        return [*self.rest.routes(), *self.trading.routes()]


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
        self._keys = Keys(config.accounts)
        self._venues: dict[str, _Venue] = {
            listing.rules.name: _Venue(
                listing, config, self._clock, config.seed + at * _SEED_APART, self._keys, self._refresh
            )
            for at, listing in enumerate(config.listings)
        }
        self._connections: dict[Peer, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._app = web.Application()
        for venue in self._venues.values():
            self._app.add_routes(venue.routes())
        self._app.add_routes(self._paths())

    def _paths(self) -> list[web.RouteDef]:
        routes = [LEGACY, *([PUBLIC, MARKET, PRIVATE] if "usdm" in self._venues else [])]
        made = [web.post("/control", self._control), web.get("/control", self._tell_figures)]
        made.append(web.get("/control/account", self._tell_account))
        apis = {"spot": "/ws-api/v3", "usdm": "/ws-fapi/v1"}
        made += [web.get(apis[name], self._api(venue)) for name, venue in self._venues.items()]
        for route in routes:
            head = f"/{route}" if route else ""
            made += [web.get(f"{head}{tail}", self._stream) for tail in ("/ws", "/ws/{names:.*}", "/stream")]
        return made

    def _refresh(self) -> None:
        """Bring every market to now: an answer is of the moment it is given."""
        self._clock.advance()
        for venue in self._venues.values():
            venue.advance()

    def _venue_for(self, request: web.Request, route: str) -> _Venue:
        is_usdm = bool(route) or "spot" not in self._venues or request.host.startswith("fstream")
        name = "usdm" if is_usdm and "usdm" in self._venues else "spot"
        return self._venues[name]

    def _api(self, venue: _Venue) -> Callable[[web.Request], Any]:
        trading, public = venue.trading, public_methods(venue.answers)

        async def handle(request: web.Request) -> web.StreamResponse:
            connection = ApiConnection(
                request, trading.state, self._clock, self._line, trading.methods, public, self._refresh
            )
            self._connections[connection] = None
            try:
                return await connection.run()
            finally:
                connection.leave()
                del self._connections[connection]

        return handle

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        head = request.path.split("/")[1]
        route, is_combined = (head if head in (PUBLIC, MARKET, PRIVATE) else LEGACY), request.path.endswith("/stream")
        venue = self._venue_for(request, route)
        feed, private = venue.feed, venue.trading.listen_keys if route == PRIVATE else None
        text = request.query.get("streams", "") if is_combined else request.match_info.get("names", "")
        asked = [*text.split("/"), *(request.query.getall("listenKey", []) if private else [])]
        names = list(dict.fromkeys(name for name in asked if name))
        if len(names) > STREAMS_MOST:
            return web.Response(status=400, text=f"{len(names)} streams; allowed: at most {STREAMS_MOST}")
        is_fine = feed.rules.name == "spot" and request.query.get("timeUnit", "").upper() == "MICROSECOND"
        wanted = frozenset(name for name in request.query.get("events", "").split("/") if name)
        unit = US_NS if is_fine else MS_NS
        connection = Connection(request, feed, self._line, route, is_combined, unit, private, wanted)
        self._connections[connection] = None
        try:
            connection.subscribe(names)
            return await connection.run()
        finally:
            # A request that does not become a connection must hear nothing, either.
            connection.unsubscribe(list(connection.names))
            del self._connections[connection]

    def _meant(self, asked: Any) -> list[Peer]:
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
                venue.trading.ask(asked)
        self._change_keys(asked)
        self._clock.offset_ns = asked.get("clock_offset_ms", self._clock.offset_ns // MS_NS) * MS_NS
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

    def _change_keys(self, asked: Any) -> None:
        if asked.get("restore_keys"):
            self._keys.restore()
        if "revoke_key" in asked:
            self._keys.revoke(asked["revoke_key"])
            for connection in tuple(self._connections):
                if isinstance(connection, ApiConnection):
                    connection.key_revoked(asked["revoke_key"])

    async def _tell_account(self, request: web.Request) -> web.Response:
        self._refresh()
        account = self._keys.account_of(request.query.get("key", ""))
        if account is None:
            return web.json_response({"error": f"key = {request.query.get('key')!r}; allowed: an API key"}, status=400)
        found = {
            name: venue.trading.truth(venue.trading.state.traders[account]) for name, venue in self._venues.items()
        }
        return web.json_response(found)

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
