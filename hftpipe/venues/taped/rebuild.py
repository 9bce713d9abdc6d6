"""The books of a capture rebuilt in one process: the memory that the cursor needs where there is no segment."""

import numpy as np

from hftpipe.core.schema.instruments import symbols_table
from hftpipe.core.schema.layout import aligned
from hftpipe.core.trading.books import book_offsets, books_bytes, books_init
from hftpipe.venues.codecs import codec_of
from hftpipe.venues.message import message_bytes
from hftpipe.venues.taped.cursor import wire_cursor
from hftpipe.venues.taped.text import Page, symbols_of

BOOK_LEVELS = 16384


class Rebuild:
    """A cursor, wired, and the books that it follows.

    Args:
        cursor: CURSOR array of length 1, zeroed.
        market: whose text it is; instruments: INSTRUMENT array, symbol, tick and power set.

    Attributes:
        codec: of the market; symbols: the instruments; page: to bring the text by; message: the decoded one (uint8).
        books: address of the table of books (core/trading/books.py).

    Raises:
        CodecError: nothing reads the text of this market.
    """

    def __init__(self, cursor: np.ndarray, market: str, instruments: np.ndarray) -> None:
        self.codec, self.symbols, count = codec_of([market]), symbols_of(instruments), len(instruments)
        self._levels, self._table = np.full(count, BOOK_LEVELS), symbols_table(instruments)
        self._syncs, self._memory = aligned(self.codec.syncs_bytes(self._levels)), aligned(books_bytes(self._levels))
        self.codec.syncs_init(self._syncs, self._levels, [market] * count)
        self.books = books_init(self._memory, self._levels, instruments["tick"])
        self.message = aligned(message_bytes())
        table, message, syncs = (one.ctypes.data for one in (self._table, self.message, self._syncs))
        wire_cursor(cursor, self.codec, count, symbols=table, message=message, syncs=syncs)
        self.page = Page(cursor, self.codec, self.symbols, self.message)

    @property
    def syncs(self) -> np.ndarray:
        """What the codec has counted of each instrument (:class:`hftpipe.venues.contract.Codec`)."""
        return np.concatenate(self.codec.syncs(self._syncs, self._levels))

    def book(self, instrument: int) -> np.uint64:
        """Address of the BOOK of an instrument."""
        return np.uint64(self._memory.ctypes.data + int(book_offsets(self._levels)[instrument]))
