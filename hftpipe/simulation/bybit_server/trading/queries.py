"""Queries of orders, executions and positions, newest first, in pages.

A cursor names the last row of its page, not how many there were: what is new, or over, between two pages moves nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from hftpipe.simulation.bybit_server.trading import payloads as say
from hftpipe.simulation.bybit_server.trading.account import Client, UnifiedAccount
from hftpipe.simulation.bybit_server.trading.ordering import Category, Ordering, category_in
from hftpipe.simulation.bybit_server.trading.params import Params, link_in, number_in, text_in
from hftpipe.simulation.bybit_server.trading.refused import wrong
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading.orders import Order

_DEFAULT_ROWS, _ORDERS_MOST, _EXECUTIONS_MOST, _POSITIONS_MOST = 20, 50, 100, 200
_CLOSED_MOST = 500
_WEEK_MS = 7 * 86_400_000
_CURSOR = re.compile(r"page_token=(\d{1,60})&", re.ASCII)
Rows = dict[str, Any]


#: Rows with their keys, from the largest one down.
Keyed = list[tuple[int, Any]]


def page_of(found: Keyed, params: Params, most: int) -> tuple[list[Any], str]:
    """The page that is asked for, and the cursor of the next one (percent-encoded; empty: there is none).

    Raises:
        Refused: a limit or a cursor that is none.
    """
    given, count = text_in(params, "cursor"), number_in(params, "limit", _DEFAULT_ROWS)
    match = _CURSOR.fullmatch(unquote(given)) if given else None
    if given and match is None:
        raise wrong("cursor")
    left = [one for one in found if match is None or one[0] < int(match[1])]
    page = left[: max(1, min(count, most))]
    cursor = quote(f"page_token={page[-1][0]}&", safe="") if len(page) < len(left) else ""
    return [one for _, one in page], cursor


def _key(order: Order) -> int:
    """Orders by age: when it came, its number, its symbol."""
    return (order.created_ms << 64 | order.id) << 16 | order.symbol.index


def within(params: Params) -> Callable[[int], bool]:
    """Whether a time (ms) is of those that are asked for: the last seven days without any.

    Raises:
        Refused: more than seven days.
    """
    start, end = number_in(params, "startTime", 0), number_in(params, "endTime", 0)
    if start and end and not 0 <= end - start <= _WEEK_MS:
        raise wrong("endTime", "at most 7 days from startTime on")
    first = start or (end - _WEEK_MS if end else 0)
    last = end or (start + _WEEK_MS if start else 0)
    return lambda ms: ms >= first and (not last or ms <= last)


class Queries:
    """The requests that ask for orders, executions and positions.

    Args:
        categories: by name; ordering: what they do to orders.
    """

    def __init__(self, categories: Mapping[str, Category], ordering: Ordering) -> None:
        self._categories, self._ordering = categories, ordering

    def _orders(self, account: UnifiedAccount, name: str, params: Params, found: list[Order], most: int) -> Rows:
        """Those of them that are asked for, the newest first."""
        own, side = self._categories[name], text_in(params, "side")
        if text_in(params, "orderId") or link_in(params):
            one = own.asking.find(account.clients[name], params)
            found = [one] if one is not None and any(one is other for other in found) else []
        kept = [
            one for one in found
            if self._ordering.is_meant(name, one, params) and (not side or say.side_text(one.side) == side)
        ]  # fmt: skip
        keyed = sorted(((_key(one), one) for one in kept), key=lambda one: one[0], reverse=True)
        rows, cursor = page_of(keyed, params, most)
        rules = own.asking.feed.rules
        return {"category": name, "nextPageCursor": cursor, "list": [say.order_row(one, rules) for one in rows]}

    def realtime(self, account: UnifiedAccount, params: Params) -> Rows:
        """Open orders; with ``openOnly`` 1 or 2 the last ones that are over, instead. One that is named is told of whatever it is."""
        name = category_in(params, self._categories)
        orders, wants_closed = account.clients[name].orders, number_in(params, "openOnly", 0, 2)
        if text_in(params, "orderId") or link_in(params):
            found = [*orders.of(), *orders.closed(_CLOSED_MOST)]
        else:
            self._ordering.scope(name, params)
            found = orders.closed(_CLOSED_MOST) if wants_closed else orders.of()
        return self._orders(account, name, params, found, _ORDERS_MOST)

    def history(self, account: UnifiedAccount, params: Params) -> Rows:
        """Orders that are over."""
        name = category_in(params, self._categories)
        is_meant, status = within(params), text_in(params, "orderStatus")
        found = [one for one in account.clients[name].orders.closed() if is_meant(one.created_ms)]
        if status:
            found = [one for one in found if say.status_text(one, name) == status]
        return self._orders(account, name, params, found, _ORDERS_MOST)

    def executions(self, account: UnifiedAccount, params: Params) -> Rows:
        """Executions."""
        name = category_in(params, self._categories)
        own, client, is_meant = self._categories[name], account.clients[name], within(params)
        wanted = {key: text_in(params, key) for key in ("orderId", "orderLinkId", "execType", "side")}
        if text_in(params, "symbol"):
            wanted["symbol"] = own.asking.symbol(params).name
        found = [
            one for one in client.executions
            if all(not value or one[key] == value for key, value in wanted.items()) and is_meant(int(one["execTime"]))
        ]  # fmt: skip
        rows, cursor = page_of([*enumerate(found)][::-1], params, _EXECUTIONS_MOST)
        return {"category": name, "nextPageCursor": cursor, "list": rows}

    def positions(self, account: UnifiedAccount, params: Params) -> Rows:
        """Positions: of a symbol whether or not there is one, otherwise those that there are."""
        name = category_in(params, {key: one for key, one in self._categories.items() if key == "linear"})
        own, client = self._categories[name], account.clients[name]
        self._ordering.scope(name, params)
        feed = own.asking.feed
        if text_in(params, "symbol"):
            found = [own.asking.symbol(params)]
        else:
            found = [one for one in feed.symbols.all if self._holds(client, one, params)]
        count = len(feed.symbols.all)
        symbols, cursor = page_of([(count - one.index, one) for one in found], params, _POSITIONS_MOST)
        rows = [say.position_row(account, one, feed.market.update_id(one.index), False) for one in symbols]
        return {"category": name, "nextPageCursor": cursor, "list": rows}

    @staticmethod
    def _holds(client: Client[Any], symbol: Symbol, params: Params) -> bool:
        held, coin = client.ledger.positions.get(symbol.index), client.ledger.quotes[symbol.index]
        return bool(held and held.qty) and text_in(params, "settleCoin", coin) == coin
