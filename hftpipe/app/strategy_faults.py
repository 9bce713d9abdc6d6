"""A hook that raised: what is halted for it, and whether the run goes on.

A strategy that is the only one halts everything. Of several, the one whose hook raised is halted alone, its orders are
cancelled, and the others go on unless its ``on_fault`` says otherwise.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from hftpipe.app.halt_scope import Scope
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import STRATEGY_FAULT
from hftpipe.core.schema.fault import describe_fault, read_fault
from hftpipe.core.shared.cell import set_halt
from hftpipe.log import event
from hftpipe.topology.configured import strategies_of
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")


@dataclass
class StrategyFaults:
    """The strategies that are halted for a fault.

    Args:
        pipeline: running.
        latch: called with cause, text and scope ("": everything) of each halt.
    """

    pipeline: Pipeline
    latch: Callable[[int, str, str], None]
    _told: set[int] = field(default_factory=set)

    def look(self) -> str | None:
        """Halt what a hook that raised calls for, at once; why the run ends, if it shall."""
        ends = None
        for index, entry in enumerate(strategies_of(self.pipeline.config)):
            fault = read_fault(self.pipeline.segment.region(self.pipeline.of_strategy("fault", index)))
            if fault is None:
                continue
            name = f"{entry.name}: " if len(self.pipeline.names) > 1 else ""
            what = f"strategy fault: {name}{describe_fault(fault)}"
            if index not in self._told:
                self._told.add(index)
                event(
                    LOG, logging.ERROR, "strategy fault: a hook raised; the strategy is switched off",
                    strategy=self.pipeline.names[index], **fault,
                )  # fmt: skip
                self._halt(index, what)
            ends = ends or (what if entry.on_fault == "stop" else None)
        return ends

    def _halt(self, index: int, what: str) -> None:
        """Halt first in shared memory, then for the runs after this one."""
        if len(self.pipeline.names) == 1:
            set_halt(self.pipeline.halt_cell(), True, STRATEGY_FAULT, wall_ns())
            self.latch(STRATEGY_FAULT, what, "")
            return
        scope = Scope("strategy", self.pipeline.names[index])
        self.pipeline.set_scope(scope.place(self.pipeline.segment.meta), STRATEGY_FAULT, steady_ns())
        self.latch(STRATEGY_FAULT, what, scope.text)
