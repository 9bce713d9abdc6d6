"""From a stream of diffs and a snapshot to a book that is right: Binance's sequencing rules for one instrument.

::

    SYNCING --snapshot--> SYNCING (loaded) --bridging event--> VALID --gap, crossed--> INVALID --snapshot--> SYNCING (loaded)

Without a snapshot every depth update is buffered; with one, those it covers are dropped, the first that reaches past
it must bridge to it, and the rest follow. The rules (venue documentation of 2025-11-12 for spot, 2026-05 for USD-M):

======== ============================ ======================================= ==================================
market   dropped after a snapshot L   the first event applied (bridge)        each later one
======== ============================ ======================================= ==================================
spot     ``u <= L``                   ``U <= L + 1 <= u``                     ``U <= id + 1``; ``u <= id`` is old
USD-M    ``u < L``                    ``U <= L <= u``, or ``pu == L``         ``pu == id``; ``u <= id`` is old
======== ============================ ======================================= ==================================

``id`` is the ``u`` of the last event applied. An old event after the bridge (a duplicate from a second connection)
changes nothing and is dropped; what it might have hidden still shows as a gap at the next event. Anything else is a
gap: the book is emptied, and nothing but a newer snapshot makes it valid again.

A book of depth updates alone that crosses is wrong, whatever the ids say: it is counted and made INVALID too.

A book that only hears best prices takes no depth and no snapshot: its first bookTicker makes it VALID.

The buffer is a ring of MESSAGE copies behind the SYNC record; when it is full the oldest go, counted.

::

    base | SYNC | arena: (u64 size of the entry; 0: continue at 0 | pad | MESSAGE | levels) ... |
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, copy_bytes, load_i64, store_i64, view
from hftpipe.core.schema.records import INVALID, SYNCING, VALID
from hftpipe.core.trading.book import BOOK, book_clear, book_set_top, is_top_only
from hftpipe.venues.booking import is_crossed, set_levels
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    INVALIDATED,
    LEVELS_APPLIED,
    MAX_LEVELS,
    MESSAGE,
    MESSAGE_BYTES,
    NOTHING,
    RELOADED,
    SNAPSHOT,
    TOP_CHANGED,
    TRADE,
    TRADE_IGNORED,
    TRADE_SEEN,
)

SPOT, USDM = 0, 1
MARKETS = {"binance_spot": SPOT, "binance_usdm": USDM}

# What sync_depth and sync_snapshot decide.
APPLY, DROP, BUFFER, GAP = 0, 1, 2, 3
LOADED, TOO_OLD = 0, 1

SYNC = np.dtype(
    [
        # SPOT or USDM; INVALID, SYNCING or VALID; whether a snapshot is in the book; whether an event bridged to it.
        ("market", "i8"), ("state", "i8"), ("loaded", "i8"), ("bridged", "i8"),
        # Last update id in the book.
        ("last_id", "u8"),
        # The ring of buffered messages: byte offsets in the arena, entries.
        ("arena_bytes", "i8"), ("head", "i8"), ("tail", "i8"), ("buffered", "i8"),
        # Counters: sequence gaps; old events dropped; snapshots loaded, refused as too old; books made valid again
        # after having been lost; buffered events lost for want of room; crossed results (depth, bookTicker).
        ("gaps", "i8"), ("stale", "i8"), ("snapshots", "i8"), ("too_old", "i8"), ("resyncs", "i8"),
        ("overflows", "i8"), ("crossed", "i8"), ("crossed_tops", "i8"), ("applied", "i8"),
        ("trades", "i8"), ("trades_ignored", "i8"),
        # Whether the book has been lost since it was last VALID; whether single trades have come.
        ("lost", "i8"), ("has_singles", "i8"), ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
SYNC_BYTES = 192
assert SYNC.itemsize == SYNC_BYTES
#: Room for some seconds of a busy symbol.
ARENA_BYTES = 1 << 20
_ENTRY_HEADER = 16
#: Room for any single message.
SMALLEST_ARENA = MESSAGE_BYTES + 16 * MAX_LEVELS + _ENTRY_HEADER
_ARENA = np.uint64(SYNC_BYTES)


def sync_bytes(arena_bytes: int = ARENA_BYTES) -> int:
    """Memory of one instrument's SYNC record and buffer."""
    return SYNC_BYTES + arena_bytes


