"""What a checker may know of a venue: its books in truth, and who is subscribed to what."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from hftpipe.core.schema.records import ASK, BID
from hftpipe.simulation.market_server.market import Market

DEFAULT_LEVELS, MOST_LEVELS = 64, 8192


def books_of(market: Market, levels: int) -> dict[str, Any]:
    """The book of every symbol: ``id`` of its last change, ``bids`` and ``asks``, up to ``levels`` each, best first.

    A level is its price and quantity, 1e-8.
    """
    return {
        symbol: {
            "id": market.update_id(index),
            "bids": market.side(index, BID, levels), "asks": market.side(index, ASK, levels),
        }
        for index, symbol in enumerate(market.symbols)
    }  # fmt: skip


def levels_from(text: str) -> int:
    """What ``levels`` of a request says.

    Raises:
        ValueError: no such number.
    """
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_LEVELS:
        raise ValueError(f"levels = {text!r}; allowed: 1 to {MOST_LEVELS}")
    return int(text)


def stream_figures(market: str, names: Iterable[str], asked_twice: int) -> dict[str, int]:
    """Subscriptions of a market that there are now, and how many of them are on more than one connection.

    Args:
        names: of the streams of all its connections, each as often as it is subscribed to.
        asked_twice: how often a connection has asked for what it had, since the start.
    """
    counts = Counter(names)
    return {
        f"{market}_streams": counts.total(), f"{market}_streams_doubled": counts.total() - len(counts),
        f"{market}_asked_twice": asked_twice,
    }  # fmt: skip
