"""What became of orders at a venue, by a replay of a capture in the order in which things happened there.

It shares no code with the package: it reads the file itself, in plain Python, and knows what no one could know at the
time, since it reads the whole of it. Depth updates and best prices are ordered by their update id, and each trade is put
before the update that shows what it took. So nothing is early or late, and no trade has to be guessed to be one of those
that a displayed quantity already contains.

What it decides is the venue's part: price-time priority behind what is displayed when the order arrives, cancels behind us
before cancels ahead of us (risk-averse), a trade used once, and a level that crosses us filling us with what it displays.
"""

import gzip
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from pathlib import Path

import orjson

UNIT = 10**8
MS = 10**6


def units(text: str) -> int:
    """1e-8 units of a decimal with at most eight places."""
    whole, _, part = text.partition(".")
    return int(whole) * UNIT + int((part + "0" * 8)[:8])


@dataclass
class Word:
    """What one message says of the book: ``top`` as (bid, its quantity, ask, its quantity), ``levels`` by (side, price)."""

    last_id: int
    local_ts: int
    venue_ms: int
    top: tuple[int, int, int, int] = (0, 0, 0, 0)
    levels: dict[tuple[int, int], int] | None = None


@dataclass(frozen=True)
class Trade:
    """One trade: which side it took from (0: bids), for how much, and when."""

    maker_side: int
    price: int
    qty: int
    local_ts: int
    venue_ms: int


@dataclass(frozen=True)
class Order:
    """One order of a plan: sent at ``sent_ns``; ``life_ns`` 0 takes what there is and goes, else it is post-only."""

    sent_ns: int
    side: int
    price: int
    qty: int
    life_ns: int
    what: str


@dataclass(frozen=True)
class End:
    """How an order ended: ``refused``, ``filled``, ``cancelled`` or ``expired``, what it got, and when (ns)."""

    how: str
    filled: int
    at_ns: int


def _levels(message: dict, names: tuple[str, str]) -> dict[tuple[int, int], int]:
    return {(side, units(p)): units(q) for side, name in enumerate(names) for p, q in message[name]}


class Capture:
    """A capture's messages: ``words`` by update id, ``trades`` by trade id, and the snapshot."""

    def __init__(self, path: Path) -> None:
        self.words: list[Word] = []
        self.trades: list[Trade] = []
        self.snapshot: dict[tuple[int, int], int] = {}
        self.snapshot_id = 0
        with gzip.open(path) as file:
            for line in file:
                ts, _, text = line.partition(b" ")
                message = orjson.loads(text)
                self._read(int(ts), message.get("data", message))
        # Of two words with one id both say the same; the best price is the later news of the two nowhere.
        self.words.sort(key=lambda word: (word.last_id, word.levels is None))

    def _read(self, ts: int, m: dict) -> None:
        if "lastUpdateId" in m:
            self.snapshot, self.snapshot_id = _levels(m, ("bids", "asks")), m["lastUpdateId"]
            self.snapshot_ns = ts
        elif "U" in m:
            self.words.append(Word(m["u"], ts, m.get("T", m["E"]), levels=_levels(m, ("b", "a"))))
        elif m.get("e") == "trade":
            self.trades.append(Trade(0 if m["m"] else 1, units(m["p"]), units(m["q"]), ts, m["T"]))
        else:
            top = (units(m["b"]), units(m["B"]), units(m["a"]), units(m["A"]))
            self.words.append(Word(m["u"], ts, m.get("T", 0), top))


def _explaining(trades: list[Trade], first: int, before: Word, after: Word) -> int:
    """How many trades from ``first`` on leave behind the step between two best prices; 0 if none do."""
    side, ms = trades[first].maker_side, trades[first].venue_ms
    (old, had), (new, has) = before.top[2 * side : 2 * side + 2], after.top[2 * side : 2 * side + 2]
    went_on = new < old if side == 0 else new > old
    gone, at = had - has if new == old else had, first
    if trades[first].price != old or gone <= 0 or not (went_on or new == old):
        return 0
    while (
        at < len(trades)
        and gone > 0
        and trades[at].price == old
        and (trades[at].maker_side, trades[at].venue_ms) == (side, ms)
    ):
        gone -= trades[at].qty
        at += 1
    if gone:
        return 0
    while (
        went_on
        and at < len(trades)
        and (trades[at].maker_side, trades[at].venue_ms) == (side, ms)
        and trades[at].price != old
    ):
        if trades[at].price < new if side == 0 else trades[at].price > new:
            break
        at += 1
    return at - first


