"""What a venue says of an order, however it says it: an answer to a request, an event of the account, or what REST found out.

Which of them comes first is not told, and each may come late, twice or not at all; so each is a *fact* that is compared with what
is known (:mod:`hftpipe.venues.orders.apply`), and only what is new becomes a report.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_acquire, store_i64, store_release, view

#: Kinds: what state an order is in; one of its executions (and the state after it); a request was refused; the venue has no
#: such order; a connection is there again, so that all open orders are to be asked about.
STATE, TRADE, REFUSED, GONE, RESYNC = range(1, 6)
#: States of an order at the venue: nothing is said of it, it rests or did, all of it has filled, it was cancelled, it expired, it
#: was refused.
UNSAID, LIVE, DONE, CANCELLED, LAPSED, TURNED_DOWN = range(6)
#: Which request a fact answers (0: none; it was not asked for); the last one: a question of ours.
NO_REQUEST, PLACED, CHANGED, CANCEL_ASKED, ASKED_ABOUT = range(5)
#: What is asked of the venue, and which of those its answer is to.
PLACE, CHANGE, CANCEL_IT = range(3)
REQUEST_OF = np.array([PLACED, CHANGED, CANCEL_ASKED], np.uint8)

#: ``cum``: filled of it (1e-8; of this revision), -1: not told; ``price``, ``qty``: its terms, qty 0: not told; ``trade_id`` and
#: ``last_*``: the execution; ``fee``: 1e-8 of the asset ``fee_asset`` (n of FEE_ASSET; UNKNOWN_FEE_ASSET: not
#: known, and with ``fee_is_unread`` how much it is neither); ``action``, ``reason``: what a refusal
#: means (:mod:`hftpipe.venues.orders.errors`); ``code``: the venue's own; ``number``: of the request that it answers, or of the last
#: one about the order when the question was asked; ``instrument``: of an order that is not known here, 1 + its number, 0: not told.
FACT = np.dtype(
    [
        ("id", "u8"), ("venue_id", "u8"), ("trade_id", "u8"), ("ts", "i8"), ("price", "i8"), ("qty", "i8"), ("cum", "i8"),
        ("last_price", "i8"), ("last_qty", "i8"), ("fee", "i8"), ("code", "i8"),
        ("kind", "u1"), ("state", "u1"), ("request", "u1"), ("action", "u1"), ("reason", "u1"), ("revision", "u1"),
        ("is_maker", "u1"), ("fee_asset", "u1"), ("number", "i8"), ("fee_is_unread", "u1"), ("_pad", "u1", 3), ("instrument", "i4"), ("_pad1", "i8", 2),
    ],
    align=True,
)  # fmt: skip
FACT_BYTES = 128
assert FACT.itemsize == FACT_BYTES


@jit
def fact_clear(fact):
    """Nothing is said in the FACT at ``fact``."""
    for word in range(FACT_BYTES // 8):
        store_i64(fact + U64(8 * word), np.int64(0))


#: A question for the threads beside: about an order (id), what is to be done; ``number`` of the last request about it;
#: ``was_changed``: whether a change of it was ever asked for; ``is_changing``: whether one may still be carried out.
QUESTION = np.dtype(
    [
        ("id", "u8"), ("what", "i8"), ("venue_id", "u8"), ("instrument", "i8"), ("revision", "i8"), ("number", "i8"),
        ("was_changed", "i8"), ("is_changing", "i8"),
    ]
)  # fmt: skip
QUESTION_BYTES = 64
assert QUESTION.itemsize == QUESTION_BYTES
#: What is asked: what has become of it; to cancel it over REST, for the connection is gone.
ASK_STATE, ASK_CANCEL = 1, 2

#: A queue of one writer and one reader, each with its own count; slots are a power of two.
QUEUE = np.dtype(
    [("written", "u8"), ("_pad0", "u8", 15), ("read", "u8"), ("slots", "u8"), ("at", "u8"), ("_pad1", "u8", 13)]
)
_READ = np.uint64(128)


def queue_init(queue: np.ndarray, slots: np.ndarray) -> None:
    """Make an empty queue (QUEUE array of length 1) of slots (array of a power of two, which must stay where it is)."""
    queue[:] = 0
    queue["slots"], queue["at"] = len(slots), slots.ctypes.data


@jit
def queue_put(queue, item, item_bytes):
    """Put a copy of ``item`` in; False if there is no room."""
    q = view(queue, QUEUE)
    if q.written - load_acquire(queue + _READ) >= q.slots:
        return False
    copy_bytes(q.at + (q.written & (q.slots - ONE)) * U64(item_bytes), item, item_bytes)
    store_release(queue, q.written + ONE)
    return True


@jit
def queue_first(queue, item_bytes):
    """Address of the oldest item; 0 if there is none. It stays there until :func:`queue_drop`."""
    q = view(queue, QUEUE)
    if load_acquire(queue) == q.read:
        return ZERO
    return q.at + (q.read & (q.slots - ONE)) * U64(item_bytes)


@jit
def queue_drop(queue):
    """Forget the oldest item."""
    store_release(queue + _READ, view(queue, QUEUE).read + ONE)
