"""A recorded capture as the market of the simulated exchange, at the pace of its receive times (:mod:`hftpipe.core.shared.stamps`).

Python brings chunks of text and decodes what the scanner passes on (:mod:`hftpipe.venues.taped.text`); the rest is compiled
and reached by its address, so that an exchange with a seeded flow compiles none of it. The book of each instrument is
rebuilt by the production code, from depth updates and snapshots; bookTickers are left aside. What a message does to
the matching book stands in :mod:`hftpipe.simulation.exchange_server.captured_levels`.
"""

import numpy as np

from hftpipe.capture.reader import LINE_OK, CaptureInfo, detect, next_line
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.instruments import symbols_table
from hftpipe.core.shared.stamps import event_time
from hftpipe.core.trading.book import book_bytes, book_init
from hftpipe.simulation.exchange_server.captured_levels import captured_depth, captured_reload, captured_trade
from hftpipe.simulation.exchange_server.captured_state import CAPTURED, COUNTERS, MAX_TAKEN, REACH, TAKEN
from hftpipe.simulation.exchange_server.trading import EXCHANGE
from hftpipe.simulation.flow.state import FLOW_HEADER_BYTES
from hftpipe.simulation.matching.memory import matching_bytes, matching_init
from hftpipe.venues.binance.scanner import OK, scan
from hftpipe.venues.binance.sync import (
    INVALIDATED,
    LEVELS_APPLIED,
    MARKETS,
    RELOADED,
    TRADE_SEEN,
    feed,
    sync_bytes,
    sync_init,
)
from hftpipe.venues.message import BOOK_TICKER, IGNORED, MESSAGE, message_bytes
from hftpipe.venues.nasdaq.itch.messages import FIELD_MAX, PRICE_UNIT
from hftpipe.venues.taped.state import NEED_CHUNK, NEED_DECODE, NEED_NOTHING
from hftpipe.venues.taped.text import ReplaySource, symbol_ids

MAX_LINES = 64
BOOK_LEVELS = 16384
#: Orders and prices that a book has room for: half a million ticks to each side of the market.
MAX_ORDERS, WINDOW_TICKS = 1 << 16, 1 << 20
_FIRST_ORDER_ID = 1 << 63
_PRICE_MAX = FIELD_MAX * PRICE_UNIT
_STAMPS = np.uint64(CAPTURED.fields["stamps"][1])


@jit
def _follow(exchange, c):
    """What the decoded message does."""
    m = view(c.message, MESSAGE)
    if m.kind == IGNORED or m.kind == BOOK_TICKER:
        return
    if m.instrument < 0 or m.instrument >= c.n_instruments:
        c.unknown_symbols += 1
        return
    instrument = U64(m.instrument)
    change = feed(c.syncs + c.sync_stride * instrument, c.books + c.book_stride * instrument, c.message)
    if change == LEVELS_APPLIED:
        c.depth_updates += 1
        captured_depth(exchange, m.instrument, c.message)
    elif change == TRADE_SEEN:
        c.trades += 1
        captured_trade(exchange, m.instrument, c.message)
    elif change in (RELOADED, INVALIDATED):
        c.reloads += 1
        captured_reload(exchange, m.instrument)


@jit
def _read_line(c, stamps):
    """Make the next line ready; False when Python must bring more text, or there is none."""
    while c.line_ready == 0:
        if c.text_at >= c.text_end:
            c.need = NEED_NOTHING if c.ended != 0 else NEED_CHUNK
            return False
        status, ts, start, end, after = next_line(c.text_at, c.text_end)
        c.text_at = after
        if status == LINE_OK:
            c.line_ts, c.json_at, c.json_end, c.line_ready = event_time(stamps, ts), start, end, 1
            c.time_jumps = c.stamps.jumps
            c.first_ts = c.first_ts if c.first_ts != 0 else c.line_ts
        else:
            c.bad_lines += 1
    return True


@jit
def _play_line(exchange, c):
    """Decode and follow the ready line; False when the slow decoder in Python must do it first."""
    if c.message_ready == 0:
        if scan(c.json_at, c.json_end, c.symbols, c.message) != OK:
            c.need = NEED_DECODE
            return False
        c.message_ready = 1
    if c.message_ready > 0:
        _follow(exchange, c)
    else:
        c.bad_messages += 1
    c.line_ready, c.message_ready = 0, 0
    c.lines += 1
    return True


