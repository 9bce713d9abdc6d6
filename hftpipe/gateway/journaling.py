"""What of the gateway's work goes into the journal, and what is not done where that cannot be.

========================== ==========================================================================================
moment                     what is written
========================== ==========================================================================================
before a request is sent   the request; taken back if the venue does not take it
after a report is applied, the report; a fill as two entries. Not a fill that was told before. Whatever the report does to
before it is passed on     the order, the journal's reader does again with the same functions
an order without an answer NO_ANSWER
========================== ==========================================================================================

Where the journal takes no orders (no room, a disk that has failed) a NEW and a REPLACE are refused, ``journal_unwritable``.
A CANCEL is sent and a report passed on even so, and counted as missing: they make nothing worse.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import CANCEL, EXECUTION, FILL, RECORD, REPORT, REQUEST
from hftpipe.core.trading.order_table import ORDER, order_find, unfilled
from hftpipe.journal.append import (
    entry_tail,
    journal_append,
    journal_sync,
    journal_takes_orders,
    journal_withdraw,
)
from hftpipe.journal.layout import FILL_DETAIL, JOURNAL, NO_ANSWER

#: What became of a request that was to be written: it must not leave; it may leave, but nothing was written; it was.
REFUSED, UNWRITTEN, WRITTEN = 0, 1, 2
#: The words of a record from ``instrument`` on are those of an entry.
_TAIL = np.uint64(offset_of(RECORD, "instrument"))


@jit
def journal_time(s, now_ns):
    """A step begins, at this time of the monotonic clock."""
    if s.journal != ZERO:
        j = view(s.journal, JOURNAL)
        j.now_ns = now_ns + j.wall_offset_ns


@jit
def note_request(s, request, is_own):
    """Write a request that is about to leave: REFUSED, UNWRITTEN or WRITTEN. ``is_own``: 1 for the gateway's own cancel."""
    r = view(request, REQUEST)
    if s.told_unjournaled != 0:
        return np.int64(UNWRITTEN if r.kind == CANCEL else REFUSED)
    if s.journal == ZERO:
        return np.int64(UNWRITTEN)
    if r.kind != CANCEL and not journal_takes_orders(s.journal):
        return np.int64(REFUSED)
    tail = load_i64(request + _TAIL)
    if not journal_append(s.journal, r.id, r.price, r.qty, U64(r.local_ts), np.int64(is_own), tail):
        return np.int64(UNWRITTEN if r.kind == CANCEL else REFUSED)
    if view(s.journal, JOURNAL).sync_each != 0 and not journal_sync(s.journal) and r.kind != CANCEL:
        journal_withdraw(s.journal)
        return np.int64(REFUSED)
    return np.int64(WRITTEN)


@jit
def withdraw_request(s, noted):
    """The venue did not take the request that was just ``noted``."""
    if noted == WRITTEN:
        journal_withdraw(s.journal)


@jit
def _note_fill(s, report, outcome):
    x, slot = view(report, EXECUTION), order_find(s.table, view(report, EXECUTION).id)
    journal_append(s.journal, x.id, x.price, x.qty, x.trade_id, x.fee, load_i64(report + _TAIL))
    filled, left, venue_id = np.int64(0), np.int64(0), ZERO
    if slot != ZERO:
        o = view(slot, ORDER)
        filled, left, venue_id = o.filled, unfilled(o), o.venue_id
    tail = entry_tail(x.instrument, FILL_DETAIL, x.side, x.strategy, outcome)
    journal_append(s.journal, x.id, filled, left, venue_id, x.exchange_ts, tail)


@jit
def note_report(s, report, outcome):
    """Write a report that was applied, with what became of it (bits of :mod:`hftpipe.gateway.orders`)."""
    if s.journal == ZERO:
        return
    r = view(report, REPORT)
    if r.kind == FILL:
        _note_fill(s, report, outcome)
    else:
        journal_append(s.journal, r.id, r.price, r.qty, r.venue_id, r.exchange_ts, load_i64(report + _TAIL))


@jit
def note_no_answer(s, slot):
    """Write that the order at ``slot`` is UNKNOWN: it has waited too long for an answer."""
    if s.journal != ZERO:
        o = view(slot, ORDER)
        tail = entry_tail(o.instrument, NO_ANSWER, o.side, o.strategy, ZERO)
        journal_append(s.journal, o.id, np.int64(0), np.int64(0), ZERO, np.int64(0), tail)
