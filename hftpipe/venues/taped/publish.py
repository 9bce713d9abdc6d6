"""What a decoded message does: sequenced, followed with the book of its instrument, and what changed published.

Whatever reads a venue's text goes through here: a recorded capture, or live connections.
"""

import numpy as np

from hftpipe.core.feed.publish import (
    admit,
    fill,
    flush,
    is_conflating,
    put_state,
    put_top,
    put_trade,
    scratch_record,
    seal,
    send_reset,
    set_conflating,
    show_top,
)
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, prefetch_write, view
from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL
from hftpipe.core.shared.event_time import show_known
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import MANY, book_ask_for, book_at
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    INVALIDATED,
    LEVELS_APPLIED,
    MESSAGE,
    MESSAGE_BYTES,
    RELOADED,
    TOP_CHANGED,
    TRADE,
    TRADE_IGNORED,
    TRADE_ROW,
    TRADE_ROW_BYTES,
    TRADE_SEEN,
    TRADES,
)
from hftpipe.venues.taped.cursor import (
    CURSOR,
    DECODED,
    WAITING,
    follow,
    is_ours,
    next_instrument,
    read_message,
    sync_at,
)


@jit
def _put_levels(state, message, update_id):
    """Prepare the LEVEL records of a depth message; returns how many."""
    m = view(message, MESSAGE)
    pair = message + U64(MESSAGE_BYTES)
    total = m.n_bids + m.n_asks
    for index in range(total):
        side = BID if index < m.n_bids else ASK
        flags = LAST if index == total - 1 else 0
        price, qty = load_i64(pair), load_i64(pair + U64(8))
        fill(scratch_record(state, index), LEVEL, side, flags, m.instrument, price, qty, update_id)
        pair += U64(16)
    return total


@jit
def _publish_change(state, message, book, count, origin_tsc):
    """Send a prepared update, or conflate it."""
    s = view(state, STATE)
    b = view(book, BOOK)
    if count > 0 and admit(state, b.instrument, count):
        m = view(message, MESSAGE)
        ts = m.transaction_ts if m.transaction_ts != 0 else m.event_ts
        seal(state, count, ts, view(s.source, CURSOR).line_ts, origin_tsc)
        flush(state)


@jit
def _reload(state, book, origin_tsc):
    """A snapshot replaced the book: its readers get the whole of it."""
    s = view(state, STATE)
    s.book_updates += 1
    if not send_reset(state, book, origin_tsc) and s.pending_n == 0:
        set_conflating(state, view(book, BOOK).instrument, 1)


@jit
def _trade(state, message, book, origin_tsc):
    s = view(state, STATE)
    m = view(message, MESSAGE)
    s.trades += 1
    if s.hold_back == 0 and is_conflating(state, m.instrument):
        s.dropped_trades += 1
        return
    count = put_trade(state, np.int64(0), m.instrument, m.side, m.price, m.qty, m.trade_id)
    _publish_change(state, message, book, count, origin_tsc)


@jit
def _put_trades(state, message):
    """Prepare the TRADE records of the trades of a message that count; returns how many."""
    m, row, count = view(message, MESSAGE), message + U64(MESSAGE_BYTES), np.int64(0)
    for _ in range(m.n_trades):
        r = view(row, TRADE_ROW)
        if r.accepted != 0:
            count = put_trade(state, count, m.instrument, r.side, r.price, r.qty, r.trade_id)
        row += U64(TRADE_ROW_BYTES)
    return count


@jit
def _date_trades(state, message):
    """Each of the trades prepared has a time of its own."""
    m, row, at = view(message, MESSAGE), message + U64(MESSAGE_BYTES), np.int64(0)
    for _ in range(m.n_trades):
        r = view(row, TRADE_ROW)
        if r.accepted != 0:
            scratch_record(state, at).exchange_ts = r.transaction_ts
            at += 1
        row += U64(TRADE_ROW_BYTES)


