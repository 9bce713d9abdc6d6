"""One market of the venue: the synthetic flow of each instrument through its matching book, and what changed.

Whose event is next stands in an agenda. An event leaves its records one behind the other: the TRADEs, the LEVELs that changed
(all with one update id, LAST on the final one), and a TOP pair where the best prices are not what they were. Update ids

* on spot are numbers of one instrument: each event that changes its book takes the next;
* on USD-M are numbers of the whole market: an order takes one, what it changes in a book the one after. So even a lone
  instrument's ids have holes, as they have at the venue.

Orders of accounts are in the same books: :meth:`Market.order` enters, reduces and cancels them, and what befalls them, then or in
an event of the flow, is in :attr:`Market.happened`. An order priced farther from the market than a book reaches is *far*: it is in
no book, but on its level, and :meth:`Market.order` keeps that level too.

Book, update id and records are of one moment: nothing here runs while Python looks at them.
"""

import mmap
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from hftpipe.core.feed.agenda import agenda_bytes, agenda_first, agenda_init, agenda_move
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, call_step, view
from hftpipe.core.schema.layout import Pieces, whole
from hftpipe.core.schema.reasons import NONE
from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, RECORD, RECORD_BYTES, TOP, TRADE
from hftpipe.simulation.binance_server.settings import Listing
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.flow.entries import step_entry
from hftpipe.simulation.flow.flow import flow_init, flow_publish
from hftpipe.simulation.flow.state import BOOK_AT, FLOW, FLOW_MAX_RECORDS, FLOW_OWNER, MAX_MAKERS, flow_bytes
from hftpipe.simulation.matching.engine import match_cancel, match_event, match_event_count, match_new, match_reduce
from hftpipe.simulation.matching.memory import EVENT, EXECUTE, MATCHING, MAX_EVENTS
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
_CAPACITY = 1 << 15
_MOST_HAPPENED = 1 << 13
#: A level as Python reads it.
_PAIR = np.dtype([("price", "i8"), ("qty", "i8")])
_PAIR_SHIFT = np.uint64(4)
_MOST_LEVELS = 8192


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
        r = view(out + (U64(count) << _PAIR_SHIFT), _PAIR)
        r.price, r.qty = price, qty
        count += 1
        price, qty = match_next_level(book, side, price)
    return count


