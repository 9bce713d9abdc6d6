"""Which order, and which orders or executions, a request means."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from hftpipe.simulation.binance_server.answers import Refused, number_in
from hftpipe.simulation.binance_server.trading.params import Params, limit_in
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading.orders import Fill, Order, Orders

Item = TypeVar("Item")
_MOST_ROWS, _DEFAULT_ROWS = 1000, 500


def find_order(
    orders: Orders, symbol: Symbol, params: Params, id_name: str = "orderId", client_name: str = "origClientOrderId"
) -> Order | None:
    """The order that is named, by its id if both are given; None: there is none of that name.

    Raises:
        Refused: none is named.
    """
    id_, client_id = number_in(params, id_name), params.get(client_name)
    if id_ is None and not client_id:
        raise Refused(-1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!")
    if id_ is None:
        return orders.by_client(symbol.index, client_id or "")
    return orders.by_id(symbol.index, id_)


def within(
    found: Iterable[Item], params: Params, when: Callable[[Item], int], id_of: Callable[[Item], int], id_name: str
) -> list[Item]:
    """Those from an id on, or of a time: the oldest from a beginning that is given, else the newest; in their order.

    Raises:
        Refused: a parameter that is no number.
    """
    count, since = limit_in(params, _DEFAULT_ROWS, _MOST_ROWS), number_in(params, id_name)
    start, end = number_in(params, "startTime"), number_in(params, "endTime")
    kept = [
        one
        for one in found
        if (since is None or id_of(one) >= since)
        and (start is None or when(one) >= start)
        and (end is None or when(one) <= end)
    ]
    return kept[:count] if since is not None or start is not None else kept[-count:]


def orders_in(orders: Orders, symbol: Symbol, params: Params) -> list[Order]:
    """Orders of a symbol as ``allOrders`` asks for them."""
    return within(orders.all_of(symbol.index), params, lambda one: one.created_ms, lambda one: one.id, "orderId")


def fills_in(orders: Orders, symbol: Symbol, params: Params) -> list[Fill]:
    """Executions of a symbol as ``myTrades`` and ``userTrades`` ask for them."""
    order_id = number_in(params, "orderId")
    found = [one for one in orders.fills if one.symbol is symbol and order_id in (None, one.order_id)]
    return within(found, params, lambda one: one.ts_ms, lambda one: one.trade_id, "fromId")
