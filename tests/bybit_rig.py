"""Bybit's decoders and one instrument's sequencing, as tests use them, with a slow and obvious book beside."""

import json
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from memory import address, aligned

from hftpipe.core.schema.instruments import INSTRUMENT, symbols_table
from hftpipe.core.schema.records import ASK, BID, INVALID, SYNCING, VALID
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_bytes, book_init, book_level
from hftpipe.venues.bybit.fallback import decode
from hftpipe.venues.bybit.scanner import scan
from hftpipe.venues.bybit.sync import OLD_MOST, feed, sync_lose, sync_views, syncs_bytes, syncs_init
from hftpipe.venues.message import (
    FALLBACK,
    MESSAGE,
    MESSAGE_BYTES,
    OK,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    message_bytes,
)
from hftpipe.venues.taped.text import symbols_of

SYMBOLS = {"BTCUSDT": 0, "ETHUSDT": 1, "XRPUSDT": 2}
E8 = 10**8


class Decoders:
    """Both decoders with memory of their own; text is laid against the end of a buffer of exactly its length."""

    def __init__(self, power: int = 0) -> None:
        rows = np.zeros(len(SYMBOLS), INSTRUMENT)
        rows["symbol"], rows["power"] = [symbol.encode() for symbol in SYMBOLS], power
        self.symbols, self.listed = symbols_table(rows), symbols_of(rows)
        self.fast, self.slow = (aligned(message_bytes()) for _ in range(2))

    def scan(self, text: bytes) -> int:
        array = np.frombuffer(text, np.uint8) if text else np.zeros(1, np.uint8)
        start = address(array)
        return int(scan(start, start + np.uint64(len(text)), address(self.symbols), address(self.fast)))

    def decode(self, text: bytes) -> str | None:
        return decode(text, self.listed, self.slow)

    @staticmethod
    def used(memory: np.ndarray) -> bytes:
        head = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
        rows = 16 * int(head["n_bids"] + head["n_asks"]) + TRADE_ROW_BYTES * int(head["n_trades"])
        return memory[: MESSAGE_BYTES + rows].tobytes()

    def agree(self, text: bytes) -> int:
        """Assert that what the scanner accepts the slow decoder decodes to the same; the scanner's status."""
        status, reason = self.scan(text), self.decode(text)
        assert status in (OK, FALLBACK)
        if status == OK:
            assert reason is None, f"scanned, but refused by the slow decoder: {reason}\n{text!r}"
            assert self.used(self.fast) == self.used(self.slow), text
        return status

    def head(self) -> np.void:
        return self.slow[:MESSAGE_BYTES].view(MESSAGE)[0]

    def levels(self) -> list[list[int]]:
        head = self.head()
        end = MESSAGE_BYTES + 16 * int(head["n_bids"] + head["n_asks"])
        return self.slow[MESSAGE_BYTES:end].view(np.int64).reshape(-1, 2).tolist()

    def trades(self) -> np.ndarray:
        end = MESSAGE_BYTES + TRADE_ROW_BYTES * int(self.head()["n_trades"])
        return self.slow[MESSAGE_BYTES:end].view(TRADE_ROW)


class Followed:
    """The books of all symbols, followed by the compiled decoder and rules."""

    def __init__(self, levels: int = 512) -> None:
        self.decoders = Decoders()
        self._levels = np.full(len(SYMBOLS), levels, np.int64)
        self._syncs = aligned(syncs_bytes(self._levels))
        syncs_init(self._syncs, self._levels, ["bybit_linear"] * len(SYMBOLS))
        self.records = sync_views(self._syncs, self._levels)
        self._books = [aligned(book_bytes(levels)) for _ in SYMBOLS]
        for number, book in enumerate(self._books):
            book_init(book, number, levels)
            book[:BOOK_HEADER_BYTES].view(BOOK)["state"] = SYNCING

    def take(self, text: bytes) -> int | str:
        """What a message did to its book, or why it was refused."""
        fast = self.decoders.scan(text)
        if fast != OK and (reason := self.decoders.decode(text)):
            return reason
        memory = self.decoders.fast if fast == OK else self.decoders.slow
        number = int(memory[:MESSAGE_BYTES].view(MESSAGE)["instrument"][0])
        if number < 0:
            return 0
        return int(feed(address(self.records[number]), address(self._books[number]), address(memory)))

    def lose(self, number: int = 0) -> None:
        sync_lose(address(self.records[number]), address(self._books[number]))

    def sync(self, number: int = 0) -> np.void:
        found: np.void = self.records[number][0]
        return found

    def book(self, number: int = 0) -> np.void:
        found: np.void = self._books[number][:BOOK_HEADER_BYTES].view(BOOK)[0]
        return found

    def top(self, number: int = 0) -> tuple[int, int, int, int]:
        b = self.book(number)
        return int(b["bid"]), int(b["bid_qty"]), int(b["ask"]), int(b["ask_qty"])

    def levels(self, side: int, number: int = 0) -> dict[int, int]:
        count = int(self.book(number)["n_bids" if side == BID else "n_asks"])
        rows = (book_level(address(self._books[number]), side, np.int64(at)) for at in range(count))
        return {int(price): int(qty) for price, qty in rows}


def _e8(text: str) -> int:
    return int(Decimal(text) * E8)


@dataclass
class SlowBook:
    """The venue's rules for the levels of one stream, written down once more as plainly as can be."""

    state: int = SYNCING
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    u: int = 0
    seq: int = 0
    old: int = 0

    def lose(self) -> None:
        self.state, self.bids, self.asks = INVALID, {}, {}

    def take(self, message: dict) -> None:
        """Follow one message."""
        data = message["data"]
        if message["type"] == "snapshot" or data["u"] == 1:
            self.bids, self.asks, self.state = {}, {}, VALID
        elif self.state != VALID:
            return
        elif data["u"] <= self.u and data["seq"] <= self.seq and self.old < OLD_MOST:
            self.old += 1
            return
        elif data["u"] != self.u + 1 or data["seq"] < self.seq:
            return self.lose()
        for side, levels in ((self.bids, data["b"]), (self.asks, data["a"])):
            for price, qty in levels:
                if _e8(qty):
                    side[_e8(price)] = _e8(qty)
                else:
                    side.pop(_e8(price), None)
        self.u, self.seq, self.old = data["u"], data["seq"], 0
        if self.bids and self.asks and max(self.bids) >= min(self.asks):
            self.lose()

    def agrees(self, followed: Followed, number: int = 0) -> bool:
        """Whether the compiled book is this one."""
        sides = followed.levels(BID, number) == self.bids, followed.levels(ASK, number) == self.asks
        return followed.book(number)["state"] == self.state and all(sides)


def book_text(
    kind: str, u: int, seq: int, bids=(), asks=(), depth: int = 50, symbol: str = "BTCUSDT", cts=None
) -> bytes:
    """A message of a book as the venue writes those of contracts; levels as (price, quantity), text."""
    data = {"s": symbol, "b": [list(one) for one in bids], "a": [list(one) for one in asks], "u": u, "seq": seq}
    message = {"topic": f"orderbook.{depth}.{symbol}", "type": kind, "ts": 1_790_000_000_105, "data": data}
    return json.dumps(message | ({"cts": cts} if cts else {}), separators=(",", ":")).encode()
