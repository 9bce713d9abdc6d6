"""The order table: every transition as documented, and the same answers as a dict."""

from functools import cache

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from memory import address, aligned

from hftpipe.core.trading import order_table as ot
from hftpipe.core.trading.order_table import EVENT_NAMES, ORDER, STATE_NAMES, TABLE

TERMINAL = {ot.FILLED, ot.CANCELED, ot.EXPIRED, ot.REJECTED}
ENDS = {"FILLED", "CANCELED", "EXPIRED", "REJECT"}
OPEN = set(range(ot.PENDING_NEW, ot.UNKNOWN + 1))
#: A table so small that slots are taken over all the time.
SLOTS = 32


class Table:
    """An order table and views of it."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.memory = aligned(ot.table_bytes(slots))
        ot.table_init(self.memory, slots)
        self.address = address(self.memory)

    def row(self, slot: int) -> np.ndarray:
        at = slot - self.memory.ctypes.data
        return self.memory[at : at + ORDER.itemsize].view(ORDER)[0]

    def insert(self, id_: int, ts: int = 0) -> int:
        slot = int(ot.order_insert(self.address, np.uint64(id_)))
        if slot:
            self.row(slot)["created_ts"] = ts
        return slot

    def find(self, id_: int) -> int:
        return int(ot.order_find(self.address, np.uint64(id_)))

    def move(self, slot: int, event: int) -> bool:
        return bool(ot.order_move(self.address, np.uint64(slot), np.int64(event)))

    def open_ids(self) -> list[int]:
        count = int(ot.open_count(self.address))
        return [int(self.row(int(ot.open_order(self.address, np.int64(i))))["id"]) for i in range(count)]

    @property
    def header(self) -> np.ndarray:
        return self.memory[: ot.TABLE_HEADER_BYTES].view(TABLE)[0]


@cache
def documented() -> dict[tuple[str, str], str]:
    """The docstring's first table: (state, event) -> next state; "-" is illegal, "same" stays."""
    return table_under("state ")


def table_under(title: str) -> dict[tuple[str, str], str]:
    """A table of the docstring: (row, column) -> cell."""
    lines = ot.__doc__.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith(title))
    columns = lines[head].removeprefix(title).split()
    cells = {}
    for line in lines[head + 2 :]:
        if line.startswith("=") or line.startswith("FILLED,"):
            break
        words = line.split()
        for event, cell in zip(columns, words[1:], strict=True):
            cells[words[0], event] = words[0] if cell == "same" else cell
    return cells


def wanted(state: str, event: str, change: str = "NOTHING", filled: int = 0) -> tuple[str, str]:
    """What an order is next, and what of it is under way then; "-": the event is not allowed."""
    target = documented().get((state, event), "-")
    if target == "-":
        return target, change
    column = "end" if event in ENDS else event
    after = table_under("under way ").get((change, column), "same")
    after = change if after == "same" else after
    if target == "RESTS":
        resting = "PARTIAL" if filled else "WORKING"
        target = {"NOTHING": resting, "A_REPLACE": "PENDING_REPLACE"}.get(after, "PENDING_CANCEL")
    return target, after


def test_docstring_documents_every_open_state_and_event():
    states = [STATE_NAMES[s] for s in sorted(OPEN)]
    assert set(documented()) == {(s, e) for s in states for e in EVENT_NAMES}
    assert {row for row, _ in table_under("under way ")} == set(ot.CHANGE_NAMES)


#: Every event with everything that may be under way before it.
EVENTS = [
    (event, change)
    for event, name in enumerate(EVENT_NAMES)
    for change in range(len(ot.CHANGE_NAMES))
    if name != "REPLACE_SENT" or change == ot.NOTHING
]


def test_no_replace_is_sent_while_another_change_is_under_way():
    """The table of what is under way has no answer for that: the states forbid it."""
    for state in ("PENDING_CANCEL", "PENDING_REPLACE", "UNKNOWN"):
        assert wanted(state, "REPLACE_SENT")[0] == "-"


