"""Memory between the tapes and the files: a fixed number of blocks, each a header and room for records.

One thread fills blocks, another writes them; a block belongs to one of them at a time. What the disk does not take at
once waits here, and when no block is free the records stay on their tape.
"""

import mmap
from collections import deque

import numpy as np

from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.record.tape.format import BLOCK, HEADER_BYTES

BLOCK_RECORDS = 4096
BUFFER_BYTES = 128 << 20


def block_bytes(block_records: int) -> int:
    """Size of a block of so many records, with its header."""
    return HEADER_BYTES + block_records * RECORD_BYTES


class Block:
    """Consecutive records of one tape, with their header in front, so that both go to the file in one write.

    Args:
        memory: uint8 array of :func:`block_bytes`.

    Attributes:
        header: BLOCK array of length 1 on the memory, for the writer to fill.
        count: records in it; ``room``: how many more fit.
        since_ns: monotonic time the first of them was read from the tape.
        lost: records the tape's ring had dropped when the block was closed.
    """

    def __init__(self, memory: np.ndarray) -> None:
        self._view = memory.data
        self.header = memory[:HEADER_BYTES].view(BLOCK)
        self._payload, self._capacity = memory.ctypes.data + HEADER_BYTES, (len(memory) - HEADER_BYTES) // RECORD_BYTES
        self.count = self.since_ns = self.lost = 0

    @property
    def target(self) -> np.uint64:
        """Address where the next record goes."""
        return np.uint64(self._payload + self.count * RECORD_BYTES)

    @property
    def room(self) -> int:
        """Records that still fit."""
        return self._capacity - self.count

    def added(self, count: int, now_ns: int) -> None:
        """``count`` records (at most ``room``) have been put at ``target``; ``now_ns`` is monotonic time."""
        if count and not self.count:
            self.since_ns = now_ns
        self.count += count

    def bytes(self) -> memoryview:
        """Header and records."""
        return self._view[: HEADER_BYTES + self.count * RECORD_BYTES]


class Pool:
    """The blocks, allocated and touched at once: no page fault while recording, and never more memory.

    Args:
        blocks: how many.
        block_records: records in each.

    Attributes:
        free_min: fewest blocks that were ever free.
        refused: how often one was asked for and none was free.
    """

    def __init__(self, blocks: int, block_records: int = BLOCK_RECORDS) -> None:
        size = block_bytes(block_records)
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        memory = np.frombuffer(mmap.mmap(-1, blocks * size, flags=flags), np.uint8)
        # Last in, first out, so that the memory in use stays in the cache while the disk keeps up. Both ends of the
        # exchange are single operations of a deque, which two threads may do without a lock.
        self._free = deque(Block(memory[at : at + size]) for at in range(0, blocks * size, size))
        self.blocks = self.free_min = blocks
        self.refused = 0

    def take(self) -> Block | None:
        """An empty block, or None when all are in use."""
        if not self._free:
            self.refused += 1
            return None
        self.free_min = min(self.free_min, len(self._free) - 1)
        return self._free.pop()

    def give(self, block: Block) -> None:
        """A block that has been written is free again."""
        block.count = 0
        self._free.append(block)