def sync_init(memory: np.ndarray, market: int, arena_bytes: int = ARENA_BYTES) -> None:
    """Make ``memory`` (uint8 array of :func:`sync_bytes`) an instrument that waits for its first snapshot.

    Raises:
        ValueError: market is neither SPOT nor USDM; the arena is no multiple of 16 or cannot hold one message. Only a book that
            hears no depth may have none.
    """
    if market not in (SPOT, USDM):
        raise ValueError(f"market {market} is not one of SPOT ({SPOT}) and USDM ({USDM})")
    if arena_bytes and (arena_bytes % 16 or arena_bytes < SMALLEST_ARENA):
        raise ValueError(f"arena of {arena_bytes} bytes: a multiple of 16, at least {SMALLEST_ARENA}, is needed")
    memory[:SYNC_BYTES] = 0
    header = memory[:SYNC_BYTES].view(SYNC)
    header["market"], header["state"], header["arena_bytes"] = market, SYNCING, arena_bytes


@jit
def _drop_oldest(sync):
    s = view(sync, SYNC)
    if s.head == s.arena_bytes or load_i64(sync + _ARENA + U64(s.head)) == 0:
        s.head = 0
    s.head += load_i64(sync + _ARENA + U64(s.head))
    s.buffered -= 1
    if s.buffered == 0:
        s.head, s.tail = 0, 0


@jit
def _oldest(sync):
    """Address of the oldest buffered message."""
    s = view(sync, SYNC)
    if s.head == s.arena_bytes or load_i64(sync + _ARENA + U64(s.head)) == 0:
        s.head = 0
    return sync + _ARENA + U64(s.head) + U64(_ENTRY_HEADER)


@jit
def _make_room(sync, size):
    """Let go of the oldest messages until ``size`` bytes in a row are free at the tail."""
    s = view(sync, SYNC)
    while s.buffered > 0:
        wrapped = s.tail <= s.head
        if wrapped and s.head - s.tail >= size:
            return
        if not wrapped and s.arena_bytes - s.tail >= size:
            return
        if not wrapped and s.head >= size:
            # The rest up to the end stays unused.
            if s.tail < s.arena_bytes:
                store_i64(sync + _ARENA + U64(s.tail), np.int64(0))
            s.tail = 0
            return
        s.overflows += 1
        _drop_oldest(sync)


@jit
def _buffer(sync, message):
    """Keep a copy of a depth message."""
    s = view(sync, SYNC)
    m = view(message, MESSAGE)
    size = MESSAGE_BYTES + 16 * (m.n_bids + m.n_asks)
    _make_room(sync, size + _ENTRY_HEADER)
    entry = sync + _ARENA + U64(s.tail)
    store_i64(entry, size + _ENTRY_HEADER)
    copy_bytes(entry + U64(_ENTRY_HEADER), message, size)
    s.tail += size + _ENTRY_HEADER
    s.buffered += 1


@jit
def _judge_spot(s, m):
    if m.last_id <= s.last_id:
        return np.int64(DROP)
    return np.int64(GAP) if m.first_id > s.last_id + ONE else np.int64(APPLY)


@jit
def _judge_usdm(s, m):
    chained = m.has_previous != 0 and m.previous_id == s.last_id
    if s.bridged == 0:
        if m.last_id < s.last_id:
            return np.int64(DROP)
        return np.int64(APPLY) if chained or m.first_id <= s.last_id else np.int64(GAP)
    if m.last_id <= s.last_id:
        return np.int64(DROP)
    return np.int64(APPLY) if chained else np.int64(GAP)


