"""A simulated venue in a process of its own, and what it is asked: faults, figures, its books and the account in truth."""

import json
import signal
import subprocess
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from hftpipe.simulation.processes import COMMAND, CampaignError, until, with_parent

START_S, END_S, ANSWER_S = 600.0, 30.0, 20.0
#: What the venues have for an account.
KEY, SECRET = "sim-key", "sim-secret"
_CONFIG = """
[market]
total_rate_per_s = {rate}
"""


class Rules(NamedTuple):
    """An instrument as the venue lists it, in its own units; price: of its book now."""

    symbol: str
    base: str
    quote: str
    tick: str
    lot: str
    min_notional: str
    price: str


def _mid(book: dict[str, Any]) -> str:
    """Of the best prices the one that there is, the bid first."""
    return f"{Decimal((book['bids'] or book['asks'])[0][0]).scaleb(-8):f}"


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer["symbols"] if "symbols" in answer else answer["result"]["list"]
    return rows


def _binance(one: dict[str, Any], price: str) -> Rules:
    filters = {each["filterType"]: each for each in one["filters"]}
    return Rules(
        one["symbol"], one["baseAsset"], one["quoteAsset"], filters["PRICE_FILTER"]["tickSize"],
        filters["LOT_SIZE"]["stepSize"], filters["MIN_NOTIONAL"]["notional"], price,
    )  # fmt: skip


def _bybit(one: dict[str, Any], price: str) -> Rules:
    lots = one["lotSizeFilter"]
    return Rules(
        one["symbol"], one["baseCoin"], one["quoteCoin"], one["priceFilter"]["tickSize"], lots["qtyStep"],
        lots["minNotionalValue"], price,
    )  # fmt: skip


_RULES = {
    "binance": (_binance, "/fapi/v1/exchangeInfo"),
    "bybit": (_bybit, "/v5/market/instruments-info?category=linear&limit=1000"),
}


class SimulatedVenue:
    """One market of a venue.

    Attributes:
        protocol: ``binance`` or ``bybit``; market: ``usdm``, ``linear``; address: host and port; pid: of its process.

    Args:
        folder: for its files; listed: how many symbols; rate_per_s: events of all of them together; arguments: more of the command.
    """

    def __init__(
        self, folder: Path, protocol: str, market: str, listed: int, rate_per_s: float, *arguments: object
    ) -> None:
        self.protocol, self.market = protocol, market
        file, ports = folder / f"{protocol}.toml", folder / f"{protocol}.ports"
        file.write_text(_CONFIG.format(rate=float(rate_per_s)))
        self._log = folder / f"{protocol}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "sim-exchange", "--protocol", protocol, "--market", market, "--listed", str(listed),
                 "--config", str(file), "--ports-file", str(ports), *map(str, arguments)],
                stdout=log, stderr=log, preexec_fn=with_parent,
            )  # fmt: skip
        self.pid = self._process.pid
        until(lambda: self._is_open(ports), START_S, f"the simulated {protocol} venue")
        self.address = f"127.0.0.1:{ports.read_text().strip().partition('=')[2]}"

    def _is_open(self, ports: Path) -> bool:
        if self._process.poll() is not None:
            raise CampaignError(f"the simulated {self.protocol} venue ended:\n{self._log.read_text()}")
        return ports.exists() and ports.read_text().endswith("\n")

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = HTTPConnection(self.address, timeout=ANSWER_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise CampaignError(f"{self.protocol}: {method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text)

    def rules(self) -> list[Rules]:
        """What it lists, with its books' prices of now: of a symbol that has not traded yet its tickers have none."""
        read, path = _RULES[self.protocol]
        books = self.books(1)
        return [read(one, _mid(books[one["symbol"]])) for one in _rows(self._ask("GET", path))]

    def control(self, **asked: object) -> dict[str, int]:
        """Ask for a fault; the venue's figures."""
        made: dict[str, int] = self._ask("POST", "/control", json.dumps(asked))
        return made

    def figures(self) -> dict[str, int]:
        """Its counters."""
        made: dict[str, int] = self._ask("GET", "/control")
        return made

    def books(self, levels: int) -> dict[str, Any]:
        """By symbol: ``id``, ``bids`` and ``asks`` as pairs of price and quantity in 1e-8, so many a side."""
        made: dict[str, Any] = self._ask("GET", f"/control/books?levels={levels}")[self.market]
        return made

    def account(self) -> dict[str, Any]:
        """What the account has, in truth."""
        made: dict[str, Any] = self._ask("GET", f"/control/account?key={KEY}")
        return made

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_S)
