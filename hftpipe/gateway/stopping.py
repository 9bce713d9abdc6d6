"""What a stopped gateway does by its own clock: it cancels until every order has ended, and lets a paper venue's time go on.

The rules stand in :mod:`hftpipe.gateway.stage`. What is done here goes on the tape: a replay does it again by the tape.
"""

import numpy as np

from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_step, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import CANCEL, LEFT, NOT_TAKEN, RECORD, REDUCES, REQUEST, TIMER
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.halts import is_barred
from hftpipe.core.shared.ring import ring_has_space
from hftpipe.core.shared.tape import CLOCK_RAN_ON, HALT_CANCEL, tape_mark, tape_time
from hftpipe.core.trading.order_table import ON_CANCEL_SENT, ORDER, PENDING_CANCEL, open_count, open_order, order_move
from hftpipe.gateway.journaling import note_request, withdraw_request
from hftpipe.gateway.state import MIN_REPORT_ROOM, STATE
from hftpipe.journal.layout import OWN_REQUEST

#: While stopped: until an order is cancelled once more, and the longest such wait.
CANCEL_AGAIN_NS, CANCEL_AGAIN_MAX_NS = 50_000_000, 1_000_000_000
_MAX_DOUBLINGS = 5
#: While stopped: silence of the paper venue's market after which time there goes on without it, and by how much.
RUN_ON_NS = 10_000_000
_REQUEST = np.uint64(offset_of(STATE, "request"))
_MARK, _UNMARKED = np.uint8(REDUCES), np.uint8(0xFF & ~REDUCES)


@jit
def mark_reducing(slot, flags):
    """An order is now one that risk approved while only reducing was allowed, or is not, by the flags of its replace."""
    o = view(slot, ORDER)
    o.flags = (o.flags & _UNMARKED) | (np.uint8(flags) & _MARK)


@jit
def forget_reducing(table):
    """What was approved for an earlier time of reducing may turn a position round that has become another one since."""
    for index in range(open_count(table)):
        mark_reducing(open_order(table, index), np.uint8(0))


@jit
def submit(s, request, noted):
    """Hand a request to the venue (``noted``: what the journal has of it): NOT_TAKEN, LEFT or ANSWERED_HERE."""
    tsc, r = stamp(), view(request, REQUEST)
    flags = r.flags
    r.instrument -= s.first
    r.flags = flags & _UNMARKED
    taken = call_step(s.venue_submit, s.venue, np.int64(request))
    r.instrument += s.first
    r.flags = flags
    if taken == LEFT:
        hist_since(s.h_tick_to_order, r.origin_tsc, tsc)
    elif taken == NOT_TAKEN:
        withdraw_request(s, noted)
    return taken


@jit
def _is_cancel_due(s, o, now_ns):
    """Whether an open order is to be cancelled now. In a replay the tape says so, not the clock."""
    if o.user != np.int64(s.stops):
        o.user, o.cancels, o.cancel_due_ns = np.int64(s.stops), 0, now_ns
        if o.state == PENDING_CANCEL:
            o.cancel_due_ns += CANCEL_AGAIN_NS
    if s.by_tape != 0:
        return o.id == s.told_cancel
    return now_ns >= o.cancel_due_ns


@jit
def _note_cancel(s, slot, taken, now_ns):
    """The venue took a cancel of ours; it counts as sent if it has left. An UNKNOWN order stays UNKNOWN."""
    o = view(slot, ORDER)
    order_move(s.table, slot, np.int64(ON_CANCEL_SENT))
    o.own_cancels += 1
    o.cancel_due_ns = now_ns + min(CANCEL_AGAIN_NS << min(o.cancels, _MAX_DOUBLINGS), CANCEL_AGAIN_MAX_NS)
    if taken == LEFT:
        s.halt_cancels += np.int64(o.cancels == 0)
        s.halt_cancels_again += np.int64(o.cancels != 0)
        o.cancels += 1
    s.told_cancel = ZERO
    tape_mark(s.tape, HALT_CANCEL, o.id)


@jit
def cancel_open(s, state, now_ns):
    """Cancel every open order that is halted and whose cancel is due: number sent. Goes on next time if the venue is busy."""
    request = state + _REQUEST
    r, sent = view(request, REQUEST), np.int64(0)
    for index in range(open_count(s.table)):
        slot = open_order(s.table, index)
        o = view(slot, ORDER)
        if s.stopped == 0 and not is_barred(s.scopes, o.strategy, o.instrument, o.flags):
            continue
        if not _is_cancel_due(s, o, now_ns):
            continue
        r.origin_tsc, r.sent_tsc, r.local_ts, r.price, r.qty = ZERO, ZERO, s.event_ts, 0, 0
        r.id, r.instrument, r.kind, r.side = o.id, o.instrument, CANCEL, o.side
        r.strategy, r.flags = o.strategy, o.flags
        taken = submit(s, request, note_request(s, request, np.int64(OWN_REQUEST)))
        if taken == NOT_TAKEN:
            return sent
        _note_cancel(s, slot, taken, now_ns)
        sent += 1
    return sent


@jit
def run_on(s, state, now_ns):
    """Stopped, and nothing comes of the paper venue's market any more: time goes on there all the same. Steps made."""
    if s.by_tape != 0 or open_count(s.table) == 0 or s.sim_records != s.quiet_records:
        s.quiet_records, s.quiet_ns = s.sim_records, now_ns
        return np.int64(0)
    room = np.int64(min(view(s.reports, RING).capacity, U64(MIN_REPORT_ROOM)))
    if now_ns - s.quiet_ns < RUN_ON_NS or not ring_has_space(s.reports, room):
        return np.int64(0)
    r = view(state + _REQUEST, RECORD)
    r.kind, r.local_ts, r.exchange_ts, r.price, r.qty, r.id = TIMER, s.event_ts + RUN_ON_NS, 0, 0, 0, ZERO
    r.instrument = 0
    if call_step(s.venue_market, s.venue, np.int64(state + _REQUEST)) == 0:
        return np.int64(0)
    s.event_ts, s.quiet_ns = r.local_ts, now_ns
    tape_time(s.tape, CLOCK_RAN_ON, r.local_ts)
    return np.int64(1)
