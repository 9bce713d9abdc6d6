"""What a live feed has in the segment, as arrays; and the pauses between attempts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LiveMemory:
    """What a live feed has in the segment.

    Attributes:
        state: STATE of the stage; live: LIVE array; links, shares: one of each a connection; buffers: uint8[connections, bytes];
            outs: uint8[connections, OUT_BYTES]; message: a MESSAGE with its levels (uint8).
        syncs: what the codec sequences by, an array of length 1 each instrument; lose: makes the book of an instrument INVALID, as if its
            connection were lost; levels: a side of each book.
    """

    state: np.ndarray
    live: np.ndarray
    links: np.ndarray
    shares: np.ndarray
    buffers: np.ndarray
    outs: np.ndarray
    message: np.ndarray
    syncs: Sequence[np.ndarray]
    lose: Callable[[int], None]
    levels: np.ndarray

    @property
    def cursor(self) -> np.ndarray:
        """The CURSOR array (length 1) of the feed."""
        found: np.ndarray = self.live["cursor"]
        return found

    def book_state(self, instrument: int) -> int:
        """State of a book."""
        return int(self.syncs[instrument]["state"][0])

    def share(self, index: int) -> range:
        """The instruments of a connection."""
        share = self.shares[index]
        return range(int(share["first"]), int(share["end"]))

    def connection_of(self, instrument: int) -> int:
        """Which connection an instrument is read from."""
        return int(np.searchsorted(self.shares["end"], instrument, side="right"))
