"""Reads everything a running pipeline shows of itself; never writes, never waits, takes no lock.

Works on the supervisor's own segment and on one attached read-only (``hftpipe top``). Counters are read one by one
while the stages go on, so two of them may be a few events apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import CELL_BYTES, HALT_CAUSES, HALT_CELL, TOP_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.counters import FAULT, NOTICE
from hftpipe.core.schema.fault import read_fault
from hftpipe.core.schema.histogram import Summary, summarize
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.reasons import NAMES, RACES
from hftpipe.core.schema.records import BOOK_STATE_NAMES, VALID
from hftpipe.core.schema.ring import RING
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.shm import Segment
from hftpipe.monitor.pnl import average_price, captured, inventory, unrealised
from hftpipe.topology.graph import HOPS, RINGS, STAGES, TAPES

_TRIES = 100


@dataclass(frozen=True)
class InstrumentView:
    """One instrument at this moment; prices, quantities and money in 1e-8 units.

    ``mid`` is the last one known (0: none yet). ``captured + inventory == realised + unrealised``, to the last unit.
    """

    symbol: str
    state: str
    bid: int
    bid_qty: int
    ask: int
    ask_qty: int
    mid: int
    qty: int
    average: int
    realised: int
    unrealised: int
    captured: int
    inventory: int
    fees: int
    taker_fees: int
    fills: int
    taker_fills: int
    turnover: int
    working_buy: int
    working_sell: int


@dataclass(frozen=True)
class Snapshot:
    """One look at a pipeline.

    Attributes:
        tsc: when, on the time-stamp counter; ``ns_per_tick`` converts.
        counters: declared counters by part; ``kinds`` says of each (part, name) what it is.
        rejects: actions refused by the strategy stage, risk, the gateway or the venue, by reason name; without the races.
        races: changes and post-only orders that the market or a fill outran (:data:`hftpipe.core.schema.reasons.RACES`).
        latency: histogram summaries (ns) by hop.
        rings: depth, capacity and refused pushes by ring.
        tapes: records dropped by tape; empty when nothing is recorded.
        status: loops, work and heartbeat age (ns) by stage.
        instruments: one view each.
        halted: None, or the cause.
        strategy_fault: None, or what a hook raised: ``hook file line exception message count dropped``.
    """

    tsc: int
    ns_per_tick: float
    skew_ns: float
    skew_bound_ns: float
    counters: dict[str, dict[str, int]]
    kinds: dict[tuple[str, str], str]
    rejects: dict[str, int]
    races: dict[str, int]
    latency: dict[str, Summary]
    rings: dict[str, dict[str, int]]
    tapes: dict[str, int]
    status: dict[str, dict[str, float]]
    instruments: list[InstrumentView]
    halted: str | None
    strategy_fault: dict[str, Any] | None


def _counters(segment: Segment) -> dict[str, dict[str, int]]:
    """Every declared counter, by part."""
    found: dict[str, dict[str, int]] = {}
    for scope, name, _, _, region, offset, lanes in segment.meta["counters"]:
        words = segment.region(region)[offset : offset + 8 * lanes].view(np.int64)
        found.setdefault(scope, {})[name] = int(words.sum())
    return found


def _refused(segment: Segment) -> dict[str, np.ndarray]:
    """Refusals by stage, each an array indexed by reason code."""
    return {
        stage: segment.region(region)[offset : offset + 8 * count].view(np.int64)
        for stage, (region, offset, count) in segment.meta["refusals"].items()
    }


def _by_reason(refused: dict[str, np.ndarray], are_races: bool) -> dict[str, int]:
    """The refusals that are races, or those that are not, summed over the stages."""
    total: dict[str, int] = {}
    for stage, counts in refused.items():
        for code in np.flatnonzero(counts).tolist():
            if (code in RACES[stage]) == are_races:
                name = NAMES.get(code, f"code_{code}")
                total[name] = total.get(name, 0) + int(counts[code])
    return total


def _read_cell(cell: np.ndarray) -> np.ndarray:
    """A consistent copy of a seqlock cell (the last try wins if its writer never pauses)."""
    copy = cell.copy()
    for _ in range(_TRIES):
        before = int(cell["version"][0])
        copy = cell.copy()
        if before % 2 == 0 and int(cell["version"][0]) == before:
            break
    return copy


def _instrument(segment: Segment, symbol: str, index: int) -> InstrumentView:
    top = _read_cell(segment.region("tops")[CELL_BYTES * index :][:CELL_BYTES].view(TOP_CELL))
    row = segment.region("risk.positions")[POSITION.itemsize * index :][: POSITION.itemsize].view(POSITION).copy()
    bid, ask = int(top["bid"][0]), int(top["ask"][0])
    is_two_sided = bid and ask and bid < ask and int(top["state"][0]) == VALID
    # As risk marks: by a book that may be traded on; else by the last mid known.
    mid = (bid + ask) // 2 if is_two_sided else int(row["mark"][0])
    return InstrumentView(
        symbol=symbol,
        state=BOOK_STATE_NAMES.get(int(top["state"][0]), "?"),
        bid=bid,
        bid_qty=int(top["bid_qty"][0]),
        ask=ask,
        ask_qty=int(top["ask_qty"][0]),
        mid=mid,
        qty=int(row["qty"][0]),
        average=average_price(row[0]),
        realised=int(row["realised"][0]),
        unrealised=unrealised(row[0], mid),
        captured=captured(row[0]),
        inventory=inventory(row[0], mid),
        fees=int(row["fees"][0]),
        taker_fees=int(row["taker_fees"][0]),
        fills=int(row["fills"][0]),
        taker_fills=int(row["taker_fills"][0]),
        turnover=int(row["turnover"][0]),
        working_buy=int(row["working_buy"][0]),
        working_sell=int(row["working_sell"][0]),
    )


def _ring(segment: Segment, name: str) -> dict[str, int]:
    ring = segment.record(f"ring.{name}", RING)
    out = int(ring["next_out"][0])
    return {
        "depth": max(0, int(ring["next_in"][0]) - out),
        "capacity": int(ring["capacity"][0]),
        "passed": out,
        "refused": int(ring["refused"][0]),
    }


def _tapes(segment: Segment) -> dict[str, int]:
    laid_out = set(segment.regions())
    return {name: int(segment.record(name, RING)["lost"][0]) for name in TAPES.values() if name in laid_out}


def _status(segment: Segment, stage: str, now_tsc: int, ns_per_tick: float) -> dict[str, float]:
    row = segment.record(f"status.{stage}", STATUS)
    beat = int(row["heartbeat_tsc"][0])
    return {
        "pid": int(row["pid"][0]),
        "cpu": int(row["cpu"][0]),
        "loops": int(row["loops"][0]),
        "work": int(row["work"][0]),
        "age_ns": max(0.0, (now_tsc - beat) * ns_per_tick) if beat else 0.0,
        "first_work_tsc": int(row["first_work_tsc"][0]),
    }


def _now_tsc(clock: np.ndarray) -> int:
    """The time-stamp counter now, by the monotonic clock and what was calibrated at the start."""
    passed_ns = steady_ns() - int(clock["mono0_ns"][0])
    return int(clock["tsc0"][0]) + int(passed_ns / float(clock["ns_per_tick"][0]))


def snapshot(segment: Segment, tsc: int = 0) -> Snapshot:
    """Look at a pipeline through its segment.

    Args:
        tsc: the time-stamp counter now; 0: it is reckoned from the monotonic clock, some ppm off.
    """
    clock = segment.record("clock", CLOCK)
    ns_per_tick, now_tsc = float(clock["ns_per_tick"][0]), tsc or _now_tsc(clock)
    refused = _refused(segment)
    hists = {hop: segment.region(f"hist.{hop}").view(np.int64) for hop, _, _ in HOPS}
    halt = segment.record("halt", HALT_CELL)
    return Snapshot(
        tsc=now_tsc,
        ns_per_tick=ns_per_tick,
        skew_ns=float(clock["skew_ns"][0]),
        skew_bound_ns=float(clock["skew_bound_ns"][0]),
        counters=_counters(segment),
        kinds={(scope, name): kind for scope, name, kind, *_ in segment.meta["counters"]},
        rejects=_by_reason(refused, are_races=False),
        races=_by_reason(refused, are_races=True),
        latency={hop: summarize(words, ns_per_tick) for hop, words in hists.items()},
        rings={spec.name: _ring(segment, spec.name) for spec in RINGS},
        tapes=_tapes(segment),
        status={stage: _status(segment, stage, now_tsc, ns_per_tick) for stage in STAGES},
        instruments=[_instrument(segment, symbol, i) for i, symbol in enumerate(segment.meta["symbols"])],
        halted=HALT_CAUSES.get(int(halt["cause"][0]), "?") if halt["halted"][0] else None,
        strategy_fault=read_fault(segment.region("strategy.fault")),
    )


def drops(look: Snapshot) -> dict[str, int]:
    """Records lost per ring: 0 everywhere unless a live source had to conflate (trades cannot be conflated)."""
    lost = {spec.name: 0 for spec in RINGS}
    lost["market"] = look.counters["market_data"]["dropped_trades"]
    return lost | look.tapes


def _of_kind(look: Snapshot, kind: str) -> dict[str, int]:
    """Counters of a kind that are not 0, as ``part.counter``."""
    counts = {f"{scope}.{name}": look.counters[scope][name] for (scope, name), one in look.kinds.items() if one == kind}
    return {name: count for name, count in counts.items() if count}


def faults(look: Snapshot) -> dict[str, int]:
    """What should not have happened and did, as ``part.counter``."""
    found = _of_kind(look, FAULT)
    if look.strategy_fault:
        found[f"strategy.{look.strategy_fault['hook']}"] = look.strategy_fault["count"]
    return found


def notices(look: Snapshot) -> dict[str, int]:
    """Trouble from outside that was dealt with, as ``part.counter``."""
    return _of_kind(look, NOTICE)


def totals(look: Snapshot) -> dict[str, Any]:
    """The headline counters of a run."""
    market, gateway = look.counters["market_data"], look.counters["gateway"]
    return {
        "events": market["events"],
        "book_updates": market["book_updates"],
        "intents": look.counters["strategy"]["intents_sent"],
        "orders": gateway["sent"],
        "replaces": gateway["replaces_sent"],
        "fills": gateway["fills"],
        "cancels": gateway["cancels_sent"],
        "rejects": look.rejects,
        "races": look.races,
        "drops": drops(look),
        "faults": faults(look),
        "notices": notices(look),
        "conflations": market["conflations"],
    }
