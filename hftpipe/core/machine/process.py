"""What a forked process needs to know of its parent, how it ends, and how its parent sees it off."""

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from typing import NoReturn

from hftpipe.core.machine.system_clock import steady_ns

_PR_SET_PDEATHSIG = 1
#: A killed process that has not gone by then waits for a device, and may do so for ever.
KILL_LIMIT_NS = 2_000_000_000
_LOOK_S = 0.005


def die_with_parent(parent: int) -> None:
    """Have this (forked) process killed when its parent dies; ends it if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_process(code: int) -> NoReturn:
    """End this (forked) process now, saying what it died of if ``code`` is not 0.

    The process boundary: nothing unwinds into the parent's code, not even an error of writing the last words.
    """
    try:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait_until(pid: int, deadline_ns: int) -> int | None:
    """Wait status of a child process, or None if it has not ended when ``deadline_ns`` (steady clock) has come."""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if steady_ns() >= deadline_ns:
            return None
        time.sleep(_LOOK_S)


def kill(pid: int) -> int | None:
    """Kill a child process: its wait status, or None if it does not go (it is left behind, waiting for a device)."""
    os.kill(pid, signal.SIGKILL)
    return wait_until(pid, steady_ns() + KILL_LIMIT_NS)


def how_it_ended(status: int) -> str:
    """A wait status for people."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def leave_hot_cpu() -> None:
    """Run where the process that started the stages may: the stage's own CPU belongs to its loop."""
    try:
        os.sched_setaffinity(threading.get_native_id(), os.sched_getaffinity(os.getppid()))
    except OSError:
        # The parent is gone, or may not be looked at: the thread shares the stage's CPU.
        return
