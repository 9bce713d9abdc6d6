"""A feed, an arbiter and an output array in plain memory, for tests of the ITCH modules."""

import numpy as np
from itch_reference import SHARE
from memory import aligned

from hftpipe.core.book import BOOK, book_level
from hftpipe.core.instruments import INSTRUMENT
from hftpipe.core.records import LEVEL, RECORD, TRADE, VALID
from hftpipe.venues.itch.arbiter import ARBITER, arbiter_bytes, arbiter_init
from hftpipe.venues.itch.decode import itch_message
from hftpipe.venues.itch.feed import FEED, feed_book, feed_bytes, feed_init, feed_line_state

SYMBOLS = ("TEST", "OTHER")


def instruments(symbols: tuple[str, ...] = SYMBOLS, lot: int = SHARE) -> np.ndarray:
    rows = np.zeros(len(symbols), INSTRUMENT)
    rows["symbol"], rows["lot"], rows["tick"] = [s.encode() for s in symbols], lot, 10**6
    return rows


class FeedRig:
    """A feed whose transport is VALID, and the records of the last message."""

    def __init__(self, order_capacity: int = 1 << 12, level_capacity: int = 512, symbols: tuple[str, ...] = SYMBOLS):
        rows = instruments(symbols)
        self.memory = aligned(feed_bytes(len(rows), order_capacity, level_capacity))
        feed_init(self.memory, rows, order_capacity, level_capacity)
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: FEED.itemsize].view(FEED)[0]
        self.out = np.zeros(256, RECORD)
        self.sequence = 0
        feed_line_state(self.address, np.int64(VALID), np.int64(0), np.uint64(self.out.ctypes.data))

    def apply(self, text: bytes, local_ts: int = 5, origin_tsc: int = 6) -> np.ndarray:
        self.sequence += 1
        buffer = np.frombuffer(text + b"\0", np.uint8)
        count = itch_message(
            self.address, np.uint64(buffer.ctypes.data), np.int64(len(text)), np.uint64(self.sequence),
            np.int64(local_ts), np.uint64(origin_tsc), np.uint64(self.out.ctypes.data),
        )  # fmt: skip
        return self.out[:count].copy()

    def book(self, instrument: int = 0) -> np.void:
        start = int(feed_book(self.address, np.int64(instrument))) - self.memory.ctypes.data
        return self.memory[start : start + BOOK.itemsize].view(BOOK)[0]

    def levels(self, instrument: int, side: int) -> dict[int, int]:
        book, result, index = feed_book(self.address, np.int64(instrument)), {}, 0
        while True:
            price, qty = book_level(book, np.int64(side), np.int64(index))
            if qty == 0:
                return result
            result[int(price)] = int(qty)
            index += 1


def plain(records: np.ndarray) -> list[tuple]:
    """Trades and levels as the twin writes them; other kinds left out."""
    names = {LEVEL: "level", TRADE: "trade"}
    return [
        (names[int(r["kind"])], int(r["side"]), int(r["price"]), int(r["qty"])) for r in records if r["kind"] in names
    ]


class ArbiterRig:
    """An arbiter and the addresses a test needs."""

    def __init__(self, **settings):
        sizes = {name: settings[name] for name in ("slots", "packet_bytes") if name in settings}
        self.memory = aligned(arbiter_bytes(**sizes))
        arbiter_init(self.memory, **settings)
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: ARBITER.itemsize].view(ARBITER)[0]
        self.request = np.zeros(64, np.uint8)
