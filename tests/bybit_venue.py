"""A simulated Bybit venue as a process, and plain clients of it."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from binance_rig import Line, Venue

CONFIG = "".join(
    f"""
[[venues]]
name = "{category}"
kind = "paper"
rules = "bybit_{category}"
"""
    for category in ("spot", "linear")
) + "".join(
    f"""
[[instruments]]
symbol = "{symbol}"
venue = "{category}"
tick_size = "{tick}"
lot_size = "{lot}"
min_notional = "5"
reference_price = "{price}"
"""
    for category, symbol, tick, lot, price in (
        ("spot", "BTCUSDT", "0.01", "0.00001", "60000"),
        ("spot", "ETHUSDT", "0.01", "0.0001", "3000"),
        ("linear", "BTCUSDT", "0.10", "0.001", "60000"),
        ("linear", "ETHUSDT", "0.01", "0.001", "3000"),
    )
)


def bybit_venue(folder: Path, *arguments: object) -> Venue:
    return Venue(folder, *arguments, config=CONFIG, protocol="bybit")


class Topics(Line):
    """A public connection of one category."""

    def __init__(self, venue: Venue, category: str = "linear", **options: Any) -> None:
        scheme = "wss" if venue.scheme == "https" else "ws"
        super().__init__(f"{scheme}://127.0.0.1:{venue.port}/v5/public/{category}", **options)
        self.kept: list[dict[str, Any]] = []

    def ask_for(self, op: str, *topics: str, req_id: str = "r1") -> dict[str, Any]:
        """Send a request; its answer. Data that comes before it is kept."""
        return self.request({"op": op, "req_id": req_id, "args": list(topics)})

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        self.socket.send(json.dumps(request))
        while "op" not in (got := self.next()):
            self.kept.append(got)
        return dict(got)

    def data(self, seconds: float) -> list[dict[str, Any]]:
        """What was kept, and all that comes in a while."""
        made, self.kept = [*self.kept, *self.for_seconds(seconds)], []
        return made


def of(messages: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [one for one in messages if one.get("topic") == topic]


def sides(levels: dict[str, Any]) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """Both sides of a message or an answer by price."""
    bids, asks = ({Decimal(price): Decimal(qty) for price, qty in levels[side]} for side in "ba")
    return bids, asks


class Gap(Exception):
    """A message is missing."""


class PlainBook:
    """A book built from the messages of one topic, by the rules as they are documented."""

    def __init__(self) -> None:
        self.u, self.seq = 0, 0
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}

    def take(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["type"] == "snapshot" or data["u"] == 1:
            self.bids, self.asks = sides(data)
        else:
            if data["u"] <= self.u:
                return
            if data["u"] != self.u + 1 or data["seq"] < self.seq:
                raise Gap(f"{data['u']} after {self.u}")
            for own, changed in zip((self.bids, self.asks), sides(data), strict=True):
                own |= changed
                for price in [price for price, qty in own.items() if not qty]:
                    del own[price]
        self.u, self.seq = data["u"], data["seq"]
        assert not self.bids or not self.asks or max(self.bids) < min(self.asks)

    def sides(self) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
        return self.bids, self.asks


def book_of(messages: list[dict[str, Any]], topic: str) -> PlainBook:
    book = PlainBook()
    for one in of(messages, topic):
        book.take(one)
    return book
