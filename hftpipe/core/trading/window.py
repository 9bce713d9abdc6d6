"""The window of one side: the ticks around the touch, one slot each, so that a level is found by its number.

A slot holds the quantity of one tick, 0 where there is no level; slot 0 is the best tick, and a bitmap with a summary
(:mod:`hftpipe.core.machine.bits`) finds the next level. What is outside the window, or at a price that is not a whole number of
ticks, is in the blocks (:mod:`hftpipe.core.trading.levels`): a level is in a slot if, and only if, there is a slot for its key.

The slot of a key is ``(top - key) / tick``, computed as a product with the inverse of the tick and proven by
multiplying back: exact for every key, and no division.

The window is laid so that a quarter of the slots is better than the best level. It moves when enough changes have
missed it and the touch is no longer in its better half: slots that stay are shifted whole, and only the levels that
leave or enter are put into the blocks or taken out of them. A move costs at most one such change for each level that
leaves or enters, and the misses that it waits for are in proportion to the levels.

::

    side | LEVELS header | ... | slot[span] | bit[span] | summary bit[span / 64]
"""

import numpy as np

from hftpipe.core.machine.bits import (
    bit_put,
    first_member,
    last_member,
    lowest_bit,
    mark_word,
    member_from,
    nth_member,
    set_word,
    word_at,
)
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_i64, mul_wide, store_i64, view
from hftpipe.core.machine.vectors import RUN, RUN_BYTES, run_fill
from hftpipe.core.schema.layout import Layout, lay_out, whole
from hftpipe.core.trading.levels import LEVELS, levels_at, levels_below, levels_last, levels_put, levels_remove

#: Sizes of a window, powers of two.
MIN_SLOTS, MAX_SLOTS = RUN, 1 << 18
#: Keys further out never have a slot, so that the ends of a window are int64.
_FARTHEST = np.int64(2**61)
#: The fewest changes outside the window before it is looked at.
PATIENCE = 64
_NEVER = _NO_KEY = np.int64(2**63 - 1)

_WORD_SHIFT = np.uint64(3)
_GROUP = np.uint64(0xFFFFFFFF)
_RUN_BYTES_SHIFT = np.uint64(RUN_BYTES.bit_length() - 1)


def window_bytes(slots: int) -> int:
    """Memory of a window (a multiple of 64).

    Raises:
        ValueError: not 0 nor a power of two in MIN_SLOTS..MAX_SLOTS.
    """
    if slots != 0 and (not MIN_SLOTS <= slots <= MAX_SLOTS or slots & (slots - 1)):
        raise ValueError(f"a window of {slots} ticks: it is 0 or a power of two in {MIN_SLOTS}..{MAX_SLOTS}")
    return _layout(slots).size


