"""What a simulated Bybit venue is told before it opens, and the rules by which its two categories differ (venue documentation of 2026)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.text import Decimals, decimals_of
from hftpipe.simulation.market_server.trading.accounts import AccountSettings

Category = Literal["spot", "linear"]


def decimals(tick: int, lot: int) -> Decimals:
    """Amounts have as many decimals as their steps."""
    return Decimals(decimals_of(tick), decimals_of(lot))


@dataclass(frozen=True)
class CategoryRules:
    """What the two categories do differently.

    Attributes:
        name: ``spot`` or ``linear``.
        depths_ms: levels a side of the book streams there are, and how often each is told.
        args_most: topics in one request; 0: only their length counts.
        ticker_ms: how often tickers are told; trades_most, trades_default: rows of recent trades.
        book_default: levels a side that REST gives if it is not told.
        pages: whether REST lists instruments in pages.
        shared_ids, decimals, aggregate_ns: see :class:`hftpipe.simulation.market_server.listing.Listing`.
    """

    name: Category
    depths_ms: dict[int, int]
    args_most: int
    ticker_ms: int
    trades_most: int
    trades_default: int
    book_default: int
    pages: bool
    shared_ids: bool = True
    decimals: Callable[[int, int], Decimals] = decimals
    aggregate_ns: int = 0


_DEPTHS_MS = {1: 10, 50: 20, 200: 100, 1000: 200}
SPOT = CategoryRules("spot", _DEPTHS_MS, 10, 50, 60, 60, 1, False)
LINEAR = CategoryRules("linear", _DEPTHS_MS, 0, 100, 1000, 500, 25, True)
RULES: dict[Category, CategoryRules] = {"spot": SPOT, "linear": LINEAR}

#: Characters of all topics of a connection; levels a side that REST gives; rows of candles; instruments on a page.
ARGS_CHARS = 21_000
BOOK_MOST, KLINES_MOST, KLINES_DEFAULT = 1000, 1000, 200
PAGE_MOST, PAGE_DEFAULT = 1000, 500
#: Best prices are told again when nothing has changed for so long.
REPEAT_MS = 3000
#: A connection that says nothing, and is told nothing, for so long is closed.
SILENCE_S = 600.0
#: Requests of an address within so many seconds.
REQUESTS, REQUESTS_S = 600, 5.0


@dataclass(frozen=True)
class BybitConfig:
    """What the venue is.

    Attributes:
        listings: its categories, one or two.
        port: on 127.0.0.1; 0 takes a free one. tls: whether it speaks TLS.
        seed, speed: of the flow; speed is a multiple of real time, 0 lets nothing happen.
        market: what market the flow is; None: the tight one without news.
        accounts: who may trade.
    """

    listings: tuple[Listing, ...]
    port: int = 0
    tls: bool = False
    seed: int = 1
    speed: float = 1.0
    market: DemoMarket | None = None
    accounts: tuple[AccountSettings, ...] = (AccountSettings(),)
