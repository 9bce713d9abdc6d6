"""What the sequencing rules of every venue do to a book with a message that they accept."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, view
from hftpipe.core.schema.records import ASK, BID
from hftpipe.core.trading.book import BOOK, book_best, book_commit, book_set
from hftpipe.venues.message import MESSAGE, MESSAGE_BYTES

_LEVELS = np.uint64(MESSAGE_BYTES)
_PAIR = np.uint64(16)


@jit
def _set_side(book, side, at, count):
    """Set ``count`` levels of a side, which begin at address ``at``; where they end."""
    for _ in range(count):
        book_set(book, side, load_i64(at), load_i64(at + U64(8)))
        at += _PAIR
    return at


@jit
def set_levels(book, message, update_id):
    """Set the levels of a message, which bring the book to this id; its ``local_ts`` is left as it is."""
    m = view(message, MESSAGE)
    asks = _set_side(book, BID, message + _LEVELS, m.n_bids)
    _set_side(book, ASK, asks, m.n_asks)
    ts = m.transaction_ts if m.transaction_ts != 0 else m.event_ts
    book_commit(book, update_id, ts, view(book, BOOK).local_ts)


@jit
def is_crossed(book):
    """Whether the best levels of a book cross."""
    bid = book_best(book, BID)[0]
    ask = book_best(book, ASK)[0]
    return bid > 0 and ask > 0 and bid >= ask
