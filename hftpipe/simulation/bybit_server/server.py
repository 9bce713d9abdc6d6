"""The venue on one port of 127.0.0.1: REST and public WebSocket paths of its categories, the control endpoint, and what drives them.

============================== ==============================================================================
path                           what it is
============================== ==============================================================================
/v5/market/...                 public REST; ``category`` says which
/v5/public/spot, .../linear    WebSocket; a connection is of one category
/v5/order/..., /v5/account/... REST of accounts
/v5/trade, /v5/private         WebSocket: order entry; what befalls an account
/control                       POST: :mod:`hftpipe.simulation.bybit_server.faults`; GET: figures
/control/account?key=          GET: what an account has, in truth
============================== ==============================================================================
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.bybit_server.answers import Answers
from hftpipe.simulation.bybit_server.connection import Connection
from hftpipe.simulation.bybit_server.faults import BadOrder, RequestFaults, checked
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.peer import Peer
from hftpipe.simulation.bybit_server.rest import Requests, Rest
from hftpipe.simulation.bybit_server.settings import BybitConfig
from hftpipe.simulation.bybit_server.trading.assembly import trading_of
from hftpipe.simulation.bybit_server.trading.keys import Keys
from hftpipe.simulation.bybit_server.trading.private_socket import PrivateConnection
from hftpipe.simulation.bybit_server.trading.rest import TradingRest
from hftpipe.simulation.bybit_server.trading.trade_socket import TradeConnection
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.outbox import Stall
from hftpipe.simulation.market_server.process import bind_port
from hftpipe.simulation.market_server.symbols import Symbols
from hftpipe.simulation.market_server.tls import Identity, new_identity

_TICK_S = 0.005
_US_NS, _MS_NS = 1000, 1_000_000
#: Seeds of the second category's flows are so far from those of the first.
_SEED_APART = 1 << 20


class _Category:
    """One category with all that serves it."""

    def __init__(self, listing: Listing, config: BybitConfig, clock: VenueClock, seed: int) -> None:
        # Ids go on from where an earlier start's can have been: a microsecond, or a millisecond, of the wall clock each.
        first_id, first_trade = clock.start_ns // _US_NS, clock.start_ns // _MS_NS
        market = Market(listing, seed, config.market, clock.start_ns, first_id, first_trade)
        self.book_faults, self.request_faults = EventFaults("book"), RequestFaults()
        self.feed = Feed(market, Symbols(market, first_trade), clock, self.book_faults)


class BybitServer:
    """The venue, ready to be opened.

    Attributes:
        config: as given; listings: its markets; port: what is really served, once it is open; identity: its certificate, with TLS.

    Raises:
        ValueError: an instrument that makes no market.
    """

    def __init__(self, config: BybitConfig) -> None:
        self.config, self.port, self.listings = config, 0, config.listings
        self._clock, self._stall = VenueClock(config.speed), Stall()
        self.identity: Identity | None = new_identity(self._clock.start_ns) if config.tls else None
        self._categories: dict[str, _Category] = {
            listing.rules.name: _Category(listing, config, self._clock, config.seed + at * _SEED_APART)
            for at, listing in enumerate(config.listings)
        }
        self._connections: dict[Peer, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        feeds = {name: one.feed for name, one in self._categories.items()}
        faults, first = (
            {name: one.request_faults for name, one in self._categories.items()},
            self._clock.start_ns // _MS_NS,
        )
        self._keys, requests = Keys(config.accounts), Requests()
        self._trading = trading_of(feeds, config.accounts, self._keys, faults, self._watched, self._refresh, first)
        rest = Rest(Answers(feeds, first), faults, self._refresh, lambda: self._clock.now_ns // _MS_NS, requests)
        self._app = web.Application()
        self._app.add_routes(rest.routes())
        self._app.add_routes(TradingRest(self._trading.state, self._trading.rest, requests).routes())
        self._app.add_routes(self._paths())

    def _paths(self) -> list[web.RouteDef]:
        return [
            web.post("/control", self._control), web.get("/control", self._tell_figures),
            web.get("/control/account", self._tell_account), web.get("/v5/trade", self._trade),
            web.get("/v5/private", self._private),
            *(web.get(f"/v5/public/{name}", self._stream) for name in self._categories),
        ]  # fmt: skip

    def _refresh(self) -> None:
        """Bring every market to now: an answer is of the moment it is given."""
        self._clock.advance()
        for one in self._categories.values():
            one.feed.advance()
        self._trading.advance()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        own = self._categories[request.path.rpartition("/")[2]]
        return await self._serve_peer(Connection(request, own.feed, own.request_faults, self._stall, self._refresh))

    async def _trade(self, request: web.Request) -> web.StreamResponse:
        trading = self._trading
        return await self._serve_peer(TradeConnection(request, trading.state, trading.socket, self._stall))

    async def _private(self, request: web.Request) -> web.StreamResponse:
        return await self._serve_peer(PrivateConnection(request, self._trading.state, self._stall))

    async def _serve_peer(self, peer: Peer) -> web.StreamResponse:
        self._connections[peer] = None
        try:
            return await peer.run()
        finally:
            del self._connections[peer]

    def _watched(self, account: int) -> Iterable[str]:
        """Topics of the private connections of an account."""
        for one in self._connections:
            if isinstance(one, PrivateConnection) and one.key is not None and one.key.account == account:
                yield from one.names

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
        for name, own in self._categories.items():
            if asked.get("market", name) == name:
                own.book_faults.ask(asked)
                own.request_faults.ask(asked)
                if asked.get("restart"):
                    own.feed.begin_anew(asked.get("symbol", ""))
        self._trading.ask(asked)
        self._change_keys(asked)
        self._clock.offset_ns = asked.get("clock_offset_ms", self._clock.offset_ns // _MS_NS) * _MS_NS
        self._clock.frozen = asked.get("freeze", self._clock.frozen)
        if "stall_ms" in asked:
            self._stall.until_ns = steady_ns() + asked["stall_ms"] * _MS_NS
        if "disconnect" in asked:
            meant = [one for one in self._connections if asked.get("market", one.market) == one.market]
            which = {"all": meant, "one": meant[:1]}
            cut = which.get(asked["disconnect"], [one for one in meant if one.kind == asked["disconnect"]])
            self._begin(one.outbox.cut() for one in cut)
        return web.json_response(self.figures())

    def _change_keys(self, asked: Any) -> None:
        if asked.get("restore_keys"):
            self._keys.restore()
        if "revoke_key" in asked:
            self._keys.revoke(asked["revoke_key"])
            uses = [
                one for one in self._connections
                if isinstance(one, PrivateConnection | TradeConnection) and one.key_revoked(asked["revoke_key"])
            ]  # fmt: skip
            self._begin(one.throw_out() for one in uses)

    async def _tell_account(self, request: web.Request) -> web.Response:
        self._refresh()
        account = self._keys.account_of(request.query.get("key", ""))
        if account is None:
            return web.json_response({"error": f"key = {request.query.get('key')!r}; allowed: an API key"}, status=400)
        return web.json_response(self._trading.truth(self._trading.state.accounts[account]))

    async def _tell_figures(self, request: web.Request) -> web.Response:
        return web.json_response(self.figures())

    def figures(self) -> dict[str, int]:
        """Counters for a summary: of each category its events and how often it was late; connections now."""
        made = {"connections": len(self._connections)}
        for name, one in self._categories.items():
            made |= {f"{name}_events": one.feed.market.events, f"{name}_behind": one.feed.behind}
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
                while not stop.is_set():
                    self._refresh()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _TICK_S)
                self._stall.until_ns = 0
                await asyncio.gather(*(one.end() for one in self._connections), return_exceptions=True)
            finally:
                await runner.cleanup()
