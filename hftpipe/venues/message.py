"""A decoded venue message: what every codec fills in and the book builder reads; and what codecs say.

One MESSAGE record, followed in memory by ``MAX_LEVELS`` pairs of int64 (price, qty): bids first, then asks.
Prices and quantities are 1e-8 integers, times ns of the venue's clock (0 when the message has none).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
