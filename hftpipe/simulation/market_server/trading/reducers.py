"""Reduce-only orders that no longer have a position to reduce: what remains of such an order is ended."""

from collections.abc import Callable
from typing import Any

from hftpipe.core.schema.records import BUY
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.orders import Fill, Order
from hftpipe.simulation.market_server.trading.trader import Trader


class Reducers:
    """The reduce-only orders of one market.

    Args:
        end: ends an order of a trader.
    """

    def __init__(self, end: Callable[[Any, Order], None]) -> None:
        self._end = end
        self._seen: dict[int, Fill] = {}

    def advance(self, trader: Trader[MarginLedger]) -> None:
        """Look after a trader's, if anything of his was executed since."""
        last = trader.orders.fills[-1] if trader.orders.fills else None
        if last is not None and self._seen.get(trader.account) is not last:
            self._seen[trader.account] = last
            self._trim(trader)

    def _trim(self, trader: Trader[MarginLedger]) -> None:
        """End reduce-only orders, the youngest first, that have no position left to reduce."""
        for index, held in tuple(trader.ledger.positions.items()):
            reducers = [one for one in trader.orders.of(index) if one.asked.reduce_only]
            for one in reversed(reducers):
                is_against = held.qty < 0 if one.side == BUY else held.qty > 0
                left = sum(other.left for other in reducers if other.is_open and other.side == one.side)
                if not is_against or left > abs(held.qty):
                    self._end(trader, one)
