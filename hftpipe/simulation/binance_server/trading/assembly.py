"""The trading of one market, put together: its desk, its accounts, and the ways in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hftpipe.simulation.binance_server.answers import Answers
from hftpipe.simulation.binance_server.faults import RestFaults
from hftpipe.simulation.binance_server.feed import Feed
from hftpipe.simulation.binance_server.listing import currencies_of
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.calls import Call, spot_calls, usdm_calls
from hftpipe.simulation.binance_server.trading.counts import OrderCounts
from hftpipe.simulation.binance_server.trading.keys import Keys
from hftpipe.simulation.binance_server.trading.listen_keys import ListenKeys
from hftpipe.simulation.binance_server.trading.rest import TradingRest
from hftpipe.simulation.binance_server.trading.settings import TRADING, TradingRules
from hftpipe.simulation.binance_server.trading.spot_books import SpotBooks, SpotTrader
from hftpipe.simulation.binance_server.trading.spot_service import SpotService
from hftpipe.simulation.binance_server.trading.state import TradingState
from hftpipe.simulation.binance_server.trading.usdm_account import UsdmAccount
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmBooks, UsdmTrader
from hftpipe.simulation.binance_server.trading.usdm_service import UsdmService
from hftpipe.simulation.binance_server.trading.usdm_upkeep import UsdmUpkeep
from hftpipe.simulation.binance_server.weights import Weights
from hftpipe.simulation.market_server.trading.accounts import AccountSettings, balances_at_start
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.faults import OrderFaults
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.spot_ledger import SpotLedger
from hftpipe.simulation.market_server.trading.user_events import UserEvents

Calls = tuple[dict[tuple[str, str], Call], dict[str, Call]]


@dataclass(frozen=True)
class Trading:
    """The trading of one market.

    Attributes:
        state: what the ways in have in common; rest: the REST requests; methods: those of the WebSocket API.
        listen_keys: USD-M's; advance: reckon in what the market has done; truth: what a trader has.
    """

    state: TradingState
    rest: TradingRest
    methods: dict[str, Call]
    listen_keys: ListenKeys | None
    advance: Callable[[], None]
    truth: Callable[[Account[Any]], dict[str, Any]]

    def routes(self) -> list[web.RouteDef]:
        """REST paths."""
        return self.rest.routes()

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request to the control endpoint asks of this market."""
        self.state.faults.ask(asked)
        if asked.get("expire_listen_keys") and self.listen_keys:
            self.listen_keys.expire()


@dataclass(frozen=True)
class _Parts:
    """What both markets are put together from."""

    feed: Feed
    answers: Answers
    accounts: tuple[AccountSettings, ...]
    rules: TradingRules
    faults: OrderFaults
    first_order: int

    @property
    def rows(self) -> Any:
        """INSTRUMENT of all symbols, by index."""
        return self.feed.market.listing.instruments

    def traders(self, ledger_of: Callable[[AccountSettings], Any]) -> list[Any]:
        """One of each account."""
        return [
            Account(at, ledger_of(one), UserEvents(self.faults.events), counts=OrderCounts(self.rules))
            for at, one in enumerate(self.accounts)
        ]


def _spot(parts: _Parts) -> tuple[Desk[SpotTrader], SpotBooks, Calls]:
    currencies = [currencies_of(row) for row in parts.rows]
    traders = parts.traders(lambda one: SpotLedger(balances_at_start(parts.rows, one.balances, True), currencies))
    books = SpotBooks(parts.rules, parts.answers.now_ms)
    desk: Desk[SpotTrader] = Desk(parts.feed, books, traders, parts.first_order)
    return desk, books, spot_calls(SpotService(parts.answers, parts.feed.market, desk, parts.rules))


def _usdm(parts: _Parts) -> tuple[Desk[UsdmTrader], UsdmBooks, UsdmUpkeep, ListenKeys, Calls]:
    symbols, answers = parts.feed.symbols.all, parts.answers
    quotes = [currencies_of(row)[1] for row in parts.rows]

    def ledger_of(one: AccountSettings) -> MarginLedger:
        wallets = balances_at_start(parts.rows, one.balances, False)
        return MarginLedger(wallets, quotes, lambda index: answers.mark_price(symbols[index]), parts.rules.leverage)

    traders = parts.traders(ledger_of)
    books = UsdmBooks(parts.rules, symbols, answers.now_ms)
    desk: Desk[UsdmTrader] = Desk(parts.feed, books, traders, parts.first_order)
    service, account = UsdmService(answers, parts.feed.market, desk), UsdmAccount(answers, symbols, parts.rules)
    upkeep = UsdmUpkeep(answers, desk)
    keys = ListenKeys([trader.events for trader in traders], answers.now_ms)
    return desk, books, upkeep, keys, usdm_calls(service, account, upkeep, keys)


def trading_of(
    feed: Feed, answers: Answers, accounts: tuple[AccountSettings, ...], keys: Keys, weights: Weights,
    rest_faults: RestFaults, refresh: Callable[[], None], first_order: int,
) -> Trading:  # fmt: skip
    """The trading of a market.

    Args:
        feed, answers, weights, rest_faults: of the market; accounts: who trades; keys: theirs.
        refresh: brings everything to now; first_order: order ids of each symbol come after this.
    """
    faults = OrderFaults()
    parts = _Parts(feed, answers, accounts, TRADING[feed.rules.name], faults, first_order)
    listen_keys: ListenKeys | None = None
    desk: Any
    truth: Callable[[Account[Any]], dict[str, Any]]
    if feed.rules.name == "spot":
        desk, spot_books, (rest, methods) = _spot(parts)
        advance, truth = desk.advance, spot_books.truth
    else:
        desk, usdm_books, upkeep, listen_keys, (rest, methods) = _usdm(parts)
        truth = usdm_books.truth
        steps = (desk.advance, upkeep.advance, listen_keys.advance)

        def advance() -> None:
            for step in steps:
                step()

    clock = feed.clock
    state = TradingState(feed.rules, lambda: clock.now_ns, keys, desk.traders, weights, rest_faults, faults)
    return Trading(state, TradingRest(state, rest, refresh), methods, listen_keys, advance, truth)
