"""Mark price, index and funding of a contract: the mark is the middle of the book, the index what the flow takes it to be worth."""

from dataclasses import dataclass

from hftpipe.simulation.market_server.history import MINUTE_MS
from hftpipe.simulation.market_server.market import Market

FUNDING_MS = 8 * 60 * MINUTE_MS
#: 1e-8: interest of a funding period, and how far the premium is taken to be from it at most.
INTEREST, _CLAMP = 10_000, 50_000
_SCALE = 10**8


@dataclass(frozen=True, slots=True)
class Premium:
    """Prices and the rate in 1e-8; ``next_ms``: when funding is next due."""

    mark: int
    index: int
    funding: int
    next_ms: int


def mark_of(market: Market, index: int) -> int:
    """The middle of an instrument's book; what the flow takes it to be worth while a side is empty."""
    bid, _, ask, _ = market.top(index)
    return (bid + ask) // 2 if bid and ask else market.fair_price(index)


def premium_of(market: Market, index: int, now_ms: int) -> Premium:
    """All of an instrument."""
    fair, mark = market.fair_price(index), mark_of(market, index)
    premium = (mark - fair) * _SCALE // fair
    funding = premium + max(-_CLAMP, min(_CLAMP, INTEREST - premium))
    return Premium(mark, fair, funding, (now_ms // FUNDING_MS + 1) * FUNDING_MS)
