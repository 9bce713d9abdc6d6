"""The recorder keeps up with a stage that puts more than a million records a second on its tape.

::

       CPU a                                       CPU b
    open loop, 1.05 M/s --- tape ring, 64 B ---> recorder: drain -> blocks in memory -> checksum, write -> session files

The producer's schedule does not wait for anyone: record n is due at n periods after the start, and a record that finds
the tape full is dropped and counted, as in a stage. Afterwards the files are read back and every record is checked.
There is one attempt; where the machine took a CPU away for longer than tape and memory last, the figures show it and
the bench fails all the same. The rivals are what one would write in Python in an afternoon: no checksums, no bounded
loss, no second thread, and the ring's records as they are to a file, or as Arrow batches.
"""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Report
from harness import context_switches as switches
from harness import cpus, fork_pinned, join, percentiles, since

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, pause, rdtsc, view
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import LEVEL, RECORD
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES, ring_bytes
from hftpipe.core.shared.ring import ring_init
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.tape import tape_record
from hftpipe.record.tape.block import BLOCK_RECORDS, BUFFER_BYTES, block_bytes
from hftpipe.record.tape.reader import open_session
from hftpipe.record.tape.recorder import RECORDER, Recorder, Tape, recorder_bytes, warm
from hftpipe.record.tape.session import build_header, create_session
from hftpipe.record.tape.writer import TapeWriter

TARGET_PER_S, RATE_PER_S = 1_000_000, 1_050_000
WARM_UP_S, SECONDS, RIVAL_SECONDS = 1, 12, 6
#: 16 MiB, the product's default: a quarter of a second at this rate.
SLOTS = 262_144
READY_S = 30.0
#: What the two processes of a run tell: end of the warm-up, seconds of the schedule after it, longest gap between two
#: records, records dropped in the warm-up, CPU seconds, involuntary switches; then percentiles in ns of the time between
#: two looks at the tape, of a look, and of a write.
TIMES = ("interval", "round", "write")
FIGURES = ("p50", "p99", "p99_9", "max")
RESULT = np.dtype(
    [
        ("ready", "u8"), ("began_ns", "i8"), ("seconds", "f8"), ("gap_ns", "f8"), ("lost_before", "i8"),
        ("cpu_s", "f8"), ("involuntary", "i8"), *((f"{name}_{figure}", "f8") for name in TIMES for figure in FIGURES),
    ]
)  # fmt: skip


@jit
def produce(tape, scratch, first, count, ticks_per_record):
    """Offer ``count`` records on schedule; how many ticks that took, and the longest time between two of them."""
    r = view(scratch, RECORD)
    start = last = rdtsc()
    longest = U64(0)
    for number in range(count):
        due, now = U64(np.float64(number) * ticks_per_record), rdtsc()
        while now - start < due:
            pause()
            now = rdtsc()
        longest, last = max(longest, now - last), now
        r.price, r.id, r.kind = first + number, U64(first + number), LEVEL
        tape_record(tape, scratch)
    return rdtsc() - start, longest


class Stopwatch:
    """Durations of calls, and the time between their starts, in ns."""

    def __init__(self) -> None:
        self.spent: list[int] = []
        self.started: list[int] = []

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter_ns()
            result = call(*arguments)
            self.spent.append(time.perf_counter_ns() - started)
            self.started.append(started)
            return result

        return timed

    def durations(self, began_ns: int) -> np.ndarray:
        """Of the calls since then."""
        return np.asarray(self.spent)[np.asarray(self.started) >= began_ns]

    def intervals(self, began_ns: int) -> np.ndarray:
        """Between the starts of the calls since then."""
        started = np.asarray(self.started)
        return np.diff(started[started >= began_ns])


@dataclass
class Rig:
    """One run's shared memory and folder."""

    segment: Segment
    folder: Path

    @property
    def result(self) -> np.ndarray:
        return self.segment.record("result", RESULT)

    @property
    def ring(self) -> np.ndarray:
        return self.segment.record("tape", RING)


@dataclass
class Take:
    """One run: records stored a second and dropped after the warm-up, and what it told."""

    rate: float
    lost: int
    result: np.ndarray
    blocks_used: int
    steal: int

    def times(self, name: str) -> dict[str, float]:
        """Percentiles in ms."""
        return {figure: float(self.result[f"{name}_{figure}"]) / 1e6 for figure in FIGURES}

    def note(self) -> str:
        r, seconds = self.result, float(self.result["seconds"])
        return (
            f"{seconds:.0f} s, lost {self.lost} (warm-up {int(r['lost_before'])}), {r['cpu_s'] / seconds:.0%} of a CPU, "
            f"{int(r['involuntary'])} involuntary switches, {self.steal} ticks stolen, longest without a CPU: producer "
            f"{r['gap_ns'] / 1e6:.1f} ms, recorder {r['interval_max'] / 1e6:.1f} ms; the tape lasts "
            f"{SLOTS / RATE_PER_S * 1e3:.0f} ms"
        )