@jit
def _trades(state, message, origin_tsc):
    """Several trades at once: they are published together."""
    s = view(state, STATE)
    m = view(message, MESSAGE)
    count = _put_trades(state, message)
    s.trades += count
    s.trades_ignored += m.n_trades - count
    if s.hold_back == 0 and is_conflating(state, m.instrument):
        s.dropped_trades += count
    elif count > 0 and admit(state, m.instrument, count):
        seal(state, count, m.event_ts, view(s.source, CURSOR).line_ts, origin_tsc)
        _date_trades(state, message)
        flush(state)


@jit
def _invalidate(state, message, book, origin_tsc):
    view(state, STATE).invalidations += 1
    _publish_change(state, message, book, put_state(state, book, np.int64(0)), origin_tsc)


@jit
def publish_levels(state, message, book, origin_tsc):
    """Publish the levels of a message, which its book has by now."""
    s = view(state, STATE)
    s.book_updates += 1
    count = _put_levels(state, message, view(book, BOOK).update_id)
    _publish_change(state, message, book, count, origin_tsc)


@jit
def _top(state, message, book, origin_tsc):
    s = view(state, STATE)
    s.top_updates += 1
    _publish_change(state, message, book, put_top(state, book, np.int64(0)), origin_tsc)


@jit
def on_message(state, message, origin_tsc):
    """Sequence one decoded message, follow it with the book, publish what changed."""
    s = view(state, STATE)
    if not is_ours(s.source):
        return
    m, c = view(message, MESSAGE), view(s.source, CURSOR)
    book = book_at(s.books, m.instrument)
    b = view(book, BOOK)
    change = follow(s.source, book)
    if m.kind not in (TRADE, TRADES):
        b.local_ts = c.line_ts
    if change == LEVELS_APPLIED:
        publish_levels(state, message, book, origin_tsc)
    elif change == TOP_CHANGED:
        _top(state, message, book, origin_tsc)
    elif change == TRADE_SEEN:
        if m.kind == TRADES:
            _trades(state, message, origin_tsc)
        else:
            _trade(state, message, book, origin_tsc)
    elif change == RELOADED:
        _reload(state, book, origin_tsc)
    elif change == INVALIDATED:
        _invalidate(state, message, book, origin_tsc)
    elif change == TRADE_IGNORED:
        s.trades_ignored += m.n_trades if m.kind == TRADES else 1
    if m.kind == DEPTH or m.kind == BOOK_TICKER or change in (RELOADED, INVALIDATED):
        show_top(state, book)


@jit
def _ask_for(state, instrument):
    """Have what a message of an instrument looks at brought into the cache, all at once and not one after the other."""
    s = view(state, STATE)
    prefetch_write(sync_at(view(s.source, CURSOR).syncs, instrument))
    prefetch_write(s.tops + U64(64) * U64(instrument))
    book_ask_for(s.books, instrument)


@jit
def _ask_ahead(state):
    """The same for the line after this one, where there are so many instruments that little is in the cache."""
    s = view(state, STATE)
    if s.n_instruments > MANY:
        instrument = next_instrument(s.source)
        if instrument >= 0:
            _ask_for(state, instrument)


@jit
def consume(state, origin_tsc):
    """Decode the ready text and publish what it does; False when the slow decoder in Python must do it first."""
    s = view(state, STATE)
    _ask_ahead(state)
    found = read_message(s.source)
    if found == WAITING:
        return False
    c = view(s.source, CURSOR)
    s.events += 1
    s.event_ts = max(s.event_ts, c.line_ts)
    if found == DECODED:
        on_message(state, c.message, origin_tsc)
        # Whatever it was about: the connection brought it in order, so nothing else had happened.
        show_known(s.time, s.event_ts)
    return True


@jit
def show_counts(state):
    """What the cursor has counted, for whoever watches the stage."""
    s = view(state, STATE)
    c = view(s.source, CURSOR)
    s.bad_lines, s.bad_messages, s.slow_decodes = c.bad_lines, c.bad_messages, c.slow_decodes
    s.ignored_messages, s.unknown_symbols, s.time_jumps = c.ignored_messages, c.unknown_symbols, c.stamps.jumps
