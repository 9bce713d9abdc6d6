"""What the gateway counts of each report, and what of it ends trading."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import (
    BROKEN_TRADE,
    LATE_FILL,
    LOGIN_REFUSED,
    ORPHAN_FILL,
    OVERFILL,
    POSITION_DIFFERS,
    SENT_UNAPPROVED,
    SESSION_LOST,
    UNBOOKABLE_FILL,
    UNREADABLE_REPORT,
    VENUE_FORGOT,
    WRONG_PRICE,
    WRONG_TERMS,
)
from hftpipe.core.schema.records import ACK, CANCEL_REJECT, CANCELED, EXPIRED, FILL, REJECT, REPLACED
from hftpipe.core.trading.order_table import ON_NO_ANSWER, ORDER, is_open, order_find, order_move
from hftpipe.gateway.orders import (
    DUPLICATE_FILL,
    ILLEGAL_MOVE,
    LATE,
    NOT_ASKED,
    TOO_MUCH,
    UNBOOKABLE,
    UNKNOWN_ID,
    WORSE_PRICE,
)

_LAST_REASON = np.int64(reasons.REASON_SLOTS - 1)
_IS_ASKED_END = np.isin(np.arange(reasons.REASON_SLOTS), reasons.ASKED_ENDS)


@jit
def trip_by_name(s, cause, r):
    """The end of trading because of a record; of the first it is kept what a person will want to know."""
    if s.trip_cause == 0:
        s.trip_cause, s.fault_id, s.fault_price, s.fault_qty = np.int64(cause), np.int64(r.id), r.price, r.qty
    s.tripped = 1


@jit
def trip_unapproved(s, r):
    """More has been sent than risk approved, found at the request ``r``: the end of trading."""
    s.sent_unapproved += 1
    trip_by_name(s, SENT_UNAPPROVED, r)


@jit
def _count_confirmed(s, r):
    """An order has ended: whether a cancel of ours, because of a halt, is confirmed by it. Each counts once."""
    if s.stops == ZERO:
        return
    slot = order_find(s.table, r.id)
    if slot != ZERO and view(slot, ORDER).cancels > 0 and not is_open(view(slot, ORDER).state):
        s.halt_cancels_confirmed += 1
        view(slot, ORDER).cancels = 0


@jit
def count_report(s, r):
    if r.kind == ACK:
        s.acks += 1
    elif r.kind == FILL:
        s.fills += 1
    elif r.kind == CANCELED:
        s.canceled += 1
        _count_confirmed(s, r)
    elif r.kind == EXPIRED:
        s.expired += 1
        _count_confirmed(s, r)
        reason = min(np.int64(r.flags), _LAST_REASON)
        s.ended[reason] += 1
        s.ended_by_venue += np.int64(not _IS_ASKED_END[reason])
    elif r.kind == REPLACED:
        s.replaced += 1
    elif r.kind == REJECT or r.kind == CANCEL_REJECT:
        s.rejects[min(np.int64(r.flags), _LAST_REASON)] += 1
        if r.kind == REJECT:
            s.rejected += 1
        else:
            s.cancel_rejects += 1


@jit
def count_outcome(s, outcome, r):
    """Everything but a plain report is counted. What shows that the venue and we differ about an order ends trading."""
    if outcome & UNKNOWN_ID:
        s.unknown_reports += 1
        if r.kind == FILL:
            s.orphan_fills += 1
            trip_by_name(s, ORPHAN_FILL, r)
    if outcome & DUPLICATE_FILL:
        s.duplicate_fills += 1
    if outcome & ILLEGAL_MOVE:
        s.illegal += 1
    if outcome & TOO_MUCH:
        s.overfills += 1
        trip_by_name(s, OVERFILL, r)
    if outcome & LATE:
        s.late_fills += 1
        trip_by_name(s, LATE_FILL, r)
    if outcome & NOT_ASKED:
        s.wrong_terms += 1
        trip_by_name(s, WRONG_TERMS, r)
    if outcome & WORSE_PRICE:
        s.wrong_prices += 1
        trip_by_name(s, WRONG_PRICE, r)
    if outcome & UNBOOKABLE:
        s.unbookable_fills += 1
        trip_by_name(s, UNBOOKABLE_FILL, r)


@jit
def venue_fault(s, r):
    """Nothing that could be booked: counted by name, the first kept for a person to look at, and the end of trading."""
    cause = np.int64(r.flags)
    s.orphan_fills += np.int64(cause == ORPHAN_FILL)
    s.broken_trades += np.int64(cause == BROKEN_TRADE)
    s.venue_forgot += np.int64(cause == VENUE_FORGOT)
    s.login_refused += np.int64(cause == LOGIN_REFUSED)
    s.wrong_terms += np.int64(cause == WRONG_TERMS)
    s.unreadable_reports += np.int64(cause == UNREADABLE_REPORT)
    s.session_lost += np.int64(cause == SESSION_LOST)
    s.position_differs += np.int64(cause == POSITION_DIFFERS)
    trip_by_name(s, cause, r)
    if cause == WRONG_TERMS:
        slot = order_find(s.table, r.id)
        if slot != ZERO and is_open(view(slot, ORDER).state):
            order_move(s.table, slot, np.int64(ON_NO_ANSWER))
