"""What a simulated Binance venue is told before it opens, and the rules by which its two markets differ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.market_server.history import AGGREGATE_NS
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.text import Decimals, decimals_of
from hftpipe.simulation.market_server.trading.accounts import AccountSettings

MarketName = Literal["spot", "usdm"]


@dataclass(frozen=True)
class MarketRules:
    """What the two markets do differently on the wire.

    Attributes:
        name: ``spot`` or ``usdm``.
        ping_s, pong_s: how often the server pings, and how long an answer may take, seconds.
        inbound_per_s: frames a connection may send within a second.
        weight_per_min: request weight that an address may use within a minute of the clock.
        depth_ms: speed of ``@depth`` and ``@depth5`` without a suffix; depth_speeds_ms: the suffixes there are (0: every
            change at once; not documented, seen in recordings of USD-M).
        snapshot_default, snapshot_most: levels a side that REST depth gives.
        snapshot_limits: the only ones that may be asked for; empty: any up to ``snapshot_most``.
        klines_most: rows of REST klines at most.
        shared_ids, decimals, aggregate_ns: see :class:`hftpipe.simulation.market_server.listing.Listing`.
    """

    name: MarketName
    ping_s: float
    pong_s: float
    inbound_per_s: int
    weight_per_min: int
    depth_ms: int
    depth_speeds_ms: tuple[int, ...]
    snapshot_default: int
    snapshot_most: int
    snapshot_limits: tuple[int, ...]
    klines_most: int
    shared_ids: bool
    decimals: Callable[[int, int], Decimals]
    aggregate_ns: int


def spot_decimals(tick: int, lot: int) -> Decimals:
    """Spot writes all with eight."""
    return Decimals(8, 8)


def usdm_decimals(tick: int, lot: int) -> Decimals:
    """Of a USD-M symbol: prices have at least two, whatever the tick (BTCUSDT: tick 0.10, written 61800.20)."""
    return Decimals(max(2, decimals_of(tick)), decimals_of(lot))


SPOT = MarketRules("spot", 20.0, 60.0, 5, 6000, 1000, (100,), 100, 5000, (), 1000, False, spot_decimals, 0)
USDM = MarketRules(
    "usdm",
    180.0,
    600.0,
    10,
    2400,
    250,
    (0, 100, 500),
    500,
    1000,
    (5, 10, 20, 50, 100, 500, 1000),
    1500,
    True,
    usdm_decimals,
    AGGREGATE_NS,
)
RULES: dict[MarketName, MarketRules] = {"spot": SPOT, "usdm": USDM}

STREAMS_MOST = 1024
LIFETIME_S = 86_400.0


@dataclass(frozen=True)
class BinanceConfig:
    """What the venue is.

    Attributes:
        listings: its markets, one or two.
        port: on 127.0.0.1; 0 takes a free one. tls: whether it speaks TLS.
        seed, speed: of the flow; speed is a multiple of real time, 0 lets nothing happen.
        market: what market the flow is; None: the tight one without news.
        weight_per_min: request weight allowed in a minute, of every market; 0: as the market has it.
        accounts: who may trade.
    """

    listings: tuple[Listing, ...]
    port: int = 0
    tls: bool = False
    seed: int = 1
    speed: float = 1.0
    market: DemoMarket | None = None
    weight_per_min: int = 0
    accounts: tuple[AccountSettings, ...] = (AccountSettings(),)
