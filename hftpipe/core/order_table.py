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
FILLED, CANCELED, EXPIRED, REJECTED: terminal; nothing moves them (a late fill still reaches the position)
================ ======== ========= ======== ======== ======== ======== ============== ============== =========

REJECT reaches a WORKING order whose NEW was not answered yet when its cancel was refused. NO_ANSWER reaches one that
rests when its venue has forgotten it.
CHANGE_DONE (a replace was accepted or refused, or a cancel was refused) returns PENDING_* to WORKING or PARTIAL.

Orders sit in an open-addressed table probed over PROBES neighbours; a terminal order stays findable until its slot
is needed, and the one that ended first goes first. Ids and ages stand in arrays of their own, so that looking through
all neighbours reads a few cache lines. An age is 0 (empty), the number of orders that had ended before, or OPEN.
Open orders are also listed densely, so that iterating them never walks the table.

::

    base | TABLE | ORDER[capacity] | open order addresses[capacity] | ids[capacity] | ages[capacity] |
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import U64, ZERO, address_of, load_i64, store_i64, view

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
        [_W, _P, _F, _C, _E, _R, _PC, _X, _U, _X],  # PENDING_NEW
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
        ("open_index", "i8"), ("user", "i8"), ("_pad", "i8", 5),
    ],
    align=True,
)  # fmt: skip
ORDER_BYTES = 128
TABLE = np.dtype(
    [
        ("mask", "u8"),
        ("capacity", "i8"),
        ("n_open", "i8"),
        ("illegal", "i8"),
        ("inserted", "i8"),
        ("ended", "i8"),
        ("_pad", "i8", 2),
    ],
    align=True,
)
TABLE_HEADER_BYTES = 64
PROBES = 16
#: Age of an order that is still open: never the oldest.
OPEN = 0x7FFFFFFFFFFFFFFF
_MIX = np.uint64(0x9E3779B97F4A7C15)


def table_bytes(capacity: int) -> int:
    """Memory for ``capacity`` slots (a power of two of at least PROBES)."""
    if capacity < PROBES or capacity & (capacity - 1):
        raise ValueError(f"order table capacity {capacity} is not a power of two of at least {PROBES}")
    return TABLE_HEADER_BYTES + capacity * (ORDER_BYTES + 24)


def table_init(memory: np.ndarray, capacity: int) -> None:
    """Make an empty table in ``memory`` (uint8 array of :func:`table_bytes`)."""
    memory[: table_bytes(capacity)] = 0
    header = memory[:TABLE_HEADER_BYTES].view(TABLE)
    header["mask"], header["capacity"] = capacity - 1, capacity


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
def _slot(table, index):
    return table + U64(TABLE_HEADER_BYTES) + (index << U64(7))


@jit
def _home(id_):
    return ((id_ * _MIX) >> U64(32)) ^ (id_ & U64(0xFFFFFFFF))


@jit
def _open_list(table, capacity):
    return table + U64(TABLE_HEADER_BYTES) + U64(ORDER_BYTES) * U64(capacity)


@jit
def _ids(table, capacity):
    return table + U64(TABLE_HEADER_BYTES) + U64(ORDER_BYTES + 8) * U64(capacity)


@jit
def _ages(table, capacity):
    return _ids(table, capacity) + U64(8) * U64(capacity)


@jit
def order_find(table, id_):
    """Address of the order with client id ``id_``, open or recently ended; 0 if unknown (and for id 0)."""
    t = view(table, TABLE)
    home, ids = _home(id_), _ids(table, t.capacity)
    if id_ == ZERO:
        return ZERO
    for probe in range(PROBES):
        index = (home + U64(probe)) & t.mask
        if U64(load_i64(ids + U64(8) * index)) == id_:
            return _slot(table, index)
    return ZERO


@jit
def order_insert(table, id_):
    """Address of a fresh order in PENDING_NEW, or 0 when its neighbourhood holds only open orders.

    The caller has made sure that ``id_`` is new and sets the other fields.
    """
    t = view(table, TABLE)
    home, ages = _home(id_), _ages(table, t.capacity)
    at, age = ZERO, np.int64(OPEN)
    for probe in range(PROBES):
        index = (home + U64(probe)) & t.mask
        found = load_i64(ages + U64(8) * index)
        if found < age:
            at, age = index, found
            if age == 0:
                break
    if age == OPEN:
        return ZERO
    best = _slot(table, at)
    store_i64(_ids(table, t.capacity) + U64(8) * at, np.int64(id_))
    store_i64(ages + U64(8) * at, np.int64(OPEN))
    order = view(best, ORDER)
    order.id, order.state = id_, PENDING_NEW
    order.price, order.qty, order.filled = 0, 0, 0
    order.new_price, order.new_qty = 0, 0
    order.created_ts, order.venue_id, order.user = 0, ZERO, 0
    order.open_index = t.n_open
    store_i64(_open_list(table, t.capacity) + U64(8) * U64(t.n_open), np.int64(best))
    t.n_open += 1
    t.inserted += 1
    return best


@jit
def open_order(table, index):
    """Address of open order ``index`` (0 <= index < n_open); the order of the list changes as orders end."""
    t = view(table, TABLE)
    return U64(load_i64(_open_list(table, t.capacity) + U64(8) * U64(index)))


@jit
def open_count(table):
    """Number of open orders."""
    return view(table, TABLE).n_open


@jit
def _unlist(table, order):
    t = view(table, TABLE)
    listed = _open_list(table, t.capacity)
    t.n_open -= 1
    moved = U64(load_i64(listed + U64(8) * U64(t.n_open)))
    store_i64(listed + U64(8) * U64(order.open_index), np.int64(moved))
    view(moved, ORDER).open_index = order.open_index
    t.ended += 1
    index = (address_of(order) - table - U64(TABLE_HEADER_BYTES)) >> U64(7)
    store_i64(_ages(table, t.capacity) + U64(8) * index, t.ended)


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
        _unlist(table, order)
    return True


@jit
def order_address(order):
    """Address of an order from its record."""
    return address_of(order)
