"""The venue's trading, put together: accounts, the desk of each category, and the ways in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.listing import currencies_of
from hftpipe.simulation.bybit_server.payloads import amount_text
from hftpipe.simulation.bybit_server.trading.account import Client, UnifiedAccount
from hftpipe.simulation.bybit_server.trading.account_requests import AccountRequests
from hftpipe.simulation.bybit_server.trading.asking import Asking
from hftpipe.simulation.bybit_server.trading.books import LinearBooks, SpotBooks
from hftpipe.simulation.bybit_server.trading.calls import Call, rest_calls, socket_calls
from hftpipe.simulation.bybit_server.trading.checks import Checks
from hftpipe.simulation.bybit_server.trading.dcp import DeadManSwitch
from hftpipe.simulation.bybit_server.trading.keys import Keys
from hftpipe.simulation.bybit_server.trading.limits import Limits
from hftpipe.simulation.bybit_server.trading.ordering import Category, Ordering
from hftpipe.simulation.bybit_server.trading.queries import Queries
from hftpipe.simulation.bybit_server.trading.settings import LEVERAGE
from hftpipe.simulation.bybit_server.trading.state import TradingState
from hftpipe.simulation.bybit_server.trading.telling import Teller
from hftpipe.simulation.market_server.trading.accounts import AccountSettings, balances_at_start
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.faults import OrderFaults
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.reducers import Reducers
from hftpipe.simulation.market_server.trading.spot_ledger import SpotLedger
from hftpipe.simulation.market_server.trading.user_events import UserEvents

_DOLLAR = 10**8
_DOLLARS = ("USDT", "USDC", "USD")
_REDUCED = "CancelByReduceOnly"


@dataclass(frozen=True)
class Trading:
    """The trading of the venue.

    Attributes:
        state: what the ways in have in common; rest, socket: requests by (HTTP method, path), and by ``op``.
    """

    state: TradingState
    rest: Mapping[tuple[str, str], Call]
    socket: Mapping[str, Call]
    _desks: Mapping[str, Desk[Any]]
    _books: Mapping[str, Any]
    _contracts: list[str]
    _reducers: Reducers
    _switch: DeadManSwitch

    def advance(self) -> None:
        """Reckon in what the markets have done since, and do what is due."""
        for desk in self._desks.values():
            desk.advance()
        if "linear" in self._desks:
            for client in self._desks["linear"].traders:
                self._reducers.advance(client)
        self._switch.advance()

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request to the control endpoint asks of it."""
        for name, faults in self.state.faults.items():
            if asked.get("market", name) == name:
                faults.ask(asked)
        if "limit_per_s" in asked:
            self.state.limits.per_s = asked["limit_per_s"]
        if "dcp_refused" in asked:
            for account in self.state.accounts:
                account.is_dcp_allowed = not asked["dcp_refused"]

    def truth(self, account: UnifiedAccount) -> dict[str, Any]:
        """What an account has: of each category its orders and executions, and its coins and positions."""
        made: dict[str, Any] = {name: self._books[name].truth(client) for name, client in account.clients.items()}
        made["coins"] = {
            coin: {"wallet": amount_text(account.wallet(coin)), "locked": amount_text(account.spot.locked[coin])}
            for coin in account.coins()
        }  # fmt: skip
        made["positions"] = {
            self._contracts[index]: {
                "qty": amount_text(one.qty), "cost": amount_text(one.paid), "realized": amount_text(one.realized),
            }
            for index, one in sorted(account.margin.positions.items())
        }  # fmt: skip
        return made


def _prices(feeds: Mapping[str, Feed]) -> Callable[[str], int]:
    """What a coin is worth in dollars, 1e-8: itself, or what the flow takes it to be worth; 0 without a market."""
    found: dict[str, Callable[[], int]] = {}
    for feed in feeds.values():
        for index, row in enumerate(feed.market.listing.instruments):
            base, quote = currencies_of(row)
            if quote in _DOLLARS:
                found.setdefault(base, partial(feed.market.fair_price, index))

    def usd_of(coin: str) -> int:
        return _DOLLAR if coin in _DOLLARS else found[coin]() if coin in found else 0

    return usd_of


def _account(index: int, given: AccountSettings, feeds: Mapping[str, Feed], events: UserEvents) -> UnifiedAccount:
    rows = {name: feed.market.listing.instruments for name, feed in feeds.items()}
    start = balances_at_start(rows.get("linear", ()), given.balances, False)
    start |= balances_at_start(rows.get("spot", ()), given.balances, True)
    spot = SpotLedger(start, [currencies_of(row) for row in rows.get("spot", ())])
    quotes = [currencies_of(row)[1] for row in rows.get("linear", ())]
    mark = feeds["linear"].market.fair_price if "linear" in feeds else lambda index: 0
    margin = MarginLedger(spot.free, quotes, mark, LEVERAGE)
    account = UnifiedAccount(index, events, spot, margin)
    ledgers: dict[str, Any] = {"spot": spot, "linear": margin}
    account.clients = {name: Client(index, ledgers[name], events) for name in feeds}
    return account


def _nameless(id_: int) -> str:
    """An order that its client has not named has no other name than its id."""
    return ""


def trading_of(
    feeds: Mapping[str, Feed], accounts: tuple[AccountSettings, ...], keys: Keys,
    request_faults: Mapping[str, RequestFaults], watched: Callable[[int], Iterable[str]], refresh: Callable[[], None],
    first_order: int,
) -> Trading:  # fmt: skip
    """The trading of a venue.

    Args:
        feeds: its categories by name; accounts: who trades; keys: theirs; request_faults: by category.
        watched: topics of the private connections of an account; refresh: brings everything to now.
        first_order: order ids of each symbol come after this.
    """
    clock, faults = next(iter(feeds.values())).clock, {name: OrderFaults() for name in feeds}
    users = next(iter(faults.values())).events
    for one in faults.values():
        # Of an account there is one private stream, whatever is traded.
        one.events = users
    held = [_account(at, one, feeds, UserEvents(users)) for at, one in enumerate(accounts)]
    usd_of = _prices(feeds)

    def now_ms() -> int:
        return clock.now_ns // 1_000_000

    tellers = {name: Teller(feed, held, usd_of) for name, feed in feeds.items()}
    books: dict[str, Any] = {
        name: (SpotBooks if name == "spot" else LinearBooks)(feed, tellers[name]) for name, feed in feeds.items()
    }
    desks: dict[str, Desk[Any]] = {
        name: Desk(feed, books[name], [one.clients[name] for one in held], first_order, _nameless)
        for name, feed in feeds.items()
    }
    categories = {
        name: Category(Asking(feed), Checks(feed), desks[name], tellers[name], request_faults[name])
        for name, feed in feeds.items()
    }
    ordering = Ordering(categories)
    rest = rest_calls(ordering, Queries(categories, ordering), AccountRequests(categories, usd_of, now_ms))
    state = TradingState(now_ms, keys, held, Limits(), faults, request_faults, refresh)

    def reduce(client: Any, order: Any) -> None:
        desks["linear"].cancel(client, order, _REDUCED)

    switch = DeadManSwitch(held, desks, watched, now_ms)
    contracts = [one.name for one in feeds["linear"].symbols.all] if "linear" in feeds else []
    return Trading(state, rest, socket_calls(ordering), desks, books, contracts, Reducers(reduce), switch)
