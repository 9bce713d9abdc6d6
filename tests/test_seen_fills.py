"""The set of executions seen last: never a new one taken for an old one, whatever the numbers."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.trading.seen_fills import MIN_LIMIT, seen_add, seen_bytes, seen_init, seen_is_sure, seen_stray


class Seen:
    def __init__(self, limit: int = MIN_LIMIT) -> None:
        self.memory = aligned(seen_bytes(limit) + 64)
        seen_init(self.memory, limit)
        self.memory[seen_bytes(limit) :] = 0xA5
        self.heads: dict[int, int] = {}

    def add(self, id_: int, number: int) -> bool:
        """In the order's own chain."""
        head = int(seen_add(address(self.memory), np.uint64(self.heads.get(id_, 0)), np.uint64(id_), np.uint64(number)))
        self.heads[id_] = head or self.heads[id_]
        return head != 0

    def is_sure(self, id_: int, number: int) -> bool:
        return bool(seen_is_sure(address(self.memory), np.uint64(self.heads.get(id_, 0)), np.uint64(number)))

    def stray(self, id_: int, number: int) -> bool:
        return bool(seen_stray(address(self.memory), np.uint64(id_), np.uint64(number)))


class Twin:
    """The last ``limit`` keys, as plainly as can be."""

    def __init__(self, limit: int) -> None:
        self.limit, self.keys = limit, OrderedDict[tuple[int, int], None]()

    def add(self, id_: int, number: int) -> bool:
        if (id_, number) in self.keys:
            return False
        self.keys[id_, number] = None
        if len(self.keys) > self.limit:
            self.keys.popitem(last=False)
        return True


NUMBERS = st.one_of(
    st.integers(0, 40), st.integers(2**63 - 3, 2**63 + 3), st.integers(2**64 - 3, 2**64 - 1), st.integers(0, 2**64 - 1)
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.integers(1, 3), st.integers(0, 2**64 - 1)), NUMBERS), max_size=120), st.booleans()
)
def test_it_answers_like_the_last_keys_in_a_dict(keys, is_stray):
    seen, twin = Seen(), Twin(MIN_LIMIT)
    for key in keys:
        assert (seen.stray(*key) if is_stray else seen.add(*key)) == twin.add(*key)
    assert (seen.memory[seen_bytes(MIN_LIMIT) :] == 0xA5).all()


@pytest.mark.parametrize("step", [1, 2**32, 2**63 // 64 + 1, 0x9E3779B97F4A7C15])
def test_long_runs_of_numbers_are_each_new_once_and_known_while_remembered(step):
    limit, numbers = 256, [(7 + n * step) % 2**64 for n in range(2_000)]
    seen = Seen(limit)
    for at, number in enumerate(numbers):
        assert seen.add(5, number)
        assert not seen.add(5, number) and not seen.add(5, numbers[max(0, at - limit + 1)])
    assert seen.add(5, numbers[0]), "forgotten long ago: it would count as new"


def test_the_same_number_of_another_order_is_another_execution():
    seen = Seen()
    assert seen.add(1, 9) and seen.add(2, 9) and not seen.add(1, 9)


@pytest.mark.parametrize("limit", [0, 8, 17, 100])
def test_a_limit_that_is_no_power_of_two_is_refused(limit):
    with pytest.raises(ValueError, match="power of two"):
        seen_bytes(limit)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60)), max_size=120))
def test_what_is_taken_for_new_was_never_there_where_it_says_that_it_is_sure(keys):
    seen, ever = Seen(), set[tuple[int, int]]()
    for key in keys:
        is_sure = seen.is_sure(*key)
        is_new = seen.add(*key)
        assert not (is_sure and is_new and key in ever)
        # As long as nothing can have been forgotten it always is.
        assert is_sure or len(ever) >= MIN_LIMIT
        ever.add(key)


def test_a_number_above_all_others_is_new_for_sure_whatever_was_forgotten():
    seen = Seen(16)
    for number in range(1, 100):
        assert seen.is_sure(1, number) and seen.add(1, number)
    assert not seen.is_sure(1, 50)
    for number in range(1, 100):
        seen.add(2, number)
    assert not seen.is_sure(1, 1000), "nothing is left of the chain, not even its largest number"
