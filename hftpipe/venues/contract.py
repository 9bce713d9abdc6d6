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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.counters import Place
from hftpipe.core.schema.finding import Finding
from hftpipe.venues.message import Symbols


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
        is_alone: the feed has a process of its own: nobody waits for the end of its step.
        fee_assets: what fees may be paid in besides the quote currency, of all venues.
    """

    config: Config
    instruments: np.ndarray
    memory: Memory
    start_ts: int
    report: Callable[[str], None]
    is_alone: bool = True
    fee_assets: tuple[str, ...] = ()

    def fee_number(self, asset: str) -> int:
        """The number of an asset in the flags of a FILL (FEE_ASSET); 0 for none, that is the quote currency."""
        return 1 + self.fee_assets.index(asset) if asset else 0


def _do_nothing() -> None:
    return None


def _no_counters(config: Config) -> list[Place]:
    return []


def _no_assets(config: Config) -> tuple[str, ...]:
    return ()


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


class Evidence(NamedTuple):
    """What one line of a capture says about it.

    Attributes:
        symbol: whose line it is; empty: of none, or not of a kind that tells.
        levels: prices and quantities in it, 1e-8 of the venue's units, of any size.
        market: the market that only such a line comes from; empty: it does not tell.
        is_snapshot: whether it is a snapshot of a book.
    """

    symbol: str = ""
    levels: Sequence[tuple[int, int]] = ()
    market: str = ""
    is_snapshot: bool = False


@dataclass(frozen=True)
class Codec:
    """How the text of some markets is read and their books are kept: whatever reads a capture asks this, and names no venue.

    Attributes:
        markets: their names; the first one is meant where no line of a capture tells.
        events: what it understands, as text.
        scan: C function ``int64 f(uint64 text, uint64 end, uint64 symbols, uint64 message)``: decodes the JSON text in
            ``[text, end)`` into a MESSAGE with the ids of a SYMBOLS table; OK or FALLBACK (:mod:`hftpipe.venues.message`).
        lose: C function ``int64 f(uint64 sync, uint64 book)``: the connection of an instrument was lost; its book is empty and INVALID
            until a new snapshot. 0: it comes from recordings alone.
        peek: C function ``int64 f(uint64 text, uint64 end, uint64 symbols)``: the instrument of the message that begins at ``text``, as
            far as that is told at a glance, else -1; what it needs is then asked for early. 0: there is none.
        decode: the slow, forgiving decoder behind it: (text, instruments, uint8 memory of a MESSAGE) -> None, or why it is refused.
        follow: C function ``int64 f(uint64 sync, uint64 book, uint64 message)``: sequences a message and follows it with the book
            of its instrument; what changed (:mod:`hftpipe.venues.message`).
        syncs_bytes: memory to sequence by, from levels a side of each book (int64[n]); it begins with the address of each part.
        syncs_init: (memory, levels, market of each): make every instrument wait for its first snapshot.
        syncs: (memory, levels) -> the record of each instrument, where it lies, an array of length 1 each, with ``state loaded applied
            gaps crossed resyncs trades trades_ignored``.
        recognise: what a JSON value says about the capture it comes from.
    """

    markets: tuple[str, ...]
    events: str
    scan: int
    decode: Callable[[bytes, Symbols, np.ndarray], str | None]
    follow: int
    peek: int = field(default=0, kw_only=True)
    lose: int = field(default=0, kw_only=True)
    syncs_bytes: Callable[[np.ndarray], int]
    syncs_init: Callable[[np.ndarray, np.ndarray, Sequence[str]], None]
    syncs: Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
    recognise: Callable[[Any], Evidence]


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
        fee_assets: what fees may be paid in besides the quote currency.
    """

    sizes: Callable[[Config], dict[str, int]]
    wire: Callable[[Site, np.ndarray], Wired]
    hears_market: bool = False
    counters: Callable[[Config], list[Place]] = _no_counters
    fee_assets: Callable[[Config], tuple[str, ...]] = _no_assets


@dataclass(frozen=True)
class About:
    """What people are told of a venue, and what a start and a stop must know of it.

    Attributes:
        source: where its market data comes from; orders_to: where its orders go (``paper`` where no other party takes them).
        ends_with_run: its other side is part of the run, so that no order can outlive it.
        server, user: where its orders go and under which account; empty where no other party takes them.
    """

    source: str
    orders_to: str = "paper"
    ends_with_run: bool = True
    server: str = ""
    user: str = ""


class Beside(Protocol):
    """A process that runs beside the stages, such as an exchange: see :class:`hftpipe.app.supervisor.Companion`."""

    def start(self, hot_cpus: set[int]) -> None:
        """Fork it."""

    def has_died(self) -> bool:
        """Whether it ended by itself."""

    def has_ended(self) -> bool:
        """Whether it has come to its end, as a recording does: so does the run then."""

    def stop(self) -> str:
        """End it."""


def _nobody_beside(config: Config, rows: np.ndarray, report: Callable[[str], None]) -> tuple[Beside | None, Config]:
    return None, config


@dataclass(frozen=True)
class Venue:
    """A venue.

    Attributes:
        about: what is to be said of it as configured.
        feed, orders: its halves; a feed without orders is traded on paper.
        live_orders: the half that places real orders, with ``mode = live``; None: it has none.
        catalogue: what it lists, as a LISTED array (:mod:`hftpipe.core.schema.catalogue`); None: it does not say. Instruments can
            then be chosen by patterns (``[[universe]]``).
        beside: makes what runs beside the pipeline for it (sockets open, not started), and the configuration that reaches it,
            from the configuration, the INSTRUMENT array, and where a line about damaged input goes.
        check: looks at the venue and the account as configured, one finding after the other; True: also with an order that is placed
            and cancelled. None: there is nothing to look at.
    """

    about: Callable[[Config], About]
    feed: Feed | None = None
    orders: Orders | None = None
    live_orders: Orders | None = None
    catalogue: Callable[[Config], np.ndarray] | None = None
    beside: Callable[[Config, np.ndarray, Callable[[str], None]], tuple[Beside | None, Config]] = _nobody_beside
    check: Callable[[Config, bool], Iterator[Finding]] | None = None
