"""State of the gateway stage: one record in shared memory, counters readable by the monitor."""

import numpy as np

from hftpipe.core.schema import reasons
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.records import RECORD, REQUEST

#: Room in the reports ring before the venue's market moves on (a smaller ring: all of it).
MIN_REPORT_ROOM = 64
STATE = np.dtype(
    [
        # Rings: in, out; ``sim`` holds the market records for the paper venue (0: a real venue).
        ("orders", "u8"), ("reports", "u8"), ("sim", "u8"),
        # Cells: risk's u64 "all orders of market records below this are sent on"; HALT_CELL.
        ("progress", "u8"), ("halt", "u8"),
        # HALTS, our copy of it (``scopes``), its number of words; how many strategies and instruments are halted.
        ("halts", "u8"), ("scopes", "u8"), ("n_scopes", "i8"), ("venue_index", "i8"), ("n_halted", "i8"),
        # EVENT_TIME; the CLOCK it is read by (0: by the monotonic time each step is given); int64 an instrument: how old (ns
        # of event time) the event behind an order may be when the order is sent.
        ("time", "u8"), ("clock", "u8"), ("max_ages", "u8"),
        # The order table, and the executions seen (core/trading/seen_fills.py).
        ("table", "u8"), ("seen", "u8"),
        # The venue numbers its instruments from 0; the rings from ``first``.
        ("first", "u4"), ("_first", "u4"),
        ("venue", "u8"), ("venue_submit", "u8"), ("venue_market", "u8"), ("venue_poll", "u8"), ("venue_room", "u8"),
        # 1: the record names an order that has waited too long for its answer; 0: none (address 0: there never is one).
        ("venue_unanswered", "u8"),
        # Histograms: order sent by risk -> read; market event received -> request handed to the venue.
        ("h_risk_to_gateway", "u8"), ("h_tick_to_order", "u8"),
        # Counters of requests: records read; NEW, CANCEL and REPLACE sent; CANCEL sent on a halt or trip, once more.
        ("orders_seen", "i8"), ("sent", "i8"), ("cancels_sent", "i8"), ("replaces_sent", "i8"), ("halt_cancels", "i8"),
        ("halt_cancels_again", "i8"), ("halt_cancels_confirmed", "i8"),
        # Counters of reports, our own refusals included.
        ("acks", "i8"), ("replaced", "i8"), ("fills", "i8"), ("canceled", "i8"), ("expired", "i8"),
        ("rejected", "i8"), ("cancel_rejects", "i8"),
        # Counters of what should not happen, and of waiting for room.
        ("late_fills", "i8"), ("duplicate_fills", "i8"), ("unknown_reports", "i8"), ("illegal", "i8"),
        ("unanswered", "i8"), ("reports_held", "i8"), ("sim_records", "i8"),
        ("orphan_fills", "i8"), ("broken_trades", "i8"), ("venue_forgot", "i8"), ("login_refused", "i8"),
        ("overfills", "i8"), ("wrong_terms", "i8"), ("unreadable_reports", "i8"), ("session_lost", "i8"), ("position_differs", "i8"),
        ("wrong_prices", "i8"), ("unbookable_fills", "i8"), ("sent_unapproved", "i8"),
        # Why it tripped first (HALT_CAUSES); number, price and quantity of that report.
        ("trip_cause", "i8"), ("fault_id", "i8"), ("fault_price", "i8"), ("fault_qty", "i8"),
        ("rejects", "i8", reasons.REASON_SLOTS),
        # Orders that expired, by reason; those of them that neither we nor their own terms had asked for.
        ("ended", "i8", reasons.REASON_SLOTS), ("ended_by_venue", "i8"),
        # Flags: stopped for good by ourselves; stopped when last looked.
        ("tripped", "i8"), ("stopped", "i8"),
        # Stops so far: an order's ``venue_id`` is the last one that has looked at it.
        ("stops", "u8"),
        # In a replay the cancels of a stop go out as the tape says: the order (an id) whose turn it is.
        ("by_tape", "i8"), ("told_cancel", "u8"),
        # While stopped: ``sim_records`` when it last changed, and since when (ns).
        ("quiet_records", "i8"), ("quiet_ns", "i8"),
        # Newest event time seen (ns): the time of requests that no event caused.
        ("event_ts", "i8"),
        # Private records: a report on its way out, a request of our own.
        ("report", RECORD), ("request", REQUEST),
        # Everything consumed goes on this tape first (core/shared/tape.py); 0 = not recording. HALT_SEEN: a step found itself
        # stopped (1) or not (0) and the last one had not; with WITH_RECORD: only the request before was sent (0) or
        # refused (1) by another state than the step's. HALT_CANCEL and CLOCK_RAN_ON: what a stop did by the clock. Of a
        # venue that is not simulated here (``sim`` 0) also what it answered: its reports, and what it did not take.
        ("tape", "u8"),
        # JOURNAL: where every request stands before it is sent (0: there is none); requests that were refused because it
        # could not be written. In a replay: the request whose turn it is was one of them.
        ("journal", "u8"), ("unjournaled", "i8"), ("told_unjournaled", "i8"),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  orders_seen         requests read
  sent                new orders sent
  cancels_sent        cancels sent
  replaces_sent       replaces sent
  halt_cancels        cancels sent because of a halt
  halt_cancels_again  of these, sent once more
  halt_cancels_confirmed  orders that such a cancel has ended
  acks                orders accepted
  replaced            orders replaced
  fills               executions
  canceled            orders cancelled
  expired             orders expired
  ended_by_venue      of these, ended by the venue of its own accord
  rejected            orders rejected
  cancel_rejects      cancels and replaces rejected
  reports_held        reports that waited for room
  sim_records         market records read for the simulated exchange
* unjournaled         orders and replaces refused: the journal has no room, or its disk has failed
! overfills           executions beyond what an order can have
! wrong_prices        executions worse than an order's price
! unbookable_fills    executions without a price or a quantity
! sent_unapproved     times that more had been sent than risk approved
! wrong_terms         orders that the venue holds on other terms than asked for
! unreadable_reports  messages of the venue that cannot be read
! late_fills          executions of orders that had ended
! duplicate_fills     executions told twice
! unknown_reports     reports about orders we do not know
! illegal             reports that an order's life does not allow
! unanswered          orders that waited too long for an answer
! orphan_fills        executions of orders that are not ours
! broken_trades       executions taken back
! venue_forgot        times that the venue had lost our orders
! login_refused       refused log-ins
! session_lost        order sessions that stayed away
! position_differs    positions of the account that are not those of the run, by more than they may
= tripped             stopped by itself
""")
