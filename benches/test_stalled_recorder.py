"""A recorder that stands still does not slow a stage down (I13): tick to order with the recorder stopped.

::

    CPU 0: injector -> market ring -> STRATEGY -> RISK (all checks) -> GATEWAY      CPU 1: RECORDER  running | SIGSTOP
           origin stamp   |              |            |                   | stamp          ^
                          +--- tape -----+--- tape ---+------ tape -------+----------------+

All stages in one process, so that the other CPU is the recorder's: what is compared is the stages' own work, not who
shares a CPU. Open loop at 100,000 ticks a second, an order for every tick, everything the product's own. Each
repetition runs the recorder twice as it is, once stopped from the first record to the last, and once not at all; how
far the two equal runs are apart is the noise. At the end of a stopped run the tapes have overflowed by an exact count.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from conftest import Report
from harness import Series, cpus, interleave
from test_pipeline import STRATEGY, inject, settings

from hftpipe.app.placement import place
from hftpipe.app.recording import Recording
from hftpipe.app.supervisor import Supervisor
from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.histogram import summarize
from hftpipe.core.schema.reasons import HALTED
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.stage import duty_loop
from hftpipe.core.shared.tape import TAPE_GAP
from hftpipe.record.tape.reader import Session, open_session
from hftpipe.record.tape.recorder import RECORDER, RUNNING
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline

BENCH = "stalled recorder"
MODES = RUNNING_1, RUNNING_2, STOPPED, NONE = "running", "running again", "stopped", "absent"
FIGURES = ("p50", "p99", "p99_9", "max")
SECONDS, REPETITIONS = 1.0, 13
#: I13: within 10 % of the running recorder, or within the noise of this run where that is more.
ALLOWED = 1.10
PATIENCE_S = 30.0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the recorder did not get there"
        time.sleep(0.001)


class Stopped:
    """The product's recorder, stopped by SIGSTOP before the first stage starts and resumed after the last has ended."""

    def __init__(self, recording: Recording, pipeline: Pipeline) -> None:
        self._recording, self._pipeline = recording, pipeline

    def start(self, hot_cpus: set[int]) -> None:
        self._recording.start(hot_cpus)
        _wait(lambda: self._pipeline.segment.record("recorder", RECORDER)["state"][0] == RUNNING)
        os.kill(self._recording.pid, signal.SIGSTOP)
        _wait(lambda: Path(f"/proc/{self._recording.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    def has_died(self) -> bool:
        return self._recording.has_died()

    def stop(self) -> None:
        os.kill(self._recording.pid, signal.SIGCONT)
        self._recording.stop()


def offered(pipeline: Pipeline) -> dict[str, int]:
    """Records each stage had to put on its tape, by what it consumed: here every intent is one new order."""

    def consumed(*rings: str) -> int:
        return sum(int(pipeline.segment.record(f"ring.{name}", RING)["next_out"][0]) for name in rings)

    return {
        "market_data": 0,
        # With every halt, the one at the end included, the mark that it was seen.
        "strategy": consumed("market", "updates") + int(pipeline.state("strategy")["halts_seen"][0]),
        # With every new order the two sides of the top of book that it was checked against, and the halt where it met one.
        "risk": consumed("intents", "reports")
        + 2 * consumed("intents")
        + int(pipeline.state("risk")["rejects"][0][HALTED]),
        "gateway": consumed("orders", "sim") + int(pipeline.state("gateway")["stops"][0]),
    }


def check_exact(pipeline: Pipeline, session: Session) -> int:
    """Offered = on the tape + dropped, on every tape, and what is on it was stored; how many were dropped in all."""
    assert session.is_complete
    for stage, expected in offered(pipeline).items():
        ring, rows = pipeline.segment.record(pipeline.graph.tapes[stage], RING), session.records(stage).array()
        is_gap, lost = rows["kind"] == TAPE_GAP, int(ring["lost"][0])
        assert len(rows) == int(ring["next_in"][0])
        assert session.lost[stage] == lost == int(rows["id"][is_gap].sum()) + int(ring["lost_pending"][0])
        assert expected == len(rows) - int(is_gap.sum()) + lost, stage
    return sum(session.lost.values())


def measure(base: Path, mode: str) -> dict[str, float]:
    """One run: tick to order in ns, ``dropped`` by all tapes."""
    folder = Path(tempfile.mkdtemp(prefix=mode, dir=base))
    file = folder / "every_tick.py"
    file.write_text(STRATEGY)
    config = settings(f"bench-stalled-{os.getpid()}", 1, **{"record.folder": "" if mode == NONE else str(folder)})
    pipeline = Pipeline(config, [load_strategy(f"{file}:EveryTick")], tsc_now() & 0xFFFF, 10**18)
    try:
        inject(pipeline, False)
        pipeline.segment.publish()
        recording = None if mode == NONE else Recording(pipeline)
        beside = Stopped(recording, pipeline) if mode == STOPPED else recording
        placed, _ = place(config.pipeline.cpu_ids, 1, os.sched_getaffinity(0))
        outcome = Supervisor(pipeline, companions=[beside] if beside else []).run(placed, SECONDS)
        assert outcome.exit_code == 0, outcome.reason
        dropped = check_exact(pipeline, open_session(recording.folder)) if recording else 0
        clock = pipeline.segment.record("clock", CLOCK)
        hist = summarize(pipeline.segment.region("hist.tick_to_order").view(np.int64), float(clock["ns_per_tick"][0]))
    finally:
        pipeline.segment.unlink()
        shutil.rmtree(folder)
    assert (dropped > 0) == (mode == STOPPED)
    return {**{name: getattr(hist, name) for name in FIGURES}, "dropped": dropped, "orders": hist.count}


def judge(stopped: Series, running: Series, again: Series, figure: str) -> tuple[float, float]:
    """Stopped over running, and the noise: the factor between two equal runs. Both the median of all repetitions."""
    runs = [[run.figures[figure] for run in one.runs] for one in (stopped, running, again)]
    repetitions = list(zip(*runs, strict=True))
    return median(s / ((a + b) / 2) for s, a, b in repetitions), median(max(a / b, b / a) for _, a, b in repetitions)


def test_a_stopped_recorder_leaves_tick_to_order_as_it_is(report: Report, tmp_path: Path) -> None:
    cpus(2)
    duty_loop.compile("int64(uint64, int64)")
    series = interleave({mode: partial(measure, tmp_path, mode) for mode in MODES}, REPETITIONS)
    for mode in MODES:
        one = series[mode]
        note = f"{one['orders']:.0f} orders a run, {one['dropped']:.0f} records dropped; p99 {one.spread('p99')}"
        report.row(BENCH, f"tick to order, recorder {mode}", **{name: one[name] for name in FIGURES}, note=note)
    running, again = series[RUNNING_1], series[RUNNING_2]
    for figure in ("p99", "p99_9"):
        value, noise = judge(series[STOPPED], running, again, figure)
        report.row(
            BENCH, f"{figure.replace('_', '.')}: recorder stopped", "running", p50=running[figure], ratio=value,
            bar=f"<= {max(ALLOWED, noise):.2f}" if figure == "p99" else None,
            note=f"two running recorders differ by a factor of {noise:.2f}; drop counts exact",
        )  # fmt: skip
