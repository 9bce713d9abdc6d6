"""One run of the pipeline in one thread: memory, time, the schedule, and who is asked after every step.

The memory is what ``hftpipe.topology.pipeline`` lays out, the steps are the compiled ones of the stages; simulated time, the order
of the steps, the market (``world_feed``) and the venue's boundary (``world_venue``) are the world's own.
"""

import random
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.schema.cells import STOPPING, TOP_CELL
from hftpipe.core.schema.records import CANCEL, NEW, RECORD, REPLACE, VALID
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.ring import ring_push
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES
from hftpipe.core.trading.order_table import TABLE
from hftpipe.simulation.world.checkers import rules as checkers
from hftpipe.simulation.world.checkers.book import BookChecker
from hftpipe.simulation.world.checkers.halt import HaltChecker
from hftpipe.simulation.world.checkers.rules import RingMirror
from hftpipe.simulation.world.checkers.taken import TakenChecker
from hftpipe.simulation.world.checkers.time import AgeChecker, RateChecker
from hftpipe.simulation.world.feed import Feed
from hftpipe.simulation.world.plan import FEED, Plan
from hftpipe.simulation.world.strategies import PROBE, WITHDRAW
from hftpipe.simulation.world.truth import Fields, Truth
from hftpipe.simulation.world.venue import Venue, market_entry, poll_entry, submit_entry
from hftpipe.strategy.compile.loader import LoadedStrategy, load, publish_params
from hftpipe.strategy.params import resolve
from hftpipe.topology.graph import RINGS, STAGES
from hftpipe.topology.pipeline import Pipeline
from hftpipe.venues.binance.fallback import decode
from hftpipe.venues.binance.sync import SYNC, sync_bytes
from hftpipe.venues.taped.state import NEED_CHUNK, NEED_DECODE, TEXT

START_NS = 1_700_000_000 * 10**9
#: Simulated time within which everything must have settled once faults end: stricter than the 10 s of I15.
SETTLE_NS = 2 * 10**9
SETTLE_STEP_NS = 100_000
#: A dead stage is noticed after so many scheduler steps.
HEARTBEAT_STEPS = 100
#: While a stage stands still for long, the others step so often.
NAP_STEP_NS = 10**7
SPECS = {"hostile": f"{Path(__file__).with_name('strategies.py')}:Hostile", "market_making": "market_making"}
_HALT_STAGE_DIED, _HALT_OPERATOR = 1, 3


@jit
def _step(function, state, now_ns):
    return call_step(function, state, now_ns)


@cache
def loaded_strategy(name: str) -> LoadedStrategy:
    return load(SPECS[name])


def _with_params(name: str, params: dict[str, Any]) -> LoadedStrategy:
    loaded = loaded_strategy(name)
    initial = loaded.initial.copy()
    for key, value in resolve(loaded.schema, params, f"strategy {name}").items():
        initial[key] = value
    return replace(loaded, initial=initial)


