"""The dead man's switch: if no private connection of an account watches a product any more, its orders there are cancelled after a while.

A connection watches while it is subscribed to ``dcp.spot`` or ``dcp.future``. An account that never had one is left alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.account_requests import DCP_PRODUCTS
from hftpipe.simulation.market_server.trading.desk import Desk

_TOPICS = {"SPOT": "dcp.spot", "DERIVATIVES": "dcp.future"}
BY_DCP = "CancelByDCP"


class DeadManSwitch:
    """Looked after at every step of the venue.

    Args:
        accounts: all of them; desks: by category; watched: topics of the connections of an account, by its index.
        now_ms: the venue's time.
    """

    def __init__(
        self, accounts: list[UnifiedAccount], desks: Mapping[str, Desk[Any]],
        watched: Callable[[int], Iterable[str]], now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._accounts, self._desks, self._watched, self._now_ms = accounts, desks, watched, now_ms
        self._seen_ms: dict[tuple[int, str], int] = {}

    def advance(self) -> None:
        """Do what is due."""
        for account in self._accounts:
            topics = set(self._watched(account.index)) if account.dcp_s else set()
            for product, seconds in account.dcp_s.items():
                where, now = (account.index, product), self._now_ms()
                if _TOPICS[product] in topics:
                    self._seen_ms[where] = now
                elif where in self._seen_ms and now - self._seen_ms[where] >= seconds * 1000:
                    del self._seen_ms[where]
                    self._cancel(account, DCP_PRODUCTS[product])

    def _cancel(self, account: UnifiedAccount, category: str) -> None:
        if category in self._desks:
            client = account.clients[category]
            for one in client.orders.of():
                if one.is_open:
                    self._desks[category].cancel(client, one, BY_DCP)