def _sparse(size: int) -> np.ndarray:
    """Zeroed memory, uint8[size], of which small pages are taken as they come to be used.

    A book uses a tenth of what it may need: with huge pages thousands of them would take gigabytes.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)


class Happened(NamedTuple):
    """One of HAPPENED: what befell an order of an account."""

    instrument: int
    ts: int
    order_id: int
    maker_id: int
    trade_id: int
    price: int
    qty: int
    owner: int
    maker_owner: int
    kind: int
    reason: int


class Asked(NamedTuple):
    """One of ASKED, without its time. ``owner`` is above 0."""

    kind: int
    id: int
    owner: int
    side: int
    price: int
    qty: int
    tif: int
    stp: int


class Market:
    """The engine side of one market.

    Attributes:
        listing: as given; symbols: by index, as text.

    Args:
        seed: of the flows; demo: what market they are; start_ts: their time at the start, ns.
        first_id, first_trade: update and trade ids come after these.

    Raises:
        ValueError: an instrument that makes no market (:func:`flow_init`).
    """

    def __init__(
        self, listing: Listing, seed: int, demo: DemoMarket | None, start_ts: int, first_id: int, first_trade: int
    ) -> None:
        self.listing, rows = listing, listing.instruments
        self.symbols = [bytes(symbol).decode() for symbol in rows["symbol"]]
        self._memory = Pieces()
        stride = whole(flow_bytes())
        flows = _sparse(stride * len(rows))
        for index, row in enumerate(rows):
            part = flows[index * stride : (index + 1) * stride]
            flow_init(part, row, index, seed + index, float(listing.rates[index]), start_ts, demo)
        self._flows = flows.reshape(len(rows), stride)
        agenda = self._memory.make("agenda", agenda_bytes(len(rows)))
        agenda_init(agenda, np.full(len(rows), start_ts))
        self._shown = self._memory.make("shown", (SHOWN, len(rows)))
        self._shown["update_id"] = first_id
        self._out = self._memory.make("out", (RECORD, _CAPACITY))
        self._pairs = self._memory.make("pairs", (_PAIR, _MOST_LEVELS))
        happened = self._happened = self._memory.make("happened", (HAPPENED, _MOST_HAPPENED))
        self._asked = self._memory.make("asked", (ASKED, 1))
        self._far: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        state = self._state = self._memory.make("market", (MARKET, 1))
        for name, piece in (
            ("flows", flows),
            ("agenda", agenda),
            ("shown", self._shown),
            ("out", self._out),
            ("happened", happened),
        ):
            state[name] = piece.ctypes.data
        state["flow_stride"], state["step"], state["capacity"] = stride, step_entry.address, _CAPACITY
        state["happened_capacity"] = _MOST_HAPPENED
        state["n_instruments"], state["shared_ids"] = len(rows), listing.rules.shared_ids
        state["last_id"], state["first_trade"] = first_id, first_trade
        self._address = np.uint64(state.ctypes.data)
        for index in range(len(rows)):
            self._show(index)
        # Compiled (or loaded) before anybody waits for it.
        self.play(start_ts - 1, 1)
        self.next_ts()
        self._compile_order()

    def _show(self, index: int) -> None:
        """Know the best prices that the market opens with."""
        for side, (price, qty) in ((BID, ("bid", "bid_qty")), (ASK, ("ask", "ask_qty"))):
            best = self.side(index, side, 1)
            self._shown[price][index], self._shown[qty][index] = best[0] if best else (0, 0)

    def _compile_order(self) -> None:
        """A cancel of an order that there is not changes nothing."""
        self.order(0, Asked(REMOVE, 1, 1, BID, 0, 0, 0, 0), 0)

    def order(self, index: int, asked: Asked, ts: int) -> tuple[int, np.ndarray]:
        """Carry out what an account asks of an instrument's book, at the flows' time ``ts`` (ns).

        Returns:
            What it came to (:mod:`hftpipe.core.schema.reasons`; NONE: as asked), and RECORDs, valid until the next call.
        """
        self._asked[0] = (*asked, ts)
        if asked.kind == SET_FAR:
            far = self._far[index, asked.side]
            far[asked.price] = asked.qty
            if not asked.qty:
                del far[asked.price]
        count = int(market_order(self._address, np.int64(index), np.uint64(self._asked.ctypes.data)))
        return int(self._state["reason"][0]), self._out[:count]

    @property
    def has_happened(self) -> bool:
        """Whether anything has befallen an order of an account that :meth:`happened` has not told yet."""
        return bool(self._state["n_happened"][0])

    def far_qty(self, index: int, side: int, price: int) -> int:
        """What is far on a level: LEVEL records do not have it."""
        far = self._far.get((index, side))
        return far.get(price, 0) if far else 0

    def happened(self) -> list[Happened]:
        """What has befallen orders of accounts since this was last asked, oldest first."""
        count = int(self._state["n_happened"][0])
        if not count:
            return []
        self._state["n_happened"] = 0
        return [Happened(*row) for row in self._happened[:count].tolist()]

    def reaches(self, index: int, price: int) -> bool:
        """Whether a price is well within what an instrument's book can hold now: a quarter of it from the middle."""
        book = self._flows[index][FLOW.itemsize :][: MATCHING.itemsize].view(MATCHING)[0]
        bid, _, ask, _ = self.top(index)
        return bool(bid and ask and abs(price - (bid + ask) // 2) < int(book["window"]) * int(book["tick"]) // 4)

    def play(self, due_ns: int, most: int) -> np.ndarray:
        """Let at most ``most`` events happen that are due by ``due_ns``: their RECORDs, valid until the next call."""
        count = int(market_step(self._address, np.int64(due_ns), np.int64(most)))
        return self._out[:count]

    def next_ts(self) -> int:
        """Time of the next event, the flows' time in ns."""
        return int(next_ts(self._address))

    @property
    def events(self) -> int:
        """Events so far."""
        return int(self._state["events"][0])

    def update_id(self, index: int) -> int:
        """Id of the last change of an instrument's book."""
        return int(self._shown["update_id"][index])

    def top(self, index: int) -> tuple[int, int, int, int]:
        """Best bid, its quantity, best ask, its quantity (1e-8)."""
        row = self._shown[index]
        return int(row["bid"]), int(row["bid_qty"]), int(row["ask"]), int(row["ask_qty"])

    def side(self, index: int, side: int, most: int) -> list[tuple[int, int]]:
        """Up to ``most`` levels of a side (BID or ASK), best first: (price, quantity), 1e-8."""
        count = int(
            read_levels(
                self._address, np.int64(index), np.int64(side), np.int64(min(most, _MOST_LEVELS)),
                np.uint64(self._pairs.ctypes.data),
            )
        )  # fmt: skip
        found: list[tuple[int, int]] = self._pairs[:count].tolist()
        far = self._far.get((index, side))
        if far:
            levels = dict(found)
            for price, qty in far.items():
                levels[price] = levels.get(price, 0) + qty
            found = sorted(levels.items(), reverse=side == BID)[:most]
        return found

    def fair_price(self, index: int) -> int:
        """What the flow takes the instrument to be worth, whole ticks in 1e-8."""
        flow = self._flows[index][: FLOW.itemsize].view(FLOW)[0]
        return round(float(flow["reference"]) + float(flow["deviation"])) * int(flow["tick"])
