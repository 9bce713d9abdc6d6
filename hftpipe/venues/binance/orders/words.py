"""What Binance's words mean, in answers and events alike: states of an order, why it ended, and how its amounts are written."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import key_code
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import FOK, GTC, IOC, MARKET, POST_ONLY, TIF_MASK
from hftpipe.core.trading.order_table import ORDER
from hftpipe.venues.orders.facts import CANCELLED, DONE, LAPSED, LIVE, REFUSED, TURNED_DOWN, UNSAID

#: What the states of an order are to us.
STATES = {
    "NEW": LIVE, "PARTIALLY_FILLED": LIVE, "PENDING_NEW": UNSAID, "PENDING_CANCEL": LIVE, "FILLED": DONE, "CANCELED": CANCELLED,
    "EXPIRED": LAPSED, "EXPIRED_IN_MATCH": LAPSED, "REJECTED": TURNED_DOWN,
}  # fmt: skip
_STATE_CODES = np.array([key_code(text) for text in STATES], np.uint64)
_STATE_OF = np.array(list(STATES.values()), np.uint8)
_IN_MATCH = key_code("EXPIRED_IN_MATCH")
#: Why an order of each time in force expires.
_LAPSES = np.zeros(8, np.uint8)
for _tif, _why in (
    (GTC, reasons.VENUE_ENDED), (IOC, reasons.IOC_REMAINDER), (FOK, reasons.FOK_UNFILLABLE),
    (POST_ONLY, reasons.POST_ONLY_WOULD_TAKE), (MARKET, reasons.IOC_REMAINDER),
):  # fmt: skip
    _LAPSES[_tif] = _why
#: ns of the venue's unit of time.
MS = np.int64(1_000_000)


@jit
def _state(code):
    for index in range(len(_STATE_CODES)):
        if _STATE_CODES[index] == code:
            return np.int64(_STATE_OF[index])
    return np.int64(UNSAID)


@jit
def places_of(a, slot):
    """Decimals of a price and a quantity here: an instrument's unit may be a pack of the venue's."""
    power = np.int64(load_u8(a.powers + U64(view(slot, ORDER).instrument))) if slot != ZERO else np.int64(0)
    return np.int64(8) + power, np.int64(8) - power


@jit
def set_state(f, slot, code):
    """The state of an order, and why, where it expired."""
    f.state = _state(code)
    if f.state == LAPSED:
        tif = np.int64(view(slot, ORDER).flags & TIF_MASK) if slot != ZERO else np.int64(GTC)
        f.reason = reasons.SELF_TRADE if code == _IN_MATCH else _LAPSES[tif]


@jit
def refuse(f, action, reason):
    """Make a FACT (a view) a refusal."""
    f.kind, f.action, f.reason = REFUSED, np.uint8(action), np.uint8(reason)
