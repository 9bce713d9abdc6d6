"""What a venue says of its live feed: where to connect, what to ask for, how a book begins, and what must be said now and then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.listing import Listing


class Heard(NamedTuple):
    """A text that came while streams were still being asked for; ``at_ns``: when, of our steady clock."""

    at_ns: int
    text: bytes


@dataclass(frozen=True)
class ListingPlan:
    """How a venue is asked what it lists.

    Attributes:
        ask: raises OSError or ValueError; called in a thread beside.
        period_s: between two questions, s.
    """

    ask: Callable[[], Listing]
    period_s: float


@dataclass(frozen=True)
class Side:
    """Connections beside those of the books, as many, with the streams of the same instruments that do not come on them.

    Attributes:
        url, subscribe: as of :class:`LivePlan`; alive: what is said every ``alive_s``, so that an answer shows that it lives.
    """

    url: str
    subscribe: Callable[[Connection, Sequence[str], Sequence[int]], Sequence[Heard]]
    alive: Callable[[], bytes]
    alive_s: float


#: What a message tells of a symbol: decimal numbers as text, by the names of TICKER's figures.
Told = tuple[str, Mapping[str, object]]


def like_one(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a symbol is like one of these (``*USDT``; of ``venue:*USDT`` the venue is the one that asks)."""
    plain = [one.rpartition(":")[2] for one in patterns]
    return lambda symbol: any(fnmatchcase(symbol, one) for one in plain)


@dataclass(frozen=True)
class TickerPlan:
    """How a venue's tickers are followed, in a thread beside.

    Attributes:
        url: where; subscribe: asks for those of some symbols, and gives what has been told meanwhile; raises ConnectError.
        read: what a text tells; of one that is no ticker, nothing.
        takes: whether an instrument's are wanted, by its symbol.
        alive: what is said every ``alive_s``; empty: nothing.
    """

    url: str
    subscribe: Callable[[Connection, Sequence[str]], Sequence[Told]]
    read: Callable[[bytes], Sequence[Told]]
    takes: Callable[[str], bool]
    alive: bytes = b""
    alive_s: float = 0.0


@dataclass(frozen=True)
class BookCheck:
    """How a venue's book is had for a comparison.

    Attributes:
        fetch: (symbol, levels a side of our book) -> the text that the venue's decoder knows a whole book by. Raises OSError or
            ValueError. Called in a thread beside.
        asked: (levels a side of our book) -> levels a side that are asked for; of fewer, that is all there are.
        is_named: see :func:`hftpipe.venues.live.compare.compare`; tries: how often a comparison is tried before it is left out.
        period_s: between two of them, s.
    """

    fetch: Callable[[str, int], bytes]
    asked: Callable[[int], int]
    is_named: bool
    tries: int
    period_s: float


def _no_complaint(text: bytes) -> str:
    return ""


def _whole(levels: int) -> int:
    return levels


def _is_not_ending(text: bytes) -> bool:
    return False


@dataclass(frozen=True)
class LivePlan:
    """The cold half of a live feed. What asks the venue is called from threads of its own, beside the compiled loop.

    Attributes:
        url: of every connection.
        subscribe: (connection, symbols, levels a side of each book): asks for their streams and returns once the venue has confirmed
            all of them, with what has come meanwhile and belongs to books. Raises ConnectError.
        snapshot: (symbol, levels a side of our book) -> the venue's, as the text that its decoder knows a whole book by. Raises
            OSError or ValueError. None: books begin with the first message of their stream.
        snapshot_levels: (levels a side of our book) -> levels a side that a ``snapshot`` is asked for; of fewer, that is all there are.
        check: how a book is had to compare ours with; None: they are not compared.
        listing: how what the venue lists is asked again; None: it is not.
        again: (symbol, levels, number of the attempt): what to say on the connection so that a stream begins anew, where there is no
            ``snapshot``.
        alive: what to say every ``alive_s`` so that the venue does not close the connection; None: nothing, its pings are answered.
        complaint: why the venue refuses something, of a text that the scanner passes on; empty: it is no refusal.
        lifetime_s: after so long a connection is replaced by another one that is subscribed already; 0: never.
        is_ending: whether a text that the scanner passes on says that the venue is about to close connections: all are replaced.
        tickers: how figures of a day are followed; None: they are not.
        side: connections for streams that come another way; None: there are none.
        ca_file: certificates to trust instead of the system's; empty: the system's.
    """

    url: str
    subscribe: Callable[[Connection, Sequence[str], Sequence[int]], Sequence[Heard]]
    snapshot: Callable[[str, int], bytes] | None
    snapshot_levels: Callable[[int], int] = _whole
    check: BookCheck | None = None
    listing: ListingPlan | None = None
    again: Callable[[str, int, int], Sequence[bytes]] | None = None
    alive: Callable[[], bytes] | None = None
    alive_s: float = 0.0
    complaint: Callable[[bytes], str] = _no_complaint
    lifetime_s: float = 0.0
    is_ending: Callable[[bytes], bool] = _is_not_ending
    tickers: TickerPlan | None = None
    side: Side | None = None
    ca_file: str = ""

    def __post_init__(self) -> None:
        assert (self.snapshot is None) != (self.again is None), "a book begins in one way"
