"""An account in one market: its orders, what it has, and who hears what befalls it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from hftpipe.simulation.market_server.trading.orders import Fill, Order, Orders
from hftpipe.simulation.market_server.trading.user_events import UserEvents

#: The venue's time, ms.
NowMs = Callable[[], int]
L = TypeVar("L", covariant=True)


@dataclass(slots=True)
class Trader(Generic[L]):
    """One of them.

    Attributes:
        account: index of the account; ledger: what it has; events: its user data.
    """

    account: int
    ledger: L
    events: UserEvents
    orders: Orders = field(default_factory=Orders)

    @property
    def owner(self) -> int:
        """Whose its orders are in the books; 0 is the flow."""
        return self.account + 1


T = TypeVar("T", contravariant=True)


class Books(Protocol[T]):
    """How one market keeps the accounts of its traders, and tells them: spot, or contracts on margin."""

    def refusal(self, reason: int) -> Exception | None:
        """What an order is refused with that the book has not taken; None: it is taken, and ends with that reason."""

    def opened(self, trader: T, order: Order) -> None:
        """An order is open."""

    def executed(
        self, trader: T, order: Order, price: int, qty: int, trade_id: int, is_maker: bool, ts_ms: int
    ) -> Fill:
        """It was executed."""

    def ended(self, trader: T, order: Order, status: str, why: int, cancel_id: str) -> None:
        """It is over, with what is left of it not executed."""

    def changed(self, trader: T, order: Order, price: int, qty: int, client_id: str) -> None:
        """Its price and quantity are these from now on."""

    def told(self, trader: T) -> None:
        """All that one request, or one event of the market, has done to a trader has been told: now what he has."""

    def truth(self, trader: T) -> dict[str, Any]:
        """What he has, for checkers."""
