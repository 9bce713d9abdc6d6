"""What a venue says of its live feed: where to connect, what to ask for, and how a book begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hftpipe.transport.websocket.connect import Connection


@dataclass(frozen=True)
class LivePlan:
    """The cold half of a live feed; all of it is called from threads of their own, beside the compiled loop.

    Attributes:
        url: of every connection.
        subscribe: (connection, symbols, whether each is followed by its best prices alone): asks for their streams and returns
            once the venue has confirmed all of them. Raises ConnectError.
        snapshot: the whole book of a symbol, as the text that the venue's decoder knows it by. Raises OSError or ValueError.
        ca_file: certificates to trust instead of the system's; empty: the system's.
    """

    url: str
    subscribe: Callable[[Connection, Sequence[str], Sequence[bool]], None]
    snapshot: Callable[[str], bytes]
    ca_file: str = ""
