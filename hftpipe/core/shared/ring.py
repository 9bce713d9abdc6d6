"""Single-producer single-consumer ring of 64-byte records in shared memory.

::

    base      +64            +128           +192
    | config  | producer     | consumer     | slot 0 | slot 1 | ...
      mask      next, known    next           seq in word 0, stored last with release
                head, refused

The sequence stands in the slot: the consumer spins on the very line that carries the data, so a message costs
one cache-line transfer instead of two. The producer reads the consumer's line only when its last known value
says "full". Sequence numbers start at 1 and never wrap in practice (2**64).

Both sides keep their counters in their own line of shared memory, so a monitor can read depth and refusals,
and a restarted stage goes on where the last one stopped. Protocol: Lamport's SPSC queue with the index in the
slot, as in FastForward (Giacomoni et al., PPoPP 2008).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    ONE,
    U64,
    ZERO,
    advance,
    copy_bytes,
    load_acquire,
    load_relaxed,
    store_release,
    view,
)
from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES, ring_bytes

_NEXT_IN = np.uint64(64)
_NEXT_OUT = np.uint64(128)
_SLOTS = np.uint64(RING_HEADER_BYTES)
_SHIFT = np.uint64(6)
_PAYLOAD = np.uint64(8)


def ring_init(memory: np.ndarray, capacity: int) -> None:
    """Make an empty ring in ``memory`` (uint8 array of :func:`ring_bytes`), touching every page."""
    memory[: ring_bytes(capacity)] = 0
    header = memory[:RING_HEADER_BYTES].view(RING)
    header["capacity"] = capacity
    header["mask"] = capacity - 1


@jit
def _slot(ring, header, index):
    return advance(advance(ring, _SLOTS), (index & header.mask) << _SHIFT)


@jit
def ring_space(ring):
    """Producer: how many records can be pushed now (int64)."""
    header = view(ring, RING)
    if header.next_in - header.known_out >= header.capacity:
        header.known_out = load_acquire(ring + _NEXT_OUT)
    return np.int64(header.capacity - (header.next_in - header.known_out))


@jit
def ring_has_space(ring, count):
    """Producer: whether ``count`` (int64) more records fit, refreshing the consumer's position if needed."""
    header = view(ring, RING)
    if header.capacity - (header.next_in - header.known_out) < U64(count):
        header.known_out = load_acquire(ring + _NEXT_OUT)
    return header.capacity - (header.next_in - header.known_out) >= U64(count)


@jit
def ring_claim(ring):
    """Producer: the address of the next free slot, or 0 when full (counted in ``refused``).

    Fill every field but ``seq``, then call :func:`ring_publish`.
    """
    header = view(ring, RING)
    if header.next_in - header.known_out >= header.capacity:
        header.known_out = load_acquire(ring + _NEXT_OUT)
        if header.next_in - header.known_out >= header.capacity:
            header.refused += ONE
            return ZERO
    return _slot(ring, header, header.next_in)


@jit
def ring_publish(ring):
    """Producer: make the slot of the last :func:`ring_claim` visible to the consumer."""
    header = view(ring, RING)
    index = header.next_in
    store_release(_slot(ring, header, index), index + ONE)
    store_release(ring + _NEXT_IN, index + ONE)


@jit
def ring_resume(ring):
    """A new producer takes over a ring whose producer died: True if it died inside :func:`ring_publish`.

    A record that was already visible but not yet counted must not be overwritten; one that was only claimed was
    never visible and is overwritten. Call once, before the first claim.
    """
    header = view(ring, RING)
    index = header.next_in
    if load_acquire(_slot(ring, header, index)) != index + ONE:
        return False
    store_release(ring + _NEXT_IN, index + ONE)
    return True


@jit
def ring_peek(ring):
    """Consumer: the address of the next unread record, or 0 when empty."""
    header = view(ring, RING)
    index = header.next_out
    slot = _slot(ring, header, index)
    if load_acquire(slot) == index + ONE:
        return slot
    return ZERO


@jit
def ring_ahead(ring, count):
    """Consumer: the address of the slot ``count`` behind the next unread record, whatever is in it: a hint, nothing to rely on."""
    header = view(ring, RING)
    return _slot(ring, header, header.next_out + U64(count))


@jit
def ring_pop(ring):
    """Consumer: done with the record of the last :func:`ring_peek`; its slot may be overwritten from now on."""
    header = view(ring, RING)
    store_release(ring + _NEXT_OUT, header.next_out + ONE)


@jit
def ring_push(ring, record):
    """Producer: copy the record at address ``record``; False when full."""
    slot = ring_claim(ring)
    if slot == ZERO:
        return False
    copy_bytes(slot + _PAYLOAD, record + _PAYLOAD, np.int64(RECORD_BYTES - 8))
    ring_publish(ring)
    return True


@jit
def ring_consumed(ring):
    """Anyone: how many records the consumer has finished with since the ring was made."""
    return load_acquire(ring + _NEXT_OUT)


@jit
def ring_produced(ring):
    """Anyone: how many records the producer has published since the ring was made."""
    return load_acquire(ring + _NEXT_IN)


@jit
def ring_depth(ring):
    """Anyone: unread records at about this moment, taken without stopping anyone.

    A record is visible an instant before it is counted, so a reader may already be past it: never below 0.
    """
    out = load_relaxed(ring + _NEXT_OUT)
    return max(np.int64(load_relaxed(ring + _NEXT_IN) - out), np.int64(0))
