"""How often an account may ask for the same thing within any second; whatever way it asks."""

from collections import deque
from dataclasses import dataclass

from hftpipe.simulation.bybit_server.trading.settings import QUERIES_PER_S, TRADING

_SECOND_MS = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an account may ask of one thing.

    Attributes:
        most: within a second; left: what it may still ask now; reset_ms: from when on it may ask again (the venue's time).
        is_too_many: the request was one too many, and does not count.
    """

    most: int
    left: int
    reset_ms: int
    is_too_many: bool

    def headers(self) -> dict[str, str]:
        """As answers tell of it."""
        return {
            "X-Bapi-Limit": str(self.most), "X-Bapi-Limit-Status": str(self.left),
            "X-Bapi-Limit-Reset-Timestamp": str(self.reset_ms),
        }  # fmt: skip


class Limits:
    """The limits of all accounts.

    Attributes:
        per_s: requests within a second of anything, in place of the venue's limits; 0: those.
    """

    def __init__(self) -> None:
        self.per_s = 0
        self._asked: dict[tuple[int, str, str], deque[int]] = {}

    def _most(self, category: str, name: str) -> int:
        rules = TRADING.get(category, TRADING["linear"])
        return self.per_s or rules.per_s.get(name, QUERIES_PER_S)

    def charge(self, account: int, category: str, name: str, count: int, now_ms: int) -> Verdict:
        """Count ``count`` requests of a category (or of none), if so many are allowed."""
        category = category if category in TRADING else ""
        times, most = self._asked.setdefault((account, category, name), deque()), self._most(category, name)
        while times and not now_ms - _SECOND_MS < times[0] <= now_ms:
            times.popleft()
        if len(times) + count > most:
            return Verdict(most, max(0, most - len(times)), (times[0] if times else now_ms) + _SECOND_MS, True)
        times.extend([now_ms] * count)
        return Verdict(most, most - len(times), now_ms, False)
