"""Is the reconstructed book right? Depth updates against the independent bookTicker stream of the same recording.

The book is rebuilt by the production code (cursor, codec, core.book) from depth updates and snapshots alone.
After each depth update with last id ``u``, its top must equal the bookTicker record with the greatest id <= ``u``,
wherever in the file that one stands: the two streams share their ids and nothing else.

A venue that cuts depth every 100 ms may cut inside one burst of updates and so show a top that no bookTicker ever had
(2 of 6,493 in a recorded BTCUSDT run). A mismatch counts as *transient* only when the raw data proves such a cut:

1. the next depth update applied matches again;
2. a bookTicker record follows within the ids of that next depth update, so the top did move on at once; and
3. on every side that differs, the depth update itself says so: it lists the rebuilt best level with exactly that
   quantity (where the rebuilt top is better than, or at, the bookTicker's price), or deletes the bookTicker's price
   (where it is worse).

A wrong book cannot hide behind this: a level kept, lost or misplaced earlier is not in the update at hand (3) and does
not heal by itself at the next one (1). Transients above one in a thousand are a failure all the same.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hftpipe.capture.detect import detect
from hftpipe.capture.reader import CaptureError, CaptureReader
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import INSTRUMENT, MAX_INSTRUMENTS, SYMBOL_BYTES
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import BOOK_STATE_NAMES, VALID
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import book_at
from hftpipe.venues.message import BOOK_TICKER, DEPTH, LEVELS_APPLIED, MESSAGE, MESSAGE_BYTES, RELOADED
from hftpipe.venues.taped.cursor import (
    CURSOR,
    DECODED,
    NEED_DECODE,
    WAITING,
    follow,
    is_ours,
    read_line,
    read_message,
)
from hftpipe.venues.taped.rebuild import Rebuild

#: Transients may be one in this many comparisons.
TRANSIENT_SHARE = 1000
#: More mismatches than this are not looked into one by one.
MAX_EXAMINED = 1000
_SHOWN_PROBLEMS = 10

#: One comparable moment: a top of book with the id it belongs to, and the line of the file it came from.
TOP = np.dtype(
    [
        ("id", "u8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("first_id", "u8"), ("instrument", "i8"), ("line", "i8"),
    ],
    align=True,
)  # fmt: skip
_TOP_BYTES = np.uint64(TOP.itemsize)
_PRICES = ("bid", "bid_qty", "ask", "ask_qty")

#: The loop over the lines of a chunk: where it is, the table of books, and what it writes to.
WORK = np.dtype(
    [("cursor", CURSOR), ("books", "u8"), ("tops", "u8"), ("tickers", "u8"), ("n_tops", "i8"), ("n_tickers", "i8")],
    align=True,
)
_CURSOR = np.uint64(offset_of(WORK, "cursor"))


@jit
def _put_top(target, id_, first_id, instrument, line):
    t = view(target, TOP)
    t.id, t.first_id, t.instrument, t.line = id_, first_id, instrument, line
    return t


@jit
def _take_message(work):
    """Put the decoded message where it belongs: a bookTicker among the tickers, the rest into the book."""
    w, cursor = view(work, WORK), work + _CURSOR
    c = view(cursor, CURSOR)
    if not is_ours(cursor):
        return
    m = view(c.message, MESSAGE)
    if m.kind == BOOK_TICKER:
        t = _put_top(w.tickers + _TOP_BYTES * U64(w.n_tickers), m.last_id, m.last_id, m.instrument, c.lines)
        t.bid, t.bid_qty, t.ask, t.ask_qty = m.bid, m.bid_qty, m.ask, m.ask_qty
        w.n_tickers += 1
        return
    book = book_at(w.books, m.instrument)
    change = follow(cursor, book)
    b = view(book, BOOK)
    if change in (LEVELS_APPLIED, RELOADED) and b.state == VALID:
        t = _put_top(w.tops + _TOP_BYTES * U64(w.n_tops), b.update_id, m.first_id, m.instrument, c.lines)
        t.bid, t.bid_qty, t.ask, t.ask_qty = b.bid, b.bid_qty, b.ask, b.ask_qty
        w.n_tops += 1


@jit
def _run_chunk(work):
    """Go on with the chunk, to its end or to a line for the slow decoder (``need`` of the cursor says which)."""
    while read_line(work + _CURSOR):
        found = read_message(work + _CURSOR)
        if found == WAITING:
            return
        if found == DECODED:
            _take_message(work)


class _Pass:
    """One pass over a capture: the production code that rebuilds it, and what came out."""

    def __init__(self, path: Path) -> None:
        self.path, info = path, detect(path)
        self.errors, self.problems = 0, list[str]()
        symbols = info.symbols[:MAX_INSTRUMENTS]
        instruments = np.zeros(len(symbols), INSTRUMENT)
        instruments["symbol"] = [symbol.encode()[:SYMBOL_BYTES] for symbol in symbols]
        instruments["tick"], instruments["power"] = info.ticks[:MAX_INSTRUMENTS], info.powers[:MAX_INSTRUMENTS]
        self._work = np.zeros(1, WORK)
        self.books = Rebuild(self._work["cursor"], info.market, instruments)
        self._work["books"] = self.books.books
        self._tops, self._tickers = np.zeros(0, TOP), np.zeros(0, TOP)

    @property
    def counts(self) -> np.void:
        """The CURSOR record."""
        cursor: np.void = self._work["cursor"][0]
        return cursor

    @property
    def tops(self) -> np.ndarray:
        """TOP after each depth update applied, in file order."""
        return self._tops[: int(self._work["n_tops"][0])]

    @property
    def tickers(self) -> np.ndarray:
        """TOP of each bookTicker, in file order."""
        return self._tickers[: int(self._work["n_tickers"][0])]

    def _problem(self, text: str) -> None:
        self.errors += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(text)

    def run(self) -> None:
        """Read the whole file; damage in it ends the pass and is a problem, not an exception."""
        try:
            for chunk in CaptureReader(self.path):
                self._run(chunk)
        except CaptureError as error:
            self._problem(str(error))

    def _reserve(self, lines: int) -> None:
        self._tops = _grown(self._tops, len(self.tops) + lines)
        self._tickers = _grown(self._tickers, len(self.tickers) + lines)
        self._work["tops"], self._work["tickers"] = self._tops.ctypes.data, self._tickers.ctypes.data

    def _run(self, chunk: np.ndarray) -> None:
        self._reserve(int(np.count_nonzero(chunk == 10)) + 1)
        self.books.page.give(chunk)
        work = np.uint64(self._work.ctypes.data)
        _run_chunk(work)
        while self.counts["need"] == NEED_DECODE:
            if reason := self.books.page.decode():
                self._problem(f"{self.path}: line {int(self.counts['lines'])}: {reason}")
            _run_chunk(work)


def _grown(array: np.ndarray, capacity: int) -> np.ndarray:
    if capacity <= len(array):
        return array
    larger = np.zeros(max(capacity, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger


def _compare(tops: np.ndarray, tickers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each top of one instrument: (index of its ticker or -1, comparable, differs)."""
    at = np.searchsorted(tickers["id"], tops["id"], side="right") - 1
    comparable = at >= 0
    differs = np.zeros(len(tops), bool)
    for name in _PRICES:
        differs[comparable] |= tops[name][comparable] != tickers[name][at[comparable]]
    return at, comparable, differs


