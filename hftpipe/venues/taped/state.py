"""What playing a capture needs beside the feed's own state."""

import numpy as np

from hftpipe.core.shared.stamps import STAMPS

#: What the stage asks Python for when its step returns SERVICE.
NEED_NOTHING, NEED_CHUNK, NEED_DECODE = 0, 1, 2

TEXT = np.dtype(
    [
        # Wiring (addresses).
        ("syncs", "u8"), ("sync_stride", "u8"), ("message", "u8"), ("symbols", "u8"),
        # Unread bytes of the chunk, the line under way, and what is needed from Python.
        ("text_at", "u8"), ("text_end", "u8"), ("line_ts", "i8"), ("json_at", "u8"), ("json_end", "u8"),
        ("line_ready", "i8"), ("message_ready", "i8"), ("need", "i8"), ("ended", "i8"), ("slow_decodes", "i8"),
        ("stamps", STAMPS),
    ],
    align=True,
)  # fmt: skip
