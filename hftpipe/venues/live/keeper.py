"""The Python half of a live feed: opens connections, opens them again, fetches snapshots, decodes what the scanner passes on.

::

    a thread each connection   connect, subscribe ──┐ done, errands + 1      ┌─▶ the connection is read from now on
    thread "snapshots"         fetch ───────────────┴──▶ service (in the ────┼─▶ a snapshot is the next text
                                                         stage's own thread) └─▶ an ended connection, a lost book: asked for again

The stage's thread waits for nobody: what takes time is in the others.
"""

import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.core.schema.records import INVALID, VALID
from hftpipe.transport.tls.openssl import TlsError
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.transport.websocket.link import CLOSED, ENDED, link_close, link_init, link_open, why_ended
from hftpipe.venues.contract import Codec
from hftpipe.venues.live.errands import Errands
from hftpipe.venues.live.plan import LivePlan
from hftpipe.venues.live.source import KEPT
from hftpipe.venues.message import Symbols
from hftpipe.venues.taped.cursor import DECODED, NEED_DECODE, WAITING
from hftpipe.venues.taped.text import Page

#: Pauses between attempts: doubling from the first to the longest, up to half of it more, at random.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
SNAPSHOT_PAUSE_S, LONGEST_SNAPSHOT_PAUSE_S = 0.5, 60.0
#: Failures in a row after which it is said again, each time.
ALARM_AFTER = 5
#: How long after a snapshot, and after a connection, books are looked at.
CHECK_S, FIRST_DATA_S = 1.0, 10.0
#: Checks in a row after which a snapshot that nothing has bridged to is given up.
UNBRIDGED_CHECKS = 10


@dataclass(frozen=True)
class LiveMemory:
    """What a live feed has in the segment.

    Attributes:
        state: STATE of the stage; live: LIVE array; links, shares: one of each a connection; buffers: uint8[connections, bytes];
            outs: uint8[connections, OUT_BYTES]; message: a MESSAGE with its levels (uint8).
        syncs: what the codec sequences by, an array of length 1 each instrument; lose: makes the book of an instrument INVALID, as if its
            connection were lost; levels: a side of each book.
    """

    state: np.ndarray
    live: np.ndarray
    links: np.ndarray
    shares: np.ndarray
    buffers: np.ndarray
    outs: np.ndarray
    message: np.ndarray
    syncs: Sequence[np.ndarray]
    lose: Callable[[int], None]
    levels: np.ndarray

    @property
    def cursor(self) -> np.ndarray:
        """The CURSOR array (length 1) of the feed."""
        found: np.ndarray = self.live["cursor"]
        return found


def pause_s(failures: int, first: float, longest: float) -> float:
    """How long to wait after so many failures in a row (1 or more)."""
    return min(first * 2.0 ** (failures - 1), longest) * (1.0 + random.random() / 2)


