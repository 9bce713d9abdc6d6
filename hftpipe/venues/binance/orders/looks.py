"""What Binance says of an account for a comparison: open orders, executions, and what it holds (spot 1.6, USD-M 2.3)."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from hftpipe.transport.http.answer import Outcome
from hftpipe.venues.binance.orders.account import NOT_FOUND, PAGE, BinanceAccount
from hftpipe.venues.orders.account_look import ListedExecution, ListedOrder, readable
from hftpipe.venues.orders.booked import BALANCE_PLACES
from hftpipe.venues.orders.client_text import client_id_of
from hftpipe.venues.orders.compare import Execution
from hftpipe.venues.orders.numbers import exact
from hftpipe.venues.orders.pages import all_rows

#: Orders of others whose executions were looked up: so many are remembered.
_REMEMBERED = 10_000


class BinanceLook(BinanceAccount):
    """The account, asked for comparisons, too (:class:`hftpipe.venues.orders.account_look.AccountLook`)."""

    most_at_once = 10

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        #: Orders that are not ours, by symbol and the venue's number.
        self._others = OrderedDict[tuple[str, int], None]()

    def open_orders(self) -> list[ListedOrder]:
        """All that is open in the instruments of the run."""
        every, one, count = self._market.open_orders, self._market.open_orders_of, len(self._instruments.symbols)
        self._give_way(min(every.weight, one.weight * count))
        with readable(self.rest.address, "open orders"):
            return [self._listed_order(row, int(row["orderId"])) for row in self._open_orders(0)]

    def executions(self, instruments: Iterable[int], since_ns: int) -> list[ListedExecution]:
        """Executions in some instruments from a time on."""
        return [one for at in instruments for one in self._executions_of(at, since_ns // 1_000_000)]

    def _executions_of(self, instrument: int, since_ms: int) -> list[ListedExecution]:
        symbol, request = self._instruments.symbols[instrument], self._market.trades_of

        def page(since_id: int | None) -> tuple[list[Any], int | None]:
            self._give_way(request.weight)
            where = {"startTime": since_ms} if since_id is None else {"fromId": since_id}
            rows = self.wanted("executions", self.ask("GET", request, {"symbol": symbol, "limit": PAGE, **where}))
            return rows, int(rows[-1]["id"]) + 1 if len(rows) >= PAGE else None

        with readable(self.rest.address, "executions"):
            return [self._listed_execution(instrument, row) for row in all_rows(page, f"executions of {symbol}")]

    def _listed_execution(self, instrument: int, row: Mapping[str, Any]) -> ListedExecution:
        is_buy = bool(row["isBuyer"] if self._market.is_spot else row["buyer"])
        key = Execution(instrument, int(row["id"]), is_buy)
        return ListedExecution(key, 0, int(row["orderId"]), int(row["time"]) * 1_000_000)

    def owner(self, execution: ListedExecution) -> int:
        """The client id of an execution's order, which the venue has to be asked for; 0: it is not one of ours."""
        symbol = self._instruments.symbols[execution.key.instrument]
        if (symbol, execution.venue_id) in self._others:
            return 0
        self._give_way(self._market.order.weight)
        answer = self.ask("GET", self._market.order, {"symbol": symbol, "orderId": execution.venue_id})
        id_ = 0
        if answer.outcome is not Outcome.REFUSED or answer.code not in NOT_FOUND:
            with readable(self.rest.address, "order"):
                id_, _ = client_id_of(self.prefix, self.wanted("order", answer)["clientOrderId"])
        if not id_:
            self._others[symbol, execution.venue_id] = None
            if len(self._others) > _REMEMBERED:
                self._others.popitem(last=False)
        return id_

    def holdings(self) -> Mapping[str, int | None]:
        """Positions by symbol, or balances by asset."""
        self._give_way(self._market.holdings.weight)
        answer = self.wanted("holdings", self.ask("GET", self._market.holdings, self._market.holdings.query))
        with readable(self.rest.address, "holdings"):
            if self._market.is_spot:
                return {one["asset"]: _balance(one) for one in answer["balances"]}
            return self._positions(answer)

    def _positions(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, int | None]:
        """Of the run's symbols; with two sides both together."""
        made: dict[str, int | None] = {}
        for row in rows:
            if (symbol := row["symbol"]) in self._instruments.symbols:
                places = self._instruments.places(self._instruments.symbols.index(symbol))[1]
                made[symbol] = (made.get(symbol) or 0) + exact(row["positionAmt"], places)
        return made


def _balance(row: Mapping[str, Any]) -> int:
    return exact(row["free"], BALANCE_PLACES) + exact(row["locked"], BALANCE_PLACES)
