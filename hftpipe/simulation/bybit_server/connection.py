"""One public connection: the topics of one category."""

from collections.abc import Callable

import orjson
from aiohttp import web

from hftpipe.simulation.bybit_server.commands import answer
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.peer import Peer
from hftpipe.simulation.market_server.outbox import Stall


class Connection(Peer):
    """A client of the public topics of one category.

    Attributes:
        names: what it has subscribed to; feed, faults: of the category.

    Args:
        request: the HTTP request that becomes the connection; refresh: brings the market to now.
    """

    kind = "public"

    def __init__(
        self, request: web.Request, feed: Feed, faults: RequestFaults, stall: Stall, refresh: Callable[[], None]
    ) -> None:
        super().__init__(request, stall, refresh)
        self.names, self.feed, self.faults, self.market = dict[str, None](), feed, faults, feed.rules.name

    def subscribe(self, names: list[str]) -> None:
        """Hear these topics from now on."""
        for name in names:
            self.names[name] = None
            if not self.faults.next("mute_next"):
                self.feed.follow(name, self)

    def unsubscribe(self, names: list[str]) -> None:
        """Hear these no longer."""
        for name in names:
            if name in self.names:
                del self.names[name]
                self.feed.leave(name, self)

    def leave(self) -> None:
        """The connection is over."""
        self.unsubscribe(list(self.names))

    def take(self, text: str) -> None:
        """Answer a request; the data that it asks for comes before the answer, as it often does at the venue, or after it."""
        self.refresh()
        said, names = answer(text, self)
        made = orjson.dumps(said).decode()
        if self.faults.late_acks:
            self.subscribe(names)
            self.say(made)
        else:
            self.say(made)
            self.subscribe(names)
