"""A run that has real orders at a separately started simulated exchange, and what that says about the account."""

import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlencode

import requests
from binance_rig import Venue
from running import Running, configs

NAME = "t-live"
KEY, SECRET = "sim-key", "sim-secret"
#: What a spot account pays (10 bps) is more than the demo market's spread: nobody would quote there who knew.
CONFIG = """
[[instruments]]
symbol = "BTCUSDT"
venue = "{name}"
tick_size = "0.10"
lot_size = "0.001"
min_notional = "5"
reference_price = "60000"
maker_fee_bps = 0
"""
LIMIT_S = 30.0
#: A price far below the market.
FAR = "58000"


def _signature(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def _sum(signed: Iterable[tuple[bool, str]]) -> Decimal:
    return sum((Decimal(qty) if is_buy else -Decimal(qty) for is_buy, qty in signed), Decimal(0))


class Account(Protocol):
    """What the exchange says about the account, asked without any of our code."""

    def open(self) -> list[str]:
        """Client ids of the open orders."""

    def traded(self, since_ms: int) -> tuple[int, Decimal]:
        """Executions since a time, and their signed quantity."""

    def buy(self, qty: str) -> None:
        """Somebody buys at the market, by hand; :meth:`sell` likewise."""

    def sell(self, qty: str) -> None:
        """See :meth:`buy`."""

    def place(self, text: str) -> None:
        """Somebody places an order far below the market under a client id."""

    def withdraw(self, text: str) -> None:
        """That order is cancelled by hand."""


_BINANCE = {"usdm": ("/fapi/v1", "userTrades"), "spot": ("/api/v3", "myTrades")}


class BinanceAccount:
    def __init__(self, venue: Venue, market: str) -> None:
        self._venue, (self._head, self._trades) = venue, _BINANCE[market]

    def ask(self, path: str, method: str = "GET", **query: object) -> Any:
        text = urlencode({**query, "timestamp": int(time.time() * 1000), "recvWindow": 10_000})
        url = f"http://127.0.0.1:{self._venue.port}{self._head}/{path}?{text}&signature={_signature(text)}"
        answer = requests.request(method, url, headers={"X-MBX-APIKEY": KEY}, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def open(self) -> list[str]:
        return [one["clientOrderId"] for one in self.ask("openOrders", symbol="BTCUSDT")]

    def traded(self, since_ms: int) -> tuple[int, Decimal]:
        rows = [one for one in self.ask(self._trades, symbol="BTCUSDT", limit=1000) if one["time"] >= since_ms]
        return len(rows), _sum((one.get("isBuyer", one.get("buyer")), one["qty"]) for one in rows)

    def place(self, text: str) -> None:
        self.ask(
            "order", "POST", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price=FAR,
            newClientOrderId=text,
        )  # fmt: skip

    def withdraw(self, text: str) -> None:
        self.ask("order", "DELETE", symbol="BTCUSDT", origClientOrderId=text)

    def _market(self, side: str, qty: str) -> None:
        self.ask("order", "POST", symbol="BTCUSDT", side=side, type="MARKET", quantity=qty)

    def buy(self, qty: str) -> None:
        self._market("BUY", qty)

    def sell(self, qty: str) -> None:
        self._market("SELL", qty)


class BybitAccount:
    def __init__(self, venue: Venue, category: str) -> None:
        self._venue, self._category = venue, category

    def ask(self, path: str, **query: object) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        query = {"category": self._category, "symbol": "BTCUSDT", "limit": 50, **query}
        for _ in range(100):
            text = urlencode(query)
            answer = requests.get(
                f"http://127.0.0.1:{self._venue.port}/v5/{path}?{text}", headers=self._headers(text), timeout=10
            ).json()
            assert answer["retCode"] == 0, answer
            found += answer["result"]["list"]
            if not (cursor := answer["result"].get("nextPageCursor")):
                return found
            query["cursor"] = unquote(cursor)
        raise AssertionError("no end of pages")

    @staticmethod
    def _headers(payload: str) -> dict[str, str]:
        stamp = str(int(time.time() * 1000))
        return {
            "X-BAPI-API-KEY": KEY, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": "10000",
            "X-BAPI-SIGN": _signature(f"{stamp}{KEY}10000{payload}"),
        }  # fmt: skip

    def place(self, text: str) -> None:
        self._post("create", side="Buy", orderType="Limit", qty="0.01", price=FAR, orderLinkId=text)

    def withdraw(self, text: str) -> None:
        self._post("cancel", orderLinkId=text)

    def _market(self, side: str, qty: str) -> None:
        more = {"marketUnit": "baseCoin"} if self._category == "spot" else {}
        self._post("create", side=side, orderType="Market", qty=qty, **more)

    def _post(self, what: str, **order: str) -> None:
        body = json.dumps({"category": self._category, "symbol": "BTCUSDT", **order})
        address = f"http://127.0.0.1:{self._venue.port}/v5/order/{what}"
        answer = requests.post(address, data=body, headers=self._headers(body), timeout=10).json()
        assert answer["retCode"] == 0, answer

    def buy(self, qty: str) -> None:
        self._market("Buy", qty)

    def sell(self, qty: str) -> None:
        self._market("Sell", qty)

    def open(self) -> list[str]:
        return [one["orderLinkId"] for one in self.ask("order/realtime", openOnly=0)]

    def traded(self, since_ms: int) -> tuple[int, Decimal]:
        rows = [one for one in self.ask("execution/list") if int(one["execTime"]) >= since_ms]
        return len(rows), _sum((one["side"] == "Buy", one["execQty"]) for one in rows)


def account_at(venue: Venue, name: str) -> Account:
    """The account at ``binance_usdm`` and so on."""
    protocol, _, market = name.partition("_")
    return {"binance": BinanceAccount, "bybit": BybitAccount}[protocol](venue, market)


def environment(tmp_path: Path, name: str) -> dict[str, str]:
    head = f"HFTPIPE_SECRET_{name.upper()}"
    secrets = {f"{head}_API_KEY": KEY, f"{head}_API_SECRET": SECRET}
    return {**os.environ, **secrets, "COLUMNS": "250", "HFTPIPE_STATE_DIR": str(tmp_path / "state")}


def options(venue: Venue, name: str, tmp_path: Path, **more: str) -> list[str]:
    """Options of a run whose orders go to the exchange."""
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG.format(name=name))
    settings = {
        "pipeline.venue": name, "pipeline.mode": "live", "live.server": f"http://127.0.0.1:{venue.port}", **more,
    }  # fmt: skip
    return ["--config", str(config), *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]


@contextmanager
def live(venue: Venue, name: str, tmp_path: Path, *more: str, **settings: str) -> Iterator[Running]:
    """A run under way that has orders at the exchange."""
    given = [*options(venue, name, tmp_path, **settings), *more]
    run = Running(
        environment(tmp_path, name), tmp_path / "out.json", NAME, *given, files=configs("paper", "risk_limits")
    )
    try:
        run.says("pipeline started")
        account, until = account_at(venue, name), time.monotonic() + LIMIT_S
        while not account.open():
            assert time.monotonic() < until and run.process.poll() is None, run.log.read_text()
            time.sleep(0.1)
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait(30)


def no_orders_within(account: Account, seconds: float) -> bool:
    """Whether within so many seconds nothing is open."""
    until = time.monotonic() + seconds
    while account.open():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def all_met(venue: Venue, market: str) -> None:
    """Wait until every fault that was asked for has befallen a request or an event: an order window may have to end first."""
    until = time.monotonic() + 30
    while left := venue.figures()[f"{market}_faults_due"]:
        assert time.monotonic() < until, f"{left} faults that nothing has met"
        time.sleep(0.1)
