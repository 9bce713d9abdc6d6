"""State of the market-data stage: one record in shared memory, counters readable by the monitor."""

import numpy as np

from hftpipe.core.shared.stamps import STAMPS

#: What the stage asks Python for when its step returns SERVICE.
NEED_NOTHING, NEED_CHUNK, NEED_DECODE = 0, 1, 2
#: Sources.
SYNTHETIC, REPLAY, UDP = 0, 1, 2

STATE = np.dtype(
    [
        # Wiring (addresses).
        ("market", "u8"), ("sim", "u8"), ("tape", "u8"), ("tops", "u8"), ("books", "u8"), ("syncs", "u8"), ("message", "u8"),
        ("symbols", "u8"), ("scratch", "u8"), ("top_scratch", "u8"), ("conflating", "u8"), ("h_decode", "u8"),
        # EVENT_TIME, and the speed it is started with.
        ("time", "u8"), ("speed_mult", "u8"),
        ("flows", "u8"), ("flow_next_ts", "u8"), ("flow_step", "u8"), ("flow_snapshot", "u8"),
        # A UDP feed: the receive loop (C address ``int64 f(uint64 receiver, int64 now_ns)``), its state, its records.
        ("receive", "u8"), ("receiver", "u8"), ("out", "u8"),
        ("book_stride", "u8"), ("sync_stride", "u8"), ("flow_stride", "u8"), ("n_instruments", "i8"),
        # Source and pacing. ``inverse_speed`` 0 means as fast as the readers allow (the source holds back).
        ("source", "i8"), ("inverse_speed", "f8"), ("hold_back", "i8"), ("window", "i8"),
        ("started_ns", "i8"), ("first_ts", "i8"), ("event_ts", "i8"),
        ("timer_ns", "i8"), ("next_timer_ts", "i8"), ("drain_ns", "i8"), ("end_ts", "i8"),
        # The update being published: records [pending_at, pending_n) of scratch.
        ("pending_at", "i8"), ("pending_n", "i8"), ("pending_origin", "u8"),
        # Replay: unread bytes of the chunk, the line under way, and what is needed from Python.
        ("text_at", "u8"), ("text_end", "u8"), ("line_ts", "i8"), ("json_at", "u8"), ("json_end", "u8"),
        ("line_ready", "i8"), ("message_ready", "i8"), ("need", "i8"), ("ended", "i8"), ("stamps", STAMPS),
        # Counters.
        ("events", "i8"), ("book_updates", "i8"), ("top_updates", "i8"), ("trades", "i8"), ("trades_ignored", "i8"),
        ("timers", "i8"), ("timers_skipped", "i8"), ("time_jumps", "i8"), ("conflations", "i8"), ("dropped_trades", "i8"), ("resets", "i8"), ("invalidations", "i8"),
        ("bad_lines", "i8"), ("bad_messages", "i8"), ("slow_decodes", "i8"), ("unknown_symbols", "i8"),
        ("ignored_messages", "i8"), ("held_back", "i8"), ("records", "i8"), ("max_lag_ns", "i8"),
    ],
    align=True,
)  # fmt: skip
