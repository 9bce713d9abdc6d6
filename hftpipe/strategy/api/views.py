"""What the hooks see of core records: the same bytes under names and types that are safe in strategy code.

Ids are int64 here: numba makes a float64 of a variable that is once an int64 and once a uint64, and a float64 does
not hold every id. Fields that only the engine may touch are left out.

The overload selectors carry no annotations: numba wants their signature equal to that of the function they return.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import address_of, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import ASK, BID, EXECUTION, FEE_ASSET, FILL_MAKER, RECORD, RECORD_BYTES
from hftpipe.core.schema.spreads import SPREAD, SPREAD_BYTES
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_first_live, book_level, book_sum
from hftpipe.core.trading.order_table import ORDER, ORDER_BYTES
from hftpipe.strategy.compile.record_types import method_of, need_int, record_type, viewer


def _window(source: np.dtype, size: int, fields: dict[str, tuple[str, str]]) -> np.dtype:
    """A dtype over the same bytes: name -> (source field, format)."""
    offsets = [offset_of(source, at) for at, _ in fields.values()]
    formats = [form for _, form in fields.values()]
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": size}, align=True)


def _same(source: np.dtype, *names: str) -> dict[str, tuple[str, str]]:
    return {name: (name, source[name].str) for name in names}


_EVENT = _same(RECORD, "exchange_ts", "price", "qty", "instrument", "side", "flags")
#: A public trade: ``side`` is the taker's, ``id`` the trade id, ``local_ts`` ns on our clock.
TRADE_VIEW = _window(RECORD, RECORD_BYTES, {**_EVENT, "id": ("id", "i8"), "local_ts": ("local_ts", "i8")})
#: One of our fills: ``id`` is the client order id, ``trade_id`` the venue's number of the execution, ``fee`` 1e-8 of its asset
#: (negative: rebate).
FILL_VIEW = _window(
    EXECUTION, RECORD_BYTES, {**_EVENT, "id": ("id", "i8"), "trade_id": ("trade_id", "i8"), **_same(EXECUTION, "fee")}
)
#: The book's header; prices and quantities 1e-8, 0 where a side is empty.
BOOK_VIEW = _window(
    BOOK,
    BOOK_HEADER_BYTES,
    {
        **_same(BOOK, "instrument", "state", "bid", "bid_qty", "ask", "ask_qty", "exchange_ts", "local_ts"),
        **_same(BOOK, "n_bids", "n_asks"),
        "update_id": ("update_id", "i8"),
    },
)
#: One of our orders; ``venue_id`` is the venue's number of it (0 before its ACK), ``user`` the strategy's own (a level number,
#: a tag).
ORDER_VIEW = _window(
    ORDER,
    ORDER_BYTES,
    {
        "id": ("id", "i8"),
        "venue_id": ("venue_id", "i8"),
        **_same(ORDER, "price", "qty", "filled", "new_price", "new_qty", "created_ts"),
        **_same(ORDER, "instrument", "state", "side", "flags", "user"),
    },
)
#: What buying at one instrument and selling at another brings; ``buy`` is -1 where there is no such spread.
SPREAD_VIEW = _window(SPREAD, SPREAD_BYTES, _same(SPREAD, "buy", "sell", "net", "since", "until", "step"))

BOOK_TYPE, TRADE_TYPE = record_type("book", BOOK_VIEW), record_type("trade", TRADE_VIEW)
FILL_TYPE, ORDER_TYPE = record_type("fill", FILL_VIEW), record_type("order", ORDER_VIEW, ["user"])
SPREAD_TYPE = record_type("spread", SPREAD_VIEW)
view_book, view_trade, view_fill, view_order = (viewer(t) for t in (BOOK_TYPE, TRADE_TYPE, FILL_TYPE, ORDER_TYPE))
view_spread = viewer(SPREAD_TYPE)


@jit
def _sum_levels(book, side, n):
    return book_sum(book, side, book_first_live(book, side), n)


@jit
def _live_level(book, side, index):
    if index < 0:
        return np.int64(0), np.int64(0)
    return book_level(book, side, book_first_live(book, side) + index)


@jit
def _imbalance(book, n):
    bids, asks = _sum_levels(book, np.int64(BID), n), _sum_levels(book, np.int64(ASK), n)
    if bids + asks <= 0:
        return 0.0
    return (bids - asks) / (bids + asks)


@jit
def _microprice(book):
    b = view(book, BOOK)
    if b.bid <= 0 or b.ask <= 0 or b.bid_qty + b.ask_qty <= 0:
        return 0.0
    return b.bid + (b.ask - b.bid) * (b.bid_qty / (b.bid_qty + b.ask_qty))


@jit
def mid_price(book):
    """(bid + ask) / 2 rounded down, 0 unless both sides are there."""
    b = view(book, BOOK)
    if b.bid <= 0 or b.ask <= 0:
        return np.int64(0)
    return b.bid + ((b.ask - b.bid) >> 1)


@jit
def _spread(book):
    b = view(book, BOOK)
    return b.ask - b.bid if b.bid > 0 and b.ask > 0 else np.int64(0)


@jit
def _spread_bps(book):
    mid = mid_price(book)
    return 1e4 * _spread(book) / mid if mid > 0 else 0.0


@method_of(BOOK_TYPE, "mid")
def _book_mid(book):
    """Middle of the touch (int64, rounded down); 0 unless both sides are there."""
    return lambda book: mid_price(address_of(book))


@method_of(BOOK_TYPE, "spread")
def _book_spread(book):
    """Ask minus bid (int64); 0 unless both sides are there."""
    return lambda book: _spread(address_of(book))


@method_of(BOOK_TYPE, "spread_bps")
def _book_spread_bps(book):
    """Spread over mid in basis points (float); 0 unless both sides are there."""
    return lambda book: _spread_bps(address_of(book))


@method_of(BOOK_TYPE, "microprice")
def _book_microprice(book):
    """Touch weighted by the opposite quantities (float, 1e-8 units); 0 unless both sides are there."""
    return lambda book: _microprice(address_of(book))


@method_of(BOOK_TYPE, "level")
def _book_level(book, side, i):
    """``(price, qty)`` of the i-th best level of the depth stream, stale levels skipped; (0, 0) beyond the end."""
    need_int("book.level", side=side, i=i)
    return lambda book, side, i: _live_level(address_of(book), np.int64(side) & 1, np.int64(i))


@method_of(BOOK_TYPE, "depth")
def _book_depth(book, side, n):
    """Total quantity of the n best levels of a side."""
    need_int("book.depth", side=side, n=n)
    return lambda book, side, n: _sum_levels(address_of(book), np.int64(side) & 1, np.int64(n))


@method_of(BOOK_TYPE, "imbalance")
def _book_imbalance(book, n):
    """(bids - asks) / (bids + asks) over n levels a side: float in [-1, 1], 0 when empty."""
    need_int("book.imbalance", n=n)
    return lambda book, n: _imbalance(address_of(book), np.int64(n))


@method_of(FILL_TYPE, "is_maker")
def _fill_is_maker(fill):
    """Whether the fill rested in the book."""
    return lambda fill: (fill.flags & FILL_MAKER) != 0


@method_of(FILL_TYPE, "fee_asset")
def _fill_fee_asset(fill):
    """Number of the asset that the fee is in: 0 is the instrument's quote currency, n the n-th other one of the run."""
    return lambda fill: np.int64(fill.flags >> FEE_ASSET)
