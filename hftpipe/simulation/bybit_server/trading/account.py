"""A unified account: one wallet for spot and for contracts on margin, and in each category its orders and executions."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.orders import Order, Orders
from hftpipe.simulation.market_server.trading.spot_ledger import SpotLedger
from hftpipe.simulation.market_server.trading.trader import Trader
from hftpipe.simulation.market_server.trading.user_events import UserEvents

Row = dict[str, Any]
L = TypeVar("L", covariant=True)
_KEPT = 20_000
_NONE = Orders()


@dataclass(slots=True)
class Client(Trader[L]):
    """An account in one category.

    Attributes:
        link_ids: all client's ids of orders that were ever used; executions: the last ones as they are told, oldest first.
        untold_orders, untold_executions: what has changed since it was last told of; untold_symbols: whose orders or position.
    """

    link_ids: set[str] = field(default_factory=set)
    executions: deque[Row] = field(default_factory=lambda: deque(maxlen=_KEPT))
    untold_orders: dict[tuple[int, int], Order] = field(default_factory=dict)
    untold_executions: list[Row] = field(default_factory=list)
    untold_symbols: set[int] = field(default_factory=set)

    def note(self, order: Order) -> None:
        """An order has changed: it is to be told of."""
        self.untold_orders[order.symbol.index, order.id] = order
        self.untold_symbols.add(order.symbol.index)


@dataclass(slots=True)
class UnifiedAccount:
    """One account.

    Attributes:
        index: of it; events: its private topics; spot: its coins; margin: its positions, which are paid from the same coins.
        clients: by category; refuses_prices: by category, whether a price beyond the limit is refused instead of moved to it.
        dcp_s: after how many seconds without a connection the orders of a product are cancelled; is_dcp_allowed: whether that may be set.
    """

    index: int
    events: UserEvents
    spot: SpotLedger
    margin: MarginLedger
    clients: dict[str, Client[Any]] = field(default_factory=dict)
    refuses_prices: dict[str, bool] = field(default_factory=lambda: {"spot": True, "linear": False})
    dcp_s: dict[str, int] = field(default_factory=dict)
    is_dcp_allowed: bool = True

    @property
    def uid(self) -> int:
        """The number it goes by."""
        return 100_000_001 + self.index

    @property
    def contracts(self) -> Orders:
        """Its orders of contracts."""
        return self.clients["linear"].orders if "linear" in self.clients else _NONE

    def wallet(self, coin: str) -> int:
        """What it has of a coin, locked or not."""
        return self.spot.free[coin] + self.spot.locked[coin]

    def available(self, coin: str) -> int:
        """What new orders of contracts may use as margin."""
        return self.margin.available(coin, self.contracts)

    def spendable(self, coin: str) -> int:
        """What new spot orders may lock: profit that is not realized cannot be spent."""
        return min(self.spot.free[coin], self.available(coin))

    def coins(self) -> list[str]:
        """All coins it has or has had."""
        return sorted({*self.spot.free, *self.spot.locked})
