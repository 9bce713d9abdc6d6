"""Books that begin with the first message of their stream: one that is lost begins again when the stream is asked for anew."""

from collections import defaultdict

from hftpipe.core.schema.records import VALID
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.venues.live.books import Desk
from hftpipe.venues.live.compare import ALL, Known

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
#: How often a stream that was asked for anew is looked at, and how often before it is asked for once more.
CHECK_S, CHECKS = 0.5, 10
WAITING = -1


class StreamedBooks:
    """Has streams begin anew.

    Args:
        desk: the keeper.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        #: Books under way: what each had taken when its stream was asked for; WAITING: it has not been asked for yet.
        self._asked: dict[int, int] = {}
        #: Attempts in a row that brought no VALID book, and all there were.
        self._tries, self._attempts = defaultdict[int, int](int), defaultdict[int, int](int)

    def step(self) -> None:
        """There is nothing to look at."""

    def known(self, instrument: int) -> Known:
        """All that the stream has is in the book."""
        return ALL

    def learned(self, instrument: int, known: Known) -> None:
        """There is nothing beyond that."""

    def opened(self, instrument: int) -> None:
        """What was subscribed to brings the book by itself."""
        self._tries[instrument] = 0

    def lost(self, instrument: int) -> None:
        """Ask for the stream anew, unless that is under way; after some attempts that were of no use in a pause."""
        asked_at = self._asked.get(instrument)
        if asked_at is not None:
            if asked_at == WAITING or self._begun(instrument) == asked_at:
                return
            # It had come back, and is lost once more.
            self._tries[instrument] = 0
        self._asked[instrument] = WAITING
        tries = self._tries[instrument]
        after_s = pause_s(tries, FIRST_PAUSE_S, LONGEST_PAUSE_S) if tries else 0.0
        self._desk.later(lambda: self._say(instrument), after_s)

    silent = lost

    def _begun(self, instrument: int) -> int:
        """A number that grows with what a book takes; one that waits for its stream to begin takes nothing."""
        sync = self._desk.memory.syncs[instrument]
        return int(sync["resyncs"][0]) + int(sync["applied"][0])

    def _say(self, instrument: int) -> bool:
        memory, again = self._desk.memory, self._desk.plan.again
        assert again is not None
        if not self._desk.is_read(instrument) or memory.book_state(instrument) == VALID:
            del self._asked[instrument]
            return False
        self._tries[instrument] += 1
        self._attempts[instrument] += 1
        number = self._attempts[instrument]
        self._asked[instrument] = self._begun(instrument)
        for text in again(self._desk.names[instrument], int(memory.levels[instrument]), number):
            self._desk.say(memory.connection_of(instrument), text)
        self._desk.later(lambda: self._check(instrument, number, 1), CHECK_S)
        return False

    def _check(self, instrument: int, number: int, checks: int) -> bool:
        """Whether attempt ``number`` has brought a book, unless there has been another since."""
        if self._asked.get(instrument, WAITING) == WAITING or self._attempts[instrument] != number:
            return False
        if self._desk.memory.book_state(instrument) == VALID:
            self._tries[instrument] = 0
            del self._asked[instrument]
        elif checks < CHECKS and self._desk.is_read(instrument):
            self._desk.later(lambda: self._check(instrument, number, checks + 1), CHECK_S)
        else:
            del self._asked[instrument]
            self._was_useless(instrument)
        return False

    def _was_useless(self, instrument: int) -> None:
        tries = self._tries[instrument]
        if tries == 1 or tries >= ALARM_AFTER:
            self._desk.report(f"{self._desk.names[instrument]}: asked for anew: attempt {tries} brought no book")
        if self._desk.is_read(instrument):
            self.lost(instrument)
