"""The kill switch as a process: beside a run, which starts it before anything else, or alone, whether or not anything runs.

It serves HTTP, kills on SIGUSR2, and kills when a file appears. Beside a run it ends with it.
"""

import contextlib
import ipaddress
import logging
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hftpipe.app.settings.sources import Sources
from hftpipe.app.signals import ENDING, KILLING, noted_signals
from hftpipe.config import Config
from hftpipe.core.machine.process import die_with_parent, end_process, how_it_ended, kill, wait_until
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.refusal import Refusal
from hftpipe.kill_switch.server import Server
from hftpipe.kill_switch.switch import KILL_TOKEN, RESET_TOKEN, Switch, tokens_from
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.kill_switch")
#: How often the file is looked for.
POLL_S = 0.02
#: A kill that is under way when the process is told to end is waited for, and so is the process.
_LAST_KILL_S, _STOP_LIMIT_NS = 3.0, 5_000_000_000


class AddressTaken(Refusal, OSError):
    """The kill switch cannot listen where it should; the message names the address and the reason."""


class FileWatch:
    """Kills when a file appears; what is there from the start has appeared."""

    def __init__(self, path: str, act: Callable[[str], None]) -> None:
        self._path, self._act, self._was_there = path, act, False

    def look(self) -> None:
        """Act once for each time that it appears."""
        is_there = bool(self._path) and os.path.lexists(self._path)
        if is_there and not self._was_there:
            self._act(f"kill switch, file {self._path}")
        self._was_there = is_there


class KillSwitch:
    """The kill switch of one pipeline, listening.

    Args:
        config: of the pipeline: its name, and ``[kill_switch]``.
        sources: of its settings, and its environment, where the tokens are.

    Raises:
        AddressTaken: the address cannot be had. ConfigError: a token is too short.
    """

    def __init__(self, config: Config, sources: Sources) -> None:
        own, tokens = config.kill_switch, tokens_from(sources.env)
        self._switch = Switch(config.pipeline.name, own.file, tokens, sources, config.strategy.reload_s)
        host, _, port = own.address.rpartition(":")
        try:
            self._server = Server((host, int(port)), self._switch)
        except OSError as error:
            raise AddressTaken(
                f"kill_switch.address = {own.address}: {error.strerror}; does another kill switch serve there already?"
            ) from error
        self._kills: list[threading.Thread] = []
        self._file = FileWatch(own.file, self._kill)
        self.address = "{}:{}".format(*self._server.server_address[:2])
        self._tell(config.pipeline.name, ipaddress.ip_address(host).is_loopback, tokens)

    def _tell(self, name: str, is_local: bool, tokens: Mapping[str, object]) -> None:
        event(
            LOG, logging.INFO, "the kill switch listens", pipeline=name, address=self.address, file=self._switch.file,
            kill_needs="token" if KILL_TOKEN in tokens else "nothing", can_reset=RESET_TOKEN in tokens,
        )  # fmt: skip
        if not is_local:
            who = "with the token" if KILL_TOKEN in tokens else "without any password"
            event(
                LOG, logging.WARNING, f"the kill switch can be reached from other machines, {who}", address=self.address
            )

    def _kill(self, reason: str) -> None:
        """Kill in a thread of its own: neither a signal nor a file waits for a disk."""
        thread = threading.Thread(target=self._kill_now, args=(reason,), name="kill", daemon=True)
        self._kills = [one for one in self._kills if one.is_alive()]
        try:
            thread.start()
        except RuntimeError:
            # There is none to be had: late is better than not.
            self._kill_now(reason)
        else:
            self._kills.append(thread)

    def _kill_now(self, reason: str) -> None:
        killed = self._switch.kill_here(reason)
        event(
            LOG, logging.ERROR, "killed", reason=reason, latched=killed.is_latched, problem=killed.problem, **killed.orders
        )  # fmt: skip

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Serve until it is over; then see the last kills through."""
        self.heed_signal()
        event(LOG, logging.INFO, "the kill switch serves", pid=os.getpid(), address=self.address)
        while not is_over():
            self._file.look()
            self._server.serve_once(POLL_S)
        self._see_through()

    def heed_signal(self) -> None:
        """From now on the signal kills."""
        signal.signal(KILLING, lambda *_: self._kill(f"kill switch, {KILLING.name}"))

    def _see_through(self) -> None:
        """Wait for kills that are under way, whoever has asked for them."""
        deadline = steady_ns() + int(_LAST_KILL_S * 1e9)
        for thread in self._kills:
            thread.join(max(0.0, (deadline - steady_ns()) / 1e9))
        while self._server.is_answering() and steady_ns() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()


class Beside:
    """The kill switch as a companion of a run: forked at once, before anything else can fail.

    Attributes:
        pid: of its process; 0 when it has ended.
    """

    def __init__(self, switch: KillSwitch) -> None:
        self._stop = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint64)[:1]
        parent = os.getpid()
        # The process that is forked has the handler from its first moment on; this one is not the kill switch.
        switch.heed_signal()
        self.pid = os.fork()
        if self.pid == 0:
            self._main(switch, parent)
        signal.signal(KILLING, signal.SIG_IGN)
        switch.close()

    def _main(self, switch: KillSwitch, parent: int) -> None:
        code = 1
        try:
            die_with_parent(parent)
            # A signal to the whole group is the run's to act on; this process answers until the run is over.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
            switch.serve(lambda: bool(self._stop[0]))
            code = 0
        finally:
            end_process(code)

    def start(self, hot_cpus: set[int]) -> None:
        """It runs already: away from the stages' CPUs, where there are others."""
        spare = os.sched_getaffinity(0) - hot_cpus
        if self.pid and spare:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.pid, spare)

    def has_died(self) -> bool:
        """Whether it ended before it was told to; logged the first time. `hftpipe kill` needs no such process."""
        if self.pid and (status := wait_until(self.pid, 0)) is not None:
            how = how_it_ended(status)
            event(LOG, logging.ERROR, "the kill switch died; `hftpipe kill` still works", how=how, pid=self.pid)
            self.pid = 0
        return not self.pid

    def stop(self) -> str:
        """See it off: who did not go when killed, empty if nobody."""
        if self.has_died():
            return ""
        self._stop[0] = 1
        pid, self.pid = self.pid, 0
        if wait_until(pid, steady_ns() + _STOP_LIMIT_NS) is None and kill(pid) is None:
            return f"the kill switch (pid {pid}) did not go when killed"
        return ""


@contextlib.contextmanager
def beside_run(config: Config, sources: Sources) -> Iterator[Beside | None]:
    """The kill switch beside a run that is about to start, where ``kill_switch.enabled`` asks for one; it ends with the run."""
    if not config.kill_switch.enabled:
        yield None
        return
    companion = Beside(KillSwitch(config, sources))
    try:
        yield companion
    finally:
        companion.stop()


def serve_alone(config: Config, sources: Sources) -> int:
    """The kill switch by itself, until it is asked to end: exit code."""
    with noted_signals() as signals:
        switch = KillSwitch(config, sources)
        try:
            switch.serve(lambda: bool(signals))
        finally:
            switch.close()
    event(LOG, logging.INFO, "the kill switch has ended", reason=signals[-1])
    return 0
