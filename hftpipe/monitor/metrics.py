"""Reads everything a running pipeline shows of itself; never writes, never waits, takes no lock.

Works on the supervisor's own segment and on one attached read-only (``hftpipe top``). Counters are read one by one
while the stages go on, so two of them may be a few events apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hftpipe.core.machine.clock import CLOCK, tsc_now
from hftpipe.core.machine.hist import Summary, summarize
from hftpipe.core.schema.reasons import NAMES, RACES
from hftpipe.core.schema.records import BOOK_STATE_NAMES
from hftpipe.core.shared.cell import CELL_BYTES, HALT_CAUSES, HALT_CELL, TOP_CELL
from hftpipe.core.shared.ring import RING
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.stage import STATUS
from hftpipe.core.trading.position import POSITION, average_price, captured, inventory, unrealised
from hftpipe.strategy.faults import read_fault
from hftpipe.topology.graph import HOPS, RINGS, STAGES, TAPES
from hftpipe.topology.sizes import STATE_OF

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
        counters: scalar counters by stage.
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
    rejects: dict[str, int]
    races: dict[str, int]
    latency: dict[str, Summary]
    rings: dict[str, dict[str, int]]
    tapes: dict[str, int]
    status: dict[str, dict[str, float]]
    instruments: list[InstrumentView]
    halted: str | None
    strategy_fault: dict[str, Any] | None


def _scalars(state: np.ndarray) -> dict[str, int]:
    return {
        name: int(state[name][0]) for name in state.dtype.names or () if state.dtype.fields[name][0] == np.dtype("i8")
    }


def _refused(states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Refusals by stage, each an array indexed by reason code."""
    return {
        "strategy": states["strategy"]["ctx"]["refused"][0],
        "risk": states["risk"]["rejects"][0],
        "gateway": states["gateway"]["rejects"][0],
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
    mid = (bid + ask) // 2 if bid and ask else int(row["mark"][0])
    address = np.uint64(row.ctypes.data)
    return InstrumentView(
        symbol=symbol,
        state=BOOK_STATE_NAMES.get(int(top["state"][0]), "?"),
        bid=bid,
        bid_qty=int(top["bid_qty"][0]),
        ask=ask,
        ask_qty=int(top["ask_qty"][0]),
        mid=mid,
        qty=int(row["qty"][0]),
        average=int(average_price(address)),
        realised=int(row["realised"][0]),
        unrealised=int(unrealised(address, np.int64(mid))),
        captured=int(captured(address)),
        inventory=int(inventory(address, np.int64(mid))),
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


def snapshot(segment: Segment) -> Snapshot:
    """Look at a pipeline through its segment."""
    clock = segment.record("clock", CLOCK)
    ns_per_tick, now_tsc = float(clock["ns_per_tick"][0]), tsc_now()
    states = {stage: segment.record(f"state.{stage}", STATE_OF[stage]) for stage in STAGES}
    hists = {hop: segment.region(f"hist.{hop}").view(np.int64) for hop, _, _ in HOPS}
    halt = segment.record("halt", HALT_CELL)
    return Snapshot(
        tsc=now_tsc,
        ns_per_tick=ns_per_tick,
        skew_ns=float(clock["skew_ns"][0]),
        skew_bound_ns=float(clock["skew_bound_ns"][0]),
        counters={stage: _scalars(state) for stage, state in states.items()},
        rejects=_by_reason(_refused(states), are_races=False),
        races=_by_reason(_refused(states), are_races=True),
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


#: Counters of what should not happen, by stage.
FAULTS = {
    "market_data": ("time_jumps",),
    "gateway": ("orphan_fills", "broken_trades", "venue_forgot", "login_refused", "unknown_reports", "invariant_breaches", "illegal",
                "late_fills", "duplicate_fills", "unanswered"),
    "risk": ("unknown_reports", "not_booked", "overfills", "illegal"),
}  # fmt: skip


def faults(look: Snapshot) -> dict[str, int]:
    """What should not have happened and did, as ``stage.counter``."""
    counts = {(stage, name): look.counters[stage][name] for stage, names in FAULTS.items() for name in names}
    found = {f"{stage}.{name}": count for (stage, name), count in counts.items() if count}
    if look.strategy_fault:
        found[f"strategy.{look.strategy_fault['hook']}"] = look.strategy_fault["count"]
    return found


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
        "conflations": market["conflations"],
    }
