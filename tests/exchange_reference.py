"""The simulated venue once more, slowly and plainly: dicts, lists and unbounded integers.

The differential test in test_sim_exchange.py compares its reports with those of hftpipe.venues.paper.exchange, one by one.
It shares the decisions of docs/fill-model.md and not a line of code: where the jitted venue keeps a few sums, this one
keeps the history and asks each time what it comes to in the order in which things happened at the venue.
:class:`Venue` below drives the jitted one.
"""

from dataclasses import dataclass, field

import numpy as np
from memory import address, aligned, record

from hftpipe.core.machine.fixed import to_fixed
from hftpipe.core.schema import reasons as why
from hftpipe.core.schema import records as r
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.venues.paper import exchange
from hftpipe.venues.paper.models import SimModel

SCALE = 10**8


@dataclass
class Own:
    """One of our orders."""

    id: int
    side: int
    price: int
    qty: int
    tif: int
    reduce_only: bool
    filled: int = 0
    ahead: int = 0
    seen: int = 0
    traded: int = 0
    seen_id: int = 0
    seen_ts: int = 0
    joined_ts: int = 0
    # Both as (venue time, quantity): what news took from ahead, and the trades that came after newer news.
    cuts: list = field(default_factory=list)
    late: list = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.qty - self.filled


def contained(cuts: list, late: list) -> int:
    """How much of the late trades the cuts contain, if no trade is in older news than itself.

    Back through time: what news has cut is there for the trades before it, the last of them first.
    """
    total, pool = 0, 0
    events = [(ts, 1, qty) for ts, qty in cuts] + [(ts, 0, qty) for ts, qty in late]
    for _, is_cut, qty in sorted(events, reverse=True):
        used = 0 if is_cut else min(qty, pool)
        pool += qty if is_cut else -used
        total += used
    return total


@dataclass
class Level:
    """A level that we took from: its displayed quantity is free or ours, as of the word ``last_id`` on it."""

    free: int
    ours: int
    last_id: int

    def hear(self, shown: int, last_id: int) -> None:
        """Another word on the level: what is added is free, what leaves is ours as long as there is any."""
        if last_id < self.last_id:
            return
        self.last_id = last_id
        for _ in range(2):
            more = shown - self.free - self.ours
            if more >= 0:
                self.free += more
            elif self.ours:
                self.ours = max(self.ours + more, 0)
            else:
                self.free += more


@dataclass
class Market:
    """One instrument: what is displayed, and what is ours."""

    levels: tuple = field(default_factory=lambda: ({}, {}))
    state: int = r.INVALID
    # Published (price, qty) a side, (0, 0) for an empty one; update ids of that and of the depth stream.
    top: list = field(default_factory=lambda: [(0, 0), (0, 0)])
    top_id: int = 0
    depth_id: int = 0
    # Venue times of the top and of the depth stream, and how far our clock was ahead of the venue's, record by record.
    top_ts: int = 0
    depth_ts: int = 0
    leads: list = field(default_factory=list)
    # Resting orders a side in price-time priority; levels a side that we took from, by price.
    own: tuple = field(default_factory=lambda: ([], []))
    consumed: tuple = field(default_factory=lambda: ({}, {}))
    position: int = 0
    touched: set = field(default_factory=set)
    half_top: tuple = (0, 0)
    update: tuple = (0, 0)


def better(side: int, a: int, b: int) -> bool:
    return a > b if side == r.BUY else a < b


