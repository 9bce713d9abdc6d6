"""What a test may do to the venue while it runs: to book events, to REST, to connections. One JSON object over HTTP asks for it.

================== =============================================================================================================
key                what it does
================== =============================================================================================================
drop_next_book     the next n events of book streams are not sent
double_next_book   the next n are sent twice
reorder_next_book  the next n are each sent after the one that follows on the same topic
omit_next_book     the next n deltas are sent without one of their levels: the book is wrong, and no number says so
restart            ``true``: the service of the books starts anew: whole books, numbered from 1
refuse_next        the next n subscribe requests are refused
mute_next          the next n topics that are subscribed to are confirmed, and stay silent
late_acks          ``true``: subscriptions are confirmed after their first data; ``false``: before
status_5xx         the next n REST requests are answered 503
limit_10006        the next n are answered "too many visits", with the time from which they may come again
reject_next        the next n new orders are received, and then told as Rejected: they never get to their book
cancel_too_late    the next n cancels of orders that are filled are received; the order is told as Filled once more
limit_per_s        an account may ask for the same thing so often within a second; 0: as often as at the venue
dcp_refused        ``true``: accounts may not set the dead man's switch, as most may not; ``false``: they may
market             ``"spot"`` or ``"linear"``: only that one (not for freeze, stall_ms, clock, keys, dcp_refused and user data)
================== =============================================================================================================

What befalls the rules of symbols is in :mod:`hftpipe.simulation.market_server.rule_changes`.
What every venue may be asked is in :mod:`hftpipe.simulation.market_server.control`, and what befalls requests of accounts and user data
in :mod:`hftpipe.simulation.market_server.trading.faults`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.market_server.control import Keys

KEYS = Keys(
    counts=(
        "drop_next_book", "double_next_book", "reorder_next_book", "omit_next_book", "refuse_next", "mute_next", "status_5xx", "limit_10006",
        "limit_per_s", "reject_next", "cancel_too_late",
    ),
    flags=("restart", "late_acks", "dcp_refused"),
    choices={"market": ("spot", "linear")},
    kinds=("public", "private", "trade"),
)  # fmt: skip


@dataclass(slots=True)
class RequestFaults:
    """What befalls the next requests of a category: subscriptions, REST, and orders that are received."""

    refuse_next: int = 0
    mute_next: int = 0
    late_acks: bool = True
    status_5xx: int = 0
    limit_10006: int = 0
    reject_next: int = 0
    cancel_too_late: int = 0

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request asks."""
        for name in (
            "refuse_next",
            "mute_next",
            "late_acks",
            "status_5xx",
            "limit_10006",
            "reject_next",
            "cancel_too_late",
        ):
            if name in asked:
                setattr(self, name, asked[name])

    @property
    def due(self) -> int:
        """How many requests and orders are still to meet one."""
        subscribed = self.refuse_next + self.mute_next
        return subscribed + self.status_5xx + self.limit_10006 + self.reject_next + self.cancel_too_late

    def next(self, name: str) -> bool:
        """Whether one of these is due; it is used up."""
        left: int = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return left > 0
