"""Spot: what a request of an account does and is answered, whichever way it came (REST or the WebSocket API)."""

from typing import Any

from hftpipe.simulation.binance_server.answers import Answers, Refused
from hftpipe.simulation.binance_server.listing import MAX_AMENDS
from hftpipe.simulation.binance_server.trading import spot_payloads as say
from hftpipe.simulation.binance_server.trading.lookup import fills_in, find_order, orders_in
from hftpipe.simulation.binance_server.trading.params import (
    Params,
    choice_in,
    client_id_in,
    flag_in,
    needed_amount,
)
from hftpipe.simulation.binance_server.trading.refused import CONFLICT, filter_failure, said
from hftpipe.simulation.binance_server.trading.settings import TradingRules
from hftpipe.simulation.binance_server.trading.spot_books import SpotTrader
from hftpipe.simulation.binance_server.trading.spot_orders import CLIENT_ID, SpotEntry
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.text import decimal_text
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.orders import NEW, PARTIALLY_FILLED, NewOrder, Order

SUCCESS, FAILURE, NOT_ATTEMPTED = "SUCCESS", "FAILURE", "NOT_ATTEMPTED"
_RESTRICTIONS = {"ONLY_NEW": NEW, "ONLY_PARTIALLY_FILLED": PARTIALLY_FILLED}


