"""Checkers of what each of several strategies has for itself: positions, limits, rates."""

from collections import deque
from typing import Any

import numpy as np

from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import CANCEL
from hftpipe.simulation.world.checkers.rules import Checker

#: Of a POSITION what of all strategies adds up to the account's. What a cost average makes of it does not.
SUMS = (
    "qty", "fees", "bought_qty", "sold_qty", "turnover", "fills", "working_buy", "working_sell", "at_mid", "taker_fees",
)  # fmt: skip


class OwnLimitChecker(Checker):
    """A strategy's position with everything of its own that may still fill stays within its limit, by the venues' truth."""

    name = "own_limit"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        limits = [one.max_position for one in world.plan.strategies]
        self._bounds = [
            (f"strategy {strategy}, instrument {index}", balance, limit)
            for strategy, limit in enumerate(limits)
            for index, balance in enumerate(world.truth.owned[strategy])
            if limit is not None
        ]

    def check(self) -> None:
        for label, balance, limit in self._bounds:
            if balance.worst > limit:
                self.fail(f"{label}: worst {balance.worst} > {limit}; position {balance.qty}, {balance.working}")


class DeskChecker(Checker):
    """What risk counts for each strategy adds up to what it counts for the account, after each of its steps."""

    name = "desk"
    hears_rings = True
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        shape = len(world.plan.strategies), len(world.plan.instruments)
        rows = world.region("risk.owned").view(POSITION)[: shape[0] * shape[1]].reshape(shape)
        account = world.region("risk.positions").view(POSITION)
        self._parts = [(name, rows[name], account[name]) for name in SUMS]

    def after(self, stage: str) -> None:
        for name, owned, account in self._parts:
            total = owned.sum(axis=0)
            if not np.array_equal(total, account):
                self.fail(f"{name}: the strategies have {total.tolist()} together, the account {account.tolist()}")


class OwnRateChecker(Checker):
    """What risk approves for a strategy in any second, and in all, is within its limits. No run lasts a minute."""

    name = "own_rate"
    hears_rings = True
    steps_of = ("risk",)
    SECOND_NS, MINUTE_NS = 10**9, 60 * 10**9

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._limits = [(one.orders_per_s, one.orders_per_min) for one in world.plan.strategies]
        self._second: list[deque[int]] = [deque() for _ in self._limits]
        self._minute: list[deque[int]] = [deque() for _ in self._limits]

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("orders"):
            for order in ring.pushed:
                if order.kind != CANCEL and order.strategy < len(self._limits):
                    self._count(order.strategy)

    def _count(self, strategy: int) -> None:
        now, (per_second, per_minute) = self.world.now, self._limits[strategy]
        for times, length, most in (
            (self._second[strategy], self.SECOND_NS, per_second), (self._minute[strategy], self.MINUTE_NS, per_minute),
        ):  # fmt: skip
            times.append(now)
            while times[0] <= now - length:
                times.popleft()
            if most is not None and len(times) > most:
                self.fail(
                    f"strategy {strategy}: {len(times)} orders approved within {length // 10**9} s, allowed {most}"
                )
