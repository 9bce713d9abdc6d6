"""What differs between Bybit's categories for whoever has an account there."""

from collections.abc import Mapping
from dataclasses import dataclass

from hftpipe.venues.bybit.markets import BYBIT_LINEAR, BYBIT_SPOT, Market


@dataclass(frozen=True)
class AccountMarket:
    """A category as its accounts have it.

    Attributes:
        market: whose it is; windows: orders that it takes, by length in ms (8); cancels_per_s: cancels, which have a count of their own.
        settles: what open orders of contracts are asked for by; empty: they need not be.
    """

    market: Market
    windows: Mapping[int, int]
    cancels_per_s: int
    settles: tuple[str, ...]


SPOT = AccountMarket(BYBIT_SPOT, {1000: 20}, 20, ())
LINEAR = AccountMarket(BYBIT_LINEAR, {1000: 10}, 10, ("USDT", "USDC"))
#: What the venue is told on each connection, and how often (2.1).
ALIVE, ALIVE_S = b'{"op":"ping"}', 20.0
#: The answer to that comes every so often; without a word for so long a connection is of no use.
SILENCE_S = 60.0
