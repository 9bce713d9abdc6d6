"""What has been traded of one instrument: its last trades, the same as aggregates, and candles. Money is int64 in 1e-8.

On spot an aggregate is what one taker did at one price; on USD-M whatever was traded at one price and side within 100 ms.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MINUTE_MS, SECOND_MS = 60_000, 1000
DAY_MINUTES = 1440
AGGREGATE_NS = 100_000_000
_KEPT_TRADES, _KEPT_MINUTES, _KEPT_SECONDS = 5000, 3 * DAY_MINUTES, 3600


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade; ``ts``: ns of the wall clock; is_sold: the taker sold."""

    id: int
    price: int
    qty: int
    ts: int
    is_sold: bool


@dataclass(slots=True)
class Aggregate:
    """Trades first_id to last_id, all at one price and of takers of one side; ``ts``: of the last one."""

    id: int
    price: int
    qty: int
    first_id: int
    last_id: int
    first_ts: int
    ts: int
    is_sold: bool


@dataclass(slots=True)
class Candle:
    """What was traded from ``open_ms`` on. ``quote`` and ``taker_quote`` are sums of price x quantity, 1e-16."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    quote: int = 0
    count: int = 0
    taker_volume: int = 0
    taker_quote: int = 0
    first_id: int = -1
    last_id: int = -1

    def add(self, trade: Trade) -> None:
        """Reckon a trade in."""
        self.high, self.low, self.close = max(self.high, trade.price), min(self.low, trade.price), trade.price
        self.volume += trade.qty
        self.quote += trade.price * trade.qty
        self.count += 1
        if not trade.is_sold:
            self.taker_volume += trade.qty
            self.taker_quote += trade.price * trade.qty
        self.first_id = trade.id if self.first_id < 0 else self.first_id
        self.last_id = trade.id

    def join(self, later: "Candle") -> None:
        """Reckon a later candle in."""
        self.high, self.low, self.close = max(self.high, later.high), min(self.low, later.low), later.close
        self.volume += later.volume
        self.quote += later.quote
        self.count += later.count
        self.taker_volume += later.taker_volume
        self.taker_quote += later.taker_quote
        self.first_id = later.first_id if self.first_id < 0 else self.first_id
        self.last_id = max(self.last_id, later.last_id)

    def moved_to(self, open_ms: int) -> "Candle":
        """The same as the beginning of the period that starts at ``open_ms``."""
        return Candle(
            open_ms, self.open, self.high, self.low, self.close, self.volume, self.quote, self.count,
            self.taker_volume, self.taker_quote, self.first_id, self.last_id,
        )  # fmt: skip

    def quiet_at(self, open_ms: int) -> "Candle":
        """The candle of a later period in which nothing is traded."""
        return Candle(open_ms, self.close, self.close, self.close, self.close)


def _note(candles: deque[Candle], trade: Trade, period_ms: int) -> None:
    open_ms = trade.ts // 1_000_000 // period_ms * period_ms
    if not candles or candles[-1].open_ms != open_ms:
        candles.append(Candle(open_ms, trade.price, trade.price, trade.price, trade.price))
    candles[-1].add(trade)


class History:
    """The trades of one instrument.

    Args:
        first_aggregate: aggregates are numbered behind this; within_ns: how long an aggregate stays open for the next trade
            at its price and side; 0: until :meth:`settle`.

    Attributes:
        trades, aggregates: the last ones, oldest first; minutes, seconds: candles of periods with trades, oldest first.
    """

    def __init__(self, first_aggregate: int, within_ns: int) -> None:
        self.trades: deque[Trade] = deque(maxlen=_KEPT_TRADES)
        self.aggregates: deque[Aggregate] = deque(maxlen=_KEPT_TRADES)
        self.minutes: deque[Candle] = deque(maxlen=_KEPT_MINUTES)
        self.seconds: deque[Candle] = deque(maxlen=_KEPT_SECONDS)
        self._last_aggregate, self._within_ns = first_aggregate, within_ns
        self._open: Aggregate | None = None

    def add(self, trade: Trade) -> Aggregate | None:
        """A trade has happened; the aggregate that it has closed, if any."""
        self.trades.append(trade)
        _note(self.minutes, trade, MINUTE_MS)
        _note(self.seconds, trade, SECOND_MS)
        one, closed = self._open, None
        if one is not None:
            if (
                one.price == trade.price
                and one.is_sold == trade.is_sold
                and (not self._within_ns or trade.ts - one.first_ts < self._within_ns)
            ):
                one.qty += trade.qty
                one.last_id, one.ts = trade.id, trade.ts
                return None
            closed = self._close(one)
        self._last_aggregate += 1
        self._open = Aggregate(
            self._last_aggregate, trade.price, trade.qty, trade.id, trade.id, trade.ts, trade.ts, trade.is_sold
        )
        return closed

    def settle(self, now_ns: int) -> Aggregate | None:
        """Close the open aggregate if its time is over (wall clock, ns); it, if so."""
        one = self._open
        if one is None or (self._within_ns and now_ns - one.first_ts < self._within_ns):
            return None
        return self._close(one)

    def _close(self, one: Aggregate) -> Aggregate:
        self.aggregates.append(one)
        self._open = None
        return one

    def day(self, now_ms: int) -> Candle | None:
        """The last 24 hours, to the minute, as one candle; None: nothing was traded."""
        since = (now_ms // MINUTE_MS - DAY_MINUTES + 1) * MINUTE_MS
        return self.since(since)

    def since(self, since_ms: int) -> Candle | None:
        """All minutes from ``since_ms`` on as one candle; None: nothing was traded."""
        recent = [one for one in self._newest_minutes() if one.open_ms >= since_ms]
        if not recent:
            return None
        made = recent[-1].moved_to(since_ms)
        for one in reversed(recent[:-1]):
            made.join(one)
        return made

    def _newest_minutes(self) -> Iterator[Candle]:
        return islice(reversed(self.minutes), DAY_MINUTES)
