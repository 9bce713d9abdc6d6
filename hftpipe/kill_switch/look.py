"""What the kill switch sees of a running pipeline: orders and cancels, venues, limits in force. Reads shared memory, waits for nobody."""

import contextlib
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema.cells import HALT_CAUSES, HALT_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.halts import CLOSED_SCOPE, VENUE_SCOPE, scope_words
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.shm import Segment, SegmentError, live_run
from hftpipe.core.trading.order_table import TABLE
from hftpipe.monitor.metrics import now_tsc
from hftpipe.monitor.strategies import graph_of
from hftpipe.risk.limits import LIMITS
from hftpipe.topology.graph import VENUE_KINDS

#: A stage that has not moved for so long does not serve its venue.
STILL_S = 5.0
#: Fields of LIMITS that are amounts in 1e-8; collars are shares of the price in 1e-8, 10,000 of which are a basis point.
_AMOUNTS = {
    "max_order_qty": "max_order_qty",
    "max_market_order_qty": "max_market_qty",
    "max_order_notional": "max_order_notional",
    "max_position": "max_position",
}
_COLLARS = {"collar_bps": "collar_e8", "post_only_collar_bps": "post_only_collar_e8"}
_AGES = {"max_book_age_ms": "max_book_age_ns", "max_intent_age_ms": "max_intent_age_ns"}
_E8_PER_BPS, _NS_PER_MS = 10_000, 1_000_000


class Attachment:
    """The segment of the run of pipeline ``name``, attached to once a run; it may be halted through it.

    Called as :meth:`hftpipe.core.shared.shm.Segment.attach` is.
    """

    def __init__(self, name: str) -> None:
        self._name, self._lock = name, threading.Lock()
        self._segment: Segment | None = None

    def __call__(self, name: str, is_writable: bool = True) -> Segment:
        """The segment.

        Raises:
            SegmentError: nothing runs, or it cannot be attached to.
        """
        with self._lock:
            known = self._segment
            if known and live_run(name) == (int(known.header()["pid"]), known.epoch):
                return known
            self._segment = None
            self._segment = Segment.attach(name, is_writable)
            self._segment.let_go()
            return self._segment

    def get(self) -> Segment | None:
        """The segment; None if nothing runs, or not yet."""
        with contextlib.suppress(SegmentError):
            return self(self._name)
        return None


@dataclass(frozen=True)
class Orders:
    """Orders of all gateways, counted from the run's start: open now; cancels sent because of a halt, sent once more, and confirmed."""

    open: int = 0
    cancels_sent: int = 0
    cancels_sent_again: int = 0
    cancels_confirmed: int = 0

    def since(self, before: "Orders") -> dict[str, int]:
        """What has happened since an earlier look, and what is open now."""
        return {
            "open_before": before.open,
            "open": self.open,
            "cancels_sent": self.cancels_sent - before.cancels_sent,
            "cancels_sent_again": self.cancels_sent_again - before.cancels_sent_again,
            "cancels_confirmed": self.cancels_confirmed - before.cancels_confirmed,
        }


_COUNTERS = {
    "halt_cancels": "cancels_sent",
    "halt_cancels_again": "cancels_sent_again",
    "halt_cancels_confirmed": "cancels_confirmed",
}


def orders_of(segment: Segment) -> Orders:
    """The orders of a running pipeline."""
    counts = dict.fromkeys(_COUNTERS.values(), 0)
    for scope, name, _, _, region, offset, lanes in segment.meta["counters"]:
        if name in _COUNTERS and scope.partition("@")[0] == "gateway":
            counts[_COUNTERS[name]] += int(segment.region(region)[offset : offset + 8 * lanes].view(np.int64).sum())
    graph = graph_of(segment)
    tables = [segment.record(graph.at("gateway.table", venue), TABLE) for venue in graph.venues]
    return Orders(sum(int(table["n_open"][0]) for table in tables), **counts)


def halt_of(segment: Segment) -> str:
    """Name of the cause for which everything is halted; empty if it is not."""
    cell = segment.record("halt", HALT_CELL)
    return HALT_CAUSES.get(int(cell["cause"][0]), "unreadable_latch") if cell["halted"][0] else ""


def exchanges_of(segment: Segment) -> dict[str, dict[str, Any]]:
    """By venue: whether its feed and its gateway move and it takes orders (``connected``), and why it is halted, if it is."""
    words, graph = scope_words(segment.region("halts")), graph_of(segment)
    found = {}
    for index, venue in enumerate(graph.venues):
        cause = int(words[VENUE_SCOPE + index])
        is_open = not words[CLOSED_SCOPE + index]
        moves = all(_age_s(segment, graph.at(kind, venue)) < STILL_S for kind in VENUE_KINDS)
        found[venue or "venue"] = {
            "connected": bool(is_open and moves),
            "halted": HALT_CAUSES.get(cause, "unknown") if cause else None,
        }
    return found


def _age_s(segment: Segment, stage: str) -> float:
    """Seconds since a stage last went round its loop."""
    clock, beat = segment.record("clock", CLOCK), int(segment.record(f"status.{stage}", STATUS)["heartbeat_tsc"][0])
    return (now_tsc(clock) - beat) * float(clock["ns_per_tick"][0]) / 1e9 if beat else float("inf")


def limits_in(segment: Segment) -> dict[str, dict[str, Any]]:
    """By instrument, the limits that risk judges by, in the words and units of the configuration."""
    symbols = segment.meta["symbols"]
    rows = segment.region("risk.limits")[: len(symbols) * LIMITS.itemsize].view(LIMITS)
    return {symbol: _limits(row) for symbol, row in zip(symbols, rows, strict=True)}


def _limits(row: np.void) -> dict[str, Any]:
    shown: dict[str, Any] = {name: format_fixed(int(row[field])) for name, field in _AMOUNTS.items()}
    shown |= {name: int(row[field]) / _E8_PER_BPS for name, field in _COLLARS.items()}
    shown |= {name: int(row[field]) // _NS_PER_MS for name, field in _AGES.items()}
    return shown | {name: int(row[name]) for name in ("orders_per_s", "orders_per_min")}
