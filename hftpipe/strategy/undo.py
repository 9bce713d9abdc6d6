"""What a hook that raised had asked for: half a decision, which is not sent.

::

    NEW      dropped; its order ends as REJECTED
    REPLACE  dropped; its order stands as it stood
    CANCEL   of an order that was open before: sent, as the fault's own cancels are; else dropped
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, copy_bytes, view
from hftpipe.core.schema.records import CANCEL, NEW, RECORD, RECORD_BYTES
from hftpipe.core.trading.order_reports import replace_dropped
from hftpipe.core.trading.order_table import ON_REJECT, ORDER, is_open, order_find, order_move
from hftpipe.strategy.context import CONTEXT, action_at


@jit
def _undo(table, slot, kind):
    """Bring the order at ``slot`` to where it was before a NEW or REPLACE that is not sent."""
    if kind == NEW:
        order_move(table, slot, np.int64(ON_REJECT))
    else:
        replace_dropped(table, slot)


@jit
def keep_cancels(ctx):
    """Drop all buffered actions but cancels of orders that the market may have: how many were dropped (int64)."""
    c, kept = view(ctx, CONTEXT), np.int64(0)
    for index in range(c.n_actions):
        action = action_at(ctx, index)
        kind, slot = np.int64(view(action, RECORD).kind), order_find(c.table, view(action, RECORD).id)
        is_left = slot != ZERO and is_open(view(slot, ORDER).state)
        if is_left and kind == CANCEL:
            copy_bytes(action_at(ctx, kept), action, np.int64(RECORD_BYTES))
            kept += 1
        elif is_left:
            _undo(c.table, slot, kind)
    dropped = c.n_actions - kept
    c.n_actions = kept
    return dropped
