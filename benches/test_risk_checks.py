"""The pre-trade checks: all of them on one intent, and a whole step of the risk stage around them.

::

    intent ──▶ 30 checks ──▶ verdict                                             "all checks"
    intents ring ──▶ step: top of book, 30 checks, table, exposure, rates ──▶ orders ring    "risk step"

Every intent is different (8 instruments, both sides, every type, NEW and REPLACE, price and quantity) and all of
them pass, so that every check runs. Figures include one pair of time-stamp reads. Every verdict is checked.
"""

import itertools

import numpy as np
import pytest
from conftest import Report
from harness import cpus, percentiles, pin

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, rdtsc, rdtscp, store_i64, view
from hftpipe.core.schema.cells import CELL_BYTES, HALT_CELL, TOP_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.halts import halts_bytes
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, CANCELED, MARKET, NEW, POST_ONLY, RECORD, REPLACE, TIF_NAMES, VALID
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.shared.event_time import EVENT_TIME, REAL_TIME_MULT
from hftpipe.core.shared.ring import ring_init, ring_peek, ring_pop, ring_push
from hftpipe.core.trading.order_table import ORDER, WORKING, table_bytes, table_init
from hftpipe.risk.checks import evaluate
from hftpipe.risk.context import CONTEXT
from hftpipe.risk.crossing import TOUCH
from hftpipe.risk.desks import DESK
from hftpipe.risk.limits import LIMITS
from hftpipe.risk.losses import LOSS
from hftpipe.risk.rate import RATE
from hftpipe.risk.repeats import REPEATS, REPEATS_BYTES
from hftpipe.risk.stage import step
from hftpipe.risk.standings import STANDING
from hftpipe.risk.state import LANE, STATE
from hftpipe.risk.worth import TOTAL, WORTH

E8, NOW = 10**8, 1_700_000_000 * 10**9
TICK, LOT = E8 // 100, 1000
INTENTS, INSTRUMENTS, PASSES, SLOTS = 4096, 8, 50, 4096
BAR_NS = 150.0
CONTEXT_BYTES, RECORD_BYTES = CONTEXT.itemsize, 64


def memory(n_bytes: int) -> np.ndarray:
    """Zeroed, touched bytes on a multiple of 128."""
    raw = np.empty(n_bytes + 128, np.uint8)
    raw.fill(0)
    at = -raw.ctypes.data % 128
    return raw[at : at + n_bytes]


def rows(dtype: np.dtype, count: int) -> np.ndarray:
    return memory(dtype.itemsize * count).view(dtype)


def base(array: np.ndarray) -> np.uint64:
    return np.uint64(array.ctypes.data)


