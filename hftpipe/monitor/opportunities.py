"""``hftpipe opportunities``: the spreads between venues of a pipeline that somebody else runs, net of both taker fees.

Reads what the strategy stage keeps (:mod:`hftpipe.core.schema.spreads`); never writes, never waits.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.event_time import EVENT_TIME, REAL_TIME_MULT
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.names import common_name
from hftpipe.core.schema.spreads import NO_NET, SPREADS, spreads_views
from hftpipe.core.shared.shm import Segment, SegmentError, process_started
from hftpipe.monitor.figures import GOOD, QUIET, plain, price
from hftpipe.monitor.sections import columns
from hftpipe.monitor.strategies import graph_of

PERIOD_S = 0.25
#: Rows of a table.
SHOWN = 15
_TRIES = 100
_PER_BPS, _ONE, _NS_PER_MS = 10_000, 10**8, 1e6


@dataclass(frozen=True)
class Opportunity:
    """Buying at one instrument and selling at another; prices in their own units, basis points net of taker fees, times in ms.

    Attributes:
        net_bps: now; None: a leg is not VALID or too old.
        stands_ms: since when it is one, None if it is none; quantity: what both sides show, in the common unit.
        peak_bps: the best of the present one; best_bps, best_ms_ago: of all, None if there was none.
        times: how many there were; last_ms, longest_ms, total_ms: how long those stood that are over.
    """

    name: str
    buy: str
    sell: str
    buy_price: float
    sell_price: float
    quantity: float
    net_bps: float | None
    stands_ms: float | None
    peak_bps: float | None
    best_bps: float | None
    best_ms_ago: float | None
    times: int
    last_ms: float
    longest_ms: float
    total_ms: float


def _settled(region: np.ndarray) -> np.ndarray:
    """A copy during which nothing was written (the last one taken, if somebody always writes)."""
    copy = region.copy()
    for _ in range(_TRIES):
        again = region.copy()
        if np.array_equal(copy, again):
            break
        copy = again
    return copy


def _event_now(segment: Segment, newest: int) -> int:
    """Event time now: by the clock of the feed that is furthest; where event time has no clock, that of the newest event."""
    now = newest
    for row in segment.region("time").view(EVENT_TIME):
        now = max(now, int(row["known_ts"]))
        if row["mult"]:
            passed = max(0, steady_ns() - int(row["mono_ns"]))
            now = max(now, int(row["event_ts"]) + passed * int(row["mult"]) // REAL_TIME_MULT)
    return now


def _opportunity(labels: list[str], symbols: list[str], legs: np.ndarray, row: np.ndarray, now: int) -> Opportunity:
    buy, sell = int(row["buy"][0]), int(row["sell"][0])
    here, there = legs[buy : buy + 1], legs[sell : sell + 1]
    is_known = row["net"][0] != NO_NET and row["until"][0] >= now
    stands = is_known and row["since"][0] != 0
    quantity = min(int(here["ask_qty"][0] // here["units"][0]), int(there["bid_qty"][0] // there["units"][0]))
    had_any = row["best"][0] != NO_NET
    # One that nobody has looked at since it grew too old has ended then.
    is_over = row["since"][0] != 0 and not stands
    last = int(min(row["until"][0], now) - row["since"][0]) if is_over else int(row["lasted"][0])
    return Opportunity(
        name=common_name(symbols[buy])[0], buy=labels[buy], sell=labels[sell],
        buy_price=int(here["ask"][0]) / _ONE, sell_price=int(there["bid"][0]) / _ONE, quantity=quantity / _ONE,
        net_bps=int(row["net"][0]) / _PER_BPS if is_known else None,
        stands_ms=max(0, now - int(row["since"][0])) / _NS_PER_MS if stands else None,
        peak_bps=int(row["peak"][0]) / _PER_BPS if stands else None,
        best_bps=int(row["best"][0]) / _PER_BPS if had_any else None,
        best_ms_ago=max(0, now - int(row["best_ts"][0])) / _NS_PER_MS if had_any else None,
        times=int(row["fired"][0]), last_ms=last / _NS_PER_MS,
        longest_ms=max(last, int(row["longest"][0])) / _NS_PER_MS,
        total_ms=(int(row["total"][0]) + (last if is_over else 0)) / _NS_PER_MS,
    )  # fmt: skip


def _watched(segment: Segment) -> tuple[str, np.ndarray, np.ndarray]:
    """The first strategy that has said what an opportunity is (the first of all, if none has), its spreads and their head."""
    graph, found = graph_of(segment), []
    for name in segment.meta["strategies"]:
        region = segment.region(graph.own("strategy.spreads", name))
        found.append((name, region, _settled(region[: SPREADS.itemsize]).view(SPREADS)))
    return next((one for one in found if one[2]["threshold"][0]), found[0])


def look(segment: Segment) -> dict[str, Any]:
    """What is followed, from what on it counts, and the opportunities: the best standing first, then the best there were."""
    strategy, region, head = _watched(segment)
    labels = list(segment.meta["symbols"])
    n_legs, n_rows = int(head["n_legs"][0]), int(head["n_rows"][0])
    _, legs, rows = spreads_views(region, n_legs, n_rows)
    symbols = [one.decode() for one in segment.region("instruments").view(INSTRUMENT)["symbol"]]
    now, legs = _event_now(segment, int(head["now"][0])), legs.copy()
    found = [_opportunity(labels, symbols, legs, _settled(rows[at : at + 1]), now) for at in range(n_rows)]
    found.sort(key=lambda one: (one.stands_ms is None, -_worth(one.net_bps), -_worth(one.best_bps)))
    return {
        "pipeline": segment.name, "strategy": strategy, "spreads": n_rows,
        "threshold_bps": int(head["threshold"][0]) / _PER_BPS, "hysteresis_bps": int(head["hysteresis"][0]) / _PER_BPS,
        "max_age_ms": int(head["max_age"][0]) / _NS_PER_MS, "crossings": int(head["crossings"][0]),
        "implausible": int(head["implausible"][0]), "opportunities": found,
    }  # fmt: skip


def _worth(bps: float | None) -> float:
    return -1e18 if bps is None else bps


# --- shown -----------------------------------------------------------------------------------------


def _bps(value: float | None) -> str:
    return "-" if value is None else f"{value:+,.2f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _rows(found: list[Opportunity]) -> Table:
    table = columns(
        "", "buy at", "sell at", "ask", "bid", "quantity", "net bps", "stands ms",
        "best bps", "times", "last ms", "longest ms", left=3,
    )  # fmt: skip
    for one in found[:SHOWN]:
        table.add_row(
            one.name, one.buy, one.sell, price(one.buy_price), price(one.sell_price), plain(one.quantity),
            _bps(one.net_bps), _ms(one.stands_ms), _bps(one.best_bps), f"{one.times:,}", _ms(one.last_ms),
            _ms(one.longest_ms), style=GOOD if one.stands_ms is not None else "",
        )  # fmt: skip
    return table


def screen(facts: dict[str, Any]) -> RenderableType:
    """One screen: what stands now, in green, and the best of what there was."""
    found: list[Opportunity] = facts["opportunities"]
    if not facts["spreads"]:
        return Text("no two instruments of this pipeline are the same thing: there are no spreads between venues")
    standing = sum(one.stands_ms is not None for one in found)
    head = f"{standing} of {facts['spreads']:,} spreads stand at {facts['threshold_bps']:g} bps net of fees or more; "
    head += f"{facts['crossings']:,} crossings so far, legs up to {facts['max_age_ms']:g} ms old"
    more = [Text(f"and {len(found) - SHOWN:,} more", style=QUIET)] if len(found) > SHOWN else []
    return Group(Text(head), Text(), _rows(found), *more)


def as_json(facts: dict[str, Any]) -> str:
    """The same as one line of JSON."""
    return orjson.dumps(facts | {"opportunities": [asdict(one) for one in facts["opportunities"]]}).decode()


def _is_alive(segment: Segment) -> bool:
    header = segment.header()
    return process_started(int(header["pid"])) == int(header["pid_started"])


def watch(name: str, once: bool) -> None:
    """Show the opportunities of pipeline ``name`` until it ends or Ctrl-C.

    Raises:
        SegmentError: there is no such pipeline, or it is of another build.
    """
    segment, console = Segment.attach(name), Console()
    if once:
        console.print(screen(look(segment)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while _is_alive(segment):
                live.update(screen(look(segment)), refresh=True)
                time.sleep(PERIOD_S)
    except KeyboardInterrupt:
        return
    raise SegmentError(f"pipeline {name!r} has ended")
