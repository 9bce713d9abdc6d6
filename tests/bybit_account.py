"""A trader on the simulated Bybit venue, written from the documents: signed REST, order entry over WebSocket, and the private topics."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import requests
from binance_rig import Line, Venue

KEY, SECRET = "sim-key", "sim-secret"
CATEGORIES = ("spot", "linear")
TICK = {"spot": Decimal("0.01"), "linear": Decimal("0.1")}
TOPICS = ("order", "execution", "position", "wallet")


def signature(text: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Answer:
    """What a REST request was answered."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> int:
        return int(self.body["retCode"])

    @property
    def result(self) -> Any:
        assert self.status == 200 and self.code == 0, (self.status, self.body)
        return self.body["result"]


@dataclass
class Trader:
    """One account in one category of a venue."""

    venue: Venue
    category: str
    key: str = KEY
    secret: str = SECRET

    def headers(self, payload: str, **more: str) -> dict[str, str]:
        sent, window = more.pop("sent", str(now_ms())), more.pop("window", "5000")
        text = sent + self.key + window + payload
        return {
            "X-BAPI-API-KEY": self.key, "X-BAPI-TIMESTAMP": sent, "X-BAPI-RECV-WINDOW": window,
            "X-BAPI-SIGN": signature(text, self.secret), "Content-Type": "application/json",
        } | more  # fmt: skip

    def send(self, method: str, path: str, query: str = "", body: str = "", headers: Any = None) -> Answer:
        """A request as it is."""
        url = f"http://127.0.0.1:{self.venue.port}{path}" + (f"?{query}" if query else "")
        head = self.headers(query if method == "GET" else body) if headers is None else headers
        got = requests.request(method, url, data=body or None, headers=head, timeout=10)
        is_json = got.headers["Content-Type"].startswith("application/json")
        return Answer(got.status_code, got.json() if is_json else got.text, got.headers)

    def get(self, path: str, **params: object) -> Answer:
        return self.send("GET", path, urlencode({"category": self.category} | params))

    def post(self, path: str, **params: object) -> Answer:
        """A signed request; what is None is left out."""
        given = {"category": self.category, "symbol": "BTCUSDT"} | params
        body = json.dumps({name: value for name, value in given.items() if value is not None})
        return self.send("POST", path, body=body)

    # Orders.

    def create(self, side: str, qty: str, price: str = "", **more: object) -> Answer:
        return self.post("/v5/order/create", **self.order(side, qty, price, **more))

    @staticmethod
    def order(side: str, qty: str, price: str = "", **more: object) -> dict[str, object]:
        given: dict[str, object] = {"side": side, "orderType": "Limit" if price else "Market", "qty": qty}
        return given | ({"price": price} if price else {"marketUnit": "baseCoin"}) | more

    def amend(self, **params: object) -> Answer:
        return self.post("/v5/order/amend", **params)

    def cancel(self, **params: object) -> Answer:
        return self.post("/v5/order/cancel", **params)

    def found(self, **params: object) -> list[dict[str, Any]]:
        return list(self.get("/v5/order/realtime", symbol="BTCUSDT", **params).result["list"])

    def one(self, order_id: str) -> dict[str, Any]:
        return self.found(orderId=order_id)[0]

    def executions(self, **params: object) -> list[dict[str, Any]]:
        return list(self.get("/v5/execution/list", limit=100, **params).result["list"])

    def best(self) -> tuple[Decimal, Decimal]:
        book = self.venue.json("/v5/market/orderbook", category=self.category, symbol="BTCUSDT", limit=1)["result"]
        return Decimal(book["b"][0][0]), Decimal(book["a"][0][0])

    def far(self) -> str:
        """A price to buy at that nobody sells at."""
        return str(int(self.best()[0]) - 50)

    def truth(self) -> Any:
        return self.venue.json("/control/account", key=self.key)

    # Connections.

    def auth(self, expires: int | None = None) -> list[Any]:
        until = now_ms() + 10_000 if expires is None else expires
        return [self.key, until, signature(f"GET/realtime{until}", self.secret)]

    def private(self, *topics: str) -> "Private":
        made = Private(self.venue.open("/v5/private"))
        assert made.ask({"op": "auth", "args": self.auth()})["success"]
        assert made.ask({"op": "subscribe", "args": list(topics or TOPICS)})["success"]
        return made

    def trade(self) -> "TradeLine":
        made = TradeLine(self.venue.open("/v5/trade"), self)
        assert made.ask({"reqId": "auth", "op": "auth", "args": self.auth()})["retCode"] == 0
        return made


