"""A book stream: the levels that were last told, so many a side, and what has changed since.

A level that leaves the window is told as deleted, and again with its quantity when it comes back.
"""

from dataclasses import dataclass, field

Levels = dict[int, int]
Change = list[tuple[int, int]]


def _changes(before: Levels, now: Levels) -> Change:
    """Deletes first, then what is new or other."""
    gone = [(price, 0) for price in before if price not in now]
    return gone + [(price, qty) for price, qty in now.items() if before.get(price) != qty]


@dataclass(slots=True)
class BookStream:
    """What has been told of one book.

    Attributes:
        u: number of the last message; seq: of the engine, at its moment; ts: that moment, ms; told_ms: when it was told.
        looked_at: the engine's number when its levels were last looked at.
        bids, asks: the levels told, best first.
    """

    u: int
    seq: int = 0
    ts: int = 0
    told_ms: int = 0
    looked_at: int = 0
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)

    def look(self, bids: Change, asks: Change, seq: int, ts: int) -> tuple[Change, Change] | None:
        """Take the levels of now; what has changed of each side, None: nothing."""
        before, self.bids, self.asks = (self.bids, self.asks), dict(bids), dict(asks)
        changes = _changes(before[0], self.bids), _changes(before[1], self.asks)
        if not changes[0] and not changes[1]:
            return None
        self.u, self.seq, self.ts = self.u + 1, seq, ts
        return changes

    def begin_anew(self) -> None:
        """The service has started anew: it counts from 1."""
        self.u = 1
