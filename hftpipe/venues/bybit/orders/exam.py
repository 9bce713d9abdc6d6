"""An account at Bybit as ``hftpipe venue-check`` looks at it (:class:`hftpipe.venues.orders.check.Examined`)."""

from decimal import Decimal

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.answer import Outcome
from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.bybit.discovery import discover
from hftpipe.venues.bybit.orders.account import BEHIND_NS, BybitAccount, Reply
from hftpipe.venues.bybit.orders.market import ALIVE, AccountMarket
from hftpipe.venues.orders.numbers import scaled

_TIME, _BOOK, _FEES, _KEY = "/v5/market/time", "/v5/market/orderbook", "/v5/account/fee-rate", "/v5/user/query-api"
_WAIT_S = 10.0


def _why(reply: Reply) -> str:
    return "" if reply.outcome is Outcome.OK else f"{reply.outcome}: {reply.message} (code {reply.code})"


class BybitExam:
    """The account; ``market``: where it is."""

    def __init__(self, market: AccountMarket, account: BybitAccount) -> None:
        self._market, self._account, self._category = market, account, market.market.category
        self.weights, self.prefix, self.kind = account.rest.weights, account.prefix, account.kind

    def trip(self) -> None:
        """One public request. Raises RestError."""
        self._account.public(_TIME, {})

    def clock_ns(self) -> int:
        """The venue's clock less ours. Raises RestError."""
        return self._account.clock_offset_ns() + BEHIND_NS

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError."""
        return self._account.connect()

    def ping(self, connection: Connection, times: int) -> list[int]:
        """Round trips of the interface for orders, ns. Raises ConnectError."""
        took = []
        for _ in range(times):
            began = steady_ns()
            connection.send(ALIVE)
            while orjson.loads(connection.receive(_WAIT_S)).get("op") != "pong":
                continue
            took.append(steady_ns() - began)
        return took

    def listed(self) -> np.ndarray:
        """What the category lists. Raises DiscoveryError."""
        return discover(self._account.rest, self._market.market).rows

    def best_bid(self, symbol: str) -> Decimal:
        """The best bid. Raises RestError."""
        book = self._account.public(_BOOK, {"category": self._category, "symbol": symbol, "limit": "5"})
        return Decimal(book["b"][0][0])

    def fees(self, symbol: str) -> tuple[int, int]:
        """Maker's and taker's fee, 1e-8 of the notional. Raises RestError."""
        rows = self._account.wanted(
            "fees", self._account.ask("GET", _FEES, {"category": self._category, "symbol": symbol})
        )["list"]
        row = next(one for one in rows if one["symbol"] == symbol)
        return scaled(row["makerFeeRate"], 8), scaled(row["takerFeeRate"], 8)

    def may_trade(self, symbol: str, price: Decimal, qty: Decimal) -> str:
        """What the venue says of the key: it has no order that is only checked."""
        reply = self._account.ask("GET", _KEY, {})
        if why := _why(reply):
            return why
        return "it may only read" if reply.result.get("readOnly") else ""

    def place(self, symbol: str, text: str, price: Decimal, qty: Decimal) -> str:
        """Place an order: why it was refused."""
        return _why(
            self._account.ask(
                "POST",
                "/v5/order/create",
                {
                    "category": self._category, "symbol": symbol, "side": "Buy", "orderType": "Limit", "timeInForce": "GTC",
                    "price": format(price, "f"), "qty": format(qty, "f"), "orderLinkId": text,
                },
            )
        )  # fmt: skip

    def take_back(self, symbol: str, text: str) -> str:
        """Cancel it: why that was refused."""
        return _why(
            self._account.ask(
                "POST", "/v5/order/cancel", {"category": self._category, "symbol": symbol, "orderLinkId": text}
            )
        )