Body = Callable[[Rig, Stopwatch, Stopwatch], None]


def header_for(segment: Segment, clock: np.ndarray) -> dict:
    return build_header(
        pipeline="bench", epoch=segment.epoch, stages=("market_data",), fingerprint="", config={},
        instruments=np.zeros(0, INSTRUMENT), strategies=[], clock=clock, start_wall_ns=int(clock["wall0_ns"][0]),
    )  # fmt: skip


def ours(rig: Rig, rounds: Stopwatch, writes: Stopwatch) -> None:
    """The product's recorder."""
    recorder = Recorder(rig.segment, {"market_data": "tape"}, rig.folder)
    Tape.drain, TapeWriter.write = rounds.wrap(Tape.drain), writes.wrap(TapeWriter.write)
    rig.result["ready"] = 1
    recorder.main(os.getppid())


def _poll(rig: Rig, rounds: Stopwatch, write: Callable[[np.ndarray], None]) -> None:
    """What the rivals share: whatever is on the tape goes to ``write`` in at most two pieces."""
    ring, header = rig.segment.region("tape"), rig.ring
    slots = ring[RING_HEADER_BYTES : ring_bytes(SLOTS)].view(RECORD)
    stop = rig.segment.region("recorder.stop")[:8].view(np.uint64)

    def look(out: int) -> int:
        produced = int(header["next_in"][0])
        start, count = out % SLOTS, produced - out
        write(slots[start : start + count])
        if start + count > SLOTS:
            write(slots[: start + count - SLOTS])
        header["next_out"] = produced
        return produced

    look, out, is_last = rounds.wrap(look), 0, False
    rig.result["ready"] = 1
    while not is_last:
        is_last = bool(stop[0])
        out = look(out)
        time.sleep(0.001)


def plain_file(rig: Rig, rounds: Stopwatch, writes: Stopwatch) -> None:
    """The ring's records appended to a file."""
    with open(rig.folder / "plain", "wb") as file:
        _poll(rig, rounds, writes.wrap(file.write))


def arrow(rig: Rig, rounds: Stopwatch, writes: Stopwatch) -> None:
    """The same as batches of an Arrow IPC stream."""
    kind = pa.binary(RECORD.itemsize)

    def write(records: np.ndarray) -> None:
        rows = pa.FixedSizeBinaryArray.from_buffers(kind, len(records), [None, pa.py_buffer(records)])
        stream.write_batch(pa.record_batch([rows], ["record"]))

    with pa.ipc.new_stream(str(rig.folder / "arrow"), pa.schema([("record", kind)])) as stream:
        _poll(rig, rounds, writes.wrap(write))