@dataclass
class Private:
    """A private connection: events that come before an answer are kept."""

    line: Line
    kept: list[Any] = field(default_factory=list)

    def ask(self, request: dict[str, Any]) -> Any:
        self.line.socket.send(json.dumps(request))
        while "topic" in (got := self.line.next()):
            self.kept.append(got)
        return got

    def for_seconds(self, seconds: float) -> list[Any]:
        made, self.kept = [*self.kept, *self.line.for_seconds(seconds)], []
        return made

    def rows(self, topic: str, seconds: float = 0.3) -> list[Any]:
        """What one topic tells in a while."""
        return [row for one in self.for_seconds(seconds) if one.get("topic") == topic for row in one["data"]]

    def close(self) -> None:
        self.line.close()


@dataclass
class TradeLine:
    """An order-entry connection."""

    line: Line
    account: Trader
    number: int = 0

    def ask(self, request: dict[str, Any]) -> Any:
        self.line.socket.send(json.dumps(request))
        return self.line.next()

    def send(self, op: str, **params: object) -> str:
        self.number += 1
        given = {"category": self.account.category, "symbol": "BTCUSDT"} | params
        header = {"X-BAPI-TIMESTAMP": str(now_ms()), "X-BAPI-RECV-WINDOW": "5000"}
        request = {"reqId": f"r{self.number}", "header": header, "op": op, "args": [given]}
        self.line.socket.send(json.dumps(request))
        return f"r{self.number}"

    def do(self, op: str, **params: object) -> Any:
        sent = self.send(op, **params)
        got = self.line.next()
        assert got["reqId"] == sent and got["op"] == op
        return got

    def close(self) -> None:
        self.line.close()


def check_account(trader: Trader) -> None:
    """What an account has is what it started with and what its executions say; what is locked is what its orders need."""
    truth, e8 = trader.truth(), Decimal(10) ** -8
    want = {"BTC": Decimal(10), "ETH": Decimal(100), "USDT": Decimal(1_000_000)}
    for one in truth["spot"]["fills"]:
        sign = 1 if one["side"] == "Buy" else -1
        want["BTC"] += sign * Decimal(one["execQty"])
        value = (Decimal(one["execPrice"]) * Decimal(one["execQty"])).quantize(e8, "ROUND_DOWN")
        assert value == Decimal(one["execValue"])
        want["USDT"] -= sign * value
        want[one["feeCurrency"]] -= Decimal(one["execFee"])
    qty = Decimal(0)
    for one in truth["linear"]["fills"]:
        sign = 1 if one["side"] == "Buy" else -1
        qty += sign * Decimal(one["execQty"])
        want["USDT"] -= sign * Decimal(one["execValue"]) + Decimal(one["execFee"])
    held = truth["positions"].get("BTCUSDT", {"qty": "0", "cost": "0"})
    assert Decimal(held["qty"]) == qty
    want["USDT"] += Decimal(held["cost"])
    assert {name: Decimal(one["wallet"]) for name, one in truth["coins"].items()} == want
    locked = dict.fromkeys(want, Decimal(0))
    for one in truth["spot"]["openOrders"]:
        left = Decimal(one["qty"]) - Decimal(one["cumExecQty"])
        locked["USDT" if one["side"] == "Buy" else "BTC"] += left * (
            Decimal(one["price"]) if one["side"] == "Buy" else 1
        )
    assert {name: Decimal(one["locked"]) for name, one in truth["coins"].items()} == locked
