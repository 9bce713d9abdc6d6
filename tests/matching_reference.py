"""A matching engine that is slow and obvious: dicts and lists, written from the case table of ``simulation/matching/engine.py``.

Events are tuples ``(kind, order_id, maker_id, price, old_price, qty, leaves, match_id, owner, maker_owner, side,
reason)``. It knows nothing of pools, windows or event room.
"""

from dataclasses import dataclass

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY
from hftpipe.simulation.matching.engine import STP_CANCEL_TAKER, STP_NONE
from hftpipe.simulation.matching.memory import ADD, CANCEL, DELETE, EXECUTE, EXPIRE, REPLACE


@dataclass
class Resting:
    """One resting order; its place in ``Book.queue`` is its priority."""

    id: int
    owner: int
    side: int
    price: int
    qty: int
    filled: int
    tif: int
    stp: int


class Book:
    """All resting orders in the order of their arrival, of either side and any price."""

    def __init__(self, tick: int, lot: int) -> None:
        self.tick, self.lot = tick, lot
        self.queue: list[Resting] = []
        self.events: list[tuple[int, ...]] = []
        self.match_id = 0

    def find(self, id_: int) -> Resting | None:
        return next((order for order in self.queue if order.id == id_), None)

    def levels(self, side: int) -> dict[int, int]:
        """Quantity by price."""
        result: dict[int, int] = {}
        for order in self.queue:
            if order.side == side:
                result[order.price] = result.get(order.price, 0) + order.qty
        return result

    def best(self, side: int) -> tuple[int, int]:
        levels = self.levels(side)
        if not levels:
            return 0, 0
        price = max(levels) if side == BUY else min(levels)
        return price, levels[price]

    def makers(self, side: int, price: int, tif: int) -> list[Resting]:
        """Whom an order of ``side`` would meet, first to last."""
        reach = [
            o
            for o in self.queue
            if o.side != side and (tif == MARKET or (o.price <= price if side == BUY else o.price >= price))
        ]
        return sorted(reach, key=lambda o: o.price if side == BUY else -o.price)

    def check(self, price: int, qty: int) -> int:
        if price <= 0 or qty <= 0:
            return reasons.INVALID_VALUE
        if price % self.tick:
            return reasons.TICK_FILTER
        return reasons.LOT_FILTER if qty % self.lot else reasons.NONE

    def event(self, kind, order, price, qty, leaves, reason=0, maker=None, old_price=0, match_id=0, old_id=0) -> None:
        maker_id, maker_owner = (maker.id, maker.owner) if maker else (old_id, 0)
        values = (kind, order.id, maker_id, price, old_price, qty, leaves, match_id)
        self.events.append((*values, order.owner, maker_owner, order.side, reason))

    def delete(self, order: Resting, reason: int) -> None:
        self.event(DELETE, order, order.price, order.qty, 0, reason)
        self.queue.remove(order)

    def fillable(self, order: Resting) -> int:
        total = 0
        for maker in self.makers(order.side, order.price, order.tif):
            if order.stp != STP_NONE and maker.owner == order.owner:
                if order.stp == STP_CANCEL_TAKER:
                    break
                continue
            total += maker.qty
        return total

    def take(self, order: Resting) -> int:
        """Match an incoming order; why it stopped early."""
        for maker in self.makers(order.side, order.price, order.tif):
            if order.qty == 0:
                break
            if order.stp != STP_NONE and maker.owner == order.owner:
                if order.stp == STP_CANCEL_TAKER:
                    return reasons.SELF_TRADE
                self.delete(maker, reasons.SELF_TRADE)
                continue
            qty = min(order.qty, maker.qty)
            self.match_id += 1
            self.event(EXECUTE, order, maker.price, qty, maker.qty - qty, maker=maker, match_id=self.match_id)
            for party in (order, maker):
                party.qty -= qty
                party.filled += qty
            if maker.qty == 0:
                self.queue.remove(maker)
        return reasons.NONE

    def enter(self, order: Resting) -> int:
        """Match, then rest or expire."""
        before = order.qty
        stopped = self.take(order)
        if order.qty == 0:
            return reasons.NONE
        if stopped or order.tif in (IOC, FOK, MARKET):
            nothing = order.tif == MARKET and order.qty == before
            reason = stopped or (reasons.NO_LIQUIDITY if nothing else reasons.IOC_REMAINDER)
            self.event(EXPIRE, order, order.price, order.qty, 0, reason)
            return reason
        self.queue.append(order)
        self.event(ADD, order, order.price, order.qty, order.qty)
        return reasons.NONE

    def new(self, id_, owner, side, price, qty, tif, stp) -> int:
        if id_ == 0 or side not in (0, 1) or tif not in (GTC, IOC, FOK, POST_ONLY, MARKET) or stp not in (0, 1, 2):
            return reasons.INVALID_VALUE
        reason = self.check(self.tick if tif == MARKET else price, qty)
        if reason:
            return reason
        if self.find(id_):
            return reasons.DUPLICATE_ID
        order = Resting(id_, owner, side, price, qty, 0, tif, stp)
        if tif == POST_ONLY and self.makers(side, price, tif):
            return reasons.POST_ONLY_WOULD_TAKE
        if tif == FOK and self.fillable(order) < qty:
            self.event(EXPIRE, order, price, qty, 0, reasons.FOK_UNFILLABLE)
            return reasons.FOK_UNFILLABLE
        return self.enter(order)

    def cancel(self, id_: int) -> int:
        order = self.find(id_)
        if order is None:
            return reasons.VENUE_UNKNOWN_ORDER
        self.delete(order, reasons.USER_REQUEST)
        return reasons.NONE

    def reduce(self, id_: int, by: int) -> int:
        reason = self.check(self.tick, by)
        if reason:
            return reason
        order = self.find(id_)
        if order is None or by >= order.qty:
            return self.cancel(id_)
        order.qty -= by
        self.event(CANCEL, order, order.price, by, order.qty, reasons.USER_REQUEST)
        return reasons.NONE

    def replace(self, id_: int, new_id: int, price: int, qty: int) -> int:
        reason = self.check(price, qty)
        if reason:
            return reason
        if new_id == 0:
            return reasons.INVALID_VALUE
        order = self.find(id_)
        if order is None:
            return reasons.VENUE_UNKNOWN_ORDER
        if new_id != id_ and self.find(new_id):
            return reasons.DUPLICATE_ID
        leaves = qty - order.filled
        if leaves <= 0:
            self.delete(order, reasons.AMEND_BELOW_FILLED)
            return reasons.AMEND_BELOW_FILLED
        if new_id == id_ and price == order.price and leaves <= order.qty:
            return self.reduce(id_, order.qty - leaves) if leaves < order.qty else reasons.NONE
        crosses = bool(self.makers(order.side, price, GTC))
        if crosses and order.tif == POST_ONLY:
            return reasons.POST_ONLY_WOULD_TAKE
        changed = Resting(new_id, order.owner, order.side, price, leaves, order.filled, order.tif, order.stp)
        if crosses:
            self.delete(order, reasons.USER_REQUEST)
            return self.enter(changed)
        self.queue.remove(order)
        self.queue.append(changed)
        self.event(REPLACE, changed, price, leaves, leaves, old_id=id_, old_price=order.price)
        return reasons.NONE
