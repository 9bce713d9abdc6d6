"""The circuit breaker: which of its states each cause of a halt trips it to. A table; nothing else decides.

========= ============================================================ =====================================================
state     what goes out                                                what trips it
========= ============================================================ =====================================================
ACTIVE    everything that passes risk                                  a person, who clears the latch
REDUCING  cancels, and orders that make a position smaller             TO_REDUCING, `hftpipe halt --reduce`
HALTED    cancels; every open order is cancelled until it has ended    every other cause, `hftpipe halt`, the kill switch
========= ============================================================ =====================================================

A state is left by a person alone, and outlives the run (:mod:`hftpipe.app.halt_latch`).
"""

from hftpipe.app.halt_latch import HaltLatch
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import JOURNAL_UNWRITABLE
from hftpipe.core.schema.halts import REDUCE, REDUCE_PLACE
from hftpipe.topology.pipeline import Pipeline

#: Causes that trip to REDUCING: the counter of a gateway that shows each, and what it means.
TO_REDUCING = {
    JOURNAL_UNWRITABLE: (
        "unjournaled",
        "{count} orders were refused by the {stage}, as they could not be written to its journal first",
    )
}


class Breaker:
    """Trips to REDUCING what a running pipeline's gateways have counted.

    Args:
        pipeline: running; latch: where its halts go.
    """

    def __init__(self, pipeline: Pipeline, latch: HaltLatch) -> None:
        self._pipeline, self._latch = pipeline, latch
        self._seen = {(cause, stage): 0 for cause in TO_REDUCING for stage in pipeline.graph.each("gateway")}

    def look(self) -> None:
        """Trip for whatever has been counted since the last look."""
        for (cause, stage), seen in self._seen.items():
            counter, text = TO_REDUCING[cause]
            count = int(self._pipeline.state(stage)[counter][0])
            if count > seen:
                self._seen[cause, stage] = count
                self._pipeline.set_scope(REDUCE_PLACE, cause, steady_ns())
                self._latch.set(cause, text.format(count=count, stage=stage), REDUCE)
