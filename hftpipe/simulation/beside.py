"""A simulated venue as a process beside the pipeline: forked before the stages, stopped after them."""

import logging
import mmap
import os
import signal
from abc import ABC, abstractmethod

import numpy as np

from hftpipe.core.machine.process import die_with_parent, end_process, kill, wait_until
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.exchange")
STOP_LIMIT_NS = 3_000_000_000


class BesideProcess(ABC):
    """One simulated venue on this machine; its addresses are open from the start, so that they can be wired before anything runs.

    Attributes:
        pid: process id once started.
    """

    def __init__(self) -> None:
        self.pid = 0
        # Shared with the process: the stop word, and whether its market has come to its end.
        self._stop, self._ended = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint64)[:2].reshape(2, 1)

    @abstractmethod
    def serve(self) -> None:
        """What the process does, until the stop word is set."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what was opened for it."""

    def start(self, hot_cpus: set[int]) -> None:
        """Fork it, on the CPUs that no stage has if there are any."""
        parent, spare = os.getpid(), os.sched_getaffinity(0) - hot_cpus
        pid = os.fork()
        if pid:
            self.pid = pid
            return
        code = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            if spare:
                os.sched_setaffinity(0, spare)
            die_with_parent(parent)
            self.serve()
            code = 0
        finally:
            end_process(code)

    def end_market(self) -> None:
        """Its market has come to its end, as a capture does: so may the run (called in the process)."""
        self._ended[0] = 1

    def has_ended(self) -> bool:
        """Whether its market has been played to the end; it stands still then, until it is stopped."""
        return bool(self._ended[0])

    def has_died(self) -> bool:
        """Whether it ended before it was told to; logged the first time (the feed falls silent then)."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            event(LOG, logging.ERROR, "the simulated exchange died", pid=self.pid)
            self.pid = 0
        return not self.pid

    def stop(self) -> str:
        """End the session and see the process off: who did not go when killed, empty if nobody."""
        self._stop[0] = 1
        pid, self.pid, stuck = self.pid, 0, ""
        if pid and wait_until(pid, steady_ns() + STOP_LIMIT_NS) is None and kill(pid) is None:
            stuck = f"the simulated exchange (pid {pid}) did not go when killed"
        self.close()
        return stuck