def _layout(slots: int) -> Layout:
    """A quantity a slot, a bit a slot, a bit a word of those."""
    return lay_out({"slots": (np.int64, slots), "bits": slots // 8, "summary": (np.int64, whole(slots, 4096) // 4096)})


def window_tick_fields(slots: int, ticks: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of LEVELS that a price step decides, by name, for windows of ``slots`` ticks and steps int64[n] (0: unknown)."""
    farthest = np.int64((int(_FARTHEST) - 1) // max(slots, 1))
    is_usable = (ticks > 0) & (ticks <= farthest) & (slots > 0)
    step = np.where(is_usable, ticks, 1).astype(np.uint64)
    # ceil(2**63 / tick), in unsigned words.
    inverse = (np.uint64(2**63) + step - np.uint64(1)) // step
    return {
        "span": np.where(is_usable, slots, 0), "tick": ticks, "patience": np.where(is_usable, 0, _NEVER),
        "inverse": np.where(is_usable, inverse, np.uint64(0)),
    }  # fmt: skip


def window_init(memory: np.ndarray, header: int, storage: int, slots: int, tick: int) -> None:
    """Lay a window nowhere yet: its side's header at ``memory[header]``, its slots at ``memory[storage]`` (zeroed)."""
    row = memory[header : header + LEVELS.itemsize].view(LEVELS)
    for name, value in window_tick_fields(slots, np.array([tick], np.int64)).items():
        row[name] = value
    row["low"] = _NO_KEY
    layout = _layout(slots)
    for name in layout.parts:
        row[name] = storage - header + layout.at(name)


@jit
def window_slot(side, key):
    """The slot of a key, as uint64; one that the window does not have (:func:`window_has`) if the key has none."""
    s = view(side, LEVELS)
    distance = U64(s.top - key)
    slot = mul_wide(distance + distance, s.inverse)[0]
    return slot if slot * U64(s.tick) == distance else ~ZERO


@jit
def window_has(side, slot):
    """Whether there is such a slot."""
    return slot < U64(view(side, LEVELS).n_slots)


@jit
def window_key(side, slot):
    """The key of a slot."""
    s = view(side, LEVELS)
    return s.top - slot * s.tick


@jit
def _bits(side):
    return side + view(side, LEVELS).bits


@jit
def _summary(side):
    return side + view(side, LEVELS).summary


@jit
def _slot_at(side, slot):
    return side + view(side, LEVELS).slots + (U64(slot) << _WORD_SHIFT)


@jit
def window_qty(side, slot):
    """Quantity in a slot, 0 if there is no level."""
    return load_i64(_slot_at(side, slot))


@jit
def window_put(side, slot, qty):
    """Set the quantity of a slot (0: no level), count the level; there must be room for one more."""
    s, at = view(side, LEVELS), _slot_at(side, slot)
    before = load_i64(at)
    store_i64(at, qty)
    bit_put(_bits(side), _summary(side), np.int64(slot), qty != 0)
    s.n += np.int64(qty != 0) - np.int64(before != 0)


@jit
def window_from(side, slot):
    """First slot with a level, ``slot`` or behind it; negative if there is none."""
    return member_from(_bits(side), _summary(side), slot, view(side, LEVELS).n_slots)


@jit
def window_best(side):
    """Slot of the best level in the window; negative if there is none."""
    return first_member(_bits(side), _summary(side), view(side, LEVELS).n_slots)


@jit
def window_worst(side):
    """Slot of the worst level in the window; negative if there is none."""
    return last_member(_bits(side), _summary(side), view(side, LEVELS).n_slots)


@jit
def window_nth(side, index):
    """Slot of level ``index`` from the best; there must be one."""
    best = window_best(side)
    if index == 0:
        return best
    first = best & ~np.int64(63)
    return first + nth_member(_bits(side) + U64(first >> 3), index)


@jit
def window_marks(side, slot):
    """Bits of the levels from ``slot`` to the end of its group of 32; bit 0 is the first of the group."""
    word = word_at(_bits(side), slot >> 6) >> U64(slot & 32)
    return np.int64(word & (_GROUP << U64(slot & 31)) & _GROUP)


@jit
def window_sum(side, slot, n):
    """``(total quantity, levels left over)`` of up to ``n`` levels from the one at ``slot`` on."""
    bits, total = _bits(side), np.int64(0)
    while slot >= 0 and n > 0:
        first = slot & ~np.int64(63)
        marks = word_at(bits, slot >> 6) & (~ZERO << U64(slot & 63))
        while marks != ZERO and n > 0:
            total += window_qty(side, first + lowest_bit(marks))
            marks &= marks - ONE
            n -= 1
        slot = window_from(side, first + 64) if n > 0 else np.int64(-1)
    return total, n


@jit
def _clear_run(side, word):
    run_fill(_slot_at(side, 0) + (U64(word) << _RUN_BYTES_SHIFT), np.int64(0))
    set_word(_bits(side), word, ZERO)


@jit
def window_clear(side):
    """Empty every slot; the window is then nowhere. The count of levels is left to the caller."""
    s = view(side, LEVELS)
    slot = window_best(side)
    while slot >= 0:
        word = slot >> 6
        _clear_run(side, word)
        mark_word(_summary(side), word, False)
        slot = window_from(side, (word + 1) << 6)
    s.n_slots, s.low, s.mixed, s.patience = 0, _NO_KEY, 0, 0 if s.span != 0 else _NEVER


# --- moving ------------------------------------------------------------------------------------------


@jit
def _push_out(side, first, end):
    """Move the levels in slots [first, end) into blocks."""
    s = view(side, LEVELS)
    slot = window_from(side, first)
    while slot >= 0 and slot < end:
        key, qty = window_key(side, slot), window_qty(side, slot)
        window_put(side, slot, np.int64(0))
        levels_put(side, key, qty)
        s.moved += 1
        slot = window_from(side, slot + 1)


@jit
def _pull_in(side, first, end):
    """Move the levels in blocks that belong into slots [first, end) there."""
    s = view(side, LEVELS)
    lowest, cursor = window_key(side, end - 1), levels_below(side, window_key(side, first) + 1)
    while cursor >= 0:
        key, qty = levels_at(side, cursor)
        if key < lowest:
            break
        slot = window_slot(side, key)
        if window_has(side, slot):
            levels_remove(side, key)
            window_put(side, np.int64(slot), qty)
            s.moved += 1
        cursor = levels_below(side, key)


@jit
def _shift(side, by):
    """Make slot ``i + by`` slot ``i``. Whole runs only; slots that fall out must be empty."""
    s = view(side, LEVELS)
    kept, words = s.n_slots - abs(by), s.n_slots >> 6
    source, target = max(by, np.int64(0)), max(-by, np.int64(0))
    copy_bytes(_slot_at(side, target), _slot_at(side, source), 8 * kept)
    bits = _bits(side)
    copy_bytes(bits + U64(target >> 3), bits + U64(source >> 3), kept >> 3)
    first = kept >> 6 if by > 0 else np.int64(0)
    for word in range(first, first + (abs(by) >> 6)):
        _clear_run(side, word)
    for word in range(words):
        mark_word(_summary(side), word, word_at(bits, word) != ZERO)
    s.top -= by * s.tick
    s.low -= by * s.tick


@jit
def _slide(side, by):
    s = view(side, LEVELS)
    size = s.n_slots
    if by > 0:
        _push_out(side, np.int64(0), by)
    else:
        _push_out(side, size + by, size)
    _shift(side, by)
    if by > 0:
        _pull_in(side, size - by, size)
    else:
        _pull_in(side, np.int64(0), -by)


@jit
def _rest(side):
    """Leave the window where it is for some changes: the more levels a move could concern, the longer."""
    s = view(side, LEVELS)
    s.misses, s.patience = 0, PATIENCE + ((s.n - s.spilled) >> 3)


@jit
def window_place(side, best):
    """Lay the window around the key ``best`` that is not too far out, wherever it was."""
    s = view(side, LEVELS)
    _push_out(side, np.int64(0), s.n_slots)
    s.n_slots, s.mixed = s.span, 0
    s.top = (best // s.tick + (s.span >> 2)) * s.tick
    s.low = window_key(side, s.span - 1)
    _pull_in(side, np.int64(0), s.span)
    _rest(side)


@jit
def window_reaches(key):
    """Whether a window may be laid around ``key``."""
    return key > -_FARTHEST and key < _FARTHEST


@jit
def _follow(side, best):
    """Move the window if the best key is not in its better half."""
    s = view(side, LEVELS)
    slot, half = (s.top - best) // s.tick, s.span >> 1
    if s.n_slots != 0 and slot >= 0 and slot < half:
        return
    s.moves += 1
    by = (slot - (half >> 1)) & ~np.int64(RUN - 1)
    if abs(by) < s.n_slots and slot - by < half:
        _slide(side, by)
    else:
        window_place(side, best)


@jit
def window_look(side):
    """After many changes outside the window: move it to where the touch is now."""
    s = view(side, LEVELS)
    slot, cursor = window_best(side), levels_last(side)
    best = window_key(side, slot) if slot >= 0 else -_FARTHEST
    if cursor >= 0:
        best = max(best, levels_at(side, cursor)[0])
    if window_reaches(best):
        _follow(side, best)
    cursor = levels_last(side)
    s.mixed = np.int64(cursor >= 0 and levels_at(side, cursor)[0] > s.low)
    _rest(side)
