"""A venue that is not of the package: a market that walks up and down, and a counter that answers every order.

It is written against :mod:`hftpipe.venues.contract` alone, as docs/adding-a-venue.md says.
"""

import numpy as np

from hftpipe.core.feed.pacing import due, timer_first
from hftpipe.core.feed.publish import admit, fill, flush, put_state, scratch_record, seal, show_top
from hftpipe.core.feed.state import STATE as FEED_STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, copy_bytes, rdtsc, view
from hftpipe.core.schema.counters import places, table
from hftpipe.core.schema.reasons import VENUE_BUSY, VENUE_UNKNOWN_ORDER
from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BOOK_RESET,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXECUTION,
    FILL,
    FILL_MAKER,
    LAST,
    LEFT,
    LEVEL,
    NEW,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACE,
    REPLACED,
    REPORT,
    VALID,
)
from hftpipe.core.shared.event_time import show_known
from hftpipe.core.trading.book import BOOK, book_commit, book_set
from hftpipe.core.trading.books import book_at
from hftpipe.venues.contract import About, Feed, Orders, Venue, Wired

PERIOD_NS = 1_000_000
E8 = 100_000_000
SLOTS = 1024
_MASK = np.uint64(SLOTS - 1)

WALK = np.dtype([("ticks", "i8"), ("next_ts", "i8"), ("price", "i8")])
WALK_COUNTERS = table("  ticks   steps of the walk")
COUNTER = np.dtype(
    [
        ("answers", "u8"), ("in", "u8"), ("out", "u8"), ("changes", "i8"), ("executions", "i8"),
        ("ids", "u8", SLOTS), ("left", "i8", SLOTS), ("prices", "i8", SLOTS),
    ],
    align=True,
)  # fmt: skip


# --- the market ------------------------------------------------------------------------------------


@jit
def _level(state, book, at, side, price, flags):
    b = view(book, BOOK)
    book_set(book, np.int64(side), price, np.int64(E8))
    fill(scratch_record(state, at), LEVEL, side, flags, b.instrument, price, np.int64(E8), b.update_id + ONE)


