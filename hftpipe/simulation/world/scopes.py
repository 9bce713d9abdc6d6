"""What is halted in a world, and since when: everything, or venues, strategies and instruments; it says so to the pipeline."""

from hftpipe.core.schema.cells import STOPPING
from hftpipe.core.schema.halts import place_of
from hftpipe.core.shared.cell import set_halt
from hftpipe.topology.pipeline import Pipeline

#: Causes of a halt, as :mod:`hftpipe.core.schema.cells` numbers them.
STAGE_DIED, OPERATOR = 1, 3
#: A scope: kind and index.
Scope = tuple[str, int]


class Halts:
    """The halts of a pipeline as supervisor and operators have set them; the times are the world's."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._venues: list[int] = pipeline.instruments["at"].tolist()
        self._changes = 0
        #: Since when everything is halted (0: it is not), and since when parts are.
        self.all_since, self.scopes = 0, dict[Scope, int]()
        #: Parts that are halted for a reason that outlives the run.
        self.latched: set[Scope] = set()

    def halt(self, cause: int, now: int) -> None:
        """Set the halt cell."""
        set_halt(self._pipeline.halt_cell(), True, cause, now)
        self.all_since = self.all_since or now

    def set_scope(self, kind: str, index: int, cause: int, now: int) -> None:
        """Halt a venue, strategy or instrument, or lift that (cause 0)."""
        # Every change has another time, although simulated time may stand still between two of them.
        self._changes += 1
        self._pipeline.set_scope(place_of(kind, index), cause, now + self._changes)
        if cause:
            self.scopes.setdefault((kind, index), now)
        else:
            self.scopes.pop((kind, index), None)
        if not cause:
            self.latched.discard((kind, index))
        elif cause != STOPPING:
            self.latched.add((kind, index))

    def since(self, strategy: int, instrument: int) -> int:
        """Since when a strategy may not trade an instrument; 0: it may."""
        if not self.scopes:
            return self.all_since
        of = (("venue", self._venues[instrument]), ("strategy", strategy), ("instrument", instrument))
        found = [self.scopes[scope] for scope in of if scope in self.scopes]
        return min([*found, self.all_since] if self.all_since else found, default=0)
