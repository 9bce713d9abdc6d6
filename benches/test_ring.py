"""The ring between two processes, against the same ring and two others in C++.

::

       CPU a                                 CPU b
    ping    --- ring "out",  64 B ---->    echo            round trip: claim, fill, publish ... peek, check, pop
            <-- ring "back", 64 B -----
    produce --- ring "out",  64 B ---->    consume         throughput, every record checked

All candidates run in freshly forked, pinned processes over the same shared memory; ours goes through the calls the
stages use. Every record carries its number seven times and is checked by whoever receives it.
"""

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from conftest import Report
from harness import Series, compile_cpp, cpus, fork_pinned, interleave, join, percentiles, ratio, typical

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, copy_bytes, load_i64, rdtsc, store_i64
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.ring import ring_claim, ring_peek, ring_pop, ring_publish

SLOTS = 1024
RING_SPACE = 1 << 17
WARM_UP, ROUND_TRIPS, REPETITIONS = 20_000, 200_000, 15
#: Throughput is timed by chunks much shorter than a scheduler's time slice.
CHUNK, CHUNKS = 50_000, 100
PYTHON_ROUND_TRIPS = 20_000
OUT, BACK, RESULT, TICKS = 0, RING_SPACE, 2 * RING_SPACE, 2 * RING_SPACE + 4096

OURS, TWIN, INDEX, RIGTORP, PYTHON = (
    "hftpipe ring",
    "C++ same ring",
    "C++ index ring",
    "C++ rigtorp",
    "Python spin, 8 B",
)


@jit
def fill(slot, number):
    for word in range(7):
        store_i64(slot + U64(8) + U64(8 * word), number + word)


@jit
def intact(slot, number):
    wrong = np.int64(0)
    for word in range(7):
        wrong |= load_i64(slot + U64(8) + U64(8 * word)) ^ (number + word)
    return wrong == 0


@jit
def await_record(ring):
    while True:
        slot = ring_peek(ring)
        if slot != U64(0):
            return slot


@jit
def await_space(ring):
    while True:
        slot = ring_claim(ring)
        if slot != U64(0):
            return slot


@jit
def ping(out, back, warm_up, count, ticks):
    wrong = np.int64(0)
    for number in range(-warm_up, count):
        before = rdtsc()
        fill(ring_claim(out), number)
        ring_publish(out)
        wrong += not intact(await_record(back), number)
        ring_pop(back)
        after = rdtsc()
        if number >= 0:
            store_i64(ticks + U64(8) * U64(number), np.int64(after - before))
    return wrong


@jit
def echo(inward, back, count):
    for _ in range(count):
        slot = await_record(inward)
        copy_bytes(ring_claim(back) + U64(8), slot + U64(8), np.int64(56))
        ring_publish(back)
        ring_pop(inward)
    return np.int64(0)


@jit
def produce(out, count):
    for number in range(count):
        fill(await_space(out), number)
        ring_publish(out)
    return np.int64(0)


@jit
def consume(inward, chunks, size, ticks):
    """Read ``chunks`` times ``size`` records, noting the counter after each chunk; how many were damaged."""
    wrong, number = np.int64(0), np.int64(0)
    for chunk in range(chunks):
        for _ in range(size):
            wrong += not intact(await_record(inward), number)
            ring_pop(inward)
            number += 1
        store_i64(ticks + U64(8) * U64(chunk), np.int64(rdtsc()))
    return wrong


@dataclass
class Candidate:
    """The five calls of one ring, each on addresses and int64 counts."""

    init: Callable[[int, int], object]
    ping: Callable[[int, int, int, int, int], int]
    echo: Callable[[int, int, int], int]
    produce: Callable[[int, int], int]
    consume: Callable[[int, int, int, int], int]


def _numba(function: Callable[..., int], n_addresses: int, last_is_address: bool = False) -> Callable[..., int]:
    def call(*args: int) -> int:
        addresses = set(range(n_addresses)) | ({len(args) - 1} if last_is_address else set())
        return int(function(*(np.uint64(a) if i in addresses else np.int64(a) for i, a in enumerate(args))))

    return call


def ours() -> Candidate:
    """Our ring, compiled before any process is forked."""
    ping.compile("(uint64, uint64, int64, int64, uint64)")
    echo.compile("(uint64, uint64, int64)")
    produce.compile("(uint64, int64)")
    consume.compile("(uint64, int64, int64, uint64)")

    def init(ring: int, slots: int) -> None:
        header = np.ctypeslib.as_array((ctypes.c_uint8 * RING.itemsize).from_address(ring)).view(RING)
        header["capacity"], header["mask"] = slots, slots - 1

    return Candidate(init, _numba(ping, 2, True), _numba(echo, 2), _numba(produce, 1), _numba(consume, 1, True))


def rival(library: ctypes.CDLL, name: str) -> Candidate:
    """One ring of ring.cpp."""
    shapes = {"init": "ai", "ping": "aaiia", "echo": "aai", "produce": "ai", "consume": "aiia"}
    calls = {}
    for call, shape in shapes.items():
        calls[call] = library[f"{name}_{call}"]
        calls[call].argtypes = [ctypes.c_uint64 if kind == "a" else ctypes.c_int64 for kind in shape]
        calls[call].restype = ctypes.c_int64
    return Candidate(**calls)


