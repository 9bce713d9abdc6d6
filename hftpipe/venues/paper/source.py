"""The embedded market as a source: flows (reached through C addresses) write records, this publishes them.

A flow writes the records of its next event straight into ``scratch``: trades first, then the changes of levels or of best
prices that they caused. The stage's own book follows, so that conflation and the top cell work as with any other source.

Whose event is next stands in an agenda (:mod:`hftpipe.core.feed.agenda`); while one event is made, the memory of the one after
it is asked for: with thousands of instruments none of it would be in the cache.
"""

import numpy as np

from hftpipe.core.feed.agenda import agenda_first, agenda_move, agenda_soon
from hftpipe.core.feed.pacing import due, timer_first
from hftpipe.core.feed.publish import admit, flush, may_run_ahead, put_state, scratch_record, seal, show_top
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, call_step, load_i64, prefetch_write, rdtsc, view
from hftpipe.core.schema.records import BID, BOOK_RESET, LAST, LEVEL, TOP, TRADE, VALID
from hftpipe.core.shared.event_time import show_known
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_set, book_set_top
from hftpipe.core.trading.books import MANY, book_ask_for, book_at

EVENTS_PER_STEP = 32
#: Where the flows are and when their next events.
FLOWS = np.dtype([("places", "u8"), ("agenda", "u8")])
#: A flow, one an instrument: its address, C addresses of what it does, and the address of the time of its next event.
PLACE = np.dtype([("flow", "u8"), ("step", "u8"), ("snapshot", "u8"), ("next_ts", "u8")])
_PLACE_SHIFT, _LINE = np.uint64(5), np.uint64(64)
assert PLACE.itemsize == 32


@jit
def _place(state, instrument):
    return view(view(view(state, STATE).source, FLOWS).places + (U64(instrument) << _PLACE_SHIFT), PLACE)


@jit
def _next_flow(state):
    """(instrument, event time) of the earliest next event."""
    return agenda_first(view(view(state, STATE).source, FLOWS).agenda)


@jit
def _ask_for(state, instrument):
    """Have what the next event of ``instrument`` begins with brought into the cache."""
    s, flow = view(state, STATE), _place(state, instrument).flow
    for line in range(3):
        prefetch_write(flow + U64(line) * _LINE)
    book_ask_for(s.books, instrument)
    prefetch_write(s.tops + U64(instrument) * _LINE)


@jit
def _look_ahead(state, agenda):
    """Ask for the next event's memory, and for the places of those that may come after it."""
    if view(state, STATE).n_instruments <= MANY:
        return
    _ask_for(state, agenda_soon(agenda, np.int64(0)))
    places = view(view(state, STATE).source, FLOWS).places
    for index in range(1, 5):
        prefetch_write(places + (U64(agenda_soon(agenda, np.int64(index))) << _PLACE_SHIFT))


@jit
def _pair(book, record, bid, bid_qty):
    """The ask half of a best bid/ask pair, and its bid half: the best prices are known."""
    book_set_top(book, bid, bid_qty, record.price, record.qty, record.id, record.exchange_ts, record.local_ts)


@jit
def apply_records(state, book, count):
    """Follow records [0, count) of scratch with the stage's own book; (book updates, best prices, trades)."""
    updates, tops, trades, bid, bid_qty = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for index in range(count):
        r = scratch_record(state, index)
        if r.kind == LEVEL:
            book_set(book, np.int64(r.side), r.price, r.qty)
            if r.flags & LAST:
                book_commit(book, r.id, r.exchange_ts, r.local_ts)
                updates += 1
        elif r.kind == TRADE:
            trades += 1
        elif r.kind == BOOK_RESET:
            book_clear(book)
        elif r.kind == TOP and r.side == BID:
            bid, bid_qty = r.price, r.qty
        elif r.kind == TOP:
            _pair(book, r, bid, bid_qty)
            tops += 1
    return updates, tops, trades


@jit
def _next_records(state, instrument, book):
    """Have the flow write its next event (a snapshot before the first one); returns the number of records."""
    scratch, place = np.int64(view(state, STATE).scratch), _place(state, instrument)
    b = view(book, BOOK)
    if b.state == VALID:
        return call_step(place.step, place.flow, scratch)
    count = call_step(place.snapshot, place.flow, scratch)
    b.state = VALID
    return put_state(state, book, count)


@jit
def _event(state, instrument):
    s = view(state, STATE)
    book, agenda = book_at(s.books, instrument), view(s.source, FLOWS).agenda
    origin_tsc = rdtsc()
    count = _next_records(state, instrument, book)
    agenda_move(agenda, load_i64(_place(state, instrument).next_ts))
    _look_ahead(state, agenda)
    updates, tops, trades = apply_records(state, book, count)
    first = scratch_record(state, 0)
    exchange_ts, local_ts = first.exchange_ts, first.local_ts
    s.events += 1
    s.trades += trades
    s.book_updates += updates
    s.top_updates += tops
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
