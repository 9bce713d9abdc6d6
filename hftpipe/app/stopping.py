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
from hftpipe.topology.graph import ORDER_SLOTS
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
    "invariant_breaches": "the venue reported what cannot be",
}

_COUNTED = ("canceled", "expired", "fills", "halt_cancels", "halt_cancels_again")


def open_orders(pipeline: Pipeline) -> np.ndarray:
    """The gateway's orders that have not ended, as an ORDER array (a copy)."""
    memory = pipeline.segment.region("gateway.table")[TABLE_HEADER_BYTES:]
    orders = memory[: ORDER_SLOTS["gateway"] * ORDER.itemsize].view(ORDER).copy()
    return orders[(orders["state"] >= PENDING_NEW) & (orders["state"] <= UNKNOWN)]


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
        self._gateway = pipeline.state("gateway")
        self._before: dict[str, int] = {}
        self._open_before, self._waited_ns = 0, 0

    def run(self) -> None:
        """Stop trading, and wait until every order has ended, the gateway is dead, or the time is up."""
        self._open_before, self._before = self._open_count(), self._counts()
        halt, begun = self._pipeline.halt_cell(), steady_ns()
        if not halt["halted"][0]:
            set_halt(halt, True, STOPPING, wall_ns())
        deadline, signals = begun + int(self._pipeline.config.pipeline.stop_timeout_s * 1e9), self._signals()
        while not self._is_down() and "gateway" not in self._dead() and steady_ns() < deadline:
            if self._signals() > signals:
                signals, deadline = self._signals(), min(deadline, steady_ns() + HURRY_NS)
                self._say_hurry(deadline)
            time.sleep(POLL_S)
        self._waited_ns = steady_ns() - begun

    def _say_hurry(self, deadline: int) -> None:
        left_ms = max(0, deadline - steady_ns()) // 1_000_000
        event(LOG, logging.WARNING, "asked again while stopping", still_open=self._open_count(), waiting_ms=left_ms)

    def _open_count(self) -> int:
        return int(self._pipeline.segment.record("gateway.table", TABLE)["n_open"][0])

    def _counts(self) -> dict[str, int]:
        return {name: int(self._gateway[name][0]) for name in _COUNTED}

    def _is_down(self) -> bool:
        """Every order has ended, and the stages that live know it. The gateway has seen the halt first: after that it
        sends no order any more.
        """
        if not self._gateway["stopped"][0] or self._open_count():
            return False
        depths = self._pipeline.depths()
        return "risk" in self._dead() or not (depths["orders"] or depths["reports"])

    # The account of it, once every process has ended.

    def _doubts(self, left: int, died: Collection[str]) -> list[str]:
        """Why fills and position may not be what the venue has."""
        found = []
        if "gateway" in died:
            found.append("the gateway died: what the venue did afterwards was not heard")
        if "risk" in died:
            found.append("risk died: a fill may be missing from the position")
        if left:
            found.append(f"{left} orders have no known end")
        unread = self._pipeline.depths()["reports"]
        if unread:
            found.append(f"risk has not read {unread} reports")
        return found + [text for name, text in DOUBTS.items() if self._gateway[name][0]]

    def facts(self, died: Collection[str]) -> dict[str, Any]:
        """What became of the orders; ``died``: stages whose process did not end of itself.

        ``still_open`` lists orders without a known end; ``unknown_because`` is empty if fills and position are the
        venue's. ``venue_ended``: the venue was part of the run, and so they have ended with it.
        """
        config, counts = self._pipeline.config, self._counts()
        symbols = [item.symbol for item in config.instruments]
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
            "venue_ended": config.pipeline.venue == "sim" or config.udp.embedded,
        }


def is_clean(facts: dict[str, Any]) -> bool:
    """Whether every order has ended and every fill is known."""
    return not facts["still_open"] and not facts["unknown_because"]
