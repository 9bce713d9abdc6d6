"""The topics of a category: what their names mean, and who listens to them."""

import re
from dataclasses import dataclass, field
from typing import Protocol

from hftpipe.simulation.bybit_server.settings import CategoryRules
from hftpipe.simulation.market_server.symbols import Symbol, Symbols

BOOK, TRADES, TICKER = "orderbook", "publicTrade", "tickers"
_BOOK_NAME = re.compile(r"orderbook\.(\d{1,4})\.([A-Z0-9_-]+)")


class Listener(Protocol):
    """Who takes the messages of topics."""

    def say(self, text: str) -> None:
        """Send a text in its turn."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a topic asks for.

    Attributes:
        kind: one of the names above; symbol: whose; depth: levels a side of a book; every_ms: how often it is told, 0: at once.
    """

    kind: str
    symbol: Symbol
    depth: int
    every_ms: int


def meaning_of(name: str, rules: CategoryRules, symbols: Symbols) -> Meaning | None:
    """What a topic means in a category; None: nothing."""
    if match := _BOOK_NAME.fullmatch(name):
        depth, symbol = int(match[1]), symbols.by_name.get(match[2])
        every = rules.depths_ms.get(depth)
        return Meaning(BOOK, symbol, depth, every) if symbol and every else None
    kind, _, rest = name.partition(".")
    found = symbols.by_name.get(rest)
    if found is None or kind not in (TRADES, TICKER):
        return None
    return Meaning(kind, found, 0, rules.ticker_ms if kind == TICKER else 0)


@dataclass(slots=True)
class Topic:
    """A topic that somebody listens to.

    Attributes:
        name: as it is asked for; meaning: what that is; due_ms: when it is told next (those that are not told at once).
        listeners: who hears it.
    """

    name: str
    meaning: Meaning
    due_ms: int
    listeners: dict[Listener, None] = field(default_factory=dict)

    def tell(self, text: str) -> None:
        """Send a message to everyone who listens."""
        for listener in tuple(self.listeners):
            listener.say(text)