def _lines(path: Path, wanted: set[int]) -> dict[int, bytes]:
    """The JSON text of some lines (numbered from 1) of a capture."""
    found: dict[int, bytes] = {}
    number = 0
    try:
        for chunk in CaptureReader(path):
            for line in chunk.tobytes().removesuffix(b"\n").split(b"\n"):
                number += 1
                if number in wanted:
                    found[number] = line.partition(b" ")[2]
    except CaptureError:
        pass
    return found


def _says_so(levels: dict[int, int], price: int, qty: int, ticker_price: int, better: int) -> bool:
    """Rule 3 for one side that differs. ``better`` is 1 for bids, -1 for asks."""
    if price != 0 and (ticker_price == 0 or (price - ticker_price) * better >= 0):
        return levels.get(price) == qty
    return levels.get(ticker_price) == 0


def _explained(top: np.void, ticker: np.void, message: np.ndarray) -> bool:
    """Rule 3: the depth update in ``message`` itself makes every side what the book shows."""
    header = message[:MESSAGE_BYTES].view(MESSAGE)[0]
    if header["kind"] != DEPTH:
        return False
    n_bids, n_asks = int(header["n_bids"]), int(header["n_asks"])
    pairs = message[MESSAGE_BYTES : MESSAGE_BYTES + 16 * (n_bids + n_asks)].view(np.int64).reshape(-1, 2).tolist()
    bids, asks = ({price: qty for price, qty in half} for half in (pairs[:n_bids], pairs[n_bids:]))
    for side, better, levels in (("bid", 1, bids), ("ask", -1, asks)):
        price, qty = int(top[side]), int(top[side + "_qty"])
        before, before_qty = int(ticker[side]), int(ticker[side + "_qty"])
        if (price, qty) != (before, before_qty) and not _says_so(levels, price, qty, before, better):
            return False
    return True


def _transients(done: _Pass, tops: np.ndarray, tickers: np.ndarray, at: np.ndarray, differs: np.ndarray) -> int:
    """How many of the mismatches of one instrument the three rules prove to be cuts inside a burst."""
    candidates = []
    for index in np.flatnonzero(differs)[:MAX_EXAMINED]:
        after, following = index + 1, at[index] + 1
        if after >= len(tops) or differs[after] or following >= len(tickers):
            continue
        if tops["first_id"][after] <= tickers["id"][following] <= tops["id"][after]:
            candidates.append(int(index))
    texts = _lines(done.path, {int(tops["line"][index]) for index in candidates}) if candidates else {}
    proven, books = 0, done.books
    for index in candidates:
        text = texts.get(int(tops["line"][index]), b"")
        if books.codec.decode(text, books.symbols, books.message) is None:
            proven += _explained(tops[index], tickers[at[index]], books.message)
    return proven


