"""Who is next: a heap of (time, number), for a source that makes the events of many instruments.

The first is the one of the least time, of equal times that of the least number. What a step costs grows with the logarithm of
how many there are. Each entry has four below it, in one cache line.

::

    AGENDA | ENTRY | four entries | four entries | ...
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.layout import whole

#: 48 bytes, so that the first four entries below the top begin a line.
AGENDA = np.dtype([("count", "i8"), ("_pad", "i8", 5)], align=True)
ENTRY = np.dtype([("ts", "i8"), ("number", "i8")], align=True)
_ENTRIES, _ENTRY_SHIFT = np.uint64(AGENDA.itemsize), np.uint64(4)
_BELOW = np.int64(4)


def agenda_bytes(count: int) -> int:
    """Memory for ``count`` entries."""
    return whole(AGENDA.itemsize + ENTRY.itemsize * count)


def agenda_init(memory: np.ndarray, times: np.ndarray) -> None:
    """Enter ``times`` (int64[n], ns), numbered from 0; ``memory``: uint8 array of :func:`agenda_bytes`, 64-byte aligned."""
    memory[: AGENDA.itemsize].view(AGENDA)["count"] = len(times)
    entries = memory[AGENDA.itemsize :][: ENTRY.itemsize * len(times)].view(ENTRY)
    # In order they are a heap.
    entries["number"] = np.argsort(times, kind="stable")
    entries["ts"] = np.asarray(times)[entries["number"]]


@jit
def _entry(agenda, index):
    return view(agenda + _ENTRIES + (U64(index) << _ENTRY_SHIFT), ENTRY)


@jit
def agenda_first(agenda):
    """``(number, time)`` of the next entry; there must be one."""
    first = _entry(agenda, np.int64(0))
    return first.number, first.ts


@jit
def agenda_soon(agenda, index):
    """The number of the entry at ``index`` in the heap, 0 the next one; there need not be one: then any."""
    return _entry(agenda, min(index, view(agenda, AGENDA).count - 1)).number


@jit
def _is_before(entry, ts, number):
    return entry.ts < ts or (entry.ts == ts and entry.number < number)


@jit
def _least_below(agenda, index, count):
    """Index of the earliest entry below ``index``; ``count`` if there is none."""
    first = _BELOW * index + 1
    least = min(first, count)
    for at in range(first + 1, min(first + _BELOW, count)):
        other, best = _entry(agenda, np.int64(at)), _entry(agenda, least)
        if _is_before(other, best.ts, best.number):
            least = np.int64(at)
    return least


@jit
def agenda_move(agenda, ts):
    """Put the first entry off until ``ts`` (ns, not before its time)."""
    count, index = view(agenda, AGENDA).count, np.int64(0)
    number = _entry(agenda, index).number
    least = _least_below(agenda, index, count)
    while least < count:
        below = _entry(agenda, least)
        if not _is_before(below, ts, number):
            break
        entry = _entry(agenda, index)
        entry.ts, entry.number = below.ts, below.number
        index = least
        least = _least_below(agenda, index, count)
    entry = _entry(agenda, index)
    entry.ts, entry.number = ts, number
