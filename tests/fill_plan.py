"""A plan of orders over a capture, and the simulated venue's word on each of them, alone with its market."""

from collections.abc import Iterator

import numpy as np
from fill_referee import Capture, End, Order
from memory import address, aligned, record

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, copy_bytes, view
from hftpipe.core.schema import records as r
from hftpipe.venues.paper.exchange import SimModel, exchange_bytes, exchange_init, market, poll, submit

MS = 10**6
LATENCY_NS, EVERY_NS = 5 * MS, 100 * MS
_LIVES_NS = (1000 * MS, 5000 * MS)
_LEVELS = 4096
END = np.dtype([("kind", "i8"), ("filled", "i8"), ("fill_ns", "i8"), ("end_ns", "i8")])
_SHIFT = np.uint64(6)


def plan_of(capture: Capture, tick: int, lot: int) -> list[Order]:
    """About 44 orders a second, with both sides, lives, distances and sizes taken in turn."""
    tops = sorted((w.local_ts, w.top) for w in capture.words if w.levels is None)
    first, last = tops[0][0] + 2000 * MS, tops[-1][0] - 6000 * MS
    orders, at = [], 0
    for n in range((last - first) // EVERY_NS):
        now = first + n * EVERY_NS
        while tops[at + 1][0] <= now:
            at += 1
        orders += _orders(n, now, tops[at][1], tick, lot)
    return orders


def _orders(n: int, now: int, top: tuple[int, int, int, int], tick: int, lot: int) -> Iterator[Order]:
    bid, _, ask, _ = top
    side, life = n % 2, _LIVES_NS[n // 2 % 2]
    away = (-tick, tick)
    for s, best in enumerate((bid, ask)):
        yield Order(now, s, best, lot, life, "touch")
    best = (bid, ask)[side]
    deep = (1, 3, 10)[n // 4 % 3]
    yield Order(now, side, best + deep * away[side], lot, _LIVES_NS[1], f"{deep} deep")
    if ask - bid >= 2 * tick:
        yield Order(now, side, best - away[side], lot, life, "inside")
    if n % 5 == 0:
        yield Order(now, side, best, 3000 * lot, life, "large")
    if n % 2 == 0:
        qty, reach = (lot, 3000 * lot)[n // 8 % 2], (0, 20)[n // 4 % 2]
        taker = n // 2 % 2
        yield Order(now, taker, (ask, bid)[taker] - reach * away[taker], qty, 0, f"IOC +{reach}")


@jit
def _request(out, side, kind, flags, id_, price, qty, ts):
    x = view(out, r.RECORD)
    x.side, x.kind, x.flags, x.id, x.price, x.qty, x.local_ts = side, kind, flags, id_, price, qty, ts


@jit
def _note(end, out):
    """Take a report into an END record; whether it ends the order."""
    x, e = view(out, r.RECORD), view(end, END)
    if x.kind == r.FILL:
        e.filled += x.qty
        e.fill_ns = x.exchange_ts
    elif x.kind != r.ACK:
        e.kind, e.end_ns = np.int64(x.kind), x.exchange_ts
        return True
    return False


@jit
def _follow(exchange, records, n, at, end, out, qty):
    while at < n:
        market(exchange, records + (U64(at) << _SHIFT))
        at += 1
        while poll(exchange, out) == 1:
            if _note(end, out):
                return
        if view(end, END).filled == qty:
            view(end, END).kind, view(end, END).end_ns = r.FILL, view(end, END).fill_ns
            return


@jit
def _play(exchange, saved, size, records, n, plan, n_plan, ends, out):
    """Each order of ``plan`` (pairs of a NEW and a CANCEL) at a venue in the state of its moment, alone."""
    at = np.int64(0)
    for k in range(n_plan):
        new = plan + (U64(2 * k) << _SHIFT)
        while at < n and view(records + (U64(at) << _SHIFT), r.RECORD).local_ts <= view(new, r.RECORD).local_ts:
            market(exchange, records + (U64(at) << _SHIFT))
            at += 1
        copy_bytes(saved, exchange, size)
        submit(exchange, new)
        if view(new, r.RECORD).flags == r.POST_ONLY:
            submit(exchange, new + U64(64))
        _follow(exchange, records, n, at, ends + U64(32) * U64(k), out, view(new, r.RECORD).qty)
        copy_bytes(exchange, saved, size)


def _venue(instruments: np.ndarray) -> np.ndarray:
    """A venue for one order at a time, however small, with the latency :data:`LATENCY_NS` on the way there."""
    instruments = instruments.copy()
    instruments["min_notional"] = 0
    memory = aligned(exchange_bytes(1, 1, _LEVELS))
    exchange_init(memory, instruments, SimModel("risk_averse", 2.0, LATENCY_NS, LATENCY_NS, 0), 1, _LEVELS)
    return memory


def ends_at_venue(records: np.ndarray, instruments: np.ndarray, orders: list[Order]) -> list[End]:
    """How the simulated venue ends each order (latency there and back of :data:`LATENCY_NS`)."""
    memory = _venue(instruments)
    size, saved = len(memory), aligned(len(memory))
    plan, ends = aligned(128 * len(orders)).view(r.RECORD), aligned(32 * len(orders)).view(END)
    for k, order in enumerate(orders):
        tif = r.POST_ONLY if order.life_ns else r.IOC
        new, cancel = plan[2 * k : 2 * k + 1], plan[2 * k + 1 : 2 * k + 2]
        new["kind"], new["flags"], new["local_ts"] = r.NEW, tif, order.sent_ns
        new["price"], new["qty"] = order.price, order.qty
        cancel["kind"], cancel["local_ts"] = r.CANCEL, order.sent_ns + order.life_ns
        for row in (new, cancel):
            row["id"], row["side"] = k + 1, order.side
    records, out = np.ascontiguousarray(records), record(r.RECORD)
    _play(
        address(memory), address(saved), np.int64(size), address(records), np.int64(len(records)),
        address(plan), np.int64(len(orders)), address(ends), address(out),
    )  # fmt: skip
    return [_end(row, order) for row, order in zip(ends, orders, strict=True)]


_HOW = {r.FILL: "filled", r.CANCELED: "cancelled", r.EXPIRED: "expired", r.REJECT: "refused"}


def _end(row: np.void, order: Order) -> End:
    return End(_HOW.get(int(row["kind"]), "lost"), int(row["filled"]), int(row["end_ns"]))


FILL = np.dtype([("order", "i8"), ("price", "i8"), ("qty", "i8"), ("at_ns", "i8")])


def takers_of(capture: Capture, tick: int, qty: int, every_ns: int, reach: int) -> list[Order]:
    """Takers of ``qty`` on each side in turn, with limits ``reach`` ticks beyond the other side's best price."""
    tops = sorted((w.local_ts, w.top) for w in capture.words if w.levels is None)
    first, last, at, orders = tops[0][0] + 2000 * MS, tops[-1][0], 0, []
    for n in range((last - first) // every_ns):
        now, side = first + n * every_ns, n % 2
        while tops[at + 1][0] <= now:
            at += 1
        bid, _, ask, _ = tops[at][1]
        price = ask + reach * tick if side == 0 else bid - reach * tick
        orders.append(Order(now, side, price, qty, 0, "taker"))
    return orders


@jit
def _drain(exchange, out, fills, count):
    while poll(exchange, out) == 1:
        x = view(out, r.RECORD)
        if x.kind == r.FILL:
            f = view(fills + U64(32) * U64(count), FILL)
            f.order, f.price, f.qty, f.at_ns = np.int64(x.id) - 1, x.price, x.qty, x.exchange_ts
            count += 1
    return count


@jit
def _play_together(exchange, records, n, plan, n_plan, fills, most, out):
    """All orders at one venue; returns the number of fills, -1 when there is no room for more."""
    k, count = np.int64(0), np.int64(0)
    for at in range(n):
        while (
            k < n_plan
            and view(plan + (U64(k) << _SHIFT), r.RECORD).local_ts
            < view(records + (U64(at) << _SHIFT), r.RECORD).local_ts
        ):
            if submit(exchange, plan + (U64(k) << _SHIFT)) == 0:
                return np.int64(-1)
            k += 1
        if count + 1024 > most or market(exchange, records + (U64(at) << _SHIFT)) == 0:
            return np.int64(-1)
        count = _drain(exchange, out, fills, count)
    return count


def fills_at_venue(records: np.ndarray, instruments: np.ndarray, orders: list[Order]) -> np.ndarray:
    """The FILLs of orders that take, all at one venue."""
    memory = _venue(instruments)
    plan = aligned(64 * len(orders)).view(r.RECORD)
    plan["kind"], plan["flags"], plan["id"] = r.NEW, r.IOC, np.arange(len(orders)) + 1
    for name, value in (("local_ts", "sent_ns"), ("side", "side"), ("price", "price"), ("qty", "qty")):
        plan[name] = [getattr(order, value) for order in orders]
    records, out, fills = np.ascontiguousarray(records), record(r.RECORD), aligned(32 * (1 << 20)).view(FILL)
    count = _play_together(
        address(memory), address(records), np.int64(len(records)), address(plan), np.int64(len(orders)),
        address(fills), np.int64(len(fills)), address(out),
    )  # fmt: skip
    assert count >= 0
    return fills[:count]
