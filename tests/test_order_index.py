"""The index of client ids gives the answers of a dict, however the ids collide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.trading.order_index import (
    ENTRY,
    INDEX_HEADER_BYTES,
    index_bytes,
    index_expect,
    index_find,
    index_init,
    index_put,
    index_remove,
)

ENTRIES = 64
LAST = 2**64 - 1


class Index:
    def __init__(self, entries: int = ENTRIES) -> None:
        self.memory = aligned(index_bytes(entries))
        index_init(self.memory, entries)
        self.address = address(self.memory)

    def find(self, id_: int) -> int:
        return int(index_find(self.address, np.uint64(id_)))

    def put(self, id_: int, at: int) -> None:
        index_put(self.address, np.uint64(id_), np.uint64(at))

    def remove(self, id_: int) -> None:
        index_remove(self.address, np.uint64(id_))

    def rows(self) -> dict[int, int]:
        entries = self.memory[INDEX_HEADER_BYTES:].view(ENTRY)
        return {int(row["id"]): int(row["at"]) for row in entries if row["at"]}


#: Few distinct runs of 16, so that they collide and wrap around the end; and both ends of the range.
IDS = st.one_of(st.integers(0, 80), st.integers(1, 40).map(lambda n: n << 32), st.integers(LAST - 40, LAST))


@given(steps=st.lists(st.tuples(st.booleans(), IDS), max_size=150))
def test_the_index_is_a_dict(steps):
    index, twin = Index(), {}
    for number, (puts, id_) in enumerate(steps, 1):
        if puts and (len(twin) < ENTRIES // 2 or id_ in twin):
            index.put(id_, number)
            twin[id_] = number
        elif not puts:
            index.remove(id_)
            twin.pop(id_, None)
        assert index.rows() == twin
        assert all(index.find(known) == at for known, at in twin.items()) and index.find(id_) == twin.get(id_, 0)


@pytest.mark.parametrize("order", [1, -1], ids=["oldest-first", "newest-first"])
def test_a_run_that_wraps_around_the_end_empties_without_losing_anyone(order):
    index, ids = Index(32), list(range(1, 17))
    for id_ in ids:
        index.put(id_, id_ + 100)
    for done, id_ in enumerate(ids[::order], 1):
        index.remove(id_)
        assert sorted(index.rows()) == sorted(set(ids) - set(ids[::order][:done]))
        assert all(index.find(left) == left + 100 for left in ids[::order][done:])


def test_expecting_an_id_changes_nothing_and_0_is_an_id_like_others():
    index = Index()
    index.put(5, 50)
    index_expect(index.address, np.uint64(6))
    assert (index.find(0), index.find(6), index.rows()) == (0, 0, {5: 50})
