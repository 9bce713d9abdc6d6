"""Memory of one ITCH feed: wiring, counters, locate table, orders and books; and the state of the books.

::

    base | FEED | LISTING per instrument | SYMBOLS | locate -> instrument (int16[65536]) | orders | books

A book is VALID only while three things hold: the directory has named its instrument (``listed``), every message
about it could be applied (not ``damaged``), and the transport below has lost nothing (``line_state``):

======== ========= ============ ==========
listed   damaged   line_state   book state
======== ========= ============ ==========
no       any       any          INVALID
yes      yes       any          INVALID
yes      no        INVALID      INVALID
yes      no        SYNCING      SYNCING
yes      no        VALID        VALID
======== ========= ============ ==========

Damage lasts until the next session: an order-by-order book that has missed one change cannot tell which levels are
wrong.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, store_i64, view
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.instruments import MAX_INSTRUMENTS, symbols_bytes, symbols_table
from hftpipe.core.schema.layout import Layout, lay_out
from hftpipe.core.schema.records import BOOK_RESET, BOOK_STATE, INVALID, RECORD
from hftpipe.core.trading.book import BOOK, book_clear
from hftpipe.core.trading.books import Levels, book_at, books_bytes, books_init, levels_of
from hftpipe.venues.nasdaq.itch.messages import FIELD_MAX, LOCATES
from hftpipe.venues.nasdaq.itch.orders import orders_bytes, orders_clear, orders_init

FEED = np.dtype(
    [
        # Wiring (addresses; ``books``: of their table) and settings. ``midnight_ns``: added to the wire's time since midnight.
        ("orders", "u8"), ("books", "u8"), ("listings", "u8"), ("symbols", "u8"), ("locates", "u8"),
        ("n_instruments", "i8"), ("midnight_ns", "i8"), ("line_state", "i8"),
        # Records that one call may write at most: what must be free before it (:func:`out_room`).
        ("room", "i8"),
        # The message under way.
        ("sequence", "u8"), ("exchange_ts", "i8"), ("local_ts", "i8"), ("origin_tsc", "u8"),
        # The level changes it causes: at most two, both of one side (1e-8).
        ("changes", "i8"), ("change_side", "i8"), ("change_price", "i8", 2), ("change_qty", "i8", 2),
        # Messages by what became of them.
        ("messages", "i8"), ("adds", "i8"), ("executions", "i8"), ("cancels", "i8"), ("deletes", "i8"),
        ("replaces", "i8"), ("trades", "i8"), ("directory", "i8"), ("other", "i8"), ("unlisted", "i8"),
        ("non_printable", "i8"), ("system_event", "i8"),
        # Not applied. Those of the second line damage the book.
        ("unknown_type", "i8"), ("wrong_length", "i8"), ("relisted", "i8"),
        ("unknown_order", "i8"), ("wrong_instrument", "i8"), ("duplicate_order", "i8"), ("zero_shares", "i8"),
        ("zero_price", "i8"), ("bad_side", "i8"), ("too_many_shares", "i8"), ("table_full", "i8"), ("book_full", "i8"),
        ("level_overflow", "i8"), ("damages", "i8"), ("resets", "i8"),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  messages          messages
  adds              orders added
  executions        executions of resting orders
  cancels           orders made smaller
  deletes           orders deleted
  replaces          orders replaced
  trades            trades against what the book does not show
  directory         instruments listed
  other             messages of kinds without effect on a book
  unlisted          messages about instruments that are not traded
  non_printable     executions that are not to be printed
  resets            times that all books were forgotten
~ unknown_type      messages of an unknown type
~ wrong_length      messages of a wrong length
~ relisted          instruments listed twice
~ unknown_order     messages about orders that the book lacks
~ wrong_instrument  messages about an order of another instrument
~ duplicate_order   orders added twice
~ zero_shares       orders of nothing
~ zero_price        orders at no price
~ bad_side          orders of no side
~ too_many_shares   executions of more than is there
~ table_full        orders for which there was no room
~ book_full         levels for which there was no room
~ level_overflow    levels too large to be counted
~ damages           times that a book was damaged by one of these
""")
#: What is known of an instrument: the size of one share (1e-8), whether the directory has named it, whether its book is damaged.
LISTING = np.dtype([("lot", "i8"), ("listed", "u1"), ("damaged", "u1"), ("_pad", "u1", 6)], align=True)
#: Records that one call here may write for each instrument, and that one message about one instrument may cause.
STATE_RECORDS, MESSAGE_RECORDS = 2, 8
DEFAULT_ORDERS = 1 << 20
DEFAULT_LEVELS = 4096
_RECORD_SHIFT, _LISTING_SHIFT = np.uint64(6), np.uint64(4)
assert LISTING.itemsize == 16


def out_room(n_instruments: int) -> int:
    """Records that one message, one change of the lines' state or one new session writes at most.

    A message too short to say what it is about damages every book; a session begins with all books again.
    """
    return max(MESSAGE_RECORDS, STATE_RECORDS * n_instruments)


def _layout(n_instruments: int, order_capacity: int, level_capacity: Levels) -> Layout:
    return lay_out({
        "feed": (FEED, 1),
        "listings": (LISTING, n_instruments),
        "symbols": symbols_bytes(n_instruments),
        "locates": (np.int16, LOCATES),
        "orders": orders_bytes(order_capacity),
        "books": books_bytes(levels_of(level_capacity, n_instruments)),
    })  # fmt: skip


