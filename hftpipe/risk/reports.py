"""What comes back from the venues: booked, marked, counted, and passed on to the strategies unchanged."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, rdtsc, view
from hftpipe.core.schema.cells import POSITION_LIMIT, UNBOOKABLE_FILL
from hftpipe.core.schema.records import EXECUTION, FILL, RECORD
from hftpipe.core.shared.event_time import event_now, known_until
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
from hftpipe.risk.tripping import trip

MAX_REPORTS_PER_STEP = 256
_ROOM = np.int64(1)


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
        trip(s, UNBOOKABLE_FILL, r.id, r.price, r.qty)
    if outcome & BEYOND_LIMIT:
        s.beyond_limit += 1
        trip(s, POSITION_LIMIT, r.id, r.price, r.qty)


@jit
def _mark_fill(s, state, time, fill, now_ns):
    """What a fill earned is measured against the market as it stands now, by our own time: a venue's clock is not ours to believe."""
    instrument = U64(fill.instrument)
    s.seen_ts = max(s.seen_ts, event_now(time, s.clock, rdtsc(), now_ns, known_until(time)))
    copy_top(s, state, instrument)
    tape_top(s.tape, fill.instrument, state + TOP_AT, s.seen_ts)
    mark_position(s, state, instrument, s.seen_ts)


@jit
def _is_fill_of(report, n_instruments):
    r = view(report, RECORD)
    return r.kind == FILL and U64(r.instrument) < U64(n_instruments)


@jit
def drain_reports(s, state, reports, time, now_ns):
    """Book and forward the reports of one venue, whose EVENT_TIME is at ``time``: number done. Stops, without loss, when the strategy has
    no room."""
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
            _mark_fill(s, state, time, view(report, EXECUTION), now_ns)
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
