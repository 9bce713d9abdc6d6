"""What a strategy may do in an instrument: whether it may trade it at all, and how often its orders may be executed.

**Permission.** A strategy trades the instruments it was given, less what is restricted; a row of zeros allows nothing.

**Repeated execution.** More executions within a minute than allowed are what an algorithm does that has lost its way: from then on
none of its orders in that instrument passes, and the supervisor halts the strategy until a person resumes. It never ends by itself.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.risk.rate import MINUTE_BEFORE, MINUTE_SHIFT, WINDOW, window_add

#: One strategy in one instrument; ``is_over``: it was executed too often.
STANDING = np.dtype(
    [("is_allowed", "i8"), ("is_over", "i8"), ("most", "i8"), ("executions", WINDOW), ("_pad", "i8", 3)], align=True
)
STANDING_BYTES = np.uint64(STANDING.itemsize)
_EXECUTIONS = np.uint64(offset_of(STANDING, "executions"))


@jit
def standing_at(s, strategy, instrument):
    """Address of the STANDING of a strategy in a registered instrument (``s``: risk's STATE); 0 if there is no such strategy."""
    if U64(strategy) >= U64(s.n_desks):
        return ZERO
    return s.standings + (U64(strategy) * U64(s.n_instruments) + U64(instrument)) * STANDING_BYTES


@jit
def count_execution(s, strategy, instrument, now):
    """An order of a strategy was executed at event time ``now`` (ns); beyond what is allowed it has no more orders."""
    standing = standing_at(s, strategy, instrument)
    if standing == ZERO:
        return
    row = view(standing, STANDING)
    window_add(standing + _EXECUTIONS, now >> MINUTE_SHIFT, MINUTE_BEFORE)
    if row.executions.total > row.most and row.is_over == 0:
        row.is_over = 1
        s.throttled += 1
