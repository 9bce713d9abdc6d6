"""The embedded market as a source: a flow (reached through C addresses) writes records, this publishes them.

The flow writes the records of its next event straight into ``scratch``: trades first, then the level changes they
caused. The stage's own book follows, so that conflation and the top cell work as with any other source.
"""

import numpy as np

from hftpipe.core.feed.pacing import due, timer_first
from hftpipe.core.feed.publish import admit, flush, may_run_ahead, put_state, scratch_record, seal, show_top
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, call_step, rdtsc, view
from hftpipe.core.schema.records import BOOK_RESET, LAST, LEVEL, TRADE, VALID
from hftpipe.core.shared.event_time import show_known
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_set

EVENTS_PER_STEP = 32
#: The flows, one an instrument, and the C addresses of what they do.
FLOWS = np.dtype([("flows", "u8"), ("stride", "u8"), ("next_ts", "u8"), ("step", "u8"), ("snapshot", "u8")])


@jit
def _flow(f, instrument):
    return f.flows + f.stride * U64(instrument)


@jit
def _next_flow(state):
    """(instrument, event time) of the earliest next event."""
    s = view(state, STATE)
    f = view(s.source, FLOWS)
    best, best_ts = np.int64(0), np.int64(0x7FFFFFFFFFFFFFFF)
    for instrument in range(s.n_instruments):
        ts = call_step(f.next_ts, _flow(f, instrument), np.int64(0))
        if ts < best_ts:
            best, best_ts = np.int64(instrument), ts
    return best, best_ts


@jit
def apply_records(state, book, count):
    """Follow records [0, count) of scratch with the stage's own book; returns (book updates, trades)."""
    updates, trades = np.int64(0), np.int64(0)
    for index in range(count):
        r = scratch_record(state, index)
        if r.kind == BOOK_RESET:
            book_clear(book)
        elif r.kind == TRADE:
            trades += 1
        elif r.kind == LEVEL:
            book_set(book, np.int64(r.side), r.price, r.qty)
            if r.flags & LAST:
                book_commit(book, r.id, r.exchange_ts, r.local_ts)
                updates += 1
    return updates, trades


@jit
def _next_records(state, instrument, book):
    """Have the flow write its next event (a snapshot before the first one); returns the number of records."""
    s = view(state, STATE)
    f = view(s.source, FLOWS)
    b = view(book, BOOK)
    if b.updates > 0:
        return call_step(f.step, _flow(f, instrument), np.int64(s.scratch))
    count = call_step(f.snapshot, _flow(f, instrument), np.int64(s.scratch))
    b.state = VALID
    return put_state(state, book, count)


@jit
def _event(state, instrument):
    s = view(state, STATE)
    book = s.books + s.book_stride * U64(instrument)
    origin_tsc = rdtsc()
    count = _next_records(state, instrument, book)
    updates, trades = apply_records(state, book, count)
    first = scratch_record(state, 0)
    exchange_ts, local_ts = first.exchange_ts, first.local_ts
    s.events += 1
    s.trades += trades
    s.book_updates += updates
    s.event_ts = max(s.event_ts, local_ts)
    show_top(state, book)
    if admit(state, instrument, count):
        seal(state, count, exchange_ts, local_ts, origin_tsc)
        flush(state)
    else:
        s.dropped_trades += trades


@jit
def synthetic_step(state, now_ns, limit):
    """Up to ``limit`` events that are due; returns how many."""
    s = view(state, STATE)
    done = np.int64(0)
    while done < limit and s.pending_n == 0:
        if s.hold_back != 0 and not may_run_ahead(state):
            break
        instrument, event_ts = _next_flow(state)
        if not due(state, event_ts, now_ns):
            done += np.int64(timer_first(state, event_ts, now_ns, rdtsc()))
            break
        if timer_first(state, event_ts, now_ns, rdtsc()):
            done += 1
            continue
        _event(state, instrument)
        done += 1
    if done > 0:
        # The flow is the market: what it has not done by now has not happened.
        show_known(s.time, s.event_ts)
    return done


@entry("int64(uint64, int64)")
def source_entry(state, now_ns):
    return synthetic_step(state, now_ns, np.int64(EVENTS_PER_STEP))
