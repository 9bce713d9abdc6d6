"""What differs between Binance's markets for whoever has an account there."""

from collections.abc import Mapping
from dataclasses import dataclass

from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market, Request
from hftpipe.venues.binance.orders import errors
from hftpipe.venues.orders.errors import Row


@dataclass(frozen=True)
class AccountMarket:
    """A market as its accounts have it.

    Attributes:
        market: whose it is; is_spot: whether a change makes a new order, and events come over the interface for requests.
        order, trades, trades_of (a symbol), open_orders, open_orders_of (a symbol), holdings, time, fees: requests for an order, its
            executions, all of them, what is open, positions or balances, the clock, what is paid; fee_keys: maker's and taker's in that answer.
        errors: what its codes mean; windows: orders that it takes, by length in ms.
        silence_s: a connection without a word, pings included, for so long is of no use.
        api_path: of the interface for requests where all interfaces have one address.
        listen_key, countdown: its keys for events, the dead man's switch; None: it has none.
    """

    market: Market
    is_spot: bool
    order: Request
    trades: Request
    trades_of: Request
    open_orders: Request
    open_orders_of: Request
    cancel_all: Request
    holdings: Request
    time: Request
    fees: Request
    fee_keys: tuple[str, str]
    errors: tuple[Row, ...]
    windows: Mapping[int, int]
    silence_s: float
    api_path: str
    listen_key: Request | None = None
    countdown: Request | None = None


SPOT = AccountMarket(
    market=BINANCE_SPOT,
    is_spot=True,
    order=Request("/api/v3/order", 4),
    trades=Request("/api/v3/myTrades", 5),
    trades_of=Request("/api/v3/myTrades", 20),
    open_orders=Request("/api/v3/openOrders", 80),
    open_orders_of=Request("/api/v3/openOrders", 6),
    cancel_all=Request("/api/v3/openOrders", 1),
    holdings=Request("/api/v3/account", 20),
    time=Request("/api/v3/time", 1),
    fees=Request("/api/v3/account/commission", 20),
    fee_keys=("maker", "taker"),
    errors=errors.SPOT,
    windows={10_000: 100, 86_400_000: 200_000},
    silence_s=90.0,
    api_path="/ws-api/v3",
)
USDM = AccountMarket(
    market=BINANCE_USDM,
    is_spot=False,
    order=Request("/fapi/v1/order", 1),
    trades=Request("/fapi/v1/userTrades", 5),
    trades_of=Request("/fapi/v1/userTrades", 5),
    open_orders=Request("/fapi/v1/openOrders", 40),
    open_orders_of=Request("/fapi/v1/openOrders", 1),
    cancel_all=Request("/fapi/v1/allOpenOrders", 1),
    holdings=Request("/fapi/v3/positionRisk", 5),
    time=Request("/fapi/v1/time", 1),
    fees=Request("/fapi/v1/commissionRate", 20),
    fee_keys=("makerCommissionRate", "takerCommissionRate"),
    errors=errors.USDM,
    windows={10_000: 300, 60_000: 1200},
    silence_s=400.0,
    api_path="/ws-fapi/v1",
    listen_key=Request("/fapi/v1/listenKey", 1),
    countdown=Request("/fapi/v1/countdownCancelAll", 10),
)
