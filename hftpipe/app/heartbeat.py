"""Whether every stage still goes round its loop, judged by what the supervisor itself has seen.

A heartbeat is a word that a stage changes on every round. Its age is the time on the supervisor's own steady clock since
the supervisor saw it change: not the difference of two time stamps, which grows while the machine is suspended or the
whole group is stopped. When the supervisor's own look was late, nobody may have been running: it begins anew and judges
after a full timeout of looks in time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

#: A look this much after the one before was late, or a quarter of the timeout if that is more.
LATE_NS = 1_000_000_000
#: Before its first round a stage maps its memory and opens its files.
FIRST_ROUND_NS = 10_000_000_000


@dataclass
class _Seen:
    beat: int
    since_ns: int


class HeartbeatWatch:
    """Ages of the heartbeats of the stages.

    Args:
        timeout_ns: a stage whose heartbeat stands still for longer is overdue.
        now_ns: the steady clock, as in all calls.

    Attributes:
        late: how often a look was late.
    """

    def __init__(self, timeout_ns: int, now_ns: int) -> None:
        self.late = 0
        self._timeout_ns, self._late_ns = timeout_ns, max(LATE_NS, timeout_ns // 4)
        self._looked_ns = now_ns
        self._seen: dict[str, _Seen] = {}

    def overdue(self, now_ns: int, beats: Mapping[str, int]) -> tuple[str, int] | None:
        """Look at the heartbeats (0: no round yet): the stage that stands still and for how long (ns), if there is one."""
        if now_ns - self._looked_ns > self._late_ns:
            self.late += 1
            self._seen.clear()
        self._looked_ns = now_ns
        ages = {stage: self._age_ns(stage, beat, now_ns) for stage, beat in beats.items()}
        return next(((stage, age) for stage, age in ages.items() if age > self._limit_ns(beats[stage])), None)

    def _age_ns(self, stage: str, beat: int, now_ns: int) -> int:
        seen = self._seen.get(stage)
        if seen is None or seen.beat != beat:
            seen = self._seen[stage] = _Seen(beat, now_ns)
        return now_ns - seen.since_ns

    def _limit_ns(self, beat: int) -> int:
        return self._timeout_ns if beat else max(self._timeout_ns, FIRST_ROUND_NS)
