"""State of the risk stage: one record in shared memory, counters readable by the monitor."""

import numpy as np

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.counters import table
from hftpipe.risk.context import CONTEXT

#: What leads to a venue and back. Rings: out, in; ``market`` is only asked how far the strategy has read it (0: no paper
#: venue), and ``progress`` is the u64 this stage publishes of it (see step); the venue's EVENT_TIME.
LANE = np.dtype(
    [
        ("orders", "u8"), ("reports", "u8"), ("market", "u8"), ("progress", "u8"), ("time", "u8"),
        # How far the market ring had been read when this step began.
        ("read", "u8"),
        # Which venue it is; 1: its gateway is dead, and takes no cancels either (set by the supervisor).
        ("venue", "i4"), ("dead", "i4"), ("_pad", "u8"),
    ],
    align=True,
)  # fmt: skip
STATE = np.dtype(
    [
        # Rings from and to the strategy; LANEs to and from the gateways, one a venue.
        ("intents", "u8"), ("updates", "u8"), ("lanes", "u8"), ("n_lanes", "i8"),
        # Cells: HALT_CELL, HALTS, first TOP_CELL (64 bytes apart).
        ("halt", "u8"), ("halts", "u8"), ("tops", "u8"),
        # The CLOCK that event time is read by (0: by the monotonic time each step is given).
        ("clock", "u8"),
        # Arrays indexed by instrument id: INSTRUMENT, LIMITS, POSITION, RATE; and risk's own order table.
        ("instruments", "u8"), ("n_instruments", "i8"),
        ("limits", "u8"), ("positions", "u8"), ("rates", "u8"), ("table", "u8"),
        # DESKs, one a strategy.
        ("desks", "u8"), ("n_desks", "i8"),
        # Fees in other assets than the quote currency (risk/fees.py), and how many such assets there are.
        ("fees", "u8"), ("n_fee_assets", "i8"),
        # GROUPs, and a MEMBER an instrument; 0: there are none.
        ("groups", "u8"), ("members", "u8"),
        # What everything is worth (risk/worth.py): WORTHs an instrument, those of each strategy (0: one alone), TOTALs, LOSSes by
        # quote currency.
        ("worths", "u8"), ("own_worths", "u8"), ("totals", "u8"), ("losses", "u8"), ("n_quotes", "i8"),
        # STANDINGs, an instrument for each strategy; REPEATS; TOUCHes, an instrument (0: crossing orders are the venue's affair).
        ("standings", "u8"), ("repeats", "u8"), ("touches", "u8"),
        # The newest event time known; when risk looks at what is held, and at which instrument next.
        ("seen_ts", "i8"), ("next_look_ns", "i8"), ("look_at", "i8"),
        # Limits that are to be others (risk/changes.py); 0: none ever are.
        ("changes", "u8"),
        # Histograms: intent sent -> read; length of the checks; market event received -> order approved.
        ("h_strategy_to_risk", "u8"), ("h_risk", "u8"), ("h_tick_to_risk", "u8"),
        # Counters. ``approved`` counts NEW; ``tripped`` is set by a fill that could not be booked, or that took the position
        # beyond its limit (``trip_cause``; the fill's order, price and quantity), and by a loss beyond its limit (its quote
        # currency, the limit, the loss); it acts as a halt.
        ("intents_seen", "i8"), ("approved", "i8"), ("cancels", "i8"), ("replaces", "i8"),
        ("reports_seen", "i8"), ("fills", "i8"), ("updates_held", "i8"), ("orders_held", "i8"),
        ("late_fills", "i8"), ("unknown_reports", "i8"), ("illegal", "i8"), ("overfills", "i8"),
        ("not_booked", "i8"), ("beyond_limit", "i8"), ("unknown_fees", "i8"), ("throttled", "i8"), ("limits_changed", "i8"),
        ("tripped", "i8"),
        ("trip_cause", "i8"), ("fault_id", "i8"), ("fault_price", "i8"), ("fault_qty", "i8"),
        ("rejects", "i8", reasons.REASON_SLOTS),
        # Everything consumed goes on this tape first (core/shared/tape.py); 0 = not recording. A NEW or REPLACE is followed by
        # what it was judged by: HALT_SEEN if halted, the TOP_SEEN pair, HALT_SEEN if the orders ring was full; a FILL by the
        # TOP_SEEN pair that it is marked at.
        ("tape", "u8"),
        # Private: the verdict's inputs and a copy of the top of book.
        ("context", CONTEXT), ("top", TOP_CELL),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  intents_seen      requests read
  approved          new orders approved
  cancels           cancels passed on
  replaces          replaces approved
  reports_seen      reports read
  fills             executions booked
  updates_held      reports that waited for room
  orders_held       requests that waited for room
! late_fills        executions of orders that had ended
! unknown_reports   reports about orders that risk does not know
! illegal           reports that an order's life does not allow
! overfills         executions beyond what an order can have
! not_booked        executions that could not be booked
! beyond_limit      executions that took a position beyond its limit
! unknown_fees      executions whose fee is in an asset that the run does not know
! throttled         strategies executed too often in an instrument
  limits_changed    words of limits that were changed while it ran
= tripped           stopped by itself
""")
