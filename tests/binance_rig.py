"""A simulated Binance (or other) venue as a process, a plain WebSocket client, and books built by the documented rules in plain Python."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
import websocket

ROOT = Path(__file__).resolve().parents[1]
#: A cold start compiles the engine first.
STARTED_S = 600.0
CONFIG = "".join(
    f"""
[[venues]]
name = "{market}"
kind = "paper"
rules = "binance_{market}"
"""
    for market in ("spot", "usdm")
) + "".join(
    f"""
[[instruments]]
symbol = "{symbol}"
venue = "{market}"
tick_size = "{tick}"
lot_size = "{lot}"
min_notional = "5"
reference_price = "{price}"
"""
    for market, symbol, tick, lot, price in (
        ("spot", "BTCUSDT", "0.01", "0.00001", "60000"),
        ("spot", "ETHUSDT", "0.01", "0.0001", "3000"),
        ("usdm", "BTCUSDT", "0.10", "0.001", "60000"),
        ("usdm", "ETHUSDT", "0.01", "0.001", "3000"),
    )
)
_COMMAND = (sys.executable, "-u", "-c", "from hftpipe.cli import main; main()", "sim-exchange", "--protocol")


class Venue:
    """A running venue.

    Attributes:
        port: where; text: all it has said so far is in ``log``.
    """

    def __init__(self, folder: Path, *arguments: object, config: str = CONFIG, protocol: str = "binance") -> None:
        file, ports = folder / "venue.toml", folder / "ports"
        file.write_text(config)
        self.log, self.scheme, self.verify = folder / "log", "http", None
        given = [protocol, "--config", file, "--ports-file", ports, *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*_COMMAND, *map(str, given)], cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: ports.exists() and ports.read_text().endswith("\n"), STARTED_S, self._alive)
        self.port = int(ports.read_text().partition("=")[2])

    def _alive(self) -> None:
        assert self.process.poll() is None, self.log.read_text()

    def get(self, path: str, **query: object) -> requests.Response:
        url = f"{self.scheme}://127.0.0.1:{self.port}{path}"
        return requests.get(url, params=query, timeout=10, verify=self.verify)

    def json(self, path: str, **query: object) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def control(self, **asked: object) -> dict[str, int]:
        answer = requests.post(f"http://127.0.0.1:{self.port}/control", json=asked, timeout=10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def figures(self) -> dict[str, int]:
        """What the venue counts."""
        return dict(requests.get(f"http://127.0.0.1:{self.port}/control", timeout=10).json())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.control(freeze=True)
        try:
            yield
        finally:
            self.control(freeze=False)

    def open(self, path: str) -> "Line":
        return Line(f"ws://127.0.0.1:{self.port}{path}")

    def end(self, number: int) -> int:
        """Exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)


def wait_until(happened: Any, seconds: float, check: Any = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        check()
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class Line:
    """A WebSocket connection; pings are answered while something is read."""

    def __init__(self, url: str, **options: Any) -> None:
        self.socket = websocket.create_connection(url, timeout=10, **options)

    def next(self) -> Any:
        """The next message."""
        return json.loads(self.socket.recv())

    def for_seconds(self, seconds: float) -> list[Any]:
        """All messages of a while."""
        got, deadline = [], time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                got.append(self.next())
            except websocket.WebSocketTimeoutException:
                break
        self.socket.settimeout(10)
        return got

    def ask(self, method: str, params: Any = None, id_: Any = 1) -> Any:
        """Send a command; its answer (messages that come before it are dropped)."""
        text = {"method": method, "id": id_} | ({} if params is None else {"params": params})
        return self.say(json.dumps(text))

    def say(self, text: str) -> Any:
        self.socket.send(text)
        while True:
            got = self.next()
            if "result" in got or "code" in got:
                return got

    def code_at_end(self) -> int | None:
        """Read to the end of the connection: the code it was closed with; None: it broke off."""
        try:
            while True:
                kind, data = self.socket.recv_data()
                if kind == websocket.ABNF.OPCODE_CLOSE:
                    return int.from_bytes(data[:2], "big")
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return None

    def close(self) -> None:
        self.socket.close()


class Gap(Exception):
    """An event is missing; the book must be built anew."""


@dataclass
class PlainBook:
    """A book by price, built from a snapshot and diffs by the rules of one market, as they are documented."""

    usdm: bool
    id: int = 0
    is_linked: bool = False
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: dict[str, Any], usdm: bool) -> "PlainBook":
        book = cls(usdm, snapshot["lastUpdateId"])
        book._set(snapshot["bids"], snapshot["asks"])
        return book

    def _set(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, qty in levels:
                if Decimal(qty):
                    side[Decimal(price)] = Decimal(qty)
                else:
                    side.pop(Decimal(price), None)

    def apply(self, event: dict[str, Any]) -> bool:
        """Apply an event; False if it is older than the snapshot. Gap: one is missing."""
        if event["u"] < self.id or (event["u"] == self.id and (not self.usdm or self.is_linked)):
            return False
        if self.usdm:
            follows = event["pu"] == self.id
            bridges = not self.is_linked and event["U"] <= self.id <= event["u"]
        else:
            follows = event["U"] == self.id + 1
            bridges = not self.is_linked and event["U"] <= self.id + 1 <= event["u"]
        if not (follows or bridges):
            raise Gap(f"{event['U']}..{event['u']} after {self.id}")
        self._set(event["b"], event["a"])
        self.id, self.is_linked = event["u"], True
        return True

    def sides(self) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
        return dict(self.bids), dict(self.asks)

    def top(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]