@jit
def _tick(state, ts):
    """One step of the walk: the two levels of the first tick, then one tick up or down a time."""
    s, w = view(state, FEED_STATE), view(view(state, FEED_STATE).source, WALK)
    book, count = book_at(s.books, np.int64(0)), np.int64(0)
    b = view(book, BOOK)
    if b.updates == 0:
        fill(scratch_record(state, 0), BOOK_RESET, 0, 0, 0, np.int64(0), np.int64(0), ONE)
        count = np.int64(1)
    # Up for a thousand steps, down for a thousand.
    step = np.int64(1) if (w.ticks // 1000) % 2 == 0 else np.int64(-1)
    price = w.price + step * (w.ticks % 1000) * np.int64(E8 // 10)
    w.ticks += 1
    if b.bid > 0:
        book_set(book, np.int64(BID), b.bid, np.int64(0))
        book_set(book, np.int64(ASK), b.ask, np.int64(0))
        fill(scratch_record(state, count), LEVEL, BID, 0, 0, b.bid, np.int64(0), b.update_id + ONE)
        fill(scratch_record(state, count + 1), LEVEL, ASK, 0, 0, b.ask, np.int64(0), b.update_id + ONE)
        count += 2
    _level(state, book, count, BID, price - np.int64(E8), 0)
    _level(state, book, count + 1, ASK, price + np.int64(E8), LAST)
    book_commit(book, b.update_id + ONE, ts, ts)
    count += 2
    if b.state != VALID:
        b.state = VALID
        count = put_state(state, book, count)
    s.events, s.book_updates, s.event_ts = s.events + 1, s.book_updates + 1, max(s.event_ts, ts)
    show_top(state, book)
    if admit(state, np.int64(0), count):
        seal(state, count, ts, ts, rdtsc())
        flush(state)
    show_known(s.time, s.event_ts)


@entry("int64(uint64, int64)")
def market_step(state, now_ns):
    s, w = view(state, FEED_STATE), view(view(state, FEED_STATE).source, WALK)
    if s.pending_n > 0 or not due(state, w.next_ts, now_ns):
        return np.int64(timer_first(state, w.next_ts, now_ns, rdtsc()))
    if timer_first(state, w.next_ts, now_ns, rdtsc()):
        return np.int64(1)
    _tick(state, w.next_ts)
    w.next_ts += np.int64(PERIOD_NS)
    return np.int64(1)


def _wire_feed(site, state):
    walk = site.memory.region("market.source")[: WALK.itemsize].view(WALK)
    walk["price"], walk["next_ts"] = 60_000 * E8, site.start_ts
    state["source_step"], state["source"] = market_step.address, site.memory.address("market.source")
    return Wired(facts=("the walk has begun",))


# --- the counter -----------------------------------------------------------------------------------


@jit
def _answer(c, request, kind, price, qty, flags):
    """Queue an answer to a request."""
    slot = c.answers + U64(RECORD_BYTES) * (U64(c["in"]) & _MASK)
    copy_bytes(slot, request, np.int64(RECORD_BYTES))
    r = view(slot, REPORT)
    r.kind, r.price, r.qty, r.flags = kind, price, qty, flags
    r.venue_id, r.exchange_ts = U64(0), r.local_ts
    c["in"] += ONE
    return slot


@jit
def _find(c, id_):
    for at in range(SLOTS):
        if c.ids[at] == id_:
            return np.int64(at)
    return np.int64(-1)


@jit
def _enter(c, request, r):
    """Accept an order, while there is room for one."""
    at = _find(c, U64(0))
    if at < 0:
        _answer(c, request, REJECT, r.price, r.qty, np.uint8(VENUE_BUSY))
        return
    _answer(c, request, ACK, r.price, r.qty, r.flags)
    c.ids[at], c.left[at], c.prices[at] = r.id, r.qty, r.price


@jit
def _change(c, request, r, at):
    """Replace an order; every third one is executed at once."""
    _answer(c, request, REPLACED, r.price, r.qty, np.uint8(0))
    c.left[at], c.prices[at] = r.qty, r.price
    c.changes += 1
    if c.changes % 3 == 0:
        c.executions += 1
        done = view(_answer(c, request, FILL, r.price, r.qty, FILL_MAKER), EXECUTION)
        done.trade_id, done.fee = U64(c.executions), np.int64(0)
        c.ids[at] = U64(0)


@entry("int64(uint64, int64)")
def submit(counter, request):
    c, address = view(counter, COUNTER), U64(request)
    r = view(address, RECORD)
    if r.kind == NEW:
        _enter(c, address, r)
        return np.int64(LEFT)
    at = _find(c, r.id)
    if at < 0:
        _answer(c, address, CANCEL_REJECT, np.int64(0), np.int64(0), np.uint8(VENUE_UNKNOWN_ORDER))
    elif r.kind == CANCEL:
        _answer(c, address, CANCELED, c.prices[at], c.left[at], np.uint8(0))
        c.ids[at] = U64(0)
    elif r.kind == REPLACE:
        _change(c, address, r, at)
    return np.int64(LEFT)


@entry("int64(uint64, int64)")
def poll(counter, out):
    c = view(counter, COUNTER)
    if U64(c["out"]) == U64(c["in"]):
        return np.int64(0)
    copy_bytes(U64(out), c.answers + U64(RECORD_BYTES) * (U64(c["out"]) & _MASK), np.int64(RECORD_BYTES))
    c["out"] += ONE
    return np.int64(1)


def _wire_orders(site, state):
    counter = site.memory.region("third.counter")[: COUNTER.itemsize].view(COUNTER)
    counter["answers"] = site.memory.address("third.answers")
    state["venue"] = site.memory.address("third.counter")
    state["venue_submit"], state["venue_poll"] = submit.address, poll.address
    return Wired()


VENUE = Venue(
    about=lambda config: About("a walk", "orders to a counter"),
    feed=Feed(
        sizes=lambda config: {"market.source": WALK.itemsize},
        largest_update=lambda config: 16,
        wire=_wire_feed,
        counters=lambda config: places("feed", "market.source", WALK, WALK_COUNTERS),
    ),
    orders=Orders(
        sizes=lambda config: {"third.counter": COUNTER.itemsize, "third.answers": SLOTS * RECORD_BYTES},
        wire=_wire_orders,
    ),
)
