"""Books that begin with a snapshot fetched beside the stream, to which what the stream brings must connect."""

from collections import defaultdict

from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.core.schema.records import VALID
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.venues.contract import Codec
from hftpipe.venues.live.books import Desk
from hftpipe.venues.live.compare import Known, edges
from hftpipe.venues.live.held import levels_of
from hftpipe.venues.message import Symbols
from hftpipe.venues.taped.cursor import DECODED, WAITING

SNAPSHOT_PAUSE_S, LONGEST_SNAPSHOT_PAUSE_S = 0.5, 60.0
#: How long after a snapshot books are looked at.
CHECK_S = 1.0
#: Checks in a row after which a snapshot that nothing has bridged to is given up.
UNBRIDGED_CHECKS = 10


class FetchedBooks:
    """Fetches snapshots, hands them to the step, and sees whether they were of use.

    Args:
        desk: the keeper; codec: of the venue's text; symbols: the instruments.
    """

    def __init__(self, desk: Desk, codec: Codec, symbols: Symbols) -> None:
        self._desk, self._codec, self._symbols = desk, codec, symbols
        self._asked, self._handed = set[int](), -1
        #: How far the last snapshot of each book went, and how many levels had been dropped from the book before it.
        self._known: dict[int, tuple[Known, int]] = {}
        #: Instruments whose last snapshot is not known to have been of use.
        self._given: set[int] = set()
        #: Snapshots in a row that did not come, could not be read, or did not make their book VALID; and checks in a row since
        #: the last one.
        self._tries, self._checks = defaultdict[int, int](int), defaultdict[int, int](int)

    def step(self) -> None:
        """Know that a snapshot which was handed over has been taken."""
        if self._handed >= 0 and int(self._desk.memory.cursor["line_ready"][0]) == 0:
            self._asked.discard(self._handed)
            self._handed = -1

    def known(self, instrument: int) -> Known | None:
        """As far as its snapshot went; nobody knows where levels have been dropped since, for the book was full."""
        known, evicted = self._known.get(instrument, (None, 0))
        return known if evicted == self._evicted(instrument) else None

    def learned(self, instrument: int, known: Known) -> None:
        """A book is known farther now."""
        self._known[instrument] = known, self._evicted(instrument)

    def _evicted(self, instrument: int) -> int:
        return int(self._desk.memory.book(instrument)["evicted"][0])

    def opened(self, instrument: int) -> None:
        """Have its snapshot fetched."""
        self._ask(instrument)

    def silent(self, instrument: int) -> None:
        """The keeper says so; a snapshot that does not come is fetched again by itself."""

    def lost(self, instrument: int) -> None:
        """A snapshot for a lost book; the one before may have been of no use to it."""
        if instrument in self._asked:
            return
        if instrument in self._given:
            self._given.discard(instrument)
            self._was_useless(instrument, "it did not fit what the stream has brought")
        else:
            self._ask(instrument)

    def _ask(self, instrument: int) -> None:
        """Have a snapshot fetched, unless one is under way; after some that were of no use in a pause, for all books share the weight."""
        if self._desk.memory.levels[instrument] != TOP_LEVELS and instrument not in self._asked:
            self._asked.add(instrument)
            tries = self._tries[instrument]
            after_s = pause_s(tries, SNAPSHOT_PAUSE_S, LONGEST_SNAPSHOT_PAUSE_S) if tries else 0.0
            self._desk.aside(lambda: self._fetch(instrument), after_s)

    def _fetch(self, instrument: int) -> None:
        """In a thread beside."""
        fetch = self._desk.plan.snapshot
        assert fetch is not None
        try:
            text = fetch(self._desk.names[instrument], int(self._desk.memory.levels[instrument]))
        except (OSError, ValueError) as wrong:
            reason = str(wrong)
            self._desk.tell(lambda: self._was_useless(instrument, reason))
            return
        self._desk.tell(lambda: self._take(instrument, text))

    def _was_useless(self, instrument: int, why: str) -> bool:
        """A snapshot did not come, could not be read, or began no book: the next one later each time, and said."""
        self._asked.discard(instrument)
        self._tries[instrument] += 1
        tries = self._tries[instrument]
        if tries == 1 or tries >= ALARM_AFTER:
            self._desk.report(f"{self._desk.names[instrument]}: snapshot: attempt {tries} failed: {why}")
        if self._is_wanted(instrument):
            self._ask(instrument)
        return False

    def _take(self, instrument: int, text: bytes) -> bool:
        """Make a snapshot the next text of the step; True if it is."""
        memory = self._desk.memory
        cursor = memory.cursor
        if not self._is_wanted(instrument):
            self._asked.discard(instrument)
            return False
        if reason := self._codec.decode(text, self._symbols, memory.message):
            return self._was_useless(instrument, reason)
        _, bids, asks = levels_of(memory.message)
        asked = self._desk.plan.snapshot_levels(int(memory.levels[instrument]))
        self._known[instrument] = edges(bids, asks, asked), self._evicted(instrument)
        self._checks[instrument] = 0
        self._given.add(instrument)
        self._desk.later(lambda: self._check(instrument), CHECK_S)
        # Asked for until the step has taken it.
        self._handed = instrument
        assert int(cursor["message_ready"][0]) == WAITING
        memory.live["origin"] = tsc_now()
        cursor["line_ts"], cursor["message_ready"], cursor["line_ready"] = steady_ns(), DECODED, 1
        return True

    def _is_wanted(self, instrument: int) -> bool:
        """Whether a book waits for its snapshot; one that has begun would have to begin anew."""
        return self._desk.is_read(instrument) and not int(self._desk.memory.syncs[instrument]["loaded"][0])

    def _check(self, instrument: int) -> bool:
        """A snapshot that was too old is fetched again; so is one that nothing bridges to for long, for it is from ahead."""
        if self._desk.memory.book_state(instrument) == VALID:
            self._tries[instrument] = 0
            self._given.discard(instrument)
        elif self._is_wanted(instrument):
            self._was_useless(instrument, "it is older than what the stream has brought since")
        else:
            self._checks[instrument] += 1
            if self._checks[instrument] >= UNBRIDGED_CHECKS:
                self._desk.memory.lose(instrument)
                self._was_useless(instrument, "nothing that the stream has brought since bridges to it")
            else:
                self._desk.later(lambda: self._check(instrument), CHECK_S)
        return False
