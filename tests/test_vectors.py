"""Searching and shifting runs of 64 words, beside lists."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.machine import vectors
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.vectors import FILLING, LANES, RUN

WORDS = st.integers(-(2**63), 2**63 - 1)
#: Few different words, so that equal ones meet, and the extremes.
NEAR = st.integers(-4, 4) | st.sampled_from([-(2**63), 2**63 - 1])
GUARD = 0x0E0E0E0E0E0E0E0E


@jit
def _below(run, key):
    return vectors.count_below(run, key)


@jit
def _to(words, key):
    return vectors.count_to(words, key)


@jit
def _insert(run, place, word):
    vectors.run_insert(run, place, word)


@jit
def _remove(run, place, filling):
    vectors.run_remove(run, place, filling)


@jit
def _fill(run, word):
    vectors.run_fill(run, word)


def run_of(words: list[int], shift: int = 0) -> np.ndarray:
    """The words with a guard on either side, starting ``shift`` words from a cache line."""
    memory = aligned(8 * (RUN + 3 * LANES)).view(np.int64)[shift : shift + len(words) + 2 * LANES]
    memory[:] = GUARD
    memory[LANES : LANES + len(words)] = words
    return memory


def after(function: Callable[..., Any], words: list[int], shift: int, *arguments: int) -> list[int]:
    """What ``function`` makes of a run; nothing beside it may change."""
    memory = run_of(words, shift)
    function(address(memory[LANES:]), *map(np.int64, arguments))
    assert (memory[:LANES] == GUARD).all() and (memory[-LANES:] == GUARD).all()
    return memory[LANES:-LANES].tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(NEAR | WORDS, min_size=RUN, max_size=RUN), NEAR | WORDS)
def test_counts_are_where_a_bisection_would_end(words: list[int], key: int) -> None:
    words.sort()
    assert _below(address(run_of(words)[LANES:]), np.int64(key)) == sum(word < key for word in words)
    for some in (words[:LANES], words[-LANES:]):
        assert _to(address(run_of(some)[LANES:]), np.int64(key)) == sum(word <= key for word in some)


@pytest.mark.parametrize("place", range(RUN))
def test_insert_and_remove_are_those_of_a_list_at_every_place(place: int) -> None:
    words = [7 * index - 100 for index in range(RUN)]
    inserted = [*words[:place], 5, *words[place:-1]]
    removed = [*words[:place], *words[place + 1 :], int(FILLING)]
    for shift in (0, 1, 7):
        assert after(_insert, words, shift, place, 5) == inserted
        assert after(_remove, words, shift, place, int(FILLING)) == removed


def test_fill_makes_all_words_one() -> None:
    assert after(_fill, list(range(RUN)), 3, -9) == [-9] * RUN
