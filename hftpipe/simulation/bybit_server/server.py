"""The venue on one port of 127.0.0.1: REST and public WebSocket paths of its categories, the control endpoint, and what drives them.

============================== ==============================================================================
path                           what it is
============================== ==============================================================================
/v5/market/...                 public REST; ``category`` says which
/v5/public/spot, .../linear    WebSocket; a connection is of one category
/control                       POST: :mod:`hftpipe.simulation.bybit_server.faults`; GET: figures
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
from hftpipe.simulation.bybit_server.rest import Rest
from hftpipe.simulation.bybit_server.settings import BybitConfig
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
        self._connections: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        answers = Answers({name: one.feed for name, one in self._categories.items()}, self._clock.start_ns // _MS_NS)
        faults = {name: one.request_faults for name, one in self._categories.items()}
        self._app = web.Application()
        self._app.add_routes(Rest(answers, faults, self._refresh, lambda: self._clock.now_ns // _MS_NS).routes())
        self._app.add_routes([web.post("/control", self._control), web.get("/control", self._tell_figures)])
        self._app.add_routes([web.get(f"/v5/public/{name}", self._stream) for name in self._categories])

    def _refresh(self) -> None:
        """Bring every market to now: an answer is of the moment it is given."""
        self._clock.advance()
        for one in self._categories.values():
            one.feed.advance()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        own = self._categories[request.path.rpartition("/")[2]]
        connection = Connection(request, own.feed, own.request_faults, self._stall, self._refresh)
        self._connections[connection] = None
        try:
            return await connection.run()
        finally:
            connection.unsubscribe(list(connection.names))
            del self._connections[connection]

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
        self._clock.frozen = asked.get("freeze", self._clock.frozen)
        if "stall_ms" in asked:
            self._stall.until_ns = steady_ns() + asked["stall_ms"] * _MS_NS
        if "disconnect" in asked:
            meant = [one for one in self._connections if asked.get("market", one.market) == one.market]
            self._begin(one.outbox.cut() for one in (meant if asked["disconnect"] == "all" else meant[:1]))
        return web.json_response(self.figures())

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
