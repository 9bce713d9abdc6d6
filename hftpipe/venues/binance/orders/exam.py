"""An account at Binance as ``hftpipe venue-check`` looks at it (:class:`hftpipe.venues.orders.check.Examined`)."""

from decimal import Decimal

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.binance.discovery import discover
from hftpipe.venues.binance.markets import Request
from hftpipe.venues.binance.orders.account import BinanceAccount
from hftpipe.venues.binance.orders.market import AccountMarket
from hftpipe.venues.orders.numbers import scaled
from hftpipe.venues.orders.venue_clock import BEHIND_NS


def _why(answer: Answer) -> str:
    return "" if answer.outcome is Outcome.OK else f"{answer.outcome}: {answer.message} (code {answer.code})"


def _params(symbol: str, price: Decimal, qty: Decimal) -> dict[str, str | int]:
    return {
        "symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": format(price, "f"),
        "quantity": format(qty, "f"),
    }  # fmt: skip


class BinanceExam:
    """The account; ``market``: where it is."""

    def __init__(self, market: AccountMarket, account: BinanceAccount) -> None:
        self._market, self._account = market, account
        self.weights, self.prefix, self.kind = account.rest.weights, account.prefix, account.kind

    def trip(self) -> None:
        """One public request. Raises RestError."""
        self._account.public(self._market.time)

    def clock_ns(self) -> int:
        """The venue's clock less ours. Raises RestError."""
        return self._account.clock_offset_ns() + BEHIND_NS

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError, RestError."""
        return self._account.connect()

    def ping(self, connection: Connection, times: int) -> list[int]:
        """Round trips of the interface for requests, ns; none where a session has none. Raises ConnectError."""
        took = []
        for _ in range(times if self._account.has_api else 0):
            began = steady_ns()
            self._account.call(connection, "time", {}, is_signed=False, is_plain=True)
            took.append(steady_ns() - began)
        return took

    def listed(self) -> np.ndarray:
        """What the market lists. Raises DiscoveryError."""
        return discover(self._account.rest, self._market.market).rows

    def best_bid(self, symbol: str) -> Decimal:
        """The best bid. Raises RestError."""
        book = self._account.public(Request(self._market.market.depth.path, 5, {"limit": "5"}), symbol=symbol)
        return Decimal(book["bids"][0][0])

    def fees(self, symbol: str) -> tuple[int, int]:
        """Maker's and taker's fee, 1e-8 of the notional. Raises RestError."""
        body = self._account.wanted("fees", self._account.ask("GET", self._market.fees, {"symbol": symbol}))
        part = body.get("standardCommission", body)
        maker, taker = (scaled(part[name], 8) for name in self._market.fee_keys)
        return maker, taker

    def may_trade(self, symbol: str, price: Decimal, qty: Decimal) -> str:
        """A test order is checked with all permissions, and not placed."""
        return _why(
            self._account.ask("POST", Request(f"{self._market.order.path}/test", 1), _params(symbol, price, qty))
        )

    def place(self, symbol: str, text: str, price: Decimal, qty: Decimal) -> str:
        """Place an order: why it was refused."""
        return _why(
            self._account.ask("POST", self._market.order, _params(symbol, price, qty) | {"newClientOrderId": text})
        )

    def take_back(self, symbol: str, text: str) -> str:
        """Cancel it: why that was refused."""
        return _why(self._account.ask("DELETE", self._market.order, {"symbol": symbol, "origClientOrderId": text}))
