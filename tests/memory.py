"""Memory for tests of code that works on addresses, and processes that share it."""

import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np

ALIGN = 128


def address(array: np.ndarray) -> np.uint64:
    """The address of an array's first byte, as jitted code takes it."""
    return np.uint64(array.ctypes.data)


def aligned(n_bytes: int) -> np.ndarray:
    """``n_bytes`` zeroed uint8, starting on a multiple of 128."""
    raw = np.zeros(n_bytes + ALIGN, np.uint8)
    at = -raw.ctypes.data % ALIGN
    return raw[at : at + n_bytes]


def shared(n_bytes: int) -> np.ndarray:
    """``n_bytes`` zeroed uint8 on a page of their own, shared with children made by fork."""
    return np.frombuffer(mmap.mmap(-1, n_bytes), np.uint8)


def record(dtype: np.dtype) -> np.ndarray:
    """One zeroed record of ``dtype`` (array of length 1) on a multiple of 128."""
    return aligned(dtype.itemsize).view(dtype)


def fork(function: Callable[[], bool | None]) -> int:
    """Run ``function`` in a child; its exit code is 0 unless it raised or returned False."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(120)
        code = 1 if function() is False else 0
    except BaseException:  # the process boundary: nothing may unwind into the parent's test run
        traceback.print_exc()
    finally:
        os._exit(code)


def join(pid: int, seconds: float = 60.0) -> int:
    """Exit code of a child (negative: the signal that ended it); killed and -SIGKILL after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
