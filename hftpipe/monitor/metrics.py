"""Reads everything a running pipeline shows of itself; never writes, never waits, takes no lock.

Works on the supervisor's own segment and on one attached read-only (``hftpipe top``). Counters are read one by one
while the stages go on, so two of them may be a few events apart.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import HALT_CAUSES, HALT_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.counters import ALERT, DOUBT, FAULT, NOTICE
from hftpipe.core.schema.halts import halted_scopes
from hftpipe.core.schema.histogram import Summary, summarize
from hftpipe.core.schema.reasons import ASKED_ENDS, NAMES, RACES
from hftpipe.core.schema.ring import RING
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.shm import Segment
from hftpipe.monitor.instruments import Instruments, look_at
from hftpipe.monitor.strategies import StrategyView, fees_of, graph_of, strategies_of
from hftpipe.monitor.tickers import TickerView, tickers_of
from hftpipe.topology.graph import Graph, kind_of


@dataclass(frozen=True)
class Snapshot:
    """One look at a pipeline.

    Attributes:
        graph: its map.
        tsc: when, on the time-stamp counter; ``ns_per_tick`` converts.
        counters: declared counters by part; ``kinds`` says of each (part, name) what it is.
        rejects: actions refused by the strategy stage, risk, the gateway or the venue, by reason name; without the races.
        ended: orders that the venue ended of its own accord, by reason name.
        races: changes and post-only orders that the market or a fill outran (:data:`hftpipe.core.schema.reasons.RACES`).
        latency: histogram summaries (ns) by hop.
        rings: depth, capacity and refused pushes by ring.
        tapes: records dropped by tape; empty when nothing is recorded.
        status: loops, work and heartbeat age (ns) by stage.
        instruments: those of ours and the most active others, and what all of them come to.
        halted: None, or the cause; halted_scopes: causes by ``venue.V``, ``strategy.S`` and ``instrument.I``.
        fees: fees that are not in quote currency, by asset (1e-8 of it).
        strategies: what each strategy has done; groups: what each limit group holds and may hold (1e-8).
        tickers: what the venues say of a day, of the instruments that this is followed for.
        not_sent: actions that the strategy stage refused itself; they are among the rejects, and never became intents.
    """

    graph: Graph
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
    instruments: Instruments
    halted: str | None
    halted_scopes: dict[str, str]
    strategies: dict[str, StrategyView]
    ended: dict[str, int] = field(default_factory=dict)
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    fees: dict[str, int] = field(default_factory=dict)
    tickers: list[TickerView] = field(default_factory=list)
    not_sent: int = 0


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
            if (code in RACES[kind_of(stage)]) == are_races:
                name = NAMES.get(code, f"code_{code}")
                total[name] = total.get(name, 0) + int(counts[code])
    return total


def _ended(segment: Segment) -> dict[str, int]:
    """Orders that the venues ended without being asked to, by reason."""
    total: dict[str, int] = {}
    for region, offset, count in segment.meta["ends"].values():
        counts = segment.region(region)[offset : offset + 8 * count].view(np.int64)
        for code in set(np.flatnonzero(counts).tolist()) - set(ASKED_ENDS):
            name = NAMES.get(code, f"code_{code}")
            total[name] = total.get(name, 0) + int(counts[code])
    return total


def _groups(segment: Segment) -> dict[str, dict[str, int]]:
    """What each limit group holds and may hold."""
    return {
        name: {one: int(segment.region(region)[at : at + 8].view(np.int64)[0]) for one, (region, at) in places.items()}
        for name, places in segment.meta["groups"].items()
    }


def _ring(segment: Segment, name: str) -> dict[str, int]:
    ring = segment.record(f"ring.{name}", RING)
    out = int(ring["next_out"][0])
    return {
        "depth": max(0, int(ring["next_in"][0]) - out),
        "capacity": int(ring["capacity"][0]),
        "passed": out,
        "refused": int(ring["refused"][0]),
    }


def _tapes(segment: Segment, graph: Graph) -> dict[str, int]:
    laid_out = set(segment.regions())
    return {name: int(segment.record(name, RING)["lost"][0]) for name in graph.tapes.values() if name in laid_out}


def _latency(segment: Segment, graph: Graph, ns_per_tick: float) -> dict[str, Summary]:
    """By hop, over all stages that measure it."""
    words = {
        hop: np.sum([segment.region(f"hist.{name}").view(np.int64) for name in names], axis=0)
        for hop, names in graph.hops.items()
    }
    return {hop: summarize(counts, ns_per_tick) for hop, counts in words.items()}


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


def now_tsc(clock: np.ndarray) -> int:
    """The time-stamp counter now, by the monotonic clock and what was calibrated at the start."""
    passed_ns = steady_ns() - int(clock["mono0_ns"][0])
    return int(clock["tsc0"][0]) + int(passed_ns / float(clock["ns_per_tick"][0]))


def snapshot(segment: Segment, tsc: int = 0) -> Snapshot:
    """Look at a pipeline through its segment.

    Args:
        tsc: the time-stamp counter now; 0: it is reckoned from the monotonic clock, some ppm off.
    """
    clock = segment.record("clock", CLOCK)
    ns_per_tick, seen_tsc = float(clock["ns_per_tick"][0]), tsc or now_tsc(clock)
    refused = _refused(segment)
    graph = graph_of(segment)
    halt = segment.record("halt", HALT_CELL)
    return Snapshot(
        graph=graph,
        tsc=seen_tsc,
        ns_per_tick=ns_per_tick,
        skew_ns=float(clock["skew_ns"][0]),
        skew_bound_ns=float(clock["skew_bound_ns"][0]),
        counters=_counters(segment),
        kinds={(scope, name): kind for scope, name, kind, *_ in segment.meta["counters"]},
        rejects=_by_reason(refused, are_races=False),
        races=_by_reason(refused, are_races=True),
        latency=_latency(segment, graph, ns_per_tick),
        rings={spec.name: _ring(segment, spec.name) for spec in graph.rings},
        tapes=_tapes(segment, graph),
        status={stage: _status(segment, stage, seen_tsc, ns_per_tick) for stage in graph.stages},
        instruments=look_at(segment),
        halted_scopes={
            scope: HALT_CAUSES.get(cause, "?")
            for scope, cause in halted_scopes(segment.region("halts"), segment.meta).items()
        },
        halted=HALT_CAUSES.get(int(halt["cause"][0]), "?") if halt["halted"][0] else None,
        strategies=strategies_of(segment, graph),
        ended=_ended(segment),
        groups=_groups(segment),
        fees=fees_of(segment),
        tickers=tickers_of(segment),
        not_sent=sum(int(counts.sum()) for stage, counts in refused.items() if kind_of(stage) == "strategy"),
    )


def drops(look: Snapshot) -> dict[str, int]:
    """Records lost per ring: 0 everywhere unless a live source had to conflate (trades cannot be conflated)."""
    lost = dict.fromkeys(look.rings, 0)
    for scope, counts in look.counters.items():
        if kind_of(scope) == "market_data":
            lost[scope.replace("market_data", "market")] = counts["dropped_trades"]
    return lost | look.tapes


def total(look: Snapshot, kind: str, name: str) -> int:
    """A counter summed over the stages of a kind."""
    return sum(counts[name] for scope, counts in look.counters.items() if kind_of(scope) == kind)


def first_work(look: Snapshot, kind: str) -> int:
    """When the first of the stages of a kind had something to do, on the time-stamp counter; 0: not yet."""
    began = [int(row["first_work_tsc"]) for stage, row in look.status.items() if kind_of(stage) == kind]
    return min(filter(None, began), default=0)


def _of_kind(look: Snapshot, kind: str) -> dict[str, int]:
    """Counters of a kind that are not 0, as ``part.counter``."""
    counts = {f"{scope}.{name}": look.counters[scope][name] for (scope, name), one in look.kinds.items() if one == kind}
    return {name: count for name, count in counts.items() if count}


def faults(look: Snapshot) -> dict[str, int]:
    """What should not have happened and did, as ``part.counter``."""
    found = _of_kind(look, FAULT) | doubts(look)
    for name, one in look.strategies.items():
        if one.fault:
            found[f"{look.graph.own('strategy', name)}.{one.fault['hook']}"] = one.fault["count"]
    return found


def doubts(look: Snapshot) -> dict[str, int]:
    """Those of the faults after which the account may hold something else than the run says, as ``part.counter``."""
    return _of_kind(look, DOUBT)


def notices(look: Snapshot) -> dict[str, int]:
    """Trouble from outside that was dealt with, as ``part.counter``."""
    return _of_kind(look, NOTICE) | _of_kind(look, ALERT)


def totals(look: Snapshot) -> dict[str, Any]:
    """The headline counters of a run."""
    return {
        "events": total(look, "market_data", "events"),
        "book_updates": total(look, "market_data", "book_updates"),
        "intents": look.counters["strategy"]["intents_sent"],
        "asked": look.counters["strategy"]["intents_sent"] + look.not_sent,
        "orders": total(look, "gateway", "sent"),
        "replaces": total(look, "gateway", "replaces_sent"),
        "fills": total(look, "gateway", "fills"),
        "cancels": total(look, "gateway", "cancels_sent"),
        "rejects": look.rejects,
        "ended_by_venue": look.ended,
        "races": look.races,
        "drops": drops(look),
        "faults": faults(look),
        "notices": notices(look),
        "conflations": total(look, "market_data", "conflations"),
    }
