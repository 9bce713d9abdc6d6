"""A fault of one venue stays its own: what is halted for it, and whether anything is left to run for.

``pipeline.on_venue_fault``:

=============== ==================================================================================
halt_all        everything
halt_strategies the venue, and the strategies that trade at it
halt_venue      the venue alone: strategies see it in ``ctx.halted`` and go on elsewhere
=============== ==================================================================================
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hftpipe.app.halt_scope import Scope
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.topology.graph import kind_of
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import trades_of


@dataclass
class VenueFaults:
    """The venues that are halted for a fault.

    Args:
        pipeline: running.
        latch: called with cause, text and scope of each halt.

    Attributes:
        found: what happened, by venue.
    """

    pipeline: Pipeline
    latch: Callable[[int, str, str], None]
    found: dict[str, str] = field(default_factory=dict)

    def venues_of(self, stages: Iterable[str]) -> list[str]:
        """The venues whose these stages are; empty if one of them serves all, or all venues are among them."""
        places = [self.pipeline.venue_of(stage) for stage in stages]
        names = {place.name for place in places if place}
        left = set(self.pipeline.graph.venues) - names - set(self.found)
        return sorted(names) if None not in places and left and self._may_go_on(names) else []

    def _may_go_on(self, names: set[str]) -> bool:
        policy = self.pipeline.config.pipeline.on_venue_fault
        if policy == "halt_strategies":
            return set(self.pipeline.names) > {one for name in names | set(self.found) for one in self._traders(name)}
        return policy == "halt_venue"

    def _traders(self, venue: str) -> list[str]:
        """The strategies that trade at a venue."""
        at = self.pipeline.instruments["at"] == self.pipeline.graph.venues.index(venue)
        trades = trades_of(self.pipeline.seats, len(at))
        return [name for name, own in zip(self.pipeline.names, trades, strict=True) if (own & at).any()]

    def halt(self, venue: str, cause: int, what: str) -> None:
        """Halt one venue: first in shared memory, then for the runs after this one."""
        if venue in self.found:
            return
        self.found[venue] = what
        self._halt(Scope("venue", venue), cause, what)
        if self.pipeline.config.pipeline.on_venue_fault == "halt_strategies":
            for name in self._traders(venue):
                self._halt(Scope("strategy", name), cause, what)

    def _halt(self, scope: Scope, cause: int, what: str) -> None:
        self.pipeline.set_scope(scope.place(self.pipeline.segment.meta), cause, steady_ns())
        self.latch(cause, what, scope.text)

    def bury(self, stages: Iterable[str]) -> None:
        """These stages are dead: nobody waits for them any more."""
        for stage in stages:
            place = self.pipeline.venue_of(stage)
            if kind_of(stage) == "market_data":
                self.pipeline.status(stage)["finished"] = 1
            elif place:
                self.pipeline.set_dead(True, place.index)
