"""State of a captured market in the simulated exchange."""

import numpy as np

from hftpipe.core.shared.stamps import STAMPS

CAPTURED = np.dtype(
    [
        # Wiring (addresses): lookup of symbols, a MESSAGE, SYNC, BOOK and REACH of each instrument.
        ("symbols", "u8"), ("message", "u8"), ("syncs", "u8"), ("books", "u8"), ("reach", "u8"),
        # TAKEN of each instrument, MAX_TAKEN in a row.
        ("taken", "u8"),
        ("sync_stride", "u8"), ("book_stride", "u8"), ("n_instruments", "i8"),
        # The text: unread bytes of the chunk, the line under way, and what is needed from Python.
        ("text_at", "u8"), ("text_end", "u8"), ("line_ts", "i8"), ("json_at", "u8"), ("json_end", "u8"),
        ("line_ready", "i8"), ("message_ready", "i8"), ("need", "i8"), ("ended", "i8"),
        # Receive time of the first line; the newest synthetic order.
        ("first_ts", "i8"), ("order_id", "u8"), ("stamps", STAMPS),
        # Counters: lines; jumps of their time stamps; those that are none, or no message; messages of other symbols; depth updates and snapshots
        # followed; trades; and what the table in ``captured_levels`` names.
        ("lines", "i8"), ("time_jumps", "i8"), ("bad_lines", "i8"), ("bad_messages", "i8"), ("slow_decodes", "i8"), ("unknown_symbols", "i8"),
        ("depth_updates", "i8"), ("reloads", "i8"), ("trades", "i8"),
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
    "lines", "time_jumps", "bad_lines", "bad_messages", "unknown_symbols", "depth_updates", "reloads", "trades", "rounded", "left_out",
    "late_trades", "short_trades", "not_remembered",
)  # fmt: skip
