"""Compiles a cold build in parallel: worker processes fill the cache, the run itself then only loads from it.

Nothing here changes what is computed: a module compiles its entry points when it is imported, here as anywhere. Doing
it in processes of their own uses every CPU, and the compiler's memory is given back before the pipeline starts.
"""

import importlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

from hftpipe.core.machine.build import PACKAGE_DIR
from hftpipe.core.machine.jit import CACHE_DIR
from hftpipe.venues.registry import compiled_by

HELPERS, STRATEGY_PREFIX = "helpers", "strategy="
#: One list a worker, of about equal cost: what shares code shares a worker, which compiles it once.
UNITS = (
    ("hftpipe.gateway.stage", "hftpipe.market.stage", HELPERS),
    ("hftpipe.risk.stage", "hftpipe.strategy.stage"),
)
#: The paper exchange takes the orders wherever a venue takes none, and its market is the one that needs no network.
ALWAYS = ("paper", "taped")


def _mark(venue: str) -> Path:
    # Compiled code is kept by the place of its source: another checkout of the same build has none yet.
    return CACHE_DIR / f"compiled-{venue}-{zlib.crc32(str(PACKAGE_DIR).encode()):08x}"


def is_warm(venue: str) -> bool:
    """Whether everything that this build needs for a venue has been compiled before."""
    return _mark(venue).exists()


def precompile(strategy: str, venue: str) -> None:
    """Fill the cache of this build, of a venue and of a strategy, using every CPU this process may use.

    A worker that fails says nothing: whatever it found is found again, and reported, by the run itself.
    """
    first, second = UNITS
    venues = dict.fromkeys((*ALWAYS, venue))
    units = [first, (*second, STRATEGY_PREFIX + strategy), *(unit for name in venues for unit in compiled_by(name))]
    waiting = [[sys.executable, "-m", "hftpipe.app.precompile", *unit] for unit in units]
    running: list[subprocess.Popen[bytes]] = []
    limit = max(1, len(os.sched_getaffinity(0)))
    while waiting or running:
        while waiting and len(running) < limit:
            running.append(subprocess.Popen(waiting.pop(0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        running.pop(0).wait()
    _mark(venue).touch()


def _nothing() -> None:
    """For units whose import compiles all they have."""


def _compile_helpers() -> None:
    """What the supervisor and the monitor call by name."""
    from hftpipe.core.machine import clock
    from hftpipe.core.shared import stage

    clock.warm()
    stage.warm()


def _compile(unit: str) -> None:
    if unit == HELPERS:
        _compile_helpers()
    elif unit.startswith(STRATEGY_PREFIX):
        importlib.import_module("hftpipe.strategy.compile.loader").load(unit.removeprefix(STRATEGY_PREFIX))
    else:
        module = importlib.import_module(unit)
        getattr(module, "warm", _nothing)()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _compile(name)
