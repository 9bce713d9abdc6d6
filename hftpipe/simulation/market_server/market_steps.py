"""One market of the venue, compiled: the next events of its flows, requests of accounts, and the records of what they change.

Its memory is one MARKET record with the flows and books it points to; :mod:`hftpipe.simulation.market_server.market` says what
the records are.
"""

import numpy as np

from hftpipe.core.feed.agenda import agenda_first, agenda_move
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, call_step, view
from hftpipe.core.schema.reasons import NONE
from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, RECORD, RECORD_BYTES, TOP, TRADE
from hftpipe.simulation.flow.flow import flow_publish
from hftpipe.simulation.flow.state import BOOK_AT, FLOW, FLOW_MAX_RECORDS, FLOW_OWNER, MAX_MAKERS
from hftpipe.simulation.matching.engine import match_cancel, match_event, match_event_count, match_new, match_reduce
from hftpipe.simulation.matching.memory import EVENT, EXECUTE, MAX_EVENTS
from hftpipe.simulation.matching.query import match_best, match_level_qty, match_next_level

#: Best prices as they were last told, and the update id of the book.
SHOWN = np.dtype([("update_id", "u8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8")])
SHOWN_BYTES = 40
MARKET = np.dtype(
    [
        ("flows", "u8"), ("flow_stride", "u8"), ("agenda", "u8"), ("shown", "u8"), ("step", "u8"),
        ("out", "u8"), ("capacity", "i8"), ("n_instruments", "i8"),
        # The market's own number, and whether update ids are taken from it; trade ids begin behind first_trade.
        ("last_id", "u8"), ("shared_ids", "i8"), ("first_trade", "u8"), ("events", "i8"),
        # What befell orders of accounts, and what the last request of one came to.
        ("happened", "u8"), ("happened_capacity", "i8"), ("n_happened", "i8"), ("reason", "i8"),
    ],
    align=True,
)  # fmt: skip
#: What befell an order of an account: an event of its book (:mod:`hftpipe.simulation.matching.engine`).
HAPPENED = np.dtype(
    [
        ("instrument", "i8"), ("ts", "i8"), ("order_id", "u8"), ("maker_id", "u8"), ("trade_id", "u8"),
        ("price", "i8"), ("qty", "i8"), ("owner", "i8"), ("maker_owner", "i8"), ("kind", "i8"), ("reason", "i8"),
    ],
    align=True,
)  # fmt: skip
HAPPENED_BYTES = 88
#: What an account asks of a book: a new order, to take some of one away, all of one, or to set the level of a far one.
ASKED = np.dtype(
    [
        ("kind", "i8"), ("id", "u8"), ("owner", "i8"), ("side", "i8"), ("price", "i8"), ("qty", "i8"), ("tif", "i8"),
        ("stp", "i8"), ("ts", "i8"),
    ],
    align=True,
)  # fmt: skip
ENTER, REDUCE, REMOVE, SET_FAR = 1, 2, 3, 4
assert SHOWN.itemsize == SHOWN_BYTES and HAPPENED.itemsize == HAPPENED_BYTES
#: What one event may write: its own records and a TOP pair.
EVENT_RECORDS = FLOW_MAX_RECORDS + 2
#: A level as Python reads it.
PAIR = np.dtype([("price", "i8"), ("qty", "i8")])
_PAIR_SHIFT = np.uint64(4)


@jit
def _flow(market, instrument):
    m = view(market, MARKET)
    return m.flows + m.flow_stride * U64(instrument)


@jit
def _shown(market, instrument):
    return view(view(market, MARKET).shown + U64(instrument) * U64(SHOWN_BYTES), SHOWN)


@jit
def _record(out, index):
    return view(out + U64(index) * U64(RECORD_BYTES), RECORD)


@jit
def _put_top(market, instrument, out, count, ts):
    """Write the TOP pair, of time ``ts``, if the best prices have changed; the new count."""
    flow, shown = _flow(market, instrument), _shown(market, instrument)
    bid, bid_qty = match_best(flow + BOOK_AT, np.int64(BID))
    ask, ask_qty = match_best(flow + BOOK_AT, np.int64(ASK))
    if bid == shown.bid and bid_qty == shown.bid_qty and ask == shown.ask and ask_qty == shown.ask_qty:
        return count
    shown.bid, shown.bid_qty, shown.ask, shown.ask_qty = bid, bid_qty, ask, ask_qty
    for side in range(2):
        r = _record(out, count + side)
        r.seq, r.origin_tsc = ZERO, ZERO
        r.exchange_ts = ts
        r.local_ts, r.id, r.instrument, r.kind, r.side = r.exchange_ts, shown.update_id, instrument, TOP, side
        r.price, r.qty = (bid, bid_qty) if side == BID else (ask, ask_qty)
        r.strategy, r.flags = 0, LAST if side == ASK else 0
    return count + 2


@jit
def _next_id(market, instrument):
    m, shown = view(market, MARKET), _shown(market, instrument)
    if m.shared_ids != 0:
        m.last_id += U64(2)
        shown.update_id = m.last_id
    else:
        shown.update_id += ONE
    return shown.update_id