@jit
def _judge(s, m):
    """APPLY, DROP or GAP for a depth message, a snapshot being loaded."""
    return _judge_spot(s, m) if s.market == SPOT else _judge_usdm(s, m)


@jit
def _lose(s):
    """The book is wrong: only a new snapshot helps."""
    s.state, s.loaded, s.bridged = INVALID, 0, 0
    s.lost = 1


@jit
def _advance(s, m):
    """Account for a depth message that is applied."""
    s.last_id = m.last_id
    s.applied += 1
    if s.bridged == 0:
        s.resyncs += s.lost
        s.bridged, s.lost = 1, 0
    s.state = VALID


@jit
def sync_depth(sync, message):
    """Decide on a depth message and account for it.

    Args:
        sync: address of a SYNC record with its buffer.
        message: address of a MESSAGE of kind DEPTH.

    Returns:
        APPLY; DROP (old); BUFFER (no snapshot yet: kept); GAP (state is now INVALID, and the message is the first of
        a new buffer).
    """
    s = view(sync, SYNC)
    m = view(message, MESSAGE)
    if s.loaded == 0:
        _buffer(sync, message)
        return np.int64(BUFFER)
    verdict = _judge(s, m)
    if verdict == APPLY:
        _advance(s, m)
    elif verdict == DROP:
        s.stale += 1
    else:
        s.gaps += 1
        _lose(s)
        _buffer(sync, message)
    return verdict


@jit
def _reaches(s, m, last_id):
    """Whether a snapshot at ``last_id`` connects to the oldest buffered message, or is newer than it."""
    if s.market == SPOT:
        return m.first_id <= last_id + ONE
    return m.first_id <= last_id or m.last_id < last_id or (m.has_previous != 0 and m.previous_id == last_id)


@jit
def sync_snapshot(sync, message):
    """Decide on a snapshot: LOADED, or TOO_OLD when it ends before the buffer starts or before the book is.

    After LOADED the caller replaces the book and replays the buffer (:func:`feed` does).
    """
    s = view(sync, SYNC)
    m = view(message, MESSAGE)
    behind = s.loaded != 0 and m.last_id < s.last_id
    if behind or (s.buffered > 0 and not _reaches(s, view(_oldest(sync), MESSAGE), m.last_id)):
        s.too_old += 1
        return np.int64(TOO_OLD)
    s.last_id, s.loaded, s.bridged, s.state = m.last_id, 1, 0, SYNCING
    s.snapshots += 1
    return np.int64(LOADED)


@jit
def _discard(sync, book):
    book_clear(book)
    view(book, BOOK).state = view(sync, SYNC).state
    return np.int64(INVALIDATED)


@jit
def _apply(sync, book, message):
    """Put an accepted message into the book; False, and everything discarded, when that crosses it."""
    s = view(sync, SYNC)
    set_levels(book, message, view(message, MESSAGE).last_id)
    if is_crossed(book):
        s.crossed += 1
        _lose(s)
        _discard(sync, book)
        return False
    view(book, BOOK).state = s.state
    return True


@jit
def _replay_buffer(sync, book):
    """Take what was buffered, oldest first: RELOADED, or INVALIDATED with the rest kept for the next snapshot."""
    s = view(sync, SYNC)
    while s.buffered > 0:
        message = _oldest(sync)
        m = view(message, MESSAGE)
        verdict = _judge(s, m)
        if verdict == GAP:
            s.gaps += 1
            _lose(s)
            return _discard(sync, book)
        if verdict == DROP:
            s.stale += 1
        else:
            _advance(s, m)
            if not _apply(sync, book, message):
                return np.int64(INVALIDATED)
        _drop_oldest(sync)
    return np.int64(RELOADED)


