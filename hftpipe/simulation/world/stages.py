"""One run of the pipeline in one thread: memory, time, the schedule, and who is asked after every step.

The memory is what ``hftpipe.topology.pipeline`` lays out, the steps are the compiled ones of the stages; simulated time, the order
of the steps, the markets and the venues' boundaries (``port``) are the world's own.
"""

import random
import zlib
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_step
from hftpipe.core.schema.cells import STOPPING, TOP_CELL
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import CANCEL, NEW, RECORD, REPLACE, VALID
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.ring import ring_push
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK_HEADER_BYTES
from hftpipe.simulation.world.checkers import controls
from hftpipe.simulation.world.checkers import rules as checkers
from hftpipe.simulation.world.checkers.book import STATE, BookChecker
from hftpipe.simulation.world.checkers.desks import DeskChecker, OwnLimitChecker, OwnRateChecker
from hftpipe.simulation.world.checkers.halt import HaltChecker
from hftpipe.simulation.world.checkers.journal import JournalChecker
from hftpipe.simulation.world.checkers.liveness import LivenessChecker
from hftpipe.simulation.world.checkers.rings import RingChecker, RingMirror, mirrors_of
from hftpipe.simulation.world.checkers.taken import TakenChecker
from hftpipe.simulation.world.checkers.time import AgeChecker, RateChecker
from hftpipe.simulation.world.checkers.venues import VenueChecker
from hftpipe.simulation.world.own_port import OwnPort
from hftpipe.simulation.world.plan import FEED, NO_CONTROLS, Plan
from hftpipe.simulation.world.port import Port
from hftpipe.simulation.world.scopes import OPERATOR, STAGE_DIED, Halts, Scope
from hftpipe.simulation.world.supervising import Supervising
from hftpipe.simulation.world.truth import Account, Fields
from hftpipe.simulation.world.words import WORD_BYTES, words_of
from hftpipe.strategy.compile.loader import LoadedStrategy, load, publish_params
from hftpipe.strategy.params import resolve
from hftpipe.topology.graph import STAGE_KINDS, VENUE_KINDS, kind_of
from hftpipe.topology.pipeline import Pipeline

START_NS = 1_700_000_000 * 10**9
#: Simulated time within which everything must have settled once faults end: stricter than the 10 s of I15.
SETTLE_NS = 2 * 10**9
SETTLE_STEP_NS = 100_000
#: A dead stage is noticed after so many scheduler steps.
HEARTBEAT_STEPS = 100
#: While a stage stands still for long, the others step so often.
NAP_STEP_NS = 10**7
SPECS = {"hostile": f"{Path(__file__).with_name('strategies.py')}:Hostile", "market_making": "market_making"}


