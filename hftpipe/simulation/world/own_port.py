"""A venue in a world as it is: its own feed and its own orders, and the world's faults between its orders and the gateway.

Nothing is known of its market, so what is checked is what holds at any venue: requests and answers, positions, limits, halts,
ages, and that everything comes to rest.
"""

import random

from hftpipe.simulation.world.port import Port
from hftpipe.simulation.world.venue import Boundary, poll_entry, submit_entry
from hftpipe.simulation.world.words import word_of, words_of
from hftpipe.topology.graph import STAGE_KINDS
from hftpipe.topology.sizes import STATE_OF
from hftpipe.venues.registry import VenueError

_EVENT_TS = word_of(STATE_OF[STAGE_KINDS[0]], "event_ts")


class OwnFeed:
    """The venue's own feed, as the world's other parts see one: it has no faults, and no lines that the world would know."""

    def __init__(self, state: memoryview) -> None:
        self._state, self.lines = state, list[object]()

    @property
    def taken_ts(self) -> int:
        """The time of the last event it has told of."""
        when: int = self._state[_EVENT_TS]
        return when

    def be_silent_until(self, ns: int) -> None:
        """It cannot be kept from speaking."""

    def end_faults(self) -> None:
        """It has none."""


class OwnPort(Port):
    """One venue of a world that brings both its halves."""

    def _join(self, rng: random.Random, now: int) -> None:
        pipeline = self._pipeline
        gateway = pipeline.state(self.gateway)
        if int(gateway["sim"][0]):
            raise VenueError(f"venue {self._plan.venue!r} has no orders of its own, which the world would stand before")
        inner, submit, poll = (int(gateway[name][0]) for name in ("venue", "venue_submit", "venue_poll"))
        self.venue = Boundary(inner, submit, poll, self.truth, rng, self._plan.reports)
        gateway["venue"], gateway["venue_submit"] = self.venue.address, submit_entry.address
        gateway["venue_poll"] = poll_entry.address
        # An order that waits too long for its answer is not told of by its own clock; and who looks at the clock sees simulated time.
        gateway["venue_unanswered"] = gateway["clock"] = 0
        self.feed = OwnFeed(words_of(pipeline.state(self.market)))  # type: ignore[assignment]

    def serve(self, now: int) -> None:
        """What its feed does in Python, if anything."""
        service = self._pipeline.stages[self.market].service
        if service:
            service()

    def advance(self, now: int) -> None:
        """Its feed steps with the stage."""
