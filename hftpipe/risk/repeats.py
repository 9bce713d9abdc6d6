"""Orders that were approved a moment ago, so that the same one is not sent twice.

The same is: strategy, instrument, side, type, price and quantity; a REPLACE counts as the order that it makes. Orders stand in
sets of four by what they are, and the one that is longest ago gives way: a repetition is missed only when four others of its set came
in between, and nothing that is not one is ever taken for one.

::

    base | REPEATS | REPEAT [SETS][WAYS]
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.records import REDUCES

SETS, WAYS = 256, 4
REPEATS = np.dtype([("window_ns", "i8"), ("_pad", "i8", 7)])
REPEAT = np.dtype([("key", "u8"), ("price", "i8"), ("qty", "i8"), ("ts", "i8")])
REPEATS_BYTES = REPEATS.itemsize + SETS * WAYS * REPEAT.itemsize
_HEADER, _SET_BYTES, _WAY_BYTES = (np.uint64(n) for n in (REPEATS.itemsize, WAYS * REPEAT.itemsize, REPEAT.itemsize))
_MIX_A, _MIX_B, _SET_SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(56)


@jit
def repeat_key(strategy, instrument, side, flags):
    """What an order is besides price and quantity; never 0."""
    place = (U64(instrument) << U64(24)) | (U64(strategy) << U64(16))
    # That it was approved while only reducing was allowed is no part of what it is.
    kind = U64(flags) & U64(0xFF & ~REDUCES)
    return place | (U64(side) << U64(9)) | (kind << U64(1)) | U64(1)


@jit
def _set_of(table, key, price, qty):
    mixed = (key ^ (U64(price) * _MIX_A)) * _MIX_B + U64(qty) * _MIX_A
    return table + _HEADER + (((mixed ^ (mixed >> U64(29))) * _MIX_B) >> _SET_SHIFT) * _SET_BYTES


@jit
def is_repeat(table, key, price, qty, now):
    """Whether the same order was approved less than ``window_ns`` before event time ``now`` (ns)."""
    window, at = view(table, REPEATS).window_ns, _set_of(table, key, price, qty)
    found = False
    for way in range(WAYS):
        r = view(at + U64(way) * _WAY_BYTES, REPEAT)
        found |= r.key == key and r.price == price and r.qty == qty and now - r.ts < window
    return found and window > 0


@jit
def repeat_add(table, key, price, qty, now):
    """An order was approved at event time ``now`` (ns)."""
    if view(table, REPEATS).window_ns <= 0:
        return
    at = _set_of(table, key, price, qty)
    oldest = at
    for way in range(1, WAYS):
        place = at + U64(way) * _WAY_BYTES
        if view(place, REPEAT).ts < view(oldest, REPEAT).ts:
            oldest = place
    r = view(oldest, REPEAT)
    r.key, r.price, r.qty, r.ts = key, price, qty, now
