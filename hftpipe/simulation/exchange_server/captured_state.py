"""State of a captured market in the simulated exchange."""

import numpy as np

from hftpipe.venues.taped.cursor import CURSOR

CAPTURED = np.dtype(
    [
        # The capture's text.
        ("cursor", CURSOR),
        # Wiring (addresses): the table of books; REACH of each instrument; TAKEN of each instrument, MAX_TAKEN in a row.
        ("books", "u8"), ("reach", "u8"), ("taken", "u8"),
        # Receive time of the first line; the newest synthetic order.
        ("first_ts", "i8"), ("order_id", "u8"),
        # Counters: lines played; depth updates and snapshots followed; trades; and what the table in ``captured_levels`` names.
        ("lines", "i8"), ("depth_updates", "i8"), ("reloads", "i8"), ("trades", "i8"),
        ("rounded", "i8"), ("left_out", "i8"), ("late_trades", "i8"), ("short_trades", "i8"),
        ("not_remembered", "i8"),
    ],
    align=True,
)  # fmt: skip
#: What the levels of an instrument are to be looked at again for: the worst prices, of bids and of asks, at which the
#: capture has traded since the last depth update (0: none); and how often the book's window had moved at the last reload.
#: And how many levels participants took from.
REACH = np.dtype([("price", "i8", 2), ("recentred", "i8"), ("n_taken", "i8")])
#: Of the ``shown`` at a price, participants have ``qty``.
TAKEN = np.dtype([("side", "i8"), ("price", "i8"), ("shown", "i8"), ("qty", "i8")])
MAX_TAKEN = 256
COUNTERS = (
    "depth_updates", "reloads", "trades", "rounded", "left_out", "late_trades", "short_trades", "not_remembered",
)  # fmt: skip
#: What is shown of those of the cursor.
CURSOR_COUNTERS = ("bad_lines", "bad_messages", "unknown_symbols")
