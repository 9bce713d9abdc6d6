"""The levels of a book for Python: one side at a time, in one call."""

import ctypes

import numpy as np

from hftpipe.core.machine.jit import entry
from hftpipe.core.machine.mem import U64, store_i64
from hftpipe.core.trading.book import book_walk, book_walk_level, book_walk_next


@entry("int64(uint64, int64, uint64, int64)")
def side_entry(book, side, pairs, most):
    """Write up to ``most`` levels of a side, best first, as (price, quantity) pairs of int64 at ``pairs``: how many."""
    count, cursor = np.int64(0), book_walk(book, side, np.int64(0))
    while cursor >= 0 and count < most:
        price, qty = book_walk_level(book, side, cursor)
        at = pairs + U64(16) * U64(count)
        store_i64(at, price)
        store_i64(at + U64(8), qty)
        count += 1
        cursor = book_walk_next(book, side, cursor)
    return np.int64(count)


#: The same as a C function: (address of the book, BID or ASK, address of int64[most, 2], most) -> how many levels.
read_side = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64)(
    side_entry.address
)
