"""What Bybit says of an account for a comparison: open orders, executions, positions, and the wallet (6)."""

from collections.abc import Iterable, Mapping
from typing import Any

from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.bybit.orders.account import EXECUTIONS, POSITIONS, BybitAccount
from hftpipe.venues.orders.account_look import ListedExecution, ListedOrder, readable
from hftpipe.venues.orders.booked import BALANCE_PLACES
from hftpipe.venues.orders.client_text import client_id_of
from hftpipe.venues.orders.compare import Execution
from hftpipe.venues.orders.numbers import exact

_WALLET = "/v5/account/wallet-balance"
_EXECUTIONS_A_PAGE, _POSITIONS_A_PAGE = 100, 200
#: What of a coin says that contracts change it, too.
_IN_USE = ("totalOrderIM", "totalPositionIM")


class BybitLook(BybitAccount):
    """The account, asked for comparisons, too (:class:`hftpipe.venues.orders.account_look.AccountLook`)."""

    #: All are told at once, whichever are asked for.
    most_at_once = 1 << 30

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        #: What contracts had brought in each coin at the first look; coins that they change.
        self._brought, self._with_contracts = dict[str, str](), set[str]()

    def open_orders(self) -> list[ListedOrder]:
        """All that is open in the category."""
        self._give_way(1)
        with readable(self.rest.address, "open orders"):
            return [self._listed_order(row, trade_id_of(row["orderId"])) for row in self._open_orders(0)]

    def executions(self, instruments: Iterable[int], since_ns: int) -> list[ListedExecution]:
        """Executions in the run's instruments from a time on, whichever are asked for."""
        self._give_way(1)
        query: dict[str, str | int] = {
            "category": self._category, "startTime": since_ns // 1_000_000, "execType": "Trade", "limit": _EXECUTIONS_A_PAGE,
        }  # fmt: skip
        symbols = self._instruments.symbols
        with readable(self.rest.address, "executions"):
            return [
                self._listed_execution(row)
                for row in self._pages(EXECUTIONS, query, "executions")
                if row["execType"] == "Trade" and row["symbol"] in symbols
            ]

    def _listed_execution(self, row: Mapping[str, Any]) -> ListedExecution:
        instrument = self._instruments.symbols.index(row["symbol"])
        key = Execution(instrument, trade_id_of(row["execId"]), row["side"] == "Buy")
        id_, _ = client_id_of(self.prefix, row["orderLinkId"])
        return ListedExecution(key, id_, trade_id_of(row["orderId"]), int(row["execTime"]) * 1_000_000)

    def owner(self, execution: ListedExecution) -> int:
        """The client id of an execution's order: it is told with it."""
        return execution.id

    def holdings(self) -> Mapping[str, int | None]:
        """Positions by symbol, or the wallet by coin."""
        self._give_way(1)
        return self._wallet() if self._category == "spot" else self._positions()

    def _positions(self) -> dict[str, int | None]:
        """Of the run's symbols; with two sides both together."""
        made: dict[str, int | None] = {}
        for settle in self._market.settles:
            query: dict[str, str | int] = {"category": self._category, "settleCoin": settle, "limit": _POSITIONS_A_PAGE}
            rows = self._pages(POSITIONS, query, "positions")
            with readable(self.rest.address, "positions"):
                for row in rows:
                    if (symbol := row["symbol"]) in self._instruments.symbols:
                        places = self._instruments.places(self._instruments.symbols.index(symbol))[1]
                        sign = {"Buy": 1, "Sell": -1}.get(row["side"], 0)
                        made[symbol] = (made.get(symbol) or 0) + sign * exact(row["size"] or "0", places)
        return made

    def _wallet(self) -> dict[str, int | None]:
        """One wallet is for spot and for contracts: a coin in which contracts are held, were held since the first look, or are ordered,
        cannot be compared with what spot has made of it."""
        body = self.wanted("wallet", self.ask("GET", _WALLET, {"accountType": "UNIFIED"}))
        with readable(self.rest.address, "wallet"):
            rows = [row for account in body["list"] for row in account["coin"]]
            return {row["coin"]: self._amount(row) for row in rows}

    def _amount(self, row: Mapping[str, Any]) -> int | None:
        """What a coin's row holds; None: it cannot be compared. An odd coin that nobody trades is no reason to compare none."""
        try:
            self._mind_contracts(row)
            return None if row["coin"] in self._with_contracts else exact(row["walletBalance"], BALANCE_PLACES)
        except ValueError:
            return None

    def _mind_contracts(self, row: Mapping[str, Any]) -> None:
        """What contracts have ever brought in a coin changes with each that is closed, and with funding."""
        coin, brought = row["coin"], str(row.get("cumRealisedPnl", ""))
        is_in_use = any(exact(row.get(name) or "0", BALANCE_PLACES) for name in _IN_USE)
        if is_in_use or self._brought.setdefault(coin, brought) != brought:
            self._with_contracts.add(coin)
