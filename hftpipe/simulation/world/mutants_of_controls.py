"""Planted bugs of the controls of the whole run."""

from typing import Any

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.risk.crossing import TOUCH
from hftpipe.risk.losses import LOSS
from hftpipe.risk.repeats import REPEATS
from hftpipe.risk.standings import STANDING
from hftpipe.risk.worth import TOTAL
from hftpipe.simulation.world.mutants import Mutant


class RiskForgetsTheSum(Mutant):
    """What all positions come to begins anew with every step."""

    caught_by = ("gross",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.region("risk.totals").view(TOTAL)["gross"] = 0


class RiskForgetsLosses(Mutant):
    """What was lost before this step is forgotten."""

    caught_by = ("loss",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.losses").view(LOSS)
            rows["profit"] = rows["peak"] = rows["highest"] = 0


class RiskForgetsExecutions(Mutant):
    """So are the executions, and whose were too many."""

    caught_by = ("executions",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.standings").view(STANDING)
            rows["executions"], rows["is_over"] = 0, 0


class RiskForgetsRepetitions(Mutant):
    """So is what was approved."""

    caught_by = ("repeat",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.region("risk.repeats")[REPEATS.itemsize :] = 0


class RiskForgetsItsOwnPrices(Mutant):
    """So is at which prices our own orders stand."""

    caught_by = ("self_match",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.touches").view(TOUCH)
            rows["highest_buy"], rows["lowest_sell"] = 0, INT64_MAX


class RiskAllowsEverything(Mutant):
    """Restricted instruments are traded."""

    caught_by = ("closed",)

    def start(self, world: Any) -> None:
        world.region("risk.standings").view(STANDING)["is_allowed"] = 1


OF_CONTROLS: dict[str, type[Mutant]] = {
    "risk_forgets_the_sum": RiskForgetsTheSum,
    "risk_forgets_losses": RiskForgetsLosses,
    "risk_forgets_executions": RiskForgetsExecutions,
    "risk_forgets_repetitions": RiskForgetsRepetitions,
    "risk_forgets_its_own_prices": RiskForgetsItsOwnPrices,
    "risk_allows_everything": RiskAllowsEverything,
}