@jit
def _feed_snapshot(sync, book, message):
    if sync_snapshot(sync, message) == TOO_OLD:
        return np.int64(NOTHING)
    book_clear(book)
    if not _apply(sync, book, message):
        return np.int64(INVALIDATED)
    return _replay_buffer(sync, book)


@jit
def _feed_depth(sync, book, message):
    was_valid = view(sync, SYNC).state == VALID
    verdict = sync_depth(sync, message)
    if verdict == GAP:
        return _discard(sync, book)
    if verdict != APPLY:
        return np.int64(NOTHING)
    if not _apply(sync, book, message):
        _buffer(sync, message)
        return np.int64(INVALIDATED)
    return np.int64(LEVELS_APPLIED) if was_valid else np.int64(RELOADED)


@jit
def _begin_with_top(s, book):
    """A book that only hears best prices is right from the first pair of them on."""
    s.state = view(book, BOOK).state = VALID
    s.resyncs += s.lost
    s.lost = 0


@jit
def _feed_top(sync, book, message):
    s = view(sync, SYNC)
    m = view(message, MESSAGE)
    is_first = s.state != VALID and is_top_only(book)
    if s.state != VALID and not is_first:
        return np.int64(NOTHING)
    if m.bid > 0 and m.ask > 0 and m.bid >= m.ask:
        s.crossed_tops += 1
        return np.int64(NOTHING)
    if is_first:
        _begin_with_top(s, book)
    ts = m.transaction_ts if m.transaction_ts != 0 else m.event_ts
    local_ts = view(book, BOOK).local_ts
    is_newer = book_set_top(book, m.bid, m.bid_qty, m.ask, m.ask_qty, m.last_id, ts, local_ts)
    if is_first:
        return np.int64(RELOADED)
    return np.int64(TOP_CHANGED) if is_newer else np.int64(NOTHING)


@jit
def _feed_trade(sync, message):
    s, m = view(sync, SYNC), view(message, MESSAGE)
    # Where single trades come as well, an aggregate tells of them a second time.
    s.has_singles |= np.int64(m.n_trades == 0)
    if m.accepted == 0 or (m.n_trades != 0 and s.has_singles != 0):
        s.trades_ignored += 1
        return np.int64(TRADE_IGNORED)
    s.trades += 1
    return np.int64(TRADE_SEEN)


@jit
def feed(sync, book, message):
    """Sequence one message of this instrument and follow it with the book and its ``state``.

    Args:
        sync: address of the instrument's SYNC record and buffer.
        book: address of its BOOK. Its ``local_ts`` is left as it is: a message does not carry one.
        message: address of a MESSAGE with its levels.

    Returns:
        What a reader of the book must learn: NOTHING; LEVELS_APPLIED (the levels of this message); RELOADED (the
        whole book: a snapshot with what was buffered, or the event that made it VALID); INVALIDATED (the book is
        empty and INVALID); TOP_CHANGED (a bookTicker newer than the book); TRADE_SEEN; TRADE_IGNORED (not a market
        trade, of zero size or price, or an aggregate of trades that come singly too: counted, never to be passed on).
    """
    kind = view(message, MESSAGE).kind
    if is_top_only(book) and kind in (DEPTH, SNAPSHOT):
        return np.int64(NOTHING)
    if kind == DEPTH:
        return _feed_depth(sync, book, message)
    if kind == BOOK_TICKER:
        return _feed_top(sync, book, message)
    if kind == TRADE:
        return _feed_trade(sync, message)
    if kind == SNAPSHOT:
        return _feed_snapshot(sync, book, message)
    return np.int64(NOTHING)


@jit
def sync_lose(sync, book):
    """The connection was lost or a message dropped: discard the book and the buffer; INVALID until a new snapshot."""
    s = view(sync, SYNC)
    s.head, s.tail, s.buffered = 0, 0, 0
    _lose(s)
    return _discard(sync, book)
