"""Starts the stage processes, pins them, watches them, stops them. Never on the hot path.

The supervisor compiles everything and lays out shared memory *before* it forks: children share the compiled code and
see the segment at the same address. It has no threads until the last child is started. Children die with it
(PR_SET_PDEATHSIG), so there is never an orphan; a stage that dies or stops beating halts trading and ends the run.
Whatever the reason, the stages are stopped only after every order has ended (:mod:`hftpipe.app.stopping`).
"""

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hftpipe.app.halt_latch import HaltLatch
from hftpipe.app.heartbeat import HeartbeatWatch
from hftpipe.app.signals import ENDING
from hftpipe.app.stopping import WindDown, is_clean
from hftpipe.app.tripped import why_tripped
from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.process import die_with_parent, end_process, how_it_ended, kill
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import HALT_CAUSES
from hftpipe.core.schema.fault import describe_fault, read_fault
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.stage import IDLE_NAMES, SPIN, YIELD, build_loop, request_stop, run_stages, stuck_stage
from hftpipe.log import event
from hftpipe.strategy.faults import HOOK_OF_NUMBER
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.supervisor")
POLL_S = 0.1
#: Reading a process's memory map stops that process for milliseconds: once early, then seldom.
FIRST_SAMPLE_NS, SAMPLE_NS = 500_000_000, 60_000_000_000
STOP_LIMIT_NS = 5_000_000_000
QUIET_NS = 300_000_000
HALT_STAGE_DIED, HALT_HEARTBEAT, HALT_INVARIANT, HALT_STRATEGY_FAULT = 1, 2, 4, 14
EXIT_OK, EXIT_FAILED = 0, 1
END_OF_RECORDING = "end of the recording"

#: Written by each child as it ends: context switches of its whole life.
USAGE = np.dtype([("voluntary", "i8"), ("involuntary", "i8"), ("faults", "i8"), ("cpu_ns", "i8")])


@dataclass
class Child:
    """One forked process.

    Attributes:
        index: position in ``pipeline.processes``.
        stages: names of its stages.
        pid: process id.
        cpus: CPUs it may run on.
        status: wait status once it has ended.
    """

    index: int
    stages: list[str]
    pid: int
    cpus: set[int]
    status: int | None = None


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        reason: for people, e.g. ``"duration reached"``.
        exit_code: 0 for an end that was asked for, 1 when a stage failed, or an order's end or fill is not known.
        pss_mb: largest sum of proportional set sizes seen, MB.
        context_switches: per process, voluntary and involuntary.
        ended_tsc: time-stamp counter when the reason arose (for a recording: when everything had been read).
        late_polls: how often the supervisor itself was late (stopped, or without a CPU).
        left_behind: processes that did not go when they were killed.
        stage_faults: how processes ended that did not end as they were told to, by ``stage.died`` or ``stage.hung``.
        stop: what became of the open orders (:meth:`hftpipe.app.stopping.WindDown.facts`).
    """

    reason: str
    exit_code: int
    pss_mb: float
    context_switches: dict[str, dict[str, int]] = field(default_factory=dict)
    ended_tsc: int = 0
    late_polls: int = 0
    left_behind: list[str] = field(default_factory=list)
    stage_faults: dict[str, str] = field(default_factory=dict)
    stop: dict[str, Any] = field(default_factory=dict)


def place(asked: tuple[int, ...], processes: int, available: set[int]) -> tuple[list[int], str | None]:
    """CPU of each process, and a sentence when there are fewer than asked for.

    Args:
        asked: CPUs from the configuration, in order.
        processes: how many processes to place.
        available: CPUs this process may use.
    """
    usable = [cpu for cpu in asked if cpu in available] or sorted(available)
    cpus = [usable[i % len(usable)] for i in range(processes)]
    if len(usable) >= processes and all(cpu in available for cpu in asked[:processes]):
        return cpus, None
    wanted = ",".join(map(str, asked))
    have = ",".join(map(str, usable))
    note = f"asked for CPUs {wanted}, running on {have}: {processes} processes on {len(usable)} CPUs"
    if len(set(cpus)) < processes:
        note += "; processes share CPUs and yield (PROCESSES=2 runs two stages per process, spinning)"
    return cpus, note


def idle_mode(setting: str, cpus: list[int]) -> int:
    """``auto`` spins only when every process has a CPU to itself (four spinners on two CPUs measured 8 ms an event)."""
    if setting != "auto":
        return IDLE_NAMES[setting]
    return SPIN if len(set(cpus)) == len(cpus) else YIELD


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process (0 if it is gone)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def _stand_back() -> None:
    """Never pre-empt a stage on waking up: the supervisor has time (SCHED_BATCH needs no privilege)."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Companion(Protocol):
    """A process beside the stages, such as the recorder."""

    def start(self, hot_cpus: set[int]) -> None:
        """Fork it, away from the stages' CPUs where there are others."""

    def has_died(self) -> bool:
        """Whether it ended by itself; reports that once."""

    def stop(self) -> str:
        """End it; called after the last stage has ended. Says who did not go when killed, empty if nobody."""


