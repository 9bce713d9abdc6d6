"""How books are begun and begun again: what the keeper of the connections asks of it, and what it may ask of the keeper."""

from collections.abc import Callable
from typing import Protocol

from hftpipe.venues.live.compare import Known
from hftpipe.venues.live.memory import LiveMemory
from hftpipe.venues.live.plan import LivePlan


class Desk(Protocol):
    """The keeper, as whoever begins books sees it.

    Attributes:
        memory: the feed's; plan: the venue's; names: symbols by instrument; report: takes a line about what goes wrong.
    """

    memory: LiveMemory
    plan: LivePlan
    names: dict[int, str]
    report: Callable[[str], None]

    def aside(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """Have a job that waits for others done in a thread beside, in so many seconds at the earliest."""

    def tell(self, what: Callable[[], bool]) -> None:
        """Have ``what`` done in the stage's own thread; it says whether it has made a text the next one."""

    def later(self, what: Callable[[], bool], after_s: float) -> None:
        """The same in so many seconds."""

    def look(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """As :meth:`aside`, for what may wait behind others of its kind for long: no book waits for it."""

    def is_read(self, instrument: int) -> bool:
        """Whether the connection of an instrument is open."""

    def say(self, index: int, text: bytes) -> None:
        """Send a text on an open connection (in the stage's own thread)."""


class Books(Protocol):
    """Begins books; all is called in the stage's own thread."""

    def opened(self, instrument: int) -> None:
        """The connection of an instrument is open."""

    def lost(self, instrument: int) -> None:
        """A book has been lost while its connection goes on."""

    def silent(self, instrument: int) -> None:
        """A book has not begun long after its connection."""

    def step(self) -> None:
        """Look at what the step has done since."""

    def known(self, instrument: int) -> Known | None:
        """How far from the touch a VALID book is known; None: nobody can say."""

    def learned(self, instrument: int, known: Known) -> None:
        """A book is known farther now."""
