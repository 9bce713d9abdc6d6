"""Full-depth L2 order book: two sorted arrays in flat memory, best level last.

Each side is kept ascending in a *key* (price for bids, minus price for asks), so the best level of either side is
the last element: changes near the touch, nearly all of them, move a few words, and one code path serves both sides.
A search gallops from the best end.

The top of book may be newer than the levels: Binance's bookTicker is a separate, faster stream in the same update
id space. Levels come from the depth stream alone; the published top is whichever of the two has the greater update
id. A level better than a newer top is stale and is skipped by the readers.

::

    base | BOOK header | bid keys[cap] | bid qty[cap] | ask keys[cap] | ask qty[cap] |
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import U64, ZERO, address_of, copy_bytes, load_i64, store_i64, view
from hftpipe.core.records import ASK, BID, INVALID, VALID

BOOK = np.dtype(
    [
        ("instrument", "i8"), ("state", "i8"),
        # The published top: 0 means that side is empty.
        ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("top_id", "u8"), ("update_id", "u8"),
        ("exchange_ts", "i8"), ("local_ts", "i8"),
        ("n_bids", "i8"), ("n_asks", "i8"), ("capacity", "i8"),
        # Levels dropped because a side was full (always the worst one), updates applied, deletes of absent levels.
        ("evicted", "i8"), ("updates", "i8"), ("absent_deletes", "i8"),
    ],
    align=True,
)  # fmt: skip
BOOK_HEADER_BYTES = 128
_HEADER = np.uint64(BOOK_HEADER_BYTES)
_N_OFFSET = np.uint64(BOOK.fields["n_bids"][1])


def book_bytes(capacity: int) -> int:
    """Memory for a book of ``capacity`` levels a side."""
    return BOOK_HEADER_BYTES + 4 * 8 * capacity


def book_init(memory: np.ndarray, instrument: int, capacity: int) -> None:
    """Make an empty, INVALID book in ``memory`` (uint8 array of :func:`book_bytes`)."""
    memory[: book_bytes(capacity)] = 0
    header = memory[:BOOK_HEADER_BYTES].view(BOOK)
    header["instrument"], header["capacity"], header["state"] = instrument, capacity, INVALID


@jit
def _keys(book, capacity, side):
    return book + _HEADER + U64(16 * side) * U64(capacity)


@jit
def _count(book, side):
    return load_i64(book + _N_OFFSET + U64(8 * side))


@jit
def _key(side, price):
    return price if side == BID else -price


@jit
def _search(keys, count, key):
    """Index of the first key >= ``key``, found by galloping down from the best (last) end."""
    high, step = count, np.int64(1)
    low = count - 1
    while low >= 0 and load_i64(keys + U64(8) * U64(low)) >= key:
        high = low
        low -= step
        step += step
    low = max(low, np.int64(-1)) + 1
    while low < high:
        middle = (low + high) >> 1
        if load_i64(keys + U64(8) * U64(middle)) < key:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def _shift(array, start, stop, by):
    """Move elements [start, stop) of an int64 array by ``by`` places."""
    at = array + U64(8) * U64(start)
    copy_bytes(at + U64(8 * by), at, 8 * (stop - start))


@jit
def book_set(book, side, price, qty):
    """Set the absolute quantity of one level (0 deletes; deleting an absent level is normal and counted).

    Returns:
        The level's quantity before (0 if it was absent).
    """
    b = view(book, BOOK)
    count = _count(book, side)
    keys = _keys(book, b.capacity, side)
    qtys = keys + U64(8) * U64(b.capacity)
    key = _key(side, price)
    at = _search(keys, count, key)
    if at < count and load_i64(keys + U64(8) * U64(at)) == key:
        before = load_i64(qtys + U64(8) * U64(at))
        if qty != 0:
            store_i64(qtys + U64(8) * U64(at), qty)
            return before
        _shift(keys, at + 1, count, -1)
        _shift(qtys, at + 1, count, -1)
        store_i64(book + _N_OFFSET + U64(8 * side), count - 1)
        return before
    if qty == 0:
        b.absent_deletes += 1
        return np.int64(0)
    if count == b.capacity:
        b.evicted += 1
        if at == 0:
            return np.int64(0)
        _shift(keys, np.int64(1), at, -1)
        _shift(qtys, np.int64(1), at, -1)
        at -= 1
    else:
        _shift(keys, at, count, 1)
        _shift(qtys, at, count, 1)
        store_i64(book + _N_OFFSET + U64(8 * side), count + 1)
    store_i64(keys + U64(8) * U64(at), key)
    store_i64(qtys + U64(8) * U64(at), qty)
    return np.int64(0)


@jit
def book_clear(book):
    """Remove every level and the top; the state is left to the caller."""
    b = view(book, BOOK)
    b.n_bids, b.n_asks = 0, 0
    b.bid, b.bid_qty, b.ask, b.ask_qty = 0, 0, 0, 0
    b.top_id, b.update_id = ZERO, ZERO


@jit
def book_level(book, side, index):
    """Level ``index`` counted from the best of the depth stream: ``(price, qty)``, (0, 0) beyond the end."""
    count = _count(book, side)
    if index < 0 or index >= count:
        return np.int64(0), np.int64(0)
    b = view(book, BOOK)
    keys = _keys(book, b.capacity, side)
    at = U64(8) * U64(count - 1 - index)
    key = load_i64(keys + at)
    return key if side == BID else -key, load_i64(keys + U64(8) * U64(b.capacity) + at)


@jit
def book_qty_at(book, side, price):
    """Displayed quantity of the depth stream at ``price`` (0 if absent)."""
    b = view(book, BOOK)
    count = _count(book, side)
    keys = _keys(book, b.capacity, side)
    key = _key(side, price)
    at = _search(keys, count, key)
    if at < count and load_i64(keys + U64(8) * U64(at)) == key:
        return load_i64(keys + U64(8) * U64(b.capacity) + U64(8) * U64(at))
    return np.int64(0)


@jit
def book_commit(book, update_id, exchange_ts, local_ts):
    """End of one depth update: take the top from the levels unless a newer top is known."""
    b = view(book, BOOK)
    b.update_id, b.exchange_ts, b.local_ts = update_id, exchange_ts, local_ts
    b.updates += 1
    if b.top_id <= update_id:
        b.bid, b.bid_qty = book_level(book, BID, np.int64(0))
        b.ask, b.ask_qty = book_level(book, ASK, np.int64(0))
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
    price, qty = book_level(book, side, index)
    while qty != 0 and _key(side, price) > limit:
        index += 1
        price, qty = book_level(book, side, index)
    return index


@jit
def book_tradable(book):
    """VALID, with both sides present and not crossed."""
    b = view(book, BOOK)
    return b.state == VALID and b.bid > 0 and b.ask > b.bid


@jit
def book_address(book):
    """Address of a book from its header record."""
    return address_of(book)
