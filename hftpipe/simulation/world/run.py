"""The deterministic simulator: all stages in one thread on simulated time, with faults from a seed and checkers beside.

::

    python -m hftpipe.simulation.world --seeds 200            # two processes; one line for each seed that fails
    python -m hftpipe.simulation.world --seed 17              # the same run again, byte for byte
    python -m hftpipe.simulation.world --seeds 20 --mutant gateway_ignores_halt
    python -m hftpipe.simulation.world --seeds 1000 --full    # two venues and three strategies with every seed
    python -m hftpipe.simulation.world --venue NAME           # an installed venue, with its own feed and orders

The stages are the compiled steps of the product over the memory that ``hftpipe.topology.pipeline`` lays out; only time, the
order of their steps, the markets (``feed``) and the venues' boundaries (``venue``; both of one venue: ``port``) are the world's
own. A seed draws which faults it has (``plan``), and how many there are: one or two venues, one to three strategies with
instruments and limits of their own, halts of one of them by an operator, a venue that dies and is halted alone (``company``).
In the end faults stop, everything must come to rest (I15), and every strategy that is not halted must be able to trade at every
venue that lives (``settling``). The rules are in ``checkers``, planted bugs in ``mutants``, ``mutants_of_parts`` and ``mutants_of_controls``.
"""

import gc
import sys
from dataclasses import dataclass

from hftpipe.simulation.campaign import Violation, campaign
from hftpipe.simulation.world.mutants import MUTANTS as OF_ANY
from hftpipe.simulation.world.mutants_of_controls import OF_CONTROLS
from hftpipe.simulation.world.mutants_of_journal import OF_JOURNAL
from hftpipe.simulation.world.mutants_of_parts import OF_PARTS
from hftpipe.simulation.world.plan import STEPS, plan_of
from hftpipe.simulation.world.settling import Settlement
from hftpipe.simulation.world.stages import SPECS, World, loaded_strategy
from hftpipe.venues.registry import VenueError

MUTANTS = OF_ANY | OF_PARTS | OF_CONTROLS | OF_JOURNAL


@dataclass(frozen=True)
class Result:
    """How a seed ended: ``violation`` is empty if every rule held; ``digest`` covers every record of every ring."""

    seed: int
    step: int
    violation: str
    digest: int
    sent: int
    fills: int


def run_seed(seed: int, steps: int = STEPS, mutant: str = "", full: bool = False, venue: str = "") -> Result:
    """Run one seed to the end, or to the first broken rule; ``full``, ``venue``: as :func:`plan_of` takes them."""
    plan, bug = plan_of(seed, steps, full, venue), MUTANTS[mutant]() if mutant else None
    world = World(plan, bug)
    digest, violation = 0, ""
    try:
        world.disturb()
        Settlement(world).run()
        if plan.dies:
            digest = world.digest()
            first = world
            epoch, used_ids = 2 if bug is None else bug.next_epoch, first.truth.ids
            # Halts are latched: the next run is under them, unless a person has cleared them.
            is_latched, latched = (False, ()) if plan.is_resumed else (first.is_latched, tuple(first.halts.latched))
            world = World(plan.again(), bug, epoch, used_ids, is_latched, latched)
            world.disturb()
            Settlement(world).run()
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
    # What the compiler has left behind stays: no search for garbage has to go through it again.
    gc.freeze()
    flags = {"full": "two venues and three strategies with every seed, and one of the venues dies"}
    texts = {"venue": "an installed venue, with its own feed and orders, in place of the world's own"}
    about = __doc__.splitlines()[0]
    try:
        return campaign(
            argv, "hftpipe.simulation.world", about, STEPS, MUTANTS, run_seed, describe, total, flags, texts
        )
    except VenueError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
