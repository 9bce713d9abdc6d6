"""The recorder beside a running pipeline: its session, its process, and what became of both.

It is the last to be stopped, so that what the stages did last is recorded. When it dies, trading goes on: the tapes
fill up and the stages drop and count.
"""

import logging
import os
from typing import Any

from hftpipe.core.machine.durable import within
from hftpipe.core.machine.process import end_process, how_it_ended, kill, wait_until
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.ring import RING
from hftpipe.log import event
from hftpipe.record.tape.recorder import ENDED, FINAL_DRAIN_NS, RECORDED, RECORDER, Recorder, warm
from hftpipe.record.tape.session import build_header, create_session, mark_failed, note_unended, source_hash
from hftpipe.risk.losses import LOSS, losses_begun
from hftpipe.strategy.faults import HOOK_OF_NUMBER
from hftpipe.topology.configured import strategies_of
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.recording")
#: Beyond its own last drain the recorder gets this long to write and close its files.
CLOSE_NS = 5_000_000_000
#: The disk that held the recorder up gets this long to take the note that the session was not closed.
NOTE_LIMIT_S = 2.0


class Recording:
    """One recorded run.

    Args:
        pipeline: laid out with ``record.folder`` set; nothing has been started.

    Attributes:
        folder: the session's folder.
        pid: process id once started.

    Raises:
        RecordError: the session's folder cannot be made.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        config = pipeline.config
        header = build_header(
            pipeline=config.pipeline.name,
            epoch=pipeline.segment.epoch,
            stages=list(pipeline.graph.tapes),
            fingerprint=config.fingerprint(),
            config=config.as_dict(),
            instruments=pipeline.instruments,
            losses=losses_begun(pipeline.segment.region("risk.losses").view(LOSS)),
            paper=[place.name for place in pipeline.venues if place.orders.hears_market],
            strategies=[
                {
                    "name": name,
                    "strategy": entry.strategy,
                    "source_hash": source_hash(one.source),
                    "params": dict(entry.params),
                }
                for name, entry, one in zip(pipeline.names, strategies_of(config), pipeline.strategies, strict=True)
            ],
            clock=pipeline.segment.record("clock", CLOCK),
            start_wall_ns=wall_ns(),
        )
        self._pipeline = pipeline
        self.folder, self.pid, self._cause = create_session(config.record.folder, header), 0, ""
        warm()
        self._recorder = Recorder(
            pipeline.segment, pipeline.graph.tapes, self.folder, segment_bytes=config.record.segment_mb << 20,
            buffer_bytes=config.record.buffer_mb << 20,
        )  # fmt: skip

    def refused(self, cause: str) -> None:
        """The run was not started: its session says so."""
        mark_failed(self.folder, cause)

    def start(self, hot_cpus: set[int]) -> None:
        """Fork the recorder, on the CPUs that no stage has if there are any."""
        parent = os.getpid()
        spare = os.sched_getaffinity(0) - hot_cpus
        pid = os.fork()
        if pid:
            self.pid = pid
            return
        code = 1
        try:
            if spare:
                os.sched_setaffinity(0, spare)
            self._recorder.main(parent)
            code = 0
        finally:
            end_process(code)

    def has_died(self) -> bool:
        """Whether it ended before it was told to; logged the first time."""
        if self.pid and (status := wait_until(self.pid, 0)) is not None:
            how = how_it_ended(status)
            event(LOG, logging.ERROR, "the recorder died, trading goes on unrecorded", how=how, pid=self.pid)
            self._fail(f"the recorder (pid {self.pid}) died: {how}")
        return not self.pid

    def _fail(self, cause: str) -> None:
        self._cause, self.pid = cause, 0

    def stop(self) -> str:
        """After the last stage has ended: have everything left written, and see the process off.

        Every wait has an end: a recorder that waits for a disk is killed, and left behind if it does not go.

        Returns:
            Who did not go when killed; empty if nobody.
        """
        stuck = "" if self.has_died() else self._see_off()
        if self._cause:
            error = within(NOTE_LIMIT_S, lambda: mark_failed(self.folder, self._cause))
            if error:
                event(LOG, logging.ERROR, "session.json does not say that it failed", reason=str(error))
        self._note_unended()
        return stuck

    def _note_unended(self) -> None:
        """A hook that never returned: its session says so, so that nobody replays for ever what never ended."""
        rows = zip(self._pipeline.names, self._pipeline.seat_rows(), strict=True)
        hooks = {name: HOOK_OF_NUMBER[int(row["running"])] for name, row in rows if int(row["running"])}
        error = within(NOTE_LIMIT_S, lambda: note_unended(self.folder, hooks)) if hooks else None
        if error:
            event(LOG, logging.ERROR, "session.json does not say that a hook never returned", reason=str(error))

    def _see_off(self) -> str:
        self._recorder.request_stop()
        pid, status = self.pid, wait_until(self.pid, steady_ns() + FINAL_DRAIN_NS + CLOSE_NS)
        self.pid = 0
        if status == 0:
            return ""
        if status is not None:
            self._fail(f"the recorder (pid {pid}) ended with {how_it_ended(status)}")
            return ""
        is_gone = kill(pid) is not None
        self._fail(f"the recorder (pid {pid}) did not end and was killed" + ("" if is_gone else "; it has not gone"))
        event(LOG, logging.ERROR, self._cause)
        return "" if is_gone else self._cause

    def facts(self) -> dict[str, Any]:
        """For the summary: ``session``, ``complete``, ``cause`` if it is not, and ``records lost untaken`` by stage.

        When the recorder died, ``untaken`` counts what it had not written.
        """
        memory = self._pipeline.segment.region("recorder")
        tapes = self._pipeline.graph.tapes
        rows = memory[RECORDER.itemsize :][: RECORDED.itemsize * len(tapes)].view(RECORDED)
        status = memory[: RECORDER.itemsize].view(RECORDER)
        is_ended, error = int(status["state"][0]) == ENDED, int(status["errno"][0])
        cause = self._cause or (os.strerror(error) if error else "")
        result: dict[str, Any] = {"session": str(self.folder)}
        for name in ("records", "lost", "untaken"):
            result[name] = {stage: int(row[name]) for stage, row in zip(tapes, rows, strict=True)}
        for stage, region in tapes.items():
            ring = self._pipeline.segment.record(region, RING)
            result["lost"][stage] = int(ring["lost"][0])
            if not is_ended:
                result["untaken"][stage] = int(ring["next_in"][0]) - result["records"][stage]
        if not cause and (untaken := sum(result["untaken"].values())):
            cause = f"{untaken} records could not be stored"
        return result | {"complete": is_ended and not cause, "cause": cause}
