"""Decode and book update of real USD-M messages, against simdjson, orjson and the order-book C extension.

Every rival reads the same messages, interleaved with ours in the same run, and proves it by the same checksum or the
same final best bid and ask. One message is timed at a time with the time-stamp counter inside the compiled loop; the
cost of a stamp is part of every figure (nothing is subtracted) and is reported. Ratios are medians of same-run ratios.
"""

import ctypes
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from hftpipe.capture.reader import CaptureReader
from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, rdtsc, store_i64, view
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT, symbols_table
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_bytes, book_init
from hftpipe.venues.binance.fallback import decode
from hftpipe.venues.binance.scanner import scan
from hftpipe.venues.binance.sync import USDM, feed, sync_bytes, sync_init
from hftpipe.venues.message import MESSAGE, MESSAGE_BYTES, Symbols, message_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from data import DATA, needs_data
from memory import aligned

REPETITIONS = 7
MESSAGES = 3000
BOOK_LEVELS = 16384
CAPTURE = DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
SYMBOL = b"BTCUSDT"
TICK = 10_000_000
PADDING = 256
_CPP = Path(__file__).parent / "cpp" / "decode_simdjson.cpp"


class Row(NamedTuple):
    """One repetition of one contender."""

    p50: float
    p99: float
    p99_9: float
    max: float


class Messages(NamedTuple):
    """JSON texts in one padded buffer; message i is [starts[i], starts[i + 1] - 1)."""

    texts: list[bytes]
    buffer: np.ndarray
    starts: np.ndarray


def _pack(texts: list[bytes]) -> Messages:
    buffer = np.frombuffer(b"\n".join(texts) + b"\n" + b" " * PADDING, np.uint8).copy()
    starts = np.concatenate([[0], np.cumsum([len(text) + 1 for text in texts])]).astype(np.int64)
    return Messages(texts, buffer, starts)


def _texts() -> list[bytes]:
    lines: list[bytes] = []
    for chunk in CaptureReader(CAPTURE):
        lines += [line.partition(b" ")[2] for line in chunk.tobytes().splitlines()]
    return lines


@jit
def _sum(message):
    """Wrapping sum of every integer of a message."""
    m = view(message, MESSAGE)
    total = m.event_ts + m.transaction_ts + m.instrument + m.price + m.qty + m.side + m.accepted
    total += np.int64(m.first_id) + np.int64(m.last_id) + np.int64(m.previous_id) + np.int64(m.trade_id)
    total += m.bid + m.bid_qty + m.ask + m.ask_qty
    at = message + U64(MESSAGE_BYTES)
    for _ in range(2 * (m.n_bids + m.n_asks)):
        total += load_i64(at)
        at += U64(8)
    return total


@jit
def _decode_all(buffer, starts, count, symbols, message, ticks, sums):
    bad = np.int64(0)
    for index in range(count):
        word = U64(8 * index)
        text = buffer + U64(load_i64(starts + word))
        end = buffer + U64(load_i64(starts + word + U64(8))) - U64(1)
        before = rdtsc()
        bad += scan(text, end, symbols, message)
        store_i64(sums + word, _sum(message))
        store_i64(ticks + word, np.int64(rdtsc() - before))
    return bad


@jit
def _book_all(buffer, starts, count, symbols, message, sync, book, ticks, levels):
    bad = np.int64(0)
    for index in range(count):
        word = U64(8 * index)
        text = buffer + U64(load_i64(starts + word))
        end = buffer + U64(load_i64(starts + word + U64(8))) - U64(1)
        before = rdtsc()
        bad += scan(text, end, symbols, message)
        feed(sync, book, message)
        store_i64(ticks + word, np.int64(rdtsc() - before))
        m = view(message, MESSAGE)
        store_i64(levels + word, m.n_bids + m.n_asks)
    return bad


@jit
def _stamps(count, ticks):
    for index in range(count):
        before = rdtsc()
        store_i64(ticks + U64(8 * index), np.int64(rdtsc() - before))


def _at(array: np.ndarray) -> np.uint64:
    return np.uint64(array.ctypes.data)


class Bench:
    """Memory of the code under test, and conversion of ticks."""

    def __init__(self) -> None:
        clock = np.zeros(1, CLOCK)
        calibrate(clock, 0.1)
        self.ns_per_tick = float(clock["ns_per_tick"][0])
        instruments = np.zeros(1, INSTRUMENT)
        instruments["symbol"] = SYMBOL
        self.symbols = symbols_table(instruments)
        self.message = np.zeros(message_bytes(), np.uint8)
        self.message.fill(0)

    def row(self, ticks: np.ndarray) -> Row:
        """Percentiles in ns."""
        values = [float(np.percentile(ticks, q)) * self.ns_per_tick for q in (50, 99, 99.9, 100)]
        return Row(*values)

    def decode(self, messages: Messages, sums: np.ndarray) -> Row:
        """One repetition of the scanner."""
        count = len(messages.texts)
        ticks = np.full(count, 1, np.int64)
        bad = _decode_all(
            _at(messages.buffer), _at(messages.starts), np.int64(count), _at(self.symbols), _at(self.message),
            _at(ticks), _at(sums),
        )  # fmt: skip
        assert bad == 0, f"{bad} messages needed the fallback"
        return self.row(ticks)

    def stamp_ns(self) -> float:
        """Cost of one pair of stamps, p50."""
        ticks = np.full(MESSAGES, 1, np.int64)
        _stamps(np.int64(len(ticks)), _at(ticks))
        return self.row(ticks).p50


