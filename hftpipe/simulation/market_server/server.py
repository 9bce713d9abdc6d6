"""What the simulated venues have in common: one port of 127.0.0.1, the clock that drives them, their connections, the control endpoint."""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import orjson
from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.market_server import control
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.inspection import DEFAULT_LEVELS, books_of, levels_from
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.outbox import Outbox, Stall
from hftpipe.simulation.market_server.process import bind_port
from hftpipe.simulation.market_server.rule_changes import change_rules
from hftpipe.simulation.market_server.tls import Identity, new_identity
from hftpipe.simulation.market_server.trading.key_ring import KeyRing

_TICK_S = 0.005
US_NS, MS_NS = 1000, 1_000_000
#: Seeds of the second market's flows are so far from those of the first.
SEED_APART = 1 << 20


class Config(Protocol):
    """What every venue is told: its markets, its port (0: a free one), whether it speaks TLS, and the speed of its flow."""

    @property
    def listings(self) -> tuple[Listing, ...]: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> bool: ...
    @property
    def speed(self) -> float: ...


class Connected(Protocol):
    """A client on a WebSocket.

    Attributes:
        kind: what the connection is for, as requests name it; outbox: what waits for it; market: the one it is of, empty: none.
    """

    kind: str
    outbox: Outbox

    @property
    def market(self) -> str: ...

    async def run(self) -> web.WebSocketResponse:
        """Serve the client until it, or the venue, ends the connection."""


PeerT = TypeVar("PeerT", bound=Connected)


def _chosen(peers: Sequence[PeerT], which: str | None) -> Sequence[PeerT]:
    """Whom a request means: ``all``, ``one`` (the oldest), those of a kind; None: nobody."""
    chosen: dict[str | None, Sequence[PeerT]] = {None: (), "all": peers, "one": peers[:1]}
    return chosen[which] if which in chosen else [one for one in peers if one.kind == which]


class MarketServer(ABC, Generic[PeerT]):
    """A venue, ready to be opened.

    Attributes:
        listings: its markets; port: what is really served, once it is open; identity: its certificate, with TLS.
    """

    #: What the control endpoint may be asked.
    control_keys: control.Keys

    def __init__(self, config: Config, keys: KeyRing) -> None:
        self.port, self.listings, self._port_asked, self._keys = 0, config.listings, config.port, keys
        self._clock, self._stall = VenueClock(config.speed), Stall()
        self.identity: Identity | None = new_identity(self._clock.start_ns) if config.tls else None
        self._connections: dict[PeerT, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: web.Server | None = None
        self._refused_until_ns = 0
        self._app = web.Application()
        self._app.add_routes([
            web.post("/control", self._control), web.get("/control", self._tell_figures),
            web.get("/control/account", self._tell_account), web.get("/control/books", self._tell_books),
        ])  # fmt: skip

    @abstractmethod
    def figures(self) -> dict[str, int]:
        """Counters for a summary."""

    @abstractmethod
    def _refresh(self) -> None:
        """Bring every market to now: an answer is of the moment it is given."""

    @abstractmethod
    def _meant(self, asked: Mapping[str, Any]) -> list[Market]:
        """The markets that are asked."""

    @abstractmethod
    def _carry_out(self, asked: Mapping[str, Any]) -> None:
        """Do what is asked, of what only this venue knows how to do."""

    @abstractmethod
    def _truth(self, account: int) -> Any:
        """What an account has."""

    @abstractmethod
    async def _see_off(self) -> None:
        """End the connections."""

    # Connections.

    async def _serve_peer(self, peer: PeerT) -> web.StreamResponse:
        if steady_ns() < self._refused_until_ns:
            return web.Response(status=503)
        self._connections[peer] = None
        try:
            return await peer.run()
        finally:
            del self._connections[peer]

    def _connected(self, asked: Mapping[str, Any]) -> list[PeerT]:
        """The connections of the markets that are asked, the oldest first."""
        return [one for one in self._connections if asked.get("market", one.market) == one.market]

    def _lose_connections(self, asked: Mapping[str, Any]) -> None:
        if "refuse_ms" in asked:
            self._refused_until_ns = steady_ns() + asked["refuse_ms"] * MS_NS
        peers = self._connected(asked)
        for one in _chosen(peers, asked.get("half_open")):
            one.outbox.mute()
        self._begin(one.outbox.cut() for one in _chosen(peers, asked.get("disconnect")))

    def _begin(self, work: Iterable[Any]) -> None:
        for one in work:
            task = asyncio.ensure_future(one)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # Control.

    async def _control(self, request: web.Request) -> web.Response:
        try:
            asked = self.control_keys.checked(await request.json())
            for market in self._meant(asked):
                change_rules(market, asked)
        except ValueError as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        self._refresh()
        if asked.get("restore_keys"):
            self._keys.restore()
        self._carry_out(asked)
        self._lose_connections(asked)
        self._clock.ask(asked)
        if "stall_ms" in asked:
            self._stall.until_ns = steady_ns() + asked["stall_ms"] * MS_NS
        if asked.get("close_idle") and self._http is not None:
            for one in tuple(self._http.connections):
                # It waits for its next request.
                if one._current_request is None:
                    one.force_close()
        return web.json_response(self.figures())

    async def _tell_figures(self, request: web.Request) -> web.Response:
        return web.json_response(self.figures())

    async def _tell_account(self, request: web.Request) -> web.Response:
        self._refresh()
        account = self._keys.account_of(request.query.get("key", ""))
        if account is None:
            return web.json_response({"error": f"key = {request.query.get('key')!r}; allowed: an API key"}, status=400)
        return web.json_response(self._truth(account))

    async def _tell_books(self, request: web.Request) -> web.Response:
        try:
            levels = levels_from(request.query.get("levels", str(DEFAULT_LEVELS)))
        except ValueError as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        found = {market.listing.rules.name: books_of(market, levels) for market in self._meant({})}
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    # Serving.

    def bind(self) -> socket.socket:
        """Take the port, for :meth:`serve` to open.

        Raises:
            OSError: it cannot be had.
        """
        listener = bind_port(self._port_asked)
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
            self._http = runner.server
            context = self.identity.server_context() if self.identity else None
            await web.SockSite(runner, listener, ssl_context=context).start()
            self._clock.begin()
            opened()
            try:
                await self._drive(stop)
                self._stall.until_ns = 0
                await self._see_off()
            finally:
                await runner.cleanup()

    async def _drive(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TICK_S)
