"""The recorder beside a running pipeline: its session, its process, and what became of both.

It is the last to be stopped, so that what the stages did last is recorded. When it dies, trading goes on: the tapes
fill up and the stages drop and count.
"""

import hashlib
import logging
import os
import signal
import time
import traceback
from typing import Any

from hftpipe.core.clock import CLOCK, steady_ns, wall_ns
from hftpipe.core.ring import RING
from hftpipe.log import event
from hftpipe.pipeline import TAPES, Pipeline
from hftpipe.record.recorder import ENDED, FINAL_DRAIN_NS, RECORDED, RECORDER, Recorder, warm
from hftpipe.record.session import build_header, create_session
from hftpipe.strategy.loader import LoadedStrategy

LOG = logging.getLogger("hftpipe.recording")
#: Beyond its own last drain the recorder gets this long to write and close its files.
CLOSE_NS = 5_000_000_000


def source_hash(strategy: LoadedStrategy) -> str:
    """sha256 (hex) of the file a strategy came from."""
    return hashlib.sha256(strategy.source.read_bytes()).hexdigest()


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
            stages=list(TAPES),
            fingerprint=config.fingerprint(),
            config=config.as_dict(),
            instruments=pipeline.instruments,
            strategy={
                "name": config.strategy.name,
                "source_hash": source_hash(pipeline.strategy),
                "params": config.strategy.effective_params(),
            },
            clock=pipeline.segment.record("clock", CLOCK),
            start_wall_ns=wall_ns(),
        )
        self._pipeline = pipeline
        self.folder, self.pid, self._status = create_session(config.record.folder, header), 0, 0
        warm()
        self._recorder = Recorder(
            pipeline.segment, TAPES, self.folder, segment_bytes=config.record.segment_mb << 20,
            buffer_bytes=config.record.buffer_mb << 20,
        )  # fmt: skip

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
            # The process boundary: nothing may unwind into the parent's code.
            if code:
                traceback.print_exc()
            os._exit(code)

    def has_died(self) -> bool:
        """Whether it ended before it was told to; logged the first time."""
        if self.pid and self._reap():
            event(LOG, logging.ERROR, "the recorder died, trading goes on unrecorded", how=self._how(), pid=self.pid)
            self.pid = 0
        return not self.pid

    def _reap(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        self._status = status if pid else 0
        return bool(pid)

    def _how(self) -> str:
        code = os.waitstatus_to_exitcode(self._status)
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """After the last stage has ended: have everything left written, and see the process off."""
        if self.has_died():
            return
        self._recorder.request_stop()
        deadline = steady_ns() + FINAL_DRAIN_NS + CLOSE_NS
        while steady_ns() < deadline:
            if self._reap():
                self.pid = 0
                return
            time.sleep(0.005)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        event(LOG, logging.ERROR, "the recorder did not end and was killed", pid=self.pid)
        self.pid = 0

    def facts(self) -> dict[str, Any]:
        """For the summary: ``session``, ``complete``, and ``records lost untaken`` by stage.

        When the recorder died, ``untaken`` counts what it had not written.
        """
        memory = self._pipeline.segment.region("recorder")
        rows = memory[RECORDER.itemsize :][: RECORDED.itemsize * len(TAPES)].view(RECORDED)
        is_ended = int(memory[: RECORDER.itemsize].view(RECORDER)["state"][0]) == ENDED
        result: dict[str, Any] = {"session": str(self.folder), "complete": is_ended}
        for name in ("records", "lost", "untaken"):
            result[name] = {stage: int(row[name]) for stage, row in zip(TAPES, rows, strict=True)}
        for stage, region in TAPES.items():
            ring = self._pipeline.segment.record(region, RING)
            result["lost"][stage] = int(ring["lost"][0])
            if not is_ended:
                result["untaken"][stage] = int(ring["next_in"][0]) - result["records"][stage]
        return result
