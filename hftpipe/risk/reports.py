"""What comes back from the venues: booked, marked, counted, and passed on to the strategies unchanged."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.cells import POSITION_LIMIT, UNBOOKABLE_FILL
from hftpipe.core.schema.records import EXECUTION, FILL, RECORD
from hftpipe.core.shared.ring import ring_has_space, ring_peek, ring_pop, ring_push
from hftpipe.core.shared.tape import tape_record, tape_top
from hftpipe.risk.exposure import (
    BEYOND_LIMIT,
    ILLEGAL_MOVE,
    LATE,
    NOT_BOOKED,
    TOO_MUCH,
    UNKNOWN_FEE,
    UNKNOWN_ID,
    apply_report,
)
from hftpipe.risk.marking import TOP_AT, copy_top, mark_position

MAX_REPORTS_PER_STEP = 256
_ROOM = np.int64(1)


@jit
def _trip(s, cause, r):
    """No new orders from now on, because of a fill; of the first it is kept what a person will want to know."""
    if s.tripped == 0:
        s.trip_cause, s.fault_id, s.fault_price, s.fault_qty = np.int64(cause), np.int64(r.id), r.price, r.qty
    s.tripped = 1


@jit
def _count_outcome(s, outcome, r):
    """Everything but a plain report is counted; a fill that is not in the position, or too much for it, stops new orders."""
    if outcome & LATE:
        s.late_fills += 1
    if outcome & UNKNOWN_ID:
        s.unknown_reports += 1
    if outcome & ILLEGAL_MOVE:
        s.illegal += 1
    if outcome & TOO_MUCH:
        s.overfills += 1
    if outcome & UNKNOWN_FEE:
        s.unknown_fees += 1
    if outcome & NOT_BOOKED:
        s.not_booked += 1
        _trip(s, UNBOOKABLE_FILL, r)
    if outcome & BEYOND_LIMIT:
        s.beyond_limit += 1
        _trip(s, POSITION_LIMIT, r)


@jit
def _mark_fill(s, state, fill):
    """What a fill earned is measured against the market as it stands now; on the tape that has the time of the trade."""
    instrument = U64(fill.instrument)
    copy_top(s, state, instrument)
    tape_top(s.tape, fill.instrument, state + TOP_AT, fill.exchange_ts)
    mark_position(s, state, instrument)


@jit
def _is_fill_of(report, n_instruments):
    r = view(report, RECORD)
    return r.kind == FILL and U64(r.instrument) < U64(n_instruments)


@jit
def drain_reports(s, state, reports):
    """Book and forward the reports of one venue: number done. Stops, without loss, when the strategy has no room."""
    done = 0
    while done < MAX_REPORTS_PER_STEP:
        report = ring_peek(reports)
        if report == ZERO:
            break
        if not ring_has_space(s.updates, _ROOM):
            s.updates_held += 1
            break
        tape_record(s.tape, report)
        if _is_fill_of(report, s.n_instruments):
            _mark_fill(s, state, view(report, EXECUTION))
        outcome = apply_report(s, report)
        s.reports_seen += 1
        if view(report, RECORD).kind == FILL:
            s.fills += 1
        if outcome != 0:
            _count_outcome(s, outcome, view(report, RECORD))
        ring_push(s.updates, report)
        ring_pop(reports)
        done += 1
    return done
