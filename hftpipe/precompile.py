"""Compiles a cold build in parallel: worker processes fill the cache, the run itself then only loads from it.

Nothing here changes what is computed: a module compiles its entry points when it is imported, here as anywhere. Doing
it in processes of their own uses every CPU, and the compiler's memory is given back before the pipeline starts.
"""

import importlib
import os
import subprocess
import sys

from hftpipe.core.jit import CACHE_DIR

#: Units of about equal cost, the longest first; each worker takes the next one.
UNITS = (
    ("hftpipe.sim.feed", "hftpipe.gateway.stage"),
    ("hftpipe.market.stage",),
    ("hftpipe.sim.exchange",),
    ("hftpipe.strategy.stage", "hftpipe.risk.stage"),
)
DONE = CACHE_DIR / "compiled"
STRATEGY_PREFIX = "strategy="


def is_warm() -> bool:
    """Whether everything of this build has been compiled before."""
    return DONE.exists()


def precompile(strategy: str) -> None:
    """Fill the cache of this build and of a strategy, using every CPU this process may use.

    A worker that fails says nothing: whatever it found is found again, and reported, by the run itself.
    """
    units = [*UNITS, (STRATEGY_PREFIX + strategy,)]
    waiting = [[sys.executable, "-m", "hftpipe.precompile", *unit] for unit in units]
    running: list[subprocess.Popen[bytes]] = []
    limit = max(1, len(os.sched_getaffinity(0)))
    while waiting or running:
        while waiting and len(running) < limit:
            running.append(subprocess.Popen(waiting.pop(0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        running.pop(0).wait()
    DONE.touch()


def _compile(unit: str) -> None:
    if unit.startswith(STRATEGY_PREFIX):
        importlib.import_module("hftpipe.strategy.loader").load(unit.removeprefix(STRATEGY_PREFIX))
    else:
        importlib.import_module(unit)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _compile(name)
