"""The venue's clock, and that of its flow: the flow runs at a multiple of real time, and stands while it is frozen."""

from collections.abc import Mapping
from typing import Any

from hftpipe.core.machine.system_clock import steady_ns, wall_ns

_MS_NS = 1_000_000


class VenueClock:
    """Times in ns.

    Attributes:
        start_ns: of both clocks, the wall clock at the start.
        frozen: while it is set the flow's time stands still; stands: while it is set the venue's does.
        offset_ns: how far the venue's clock is off.
    """

    def __init__(self, speed: float) -> None:
        self.start_ns, self.frozen, self.stands, self.offset_ns = wall_ns(), False, False, 0
        self._steady_ns, self._speed = steady_ns(), speed
        self._now_ns = self._flow_ns = self.start_ns

    def begin(self) -> None:
        """The flow's time begins to run now."""
        self._now_ns = self.start_ns + steady_ns() - self._steady_ns

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request asks of the clocks; an offset is one from the machine's clock of now."""
        self.frozen, self.stands = asked.get("freeze", self.frozen), asked.get("clock_stands", self.stands)
        if "clock_offset_ms" in asked:
            self.offset_ns = asked["clock_offset_ms"] * _MS_NS

    def advance(self) -> None:
        """Look at the machine's clock; nothing below changes in between."""
        now = self.start_ns + steady_ns() - self._steady_ns
        if not self.frozen:
            self._flow_ns += int((now - self._now_ns) * self._speed)
        if self.stands:
            self.offset_ns -= now - self._now_ns
        self._now_ns = now

    @property
    def now_ns(self) -> int:
        """The venue's time: wall clock at the start, steady from there on, and off by ``offset_ns``."""
        return self._now_ns + self.offset_ns

    @property
    def flow_ns(self) -> int:
        """Events up to this time are due."""
        return self._flow_ns

    def hold(self, flow_ns: int) -> None:
        """The flow does not get farther than this now: it is slower than it was asked to be."""
        self._flow_ns = min(self._flow_ns, flow_ns)

    def when(self, flow_ns: int) -> int:
        """When something happened (the venue's time) that the flow has at ``flow_ns``."""
        return self.now_ns - int((self._flow_ns - flow_ns) / self._speed) if self._speed else self.now_ns
