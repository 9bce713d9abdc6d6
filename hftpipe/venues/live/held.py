"""Messages of the one instrument whose book is being compared with the venue's own: copied as they are taken, for Python to read.

::

    HELD | MESSAGE, levels | MESSAGE, levels | ...
"""

from collections.abc import Iterator, Sequence

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, copy_bytes, view
from hftpipe.venues.message import DEPTH, MAX_LEVELS, MESSAGE, MESSAGE_BYTES, SNAPSHOT

#: Bytes of the messages held; whether there was no room for one.
HELD = np.dtype([("used", "i8"), ("is_full", "i8"), ("_pad", "i8", 6)])
_HEAD = HELD.itemsize
#: Room for some seconds of a busy symbol.
ROOM = 1 << 20
HELD_BYTES = _HEAD + ROOM
assert MESSAGE_BYTES + 16 * MAX_LEVELS <= ROOM
#: The instrument whose messages are held, where there is none: no message is of that one.
NOBODY = -2


@jit
def hold(held, message):
    """Keep a copy of a message that changes a book."""
    h, m = view(held, HELD), view(message, MESSAGE)
    if m.kind != DEPTH and m.kind != SNAPSHOT:
        return
    size = np.int64(MESSAGE_BYTES) + np.int64(16) * (m.n_bids + m.n_asks)
    if h.used + size > ROOM:
        h.is_full = 1
        return
    copy_bytes(held + U64(_HEAD) + U64(h.used), message, size)
    h.used += size


def clear(held: np.ndarray) -> None:
    """Hold nothing any more; ``held``: uint8 array of HELD_BYTES."""
    held[:_HEAD] = 0


def is_full(held: np.ndarray) -> bool:
    """Whether a message is missing."""
    return bool(held[:_HEAD].view(HELD)["is_full"][0])


def held_bytes(held: np.ndarray) -> np.ndarray:
    """A copy of what is held, for :func:`messages`."""
    return held[_HEAD:][: int(held[:_HEAD].view(HELD)["used"][0])].copy()


def levels_of(memory: np.ndarray) -> tuple[np.void, np.ndarray, np.ndarray]:
    """The MESSAGE that ``memory`` (uint8) begins with, and its bids and asks, int64[n, 2] each."""
    head = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
    n_bids, n_asks = int(head["n_bids"]), int(head["n_asks"])
    pairs = memory[MESSAGE_BYTES:][: 16 * (n_bids + n_asks)].view(np.int64).reshape(-1, 2)
    return head, pairs[:n_bids], pairs[n_bids:]


def put_levels(memory: np.ndarray, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> None:
    """Make ``memory`` (uint8) a MESSAGE of these levels (price, quantity), of no kind yet."""
    memory[:MESSAGE_BYTES] = 0
    head = memory[:MESSAGE_BYTES].view(MESSAGE)
    head["n_bids"], head["n_asks"] = len(bids), len(asks)
    pairs = np.array([*bids, *asks], np.int64).reshape(-1)
    memory[MESSAGE_BYTES:][: pairs.nbytes] = pairs.view(np.uint8)


def messages(memory: np.ndarray) -> Iterator[tuple[np.void, np.ndarray, np.ndarray]]:
    """All messages of :func:`held_bytes`, as :func:`levels_of` has each."""
    at = 0
    while at < len(memory):
        found = levels_of(memory[at:])
        yield found
        at += MESSAGE_BYTES + 16 * (len(found[1]) + len(found[2]))
