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
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np

from hftpipe.app.alerts import Alerts
from hftpipe.app.breaker import Breaker
from hftpipe.app.halt_follow import follow_halt, follow_last, follow_scopes
from hftpipe.app.halt_latch import HaltLatch
from hftpipe.app.heartbeat import HeartbeatWatch
from hftpipe.app.loss_state import LossKeeper
from hftpipe.app.outcome import Outcome
from hftpipe.app.placement import idle_mode, pss_bytes
from hftpipe.app.signals import ENDING
from hftpipe.app.stopping import WindDown, is_clean
from hftpipe.app.strategy_faults import StrategyFaults
from hftpipe.app.throttled import Throttled
from hftpipe.app.tripped import told
from hftpipe.app.venue_faults import VenueFaults
from hftpipe.core.machine.clock import tsc_now
from hftpipe.core.machine.process import die_with_parent, end_process, how_it_ended, kill
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import HEARTBEAT_LOST, STAGE_DIED
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.stage import build_loop, request_stop, run_stages, stuck_stage
from hftpipe.log import event
from hftpipe.strategy.faults import HOOK_OF_NUMBER
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.supervisor")
POLL_S = 0.1
#: Reading a process's memory map stops that process for milliseconds: once early, then seldom.
FIRST_SAMPLE_NS, SAMPLE_NS = 500_000_000, 60_000_000_000
STOP_LIMIT_NS = 5_000_000_000
QUIET_NS = 300_000_000
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


