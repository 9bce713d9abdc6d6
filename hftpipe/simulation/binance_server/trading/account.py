"""An account in one Binance market: what a trader is at any venue, and how much it has sent."""

from dataclasses import dataclass, field
from typing import TypeVar

from hftpipe.simulation.binance_server.trading.counts import OrderCounts
from hftpipe.simulation.market_server.trading.trader import Trader

L = TypeVar("L", covariant=True)


@dataclass(slots=True)
class Account(Trader[L]):
    """One of them.

    Attributes:
        counts: orders it has sent; countdowns: when all orders of a symbol (by index) are cancelled, the venue's time in ms.
    """

    counts: OrderCounts = field(kw_only=True)
    countdowns: dict[int, int] = field(default_factory=dict)
