"""ITCH bytes to order-by-order book and market records, against the C++ book builders of itch-book and itchcpp.

::

    4 synthetic flows ─▶ matching ─▶ encoder ─▶ 400,000 length-prefixed messages ─┬─▶ ours: orders, levels, records
                                                                                 ├─▶ itch-book: orders, levels
                                                                                 └─▶ itchcpp: orders, levels

All read the same bytes in the same run, in turn, and must end at the same best bid and ask. Ours also writes every
market record; the rivals write nothing. Half of the file is read before the clock starts, so that nobody pays for fresh
memory: the figure is the second half. Single messages are timed with the time-stamp counter inside the loop, whose
cost is part of the figure. Ratios are ours over the rival's time for that half, medians of same-run ratios.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, rdtsc, store_i64, view
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import RECORD, VALID
from hftpipe.core.trading.book import BOOK
from hftpipe.simulation.flow.decide import decide
from hftpipe.simulation.flow.fair_value import advance_fair_value
from hftpipe.simulation.flow.flow import FLOW, flow_book, flow_bytes, flow_init, perform, wait_ns
from hftpipe.simulation.matching.engine import match_event, match_event_count, match_events_clear
from hftpipe.simulation.matching.memory import EVENT, MATCHING, ORDER, order_at
from hftpipe.venues.nasdaq.itch.decode import itch_blocks, itch_message
from hftpipe.venues.nasdaq.itch.encode import (
    ENCODER,
    EVENT_ADD,
    EVENT_BYTES_MAX,
    encode_directory,
    encode_event,
    encoder_init,
)
from hftpipe.venues.nasdaq.itch.feed import feed_book, feed_bytes, feed_init, feed_line_state
from hftpipe.venues.nasdaq.itch.wire import be16

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from memory import aligned

BENCH = "itch"
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
MESSAGES = 400_000
REPETITIONS = 7
SHARE, TICK = 10**8, 10**6
MIDNIGHT_OFFSET_NS = 34_200_000_000_000
BAR_NS = 150


@jit
def _ref(encoder, id_):
    """Order numbers as a venue hands them out: unique over all stocks, rising, without great holes."""
    if id_ == ZERO:
        return ZERO
    return (id_ & U64(0xFFFFFFFFFFFF)) * U64(len(SYMBOLS)) + view(encoder, ENCODER).locate


@jit
def _rest_of_book(flow, encoder, time_ns, target):
    """An A message for every order that rests before the first event; returns bytes written."""
    book = flow_book(flow)
    size = np.int64(0)
    for index in range(1, view(book, MATCHING).max_orders + 1):
        order = view(order_at(book, np.int64(index)), ORDER)
        if order.id != ZERO and order.qty > 0:
            price = order.tick * view(book, MATCHING).tick
            size += encode_event(
                encoder, np.int64(EVENT_ADD), _ref(encoder, order.id), ZERO, np.int64(order.side), price, order.qty, ZERO, time_ns,
                target + U64(size),
            )  # fmt: skip
    return size


@jit
def _next_event(flow, encoder, target):
    """One event of the flow as messages; returns bytes written, -1 if one could not be."""
    f = view(flow, FLOW)
    advance_fair_value(flow, np.float64(f.next_ts - f.now_ts) * 1e-9)
    f.now_ts = f.next_ts
    decide(flow)
    perform(flow)
    f.next_ts = f.now_ts + wait_ns(flow)
    book = flow_book(flow)
    size = np.int64(0)
    for index in range(match_event_count(book)):
        e = view(match_event(book, index), EVENT)
        wrote = encode_event(
            encoder, np.int64(e.kind), _ref(encoder, e.order_id), _ref(encoder, e.maker_id), np.int64(e.side), e.price,
            e.qty, e.match_id, f.now_ts, target + U64(size),
        )  # fmt: skip
        if wrote < 0:
            return wrote
        size += wrote
    match_events_clear(book)
    return size


def _instruments() -> np.ndarray:
    rows = np.zeros(len(SYMBOLS), INSTRUMENT)
    rows["symbol"], rows["lot"], rows["tick"] = [s.encode() for s in SYMBOLS], SHARE, TICK
    rows["reference_price"] = 150 * 10**8
    return rows


def _day() -> np.ndarray:
    """The file: directory, the orders that rest at the start, then events of all flows in order of time."""
    data, at = np.zeros(MESSAGES * 48, np.uint8), 0
    base, flows, encoders, keep = data.ctypes.data, [], np.zeros(len(SYMBOLS), ENCODER), []
    for index, row in enumerate(_instruments()):
        memory = aligned(flow_bytes())
        flow_init(memory, row, index, 17 + index, 20_000.0, MIDNIGHT_OFFSET_NS)
        encoder_init(encoders[index : index + 1], index + 1, SYMBOLS[index], SHARE)
        flows.append(np.uint64(memory.ctypes.data))
        keep.append(memory)
    writers = [np.uint64(encoders[i : i + 1].ctypes.data) for i in range(len(SYMBOLS))]
    for flow, encoder in zip(flows, writers):
        at += int(encode_directory(encoder, np.int64(MIDNIGHT_OFFSET_NS), np.uint64(base + at)))
        at += int(_rest_of_book(flow, encoder, np.int64(MIDNIGHT_OFFSET_NS), np.uint64(base + at)))
    clocks = [memory[: FLOW.itemsize].view(FLOW) for memory in keep]
    while encoders["messages"].sum() < MESSAGES and at < len(data) - 64 * EVENT_BYTES_MAX:
        turn = int(np.argmin([clock["next_ts"][0] for clock in clocks]))
        for _ in range(50):
            wrote = int(_next_event(flows[turn], writers[turn], np.uint64(base + at)))
            assert wrote >= 0, "an event that the wire cannot say"
            at += wrote
    return data[:at]


@jit
def _timed(feed, data, length, out, ticks):
    """Every message with its own time; returns the number of messages."""
    at, count, sequence = np.int64(0), np.int64(0), ONE
    while at < length:
        size = np.int64(be16(data + U64(at)))
        before = rdtsc()
        itch_message(feed, data + U64(at + 2), size, sequence, np.int64(0), ZERO, out)
        store_i64(ticks + U64(8 * count), np.int64(rdtsc() - before))
        at += 2 + size
        sequence += ONE
        count += 1
    return count


@jit
def _stamps(ticks, count):
    for index in range(count):
        before = rdtsc()
        store_i64(ticks + U64(8 * index), np.int64(rdtsc() - before))


class Ours:
    """A fresh feed for every run; its set-up is not timed (nor is the rivals')."""

    def __init__(self, data: np.ndarray):
        self._rows, self._data = _instruments(), data
        self.memory = aligned(feed_bytes(len(self._rows), 1 << 18))
        self.feed, self._out = np.uint64(self.memory.ctypes.data), np.zeros(128, RECORD)
        self.reset()

    def reset(self) -> None:
        self.memory[:] = 0
        feed_init(self.memory, self._rows, 1 << 18)
        feed_line_state(self.feed, np.int64(VALID), np.int64(0), np.uint64(self._out.ctypes.data))

    def read(self, start: int, end: int) -> int:
        """Number of messages in bytes [start, end)."""
        used, count, _ = itch_blocks(
            self.feed, np.uint64(self._data.ctypes.data + start), np.int64(end - start), np.uint64(1 + start),
            np.int64(0), np.uint64(self._out.ctypes.data),
        )  # fmt: skip
        assert used == end - start
        return int(count)

    def single(self, ticks: np.ndarray) -> int:
        return _timed(
            self.feed, np.uint64(self._data.ctypes.data), np.int64(len(self._data)), np.uint64(self._out.ctypes.data),
            np.uint64(ticks.ctypes.data),
        )  # fmt: skip

    def tops(self) -> list[tuple[int, ...]]:
        starts = [int(feed_book(self.feed, np.int64(i))) - self.memory.ctypes.data for i in range(len(SYMBOLS))]
        books = [self.memory[start : start + BOOK.itemsize].view(BOOK)[0] for start in starts]
        assert all(book["state"] == VALID for book in books)
        return [tuple(int(b[n]) for n in ("bid", "bid_qty", "ask", "ask_qty")) for b in books]


class ItchBook:
    """itch-book's C++ core, asked for no tables: orders and books alone."""

    def __init__(self, data: bytes):
        self._core = pytest.importorskip("itch_book._core", reason="itch-book is not installed (extra: itch)")
        self._data = data
        self.reset()

    def reset(self) -> None:
        self._session = self._core.Session([], 10, [])

    def read(self, piece: bytes) -> None:
        self._session.feed(piece)

    def tops(self) -> list[tuple[int, ...]]:
        stats = self._session.stats()
        assert stats["missing_ref"] == stats["dup_ref"] == stats["rejected"] == stats["clamped"] == 0
        full = self._core.Session(["bbo"], 10, [])
        full.feed(self._data)
        bbo = full.take_bbo()
        last = {locate: index for index, locate in enumerate(bbo["locate"].tolist())}
        columns = {"bid_px": 10**4, "bid_sz": SHARE, "ask_px": 10**4, "ask_sz": SHARE}
        return [tuple(int(bbo[c][last[i + 1]]) * u for c, u in columns.items()) for i in range(len(SYMBOLS))]


class ItchCpp:
    """itchcpp's BookManager."""

    def __init__(self, data: bytes):
        self._book = pytest.importorskip("itchcpp.book", reason="itchcpp is not installed (extra: itch)")
        self.reset()

    def reset(self) -> None:
        self._manager = self._book.BookManager()

    def read(self, piece: bytes) -> None:
        self._manager.process_stream(piece)

    def tops(self) -> list[tuple[int, ...]]:
        tops = [self._manager.book_for_symbol(symbol).bbo() for symbol in SYMBOLS]
        prices = [[round(p * 10**4) * 10**4 for p in (b.bid_price, b.ask_price)] for b in tops]
        sizes = [[b.bid_shares * SHARE, b.ask_shares * SHARE] for b in tops]
        return [(bid, bid_qty, ask, ask_qty) for (bid, ask), (bid_qty, ask_qty) in zip(prices, sizes)]


RIVALS = {"itch-book": ItchBook, "itchcpp": ItchCpp}


def _halfway(data: bytes) -> int:
    at = 0
    while at < len(data) // 2:
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return at


@pytest.fixture(scope="module")
def day() -> np.ndarray:
    return _day()


def _ns_per_tick() -> float:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    return float(clock["ns_per_tick"][0])


def _percentiles(values: np.ndarray) -> dict[str, float]:
    return {
        "p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99)),
        "p99_9": float(np.percentile(values, 99.9)), "max": float(values.max()),
    }  # fmt: skip


def test_one_message_to_book_and_records(report: Any, day: np.ndarray) -> None:
    ours, scale = Ours(day), _ns_per_tick()
    ticks = np.full(MESSAGES + 4096, 1, np.int64)
    ours.single(ticks)
    runs = []
    for _ in range(REPETITIONS):
        ours.reset()
        runs.append(_percentiles(ticks[: ours.single(ticks)] * scale))
    best = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    _stamps(np.uint64(ticks.ctypes.data), np.int64(10_000))
    report.row(BENCH, "two time stamps (part of the figure below)", **_percentiles(ticks[:10_000] * scale))
    what = "parse + order + book + records, one message"
    report.row(BENCH, what, ok=best["p50"] < BAR_NS, note=f"p50 below {BAR_NS} ns", **best)


@pytest.mark.parametrize("rival", list(RIVALS))
def test_a_file_against(report: Any, day: np.ndarray, rival: str) -> None:
    data = day.tobytes()
    half, theirs, ours = _halfway(data), RIVALS[rival](data), Ours(day)
    first, second = data[:half], data[half:]
    mine_ns, their_ns = [], []
    for _ in range(REPETITIONS):
        ours.reset()
        theirs.reset()
        ours.read(0, half)
        theirs.read(first)
        started = time.perf_counter_ns()
        count = ours.read(half, len(data))
        between = time.perf_counter_ns()
        theirs.read(second)
        ended = time.perf_counter_ns()
        mine_ns.append((between - started) / count)
        their_ns.append((ended - between) / count)
    assert ours.tops() == theirs.tops()
    ratio = statistics.median(a / b for a, b in zip(mine_ns, their_ns))
    report.row(BENCH, "file, a message", p50=statistics.median(mine_ns), max=max(mine_ns))
    report.row(
        BENCH, "file, a message", rival=rival, p50=statistics.median(their_ns), max=max(their_ns), ratio=ratio,
        bar="< 1.00",
    )  # fmt: skip
