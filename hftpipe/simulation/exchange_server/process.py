"""The simulated exchange as a process beside the pipeline: started before the stages, stopped after them."""

import errno
import logging
import mmap
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hftpipe.core.machine.process import die_with_parent, end_process, kill, wait_until
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.log import event
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange, exchange_close, exchange_open, serve
from hftpipe.simulation.exchange_server.settings import ExchangeConfig, Told

LOG = logging.getLogger("hftpipe.exchange")
STOP_LIMIT_NS = 3_000_000_000


def warm() -> None:
    """Compile (or load) what the process runs, before it is forked."""
    serve.compile("(uint64, uint64, uint64, int64, int64)")
    exchange_open.compile("(uint64, int64)")
    exchange_close.compile("(uint64, int64)")


def _warn(text: str) -> None:
    event(LOG, logging.WARNING, text)


class ExchangeProcess:
    """One simulated exchange on this machine.

    Attributes:
        exchange: its ports are open from the start, so that they can be wired before anything runs.
        pid: process id once started.
        damaged: gets a line of text, in the exchange's process, about a capture that cannot be read on.

    Args:
        config: what it is; truth: as in :meth:`ItchExchange.run`.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ItchExchange`.
    """

    def __init__(self, config: ExchangeConfig, truth: str = "") -> None:
        warm()
        self._truth = truth
        self.exchange, self.pid = ItchExchange(config), 0
        self.damaged: Callable[[str], None] = _warn
        # Shared with the process: the stop word, and whether its capture has come to its end.
        self._stop, self._ended = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint64)[:2].reshape(2, 1)

    def start(self, hot_cpus: set[int]) -> None:
        """Fork the exchange, on the CPUs that no stage has if there are any."""
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
            self._serve(parent)
            code = 0
        finally:
            end_process(code)

    def _serve(self, parent: int) -> None:
        die_with_parent(parent)
        self.exchange.run(self._stop, Told(_warn, self.damaged, self._end), self._truth)

    def _end(self) -> None:
        self._ended[0] = 1

    def has_ended(self) -> bool:
        """Whether its capture has been played to the end; the market stands still then, until it is stopped."""
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
        self.exchange.close()
        return stuck


def exchange_of_its_own(config: ExchangeConfig, truth: str = "") -> ExchangeProcess:
    """An exchange on the ports of its lines, or on free ones where another exchange of this machine speaks on those.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ExchangeProcess`.
    """
    try:
        return ExchangeProcess(config, truth)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        exchange = ExchangeProcess(replace(config, port_a=0, port_b=0), truth)
    ports = {name: getattr(exchange.exchange, name) for name in ("port_a", "port_b")}
    event(LOG, logging.WARNING, "another exchange speaks on these lines: free ports are taken", **ports)
    return exchange
