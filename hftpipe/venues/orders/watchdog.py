"""Cancels what is open at the venue when the gateway's process has died, or stands still: a process of its own beside it.

It is forked by the gateway, hears of its end through a pipe that breaks (whatever ends it), sees in the segment that it still moves,
and has REST connections of its own. Orders are found at the venue by the beginning of their client ids, so none of anybody else is
touched. A machine or a network that fails takes it along: that is what a venue's dead man's switch is for.
"""

import ctypes
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from hftpipe.core.machine.process import end_process, leave_hot_cpu, wait_until
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.pauses import pause_s
from hftpipe.venues.orders.looks import n_open, newest_epoch

#: How often it looks; how long the gateway may stand still with orders open; how often the clock is measured.
LOOK_S, STANDSTILL_S, CLOCK_EVERY_S = 0.1, 5.0, 60.0
#: How long it tries to cancel, unless it is told otherwise; the longest pause between attempts.
TRY_S, LONGEST_PAUSE_S = 3600.0, 10.0
#: How long after the gateway's end an order may still arrive at the venue (its window for requests, and more), and how often that is
#: looked at; the pause after orders were cancelled, for what it asks comes on top of what the gateway does.
UNDER_WAY_S, QUIET_LOOK_S, ROUND_S = 7.0, 1.0, 0.5
_GOODBYE_NS = 2_000_000_000
_BYE = b"."


class Canceller(Protocol):
    """Cancels over REST what is open under our ids; each call may take long, and raise OSError."""

    def cancel_all(self, last_epoch: int) -> int:
        """Cancel every open order of ours up to an epoch of client ids; how many there were."""

    def clock_offset_ns(self) -> int:
        """Measure the venue's clock, by which its requests are stamped; less ours, ns."""


def _let_go_of_all_but(pipe: int) -> None:
    """Close what the gateway had open but one pipe and the standard streams."""
    for name in os.listdir("/proc/self/fd"):
        if (fd := int(name)) > 2 and fd != pipe:
            with suppress(OSError):
                os.close(fd)


def _let_go_of_segments() -> None:
    """Give the shared memory back: a run holds its name as long as anybody has it mapped. No array in it may be touched from now on."""
    unmap = ctypes.CDLL(None).munmap
    unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, path = line.split()
        if path.startswith("/dev/shm/"):
            start, end = (int(part, 16) for part in span.split("-"))
            unmap(start, end - start)


def _attempt(do: Callable[[], int]) -> tuple[int, str]:
    """What a request gives (0: nothing), and what went wrong. Whatever the venue has answered: nobody else looks after the orders."""
    try:
        return do(), ""
    except Exception as wrong:
        return 0, f"{type(wrong).__name__}: {wrong}"


class Watchdog:
    """The process.

    Args:
        account: ACCOUNT array (length 1) in the segment; table: its order table (uint8); canceller: of the venue.
        report: takes one line about what it does; try_s: how long it tries to cancel.
    """

    def __init__(
        self,
        account: np.ndarray,
        table: np.ndarray,
        canceller: Canceller,
        report: Callable[[str], None],
        try_s: float = TRY_S,
    ) -> None:
        self._try_s, self._account, self._table, self._canceller, self._report = (
            try_s,
            account,
            table,
            canceller,
            report,
        )
        self._pid, self._pipe = 0, -1
        #: Who waits for the process: its end is found once.
        self._waiting = threading.Lock()

    def start(self) -> None:
        """Fork it, in the gateway's process before that has threads."""
        ours, self._pipe = os.pipe()
        pid = os.fork()
        if pid:
            self._pid = pid
            os.close(ours)
            return
        code = 1
        try:
            _let_go_of_all_but(ours)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            leave_hot_cpu()
            self._watch(ours)
            code = 0
        finally:
            end_process(code)

    def has_died(self) -> bool:
        """Whether the process has ended by itself, told once; nobody looks after the orders then."""
        with self._waiting:
            if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
                self._pid = 0
                return True
        return False

    def stop(self) -> None:
        """The gateway ends. With orders open it is not told so, and does what it is there for."""
        is_left = bool(n_open(self._table))
        with self._waiting:
            # From here on it ends because it is told to.
            pid, self._pid = self._pid, 0
        try:
            if not is_left:
                os.write(self._pipe, _BYE)
        except BrokenPipeError:
            self._report("orders: the watchdog had died before the end")
        os.close(self._pipe)
        if not is_left and pid and wait_until(pid, steady_ns() + _GOODBYE_NS) is None:
            self._report(f"orders: the watchdog (pid {pid}) does not go")

    def _watch(self, pipe: int) -> None:
        """Until the gateway has gone."""
        measured_ns, stood_ns = 0, -1
        while True:
            if steady_ns() - measured_ns > CLOCK_EVERY_S * 1e9:
                measured_ns = steady_ns()
                self._measure_clock()
            if select.select([pipe], [], [], LOOK_S)[0]:
                if os.read(pipe, 1) != _BYE:
                    last_epoch = newest_epoch(self._table)
                    _let_go_of_segments()
                    self._cancel("the gateway's process has ended with orders open", UNDER_WAY_S, last_epoch)
                return
            moved_ns = self._moved_ns()
            if self._stands_still(moved_ns) and moved_ns != stood_ns:
                # Once each time: what it says of its orders stands still, too.
                stood_ns = moved_ns
                self._stand_in(stood_ns)

    def _stand_in(self, stood_ns: int) -> None:
        """Cancel for a gateway that has stood still since then, until it moves again."""
        why = f"the gateway has not moved for {STANDSTILL_S:.0f} s"
        self._cancel(why, 0.0, newest_epoch(self._table), lambda: self._moved_ns() != stood_ns)

    def _moved_ns(self) -> int:
        """When the gateway has moved last."""
        return int(self._account["presence_ns"][0])

    def _measure_clock(self) -> None:
        if wrong := _attempt(self._canceller.clock_offset_ns)[1]:
            self._report(f"orders: watchdog: clock: {wrong}")

    def _stands_still(self, moved_ns: int) -> bool:
        return bool(n_open(self._table)) and moved_ns > 0 and steady_ns() - moved_ns > STANDSTILL_S * 1e9

    def _cancel(
        self, why: str, under_way_s: float, last_epoch: int, has_resumed: Callable[[], bool] = lambda: False
    ) -> None:
        """Cancel until nothing is open, and as long after that as an order may still be on its way.

        What has a later epoch is of another run, that has begun since; and once the gateway has resumed, its orders are its own again.
        """
        self._report(f"orders: {why}; cancelling what is open")
        began = steady_ns()
        until, quiet, total, failures = began + int(self._try_s * 1e9), began + int(under_way_s * 1e9), 0, 0
        while steady_ns() < until:
            if has_resumed():
                self._report(f"orders: watchdog: the gateway moves again, {total} cancelled")
                return
            found, wrong = _attempt(lambda: self._canceller.cancel_all(last_epoch))
            total, failures = total + found, failures + 1 if wrong else 0
            if wrong:
                self._report(f"orders: watchdog: attempt {failures}: {wrong}")
                select.select([], [], [], pause_s(failures, LOOK_S, LONGEST_PAUSE_S))
                # A request is refused for its time, too.
                self._measure_clock()
                continue
            if not found and steady_ns() >= quiet:
                self._report(f"orders: watchdog: nothing is open any more, {total} cancelled")
                return
            select.select([], [], [], ROUND_S if found else QUIET_LOOK_S)
        self._report(f"orders: watchdog: ORDERS MAY BE OPEN: tried for {self._try_s:.0f} s")
