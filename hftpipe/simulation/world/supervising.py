"""What the supervisor does when risk has stopped itself for a loss, or a strategy was executed too often."""

from typing import Any

import numpy as np

from hftpipe.core.schema.cells import DAILY_LOSS, DRAWDOWN, REPEATED_EXECUTIONS
from hftpipe.risk.standings import STANDING


class Supervising:
    """Looks at risk after each of its steps, and halts what it calls for."""

    def __init__(self, world: Any) -> None:
        self._world, self._throttled = world, 0

    def look(self) -> None:
        """After a step of risk."""
        world, state = self._world, self._world.state("risk")
        cause = int(state["trip_cause"][0]) if int(state["tripped"][0]) else 0
        if cause in (DRAWDOWN, DAILY_LOSS) and not world.is_halted:
            world.halt(cause)
        if int(state["throttled"][0]) != self._throttled:
            self._throttled = int(state["throttled"][0])
            self._halt_throttled()

    def _halt_throttled(self) -> None:
        world, count = self._world, len(self._world.strategies)
        over = world.region("risk.standings").view(STANDING)["is_over"].reshape(count, -1)
        for strategy in np.flatnonzero(over.any(axis=1)).tolist():
            if count == 1:
                world.halt(REPEATED_EXECUTIONS)
            elif ("strategy", strategy) not in world.halts.scopes:
                world.halt_scope("strategy", strategy, REPEATED_EXECUTIONS)
