"""From a stream of snapshots and deltas to a book that is right: Bybit's sequencing rules for one instrument.

::

    SYNCING --snapshot--> VALID --gap, crossed, connection lost--> INVALID --snapshot--> VALID

The venue sends the whole book first (documentation of 2026). For a message of the stream of levels that the book follows:

================================ =========================================================================================
message                          what it does
================================ =========================================================================================
snapshot, or ``u`` 1             replaces the book, at any time
delta before the first snapshot  nothing
delta, ``u <= id``               nothing: it is old; but a gap if its ``seq`` is newer, or there are OLD_MOST such ones in a row
delta, ``u == id + 1``           applied, unless ``seq`` is lower than before: that is a gap
delta, ``u > id + 1``            a gap: the book is emptied, and nothing but a snapshot makes it valid again
================================ =========================================================================================

``id`` is the ``u`` of the last message applied. Numbers that are low and yet new are those of a service that has started anew, whose
first message was never heard: without a gap the book would stand still and look right. A book that crosses is wrong, whatever the numbers say: it is counted and made
INVALID too. Of several streams of a symbol (``orderbook.50``, ``.200``) a book follows the deepest that has had a snapshot since it
was last lost, for each has numbers of its own; ``seq`` is common to all, and so the book's update id.

Best prices (``orderbook.1``) are newer than the levels when their ``seq`` is. They are sent again, with the same ``u``, when nothing
has changed. Recordings of 2023 have deltas of them as well: they follow the same rule, and start with the first whole pair. A book
that only hears best prices takes no levels, and counts by ``u``, which several changes never share.
"""

from collections.abc import Sequence

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, load_i64, view
from hftpipe.core.schema.records import INVALID, SYNCING, VALID
from hftpipe.core.trading.book import BOOK, book_clear, book_set_top, is_top_only
from hftpipe.venues.booking import is_crossed, set_levels
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    INVALIDATED,
    LEVELS_APPLIED,
    MESSAGE,
    MESSAGE_BYTES,
    NOTHING,
    RELOADED,
    SNAPSHOT,
    TOP_CHANGED,
    TRADE_IGNORED,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    TRADE_SEEN,
    TRADES,
)
from hftpipe.venues.sync_table import places_behind_table, records_at, write_table

