"""An order's life once more, slowly and by other means: what is under way is a set of worlds that may be.

A world is the set of requests ("cancel", "replace") that are still to be answered. A request is added to every world; a refusal takes one
request out of each world, in every way that is possible; a replace that was carried out leaves the worlds that had one.
So there are no names for what is under way, as the product has them, and no table.
"""

from dataclasses import dataclass, field

from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    MARKET,
    REJECT,
    REPLACED,
    TIF_MASK,
    UNASKED,
)

APPLIED, NOT_ALLOWED, NOT_AS_ASKED = "applied", "not allowed", "not as asked"
ENDS = {CANCELED: "CANCELED", EXPIRED: "EXPIRED", REJECT: "REJECTED"}


@dataclass
class Life:
    """One order, as a table sees it. Prices and quantities are what the test says; ``end`` is "" while it is open."""

    price: int
    qty: int
    flags: int = 0
    filled: int = 0
    new_price: int = 0
    new_qty: int = 0
    asked: tuple[int, int] | None = None
    is_new: bool = True
    is_unknown: bool = False
    end: str = ""
    worlds: set[frozenset[str]] = field(default_factory=lambda: {frozenset()})

    @property
    def is_cancelling(self) -> bool:
        """A cancel may be under way."""
        return any("cancel" in world for world in self.worlds)

    @property
    def is_replacing(self) -> bool:
        """A replace may be carried out."""
        return any("replace" in world for world in self.worlds)

    @property
    def state(self) -> str:
        """Its state's name."""
        if self.end or self.is_unknown:
            return self.end or "UNKNOWN"
        if self.is_cancelling or self.is_replacing:
            return "PENDING_CANCEL" if self.is_cancelling else "PENDING_REPLACE"
        if self.is_new:
            return "PENDING_NEW"
        return "PARTIAL" if self.filled else "WORKING"

    @property
    def unfilled(self) -> int:
        """What its terms leave, at worst."""
        return max(self.qty - self.filled, self.new_qty - self.filled, 0)

    @property
    def remaining(self) -> int:
        """What may still fill."""
        return 0 if self.end else self.unfilled

    # What is asked.

    def cancel(self) -> None:
        """A cancel of an open order is sent."""
        self.worlds, self.is_new = {world | {"cancel"} for world in self.worlds}, False

    def may_replace(self) -> bool:
        """Whether a replace may be sent."""
        return self.state in ("WORKING", "PARTIAL")

    def replace(self, price: int, qty: int) -> None:
        """A replace is sent."""
        self.worlds = {world | {"replace"} for world in self.worlds}
        self.new_price, self.new_qty, self.asked = price, qty, (price, qty)

    def no_answer(self) -> None:
        """Nothing is known of an open order any more."""
        self.is_unknown, self.is_new = True, False

    # What is told.

    def report(self, kind: int, price: int, qty: int, flags: int = 0) -> str:
        """An answer or a fill: what became of it."""
        if kind == FILL:
            return self._fill(qty)
        if self.end:
            return APPLIED if kind == CANCEL_REJECT else NOT_ALLOWED
        if kind == REJECT and self.state == "PARTIAL":
            return NOT_ALLOWED
        if kind in ENDS:
            return self._ended(ENDS[kind])
        if kind in (ACK, REPLACED) and not self._is_as_asked(kind, price, qty, flags):
            self.no_answer()
            return NOT_AS_ASKED
        if kind == REPLACED:
            was_exceeded = self.is_exceeded
            self.price, self.qty = price, qty
            if qty < self.filled and not was_exceeded:
                self.qty = self.filled
        if kind == REPLACED and not flags & UNASKED:
            self._carried_out()
        elif kind == CANCEL_REJECT:
            self._refused()
        elif kind == ACK:
            self.is_unknown = self.is_new = False
        if not self.is_replacing:
            self.new_price = self.new_qty = 0
        return self._judge_fill()

    @property
    def is_exceeded(self) -> bool:
        """More has filled than was asked for."""
        return self.filled > max(self.qty, self.new_qty)

    def _judge_fill(self) -> str:
        if self.filled and self.is_exceeded:
            self.no_answer()
        elif self.filled and (self.filled == self.qty or self.filled == max(self.qty, self.new_qty)):
            return self._ended("FILLED")
        return APPLIED

    def _fill(self, qty: int) -> str:
        self.filled += qty
        if self.end:
            self.end, self.is_unknown = "", True
            return "late"
        self.is_new = self.is_unknown = False
        return self._judge_fill()

    def _ended(self, end: str) -> str:
        self.end, self.is_unknown, self.is_new = end, False, False
        self.worlds = {world - {"cancel"} for world in self.worlds}
        return APPLIED

    def _carried_out(self) -> None:
        self.is_unknown = False
        had_one = {world - {"replace"} for world in self.worlds if "replace" in world}
        self.worlds = had_one or self.worlds

    def _refused(self) -> None:
        self.is_unknown = False
        self.worlds = {world - {one} for world in self.worlds for one in world or {"nothing"}}

    def _is_as_asked(self, kind: int, price: int, qty: int, flags: int) -> bool:
        if kind == ACK:
            is_right_price = price == self.price or self.flags & TIF_MASK == MARKET
            return self.state != "PENDING_NEW" or (qty <= self.qty and is_right_price)
        if qty <= 0:
            return False
        asked_price, most = self.asked or (0, 0)
        if most > 0 and not self.is_exceeded:
            most = max(most, self.filled)
        is_the_replace = not flags & UNASKED and price == asked_price and qty <= most
        return is_the_replace or (price == self.price and qty <= self.qty)
