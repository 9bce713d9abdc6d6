"""Quote slots: what a strategy wants to stand in each, and what stands there.

An instrument has QUOTE_SLOTS of them. A slot holds one wish (side, price, quantity still to show, flags) and at most one
order. How the order is brought to the wish is in :mod:`hftpipe.strategy.quotes`.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view

QUOTE_SLOTS = 16
#: One slot; all zeros is "nothing wanted, nothing there". Prices and quantities 1e-8, times ns of event time.
QUOTE = np.dtype(
    [
        # The wish: ``qty`` is what is still to show, ``asked_qty`` what was asked for (fills take from the former).
        ("price", "i8"), ("qty", "i8"), ("asked_qty", "i8"),
        # Address of the slot's open order in the order table (0: none), and the price and total last sent for it.
        ("order", "u8"), ("sent_price", "i8"), ("sent_qty", "i8"),
        ("instrument", "u4"), ("side", "u1"), ("flags", "u1"),
        # Whether the slot stands in the queue, and whether a cancel of its order is under way.
        ("queued", "u1"), ("cancelling", "u1"),
        # Not before these times: an order or change, a cancel; and how often in a row each was refused.
        ("retry_at", "i8"), ("cancel_at", "i8"), ("failures", "i8"), ("cancel_failures", "i8"),
        # The last pause (ns), and the time from which on it is forgotten: an order has stood for as long. 0: none stands.
        ("pause_ns", "i8"), ("good_at", "i8"),
        # Why the last order or change was refused.
        ("reason", "i8"), ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
QUOTE_BYTES = 128
assert QUOTE.itemsize == QUOTE_BYTES


def queue_slots(n_instruments: int) -> int:
    """Entries of the queue of slots that wait for something to be done: a power of two that holds all of them."""
    return 1 << max(n_instruments * QUOTE_SLOTS - 1, 1).bit_length()


@jit
def quote_address(quotes, index):
    """Address of slot ``index`` (instrument x QUOTE_SLOTS + slot)."""
    return quotes + U64(QUOTE_BYTES) * U64(index)


@jit
def drop_wish(quotes, index):
    """From now on nothing is wanted in slot ``index``."""
    q = view(quote_address(quotes, index), QUOTE)
    q.qty, q.asked_qty = 0, 0


@jit
def drop_wishes(quotes, count):
    """From now on nothing is wanted in any of ``count`` slots."""
    for index in range(count):
        drop_wish(quotes, index)


@jit
def note_cancel(quotes, index):
    """A cancel of the slot's order is under way: its end is no refusal."""
    view(quote_address(quotes, index), QUOTE).cancelling = np.uint8(1)
