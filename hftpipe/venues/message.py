"""A decoded venue message: what every codec fills in and the book builder reads; and what codecs say.

One MESSAGE record, followed in memory by ``MAX_LEVELS`` pairs of int64 (price, qty), bids first, then asks; or, where it is of
several trades, by as many TRADE_ROWs.
Prices and quantities are 1e-8 integers, times ns of the venue's clock (0 when the message has none).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DEPTH, BOOK_TICKER, TRADE, SNAPSHOT, IGNORED, TRADES = 1, 2, 3, 4, 5, 6
KIND_NAMES = {
    DEPTH: "depthUpdate", BOOK_TICKER: "bookTicker", TRADE: "trade", SNAPSHOT: "snapshot", IGNORED: "ignored", TRADES: "trades",
}  # fmt: skip

MESSAGE = np.dtype(
    [
        # One of the kinds above; instrument id, or -1 when the symbol is not registered or not in the message.
        ("kind", "i8"), ("instrument", "i8"),
        ("event_ts", "i8"), ("transaction_ts", "i8"),
        # Binance: f and l of an aggregate trade; U, u, pu of a depth update; u of a bookTicker and lastUpdateId of a snapshot are last_id.
        # Bybit: last_id is the stream's own number (u); of best prices it is what all streams share (seq), and first_id is u.
        ("first_id", "u8"), ("last_id", "u8"), ("previous_id", "u8"), ("has_previous", "i8"),
        # A trade: side is the taker's; ``accepted`` is 0 for X other than MARKET or a zero price or quantity.
        ("price", "i8"), ("qty", "i8"), ("trade_id", "u8"), ("side", "i8"), ("accepted", "i8"),
        # A bookTicker.
        ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        # A depth update or snapshot.
        ("n_bids", "i8"), ("n_asks", "i8"),
        # Where a symbol has several streams of levels: the number that all of them share, and the levels a side of this one.
        ("sequence", "u8"), ("stream", "i8"),
        # Several trades; or how many one TRADE stands for, if it is an aggregate.
        ("n_trades", "i8"), ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
MESSAGE_BYTES = 192
#: One of several trades in a message; the fields are those of a MESSAGE.
TRADE_ROW = np.dtype(
    [
        ("price", "i8"), ("qty", "i8"), ("trade_id", "u8"), ("transaction_ts", "i8"), ("side", "i8"), ("accepted", "i8"),
    ]
)  # fmt: skip
TRADE_ROW_BYTES = 48
# What a scanner says: decoded, or one for the slow decoder.
OK, FALLBACK = 0, 1
# What following a message with the book of its instrument did.
NOTHING, LEVELS_APPLIED, RELOADED, INVALIDATED, TOP_CHANGED, TRADE_SEEN, TRADE_IGNORED = range(7)
assert MESSAGE.itemsize == MESSAGE_BYTES
MAX_LEVELS = 16384
#: Trades in a message at most; venues say 1,024.
MAX_TRADES = 4096
assert TRADE_ROW.itemsize == TRADE_ROW_BYTES and MAX_TRADES * TRADE_ROW_BYTES <= 16 * MAX_LEVELS


class Symbols(NamedTuple):
    """The instruments of a market, as slow decoders look them up.

    Attributes:
        ids: by symbol.
        powers: by id: the unit of an instrument is a pack of 10**n of the venue's, so that its prices are in units of 10**-(8 + n)
            and its quantities of 10**-(8 - n).
    """

    ids: Mapping[str, int]
    powers: Sequence[int]

    def id_of(self, symbol: object) -> int:
        """Its id; -1 for none of ours."""
        return self.ids.get(symbol, -1) if isinstance(symbol, str) else -1

    def places_of(self, instrument: int) -> tuple[int, int]:
        """Decimal places of a price and of a quantity of an instrument (id, or -1) as the venue writes them."""
        power = self.powers[instrument] if instrument >= 0 else 0
        return 8 + power, 8 - power


def message_bytes() -> int:
    """Memory of one message with room for its levels."""
    return MESSAGE_BYTES + 16 * MAX_LEVELS
