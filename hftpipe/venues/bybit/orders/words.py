"""What Bybit's words mean: states of an order, and why one ends that nobody cancelled (5)."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO
from hftpipe.core.schema import reasons
from hftpipe.venues.orders.facts import CANCELLED, DONE, LAPSED, LIVE, TURNED_DOWN
from hftpipe.venues.orders.words import lapse_of, lapses, meaning, word_table

#: What the states of an order are to us.
STATES = {
    "New": LIVE, "PartiallyFilled": LIVE, "Untriggered": LIVE, "Triggered": LIVE, "Filled": DONE, "Cancelled": CANCELLED,
    "PartiallyFilledCanceled": CANCELLED, "Deactivated": CANCELLED, "Rejected": TURNED_DOWN,
}  # fmt: skip
#: Why an order is cancelled that nobody cancelled: state and reason by the text of ``rejectReason`` or ``cancelType``.
ENDS = {
    "EC_PostOnlyWillTakeLiquidity": (TURNED_DOWN, reasons.POST_ONLY_WOULD_TAKE),
    "EC_NoImmediateQtyToFill": (LAPSED, reasons.IOC_REMAINDER),
    "EC_CancelForNoFullFill": (LAPSED, reasons.FOK_UNFILLABLE),
    "EC_ReachMarketPriceLimit": (LAPSED, reasons.IOC_REMAINDER),
    "EC_BySelfMatch": (LAPSED, reasons.SELF_TRADE),
    "EC_PerCancelRequest": (CANCELLED, reasons.USER_REQUEST),
    "CancelBySmp": (LAPSED, reasons.SELF_TRADE),
    "CancelByReduceOnly": (LAPSED, reasons.REDUCE_ONLY_REJECT),
    "CancelByDCP": (LAPSED, reasons.DISCONNECTED),
    "CancelByUser": (CANCELLED, reasons.USER_REQUEST),
}
_REASON = 256
_STATES, _LAPSES = word_table(STATES), lapses(reasons.VENUE_ENDED)
_ENDS = word_table({text: state + _REASON * reason for text, (state, reason) in ENDS.items()})


@jit
def state_of(code):
    """What a state of an order (its code) is to us; UNSAID: nobody knows it."""
    return meaning(_STATES, code)


@jit
def _take_end(f, code):
    end = meaning(_ENDS, code)
    if end != 0 and (f.reason == reasons.NONE or f.reason == reasons.USER_REQUEST):
        f.reason = np.uint8(end // _REASON)
        if f.state != TURNED_DOWN:
            f.state = np.uint8(end % _REASON)


@jit
def set_end(f, slot, why, how):
    """What ``rejectReason`` and ``cancelType`` (their codes) say of an order that was cancelled or turned down; the first of them that says
    something counts."""
    _take_end(f, why)
    _take_end(f, how)
    if f.reason == reasons.NONE and f.state == TURNED_DOWN:
        f.reason = reasons.VENUE_REFUSED
    elif f.reason == reasons.NONE and slot != ZERO:
        f.state, f.reason = LAPSED, lapse_of(_LAPSES, slot)
