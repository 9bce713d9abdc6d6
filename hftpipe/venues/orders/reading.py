"""What readers of a venue's messages have in common: a fact is begun, is of an order of ours or of nobody's, and is given up if it cannot be read."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import inside_string
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import ORPHAN_FILL
from hftpipe.core.trading.order_table import ORDER, order_find
from hftpipe.venues.orders.client_text import read_client_text
from hftpipe.venues.orders.errors import ASK
from hftpipe.venues.orders.facts import FACT, REFUSED, REQUEST_OF, STATE, UNSAID
from hftpipe.venues.orders.state import REVISION
from hftpipe.venues.orders.template import VALUE

#: ns of the venues' unit of time.
MS = np.int64(1_000_000)
_VALUE_SHIFT = np.uint64(4)


@jit
def places_of(a, slot):
    """Decimals of a price and a quantity here: an instrument's unit may be a pack of the venue's."""
    power = np.int64(load_u8(a.powers + U64(view(slot, ORDER).instrument))) if slot != ZERO else np.int64(0)
    return np.int64(8) + power, np.int64(8) - power


# --- whose it is -------------------------------------------------------------------------------------------------------------


@jit
def client_of(a, at, after):
    """The order that a client id names: (id, revision); (0, 0): it is none of ours."""
    text, length = inside_string(at, after)
    return read_client_text(a.prefix, a.prefix_bytes, text, length) if length > 0 else (ZERO, np.int64(0))


@jit
def _is_instrument(a, number, text, length):
    symbol = view(a.symbols + (U64(number) << _VALUE_SHIFT), VALUE)
    if length != symbol.length:
        return False
    other = np.uint8(0)
    for index in range(length):
        other |= load_u8(text + U64(index)) ^ load_u8(symbol.at + U64(index))
    return other == 0


@jit
def instrument_at(a, at, after):
    """1 + the number of the instrument whose symbol is a text value; 0: the run has none."""
    text, length = inside_string(at, after)
    for number in range(a.n_instruments):
        if _is_instrument(a, number, text, length):
            return np.int32(number + 1)
    return np.int32(0)


@jit
def is_symbol_of(a, slot, at, after):
    """Whether a text value is the symbol of the order at ``slot`` (0: of none that is known, so that none is wrong)."""
    if slot == ZERO:
        return True
    text, length = inside_string(at, after)
    return _is_instrument(a, view(slot, ORDER).instrument, text, length)


@jit
def note_takeover(a, at, after):
    """The venue has executed of its own accord on the account, in the symbol that is a text value (a liquidation, say): in what this run
    trades the position is not there any more, so trading ends."""
    if instrument_at(a, at, after) > 0 and a.fault == 0:
        a.fault, a.fault_id = ORPHAN_FILL, ZERO


@jit
def count_external(a, is_execution, at, after):
    """An event of somebody else's order, in the symbol that is a text value; its executions count in what this run trades."""
    a.external += 1
    if not is_execution:
        return
    a.external_fills += np.int64(instrument_at(a, at, after) > 0)


# --- answers -----------------------------------------------------------------------------------------------------------------


@jit
def begin_outcome(a, id_, what, number, fact):
    """Begin the FACT of what became of a request: it was of an order (its client id), of a kind (PLACE and so on), and had a number.

    The order's slot; 0: it is not known (any more).
    """
    f, slot = view(fact, FACT), order_find(a.table, id_)
    f.id, f.request, f.number, f.cum, f.kind, f.state = id_, REQUEST_OF[what], number, -1, STATE, UNSAID
    if slot != ZERO:
        f.revision = np.uint8(view(slot, ORDER).user & REVISION)
    return slot


# --- refusals ----------------------------------------------------------------------------------------------------------------


@jit
def refuse(f, action, reason):
    """Make a FACT (a view) a refusal."""
    f.kind, f.action, f.reason = REFUSED, np.uint8(action), np.uint8(reason)


@jit
def give_up(a, f):
    """What is told of an order of ours cannot be read: none of it is believed, and the venue is asked."""
    a.unread += 1
    refuse(f, ASK, reasons.VENUE_BUSY)


@jit
def is_of_another(a, f, slot, at, after):
    """Whether something under an id of ours is in another instrument than that order: none of it is believed either.

    Of an order that is not known it is noted which one it is in.
    """
    if slot == ZERO:
        f.instrument = instrument_at(a, at, after)
    if is_symbol_of(a, slot, at, after):
        return False
    a.wrong_symbols += 1
    refuse(f, ASK, reasons.VENUE_BUSY)
    return True
