"""The venue's clock as requests are stamped by it: measured over REST, by the quickest of some answers."""

from collections.abc import Callable

from hftpipe.core.machine.system_clock import steady_ns, wall_ns

_LOOKS = 5
#: Venues refuse what comes from their future more strictly than what is late: we aim a little behind them.
BEHIND_NS = 50_000_000


class VenueClock:
    """A clock; until it is measured it is ours.

    Args:
        ask_ns: asks the venue for its time, ns; what it raises is handed on.
    """

    def __init__(self, ask_ns: Callable[[], int]) -> None:
        self._ask_ns, self._offset_ns = ask_ns, 0

    def now_ms(self) -> int:
        """What a request is stamped with now."""
        return (wall_ns() + self._offset_ns) // 1_000_000

    def measure(self) -> int:
        """The venue's clock less ours, a little behind it (BEHIND_NS), from now on."""
        best = (1 << 62, 0)
        for _ in range(_LOOKS):
            sent = steady_ns()
            theirs = self._ask_ns()
            took, now = steady_ns() - sent, wall_ns()
            best = min(best, (took, theirs - (now - took // 2)))
        self._offset_ns = best[1] - BEHIND_NS
        return self._offset_ns
