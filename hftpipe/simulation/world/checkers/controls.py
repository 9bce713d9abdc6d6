"""Checkers of the controls of the whole run: what all positions come to, what is lost, what is done again and again."""

from collections import Counter
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, CANCEL, FILL, MARKET, TIF_MASK
from hftpipe.core.trading.order_table import A_REPLACE, ORDER, PENDING_NEW, TABLE, TABLE_HEADER_BYTES, UNKNOWN
from hftpipe.risk.worth import WORTH
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.truth import SCALE, Fields


class GrossChecker(Checker):
    """I2: an order that makes a worst case larger leaves the value of all of them within the limit."""

    name = "gross"
    steps_of = ("risk",)
    #: Other mids move within one step.
    SLACK = 1.01

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._most = world.plan.config.controls.max_gross_notional * self.SLACK
        self._rows, self._worths = (
            world.region("risk.positions").view(POSITION),
            world.region("risk.worths").view(WORTH),
        )
        self._worst: list[int] = []

    def _all_worst(self) -> list[int]:
        return [
            max(int(row["qty"] + row["working_buy"]), int(row["working_sell"] - row["qty"]))
            for row in self._rows[: len(self.world.plan.instruments)]
        ]

    def before(self, stage: str) -> None:
        self._worst = self._all_worst()

    def after(self, stage: str) -> None:
        grown = {
            order.instrument
            for ring in self.world.rings_of("orders")
            for order in ring.pushed
            if order.kind != CANCEL
        }  # fmt: skip
        if not grown:
            return
        worst = self._all_worst()
        if all(worst[index] <= self._worst[index] for index in grown):
            return
        gross = sum(one * int(mark) // SCALE for one, mark in zip(worst, self._worths["mark"], strict=False))
        if gross > self._most:
            self.fail(
                f"orders for {sorted(grown)} were approved that make the gross notional {gross}, allowed {self._most}"
            )


class LossChecker(Checker):
    """Beyond a loss limit risk has stopped itself. No run lasts an hour, or over midnight."""

    name = "loss"
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        controls = world.plan.config.controls
        self._limits = controls.max_drawdown, controls.max_daily_loss
        self._rows, self._worths = (
            world.region("risk.positions").view(POSITION),
            world.region("risk.worths").view(WORTH),
        )
        self._peak, self._state = 0, world.state("risk")

    def after(self, stage: str) -> None:
        profit = 0
        for row, worth in zip(self._rows, self._worths, strict=False):
            qty, mark = int(row["qty"]), int(worth["mark"])
            held = abs(qty) * mark // SCALE * (1 if qty > 0 else -1) - int(row["cost"]) if qty and mark else 0
            profit += int(row["realised"]) - int(row["fees"]) + held
        self._peak = max(self._peak, profit)
        most_since_peak, most_today = self._limits
        if (self._peak - profit > most_since_peak or -profit > most_today) and not int(self._state["tripped"][0]):
            self.fail(f"profit {profit} after {self._peak}: beyond {self._limits}, and risk goes on")


class ExecutionChecker(Checker):
    """A strategy that was executed more often than allowed in an instrument has no order approved there. No run lasts a minute."""

    name = "executions"
    hears_rings = True
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._most = world.plan.config.controls.executions_per_min
        self._count: Counter[tuple[int, int]] = Counter()

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("reports"):
            for fields in ring.popped:
                if fields.kind == FILL:
                    self._count[fields.strategy, fields.instrument] += 1
        for ring in self.world.rings_of("orders"):
            for order in ring.pushed:
                count = self._count[order.strategy, order.instrument]
                if order.kind != CANCEL and count > self._most:
                    self.fail(
                        f"strategy {order.strategy} was executed {count} times in {order.instrument}, and goes on"
                    )


class RepeatChecker(Checker):
    """No order is approved that is the same as one of a moment ago."""

    name = "repeat"
    hears_rings = True
    steps_of = ("risk",)
    #: How far the pipeline's event clock may be behind the world's.
    SLACK_NS = 1_000_000

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._window_ns = world.plan.config.controls.duplicate_window_ms * 1_000_000 - self.SLACK_NS
        self._seen: dict[tuple[int, ...], int] = {}

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("orders"):
            for order in ring.pushed:
                if order.kind != CANCEL:
                    self._see(order)

    def _see(self, order: Fields) -> None:
        what = order.strategy, order.instrument, order.side, order.flags, order.price, order.qty
        now, before = self.world.now, self._seen.get(what, -(1 << 62))
        if now - before < self._window_ns:
            self.fail(f"the order {what} was approved {(now - before) / 1e6:.1f} ms after the same one")
        self._seen[what] = now


class SelfMatchChecker(Checker):
    """No two open orders of ours could trade with one another, whoever's they are."""

    name = "self_match"
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        table = world.region("risk.table")
        capacity = int(table[:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])
        self._orders = table[TABLE_HEADER_BYTES:][: capacity * ORDER.itemsize].view(ORDER)

    def after(self, stage: str) -> None:
        if self.world.plan.config.controls.self_match != "refuse":
            return
        if not any(order.kind != CANCEL for ring in self.world.rings_of("orders") for order in ring.pushed):
            return
        rows = self._orders[(self._orders["state"] >= PENDING_NEW) & (self._orders["state"] <= UNKNOWN)]
        for instrument in np.unique(rows["instrument"]).tolist():
            own = rows[rows["instrument"] == instrument]
            buys, sells = (self._limits(own[own["side"] == side]) for side in (BUY, 1 - BUY))
            if buys and sells and max(buys) >= min(sells):
                self.fail(
                    f"instrument {instrument}: one of ours buys up to {max(buys)}, one sells down to {min(sells)}"
                )

    @staticmethod
    def _limits(rows: np.ndarray) -> list[int]:
        """The prices at which each may trade, of a replace under way both."""
        found = []
        for row in rows:
            if int(row["flags"]) & TIF_MASK == MARKET:
                found.append(INT64_MAX if row["side"] == BUY else 0)
                continue
            found.append(int(row["price"]))
            if row["under_way"] >= A_REPLACE:
                found.append(int(row["new_price"]))
        return found


ALL = (GrossChecker, LossChecker, ExecutionChecker, RepeatChecker, SelfMatchChecker)
