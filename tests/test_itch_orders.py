"""The order table: a dict with a bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import aligned

from hftpipe.venues.nasdaq.itch.orders import (
    ORDER,
    ORDER_BYTES,
    ORDERS,
    ORDERS_HEADER_BYTES,
    orders_bytes,
    orders_clear,
    orders_find,
    orders_init,
    orders_locate,
    orders_put,
    orders_remove,
)


class Table:
    def __init__(self, capacity: int = 64):
        self.memory = aligned(orders_bytes(capacity))
        orders_init(self.memory, capacity)
        self.address = np.uint64(self.memory.ctypes.data)
        self.header = self.memory[:ORDERS_HEADER_BYTES].view(ORDERS)[0]
        self.slots = self.memory[ORDERS_HEADER_BYTES:].view(ORDER)

    def put(self, ref: int, qty: int) -> bool:
        slot = orders_locate(self.address, np.uint64(ref))
        return orders_put(
            self.address, slot, np.uint64(ref), np.int64(1), np.int64(0), np.int64(5), np.int64(qty)
        )  # fmt: skip

    def get(self, ref: int) -> int | None:
        slot = int(orders_find(self.address, np.uint64(ref)))
        if slot == 0:
            return None
        return int(self.slots[(slot - self.memory.ctypes.data - ORDERS_HEADER_BYTES) // ORDER_BYTES]["qty"])

    def remove(self, ref: int) -> None:
        orders_remove(self.address, orders_find(self.address, np.uint64(ref)))


# Few distinct runs, so that probes collide and wrap around the end.
REFS = st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1))


@given(st.lists(st.tuples(st.booleans(), REFS), max_size=200))
@settings(max_examples=150, deadline=None)
def test_it_is_a_dict_with_a_bound(operations):
    table, twin = Table(), {}
    for qty, (puts, ref) in enumerate(operations, start=1):
        if puts and ref not in twin:
            fits = table.put(ref, qty)
            assert fits == (len(twin) < 48)
            if fits:
                twin[ref] = qty
        elif not puts and ref in twin:
            table.remove(ref)
            del twin[ref]
    assert table.header["count"] == len(twin) == np.count_nonzero(table.slots["qty"])
    for _, ref in operations:
        assert table.get(ref) == twin.get(ref)


def test_full_is_counted_and_leaves_everything_findable():
    table = Table()
    assert all(table.put(ref, ref + 1) for ref in range(48))
    assert not table.put(1000, 1) and table.header["full"] == 1
    assert [table.get(ref) for ref in range(48)] == list(range(1, 49))


def test_clear_forgets_all():
    table = Table()
    table.put(3, 1)
    orders_clear(table.address)
    assert table.get(3) is None and table.header["count"] == 0 and table.put(3, 2)


@pytest.mark.parametrize("capacity", [0, 32, 100])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity):
    with pytest.raises(ValueError, match="power of two"):
        orders_bytes(capacity)
