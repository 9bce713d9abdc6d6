"""USD-M captures written by hand, for tests."""

import json
from pathlib import Path

from hftpipe.core.schema.records import SELL

START = 1_700_000_000_000_000_000


class Tape:
    """A USD-M capture written by hand; each line is one millisecond after the one before."""

    def __init__(self, symbol: str = "TEST") -> None:
        self.symbol, self.lines, self.last_id = symbol, list[str](), 100

    def _add(self, data: dict, stream: str = "") -> "Tape":
        text = json.dumps({"stream": stream, "data": data} if stream else data, separators=(",", ":"))
        self.lines.append(f"{START + len(self.lines) * 10**6} {text}")
        return self

    def snapshot(self, bids: list, asks: list) -> "Tape":
        return self._add({"lastUpdateId": self.last_id, "bids": bids, "asks": asks})

    def depth(self, bids: list, asks: list, ms: int = 0) -> "Tape":
        first, self.last_id = self.last_id, self.last_id + 1
        names = {"e": "depthUpdate", "E": ms or len(self.lines), "T": ms or len(self.lines), "s": self.symbol}
        ids = {"U": first + 1 if first > 100 else 100, "u": self.last_id, "pu": first}
        return self._add(names | ids | {"b": bids, "a": asks}, f"{self.symbol.lower()}@depth@0ms")

    def trade(self, price: str, qty: str, taker: int, ms: int = 0) -> "Tape":
        at = ms or len(self.lines)
        data = {"e": "trade", "E": at, "T": at, "s": self.symbol, "t": at, "p": price, "q": qty, "X": "MARKET"}
        return self._add(data | {"m": taker == SELL}, f"{self.symbol.lower()}@trade")

    def write(self, folder: Path) -> str:
        file = folder / "tape.txt"
        file.write_text("\n".join(self.lines) + "\n")
        return str(file)


def opened(symbol: str = "TEST") -> Tape:
    """A book of three levels a side, whole after two lines."""
    tape = Tape(symbol).snapshot(
        [["100.00", "10"], ["99.99", "20"], ["99.98", "30"]], [["100.01", "5"], ["100.02", "6"], ["100.03", "7"]]
    )
    return tape.depth([], [])
