"""The way down: nothing of ours is left at the venue when a run ends, or it is said what may be.

::

    a reason to end ─▶ halt cell "stopping" ─▶ the gateway refuses NEW and REPLACE and cancels all that is open, again and
    again ─▶ the venue has confirmed every end, and risk has read it ─▶ stop word ─▶ account of it for the summary

The wait has a limit (``pipeline.stop_timeout_s``); another signal while it lasts makes it shorter, and that is said. What
the gateway's table holds at the very end without a known end is listed; then, and whenever something keeps us from
knowing all fills, the position is said to be unknown, and the run has failed.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import STOPPING
from hftpipe.core.schema.records import BUY
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.trading.order_table import ORDER, PENDING_NEW, STATE_NAMES, TABLE, TABLE_HEADER_BYTES, UNKNOWN
from hftpipe.log import event
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.stopping")
POLL_S = 0.005
#: A second signal leaves this long.
HURRY_NS = 500_000_000
#: Counters of the gateway after which the venue's word is not enough to know all fills, and what they mean.
DOUBTS = {
    "orphan_fills": "the venue executed orders that are not known here",
    "broken_trades": "the venue took executions back",
    "venue_forgot": "the venue has lost our orders",
    "overfills": "the venue executed more than was ordered",
    "late_fills": "the venue executed an order that had ended",
    "wrong_terms": "the venue holds an order on other terms than asked for",
    "unreadable_reports": "the venue said something that cannot be read",
    "session_lost": "the order session has stayed away",
    "position_differs": "the account holds something else than the run",
    "wrong_prices": "the venue executed an order at a price worse than its own",
    "unbookable_fills": "the venue reported an execution that cannot be booked",
}

_COUNTED = ("canceled", "expired", "fills", "halt_cancels", "halt_cancels_again")


def open_orders(pipeline: Pipeline) -> np.ndarray:
    """The gateways' orders that have not ended, as an ORDER array (a copy)."""
    memory = [table[TABLE_HEADER_BYTES:][: _slots(table) * ORDER.itemsize] for table in _tables(pipeline)]
    orders = np.concatenate([table.view(ORDER) for table in memory])
    return orders[(orders["state"] >= PENDING_NEW) & (orders["state"] <= UNKNOWN)]


def _slots(table: np.ndarray) -> int:
    return int(table[:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])


def _tables(pipeline: Pipeline) -> list[np.ndarray]:
    names = [pipeline.graph.at("gateway.table", place.name) for place in pipeline.venues]
    return [pipeline.segment.region(name) for name in names]


def _order_facts(order: np.ndarray, symbols: list[str]) -> dict[str, str]:
    """An open order for people; after a replace the larger of what it was and what was asked for counts."""
    amounts = {
        "price": order["new_price"] if order["new_qty"] else order["price"],
        "qty": max(order["qty"], order["new_qty"]),
        "filled": order["filled"],
    }
    return {
        "id": f"{int(order['id']):#x}",
        "instrument": symbols[int(order["instrument"])],
        "side": "buy" if order["side"] == BUY else "sell",
        **{name: format_fixed(int(value)) for name, value in amounts.items()},
        "state": STATE_NAMES[int(order["state"])],
    }


