"""One side of a book: the ticks around the touch in a window, all other levels in sorted blocks.

A level is in a slot of the window (:mod:`hftpipe.core.trading.window`) if there is one for its key, else in a block
(:mod:`hftpipe.core.trading.levels`). Most changes of a real book are in the window: there one costs a product, a load and two
stores, whatever it does. A side without a window (no tick known) has only blocks.

A walk from the best goes through the window first and then through the blocks behind it. Blocks may also hold levels
better than some in the window: those above it, until it moves, and those at no whole tick. The side is then *mixed*,
and a walk compares both at each step.
"""

import numpy as np

from hftpipe.core.machine.bits import lowest_bit
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.trading.levels import (
    FULL,
    LEVELS,
    levels_at,
    levels_bytes,
    levels_clear,
    levels_init,
    levels_last,
    levels_next,
    levels_put,
    levels_qty,
    levels_remove,
    levels_seek,
    levels_worst,
)
from hftpipe.core.trading.window import (
    window_best,
    window_bytes,
    window_clear,
    window_from,
    window_has,
    window_init,
    window_key,
    window_look,
    window_marks,
    window_nth,
    window_place,
    window_put,
    window_qty,
    window_reaches,
    window_slot,
    window_sum,
    window_worst,
)

#: A level had to go for want of room: the worst one, or the one that was to be set.
DROPPED = FULL


def side_bytes(capacity: int, slots: int) -> int:
    """Memory of a side of ``capacity`` levels and a window of ``slots`` ticks, without the header."""
    return levels_bytes(capacity) + window_bytes(slots)


def side_init(memory: np.ndarray, header: int, storage: int, capacity: int, slots: int, tick: int) -> None:
    """Make an empty side: its header at ``memory[header]``, the rest at ``memory[storage]`` (zeroed, uint8)."""
    levels_init(memory, header, storage, capacity)
    window_init(memory, header, storage + levels_bytes(capacity), slots, tick)


@jit
def _drop_worst(side, key):
    """Remove the worst level to make room for ``key``; False if that would be the worst."""
    slot, spilled = window_worst(side), levels_worst(side)
    if slot >= 0 and (view(side, LEVELS).spilled == 0 or window_key(side, slot) < spilled):
        if key < window_key(side, slot):
            return False
        window_put(side, np.int64(slot), np.int64(0))
        return True
    if key < spilled:
        return False
    levels_remove(side, spilled)
    return True


@jit
def _put_in_full(side, key, qty):
    """Put a new level where there is no room: the worst goes, be it the new one."""
    if _drop_worst(side, key):
        slot = window_slot(side, key)
        if window_has(side, slot):
            window_put(side, np.int64(slot), qty)
        else:
            _put_in_block(side, key, qty)
    return DROPPED


@jit
def _put_in_block(side, key, qty):
    s = view(side, LEVELS)
    before = levels_put(side, key, qty)
    s.mixed |= np.int64(key > s.low)
    return before


@jit
def _makes_slot(side, key, qty):
    """Many changes have missed the window: move it to where the touch is. Whether ``key`` now has a slot."""
    s = view(side, LEVELS)
    if s.n != 0:
        window_look(side)
    elif qty != 0 and window_reaches(key):
        window_place(side, key)
    return window_has(side, window_slot(side, key))


@jit
def _set_in_block(side, key, qty):
    if qty == 0:
        return levels_remove(side, key)
    before = _put_in_block(side, key, qty)
    return _put_in_full(side, key, qty) if before == FULL else before


@jit
def _set_elsewhere(side, key, qty):
    """:func:`side_set` of a key outside the window, or in a full side."""
    s, slot = view(side, LEVELS), window_slot(side, key)
    if not window_has(side, slot):
        s.misses += 1
        if s.misses < s.patience or not _makes_slot(side, key, qty):
            return _set_in_block(side, key, qty)
        slot = window_slot(side, key)
    before = window_qty(side, slot)
    if s.n == s.capacity and before == 0 and qty != 0:
        return _put_in_full(side, key, qty)
    window_put(side, slot, qty)
    return before


@jit
def side_set(side, key, qty):
    """Set a quantity (0: remove the level).

    Returns:
        The quantity before, 0 if there was no level; DROPPED if it is new and a level had to go.
    """
    s, slot = view(side, LEVELS), window_slot(side, key)
    if not window_has(side, slot) or s.n == s.capacity:
        return _set_elsewhere(side, key, qty)
    before = window_qty(side, slot)
    window_put(side, slot, qty)
    return before


@jit
def side_qty(side, key):
    """Quantity at ``key``, 0 if there is no level."""
    slot = window_slot(side, key)
    return window_qty(side, slot) if window_has(side, slot) else levels_qty(side, key)


@jit
def side_clear(side):
    """Remove every level."""
    window_clear(side)
    levels_clear(side)


# A cursor says in its two lowest bits whether its level is in the window, and whether the side is mixed. Then:
#
# in the window          group of 32 slots << 34 | bits of its levels from this one on << 2
# in a block             cursor of the block << 2
# in a mixed side        (cursor of the block + 1) << 22 | (slot + 1) << 2: the next level of each

_FLAGS, _GROUP_SHIFT, _BLOCK_SHIFT = 2, 34, 22
_SLOT_MASK, _MARKS_MASK = np.int64((1 << (_BLOCK_SHIFT - _FLAGS)) - 1), np.int64((1 << (_GROUP_SHIFT - _FLAGS)) - 1)
_IN_WINDOW, _MIXED = np.int64(1), np.int64(2)
_NONE = np.int64(-1)


