"""The spreads between venues, slow and obvious: fractions, dictionaries, and everything judged anew with every change."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, lcm
from typing import Any

ONE = 10**8
MOST = ONE // 10


@dataclass
class Listed:
    """An instrument: what it is called everywhere, how many coins are in one of it, its taker's fee (1e-8) and lot."""

    name: str
    pack: int
    fee: int
    lot: int
    top: tuple[int, int, int, int] | None = None  # bid, its quantity, ask, its quantity
    ts: int = 0


@dataclass
class Way:
    """Buying at one instrument and selling at another."""

    buy: int
    sell: int
    since: int | None = None
    until: int = 0
    net: int | None = None
    fired: int = 0
    best: int | None = None
    lives: list[int] = field(default_factory=list)


class Reference:
    """Follows the spreads of some instruments."""

    def __init__(self, listed: list[Listed], threshold: int, hysteresis: int, max_age: int) -> None:
        self.listed, self.threshold, self.hysteresis, self.max_age = listed, threshold, hysteresis, max_age
        same = [(b, s) for b in range(len(listed)) for s in range(len(listed))
                if b != s and listed[b].name == listed[s].name]  # fmt: skip
        self.ways = {pair: Way(*pair) for pair in same}
        self.crossed: list[tuple[int, int]] = []
        self.implausible = 0

    def units(self, at: int) -> int:
        """How many of an instrument make one of the largest pack of its name."""
        name = self.listed[at].name
        return max(one.pack for one in self.listed if one.name == name) // self.listed[at].pack

    def step(self, way: Way) -> int:
        """The least quantity that is whole lots of both, by trying multiples of both lots in common units."""
        lots = [Fraction(self.listed[at].lot, self.units(at)) for at in (way.buy, way.sell)]
        least = [lot.numerator for lot in lots]  # a whole number of 1e-8 is a multiple of these
        return lcm(*least)

    def show(self, at: int, top: tuple[int, int, int, int] | None, now: int) -> None:
        """A new top of book at ``now``; None: it is not to be traded on."""
        self.crossed = []
        if not any(at in pair for pair in self.ways):
            return
        was = self.listed[at].top
        self.listed[at].top, self.listed[at].ts = top, now
        if was is None and top is None:
            return
        others = sorted(sell for buy, sell in self.ways if buy == at)
        for other in others:
            self._judge(self.ways[at, other], now)
            self._judge(self.ways[other, at], now)

    def _net(self, way: Way) -> int | None:
        buy, sell = self.listed[way.buy], self.listed[way.sell]
        if buy.top is None or sell.top is None:
            return None
        paid = Fraction(buy.top[2] * self.units(way.buy)) * Fraction(ONE + buy.fee, ONE)
        got = Fraction(sell.top[0] * self.units(way.sell)) * Fraction(ONE - sell.fee, ONE)
        return floor((got - paid) * ONE / (buy.top[2] * self.units(way.buy)))

    def _end(self, way: Way, ts: int) -> None:
        way.lives.append(ts - way.since)
        way.since = None

    def _judge(self, way: Way, now: int) -> None:
        if way.since is not None and way.until < now:
            self._end(way, way.until)
        legs = (self.listed[way.buy], self.listed[way.sell])
        way.until = min(one.ts for one in legs) + self.max_age
        way.net = self._net(way) if way.until >= now else None
        if way.net is not None and way.net > MOST:
            self.implausible += 1
            way.net = None
        if way.since is not None and (way.net is None or way.net < self.threshold - self.hysteresis):
            self._end(way, now)
        elif way.since is None and way.net is not None and way.net >= self.threshold:
            way.since, way.fired = now, way.fired + 1
            self.crossed.append((way.buy, way.sell))
        if way.since is not None:
            way.best = way.net if way.best is None else max(way.best, way.net)

    def facts(self, pair: tuple[int, int]) -> dict[str, Any]:
        """What is to be seen of one way."""
        way = self.ways[pair]
        return {
            "net": way.net, "since": way.since or 0, "fired": way.fired, "best": way.best,
            "lasted": way.lives[-1] if way.lives else 0, "longest": max(way.lives, default=0), "total": sum(way.lives),
        }  # fmt: skip