@jit
def _finish(market, instrument, out, count, ts):
    """Make the records of an event those of this market: its time, its ids, and the TOP pair; the new count."""
    m = view(market, MARKET)
    update_id = ZERO
    for index in range(count):
        r = _record(out, np.int64(index))
        r.exchange_ts, r.local_ts = ts, ts
        if r.kind == TRADE:
            r.id += m.first_trade
        elif r.kind == LEVEL:
            if update_id == ZERO:
                update_id = _next_id(market, instrument)
            r.id = update_id
    return _put_top(market, instrument, out, count, ts)


@jit
def _keep(market, instrument, event, ts):
    """Note an event of a book for the owners of its orders."""
    m = view(market, MARKET)
    e, h = view(event, EVENT), view(m.happened + U64(m.n_happened) * U64(HAPPENED_BYTES), HAPPENED)
    h.instrument, h.ts, h.order_id, h.maker_id = instrument, ts, e.order_id, e.maker_id
    h.trade_id = e.match_id + m.first_trade
    h.price, h.qty, h.kind, h.reason = e.price, e.qty, np.int64(e.kind), np.int64(e.reason)
    h.owner, h.maker_owner = np.int64(e.owner), np.int64(e.maker_owner)
    m.n_happened += 1


@jit
def _keep_executed(market, instrument, out, count, ts):
    """Note which orders of accounts an event of the flow has executed.

    The book's events are published, and so forgotten; but they stand where they were until its next operation.
    """
    book, at = _flow(market, instrument) + BOOK_AT, np.int64(0)
    for index in range(count):
        r = _record(out, np.int64(index))
        if r.kind != TRADE:
            break
        while at < MAX_EVENTS - 1:
            e = view(match_event(book, at), EVENT)
            if e.kind == EXECUTE and e.match_id == r.id:
                break
            at += 1
        e = view(match_event(book, at), EVENT)
        if e.match_id == r.id and np.int64(e.maker_owner) != FLOW_OWNER:
            _keep(market, instrument, match_event(book, at), ts)
        at += 1


@jit
def _play_one(market, instrument, out):
    """The next event of an instrument; records written."""
    m = view(market, MARKET)
    flow = _flow(market, instrument)
    count = call_step(m.step, flow, np.int64(out))
    ts = view(flow, FLOW).now_ts
    m.events += 1
    _keep_executed(market, instrument, out, count, ts)
    return _finish(market, instrument, out, count, ts)


@jit
def _enter(book, q):
    if q.kind == ENTER:
        return match_new(book, q.id, q.owner, q.side, q.price, q.qty, q.tif, q.stp)
    if q.kind == REDUCE:
        return match_reduce(book, q.id, q.qty)
    return match_cancel(book, q.id)


@jit
def _put_far(market, instrument, q):
    """The record of a level that is beyond the book: without what is far, as all records are."""
    r = _record(view(market, MARKET).out, np.int64(0))
    r.seq, r.origin_tsc, r.price, r.instrument = ZERO, ZERO, q.price, instrument
    r.qty = match_level_qty(_flow(market, instrument) + BOOK_AT, q.side, q.price)
    r.kind, r.side, r.strategy, r.flags = LEVEL, q.side, 0, LAST
    return np.int64(1)


@jit
def market_order(market, instrument, asked):
    """Carry out an ASKED; the number of records at ``out``. What it came to is in ``reason``, what befell whom in ``happened``."""
    m, q = view(market, MARKET), view(asked, ASKED)
    flow = _flow(market, instrument)
    book = flow + BOOK_AT
    if q.kind == SET_FAR:
        m.reason = NONE
        return _finish(market, instrument, m.out, _put_far(market, instrument, q), q.ts)
    m.reason = _enter(book, q)
    for index in range(match_event_count(book)):
        _keep(market, instrument, match_event(book, np.int64(index)), q.ts)
    count = flow_publish(flow, m.out, m.capacity)
    return _finish(market, instrument, m.out, count, q.ts)


@jit
def market_step(market, due_ns, most):
    """Play at most ``most`` events that are due by ``due_ns`` (the flows' time, ns); the number of records at ``out``."""
    m, count = view(market, MARKET), np.int64(0)
    for _ in range(most):
        instrument, ts = agenda_first(m.agenda)
        if ts > due_ns or count + EVENT_RECORDS > m.capacity or m.n_happened + MAX_MAKERS > m.happened_capacity:
            break
        count += _play_one(market, instrument, m.out + U64(count) * U64(RECORD_BYTES))
        agenda_move(m.agenda, view(_flow(market, instrument), FLOW).next_ts)
    return count


@jit
def next_ts(market):
    """When the next event of all is, the flows' time in ns."""
    return agenda_first(view(market, MARKET).agenda)[1]


@jit
def read_levels(market, instrument, side, most, out):
    """Write up to ``most`` levels of a side, best first, as (price, qty) pairs of int64 at ``out``; their number."""
    book = _flow(market, instrument) + BOOK_AT
    count = np.int64(0)
    price, qty = match_best(book, side)
    while qty != 0 and count < most:
        r = view(out + (U64(count) << _PAIR_SHIFT), PAIR)
        r.price, r.qty = price, qty
        count += 1
        price, qty = match_next_level(book, side, price)
    return count