@jit
def _at_slot(side, slot):
    return (slot >> 5) << _GROUP_SHIFT | window_marks(side, slot) << _FLAGS | _IN_WINDOW


@jit
def _at_block(block):
    return block << _FLAGS


@jit
def _slot_of(cursor):
    return (cursor >> _GROUP_SHIFT << 5) + lowest_bit(U64(cursor >> _FLAGS))


@jit
def _mixed_slot(cursor):
    return (cursor >> _FLAGS & _SLOT_MASK) - 1


@jit
def _mixed_block(cursor):
    return (cursor >> _BLOCK_SHIFT) - 1


@jit
def _better(side, slot, block):
    """Mixed cursor at the better one of the next level in the window and the next one in a block."""
    if slot < 0 and block < 0:
        return _NONE
    in_window = slot >= 0 and (block < 0 or window_key(side, slot) > levels_at(side, block)[0])
    return (block + 1) << _BLOCK_SHIFT | (slot + 1) << _FLAGS | _MIXED | np.int64(in_window)


@jit
def _seek_mixed(side, index):
    cursor = _better(side, window_best(side), levels_last(side))
    while index > 0 and cursor >= 0:
        cursor = side_next(side, cursor)
        index -= 1
    return cursor


@jit
def _level_elsewhere(side, index):
    cursor = side_seek(side, index)
    if cursor < 0:
        return np.int64(0), np.int64(0)
    return side_at(side, cursor)


@jit
def side_level(side, index):
    """``(key, quantity)`` of level ``index`` from the best, (0, 0) if there is none."""
    s = view(side, LEVELS)
    if index < 0 or index >= s.n - s.spilled or s.mixed != 0:
        return _level_elsewhere(side, index)
    slot = window_nth(side, index)
    return window_key(side, slot), window_qty(side, slot)


@jit
def side_best(side):
    """``(key, quantity)`` of the best level, (0, 0) if there is none."""
    s, slot = view(side, LEVELS), window_best(side)
    if slot < 0 or s.mixed != 0:
        return _level_elsewhere(side, np.int64(0))
    return window_key(side, slot), window_qty(side, slot)


@jit
def side_seek(side, index):
    """Cursor of level ``index`` from the best (greatest key), negative if there is none. Skips whole words and blocks.

    In a mixed side it goes step by step.
    """
    s = view(side, LEVELS)
    if index < 0 or index >= s.n:
        return _NONE
    if s.mixed != 0:
        return _seek_mixed(side, index)
    inside = s.n - s.spilled
    if index >= inside:
        return _at_block(levels_seek(side, index - inside))
    return _at_slot(side, window_nth(side, index))


@jit
def _next_mixed(side, cursor):
    slot, block = _mixed_slot(cursor), _mixed_block(cursor)
    if cursor & _IN_WINDOW != 0:
        slot = window_from(side, slot + 1)
    else:
        block = levels_next(side, block)
    return _better(side, slot, block)


@jit
def _next_group(side, cursor):
    """The first level behind the group of the cursor."""
    slot = window_from(side, ((cursor >> _GROUP_SHIFT) + 1) << 5)
    return _at_slot(side, slot) if slot >= 0 else _at_block(levels_last(side))


@jit
def _next_elsewhere(side, cursor):
    """:func:`side_next` of all but a level in the window with another one in its group."""
    if cursor & _MIXED != 0:
        return _next_mixed(side, cursor)
    if cursor & _IN_WINDOW != 0:
        return _next_group(side, cursor)
    return _at_block(levels_next(side, cursor >> _FLAGS))


@jit
def side_next(side, cursor):
    """Cursor of the next worse level, negative behind the worst."""
    # The lowest mark goes, the flags below it stay.
    left = (cursor - 4) & cursor
    if cursor & (_MIXED | _IN_WINDOW) == _IN_WINDOW and left >> _FLAGS & _MARKS_MASK != 0:
        return left
    return _next_elsewhere(side, cursor)


@jit
def _at_elsewhere(side, cursor):
    if cursor & _IN_WINDOW != 0:
        slot = _mixed_slot(cursor)
        return window_key(side, slot), window_qty(side, slot)
    return levels_at(side, _mixed_block(cursor) if cursor & _MIXED != 0 else cursor >> _FLAGS)


@jit
def side_at(side, cursor):
    """``(key, quantity)`` at a cursor that is not negative."""
    if cursor & (_MIXED | _IN_WINDOW) != _IN_WINDOW:
        return _at_elsewhere(side, cursor)
    slot = _slot_of(cursor)
    return window_key(side, slot), window_qty(side, slot)


@jit
def _sum_elsewhere(side, index, n):
    cursor, total = side_seek(side, index), np.int64(0)
    while cursor >= 0 and n > 0:
        total += side_at(side, cursor)[1]
        cursor = side_next(side, cursor)
        n -= 1
    return total


@jit
def side_sum(side, index, n):
    """Total quantity of up to ``n`` levels from level ``index`` on."""
    s = view(side, LEVELS)
    inside = s.n - s.spilled
    if index < 0 or index >= inside or s.mixed != 0:
        return _sum_elsewhere(side, index, n)
    total, left = window_sum(side, window_nth(side, index), n)
    return total + _sum_elsewhere(side, inside, left) if left > 0 else total
