"""Checker of the end: once faults are over everything settles, and trading is possible wherever it may be."""

from collections import Counter
from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import CANCEL, VALID
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.topology.configured import limits_of


class LivenessChecker(Checker):
    """I15: once faults end everything settles: books VALID, nothing pending, exposure as the venue has it, trading possible.

    That of every strategy at every venue that nothing has halted and that lives.
    """

    name = "liveness"
    hears_rings = True
    steps_of = ("strategy", "risk")

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._limits = limits_of(world.plan.config)
        self._approved, self._approved_by = [0] * len(self._limits), [0] * len(world.plan.strategies)
        #: Orders that each strategy asked for, by instrument.
        self._asked: Counter[tuple[int, int]] = Counter()

    def after(self, stage: str) -> None:
        for order in self.world.rings["intents"].pushed:
            if order.kind != CANCEL:
                self._asked[order.strategy, order.instrument] += 1
        for ring in self.world.rings_of("orders"):
            for order in ring.pushed:
                if order.kind != CANCEL:
                    self._approved[order.instrument] += 1
                    self._approved_by[order.strategy] += 1

    def _has_spent_its_minute(self, target: Any) -> bool:
        """No run lasts a minute: an instrument or strategy that has had its orders of one gets no more."""
        own = [self.world.plan.strategies[index].orders_per_min for index in target.strategies]
        if all(
            most is not None and self._approved_by[index] >= most
            for index, most in zip(target.strategies, own, strict=True)
        ):
            return True
        return all(self._is_spent(target, index) for index in target.instruments)

    def _is_spent(self, target: Any, index: int) -> bool:
        """Whether an instrument has had its orders; those that quote keep to its rate themselves, and count what is refused, too."""
        limit, asked = self._limits[index], [self._asked[strategy, index] for strategy in target.strategies]
        is_asked = self.world.plan.strategies[target.strategies[0]].kind == "market_making"
        most = min(asked) if is_asked else self._approved[index]
        return limit.max_position is None or max(most, self._approved[index]) >= limit.orders_per_min

    def end(self) -> None:
        world = self.world
        if world.unsettled:
            self.fail(f"not settled after the faults ended: {world.unsettled}")
        if world.is_halted:
            return
        for index, line in enumerate(world.lines):
            state = world.book_state(index)
            if state != VALID and world.is_served(world.port_at[index]):
                self.fail(f"book of {line.symbol} is {state} after the faults ended")
        for target in world.unproven:
            if not self._has_spent_its_minute(target):
                refusals = world.state("risk")["rejects"][0]
                most = {reasons.NAMES.get(i, str(i)): int(n) for i, n in enumerate(refusals) if n}
                self.fail(f"no order was accepted after the faults ended, {target}; risk refused {most}")
