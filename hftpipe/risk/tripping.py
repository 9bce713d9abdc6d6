"""Risk stops itself: no new orders from now on; the supervisor halts everything by the cause, and latches it."""

import numpy as np

from hftpipe.core.machine.jit import jit


@jit
def trip(s, cause, id_, price, qty):
    """Stop for ``cause`` (HALT_CAUSES; ``s``: risk's STATE); of the first it is kept what a person will want to know."""
    if s.tripped == 0:
        s.trip_cause, s.fault_id, s.fault_price, s.fault_qty = np.int64(cause), np.int64(id_), price, qty
    s.tripped = 1