def fee_of(price: int, qty: int, rate: int) -> int:
    value = price * qty // SCALE
    return -(-value * rate // SCALE) if rate > 0 else -(value * -rate // SCALE)


class ReferenceExchange:
    """Feed ``submit`` and ``market`` dicts with the fields of a record; ``poll`` gives a dict or None."""

    def __init__(self, instruments, model, max_orders: int) -> None:
        self.instruments, self.model, self.max_orders = instruments, model, max_orders
        self.markets = [Market() for _ in instruments]
        self.now = -(2**63)
        self.last_arrival = -(2**63)
        self.inbound: list = []
        self.outbound: list = []
        self.open_update: Market | None = None
        self.n_orders = self.n_fills = 0

    # Requests and reports.
    def submit(self, request: dict) -> None:
        is_cancel = request["kind"] == r.CANCEL
        latency = self.model.latency_cancel_ns if is_cancel else self.model.latency_new_ns
        self.last_arrival = max(self.last_arrival, request["local_ts"] + latency)
        self.inbound.append((self.last_arrival, request))

    def poll(self) -> dict | None:
        if self.outbound and self.outbound[0]["exchange_ts"] + self.model.latency_report_ns <= self.now:
            return self.outbound.pop(0)
        return None

    def report(self, kind, instrument, order_id, side, price, qty, flags, fee=0) -> None:
        """Orders and executions are numbered from 1; an ACK tells the order's number."""
        if kind == r.FILL:
            self.n_fills += 1
            own = dict(fee=fee, trade_id=self.n_fills)
        else:
            self.n_orders += kind == r.ACK
            own = dict(local_ts=self.now + self.model.latency_report_ns, venue_id=self.n_orders if kind == r.ACK else 0)
        self.outbound.append(
            dict(kind=kind, instrument=instrument, id=order_id, side=side, price=price, qty=qty, flags=flags,
                 exchange_ts=self.now, **own)
        )  # fmt: skip

    def tell(self, kind, i, order, price, qty, flags, **more) -> None:
        self.report(kind, i, order.id, order.side, price, qty, flags, **more)

    # The market.
    def market(self, record: dict) -> None:
        i = record["instrument"]
        same = record["kind"] == r.LEVEL and self.open_update is self.markets[i]
        if self.open_update is not None and not same:
            self.close()
        if self.open_update is None:
            until = max(record["local_ts"], self.now)
            while self.inbound and self.inbound[0][0] <= until:
                arrival, request = self.inbound.pop(0)
                self.now = max(self.now, arrival)
                self.execute(request)
        self.now = max(self.now, record["local_ts"])
        is_whole = record["kind"] == r.TRADE or (record["kind"] == r.TOP and record["flags"] & r.LAST)
        if is_whole and record["exchange_ts"]:
            self.markets[i].leads.append(self.now - record["exchange_ts"])
        handlers = {r.LEVEL: self.level, r.TOP: self.top, r.TRADE: self.trade, r.BOOK_RESET: self.reset,
                    r.BOOK_STATE: self.state}  # fmt: skip
        if record["kind"] in handlers:
            handlers[record["kind"]](i, self.markets[i], record)

    def level(self, i, m, record) -> None:
        side, price = record["side"], record["price"]
        if record["qty"]:
            m.levels[side][price] = record["qty"]
        else:
            m.levels[side].pop(price, None)
        m.touched.add((side, price))
        m.update, self.open_update = (record["id"], record["exchange_ts"]), m
        if record["flags"] & r.LAST:
            self.close()

    def reset(self, i, m, record) -> None:
        for side in (0, 1):
            m.levels[side].clear()
            for order in m.own[side]:
                order.seen_id = 0
                m.touched.add((side, order.price))
            for level in m.consumed[side].values():
                level.last_id = 0
        m.top, m.top_id, m.depth_id = [(0, 0), (0, 0)], 0, 0
        m.update, self.open_update = (record["id"], record["exchange_ts"]), m

    def close(self) -> None:
        m, self.open_update = self.open_update, None
        i = next(k for k, x in enumerate(self.markets) if x is m)
        m.depth_id, m.depth_ts = m.update
        if m.depth_ts:
            m.leads.append(self.now - m.depth_ts)
        if m.top_id <= m.depth_id:
            bids, asks = m.levels
            m.top[0] = (max(bids), bids[max(bids)]) if bids else (0, 0)
            m.top[1] = (min(asks), asks[min(asks)]) if asks else (0, 0)
            m.top_id, m.top_ts = m.depth_id, m.depth_ts
        for side in (0, 1):
            for order in m.own[side]:
                if (side, order.price) in m.touched:
                    self.see(i, m, order, m.levels[side].get(order.price, 0), m.depth_id, m.depth_ts)
        m.touched.clear()
        self.refresh_and_cross(i, m)

    def top(self, i, m, record) -> None:
        if record["side"] == r.BID:
            m.half_top = (record["price"], record["qty"])
        if not record["flags"] & r.LAST or record["id"] <= m.top_id:
            return
        m.top, m.top_id = [m.half_top, (record["price"], record["qty"])], record["id"]
        latest = max(m.top_ts, m.depth_ts, self.now - min(m.leads) if m.leads else 0)
        m.top_ts = record["exchange_ts"] or latest
        for side in (0, 1):
            best, qty = m.top[side]
            for order in m.own[side]:
                if best and better(side, best, order.price):
                    continue
                shown = qty if order.price == best else 0
                if shown == order.seen:
                    order.seen_id = m.top_id
                else:
                    self.see(i, m, order, shown, m.top_id, m.top_ts)
        self.refresh_and_cross(i, m)

    def state(self, i, m, record) -> None:
        m.state = record["flags"]
        if m.state == r.VALID:
            self.cross(i, m)

    # Queues.
    def see(self, i, m, order, shown, update_id, ts) -> None:
        if update_id < order.seen_id:
            return
        before, lot = order.ahead, int(self.instruments[i]["lot"])
        if self.model.queue_model == "power":
            gone, behind = order.seen - shown - order.traded, max(order.seen - order.ahead, 0)
            if gone > 0 and order.ahead > 0:
                # Algebraically B^n / (B^n + F^n), written so that no term overflows.
                p = 1.0 - 1.0 / (1.0 + (behind / order.ahead) ** self.model.power_n)
                q = 1.0 / (1.0 + (behind / order.ahead) ** self.model.power_n)
                share = q * gone - min(behind - p * gone, 0.0)
                order.ahead -= min(int(share / lot + 0.5) * lot, order.ahead)
        order.ahead = min(order.ahead, shown)
        order.seen, order.traded, order.seen_id = shown, 0, update_id
        order.seen_ts = max(order.seen_ts, ts)
        order.cuts.append((order.seen_ts, before - order.ahead))

    def trade(self, i, m, record) -> None:
        side, left, ts = 1 - record["side"], record["qty"], record["exchange_ts"]
        for order in list(m.own[side]):
            if left == 0 or better(side, record["price"], order.price):
                break
            if ts and ts <= order.joined_ts:
                continue
            reach = left
            if record["price"] != order.price:
                order.ahead = 0
            else:
                if ts and ts <= order.seen_ts:
                    before = contained(order.cuts, order.late)
                    order.late.append((ts, reach))
                    reach -= contained(order.cuts, order.late) - before
                else:
                    order.traded += record["qty"]
                eaten = min(order.ahead, reach)
                order.ahead -= eaten
                reach -= eaten
            qty = min(reach, self.fillable(m, order))
            if qty:
                left -= qty
                self.fill(i, m, order, order.price, qty, maker=True)
        self.clean_up(i, m)

    # The displayed book.
    def shown_at(self, m, side, price) -> int:
        best, qty = m.top[side]
        if price == best:
            return qty
        if best == 0 or better(side, price, best):
            return 0
        return m.levels[side].get(price, 0)

    def shown_id(self, m, side, price) -> int:
        best, _ = m.top[side]
        return m.depth_id if best and better(side, best, price) else m.top_id

    def live_levels(self, m, side) -> list:
        best, qty = m.top[side]
        if not qty:
            return []
        behind = [p for p in m.levels[side] if better(side, best, p)]
        return [(best, qty)] + [(p, m.levels[side][p]) for p in sorted(behind, reverse=side == r.BID)]

    def is_open(self, m) -> bool:
        (bid, _), (ask, _) = m.top
        return m.state == r.VALID and not (bid and ask and bid >= ask)

    def refresh_and_cross(self, i, m) -> None:
        for side in (0, 1):
            for price, level in list(m.consumed[side].items()):
                level.hear(self.shown_at(m, side, price), self.shown_id(m, side, price))
                if not level.ours and level.last_id <= m.depth_id:
                    del m.consumed[side][price]
        self.cross(i, m)

    def cross(self, i, m) -> None:
        if not self.is_open(m):
            return
        for side in (0, 1):
            for order in list(m.own[side]):
                for price, shown in self.live_levels(m, 1 - side):
                    if better(side, price, order.price):
                        break
                    qty = min(self.available(m, 1 - side, price, shown), self.fillable(m, order))
                    if qty:
                        self.consume(m, 1 - side, price, shown, qty)
                        self.fill(i, m, order, order.price, qty, maker=True)
            self.clean_up(i, m)

    def available(self, m, side, price, shown) -> int:
        return m.consumed[side][price].free if price in m.consumed[side] else shown

    def taken(self, m, side, price) -> int:
        return m.consumed[side][price].ours if price in m.consumed[side] else 0

    def consume(self, m, side, price, shown, qty) -> None:
        level = m.consumed[side].setdefault(price, Level(shown, 0, self.shown_id(m, side, price)))
        level.free -= qty
        level.ours += qty

    # Our orders.
    def reducible(self, m, side) -> int:
        return max(-m.position if side == r.BUY else m.position, 0)

    def fillable(self, m, order) -> int:
        return min(order.left, self.reducible(m, order.side)) if order.reduce_only else order.left

    def fill(self, i, m, order, price, qty, maker) -> None:
        order.filled += qty
        m.position += qty if order.side == r.BUY else -qty
        rate = int(self.instruments[i]["maker_fee" if maker else "taker_fee"])
        self.tell(r.FILL, i, order, price, qty, r.FILL_MAKER if maker else 0, fee=fee_of(price, qty, rate))
        if maker and order.left == 0:
            m.own[order.side].remove(order)

    def clean_up(self, i, m) -> None:
        for side in (0, 1):
            for order in list(m.own[side]):
                if order.reduce_only and self.reducible(m, side) == 0:
                    m.own[side].remove(order)
                    self.tell(r.EXPIRED, i, order, order.price, order.left, why.REDUCE_ONLY_REJECT)

    def crosses(self, order, price) -> bool:
        if order.tif == r.MARKET:
            return True
        return order.price >= price if order.side == r.BUY else order.price <= price

    def take(self, i, m, taker) -> None:
        other = 1 - taker.side
        for price, shown in self.live_levels(m, other):
            if self.fillable(m, taker) == 0 or not self.crosses(taker, price):
                break
            left = self.available(m, other, price, shown)
            self.expire_makers(i, m, taker, price, left, self.taken(m, other, price))
            qty = min(left, self.fillable(m, taker))
            if qty:
                self.consume(m, other, price, shown, qty)
                self.fill(i, m, taker, price, qty, maker=False)
        if self.fillable(m, taker):
            self.expire_makers(i, m, taker, None, 0, 0)

    def expire_makers(self, i, m, taker, price, available, used) -> None:
        other = 1 - taker.side
        for maker in list(m.own[other]):
            if not self.crosses(taker, maker.price):
                break
            if price is not None and better(other, price, maker.price):
                break
            before_us = min(max(maker.ahead - used, 0), available)
            if maker.price == price and self.fillable(m, taker) <= before_us:
                break
            m.own[other].remove(maker)
            self.tell(r.CANCELED, i, maker, maker.price, maker.left, why.SELF_TRADE)

    def settle(self, i, m, order) -> None:
        self.take(i, m, order)
        if order.left == 0:
            pass
        elif order.reduce_only and self.reducible(m, order.side) == 0:
            self.tell(r.EXPIRED, i, order, order.price, order.left, why.REDUCE_ONLY_REJECT)
        elif order.tif in (r.GTC, r.POST_ONLY):
            self.rest(m, order)
        else:
            empty = m.top[1 - order.side][1] == 0 and order.filled == 0
            self.tell(r.EXPIRED, i, order, order.price, order.left, why.NO_LIQUIDITY if empty else why.IOC_REMAINDER)
        self.clean_up(i, m)

    def rest(self, m, order) -> None:
        best, _ = m.top[order.side]
        order.ahead = order.seen = self.shown_at(m, order.side, order.price)
        order.traded, order.cuts, order.late = 0, [], []
        behind = best and better(order.side, best, order.price)
        order.seen_id = m.depth_id if behind else m.top_id
        order.seen_ts = m.depth_ts if behind else m.top_ts
        order.joined_ts = max(m.top_ts, m.depth_ts)
        queue = m.own[order.side]
        place = sum(not better(order.side, order.price, x.price) for x in queue)
        queue.insert(place, order)

    # Requests at the matching side.
    def execute(self, q) -> None:
        i, m = q["instrument"], self.markets[q["instrument"]]
        mine = next((o for side in m.own for o in side if o.id == q["id"]), None)
        if q["kind"] == r.NEW:
            self.new(i, m, q, mine)
        elif mine is None:
            self.report(r.CANCEL_REJECT, i, q["id"], q["side"], 0, 0, why.VENUE_UNKNOWN_ORDER)
        elif q["kind"] == r.CANCEL:
            m.own[mine.side].remove(mine)
            self.tell(r.CANCELED, i, mine, mine.price, mine.left, why.USER_REQUEST)
        else:
            self.replace(i, m, q, mine)

    def breaks_filter(self, i, m, side, tif, reduce_only, price, qty) -> bool:
        row = self.instruments[i]
        if tif == r.MARKET:
            price = m.top[1 - side][0]
        elif price <= 0 or price % int(row["tick"]):
            return True
        if qty <= 0 or qty % int(row["lot"]):
            return True
        return bool(price) and not reduce_only and price * qty // SCALE < int(row["min_notional"])

    def would_take(self, m, side, price) -> bool:
        prices = [m.top[1 - side][0]] if m.top[1 - side][0] else []
        prices += [o.price for o in m.own[1 - side]]
        return any(price >= p if side == r.BUY else price <= p for p in prices)

    def new(self, i, m, q, mine) -> None:
        tif, reduce_only = q["flags"] & r.TIF_MASK, bool(q["flags"] & r.REDUCE_ONLY)
        rests = tif in (r.GTC, r.POST_ONLY)
        n_open = sum(len(side) for x in self.markets for side in x.own)
        checks = (
            (mine is not None, why.DUPLICATE_ID),
            (self.breaks_filter(i, m, q["side"], tif, reduce_only, q["price"], q["qty"]), why.VENUE_FILTER),
            (not self.is_open(m), why.VENUE_BUSY),
            (reduce_only and self.reducible(m, q["side"]) == 0, why.REDUCE_ONLY_REJECT),
            (tif == r.POST_ONLY and self.would_take(m, q["side"], q["price"]), why.POST_ONLY_WOULD_TAKE),
            (rests and n_open >= self.max_orders, why.TOO_MANY_OPEN_ORDERS),
        )
        reason = next((code for failed, code in checks if failed), None)
        if reason is not None:
            self.report(r.REJECT, i, q["id"], q["side"], q["price"], q["qty"], reason)
            return
        price = 0 if tif == r.MARKET else q["price"]
        order = Own(q["id"], q["side"], price, q["qty"], tif, reduce_only)
        self.tell(r.ACK, i, order, price, order.qty, q["flags"])
        levels = [(p, s) for p, s in self.live_levels(m, 1 - order.side) if self.crosses(order, p)]
        reachable = sum(self.available(m, 1 - order.side, p, s) for p, s in levels)
        if tif == r.FOK and reachable < self.fillable(m, order):
            self.tell(r.EXPIRED, i, order, price, order.qty, why.FOK_UNFILLABLE)
        else:
            self.settle(i, m, order)

    def replace(self, i, m, q, mine) -> None:
        if self.breaks_filter(i, m, mine.side, mine.tif, mine.reduce_only, q["price"], q["qty"]):
            self.report(r.CANCEL_REJECT, i, q["id"], q["side"], 0, 0, why.VENUE_FILTER)
        elif q["qty"] <= mine.filled:
            m.own[mine.side].remove(mine)
            self.tell(r.CANCELED, i, mine, mine.price, mine.left, why.AMEND_BELOW_FILLED)
        elif not self.is_open(m):
            self.report(r.CANCEL_REJECT, i, q["id"], q["side"], 0, 0, why.VENUE_BUSY)
        elif mine.tif == r.POST_ONLY and self.would_take(m, mine.side, q["price"]):
            m.own[mine.side].remove(mine)
            self.tell(r.CANCELED, i, mine, mine.price, mine.left, why.POST_ONLY_WOULD_TAKE)
        else:
            in_place = q["price"] == mine.price and q["qty"] <= mine.qty
            if not in_place:
                m.own[mine.side].remove(mine)
            mine.price, mine.qty = q["price"], q["qty"]
            self.tell(r.REPLACED, i, mine, mine.price, mine.qty, 0)
            if not in_place:
                self.settle(i, m, mine)


class Venue:
    """The jitted venue with decimal arguments in and report dicts out; for tests only.

    ``unit`` turns a number such as 100.2 into 1e-8 units.
    """

    def __init__(
        self, model=None, n=1, max_orders=64, lot="0.001", min_notional=0, maker=0, taker=0, levels=512
    ) -> None:
        self.instruments = np.zeros(n, INSTRUMENT)
        self.instruments["symbol"] = [f"SYM{i}" for i in range(n)]
        self.instruments["tick"], self.instruments["lot"] = unit("0.1"), unit(lot)
        self.instruments["min_notional"] = unit(min_notional)
        self.instruments["maker_fee"], self.instruments["taker_fee"] = maker, taker
        self.model = model or SimModel(latency_new_ns=0, latency_cancel_ns=0, latency_report_ns=0)
        self.memory = aligned(exchange.exchange_bytes(n, max_orders, levels))
        exchange.exchange_init(self.memory, self.instruments, self.model, max_orders, levels)
        self.at = address(self.memory)
        self.header = self.memory[: exchange.EXCHANGE.itemsize].view(exchange.EXCHANGE)
        self._record, self._out = record(r.RECORD), record(r.RECORD)
        self.time, self.update_id = 0, 0

    def send(self, function, **fields) -> int:
        self._record[:] = 0
        for name, value in fields.items():
            self._record[name] = value
        return int(function(self.at, address(self._record)))

    def feed(self, **fields) -> int:
        """One market record, at the current time unless ``local_ts`` is given."""
        fields.setdefault("local_ts", self.time)
        return self.send(exchange.market, **fields)

    def submit(self, **fields) -> int:
        fields.setdefault("local_ts", self.time)
        return self.send(exchange.submit, **fields)

    # A market in decimals.
    def depth(self, bids=(), asks=(), instrument=0, ts=0, update_id=None) -> None:
        self.update_id = update_id or self.update_id + 1
        levels = [(r.BID, p, q) for p, q in bids] + [(r.ASK, p, q) for p, q in asks]
        for n, (side, price, qty) in enumerate(levels):
            self.feed(kind=r.LEVEL, side=side, price=unit(price), qty=unit(qty), id=self.update_id, exchange_ts=ts,
                      flags=r.LAST if n == len(levels) - 1 else 0, instrument=instrument)  # fmt: skip

    def top(self, bid, bid_qty, ask, ask_qty, instrument=0, ts=0) -> None:
        self.update_id += 1
        for side, price, qty in ((r.BID, bid, bid_qty), (r.ASK, ask, ask_qty)):
            self.feed(kind=r.TOP, side=side, price=unit(price), qty=unit(qty), id=self.update_id, exchange_ts=ts,
                      flags=r.LAST if side else 0, instrument=instrument)  # fmt: skip

    def trade(self, taker, price, qty, ts=0) -> None:
        self.feed(kind=r.TRADE, side=taker, price=unit(price), qty=unit(qty), exchange_ts=ts)

    def open_book(self, bids, asks, instrument=0, ts=0) -> None:
        self.depth(bids, asks, instrument, ts)
        self.feed(kind=r.BOOK_STATE, flags=r.VALID, instrument=instrument)

    def tick(self, time=None) -> None:
        """Let time pass: requests that have arrived are executed."""
        self.time = self.time if time is None else time
        self.feed(kind=r.TIMER)

    # Orders in decimals; each is executed at once when there is no latency.
    def new(self, id_, side, qty, price=0, flags=r.GTC, instrument=0) -> list[dict]:
        self.submit(kind=r.NEW, id=id_, side=side, qty=unit(qty), price=unit(price), flags=flags,
                    instrument=instrument)  # fmt: skip
        self.tick()
        return self.reports()

    def cancel(self, id_, side=0) -> list[dict]:
        self.submit(kind=r.CANCEL, id=id_, side=side)
        self.tick()
        return self.reports()

    def replace(self, id_, side, qty, price) -> list[dict]:
        self.submit(kind=r.REPLACE, id=id_, side=side, qty=unit(qty), price=unit(price))
        self.tick()
        return self.reports()

    def reports(self) -> list[dict]:
        """Everything released by now, oldest first, as dicts of integers by the names of their kind."""
        got = []
        while exchange.poll(self.at, address(self._out)):
            out = self._out.view(r.layout_of(int(self._out["kind"][0])))
            got.append({name: int(out[name][0]) for name in out.dtype.names if name not in ("seq", "strategy")})
        return got

    def left(self, id_, instrument=0) -> int:
        return int(exchange.own_remaining(self.at, np.int64(instrument), np.uint64(id_)))

    def ahead(self, id_, instrument=0) -> int:
        return int(exchange.own_ahead(self.at, np.int64(instrument), np.uint64(id_)))

    def position(self, instrument=0) -> int:
        return int(exchange.own_position(self.at, np.int64(instrument)))


def unit(value) -> int:
    """1e-8 units of a decimal number or text."""
    return to_fixed(str(value))


def fills(reports) -> list[tuple]:
    """(id, price, qty) of the FILL reports."""
    return [(x["id"], x["price"], x["qty"]) for x in reports if x["kind"] == r.FILL]


def kinds(reports) -> list[str]:
    """Names of the reports' kinds."""
    return [r.KIND_NAMES[x["kind"]] for x in reports]