@pytest.mark.parametrize("filled", [0, 5])
@pytest.mark.parametrize("event, change", EVENTS)
@pytest.mark.parametrize("state", range(len(STATE_NAMES)), ids=STATE_NAMES)
def test_every_pair_of_state_and_event_is_as_documented(state, event, filled, change):
    table = Table()
    slot = table.insert(1)
    row = table.row(slot)
    row["state"], row["filled"], row["under_way"] = state, filled, change
    target, after = wanted(STATE_NAMES[state], EVENT_NAMES[event], ot.CHANGE_NAMES[change], filled)
    moved = table.move(slot, event)
    assert moved == (target != "-")
    assert STATE_NAMES[row["state"]] == (target if moved else STATE_NAMES[state])
    assert ot.CHANGE_NAMES[row["under_way"]] == after
    assert table.header["illegal"] == (0 if moved else 1)
    assert table.header["n_open"] == (0 if moved and row["state"] in TERMINAL else 1)


@pytest.mark.parametrize("state", sorted(TERMINAL), ids=lambda s: STATE_NAMES[s])
def test_nothing_leaves_a_terminal_state(state):
    assert all(ot.TRANSITIONS[state, event] == ot.ILLEGAL for event in range(len(EVENT_NAMES)))


def test_every_open_state_can_reach_every_end_a_venue_can_report():
    for state in OPEN:
        for event, end in ((ot.ON_FILLED, ot.FILLED), (ot.ON_CANCELED, ot.CANCELED), (ot.ON_EXPIRED, ot.EXPIRED)):
            assert ot.TRANSITIONS[state, event] == end


@pytest.mark.parametrize("stride", [1, 16, 1 << 32, 0x9E3779B9])
def test_as_many_orders_as_slots_fit_whatever_their_ids_and_one_more_takes_nothing_away(stride):
    table = Table(512)
    ids = [1 + stride * number for number in range(512)]
    assert all(table.insert(id_) for id_ in ids)
    assert table.insert(7 + stride * 512) == 0
    assert sorted(table.open_ids()) == sorted(ids) and all(table.find(id_) for id_ in ids)


def test_0_is_no_id():
    table = Table()
    assert table.insert(0) == 0 and table.insert(5) and table.find(0) == 0 and table.find(6) == 0


def test_the_order_that_ended_first_gives_its_slot_up_first():
    table = Table(16)
    for id_ in range(1, 17):
        table.insert(id_, ts=100 - id_)
    for id_ in (3, 8, 5):
        table.move(table.find(id_), ot.ON_CANCELED)
    table.insert(99)
    assert (table.find(3), bool(table.find(8)), bool(table.find(5))) == (0, True, True)


def test_a_quarter_of_the_slots_remembers_ended_orders_and_no_more_memory_is_touched():
    table = Table(64)
    slots = set()
    for id_ in range(1, 1000):
        slots.add(table.insert(id_))
        table.move(table.find(id_), ot.ON_FILLED)
        assert [bool(table.find(old)) for old in (id_, max(id_ - 15, 0), max(id_ - 16, 0))] == [True, id_ > 15, False]
    assert len(slots) == 17


@pytest.mark.parametrize("capacity", [0, 8, 24, 17])
def test_capacity_that_is_no_power_of_two_is_refused(capacity):
    with pytest.raises(ValueError, match=str(capacity)):
        ot.table_bytes(capacity)


def test_what_may_still_fill_is_the_larger_of_two_quantities_and_nothing_of_an_order_that_has_ended():
    table = Table()
    row = table.row(table.insert(1))
    row["qty"], row["filled"], row["state"] = 10, 4, ot.WORKING
    assert (ot.remaining(row), ot.unfilled(row)) == (6, 6)
    row["state"], row["new_qty"] = ot.PENDING_REPLACE, 20
    assert ot.remaining(row) == 16
    row["state"], row["new_qty"] = ot.PENDING_CANCEL, 5
    assert ot.remaining(row) == 6
    row["state"] = ot.CANCELED
    assert (ot.remaining(row), ot.unfilled(row)) == (0, 6)
    row["filled"], row["state"] = 11, ot.UNKNOWN
    assert ot.remaining(row) == 0


