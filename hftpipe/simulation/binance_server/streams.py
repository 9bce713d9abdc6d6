"""The streams of one market: what their names mean, who listens, and what each of them is sent when something happens.

A stream exists while somebody listens to it. A diff stream gathers levels between two of its events; its first event begins
with the first change after it came to be, and ``pu`` of that is the book's update id then.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hftpipe.core.schema.records import BID
from hftpipe.simulation.binance_server.payloads import DepthChange, Pairs, Payload
from hftpipe.simulation.binance_server.settings import MarketRules
from hftpipe.simulation.market_server.symbols import Symbol, Symbols

PUBLIC, MARKET, PRIVATE, LEGACY = "public", "market", "private", ""
_NAME = re.compile(r"([^@!]+)@([A-Za-z]+)(\d*)(?:@(\d+)ms)?")
_MARK_NAME = re.compile(r"([^@!]+)@markPrice(@1s)?")
#: How often mark prices are told, without and with a suffix.
MARK_MS = (3000, 1000)
_PARTIAL = ("5", "10", "20")
#: How often what is not told at once is told, ms.
TICKER_MS = {"spot": 1000, "usdm": 2000}
ALL_MS, ALL_TOPS_MS = 1000, 5000
DEPTH, PARTIAL, BOOK_TICKER, TRADE, AGGREGATE, TICKER, MINI_TICKER, MARK_PRICE = (
    "depth", "partial", "bookTicker", "trade", "aggTrade", "ticker", "miniTicker", "markPrice",
)  # fmt: skip
ALL_MINI_TICKERS, ALL_BOOK_TICKERS = "!miniTicker@arr", "!bookTicker"


class Listener(Protocol):
    """Who takes the messages of streams."""

    def hear(self, stream: str, build: "Build", kept: "Kept") -> None:
        """Take one message; ``kept`` holds its text in the forms that others asked for before."""


#: Makes a payload with times in units of so many ns.
Build = Callable[[int], Payload | list[Payload]]
#: Texts of one message, by (combined, unit).
Kept = dict[tuple[bool, int], str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a stream's name asks for.

    Attributes:
        kind: one of the names above; symbol: whose, None: of all; levels: of a partial book, per side.
        every_ms: how often it is sent, 0: at once; route: the path it is served under on USD-M.
    """

    kind: str
    symbol: Symbol | None
    levels: int
    every_ms: int
    route: str


def _depth(rules: MarketRules, symbol: Symbol, levels: str, speed: str) -> Meaning | None:
    every = int(speed) if speed else rules.depth_ms
    is_known = not speed or speed in map(str, rules.depth_speeds_ms)
    if not is_known or (levels and (levels not in _PARTIAL or every == 0)):
        return None
    return Meaning(PARTIAL if levels else DEPTH, symbol, int(levels or 0), every, PUBLIC)


def meaning_of(name: str, rules: MarketRules, symbols: Symbols) -> Meaning | None:
    """What a stream name means in a market; None: nothing (such a stream is silent)."""
    if name == ALL_MINI_TICKERS:
        return Meaning(ALL_MINI_TICKERS, None, 0, ALL_MS, MARKET)
    if name == ALL_BOOK_TICKERS and rules.name == "usdm":
        return Meaning(ALL_BOOK_TICKERS, None, 0, ALL_TOPS_MS, PUBLIC)
    if rules.name == "usdm" and (of_mark := _MARK_NAME.fullmatch(name)):
        marked = symbols.by_stream.get(of_mark[1])
        return Meaning(MARK_PRICE, marked, 0, MARK_MS[of_mark[2] is not None], MARKET) if marked else None
    match = _NAME.fullmatch(name)
    symbol = symbols.by_stream.get(match[1]) if match else None
    if match is None or symbol is None:
        return None
    kind, digits, speed = match[2], match[3], match[4] or ""
    if kind == "depth":
        return _depth(rules, symbol, digits, speed)
    if digits or speed:
        return None
    if kind in (BOOK_TICKER, TRADE):
        return Meaning(kind, symbol, 0, 0, PUBLIC)
    if kind == AGGREGATE:
        return Meaning(kind, symbol, 0, 0, MARKET)
    if kind in (TICKER, MINI_TICKER):
        return Meaning(kind, symbol, 0, TICKER_MS[rules.name], MARKET)
    return None


@dataclass(slots=True)
class Stream:
    """A stream that somebody listens to.

    Attributes:
        name: as it is asked for; meaning: what that is; listeners: who hears it.
        previous_id: last update id told; due_ms: when it is told next (streams that are not told at once).
        first_id, last_id, ts, changed: what has been gathered since, of a diff stream: 0: nothing.
    """

    name: str
    meaning: Meaning
    previous_id: int
    due_ms: int
    listeners: dict[Listener, None] = field(default_factory=dict)
    first_id: int = 0
    last_id: int = 0
    ts: int = 0
    changed: dict[tuple[int, int], int] = field(default_factory=dict)

    def note(self, side: int, price: int, qty: int, update_id: int, ts: int) -> None:
        """A level has changed."""
        self.first_id = self.first_id or update_id
        self.last_id, self.ts = update_id, ts
        self.changed[side, price] = qty

    def take(self, symbol: Symbol) -> DepthChange:
        """What has been gathered, which is told by that."""
        bids, asks = Pairs(), Pairs()
        for (side, price), qty in sorted(self.changed.items(), key=_from_the_touch):
            text = symbol.decimals.price_text(price), symbol.decimals.qty_text(qty)
            (bids if side == BID else asks).append(text)
        change = DepthChange(self.first_id, self.last_id, self.previous_id, self.ts, bids, asks)
        self.previous_id, self.first_id = self.last_id, 0
        self.changed.clear()
        return change

    def tell(self, build: Build) -> None:
        """Send a message to everyone who listens."""
        kept: Kept = {}
        for listener in tuple(self.listeners):
            listener.hear(self.name, build, kept)


def _from_the_touch(item: tuple[tuple[int, int], int]) -> int:
    (side, price), _ = item
    return -price if side == BID else price
