"""Where the fields of a record lie, and the parts of a memory that holds several things one behind the other.

A memory is ``part | part | ...``, each part beginning on a cache line (or another multiple), with nothing but padding between
them. :func:`lay_out` says once what the parts are; their offsets, the size of all and typed views of each follow from that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import DTypeLike

#: Bytes of a cache line. Two are brought at a time, so what must not couple two writers begins on a pair.
LINE, LINE_PAIR = 64, 128


def offset_of(record: np.dtype, field: str) -> int:
    """Bytes from the start of a record of this layout to one of its fields."""
    # numpy's type of `fields` allows for a dtype that is no record.
    assert record.fields is not None, f"{record} is no record"
    return record.fields[field][1]


def whole(size: int, unit: int = LINE) -> int:
    """``size``, rounded up to whole units: by default bytes of whole cache lines."""
    return -(-size // unit) * unit


def starts(sizes: Iterable[int], align: int = LINE) -> list[int]:
    """Where each of some parts begins (bytes), every one on a multiple of ``align``; last, where the next one would."""
    return list(accumulate((whole(size, align) for size in sizes), initial=0))


def aligned(size: int, align: int = LINE) -> np.ndarray:
    """Zeroed memory of a process of its own: uint8[size] that begins on a multiple of ``align``."""
    raw = np.zeros(size + align, np.uint8)
    return raw[-raw.ctypes.data % align :][:size]


@dataclass(frozen=True)
class Part:
    """A part of a memory.

    Attributes:
        at: where it begins, bytes; dtype, number: what it holds, and how many.
    """

    at: int
    dtype: np.dtype
    number: int

    @property
    def size(self) -> int:
        """Its bytes, without padding."""
        return self.dtype.itemsize * self.number


@dataclass(frozen=True)
class Layout:
    """Parts one behind the other.

    Attributes:
        parts: by name, in order.
        size: bytes of all, with the padding behind the last one.
    """

    parts: Mapping[str, Part]
    size: int

    def at(self, name: str) -> int:
        """Where a part begins, bytes. Raises KeyError for a name that was not laid out."""
        return self.parts[name].at

    def view(self, memory: np.ndarray, name: str) -> np.ndarray:
        """A part of ``memory`` (uint8, at least :attr:`size`) as an array of what it holds. Raises KeyError as :meth:`at`."""
        part = self.parts[name]
        return memory[part.at : part.at + part.size].view(part.dtype)


#: What a part is: so many bytes, or a dtype and how many of it.
Content = int | tuple[DTypeLike, int]


def _held(content: Content) -> tuple[np.dtype, int]:
    return (np.dtype(np.uint8), content) if isinstance(content, int) else (np.dtype(content[0]), content[1])


def lay_out(parts: Mapping[str, Content], align: int = LINE) -> Layout:
    """Put parts one behind the other, in order, each on a multiple of ``align`` (bytes)."""
    held = [_held(one) for one in parts.values()]
    assert all(number >= 0 and align % dtype.alignment == 0 for dtype, number in held), f"no parts on {align}: {parts}"
    *begins, end = starts((dtype.itemsize * number for dtype, number in held), align)
    return Layout({name: Part(at, *one) for name, at, one in zip(parts, begins, held, strict=True)}, end)


class Pieces:
    """Named pieces of a process's own memory, each made when it is asked for, zeroed, on a cache line."""

    def __init__(self) -> None:
        self._pieces: dict[str, np.ndarray] = {}

    def make(self, name: str, content: Content) -> np.ndarray:
        """A new piece, as an array of what it holds."""
        dtype, number = _held(content)
        self._pieces[name] = aligned(dtype.itemsize * number).view(dtype)
        return self._pieces[name]

    def piece(self, name: str) -> np.ndarray:
        """A piece as it was made. Raises KeyError for one that was not."""
        return self._pieces[name]

    def address(self, name: str) -> int:
        """Where a piece lies. Raises KeyError as :meth:`piece`."""
        return self._pieces[name].ctypes.data
