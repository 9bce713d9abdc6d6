"""Books of many instruments in one memory: each as large as its instrument's depth asks for, found by a table of addresses.

::

    heads of the books of the most levels | their levels | ... | heads of those of the fewest | their levels | address[n]

The order in memory is by size, that of the table by instrument. An address is a load; nothing is multiplied, and no book
takes the room of a larger one. The heads lie together: of thousands of books that only hear best prices little else is ever
looked at, and what is looked at lies on few pages. Only what an empty book needs is written: the memory must be zeroed, and pages
that no level comes to are never touched.
"""

from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, prefetch_write
from hftpipe.core.schema.layout import LINE, whole
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_init, book_settle, book_stride

#: Cache lines of a BOOK that every change reads.
_HEAD_LINES = 2
#: With fewer instruments than this what they need is in the cache anyway.
MANY = np.int64(64)
_WORD_SHIFT = np.uint64(3)

#: Levels a side: one number for all instruments, or int64[n].
Levels = int | np.ndarray


def levels_of(levels: Levels, n: int) -> np.ndarray:
    """int64[n] of levels a side, from one number for all or an array."""
    return np.broadcast_to(np.asarray(levels, np.int64), n)


def _storage(levels: int) -> int:
    """Bytes of a book of so many levels a side, without its head."""
    return book_stride(levels) - BOOK_HEADER_BYTES


@dataclass(frozen=True)
class _Group:
    """The books of one size.

    Attributes:
        levels: levels a side; instruments: whose they are, int64[n]; at: where the heads begin, and levels_at their levels.
    """

    levels: int
    instruments: np.ndarray
    at: int

    @property
    def levels_at(self) -> int:
        return self.at + BOOK_HEADER_BYTES * len(self.instruments)

    @property
    def end(self) -> int:
        return self.levels_at + _storage(self.levels) * len(self.instruments)


def _groups(levels: np.ndarray) -> list[_Group]:
    found: list[_Group] = []
    for size in np.unique(levels)[::-1].tolist():
        found.append(_Group(size, np.flatnonzero(levels == size), found[-1].end if found else 0))
    return found


def _table_at(levels: np.ndarray) -> int:
    return _groups(levels)[-1].end


def books_bytes(levels: np.ndarray) -> int:
    """Memory of the books of instruments with so many ``levels`` a side (int64[n], n >= 1), and their table."""
    return _table_at(levels) + whole(8 * len(levels))


def books_table(address: int, levels: np.ndarray) -> int:
    """Address of the table that :func:`books_init` makes in memory at ``address``."""
    return address + _table_at(levels)


def book_offsets(levels: np.ndarray) -> np.ndarray:
    """Where each instrument's book is in the memory, int64[n]."""
    offsets = np.zeros(len(levels), np.int64)
    for group in _groups(levels):
        offsets[group.instruments] = group.at + BOOK_HEADER_BYTES * np.arange(len(group.instruments))
    return offsets


def _copy_lines(rows: np.ndarray, template: np.ndarray) -> None:
    """Write what is not zero of ``template`` to each of ``rows`` (uint8[n, bytes], zeroed)."""
    lines = template.reshape(-1, LINE)
    by_line = rows.reshape(len(rows), -1, LINE)
    for line in np.flatnonzero(lines.any(axis=1)).tolist():
        by_line[:, line] = lines[line]


def _fill(memory: np.ndarray, group: _Group, ticks: np.ndarray) -> None:
    """Make the books of a group empty ones."""
    n, size = len(group.instruments), _storage(group.levels)
    template = np.zeros(BOOK_HEADER_BYTES + size, np.uint8)
    book_init(template, 0, group.levels)
    heads = memory[group.at : group.levels_at].reshape(n, BOOK_HEADER_BYTES)
    _copy_lines(heads, template[:BOOK_HEADER_BYTES])
    _copy_lines(memory[group.levels_at : group.end].reshape(n, size), template[BOOK_HEADER_BYTES:])
    heads.view(BOOK)[:, 0]["instrument"] = group.instruments
    # From where the template has its levels to where this book has them.
    number = np.arange(n)
    away = group.levels_at + size * number - (group.at + BOOK_HEADER_BYTES * (number + 1))
    book_settle(heads, group.levels, ticks, away.astype(np.uint64))


def books_init(memory: np.ndarray, levels: np.ndarray, ticks: np.ndarray | None = None) -> int:
    """Make empty, INVALID books.

    Args:
        memory: uint8 array of :func:`books_bytes`, zeroed, aligned to 64.
        levels: levels a side, int64[n].
        ticks: price step of each instrument (1e-8), int64[n]; None: not known.

    Returns:
        The address of the table, for :func:`book_at`.
    """
    ticks = np.zeros(len(levels), np.int64) if ticks is None else np.asarray(ticks, np.int64)
    for group in _groups(levels):
        _fill(memory, group, ticks[group.instruments])
    table = memory.ctypes.data + book_offsets(levels)
    at = _table_at(levels)
    memory[at : at + 8 * len(levels)] = table.view(np.uint8)
    return int(memory.ctypes.data) + at


@jit
def book_at(books, instrument):
    """Address of an instrument's book; ``books`` is the table's."""
    return U64(load_i64(books + (U64(instrument) << _WORD_SHIFT)))


@jit
def book_ask_for(books, instrument):
    """Have what a change of an instrument's book begins with brought into the cache: of thousands of books few are there."""
    book = book_at(books, instrument)
    for line in range(_HEAD_LINES):
        prefetch_write(book + U64(line) * U64(LINE))
