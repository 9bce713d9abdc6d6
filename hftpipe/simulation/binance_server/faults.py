"""What a test may do to the venue while it runs: to depth events, to REST, to connections. One JSON object over HTTP asks for it.

=================== ============================================================================================================
key                 what it does
=================== ============================================================================================================
drop_next_depth     the next n depth events are not sent
double_next_depth   the next n are sent twice
reorder_next_depth  the next n are each sent after the one that follows on the same stream
omit_next_depth     the next n are sent without one of their levels: the book is wrong, and no number says so
shutdown            ``true``: every connection is told ``serverShutdown`` and closed after grace_ms; the venue stays
expire              ``true``: the same for what has lived for 24 hours
grace_ms            from that warning to the end, 1000 if not given
ping_ms, pong_ms    the server pings so often, and waits so long for the answer, from now on
status_5xx          the next n REST requests are answered 503
ban_429             the next n are answered 429 with Retry-After
ban_418             the next n are answered 418 with Retry-After
retry_after_s       what Retry-After says then, 1 if not given
market              ``"spot"`` or ``"usdm"``: only that one (not for freeze, stall_ms, clock and keys)
=================== ============================================================================================================

What befalls the rules of symbols is in :mod:`hftpipe.simulation.market_server.rule_changes`.
What every venue may be asked is in :mod:`hftpipe.simulation.market_server.control`. What befalls requests of accounts and user data is in
:mod:`hftpipe.simulation.binance_server.trading.faults`, and what may befall those of any venue in
:mod:`hftpipe.simulation.market_server.trading.faults`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.binance_server.trading import faults as of_binance
from hftpipe.simulation.market_server.control import Keys

KEYS = Keys(
    counts=(
        "drop_next_depth", "double_next_depth", "reorder_next_depth", "omit_next_depth", "status_5xx", "ban_429", "ban_418",
        "retry_after_s", "grace_ms", "ping_ms", "pong_ms",
    ),
    flags=("shutdown", "expire", *of_binance.FLAGS),
    choices={"market": ("spot", "usdm")},
)  # fmt: skip


@dataclass(slots=True)
class RestFaults:
    """How many of the next REST requests of a market are refused, and with what."""

    status_5xx: int = 0
    ban_429: int = 0
    ban_418: int = 0
    retry_after_s: int = 1

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request asks of REST."""
        for name in ("status_5xx", "ban_429", "ban_418", "retry_after_s"):
            if name in asked:
                setattr(self, name, asked[name])

    @property
    def due(self) -> int:
        """How many requests are still to be refused."""
        return self.status_5xx + self.ban_429 + self.ban_418

    def next_status(self) -> int:
        """What the next request is answered with; 200: what it deserves."""
        for name, status in (("status_5xx", 503), ("ban_429", 429), ("ban_418", 418)):
            if left := getattr(self, name):
                setattr(self, name, left - 1)
                return status
        return 200
