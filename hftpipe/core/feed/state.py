"""State of a feed in the market-data stage: one record in shared memory, counters readable by the monitor."""

import numpy as np

from hftpipe.core.schema.counters import table

STATE = np.dtype(
    [
        # Wiring (addresses).
        ("market", "u8"), ("sim", "u8"), ("tape", "u8"), ("tops", "u8"),
        # Table of the addresses of the books, by instrument (core/trading/books.py).
        ("books", "u8"),
        ("scratch", "u8"), ("top_scratch", "u8"), ("conflating", "u8"), ("conflated", "u8"), ("h_decode", "u8"),
        # EVENT_TIME, and the speed it is started with.
        ("time", "u8"), ("speed_mult", "u8"),
        # The venue: a C address ``int64 f(uint64 state, int64 now_ns)`` that takes what is due and publishes it (records done, or
        # SERVICE or FINISHED), and the venue's own record.
        ("source_step", "u8"), ("source", "u8"),
        # The venue's instruments are numbered from 0 here; in the rings from ``first``.
        ("n_instruments", "i8"), ("first", "u4"), ("_first", "u4"),
        # Pacing. ``inverse_speed`` 0 means as fast as the readers allow (the source holds back).
        ("inverse_speed", "f8"), ("hold_back", "i8"), ("window", "i8"),
        ("started_ns", "i8"), ("first_ts", "i8"), ("event_ts", "i8"),
        ("timer_ns", "i8"), ("next_timer_ts", "i8"), ("drain_ns", "i8"), ("end_ts", "i8"),
        # Instruments whose whole book is due: bytes in ``conflating``, and the queue (u4 in ``conflated``) of those to look at.
        ("n_conflating", "i8"), ("conflated_in", "u8"), ("conflated_out", "u8"), ("conflated_mask", "u8"),
        # The update being published: records [pending_at, pending_n) of scratch.
        ("pending_at", "i8"), ("pending_n", "i8"), ("pending_origin", "u8"),
        # Counters.
        ("events", "i8"), ("book_updates", "i8"), ("top_updates", "i8"), ("trades", "i8"), ("trades_ignored", "i8"),
        ("timers", "i8"), ("timers_skipped", "i8"), ("time_jumps", "i8"), ("conflations", "i8"), ("dropped_trades", "i8"), ("resets", "i8"), ("invalidations", "i8"),
        ("bad_lines", "i8"), ("bad_messages", "i8"), ("slow_decodes", "i8"), ("unknown_symbols", "i8"),
        ("ignored_messages", "i8"), ("held_back", "i8"), ("records", "i8"), ("max_lag_ns", "i8"),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  events            events taken from the source
  book_updates      updates of a book's depth
  top_updates       best prices
  trades            trades
  timers            timers sent
  records           records written to the market ring
  resets            whole books sent
  trades_ignored    trades that the book was not ready for
  ignored_messages  messages of a kind that is not traded on
  slow_decodes      messages that the fast scanner passed on
  held_back         times that a full ring held the source up
  conflations       updates replaced by a later whole book, for want of room
~ dropped_trades    trades lost for want of room
~ timers_skipped    timers left out after a long silence
~ invalidations     times that a book became INVALID
~ unknown_symbols   messages about symbols that are not traded
~ bad_lines         lines of a capture that are none
~ bad_messages      messages that could not be decoded
! time_jumps        jumps of the source's time stamps that event time did not follow
= max_lag_ns        longest that an event waited for its turn
""")