@dataclass
class Track:
    """Shared memory of two rings and the results, and the CPUs at its ends."""

    ns_per_tick: float
    cpus: list[int]
    memory: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    @property
    def base(self) -> int:
        return self.memory.ctypes.data

    def _run(self, near: Callable[[], object], far: Callable[[], object]) -> None:
        join(fork_pinned(self.cpus[1], far), fork_pinned(self.cpus[0], near))

    def _result(self) -> np.ndarray:
        return self.memory[RESULT : RESULT + 8].view(np.int64)

    def _new_memory(self) -> None:
        """Other pages for every run: how they fall into the caches is part of what is averaged."""
        self.memory = np.frombuffer(mmap.mmap(-1, TICKS + 8 * ROUND_TRIPS), np.uint8)
        self.memory[:] = 0

    def _fresh(self, candidate: Candidate) -> None:
        self._new_memory()
        for at in (OUT, BACK):
            candidate.init(self.base + at, SLOTS)

    def round_trips(self, candidate: Candidate) -> dict[str, float]:
        """Figures of the ns per round trip."""
        self._fresh(candidate)
        out, back, ticks = self.base + OUT, self.base + BACK, self.base + TICKS

        def near() -> None:
            self.memory[TICKS:] = 1
            self._result()[0] = candidate.ping(out, back, WARM_UP, ROUND_TRIPS, ticks)

        self._run(near, lambda: candidate.echo(out, back, WARM_UP + ROUND_TRIPS))
        assert self._result()[0] == 0, f"{self._result()[0]} damaged records"
        return summary(self.memory[TICKS : TICKS + 8 * ROUND_TRIPS].view(np.int64) * self.ns_per_tick)

    def python_round_trips(self) -> dict[str, float]:
        """The same of two interpreters spinning on a word each: what needs no library at all."""
        self._new_memory()
        words = self.memory[: 2 * RING_SPACE].view(np.int64).data
        mine, theirs = OUT // 8, BACK // 8
        ticks = self.memory[TICKS : TICKS + 8 * PYTHON_ROUND_TRIPS].view(np.int64)

        def near() -> None:
            from time import perf_counter_ns

            for number in range(1, PYTHON_ROUND_TRIPS + 1):
                before = perf_counter_ns()
                words[mine] = number
                while words[theirs] != number:
                    pass
                ticks[number - 1] = perf_counter_ns() - before

        def far() -> None:
            for number in range(1, PYTHON_ROUND_TRIPS + 1):
                while words[mine] != number:
                    pass
                words[theirs] = number

        self._run(near, far)
        return summary(ticks[PYTHON_ROUND_TRIPS // 10 :].astype(np.float64))

    def throughput(self, candidate: Candidate) -> dict[str, float]:
        """Million records a second in the median chunk: one that lost its CPU for a while does not count."""
        self._fresh(candidate)
        out, ticks = self.base + OUT, self.base + TICKS

        def far() -> None:
            self.memory[TICKS:] = 1
            self._result()[0] = candidate.consume(out, CHUNKS, CHUNK, ticks)

        self._run(lambda: candidate.produce(out, CHUNKS * CHUNK), far)
        assert self._result()[0] == 0, f"{self._result()[0]} damaged records"
        chunk_ns = np.diff(self.memory[TICKS : TICKS + 8 * CHUNKS].view(np.int64)) * self.ns_per_tick
        return {"p50": CHUNK * 1e3 / float(np.median(chunk_ns)), "max": CHUNK * 1e3 / float(chunk_ns.min())}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Candidate]:
    folder: Path = tmp_path_factory.mktemp("cpp")
    library = compile_cpp("ring.cpp", folder)
    rivals = {TWIN: "twin", INDEX: "index", RIGTORP: "rigtorp"}
    return {OURS: ours()} | {label: rival(library, name) for label, name in rivals.items()}


@pytest.fixture(scope="module")
def track() -> Track:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    return Track(float(clock["ns_per_tick"][0]), cpus(2))


def shown(series: Series) -> dict[str, float]:
    """The percentiles of a series, for the table."""
    return {figure: series[figure] for figure in ("p50", "p99", "p99_9", "max")}


def summary(ns: np.ndarray) -> dict[str, float]:
    """Percentiles, and the mean of the middle half."""
    return percentiles(ns) | {"typical": typical(ns)}


def test_round_trip(candidates: dict[str, Candidate], track: Track, report: Report) -> None:
    """The ratio is that of the middle halves: a tick of the counter may be a tenth of the median."""
    runs = {name: lambda c=candidate: track.round_trips(c) for name, candidate in candidates.items()}
    series = interleave(runs | {PYTHON: track.python_round_trips}, REPETITIONS)
    bars = {TWIN: "<= 1.10", INDEX: "<= 0.85"}
    bench, what, mine = "ring", "round trip, 64 B, two CPUs", series.pop(OURS)
    report.row(bench, what, **shown(mine), note=mine.spread("typical"))
    for name, other in series.items():
        faster, note = ratio(mine, other, "typical"), other.spread("typical")
        report.row(bench, what, name, **shown(other), ratio=faster, bar=bars.get(name), note=note)


def test_throughput(candidates: dict[str, Candidate], track: Track, report: Report) -> None:
    """Two regimes, whatever the ring: a consumer that keeps up makes every line cross at once (slow), one that lags a
    little reads lines that have come to rest (fast). ``max`` is the best chunk, which is the fast one."""
    runs = {name: lambda c=candidate: track.throughput(c) for name, candidate in candidates.items()}
    series = interleave(runs, REPETITIONS)
    bars = {TWIN: ">= 0.90"}
    bench, what, mine = "ring", "throughput, 64 B, two CPUs", series.pop(OURS)
    report.row(bench, what, unit="M/s", **mine.figures(), note=mine.spread("p50"))
    for name, other in series.items():
        more, note = ratio(mine, other, "p50"), other.spread("p50")
        report.row(bench, what, name, unit="M/s", **other.figures(), ratio=more, bar=bars.get(name), note=note)
