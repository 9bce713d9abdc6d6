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
/control/books?levels=         GET: the books of each category, in truth
============================== ==============================================================================
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from hftpipe.simulation.bybit_server.answers import Answers
from hftpipe.simulation.bybit_server.connection import Connection
from hftpipe.simulation.bybit_server.faults import KEYS, RequestFaults
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
from hftpipe.simulation.market_server.inspection import stream_figures
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.server import MS_NS, SEED_APART, US_NS, MarketServer
from hftpipe.simulation.market_server.symbols import Symbols


class _Category:
    """One category with all that serves it."""

    def __init__(self, listing: Listing, config: BybitConfig, clock: VenueClock, seed: int) -> None:
        # Ids go on from where an earlier start's can have been: a microsecond, or a millisecond, of the wall clock each.
        first_id, first_trade = clock.start_ns // US_NS, clock.start_ns // MS_NS
        market = Market(listing, seed, config.market, clock.start_ns, first_id, first_trade)
        self.book_faults, self.request_faults = EventFaults("book"), RequestFaults()
        self.feed = Feed(market, Symbols(market, first_trade), clock, self.book_faults)


class BybitServer(MarketServer[Peer]):
    """The venue, ready to be opened.

    Raises:
        ValueError: an instrument that makes no market.
    """

    control_keys = KEYS

    def __init__(self, config: BybitConfig) -> None:
        keys = Keys(config.accounts)
        super().__init__(config, keys)
        self._categories: dict[str, _Category] = {
            listing.rules.name: _Category(listing, config, self._clock, config.seed + at * SEED_APART)
            for at, listing in enumerate(config.listings)
        }
        feeds = {name: one.feed for name, one in self._categories.items()}
        faults, first = (
            {name: one.request_faults for name, one in self._categories.items()},
            self._clock.start_ns // MS_NS,
        )
        requests = Requests()
        self._trading = trading_of(feeds, config.accounts, keys, faults, self._watched, self._refresh, first)
        rest = Rest(Answers(feeds, first), faults, self._refresh, lambda: self._clock.now_ns // MS_NS, requests)
        self._app.add_routes(rest.routes())
        self._app.add_routes(TradingRest(self._trading.state, self._trading.rest, requests).routes())
        self._app.add_routes([
            web.get("/v5/trade", self._trade), web.get("/v5/private", self._private),
            *(web.get(f"/v5/public/{name}", self._stream) for name in self._categories),
        ])  # fmt: skip

    def _refresh(self) -> None:
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

    def _watched(self, account: int) -> Iterable[str]:
        """Topics of the private connections of an account."""
        for one in self._connections:
            if isinstance(one, PrivateConnection) and one.key is not None and one.key.account == account:
                yield from one.names

    def _meant(self, asked: Mapping[str, Any]) -> list[Market]:
        return [own.feed.market for name, own in self._categories.items() if asked.get("market", name) == name]

    def _carry_out(self, asked: Mapping[str, Any]) -> None:
        for name, own in self._categories.items():
            if asked.get("market", name) == name:
                own.book_faults.ask(asked)
                own.request_faults.ask(asked)
                if asked.get("restart"):
                    own.feed.begin_anew(asked.get("symbol", ""))
        self._trading.ask(asked)
        if "revoke_key" in asked:
            self._revoke(asked["revoke_key"])

    def _revoke(self, name: str) -> None:
        self._keys.revoke(name)
        uses = [
            one for one in self._connections
            if isinstance(one, PrivateConnection | TradeConnection) and one.key_revoked(name)
        ]  # fmt: skip
        self._begin(one.throw_out() for one in uses)

    def _truth(self, account: int) -> Any:
        return self._trading.truth(self._trading.state.accounts[account])

    def figures(self) -> dict[str, int]:
        """Of each category its events, how often it was late, its subscriptions, faults that are still to come; connections now."""
        made = {"connections": len(self._connections)}
        for name, one in self._categories.items():
            made |= {f"{name}_events": one.feed.market.events, f"{name}_behind": one.feed.behind}
            made[f"{name}_faults_due"] = one.request_faults.due + self._trading.state.faults[name].due
            heard = (peer for peer in self._connections if isinstance(peer, Connection) and peer.market == name)
            made |= stream_figures(name, (topic for peer in heard for topic in peer.names), one.feed.asked_twice)
        return made

    async def _see_off(self) -> None:
        await asyncio.gather(*(one.end() for one in self._connections), return_exceptions=True)