class VenueOrder:
    """The capture as it happened: ``events`` are words and trades in order."""

    def __init__(self, capture: Capture) -> None:
        words = capture.words
        places = self._places(capture)
        self.events: list = []
        trade_at = 0
        for index in range(len(words) + 1):
            while trade_at < len(places) and places[trade_at] == index:
                self.events.append(capture.trades[trade_at])
                trade_at += 1
            if index < len(words):
                self.events.append(words[index])
        self._read_books(capture)
        self._words = self._reached(Word)
        self._trades = self._reached(Trade)

    def _reached(self, kind: type) -> tuple[list[int], list[int]]:
        """Local times, ascending, and the last event of a kind that had been received just after each."""
        times, reached, last = [], [], -1
        for ts, at in sorted((e.local_ts, at) for at, e in enumerate(self.events) if isinstance(e, kind)):
            last = max(last, at)
            times.append(ts)
            reached.append(last)
        return times, reached

    @staticmethod
    def _places(capture: Capture) -> list[int]:
        """Before which word (its index) each trade happened: the one that shows what it took, or the first that can."""
        words, trades = capture.words, capture.trades
        tops = [n for n, w in enumerate(words) if w.levels is None]
        previous = dict(zip(tops[1:], tops))
        if words[tops[0]].venue_ms:
            times = [w.venue_ms for w in words]
            ranges = [(bisect_left(times, t.venue_ms), bisect_right(times, t.venue_ms)) for t in trades]
        else:
            ranges = _ranges_without_time(capture)
        places, least, used = [], 0, -1
        while len(places) < len(trades):
            start, stop = ranges[len(places)]
            place, count = max(start, least), 1
            for at in range(max(place, used + 1), stop):
                found = _explaining(trades, len(places), words[previous[at]], words[at]) if at in previous else 0
                if found:
                    place, count, used = at, found, at
                    break
            least = place
            places += [place] * count
        return places

    def _read_books(self, capture: Capture) -> None:
        """Give every word the best prices after it and keep the depth of levels by word, for lookups."""
        depth: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.history: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        for (side, price), qty in capture.snapshot.items():
            depth[side][price] = qty
            self.history[side, price] = ([-1], [qty])
        started = False
        self.start = 0
        for at, event in enumerate(self.events):
            if not isinstance(event, Word) or event.levels is None:
                continue
            if event.last_id < capture.snapshot_id:
                event.levels = {}
            for (side, price), qty in event.levels.items():
                depth[side][price] = qty
                if not qty:
                    del depth[side][price]
                ats, qtys = self.history.setdefault((side, price), ([], []))
                ats.append(at)
                qtys.append(qty)
            if not started:
                started, self.start = True, at
            bid, ask = max(depth[0], default=0), min(depth[1], default=0)
            event.top = (bid, depth[0].get(bid, 0), ask, depth[1].get(ask, 0))

    def shown(self, at: int, side: int, price: int) -> int:
        """Displayed quantity of a level after event ``at``."""
        while not isinstance(self.events[at], Word):
            at -= 1
        top = self.events[at].top[2 * side : 2 * side + 2]
        if price == top[0]:
            return top[1]
        if (price > top[0]) == (side == 0):
            return 0
        return self.depth_shown(at, side, price)

    def depth_shown(self, at: int, side: int, price: int) -> int:
        """What the depth updates up to event ``at`` say of a level."""
        ats, qtys = self.history.get((side, price), ((), ()))
        index = bisect_right(ats, at) - 1
        return qtys[index] if index >= 0 else 0

    def top(self, at: int) -> tuple[int, int, int, int]:
        """Best prices after event ``at``."""
        while not isinstance(self.events[at], Word):
            at -= 1
        return self.events[at].top

    def book_at(self, local_ns: int) -> int:
        """The newest word that has been received before ``local_ns``: a request arriving then meets its book."""
        times, reached = self._words
        index = bisect_left(times, local_ns) - 1
        return reached[index] if index >= 0 else -1

    def _last_before(self, local_ns: int) -> int:
        """The last event that had happened, as far as what was received before ``local_ns`` shows."""
        times, reached = self._trades
        index = bisect_left(times, local_ns) - 1
        return max(self.book_at(local_ns), reached[index] if index >= 0 else -1)

    # Orders.

    def end_of(self, order: Order, latency_ns: int, tick: int) -> End:
        """What becomes of an order that is alone at the venue."""
        arrives = order.sent_ns + latency_ns
        at = self.book_at(arrives)
        opposite = self.top(at)[2 - 2 * order.side]
        reaches = bool(opposite) and (order.price >= opposite if order.side == 0 else order.price <= opposite)
        if not order.life_ns:
            got = self._taken(order, at, tick)
            return End("filled" if got == order.qty else "expired", got, arrives)
        if reaches:
            return End("refused", 0, arrives)
        return self._rest(order, arrives, order.sent_ns + order.life_ns + latency_ns)

    def _taken(self, order: Order, at: int, tick: int) -> int:
        side, got = 1 - order.side, 0
        price = self.top(at)[2 * side]
        step = tick if side == 1 else -tick
        while got < order.qty and (price <= order.price if side == 1 else price >= order.price):
            got += min(self.shown(at, side, price), order.qty - got)
            price += step
        return got

    def _rest(self, order: Order, joins_ns: int, leaves_ns: int) -> End:
        """An order in its queue, from the book of its arrival on to that of its cancel's.

        A trade after that book which had been received before the request happened before it, too.
        """
        side, price, left = order.side, order.price, order.qty
        first, last = self.book_at(joins_ns), self.book_at(leaves_ns)
        ahead = self.shown(first, side, price)
        taken: dict[int, int] = {}
        for now in range(first + 1, self._last_before(leaves_ns) + 1):
            event = self.events[now]
            is_trade = isinstance(event, Trade)
            if (is_trade and event.local_ts < joins_ns) or (
                now > last and not (is_trade and event.local_ts < leaves_ns)
            ):
                continue
            ahead, got = self._meet(event, side, price, ahead, taken)
            if got >= left:
                return End("filled", order.qty, self._shown_at_ns(now, side, price, left))
            left -= got
        return End("cancelled", order.qty - left, leaves_ns)

    @staticmethod
    def _meet(event: Word | Trade, side: int, price: int, ahead: int, taken: dict) -> tuple[int, int]:
        """What is ahead of an order after an event, and what there is for the order itself."""
        sign = 1 if side == 0 else -1
        if isinstance(event, Trade):
            if event.maker_side != side or sign * event.price > sign * price:
                return ahead, 0
            ahead = ahead if event.price == price else 0
            return max(ahead - event.qty, 0), max(event.qty - ahead, 0)
        best, shown = event.top[2 * side : 2 * side + 2]
        if best == price:
            ahead = min(ahead, shown)
        elif sign * best < sign * price:
            ahead = 0
        elif event.levels is not None:
            ahead = min(ahead, event.levels.get((side, price), ahead))
        level, shown = event.top[2 - 2 * side : 4 - 2 * side]
        if not shown or sign * level > sign * price:
            return ahead, 0
        return ahead, _still_there(taken, level, shown)

    def _shown_at_ns(self, now: int, side: int, price: int, left: int) -> int:
        """When it became known that event ``now`` had filled an order: the first to arrive of it and what followed it.

        A best price beyond an order's price is often received before the trades that made it.
        """
        known_ns = self.events[now].local_ts
        for event in self.events[now + 1 : self._last_before(known_ns) + 1]:
            if event.local_ts < known_ns and self._meet(event, side, price, 0, {})[1] >= left:
                known_ns = event.local_ts
        return known_ns


