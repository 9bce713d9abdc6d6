"""The executions that were heard of last: one that is reported again is told from one that is new.

A key is a client order id and the venue's number of the execution (both sides of a trade between two of our own orders may
have one number). Keys are compared whole, so a new one is never taken for an old one, whatever its number and whatever came
before. The last ``limit`` are remembered; then the oldest is forgotten for each new one, and would count as new.

::

    base | SEEN (64 bytes) | KEY[limit], a ring | place + 1 of a key, by its hash: u64[2 x limit], probed linearly
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, store_i64, view

#: ``count``: keys ever entered.
SEEN = np.dtype([("limit", "u8"), ("shift", "u8"), ("count", "u8"), ("keys", "u8"), ("index", "u8"), ("_pad", "u8", 3)])
SEEN_HEADER_BYTES = 64
KEY = np.dtype([("id", "u8"), ("number", "u8")])
MIN_LIMIT = 16
_MIX_ID, _MIX_NUMBER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def seen_bytes(limit: int) -> int:
    """Memory that remembers ``limit`` executions.

    Raises:
        ValueError: limit is not a power of two of at least MIN_LIMIT.
    """
    if limit < MIN_LIMIT or limit & (limit - 1):
        raise ValueError(f"{limit} executions to remember is not a power of two of at least {MIN_LIMIT}")
    return SEEN_HEADER_BYTES + limit * (KEY.itemsize + 16)


def seen_init(memory: np.ndarray, limit: int) -> None:
    """Remember nothing, in ``memory`` (uint8 array of :func:`seen_bytes`, which must stay where it is)."""
    memory[: seen_bytes(limit)] = 0
    header = memory[:SEEN_HEADER_BYTES].view(SEEN)
    keys = memory.ctypes.data + SEEN_HEADER_BYTES
    header["limit"], header["shift"] = limit, 64 - limit.bit_length()
    header["keys"], header["index"] = keys, keys + limit * KEY.itemsize


@jit
def _key(s, place):
    return view(s.keys + (place << U64(4)), KEY)


@jit
def _entry(s, number):
    """Address of an entry of the index."""
    return s.index + (number << U64(3))


@jit
def _home(s, id_, number):
    return (((id_ * _MIX_ID) ^ number) * _MIX_NUMBER) >> s.shift


@jit
def _locate(s, id_, number):
    """Number of the index entry of a key, or of the empty one where it would go."""
    mask = s.limit + s.limit - ONE
    at = _home(s, id_, number)
    place = U64(load_i64(_entry(s, at)))
    while place != ZERO:
        key = _key(s, place - ONE)
        if key.id == id_ and key.number == number:
            return at
        at = (at + ONE) & mask
        place = U64(load_i64(_entry(s, at)))
    return at


@jit
def _forget(s, place):
    """Take the key at ``place`` out of the index (Knuth, TAOCP vol. 3, 6.4, algorithm R)."""
    mask, oldest = s.limit + s.limit - ONE, _key(s, place)
    hole = _locate(s, oldest.id, oldest.number)
    at = (hole + ONE) & mask
    other = U64(load_i64(_entry(s, at)))
    while other != ZERO:
        key = _key(s, other - ONE)
        if ((at - _home(s, key.id, key.number)) & mask) >= ((at - hole) & mask):
            store_i64(_entry(s, hole), np.int64(other))
            hole = at
        at = (at + ONE) & mask
        other = U64(load_i64(_entry(s, at)))
    store_i64(_entry(s, hole), np.int64(0))


@jit
def seen_add(seen, id_, number):
    """Note the execution ``number`` (uint64) of order ``id_`` (uint64): False if it is known already."""
    s = view(seen, SEEN)
    at = _locate(s, id_, number)
    if load_i64(_entry(s, at)) != 0:
        return False
    place = s.count & (s.limit - ONE)
    if s.count >= s.limit:
        _forget(s, place)
        at = _locate(s, id_, number)
    key = _key(s, place)
    key.id, key.number = id_, number
    store_i64(_entry(s, at), np.int64(place + ONE))
    s.count += ONE
    return True
