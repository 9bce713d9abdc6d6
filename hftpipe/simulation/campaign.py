"""A campaign of seeds from the command line: which ones, in how many processes, which have failed, and the exit code."""

import argparse
import multiprocessing
import os
import signal
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

from hftpipe.core.machine.process import die_with_parent

PROCESSES = 2


class Violation(Exception):
    """An invariant does not hold: which checker says so, and the facts."""

    def __init__(self, checker: str, facts: str) -> None:
        super().__init__(f"{checker}: {facts}")
        self.checker, self.facts = checker, facts


class Outcome(Protocol):
    """What became of a seed: ``violation`` is empty if everything held; equal runs have equal digests."""

    @property
    def violation(self) -> str: ...

    @property
    def digest(self) -> int: ...


R = TypeVar("R", bound=Outcome)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _left_by_signals() -> Iterator[None]:
    """A signal that asks for an end unwinds what runs inside, so that workers are ended too."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_worker(parent: int) -> None:
    """In a worker: end with the campaign, however that ends, and leave the terminal's signals to it."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run_all(run: Callable[[int], R], seeds: list[int]) -> list[R]:
    """Run seeds in PROCESSES processes; none is left when this returns or raises."""
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(PROCESSES, context, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        return list(pool.map(run, seeds))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()


def campaign(
    argv: list[str] | None,
    module: str,
    about: str,
    steps: int,
    mutants: Iterable[str],
    run_seed: Callable[..., R],
    describe: Callable[[R], str],
    total: Callable[[list[R]], str],
    flags: Mapping[str, str] = MappingProxyType({}),
    texts: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run seeds, say which have failed and what all of them add up to.

    Args:
        argv: arguments, None for those of the command line; module, about: for its help.
        steps: default of ``--steps``; mutants: bugs that can be planted.
        run_seed: called with a seed, ``steps=`` and ``mutant=``, in a process of its own.
        describe: the line of a seed that failed; total: the figures of all, as text.
        flags, texts: more of ``run_seed``'s arguments, that can be set or given, with what they mean.

    Returns:
        0 if no seed failed; with a planted bug: if at least one did.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--seeds", type=int, default=200, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--steps", type=int, default=steps, help="steps with faults")
    parser.add_argument("--mutant", default="", choices=["", *mutants], help="plant this bug")
    for name, meaning in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    for name, meaning in texts.items():
        parser.add_argument(f"--{name}", default="", help=meaning)
    given = parser.parse_args(argv)
    seeds = [given.seed] if given.seed is not None else list(range(given.first, given.first + given.seeds))
    run = partial(
        run_seed, steps=given.steps, mutant=given.mutant, **{name: getattr(given, name) for name in (*flags, *texts)}
    )
    with _left_by_signals():
        results = [run(seeds[0])] if len(seeds) == 1 else _run_all(run, seeds)
    failed = [result for result in results if result.violation]
    for result in failed:
        sys.stdout.write(describe(result) + "\n")
    digest = zlib.crc32(repr([result.digest for result in results]).encode())
    sys.stdout.write(f"{len(seeds)} seeds, {len(failed)} failed, {total(results)}, digest {digest:08x}\n")
    return int(not failed) if given.mutant else int(bool(failed))
