"""Planted bugs of what belongs to a part: to one of several strategies, to one of two venues, to what an operator halts alone."""

from typing import Any

import numpy as np

from hftpipe.core.schema.halts import CLOSED_SCOPE
from hftpipe.core.schema.position import POSITION
from hftpipe.risk.desks import DESK
from hftpipe.risk.state import LANE
from hftpipe.simulation.world.mutants import Mutant, orders_of


class RiskIgnoresOwnLimits(Mutant):
    """A strategy's own limits are read and not kept."""

    caught_by = ("own_limit", "own_rate")

    def start(self, world: Any) -> None:
        world.region("risk.desks").view(DESK)["is_limited"] = 0


class RiskForgetsOwnPosition(Mutant):
    """The limit of a strategy's own position is none."""

    caught_by = ("own_limit",)

    def start(self, world: Any) -> None:
        world.region("risk.desks").view(DESK)["max_position"] = 2**62


class RiskForgetsOwnRates(Mutant):
    """What was approved for a strategy before is forgotten at every step."""

    caught_by = ("own_rate",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.region("risk.desks").view(DESK)["rates"] = 0


class RiskBooksToTheFirst(Mutant):
    """Whatever becomes of an order is counted for the first strategy."""

    caught_by = ("exposure", "money")

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            orders_of(world.region("risk.table"))["strategy"] = 0


class StrategiesBookCrosswise(Mutant):
    """The stage books a strategy's fills in the book of another one."""

    caught_by = ("money",)

    def start(self, world: Any) -> None:
        positions = world.pipeline.seat_rows()["ctx"]["positions"]
        positions[:] = positions[::-1].copy()


class DesksDrift(Mutant):
    """What the strategies have does not add up to what the account has."""

    caught_by = ("desk",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk" and world.step_count % 64 == 0 and len(world.plan.strategies) > 1:
            world.region("risk.owned").view(POSITION)["bought_qty"][0] += 1


class _SeesNoScopes(Mutant):
    """Stages of a kind look at other words than those that are set."""

    stage = ""

    def start(self, world: Any) -> None:
        self._words = np.zeros_like(world.region("halts"))
        for state in world.states(self.stage).values():
            state["halts"] = self._words.ctypes.data


class RiskIgnoresScopes(_SeesNoScopes):
    """Risk approves what is halted in part."""

    caught_by = ("closed",)
    stage = "risk"


class GatewayIgnoresScopes(_SeesNoScopes):
    """Gateways send, and leave alone, what is halted in part."""

    caught_by = ("halt",)
    stage = "gateway"


class DeadVenueHaltsNothing(Mutant):
    """Whoever finds a dead venue forgets to halt it."""

    caught_by = ("closed", "halt", "liveness")

    def start(self, world: Any) -> None:
        halt = world.pipeline.set_scope
        world.pipeline.set_scope = lambda place, cause, now: halt(place, 0 if place < CLOSED_SCOPE else cause, now)


class ResumptionIsLost(Mutant):
    """What an operator lets trade again stays halted."""

    caught_by = ("liveness",)

    def start(self, world: Any) -> None:
        halt = world.pipeline.set_scope
        world.pipeline.set_scope = lambda place, cause, now: halt(place, cause, now) if cause else None


class OrdersGoAstray(Mutant):
    """The orders of one venue go to the other one."""

    caught_by = ("venue",)

    def start(self, world: Any) -> None:
        lanes = world.region("risk.lanes").view(LANE)[: len(world.ports)]
        lanes["orders"] = lanes["orders"][::-1].copy()


class GatewayMistakesItsFirst(Mutant):
    """The second venue's gateway takes the pipeline's ids for its own numbers."""

    caught_by = ("venue",)

    def start(self, world: Any) -> None:
        for state in world.states("gateway").values():
            state["first"] = 0


OF_PARTS: dict[str, type[Mutant]] = {
    "risk_ignores_own_limits": RiskIgnoresOwnLimits,
    "risk_forgets_own_position": RiskForgetsOwnPosition,
    "risk_forgets_own_rates": RiskForgetsOwnRates,
    "risk_books_to_the_first": RiskBooksToTheFirst,
    "strategies_book_crosswise": StrategiesBookCrosswise,
    "desks_drift": DesksDrift,
    "risk_ignores_scopes": RiskIgnoresScopes,
    "gateway_ignores_scopes": GatewayIgnoresScopes,
    "dead_venue_halts_nothing": DeadVenueHaltsNothing,
    "resumption_is_lost": ResumptionIsLost,
    "orders_go_astray": OrdersGoAstray,
    "gateway_mistakes_its_first": GatewayMistakesItsFirst,
}
