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
/control/books?levels=                   GET: the books of each market, in truth
======================================== ===========================================================================
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from hftpipe.simulation.binance_server.answers import Answers
from hftpipe.simulation.binance_server.connection import Connection, Line, Peer
from hftpipe.simulation.binance_server.faults import KEYS, RestFaults
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
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.inspection import stream_figures
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.server import MS_NS, SEED_APART, US_NS, MarketServer
from hftpipe.simulation.market_server.symbols import Symbols

_LAST_WORDS_S = 0.05
_GRACE_MS = 1000


class _Venue:
    """One market with all that serves it."""

    def __init__(
        self, listing: Listing, config: BinanceConfig, clock: VenueClock, seed: int, keys: Keys,
        refresh: Callable[[], None],
    ) -> None:  # fmt: skip
        # Ids go on from where an earlier start's can have been: a microsecond, or a millisecond, of the wall clock each.
        first_id, first_trade = clock.start_ns // US_NS, clock.start_ns // MS_NS
        market = Market(listing, seed, config.market, clock.start_ns, first_id, first_trade)
        self.depth_faults, self.rest_faults = EventFaults("depth"), RestFaults()
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


class BinanceServer(MarketServer[Peer]):
    """The venue, ready to be opened.

    Raises:
        ValueError: an instrument that makes no market.
    """

    control_keys = KEYS

    def __init__(self, config: BinanceConfig) -> None:
        keys = Keys(config.accounts)
        super().__init__(config, keys)
        self._line = Line(LIFETIME_S, self._stall)
        self._venues: dict[str, _Venue] = {
            listing.rules.name: _Venue(listing, config, self._clock, config.seed + at * SEED_APART, keys, self._refresh)
            for at, listing in enumerate(config.listings)
        }
        for venue in self._venues.values():
            self._app.add_routes(venue.routes())
        self._app.add_routes(self._paths())

    def _paths(self) -> list[web.RouteDef]:
        routes = [LEGACY, *([PUBLIC, MARKET, PRIVATE] if "usdm" in self._venues else [])]
        apis = {"spot": "/ws-api/v3", "usdm": "/ws-fapi/v1"}
        made = [web.get(apis[name], self._api(venue)) for name, venue in self._venues.items()]
        for route in routes:
            head = f"/{route}" if route else ""
            made += [web.get(f"{head}{tail}", self._stream) for tail in ("/ws", "/ws/{names:.*}", "/stream")]
        return made

    def _refresh(self) -> None:
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
            try:
                return await self._serve_peer(connection)
            finally:
                connection.leave()

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
        try:
            connection.subscribe(names)
            return await self._serve_peer(connection)
        finally:
            # A request that does not become a connection must hear nothing, either.
            connection.unsubscribe(list(connection.names))

    def _meant(self, asked: Mapping[str, Any]) -> list[Market]:
        return [venue.feed.market for name, venue in self._venues.items() if asked.get("market", name) == name]

    def _carry_out(self, asked: Mapping[str, Any]) -> None:
        for name, venue in self._venues.items():
            if asked.get("market", name) == name:
                venue.depth_faults.ask(asked)
                venue.rest_faults.ask(asked)
                venue.trading.ask(asked)
        if "revoke_key" in asked:
            self._revoke(asked["revoke_key"])
        for name in ("ping", "pong"):
            if f"{name}_ms" in asked:
                setattr(self._line, f"{name}_s", asked[f"{name}_ms"] / 1000 or None)
        if asked.get("shutdown") or asked.get("expire"):
            self._begin(one.end(asked.get("grace_ms", _GRACE_MS) / 1000) for one in self._connected(asked))

    def _revoke(self, name: str) -> None:
        self._keys.revoke(name)
        for connection in tuple(self._connections):
            if isinstance(connection, ApiConnection):
                connection.key_revoked(name)

    def _truth(self, account: int) -> Any:
        return {name: venue.trading.truth(venue.trading.state.traders[account]) for name, venue in self._venues.items()}

    def figures(self) -> dict[str, int]:
        """Of each market its events, how often it was late, its subscriptions, faults that are still to come; connections now."""
        made = {"connections": len(self._connections)}
        for name, venue in self._venues.items():
            made |= {f"{name}_events": venue.feed.market.events, f"{name}_behind": venue.feed.behind}
            made[f"{name}_faults_due"] = venue.rest_faults.due + venue.trading.state.faults.due
            heard = (one for one in self._connections if isinstance(one, Connection) and one.market == name)
            public = (stream for one in heard if not one.is_private for stream in one.names)
            made |= stream_figures(name, public, venue.feed.asked_twice)
        return made

    async def _see_off(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*(one.end(_LAST_WORDS_S) for one in self._connections), return_exceptions=True)
