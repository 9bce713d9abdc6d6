"""What a MoldUDP64 session has published lately, and the answers to requests for it.

::

    base | STORE | block[capacity] of 64 bytes: each message with its length prefix, by sequence number

Memory is only taken as messages come. A request outside of what is kept, or of another session, gets no answer; one
for a message that has been overwritten is counted apart: whoever joined that late cannot be served. An answer holds as many of the messages asked
for as fit one datagram; the client asks again for the rest.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, view
from hftpipe.venues.nasdaq.itch.mold import (
    BLOCKS_AT,
    COUNT_AT,
    HEADER_BYTES,
    PACKET_BYTES_MAX,
    SEQUENCE_AT,
    put_header,
    session_of,
)
from hftpipe.venues.nasdaq.itch.wire import be16, be64

STORE = np.dtype(
    [
        ("session_low", "u8"), ("session_high", "u8"), ("capacity", "u8"), ("next_sequence", "u8"),
        ("requests", "i8"), ("answered", "i8"), ("messages", "i8"), ("refused", "i8"),
        # Of the refused: for a message of this session that is no longer kept.
        ("too_late", "i8"), ("_pad", "i8", 7),
    ],
    align=True,
)  # fmt: skip
STORE_HEADER_BYTES, BLOCK_BYTES = 128, 64
_BLOCKS, _SHIFT = np.uint64(STORE_HEADER_BYTES), np.uint64(6)
assert STORE.itemsize == STORE_HEADER_BYTES


def store_bytes(capacity: int) -> int:
    """Memory for the last ``capacity`` messages.

    Raises:
        ValueError: not a power of two.
    """
    if capacity < 1 or capacity & (capacity - 1):
        raise ValueError(f"store of {capacity} messages: a power of two is needed")
    return STORE_HEADER_BYTES + capacity * BLOCK_BYTES


def store_init(memory: np.ndarray, capacity: int, session: tuple[int, int]) -> None:
    """Make an empty store in ``memory`` (uint8 array of :func:`store_bytes`) for a session's two words."""
    memory[:STORE_HEADER_BYTES] = 0
    header = memory[:STORE_HEADER_BYTES].view(STORE)
    header["session_low"], header["session_high"] = session
    header["capacity"], header["next_sequence"] = capacity, 1


@jit
def _block(store, sequence):
    return store + _BLOCKS + ((sequence & (view(store, STORE).capacity - ONE)) << _SHIFT)


@jit
def store_put(store, block, length):
    """Keep the next message (``length`` bytes, prefix included, at most BLOCK_BYTES)."""
    s = view(store, STORE)
    copy_bytes(_block(store, s.next_sequence), block, length)
    s.next_sequence += ONE


@jit
def _is_kept(s, sequence, count):
    if count == ZERO or sequence == ZERO or sequence >= s.next_sequence:
        return False
    kept = sequence + s.capacity >= s.next_sequence
    s.too_late += 0 if kept else 1
    return kept


@jit
def store_answer(store, request, length, target):
    """Write the answer to a request datagram to ``target`` (PACKET_BYTES_MAX): its length, 0 if there is none."""
    s = view(store, STORE)
    s.requests += 1
    if length != HEADER_BYTES:
        s.refused += 1
        return np.int64(0)
    low, high = session_of(request)
    sequence, count = be64(request + SEQUENCE_AT), be16(request + COUNT_AT)
    if low != s.session_low or high != s.session_high or not _is_kept(s, sequence, count):
        s.refused += 1
        return np.int64(0)
    size, taken = np.int64(HEADER_BYTES), ZERO
    while taken < count and sequence + taken < s.next_sequence:
        block = _block(store, sequence + taken)
        bytes_ = np.int64(be16(block)) + 2
        if size + bytes_ > PACKET_BYTES_MAX:
            break
        copy_bytes(target + BLOCKS_AT + U64(size - HEADER_BYTES), block, bytes_)
        size += bytes_
        taken += ONE
    put_header(target, s.session_low, s.session_high, sequence, np.int64(taken))
    s.answered += 1
    s.messages += np.int64(taken)
    return size
