"""How many orders an account has sent in the windows of its market, which are those of the clock.

Every order that is taken counts one. On spot its first execution gives back one if it took and five if it was taken, never
below nothing: only orders that are never executed use the limit up. (The venue's own numbers are not promised.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.trading.refused import TOO_MANY
from hftpipe.simulation.binance_server.trading.settings import TradingRules

_TAKER_BACK, _MAKER_BACK = 1, 5


@dataclass(slots=True)
class _Window:
    number: int = -1
    count: int = 0


@dataclass(slots=True)
class OrderCounts:
    """The counts of one account.

    Attributes:
        rules: the windows.
    """

    rules: TradingRules
    _windows: dict[int, _Window] = field(default_factory=dict)

    def _now(self, seconds: int, now_ms: int) -> _Window:
        window, number = self._windows.setdefault(seconds, _Window()), now_ms // (seconds * 1000)
        if window.number != number:
            window.number, window.count = number, 0
        return window

    def charge(self, now_ms: int, by: int = 1, shortest: int = 0) -> None:
        """Count an order; ``shortest``: what the shortest window counts instead, if not 0.

        Raises:
            Refused: that is more than allowed; nothing is counted.
        """
        for at, (seconds, most, _, interval, number) in enumerate(self.rules.count_windows):
            more = shortest if shortest and at == self._shortest() else by
            if self._now(seconds, now_ms).count + more > most:
                text = f"Too many new orders; current limit is {most} orders per {number} {interval}."
                raise Refused(-1015, text, TOO_MANY)
        for at, (seconds, *_) in enumerate(self.rules.count_windows):
            self._now(seconds, now_ms).count += shortest if shortest and at == self._shortest() else by

    @contextmanager
    def unless_refused(self, now_ms: int) -> Iterator[None]:
        """An order that was counted, and is refused within this after all, does not count."""
        try:
            yield
        except Refused:
            self._give_back(1, now_ms)
            raise

    def _give_back(self, count: int, now_ms: int) -> None:
        for seconds, *_ in self.rules.count_windows:
            window = self._now(seconds, now_ms)
            window.count = max(0, window.count - count)

    def _shortest(self) -> int:
        return min(range(len(self.rules.count_windows)), key=lambda at: self.rules.count_windows[at][0])

    def executed(self, is_maker: bool, now_ms: int) -> None:
        """An order was executed for the first time (spot)."""
        self._give_back(_MAKER_BACK if is_maker else _TAKER_BACK, now_ms)

    def headers(self, now_ms: int) -> dict[str, str]:
        """What the answer to an order says of them."""
        return {
            f"X-MBX-ORDER-COUNT-{name}": str(self._now(seconds, now_ms).count)
            for seconds, _, name, _, _ in self.rules.count_windows
        }

    def rows(self, now_ms: int) -> list[dict[str, Any]]:
        """The same as ``rateLimits`` has it."""
        return [
            {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": most,
             "count": self._now(seconds, now_ms).count}
            for seconds, most, _, interval, number in self.rules.count_windows
        ]  # fmt: skip

    def retry_after_s(self, now_ms: int) -> int:
        """When the shortest full window is over."""
        full = [
            seconds for seconds, most, *_ in self.rules.count_windows if self._now(seconds, now_ms).count >= most
        ] or [self.rules.count_windows[self._shortest()][0]]  # fmt: skip
        return max(1, -(-(min(full) * 1000 - now_ms % (min(full) * 1000)) // 1000))