def feed_bytes(
    n_instruments: int, order_capacity: int = DEFAULT_ORDERS, level_capacity: Levels = DEFAULT_LEVELS
) -> int:
    """Memory of a feed with its own orders and books.

    Args:
        n_instruments: as registered, 1 to MAX_INSTRUMENTS.
        order_capacity: order slots, a power of two; three quarters of them can rest at once.
        level_capacity: price levels a side of each book: one number, or int64[n].

    Raises:
        ValueError: the number of instruments or of order slots is not usable.
    """
    if not 1 <= n_instruments <= MAX_INSTRUMENTS:
        raise ValueError(f"{n_instruments} instruments are not in 1..{MAX_INSTRUMENTS}")
    return _layout(n_instruments, order_capacity, level_capacity).size


def feed_init(
    memory: np.ndarray,
    instruments: np.ndarray,
    order_capacity: int = DEFAULT_ORDERS,
    level_capacity: Levels = DEFAULT_LEVELS,
    midnight_ns: int = 0,
) -> None:
    """Make an empty feed whose books are all INVALID.

    Args:
        memory: uint8 array of :func:`feed_bytes`, zeroed, 64-byte aligned.
        instruments: INSTRUMENT array; ``symbol`` as on the wire without padding, ``lot`` the size of one share (1e-8),
            ``tick`` the price step (0: not known).
        order_capacity, level_capacity: as given to :func:`feed_bytes`.
        midnight_ns: the session's midnight on the clock that ``exchange_ts`` shall show.

    Raises:
        ValueError: a size that is not usable, or a lot that overflows with a full field of shares.
    """
    n = len(instruments)
    feed_bytes(n, order_capacity, level_capacity)
    for row in instruments[(instruments["lot"] <= 0) | (instruments["lot"] > (2**63 - 1) // FIELD_MAX)]:
        raise ValueError(f"{bytes(row['symbol']).decode()}: lot {int(row['lot'])} (1e-8) is not in 1..2**31")
    layout = _layout(n, order_capacity, level_capacity)
    header, *parts = (layout.view(memory, name) for name in layout.parts)
    listings, symbols, locates, orders, books = parts
    for name in ("orders", "listings", "symbols", "locates"):
        header[name] = memory.ctypes.data + layout.at(name)
    header["n_instruments"], header["midnight_ns"], header["room"] = n, midnight_ns, out_room(n)
    listings["lot"], symbols[:], locates[:] = instruments["lot"], symbols_table(instruments), -1
    orders_init(orders, order_capacity)
    header["books"] = books_init(books, levels_of(level_capacity, n), instruments["tick"])


@jit
def feed_book(feed, instrument):
    """Address of an instrument's book."""
    return book_at(view(feed, FEED).books, instrument)


@jit
def listing_of(feed, instrument):
    """LISTING record of an instrument."""
    return view(view(feed, FEED).listings + (U64(instrument) << _LISTING_SHIFT), LISTING)


@jit
def put_record(feed, out, index, kind, side, flags, instrument, price, qty, id_):
    """Write record ``index`` of the RECORD array at ``out``, stamped with the message under way."""
    f = view(feed, FEED)
    r = view(out + (U64(index) << _RECORD_SHIFT), RECORD)
    r.seq, r.origin_tsc = ZERO, f.origin_tsc
    r.exchange_ts, r.local_ts = f.exchange_ts, f.local_ts
    r.price, r.qty, r.id = price, qty, id_
    r.instrument, r.kind, r.side, r.strategy, r.flags = instrument, kind, side, 0, flags


@jit
def feed_refresh(feed, instrument, out, index):
    """Bring a book's state in line with the table above; a change is one BOOK_STATE at ``out[index]``.

    Returns:
        The next free index of ``out``.
    """
    f, listing = view(feed, FEED), listing_of(feed, instrument)
    sound = listing.listed != 0 and listing.damaged == 0
    state = f.line_state if sound else np.int64(INVALID)
    b = view(feed_book(feed, instrument), BOOK)
    if b.state == state:
        return index
    b.state = state
    zero = np.int64(0)
    put_record(feed, out, index, np.int64(BOOK_STATE), zero, state, instrument, zero, zero, ZERO)
    return index + 1


@jit
def feed_line_state(feed, line_state, local_ts, out):
    """The transport is now INVALID, SYNCING or VALID (int64): returns how many BOOK_STATE records were written.

    At most one for each instrument; none while nothing changes.
    """
    f = view(feed, FEED)
    count = np.int64(0)
    if f.line_state == line_state:
        return count
    f.line_state, f.local_ts = line_state, local_ts
    f.origin_tsc = ZERO
    for instrument in range(f.n_instruments):
        count = feed_refresh(feed, instrument, out, count)
    return count


@jit
def feed_damage(feed, instrument, out, index):
    """A change of this book could not be applied: INVALID until the next session; returns the next free index."""
    f = view(feed, FEED)
    f.damages += 1
    listing_of(feed, instrument).damaged = 1
    return feed_refresh(feed, instrument, out, index)


@jit
def feed_reset(feed, local_ts, out):
    """A new session: forget orders, books, locates and damage; returns how many records were written.

    For each instrument a BOOK_RESET and, unless it was INVALID already, a BOOK_STATE: STATE_RECORDS at most.
    """
    f = view(feed, FEED)
    f.resets += 1
    f.local_ts, f.origin_tsc, f.line_state = local_ts, ZERO, INVALID
    orders_clear(f.orders)
    for word in range(LOCATES // 4):
        store_i64(f.locates + U64(8 * word), np.int64(-1))
    count, zero = np.int64(0), np.int64(0)
    for instrument in range(f.n_instruments):
        listing = listing_of(feed, instrument)
        listing.listed, listing.damaged = 0, 0
        book_clear(feed_book(feed, instrument))
        put_record(feed, out, count, np.int64(BOOK_RESET), zero, zero, instrument, zero, zero, ZERO)
        count = feed_refresh(feed, instrument, out, count + 1)
    return count