class SpotService:
    """The requests of spot.

    Args:
        answers: of the market; market: its books; desk: its orders; rules: fees.
    """

    def __init__(self, answers: Answers, market: Market, desk: Desk[SpotTrader], rules: TradingRules) -> None:
        self._answers, self._market, self._desk, self._rules = answers, market, desk, rules
        self._entry = SpotEntry(answers, market)
        self._cancels = 0

    # New orders and changes.

    def place(self, trader: SpotTrader, params: Params) -> Any:
        """A new order."""
        asked = self._entry.read(params)
        self._entry.check(trader, asked)
        trader.counts.charge(self._answers.now_ms())
        return self._enter(trader, asked)

    def _enter(self, trader: SpotTrader, asked: NewOrder) -> Any:
        with trader.counts.unless_refused(self._answers.now_ms()):
            order = self._desk.place(trader, asked)
        return say.ANSWERS[asked.answer](order)

    def test(self, trader: SpotTrader, params: Params) -> Any:
        """A new order that is only looked at."""
        asked = self._entry.read(params)
        self._entry.check(trader, asked)
        if not flag_in(params, "computeCommissionRates"):
            return {}
        return {
            "standardCommissionForOrder": self._rates(), "taxCommissionForOrder": _no_rates(),
            "discount": _no_discount(),
        }  # fmt: skip

    def amend(self, trader: SpotTrader, params: Params) -> Any:
        """Make an order smaller; it keeps its place."""
        order = self._open(trader, params, -2038, "The order does not exist or is not open.")
        new_qty = needed_amount(params, "newQty")
        client_id = client_id_in(params, "newClientOrderId", CLIENT_ID) or f"amend{order.id}x{order.changes + 1}"
        if new_qty >= order.asked.qty:
            raise Refused(-2038, "Order amend (quantity increase) is not supported.")
        lot = int(self._market.listing.instruments[order.symbol.index]["lot"])
        if not new_qty or new_qty % lot:
            raise filter_failure("LOT_SIZE")
        if order.changes >= MAX_AMENDS:
            raise filter_failure("MAX_NUM_ORDER_AMENDS")
        if client_id != order.client_id and trader.orders.is_taken(order.symbol.index, client_id):
            raise Refused(-2010, "Duplicate order sent.")
        if new_qty <= order.executed:
            self._desk.expire(trader, order)
        else:
            self._desk.reduce(trader, order, new_qty, client_id)
        now = self._answers.now_ms()
        return {"transactTime": now, "executionId": now, "amendedOrder": self._amended(order)}

    @staticmethod
    def _amended(order: Order) -> dict[str, Any]:
        qty, executed, quote = (say.amount(value) for value in (order.asked.qty, order.executed, order.quote))
        return {
            "symbol": order.symbol.name, "orderId": order.id, "orderListId": -1, "origClientOrderId": order.client_id,
            "clientOrderId": order.client_id, "price": say.amount(order.asked.price), "qty": qty,
            "executedQty": executed, "preventedQty": say.amount(0), "quoteOrderQty": say.amount(0),
            "cumulativeQuoteQty": quote, "status": order.status, "timeInForce": order.asked.tif,
            "type": order.asked.type, "side": order.side_text, "workingTime": order.created_ms,
            "selfTradePreventionMode": order.asked.stp,
        }  # fmt: skip

    # Cancels.

    def _find(
        self, trader: SpotTrader, params: Params, id_name: str = "orderId", client_name: str = "origClientOrderId"
    ) -> Order | None:
        """The order that is named; if both names are given it must have both."""
        order, client_id = (
            find_order(trader.orders, self._answers.symbol_of(params), params, id_name, client_name),
            params.get(client_name),
        )
        if order is not None and client_id and client_id != order.client_id:
            raise Refused(-2039, "Client order ID is not correct for this order ID.")
        return order

    def _open(
        self, trader: SpotTrader, params: Params, code: int = -2011, text: str = "Unknown order sent.",
        id_name: str = "orderId", client_name: str = "origClientOrderId",
    ) -> Order:  # fmt: skip
        order = self._find(trader, params, id_name, client_name)
        if order is None or not order.is_open:
            raise Refused(code, text)
        return order

    def _cancel(self, trader: SpotTrader, order: Order, params: Params, cancel_id: str) -> Any:
        restriction = params.get("cancelRestrictions")
        if restriction and restriction not in _RESTRICTIONS:
            raise Refused(-1130, "Data sent for parameter 'cancelRestrictions' is not valid.")
        if restriction and order.status != _RESTRICTIONS[restriction]:
            raise Refused(-2011, "Order was not canceled due to cancel restrictions.")
        self._cancels += 1
        cancel_id = cancel_id or f"cancel{self._cancels}"
        self._desk.cancel(trader, order, cancel_id)
        return say.canceled(order, cancel_id)

    def cancel(self, trader: SpotTrader, params: Params) -> Any:
        """Cancel one order."""
        cancel_id = client_id_in(params, "newClientOrderId", CLIENT_ID)
        return self._cancel(trader, self._open(trader, params), params, cancel_id)

    def cancel_all(self, trader: SpotTrader, params: Params) -> Any:
        """Cancel all open orders of a symbol."""
        found = trader.orders.of(self._answers.symbol_of(params).index)
        if not found:
            raise Refused(-2011, "Unknown order sent.")
        return [self._cancel(trader, one, {}, "") for one in found]

    def cancel_replace(self, trader: SpotTrader, params: Params) -> Any:
        """Cancel an order and enter another one; each may fail by itself."""
        mode = choice_in(
            params, "cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"), -1130,
            "Data sent for parameter 'cancelReplaceMode' is not valid.",
        )  # fmt: skip
        asked, now = self._entry.read(params), self._answers.now_ms()
        trader.counts.charge(now)
        data: dict[str, Any] = {"cancelResult": FAILURE, "newOrderResult": NOT_ATTEMPTED}
        data |= {"cancelResponse": None, "newOrderResponse": None}
        try:
            names = "cancelOrderId", "cancelOrigClientOrderId"
            order = self._open(trader, params, id_name=names[0], client_name=names[1])
            cancel_id = client_id_in(params, "cancelNewClientOrderId", CLIENT_ID)
            data["cancelResponse"] = self._cancel(trader, order, params, cancel_id)
            data["cancelResult"] = SUCCESS
        except Refused as wrong:
            data["cancelResponse"] = said(wrong)
        if data["cancelResult"] == SUCCESS or mode == "ALLOW_FAILURE":
            try:
                self._entry.check(trader, asked)
                data["newOrderResponse"] = self._enter(trader, asked)
                data["newOrderResult"] = SUCCESS
            except Refused as wrong:
                data["newOrderResponse"], data["newOrderResult"] = said(wrong), FAILURE
        results = {data["cancelResult"], data["newOrderResult"]}
        if results == {SUCCESS}:
            return data
        if SUCCESS in results:
            raise Refused(-2021, "Order cancel-replace partially failed.", CONFLICT, data)
        raise Refused(-2022, "Order cancel-replace failed.", 400, data)

    # Queries.

    def status(self, trader: SpotTrader, params: Params) -> Any:
        """One order."""
        order = self._find(trader, params)
        if order is None:
            raise Refused(-2013, "Order does not exist.")
        return say.row(order)

    def open_orders(self, trader: SpotTrader, params: Params) -> Any:
        """Open orders, of a symbol or of all."""
        index = self._answers.symbol_of(params).index if params.get("symbol") else None
        return [say.row(one) for one in trader.orders.of(index)]

    def all_orders(self, trader: SpotTrader, params: Params) -> Any:
        """Orders of a symbol, open or not."""
        return [say.row(one) for one in orders_in(trader.orders, self._answers.symbol_of(params), params)]

    def trades(self, trader: SpotTrader, params: Params) -> Any:
        """Executions of a symbol."""
        return [say.trade_row(one) for one in fills_in(trader.orders, self._answers.symbol_of(params), params)]

    def counts(self, trader: SpotTrader, params: Params) -> Any:
        """Orders sent."""
        return trader.counts.rows(self._answers.now_ms())

    def _rates(self) -> dict[str, str]:
        maker, taker = (decimal_text(value, 8) for value in (self._rules.maker_fee, self._rules.taker_fee))
        return {"maker": maker, "taker": taker, "buyer": say.amount(0), "seller": say.amount(0)}

    def commission(self, trader: SpotTrader, params: Params) -> Any:
        """Fees of a symbol."""
        return {
            "symbol": self._answers.symbol_of(params).name, "standardCommission": self._rates(),
            "specialCommission": _no_rates(), "taxCommission": _no_rates(), "discount": _no_discount(),
        }  # fmt: skip

    def account(self, trader: SpotTrader, params: Params) -> Any:
        """Balances."""
        ledger, skips_zero = trader.ledger, flag_in(params, "omitZeroBalances")
        rows = [
            {"asset": asset, "free": say.amount(ledger.free[asset]), "locked": say.amount(ledger.locked[asset])}
            for asset in sorted({*ledger.free, *ledger.locked})
            if not skips_zero or ledger.free[asset] or ledger.locked[asset]
        ]
        basis = (self._rules.maker_fee // 10_000, self._rules.taker_fee // 10_000)
        return {
            "makerCommission": basis[0], "takerCommission": basis[1], "buyerCommission": 0, "sellerCommission": 0,
            "commissionRates": self._rates(), "canTrade": True, "canWithdraw": False, "canDeposit": False,
            "brokered": False, "requireSelfTradePrevention": False, "preventSor": False,
            "updateTime": self._answers.now_ms(), "accountType": "SPOT", "balances": rows, "permissions": ["SPOT"],
            "uid": trader.owner,
        }  # fmt: skip


def _no_rates() -> dict[str, str]:
    return {"maker": say.amount(0), "taker": say.amount(0), "buyer": say.amount(0), "seller": say.amount(0)}


def _no_discount() -> dict[str, Any]:
    return {
        "enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": say.amount(0),
    }  # fmt: skip
