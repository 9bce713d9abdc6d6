"""A UDP multicast feed as a source: the venue's receive loop hands over records, this publishes them.

The receive loop (datagrams -> arbiter -> messages -> order-by-order book) writes records to an array of its own and calls
:func:`udp_sink_entry`. Each update in it (up to a LAST record, or one record of another kind) is sent on or, when the
readers are behind, conflated: the feed's own book is then sent whole as soon as there is room.
"""

import numpy as np

from hftpipe.core.feed.pacing import due, timer_first
from hftpipe.core.feed.publish import admit, flush, is_conflating, set_conflating, show_top
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, call_step, copy_bytes, rdtsc, view
from hftpipe.core.schema.records import BOOK_STATE, LAST, LEVEL, RECORD, RECORD_BYTES, TOP, TRADE
from hftpipe.core.trading.books import book_at

_SHIFT = np.uint64(6)
#: The receive loop (C address ``int64 f(uint64 receiver, int64 now_ns)``), its state, and its records.
RECEIVE = np.dtype([("receive", "u8"), ("receiver", "u8"), ("out", "u8")])


@jit
def _update_end(out, at, count):
    """Index after the update that begins at ``at``."""
    while at < count:
        r = view(out + (U64(at) << _SHIFT), RECORD)
        at += 1
        if (r.kind != LEVEL and r.kind != TOP) or r.flags & LAST:
            return at
    return count


@jit
def _tally(s, record):
    """Count one update by the kind of its last record."""
    if record.kind == LEVEL:
        s.book_updates += 1
    elif record.kind == TRADE:
        s.trades += 1
    elif record.kind == BOOK_STATE:
        s.invalidations += np.int64(record.flags == 0)


@jit
def _hold(state, record):
    """There is no room: the instrument's whole book goes out later; a trade is lost, and counted."""
    s = view(state, STATE)
    s.dropped_trades += np.int64(record.kind == TRADE)
    if not is_conflating(state, np.int64(record.instrument)):
        s.conflations += 1
        set_conflating(state, np.int64(record.instrument), 1)


@jit
def _send(state, out, at, end):
    """Send records [at, end) of the receive loop's array as one update."""
    s = view(state, STATE)
    last = view(out + (U64(end - 1) << _SHIFT), RECORD)
    _tally(s, last)
    s.event_ts = max(s.event_ts, last.local_ts)
    show_top(state, book_at(s.books, last.instrument))
    if s.pending_n > 0 or not admit(state, np.int64(last.instrument), end - at):
        _hold(state, last)
        return
    copy_bytes(s.scratch, out + (U64(at) << _SHIFT), RECORD_BYTES * (end - at))
    s.pending_at, s.pending_n, s.pending_origin = 0, end - at, last.origin_tsc
    flush(state)


@jit
def udp_sink(state, count):
    """Publish the first ``count`` records of the receive loop's array."""
    s = view(state, STATE)
    out, at = view(s.source, RECEIVE).out, np.int64(0)
    while at < count:
        end = _update_end(out, at, count)
        _send(state, out, at, end)
        s.events += 1
        at = end
    return count


@entry("int64(uint64, int64)")
def udp_sink_entry(state, count):
    return udp_sink(state, count)


@entry("int64(uint64, int64)")
def source_entry(state, now_ns):
    """One turn of the receive loop, and the timers that are due by our monotonic clock."""
    s = view(state, STATE)
    due(state, now_ns, now_ns)
    work = np.int64(timer_first(state, now_ns, now_ns, rdtsc()))
    r = view(s.source, RECEIVE)
    return work + call_step(r.receive, r.receiver, now_ns)
