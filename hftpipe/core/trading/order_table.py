"""Orders by client id in flat memory, with their legal states: shared by strategy, risk, gateway and OUCH session.

The life of an order is this table, and nothing else moves a state (illegal pairs are refused and counted):

================ ======== ========= ======== ======== ======== ======== ============== =============== ========= ======== =======
state            ACK      PART_FILL FILLED   CANCELED EXPIRED  REJECT   CANCEL_SENT    REPLACE_SENT    NO_ANSWER REPLACED REFUSED
================ ======== ========= ======== ======== ======== ======== ============== =============== ========= ======== =======
PENDING_NEW      WORKING  PARTIAL   FILLED   CANCELED EXPIRED  REJECTED PENDING_CANCEL -               UNKNOWN   same     same
WORKING          WORKING  PARTIAL   FILLED   CANCELED EXPIRED  REJECTED PENDING_CANCEL PENDING_REPLACE UNKNOWN   same     same
PARTIAL          PARTIAL  PARTIAL   FILLED   CANCELED EXPIRED  -        PENDING_CANCEL PENDING_REPLACE UNKNOWN   same     same
PENDING_CANCEL   same     same      FILLED   CANCELED EXPIRED  REJECTED same           -               UNKNOWN   RESTS    RESTS
PENDING_REPLACE  same     same      FILLED   CANCELED EXPIRED  REJECTED PENDING_CANCEL -               UNKNOWN   RESTS    RESTS
UNKNOWN          RESTS    RESTS     FILLED   CANCELED EXPIRED  REJECTED same           -               same      RESTS    RESTS
FILLED, CANCELED, EXPIRED, REJECTED: terminal; no event moves them. A late fill proves that such an order lives: UNKNOWN
================ ======== ========= ======== ======== ======== ======== ============== =============== ========= ======== =======

REPLACED: a replace was carried out; REFUSED: a cancel or a replace was refused, and no answer says which. RESTS is what the changes
still under way make of it: PENDING_CANCEL, PENDING_REPLACE, or without any PARTIAL or WORKING, by what is filled. REJECT
reaches a WORKING order whose NEW was not answered yet when its cancel was refused, and one that is being replaced since. NO_ANSWER
reaches one that rests when its venue has forgotten it, or says of it what cannot be (core/trading/order_reports.py).

The changes under way (``under_way``) move with the same events; an end is FILLED, CANCELED, EXPIRED or REJECT:

=========== =========== ============ ========= ======= =========
under way   CANCEL_SENT REPLACE_SENT REPLACED  REFUSED end
=========== =========== ============ ========= ======= =========
NOTHING     A_CANCEL    A_REPLACE    same      same    same
A_CANCEL    same        -            same      NOTHING NOTHING
A_REPLACE   BOTH        -            NOTHING   NOTHING same
BOTH        same        -            A_CANCEL  EITHER  A_REPLACE
EITHER      BOTH        -            NOTHING   NOTHING A_REPLACE
=========== =========== ============ ========= ======= =========

EITHER: of a cancel and a replace one was refused, and the other is still to be answered. It is PENDING_CANCEL, so that neither is
asked for again, and the replace goes on counting, as it may be the one that was not refused. In A_CANCEL a REPLACED is one
told twice. A stopped gateway cancels orders of whose cancel nobody else knows: a refusal that may be the answer to that is marked
(core/schema/records.py, OWN_CANCEL), and who hears of it learns so that there was such a cancel.

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
from hftpipe.core.schema.layout import Layout, lay_out
from hftpipe.core.trading.order_index import index_bytes, index_expect, index_find, index_init, index_put, index_remove

EMPTY, PENDING_NEW, WORKING, PARTIAL, PENDING_CANCEL, PENDING_REPLACE, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
FILLED, CANCELED, EXPIRED, REJECTED = 7, 8, 9, 10
STATE_NAMES = (
    "EMPTY", "PENDING_NEW", "WORKING", "PARTIAL", "PENDING_CANCEL", "PENDING_REPLACE", "UNKNOWN",
    "FILLED", "CANCELED", "EXPIRED", "REJECTED",
)  # fmt: skip
(
    ON_ACK, ON_PART_FILL, ON_FILLED, ON_CANCELED, ON_EXPIRED, ON_REJECT,
    ON_CANCEL_SENT, ON_REPLACE_SENT, ON_NO_ANSWER, ON_REPLACED, ON_REFUSED,
) = range(11)  # fmt: skip
EVENT_NAMES = (
    "ACK", "PART_FILL", "FILLED", "CANCELED", "EXPIRED", "REJECT",
    "CANCEL_SENT", "REPLACE_SENT", "NO_ANSWER", "REPLACED", "REFUSED",
)  # fmt: skip
#: ``under_way``: from A_REPLACE on a replace may still be carried out.
NOTHING, A_CANCEL, A_REPLACE, BOTH, EITHER = range(5)
CHANGE_NAMES = ("NOTHING", "A_CANCEL", "A_REPLACE", "BOTH", "EITHER")
ILLEGAL = 255
#: The state is that of an order that rests, by what is under way and what is filled.
RESTS = 254

_PN, _W, _P, _PC, _PR, _U = PENDING_NEW, WORKING, PARTIAL, PENDING_CANCEL, PENDING_REPLACE, UNKNOWN
_F, _C, _E, _R, _X, _B = FILLED, CANCELED, EXPIRED, REJECTED, ILLEGAL, RESTS
#: TRANSITIONS[state, event] is the next state, ILLEGAL, or RESTS.
TRANSITIONS = np.array(
    [
        # ACK PART FILLED CANC EXP REJ CXL_SENT RPL_SENT NO_ANSWER REPLACED REFUSED
        [_X, _X, _X, _X, _X, _X, _X, _X, _X, _X, _X],  # EMPTY
        [_W, _P, _F, _C, _E, _R, _PC, _X, _U, _PN, _PN],  # PENDING_NEW
        [_W, _P, _F, _C, _E, _R, _PC, _PR, _U, _W, _W],  # WORKING
        [_P, _P, _F, _C, _E, _X, _PC, _PR, _U, _P, _P],  # PARTIAL
        [_PC, _PC, _F, _C, _E, _R, _PC, _X, _U, _B, _B],  # PENDING_CANCEL
        [_PR, _PR, _F, _C, _E, _R, _PC, _X, _U, _B, _B],  # PENDING_REPLACE
        [_B, _B, _F, _C, _E, _R, _U, _X, _U, _B, _B],  # UNKNOWN
        [_X] * 11,  # FILLED
        [_X] * 11,  # CANCELED
        [_X] * 11,  # EXPIRED
        [_X] * 11,  # REJECTED
    ],
    np.uint8,
)
_N, _AC, _AR, _2, _1 = NOTHING, A_CANCEL, A_REPLACE, BOTH, EITHER
#: CHANGES[under_way, event] is what is under way next; REPLACE_SENT is allowed by TRANSITIONS with nothing under way only.
CHANGES = np.array(
    [
        # ACK PART FILLED CANC EXP REJ CXL_SENT RPL_SENT NO_ANSWER REPLACED REFUSED
        [_N, _N, _N, _N, _N, _N, _AC, _AR, _N, _N, _N],  # NOTHING
        [_AC, _AC, _N, _N, _N, _N, _AC, _AC, _AC, _AC, _N],  # A_CANCEL
        [_AR, _AR, _AR, _AR, _AR, _AR, _2, _AR, _AR, _N, _N],  # A_REPLACE
        [_2, _2, _AR, _AR, _AR, _AR, _2, _2, _2, _AC, _1],  # BOTH
        [_1, _1, _AR, _AR, _AR, _AR, _2, _1, _1, _N, _N],  # EITHER
    ],
    np.uint8,
)

ORDER = np.dtype(
    [
        ("id", "u8"), ("price", "i8"), ("qty", "i8"), ("filled", "i8"),
        # While a replace may still be carried out: what was asked for.
        ("new_price", "i8"), ("new_qty", "i8"),
        # ``venue_id``: the venue's number of it, 0 before its ACK; in a venue's own table what that puts there.
        ("created_ts", "i8"), ("venue_id", "u8"),
        ("instrument", "u4"), ("state", "u1"), ("side", "u1"), ("strategy", "u1"), ("flags", "u1"),
        # ``user``: the strategy's own number; in risk what the order counts for; in the gateway the stop that its cancels are of.
        # ``quote``: 1 + number of the quote slot that the order stands for (strategy stage), 0 = none; in the gateway and in a
        # venue's own table the newest execution that was heard of (seen_fills).
        ("open_index", "i8"), ("user", "i8"), ("quote", "i8"),
        # The gateway's, while it is stopped: when the order's cancel is due (again), and how many have gone out.
        # In a venue's own table how many requests to cancel it still has to answer.
        ("cancel_due_ns", "i8"), ("cancels", "i4"),
        # The changes that are still to be answered: NOTHING ... EITHER. The gateway's own cancels that are.
        ("under_way", "i2"), ("own_cancels", "i2"),
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
    return _layout(capacity).size


def _layout(capacity: int) -> Layout:
    lists = {name: (np.uint64, capacity) for name in ("open", "past", "free")}
    return lay_out({"table": (TABLE, 1), "orders": (ORDER, capacity)} | lists | {"index": index_bytes(2 * capacity)})


def table_init(memory: np.ndarray, capacity: int) -> None:
    """Make an empty table in ``memory`` (uint8 array of :func:`table_bytes`, which must stay where it is)."""
    memory[: table_bytes(capacity)] = 0
    layout, base = _layout(capacity), memory.ctypes.data
    header = layout.view(memory, "table")
    for name in ("open", "past", "free", "index"):
        header[name] = base + layout.at(name)
    header["capacity"], header["n_free"], header["past_limit"] = capacity, capacity, capacity // _PAST_SHARE
    slots = ORDER_BYTES * np.arange(capacity, dtype=np.uint64)
    layout.view(memory, "free")[:] = base + layout.at("orders") + slots[::-1]
    index_init(layout.view(memory, "index"), 2 * capacity)


@jit
def is_open(state):
    """Neither empty nor terminal."""
    return state >= PENDING_NEW and state <= UNKNOWN


@jit
def may_be_replaced(order):
    """Whether a replace may still be carried out: it is under way, or it may be."""
    return order.under_way >= A_REPLACE


@jit
def is_cancelling(order):
    """Whether a cancel is under way, or may be: no other one is of any use now."""
    return order.under_way == A_CANCEL or order.under_way >= BOTH


@jit
def unfilled(order):
    """Quantity (1e-8) that its terms leave to fill, at worst: a replace that may be carried out may have been already.

    So of an order that has ended, too: a fill that comes after the end is measured by this.
    """
    return max(max(order.qty, order.new_qty) - order.filled, np.int64(0))


@jit
def remaining(order):
    """Quantity (1e-8) that may still fill, at worst: 0 once it has ended. What counts against a limit."""
    return unfilled(order) if is_open(order.state) else np.int64(0)


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
    order.under_way, order.cancels, order.own_cancels = NOTHING, 0, 0
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
def _resting_state(order):
    """What an open order is of which all is known."""
    if is_cancelling(order):
        return PENDING_CANCEL
    if may_be_replaced(order):
        return PENDING_REPLACE
    return PARTIAL if order.filled > 0 else WORKING


@jit
def order_move(table, slot, event):
    """Apply ``event`` to the order at ``slot``: True if the table allows it, else nothing but ``illegal`` changes.

    Quantities are the caller's business, and are changed *before* the move (RESTS looks at ``filled``).
    """
    order = view(slot, ORDER)
    state = TRANSITIONS[order.state, event]
    if state == ILLEGAL:
        view(table, TABLE).illegal += 1
        return False
    order.under_way = CHANGES[order.under_way, event]
    if state == RESTS:
        state = _resting_state(order)
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
