"""The Python half of a live feed: opens connections, opens them again, has books begun, decodes what the scanner passes on.

::

    a thread each connection   connect, subscribe ──┐ done, errands + 1      ┌─▶ the connection is read from now on
    threads beside             fetch ───────────────┤                        │
    a thread beside            wait ────────────────┴──▶ service (in the ────┼─▶ a text that came beside is the next one
                                                         stage's own thread) ├─▶ an ended connection, a lost book: asked for again
                                                                             └─▶ something is said on a connection

The stage's thread waits for nobody: what takes time is in the others. It alone reads and writes the connections.
"""

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import cycle

import numpy as np

from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.records import INVALID, VALID
from hftpipe.transport.errands import Errands
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.transport.tls.openssl import TlsError
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.transport.websocket.frames import text_frame
from hftpipe.transport.websocket.link import CLOSED, ENDED, link_close, link_init, link_open, why_ended
from hftpipe.venues.contract import Codec
from hftpipe.venues.listing import Listing
from hftpipe.venues.live.books import Books
from hftpipe.venues.live.checks import BookChecks
from hftpipe.venues.live.fetched import FetchedBooks
from hftpipe.venues.live.listing_watch import ListingWatch
from hftpipe.venues.live.memory import LiveMemory
from hftpipe.venues.live.plan import Heard, LivePlan, Side, TickerPlan
from hftpipe.venues.live.source import KEPT, say_entry
from hftpipe.venues.live.streamed import StreamedBooks
from hftpipe.venues.live.tickers import Tickers
from hftpipe.venues.message import Symbols
from hftpipe.venues.taped.cursor import NEED_DECODE, WAITING
from hftpipe.venues.taped.text import Page

#: Pauses between attempts: doubling from the first to the longest, up to half of it more, at random.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
#: Threads that fetch snapshots: as many as the REST client keeps connections.
FETCHERS = 4
#: How long after a connection books are looked at.
FIRST_DATA_S = 10.0
#: How long a connection has its streams before it takes the place of another one.
SETTLED_S = 1.0
_MOST_SHOWN = 8
_SAY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64)


