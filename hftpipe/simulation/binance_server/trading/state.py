"""What the ways into one market's trading have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.binance_server.faults import RestFaults
from hftpipe.simulation.binance_server.settings import MarketRules
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.keys import Keys
from hftpipe.simulation.binance_server.weights import Weights
from hftpipe.simulation.market_server.trading.faults import OrderFaults


@dataclass(frozen=True)
class TradingState:
    """Of one market.

    Attributes:
        rules: of the market; now_ns: the venue's time; keys: of all accounts; traders: by index of the account.
        weights: request weight, shared with the public requests; rest_faults, faults: what tests have asked for.
    """

    rules: MarketRules
    now_ns: Callable[[], int]
    keys: Keys
    traders: list[Account[Any]]
    weights: Weights
    rest_faults: RestFaults
    faults: OrderFaults

    @property
    def market(self) -> str:
        """``spot`` or ``usdm``."""
        return self.rules.name

    def now_ms(self) -> int:
        """The venue's time, ms."""
        return self.now_ns() // 1_000_000

    def now_us(self) -> int:
        """The venue's time, us."""
        return self.now_ns() // 1000
