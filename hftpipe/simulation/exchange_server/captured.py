"""A recorded capture as the market of the simulated exchange, at the pace of its receive times (:mod:`hftpipe.core.shared.stamps`).

Python brings chunks of text and decodes what the scanner passes on (:mod:`hftpipe.venues.taped.text`); the rest is compiled
and reached by its address, so that an exchange with a seeded flow compiles none of it. The book of each instrument is
rebuilt by the production code, from depth updates and snapshots; bookTickers are left aside. What a message does to
the matching book stands in :mod:`hftpipe.simulation.exchange_server.captured_levels`.
"""

import numpy as np

from hftpipe.capture.detect import CaptureInfo, detect
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.trading.books import book_at
from hftpipe.simulation.exchange_server.captured_levels import captured_depth, captured_reload, captured_trade
from hftpipe.simulation.exchange_server.captured_state import (
    CAPTURED,
    COUNTERS,
    CURSOR_COUNTERS,
    MAX_TAKEN,
    REACH,
    TAKEN,
)
from hftpipe.simulation.exchange_server.trading import EXCHANGE
from hftpipe.simulation.flow.state import FLOW_HEADER_BYTES
from hftpipe.simulation.matching.memory import matching_bytes, matching_init
from hftpipe.venues.message import (
    BOOK_TICKER,
    INVALIDATED,
    LEVELS_APPLIED,
    MESSAGE,
    MESSAGE_BYTES,
    RELOADED,
    TRADE,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    TRADE_SEEN,
)
from hftpipe.venues.nasdaq.itch.messages import FIELD_MAX, PRICE_UNIT
from hftpipe.venues.taped.cursor import (
    CURSOR,
    DECODED,
    NEED_NOTHING,
    WAITING,
    follow,
    is_ours,
    read_line,
    read_message,
)
from hftpipe.venues.taped.rebuild import Rebuild
from hftpipe.venues.taped.text import ReplaySource

MAX_LINES = 64
#: Orders and prices that a book has room for: half a million ticks to each side of the market.
MAX_ORDERS, WINDOW_TICKS = 1 << 16, 1 << 20
_FIRST_ORDER_ID = 1 << 63
_PRICE_MAX = FIELD_MAX * PRICE_UNIT
_CURSOR = np.uint64(offset_of(CAPTURED, "cursor"))


@jit
def _take_trades(exchange, captured, message):
    """A trade of the decoded message, or several, one after the other."""
    m, c = view(message, MESSAGE), view(captured, CAPTURED)
    if m.kind == TRADE:
        c.trades += 1
        captured_trade(exchange, m.instrument, message)
        return
    row = message + U64(MESSAGE_BYTES)
    for _ in range(m.n_trades):
        r = view(row, TRADE_ROW)
        m.price, m.qty, m.side, m.transaction_ts = r.price, r.qty, r.side, r.transaction_ts
        if r.accepted != 0:
            c.trades += 1
            captured_trade(exchange, m.instrument, message)
        row += U64(TRADE_ROW_BYTES)


@jit
def _follow(exchange, captured):
    """What the decoded message does."""
    c, cursor = view(captured, CAPTURED), captured + _CURSOR
    message = view(cursor, CURSOR).message
    m = view(message, MESSAGE)
    if m.kind == BOOK_TICKER or not is_ours(cursor):
        return
    change = follow(cursor, book_at(c.books, m.instrument))
    if change == LEVELS_APPLIED:
        c.depth_updates += 1
        captured_depth(exchange, m.instrument, message)
    elif change == TRADE_SEEN:
        _take_trades(exchange, captured, message)
    elif change in (RELOADED, INVALIDATED):
        c.reloads += 1
        captured_reload(exchange, m.instrument)


@jit
def _play_line(exchange, captured):
    """Decode and follow the ready line; False when the slow decoder in Python must do it first."""
    found = read_message(captured + _CURSOR)
    if found == DECODED:
        _follow(exchange, captured)
    view(captured, CAPTURED).lines += np.int64(found != WAITING)
    return found != WAITING


@jit
def play(exchange):
    """The lines that are due by the market's time (EXCHANGE at address ``exchange``); returns their number."""
    x = view(exchange, EXCHANGE)
    c, text, due_ns, done = view(x.captured, CAPTURED), view(x.captured + _CURSOR, CURSOR), x.time_ns, np.int64(0)
    text.need = NEED_NOTHING
    while done < MAX_LINES and read_line(x.captured + _CURSOR):
        c.first_ts = c.first_ts if c.first_ts != 0 else text.line_ts
        x.time_ns = x.open_ns + max(text.line_ts - c.first_ts, np.int64(0))
        if x.time_ns > due_ns or not _play_line(exchange, x.captured):
            break
        done += 1
    x.flow_behind += 1 if done == MAX_LINES else 0
    x.flow_events += done
    x.time_ns, x.need = due_ns, text.need
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
        state: CAPTURED array of length 1; cursor: its CURSOR.
    """

    def __init__(self, path: str, instruments: np.ndarray) -> None:
        market, count = check_capture(path, instruments).market, len(instruments)
        self.state = np.zeros(1, CAPTURED)
        self.cursor = self.state["cursor"]
        self._rebuild = Rebuild(self.cursor, market, instruments)
        self._reach, self._taken = np.zeros(count, REACH), np.zeros((count, MAX_TAKEN), TAKEN)
        state = self.state[0]
        state["books"], state["order_id"] = self._rebuild.books, _FIRST_ORDER_ID
        state["reach"], state["taken"] = self._reach.ctypes.data, self._taken.ctypes.data
        self.source = ReplaySource(path, self._rebuild.page)

    def book(self, instrument: int) -> np.uint64:
        """Address of the BOOK that the capture's depth stream has made of an instrument."""
        return self._rebuild.book(instrument)

    def has_ended(self) -> bool:
        """Whether the last line has been played."""
        text = self.cursor[0]
        return bool(text["ended"] and not text["line_ready"] and text["text_at"] >= text["text_end"])

    def figures(self) -> dict[str, int]:
        """Counters for a summary."""
        played, text = self.state[0], self.cursor[0]
        counted = {"lines": int(played["lines"]), "time_jumps": int(text["stamps"]["jumps"])}
        counted |= {name: int(text[name]) for name in CURSOR_COUNTERS}
        return counted | {name: int(played[name]) for name in COUNTERS}


def book_memory() -> int:
    """Bytes of one instrument: a header as that of a flow, unused, and the matching book."""
    return FLOW_HEADER_BYTES + matching_bytes(MAX_ORDERS, WINDOW_TICKS)


def book_memory_init(memory: np.ndarray, row: np.void) -> None:
    """Make an empty matching book of an INSTRUMENT row in ``memory`` (uint8 array of :func:`book_memory`)."""
    tick, lot = int(row["tick"]), int(row["lot"])
    price = max(int(row["reference_price"]), tick)
    matching_init(memory[FLOW_HEADER_BYTES:], tick, lot, price, MAX_ORDERS, WINDOW_TICKS)
