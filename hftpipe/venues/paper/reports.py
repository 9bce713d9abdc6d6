"""Reports on their way back: executed now, released ``latency_report`` later, first in first out, never dropped.

The ring always keeps room for the worst action to come. A caller that sees no room must poll before it feeds more
market data; should even that not help because every report is still under way, the oldest is let out early and
counted, which is wrong by some latency but neither loses a report nor stops the venue.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, view
from hftpipe.core.schema.records import CANCEL_REJECT, RECORD_BYTES, REPORT
from hftpipe.venues.paper.state import EXCHANGE


@jit
def _slot(ex, index):
    return ex.outbound + U64(RECORD_BYTES) * (index & ex.out_mask)


@jit
def _claim(ex, kind, flags):
    r = view(_slot(ex, ex.out_next), REPORT)
    ex.out_next += ONE
    r.seq, r.venue_id = ZERO, ZERO
    r.exchange_ts, r.local_ts = ex.now, ex.now + ex.latency_report
    r.kind, r.flags = kind, flags
    return r


@jit
def report_order(ex, order, kind, price, qty, flags):
    """Report on the OWN record ``order``; returns the report for what differs by kind."""
    r = _claim(ex, kind, flags)
    r.price, r.qty, r.id = price, qty, order.id
    r.instrument, r.side, r.strategy = order.instrument, order.side, order.strategy
    return r


@jit
def report_refusal(ex, request, kind, reason):
    """REJECT or CANCEL_REJECT of the request record ``request``."""
    r = _claim(ex, kind, reason)
    r.price, r.qty, r.id = request.price, request.qty, request.id
    if kind == CANCEL_REJECT:
        r.price, r.qty = 0, 0
    r.instrument, r.side, r.strategy = request.instrument, request.side, request.strategy


@jit
def exchange_report_room(exchange):
    """How many more reports may wait before market data is refused (0: poll first)."""
    ex = view(exchange, EXCHANGE)
    free = np.int64(ex.out_mask + ONE) - np.int64(ex.out_next - ex.out_done)
    return max(free - 2 * ex.worst, np.int64(0))


@jit
def exchange_pending(exchange):
    """Reports that wait to be polled, released or not."""
    ex = view(exchange, EXCHANGE)
    return np.int64(ex.out_next - ex.out_done)


@jit
def exchange_next_release(exchange):
    """Release time (ns) of the oldest report; the greatest int64 when there is none."""
    ex = view(exchange, EXCHANGE)
    if ex.out_next == ex.out_done:
        return np.int64(0x7FFFFFFFFFFFFFFF)
    return view(_slot(ex, ex.out_done), REPORT).exchange_ts + ex.latency_report


@jit
def poll(exchange, out):
    """Copy the oldest report to the record at address ``out`` if it is released by now: 1, else 0."""
    ex = view(exchange, EXCHANGE)
    if ex.out_next == ex.out_done:
        return np.int64(0)
    slot = _slot(ex, ex.out_done)
    if view(slot, REPORT).exchange_ts + ex.latency_report > ex.now:
        if exchange_report_room(exchange) > 0:
            return np.int64(0)
        ex.early_reports += 1
    copy_bytes(out, slot, np.int64(RECORD_BYTES))
    ex.out_done += ONE
    return np.int64(1)
