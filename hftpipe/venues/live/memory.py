"""What a live feed has in the segment, as arrays; and the pauses between attempts."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hftpipe.core.trading.book import BOOK


@dataclass(frozen=True)
class LiveMemory:
    """What a live feed has in the segment.

    Attributes:
        state: STATE of the stage; live: LIVE array; links, shares: one of each a connection, those that bring books first;
        n_books: how many do; buffers: uint8[connections, bytes];
            outs: uint8[connections, OUT_BYTES]; message: a MESSAGE with its levels (uint8).
        held: messages held for a comparison (uint8).
        syncs: what the codec sequences by, an array of length 1 each instrument; lose: makes the book of an instrument INVALID, as if its
            connection were lost; levels: a side of each book.
    """

    state: np.ndarray
    live: np.ndarray
    links: np.ndarray
    shares: np.ndarray
    n_books: int
    buffers: np.ndarray
    outs: np.ndarray
    message: np.ndarray
    held: np.ndarray
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

    def book_at(self, instrument: int) -> int:
        """Address of a book."""
        return ctypes.c_uint64.from_address(int(self.state["books"][0]) + 8 * instrument).value

    def book(self, instrument: int) -> np.ndarray:
        """The BOOK array (length 1) of an instrument, where it lies."""
        memory = memoryview((ctypes.c_uint8 * BOOK.itemsize).from_address(self.book_at(instrument)))
        found: np.ndarray = np.frombuffer(memory, BOOK)
        return found

    def share(self, index: int) -> range:
        """The instruments whose books a connection brings."""
        share = self.shares[index]
        return range(int(share["first"]), int(share["end"]))

    def followed(self, index: int) -> range:
        """The instruments whose streams a connection brings."""
        return self.share(index % self.n_books)

    def connection_of(self, instrument: int) -> int:
        """Which connection the book of an instrument is read from."""
        return int(np.searchsorted(self.shares["end"][: self.n_books], instrument, side="right"))