class WindDown:
    """Brings a pipeline's orders to their end before its stages are stopped.

    Args:
        pipeline: running.
        dead: called for the names of the stages whose process has ended.
        signals: called for how many signals have come so far.
    """

    def __init__(
        self, pipeline: Pipeline, dead: Callable[[], Collection[str]], signals: Callable[[], int] = lambda: 0
    ) -> None:
        self._pipeline, self._dead, self._signals = pipeline, dead, signals
        self._gateways = {name: pipeline.state(name) for name in pipeline.graph.each("gateway")}
        self._before: dict[str, int] = {}
        self._open_before, self._waited_ns = 0, 0

    def run(self) -> None:
        """Stop trading, and wait until every order has ended, the gateway is dead, or the time is up."""
        self._open_before, self._before = self._open_count(), self._counts()
        begun = steady_ns()
        self._stop_trading()
        deadline, signals = begun + int(self._pipeline.config.pipeline.stop_timeout_s * 1e9), self._signals()
        while not (self._is_down() and self._is_still_down()) and steady_ns() < deadline:
            if self._signals() > signals:
                signals, deadline = self._signals(), min(deadline, steady_ns() + HURRY_NS)
                self._say_hurry(deadline)
            time.sleep(POLL_S)
            self._stop_trading()
        self._waited_ns = steady_ns() - begun

    def _stop_trading(self) -> None:
        """Unless it is halted; a person may clear that meanwhile, but not so that it trades again now."""
        halt = self._pipeline.halt_cell()
        halt["ending"] = 1
        if not halt["halted"][0]:
            set_halt(halt, True, STOPPING, wall_ns())

    def _say_hurry(self, deadline: int) -> None:
        left_ms = max(0, deadline - steady_ns()) // 1_000_000
        event(LOG, logging.WARNING, "asked again while stopping", still_open=self._open_count(), waiting_ms=left_ms)

    def _open_count(self) -> int:
        return sum(self._open_of(name) for name in self._gateways)

    def _open_of(self, gateway: str) -> int:
        place = self._pipeline.venue_of(gateway)
        assert place is not None
        table = self._pipeline.segment.record(self._pipeline.graph.at("gateway.table", place.name), TABLE)
        return int(table["n_open"][0])

    def _counts(self) -> dict[str, int]:
        return {name: self._total(name) for name in _COUNTED}

    def _total(self, counter: str) -> int:
        return sum(int(state[counter][0]) for state in self._gateways.values())

    def _is_down(self) -> bool:
        """Every order has ended, and the stages that live know it. A gateway has seen the halt first: after that it
        sends no order any more. Of a dead one nothing is to be waited for.
        """
        dead = self._dead()
        living = {name: state for name, state in self._gateways.items() if name not in dead}
        if any(not state["stopped"][0] or self._open_of(name) for name, state in living.items()):
            return False
        # Looked at last: what tells of the last ends is in the rings by then, or has been read.
        depths = self._pipeline.depths()
        for name in living:
            rings = [spec.name for spec in self._pipeline.graph.rings if name in (spec.writer, spec.reader)]
            if "risk" not in dead and any(depths[ring] for ring in rings if not ring.startswith("sim")):
                return False
        return True

    def _is_still_down(self) -> bool:
        """An order ends in its table a moment before its report is in the ring."""
        time.sleep(POLL_S)
        return self._is_down()

    # The account of it, once every process has ended.

    def _doubts(self, left: int, died: Collection[str]) -> list[str]:
        """Why fills and position may not be what the venue has."""
        found = []
        for name in self._gateways:
            if name in died:
                found.append(f"the {name} died: what the venue did afterwards was not heard")
        if "risk" in died:
            found.append("risk died: a fill may be missing from the position")
        if left:
            found.append(f"{left} orders have no known end")
        depths = self._pipeline.depths()
        unread = sum(depths[spec.name] for spec in self._pipeline.graph.rings if spec.kind == "reports")
        if unread:
            found.append(f"risk has not read {unread} reports")
        return found + [text for name, text in DOUBTS.items() if self._total(name)]

    def facts(self, died: Collection[str]) -> dict[str, Any]:
        """What became of the orders; ``died``: stages whose process did not end of itself.

        ``still_open`` lists orders without a known end; ``unknown_because`` is empty if fills and position are the
        venue's. ``venue_ended``: the venue was part of the run, and so they have ended with it.
        """
        counts, symbols = self._counts(), self._pipeline.segment.meta["symbols"]
        left = [_order_facts(order, symbols) for order in open_orders(self._pipeline)]
        ended = sum(counts[name] - self._before.get(name, 0) for name in ("canceled", "expired"))
        return {
            "open_at_stop": self._open_before,
            "cancels_sent": counts["halt_cancels"] - self._before.get("halt_cancels", 0),
            "cancels_again": counts["halt_cancels_again"] - self._before.get("halt_cancels_again", 0),
            "cancels_confirmed": ended,
            "fills_meanwhile": counts["fills"] - self._before.get("fills", counts["fills"]),
            "waited_s": round(self._waited_ns / 1e9, 3),
            "still_open": left,
            "unknown_because": self._doubts(len(left), died),
            "venue_ended": all(place.about.ends_with_run for place in self._pipeline.venues),
        }


def is_clean(facts: dict[str, Any]) -> bool:
    """Whether every order has ended and every fill is known."""
    return not facts["still_open"] and not facts["unknown_because"]
