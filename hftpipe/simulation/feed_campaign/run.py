"""The feed campaign: a bad network between the simulated exchange and the ITCH feed, from a seed, with a checker.

::

    python -m hftpipe.simulation.feed_campaign --seeds 1000      # two processes; one line for each seed that fails
    python -m hftpipe.simulation.feed_campaign --seed 17         # the same run again
    python -m hftpipe.simulation.feed_campaign --seeds 20 --mutant hole_ignored

One thread a seed, on simulated time. The engine, the order flow and the publisher are the simulated exchange's, the
receive loop with arbiter, decoder and books is the product's. What a seed has is drawn in ``feed_plan``, the rules are
in ``feed_checks``, planted bugs in ``feed_faults``.
"""

import zlib
from dataclasses import dataclass, replace

from hftpipe.simulation.campaign import Violation, campaign
from hftpipe.simulation.feed_campaign.faults import FEED_MUTANTS
from hftpipe.simulation.feed_campaign.plan import STEPS, plan_of
from hftpipe.simulation.feed_campaign.rig import FeedWorld

_COUNTERS = ("delivered", "holes", "gaps", "recovered", "requests", "give_ups", "overflows", "session_changes")


@dataclass(frozen=True)
class FeedResult:
    """How a seed ended: ``violation`` is empty if every rule held.

    Attributes:
        compared: VALID books compared with the engine's; counters: of the arbiter.
        digest: covers the counters, the number of levels handed on and the final books.
    """

    seed: int
    kind: str
    step: int
    violation: str
    compared: int
    counters: dict[str, int]
    digest: int


def run_seed(seed: int, steps: int = STEPS, mutant: str = "") -> FeedResult:
    """Run one seed to the end, or to the first broken rule."""
    plan = plan_of(seed, steps)
    # A planted bug acts on one datagram at a time.
    world = FeedWorld(replace(plan, batch=1), FEED_MUTANTS[mutant]()) if mutant else FeedWorld(plan)
    violation = ""
    try:
        world.disturb()
        world.settle()
    except Violation as broken:
        violation = str(broken)
    finally:
        world.close()
    counters = {name: int(world.arbiter[name]) for name in _COUNTERS}
    facts = repr((world.step_count, violation, counters, world.checker.compared, world.checker.levels))
    digest = zlib.crc32(world.checker.truth.cells.data, zlib.crc32(facts.encode()))
    return FeedResult(seed, plan.kind, world.step_count, violation, world.checker.compared, counters, digest)


def describe(result: FeedResult) -> str:
    """The line of a seed that failed."""
    return f"seed {result.seed} {result.kind} step {result.step} {result.violation}"


def total(results: list[FeedResult]) -> str:
    """The figures of a campaign."""
    sums = {name: sum(result.counters[name] for result in results) for name in _COUNTERS}
    counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sums.items())
    return f"{sum(result.compared for result in results)} VALID books compared with the engine's\n{counted}"


def main(argv: list[str] | None = None) -> int:
    """Run seeds and say which fail; the exit code is 0 if none does (with a planted bug: if at least one does)."""
    about = __doc__.splitlines()[0]
    return campaign(argv, "hftpipe.simulation.feed_campaign", about, STEPS, FEED_MUTANTS, run_seed, describe, total)
