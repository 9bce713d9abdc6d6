"""What a market record does: to the book it is about, to the spreads of who trades it, and which hook it leads to."""

import numpy as np

from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.records import BID, BOOK_RESET, BOOK_STATE, LAST, LEVEL, TIMER, TOP, TRADE
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_set, book_set_top, book_tradable
from hftpipe.strategy.context import CONTEXT
from hftpipe.strategy.spreads import follow_book, lose_book
from hftpipe.strategy.stage_state import CTX, NO_HOOK, ON_BOOK, ON_TIMER, ON_TRADE, seat_at


@jit
def _follow(s, book, users, is_lost):
    """The spreads of those who trade a book's instrument: judged by it as it is now, or lost."""
    for index in range(s.n_seats):
        ctx = seat_at(s, index) + CTX
        if users & view(ctx, CONTEXT).own_bit != ZERO:
            view(ctx, CONTEXT).now = s.now
            if is_lost:
                lose_book(ctx, book)
            else:
                follow_book(ctx, book)


@jit
def _book_changed(s, book, users):
    """One whole book update is in: the hook to call, if the book may be traded on."""
    s.book_updates += 1
    s.in_update = 0
    _follow(s, book, users, False)
    if book_tradable(book):
        return ON_BOOK
    s.untradable += 1
    return NO_HOOK


@jit
def _level(s, book, r, users):
    book_set(book, np.int64(r.side), r.price, r.qty)
    if r.flags & LAST == 0:
        return NO_HOOK
    book_commit(book, r.id, r.exchange_ts, r.local_ts)
    return _book_changed(s, book, users)


@jit
def _top(s, book, r, users):
    """The bid waits for its ask; a pair older than what the book knows is dropped by it."""
    b = view(book, BOOK)
    if r.side == BID:
        b.waiting_bid, b.waiting_bid_qty = r.price, r.qty
        return NO_HOOK
    s.in_update = 0
    if book_set_top(book, b.waiting_bid, b.waiting_bid_qty, r.price, r.qty, r.id, r.exchange_ts, r.local_ts):
        return _book_changed(s, book, users)
    return NO_HOOK


@jit
def _first_of_update(s, r):
    """Time from the socket to here, once per book update."""
    if s.in_update == 0:
        s.in_update = 1
        hist_since(s.h_market_to_strategy, r.origin_tsc, stamp())


@jit
def _book_record(s, book, r, users):
    """LEVEL, TOP, BOOK_RESET or BOOK_STATE: the hook to call for it."""
    if r.kind == LEVEL or r.kind == TOP:
        _first_of_update(s, r)
        return _level(s, book, r, users) if r.kind == LEVEL else _top(s, book, r, users)
    s.in_update = 0
    _follow(s, book, users, True)
    if r.kind == BOOK_RESET:
        book_clear(book)
    elif r.kind == BOOK_STATE:
        view(book, BOOK).state = np.int64(r.flags)
    else:
        s.bad_records += 1
    return NO_HOOK


@jit
def _timer(s, r):
    """Every feed carries time on; the first whose timer is due has the hook called."""
    s.cancel_due = np.int64(s.faults != 0)
    if r.local_ts < s.next_timer_ts:
        return NO_HOOK
    s.timers += 1
    s.next_timer_ts = r.local_ts + s.timer_ns
    return ON_TIMER


@jit
def market_record(s, book, r, users):
    """The hook to call for a market record, once it has had its effect."""
    s.events += 1
    # Venues' records come as they come: time does not go back for one that came late.
    s.now = max(s.now, r.local_ts)
    if r.kind == TRADE:
        s.trades += 1
        return ON_TRADE
    if r.kind == TIMER:
        return _timer(s, r)
    return _book_record(s, book, r, users)
