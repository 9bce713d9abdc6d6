"""Orders by client id in flat memory, with their legal states: shared by strategy, risk and gateway.

The life of an order is this table, and nothing else moves a state (illegal pairs are refused and counted):

================ ======== ========= ======== ======== ======== ======== ============== ============== =========
state            ACK      PART_FILL FILLED   CANCELED EXPIRED  REJECT   CANCEL_SENT    REPLACE_SENT   NO_ANSWER
================ ======== ========= ======== ======== ======== ======== ============== ============== =========
PENDING_NEW      WORKING  PARTIAL   FILLED   CANCELED EXPIRED  REJECTED PENDING_CANCEL -              UNKNOWN
WORKING          WORKING  PARTIAL   FILLED   CANCELED EXPIRED  REJECTED PENDING_CANCEL PENDING_REPLACE UNKNOWN
PARTIAL          PARTIAL  PARTIAL   FILLED   CANCELED EXPIRED  -        PENDING_CANCEL PENDING_REPLACE UNKNOWN
PENDING_CANCEL   same     same      FILLED   CANCELED EXPIRED  REJECTED same           -              UNKNOWN
PENDING_REPLACE  same     same      FILLED   CANCELED EXPIRED  -        PENDING_CANCEL -              UNKNOWN
UNKNOWN          WORKING  PARTIAL   FILLED   CANCELED EXPIRED  REJECTED same           -              same
FILLED, CANCELED, EXPIRED, REJECTED: terminal; no event moves them. A late fill proves that such an order lives: UNKNOWN
================ ======== ========= ======== ======== ======== ======== ============== ============== =========

REJECT reaches a WORKING order whose NEW was not answered yet when its cancel was refused. NO_ANSWER reaches one that
rests when its venue has forgotten it, or says of it what cannot be (core/trading/order_reports.py).
CHANGE_DONE (a replace was accepted or refused, or a cancel was refused) returns PENDING_CANCEL and PENDING_REPLACE to WORKING
or PARTIAL, and leaves other open orders as they are: a stopped gateway cancels orders of whose cancel nobody else knows.

Orders stand in slots and are found by id through :mod:`hftpipe.core.trading.order_index`. A slot is free, open or past: an order
that has ended stays findable until a quarter of the slots are past or the last free one is needed; the one that ended
first goes first. So a table takes as many open orders as it has slots, and the memory in use stays as small as the
business is: the slot freed last is taken next, and is fetched into the cache when the order before it is entered.
Open orders are also listed densely, so that iterating them never walks the table.

::

    base | TABLE | ORDER[capacity] | open[capacity] | past[capacity] | free[capacity] | index of 2 x capacity entries
                                     addresses of orders: a list, a queue, a stack
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, address_of, load_i64, prefetch_write, store_i64, view
from hftpipe.core.trading.order_index import index_bytes, index_expect, index_find, index_init, index_put, index_remove

EMPTY, PENDING_NEW, WORKING, PARTIAL, PENDING_CANCEL, PENDING_REPLACE, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
FILLED, CANCELED, EXPIRED, REJECTED = 7, 8, 9, 10
STATE_NAMES = (
    "EMPTY", "PENDING_NEW", "WORKING", "PARTIAL", "PENDING_CANCEL", "PENDING_REPLACE", "UNKNOWN",
    "FILLED", "CANCELED", "EXPIRED", "REJECTED",
)  # fmt: skip
(
    ON_ACK, ON_PART_FILL, ON_FILLED, ON_CANCELED, ON_EXPIRED, ON_REJECT,
    ON_CANCEL_SENT, ON_REPLACE_SENT, ON_NO_ANSWER, ON_CHANGE_DONE,
) = range(10)  # fmt: skip
EVENT_NAMES = (
    "ACK", "PART_FILL", "FILLED", "CANCELED", "EXPIRED", "REJECT",
    "CANCEL_SENT", "REPLACE_SENT", "NO_ANSWER", "CHANGE_DONE",
)  # fmt: skip
ILLEGAL = 255
#: CHANGE_DONE resolves to WORKING or PARTIAL by what is filled.
BY_FILLED = 254

_PN, _W, _P, _PC, _PR, _U = PENDING_NEW, WORKING, PARTIAL, PENDING_CANCEL, PENDING_REPLACE, UNKNOWN
_F, _C, _E, _R, _X, _B = FILLED, CANCELED, EXPIRED, REJECTED, ILLEGAL, BY_FILLED
#: TRANSITIONS[state, event] is the next state, ILLEGAL, or BY_FILLED.
TRANSITIONS = np.array(
    [
        # ACK PART FILLED CANC EXP REJ CXL_SENT RPL_SENT NO_ANSWER CHANGE_DONE
        [_X, _X, _X, _X, _X, _X, _X, _X, _X, _X],  # EMPTY
        [_W, _P, _F, _C, _E, _R, _PC, _X, _U, _PN],  # PENDING_NEW
        [_W, _P, _F, _C, _E, _R, _PC, _PR, _U, _W],  # WORKING
        [_P, _P, _F, _C, _E, _X, _PC, _PR, _U, _P],  # PARTIAL
        [_PC, _PC, _F, _C, _E, _R, _PC, _X, _U, _B],  # PENDING_CANCEL
        [_PR, _PR, _F, _C, _E, _X, _PC, _X, _U, _B],  # PENDING_REPLACE
        [_W, _P, _F, _C, _E, _R, _U, _X, _U, _B],  # UNKNOWN
        [_X] * 10,  # FILLED
        [_X] * 10,  # CANCELED
        [_X] * 10,  # EXPIRED
        [_X] * 10,  # REJECTED
    ],
    np.uint8,
)

ORDER = np.dtype(
    [
        ("id", "u8"), ("price", "i8"), ("qty", "i8"), ("filled", "i8"),
        # While a replace is under way: what was asked for.
        ("new_price", "i8"), ("new_qty", "i8"),
        ("created_ts", "i8"), ("venue_id", "u8"),
        ("instrument", "u4"), ("state", "u1"), ("side", "u1"), ("strategy", "u1"), ("flags", "u1"),
        # ``quote``: 1 + number of the quote slot that the order stands for (strategy stage), 0 = none; in a venue's own table
        # the newest execution that was heard of (seen_fills).
        ("open_index", "i8"), ("user", "i8"), ("quote", "i8"),
        # The gateway's, while it is stopped: when the order's cancel is due (again), and how many have gone out.
        ("cancel_due_ns", "i8"), ("cancels", "i8"),
        # The last replace asked for, whatever became of it.
        ("asked_price", "i8"), ("asked_qty", "i8"),
    ],
    align=True,
)  # fmt: skip
ORDER_BYTES = 128
TABLE = np.dtype(
    [
        ("capacity", "i8"), ("n_open", "i8"), ("illegal", "i8"), ("inserted", "i8"), ("ended", "i8"),
        # Addresses of the parts behind the orders.
        ("open", "u8"), ("past", "u8"), ("free", "u8"), ("index", "u8"),
        # The queue's ends, how many past orders are kept at most, and the depth of the stack.
        ("past_in", "u8"), ("past_out", "u8"), ("past_limit", "u8"), ("n_free", "i8"), ("_pad", "i8", 3),
    ],
    align=True,
)  # fmt: skip
TABLE_HEADER_BYTES = 128
MIN_CAPACITY = 16
_PAST_SHARE = 4
_LINE = np.uint64(64)


def table_bytes(capacity: int) -> int:
    """Memory for ``capacity`` slots.

    Raises:
        ValueError: capacity is not a power of two of at least MIN_CAPACITY.
    """
    if capacity < MIN_CAPACITY or capacity & (capacity - 1):
        raise ValueError(f"order table capacity {capacity} is not a power of two of at least {MIN_CAPACITY}")
    return TABLE_HEADER_BYTES + capacity * (ORDER_BYTES + 24) + index_bytes(2 * capacity)


def table_init(memory: np.ndarray, capacity: int) -> None:
    """Make an empty table in ``memory`` (uint8 array of :func:`table_bytes`, which must stay where it is)."""
    memory[: table_bytes(capacity)] = 0
    header = memory[:TABLE_HEADER_BYTES].view(TABLE)
    orders = memory.ctypes.data + TABLE_HEADER_BYTES
    parts = orders + capacity * ORDER_BYTES
    for number, name in enumerate(("open", "past", "free", "index")):
        header[name] = parts + 8 * capacity * number
    header["capacity"], header["n_free"], header["past_limit"] = capacity, capacity, capacity // _PAST_SHARE
    at = TABLE_HEADER_BYTES + capacity * (ORDER_BYTES + 16)
    free = memory[at : at + 8 * capacity].view(np.uint64)
    free[:] = orders + ORDER_BYTES * np.arange(capacity, dtype=np.uint64)[::-1]
    index_init(memory[at + 8 * capacity :], 2 * capacity)


@jit
def is_open(state):
    """Neither empty nor terminal."""
    return state >= PENDING_NEW and state <= UNKNOWN


@jit
def remaining(order):
    """Quantity that may still fill (1e-8): while a replace is under way, the larger of both."""
    total = order.qty
    if order.state == PENDING_REPLACE and order.new_qty > total:
        total = order.new_qty
    return max(total - order.filled, np.int64(0))


@jit
def _at(list_, number):
    """Address of the word ``number`` (uint64) of a list."""
    return list_ + (number << U64(3))


@jit
def order_find(table, id_):
    """Address of the order with client id ``id_``, open or recently ended; 0 if unknown (and for id 0)."""
    return index_find(view(table, TABLE).index, id_)


@jit
def _forget_oldest(table):
    """Free the slot of the order that ended first; False if none has ended."""
    t = view(table, TABLE)
    if t.past_out == t.past_in:
        return False
    slot = U64(load_i64(_at(t.past, t.past_out & U64(t.capacity - 1))))
    t.past_out += ONE
    order = view(slot, ORDER)
    index_remove(t.index, order.id)
    order.id, order.state = ZERO, EMPTY
    store_i64(_at(t.free, U64(t.n_free)), np.int64(slot))
    t.n_free += 1
    return True


@jit
def _expect_next(table, id_):
    """Fetch what the order after ``id_`` will probably need."""
    t = view(table, TABLE)
    index_expect(t.index, id_ + ONE)
    if t.n_free > 0:
        slot = U64(load_i64(_at(t.free, U64(t.n_free - 1))))
        prefetch_write(slot)
        prefetch_write(slot + _LINE)


@jit
def order_insert(table, id_):
    """Address of a fresh order in PENDING_NEW, or 0 when every slot holds an open one (and for id 0, which is no id).

    The caller has made sure that ``id_`` is new, and sets the other fields.
    """
    t = view(table, TABLE)
    if id_ == ZERO:
        return ZERO
    if t.n_free == 0 and not _forget_oldest(table):
        return ZERO
    t.n_free -= 1
    slot = U64(load_i64(_at(t.free, U64(t.n_free))))
    index_put(t.index, id_, slot)
    order = view(slot, ORDER)
    order.id, order.state = id_, PENDING_NEW
    order.price, order.qty, order.filled = 0, 0, 0
    order.new_price, order.new_qty, order.asked_price, order.asked_qty = 0, 0, 0, 0
    order.created_ts, order.venue_id, order.user, order.quote = 0, ZERO, 0, 0
    order.open_index = t.n_open
    store_i64(_at(t.open, U64(t.n_open)), np.int64(slot))
    t.n_open += 1
    t.inserted += 1
    _expect_next(table, id_)
    return slot


@jit
def open_order(table, index):
    """Address of open order ``index`` (0 <= index < n_open); the order of the list changes as orders end."""
    return U64(load_i64(_at(view(table, TABLE).open, U64(index))))


@jit
def open_count(table):
    """Number of open orders."""
    return view(table, TABLE).n_open


@jit
def _end(table, order):
    """An order has ended: off the list of open ones, and behind those that ended before."""
    t = view(table, TABLE)
    t.n_open -= 1
    moved = U64(load_i64(_at(t.open, U64(t.n_open))))
    store_i64(_at(t.open, U64(order.open_index)), np.int64(moved))
    view(moved, ORDER).open_index = order.open_index
    t.ended += 1
    store_i64(_at(t.past, t.past_in & U64(t.capacity - 1)), np.int64(address_of(order)))
    t.past_in += ONE
    if t.past_in - t.past_out > t.past_limit:
        _forget_oldest(table)


@jit
def order_move(table, slot, event):
    """Apply ``event`` to the order at ``slot``: True if the table allows it, else nothing but ``illegal`` changes.

    Quantities are the caller's business, and are changed *before* the move (BY_FILLED looks at ``filled``).
    """
    order = view(slot, ORDER)
    state = TRANSITIONS[order.state, event]
    if state == ILLEGAL:
        view(table, TABLE).illegal += 1
        return False
    if state == BY_FILLED:
        state = PARTIAL if order.filled > 0 else WORKING
    order.state = state
    if not is_open(state):
        _end(table, order)
    return True


@jit
def _unlist_past(t, slot):
    """Take an order out of the queue of those that have ended; those that ended before it move up by one."""
    mask, at = U64(t.capacity - 1), t.past_out
    while at != t.past_in and U64(load_i64(_at(t.past, at & mask))) != slot:
        at += ONE
    while at != t.past_out:
        store_i64(_at(t.past, at & mask), load_i64(_at(t.past, (at - ONE) & mask)))
        at -= ONE
    t.past_out += ONE


@jit
def order_reopen(table, slot):
    """An order that was held for ended lives: it is UNKNOWN, and open again."""
    t, order = view(table, TABLE), view(slot, ORDER)
    _unlist_past(t, slot)
    order.state, order.open_index = UNKNOWN, t.n_open
    store_i64(_at(t.open, U64(t.n_open)), np.int64(slot))
    t.n_open += 1
    t.ended -= 1


@jit
def order_address(order):
    """Address of an order from its record."""
    return address_of(order)
