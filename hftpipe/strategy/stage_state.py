"""State of the strategy stage and of each strategy in it: records in shared memory, counters readable by the monitor.

A *seat* is what one strategy has for itself: its hooks, parameters, orders, positions and quotes. Books and rings are the
stage's, and all seats read the same.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.instruments import MAX_VENUES
from hftpipe.core.schema.layout import offset_of
from hftpipe.strategy.context import CONTEXT
from hftpipe.strategy.params import MAX_PARAMS
from hftpipe.strategy.room import ROOM

NO_HOOK, ON_BOOK, ON_TRADE, ON_FILL, ON_TIMER, ON_PARAMS = (np.int64(n) for n in range(6))
HOOK_NUMBERS = {"on_book": 1, "on_trade": 2, "on_fill": 3, "on_timer": 4, "on_params": 5}

#: One strategy's own memory. Addresses are set before the stage starts.
SEAT = np.dtype(
    [
        # Hook addresses by HOOK_NUMBERS, 0 = the strategy does not have it; [0] is never set.
        ("hooks", "u8", 6), ("self_record", "u8"), ("params_cell", "u8"),
        # Parameters: version last applied, how many.
        ("params_version", "u8"), ("n_params", "i8"),
        # Its first instrument, which is the current one of hooks that no instrument has caused.
        ("first", "i8"),
        # Number of the hook that raised (HOOK_NUMBERS), 0 while all is well; the address of what it raised; the hook whose
        # fault has been handed to Python; actions of the hook that raised, which were not sent.
        ("failed", "i8"), ("raised", "u8"), ("fault_told", "i8"), ("dropped", "i8"),
        # The number of the hook that runs now (for who finds us dead).
        ("running", "i8"),
        # Counters since start.
        ("callbacks", "i8"), ("intents_sent", "i8"), ("fills", "i8"), ("_pad", "i8", 5),
        ("ctx", CONTEXT),
    ],
    align=True,
)  # fmt: skip
SEAT_BYTES = SEAT.itemsize
#: Where the CONTEXT begins.
CTX = np.uint64(offset_of(SEAT, "ctx"))
assert int(CTX) % 64 == 0 == SEAT_BYTES % 64

#: The stage's own memory. Addresses are set before it starts; counters are read by the monitor.
STATE = np.dtype(
    [
        ("updates", "u8"),
        # SEATs, one a strategy; of each instrument the seats that trade it, a bit each (u64).
        ("seats", "u8"), ("n_seats", "i8"), ("users", "u8"),
        # HALT_CELL, HALTS, its number of words, and the copy of it that was seen.
        ("halt", "u8"), ("halts", "u8"), ("n_scopes", "i8"), ("scopes", "u8"), ("halted_all", "i8"),
        # The market rings, one a venue. ``in_time``: their records are merged by time, which needs one of each (or its end:
        # address of the STATUS of its feed); else each is read as it comes.
        ("markets", "u8", MAX_VENUES), ("feeds", "u8", MAX_VENUES), ("n_markets", "i8"), ("in_time", "i8"),
        # Table of the books by instrument, how many instruments; the event's time, ns.
        ("books", "u8"), ("n_instruments", "i8"), ("now", "i8"),
        # TIMERs of all feeds come in; the hook is called once a period (ns).
        ("timer_ns", "i8"), ("next_timer_ts", "i8"),
        ("h_market_to_strategy", "u8"), ("h_strategy", "u8"),
        # Where a consistent copy of parameters is gathered.
        ("params_scratch", "u8", MAX_PARAMS),
        # Whether a book update has begun, for the measure of how long it took.
        ("in_update", "i8"),
        # Strategies whose hook has raised, and of how many of them Python was told; whether to cancel theirs at this step.
        ("faults", "i8"), ("faults_told", "i8"), ("cancel_due", "i8"),
        # Counters since start.
        ("events", "i8"), ("book_updates", "i8"), ("untradable", "i8"), ("trades", "i8"), ("timers", "i8"),
        ("updates_seen", "i8"), ("fills", "i8"), ("unknown_orders", "i8"), ("bad_records", "i8"),
        ("callbacks", "i8"), ("intents_sent", "i8"), ("params_applied", "i8"),
        ("halts_seen", "i8"), ("dropped", "i8"),
        # Everything consumed goes on this tape first (core/shared/tape.py); 0 = not recording.
        ("tape", "u8"),
        # Room in the intents ring, as it was found while one record was handled.
        ("room", ROOM),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  events            records read
  book_updates      updates of a book
  untradable        updates of a book that is not VALID
  trades            trades
  timers            timers
  updates_seen      answers to our orders
  fills             executions
  callbacks         hooks called
  intents_sent      requests sent
  params_applied    changed parameters taken over
  halts_seen        halts and resumptions noticed
~ dropped           actions of a hook that raised, which were not sent
! unknown_orders    answers about orders we do not know
! bad_records       records that cannot be
""")


@jit
def seat_at(s, index):
    """Address of a seat of the stage (STATE ``s``)."""
    return s.seats + U64(SEAT_BYTES) * U64(index)