@pytest.fixture(scope="module")
def bench_memory() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def usdm_texts() -> list[bytes]:
    return _texts()


@pytest.fixture(scope="module")
def simdjson(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The C++ rival, compiled here and now."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("simdjson row: no g++ on this machine")
    library = tmp_path_factory.mktemp("simdjson") / "decode.so"
    command = [compiler, "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", str(_CPP), "-o", str(library)]
    done = subprocess.run([*command, "-lsimdjson"], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"simdjson row: libsimdjson-dev is missing or too old: {done.stderr.strip()[:200]}")
    loaded = ctypes.CDLL(str(library))
    loaded.decode_all.restype = ctypes.c_int64
    return loaded


def _simdjson_row(bench: Bench, library: ctypes.CDLL, messages: Messages, sums: np.ndarray) -> Row:
    count = len(messages.texts)
    ticks = np.full(count, 1, np.int64)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    bad = library.decode_all(
        pointer(messages.buffer.ctypes.data), pointer(messages.starts.ctypes.data), integer(count),
        integer(messages.buffer.nbytes), SYMBOL, pointer(ticks.ctypes.data), pointer(sums.ctypes.data),
    )  # fmt: skip
    assert bad == 0, f"simdjson failed on {bad} messages"
    return bench.row(ticks)


def _python_row(function: Callable[[bytes], Any], texts: list[bytes]) -> Row:
    """One repetition of a Python contender, ns."""
    clock = time.perf_counter_ns
    times = []
    for text in texts:
        before = clock()
        function(text)
        times.append(clock() - before)
    return Row(*(float(np.percentile(times, q)) for q in (50, 99, 99.9, 100)))


def _median(rows: list[Row]) -> dict[str, float]:
    return {name: statistics.median(getattr(row, name) for row in rows) for name in Row._fields}


def _ratio(ours: list[Row], theirs: list[Row]) -> float:
    return statistics.median(a.p50 / b.p50 for a, b in zip(ours, theirs))


def _chosen(texts: list[bytes], mix: str) -> Messages:
    if mix == "depthUpdate":
        return _pack([text for text in texts if b'"e":"depthUpdate"' in text][:MESSAGES])
    return _pack([text for text in texts if b'"e":"' in text][:MESSAGES])


@needs_data
@pytest.mark.parametrize("mix", ["depthUpdate", "mixed"])
def test_decode_is_no_slower_than_simdjson(mix, bench_memory, usdm_texts, simdjson, report) -> None:
    messages = _chosen(usdm_texts, mix)
    count = len(messages.texts)
    assert len(set(messages.texts)) == count >= 1000
    ours, theirs = [], []
    sums, rival_sums = np.zeros(count, np.int64), np.zeros(count, np.int64)
    bench_memory.decode(messages, sums)
    for _ in range(REPETITIONS):
        ours.append(bench_memory.decode(messages, sums))
        theirs.append(_simdjson_row(bench_memory, simdjson, messages, rival_sums))
        assert np.array_equal(sums, rival_sums), "the two decoders disagree"
    ratio, what = _ratio(ours, theirs), f"JSON to int64, {count} different USD-M messages, {mix}"
    stamps = f"of which a pair of stamps {bench_memory.stamp_ns():.0f} ns"
    report.row(bench="decode", what=what, **_median(ours), note=stamps)
    rival = "simdjson on-demand (C++ -O3)"
    report.row(bench="decode", what=what, rival=rival, **_median(theirs), ratio=ratio, bar="<= 1.0")


@needs_data
@pytest.mark.parametrize("mix", ["depthUpdate", "mixed"])
def test_decode_takes_a_quarter_of_orjson(mix, bench_memory, usdm_texts, report) -> None:
    messages = _chosen(usdm_texts, mix)
    sums = np.zeros(len(messages.texts), np.int64)
    bench_memory.decode(messages, sums)
    ours, theirs = [], []
    for _ in range(REPETITIONS):
        ours.append(bench_memory.decode(messages, sums))
        theirs.append(_python_row(orjson.loads, messages.texts))
    ratio = _ratio(ours, theirs)
    what = f"JSON to int64 against JSON to Python objects, {mix}"
    report.row(bench="decode", what=what, rival="orjson.loads", **_median(theirs), ratio=ratio, bar="<= 0.25")


class _OurBook:
    """The production path, from the capture's snapshot on."""

    def __init__(self, bench: Bench, snapshot: bytes):
        self._bench = bench
        self._sync, self._book = aligned(sync_bytes()), aligned(book_bytes(BOOK_LEVELS))
        sync_init(self._sync, USDM)
        book_init(self._book, 0, BOOK_LEVELS, TICK)
        assert decode(snapshot, Symbols({SYMBOL.decode(): 0}, [0]), bench.message) is None
        feed(_at(self._sync), _at(self._book), _at(bench.message))

    def run(self, messages: Messages) -> tuple[Row, Row]:
        """Times per message and per level."""
        count = len(messages.texts)
        ticks, levels = np.full(count, 1, np.int64), np.full(count, 1, np.int64)
        bad = _book_all(
            _at(messages.buffer), _at(messages.starts), np.int64(count), _at(self._bench.symbols),
            _at(self._bench.message), _at(self._sync), _at(self._book), _at(ticks), _at(levels),
        )  # fmt: skip
        assert bad == 0
        return self._bench.row(ticks), self._bench.row(ticks / np.maximum(levels, 1))

    def top(self) -> tuple[float, float]:
        """Best bid and ask."""
        header = self._book[:BOOK_HEADER_BYTES].view(BOOK)[0]
        return int(header["bid"]) / 1e8, int(header["ask"]) / 1e8


class _ExtensionBook:
    """The order-book extension, fed the way its users feed it but with float, its fastest key type here."""

    def __init__(self, snapshot: bytes):
        import order_book

        self._book = order_book.OrderBook()
        parsed = orjson.loads(snapshot)
        self._set(self._book.bids, parsed["bids"])
        self._set(self._book.asks, parsed["asks"])

    @staticmethod
    def _set(side: Any, rows: list[list[str]]) -> None:
        for price, qty in rows:
            key, amount = float(price), float(qty)
            if amount != 0.0:
                side[key] = amount
            elif key in side:
                del side[key]

    def update(self, text: bytes) -> None:
        """Apply one depthUpdate."""
        data = orjson.loads(text)["data"]
        self._set(self._book.bids, data["b"])
        self._set(self._book.asks, data["a"])

    def update_and_read(self, text: bytes) -> None:
        """Apply one depthUpdate and read the top, as ours does and a strategy needs (the extension sorts when read)."""
        self.update(text)
        self.top()

    def top(self) -> tuple[float, float]:
        """Best bid and ask."""
        return self._book.bids.index(0)[0], self._book.asks.index(0)[0]


@needs_data
def test_decode_and_book_update(bench_memory, usdm_texts, report) -> None:
    pytest.importorskip("order_book", reason="rival row: pip install order-book")
    snapshot = next(text for text in usdm_texts if text.startswith(b'{"lastUpdateId"'))
    last_id = orjson.loads(snapshot)["lastUpdateId"]
    depth = [text for text in usdm_texts if b'"e":"depthUpdate"' in text]
    after = [text for text in depth if orjson.loads(text)["data"]["u"] >= last_id]
    messages = _pack(after[:MESSAGES])
    ours, per_level, theirs, readers = [], [], [], []
    _OurBook(bench_memory, snapshot).run(messages)
    for _ in range(REPETITIONS):
        book, rival, reader = _OurBook(bench_memory, snapshot), _ExtensionBook(snapshot), _ExtensionBook(snapshot)
        row, level_row = book.run(messages)
        ours.append(row)
        per_level.append(level_row)
        theirs.append(_python_row(rival.update, messages.texts))
        readers.append(_python_row(reader.update_and_read, messages.texts))
        for other in (rival, reader):
            assert book.top() == pytest.approx(other.top(), rel=1e-12), "the two books disagree"
    what = f"decode and book update, {len(messages.texts)} USD-M depthUpdates in sequence"
    message_row, level_row = _median(ours), _median(per_level)
    report.row(bench="decode_book", what=what, **message_row, **_target(message_row["p50"], 2000))
    report.row(bench="decode_book", what="the same, per price level", **level_row, **_target(level_row["p50"], 100))
    for reads, rows in (("top read each time", readers), ("top never read", theirs)):
        report.row(
            bench="decode_book", what=what, rival=f"orjson + order-book C extension, {reads}", **_median(rows),
            ratio=_ratio(ours, rows), bar="<= 0.2",
        )  # fmt: skip


def _target(p50_ns: float, target_ns: float) -> dict[str, Any]:
    """Absolute figures depend on the machine: shown, not asserted."""
    met = p50_ns <= target_ns
    return {"bar": f"p50 <= {target_ns:.0f}", "ok": True if met else None, "note": None if met else "target NOT met"}
