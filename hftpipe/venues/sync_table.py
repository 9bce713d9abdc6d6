"""What a venue's books are sequenced by, one part an instrument, behind a table of where each part is.

::

    address[n] | part | part | ...

The table is what :func:`hftpipe.venues.taped.cursor.sync_at` reads.
"""

from collections.abc import Sequence

import numpy as np

from hftpipe.core.schema.layout import starts


def places_behind_table(sizes: Sequence[int]) -> list[int]:
    """Where each instrument's part begins, from the sizes (bytes) of all; last, the end."""
    return starts([8 * len(sizes), *sizes])[1:]


def records_at(memory: np.ndarray, places: Sequence[int], record: np.dtype) -> list[np.ndarray]:
    """The record that begins each part, an array of length 1; ``memory``: uint8."""
    return [memory[at : at + record.itemsize].view(record) for at in places]


def write_table(memory: np.ndarray, places: Sequence[int]) -> None:
    """Put the address of each part in front of them all."""
    table = np.array(places, np.uint64) + np.uint64(memory.ctypes.data)
    memory[: table.nbytes] = table.view(np.uint8)
