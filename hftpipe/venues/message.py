"""A decoded venue message: what every codec fills in and the book builder reads; and what codecs say.

One MESSAGE record, followed in memory by ``MAX_LEVELS`` pairs of int64 (price, qty): bids first, then asks.
Prices and quantities are 1e-8 integers, times ns of the venue's clock (0 when the message has none).
"""

import numpy as np

DEPTH, BOOK_TICKER, TRADE, SNAPSHOT, IGNORED = 1, 2, 3, 4, 5
KIND_NAMES = {DEPTH: "depthUpdate", BOOK_TICKER: "bookTicker", TRADE: "trade", SNAPSHOT: "snapshot", IGNORED: "ignored"}

MESSAGE = np.dtype(
    [
        # One of the kinds above; instrument id, or -1 when the symbol is not registered or not in the message.
        ("kind", "i8"), ("instrument", "i8"),
        ("event_ts", "i8"), ("transaction_ts", "i8"),
        # U, u, pu of a depth update; u of a bookTicker and lastUpdateId of a snapshot are last_id.
        ("first_id", "u8"), ("last_id", "u8"), ("previous_id", "u8"), ("has_previous", "i8"),
        # A trade: side is the taker's; ``accepted`` is 0 for X other than MARKET or a zero price or quantity.
        ("price", "i8"), ("qty", "i8"), ("trade_id", "u8"), ("side", "i8"), ("accepted", "i8"),
        # A bookTicker.
        ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        # A depth update or snapshot.
        ("n_bids", "i8"), ("n_asks", "i8"), ("_pad", "i8", 5),
    ],
    align=True,
)  # fmt: skip
MESSAGE_BYTES = 192
# What a scanner says: decoded, or one for the slow decoder.
OK, FALLBACK = 0, 1
# What following a message with the book of its instrument did.
NOTHING, LEVELS_APPLIED, RELOADED, INVALIDATED, TOP_CHANGED, TRADE_SEEN, TRADE_IGNORED = range(7)
assert MESSAGE.itemsize == MESSAGE_BYTES
MAX_LEVELS = 16384


def message_bytes() -> int:
    """Memory of one message with room for its levels."""
    return MESSAGE_BYTES + 16 * MAX_LEVELS
