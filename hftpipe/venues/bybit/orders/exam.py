"""An account at Bybit as ``hftpipe venue-check`` looks at it (:class:`hftpipe.venues.orders.check.Examined`)."""

import threading
from decimal import Decimal

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.bybit.discovery import discover
from hftpipe.venues.bybit.orders.account import BybitAccount
from hftpipe.venues.bybit.orders.market import ALIVE, AccountMarket
from hftpipe.venues.orders.numbers import scaled
from hftpipe.venues.orders.venue_clock import BEHIND_NS

_TIME, _BOOK, _FEES, _KEY = "/v5/market/time", "/v5/market/orderbook", "/v5/account/fee-rate", "/v5/user/query-api"
_ORDERS = "/v5/order/realtime"
_WAIT_S = 10.0
#: How an order rests, how a cancelled one has ended, all ends; how long a state may come after its receipt, and how often it is asked for.
_RESTS, _CANCELLED = frozenset({"New", "PartiallyFilled"}), frozenset({"Cancelled"})
_ENDS = frozenset({"Filled", "Cancelled", "Rejected", "PartiallyFilledCanceled", "Deactivated"})
_SHOWN_NS, _LOOK_S = 5_000_000_000, 0.2
#: Permissions of a key, by product, any of which lets it trade a category.
_TRADES = {"spot": {"Spot": "SpotTrade"}, "linear": {"ContractTrade": "Order", "Derivatives": "DerivativesTrade"}}


def _why(reply: Answer) -> str:
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
        if self._category != "spot":
            self._account.check_mode(symbol)
        reply = self._account.ask("GET", _KEY, {})
        if why := _why(reply):
            return why
        if reply.body.get("readOnly"):
            return "it may only read"
        given, wanted = reply.body.get("permissions") or {}, _TRADES[self._category]
        if any(what in (given.get(product) or ()) for product, what in wanted.items()):
            return ""
        names = " or ".join(f"{product} {what}" for product, what in wanted.items())
        return f"it may not trade {self._category}; needed: {names}"

    def place(self, symbol: str, text: str, price: Decimal, qty: Decimal) -> str:
        """Place an order: why it was refused, or does not rest. A receipt says neither."""
        return _why(
            self._account.ask(
                "POST",
                "/v5/order/create",
                {
                    "category": self._category, "symbol": symbol, "side": "Buy", "orderType": "Limit", "timeInForce": "GTC",
                    "price": format(price, "f"), "qty": format(qty, "f"), "orderLinkId": text,
                },
            )
        ) or self._shown(symbol, text, _RESTS)  # fmt: skip

    def take_back(self, symbol: str, text: str) -> str:
        """Cancel it: why that was refused, or it is not cancelled all the same."""
        return _why(
            self._account.ask(
                "POST", "/v5/order/cancel", {"category": self._category, "symbol": symbol, "orderLinkId": text}
            )
        ) or self._shown(symbol, text, _CANCELLED)

    def _shown(self, symbol: str, text: str, wanted: frozenset[str]) -> str:
        """Wait until the venue lists an order in one of these states: why it does not."""
        query = {"category": self._category, "symbol": symbol, "orderLinkId": text}
        until, status = steady_ns() + _SHOWN_NS, "not listed"
        while steady_ns() < until:
            for open_only in (0, 1):
                reply = self._account.ask("GET", _ORDERS, {**query, "openOnly": open_only})
                if why := _why(reply):
                    return why
                if rows := reply.body.get("list"):
                    status, reason = rows[0]["orderStatus"], rows[0].get("rejectReason", "")
                    if status in wanted:
                        return ""
                    if status in _ENDS:
                        return f"{status}: {reason}"
            threading.Event().wait(_LOOK_S)
        return f"{status} {_SHOWN_NS / 1e9:.0f} s after the venue's receipt"
