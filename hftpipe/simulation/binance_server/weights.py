"""Request weight: what an address has used of its minute, and what it is told beyond that.

Minutes are those of the clock. Who goes on asking after a 429 is banned (418) for two minutes.
"""

from collections import defaultdict
from dataclasses import dataclass

_MINUTE_MS = 60_000
_BAN_MS = 120_000
#: Requests beyond the limit, within one minute, that are still answered 429.
_PATIENCE = 100


@dataclass(slots=True)
class _Used:
    minute: int = -1
    weight: int = 0
    refused: int = 0
    banned_until: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request.

    Attributes:
        status: 200: it is answered; 429 or 418: it is not; used: weight used in this minute; retry_after_s: when to come back.
    """

    status: int
    used: int
    retry_after_s: int = 0


class Weights:
    """The limit of one market.

    Args:
        per_min: weight an address may use in a minute.
    """

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._by_address: defaultdict[str, _Used] = defaultdict(_Used)

    def charge(self, address: str, weight: int, now_ms: int) -> Verdict:
        """Reckon a request in."""
        used, minute = self._by_address[address], now_ms // _MINUTE_MS
        if now_ms < used.banned_until:
            return Verdict(418, used.weight, _seconds(used.banned_until - now_ms))
        if minute != used.minute:
            used.minute, used.weight, used.refused = minute, 0, 0
        if used.weight + weight <= self.per_min:
            used.weight += weight
            return Verdict(200, used.weight)
        used.refused += 1
        if used.refused > _PATIENCE:
            used.banned_until = now_ms + _BAN_MS
            return Verdict(418, used.weight, _seconds(_BAN_MS))
        return Verdict(429, used.weight, _seconds((minute + 1) * _MINUTE_MS - now_ms))


def _seconds(ms: int) -> int:
    return max(1, -(-ms // 1000))
