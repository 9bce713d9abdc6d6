"""What a venue is to the pipeline: a feed for the market-data stage, orders for the gateway, or both.

A venue is one folder here, or one installed package: an object :class:`Venue`, found by name (:mod:`hftpipe.venues.registry`).
The stages name none. Both halves are wired before the processes are forked: each says how much memory it needs, lays
it out, and puts C addresses into its stage's STATE; the stages reach it through these alone.

=================== =========================================================================================================
feed                ``source_step(state, now_ns)``: take what is due and publish it (:mod:`hftpipe.core.feed.publish`)
orders              ``submit(venue, request)`` (NOT_TAKEN, LEFT or ANSWERED_HERE of :mod:`hftpipe.core.schema.records`),
                    ``poll(venue, out)``, and where there is such a thing ``market(venue, record)``
                    (a simulated venue hears the market) and ``unanswered(venue, out)``
=================== =========================================================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.counters import Place


class Memory(Protocol):
    """Laid-out memory: named regions."""

    def region(self, name: str) -> np.ndarray:
        """The region as a uint8 array."""

    def address(self, name: str) -> int:
        """The region's address."""


@dataclass(frozen=True)
class Site:
    """Where a venue is built in.

    Attributes:
        config: the whole configuration; a venue reads its own section and the market's.
        instruments: INSTRUMENT array.
        memory: the segment.
        start_ts: wall time of the start, ns.
        report: takes one line about damaged input, also from the stage's process.
    """

    config: Config
    instruments: np.ndarray
    memory: Memory
    start_ts: int
    report: Callable[[str], None]


def _do_nothing() -> None:
    return None


def _no_counters(config: Config) -> list[Place]:
    return []


@dataclass(frozen=True)
class Wired:
    """What a wired half of a venue wants of the process that runs it.

    Attributes:
        opened, closed: called in that process before the first and after the last step.
        service: called when a step returned SERVICE or FINISHED; False means that there is no more.
        facts: how it was joined, and what the system refused, as text.
        keep: objects that must live as long as the pipeline.
    """

    opened: Callable[[], object] = _do_nothing
    closed: Callable[[], object] = _do_nothing
    service: Callable[[], bool] | None = None
    facts: tuple[str, ...] = ()
    keep: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Feed:
    """The market-data half.

    Attributes:
        sizes: bytes of its regions by name (prefix ``market.``), of which ``market.source`` is its own record.
        largest_update: most records that it publishes at once, besides a whole book.
        wire: lays its regions out and fills in the feed's STATE array (length 1).
        counters: what it counts beside the stage.
    """

    sizes: Callable[[Config], dict[str, int]]
    largest_update: Callable[[Config], int]
    wire: Callable[[Site, np.ndarray], Wired]
    counters: Callable[[Config], list[Place]] = _no_counters


@dataclass(frozen=True)
class Orders:
    """The order half.

    Attributes:
        sizes: bytes of its regions by name.
        wire: lays its regions out and fills in the gateway's STATE array (length 1).
        hears_market: whether it is simulated here and must hear every market record.
        counters: what it counts beside the stage.
    """

    sizes: Callable[[Config], dict[str, int]]
    wire: Callable[[Site, np.ndarray], Wired]
    hears_market: bool = False
    counters: Callable[[Config], list[Place]] = _no_counters


@dataclass(frozen=True)
class Venue:
    """A venue.

    Attributes:
        feed, orders: its halves; a feed without orders is traded on paper.
    """

    feed: Feed | None = None
    orders: Orders | None = None
