"""Memory of the simulated venue: one region, laid out once, holding absolute addresses.

::

    EXCHANGE | MARKET per instrument | CONSUMED tables | OWN slots | inbound requests | outbound reports | books

The region must be mapped at the same address in every process that touches it (forked children do).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, address_of
from hftpipe.core.schema.layout import Layout, lay_out, offset_of
from hftpipe.core.schema.records import RECORD
from hftpipe.core.trading.books import Levels, book_offsets, books_bytes, books_init, levels_of
from hftpipe.venues.paper.models import QUEUE_MODELS, SimModel
from hftpipe.venues.paper.own_orders import OWN, OWN_BYTES

#: Requests under way to the venue; one more is refused.
INBOUND = 1024
#: Levels of one side whose liquidity we can have consumed at a time; a taker's walk ends when they are used up.
MAX_CONSUMED = 256
#: The same for a book of few levels: what is left of a level that went may be remembered beside the one that came.
MIN_CONSUMED = 4
DEFAULT_MAX_ORDERS = 256
DEFAULT_BOOK_LEVELS = 4096

EXCHANGE = np.dtype(
    [
        # Exchange time: the greatest local_ts seen; never goes back.
        ("now", "i8"),
        ("latency_new", "i8"), ("latency_cancel", "i8"), ("latency_report", "i8"),
        ("queue_model", "i8"), ("power_n", "f8"),
        # Rings: next index in and out; the last arrival given out (first in, first out on one connection).
        ("in_next", "u8"), ("in_done", "u8"), ("last_arrival", "i8"),
        ("out_next", "u8"), ("out_done", "u8"), ("out_mask", "u8"),
        # Reports one action can cause at most: that much room is always kept.
        ("worst", "i8"),
        ("max_orders", "i8"), ("n_open", "i8"), ("n_instruments", "i8"),
        # Addresses. ``open_update``: the MARKET whose book update has not reached its LAST record, or 0.
        ("free", "u8"), ("open_update", "u8"), ("markets", "u8"), ("inbound", "u8"), ("outbound", "u8"),
        # Counters: fills, requests refused at the door, market records refused, reports let out early because the
        # ring was nearly full, fills whose notional did not fit, records of unknown instruments or kinds.
        ("fills", "i8"), ("refused_requests", "i8"), ("refused_records", "i8"), ("early_reports", "i8"),
        ("overflows", "i8"), ("unknown_records", "i8"),
        # Orders accepted, which are numbered by it. Number and price (1e-8 quote units) of the asset that fees are paid in;
        # number 0: they are paid in quote currency.
        ("orders_taken", "u8"), ("fee_asset", "i8"), ("fee_price", "i8"), ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
EXCHANGE_BYTES = 256
assert EXCHANGE.itemsize == EXCHANGE_BYTES

MARKET = np.dtype(
    [
        ("book", "u8"), ("consumed", "u8"),
        # Best own order a side (address, 0: none) and used entries of the CONSUMED table a side.
        ("first", "u8", 2), ("n_consumed", "i8", 2),
        ("tick", "i8"), ("lot", "i8"), ("min_notional", "i8"), ("maker_fee", "i8"), ("taker_fee", "i8"),
        # Our own net position, signed; resting reduce-only orders; own orders whose level the open update changed.
        ("position", "i8"), ("n_reduce_only", "i8"), ("n_touched", "i8"),
        # Of the open update: its id and venue time; the bid half of a best bid/ask pair.
        ("update_id", "u8"), ("update_ts", "i8"), ("bid", "i8"), ("bid_qty", "i8"),
        # Venue time of the published top. How far exchange time was ahead of venue time at the least: in the window
        # that ends at ``lead_until``, and in the one before it.
        ("top_ts", "i8"), ("lead_ns", "i8"), ("last_lead_ns", "i8"), ("lead_until", "i8"),
        # Entries of the CONSUMED table a side.
        ("most_consumed", "i8"), ("_pad", "i8"),
    ],
    align=True,
)  # fmt: skip
MARKET_BYTES = 192
assert MARKET.itemsize == MARKET_BYTES
#: No record has had a venue time yet.
NO_LEAD_NS = np.iinfo(np.int64).max
_FIRST = np.uint64(offset_of(MARKET, "first"))

#: Liquidity we took from a displayed level: ``qty`` of the ``shown`` that update ``id`` speaks of is ours already.
CONSUMED = np.dtype([("price", "i8"), ("shown", "i8"), ("qty", "i8"), ("id", "u8")], align=True)
CONSUMED_BYTES = 32


def _worst(max_orders: int) -> int:
    """Most reports one action can cause: two per own order (a fill and an end), one per level a side, a few more."""
    return 2 * max_orders + 2 * MAX_CONSUMED + 8


def outbound_capacity(max_orders: int) -> int:
    """Slots of the outbound ring: a power of two with room for three worst actions."""
    return 1 << (3 * _worst(max_orders) - 1).bit_length()


def _most_consumed(levels: np.ndarray) -> np.ndarray:
    """Entries of each instrument's table a side, by the levels of its book, int64[n]."""
    most: np.ndarray = np.clip(levels, MIN_CONSUMED, MAX_CONSUMED)
    return most


