"""Tapes: nothing is dropped unsaid, and what is on them is enough to reproduce every output, whatever the scheduling."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned, record

from hftpipe.config import demo_overrides, load
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import call_step, store_i64, view
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.reasons import INTENT_STALE
from hftpipe.core.schema.records import ASK, BID, NEW, RECORD, REJECT, REPLACE, VALID
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES, ring_bytes
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.ring import ring_init, ring_peek, ring_pop
from hftpipe.core.shared.tape import (
    HALT_SEEN,
    PARAMS,
    PARAMS_BYTES_PER_RECORD,
    PARAMS_DATA,
    RING_FULL,
    TAPE_GAP,
    TOO_OLD_SEEN,
    TOP_SEEN,
    WITH_RECORD,
    tape_halt,
    tape_params,
    tape_record,
    tape_top,
)
from hftpipe.record.replay.compare import of_kinds
from hftpipe.record.replay.rebuild import build
from hftpipe.record.replay.verify import Verdict, render_verdict, verify
from hftpipe.strategy.compile.loader import LoadedStrategy, publish_params
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.graph import STAGE_KINDS as STAGES
from hftpipe.topology.pipeline import Pipeline

EPOCH, START_TS = 7, 1_700_000_000_000_000_000


def new_tape(capacity: int) -> np.ndarray:
    memory = aligned(ring_bytes(capacity))
    ring_init(memory, capacity)
    return memory


def take(tape: np.ndarray, limit: int = 1 << 30) -> np.ndarray:
    """Read up to ``limit`` records off a tape."""
    rows = []
    while len(rows) < limit and (at := int(ring_peek(address(tape)))):
        offset = at - tape.ctypes.data
        rows.append(tape[offset : offset + 64].view(RECORD)[0].copy())
        ring_pop(address(tape))
    return np.array(rows, RECORD)


# --- the tape itself -------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_every_record_offered_is_on_the_tape_or_counted_where_it_is_missing(turns: list[tuple[int, int]]) -> None:
    tape, source, offered = new_tape(8), record(RECORD), 0
    rows = [np.empty(0, RECORD)]
    for offer, read in turns:
        for _ in range(offer):
            source["id"], source["kind"] = offered, NEW
            tape_record(address(tape), address(source))
            offered += 1
        rows.append(take(tape, read))
    rows.append(take(tape))
    expected = 0
    for row in np.concatenate(rows):
        if row["kind"] == TAPE_GAP:
            expected += int(row["id"])
        else:
            assert int(row["id"]) == expected
            expected += 1
    header = tape[:RING_HEADER_BYTES].view(RING)
    assert expected + int(header["lost_pending"][0]) == offered


def test_nothing_happens_without_a_tape() -> None:
    source, top = record(RECORD), record(TOP_CELL)
    tape_record(np.uint64(0), address(source))
    tape_top(np.uint64(0), np.uint32(0), address(top), np.int64(0))
    tape_halt(np.uint64(0), np.int64(1))
    tape_params(np.uint64(0), np.int64(0), np.uint64(2), address(source), np.int64(64))


def test_a_top_of_book_is_a_bid_and_an_ask_that_are_never_separated() -> None:
    tape, top = new_tape(4), record(TOP_CELL)
    top["bid"], top["bid_qty"], top["ask"], top["ask_qty"] = 10, 1, 11, 2
    top["local_ts"], top["state"], top["update_id"] = 5, VALID, 99
    for now in (7, 8):
        tape_top(address(tape), np.uint32(3), address(top), np.int64(now))
    take(tape, 1)
    tape_top(address(tape), np.uint32(3), address(top), np.int64(9))
    rows = take(tape)
    assert [int(row["side"]) for row in rows] == [ASK, BID, ASK]
    assert [int(now) for now in rows["exchange_ts"]] == [7, 8, 8] and set(rows["local_ts"]) == {5}
    assert set(rows["kind"]) == {TOP_SEEN} and set(rows["flags"]) == {VALID} and set(rows["instrument"]) == {3}
    assert (int(rows[1]["price"]), int(rows[1]["qty"]), int(rows[2]["price"]), int(rows[2]["qty"])) == (10, 1, 11, 2)
    assert int(tape[:RING_HEADER_BYTES].view(RING)["lost"][0]) == 2


@pytest.mark.parametrize("size", [8, 48, 56, 512])
def test_parameters_come_off_the_tape_as_they_went_on(size: int) -> None:
    tape, source = new_tape(64), aligned(size)
    source[:] = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    tape_params(address(tape), np.int64(0), np.uint64(4), address(source), np.int64(size))
    rows = take(tape)
    pieces = -(-size // PARAMS_BYTES_PER_RECORD)
    assert (int(rows[0]["kind"]), int(rows[0]["id"]), int(rows[0]["qty"])) == (PARAMS, 4, size)
    assert len(rows) == pieces + 1 and (rows["kind"][1:] == PARAMS_DATA).all()
    data = rows[1:].copy().view(np.uint8).reshape(pieces, 64)[:, 8 : 8 + PARAMS_BYTES_PER_RECORD].reshape(-1)
    assert bytes(data[:size]) == bytes(source)


# --- enough to reproduce the outputs ---------------------------------------------------------------


@jit
def turn(step, state, now_ns):
    return call_step(step, state, now_ns)


STRATEGY = '''
from hftpipe.strategy import BUY, POST_ONLY, IOC, Price, Qty, SELL, OrderId, Strategy, param, state


class Restless(Strategy):
    """Sends, moves and takes back orders all the time; raises at the ``fails_at``-th book."""

    every: int = param(3, ge=1, le=1000)
    order_size: Qty = param("0.001", gt=0)
    fails_at: int = param(1000000000, ge=0)

    seen: int = state()
    last: OrderId = state()
    few: int = state(shape=4)

    def on_book(self, ctx, book):
        self.seen += 1
        if self.seen == self.fails_at:
            self.few[self.seen] = 1
        if self.seen % self.every == 0:
            if self.seen % 2 == 0:
                self.last = ctx.buy(book.bid, self.order_size, POST_ONLY)
            else:
                ctx.sell(book.bid, self.order_size, IOC)
        elif self.seen % self.every == 1 and self.last != 0:
            order = ctx.find(self.last)
            ctx.replace(self.last, order.price - ctx.tick(), self.order_size + ctx.lot())
        elif self.seen % self.every == 2 and self.last != 0:
            ctx.cancel(self.last)

    def on_fill(self, ctx, fill):
        if self.last != 0:
            ctx.cancel(self.last)
'''


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strategy") / "restless.py"
    path.write_text(STRATEGY)
    return path


class Rig:
    """A recording pipeline in this process, whose stages take turns by chance."""

    def __init__(self, spec: str, params: dict[str, Any], seed: int, **settings: Any) -> None:
        over = {
            "market.seed": seed, "market.speed": "max", "market.book_levels": 512, "market.window_records": 64,
            "risk.limits.default.orders_per_s": 100_000, "risk.limits.default.orders_per_min": 1_000_000,
            "record.folder": "here", "rings.tape": 65536, "strategy.name": spec,
        }  # fmt: skip
        #: Monotonic time, and the longest that passes from one turn to the next, ns.
        self.now, self.pace_ns = 1, 0
        self.config = load([], {}, {**demo_overrides(), **over, **settings})
        self.loaded: LoadedStrategy = load_strategy(spec, params)
        self.pipeline = Pipeline(self.config, [self.loaded], EPOCH, START_TS, PrivateSegment)  # type: ignore[arg-type]

    def turn(self, stage: str) -> int:
        one = self.pipeline.stages[stage]
        return int(turn(np.uint64(one.step), np.uint64(one.state), np.int64(self.now)))

    def run(self, turns: int, seed: int, disturb: Any = lambda turn: None) -> None:
        """Stages in random order, one of them often asleep for a while, so that rings fill and steps find many records."""
        dice, asleep = random.Random(seed), ""
        for number in range(turns):
            if dice.random() < 0.02:
                asleep = dice.choice([*STAGES, "", ""])
            disturb(number)
            self.now += dice.randrange(self.pace_ns + 1)
            stage = dice.choice(STAGES)
            if stage != asleep:
                self.turn(stage)

    def tapes(self) -> dict[str, np.ndarray]:
        return {
            stage: take(self.pipeline.segment.region(region)) for stage, region in self.pipeline.graph.tapes.items()
        }

    def replay(self, tapes: dict[str, np.ndarray], strategy: LoadedStrategy | None = None) -> Verdict:
        return verify(tapes, build(self.config, [strategy or self.loaded], EPOCH, START_TS))


def check_same(rig: Rig, tapes: dict[str, np.ndarray]) -> dict[str, int]:
    verdict = rig.replay(tapes)
    assert not verdict.differences, render_verdict(verdict)
    return verdict.counts


@settings(max_examples=12)
@given(seed=st.integers(1, 1 << 30))
def test_any_interleaving_of_the_stages_replays_identically(restless: Path, seed: int) -> None:
    rig = Rig(f"{restless}:Restless", {}, seed, **{"rings.orders": 8, "rings.updates": 8, "rings.market": 128})
    rig.run(3000, seed)
    counts = check_same(rig, rig.tapes())
    assert counts["market"] > 100 and counts["orders"] > 10


@pytest.mark.parametrize("seed", range(1, 7))
def test_what_was_refused_for_its_age_is_refused_again(restless: Path, seed: int) -> None:
    """A paced market, stages that sleep, and ages so short that books, intents and approved orders get too old."""
    limits = {"max_book_age_ms": 20, "max_intent_age_ms": 15}
    settings = {f"risk.limits.default.{name}": value for name, value in limits.items()}
    rig = Rig(f"{restless}:Restless", {"every": 2}, seed, **{"market.speed": "1", **settings})
    rig.pace_ns = 1_000_000
    for stage in ("risk", "gateway"):
        rig.pipeline.state(stage)["clock"] = 0
    rig.run(6000, seed)
    refused = {stage: rig.pipeline.state(stage)["rejects"][0] for stage in ("risk", "gateway")}
    assert refused["risk"][INTENT_STALE] > 0 and rig.pipeline.state("gateway")["sent"][0] > 0
    tapes = rig.tapes()
    assert (tapes["gateway"]["kind"] == TOO_OLD_SEEN).sum() == refused["gateway"][INTENT_STALE]
    seen = tapes["risk"][tapes["risk"]["kind"] == TOP_SEEN]
    assert (seen["exchange_ts"] > START_TS).all()
    check_same(rig, tapes)


def test_orders_refused_because_a_ring_was_full_are_refused_again(restless: Path) -> None:
    rig = Rig(f"{restless}:Restless", {"every": 1}, 3, **{"rings.orders": 8})
    rig.run(4000, 3, lambda number: rig.turn("strategy") or rig.turn("risk"))
    tapes = rig.tapes()
    assert int((tapes["risk"]["flags"][tapes["risk"]["kind"] == HALT_SEEN] & RING_FULL).sum()) > 0
    check_same(rig, tapes)


@settings(max_examples=12)
@given(seed=st.integers(1, 1 << 30))
def test_halts_at_any_moment_replay_identically(restless: Path, seed: int) -> None:
    rig, dice = Rig(f"{restless}:Restless", {}, seed), random.Random(seed)

    def disturb(number: int) -> None:
        if dice.random() < 0.02:
            set_halt(rig.pipeline.halt_cell(), dice.random() < 0.4, 3, 0)

    rig.run(3000, seed, disturb)
    tapes = rig.tapes()
    check_same(rig, tapes)


def test_a_halt_reaches_the_tapes_of_risk_and_gateway(restless: Path) -> None:
    rig = Rig(f"{restless}:Restless", {}, 5)
    rig.run(3000, 5, lambda number: set_halt(rig.pipeline.halt_cell(), number >= 1500, 3, 0))
    tapes = rig.tapes()
    assert (tapes["risk"]["kind"] == HALT_SEEN).sum() > 0
    stops = tapes["gateway"][tapes["gateway"]["kind"] == HALT_SEEN]
    assert [int(flags) for flags in stops["flags"] if not flags & WITH_RECORD] == [1]
    assert (tapes["strategy"]["kind"] == REJECT).sum() > 0
    check_same(rig, tapes)


#: A venue in front of the venue: with its ``left``-th request it halts the pipeline, two requests later no more.
HALTING = np.dtype(
    [("venue", "u8"), ("submit", "u8"), ("market", "u8"), ("poll", "u8"), ("halted", "u8"), ("left", "i8")]
)


@entry("int64(uint64, int64)")
def halting_submit(halting, request):
    h = view(halting, HALTING)
    h.left -= 1
    if h.left == 0 or h.left == -2:
        store_i64(h.halted, np.int64(h.left == 0))
    return call_step(h.submit, h.venue, request)


@entry("int64(uint64, int64)")
def halting_market(halting, market_record):
    h = view(halting, HALTING)
    return call_step(h.market, h.venue, market_record)


@entry("int64(uint64, int64)")
def halting_poll(halting, out):
    h = view(halting, HALTING)
    return call_step(h.poll, h.venue, out)


def test_a_halt_in_the_middle_of_a_step_replays_identically(restless: Path) -> None:
    seen = 0
    for left in (20, 21, 22, 23, 30, 41):
        rig, halting = Rig(f"{restless}:Restless", {"every": 1}, left), record(HALTING)
        state = rig.pipeline.state("gateway")
        for name in ("submit", "market", "poll"):
            halting[name], state[f"venue_{name}"] = state[f"venue_{name}"], globals()[f"halting_{name}"].address
        halting["venue"], halting["left"] = state["venue"], left
        halting["halted"] = rig.pipeline.address("halt") + 8
        state["venue"] = address(halting)
        rig.run(3000, left)
        tapes = rig.tapes()
        marks = tapes["gateway"]["flags"][tapes["gateway"]["kind"] == HALT_SEEN]
        seen += int((marks & WITH_RECORD > 0).sum())
        check_same(rig, tapes)
    assert seen > 0


def test_changed_parameters_replay_identically(restless: Path) -> None:
    rig = Rig(f"{restless}:Restless", {}, 8)

    def disturb(number: int) -> None:
        if number in (700, 1400, 1401, 2200):
            publish_params(rig.pipeline.segment.region("strategy.params"), rig.loaded, {"every": 2 + number % 5})

    rig.run(3000, 8, disturb)
    tapes = rig.tapes()
    assert (tapes["strategy"]["kind"] == PARAMS).sum() >= 3
    check_same(rig, tapes)
    without = {**tapes, "strategy": tapes["strategy"][tapes["strategy"]["kind"] < PARAMS]}
    assert rig.replay(without).differences


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_strategy_that_raises_replays_identically(restless: Path, seed: int) -> None:
    rig = Rig(f"{restless}:Restless", {"fails_at": 150, "every": 5}, seed)
    rig.run(3000, seed)
    assert rig.pipeline.seat_rows()["failed"][0] != 0
    check_same(rig, rig.tapes())


def test_the_tapes_hold_every_record_of_every_ring_that_was_read(restless: Path) -> None:
    rig = Rig(f"{restless}:Restless", {}, 9)
    rig.run(2500, 9)
    tapes, segment = rig.tapes(), rig.pipeline.segment
    read = {name: int(segment.record(f"ring.{name}", RING)["next_out"][0]) for name in ("market", "sim", "intents",
            "orders", "reports", "updates")}  # fmt: skip
    market, requests, answers = (1, 15), (NEW, REPLACE), (32, 79)
    counts = {
        "market": len(of_kinds(tapes["strategy"], market)), "sim": len(of_kinds(tapes["gateway"], market)),
        "intents": len(of_kinds(tapes["risk"], requests)), "orders": len(of_kinds(tapes["gateway"], requests)),
        "reports": len(of_kinds(tapes["risk"], answers)), "updates": len(of_kinds(tapes["strategy"], answers)),
    }  # fmt: skip
    assert counts == read
    published = int(segment.record("ring.market", RING)["next_in"][0])
    assert len(tapes["market_data"]) == published


@pytest.mark.parametrize(("stage", "kinds", "ring"), [
    ("strategy", (1, 15), "market"), ("risk", (NEW, REPLACE), "intents"), ("gateway", (NEW, REPLACE), "orders"),
    ("risk", (32, 79), "reports"), ("strategy", (32, 79), "updates"),
])  # fmt: skip
def test_one_changed_record_on_any_tape_is_found_with_its_context(
    restless: Path, stage: str, kinds: tuple[int, int], ring: str
) -> None:
    rig = Rig(f"{restless}:Restless", {}, 11)
    rig.run(2500, 11)
    tapes = rig.tapes()
    places = of_kinds(tapes[stage], kinds)
    number = len(places) // 2
    tapes[stage]["qty"][places[number]] += 1_000_000
    text = render_verdict(rig.replay(tapes))
    assert text.startswith("DIFFERENT") and f"{ring}[{number}]" in text
    assert f"    {stage}[{places[number]}] " in text and f"    {stage}[{places[number] - 1}] " in text


def test_another_parameter_is_found_to_be_another_run(restless: Path) -> None:
    rig = Rig(f"{restless}:Restless", {}, 12)
    rig.run(2500, 12)
    other = load_strategy(f"{restless}:Restless", {"order_size": "0.002"})
    verdict = rig.replay(rig.tapes(), other)
    assert verdict.differences[0].flow.ring == "intents" and "fields: qty" in render_verdict(verdict)
