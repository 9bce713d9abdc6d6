"""Memory laid out part by part: against a slow reference that marks every byte, and on real parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftpipe.core.schema.layout import LINE, Content, Pieces, aligned, lay_out, starts, whole

DTYPES = (
    "u1",
    "i2",
    "u4",
    "i8",
    "f8",
    [("ts", "i8"), ("side", "u1")],
    np.dtype([("a", "i8", 5), ("b", "u1")], align=True),
)
contents = st.one_of(st.integers(0, 700), st.tuples(st.sampled_from(DTYPES), st.integers(0, 40)))
alignments = st.sampled_from((8, 16, 64, 128, 4096))


def size_of(content: Content) -> int:
    return content if isinstance(content, int) else np.dtype(content[0]).itemsize * content[1]


def walked(parts: dict[str, Content], align: int) -> tuple[dict[str, int], int]:
    """Where each part begins and the end of all, one byte at a time."""
    at, found = 0, {}
    for name, content in parts.items():
        found[name] = at
        for _ in range(size_of(content)):
            at += 1
        while at % align:
            at += 1
    return found, at


@given(st.lists(contents, max_size=8), alignments)
def test_offsets_and_size_are_those_of_a_walk_byte_by_byte(held: list[Content], align: int) -> None:
    parts = {f"part {index}": one for index, one in enumerate(held)}
    layout = lay_out(parts, align)
    offsets, end = walked(parts, align)
    assert ({name: layout.at(name) for name in parts}, layout.size) == (offsets, end)
    assert starts(map(size_of, held), align) == [*offsets.values(), end]


@given(st.lists(contents, max_size=8), alignments)
def test_parts_are_aligned_never_overlap_and_the_size_covers_them(held: list[Content], align: int) -> None:
    parts = {f"part {index}": one for index, one in enumerate(held)}
    layout = lay_out(parts, align)
    memory = aligned(layout.size, align)
    for number, name in enumerate(parts, 1):
        view = layout.view(memory, name)
        assert view.nbytes == size_of(parts[name]) and (view.nbytes == 0 or view.ctypes.data % align == 0)
        assert not view.view(np.uint8).any(), f"{name} overlaps the part before it"
        view.view(np.uint8)[:] = number
    assert [int((memory == number).sum()) for number in range(1, len(held) + 1)] == [size_of(one) for one in held]
    assert layout.size % align == 0


def test_a_view_is_the_memory_itself_as_what_the_part_holds() -> None:
    row = np.dtype([("price", "i8"), ("qty", "i8")])
    layout = lay_out({"head": 10, "rows": (row, 3)})
    memory = aligned(layout.size)
    layout.view(memory, "rows")["qty"] = 1, 2, 3
    assert memory[LINE:].view(np.int64).tolist()[:6] == [0, 1, 0, 2, 0, 3]
    assert layout.view(memory, "head").dtype == np.uint8 and layout.parts["rows"].number == 3


def test_a_part_that_was_not_laid_out_is_a_key_error() -> None:
    layout, pieces = lay_out({"head": 10}), Pieces()
    for ask in (layout.at, lambda name: layout.view(aligned(layout.size), name), pieces.piece, pieces.address):
        with pytest.raises(KeyError, match="tail"):
            ask("tail")


def test_a_dtype_that_its_place_cannot_hold_is_refused() -> None:
    words = np.dtype([("at", "i8")], align=True)
    with pytest.raises(AssertionError, match="no parts on 4"):
        lay_out({"words": (words, 1)}, 4)


@given(st.integers(0, 10_000), st.sampled_from((1, 7, 64, 4096)))
def test_whole_units_are_the_fewest_that_hold_it(size: int, unit: int) -> None:
    assert whole(size, unit) == next(n for n in range(size, size + unit) if n % unit == 0)


@given(st.integers(1, 300), st.sampled_from((64, 128)))
def test_memory_of_ones_own_is_zeroed_and_on_its_line(size: int, align: int) -> None:
    memory = aligned(size, align)
    assert (memory.dtype, memory.shape, memory.any()) == (np.uint8, (size,), False) and memory.ctypes.data % align == 0


def test_a_piece_is_made_once_and_found_by_its_name() -> None:
    pieces = Pieces()
    made = pieces.make("words", (np.uint64, 3))
    made[:] = 1, 2, 3
    assert (
        pieces.piece("words") is made and pieces.address("words") == made.ctypes.data and made.ctypes.data % LINE == 0
    )
    assert pieces.make("text", 5).tolist() == [0] * 5