SYNC = np.dtype(
    [
        # INVALID, SYNCING or VALID; whether there is a snapshot in the book, and of which stream (levels a side).
        ("state", "i8"), ("loaded", "i8"), ("stream", "i8"),
        # Of the last message in the book.
        ("last_id", "u8"), ("sequence", "u8"),
        # The best prices last told, and their ``u``; whether there are any since the book was last lost.
        ("has_top", "i8"), ("top_id", "u8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        # Counters: sequence gaps; old messages dropped; deltas before a snapshot; snapshots; messages of streams that the book does not
        # follow; books made valid again after having been lost; crossed results (levels, best prices).
        ("gaps", "i8"), ("stale", "i8"), ("unbegun", "i8"), ("snapshots", "i8"), ("others", "i8"), ("resyncs", "i8"),
        ("crossed", "i8"), ("crossed_tops", "i8"), ("applied", "i8"), ("trades", "i8"), ("trades_ignored", "i8"),
        # Whether the book has been lost since it was last VALID.
        ("lost", "i8"),
        # Old messages since the last one applied.
        ("old_run", "i8"),
    ],
    align=True,
)  # fmt: skip
SYNC_BYTES = 192
#: So many old messages in a row are no copies of what has been applied.
OLD_MOST = 16
assert SYNC.itemsize == SYNC_BYTES
_LEVELS, _PAIR, _ROW = np.uint64(MESSAGE_BYTES), np.uint64(16), np.uint64(TRADE_ROW_BYTES)


def _places(levels: np.ndarray) -> list[int]:
    return places_behind_table([SYNC_BYTES] * len(levels))


def syncs_bytes(levels: np.ndarray) -> int:
    """Memory for instruments whose books have so many ``levels`` a side, int64[n]."""
    return _places(levels)[-1]


def sync_views(memory: np.ndarray, levels: np.ndarray) -> list[np.ndarray]:
    """The SYNC record of each instrument, an array of length 1; ``memory``, ``levels`` as for :func:`syncs_init`."""
    return records_at(memory, _places(levels)[:-1], SYNC)


def syncs_init(memory: np.ndarray, levels: np.ndarray, markets: Sequence[str]) -> None:
    """Make every instrument wait for its first snapshot.

    Args:
        memory: uint8 array of :func:`syncs_bytes`, 64-byte aligned; levels: as given to it; markets: all follow the same rules.
    """
    places = _places(levels)[:-1]
    write_table(memory, places)
    for one in records_at(memory, places, SYNC):
        one[:] = 0
        one["state"] = SYNCING


@jit
def _lose(sync, book):
    """The book is wrong: it is emptied, and only a snapshot helps."""
    s = view(sync, SYNC)
    s.state, s.loaded, s.has_top, s.lost = INVALID, 0, 0, 1
    book_clear(book)
    view(book, BOOK).state = INVALID
    return np.int64(INVALIDATED)


@jit
def _begin(sync, book):
    """The book is right from now on."""
    s = view(sync, SYNC)
    s.resyncs += s.lost
    s.state, s.lost = VALID, 0
    view(book, BOOK).state = VALID
    return np.int64(RELOADED)


@jit
def _apply(sync, book, message):
    """Put the levels of an accepted message into the book; False, and everything discarded, when that crosses it."""
    s, m = view(sync, SYNC), view(message, MESSAGE)
    s.last_id, s.sequence, s.old_run = m.last_id, m.sequence, 0
    set_levels(book, message, m.sequence)
    if is_crossed(book):
        s.crossed += 1
        _lose(sync, book)
        return False
    s.applied += 1
    return True


@jit
def _feed_snapshot(sync, book, message):
    s, m = view(sync, SYNC), view(message, MESSAGE)
    if s.loaded != 0 and m.stream < s.stream:
        s.others += 1
        return np.int64(NOTHING)
    book_clear(book)
    s.loaded, s.stream = 1, m.stream
    s.snapshots += 1
    return _begin(sync, book) if _apply(sync, book, message) else np.int64(INVALIDATED)


@jit
def _is_old(s, m):
    """Whether a delta is a copy of what has been applied, as far as its numbers tell."""
    return m.last_id <= s.last_id and m.sequence <= s.sequence and s.old_run < OLD_MOST


@jit
def _feed_delta(sync, book, message):
    s, m = view(sync, SYNC), view(message, MESSAGE)
    if s.loaded == 0:
        s.unbegun += 1
    elif m.stream != s.stream:
        s.others += 1
    elif _is_old(s, m):
        s.stale += 1
        s.old_run += 1
    elif m.last_id != s.last_id + ONE or m.sequence < s.sequence:
        s.gaps += 1
        return _lose(sync, book)
    else:
        return np.int64(LEVELS_APPLIED) if _apply(sync, book, message) else np.int64(INVALIDATED)
    return np.int64(NOTHING)


@jit
def _show_top(sync, book, message, is_new):
    """Make the best prices last told those of the book, if they are newer; ``is_new``: they replace what was there."""
    s, m, top_only = view(sync, SYNC), view(message, MESSAGE), is_top_only(book)
    if s.state != VALID and not top_only:
        return np.int64(NOTHING)
    if s.bid > 0 and s.ask > 0 and s.bid >= s.ask:
        s.crossed_tops += 1
        return np.int64(NOTHING)
    if top_only and (is_new or s.state != VALID):
        book_clear(book)
    update_id = s.top_id if top_only else m.sequence
    ts = m.transaction_ts if m.transaction_ts != 0 else m.event_ts
    is_newer = book_set_top(book, s.bid, s.bid_qty, s.ask, s.ask_qty, update_id, ts, view(book, BOOK).local_ts)
    if top_only and (is_new or s.state != VALID):
        return _begin(sync, book)
    return np.int64(TOP_CHANGED) if is_newer else np.int64(NOTHING)


@jit
def _feed_top(sync, book, message):
    s, m = view(sync, SYNC), view(message, MESSAGE)
    if s.has_top != 0 and m.first_id == s.top_id:
        s.stale += 1
        return np.int64(NOTHING)
    # Numbers that go back, or begin, are those of a service that has started anew.
    is_new = s.has_top == 0 or m.first_id < s.top_id
    s.has_top, s.top_id = 1, m.first_id
    s.bid, s.bid_qty, s.ask, s.ask_qty = m.bid, m.bid_qty, m.ask, m.ask_qty
    return _show_top(sync, book, message, is_new)


@jit
def _change_side(price, qty, at, count):
    """The best of a side after ``count`` changes, which begin at address ``at``: deletes count before what is set."""
    for index in range(count):
        where = at + _PAIR * U64(index)
        if load_i64(where + U64(8)) == 0 and load_i64(where) == price:
            price, qty = np.int64(0), np.int64(0)
    for index in range(count):
        where = at + _PAIR * U64(index)
        if load_i64(where + U64(8)) != 0:
            price, qty = load_i64(where), load_i64(where + U64(8))
    return price, qty


@jit
def _feed_top_delta(sync, book, message):
    s, m = view(sync, SYNC), view(message, MESSAGE)
    if s.has_top == 0:
        s.unbegun += 1
        return np.int64(NOTHING)
    if m.last_id <= s.top_id:
        s.stale += 1
        return np.int64(NOTHING)
    if m.last_id != s.top_id + ONE:
        s.gaps += 1
        s.has_top = 0
        return _lose(sync, book) if is_top_only(book) else np.int64(NOTHING)
    s.top_id = m.last_id
    at = message + _LEVELS
    s.bid, s.bid_qty = _change_side(s.bid, s.bid_qty, at, m.n_bids)
    s.ask, s.ask_qty = _change_side(s.ask, s.ask_qty, at + _PAIR * U64(m.n_bids), m.n_asks)
    return _show_top(sync, book, message, False)


@jit
def _feed_trades(sync, message):
    s, m, row, accepted = view(sync, SYNC), view(message, MESSAGE), message + _LEVELS, np.int64(0)
    for _ in range(m.n_trades):
        accepted += np.int64(view(row, TRADE_ROW).accepted != 0)
        row += _ROW
    s.trades += accepted
    s.trades_ignored += m.n_trades - accepted
    if m.n_trades == 0:
        return np.int64(NOTHING)
    return np.int64(TRADE_SEEN) if accepted > 0 else np.int64(TRADE_IGNORED)


@jit
def feed(sync, book, message):
    """Sequence one message of this instrument and follow it with the book and its ``state``.

    Args:
        sync: address of the instrument's SYNC record.
        book: address of its BOOK. Its ``local_ts`` is left as it is: a message does not carry one.
        message: address of a MESSAGE with its levels or trades.

    Returns:
        What a reader of the book must learn: NOTHING; LEVELS_APPLIED (the levels of this message); RELOADED (the whole
        book); INVALIDATED (the book is empty and INVALID); TOP_CHANGED (best prices newer than the book); TRADE_SEEN (the trades
        that are accepted); TRADE_IGNORED (none is).
    """
    m = view(message, MESSAGE)
    if m.kind == TRADES:
        return _feed_trades(sync, message)
    if m.kind == BOOK_TICKER:
        return _feed_top(sync, book, message)
    if m.kind == DEPTH and m.stream == 1:
        return _feed_top_delta(sync, book, message)
    if is_top_only(book) or (m.kind != DEPTH and m.kind != SNAPSHOT):
        return np.int64(NOTHING)
    return _feed_delta(sync, book, message) if m.kind == DEPTH else _feed_snapshot(sync, book, message)


@jit
def sync_lose(sync, book):
    """The connection was lost or a message dropped: discard the book; INVALID until a new snapshot."""
    return _lose(sync, book)
