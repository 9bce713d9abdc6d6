"""What one verdict depends on, and what several checks ask of it: type, price and growth of the order that is judged."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import mul_wide, view
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.records import BUY, MARKET, NEW, TIF_MASK
from hftpipe.core.trading.order_table import ORDER, remaining

#: Everything one verdict depends on: addresses of the intent and of the rows it is judged by.
CONTEXT = np.dtype(
    [
        ("intent", "u8"),
        # Rows of the intent's instrument; all 0 when its id is not registered (``known`` 0).
        ("instrument", "u8"), ("limits", "u8"), ("position", "u8"), ("rates", "u8"),
        # The intent's strategy: DESK (0: there is none such), and the POSITION in the instrument that is its own.
        ("desk", "u8"), ("own", "u8"),
        # GROUPs, and the MEMBER row of the intent's instrument (0: it is in none).
        ("groups", "u8"), ("member", "u8"),
        # WORTHs of the instrument, the account's and the strategy's own (0: none apart), and the TOTALs that they count in.
        ("worth", "u8"), ("own_worth", "u8"), ("run_total", "u8"), ("venue_total", "u8"), ("desk_total", "u8"),
        # The STANDING of the strategy in it, REPEATS, and the TOUCH of it (0: not looked at).
        ("standing", "u8"), ("repeats", "u8"), ("touch", "u8"),
        # A private copy of the top of book (TOP_CELL).
        ("top", "u8"),
        # The order already stored under the intent's client id, open or ended; 0 if none.
        ("order", "u8"),
        ("known", "i8"), ("halted", "i8"), ("reducing", "i8"),
        # Event time at which it is judged, ns; never before the intent's.
        ("now", "i8"),
    ],
    align=True,
)  # fmt: skip


@jit
def at_most(a, b, c, d):
    """``a * b <= c * d`` for uint64, exactly."""
    left_high, left_low = mul_wide(a, b)
    right_high, right_low = mul_wide(c, d)
    if left_high != right_high:
        return left_high < right_high
    return left_low <= right_low


@jit
def type_of(c, r):
    """Time in force that counts: a REPLACE cannot change its order's."""
    if r.kind == NEW:
        return r.flags & TIF_MASK
    return view(c.order, ORDER).flags & TIF_MASK


@jit
def reference_price(c, r):
    """The limit price, or the far touch for a market order (<= 0: there is none)."""
    if type_of(c, r) != MARKET:
        return r.price
    top = view(c.top, TOP_CELL)
    return top.ask if r.side == BUY else top.bid


@jit
def growth_of(c, r):
    """What an approved order adds to what may still fill."""
    if r.kind == NEW:
        return r.qty
    order = view(c.order, ORDER)
    return max(r.qty - order.filled - remaining(order), np.int64(0))
