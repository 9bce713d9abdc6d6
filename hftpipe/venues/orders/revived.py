"""Orders that live though nobody here holds them for open: they count as open in the account's table, and are cancelled until they end.

============================================= ===============================================================================
what the venue says rests                     what is done
============================================= ===============================================================================
an order that was told to have been refused,  open again, cancelled, and a fault (WRONG_TERMS)
and was never acknowledged; a replacement of
one that was told to have ended
one under an id of ours that the table does   entered, asked about and cancelled; a fault once REST says that it rests, or takes
not have (any more)                           the cancel, for an event that comes very late looks the same
============================================= ===============================================================================

Reports about them are not told, as nobody waits for any. Executions are, and from then on all else is, too; those of an order that nobody
knew are a fault (ORPHAN_FILL).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.cells import ORPHAN_FILL, WRONG_TERMS
from hftpipe.core.trading.order_table import (
    ON_NO_ANSWER,
    ORDER,
    REJECTED,
    is_open,
    order_insert,
    order_move,
    order_reopen,
)
from hftpipe.core.trading.seen_fills import seen_stray
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    ASKED_ABOUT,
    CANCEL_ASKED,
    FACT,
    LIVE,
    STATE,
    TRADE,
    UNSAID,
)
from hftpipe.venues.orders.state import ACCOUNT, ACKED, END_TOLD, REVISION, SAID, STRAY, extra_of
from hftpipe.venues.orders.telling import ask


@jit
def _say(a, id_):
    a.revived += 1
    if a.fault == 0:
        a.fault, a.fault_id = WRONG_TERMS, id_


@jit
def cancel_again(account, slot, now_ns):
    """Ask for a cancel of an order that is to end; what becomes of that is looked at after the usual time."""
    o = view(slot, ORDER)
    ask(account, slot, np.int64(ASK_CANCEL))
    o.cancels = 1
    o.created_ts = now_ns


@jit
def revive(account, slot, fact, now_ns):
    """A FACT may say that an order lives which was told to have ended."""
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    if is_open(o.state) or f.state != LIVE:
        return
    is_newer = np.int64(f.revision) > o.user & REVISION
    if not is_newer and not (o.state == REJECTED and o.user & ACKED == 0):
        return
    o.user = (o.user & ~REVISION) | np.int64(f.revision) | ACKED | END_TOLD
    o.own_cancels = UNSAID
    order_reopen(a.table, slot)
    _say(a, o.id)
    cancel_again(account, slot, now_ns)


@jit
def note_proof(account, slot, fact):
    """REST may say of an order that nobody knew that it does rest, or take its cancel."""
    o, f = view(slot, ORDER), view(fact, FACT)
    is_proof = (f.request == ASKED_ABOUT and f.state == LIVE) or (f.request == CANCEL_ASKED and f.kind == STATE)
    if is_proof and o.user & (STRAY | SAID) == STRAY:
        o.user |= SAID
        _say(view(account, ACCOUNT), o.id)


@jit
def stray_execution(a, f):
    """An execution (FACT as a view) of an order that nobody here has sent: not booked, for which side it is on is not known; a fault."""
    if not seen_stray(a.seen, f.id, f.trade_id):
        a.repeated += 1
    elif a.fault == 0:
        a.fault, a.fault_id = ORPHAN_FILL, f.id


@jit
def _enter(account, fact, now_ns):
    """Enter an order of ours that the table does not have."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    slot = order_insert(a.table, f.id)
    if slot == ZERO:
        _say(a, f.id)
        return
    o, extra = view(slot, ORDER), extra_of(a, slot)
    o.price, o.qty, o.instrument, o.venue_id = f.price, f.qty, np.uint32(f.instrument - 1), f.venue_id
    o.side, o.strategy, o.flags, o.cancel_due_ns = 0, 0, 0, 0
    o.user = np.int64(f.revision) | ACKED | END_TOLD | STRAY
    extra.last_no, extra.change_no, extra.changed_ts, extra.sent_ns, extra.looked_ns = 0, 0, 0, now_ns, now_ns
    extra.left_ns, extra.asked_ns = 0, 0
    order_move(a.table, slot, np.int64(ON_NO_ANSWER))
    ask(account, slot, np.int64(ASK_STATE))
    cancel_again(account, slot, now_ns)


@jit
def stray(account, fact, now_ns):
    """A FACT of an order that is ours and not in the table (any more)."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if f.kind == TRADE:
        stray_execution(a, f)
    if f.kind in (STATE, TRADE) and f.state == LIVE and f.instrument > 0:
        _enter(account, fact, now_ns)
    elif f.kind != TRADE:
        a.crossed += 1
