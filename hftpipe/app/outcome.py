"""How a run has ended."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        reason: for people, e.g. ``"duration reached"``.
        exit_code: 0 for an end that was asked for, 1 when a stage failed, or an order's end or fill is not known.
        pss_mb: largest sum of proportional set sizes seen, MB.
        context_switches: per process, voluntary and involuntary.
        ended_tsc: time-stamp counter when the reason arose (for a recording: when everything had been read).
        late_polls: how often the supervisor itself was late (stopped, or without a CPU).
        left_behind: processes that did not go when they were killed.
        stage_faults: how processes ended that did not end as they were told to, by ``stage.died`` or ``stage.hung``.
        stop: what became of the open orders (:meth:`hftpipe.app.stopping.WindDown.facts`).
        venue_faults: the venues that were halted for a fault of their own while the others went on, and what it was.
    """

    reason: str
    exit_code: int
    pss_mb: float
    context_switches: dict[str, dict[str, int]] = field(default_factory=dict)
    ended_tsc: int = 0
    late_polls: int = 0
    left_behind: list[str] = field(default_factory=list)
    stage_faults: dict[str, str] = field(default_factory=dict)
    stop: dict[str, Any] = field(default_factory=dict)
    venue_faults: dict[str, str] = field(default_factory=dict)
