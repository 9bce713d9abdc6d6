"""Where an order stands, by its id: an open-addressed table of (id, place), probed linearly, without tombstones.

Sixteen consecutive ids share a run of entries (256 bytes), and the runs are scattered by a multiplicative hash: a strategy
numbers its orders upwards, so the ids that matter now lie in a few cache lines, and a long-lived stretch of ids cannot
pile up in front of new ones. A removal moves later entries back (Knuth, TAOCP vol. 3, 6.4, algorithm R). The owner fills
at most half of it, so every probe ends, and soon.

::

    base | INDEX (64 bytes) | ENTRY[capacity]
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, ZERO, prefetch_write, view

INDEX = np.dtype([("mask", "u8"), ("shift", "u8"), ("_pad", "u8", 6)])
INDEX_HEADER_BYTES = 64
#: ``at`` (an address, an index: never 0) is where the order stands; 0 marks an empty entry.
ENTRY = np.dtype([("id", "u8"), ("at", "u8")])
MIN_ENTRIES = 32
_RUN_BITS, _RUN_MASK = np.uint64(4), np.uint64(15)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ENTRIES, _ENTRY_SHIFT = np.uint64(INDEX_HEADER_BYTES), np.uint64(4)


def index_bytes(entries: int) -> int:
    """Memory of an index of ``entries`` (a power of two of at least MIN_ENTRIES, twice the ids it will hold)."""
    return INDEX_HEADER_BYTES + entries * ENTRY.itemsize


def index_init(memory: np.ndarray, entries: int) -> None:
    """Make an empty index in ``memory`` (uint8 array of :func:`index_bytes`, zeroed)."""
    header = memory[:INDEX_HEADER_BYTES].view(INDEX)
    header["mask"], header["shift"] = entries - 1, 64 - (entries.bit_length() - 1 - int(_RUN_BITS))


@jit
def _home(index, id_):
    shift = view(index, INDEX).shift
    return ((((id_ >> _RUN_BITS) * _MIX) >> shift) << _RUN_BITS) | (id_ & _RUN_MASK)


@jit
def _entry(index, number):
    return index + _ENTRIES + (number << _ENTRY_SHIFT)


@jit
def _locate(index, id_):
    """Number of the entry of ``id_``, or of the empty one where it would go."""
    mask, number = view(index, INDEX).mask, _home(index, id_)
    entry = view(_entry(index, number), ENTRY)
    while entry.at != ZERO and entry.id != id_:
        number = (number + ONE) & mask
        entry = view(_entry(index, number), ENTRY)
    return number


@jit
def index_find(index, id_):
    """What was put under ``id_``; 0 if nothing."""
    return view(_entry(index, _locate(index, id_)), ENTRY).at


@jit
def index_put(index, id_, at):
    """Enter ``id_`` with ``at`` (not 0), over what stood under it."""
    entry = view(_entry(index, _locate(index, id_)), ENTRY)
    entry.id, entry.at = id_, at


@jit
def index_remove(index, id_):
    """Take ``id_`` out, if it is there."""
    mask, hole = view(index, INDEX).mask, _locate(index, id_)
    number = (hole + ONE) & mask
    entry = view(_entry(index, number), ENTRY)
    while entry.at != ZERO:
        # An entry moves back unless that would put it in front of its home.
        if ((number - _home(index, entry.id)) & mask) >= ((number - hole) & mask):
            target = view(_entry(index, hole), ENTRY)
            target.id, target.at = entry.id, entry.at
            hole = number
        number = (number + ONE) & mask
        entry = view(_entry(index, number), ENTRY)
    view(_entry(index, hole), ENTRY).at = ZERO


@jit
def index_expect(index, id_):
    """``id_`` comes next: have its entry in the cache."""
    prefetch_write(_entry(index, _home(index, id_)))
