"""PROCESS 1, market data: bytes -> decoded message -> book -> market ring.

A step publishes what is left of the last update, sends resets that are due, then takes events that are due from its
source: the embedded synthetic flow, or a recorded capture.
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import view
from hftpipe.core.shared.stage import FINISHED, SERVICE
from hftpipe.market.pacing import drained
from hftpipe.market.publish import flush, resume_conflated
from hftpipe.market.sources.replay import replay_step
from hftpipe.market.sources.synthetic import synthetic_step
from hftpipe.market.sources.udp import udp_step
from hftpipe.market.state import NEED_NOTHING, REPLAY, STATE, UDP

EVENTS_PER_STEP = 32


@jit
def step(state, now_ns):
    """One turn of the market-data stage; see :mod:`hftpipe.core.shared.stage`."""
    s = view(state, STATE)
    if s.pending_n > 0 and not flush(state):
        return np.int64(0)
    work = np.int64(resume_conflated(state)) if s.hold_back == 0 else np.int64(0)
    if s.source == UDP:
        return work + udp_step(state, now_ns)
    if s.source != REPLAY:
        return work + synthetic_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    work += replay_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    if s.need != NEED_NOTHING:
        return np.int64(SERVICE)
    if s.ended == 1 and work == 0 and s.pending_n == 0 and s.line_ready == 0 and drained(state, now_ns):
        s.ended = 2
        return np.int64(FINISHED)
    return work


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    return step(state, now_ns)
