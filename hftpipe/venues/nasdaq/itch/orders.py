"""Resting orders by reference number: an open-addressed table in flat memory, probed linearly, without tombstones.

Sixteen consecutive reference numbers share a run of slots (512 bytes), and the runs are scattered by a multiplicative
hash: venues hand numbers out in rising order, so the orders that change now lie in few cache lines, and a long-lived
dense stretch of old orders cannot pile up in front of new ones as it would with the number itself as position.

A removal moves later entries of its run back (Knuth, TAOCP vol. 3, 6.4, algorithm R), so no probe grows with time.
At most three quarters are used, so every probe ends.

::

    base | ORDERS (64 bytes) | ORDER[capacity]
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, store_i64, view

ORDERS = np.dtype(
    [
        ("mask", "u8"), ("shift", "u8"), ("capacity", "i8"), ("limit", "i8"),
        ("count", "i8"), ("peak", "i8"), ("full", "i8"), ("_pad", "i8"),
    ],
    align=True,
)  # fmt: skip
ORDERS_HEADER_BYTES = 64
#: ``qty`` (1e-8) is what is left; 0 marks an empty slot. ``price`` 1e-8.
ORDER = np.dtype(
    [("ref", "u8"), ("price", "i8"), ("qty", "i8"), ("instrument", "u4"), ("side", "u1"), ("_pad", "u1", 3)], align=True
)
ORDER_BYTES = 32
MIN_CAPACITY = 64
_RUN_BITS = np.uint64(4)
_RUN_MASK = np.uint64(15)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SLOTS = np.uint64(ORDERS_HEADER_BYTES)
_SLOT_SHIFT = np.uint64(5)
assert ORDER.itemsize == ORDER_BYTES and ORDERS.itemsize == ORDERS_HEADER_BYTES


def orders_bytes(capacity: int) -> int:
    """Memory of a table.

    Raises:
        ValueError: capacity is not a power of two of at least MIN_CAPACITY.
    """
    if capacity < MIN_CAPACITY or capacity & (capacity - 1):
        raise ValueError(f"order capacity {capacity} is not a power of two of at least {MIN_CAPACITY}")
    return ORDERS_HEADER_BYTES + capacity * ORDER_BYTES


def orders_init(memory: np.ndarray, capacity: int) -> None:
    """Make an empty table in ``memory`` (uint8 array of :func:`orders_bytes`), touching every page."""
    memory[: orders_bytes(capacity)] = 0
    header = memory[:ORDERS_HEADER_BYTES].view(ORDERS)
    header["mask"], header["capacity"], header["limit"] = capacity - 1, capacity, capacity // 4 * 3
    header["shift"] = 64 - (capacity.bit_length() - 1 - int(_RUN_BITS))


@jit
def _home(table, ref):
    t = view(table, ORDERS)
    return ((((ref >> _RUN_BITS) * _MIX) >> t.shift) << _RUN_BITS) | (ref & _RUN_MASK)


@jit
def _slot(table, index):
    return table + _SLOTS + (index << _SLOT_SHIFT)


@jit
def orders_locate(table, ref):
    """Address of the order ``ref``, or of the empty slot (qty 0) where it would go."""
    mask = view(table, ORDERS).mask
    index = _home(table, ref)
    slot = _slot(table, index)
    order = view(slot, ORDER)
    while order.qty != 0 and order.ref != ref:
        index = (index + ONE) & mask
        slot = _slot(table, index)
        order = view(slot, ORDER)
    return slot


@jit
def orders_put(table, slot, ref, instrument, side, price, qty):
    """Fill the empty slot that :func:`orders_locate` gave for ``ref``; False (counted) when the table is full."""
    t = view(table, ORDERS)
    if t.count >= t.limit:
        t.full += 1
        return False
    t.count += 1
    t.peak = max(t.peak, t.count)
    order = view(slot, ORDER)
    order.ref, order.price, order.qty = ref, price, qty
    order.instrument, order.side = instrument, side
    return True


@jit
def _move(source, target):
    for word in range(4):
        offset = U64(8 * word)
        store_i64(target + offset, load_i64(source + offset))


@jit
def orders_remove(table, slot):
    """Empty an occupied slot; orders behind it move up, so addresses of other orders are void afterwards."""
    t = view(table, ORDERS)
    t.count -= 1
    hole = (slot - table - _SLOTS) >> _SLOT_SHIFT
    index = (hole + ONE) & t.mask
    order = view(_slot(table, index), ORDER)
    while order.qty != 0:
        if ((index - _home(table, order.ref)) & t.mask) >= ((index - hole) & t.mask):
            _move(_slot(table, index), _slot(table, hole))
            hole = index
        index = (index + ONE) & t.mask
        order = view(_slot(table, index), ORDER)
    view(_slot(table, hole), ORDER).qty = 0


@jit
def orders_clear(table):
    """Forget every order (the whole table is written: between sessions only)."""
    t = view(table, ORDERS)
    for index in range(t.capacity):
        view(_slot(table, U64(index)), ORDER).qty = 0
    t.count = 0


@jit
def orders_find(table, ref):
    """Address of the order ``ref``, 0 if it does not rest."""
    slot = orders_locate(table, ref)
    return slot if view(slot, ORDER).qty != 0 else ZERO