def prices_of(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The numbers of the stored records, without the marks of gaps."""
    return np.concatenate([block["price"][block["kind"] == LEVEL] for block in blocks])


def stored_by_ours(folder: Path) -> np.ndarray:
    session = open_session(folder)
    assert session.is_complete
    return prices_of(session.records("market_data"))


def stored_in_file(folder: Path) -> np.ndarray:
    return prices_of([np.fromfile(folder / "plain", RECORD)])


def stored_in_arrow(folder: Path) -> np.ndarray:
    with pa.memory_map(str(folder / "arrow")) as source:
        columns = (batch.column(0) for batch in pa.ipc.open_stream(source))
        return prices_of(np.frombuffer(rows.buffers()[1], RECORD, len(rows), rows.offset) for rows in columns)


def take(base: Path, body: Body, stored: Callable[[Path], np.ndarray], seconds: int, clock: np.ndarray) -> Take:
    """One run, checked: what was offered is in the files, in order, but for what the tape counted as dropped."""
    sizes = {"tape": ring_bytes(SLOTS), "recorder": recorder_bytes(1), "recorder.stop": 64, "result": RESULT.itemsize}
    segment = Segment.create(f"bench-record-{os.getpid()}", sizes, {})
    rig = Rig(segment, create_session(base, header_for(segment, clock), body.__name__))
    try:
        ring_init(segment.region("tape"), SLOTS)
        before = switches()
        took_s = _run(rig, body, seconds, float(clock["ns_per_tick"][0]))
        prices, lost = stored(rig.folder), int(rig.ring["lost"][0])
        offered, lost_before = RATE_PER_S * (WARM_UP_S + seconds), int(rig.result["lost_before"][0])
        # Exact: without a loss every price is there, with losses as many are missing as were counted, in order.
        assert (np.diff(prices) > 0).all() and offered == len(prices) + lost
        blocks = int(segment.record("recorder", RECORDER)["buffer_used_max"][0])
        measured = RATE_PER_S * seconds - (lost - lost_before)
        return Take(measured / took_s, lost - lost_before, rig.result[0].copy(), blocks, since(before)["steal"])
    finally:
        segment.unlink()
        shutil.rmtree(rig.folder)


def _run(rig: Rig, body: Body, seconds: int, ns_per_tick: float) -> float:
    """Seconds from the end of the warm-up to the end of the recorder, with all its files closed."""
    segment, result = rig.segment, rig.result
    cpu_a, cpu_b = cpus(2)

    def producer() -> None:
        segment.prefault()
        tape, scratch = np.uint64(segment.address("tape")), np.zeros(1, RECORD)
        at, period = np.uint64(scratch.ctypes.data), np.float64(1e9 / RATE_PER_S / ns_per_tick)
        before, count = RATE_PER_S * WARM_UP_S, RATE_PER_S * seconds
        produce(tape, at, np.int64(0), np.int64(before), period)
        result["lost_before"], result["began_ns"] = rig.ring["lost"], time.perf_counter_ns()
        ticks, longest = produce(tape, at, np.int64(before), np.int64(count), period)
        result["seconds"], result["gap_ns"] = ticks * ns_per_tick / 1e9, longest * ns_per_tick

    def record() -> None:
        rounds, writes = Stopwatch(), Stopwatch()
        segment.prefault()
        body(rig, rounds, writes)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        result["cpu_s"], result["involuntary"] = usage.ru_utime + usage.ru_stime, usage.ru_nivcsw
        began_ns = int(result["began_ns"][0])
        samples = rounds.intervals(began_ns), rounds.durations(began_ns), writes.durations(began_ns)
        for name, ns in zip(TIMES, samples, strict=True):
            for figure, value in percentiles(ns).items():
                result[f"{name}_{figure}"] = value

    recording = fork_pinned(cpu_b, record)
    deadline = time.monotonic() + READY_S
    while not result["ready"][0] and time.monotonic() < deadline:
        time.sleep(0.01)
    join(fork_pinned(cpu_a, producer))
    ended = time.monotonic()
    segment.region("recorder.stop")[0] = 1
    join(recording)
    return float(result["seconds"][0]) + time.monotonic() - ended


def test_recorder_sustains_a_million_records_a_second(report: Report, tmp_path: Path) -> None:
    cpus(2)
    need = 2 * RATE_PER_S * (WARM_UP_S + SECONDS) * RECORD.itemsize
    if shutil.disk_usage(tmp_path).free < need:
        pytest.skip(f"{tmp_path}: not enough room for {need / 1e6:.0f} MB of records")
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    warm()
    produce.compile("(uint64, uint64, int64, int64, float64)")
    mine = take(tmp_path, ours, stored_by_ours, SECONDS, clock)
    rate = mine.rate / TARGET_PER_S
    report.row(
        "recorder", "tape to checked session files", f"target {TARGET_PER_S:,}/s, none lost", "records/s", p50=mine.rate,
        ratio=rate, bar=">= 1.00", ok=bool(mine.lost == 0 and rate >= 1.0),
        note=f"{mine.note()}; at most {mine.blocks_used} of {BUFFER_BYTES // block_bytes(BLOCK_RECORDS)} blocks in use",
    )  # fmt: skip
    for name, what in zip(
        TIMES, ("between two looks at the tape", "a look at the tape", "a block's write"), strict=True
    ):
        report.row("recorder", what, unit="ms", **mine.times(name))
    for body, stored, what in (
        (plain_file, stored_in_file, "file.write of the ring, no checksum"),
        (arrow, stored_in_arrow, "pyarrow IPC stream, no checksum"),
    ):
        theirs = take(tmp_path, body, stored, RIVAL_SECONDS, clock)
        absent = [one.times("interval") for one in (mine, theirs)]
        report.row(
            "recorder", "between two looks at the tape (ratio of p99.9)", what, "ms",
            ratio=absent[0]["p99_9"] / absent[1]["p99_9"], **absent[1], note=theirs.note(),
        )  # fmt: skip