class Keeper:
    """Keeps the connections of a feed open and its books begun.

    Args:
        memory: the feed's; plan: the venue's; codec: of its text; symbols: the instruments.
        report: takes one line about what goes wrong.
        traded: what the pipeline trades; halt: halts an instrument for a cause, see :class:`ListingWatch`.
        tickers: TICKER rows of the instruments.

    Attributes:
        names: symbols by instrument; the others as given.
    """

    def __init__(
        self, memory: LiveMemory, plan: LivePlan, codec: Codec, symbols: Symbols, report: Callable[[str], None],
        traded: Listing, halt: Callable[[int, int], None], tickers: np.ndarray,
    ) -> None:  # fmt: skip
        self.memory, self.plan, self.report = memory, plan, report
        self.names = {number: symbol for symbol, number in symbols.ids.items()}
        self._page = Page(memory.cursor, codec, symbols, memory.message)
        self._connections: dict[int, Connection] = {}
        self._failures = [0] * len(memory.links)
        self._done: deque[Callable[[], bool]] = deque()
        self._telling, self._handed = threading.Lock(), np.zeros(0, np.uint8)
        self._books: Books = FetchedBooks(self, codec, symbols) if plan.snapshot else StreamedBooks(self)
        self._say = _SAY(say_entry.address)
        self._checks = BookChecks(self, self._books, codec, symbols, plan.check) if plan.check else None
        self._tickers = self._follow(plan.tickers, symbols.powers, tickers) if plan.tickers else None
        self._listing = ListingWatch(self, plan.listing, traded, halt) if plan.listing else None
        #: A thread a connection: none waits for the server of another.
        self._connecting = [Errands(f"live-connect-{at + 1}", report) for at in range(len(memory.links))]
        #: Several, for many books that are lost at once are many answers to wait for.
        self._fetching = [Errands(f"live-snapshots-{at + 1}", report) for at in range(FETCHERS if plan.snapshot else 1)]
        self._turns = cycle(self._fetching)
        self._looks, self._timers = Errands("live-looks", report), Errands("live-timers", report)

    def open(self) -> None:
        """Begin, in the process that runs the stage: threads do not survive a fork."""
        for index in range(len(self.memory.links)):
            at = slice(index, index + 1)
            link_init(self.memory.links[at], self.memory.buffers[index], self.memory.outs[index])
            self.memory.shares["lost"][index] = KEPT
        for one in (*self._fetching, self._looks, self._timers):
            one.start()
        if self._checks:
            self._checks.begin()
        if self._tickers:
            self._tickers.start()
        if self._listing:
            self._listing.begin()
        for index, errands in enumerate(self._connecting):
            errands.start()
            errands.ask(lambda index=index: self._connect(index))  # type: ignore[misc]

    def _follow(self, plan: TickerPlan, powers: Sequence[int], rows: np.ndarray) -> Tickers | None:
        chosen = [number for number, name in self.names.items() if plan.takes(name)]
        return Tickers(self, plan, chosen, powers, rows, self.plan.ca_file) if chosen else None

    def close(self) -> None:
        """End the threads and close every connection."""
        if self._tickers:
            self._tickers.end()
        for errands in (*self._connecting, *self._fetching, self._looks, self._timers):
            errands.end()
        for index, connection in self._connections.items():
            link_close(self.memory.links[index : index + 1])
            connection.close()

    # In the threads beside.

    def aside(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """Have a job that waits for others done in a thread beside, in so many seconds at the earliest."""
        next(self._turns).ask(job, after_s)

    def look(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """As :meth:`aside`, for what may wait behind others of its kind for long: no book waits for it."""
        self._looks.ask(job, after_s)

    def tell(self, what: Callable[[], bool]) -> None:
        """Have ``what`` done in the stage's own thread; it says whether it has made a text the next one."""
        with self._telling:
            self._done.append(what)
            self.memory.live["errands"] += 1

    def later(self, what: Callable[[], bool], after_s: float) -> None:
        """The same in so many seconds."""
        self._timers.ask(lambda: self.tell(what), after_s)

    def _connect(self, index: int) -> None:
        own, way = self.memory.followed(index), self._way(index)
        try:
            connection = Connection(way.url, self.plan.ca_file)
            with ExitStack() as undo:
                undo.callback(connection.close)
                levels = [int(self.memory.levels[one]) for one in own]
                heard: Sequence[Heard] = way.subscribe(connection, [self.names[one] for one in own], levels)
                fd, tls = connection.hand_over()
                undo.pop_all()
        except (ConnectError, TlsError) as wrong:
            self._failed(index, str(wrong))
            return
        self._failures[index] = 0
        for one in heard:
            self.tell(lambda one=one: self._hand(one))  # type: ignore[misc]
        if index in self._connections:
            # What came on it while streams were asked for was dropped: the old one must have brought that by then.
            self.later(lambda: self._opened(index, connection, fd, tls), SETTLED_S)
        else:
            self.tell(lambda: self._opened(index, connection, fd, tls))

    def _way(self, index: int) -> LivePlan | Side:
        """How a connection is made, and what is said on it."""
        if index < self.memory.n_books:
            return self.plan
        assert self.plan.side is not None
        return self.plan.side

    def _renew(self, index: int, connection: Connection) -> None:
        """Make another connection in the place of one that the venue will close, if it is still that."""
        if self._connections.get(index) is connection:
            self._connect(index)

    def _failed(self, index: int, why: str) -> None:
        self._failures[index] += 1
        failures = self._failures[index]
        if failures == 1 or failures >= ALARM_AFTER:
            self.report(f"connection {index + 1}: attempt {failures} failed: {why}")
        after_s = pause_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._connecting[index].ask(lambda: self._connect(index), after_s)

    # In the stage's thread.

    def service(self) -> bool:
        """See to what the step has asked for; always True: a live feed has no end of its own."""
        live, cursor = self.memory.live, self.memory.cursor
        self._books.step()
        if int(cursor["need"][0]) == NEED_DECODE:
            text = self._page.text()
            if said := self.plan.complaint(text):
                self.report(said)
            if self.plan.is_ending(text):
                self._renew_all()
            self._page.decode()
        self._see_to_ended()
        has_lost = live["invalidations"][0] != self.memory.state["invalidations"][0]
        live["invalidations"] = self.memory.state["invalidations"]
        while self._done and int(cursor["line_ready"][0]) == 0:
            live["seen"] += 1
            if self._done.popleft()():
                break
        if has_lost:
            self._see_to_lost()
        return True

    def _renew_all(self) -> None:
        """Replace every connection before the venue closes it."""
        for index, connection in self._connections.items():
            self._connecting[index].ask(lambda index=index, connection=connection: self._renew(index, connection))  # type: ignore[misc]

    def _see_to_ended(self) -> None:
        for index in np.flatnonzero(self.memory.links["state"] == ENDED).tolist():
            share = self.memory.shares[index]
            if share["lost"] != share["end"]:
                continue
            link = self.memory.links[index : index + 1]
            self.report(f"connection {index + 1}: {why_ended(link)}; connecting again")
            link_close(link)
            self.memory.shares["lost"][index] = KEPT
            self._connections.pop(index).close()
            after_s = pause_s(1, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            self._connecting[index].ask(lambda index=index: self._connect(index), after_s)  # type: ignore[misc]

    def _hand(self, heard: Heard) -> bool:
        """Make a text that came while streams were asked for the next one of the step."""
        cursor = self.memory.cursor
        assert int(cursor["message_ready"][0]) == WAITING
        self._handed = np.frombuffer(heard.text, np.uint8)
        at = self._handed.ctypes.data
        self.memory.live["origin"] = tsc_now()
        cursor["json_at"], cursor["json_end"], cursor["line_ts"] = at, at + len(heard.text), heard.at_ns
        cursor["lines"] += 1
        cursor["line_ready"] = 1
        return True

    def _opened(self, index: int, connection: Connection, fd: int, tls: int) -> bool:
        link, old = self.memory.links[index : index + 1], self._connections.get(index)
        if old:
            # What is unread of the old one comes on the new one, too: messages that come twice have the same numbers.
            link_close(link)
            old.close()
        self._connections[index] = connection
        assert int(self.memory.links["state"][index]) == CLOSED, f"connection {index} is open already"
        link_open(link, fd, steady_ns(), tls)
        for instrument in self.memory.share(index) if not old else ():
            self._books.opened(instrument)
        if self.plan.lifetime_s:
            self._connecting[index].ask(lambda: self._renew(index, connection), self.plan.lifetime_s)
        self.later(lambda: self._look_for_silent(index, connection), FIRST_DATA_S)
        way = self._way(index)
        if way.alive:
            self.later(lambda: self._say_alive(index, connection), way.alive_s)
        return False

    def is_read(self, instrument: int) -> bool:
        """Whether the connection of an instrument is open."""
        return self.memory.connection_of(instrument) in self._connections

    def say(self, index: int, text: bytes) -> None:
        """Send a text on an open connection; one that does not take it ends, and is seen to by the next step."""
        if index in self._connections:
            frame = np.frombuffer(text_frame(text, os.urandom(4)), np.uint8)
            link = self.memory.links[index : index + 1]
            self._say(link.ctypes.data, frame.ctypes.data, len(frame))

    def _say_alive(self, index: int, connection: Connection) -> bool:
        """Say what keeps a connection open, as long as it is."""
        way = self._way(index)
        if way.alive and self._connections.get(index) is connection:
            self.say(index, way.alive())
            self.later(lambda: self._say_alive(index, connection), way.alive_s)
        return False

    def _see_to_lost(self) -> None:
        """Books that have been lost while their connection goes on begin again."""
        for index in self._connections:
            for instrument in self.memory.share(index):
                if self.memory.book_state(instrument) == INVALID:
                    self._books.lost(instrument)

    def _look_for_silent(self, index: int, connection: Connection) -> bool:
        """A stream that was confirmed and brings nothing is said: venues confirm streams that there are not."""
        if self._connections.get(index) is connection:
            silent = [one for one in self.memory.share(index) if self.memory.book_state(one) != VALID]
            if silent:
                shown = ", ".join(self.names[one] for one in silent[:_MOST_SHOWN])
                more = f" and {len(silent) - _MOST_SHOWN} more" if len(silent) > _MOST_SHOWN else ""
                self.report(f"connection {index + 1}: no book after {FIRST_DATA_S:.0f} s: {shown}{more}")
            for one in silent:
                self._books.silent(one)
        return False
