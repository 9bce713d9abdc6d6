"""What a venue says of its live feed: where to connect, what to ask for, how a book begins, and what must be said now and then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hftpipe.transport.websocket.connect import Connection


class Heard(NamedTuple):
    """A text that came while streams were still being asked for; ``at_ns``: when, of our steady clock."""

    at_ns: int
    text: bytes


def _no_complaint(text: bytes) -> str:
    return ""


def _is_not_ending(text: bytes) -> bool:
    return False


@dataclass(frozen=True)
class LivePlan:
    """The cold half of a live feed. What asks the venue is called from threads of its own, beside the compiled loop.

    Attributes:
        url: of every connection.
        subscribe: (connection, symbols, levels a side of each book): asks for their streams and returns once the venue has confirmed
            all of them, with what has come meanwhile and belongs to books. Raises ConnectError.
        snapshot: the whole book of a symbol, as the text that the venue's decoder knows it by. Raises OSError or ValueError. None: books
            begin with the first message of their stream.
        again: (symbol, levels, number of the attempt): what to say on the connection so that a stream begins anew, where there is no
            ``snapshot``.
        alive: what to say every ``alive_s`` so that the venue does not close the connection; None: nothing, its pings are answered.
        complaint: why the venue refuses something, of a text that the scanner passes on; empty: it is no refusal.
        lifetime_s: after so long a connection is replaced by another one that is subscribed already; 0: never.
        is_ending: whether a text that the scanner passes on says that the venue is about to close connections: all are replaced.
        ca_file: certificates to trust instead of the system's; empty: the system's.
    """

    url: str
    subscribe: Callable[[Connection, Sequence[str], Sequence[int]], Sequence[Heard]]
    snapshot: Callable[[str], bytes] | None
    again: Callable[[str, int, int], Sequence[bytes]] | None = None
    alive: Callable[[], bytes] | None = None
    alive_s: float = 0.0
    complaint: Callable[[bytes], str] = _no_complaint
    lifetime_s: float = 0.0
    is_ending: Callable[[bytes], bool] = _is_not_ending
    ca_file: str = ""

    def __post_init__(self) -> None:
        assert (self.snapshot is None) != (self.again is None), "a book begins in one way"
