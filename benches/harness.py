"""What every bench shares: pinning, interleaved runs, the choice of undisturbed ones, percentiles, C++ rivals.

Only ratios between candidates of one interleaved series mean anything on another machine. Runs are shuffled within
each repetition, their involuntary context switches are counted, and the least disturbed ones are kept.
"""

import ctypes
import gc
import math
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import pytest

CPP = Path(__file__).parent / "cpp"
CXX_FLAGS = ["-O3", "-march=native", "-std=c++17", "-fno-exceptions"]
#: A pinned child that hangs is ended by the kernel after this long.
CHILD_LIMIT_S = 120
#: Of a series, at least this many runs are kept however disturbed they were.
KEPT_AT_LEAST = 3

Figures = Mapping[str, float]
T = TypeVar("T")


def percentiles(ns: np.ndarray) -> dict[str, float]:
    """p50, p99, p99_9 and max of samples in ns."""
    p50, p99, p99_9 = np.percentile(ns, (50, 99, 99.9), method="inverted_cdf")
    return {"p50": float(p50), "p99": float(p99), "p99_9": float(p99_9), "max": float(ns.max())}


def typical(ns: np.ndarray) -> float:
    """Mean of the middle half of samples in ns: for ratios where the clock's tick is coarse against the figure."""
    ordered = np.sort(ns)
    return float(ordered[len(ns) // 4 : len(ns) - len(ns) // 4].mean())


def pin(cpu: int) -> None:
    """Run the calling process (thread) on one CPU only."""
    os.sched_setaffinity(0, {cpu})


def cpus(count: int) -> list[int]:
    """The first ``count`` usable CPUs; skips the bench when there are fewer."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < count:
        pytest.skip(f"needs {count} CPUs, this process may use {len(usable)}")
    return usable[:count]


def fork_pinned(cpu: int, function: Callable[[], object]) -> int:
    """Pid of a child that runs ``function`` on ``cpu``, with the garbage collector off, and exits 0 unless it raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(CHILD_LIMIT_S)
        pin(cpu)
        gc.disable()
        function()
        code = 0
    except BaseException:  # the process boundary: nothing may unwind into the parent
        traceback.print_exc()
    finally:
        os._exit(code)


def join(*pids: int) -> None:
    """Wait for children.

    Raises:
        RuntimeError: one of them failed; the others are ended.
    """
    codes = {}
    for pid in pids:
        codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if codes[pid] != 0:
            for other in set(pids) - set(codes):
                os.kill(other, signal.SIGKILL)
    if any(codes.values()):
        raise RuntimeError(f"a benched process failed: exit codes {list(codes.values())}")


def compile_cpp(source: str, folder: Path, *flags: str) -> ctypes.CDLL:
    """Build ``benches/cpp/<source>`` as a shared library in ``folder`` and load it; skips without a compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler for the rivals (g++ or clang++)")
    library = folder / f"{Path(source).stem}.so"
    command = [compiler, *CXX_FLAGS, "-shared", "-fPIC", "-o", str(library), str(CPP / source), *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{result.stderr}")
    return ctypes.CDLL(str(library))


def context_switches() -> dict[str, int]:
    """Switches of this process and its ended children, and time stolen by the hypervisor (ticks, all CPUs)."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    stolen = next(line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu "))
    return {
        "voluntary": sum(usage.ru_nvcsw for usage in usages),
        "involuntary": sum(usage.ru_nivcsw for usage in usages),
        "steal": int(stolen[8]) if len(stolen) > 8 else 0,
    }


def since(before: dict[str, int]) -> dict[str, int]:
    """Switches and steal since ``before``."""
    return {key: value - before[key] for key, value in context_switches().items()}


@dataclass(frozen=True)
class Run:
    """One run of one candidate."""

    figures: Figures
    switches: dict[str, int]

    @property
    def disturbance(self) -> int:
        """Involuntary switches and stolen ticks."""
        return self.switches["involuntary"] + self.switches["steal"]


@dataclass
class Series:
    """All runs of one candidate; ``series["p50"]`` is the median of that figure over the undisturbed ones."""

    runs: list[Run] = field(default_factory=list)

    @property
    def kept(self) -> list[Run]:
        """The undisturbed runs."""
        return undisturbed(self.runs)

    @property
    def discarded(self) -> int:
        """How many runs were not used."""
        return len(self.runs) - len(self.kept)

    def __getitem__(self, figure: str) -> float:
        return median(run.figures[figure] for run in self.kept)

    def figures(self) -> dict[str, float]:
        """The median of every figure."""
        return {name: self[name] for name in self.runs[0].figures}

    def spread(self, figure: str) -> str:
        """Smallest and largest of the kept runs, and how many were dropped, for a table's note."""
        values = [run.figures[figure] for run in self.kept]
        note = f"{len(values)} runs {min(values):.4g}-{max(values):.4g}"
        return f"{note}, {self.discarded} disturbed dropped" if self.discarded else note


def _least(items: list[T], disturbance: Callable[[T], int]) -> list[T]:
    """The half with the smallest disturbance, with every item as good as the last of them."""
    wanted = min(len(items), max(KEPT_AT_LEAST, math.ceil(len(items) / 2)))
    limit = sorted(map(disturbance, items))[wanted - 1]
    return [item for item in items if disturbance(item) <= limit]


def undisturbed(runs: list[Run]) -> list[Run]:
    """The half of the runs with the fewest involuntary switches and the least steal."""
    return _least(runs, lambda run: run.disturbance)


def ratio(mine: Series, other: Series, figure: str) -> float:
    """Median of ``mine / other`` over the least disturbed repetitions of one interleaved series.

    Run against run of the same repetition: a hypervisor that moves the CPUs apart in between moves both.
    """
    pairs = _least(list(zip(mine.runs, other.runs, strict=True)), lambda pair: sum(run.disturbance for run in pair))
    return median(ours.figures[figure] / theirs.figures[figure] for ours, theirs in pairs)


def interleave(
    candidates: Mapping[str, Callable[[], Figures | np.ndarray]], repetitions: int, seed: int = 1
) -> dict[str, Series]:
    """Run every candidate once a repetition, in a new order each time.

    Args:
        candidates: by name, functions of no arguments that return figures, or samples in ns (then percentiles).
        repetitions: runs per candidate.
        seed: of the order.
    """
    series = {name: Series() for name in candidates}
    order, shuffle = list(candidates), random.Random(seed).shuffle
    for _ in range(repetitions):
        shuffle(order)
        for name in order:
            before = context_switches()
            result = candidates[name]()
            figures = percentiles(result) if isinstance(result, np.ndarray) else result
            series[name].runs.append(Run(figures, since(before)))
    return series


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    import numba

    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.count(":") == 1)
    facts = {key.strip(): value.strip() for key, value in fields.items()}
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    compiler = shutil.which("g++")
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True).stdout if compiler else ""
    return {
        "cpu": facts.get("model name", platform.processor()),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in facts.get("flags", "").split(),
        "governor": governor.read_text().strip() if governor.exists() else "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "g++": version.strip() or "none",
        "load_1_min": round(os.getloadavg()[0], 2),
    }
