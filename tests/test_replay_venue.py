"""A gateway whose venue's answers are on its tape replays to the last report, whatever the venue did."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address
from risk_rig import NOW, new_ring, pop_all
from test_gateway_stage import GatewayRig, fake_unanswered_entry

from hftpipe.config import Config, load
from hftpipe.core.schema.cells import ORPHAN_FILL
from hftpipe.core.schema.records import (
    ACK,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    NEW,
    RECORD,
    REJECT,
    REPLACE,
    REPLACED,
    VENUE_FAULT,
)
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.tape import HALT_CANCEL, HALT_SEEN, NO_ANSWER_SEEN, TOO_OLD_SEEN, VENUE_BUSY_SEEN
from hftpipe.core.trading import order_table
from hftpipe.record.replay.compare import first_difference
from hftpipe.record.replay.rebuild import build
from hftpipe.record.replay.rig import StageReplay
from hftpipe.record.tape.format import RecordError
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.compile.loader import load as load_strategy

COUNTERS = (
    "sent", "cancels_sent", "replaces_sent", "halt_cancels", "acks", "replaced", "fills", "canceled", "expired", "rejected",
    "cancel_rejects", "late_fills", "duplicate_fills", "unknown_reports", "illegal", "unbookable_fills", "wrong_prices", "unanswered",
    "orphan_fills", "overfills", "wrong_terms", "tripped", "trip_cause", "fault_id",
)  # fmt: skip


@cache
def fixed() -> tuple[Config, LoadedStrategy]:
    return load([], {}, {"market.book_levels": 64}), load_strategy("market_making")


class Recorded(GatewayRig):
    """A gateway with a tape and a venue that is not simulated here; reports are collected as the next stage reads them."""

    def __init__(self) -> None:
        super().__init__(reports=8)
        self.tape_ring, self.out = new_ring(4096), []
        self.state["sim"], self.state["tape"] = 0, address(self.tape_ring)
        self.state["venue_unanswered"] = fake_unanswered_entry.address

    def drain(self) -> None:
        self.out += pop_all(self.reports)

    def tape(self) -> np.ndarray:
        """What is on the tape, taken off."""
        return np.array(pop_all(self.tape_ring), RECORD)

    def halt_cell(self, is_halted: bool) -> None:
        set_halt(self.halt, is_halted, 3, NOW)

    def replayed(self) -> tuple[StageReplay, np.ndarray, np.ndarray]:
        """The replay from the tape, the recorded reports, and the tape."""
        self.drain()
        tape, reports = self.tape(), np.array(self.out, RECORD)
        config, strategy = fixed()
        stage = StageReplay(build(config, [strategy], 1, 0), "gateway", tape, {"reports": len(reports)}, is_paper=False)
        stage.run()
        return stage, reports, tape


def check(rig: Recorded) -> np.ndarray:
    """The replay is the recording in every report, counter and order; the tape."""
    stage, reports, tape = rig.replayed()
    assert len(stage.records["reports"]) == len(reports)
    assert first_difference(reports, stage.records["reports"]) == -1
    replayed = stage._pipeline.state("gateway")[0]
    assert {name: int(replayed[name]) for name in COUNTERS} == {name: rig.count(name) for name in COUNTERS}
    memory = stage._pipeline.segment.region("gateway.table")
    for id_ in range(1, 9):
        slot = int(order_table.order_find(np.uint64(memory.ctypes.data), np.uint64(id_)))
        at = slot - memory.ctypes.data
        state = memory[at : at + order_table.ORDER.itemsize].view(order_table.ORDER)[0]["state"] if slot else None
        assert (order_table.STATE_NAMES[state] if slot else "unknown") == rig.state_of(id_)
    return tape


def answer(kind: int, id_: int, number: int, qty: int) -> dict[str, Any]:
    fields = {"kind": kind, "id": id_, "qty": qty}
    if kind == FILL:
        fields["trade_id"] = number
    if kind == VENUE_FAULT:
        fields["flags"] = ORPHAN_FILL
    return fields


IDS, KINDS = st.integers(1, 8), [ACK, ACK, FILL, FILL, REPLACED, CANCELED, EXPIRED, REJECT, CANCEL_REJECT]
NUMBERS = st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1])
ACTIONS = st.one_of(
    st.tuples(st.just("order"), st.sampled_from([NEW, NEW, NEW, CANCEL, REPLACE]), IDS),
    st.tuples(st.just("answer"), st.sampled_from(KINDS), IDS, NUMBERS, st.integers(1, 3)),
    st.tuples(st.just("fault")),
    st.tuples(st.just("busy"), st.booleans()),
    st.tuples(st.just("silent"), IDS),
    st.tuples(st.just("halt"), st.booleans()),
    st.tuples(st.just("late")),
    st.tuples(st.just("drain")),
    st.tuples(st.just("step")),
    st.tuples(st.just("step")),
)


def act(rig: Recorded, what: str, *args: Any) -> None:
    if what == "order":
        rig.order(kind=args[0], id=args[1], qty=2)
    elif what == "answer":
        rig.answer(**answer(*args))
    elif what == "fault":
        rig.answer(**answer(VENUE_FAULT, 9, 0, 1))
    elif what in ("busy", "silent"):
        rig.fake["busy" if what == "busy" else "silent_id"] = int(args[0])
    elif what == "halt":
        rig.halt_cell(args[0])
    elif what == "late":
        rig.run_clock()
        rig.step(NOW + 2 * 10**9)
        rig.time["mult"] = 0
    else:
        rig.drain() if what == "drain" else rig.step()


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=80))
def test_whatever_a_venue_did_the_gateway_replays_it(actions):
    rig = Recorded()
    for action in actions:
        act(rig, *action)
    rig.step()
    check(rig)


def day() -> Recorded:
    """Busy, numbered fills (one of them twice), no answer, a halt that takes two steps to cancel everything."""
    rig = Recorded()
    for id_ in (1, 2, 3):
        rig.order(id=id_, qty=9)
    rig.step()
    for number in (2**63 + 7, 2**63 + 7, 8):
        rig.answer(**answer(FILL, 1, number, 2))
    rig.step()
    rig.drain()
    rig.fake["busy"] = 1
    rig.order(id=4)
    rig.fake["silent_id"] = 3
    rig.step()
    rig.halt_cell(True)
    rig.step()
    rig.fake["busy"] = 0
    rig.order(id=5)
    rig.step()
    rig.step()
    rig.drain()
    # Trading again: what is still open is not cancelled once more.
    rig.halt_cell(False)
    rig.order(id=6)
    act(rig, "late")
    return rig


def test_each_thing_a_venue_can_do_is_on_the_tape_and_comes_back():
    tape = check(day())
    assert {VENUE_BUSY_SEEN, NO_ANSWER_SEEN, HALT_SEEN, HALT_CANCEL, TOO_OLD_SEEN, FILL} <= set(tape["kind"].tolist())


@pytest.mark.parametrize("kind", [VENUE_BUSY_SEEN, NO_ANSWER_SEEN, HALT_CANCEL, TOO_OLD_SEEN, FILL])
def test_an_answer_taken_off_the_tape_is_missed(kind, monkeypatch):
    rig = day()
    whole = rig.tape()
    monkeypatch.setattr(rig, "tape", lambda: np.delete(whole, np.flatnonzero(whole["kind"] == kind)[0]))
    with pytest.raises((AssertionError, RecordError)):
        check(rig)
