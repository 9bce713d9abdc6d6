"""A trader on the simulated Binance venue, written from the documents: signed REST, the WebSocket API, and user data."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import requests
from binance_rig import Line, Venue

KEY, SECRET = "sim-key", "sim-secret"
MARKETS = ("spot", "usdm")
BASE = {"spot": "/api/v3", "usdm": "/fapi/v1"}
API = {"spot": "/ws-api/v3", "usdm": "/ws-fapi/v1"}


def signature(text: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Answer:
    """What a REST request was answered."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> int:
        """The venue's code of a refusal."""
        return int(self.body["code"])


def code_of(answer: Answer) -> tuple[int, str]:
    """Code and text of a refusal."""
    assert answer.status == 400, (answer.status, answer.body)
    return answer.code, answer.body["msg"]


@dataclass
class Account:
    """One account in one market of a venue."""

    venue: Venue
    market: str
    key: str = KEY
    secret: str = SECRET

    def request(self, method: str, path: str, **params: object) -> Answer:
        """A signed request; paths without a version are below the market's base."""
        given = {"recvWindow": 5000, "timestamp": now_ms()} | params
        query = urlencode(given)
        return self.send(method, path, f"{query}&signature={signature(query, self.secret)}")

    def send(self, method: str, path: str, query: str = "", body: str = "", key: str | None = None) -> Answer:
        """A request as it is."""
        path = path if path.startswith("/") else f"{BASE[self.market]}/{path}"
        got = requests.request(
            method, f"http://127.0.0.1:{self.venue.port}{path}" + (f"?{query}" if query else ""), data=body,
            headers={"X-MBX-APIKEY": self.key if key is None else key}, timeout=10,
        )  # fmt: skip
        return Answer(got.status_code, got.json(), dict(got.headers))

    def done(self, method: str, path: str, **params: object) -> Any:
        """The body of a signed request that must succeed."""
        got = self.request(method, path, **params)
        assert got.status == 200, (got.status, got.body)
        return got.body

    def buy(self, qty: str, price: str = "", **more: object) -> Answer:
        return self._order("BUY", qty, price, more)

    def sell(self, qty: str, price: str = "", **more: object) -> Answer:
        return self._order("SELL", qty, price, more)

    def _order(self, side: str, qty: str, price: str, more: dict[str, object]) -> Answer:
        given: dict[str, object] = {"symbol": "BTCUSDT", "side": side, "type": "LIMIT" if price else "MARKET"}
        if qty:
            given["quantity"] = qty
        if price:
            given |= {"price": price, "timeInForce": "GTC"}
        given |= more
        return self.request("POST", "order", **{name: value for name, value in given.items() if value is not None})

    def best(self) -> tuple[Decimal, Decimal]:
        """Best bid and ask."""
        top = self.venue.json(f"{BASE[self.market]}/ticker/bookTicker", symbol="BTCUSDT")
        return Decimal(top["bidPrice"]), Decimal(top["askPrice"])

    def truth(self) -> Any:
        """What the account has, as the venue's control endpoint has it."""
        return self.venue.json("/control/account", key=self.key)[self.market]

    def api(self, query: str = "") -> "Api":
        return Api(self.venue.open(API[self.market] + query), self)

    def user_data(self) -> "Api | Line":
        """A connection that hears of everything from now on."""
        if self.market == "usdm":
            key = self.send("POST", "listenKey").body["listenKey"]
            return self.venue.open(f"/private/ws/{key}")
        made = self.api()
        assert made.ask("userDataStream.subscribe.signature")["status"] == 200
        return made


class Api:
    """A connection of the WebSocket API."""

    def __init__(self, line: Line, account: Account) -> None:
        self.line, self.account, self.events, self._id = line, account, [], 0

    def ask(self, method: str, signed: bool = True, id_: Any = None, **params: object) -> Any:
        """A request, signed if it is to be; its answer. Events that come before it are kept."""
        return self.answer(self.send(method, signed, id_, **params))

    def send(self, method: str, signed: bool = True, id_: Any = None, **params: object) -> Any:
        self._id += 1
        sent_id = self._id if id_ is None else id_
        if signed:
            params = {"apiKey": self.account.key, "timestamp": now_ms()} | params
            text = "&".join(f"{name}={params[name]}" for name in sorted(params))
            params["signature"] = signature(text, self.account.secret)
        self.line.socket.send(json.dumps({"id": sent_id, "method": method, "params": params}))
        return sent_id

    def answer(self, id_: Any) -> Any:
        while True:
            got = self.line.next()
            if "event" not in got and got["id"] == id_:
                return got
            self.events.append(got)

    def for_seconds(self, seconds: float) -> list[Any]:
        """Events of a while, with those kept, without their wrapping."""
        kept, self.events = self.events, []
        return [one["event"] for one in (*kept, *self.line.for_seconds(seconds)) if "event" in one]

    def close(self) -> None:
        self.line.close()


def far_below(account: Account) -> str:
    """A price to buy at that nobody sells at."""
    return str(int(account.best()[0]) - 50)


def check_balances(account: Account) -> None:
    """What an account has is what it started with and what its executions say; what is locked is what its orders need."""
    truth = account.truth()
    fills, e8 = truth["fills"], Decimal(10) ** -8
    if account.market == "spot":
        have = {name: Decimal(one["free"]) + Decimal(one["locked"]) for name, one in truth["balances"].items()}
        want = {"BTC": Decimal(10), "ETH": Decimal(100), "USDT": Decimal(1_000_000)}
        for one in fills:
            sign = 1 if one["isBuyer"] else -1
            want["BTC"] += sign * Decimal(one["qty"])
            want["USDT"] -= sign * (Decimal(one["price"]) * Decimal(one["qty"])).quantize(e8, "ROUND_DOWN")
            want[one["commissionAsset"]] -= Decimal(one["commission"])
        assert have == want
        locked = dict.fromkeys(have, Decimal(0))
        for one in truth["openOrders"]:
            left = Decimal(one["origQty"]) - Decimal(one["executedQty"])
            locked["USDT" if one["side"] == "BUY" else "BTC"] += left * (
                Decimal(one["price"]) if one["side"] == "BUY" else 1
            )
        assert {name: Decimal(one["locked"]) for name, one in truth["balances"].items()} == locked
        return
    cash, qty = Decimal(1_000_000), Decimal(0)
    for one in fills:
        sign = 1 if one["buyer"] else -1
        qty += sign * Decimal(one["qty"])
        cash -= sign * Decimal(one["price"]) * Decimal(one["qty"]) + Decimal(one["commission"])
    held = truth["positions"].get("BTCUSDT", {"qty": "0", "cost": "0"})
    assert Decimal(held["qty"]) == qty
    assert Decimal(truth["balances"]["USDT"]["wallet"]) == cash + Decimal(held["cost"])
