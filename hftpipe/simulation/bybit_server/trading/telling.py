"""What private topics are told of: what has changed of an account since it was last told of, in one message a topic.

Several executions of one moment are in one message, and an order is told as it is at its end; so one that rests is told as New, and
one that is filled at once as Filled alone, as at the venue. Messages are of the time they are made.
"""

import uuid
from collections.abc import Callable
from typing import Any

from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.trading import payloads as say
from hftpipe.simulation.bybit_server.trading.account import Client, UnifiedAccount
from hftpipe.simulation.market_server.trading.orders import Order

ORDER, EXECUTION, POSITION, WALLET = "order", "execution", "position", "wallet"


class Teller:
    """Tells of one category.

    Args:
        feed: of the category; accounts: all of them; usd_of: what a coin is worth in dollars, 1e-8.
    """

    def __init__(self, feed: Feed, accounts: list[UnifiedAccount], usd_of: Callable[[str], int]) -> None:
        self._feed, self._accounts, self._usd_of = feed, accounts, usd_of

    def _tell(self, account: UnifiedAccount, topic: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            event = {
                "id": uuid.uuid4().hex, "topic": topic, "category": self._feed.rules.name,
                "creationTime": self._feed.clock.now_ns // 1_000_000, "data": rows,
            }  # fmt: skip
            account.events.tell(event)

    def tell_too_late(self, client: Client[Any], order: Order) -> None:
        """Tell of a filled order once more: it has been cancelled too late."""
        row = say.order_row(order, self._feed.rules)
        row |= {"cancelType": "CancelByUser", "rejectReason": "EC_OrigClOrdIDDoesNotExist"}
        self._tell(self._accounts[client.account], ORDER, [row])

    def tell(self, client: Client[Any]) -> None:
        """Tell of all that has changed."""
        account, rules = self._accounts[client.account], self._feed.rules
        orders, executions, symbols = client.untold_orders, client.untold_executions, client.untold_symbols
        client.untold_orders, client.untold_executions, client.untold_symbols = {}, [], set()
        self._tell(account, ORDER, [say.order_row(one, rules) for one in orders.values()])
        self._tell(account, EXECUTION, executions)
        if rules.name == "linear":
            market, listed = self._feed.market, self._feed.symbols.all
            rows = [
                say.position_row(account, listed[index], market.update_id(index), True) for index in sorted(symbols)
            ]
            self._tell(account, POSITION, rows)
        coins = sorted(account.spot.changed | account.margin.changed_assets)
        account.spot.take_changed()
        account.margin.take_changed()
        if coins:
            self._tell(account, WALLET, [say.wallet_row(account, coins, self._usd_of)])
