"""What Binance's words mean, in answers and events alike: states of an order, and why it expired."""

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import key_code
from hftpipe.core.schema import reasons
from hftpipe.venues.orders.facts import CANCELLED, DONE, LAPSED, LIVE, TURNED_DOWN, UNSAID
from hftpipe.venues.orders.words import lapse_of, lapses, meaning, word_table

#: What the states of an order are to us.
STATES = {
    "NEW": LIVE, "PARTIALLY_FILLED": LIVE, "PENDING_NEW": UNSAID, "PENDING_CANCEL": LIVE, "FILLED": DONE, "CANCELED": CANCELLED,
    "EXPIRED": LAPSED, "EXPIRED_IN_MATCH": LAPSED, "REJECTED": TURNED_DOWN,
}  # fmt: skip
_STATES, _LAPSES = word_table(STATES), lapses(reasons.POST_ONLY_WOULD_TAKE)
_IN_MATCH = key_code("EXPIRED_IN_MATCH")


@jit
def set_state(f, slot, code):
    """The state of an order, and why, where it expired."""
    f.state = meaning(_STATES, code)
    if f.state == LAPSED:
        f.reason = reasons.SELF_TRADE if code == _IN_MATCH else lapse_of(_LAPSES, slot)
