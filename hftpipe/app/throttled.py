"""A strategy that was executed too often: it is halted, by name, until a person resumes.

Risk refuses its orders in that instrument from the first execution too many. Halting it cancels what it has open, stays over a
restart, and says so to people. A strategy that is the only one halts everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hftpipe.app.halt_scope import Scope
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import REPEATED_EXECUTIONS
from hftpipe.core.shared.cell import set_halt
from hftpipe.risk.standings import STANDING
from hftpipe.topology.pipeline import Pipeline


@dataclass
class Throttled:
    """The strategies that are halted for being executed too often.

    Args:
        pipeline: running.
        latch: called with cause, text and scope ("": everything) of each halt.
    """

    pipeline: Pipeline
    latch: Callable[[int, str, str], None]
    _seen: int = 0
    _told: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Halt what was executed too often since the last look."""
        count = int(self.pipeline.state("risk")["throttled"][0])
        if count == self._seen:
            return
        self._seen = count
        shape = len(self.pipeline.seats), len(self.pipeline.instruments)
        rows = self.pipeline.segment.region("risk.standings").view(STANDING).reshape(shape)
        for strategy, instrument in np.argwhere(rows["is_over"] != 0).tolist():
            if strategy not in self._told:
                self._told.add(strategy)
                symbol, most = (
                    self.pipeline.segment.meta["symbols"][instrument],
                    int(rows["most"][strategy, instrument]),
                )
                self._halt(
                    strategy,
                    f"executed more than {most} times within a minute in {symbol} (controls.executions_per_min)",
                )

    def _halt(self, index: int, what: str) -> None:
        """Halt first in shared memory, then for the runs after this one."""
        name = self.pipeline.names[index]
        if len(self.pipeline.names) == 1:
            set_halt(self.pipeline.halt_cell(), True, REPEATED_EXECUTIONS, wall_ns())
            self.latch(REPEATED_EXECUTIONS, f"strategy {name}: {what}", "")
            return
        scope = Scope("strategy", name)
        self.pipeline.set_scope(scope.place(self.pipeline.segment.meta), REPEATED_EXECUTIONS, steady_ns())
        self.latch(REPEATED_EXECUTIONS, what, scope.text)
