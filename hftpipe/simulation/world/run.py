"""The deterministic simulator: all stages in one thread on simulated time, with faults from a seed and checkers beside.

::

    python -m hftpipe.simulation.world --seeds 200            # two processes; one line for each seed that fails
    python -m hftpipe.simulation.world --seed 17              # the same run again, byte for byte
    python -m hftpipe.simulation.world --seeds 20 --mutant gateway_ignores_halt

The stages are the compiled steps of the product over the memory that ``hftpipe.topology.pipeline`` lays out; only time, the
order of their steps, the market (``world_feed``) and the venue's boundary (``world_venue``) are the world's own. A seed
draws which faults it has (``world_plan``); in the end faults stop, and everything must come to rest (I15). The rules
are in ``checkers``, planted bugs in ``faults``.
"""

from dataclasses import dataclass

from hftpipe.simulation.campaign import Violation, campaign
from hftpipe.simulation.world.mutants import MUTANTS
from hftpipe.simulation.world.plan import STEPS, plan_of
from hftpipe.simulation.world.stages import SPECS, World, loaded_strategy


@dataclass(frozen=True)
class Result:
    """How a seed ended: ``violation`` is empty if every rule held; ``digest`` covers every record of every ring."""

    seed: int
    step: int
    violation: str
    digest: int
    sent: int
    fills: int


def run_seed(seed: int, steps: int = STEPS, mutant: str = "") -> Result:
    """Run one seed to the end, or to the first broken rule."""
    plan, bug = plan_of(seed, steps), MUTANTS[mutant]() if mutant else None
    world = World(plan, bug)
    digest, violation = 0, ""
    try:
        world.disturb()
        world.settle()
        if plan.dies:
            digest = world.digest()
            first = world
            epoch, used_ids = 2 if bug is None else bug.next_epoch, frozenset(first.truth.orders)
            # The halt is latched: the next run is under it, unless a person has cleared it.
            world = World(plan.again(), bug, epoch, used_ids, first.is_halted and not plan.is_resumed)
            world.disturb()
            world.settle()
    except Violation as broken:
        violation = str(broken)
    truth = world.truth
    fills = sum(balance.fills for balance in truth.balances)
    return Result(seed, world.step_count, violation, digest ^ world.digest(), truth.sent, fills)


def describe(result: Result) -> str:
    """The line of a seed that failed."""
    return f"seed {result.seed} step {result.step} {result.violation}"


def total(results: list[Result]) -> str:
    """The figures of a campaign."""
    return f"{sum(result.sent for result in results)} requests, {sum(result.fills for result in results)} fills"


def main(argv: list[str] | None = None) -> int:
    """Run seeds and say which fail; the exit code is 0 if none does (with a planted bug: if at least one does)."""
    # Compiled before there are processes that would each do it.
    for name in SPECS:
        loaded_strategy(name)
    return campaign(
        argv, "hftpipe.simulation.world", __doc__.splitlines()[0], STEPS, MUTANTS, run_seed, describe, total
    )