def _still_there(taken: dict[int, int], level: int, shown: int) -> int:
    """What a crossing level that shows ``shown`` gives: all of it the first time, then what has been added since."""
    added = max(shown - taken.get(level, 0), 0)
    taken[level] = shown
    return added


def _ranges_without_time(capture: Capture) -> list[tuple[int, int]]:
    """Where each taker's trades can have happened if best prices carry no time: between the depth updates around it."""
    words = capture.words
    fastest = min(w.local_ts - w.venue_ms * MS for w in words if w.venue_ms)
    depths = [(n, w.venue_ms) for n, w in enumerate(words) if w.levels is not None]
    times = [ms for _, ms in depths]
    latest, newest = [], 0
    for w in words:
        newest = max(newest, w.local_ts - fastest)
        latest.append(newest)
    ranges = []
    for trade in capture.trades:
        index = bisect_left(times, trade.venue_ms)
        low = depths[index - 1][0] + 1 if index else 0
        high = depths[min(index + 1, len(depths) - 1)][0] + 1
        start = bisect_left(latest, trade.venue_ms * MS, low, high)
        ranges.append((min(max(start, low), depths[min(index, len(depths) - 1)][0]), high))
    return ranges


class Offered:
    """What a market has offered at each price up to each moment: what it showed at first, and all that was added."""

    def __init__(self, venue: VenueOrder) -> None:
        self._shown: dict[tuple[int, int], int] = {}
        self._prices: tuple[list[int], list[int]] = ([], [])
        self._ats: dict[tuple[int, int], list[int]] = {}
        self._sums: dict[tuple[int, int], list[int]] = {}
        self._venue = venue
        for (side, price), (ats, qtys) in venue.history.items():
            if ats[0] < 0:
                self._set(-1, side, price, qtys[0])
        for at, event in enumerate(venue.events):
            if isinstance(event, Word):
                self._hear(at, event)

    def _hear(self, at: int, word: Word) -> None:
        for (side, price), qty in (word.levels or {}).items():
            self._set(at, side, price, qty)
        for side in (0, 1):
            best, qty = word.top[2 * side : 2 * side + 2]
            prices = self._prices[side]
            while prices and (prices[-1] > best if side == 0 else prices[0] < best):
                self._set(at, side, prices[-1 if side == 0 else 0], 0)
            if word.levels is None:
                self._set(at, side, best, qty)

    def _set(self, at: int, side: int, price: int, qty: int) -> None:
        was = self._shown.get((side, price), 0)
        if qty and not was:
            insort(self._prices[side], price)
        elif was and not qty:
            self._prices[side].remove(price)
        self._shown[side, price] = qty
        if qty > was:
            sums = self._sums.setdefault((side, price), [])
            self._ats.setdefault((side, price), []).append(at)
            sums.append((sums[-1] if sums else 0) + qty - was)

    def until(self, local_ns: int, side: int, price: int) -> int:
        """All that has been offered at a price, as far as what has been received before or at ``local_ns`` shows."""
        index = bisect_right(self._ats.get((side, price), []), self._venue.book_at(local_ns + 1))
        return self._sums[side, price][index - 1] if index else 0
