"""USD-M: what a request of an account does to its orders and is answered, whichever way it came (REST or the WebSocket API)."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hftpipe.simulation.binance_server.answers import Answers, Refused, number_in
from hftpipe.simulation.binance_server.trading import usdm_payloads as say
from hftpipe.simulation.binance_server.trading.lookup import fills_in, find_order, orders_in
from hftpipe.simulation.binance_server.trading.params import Params, choice_in
from hftpipe.simulation.binance_server.trading.refused import missing, said
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmTrader
from hftpipe.simulation.binance_server.trading.usdm_orders import UsdmEntry
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.orders import NewOrder, Order

_BATCH_MOST, _BATCH_CANCELS_MOST = 5, 10
_MOST_CHANGES = 10_000
_ALL_CANCELED = {"code": 200, "msg": "The operation of cancel all open order is done."}


class UsdmService:
    """The requests of USD-M that are about orders.

    Args:
        answers: of the market; market: its books; desk: its orders.
    """

    def __init__(self, answers: Answers, market: Market, desk: Desk[UsdmTrader]) -> None:
        self._answers, self._desk = answers, desk
        self._entry = UsdmEntry(answers, market)

    # New orders and changes.

    def place(self, trader: UsdmTrader, params: Params) -> Any:
        """A new order."""
        asked = self._checked(trader, params)
        trader.counts.charge(self._answers.now_ms())
        return self._enter(trader, asked)

    def _checked(self, trader: UsdmTrader, params: Params) -> NewOrder:
        asked = self._entry.read(params)
        self._entry.check(trader, asked)
        return asked

    def _enter(self, trader: UsdmTrader, asked: NewOrder) -> Any:
        with trader.counts.unless_refused(self._answers.now_ms()):
            order = self._desk.place(trader, asked)
        return say.answer(order) if asked.answer == "RESULT" else say.ack(order)

    def test(self, trader: UsdmTrader, params: Params) -> Any:
        """A new order that is only looked at."""
        asked, now = self._checked(trader, params), self._answers.now_ms()
        return say.ack(Order(0, trader.account, asked, asked.client_id or "test", now, now))

    def change(self, trader: UsdmTrader, params: Params) -> Any:
        """Give an order another price and quantity."""
        order, price, qty = self._change_asked(trader, params)
        trader.counts.charge(self._answers.now_ms())
        return self._change(trader, order, price, qty)

    def _change_asked(self, trader: UsdmTrader, params: Params) -> tuple[Order, int, int]:
        order = find_order(trader.orders, self._answers.symbol_of(params), params)
        if order is None or not order.is_open:
            raise Refused(-2013, "Order does not exist.")
        side = choice_in(params, "side", ("BUY", "SELL"), -1117, "Invalid side.")
        if side != order.side_text:
            raise Refused(-1117, "Invalid side.")
        if order.asked.type != words.LIMIT:
            raise Refused(-5024, "Order type does not support modification.")
        price, qty = self._entry.read_change(params, order.asked.price, order.asked.qty)
        if (price, qty) == (order.asked.price, order.asked.qty):
            raise Refused(-5027, "No need to modify the order.")
        if order.changes >= _MOST_CHANGES:
            raise Refused(-5026, "Exceed maximum modify order limit.")
        order.modify_id = number_in(params, "modifyId")
        return order, price, qty

    def _change(self, trader: UsdmTrader, order: Order, price: int, qty: int) -> Any:
        if qty <= order.executed:
            self._desk.cancel(trader, order)
            return say.answer(order)
        self._entry.check(trader, replace(order.asked, price=price, qty=qty), order.id, order.executed)
        self._desk.replace(trader, order, price, qty)
        return say.answer(order)

    # Cancels.

    def _open(self, trader: UsdmTrader, params: Params) -> Order:
        order = find_order(trader.orders, self._answers.symbol_of(params), params)
        if order is None or not order.is_open:
            raise Refused(-2011, "Unknown order sent.")
        return order

    def cancel(self, trader: UsdmTrader, params: Params) -> Any:
        """Cancel one order."""
        order = self._open(trader, params)
        self._desk.cancel(trader, order)
        return say.answer(order)

    def cancel_all(self, trader: UsdmTrader, params: Params) -> Any:
        """Cancel all open orders of a symbol."""
        for one in trader.orders.of(self._answers.symbol_of(params).index):
            self._desk.cancel(trader, one)
        return _ALL_CANCELED

    # Several at once.

    def _each(self, asked: list[Params], one: Callable[[Params], Any]) -> list[Any]:
        made = []
        for params in asked:
            try:
                made.append(one(params))
            except Refused as wrong:
                made.append(said(wrong))
        return made

    def _batch(self, trader: UsdmTrader, params: Params) -> list[Params]:
        asked = _list_in(params, "batchOrders", _BATCH_MOST)
        if not all(isinstance(one, dict) for one in asked):
            raise Refused(-1130, "Data sent for parameter 'batchOrders' is not valid.")
        trader.counts.charge(self._answers.now_ms(), 1, _BATCH_MOST)
        return [{name: _text(value) for name, value in one.items()} for one in asked]

    def place_batch(self, trader: UsdmTrader, params: Params) -> Any:
        """Several new orders; each is answered for itself."""
        return self._each(self._batch(trader, params), lambda one: self._enter(trader, self._checked(trader, one)))

    def change_batch(self, trader: UsdmTrader, params: Params) -> Any:
        """Several changes; each is answered for itself."""
        return self._each(
            self._batch(trader, params), lambda one: self._change(trader, *self._change_asked(trader, one))
        )

    def cancel_batch(self, trader: UsdmTrader, params: Params) -> Any:
        """Several cancels of one symbol; each is answered for itself."""
        symbol = self._answers.symbol_of(params).name
        for name, own in (("orderIdList", "orderId"), ("origClientOrderIdList", "origClientOrderId")):
            if params.get(name):
                ids = _list_in(params, name, _BATCH_CANCELS_MOST)
                asked: list[Params] = [{"symbol": symbol, own: _text(one)} for one in ids]
                return self._each(asked, lambda one: self.cancel(trader, one))
        raise missing("orderIdList")

    # Queries.

    def status(self, trader: UsdmTrader, params: Params) -> Any:
        """One order."""
        order = find_order(trader.orders, self._answers.symbol_of(params), params)
        if order is None:
            raise Refused(-2013, "Order does not exist.")
        return say.row(order)

    def open_order(self, trader: UsdmTrader, params: Params) -> Any:
        """One order that is open."""
        order = find_order(trader.orders, self._answers.symbol_of(params), params)
        if order is None or not order.is_open:
            raise Refused(-2013, "Order does not exist.")
        return say.row(order)

    def open_orders(self, trader: UsdmTrader, params: Params) -> Any:
        """Open orders, of a symbol or of all."""
        index = self._answers.symbol_of(params).index if params.get("symbol") else None
        return [say.row(one) for one in trader.orders.of(index)]

    def all_orders(self, trader: UsdmTrader, params: Params) -> Any:
        """Orders of a symbol, open or not."""
        return [say.row(one) for one in orders_in(trader.orders, self._answers.symbol_of(params), params)]

    def trades(self, trader: UsdmTrader, params: Params) -> Any:
        """Executions of a symbol."""
        return [say.trade_row(one) for one in fills_in(trader.orders, self._answers.symbol_of(params), params)]

    def counts(self, trader: UsdmTrader, params: Params) -> Any:
        """Orders sent."""
        return trader.counts.rows(self._answers.now_ms())


def _text(value: Any) -> str:
    """A value of JSON as a parameter has it."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _list_in(params: Params, name: str, most: int) -> list[Any]:
    if not params.get(name):
        raise missing(name)
    try:
        asked = json.loads(params[name])
    except ValueError:
        asked = None
    if not isinstance(asked, list) or not 0 < len(asked) <= most:
        raise Refused(-4082, f"Invalid number of batch orders; allowed: 1 to {most}.")
    return asked