def _layout(levels: np.ndarray, max_orders: int) -> Layout:
    """The parts; of own orders one more than may rest, for an order that only takes."""
    return lay_out({
        "header": (EXCHANGE, 1),
        "markets": (MARKET, len(levels)),
        "consumed": (CONSUMED, 2 * int(_most_consumed(levels).sum())),
        "orders": (OWN, max_orders + 1),
        "inbound": (RECORD, INBOUND),
        "outbound": (RECORD, outbound_capacity(max_orders)),
        "books": books_bytes(levels),
    })  # fmt: skip


def exchange_bytes(
    n_instruments: int, max_orders: int = DEFAULT_MAX_ORDERS, book_levels: Levels = DEFAULT_BOOK_LEVELS
) -> int:
    """Memory of a simulated venue.

    Args:
        n_instruments: instruments traded.
        max_orders: own orders that may rest at a time, over all instruments.
        book_levels: levels a side of each book: one number, or int64[n].

    Raises:
        ValueError: one of them is not positive.
    """
    least = int(np.min(book_levels))
    for name, value in (("n_instruments", n_instruments), ("max_orders", max_orders), ("book_levels", least)):
        if value < 1:
            raise ValueError(f"{name} {value} is not positive")
    return _layout(levels_of(book_levels, n_instruments), max_orders).size


def exchange_init(
    memory: np.ndarray,
    instruments: np.ndarray,
    model: SimModel,
    max_orders: int = DEFAULT_MAX_ORDERS,
    book_levels: Levels = DEFAULT_BOOK_LEVELS,
) -> None:
    """Make an empty venue in ``memory``.

    Args:
        memory: uint8 array of at least :func:`exchange_bytes` with the same sizes, zeroed, 64-byte aligned.
        instruments: INSTRUMENT array; its index is the dense instrument id.
        model: the assumptions.

    Raises:
        ValueError: memory too small or not aligned, or an instrument without a positive tick and lot.
    """
    needed = exchange_bytes(len(instruments), max_orders, book_levels)
    if len(memory) < needed:
        raise ValueError(f"simulated exchange needs {needed} bytes, memory has {len(memory)}")
    if memory.ctypes.data % 8:
        raise ValueError("simulated exchange memory is not aligned to 8 bytes")
    for row in instruments[(instruments["tick"] <= 0) | (instruments["lot"] <= 0)]:
        raise ValueError(f"instrument {row['symbol'].decode()}: tick {row['tick']} and lot {row['lot']} must be > 0")
    levels = levels_of(book_levels, len(instruments))
    layout = _layout(levels, max_orders)
    _init_header(memory, layout, len(instruments), model, max_orders)
    _init_orders(layout.view(memory, "orders"))
    _init_markets(memory, layout, instruments, levels)


def _init_header(memory: np.ndarray, layout: Layout, n_instruments: int, model: SimModel, max_orders: int) -> None:
    header = layout.view(memory, "header")
    header["latency_new"], header["latency_cancel"] = model.latency_new_ns, model.latency_cancel_ns
    header["latency_report"] = model.latency_report_ns
    header["fee_asset"], header["fee_price"] = model.fee_asset, model.fee_price
    header["queue_model"], header["power_n"] = QUEUE_MODELS[model.queue_model], model.power_n
    header["out_mask"], header["worst"] = outbound_capacity(max_orders) - 1, _worst(max_orders)
    header["max_orders"], header["n_instruments"] = max_orders, n_instruments
    header["now"] = header["last_arrival"] = np.iinfo(np.int64).min
    for name, place in (("free", "orders"), ("markets", "markets"), ("inbound", "inbound"), ("outbound", "outbound")):
        header[name] = memory.ctypes.data + layout.at(place)


def _init_orders(orders: np.ndarray) -> None:
    """Chain all slots into the free list."""
    orders["next"][:-1] = orders.ctypes.data + OWN_BYTES * np.arange(1, len(orders))


def _init_markets(memory: np.ndarray, layout: Layout, instruments: np.ndarray, levels: np.ndarray) -> None:
    markets, base = layout.view(memory, "markets"), memory.ctypes.data
    books_init(layout.view(memory, "books"), levels, instruments["tick"])
    most = _most_consumed(levels)
    markets["book"], markets["most_consumed"] = base + layout.at("books") + book_offsets(levels), most
    markets["consumed"] = base + layout.at("consumed") + 2 * CONSUMED_BYTES * (np.cumsum(most) - most)
    for name in ("tick", "lot", "min_notional", "maker_fee", "taker_fee"):
        markets[name] = instruments[name]
    markets["lead_ns"] = markets["last_lead_ns"] = NO_LEAD_NS


@jit
def market_at(ex, instrument):
    """Address of the MARKET of an instrument id that is in range."""
    return ex.markets + U64(MARKET_BYTES) * U64(instrument)


@jit
def own_head(m, side):
    """Address of the head word of the own orders of one side."""
    return address_of(m) + _FIRST + U64(8) * U64(side)
