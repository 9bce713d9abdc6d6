"""Levels of one side of a book in ascending order of a key, in blocks of at most 64.

An array of *fences* says where each block begins: block ``j`` holds the keys in ``[fence[j], fence[j + 1])``. A
search counts the fences up to the key, then the keys of one block below it; an insert or a delete moves at most one
block. Behind its last level a block is filled with the greatest key, and so are the fences, so that neither search
needs to know how many there are.

A block that is full is split in halves. A block that a delete leaves empty, or so small that it and a neighbour fill
no more than half a block, is merged. Any two neighbours therefore hold more than half a block, which bounds the
memory; only a side without levels has an empty block.

The cost of one change does not depend on how deep the level is. The worst case is a split or a merge: half a block
and the rest of the fences are moved (16 bytes for each 17 to 64 levels of the side).

::

    side | LEVELS header | ... side + fences | fence[n] | id[n] | count[n] | 64 keys, 64 quantities | ...

``id`` holds the blocks in order, then the free ones; ``count`` is by block.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, copy_bytes, load_i64, store_i64, view
from hftpipe.core.machine.vectors import (
    FILLING,
    LANES,
    LANES_BYTES,
    RUN,
    RUN_BYTES,
    count_below,
    count_to,
    run_fill,
    run_insert,
    run_remove,
)
from hftpipe.core.schema.layout import Layout, lay_out, whole

#: One side: its blocks, and the window that is laid over them (:mod:`hftpipe.core.trading.window`).
#: ``fences`` to ``blocks`` and ``slots`` to ``summary`` say where those begin, in bytes from this record.
LEVELS = np.dtype(
    [
        # Levels of the side, and how many of them are in blocks.
        ("n", "i8"), ("capacity", "i8"), ("n_blocks", "i8"),
        ("fences", "u8"), ("ids", "u8"), ("counts", "u8"), ("blocks", "u8"), ("spilled", "i8"),
        # The window: key of slot 0, key step of a slot, ceil(2**63 / tick), slots in use (all or none), slots there are.
        ("top", "i8"), ("tick", "i8"), ("inverse", "u8"), ("n_slots", "i8"), ("span", "i8"),
        ("slots", "u8"), ("bits", "u8"), ("summary", "u8"),
        # Changes outside it since it was last looked at, and after how many that is done; the key of the last slot, and
        # whether a level in a block may be better; times the window moved, and levels that went in or out by that.
        ("misses", "i8"), ("patience", "i8"), ("low", "i8"), ("mixed", "i8"), ("moves", "i8"), ("moved", "i8"),
        ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
LEVELS_HEADER_BYTES = 192
#: What :func:`levels_put` says when a level is new and the side full: nothing was done.
FULL = np.int64(-(2**63))

_HALF = RUN // 2
_LOWEST = np.int64(-(2**63))
_BLOCK_SHIFT = np.uint64((2 * RUN_BYTES).bit_length() - 1)
_RUN_SHIFT = RUN.bit_length() - 1
_RUN_BYTES = np.uint64(RUN_BYTES)
_HALF_BYTES = np.uint64(8 * _HALF)
_LANES_BYTES = np.uint64(LANES_BYTES)
_WORD_SHIFT = np.uint64(3)
#: More fences than this are first halved.
_SCANNED = 256


def _max_blocks(capacity: int) -> int:
    return 2 * (capacity // (_HALF + 1)) + 1


def _layout(capacity: int) -> Layout:
    """The parts, without the header; of fences, ids and counts whole vectors."""
    blocks = _max_blocks(capacity)
    words = {name: (np.int64, whole(blocks, LANES)) for name in ("fences", "ids", "counts")}
    return lay_out(words | {"blocks": (np.int64, 2 * RUN * blocks)})


def levels_bytes(capacity: int) -> int:
    """Memory of ``capacity`` levels, without the header (a multiple of 64)."""
    return _layout(capacity).size


def levels_init(memory: np.ndarray, header: int, storage: int, capacity: int) -> None:
    """Make a side without levels: its header at ``memory[header]``, its levels at ``memory[storage]`` (zeroed, uint8)."""
    row = memory[header : header + LEVELS_HEADER_BYTES].view(LEVELS)
    row["capacity"], row["n_blocks"] = capacity, 1
    layout = _layout(capacity)
    for name in layout.parts:
        row[name] = storage - header + layout.at(name)
    fences, ids, _counts, blocks = (layout.view(memory[storage:], name) for name in layout.parts)
    fences[:], ids[:], blocks[:RUN] = FILLING, np.arange(len(ids)), FILLING
    fences[0] = _LOWEST


@jit
def _word(array, index):
    return array + (U64(index) << _WORD_SHIFT)


@jit
def _id(side, index):
    return load_i64(_word(side + view(side, LEVELS).ids, index))


@jit
def _count_at(side, block_id):
    return _word(side + view(side, LEVELS).counts, block_id)


@jit
def _keys(side, block_id):
    return side + view(side, LEVELS).blocks + (U64(block_id) << _BLOCK_SHIFT)


@jit
def _block_for(side, key):
    """Which block (in order) holds ``key`` or is the one to put it in."""
    s = view(side, LEVELS)
    fences, start, length = side + s.fences, np.int64(0), s.n_blocks
    while length > _SCANNED:
        half = (length >> 1) & ~(LANES - 1)
        start += half if load_i64(_word(fences, start + half)) <= key else np.int64(0)
        length -= half
    at, found = _word(fences, start), start
    end = _word(at, length)
    while at < end:
        found += count_to(at, key)
        at += _LANES_BYTES
    return min(found, s.n_blocks) - 1


@jit
def _holds(keys, place, count, key):
    """Whether ``key`` is at the ``place`` that the search for it found."""
    return (place < count) & (load_i64(_word(keys, min(place, np.int64(RUN - 1)))) == key)


@jit
def _open_fence(side, at, key):
    """Make the first free block the block number ``at``, beginning at ``key``; returns its id."""
    s = view(side, LEVELS)
    fence, id_at = _word(side + s.fences, at), _word(side + s.ids, at)
    block_id, moved = _id(side, s.n_blocks), 8 * (s.n_blocks - at)
    copy_bytes(_word(fence, 1), fence, moved)
    copy_bytes(_word(id_at, 1), id_at, moved)
    store_i64(fence, key)
    store_i64(id_at, block_id)
    s.n_blocks += 1
    return block_id


@jit
def _close_fence(side, at):
    """Free the block number ``at`` (not the first); what it held belongs to the one before it."""
    s = view(side, LEVELS)
    fence, id_at = _word(side + s.fences, at), _word(side + s.ids, at)
    block_id = load_i64(id_at)
    s.n_blocks -= 1
    moved = 8 * (s.n_blocks - at)
    copy_bytes(fence, _word(fence, 1), moved)
    copy_bytes(id_at, _word(id_at, 1), moved)
    store_i64(_word(side + s.fences, s.n_blocks), FILLING)
    store_i64(_word(side + s.ids, s.n_blocks), block_id)


@jit
def _split(side, index):
    """Move the upper half of a full block to a new one behind it."""
    low_id = _id(side, index)
    low = _keys(side, low_id)
    high_id = _open_fence(side, index + 1, load_i64(low + _HALF_BYTES))
    high = _keys(side, high_id)
    run_fill(high, FILLING)
    copy_bytes(high, low + _HALF_BYTES, 8 * _HALF)
    copy_bytes(high + _RUN_BYTES, low + _RUN_BYTES + _HALF_BYTES, 8 * _HALF)
    for place in range(_HALF, RUN):
        store_i64(_word(low, place), FILLING)
    store_i64(_count_at(side, low_id), _HALF)
    store_i64(_count_at(side, high_id), _HALF)


@jit
def _merge(side, index):
    """Append block ``index + 1`` to block ``index`` if one is empty or both fill no more than half; False if not."""
    low_id, high_id = _id(side, index), _id(side, index + 1)
    at, n_high = _count_at(side, low_id), load_i64(_count_at(side, high_id))
    n_low = load_i64(at)
    if n_low + n_high > _HALF and n_low != 0 and n_high != 0:
        return False
    target, source = _word(_keys(side, low_id), n_low), _keys(side, high_id)
    copy_bytes(target, source, 8 * n_high)
    copy_bytes(target + _RUN_BYTES, source + _RUN_BYTES, 8 * n_high)
    store_i64(at, n_low + n_high)
    _close_fence(side, index + 1)
    return True


@jit
def _merge_around(side, index):
    if index > 0 and _merge(side, index - 1):
        return
    if index + 1 < view(side, LEVELS).n_blocks:
        _merge(side, index)


@jit
def _remove_at(side, index, block_id, place):
    keys, count = _keys(side, block_id), _count_at(side, block_id)
    run_remove(keys, place, FILLING)
    run_remove(keys + _RUN_BYTES, place, np.int64(0))
    left = load_i64(count) - 1
    store_i64(count, left)
    s = view(side, LEVELS)
    s.n -= 1
    s.spilled -= 1
    if left < _HALF:
        _merge_around(side, index)


@jit
def _insert_at(side, block_id, place, key, qty):
    keys, count = _keys(side, block_id), _count_at(side, block_id)
    run_insert(keys, place, key)
    run_insert(keys + _RUN_BYTES, place, qty)
    store_i64(count, load_i64(count) + 1)
    s = view(side, LEVELS)
    s.n += 1
    s.spilled += 1


@jit
def _insert(side, key, qty):
    """Insert an absent key where there is room for one more level."""
    index = _block_for(side, key)
    if load_i64(_count_at(side, _id(side, index))) == RUN:
        _split(side, index)
        index = _block_for(side, key)
    block_id = _id(side, index)
    _insert_at(side, block_id, count_below(_keys(side, block_id), key), key, qty)


@jit
def levels_put(side, key, qty):
    """Set a quantity, not 0. Returns the one before, 0 if ``key`` is new, FULL (and does nothing) if there is no room."""
    s = view(side, LEVELS)
    block_id = _id(side, _block_for(side, key))
    keys, count = _keys(side, block_id), load_i64(_count_at(side, block_id))
    place = count_below(keys, key)
    if _holds(keys, place, count, key):
        at = _word(keys + _RUN_BYTES, place)
        before = load_i64(at)
        store_i64(at, qty)
        return before
    if s.n == s.capacity:
        return FULL
    if count < RUN:
        _insert_at(side, block_id, place, key, qty)
    else:
        _insert(side, key, qty)
    return np.int64(0)


@jit
def levels_remove(side, key):
    """Remove a level. Returns its quantity, 0 if it was absent."""
    index = _block_for(side, key)
    block_id = _id(side, index)
    keys = _keys(side, block_id)
    place = count_below(keys, key)
    if not _holds(keys, place, load_i64(_count_at(side, block_id)), key):
        return np.int64(0)
    before = load_i64(_word(keys + _RUN_BYTES, place))
    _remove_at(side, index, block_id, place)
    return before


@jit
def levels_qty(side, key):
    """Quantity at ``key``, 0 if absent."""
    block_id = _id(side, _block_for(side, key))
    keys = _keys(side, block_id)
    place = count_below(keys, key)
    if not _holds(keys, place, load_i64(_count_at(side, block_id)), key):
        return np.int64(0)
    return load_i64(_word(keys + _RUN_BYTES, place))


@jit
def levels_clear(side):
    """Remove every level."""
    s = view(side, LEVELS)
    for index in range(1, s.n_blocks):
        store_i64(_word(side + s.fences, index), FILLING)
    s.n, s.spilled, s.n_blocks = 0, 0, 1
    first = _id(side, 0)
    store_i64(_count_at(side, first), 0)
    run_fill(_keys(side, first), FILLING)


# A cursor is (block in order) * RUN + place.


@jit
def _last_of(side, index):
    """Cursor of the last level of block ``index``; negative if there is no such block or it is empty."""
    if index < 0:
        return np.int64(-1)
    return (index << _RUN_SHIFT) + load_i64(_count_at(side, _id(side, index))) - 1


@jit
def levels_seek(side, index):
    """Cursor of level ``index`` from the best (greatest key), negative if there is none. Skips whole blocks."""
    s = view(side, LEVELS)
    if index < 0 or index >= s.spilled:
        return np.int64(-1)
    block = s.n_blocks - 1
    count = load_i64(_count_at(side, _id(side, block)))
    while index >= count:
        index -= count
        block -= 1
        count = load_i64(_count_at(side, _id(side, block)))
    return (block << _RUN_SHIFT) + count - 1 - index


@jit
def levels_last(side):
    """Cursor of the best level in blocks; negative if there is none."""
    return _last_of(side, view(side, LEVELS).n_blocks - 1)


@jit
def levels_below(side, key):
    """Cursor of the greatest key below ``key``; negative if there is none."""
    block = _block_for(side, key)
    place = min(count_below(_keys(side, _id(side, block)), key), load_i64(_count_at(side, _id(side, block))))
    return (block << _RUN_SHIFT) + place - 1 if place > 0 else _last_of(side, block - 1)


@jit
def levels_worst(side):
    """The least key in blocks; FILLING if there is none."""
    return load_i64(_keys(side, _id(side, 0)))


@jit
def levels_next(side, cursor):
    """Cursor of the next worse level, negative behind the worst."""
    if cursor & (RUN - 1) != 0:
        return cursor - 1
    return _last_of(side, (cursor >> _RUN_SHIFT) - 1)


@jit
def levels_at(side, cursor):
    """``(key, quantity)`` at a cursor that is not negative."""
    at = _word(_keys(side, _id(side, cursor >> _RUN_SHIFT)), cursor & (RUN - 1))
    return load_i64(at), load_i64(at + _RUN_BYTES)