class Keeper:
    """Keeps the connections of a feed open and its books begun.

    Args:
        memory: the feed's; plan: the venue's; codec: of its text; symbols: the instruments.
        report: takes one line about what goes wrong.
    """

    def __init__(
        self, memory: LiveMemory, plan: LivePlan, codec: Codec, symbols: Symbols, report: Callable[[str], None]
    ) -> None:
        self._memory, self._plan, self._codec, self._symbols, self._report = memory, plan, codec, symbols, report
        self._names = {number: symbol for symbol, number in symbols.ids.items()}
        self._page = Page(memory.cursor, codec, symbols, memory.message)
        self._connections: dict[int, Connection] = {}
        self._failures = [0] * len(memory.links)
        self._done: deque[Callable[[], bool]] = deque()
        self._telling = threading.Lock()
        self._asked, self._handed = set[int](), -1
        #: Instruments whose last snapshot is not known to have been of use.
        self._given: set[int] = set()
        #: Snapshots in a row that did not come, could not be read, or did not make their book VALID; and checks in a row since
        #: the last one.
        self._tries, self._checks = defaultdict[int, int](int), defaultdict[int, int](int)
        #: A thread a connection: none waits for the server of another.
        self._connecting = [Errands(f"live-connect-{at + 1}", report) for at in range(len(memory.links))]
        self._fetching = Errands("live-snapshots", report)

    def open(self) -> None:
        """Begin, in the process that runs the stage: threads do not survive a fork."""
        for index in range(len(self._memory.links)):
            at = slice(index, index + 1)
            link_init(self._memory.links[at], self._memory.buffers[index], self._memory.outs[index])
            self._memory.shares["lost"][index] = KEPT
        self._fetching.start()
        for index, errands in enumerate(self._connecting):
            errands.start()
            errands.ask(lambda index=index: self._connect(index))  # type: ignore[misc]

    def close(self) -> None:
        """End the threads and close every connection."""
        for errands in (*self._connecting, self._fetching):
            errands.end()
        for index, connection in self._connections.items():
            link_close(self._memory.links[index : index + 1])
            connection.close()

    # In the threads beside.

    def _tell(self, what: Callable[[], bool]) -> None:
        """Have ``what`` done in the stage's own thread."""
        with self._telling:
            self._done.append(what)
            self._memory.live["errands"] += 1

    def _share(self, index: int) -> range:
        share = self._memory.shares[index]
        return range(int(share["first"]), int(share["end"]))

    def _connect(self, index: int) -> None:
        own = self._share(index)
        try:
            connection = Connection(self._plan.url, self._plan.ca_file)
            with ExitStack() as undo:
                undo.callback(connection.close)
                tops = [bool(self._memory.levels[one] == TOP_LEVELS) for one in own]
                self._plan.subscribe(connection, [self._names[one] for one in own], tops)
                fd, tls = connection.hand_over()
                undo.pop_all()
        except (ConnectError, TlsError) as wrong:
            self._failed(index, str(wrong))
            return
        self._failures[index] = 0
        self._tell(lambda: self._opened(index, connection, fd, tls))

    def _failed(self, index: int, why: str) -> None:
        self._failures[index] += 1
        failures = self._failures[index]
        if failures == 1 or failures >= ALARM_AFTER:
            self._report(f"connection {index + 1}: attempt {failures} failed: {why}")
        after_s = pause_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._connecting[index].ask(lambda: self._connect(index), after_s)

    def _fetch(self, instrument: int) -> None:
        symbol = self._names[instrument]
        try:
            text = self._plan.snapshot(symbol)
        except (OSError, ValueError) as wrong:
            reason = str(wrong)
            self._tell(lambda: self._was_useless(instrument, reason))
            return
        self._tell(lambda: self._take_snapshot(instrument, text))

    # In the stage's thread.

    def service(self) -> bool:
        """See to what the step has asked for; always True: a live feed has no end of its own."""
        live, cursor = self._memory.live, self._memory.cursor
        if self._handed >= 0 and int(cursor["line_ready"][0]) == 0:
            self._asked.discard(self._handed)
            self._handed = -1
        if int(cursor["need"][0]) == NEED_DECODE:
            self._page.decode()
        self._see_to_ended()
        has_lost = live["invalidations"][0] != self._memory.state["invalidations"][0]
        live["invalidations"] = self._memory.state["invalidations"]
        while self._done and int(cursor["line_ready"][0]) == 0:
            live["seen"] += 1
            if self._done.popleft()():
                break
        if has_lost:
            self._ask_for_lost()
        return True

    def _see_to_ended(self) -> None:
        for index in np.flatnonzero(self._memory.links["state"] == ENDED).tolist():
            share = self._memory.shares[index]
            if share["lost"] != share["end"]:
                continue
            link = self._memory.links[index : index + 1]
            self._report(f"connection {index + 1}: {why_ended(link)}; connecting again")
            link_close(link)
            self._memory.shares["lost"][index] = KEPT
            self._connections.pop(index).close()
            after_s = pause_s(1, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            self._connecting[index].ask(lambda index=index: self._connect(index), after_s)  # type: ignore[misc]

    def _opened(self, index: int, connection: Connection, fd: int, tls: int) -> bool:
        self._connections[index] = connection
        assert int(self._memory.links["state"][index]) == CLOSED, f"connection {index} is open already"
        link_open(self._memory.links[index : index + 1], fd, steady_ns(), tls)
        for instrument in self._share(index):
            self._ask_snapshot(instrument)
        self._fetching.ask(lambda: self._tell(lambda: self._look_for_silent(index, connection)), FIRST_DATA_S)
        return False

    def _ask_snapshot(self, instrument: int) -> None:
        """Have a snapshot fetched, unless one is under way; after some that were of no use in a pause, for all books share the weight."""
        if self._memory.levels[instrument] != TOP_LEVELS and instrument not in self._asked:
            self._asked.add(instrument)
            tries = self._tries[instrument]
            after_s = pause_s(tries, SNAPSHOT_PAUSE_S, LONGEST_SNAPSHOT_PAUSE_S) if tries else 0.0
            self._fetching.ask(lambda: self._fetch(instrument), after_s)

    def _was_useless(self, instrument: int, why: str) -> bool:
        """A snapshot did not come, could not be read, or began no book: the next one later each time, and said."""
        self._asked.discard(instrument)
        self._tries[instrument] += 1
        tries = self._tries[instrument]
        if tries == 1 or tries >= ALARM_AFTER:
            self._report(f"{self._names[instrument]}: snapshot: attempt {tries} failed: {why}")
        if self._is_wanted(instrument):
            self._ask_snapshot(instrument)
        return False

    def _take_snapshot(self, instrument: int, text: bytes) -> bool:
        """Make a snapshot the next text of the step; True if it is."""
        cursor = self._memory.cursor
        if not self._is_wanted(instrument):
            self._asked.discard(instrument)
            return False
        if reason := self._codec.decode(text, self._symbols, self._memory.message):
            return self._was_useless(instrument, reason)
        self._checks[instrument] = 0
        self._given.add(instrument)
        self._fetching.ask(lambda: self._tell(lambda: self._check(instrument)), CHECK_S)
        # Asked for until the step has taken it.
        self._handed = instrument
        assert int(cursor["message_ready"][0]) == WAITING
        self._memory.live["origin"] = tsc_now()
        cursor["line_ts"], cursor["message_ready"], cursor["line_ready"] = steady_ns(), DECODED, 1
        return True

    def _is_wanted(self, instrument: int) -> bool:
        """Whether a book waits for its snapshot; one that has begun would have to begin anew."""
        is_read = any(instrument in self._share(index) for index in self._connections)
        return is_read and not int(self._memory.syncs[instrument]["loaded"][0])

    def _state(self, instrument: int) -> int:
        """State of a book."""
        return int(self._memory.syncs[instrument]["state"][0])

    def _check(self, instrument: int) -> bool:
        """A snapshot that was too old is fetched again; so is one that nothing bridges to for long, for it is from ahead."""
        if self._state(instrument) == VALID:
            self._tries[instrument] = 0
            self._given.discard(instrument)
        elif self._is_wanted(instrument):
            self._was_useless(instrument, "it is older than what the stream has brought since")
        else:
            self._checks[instrument] += 1
            if self._checks[instrument] >= UNBRIDGED_CHECKS:
                self._memory.lose(instrument)
                self._was_useless(instrument, "nothing that the stream has brought since bridges to it")
            else:
                self._fetching.ask(lambda: self._tell(lambda: self._check(instrument)), CHECK_S)
        return False

    def _ask_for_lost(self) -> None:
        """Snapshots for books that have been lost while their connection goes on."""
        for index in self._connections:
            for instrument in self._share(index):
                if instrument not in self._asked and self._state(instrument) == INVALID:
                    self._begin_again(instrument)

    def _begin_again(self, instrument: int) -> None:
        """A snapshot for a lost book; the one before may have been of no use to it."""
        if instrument in self._given:
            self._given.discard(instrument)
            self._was_useless(instrument, "it did not fit what the stream has brought")
        else:
            self._ask_snapshot(instrument)

    def _look_for_silent(self, index: int, connection: Connection) -> bool:
        """A stream that was confirmed and brings nothing is said: the venue confirms streams that there are not."""
        if self._connections.get(index) is connection:
            silent = [self._names[one] for one in self._share(index) if self._state(one) != VALID]
            if silent:
                shown = ", ".join(silent[:8]) + (f" and {len(silent) - 8} more" if len(silent) > 8 else "")
                self._report(f"connection {index + 1}: no book after {FIRST_DATA_S:.0f} s: {shown}")
        return False