@dataclass(frozen=True)
class BookCheck:
    """What the check of one capture found.

    Attributes:
        path: the capture.
        lines: lines in it.
        applied: depth updates applied to a book.
        compared: tops compared with a bookTicker; mismatched: of these, different and not transient.
        transient: different, but proven to be a cut inside a burst (see the module).
        not_comparable: applied, but before the first bookTicker, or replayed together with a snapshot.
        gaps: breaks in the sequence; crossed: depth updates that crossed the book; resyncs: books made valid again.
        trades, ignored_trades: market trades, and others (insurance fund, zero size).
        errors: lines that could not be read, decoded or assigned to an instrument, and damage to the file.
        states: the state of each symbol's book at the end. SYNCING: the capture has no usable snapshot for it.
        messages_per_s: speed of this check.
        problems: the first few errors, as text.
    """

    path: str
    lines: int
    applied: int
    compared: int
    mismatched: int
    transient: int
    not_comparable: int
    gaps: int
    crossed: int
    resyncs: int
    trades: int
    ignored_trades: int
    errors: int
    states: dict[str, str]
    messages_per_s: float
    problems: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Something was compared, and nothing was wrong with it."""
        wrong = self.mismatched or self.gaps or self.crossed or self.errors
        return (
            self.compared > 0 and not wrong and self.transient * TRANSIENT_SHARE <= max(self.compared, TRANSIENT_SHARE)
        )


def _summary(done: _Pass, seconds: float) -> BookCheck:
    compared = mismatched = transient = 0
    ids = done.books.symbols.ids
    for instrument in ids.values():
        tops = done.tops[done.tops["instrument"] == instrument]
        tickers = done.tickers[done.tickers["instrument"] == instrument]
        tickers = tickers[np.argsort(tickers["id"], kind="stable")]
        at, comparable, differs = _compare(tops, tickers)
        cuts = _transients(done, tops, tickers, at, differs)
        compared += int(comparable.sum())
        transient += cuts
        mismatched += int(differs.sum()) - cuts
    syncs, counts = done.books.syncs, done.counts
    problems = list(done.problems)
    if counts["bad_lines"]:
        problems.append(f"{counts['bad_lines']} lines are not '<local_ns> <json>'")
    if counts["unknown_symbols"]:
        problems.append(
            f"{counts['unknown_symbols']} messages name no instrument of this capture (of {', '.join(ids)})"
        )
    applied = int(syncs["applied"].sum())
    return BookCheck(
        path=str(done.path),
        lines=int(counts["lines"]),
        applied=applied,
        compared=compared,
        mismatched=mismatched,
        transient=transient,
        not_comparable=applied - compared,
        gaps=int(syncs["gaps"].sum()),
        crossed=int(syncs["crossed"].sum()),
        resyncs=int(syncs["resyncs"].sum()),
        trades=int(syncs["trades"].sum()),
        ignored_trades=int(syncs["trades_ignored"].sum()),
        errors=done.errors + int(counts["bad_lines"]) + int(counts["unknown_symbols"]),
        states={symbol: BOOK_STATE_NAMES[int(syncs["state"][index])] for symbol, index in ids.items()},
        messages_per_s=int(counts["lines"]) / seconds if seconds > 0 else 0.0,
        problems=tuple(problems),
    )


def check_book(path: str | Path) -> BookCheck:
    """Rebuild the books of a capture from depth and compare them with its bookTicker records.

    Raises:
        CaptureError: the file cannot be read at all, or holds no Binance market events.
    """
    done = _Pass(Path(path))
    _run_chunk.compile("(uint64,)")
    started = steady_ns()
    done.run()
    return _summary(done, (steady_ns() - started) / 1e9)


_ROWS = (
    ("lines", "lines"), ("depth events applied", "applied"), ("compared", "compared"), ("mismatched", "mismatched"),
    ("transient", "transient"), ("not comparable", "not_comparable"), ("gaps", "gaps"), ("crossed", "crossed"),
    ("resyncs", "resyncs"), ("trades", "trades"), ("ignored trades", "ignored_trades"), ("errors", "errors"),
)  # fmt: skip


def render(check: BookCheck) -> str:
    """The result as text: one ``name value`` line each, then the books and what went wrong."""
    rows = [f"{name} {getattr(check, attribute)}" for name, attribute in _ROWS]
    rows.append(f"messages/s {check.messages_per_s:.0f}")
    rows += [f"book {symbol} {state}" for symbol, state in check.states.items()]
    if "SYNCING" in check.states.values():
        rows.append("note: a SYNCING book had no snapshot in this capture that its depth updates connect to")
    if check.compared == 0:
        rows.append("note: nothing could be compared: depth updates, a snapshot and bookTicker records are all needed")
    rows += [f"problem: {problem}" for problem in check.problems]
    return "\n".join(rows)