def _stand_back() -> None:
    """Never pre-empt a stage on waking up: the supervisor has time (SCHED_BATCH needs no privilege)."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


#: What `signal.signal` takes and gives back.
Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


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
        self._alerts = Alerts(pipeline.segment)
        self._latch = latch or HaltLatch(pipeline.segment.name, pipeline.segment.epoch)
        self._breaker = Breaker(pipeline, self._latch)
        timeout_ns = int(pipeline.config.pipeline.heartbeat_timeout_s * 1e9)
        self._heartbeats = HeartbeatWatch(timeout_ns, steady_ns())
        self._faults = VenueFaults(pipeline, self._latch.set)
        self._lost: list[Child] = []
        self._left_behind: list[str] = []
        self._stage_faults: dict[str, str] = {}
        self._tripped: set[str] = set()
        self._children: list[Child] = []
        self._stop_reason: str | None = None
        self._signals = 0
        self._pss = self._ended_tsc = 0
        self._faulted = StrategyFaults(pipeline, self._latch.set)
        self._throttled = Throttled(pipeline, self._latch.set)
        self._losses = LossKeeper(pipeline)
        self._old_handlers: dict[int, Handler] = {}

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
            reason, code = self._watched(duration_s)
            self._sample_memory()
            self._ended_tsc = self._ended_tsc or tsc_now()
        finally:
            if len(self._children) == len(self._pipeline.processes):
                wind_down.run()
            self._stop_children()
            self._latch_last()
            self._left_behind += filter(None, [companion.stop() for companion in self._companions])
            self._restore_signals()
        switches = self._context_switches()
        stop = wind_down.facts(self._dead_stages(failed_only=True))
        if not is_clean(stop):
            code = EXIT_FAILED
            event(LOG, logging.ERROR, "orders without a known end, or fills", **stop)
        is_whole = not (self._left_behind or self._stage_faults or self._faults.found)
        code = code or (EXIT_OK if is_whole else EXIT_FAILED)
        event(LOG, logging.INFO, "pipeline stopped", reason=reason, exit_code=code)
        late = self._heartbeats.late
        return Outcome(
            reason, code, self._pss / 1e6, switches, self._ended_tsc, late, self._left_behind, self._stage_faults, stop,
            self._faults.found,
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

    def _watched(self, duration_s: float) -> tuple[str, int]:
        """Why the run ended. A fault of our own ends it in order too: orders cancelled, and a summary that says so."""
        try:
            return self._watch(duration_s)
        except Exception as error:
            LOG.exception("the supervisor failed")
            return f"the supervisor failed: {type(error).__name__}: {error}", EXIT_FAILED

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
            self._alerts.look()
            self._breaker.look()
            self._halt_if_tripped()
            self._throttled.look()
            self._losses.look()
            self._latch_halt()
            if fault := self._faulted.look():
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
            if self._has_ended(child) and child not in self._lost:
                what = self._died(child)
                if not self._lose(child, STAGE_DIED, what):
                    return self._halt(STAGE_DIED, what)
        lost = {stage for child in self._lost for stage in child.stages}
        beats = {name: beat for name, beat in self._pipeline.heartbeats().items() if name not in lost}
        overdue = self._heartbeats.overdue(steady_ns(), beats)
        if overdue:
            child = next(child for child in self._children if overdue[0] in child.stages)
            what = self._hung(child, f"has not moved for {overdue[1] / 1e9:.1f} s")
            if not self._lose(child, HEARTBEAT_LOST, what):
                return self._halt(HEARTBEAT_LOST, what)
        return self._no_log_in()

    def _lose(self, child: Child, cause: int, what: str) -> bool:
        """Go on without a process that served single venues, if others are left: whether that can be."""
        venues = self._faults.venues_of(child.stages)
        if not venues:
            return False
        for venue in venues:
            self._faults.halt(venue, cause, what)
        self._lost.append(child)
        if child.status is None:
            child.status = kill(child.pid)
        self._faults.bury(child.stages)
        return True

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
        for name, seat in zip(self._pipeline.names, self._pipeline.seat_rows(), strict=True):
            if "strategy" in stages and (hook := HOOK_OF_NUMBER.get(int(seat["running"]))):
                return f", in {hook} of the strategy" + f" {name}" * (len(self._pipeline.names) > 1)
        return ""

    def _no_log_in(self) -> str | None:
        """The venue lets us not in: there is nothing to run for."""
        for name in self._pipeline.graph.each("gateway"):
            gateway = self._pipeline.state(name)
            if gateway["login_refused"][0]:
                self._halt_if_tripped()
                if self._faults.found:
                    continue
                return f"no log-in at the venue ({name}): refused {int(gateway['fault_id'][0])} times, or not answered"
        return None

    def _halt_if_tripped(self) -> None:
        """A stage that stopped itself stops all of them; the run goes on, so that orders are cancelled and seen."""
        for stage in self._pipeline.tripped():
            place = self._pipeline.venue_of(stage)
            if stage in self._tripped or (place and place.name in self._faults.found):
                continue
            self._tripped.add(stage)
            cause, what = told(self._pipeline, stage)
            venues = self._faults.venues_of([stage])
            if venues:
                self._faults.halt(venues[0], cause, what)
            elif self._pipeline.halt_cell()["halted"][0]:
                # By a person, or to stop: the cell keeps its cause, and whoever resumes is shown this one.
                self._latch.set(cause, what)
            else:
                self._halt(cause, what)

    def _halt(self, cause: int, what: str) -> str:
        """Halt trading, first in shared memory and then for the runs after this one; ``what`` as it was given."""
        set_halt(self._pipeline.halt_cell(), True, cause, wall_ns())
        self._latch.set(cause, what)
        return what

    def _latch_halt(self) -> None:
        """Latch a halt that somebody else has set, an operator or a stage, and forget what an operator has cleared."""
        follow_halt(self._pipeline, self._latch)
        follow_scopes(self._pipeline, self._latch)
        self._latch.look_after()

    def _latch_last(self) -> None:
        """What came while orders ended (late fills), and what has lost its file, is latched before the run is over."""
        try:
            self._halt_if_tripped()
            self._throttled.look()
            self._losses.look(is_last=True)
            follow_last(self._pipeline, self._latch)
            self._latch.look_after(is_last=True)
        except Exception:
            LOG.exception("the supervisor could not look for halts at the end")

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
                self._tell(STAGE_DIED, self._died(child))

    def _kill(self, child: Child) -> None:
        """End a process that was told to stop and did not: unless that is known, it is news."""
        known = dict(self._stage_faults)
        what = self._hung(child, f"did not stop within {STOP_LIMIT_NS / 1e9:.0f} s and was killed")
        if self._stage_faults != known:
            self._tell(HEARTBEAT_LOST, what)
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