class World:
    """What the checks look at, with limits nobody reaches."""

    def __init__(self) -> None:
        self.instruments, self.limits = rows(INSTRUMENT, INSTRUMENTS), rows(LIMITS, INSTRUMENTS)
        self.positions, self.rates = rows(POSITION, INSTRUMENTS), rows(RATE, INSTRUMENTS)
        self.tops, self.desks = rows(TOP_CELL, INSTRUMENTS), rows(DESK, 1)
        self.instruments["tick"], self.instruments["lot"], self.instruments["min_notional"] = TICK, LOT, 5 * E8
        for name in ("max_order_qty", "max_market_qty"):
            self.limits[name] = 10 * E8
        self.limits["max_order_notional"], self.limits["max_position"] = 10**6 * E8, 10**6 * E8
        self.limits["collar_e8"], self.limits["post_only_collar_e8"] = E8 // 100, E8 // 200
        self.limits["max_book_age_ns"] = self.limits["max_intent_age_ns"] = 2 * 10**9
        self.limits["orders_per_s"], self.limits["orders_per_min"] = 10**9, 10**9
        mids = (100 + 50 * np.arange(INSTRUMENTS)) * E8
        self.tops["bid"], self.tops["ask"] = mids - TICK, mids + TICK
        self.tops["local_ts"], self.tops["state"] = NOW, VALID
        self._controls()
        self.intents, self.orders = rows(RECORD, INTENTS), rows(ORDER, INTENTS)
        self._fill_intents(mids)

    def _controls(self) -> None:
        """Every control of the whole run at work: sums of the run, the venue and the strategy, bounds, repetitions, executions."""
        self.worths, self.own_worths = rows(WORTH, INSTRUMENTS), rows(WORTH, INSTRUMENTS)
        self.totals, self.losses, self.standings = rows(TOTAL, 3), rows(LOSS, 1), rows(STANDING, INSTRUMENTS)
        self.repeats, self.touches = memory(REPEATS_BYTES), rows(TOUCH, INSTRUMENTS)
        self.totals["max_gross"] = 10**9 * E8
        self.losses["max_daily_loss"] = self.losses["max_drawdown"] = 10**6 * E8
        self.losses["slice_ns"] = 60 * 10**9
        self.standings["is_allowed"], self.standings["most"] = 1, 10**9
        self.repeats[: REPEATS.itemsize].view(REPEATS)["window_ns"] = 1000
        self.touches["lowest_sell"] = 2**63 - 1

    def _fill_intents(self, mids: np.ndarray) -> None:
        rng = np.random.default_rng(1)
        types = itertools.cycle(itertools.product(TIF_NAMES, (NEW, NEW, REPLACE), (0, 1)))
        for r, order, (tif, kind, side) in zip(self.intents, self.orders, types):
            r["instrument"] = rng.integers(INSTRUMENTS)
            reach = 400 if tif == POST_ONLY else 900
            away = int(mids[r["instrument"]]) * int(rng.integers(-reach, reach)) // 100_000 // TICK * TICK
            r["price"] = 0 if tif == MARKET else int(mids[r["instrument"]]) + away
            r["qty"], r["local_ts"] = int(rng.integers(100, 5000)) * 1000 * LOT // 10, NOW + int(rng.integers(10**6))
            r["kind"], r["side"], r["flags"] = kind, side, tif
            order["qty"] = order["user"] = r["qty"] // 2
            order["instrument"], order["side"], order["flags"], order["state"] = r["instrument"], side, tif, WORKING
        self.intents["id"] = 1 + rng.permutation(INTENTS)

    def contexts(self) -> np.ndarray:
        made = rows(CONTEXT, INTENTS)
        at = self.intents["instrument"].astype(np.uint64)
        for name, table in (
            ("instrument", self.instruments), ("limits", self.limits), ("position", self.positions),
            ("rates", self.rates), ("top", self.tops),
        ):  # fmt: skip
            made[name] = base(table) + at * np.uint64(table.dtype.itemsize)
        made["desk"], made["own"] = base(self.desks), made["position"]
        for name, table in (
            ("worth", self.worths), ("own_worth", self.own_worths), ("standing", self.standings), ("touch", self.touches),
        ):  # fmt: skip
            made[name] = base(table) + at * np.uint64(table.dtype.itemsize)
        for index, name in enumerate(("run_total", "venue_total", "desk_total")):
            made[name] = base(self.totals) + np.uint64(index * TOTAL.itemsize)
        made["repeats"] = base(self.repeats)
        index = np.arange(INTENTS, dtype=np.uint64)
        made["intent"] = base(self.intents) + index * np.uint64(RECORD_BYTES)
        orders = base(self.orders) + index * np.uint64(ORDER.itemsize)
        made["order"] = np.where(self.intents["kind"] == REPLACE, orders, 0)
        made["known"], made["now"] = 1, self.intents["local_ts"] + 1000
        return made


@jit
def time_checks(contexts, count, samples):
    """Ticks of each verdict into int64 ``samples``; returns how many were refused."""
    refused = 0
    for index in range(count):
        start = rdtsc()
        reason = evaluate(contexts + U64(index) * U64(CONTEXT_BYTES))
        end = rdtscp()
        refused += 1 if reason != 0 else 0
        store_i64(samples + U64(8) * U64(index), np.int64(end - start))
    return refused


@jit
def time_steps(state, intents, count, samples):
    """Ticks of the step that takes each intent; the venue cancels every order at once. Returns how many were sent."""
    s, sent = view(state, STATE), 0
    lane = view(s.lanes, LANE)
    for index in range(count):
        intent = intents + U64(index) * U64(RECORD_BYTES)
        ring_push(s.intents, intent)
        start = rdtsc()
        step(state, np.int64(0))
        end = rdtscp()
        store_i64(samples + U64(8) * U64(index), np.int64(end - start))
        slot = ring_peek(lane.orders)
        if slot != ZERO:
            sent += 1
            view(slot, RECORD).kind = CANCELED
            ring_push(lane.reports, slot)
            ring_pop(lane.orders)
        step(state, np.int64(0))
        while ring_peek(s.updates) != ZERO:
            ring_pop(s.updates)
    return sent


