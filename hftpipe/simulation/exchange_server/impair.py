"""A bad network, on purpose and reproducible: datagrams that get lost, doubled, overtaken and delayed.

One IMPAIR is one direction of one line. What is put in comes out when it is due, if it comes out at all. The memory
is the whole state, seeded, without clocks or sockets: the same seed and the same calls give the same bad network.
"""

from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, view
from hftpipe.core.machine.random import random_init, random_uniform

IMPAIR = np.dtype(
    [
        ("random", "u8", 4),
        # Probabilities 0..1; times in ns. ``clean``: nothing of all this, the caller may send at once.
        ("loss", "f8"), ("duplicate", "f8"), ("reorder", "f8"), ("delay_ns", "i8"), ("reorder_ns", "i8"), ("clean", "i8"),
        ("slots", "i8"), ("slot_bytes", "i8"), ("count", "i8"), ("number", "i8"), ("length", "i8"),
        ("put", "i8"), ("lost", "i8"), ("duplicated", "i8"), ("reordered", "i8"), ("overflowed", "i8"), ("delivered", "i8"),
        ("_pad", "i8", 11),
    ],
    align=True,
)  # fmt: skip
#: A datagram on its way; number 0: free.
HELD = np.dtype([("number", "i8"), ("due_ns", "i8"), ("length", "i8"), ("_pad", "i8")], align=True)
HELD_BYTES = 32
_HEADER, _TEXT_AT = np.uint64(256), np.uint64(HELD_BYTES)
assert IMPAIR.itemsize == int(_HEADER) and HELD.itemsize == HELD_BYTES
SLOTS, SLOT_BYTES = 256, 1536


@dataclass(frozen=True)
class Impairment:
    """How bad one direction of a line is.

    Attributes:
        loss, duplicate, reorder: shares of datagrams, 0 to 1.
        delay_us: how long every datagram takes; a reordered one takes ``reorder_us`` longer.

    Raises:
        ValueError: a share outside 0..1 or a negative time.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_us: float = 0.0
    reorder_us: float = 500.0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is not in 0..1")
        if self.delay_us < 0 or self.reorder_us < 0:
            raise ValueError("delay_us and reorder_us must not be negative")


def impair_bytes() -> int:
    """Memory of one direction of a line."""
    return int(_HEADER) + SLOTS * SLOT_BYTES


def impair_init(memory: np.ndarray, impairment: Impairment, seed: int) -> None:
    """Make a line (uint8 array of :func:`impair_bytes`, 64-byte aligned); equal seeds are equally bad."""
    memory[: impair_bytes()] = 0
    header = memory[: IMPAIR.itemsize].view(IMPAIR)
    header["loss"], header["duplicate"], header["reorder"] = impairment.loss, impairment.duplicate, impairment.reorder
    header["delay_ns"], header["reorder_ns"] = int(impairment.delay_us * 1000), int(impairment.reorder_us * 1000)
    header["clean"] = int(not (impairment.loss or impairment.duplicate or impairment.reorder or impairment.delay_us))
    header["slots"], header["slot_bytes"] = SLOTS, SLOT_BYTES
    random_init(np.uint64(memory.ctypes.data), np.uint64(seed & 0xFFFFFFFFFFFFFFFF))


@jit
def _slot(link, index):
    return link + _HEADER + U64(index) * U64(view(link, IMPAIR).slot_bytes)


@jit
def _hold(link, data, length, due_ns):
    """Keep a copy; without a free slot it is lost."""
    m = view(link, IMPAIR)
    for index in range(m.slots):
        slot = _slot(link, np.int64(index))
        h = view(slot, HELD)
        if h.number == 0:
            m.number += 1
            m.count += 1
            h.number, h.due_ns, h.length = m.number, due_ns, length
            copy_bytes(slot + _TEXT_AT, data, length)
            return
    m.overflowed += 1


@jit
def impair_is_clean(link):
    """Whether the line does nothing to its datagrams."""
    return view(link, IMPAIR).clean != 0


@jit
def impair_put(link, data, length, now_ns):
    """Send a datagram of ``length`` bytes into the line."""
    m = view(link, IMPAIR)
    m.put += 1
    if random_uniform(link) < m.loss or length + HELD_BYTES > m.slot_bytes:
        m.lost += 1
        return
    due_ns = now_ns + m.delay_ns
    if random_uniform(link) < m.reorder:
        m.reordered += 1
        due_ns += m.reorder_ns
    _hold(link, data, length, due_ns)
    if random_uniform(link) < m.duplicate:
        m.duplicated += 1
        _hold(link, data, length, due_ns)


@jit
def impair_next(link, now_ns):
    """Address of the next datagram that has arrived by ``now_ns`` (its size in ``length``), 0 if none.

    It stays there until the next :func:`impair_put`.
    """
    m = view(link, IMPAIR)
    best = ZERO
    if m.count == 0:
        return best
    for index in range(m.slots):
        slot = _slot(link, np.int64(index))
        h = view(slot, HELD)
        if h.number == 0 or h.due_ns > now_ns:
            continue
        if best == ZERO or (h.due_ns, h.number) < (view(best, HELD).due_ns, view(best, HELD).number):
            best = slot
    if best == ZERO:
        return best
    h = view(best, HELD)
    m.length = h.length
    h.number = 0
    m.count -= 1
    m.delivered += 1
    return best + _TEXT_AT
