"""What differs between Binance's markets for whoever asks what they list."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hftpipe.core.schema.instruments import LINEAR, SPOT

#: 1 basis point, in 1e-8 of the notional.
_BPS = 10_000


@dataclass(frozen=True)
class Request:
    """A request for public data: its path, its query, and what the venue counts for it."""

    path: str
    weight: int
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Market:
    """A market.

    Attributes:
        name: of its rules (:data:`hftpipe.core.schema.instruments.VENUES`) and of its addresses in the configuration.
        contract: what is traded, one of CONTRACTS.
        streams: which of its addresses has books, best prices and trades; route: their path where all interfaces have one address.
        side_streams, side_route: the same of aggregate trades, statistics and mark prices; ticker_streams: of a symbol there.
        info, tickers, depth: requests for all instruments, for their last 24 hours, and (with a symbol) for a whole book;
            shallow_depth: for as much of one as a shallow book has, and some more.
        weight_limit: weight a minute until the venue says otherwise.
        maker_fee, taker_fee: of an account without volume, holdings or discounts, 1e-8 of the notional. What an account really
            pays only itself may ask.
        steps_from_least: prices and quantities go in steps from the least one, not from 0.
    """

    name: str
    contract: str
    streams: str
    route: str
    side_streams: str
    side_route: str
    ticker_streams: tuple[str, ...]
    info: Request
    tickers: Request
    depth: Request
    shallow_depth: Request
    weight_limit: int
    maker_fee: int
    taker_fee: int
    steps_from_least: bool


BINANCE_SPOT = Market(
    name="binance_spot",
    contract=SPOT,
    streams="market_streams",
    route="",
    side_streams="market_streams",
    side_route="",
    ticker_streams=("miniTicker",),
    # The sets of permissions would be most of the answer.
    info=Request("/api/v3/exchangeInfo", 20, {"showPermissionSets": "false"}),
    tickers=Request("/api/v3/ticker/24hr", 80, {"type": "MINI"}),
    depth=Request("/api/v3/depth", 50, {"limit": "1000"}),
    shallow_depth=Request("/api/v3/depth", 5, {"limit": "100"}),
    weight_limit=6000,
    maker_fee=10 * _BPS,
    taker_fee=10 * _BPS,
    steps_from_least=False,
)
BINANCE_USDM = Market(
    name="binance_usdm",
    contract=LINEAR,
    streams="public_streams",
    route="/public",
    side_streams="market_streams",
    side_route="/market",
    ticker_streams=("miniTicker", "markPrice@1s"),
    info=Request("/fapi/v1/exchangeInfo", 1),
    tickers=Request("/fapi/v1/ticker/24hr", 40),
    depth=Request("/fapi/v1/depth", 20, {"limit": "1000"}),
    shallow_depth=Request("/fapi/v1/depth", 5, {"limit": "100"}),
    weight_limit=2400,
    maker_fee=2 * _BPS,
    taker_fee=5 * _BPS,
    steps_from_least=True,
)
