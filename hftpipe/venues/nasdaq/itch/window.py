"""Packets that came before their turn, kept in order of sequence in a fixed number of slots.

::

    base | WINDOW | order[slots] | free[slots] | (SLOT, packet bytes)[slots]

``order`` lists used slots by rising sequence from ``head``; packets mostly come in order, so an insertion looks from
the end and moves little.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_i64, store_i64, view
from hftpipe.core.schema.layout import Layout, lay_out, whole

WINDOW = np.dtype(
    [
        ("slots", "i8"), ("packet_bytes", "i8"), ("stride", "u8"),
        ("order_at", "u8"), ("free_at", "u8"), ("slots_at", "u8"),
        ("head", "i8"), ("count", "i8"), ("peak", "i8"), ("_pad", "i8", 7),
    ],
    align=True,
)  # fmt: skip
#: A held packet: messages [sequence, end), its bytes after this header, and its stamps.
SLOT = np.dtype(
    [("sequence", "u8"), ("end", "u8"), ("length", "i8"), ("local_ts", "i8"), ("origin_tsc", "u8"), ("_pad", "i8", 3)],
    align=True,
)
WINDOW_BYTES, SLOT_BYTES = 128, 64
SLOT_DATA = np.uint64(SLOT_BYTES)
assert WINDOW.itemsize == WINDOW_BYTES and SLOT.itemsize == SLOT_BYTES
HELD, ALREADY_HELD, FULL, TOO_LONG = 1, 0, -1, -2


def _stride(packet_bytes: int) -> int:
    return SLOT_BYTES + whole(packet_bytes)


def _layout(slots: int, packet_bytes: int) -> Layout:
    return lay_out({
        "window": (WINDOW, 1), "order": (np.int64, slots), "free": (np.int64, slots), "slots": slots * _stride(packet_bytes)
    })  # fmt: skip


def window_bytes(slots: int, packet_bytes: int) -> int:
    """Memory for ``slots`` packets of at most ``packet_bytes`` each.

    Raises:
        ValueError: no slots, or no room for a header in one.
    """
    if slots < 1 or not 20 <= packet_bytes <= 65_535:
        raise ValueError(f"{slots} slots of {packet_bytes} bytes: at least one slot, of 20 to 65535 bytes")
    return _layout(slots, packet_bytes).size


def window_init(memory: np.ndarray, slots: int, packet_bytes: int) -> None:
    """Make an empty window in ``memory`` (uint8 array of :func:`window_bytes`), touching every page."""
    memory[: window_bytes(slots, packet_bytes)] = 0
    layout = _layout(slots, packet_bytes)
    header = layout.view(memory, "window")
    header["slots"], header["packet_bytes"], header["stride"] = slots, packet_bytes, _stride(packet_bytes)
    for name in ("order", "free", "slots"):
        header[f"{name}_at"] = layout.at(name)
    window_clear(np.uint64(memory.ctypes.data))


@jit
def window_clear(window):
    """Forget every packet."""
    w = view(window, WINDOW)
    w.head, w.count = 0, 0
    for index in range(w.slots):
        store_i64(window + w.free_at + U64(8 * index), np.int64(index))


@jit
def _order(window, index):
    w = view(window, WINDOW)
    return window + w.order_at + U64(8) * U64(w.head + index)


@jit
def _slot_at(window, index):
    """Address of the packet that is number ``index`` by sequence."""
    w = view(window, WINDOW)
    return window + w.slots_at + w.stride * U64(load_i64(_order(window, index)))


@jit
def _place(window, sequence):
    """How many held packets start at or before ``sequence``."""
    place = view(window, WINDOW).count
    while place > 0 and view(_slot_at(window, place - 1), SLOT).sequence > sequence:
        place -= 1
    return place


@jit
def _open_place(window, place):
    """Make room in ``order`` before number ``place``."""
    w = view(window, WINDOW)
    if w.head + w.count == w.slots:
        copy_bytes(window + w.order_at, _order(window, np.int64(0)), 8 * w.count)
        w.head = 0
    at = _order(window, place)
    copy_bytes(at + U64(8), at, 8 * (w.count - place))


@jit
def window_put(window, sequence, end, data, length, local_ts, origin_tsc):
    """Keep a copy of a packet with messages [sequence, end).

    Returns:
        HELD; ALREADY_HELD when a held packet has all of it; FULL or TOO_LONG when it cannot be kept.
    """
    w = view(window, WINDOW)
    if length > w.packet_bytes:
        return TOO_LONG
    place = _place(window, sequence)
    if place > 0 and view(_slot_at(window, place - 1), SLOT).end >= end:
        return ALREADY_HELD
    if w.count == w.slots:
        return FULL
    _open_place(window, place)
    store_i64(_order(window, place), load_i64(window + w.free_at + U64(8) * U64(w.slots - 1 - w.count)))
    w.count += 1
    w.peak = max(w.peak, w.count)
    slot = _slot_at(window, place)
    s = view(slot, SLOT)
    s.sequence, s.end, s.length, s.local_ts, s.origin_tsc = sequence, end, length, local_ts, origin_tsc
    copy_bytes(slot + SLOT_DATA, data, length)
    return HELD


@jit
def window_first(window):
    """Address of the SLOT with the lowest sequence, 0 if none."""
    return _slot_at(window, np.int64(0)) if view(window, WINDOW).count > 0 else ZERO


@jit
def window_drop_first(window):
    """Give up the slot of :func:`window_first`; its bytes stay until the next :func:`window_put`."""
    w = view(window, WINDOW)
    w.count -= 1
    store_i64(window + w.free_at + U64(8) * U64(w.slots - 1 - w.count), load_i64(_order(window, np.int64(0))))
    w.head = w.head + 1 if w.count > 0 else 0
