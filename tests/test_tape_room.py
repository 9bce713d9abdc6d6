"""Every ring tiny, then full, while recording: what a stage did for want of room it does again in the replay."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned, record
from test_tape import Rig, check_same, new_tape, take

from hftpipe.core.machine.jit import jit
from hftpipe.core.schema.ring import RING, ring_bytes
from hftpipe.core.shared.ring import ring_init
from hftpipe.core.shared.tape import INTENTS_FULL
from hftpipe.strategy.room import FROM_RING, FROM_RUNS, ROOM, RUNS, ring_is_full, room_done

STRATEGY = '''from hftpipe.strategy import IOC, POST_ONLY, OrderId, Qty, Strategy, param, state


class Greedy(Strategy):
    """Asks for far more than there is room for, and does different things when it does not get it."""

    order_size: Qty = param("0.001", gt=0)
    fails_at: int = param(1000000000, ge=0)

    seen: int = state()
    last: OrderId = state()
    few: int = state(shape=4)

    def on_book(self, ctx, book):
        self.seen += 1
        if self.seen == self.fails_at:
            self.few[self.seen] = 1
        for number in range(4):
            given = ctx.buy(book.bid - number * ctx.tick(), self.order_size, POST_ONLY)
            if given != 0:
                self.last = given
            else:
                ctx.cancel(self.last)
        if self.seen % 3 == 0:
            ctx.cancel_all()
        if not ctx.is_open(self.last):
            ctx.sell(book.bid, self.order_size, IOC)

    def on_fill(self, ctx, fill):
        if ctx.cancel_all() == 0:
            ctx.sell(fill.price, self.order_size, IOC)
'''


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("strategy") / "greedy.py"
    path.write_text(STRATEGY)
    return f"{path}:Greedy"


@settings(max_examples=10)
@given(
    seed=st.integers(1, 1 << 30), small=st.sampled_from(["intents", "orders", "updates", "reports", "market", "sim"])
)
def test_a_tiny_ring_that_runs_full_replays_identically(greedy: str, seed: int, small: str) -> None:
    # What is refused for want of room is on the tape, too: a greedy strategy fills one of the usual size.
    rig = Rig(greedy, {}, seed, **{f"rings.{small}": 64 if small in ("market", "sim") else 8, "rings.tape": 1 << 18})
    rig.run(3000, seed)
    check_same(rig, rig.tapes())


@settings(max_examples=10)
@given(seed=st.integers(1, 1 << 30))
def test_what_the_strategy_did_for_want_of_room_for_intents_it_does_again(greedy: str, seed: int) -> None:
    rig = Rig(greedy, {}, seed, **{"rings.intents": 8, "rings.tape": 1 << 18})
    rig.run(3000, seed)
    tapes = rig.tapes()
    assert (tapes["strategy"]["kind"] == INTENTS_FULL).sum() > 10
    assert check_same(rig, tapes)["intents"] > 100


def test_a_strategy_that_has_failed_finds_the_same_room_for_its_cancels(greedy: str) -> None:
    for seed in range(1, 6):
        rig = Rig(greedy, {"fails_at": 60}, seed, **{"rings.intents": 8, "rings.tape": 1 << 18})
        rig.run(3000, seed)
        tapes = rig.tapes()
        assert rig.pipeline.seat_rows()["failed"][0] != 0
        check_same(rig, tapes)


# --- the room itself -------------------------------------------------------------------------------


@jit
def ask(room, ring, count):
    return ring_is_full(room, ring, count)


def drained(room: np.ndarray) -> np.ndarray:
    """What one record's questions leave on the tape."""
    tape = new_tape(128)
    room_done(address(room), address(tape))
    return take(tape)


@given(st.lists(st.booleans(), max_size=200))
def test_the_runs_say_what_the_ring_said_and_no_more_than_fit_are_kept(answers: list[bool]) -> None:
    room, ring, again = record(ROOM), aligned(ring_bytes(8)), record(ROOM)
    ring_init(ring, 8)
    header = ring[:192].view(RING)[0]
    said = []
    for is_full in answers:
        header["next_in"] = 8 if is_full else 0
        header["known_out"] = header["next_out"] = 0
        said.append(bool(ask(address(room), address(ring), np.int64(1))))
    runs = drained(room)
    assert len(runs) <= RUNS and room["source"][0] == FROM_RING and room["asked"][0] == 0
    if len(runs) < RUNS:
        assert said == answers
    again["source"], again["runs"] = FROM_RUNS, len(runs)
    again["first"][0, : len(runs)], again["count"][0, : len(runs)] = runs["id"], runs["qty"]
    header["next_in"] = 0
    assert [bool(ask(address(again), address(ring), np.int64(1))) for _ in answers] == said
