"""Work that waits for others (connecting, fetching): done in a thread beside the compiled loop, when its time has come."""

import heapq
import threading
from collections.abc import Callable
from itertools import count

from hftpipe.core.machine.process import leave_hot_cpu
from hftpipe.core.machine.system_clock import steady_ns

_LONGEST_WAIT_S, _AGAIN_S = 0.5, 5.0


class Errands(threading.Thread):
    """Runs jobs, each not before its time, one after the other; a job may be done more than once.

    Args:
        name: of the thread; report: takes a line about a job that failed as nobody had foreseen: it is done again.
    """

    def __init__(self, name: str, report: Callable[[str], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._report = report
        self._jobs: list[tuple[int, int, Callable[[], None]]] = []
        self._number, self._changed, self._is_over = count(), threading.Condition(), False

    def ask(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """Have a job done, in so many seconds at the earliest."""
        with self._changed:
            heapq.heappush(self._jobs, (steady_ns() + int(after_s * 1e9), next(self._number), job))
            self._changed.notify()

    def end(self) -> None:
        """Do nothing more."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._is_over:
                wait_ns = self._jobs[0][0] - steady_ns() if self._jobs else int(_LONGEST_WAIT_S * 1e9)
                if self._jobs and wait_ns <= 0:
                    return heapq.heappop(self._jobs)[2]
                self._changed.wait(min(wait_ns / 1e9, _LONGEST_WAIT_S))
        return None

    def run(self) -> None:
        leave_hot_cpu()
        while job := self._next():
            # Whatever the other side has sent: a thread that has ended would bring no book back, and say nothing.
            try:
                job()
            except Exception as wrong:
                self._report(f"{self.name}: {type(wrong).__name__}: {wrong}; again in {_AGAIN_S:.0f} s")
                self.ask(job, _AGAIN_S)
