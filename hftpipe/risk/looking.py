"""Risk looks at what is held now and then, order or no order: a loss is seen by the market that moves, not by our next order.

Every LOOK_NS of the monotonic clock some instruments have their turn. One that is held, and whose VALID book has another mid than
the last one, is valued anew; that goes on the tape, so that a replay does the same at the same place.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, rdtsc, view
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import VALID
from hftpipe.core.shared.event_time import event_now, known_until
from hftpipe.core.shared.tape import tape_mid
from hftpipe.risk.exposure import POSITION_BYTES
from hftpipe.risk.marking import TOP_AT, copy_top
from hftpipe.risk.state import LANE
from hftpipe.risk.worth import WORTH, remark, worth_at

LOOK_NS = np.int64(10_000_000)
#: Instruments that have their turn in one look.
MOST_A_LOOK = 64
_LANE_SHIFT = np.uint64(6)


@jit
def _look_at(s, state, instrument, now_ns):
    copy_top(s, state, U64(instrument))
    top = view(state + TOP_AT, TOP_CELL)
    mid = top.bid + ((top.ask - top.bid) >> 1)
    if top.state != VALID or top.bid <= 0 or top.ask <= top.bid or mid == view(worth_at(s, instrument), WORTH).mark:
        return
    at = view(s.instruments + U64(instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT).at
    time = view(s.lanes + (U64(at) << _LANE_SHIFT), LANE).time
    now = event_now(time, s.clock, rdtsc(), now_ns, known_until(time))
    tape_mid(s.tape, np.uint32(instrument), mid, now)
    remark(s, instrument, mid, now)


@jit
def look_around(s, state, now_ns):
    """Value what is held anew, if it is time for that; at ``now_ns`` 0 (a replay, whose tape says when) it never is."""
    if now_ns < s.next_look_ns or now_ns <= 0:
        return
    s.next_look_ns = now_ns + LOOK_NS
    for _ in range(min(s.n_instruments, np.int64(MOST_A_LOOK))):
        instrument = s.look_at
        s.look_at = instrument + 1 if instrument + 1 < s.n_instruments else np.int64(0)
        if view(s.positions + U64(instrument) * POSITION_BYTES, POSITION).qty != 0:
            _look_at(s, state, instrument, now_ns)
