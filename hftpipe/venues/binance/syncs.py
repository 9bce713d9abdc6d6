"""The SYNC records of many instruments in one memory, each with as much room for waiting messages as its depth asks for.

::

    address[n] | SYNC and its arena | SYNC and its arena | ...

A book that only hears best prices has nothing to wait for, and no arena. The table at the start is what
:func:`hftpipe.venues.taped.cursor.sync_at` reads.
"""

import numpy as np

from hftpipe.core.schema.instruments import SHALLOW_LEVELS, TOP_LEVELS
from hftpipe.venues.binance.sync import ARENA_BYTES, SMALLEST_ARENA, SYNC, sync_bytes, sync_init
from hftpipe.venues.sync_table import places_behind_table, records_at, write_table


def arena_of(levels: int) -> int:
    """Bytes for the messages that wait for a snapshot of a book of so many levels a side."""
    if levels == TOP_LEVELS:
        return 0
    return SMALLEST_ARENA if levels <= SHALLOW_LEVELS else ARENA_BYTES


def sync_offsets(levels: np.ndarray) -> list[int]:
    """Where each instrument's SYNC record is, and the end."""
    return places_behind_table([sync_bytes(arena_of(one)) for one in levels.tolist()])


def syncs_bytes(levels: np.ndarray) -> int:
    """Memory for instruments whose books have so many ``levels`` a side, int64[n]."""
    return sync_offsets(levels)[-1]


def sync_views(memory: np.ndarray, levels: np.ndarray) -> list[np.ndarray]:
    """The SYNC record of each instrument, an array of length 1; ``memory``, ``levels`` as for :func:`syncs_init`."""
    return records_at(memory, sync_offsets(levels)[:-1], SYNC)


def syncs_init(memory: np.ndarray, levels: np.ndarray, markets: list[int]) -> None:
    """Make every instrument wait for its first snapshot; arenas are not touched.

    Args:
        memory: uint8 array of :func:`syncs_bytes`, zeroed, 64-byte aligned; levels: as given to it.
        markets: SPOT or USDM of each.
    """
    offsets = sync_offsets(levels)
    for at, one, market in zip(offsets, levels.tolist(), markets, strict=False):
        sync_init(memory[at : at + sync_bytes(arena_of(one))], market, arena_of(one))
    write_table(memory, offsets[:-1])
