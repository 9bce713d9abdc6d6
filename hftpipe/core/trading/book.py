"""Full-depth L2 order book: two sides of levels (:mod:`hftpipe.core.trading.side`) and a published top, in flat memory.

Each side is ordered by a *key* (price for bids, minus price for asks), so that the best level of either side has the
greatest one and one code path serves both sides.

The top of book may be newer than the levels: Binance's bookTicker is a separate, faster stream in the same update
id space. Levels come from the depth stream alone; the published top is whichever of the two has the greater update
id. A level better than a newer top is stale and is skipped by the readers.

A change in the window of ticks around the touch costs a few ns whatever it does, one outside it a search in blocks; the
window follows the touch (:mod:`hftpipe.core.trading.window` says when and at what cost). Reading the n-th level skips whole
words and blocks; to add up the n best use :func:`book_sum`; to read many, walk::

    cursor = book_walk(book, side, index)
    while cursor >= 0:
        price, qty = book_walk_level(book, side, cursor)
        cursor = book_walk_next(book, side, cursor)

Memory: ``BOOK header | bid levels | ask levels``; the header holds the headers of both sides. A book of 16,384 levels a
side takes 2.3 MB, 0.27 MB of it for the windows.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.core.schema.layout import LINE_PAIR, offset_of, whole
from hftpipe.core.schema.records import ASK, BID, INVALID, VALID
from hftpipe.core.trading.levels import LEVELS, LEVELS_HEADER_BYTES
from hftpipe.core.trading.side import (
    DROPPED,
    side_at,
    side_best,
    side_bytes,
    side_clear,
    side_init,
    side_level,
    side_next,
    side_qty,
    side_seek,
    side_set,
    side_sum,
)
from hftpipe.core.trading.window import window_tick_fields

BOOK = np.dtype(
    [
        ("instrument", "i8"), ("state", "i8"),
        # The published top: 0 means that side is empty.
        ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("top_id", "u8"), ("update_id", "u8"),
        ("exchange_ts", "i8"), ("local_ts", "i8"), ("capacity", "i8"),
        # Levels dropped because a side was full (always the worst one), updates applied, deletes of absent levels.
        ("evicted", "i8"), ("updates", "i8"), ("absent_deletes", "i8"),
        # Strategy stage: the bid of a TOP pair that waits for its ask; records of other venues may come in between.
        ("waiting_bid", "i8"), ("waiting_bid_qty", "i8"),
        # Two LEVELS headers; the first word of each is its number of levels.
        ("n_bids", "i8"), ("_bids", "i8", 23), ("n_asks", "i8"), ("_asks", "i8", 23),
    ],
    align=True,
)  # fmt: skip
BOOK_HEADER_BYTES = 512
_SIDES_AT = offset_of(BOOK, "n_bids")
_SIDES = np.uint64(_SIDES_AT)
_SIDE_BYTES = np.uint64(LEVELS_HEADER_BYTES)
#: Fewer ticks are no gain over one block; more cost memory for changes too rare to matter (1 % of a recorded market).
_MIN_TICKS, _MAX_TICKS = 64, 32768
#: Fields of LEVELS that say where its parts are.
_STORED = ("fences", "ids", "counts", "blocks", "slots", "bits", "summary")


def default_window(capacity: int) -> int:
    """Ticks in the window of a side of ``capacity`` levels: as many, up to a power of two, in 64..32768; none for one level."""
    return 0 if capacity == TOP_LEVELS else min(max(1 << (capacity - 1).bit_length(), _MIN_TICKS), _MAX_TICKS)


def book_bytes(capacity: int, window: int | None = None) -> int:
    """Memory for a book (a multiple of 64; best aligned to 64).

    Args:
        capacity: levels a side.
        window: ticks in the window of a side, 0 or a power of two; :func:`default_window` if None.
    """
    return BOOK_HEADER_BYTES + 2 * side_bytes(capacity, default_window(capacity) if window is None else window)


def book_stride(capacity: int) -> int:
    """Bytes from one book to the next of an array of them: whole pairs of cache lines."""
    return whole(book_bytes(capacity), LINE_PAIR)


def book_init(memory: np.ndarray, instrument: int, capacity: int, tick: int = 0, window: int | None = None) -> None:
    """Make an empty, INVALID book.

    Args:
        memory: uint8 array of :func:`book_bytes`.
        instrument: its id.
        capacity, window: as given to :func:`book_bytes`.
        tick: price step (1e-8); 0, not known: no window. Prices need not keep to it, but cost more if they do not.
    """
    slots = default_window(capacity) if window is None else window
    memory[: book_bytes(capacity, slots)] = 0
    header = memory[:BOOK_HEADER_BYTES].view(BOOK)
    header["instrument"], header["capacity"], header["state"] = instrument, capacity, INVALID
    for side in (BID, ASK):
        storage = BOOK_HEADER_BYTES + side * side_bytes(capacity, slots)
        side_init(memory, _SIDES_AT + side * LEVELS_HEADER_BYTES, storage, capacity, slots, tick)


def book_settle(heads: np.ndarray, capacity: int, ticks: np.ndarray, away: np.ndarray) -> None:
    """Tell books what their price steps are and where their levels lie, before the first change.

    Args:
        heads: uint8[n, BOOK_HEADER_BYTES]: the heads of books of ``capacity`` levels a side; ticks: int64[n], 0 where it is
            not known; away: bytes (uint64[n]) from behind each head to its levels.
    """
    for side in (BID, ASK):
        at = _SIDES_AT + side * LEVELS_HEADER_BYTES
        rows = heads[:, at : at + LEVELS_HEADER_BYTES].view(LEVELS)[:, 0]
        for name, values in window_tick_fields(default_window(capacity), ticks).items():
            rows[name] = values
        for name in _STORED:
            rows[name] += away


@jit
def is_top_only(book):
    """Whether the book only hears best prices: its published top is all there is to know."""
    return view(book, BOOK).capacity == TOP_LEVELS


@jit
def _side(book, side):
    return book + _SIDES + U64(side) * _SIDE_BYTES


@jit
def _key(side, price):
    """Key of a price, and price of a key."""
    return price if side == BID else -price


@jit
def book_set(book, side, price, qty):
    """Set the absolute quantity of one level (0 deletes; deleting an absent level is normal and counted).

    Returns:
        The level's quantity before (0 if it was absent).
    """
    before, b = side_set(_side(book, side), _key(side, price), qty), view(book, BOOK)
    b.absent_deletes += np.int64((qty == 0) & (before == 0))
    if before == DROPPED:
        b.evicted += 1
        return np.int64(0)
    return before


@jit
def book_clear(book):
    """Remove every level and the top; the state is left to the caller."""
    b = view(book, BOOK)
    side_clear(_side(book, BID))
    side_clear(_side(book, ASK))
    b.bid, b.bid_qty, b.ask, b.ask_qty = 0, 0, 0, 0
    b.top_id, b.update_id = ZERO, ZERO


@jit
def book_walk(book, side, index):
    """Cursor of level ``index`` from the best of the depth stream; negative if there is none.

    A cursor is good until the book next changes.
    """
    return side_seek(_side(book, side), index)


@jit
def book_walk_next(book, side, cursor):
    """Cursor of the level behind (worse than) the one at ``cursor``; negative at the end."""
    return side_next(_side(book, side), cursor)


@jit
def book_walk_level(book, side, cursor):
    """``(price, qty)`` of the level at a cursor that is not negative."""
    key, qty = side_at(_side(book, side), cursor)
    return _key(side, key), qty


@jit
def book_level(book, side, index):
    """Level ``index`` counted from the best of the depth stream: ``(price, qty)``, (0, 0) beyond the end."""
    key, qty = side_level(_side(book, side), index)
    return _key(side, key), qty


@jit
def book_sum(book, side, index, n):
    """Total quantity of up to ``n`` levels from level ``index`` on."""
    return side_sum(_side(book, side), index, n)


@jit
def book_best(book, side):
    """Best level of the depth stream: ``(price, qty)``, (0, 0) if there is none."""
    key, qty = side_best(_side(book, side))
    return _key(side, key), qty


@jit
def book_qty_at(book, side, price):
    """Displayed quantity of the depth stream at ``price`` (0 if absent)."""
    return side_qty(_side(book, side), _key(side, price))


@jit
def book_commit(book, update_id, exchange_ts, local_ts):
    """End of one depth update: take the top from the levels unless a newer top is known."""
    b = view(book, BOOK)
    b.update_id, b.exchange_ts, b.local_ts = update_id, exchange_ts, local_ts
    b.updates += 1
    if b.top_id <= update_id:
        b.bid, b.bid_qty = book_best(book, BID)
        b.ask, b.ask_qty = book_best(book, ASK)
        b.top_id = update_id


@jit
def book_set_top(book, bid, bid_qty, ask, ask_qty, update_id, exchange_ts, local_ts):
    """A best bid/ask message; ignored (False) unless its update id is newer than what is known."""
    b = view(book, BOOK)
    if update_id <= b.top_id:
        return False
    b.bid, b.bid_qty, b.ask, b.ask_qty = bid, bid_qty, ask, ask_qty
    b.top_id, b.exchange_ts, b.local_ts = update_id, exchange_ts, local_ts
    return True


@jit
def book_first_live(book, side):
    """Index of the first level not better than the published top (levels before it are stale)."""
    b = view(book, BOOK)
    top = b.bid if side == BID else b.ask
    index = np.int64(0)
    if b.top_id <= b.update_id or top == 0:
        return index
    limit = _key(side, top)
    cursor = book_walk(book, side, index)
    while cursor >= 0 and _key(side, book_walk_level(book, side, cursor)[0]) > limit:
        index += 1
        cursor = book_walk_next(book, side, cursor)
    return index


@jit
def book_tradable(book):
    """VALID, with both sides present and not crossed."""
    b = view(book, BOOK)
    return b.state == VALID and b.bid > 0 and b.ask > b.bid
