"""Conservation at the simulated venue: our orders never get more than the market has offered or traded.

What a level offers is what it showed at first and everything that was added to it since; the newest word on it, by
update id, counts. Written from the records that the venue is fed, and from its executions.
"""

from collections import Counter
from typing import Any

from hftpipe.core.schema.records import ASK, BID, BOOK_RESET, BUY, FILL, FILL_MAKER, LAST, LEVEL, SELL, TOP, TRADE
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.truth import Fields


class OfferedSide:
    """One side of one market: what it shows, and what each price has offered so far (``offered``)."""

    def __init__(self, side: int) -> None:
        self.offered: Counter[int] = Counter()
        self._side = side
        self._depth: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._shown: dict[int, int] = {}
        #: Prices of which a best price spoke last, and its id.
        self._newer: dict[int, int] = {}
        #: Prices whose level an update that is not complete has named.
        self._named: set[int] = set()

    def _show(self, price: int, qty: int) -> None:
        more = qty - self._shown.get(price, 0)
        if more > 0:
            self.offered[price] += more
        self._shown[price] = qty

    def level(self, price: int, qty: int) -> None:
        """A level of an update that is not complete."""
        self._depth[price] = qty
        self._named.add(price)

    def clear(self) -> None:
        """The levels that follow replace all; what was offered stays offered."""
        self._named.update(self._depth, self._shown)
        self._depth, self._newer = dict.fromkeys(self._depth, 0), {}

    def commit(self, update_id: int) -> None:
        """An update is complete: the depth stream has caught up with best prices up to its id."""
        if not self._named and not self._newer:
            return
        caught_up = [price for price, id_ in self._newer.items() if id_ <= update_id]
        for price in caught_up:
            del self._newer[price]
        for price in self._named.union(caught_up):
            qty = self._depth.get(price, 0)
            if price not in self._newer:
                self._show(price, qty)
            else:
                # It was there before the best price that spoke of it last, and may be uncovered again.
                self.offered[price] += max(qty - self._committed.get(price, 0), 0)
            self._committed[price] = qty
        self._named.clear()

    def top(self, best: int, qty: int, update_id: int) -> None:
        """A best price: what stands there, and nothing before it."""
        for price in (*self._shown, best):
            if price == best or (price > best) == (self._side == BID) or best == 0:
                self._show(price, qty if price == best else 0)
                self._newer[price] = update_id


class Offered:
    """What one market has offered at each price, and traded (``traded``, by the taker's side)."""

    def __init__(self) -> None:
        self.sides = (OfferedSide(BID), OfferedSide(ASK))
        self.traded: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self._top_id = self._open_id = 0
        self._is_open = False
        self._bid = (0, 0)

    def hear(self, record: Fields) -> None:
        """The next record that the venue was fed."""
        if self._is_open and record.kind != LEVEL:
            self._commit()
        if record.kind == LEVEL:
            self.sides[record.side].level(record.price, record.qty)
            self._open(record.id)
            if record.flags & LAST:
                self._commit()
        elif record.kind == BOOK_RESET:
            for side in self.sides:
                side.clear()
            self._top_id = 0
            self._open(record.id)
        elif record.kind == TOP:
            self._hear_top(record)
        elif record.kind == TRADE:
            self.traded[record.side][record.price] += record.qty

    def close(self) -> None:
        """The venue has closed an update of which no end ever came, as its feed is dead and time goes on."""
        if self._is_open:
            self._commit()

    def _open(self, update_id: int) -> None:
        self._is_open, self._open_id = True, update_id

    def _commit(self) -> None:
        self._is_open, self._top_id = False, max(self._top_id, self._open_id)
        for side in self.sides:
            side.commit(self._open_id)

    def _hear_top(self, record: Fields) -> None:
        if record.side == BID:
            self._bid = (record.price, record.qty)
        elif record.id > self._top_id:
            self._top_id = record.id
            self.sides[BID].top(*self._bid, record.id)
            self.sides[ASK].top(record.price, record.qty, record.id)


class TakenChecker(Checker):
    """What our takers got at a price had been offered there; all we got at a price or better, offered or traded there."""

    name = "taken"
    hears_rings = True
    steps_of = ("gateway",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        count = len(world.plan.instruments)
        self._offered = [Offered() for _ in range(count)]
        self._taken = [(Counter[int](), Counter[int]()) for _ in range(count)]
        self._filled = [(Counter[int](), Counter[int]()) for _ in range(count)]

    def after(self, stage: str) -> None:
        if self.world.plan.is_paper:
            for ring in self.world.rings_of("sim"):
                self._hear(ring.popped)

    def _hear(self, records: list[Fields]) -> None:
        for record in records:
            if record.instrument < len(self._offered):
                self._offered[record.instrument].hear(record)

    def check(self) -> None:
        for port in self.world.ports:
            venue = port.venue
            self._hear(venue.played)
            venue.played.clear()
            if venue.executed and venue.is_between_updates():
                for index in port.ids:
                    self._offered[index].close()
            for report in venue.executed:
                if report.kind == FILL:
                    self._judge(report)
            venue.executed.clear()

    def _judge(self, fill: Fields) -> None:
        market, side, price = self._offered[fill.instrument], fill.side, fill.price
        offered, filled = market.sides[1 - side].offered, self._filled[fill.instrument][side]
        filled[price] += fill.qty
        if fill.flags != FILL_MAKER:
            taken = self._taken[fill.instrument][side]
            taken[price] += fill.qty
            if taken[price] > offered[price]:
                self.fail(f"instrument {fill.instrument}: {taken[price]} taken at {price}, {offered[price]} offered")
        got, had = (_until(amounts, side, price) for amounts in (filled, offered))
        traded = _until(market.traded[SELL if side == BUY else BUY], side, price)
        if got > had + traded:
            what = "at or below" if side == BUY else "at or above"
            self.fail(f"instrument {fill.instrument}: {got} filled {what} {price}, {had} offered and {traded} traded")


def _until(amounts: Counter[int], side: int, price: int) -> int:
    """Sum of what lies at a price or is better for an order of ``side`` to get."""
    return sum(qty for at, qty in amounts.items() if (at <= price if side == BUY else at >= price))