class Supervisor:
    """Runs one pipeline to its end.

    Args:
        pipeline: laid out and compiled.
        refresh: called about every POLL_S while running (live view, parameter reload); a text that it returns is the
            reason to end the run.
        companions: processes beside the stages: started first and stopped last; their death ends nothing.
        latch: where halts go that outlive the run; one of the pipeline's own if not given.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        refresh: Callable[[], str | None] | None = None,
        companions: Sequence[Companion] = (),
        latch: HaltLatch | None = None,
    ) -> None:
        self._pipeline, self._refresh, self._companions = pipeline, refresh, companions
        self._latch = latch or HaltLatch(pipeline.segment.name, pipeline.segment.epoch)
        timeout_ns = int(pipeline.config.pipeline.heartbeat_timeout_s * 1e9)
        self._heartbeats = HeartbeatWatch(timeout_ns, steady_ns())
        self._left_behind: list[str] = []
        self._stage_faults: dict[str, str] = {}
        self._children: list[Child] = []
        self._stop_reason: str | None = None
        self._signals = 0
        self._pss = self._ended_tsc = 0
        self._is_fault_told = False
        self._old_handlers: dict[int, object] = {}

    def run(self, cpus: list[int], duration_s: float) -> Outcome:
        """Start, watch until there is a reason to stop, stop, and report. Always leaves no process behind."""
        self._catch_signals()
        wind_down = WindDown(self._pipeline, self._dead_stages, lambda: self._signals)
        try:
            for companion in self._companions:
                companion.start(set(cpus))
            for index in range(len(self._pipeline.processes)):
                self._fork(index, cpus)
            _stand_back()
            event(LOG, logging.INFO, "pipeline started", processes=[c.pid for c in self._children], cpus=cpus)
            reason, code = self._watch(duration_s)
            self._sample_memory()
            self._ended_tsc = self._ended_tsc or tsc_now()
        finally:
            if len(self._children) == len(self._pipeline.processes):
                wind_down.run()
            self._stop_children()
            self._left_behind += filter(None, [companion.stop() for companion in self._companions])
            self._restore_signals()
        switches = self._context_switches()
        stop = wind_down.facts(self._dead_stages(failed_only=True))
        if not is_clean(stop):
            code = EXIT_FAILED
            event(LOG, logging.ERROR, "orders without a known end, or fills", **stop)
        code = code or (EXIT_FAILED if self._left_behind or self._stage_faults else EXIT_OK)
        event(LOG, logging.INFO, "pipeline stopped", reason=reason, exit_code=code)
        late = self._heartbeats.late
        return Outcome(
            reason, code, self._pss / 1e6, switches, self._ended_tsc, late, self._left_behind, self._stage_faults, stop
        )  # fmt: skip

    def _catch_signals(self) -> None:
        for number in ENDING:
            self._old_handlers[number] = signal.signal(number, self._on_signal)

    def _restore_signals(self) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals += 1
        self._stop_reason = self._stop_reason or f"{signal.Signals(number).name} received"

    def _fork(self, index: int, cpus: list[int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child_main(index, cpus, parent)
        self._children.append(Child(index, self._pipeline.processes[index], pid, {cpus[index]}))

    def _child_main(self, index: int, cpus: list[int], parent: int) -> None:
        code = EXIT_FAILED
        try:
            die_with_parent(parent)
            # A signal to the whole group (a terminal, timeout, systemd) is the supervisor's to act on: the stages end when told to.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
            os.sched_setaffinity(0, {cpus[index]})
            self._pipeline.segment.prefault()
            gc.collect()
            gc.freeze()
            gc.disable()
            self._run_stages(index, cpus)
            code = EXIT_OK
        finally:
            end_process(code)

    def _run_stages(self, index: int, cpus: list[int]) -> None:
        pipeline = self._pipeline
        stages = [pipeline.stages[name] for name in pipeline.processes[index]]
        loop = build_loop(
            stages,
            idle_mode(pipeline.config.pipeline.idle, cpus),
            pipeline.segment.address("stop"),
            pipeline.segment.address("clock"),
            [pipeline.address(f"status.{stage.name}") for stage in stages],
        )
        run_stages(stages, loop, [pipeline.status(stage.name) for stage in stages])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        row = pipeline.usage(index, USAGE)
        row["voluntary"], row["involuntary"], row["faults"] = usage.ru_nvcsw, usage.ru_nivcsw, usage.ru_minflt
        row["cpu_ns"] = int((usage.ru_utime + usage.ru_stime) * 1e9)

    def _watch(self, duration_s: float) -> tuple[str, int]:
        started, quiet_since, quiet_tsc = steady_ns(), 0, 0
        next_sample = started + FIRST_SAMPLE_NS
        while True:
            if self._stop_reason:
                return self._stop_reason, EXIT_OK
            failure = self._failure()
            if failure:
                return failure, EXIT_FAILED
            now = steady_ns()
            if duration_s and now - started >= duration_s * 1e9:
                return "duration reached", EXIT_OK
            if not self._pipeline.is_quiet():
                quiet_since = 0
            elif not quiet_since:
                quiet_since, quiet_tsc = now, tsc_now()
            if quiet_since and now - quiet_since >= QUIET_NS:
                self._ended_tsc = quiet_tsc
                return END_OF_RECORDING, EXIT_OK
            self._halt_if_tripped()
            self._latch_halt()
            if fault := self._strategy_fault():
                return fault, EXIT_FAILED
            for companion in self._companions:
                companion.has_died()
            if now >= next_sample:
                next_sample = now + SAMPLE_NS
                self._sample_memory()
            if self._refresh and (ended := self._refresh()):
                return ended, EXIT_OK
            time.sleep(POLL_S)

    def _failure(self) -> str | None:
        for child in self._children:
            if self._has_ended(child):
                return self._halt(HALT_STAGE_DIED, self._died(child))
        overdue = self._heartbeats.overdue(steady_ns(), self._pipeline.heartbeats())
        if overdue:
            child = next(child for child in self._children if overdue[0] in child.stages)
            return self._halt(HALT_HEARTBEAT, self._hung(child, f"has not moved for {overdue[1] / 1e9:.1f} s"))
        return self._no_log_in()

    def _died(self, child: Child) -> str:
        """Note a process that has ended without being told to, and say how; its stage where a hook was running."""
        what = f"process {'+'.join(child.stages)} (pid {child.pid}) died: {how_it_ended(child.status or 0)}"
        hook = self._hook_running(child.stages)
        self._stage_faults[f"{'strategy' if hook else '+'.join(child.stages)}.died"] = what + hook
        return what + hook

    def _hung(self, child: Child, how: str) -> str:
        """Note a process that does not move, and say which of its stages it is that does not."""
        stage = stuck_stage({name: self._pipeline.status(name) for name in child.stages})
        what = f"stage {stage} {how}{self._hook_running([stage])}"
        self._stage_faults.setdefault(f"{stage}.hung", what)
        return what

    def _hook_running(self, stages: list[str]) -> str:
        """The hook that the strategy's process was in, for people; empty if it was in none, or is not among the stages."""
        number = int(self._pipeline.state("strategy")["running"][0]) if "strategy" in stages else 0
        return f", in {HOOK_OF_NUMBER[number]} of the strategy" if number in HOOK_OF_NUMBER else ""

    def _no_log_in(self) -> str | None:
        """The venue lets us not in: there is nothing to run for."""
        gateway = self._pipeline.state("gateway")
        if not gateway["login_refused"][0]:
            return None
        self._halt_if_tripped()
        return f"no log-in at the venue: refused {int(gateway['fault_id'][0])} times, or not answered"

    def _halt_if_tripped(self) -> None:
        """A stage that stopped itself stops all of them; the run goes on, so that orders are cancelled and seen."""
        stage = self._pipeline.tripped()
        if stage and not self._pipeline.halt_cell()["halted"][0]:
            state = self._pipeline.state(stage)
            cause = int(state["trip_cause"][0]) or HALT_INVARIANT
            report = (int(state[name][0]) for name in ("fault_id", "fault_price", "fault_qty"))
            what = why_tripped(stage, cause, *report, self._pipeline.config)
            event(
                LOG, logging.ERROR, "halted: a stage stopped itself", stage=stage, cause=HALT_CAUSES[cause], what=what
            )
            self._halt(cause, what)

    def _strategy_fault(self) -> str | None:
        """A hook that raised halts trading at once; why the run ends, if it shall."""
        fault = read_fault(self._pipeline.segment.region("strategy.fault"))
        if fault is None:
            return None
        what = f"strategy fault: {describe_fault(fault)}"
        if not self._is_fault_told:
            self._is_fault_told = True
            event(LOG, logging.ERROR, "strategy fault: a hook raised; the strategy is switched off", **fault)
            self._halt(HALT_STRATEGY_FAULT, what)
        return None if self._pipeline.config.strategy.on_fault == "continue" else what

    def _halt(self, cause: int, what: str) -> str:
        """Halt trading, first in shared memory and then for the runs after this one; ``what`` as it was given."""
        set_halt(self._pipeline.halt_cell(), True, cause, wall_ns())
        self._latch.set(cause, what)
        return what

    def _latch_halt(self) -> None:
        """Latch a halt that somebody else has set: an operator, or a stage."""
        cell = self._pipeline.halt_cell()
        if cell["halted"][0]:
            self._latch.set(int(cell["cause"][0]), "set from outside the supervisor")

    def _dead_stages(self, failed_only: bool = False) -> set[str]:
        """Stages whose process has ended; with ``failed_only`` not those that ended as they were told to."""
        ended = [child for child in self._children if self._has_ended(child)]
        return {stage for child in ended if child.status or not failed_only for stage in child.stages}

    def _has_ended(self, child: Child) -> bool:
        if child.status is None:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.status = status
        return child.status is not None

    def _sample_memory(self) -> None:
        self._pss = max(self._pss, sum(pss_bytes(pid) for pid in [os.getpid(), *(c.pid for c in self._children)]))

    def _stop_children(self) -> None:
        request_stop(self._pipeline.stop_word())
        deadline = steady_ns() + STOP_LIMIT_NS
        while steady_ns() < deadline and not all(self._has_ended(child) for child in self._children):
            time.sleep(0.005)
        for child in self._children:
            if not self._has_ended(child):
                self._kill(child)
            elif child.status and not self._stage_faults:
                self._tell(HALT_STAGE_DIED, self._died(child))

    def _kill(self, child: Child) -> None:
        """End a process that was told to stop and did not: unless that is known, it is news."""
        known = dict(self._stage_faults)
        what = self._hung(child, f"did not stop within {STOP_LIMIT_NS / 1e9:.0f} s and was killed")
        if self._stage_faults != known:
            self._tell(HALT_HEARTBEAT, what)
        child.status = kill(child.pid)
        if child.status is None:
            self._left_behind.append(f"process {'+'.join(child.stages)} (pid {child.pid}) did not go when killed")

    def _tell(self, cause: int, what: str) -> None:
        event(LOG, logging.ERROR, "a stage did not end as it was told to", what=what)
        self._halt(cause, what)

    def _context_switches(self) -> dict[str, dict[str, int]]:
        result = {}
        for child in self._children:
            row = self._pipeline.usage(child.index, USAGE)
            counts = {key: int(row[key][0]) for key in ("voluntary", "involuntary")}
            result["+".join(child.stages)] = counts
        own = resource.getrusage(resource.RUSAGE_SELF)
        result["supervisor"] = {"voluntary": own.ru_nvcsw, "involuntary": own.ru_nivcsw}
        return result
