"""A feed, an arbiter and an output array in plain memory, for tests of the ITCH modules."""

import struct

import numpy as np
from itch_reference import SHARE, packet
from memory import aligned

from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import LEVEL, RECORD, TRADE, VALID
from hftpipe.core.trading.book import BOOK, book_level
from hftpipe.venues.nasdaq.itch.arbiter import mold_next, mold_packet_from, mold_poll, mold_state
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.decode import itch_message
from hftpipe.venues.nasdaq.itch.election import LINE_A
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_book, feed_bytes, feed_init, feed_line_state

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


SESSION = "S1"
WAIT, RETRY = 1_000, 10_000


def texts_of(first: int, count: int) -> list[bytes]:
    """Messages that say their own number."""
    return [b"%d" % number for number in range(first, first + count)]


class MoldRig(ArbiterRig):
    """An arbiter that collects what it delivers."""

    def __init__(self, **settings):
        base = {"wait_ns": WAIT, "retry_ns": RETRY, "retry_max_ns": 8 * RETRY, "max_retries": 3, "silence_ns": 0}
        super().__init__(**(base | settings))
        self.delivered: list[int] = []
        self.now = 1

    def send(self, data: bytes, line: int = LINE_A, drain: bool = True, sender: int = 0) -> int:
        # A copy of exactly its size, overwritten afterwards: nobody may keep a pointer into it.
        buffer = np.frombuffer(data, np.uint8).copy() if data else np.zeros(1, np.uint8)
        status = mold_packet_from(
            self.address, np.int64(line), np.uint64(sender), np.uint64(buffer.ctypes.data), np.int64(len(data)), np.int64(self.now),
            np.uint64(self.now),
        )  # fmt: skip
        self.taken()
        if drain:
            self.drain()
            buffer[:] = 0xEE
        return int(status)

    def taken(self) -> None:
        """A packet has been taken, and its messages not yet."""

    def drain(self) -> None:
        while mold_next(self.address):
            assert int(self.state["sequence"]) == len(self.delivered) + 1
            start, length = int(self.state["message"]), int(self.state["length"])
            text = bytes((np.ctypeslib.ctypes.c_char * length).from_address(start))
            self.delivered.append(int(text))

    def poll(self, passed: int = 0) -> tuple[int, int] | None:
        """The re-request that is due ``passed`` ns later, as (sequence, count)."""
        self.now += passed
        length = mold_poll(self.address, np.int64(self.now), np.uint64(self.request.ctypes.data))
        if length == 0:
            return None
        session, sequence, count = struct.unpack(">10sQH", self.request[:length].tobytes())
        assert session == SESSION.encode().rjust(10)
        return sequence, count

    @property
    def book_state(self) -> int:
        return int(mold_state(self.address, np.int64(self.now)))


def data(first: int, count: int = 1, session: str = SESSION) -> bytes:
    return packet(session, first, texts_of(first, count))