@pytest.fixture
def ns_per_tick() -> float:
    """Pins this process for the length of one bench."""
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    pin(cpus(1)[0])
    return float(clock["ns_per_tick"][0])


def test_all_checks_on_one_intent(report: Report, ns_per_tick: float) -> None:
    world = World()
    contexts, samples = world.contexts(), np.zeros((PASSES, INTENTS), np.int64)
    samples.fill(0)
    for row in range(-5, PASSES):
        refused = time_checks(base(contexts), np.int64(INTENTS), np.uint64(samples[max(row, 0)].ctypes.data))
        assert refused == 0
    figures = percentiles(samples.ravel() * ns_per_tick)
    report.row(
        bench="risk", what="all checks, one intent", **figures, bar=f"p50 <= {BAR_NS:g} ns", ok=figures["p50"] <= BAR_NS
    )


def wired(world: World, keep: list[np.ndarray]) -> np.ndarray:
    """A STATE around ``world``; ``keep`` holds the memory it points to."""
    state, lane = rows(STATE, 1), rows(LANE, 1)
    keep.append(lane)
    for name in ("intents", "orders", "reports", "updates"):
        keep.append(memory(ring_bytes(64)))
        ring_init(keep[-1], 64)
        (lane if name in ("orders", "reports") else state)[name] = base(keep[-1])
    for name in ("h_strategy_to_risk", "h_risk", "h_tick_to_risk"):
        keep.append(memory(HIST_BYTES))
        state[name] = base(keep[-1])
    keep.append(memory(halts_bytes(INSTRUMENTS)))
    state["halts"] = base(keep[-1])
    keep += [memory(CELL_BYTES).view(HALT_CELL), rows(EVENT_TIME, 1), rows(CLOCK, 1), memory(table_bytes(SLOTS))]
    state["halt"], lane["time"], state["clock"], state["table"] = map(base, keep[-4:])
    state["lanes"], state["n_lanes"] = base(lane), 1
    # Event time that stands still a millisecond after the tops: the clock is read, and nothing gets old.
    keep[-3]["mult"], keep[-3]["mono_ns"], keep[-3]["event_ts"] = REAL_TIME_MULT, 2**62, NOW + 10**6
    table_init(keep[-1], SLOTS)
    for name in ("tops", "instruments", "limits", "positions", "rates", "desks", "worths", "totals", "losses",
                 "standings", "repeats", "touches"):  # fmt: skip
        state[name] = base(getattr(world, name))
    state["n_instruments"], state["n_desks"], state["n_quotes"] = INSTRUMENTS, 1, 1
    return state


def test_risk_step_of_one_intent(report: Report, ns_per_tick: float) -> None:
    world, keep, samples = World(), [], np.zeros((PASSES, INTENTS), np.int64)
    samples.fill(0)
    world.intents["kind"] = NEW
    state = wired(world, keep)
    for row in range(-5, PASSES):
        # Ids are never used twice.
        world.intents["id"] += np.uint64(INTENTS)
        # Each a microsecond after the one before: none is a repetition.
        world.intents["local_ts"] = NOW + 10**6 + 1000 * ((row + 5) * INTENTS + np.arange(INTENTS))
        sent = time_steps(
            base(state), base(world.intents), np.int64(INTENTS), np.uint64(samples[max(row, 0)].ctypes.data)
        )
        assert sent == INTENTS
    assert not state["rejects"].any()
    assert world.positions["working_buy"].sum() + world.positions["working_sell"].sum() == 0
    report.row(bench="risk", what="risk step, one intent (ring to ring)", **percentiles(samples.ravel() * ns_per_tick))


def test_intents_are_varied() -> None:
    intents = World().intents
    assert {int(t) for t in intents["flags"]} == set(TIF_NAMES)
    assert len(np.unique(intents["price"])) > 100
    assert BUY in intents["side"]
