"""The deterministic simulator: all stages in one thread on simulated time, with faults from a seed and checkers beside.

::

    python -m hftpipe.sim.world --seeds 200            # two processes; one line for each seed that fails
    python -m hftpipe.sim.world --seed 17              # the same run again, byte for byte
    python -m hftpipe.sim.world --seeds 20 --mutant gateway_ignores_halt

The stages are the compiled steps of the product over the memory that ``hftpipe.pipeline`` lays out; only time, the
order of their steps, the market (``world_feed``) and the venue's boundary (``world_venue``) are the world's own. A seed
draws which faults it has (``world_plan``); in the end faults stop, and everything must come to rest (I15). The rules
are in ``checkers``, planted bugs in ``faults``.
"""

import argparse
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from hftpipe.sim.checkers import Violation
from hftpipe.sim.faults import MUTANTS
from hftpipe.sim.world_plan import STEPS, plan_of
from hftpipe.sim.world_stages import SPECS, World, loaded_strategy

_PROCESSES = 2


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
            world = World(plan.again(), bug, 2 if bug is None else bug.next_epoch, frozenset(first.truth.orders))
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


def main(argv: list[str] | None = None) -> int:
    """Run seeds and say which fail; the exit code is 0 if none does (with a planted bug: if at least one does)."""
    parser = argparse.ArgumentParser(prog="python -m hftpipe.sim.world", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--steps", type=int, default=STEPS, help="scheduler steps with faults")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="plant this bug")
    given = parser.parse_args(argv)
    seeds = [given.seed] if given.seed is not None else list(range(given.first, given.first + given.seeds))
    run = partial(run_seed, steps=given.steps, mutant=given.mutant)
    for name in SPECS:
        loaded_strategy(name)
    if len(seeds) == 1:
        results = [run(seeds[0])]
    else:
        with ProcessPoolExecutor(_PROCESSES) as pool:
            results = list(pool.map(run, seeds, chunksize=1))
    failed = [result for result in results if result.violation]
    for result in failed:
        sys.stdout.write(describe(result) + "\n")
    digest = zlib.crc32(repr([result.digest for result in results]).encode())
    sent, fills = sum(r.sent for r in results), sum(r.fills for r in results)
    sys.stdout.write(f"{len(seeds)} seeds, {len(failed)} failed, {sent} requests, {fills} fills, digest {digest:08x}\n")
    return int(not failed) if given.mutant else int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
