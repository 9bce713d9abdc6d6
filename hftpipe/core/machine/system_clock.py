"""The clocks of the system, for cold code: no compiled code is needed to read them."""

import time


def wall_ns() -> int:
    """Wall clock, ns since the epoch. For display and file names only; never for ages or timeouts."""
    return time.time_ns()


def midnight_ns(now_ns: int) -> int:
    """The midnight (UTC) before a wall time, ns."""
    return now_ns - now_ns % 86_400_000_000_000


def steady_ns() -> int:
    """CLOCK_MONOTONIC in ns, for cold code."""
    return time.monotonic_ns()
