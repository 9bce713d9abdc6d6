"""Requests that enter, change and cancel orders, whichever way they came. What they are answered is a receipt: what becomes of the order is
told on the private topics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.simulation.bybit_server.answers import PARAMETER, Refused
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.listing import currencies_of
from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.asking import Asking
from hftpipe.simulation.bybit_server.trading.checks import Checks
from hftpipe.simulation.bybit_server.trading.ids import text_of
from hftpipe.simulation.bybit_server.trading.params import Params, amount_in, refuse_all, text_in
from hftpipe.simulation.bybit_server.trading.refused import FILLED, refusal, said, wrong
from hftpipe.simulation.bybit_server.trading.settings import TRADING
from hftpipe.simulation.bybit_server.trading.telling import Teller
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.orders import FILLED as FILLED_WHOLE
from hftpipe.simulation.market_server.trading.orders import Order

BY_USER = "CancelByUser"
_CANCEL_ALL_MOST = 500
_NOT_CHANGED = ("triggerPrice", "takeProfit", "stopLoss", "tpslMode", "orderIv")
_FINE = {"code": 0, "msg": "OK"}
#: The result of a batch, and ``retExtInfo``.
Batch = tuple[dict[str, Any], dict[str, Any]]
One = Callable[[UnifiedAccount, Params], dict[str, Any]]


@dataclass(frozen=True)
class Category:
    """One category as requests need it: what reads them, what lets orders through, where those are, and what befalls requests."""

    asking: Asking
    checks: Checks
    desk: Desk[Any]
    teller: Teller
    faults: RequestFaults


def category_in(params: Params, categories: Mapping[str, Any]) -> str:
    """The category that a request names.

    Raises:
        Refused: none of ours.
    """
    name = text_in(params, "category")
    if name not in categories:
        raise wrong("category", ", ".join(categories))
    return name


class Ordering:
    """The requests that are about orders.

    Args:
        categories: by name.
    """

    def __init__(self, categories: Mapping[str, Category]) -> None:
        self._categories = categories

    def _of(self, params: Params) -> tuple[str, Category]:
        name = category_in(params, self._categories)
        return name, self._categories[name]

    @staticmethod
    def _receipt(name: str, order: Order) -> dict[str, Any]:
        return {"orderId": text_of(name, order), "orderLinkId": order.client_id}

    def create(self, account: UnifiedAccount, params: Params) -> dict[str, Any]:
        """A new order."""
        name, own = self._of(params)
        asked = own.asking.new_order(params)
        own.checks.check_new(account, asked)
        if own.faults.next("reject_next"):
            return self._receipt(name, own.desk.reject(account.clients[name], asked, reasons.VENUE_BUSY))
        return self._receipt(name, own.desk.place(account.clients[name], asked))

    def amend(self, account: UnifiedAccount, params: Params) -> dict[str, Any]:
        """Another price or total quantity. It keeps its place if it only becomes smaller."""
        name, own = self._of(params)
        refuse_all(params, _NOT_CHANGED)
        client, order = account.clients[name], own.asking.open_order(account.clients[name], params)
        price, qty = amount_in(params, "price"), amount_in(params, "qty")
        price, qty = order.asked.price if price is None else price, order.asked.qty if qty is None else qty
        if qty <= order.executed:
            raise refusal(name, FILLED)
        changed = replace(order.asked, price=price, qty=qty)
        own.checks.check(account, changed, order)
        if (changed.price, changed.qty) == (order.asked.price, order.asked.qty):
            raise Refused(PARAMETER, "The order remains unchanged as the parameters entered match the existing ones.")
        if changed.price == order.asked.price and changed.qty < order.asked.qty:
            own.desk.reduce(client, order, changed.qty, order.client_id)
        else:
            own.desk.replace(client, order, changed.price, changed.qty)
        return self._receipt(name, order)

    def cancel(self, account: UnifiedAccount, params: Params) -> dict[str, Any]:
        """No longer an order."""
        name, own = self._of(params)
        client = account.clients[name]
        found = own.asking.find(client, params)
        if found is not None and found.status == FILLED_WHOLE and own.faults.next("cancel_too_late"):
            own.teller.tell_too_late(client, found)
            return self._receipt(name, found)
        order = own.asking.open_order(client, params)
        own.desk.cancel(client, order, BY_USER)
        return self._receipt(name, order)

    def cancel_all(self, account: UnifiedAccount, params: Params) -> dict[str, Any]:
        """All orders of a symbol or of a coin; of spot all of all symbols, if neither is named."""
        name, own = self._of(params)
        client = account.clients[name]
        self.scope(name, params)
        found = [one for one in client.orders.of() if self.is_meant(name, one, params)][:_CANCEL_ALL_MOST]
        for one in found:
            if one.is_open:
                own.desk.cancel(client, one, BY_USER)
        return {"list": [self._receipt(name, one) for one in found], "success": "1"}

    def is_meant(self, name: str, order: Order, params: Params) -> bool:
        """Whether a request means this order, as far as it names ``symbol``, ``baseCoin`` or ``settleCoin``.

        Raises:
            Refused: a symbol that is not listed.
        """
        own = self._categories[name]
        if text_in(params, "symbol"):
            return own.asking.symbol(params) is order.symbol
        base, quote = currencies_of(own.asking.feed.market.listing.instruments[order.symbol.index])
        return text_in(params, "baseCoin", base) == base and text_in(params, "settleCoin", quote) == quote

    def scope(self, name: str, params: Params) -> None:
        """See that a request of linear contracts names a symbol or a coin.

        Raises:
            Refused: it does not, or a symbol that is not listed.
        """
        if text_in(params, "symbol"):
            self._categories[name].asking.symbol(params)
        elif name == "linear" and not text_in(params, "baseCoin") and not text_in(params, "settleCoin"):
            raise Refused(PARAMETER, "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin")

    # Several at once.

    def batch(self, one: One) -> Callable[[UnifiedAccount, Params], Batch]:
        """A request that asks the same several times, each answered for itself."""

        def carry_out(account: UnifiedAccount, params: Params) -> Batch:
            name = category_in(params, self._categories)
            rows, codes = [], []
            for asked in asked_in(params, TRADING[name].batch_most):
                head = {key: str(asked.get(key) or "") for key in ("symbol", "orderId", "orderLinkId")}
                try:
                    made = one(account, asked | {"category": name})
                    rows.append({"category": name} | head | made)
                    codes.append(_FINE)
                except Refused as refused:
                    rows.append({"category": name} | head)
                    codes.append(said(refused))
            return {"list": rows}, {"list": codes}

        return carry_out


def asked_in(params: Params, most: int) -> list[dict[str, Any]]:
    """The requests of a batch.

    Raises:
        Refused: there are none, or too many.
    """
    given = params.get("request")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise wrong("request", "a list of orders")
    if not 1 <= len(given) <= most:
        raise wrong("request", f"1 to {most} orders")
    return given
