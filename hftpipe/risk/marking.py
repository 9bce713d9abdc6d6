"""The top of book as risk sees it: a private copy, by which orders are judged and positions marked."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import INVALID, VALID
from hftpipe.core.shared.cell import cell_read
from hftpipe.risk.exposure import POSITION_BYTES
from hftpipe.risk.state import STATE
from hftpipe.risk.worth import remark

#: Where the copy begins in STATE.
TOP_AT = np.uint64(offset_of(STATE, "top"))


@jit
def copy_top(s, state, instrument):
    """Take a private copy of the top of book."""
    if not cell_read(s.tops + (instrument << U64(6)), state + TOP_AT):
        # The writer died in the middle of a write, or never stops writing: not a book to trade on.
        view(state + TOP_AT, TOP_CELL).state = INVALID


@jit
def mark_position(s, state, instrument, now):
    """Mark the position at the copy's mid (at the last one known without it), and value it anew; ``now``: event time, ns."""
    top = view(state + TOP_AT, TOP_CELL)
    if top.state == VALID and top.bid > 0 and top.ask > 0:
        mid = top.bid + ((top.ask - top.bid) >> 1)
        view(s.positions + instrument * POSITION_BYTES, POSITION).mark = mid
        remark(s, instrument, mid, now)
