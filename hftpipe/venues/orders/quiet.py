"""Events that do not come any more though their connection lives: what they should have told is found out by asking.

::

    an order rests ──▶ asked about every LOOK_NS, one order every STEP_NS at most: the venue weighs what it is asked
    REST tells of an order or an execution, and no event of any has come since it was sent or made, for ``answer_ns``
                   ──▶ the session ends here, and another one begins (which asks about every open order)
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, store_release, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.trading.order_table import ORDER, open_count, open_order
from hftpipe.venues.orders.facts import ASK_STATE
from hftpipe.venues.orders.state import ACCOUNT, ASKED, extra_of
from hftpipe.venues.orders.telling import ask

LOOK_NS, STEP_NS = np.int64(10_000_000_000), np.int64(1_000_000_000)
_SESSION = np.uint64(offset_of(ACCOUNT, "session"))


@jit
def note_found(account, since_ns):
    """REST has told what has been so since ``since_ns`` (monotonic), and no event has: the session may be of no use any more."""
    a = view(account, ACCOUNT)
    if a.heard_ns < since_ns and a.now_ns - since_ns > a.answer_ns:
        a.quiet += 1
        a.heard_ns = a.now_ns
        store_release(account + _SESSION, ZERO)


@jit
def look_at_resting(account, now_ns):
    """Ask about the order that was not asked about for the longest time, if that is too long."""
    a = view(account, ACCOUNT)
    if now_ns < a.look_ns:
        return
    a.look_ns = now_ns + STEP_NS
    found, least_ns = ZERO, now_ns - LOOK_NS
    for index in range(open_count(a.table)):
        slot = open_order(a.table, np.int64(index))
        o = view(slot, ORDER)
        # What is under way has its own answer; one to this question would say nothing of it.
        rests = o.user & ASKED == 0 and o.under_way == 0 and o.cancels == 0
        if rests and extra_of(a, slot).looked_ns <= least_ns:
            found, least_ns = slot, extra_of(a, slot).looked_ns
    if found != ZERO and ask(account, found, np.int64(ASK_STATE)):
        extra_of(a, found).looked_ns = now_ns
