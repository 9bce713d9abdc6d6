"""Cancels what is open at the venue when the gateway's process has died, or stands still: a process of its own beside it.

It is forked by the gateway, hears of its end through a pipe that breaks (whatever ends it), sees in the segment that it still moves,
and has REST connections of its own. Orders are found at the venue by the beginning of their client ids, so none of anybody else is
touched. A machine or a network that fails takes it along: that is what a venue's dead man's switch is for.
"""

import os
import select
import signal
from collections.abc import Callable
from typing import Protocol

import numpy as np

from hftpipe.core.machine.process import end_process, wait_until
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.errands import leave_hot_cpu

#: How often it looks; how long the gateway may stand still with orders open; how long it tries to cancel.
LOOK_S, STANDSTILL_S, TRY_S, CLOCK_EVERY_S = 0.1, 5.0, 60.0, 60.0
_GOODBYE_NS = 2_000_000_000
_BYE = b"."


class Canceller(Protocol):
    """Cancels over REST what is open under our ids; each call may take long, and raise OSError."""

    def cancel_all(self) -> int:
        """Cancel every open order of ours; how many there were."""

    def clock_offset_ns(self) -> int:
        """Measure the venue's clock, by which its requests are stamped; less ours, ns."""


class Watchdog:
    """The process.

    Args:
        account: ACCOUNT array (length 1) in the segment; n_open: how many orders are open, as the table says; canceller: of the venue.
        report: takes one line about what it does.
    """

    def __init__(
        self, account: np.ndarray, n_open: np.ndarray, canceller: Canceller, report: Callable[[str], None]
    ) -> None:
        self._account, self._n_open, self._canceller, self._report = account, n_open, canceller, report
        self._pid, self._pipe = 0, -1

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
            os.close(self._pipe)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            leave_hot_cpu()
            self._watch(ours)
            code = 0
        finally:
            end_process(code)

    def stop(self) -> None:
        """The gateway ends as it should."""
        os.write(self._pipe, _BYE)
        os.close(self._pipe)
        if wait_until(self._pid, steady_ns() + _GOODBYE_NS) is None:
            self._report(f"orders: the watchdog (pid {self._pid}) does not go")

    def _watch(self, pipe: int) -> None:
        """Until the gateway has gone."""
        measured_ns = 0
        while True:
            if steady_ns() - measured_ns > CLOCK_EVERY_S * 1e9:
                measured_ns = steady_ns()
                self._measure_clock()
            if select.select([pipe], [], [], LOOK_S)[0]:
                if os.read(pipe, 1) != _BYE:
                    self._cancel("the gateway's process has died")
                return
            if self._stands_still():
                self._cancel(f"the gateway has not moved for {STANDSTILL_S:.0f} s")

    def _measure_clock(self) -> None:
        try:
            self._canceller.clock_offset_ns()
        except OSError as wrong:
            self._report(f"orders: watchdog: clock: {wrong}")

    def _stands_still(self) -> bool:
        moved_ns = int(self._account["presence_ns"][0])
        return bool(self._n_open[0]) and moved_ns > 0 and steady_ns() - moved_ns > STANDSTILL_S * 1e9

    def _cancel(self, why: str) -> None:
        """Cancel until nothing is open."""
        self._report(f"orders: {why}; cancelling what is open")
        until, total = steady_ns() + int(TRY_S * 1e9), 0
        while steady_ns() < until:
            try:
                found = self._canceller.cancel_all()
            except OSError as wrong:
                self._report(f"orders: watchdog: {wrong}")
                select.select([], [], [], LOOK_S)
                continue
            total += found
            if not found:
                self._report(f"orders: watchdog: nothing is open any more, {total} cancelled")
                return
        self._report(f"orders: watchdog: ORDERS MAY BE OPEN: tried for {TRY_S:.0f} s")