@jit
def play(exchange):
    """The lines that are due by the market's time (EXCHANGE at address ``exchange``); returns their number."""
    x = view(exchange, EXCHANGE)
    c, due_ns, done = view(x.captured, CAPTURED), x.time_ns, np.int64(0)
    c.need = NEED_NOTHING
    while done < MAX_LINES and _read_line(c, x.captured + _STAMPS):
        x.time_ns = x.open_ns + max(c.line_ts - c.first_ts, np.int64(0))
        if x.time_ns > due_ns or not _play_line(exchange, c):
            break
        done += 1
    x.flow_behind += 1 if done == MAX_LINES else 0
    x.flow_events += done
    x.time_ns, x.need = due_ns, c.need
    return done


@entry("int64(uint64, int64)")
def play_entry(exchange, now_ns):
    return play(exchange)


def check_capture(path: str, instruments: np.ndarray) -> CaptureInfo:
    """What a capture is, if the wire can carry its market.

    Args:
        instruments: INSTRUMENT array; symbol and tick must be set.

    Raises:
        CaptureError: the file cannot be read or is no capture. ValueError: it has none of the instruments, or their
            prices do not fit the wire.
    """
    info, rows = detect(path), {bytes(row["symbol"]).decode(): row for row in instruments}
    known = [index for index, symbol in enumerate(info.symbols) if symbol in rows]
    if not known:
        raise ValueError(f"{path}: holds {', '.join(info.symbols)}, but the instruments are {', '.join(rows)}")
    for index in known:
        symbol, price = info.symbols[index], info.prices[index]
        tick = int(rows[symbol]["tick"])
        if tick % PRICE_UNIT:
            raise ValueError(f"{path}: {symbol}: tick {format_fixed(tick)}; ITCH prices are whole multiples of 0.0001")
        if price > _PRICE_MAX:
            limit = format_fixed(_PRICE_MAX)
            raise ValueError(f"{path}: {symbol}: prices around {format_fixed(price)}; ITCH ends at {limit}")
    return info


class CapturedMarket:
    """The memory of a captured market, and who brings its text.

    Attributes:
        state: CAPTURED array of length 1.
    """

    def __init__(self, path: str, instruments: np.ndarray) -> None:
        market = MARKETS[check_capture(path, instruments).market]
        count = len(instruments)
        self.state, self._table = np.zeros(1, CAPTURED), symbols_table(instruments)
        self._message = np.zeros(message_bytes(), np.uint8)
        self._syncs = np.zeros((count, sync_bytes()), np.uint8)
        self._books = np.zeros((count, book_bytes(BOOK_LEVELS)), np.uint8)
        self._reach = np.zeros(count, REACH)
        for index in range(count):
            sync_init(self._syncs[index], market)
            book_init(self._books[index], index, BOOK_LEVELS, int(instruments["tick"][index]))
        state = self.state[0]
        state["symbols"], state["message"] = self._table.ctypes.data, self._message.ctypes.data
        state["syncs"], state["sync_stride"] = self._syncs.ctypes.data, self._syncs.shape[1]
        state["books"], state["book_stride"] = self._books.ctypes.data, self._books.shape[1]
        self._taken = np.zeros((count, MAX_TAKEN), TAKEN)
        state["taken"] = self._taken.ctypes.data
        state["reach"], state["n_instruments"], state["order_id"] = self._reach.ctypes.data, count, _FIRST_ORDER_ID
        self.source = ReplaySource(path, self.state, symbol_ids(instruments), self._message)

    def book(self, instrument: int) -> np.uint64:
        """Address of the BOOK that the capture's depth stream has made of an instrument."""
        return np.uint64(self._books[instrument].ctypes.data)

    def has_ended(self) -> bool:
        """Whether the last line has been played."""
        state = self.state[0]
        return bool(state["ended"] and not state["line_ready"] and state["text_at"] >= state["text_end"])

    def figures(self) -> dict[str, int]:
        """Counters for a summary."""
        return {name: int(self.state[name][0]) for name in COUNTERS}


def book_memory() -> int:
    """Bytes of one instrument: a header as that of a flow, unused, and the matching book."""
    return FLOW_HEADER_BYTES + matching_bytes(MAX_ORDERS, WINDOW_TICKS)


def book_memory_init(memory: np.ndarray, row: np.void) -> None:
    """Make an empty matching book of an INSTRUMENT row in ``memory`` (uint8 array of :func:`book_memory`)."""
    tick, lot = int(row["tick"]), int(row["lot"])
    price = max(int(row["reference_price"]), tick)
    matching_init(memory[FLOW_HEADER_BYTES:], tick, lot, price, MAX_ORDERS, WINDOW_TICKS)
