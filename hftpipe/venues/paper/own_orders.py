"""Our own orders at the simulated venue: one record each, listed per instrument and side in price-time priority.

The lists are intrusive (``next`` and ``prev`` are slot addresses), so that a trade visits the orders it can reach
and no others, best price first, oldest first within a price. All loops are bounded by the number of slots.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, store_i64, view
from hftpipe.core.schema.records import BUY
from hftpipe.venues.paper.models import front_after_depth

#: Cuts of a level that an order remembers (a power of two). Of more the oldest two are merged.
MAX_CUTS = 8
_NS_PER_MS = np.int64(1_000_000)
#: ``ahead``: quantity before us in the queue. ``seen``: the level's displayed size when last heard of, with the update
#: id and venue time of that; ``traded``: traded there since then. ``cuts``: a ring of (venue time, quantity) of what news
#: of the level took from ``ahead`` that no trade had explained; ``n_cuts`` is the number of all there have been.
OWN = np.dtype(
    [
        # What a walk over the list reads, in one cache line. Side and flags are whole words: one integer type everywhere
        # keeps one compiled version of each function.
        ("price", "i8"), ("next", "u8"), ("seen", "i8"), ("seen_id", "u8"), ("ahead", "i8"), ("side", "i8"),
        ("instrument", "u4"), ("touched", "u2"), ("strategy", "u1"), ("_pad", "u1"), ("id", "u8"),
        ("qty", "i8"), ("filled", "i8"), ("traded", "i8"), ("seen_ts", "i8"), ("joined_ts", "i8"), ("prev", "u8"),
        ("flags", "i8"), ("n_cuts", "i8"),
        ("cuts", "i8", 2 * MAX_CUTS),
    ],
    align=True,
)  # fmt: skip
OWN_BYTES = 256
assert OWN.itemsize == OWN_BYTES


@jit
def better(side, a, b):
    """Whether price ``a`` stands before ``b`` among resting orders of ``side``."""
    if side == BUY:
        return a > b
    return a < b


@jit
def own_first(head):
    """Address of the best order of the list whose head word is at ``head``; 0 when empty."""
    return U64(load_i64(head))


@jit
def own_link(head, slot):
    """Put the order at ``slot`` behind all orders of its price or better."""
    order = view(slot, OWN)
    before, at = ZERO, own_first(head)
    while at != ZERO:
        other = view(at, OWN)
        if better(order.side, order.price, other.price):
            break
        before, at = at, other.next
    order.prev, order.next = before, at
    if before == ZERO:
        store_i64(head, np.int64(slot))
    else:
        view(before, OWN).next = slot
    if at != ZERO:
        view(at, OWN).prev = slot


@jit
def own_unlink(head, slot):
    """Take the order at ``slot`` out of its list."""
    order = view(slot, OWN)
    if order.prev == ZERO:
        store_i64(head, np.int64(order.next))
    else:
        view(order.prev, OWN).next = order.next
    if order.next != ZERO:
        view(order.next, OWN).prev = order.prev


@jit
def own_find(head, id_):
    """Address of the order with client id ``id_`` in one list; 0 if absent."""
    slot = own_first(head)
    while slot != ZERO:
        order = view(slot, OWN)
        if order.id == id_:
            return slot
        slot = order.next
    return ZERO


@jit
def own_left(order):
    """Unfilled quantity."""
    return order.qty - order.filled


@jit
def _cut_at(number):
    """Where cut ``number`` stands in ``cuts``: its time, and its quantity one further."""
    return 2 * (number & (MAX_CUTS - 1))


@jit
def _push_cut(order, qty, exchange_ts):
    """A cut more. Without room the oldest two become one, of the later time."""
    at = _cut_at(order.n_cuts)
    if order.n_cuts >= MAX_CUTS:
        order.cuts[_cut_at(order.n_cuts + 1) + 1] += order.cuts[at + 1]
    order.cuts[at], order.cuts[at + 1] = exchange_ts, qty
    order.n_cuts += 1


@jit
def _note_cut(order, qty, exchange_ts):
    """Remember that news of venue time ``exchange_ts`` took ``qty`` from ahead of the order.

    What one millisecond took adds up. If cuts had to be merged, one of two trades that come late may be covered though
    the news before it does not contain it; none is ever counted twice.
    """
    newest = _cut_at(order.n_cuts - 1)
    if order.n_cuts > 0 and order.cuts[newest] // _NS_PER_MS == exchange_ts // _NS_PER_MS:
        order.cuts[newest], order.cuts[newest + 1] = exchange_ts, order.cuts[newest + 1] + qty
    else:
        _push_cut(order, qty, exchange_ts)


@jit
def _cover(order, reach, exchange_ts):
    """How much of ``reach`` of a late trade the cuts not older than it contain, the oldest first; they are used up."""
    left, number, oldest = reach, order.n_cuts, max(order.n_cuts - MAX_CUTS, 0)
    while number > oldest and order.cuts[_cut_at(number - 1)] >= exchange_ts:
        number -= 1
    while number < order.n_cuts and left > 0:
        at = _cut_at(number) + 1
        used = min(left, order.cuts[at])
        order.cuts[at] -= used
        left -= used
        number += 1
    return reach - left


@jit
def own_see(order, shown, update_id, exchange_ts, model, power_n, lot):
    """News of the displayed size at the order's price; older news than what is known is ignored."""
    if update_id < order.seen_id:
        return
    before = order.ahead
    order.ahead = front_after_depth(model, power_n, lot, before, order.seen, shown, order.traded)
    order.seen, order.traded, order.seen_id = shown, 0, update_id
    order.seen_ts = max(order.seen_ts, exchange_ts)
    if order.ahead < before:
        _note_cut(order, before - order.ahead, order.seen_ts)


@jit
def own_trade(order, price, total, reach, exchange_ts):
    """A trade that reaches the order's price: how much of ``reach`` gets to the order (before its own size).

    Args:
        price: the trade's; another price than the order's means it went through us: nobody is ahead any more.
        total: the trade's quantity; ``reach``: what our own orders before this one have left of it.
        exchange_ts: venue time of the trade (0: unknown). A trade not later than the last news of the level is
            already in its displayed size; one not later than our arrival was before us.
    """
    if exchange_ts != 0 and exchange_ts <= order.joined_ts:
        return np.int64(0)
    if price != order.price:
        order.ahead = 0
        return reach
    if exchange_ts != 0 and exchange_ts <= order.seen_ts:
        reach -= _cover(order, reach, exchange_ts)
    else:
        order.traded += total
    eaten = min(order.ahead, reach)
    order.ahead -= eaten
    return reach - eaten
