"""Compiles a cold build in parallel: worker processes fill the cache, the run itself then only loads from it.

``python -m hftpipe.app.precompile`` (``make warm``) compiles all that this package brings, for a later start has nothing to do then.

Nothing here changes what is computed: a module compiles its entry points when it is imported, here as anywhere. Doing
it in processes of their own uses every CPU, and the compiler's memory is given back before the pipeline starts.
"""

import contextlib
import importlib
import os
import subprocess
import sys
import zlib
from collections.abc import Collection
from pathlib import Path

from hftpipe.core.machine.build import PACKAGE_DIR
from hftpipe.core.machine.jit import CACHE_DIR
from hftpipe.core.machine.process import die_with_parent
from hftpipe.core.schema.refusal import Refusal
from hftpipe.venues.registry import BUILT_IN, compiled_by

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


def is_warm(venues: Collection[str]) -> bool:
    """Whether everything that this build needs for these kinds of venue has been compiled before."""
    return all(_mark(venue).exists() for venue in venues)


def precompile(strategies: Collection[str], venues: Collection[str]) -> None:
    """Fill the cache of this build, of these kinds of venue and of strategies, using every CPU this process may use.

    A worker that fails says nothing: whatever it found is found again, and reported, by the run itself. Only a build of which
    all was compiled counts as warm.
    """
    first, second = UNITS
    needed = dict.fromkeys((*ALWAYS, *venues))
    units = [
        first,
        (*second, *(STRATEGY_PREFIX + one for one in strategies)),
        # Two markets of a venue share what they need.
        *dict.fromkeys(unit for name in needed for unit in compiled_by(name)),
    ]
    waiting = [[sys.executable, "-m", "hftpipe.app.precompile", str(os.getpid()), *unit] for unit in units]
    running: list[subprocess.Popen[bytes]] = []
    limit, is_whole = max(1, len(os.sched_getaffinity(0))), True
    while waiting or running:
        while waiting and len(running) < limit:
            running.append(subprocess.Popen(waiting.pop(0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        is_whole &= running.pop(0).wait() == 0
    for venue in venues if is_whole else ():
        _mark(venue).touch()


def precompile_all() -> None:
    """The same of every kind of venue and every strategy of this package, unless it has been done."""
    if not is_warm(BUILT_IN):
        from hftpipe.strategy.compile.loader import REGISTERED

        sys.stdout.write("compiling all there is, once a build: a minute or two\n")
        sys.stdout.flush()
        precompile(REGISTERED, BUILT_IN)


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
        # An author's mistake is the run's to name, and none of the build's.
        with contextlib.suppress(Refusal):
            importlib.import_module("hftpipe.strategy.compile.loader").load(unit.removeprefix(STRATEGY_PREFIX))
    else:
        module = importlib.import_module(unit)
        getattr(module, "warm", _nothing)()


def main(parent: str = "", *units: str) -> None:
    """One worker's units, as :func:`precompile` starts it; all there is, if nothing is given."""
    if not parent:
        return precompile_all()
    die_with_parent(int(parent))
    for unit in units:
        _compile(unit)


if __name__ == "__main__":
    main(*sys.argv[1:])
