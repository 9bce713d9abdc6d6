"""Layout of a ring: its header and its size; the protocol stands in :mod:`hftpipe.core.shared.ring`."""

import numpy as np

from hftpipe.core.schema.records import RECORD_BYTES

RING = np.dtype(
    [
        ("mask", "u8"), ("capacity", "u8"), ("_config", "u8", 6),
        ("next_in", "u8"), ("known_out", "u8"), ("refused", "u8"),
        # Used by tapes only (core/shared/tape.py): records lost since the last success, and in all.
        ("lost_pending", "u8"), ("lost", "u8"), ("_producer", "u8", 3),
        ("next_out", "u8"), ("_consumer", "u8", 7),
    ],
    align=True,
)  # fmt: skip
RING_HEADER_BYTES = 192


def ring_bytes(capacity: int) -> int:
    """Size of a ring's memory.

    Raises:
        ValueError: capacity is not a power of two of at least 2.
    """
    if capacity < 2 or capacity & (capacity - 1):
        raise ValueError(f"ring capacity {capacity} is not a power of two of at least 2")
    return RING_HEADER_BYTES + capacity * RECORD_BYTES