@jit
def step_once(function, state, now_ns):
    return call_step(U64(function), U64(state), now_ns)


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
        latched: the same of parts.
    """

    def __init__(
        self,
        plan: Plan,
        mutant: Any = None,
        epoch: int = 1,
        used_ids: frozenset[int] = frozenset(),
        is_latched: bool = False,
        latched: Collection[Scope] = (),
    ) -> None:
        self.plan, self.mutant = plan, mutant
        self.rng = random.Random(f"world {plan.seed} {epoch}")
        # The venue's own changes and refusals: drawn apart, so that they disturb no other draw.
        self._venue_rng = random.Random(f"venue {plan.seed} {epoch}")
        self.now, self.step_count = START_NS + epoch * 10**12, 0
        self.dead, self.is_death_known, self.unsettled = "", False, ""
        #: Who was to have an order accepted in the end, and had none.
        self.unproven: list[Any] = []
        #: Whether everything was halted for a reason that outlives the run.
        self.is_latched = False
        self.sent_now: list[Fields] = []
        self._regions: dict[str, np.ndarray] = {}
        self._states: dict[str, np.ndarray] = {}
        self.strategies = [_with_params(one.kind, one.params) for one in plan.strategies]
        # Private: a campaign that is ended by a signal leaves nothing in /dev/shm.
        self.pipeline = Pipeline(plan.config, self.strategies, epoch, self.now, PrivateSegment, calibrate_once)
        self.stages = self.pipeline.graph.stages
        self._kinds = {stage: kind_of(stage) for stage in self.stages}
        self._stalled = dict.fromkeys(self.stages, 0)
        self._garbage_id, self._supervising = 0, Supervising(self)
        self._wire(used_ids)
        self._runners = {name: (stage.step, stage.state) for name, stage in self.pipeline.stages.items()}
        self._watch()
        if is_latched:
            self.halt(STAGE_DIED)
        for kind, index in latched:
            self.halt_scope(kind, index, STAGE_DIED)
        if mutant is not None:
            mutant.start(self)

    def _wire(self, used_ids: frozenset[int]) -> None:
        pipeline, plan = self.pipeline, self.plan
        # Who looks at the clock sees simulated time.
        pipeline.state("risk")["clock"] = 0
        kind = OwnPort if plan.venue else Port
        self.ports = [kind(pipeline, place, plan, self.rng, used_ids, self.now) for place in pipeline.venues]
        if not plan.is_paper:
            pipeline.play_freely()
        #: The venue of a stage, and of an instrument.
        self.port_of = {stage: port for port in self.ports for stage in port.stages}
        self.port_at = [port for port in self.ports for _ in port.ids]
        self.truth = Account([port.truth for port in self.ports])
        self.lines = [line for port in self.ports for line in port.feed.lines]
        self.halts = Halts(pipeline)

    def _watch(self) -> None:
        """Find what is looked at after every step, and make those who look."""
        plan, graph = self.plan, self.pipeline.graph
        self.rings = mirrors_of(graph, self.region)
        self._by_kind: dict[str, list[RingMirror]] = {}
        for spec in graph.rings:
            self._by_kind.setdefault(spec.kind, []).append(self.rings[spec.name])
        at = int(self.state("strategy")["books"][0]) - self.pipeline.address("strategy.books")
        #: Their addresses, an instrument.
        self._book_table = words_of(self.region("strategy.books")[at : at + WORD_BYTES * len(plan.instruments)])
        #: Headers of the strategies' books as words, an instrument.
        self.strategy_books = [words_of(self.header_of(index)) for index in range(len(plan.instruments))]
        #: How often on_book was called, an instrument, by each strategy that counts it.
        self.on_book_calls = [
            words_of(self._self_of(index)["books"])
            for index, one in enumerate(plan.strategies)
            if one.kind == "hostile"
        ]
        self.tops = self.region("tops").view(TOP_CELL)
        # Of the market of a venue with its own feed nothing is known.
        market = (BookChecker, TakenChecker) if self.lines else ()
        more = (JournalChecker, HaltChecker, AgeChecker, RateChecker, *market, LivenessChecker)
        several = (VenueChecker,) if plan.venues else ()
        more += controls.ALL if plan.config.controls != NO_CONTROLS else ()
        desks = (OwnLimitChecker, DeskChecker, OwnRateChecker) if len(plan.strategies) > 1 else ()
        self._ring_checker = RingChecker(self)
        others = [make(self) for make in (*several, *desks, *checkers.ALL, *more)]
        self.checkers = [self._ring_checker, *others]
        look, stages = checkers.that_look_at, self.stages
        self._before = {stage: look(self.checkers, "before", stage) for stage in stages}
        #: Those that look after a step (the rings come first), and those of them that do if it has moved no record.
        self._after = {stage: look(others, "after", stage) for stage in stages}
        seeing = [checker for checker in others if not checker.hears_rings]
        self._after_nothing = {stage: look(seeing, "after", stage) for stage in stages}
        self._checks = checkers.that_look(self.checkers, "check")

    def _self_of(self, index: int) -> np.void:
        dtype = self.strategies[index].dtype
        memory = self.region(self.pipeline.of_strategy("self", index))
        record: np.void = memory[: dtype.itemsize].view(dtype)[0]
        return record

    # What checkers read.

    def region(self, name: str) -> np.ndarray:
        """Bytes of a region."""
        if name not in self._regions:
            self._regions[name] = self.pipeline.segment.region(name)
        return self._regions[name]

    def state(self, stage: str) -> np.ndarray:
        """A stage's STATE (array of length 1)."""
        if stage not in self._states:
            self._states[stage] = self.pipeline.state(stage)
        return self._states[stage]

    def states(self, kind: str) -> dict[str, np.ndarray]:
        """The STATE of each stage of a kind, by its name."""
        return {stage: self.state(stage) for stage in self.pipeline.graph.each(kind)}

    def rings_of(self, kind: str) -> list[RingMirror]:
        """The rings of a kind: of those at venues one each."""
        return self._by_kind[kind]

    def tables(self, kind: str) -> dict[str, np.ndarray]:
        """The order tables of strategies, risk or gateways, by the names of their regions."""
        if kind == "strategy":
            names = [self.pipeline.of_strategy("table", index) for index in range(len(self.strategies))]
        else:
            names = [port.at("gateway.table") for port in self.ports] if kind == "gateway" else ["risk.table"]
        return {name: self.region(name) for name in names}

    def positions(self) -> dict[str, np.ndarray]:
        """The POSITION rows that strategies keep, by the names of their regions, in the strategies' order."""
        names = [self.pipeline.of_strategy("positions", index) for index in range(len(self.strategies))]
        return {name: self.region(name).view(POSITION) for name in names}

    def strategy_book_address(self, index: int) -> np.uint64:
        """Address of the strategies' book of an instrument."""
        return np.uint64(self._book_table[index])

    def header_of(self, index: int) -> np.ndarray:
        """The strategies' book of an instrument, without its levels."""
        at = int(self.strategy_book_address(index)) - self.pipeline.address("strategy.books")
        header: np.ndarray = self.region("strategy.books")[at : at + BOOK_HEADER_BYTES]
        return header

    def book_state(self, index: int) -> int:
        """State of the strategies' book of an instrument."""
        state: int = self.strategy_books[index][STATE]
        return state

    @property
    def is_halted(self) -> bool:
        """Whether everything is."""
        return self.halts.all_since != 0

    def is_served(self, port: Port) -> bool:
        """Whether both stages of a venue live."""
        return self.dead not in port.stages

    def can_cancel(self, port: Port) -> bool:
        """Whether cancels are sent and carried out; a paper venue stands still when its reports do."""
        kind = kind_of(self.dead)
        if kind in VENUE_KINDS:
            return self.dead != port.gateway
        return not self.dead or not self.plan.is_paper

    def reports_arrive(self, port: Port) -> bool:
        """Whether every report of a venue still reaches risk and strategies."""
        return not self.dead or (kind_of(self.dead) in VENUE_KINDS and self.dead != port.gateway)

    # Time and scheduling.

    def run_stage(self, stage: str) -> None:
        """One step of one stage, with everything that watches it."""
        for before in self._before[stage]:
            before(stage)
        kind = self._kinds[stage]
        if self.mutant is not None:
            self.mutant.before(self, kind)
        step, state = self._runners[stage]
        code = step_once(step, state, self.now)
        if code == SERVICE and kind == "market_data":
            self.port_of[stage].serve(self.now)
        if stage == "strategy" and self.rng.random() < self.plan.stages.garbage and not self.unsettled:
            self._push_garbage()
        if self.mutant is not None:
            self.mutant.after(self, kind)
        self._ring_checker.after(stage)
        for after in (self._after if self._ring_checker.noted else self._after_nothing)[stage]:
            after(stage)
        self._observe()
        if kind == "risk":
            self._supervising.look()
        if kind == "gateway" and self.plan.stages.shrink and not self.unsettled:
            self._shrink_some(self.port_of[stage])

    def _observe(self) -> None:
        now, is_news, sent = self.now, False, list[Fields]()
        for port in self.ports:
            venue = port.venue
            if venue.is_still(now):
                continue
            if venue.has_news():
                is_news = True
                sent += venue.observe(now)
            venue.collect(now)
            venue.deliver(now)
        self.sent_now = sent
        if is_news:
            for check in self._checks:
                check()

    def advance(self, ns: int) -> None:
        """Let simulated time pass: the markets move, connections deliver."""
        self.now += ns
        for port in self.ports:
            port.advance(self.now)
        self._observe()

    def halt(self, cause: int) -> None:
        """Halt everything, as the supervisor or an operator does."""
        self.halts.halt(cause, self.now)
        self.is_latched = self.is_latched or cause != STOPPING
        self._refuse_some_cancels(self.ports)

    def halt_scope(self, kind: str, index: int, cause: int) -> None:
        """Halt a venue, strategy or instrument; with cause 0 it trades again."""
        self.halts.set_scope(kind, index, cause, self.now)
        if cause:
            self._refuse_some_cancels(self.ports)

    def _refuse_some_cancels(self, ports: list[Port]) -> None:
        if self.plan.stages.refuse_cancels:
            for port in ports:
                port.venue.refuse_cancels(self._venue_rng.randint(1, 3))

    def notice_death(self) -> None:
        """What the supervisor does: of a venue's stage only that venue is halted, and nobody waits for it any more."""
        self.is_death_known = True
        if not self.plan.venues or self.dead not in self.port_of:
            self.halt(STAGE_DIED)
            return
        port = self.port_of[self.dead]
        self.halt_scope("venue", port.index, STAGE_DIED)
        if self.dead == port.market:
            self.pipeline.status(self.dead)["finished"] = 1
        else:
            self.pipeline.set_dead(True, port.index)

    # Phases.

    def disturb(self) -> None:
        """The faults, for the plan's number of steps."""
        plan, rng = self.plan, self.rng
        # Of many books one is nearly always lost again.
        self.run_until(self.books_are_valid, self.now + SETTLE_NS // len(self.ports) ** 2)
        of_kind = dict(zip(STAGE_KINDS, plan.weights, strict=True))
        self.step_count, weights = 0, list(accumulate(of_kind[self._kinds[stage]] for stage in self.stages))
        for _ in range(plan.steps):
            self.step_count += 1
            self.advance(int(rng.expovariate(1.0 / plan.mean_step_ns)))
            self._begin_faults()
            (stage,) = rng.choices(self.stages, cum_weights=weights)
            if stage != self.dead and self._stalled[stage] < self.step_count:
                self.run_stage(stage)
            for step, sleeper, ns in plan.naps:
                if step == self.step_count:
                    self._nap(sleeper, ns)

    def _nap(self, sleeper: str, ns: int) -> None:
        """A kind of stage, ("") all of them, or the FEED is still while the market goes on."""
        if sleeper == FEED:
            for port in self.ports:
                port.feed.be_silent_until(self.now + ns)
        for _ in range(ns // NAP_STEP_NS):
            self.advance(NAP_STEP_NS)
            for stage in self.stages if sleeper else ():
                if stage != self.dead and self._kinds[stage] != sleeper:
                    self.run_stage(stage)

    def _some_port(self, rng: random.Random) -> Port:
        return rng.choice(self.ports) if len(self.ports) > 1 else self.ports[0]

    def _begin_faults(self) -> None:
        faults, rng, step = self.plan.stages, self.rng, self.step_count
        if rng.random() < faults.stall:
            self._stalled[rng.choice(self.stages)] = step + rng.randrange(faults.stall_steps)
        if rng.random() < faults.reject:
            self._some_port(rng).venue.refuse(rng.randrange(20))
        if rng.random() < faults.busy:
            self._some_port(rng).busy_until = step + rng.randrange(100)
        if self._venue_rng.random() < faults.refuse_cancels:
            self._some_port(self._venue_rng).venue.refuse_cancels(self._venue_rng.randint(1, 3))
        for port in self.ports:
            port.venue.be_busy(step < port.busy_until)
        self._begin_halts()

    def _begin_halts(self) -> None:
        plan, step = self.plan, self.step_count
        for one in plan.scope_halts:
            if step == one.step:
                self.halt_scope(one.kind, one.index, OPERATOR)
            if step == one.until:
                self.halt_scope(one.kind, one.index, 0)
        if step == plan.dies_at:
            self.dead = plan.dies
        if step == plan.halt_at:
            self.halt(OPERATOR)
        if self.dead and step == plan.dies_at + HEARTBEAT_STEPS:
            self.notice_death()

    def _shrink_some(self, port: Port) -> None:
        """The venue changes orders of its own accord, mostly those for which a replace is on its way to it."""
        replaced = [request.id for request in self.sent_now if request.kind == REPLACE]
        for order in port.truth.open_orders():
            chance = self.plan.stages.shrink * (10 if order.id in replaced else 0.1)
            if order.is_accepted and self._venue_rng.random() < chance:
                port.venue.shrink(order.id, order.instrument)

    def _push_garbage(self) -> None:
        """An intent with at least one thing wrong, under an id of its own."""
        rng, item, count = self.rng, np.zeros(1, RECORD), len(self.plan.instruments)
        self._garbage_id += 1
        item["id"], item["kind"] = (0xEE << 48) + self._garbage_id, rng.choice((NEW, NEW, REPLACE, CANCEL))
        item["price"], item["qty"] = 60_000 * 10**8, 10**6
        item["local_ts"], item["instrument"] = self.now, rng.randrange(count)
        wrong = rng.randrange(8)
        field, value = (
            ("kind", rng.choice((0, 1, 15, 19, 32, 48, 255))), ("instrument", rng.choice((count, 64, 2**32 - 1))),
            ("side", rng.randint(2, 255)), ("flags", rng.choice((5, 6, 7, 16, 64, 128, 255))),
            ("qty", rng.choice((0, -1, -(2**63), 2**63 - 1, 10**6 + 1))), ("price", rng.choice((0, -1, 2**63 - 1, -(2**63)))),
            ("local_ts", -1), ("kind", rng.choice((REPLACE, CANCEL))),
        )[wrong]  # fmt: skip
        item[field] = value
        ring_push(np.uint64(self.pipeline.address("ring.intents")), np.uint64(item.ctypes.data))

    def set_params(self, strategy: int, **params: int) -> None:
        """Change parameters of a strategy."""
        region = self.region(self.pipeline.of_strategy("params", strategy))
        publish_params(region, self.strategies[strategy], params)

    def run_until(self, done: Callable[[], bool], deadline: int, step_ns: int = SETTLE_STEP_NS) -> None:
        """Step all stages in turn until ``done()`` or the deadline."""
        while self.now < deadline:
            self.step_count += 1
            self.advance(step_ns)
            for stage in self.stages:
                if stage != self.dead:
                    self.run_stage(stage)
            if done():
                return

    def books_are_valid(self) -> bool:
        """Whether all books of venues that are served are."""
        served = [port for port in self.ports if self.is_served(port)]
        is_known = all(self.strategy_books[index][STATE] == VALID for port in served for index in port.ids)
        return is_known and all(port.tops_are_valid() for port in served)

    def digest(self) -> int:
        """One number over every record of every ring and what the venues did."""
        parts = [ring.digest for ring in self.rings.values()]
        parts += [balance.qty + balance.fees for balance in self.truth.balances]
        return zlib.crc32(repr(parts).encode())