class Orders(RuleBasedStateMachine):
    """Random inserts and events on the table and on a dict of id -> (state, filled)."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.twin, self.changes, self.illegal, self.ts = Table(), {}, {}, 0, 0

    @rule(id_=st.integers(1, 2**64 - 1))
    def insert(self, id_: int) -> None:
        if self.twin.get(id_, (0,))[0] in OPEN or self.table.find(id_):
            return
        self.ts += 1
        if self.table.insert(id_, self.ts):
            self.twin[id_], self.changes[id_] = (ot.PENDING_NEW, 0), "NOTHING"
        else:
            assert sum(state in OPEN for state, _ in self.twin.values()) == SLOTS

    @rule(pick=st.integers(0, 10**6), event=st.integers(0, len(EVENT_NAMES) - 1), fill=st.integers(0, 1))
    def move(self, pick: int, event: int, fill: int) -> None:
        known = [id_ for id_ in sorted(self.twin) if self.table.find(id_)]
        if not known:
            return
        id_ = known[pick % len(known)]
        state, filled = self.twin[id_]
        slot = self.table.find(id_)
        self.table.row(slot)["filled"] = filled = filled + fill
        target, self.changes[id_] = wanted(STATE_NAMES[state], EVENT_NAMES[event], self.changes[id_], filled)
        assert self.table.move(slot, event) == (target != "-")
        if target == "-":
            self.illegal += 1
            target = STATE_NAMES[state]
        self.twin[id_] = (STATE_NAMES.index(target), filled)

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        past = sorted(id_ for id_, (state, _) in self.twin.items() if state in TERMINAL and self.table.find(id_))
        if past:
            id_ = data.draw(st.sampled_from(past))
            ot.order_reopen(self.table.address, np.uint64(self.table.find(id_)))
            self.twin[id_] = (ot.UNKNOWN, self.twin[id_][1])

    @invariant()
    def same_orders(self) -> None:
        opened = sorted(id_ for id_, (state, _) in self.twin.items() if state in OPEN)
        assert sorted(self.table.open_ids()) == opened
        assert self.table.header["illegal"] == self.illegal
        for id_, (state, filled) in self.twin.items():
            slot = self.table.find(id_)
            assert slot or state in TERMINAL, "an open order is never lost"
            if slot:
                row = self.table.row(slot)
                assert (row["id"], row["state"], row["filled"]) == (id_, state, filled)
                assert ot.CHANGE_NAMES[row["under_way"]] == self.changes[id_]


@pytest.mark.parametrize("at", range(5))
def test_an_order_that_lives_after_all_is_open_again_and_the_others_are_forgotten_in_their_turn(at):
    table = Table()
    ids = [1, 2, 3, 4, 5]
    for id_ in ids:
        table.move(table.insert(id_), ot.ON_CANCELED)
    ot.order_reopen(table.address, np.uint64(table.find(ids[at])))
    assert table.open_ids() == [ids[at]] and table.row(table.find(ids[at]))["state"] == ot.UNKNOWN
    rest, gone = [id_ for id_ in ids if id_ != ids[at]], []
    for id_ in range(10, 10 + SLOTS):
        table.move(table.insert(id_), ot.ON_CANCELED)
        gone += [old for old in rest if old not in gone and not table.find(old)]
    assert gone == rest and table.find(ids[at]), "an open order is never forgotten"
    assert table.move(table.find(ids[at]), ot.ON_CANCELED)
    assert table.open_ids() == [] and table.header["ended"] == 5 + SLOTS


TestOrdersAgainstADict = Orders.TestCase
TestOrdersAgainstADict.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
