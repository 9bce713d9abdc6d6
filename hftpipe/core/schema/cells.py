"""What the cells hold: one cache line each, a version and seven payload words."""

import numpy as np

CELL_BYTES = 64
CELL_WORDS = 8
#: Top of book of one instrument. ``local_ts`` is the event time (ns) of the last change.
TOP_CELL = np.dtype(
    [
        ("version", "u8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("local_ts", "i8"), ("state", "i8"), ("update_id", "u8"),
    ],
    align=True,
)  # fmt: skip
#: Halt state of the whole pipeline: ``halted`` 0 or 1, ``cause`` from HALT_CAUSES, times in ns.
HALT_CELL = np.dtype(
    [("version", "u8"), ("halted", "i8"), ("cause", "i8"), ("local_ts", "i8"), ("ending", "i8"), ("_pad", "i8", 3)],
    align=True,
)
HALT_CAUSES = {
    0: "none", 1: "stage_died", 2: "heartbeat_lost", 3: "operator", 4: "invariant", 5: "strategy_stalled",
    6: "orphan_fill", 7: "broken_trade", 8: "venue_forgot", 9: "stopping", 10: "login_refused", 11: "unreadable_latch",
    14: "strategy_fault", 15: "wrong_terms", 16: "overfill", 17: "late_fill", 18: "unreadable_report",
    19: "position_limit", 20: "session_lost", 21: "wrong_price", 22: "unbookable_fill", 23: "sent_unapproved",
    24: "rules_changed", 25: "not_traded", 26: "journal_unwritable", 27: "position_differs", 28: "drawdown", 29: "daily_loss",
    30: "repeated_executions",
}  # fmt: skip
#: A process that ended, one that does not move, a person, a stage that stopped itself, a hook that raised.
STAGE_DIED, HEARTBEAT_LOST, OPERATOR, INVARIANT, STRATEGY_FAULT = 1, 2, 3, 4, 14
#: Causes of a VENUE_FAULT: an execution of an order we do not know, an execution taken back, our orders lost there, no
#: session with it, an order held there on other terms than asked for, a message that cannot be read, a session that was
#: there and stays away.
ORPHAN_FILL, BROKEN_TRADE, VENUE_FORGOT, LOGIN_REFUSED, WRONG_TERMS, UNREADABLE_REPORT = 6, 7, 8, 10, 15, 18
SESSION_LOST = 20
#: What a stage finds itself: more executed than ordered, an order executed after its end, a position beyond its limit, an
#: execution worse than the order's price, one without a price or quantity that could be booked, more sent than approved.
OVERFILL, LATE_FILL, POSITION_LIMIT, WRONG_PRICE, UNBOOKABLE_FILL, SENT_UNAPPROVED = 16, 17, 19, 21, 22, 23
#: Of an instrument: the venue has changed its rules, or does not trade it any more.
RULES_CHANGED, NOT_TRADED = 24, 25
#: Orders were refused because they could not be written down before.
JOURNAL_UNWRITABLE = 26
#: Cause of a VENUE_FAULT: the account holds something else than the run, by more than it may.
POSITION_DIFFERS = 27
#: What risk finds: too much lost since the best moment of the window, or today; a strategy that is executed too often.
DRAWDOWN, DAILY_LOSS, REPEATED_EXECUTIONS = 28, 29, 30
#: The run is asked to end: everything is cancelled first. Nothing went wrong.
STOPPING = 9
