"""The bitmap with a summary beside a set of numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.machine.bits import (
    bit_put,
    count_bits,
    first_member,
    highest_bit,
    last_member,
    lowest_bit,
    member_from,
    nth_member,
)
from hftpipe.core.machine.jit import jit

SIZES = (64, 128, 4096, 8192, 1 << 15)


@jit
def _bits_of(word):
    return lowest_bit(word), highest_bit(word), count_bits(word)


@pytest.mark.parametrize("word", [1, 2, 3, 2**31, 2**32, 2**63, 2**63 + 1, 2**64 - 1, 0x0F0F_F000])
def test_the_places_of_the_bits_of_a_word(word: int) -> None:
    text = f"{word:b}"
    expected = len(text) - len(text.rstrip("0")), len(text) - 1, text.count("1")
    assert tuple(map(int, _bits_of(np.uint64(word)))) == expected


@given(size=st.sampled_from(SIZES), data=st.data())
def test_a_bitmap_finds_what_a_sorted_set_has(size: int, data: st.DataObject) -> None:
    numbers = st.integers(0, size - 1) | st.sampled_from([0, 63, size // 2, size - 64, size - 1])
    changes = data.draw(st.lists(st.tuples(numbers, st.booleans()), max_size=80))
    memory = aligned(size // 8 + 8 * (-(-size // 4096)) + 64)
    memory[-64:] = 0xEE
    bits = address(memory)
    summary, members = np.uint64(bits + np.uint64(size // 8)), set()
    for number, is_member in changes:
        bit_put(bits, summary, np.int64(number), is_member)
        (members.add if is_member else members.discard)(number)
    ranked = sorted(members)
    assert int(first_member(bits, summary, np.int64(size))) == (ranked[0] if ranked else -1)
    assert int(last_member(bits, summary, np.int64(size))) == (ranked[-1] if ranked else -1)
    for start in [0, size, *(number + by for number, _ in changes for by in (0, 1))]:
        found = int(member_from(bits, summary, np.int64(start), np.int64(size)))
        assert found == next((member for member in ranked if member >= start), -1)
    assert [int(nth_member(bits, np.int64(index))) for index in range(len(ranked))] == ranked
    assert (memory[-64:] == 0xEE).all()