class World:
    """One run of the pipeline.

    Args:
        plan: what the seed drew.
        mutant: a planted bug (:mod:`hftpipe.simulation.world.mutants`), or None.
        epoch: run number, part of every client id; used_ids: those of earlier runs.
        is_latched: the run before was halted and nobody has cleared it: this one is halted before its first step.
    """

    def __init__(
        self,
        plan: Plan,
        mutant: Any = None,
        epoch: int = 1,
        used_ids: frozenset[int] = frozenset(),
        is_latched: bool = False,
    ) -> None:
        self.plan, self.mutant = plan, mutant
        self.rng = random.Random(f"world {plan.seed} {epoch}")
        # The venue's own changes and refusals: drawn apart, so that they disturb no other draw.
        self._venue_rng = random.Random(f"venue {plan.seed} {epoch}")
        self.now, self.step_count = START_NS + epoch * 10**12, 0
        self.is_halted, self.dead, self.unsettled, self.accepted_since_faults = False, "", "", 0
        self.sent_now: list[Fields] = []
        self._regions: dict[str, np.ndarray] = {}
        self._states: dict[str, np.ndarray] = {}
        self.loaded = _with_params(plan.strategy, plan.params)
        # Private: a campaign that is ended by a signal leaves nothing in /dev/shm.
        self.pipeline = Pipeline(plan.config, self.loaded, epoch, self.now, PrivateSegment, calibrate_once)
        self.truth = Truth(len(plan.instruments), used_ids)
        self._stalled = dict.fromkeys(STAGES, 0)
        self._busy_until, self._garbage_id = 0, 0
        self._text = np.zeros(1, np.uint8)
        self._wire()
        self.rings = {
            spec.name: RingMirror(spec.name, spec.writer, spec.reader, self.region(f"ring.{spec.name}"))
            for spec in RINGS
        }
        self._books = [self._header_of(index) for index in range(len(plan.instruments))]
        counted = self.region("strategy.self")[: self.loaded.dtype.itemsize].view(self.loaded.dtype)[0]
        self._on_book_calls = counted["books"] if plan.strategy == "hostile" else None
        syncs = self.region("market.syncs")
        self._syncs = [syncs[i * sync_bytes() :][: SYNC.itemsize].view(SYNC) for i in range(len(self.feed.lines))]
        self.tops = self.region("tops").view(TOP_CELL)
        more = (HaltChecker, AgeChecker, RateChecker, BookChecker, TakenChecker, checkers.LivenessChecker)
        self.checkers = [make(self) for make in (*checkers.ALL, *more)]
        self._before, self._after = (
            checkers.that_look(self.checkers, "before"),
            checkers.that_look(self.checkers, "after"),
        )
        if is_latched:
            self.halt(_HALT_STAGE_DIED)
        if mutant is not None:
            mutant.start(self)

    def _wire(self) -> None:
        pipeline, plan = self.pipeline, self.plan
        exchange = self.region("exchange")
        self.venue = Venue(exchange, self.truth, self.rng, plan.reports)
        gateway = pipeline.state("gateway")
        gateway["venue"], gateway["venue_submit"] = self.venue.address, submit_entry.address
        gateway["venue_market"], gateway["venue_poll"] = market_entry.address, poll_entry.address
        # Who looks at the clock sees simulated time.
        for stage in ("risk", "gateway"):
            pipeline.state(stage)["clock"] = 0
        if not plan.is_paper:
            for stage, field in (
                ("market_data", "sim"),
                ("gateway", "sim"),
                ("gateway", "progress"),
                ("risk", "market"),
            ):
                pipeline.state(stage)[field] = 0
        symbols = [(item.symbol, item.venue == "binance_usdm") for item in plan.instruments]
        self.feed = Feed(
            pipeline.instruments,
            symbols,
            self.rng,
            plan.seed,
            plan.rate_per_s,
            self.now,
            plan.batch,
            plan.tickers,
            plan.feed,
        )
        if not plan.is_paper:
            self.feed.introduce(self.venue, self.now)
        self._symbols = {item.symbol: index for index, item in enumerate(plan.instruments)}

    # What checkers read.

    def region(self, name: str) -> np.ndarray:
        """Bytes of a region; the strategy's own are called ``strategy.*``."""
        if name not in self._regions:
            self._regions[name] = self.pipeline.segment.region(name)
        return self._regions[name]

    def state(self, stage: str) -> np.ndarray:
        """A stage's STATE (array of length 1)."""
        if stage not in self._states:
            self._states[stage] = self.pipeline.state(stage)
        return self._states[stage]

    def strategy_book_address(self, index: int) -> np.uint64:
        """Address of the strategy's book of an instrument."""
        ctx = self.state("strategy")["ctx"]
        return np.uint64(int(ctx["books"][0]) + index * int(ctx["book_stride"][0]))

    def strategy_book(self, index: int) -> Any:
        """Header of the strategy's book of an instrument."""
        return self._books[index]

    def _header_of(self, index: int) -> Any:
        at = int(self.strategy_book_address(index)) - self.pipeline.address("strategy.books")
        return self.region("strategy.books")[at : at + BOOK_HEADER_BYTES].view(BOOK)[0]

    def book_state(self, index: int) -> int:
        """State of the strategy's book of an instrument."""
        return int(self.strategy_book(index)["state"])

    def on_book_calls(self) -> np.ndarray | None:
        """How often on_book was called, an instrument, if the strategy counts it."""
        return self._on_book_calls

    @property
    def can_cancel(self) -> bool:
        """Whether cancels are sent and carried out; the paper venue stands still when its reports do."""
        return not self.dead or (self.dead != "gateway" and not self.plan.is_paper) or self.dead == "market_data"

    @property
    def reports_arrive(self) -> bool:
        """Whether every report still reaches risk and strategy."""
        return not self.dead or self.dead == "market_data"

    # Time and scheduling.

    def run_stage(self, stage: str) -> None:
        """One step of one stage, with everything that watches it."""
        for before in self._before:
            before(stage)
        if self.mutant is not None:
            self.mutant.before(self, stage)
        runner = self.pipeline.stages[stage]
        code = int(_step(np.uint64(runner.step), np.uint64(runner.state), np.int64(self.now)))
        if code == SERVICE:
            self._serve()
        if stage == "strategy" and self.rng.random() < self.plan.stages.garbage and not self.unsettled:
            self._push_garbage()
        if self.mutant is not None:
            self.mutant.after(self, stage)
        for after in self._after:
            after(stage)
        self._observe()
        if stage == "gateway" and self.plan.stages.shrink and not self.unsettled:
            self._shrink_some()

    def _observe(self) -> None:
        is_news = self.venue.has_news()
        self.sent_now = self.venue.observe(self.now)
        self.venue.collect(self.now)
        self.venue.deliver(self.now)
        if is_news:
            for checker in self.checkers:
                checker.check()

    def _serve(self) -> None:
        """What the market-data process does in Python: bring text, decode what the scanner passes on."""
        state = self.region("market.source").view(TEXT)
        need = int(state["need"][0])
        if need == NEED_CHUNK:
            text = self.feed.take(self.now)
            if text:
                self._text = np.frombuffer(text, np.uint8)
                state["text_at"] = self._text.ctypes.data
                state["text_end"] = self._text.ctypes.data + len(text)
        elif need == NEED_DECODE:
            base = self._text.ctypes.data
            line = self._text[int(state["json_at"][0]) - base : int(state["json_end"][0]) - base].tobytes()
            reason = decode(line, self._symbols, self.region("market.message"))
            state["message_ready"] = 1 if reason is None else -1

    def advance(self, ns: int) -> None:
        """Let simulated time pass: the market moves, connections deliver."""
        self.now += ns
        self.feed.run_to(self.now, None if self.plan.is_paper else self.venue)
        if not self.plan.is_paper:
            self.venue.advance(self.now)
        self.feed.ask_for_snapshots([bool(sync["loaded"][0]) for sync in self._syncs], self.now)
        self._observe()

    def halt(self, cause: int) -> None:
        """Set the halt cell, as the supervisor or an operator does."""
        set_halt(self.pipeline.halt_cell(), True, cause, self.now)
        self.is_halted = True
        if self.plan.stages.refuse_cancels:
            self.venue.state["refuse_cancels"] = self._venue_rng.randint(1, 3)

    # Phases.

    def disturb(self) -> None:
        """The faults, for the plan's number of steps."""
        plan, rng = self.plan, self.rng
        self._run_until(self._books_are_valid, self.now + SETTLE_NS)
        self.step_count = 0
        for _ in range(plan.steps):
            self.step_count += 1
            self.advance(int(rng.expovariate(1.0 / plan.mean_step_ns)))
            self._begin_faults()
            (stage,) = rng.choices(STAGES, plan.weights)
            if stage != self.dead and self._stalled[stage] < self.step_count:
                self.run_stage(stage)
            for step, sleeper, ns in plan.naps:
                if step == self.step_count:
                    self._nap(sleeper, ns)

    def _nap(self, sleeper: str, ns: int) -> None:
        """A stage, ("") all of them, or the FEED is still while the market goes on."""
        if sleeper == FEED:
            self.feed.be_silent_until(self.now + ns)
        for _ in range(ns // NAP_STEP_NS):
            self.advance(NAP_STEP_NS)
            for stage in STAGES if sleeper else ():
                if stage not in (sleeper, self.dead):
                    self.run_stage(stage)

    def _begin_faults(self) -> None:
        faults, rng, step = self.plan.stages, self.rng, self.step_count
        if rng.random() < faults.stall:
            self._stalled[rng.choice(STAGES)] = step + rng.randrange(faults.stall_steps)
        if rng.random() < faults.reject:
            self.venue.state["reject"] = rng.randrange(20)
        if rng.random() < faults.busy:
            self._busy_until = step + rng.randrange(100)
        if self._venue_rng.random() < faults.refuse_cancels:
            self.venue.state["refuse_cancels"] = self._venue_rng.randint(1, 3)
        self.venue.state["busy"] = int(step < self._busy_until)
        if step == self.plan.dies_at:
            self.dead = self.plan.dies
        if step == self.plan.halt_at:
            self.halt(_HALT_OPERATOR)
        if self.dead and step == self.plan.dies_at + HEARTBEAT_STEPS:
            self.halt(_HALT_STAGE_DIED)

    def _shrink_some(self) -> None:
        """The venue changes orders of its own accord, mostly those for which a replace is on its way to it."""
        replaced = [request.id for request in self.sent_now if request.kind == REPLACE]
        for order in self.truth.open_orders():
            chance = self.plan.stages.shrink * (10 if order.id in replaced else 0.1)
            if order.is_accepted and self._venue_rng.random() < chance:
                self.venue.shrink(order.id, order.instrument)

    def _push_garbage(self) -> None:
        """An intent with at least one thing wrong, under an id of its own."""
        rng, item = self.rng, np.zeros(1, RECORD)
        self._garbage_id += 1
        item["id"], item["kind"] = (0xEE << 48) + self._garbage_id, rng.choice((NEW, NEW, REPLACE, CANCEL))
        item["price"], item["qty"] = 60_000 * 10**8, 10**6
        item["local_ts"], item["instrument"] = self.now, rng.randrange(len(self.plan.instruments))
        wrong = rng.randrange(8)
        field, value = (
            ("kind", rng.choice((0, 1, 15, 19, 32, 48, 255))), ("instrument", rng.choice((2, 64, 2**32 - 1))),
            ("side", rng.randint(2, 255)), ("flags", rng.choice((5, 6, 7, 16, 64, 128, 255))),
            ("qty", rng.choice((0, -1, -(2**63), 2**63 - 1, 10**6 + 1))), ("price", rng.choice((0, -1, 2**63 - 1, -(2**63)))),
            ("local_ts", -1), ("kind", rng.choice((REPLACE, CANCEL))),
        )[wrong]  # fmt: skip
        item[field] = value
        ring_push(np.uint64(self.pipeline.address("ring.intents")), np.uint64(item.ctypes.data))

    def settle(self) -> None:
        """Faults off; everything must come to rest, after which the checkers look once more."""
        if self.dead and not self.is_halted:
            self.halt(_HALT_STAGE_DIED)
        self.feed.end_faults()
        self.venue.end_faults()
        accepted = self.truth.accepted
        self.unsettled = "books"
        deadline = self.now + SETTLE_NS
        if not self.is_halted:
            self._run_until(self._books_are_valid, deadline)
            self._trade(accepted, deadline)
        self.unsettled = "orders"
        # A time of its own: the halt may have come at the end of the time before.
        self._run_until(self._is_quiet, self.now + SETTLE_NS)
        if self._is_quiet():
            self.unsettled = ""
        for checker in self.checkers:
            checker.end()

    def _trade(self, accepted: int, deadline: int) -> None:
        """Show that trading is possible again, then withdraw."""
        if self.plan.strategy == "hostile":
            self._mode(WITHDRAW)
            self._run_until(self._is_quiet, deadline)
            self._mode(PROBE)
        self.unsettled = "trading"
        self._run_until(lambda: self.truth.accepted > accepted or bool(self.truth.open_orders()), deadline)
        self.accepted_since_faults = self.truth.accepted - accepted + len(self.truth.open_orders())
        if self.plan.strategy == "hostile":
            self._mode(WITHDRAW)
        else:
            self.halt(STOPPING)

    def _mode(self, mode: int) -> None:
        publish_params(self.region("strategy.params"), self.loaded, {"mode": mode})

    def _run_until(self, done: Any, deadline: int) -> None:
        """Step all stages in turn until ``done()`` or the deadline."""
        while self.now < deadline:
            self.step_count += 1
            self.advance(SETTLE_STEP_NS)
            for stage in STAGES:
                if stage != self.dead:
                    self.run_stage(stage)
            if done():
                return

    def _books_are_valid(self) -> bool:
        states = [self.book_state(index) for index in range(len(self.feed.lines))]
        return all(state == VALID for state in (*states, *self.tops["state"]))

    def _is_quiet(self) -> bool:
        """No order open anywhere, nothing under way between the stages and the venue."""
        if not self.can_cancel:
            return True
        if self.truth.open_orders():
            return False
        if not self.reports_arrive:
            return True
        if not self.venue.is_quiet():
            return False
        if not self.is_halted and not self._books_are_valid():
            return False
        tables = (self.region(f"{name}.table").view(np.uint8)[: TABLE.itemsize].view(TABLE) for name in STAGES[1:])
        return not any(table["n_open"][0] for table in tables) and not any(
            ring.unread for name, ring in self.rings.items() if name not in ("market", "sim")
        )

    def digest(self) -> int:
        """One number over every record of every ring and what the venue did."""
        parts = [ring.digest for ring in self.rings.values()]
        parts += [balance.qty + balance.fees for balance in self.truth.balances]
        return zlib.crc32(repr(parts).encode())
