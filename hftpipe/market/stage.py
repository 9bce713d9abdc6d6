"""PROCESS 1, market data: bytes -> decoded message -> book -> market ring.

A step publishes what is left of the last update, sends resets that are due, then lets the venue (reached through its C
address) take what is due from its source.
"""

import numpy as np

from hftpipe.core.feed.publish import flush, resume_conflated
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import call_step, view


@jit
def step(state, now_ns):
    """One turn of the market-data stage; see :mod:`hftpipe.core.shared.stage`."""
    s = view(state, STATE)
    if s.pending_n > 0 and not flush(state):
        return np.int64(0)
    resumed = np.int64(resume_conflated(state)) if s.hold_back == 0 else np.int64(0)
    done = call_step(s.source_step, state, now_ns)
    return done + resumed if done >= 0 else done


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    return step(state, now_ns)
