"""Memory of one matching book: its layout, the order pool, the id table and the event list.

::

    base | MATCHING | EVENT[MAX_EVENTS] | summary bits | bits | PRICE_LEVEL[window] | index of ids | ORDER[1 + orders]

Everything is found by offsets from the base, so the memory may be mapped anywhere. Order 0 is never used: 0 means
"none" in every link. The id table is open-addressed with linear probing, at most half full, and a removal closes
the gap behind it, so that no probe grows longer with time.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.layout import Layout, lay_out
from hftpipe.core.trading.order_index import MIN_ENTRIES, index_bytes, index_find, index_init, index_put, index_remove

#: Events that one caller may leave unread; also the bound on the work of one operation.
MAX_EVENTS = 1024
MIN_WINDOW_TICKS = 4096

# Self-trade prevention, chosen by the incoming order.
STP_NONE, STP_CANCEL_MAKER, STP_CANCEL_TAKER = 0, 1, 2
# Kinds of events. All but EXPIRE change the book, and are what an order-by-order feed publishes.
ADD, EXECUTE, CANCEL, DELETE, REPLACE, EXPIRE = 1, 2, 3, 4, 5, 6
EVENT_NAMES = {ADD: "ADD", EXECUTE: "EXECUTE", CANCEL: "CANCEL", DELETE: "DELETE", REPLACE: "REPLACE", EXPIRE: "EXPIRE"}

#: One effect of an operation. The table in :mod:`hftpipe.simulation.matching.engine` says what the fields mean by kind.
EVENT = np.dtype(
    [
        ("order_id", "u8"), ("maker_id", "u8"),
        ("price", "i8"), ("old_price", "i8"), ("qty", "i8"), ("leaves", "i8"),
        ("match_id", "u8"),
        ("owner", "u4"), ("maker_owner", "u4"),
        ("kind", "u1"), ("side", "u1"), ("reason", "u1"), ("_pad", "u1", 5),
    ],
    align=True,
)  # fmt: skip
EVENT_BYTES = 72

#: A resting order; ``qty`` is what is left. ``next`` links the free list too: 0 is the order behind it in memory, so that the
#: orders that were never used need not be written; NO_ORDER ends it.
ORDER = np.dtype(
    [
        ("id", "u8"), ("tick", "i8"), ("qty", "i8"), ("filled", "i8"),
        ("previous", "i8"), ("next", "i8"),
        ("owner", "u4"), ("side", "u1"), ("tif", "u1"), ("stp", "u1"), ("_pad", "u1"),
        ("_pad2", "i8"),
    ],
    align=True,
)  # fmt: skip
ORDER_BYTES = 64
NO_ORDER = -1
#: All orders at one price, oldest first. Bids and asks share the array: a book that is not crossed never needs both.
PRICE_LEVEL = np.dtype([("head", "i4"), ("tail", "i4"), ("qty", "i8")], align=True)
LEVEL_BYTES = 16

MATCHING = np.dtype(
    [
        ("tick", "i8"), ("lot", "i8"),
        # Prices are indexed from ``base_tick``; best_bid is -1 and best_ask is ``window`` when that side is empty.
        ("base_tick", "i8"), ("window", "i8"), ("best_bid", "i8"), ("best_ask", "i8"),
        ("max_orders", "i8"), ("free", "i8"), ("side_orders", "i8", 2),
        ("n_events", "i8"), ("match_id", "u8"),
        # Offsets from the base.
        ("events_at", "u8"), ("summary_at", "u8"), ("bits_at", "u8"), ("levels_at", "u8"),
        ("ids_at", "u8"), ("orders_at", "u8"),
        ("refused", "i8"), ("executions", "i8"), ("recentred", "i8"), ("_pad", "i8", 11),
    ],
    align=True,
)  # fmt: skip
HEADER_BYTES = 256
assert MATCHING.itemsize == HEADER_BYTES and EVENT.itemsize == EVENT_BYTES and ORDER.itemsize == ORDER_BYTES


def _id_entries(max_orders: int) -> int:
    return max(1 << (2 * max_orders - 1).bit_length(), MIN_ENTRIES)


def _layout(max_orders: int, window_ticks: int) -> Layout:
    return lay_out({
        "header": (MATCHING, 1),
        "events": (EVENT, MAX_EVENTS),
        "summary": window_ticks // 512,
        "bits": window_ticks // 8,
        "levels": (PRICE_LEVEL, window_ticks),
        "ids": index_bytes(_id_entries(max_orders)),
        "orders": (ORDER, max_orders + 1),
    })  # fmt: skip


def matching_bytes(max_orders: int, window_ticks: int) -> int:
    """Memory for a book.

    Args:
        max_orders: orders that may rest at once, 1 to 2**30.
        window_ticks: prices that may be in use at once; a power of two of at least 4096.

    Raises:
        ValueError: a size outside those limits.
    """
    if not 1 <= max_orders <= 1 << 30:
        raise ValueError(f"max_orders {max_orders} is not in 1..2**30")
    if window_ticks < MIN_WINDOW_TICKS or window_ticks & (window_ticks - 1):
        raise ValueError(f"window_ticks {window_ticks} is not a power of two of at least {MIN_WINDOW_TICKS}")
    return _layout(max_orders, window_ticks).size


def matching_init(
    memory: np.ndarray, tick: int, lot: int, centre_price: int, max_orders: int, window_ticks: int
) -> None:
    """Make an empty book.

    Args:
        memory: uint8 array of :func:`matching_bytes`, zeroed, 64-byte aligned; what is never used is not touched.
        tick: smallest price step; lot: smallest quantity step; both 1e-8 units.
        centre_price: where the window of prices starts out (1e-8); it follows the market later.
        max_orders, window_ticks: as given to :func:`matching_bytes`.

    Raises:
        ValueError: a tick, lot, price or size that makes no book.
    """
    matching_bytes(max_orders, window_ticks)
    if tick <= 0 or lot <= 0 or centre_price < tick:
        raise ValueError(f"tick {tick}, lot {lot} and centre price {centre_price} must be positive, price >= tick")
    layout = _layout(max_orders, window_ticks)
    header = layout.view(memory, "header")
    for name in ("events", "summary", "bits", "levels", "ids", "orders"):
        header[f"{name}_at"] = layout.at(name)
    header["tick"], header["lot"], header["window"], header["max_orders"] = tick, lot, window_ticks, max_orders
    header["base_tick"] = max(0, centre_price // tick - window_ticks // 2)
    header["best_bid"], header["best_ask"], header["free"] = -1, window_ticks, 1
    index_init(layout.view(memory, "ids"), _id_entries(max_orders))


@jit
def order_at(book, index):
    """Address of order ``index``."""
    return book + view(book, MATCHING).orders_at + (U64(index) << U64(6))


@jit
def order_take(book):
    """Index of an unused order, or 0 when all are in use."""
    m = view(book, MATCHING)
    index = m.free
    if index != 0:
        after = view(order_at(book, index), ORDER).next
        if after == 0:
            after = index + 1 if index < m.max_orders else np.int64(NO_ORDER)
        m.free = max(after, np.int64(0))
    return index


@jit
def order_give(book, index):
    """Hand an order back to the pool."""
    m = view(book, MATCHING)
    order = view(order_at(book, index), ORDER)
    order.next, order.id = m.free if m.free != 0 else np.int64(NO_ORDER), U64(0)
    m.free = index


@jit
def _ids(book):
    return book + view(book, MATCHING).ids_at


@jit
def id_find(book, id_):
    """Index of the resting order with this id, 0 if there is none."""
    return np.int64(index_find(_ids(book), id_))


@jit
def id_put(book, id_, index):
    """Enter an id that is not in the table."""
    index_put(_ids(book), id_, U64(index))


@jit
def id_remove(book, id_):
    """Remove an id."""
    index_remove(_ids(book), id_)


@jit
def match_event(book, index):
    """Address of event ``index`` (0 <= index < :func:`match_event_count`), to be viewed as EVENT."""
    return book + view(book, MATCHING).events_at + U64(index) * U64(EVENT_BYTES)


@jit
def match_event_count(book):
    """Events not yet cleared, oldest first."""
    return view(book, MATCHING).n_events


@jit
def match_events_clear(book):
    """Forget all events; do it between operations, after publishing them. They stand where they were until the next one."""
    view(book, MATCHING).n_events = 0


@jit
def event_push(book, kind, order_id, owner, side, price, qty, leaves, reason):
    """Append an event and return its address; the fields not given are 0. The caller has made sure of room."""
    m = view(book, MATCHING)
    address = match_event(book, m.n_events)
    m.n_events += 1
    e = view(address, EVENT)
    e.order_id, e.maker_id, e.match_id = order_id, U64(0), U64(0)
    e.price, e.old_price, e.qty, e.leaves = price, 0, qty, leaves
    e.owner, e.maker_owner = owner, 0
    e.kind, e.side, e.reason = kind, side, reason
    return address
