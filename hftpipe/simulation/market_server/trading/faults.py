"""What a test may do to requests of accounts and to user data of a simulated venue while it runs.

===================== ==========================================================================================================
key                   what it does
===================== ==========================================================================================================
order_unknown         the next n requests that enter, change or cancel orders are carried out, and answered that nobody knows
order_unavailable     the next n are not, and answered that the venue is not available
order_delayed         the next n are carried out and answered after order_delay_ms
order_delay_ms        1000 if it was never given
ack_dropped           the next n over WebSocket are carried out and never answered
answer_cut            the next n over REST are carried out, and their connection breaks in the middle of the answer
request_cut           the next n over REST are not carried out, and their connection breaks
close_idle            ``true``: every connection of REST is closed once nothing is under way on it
drop_next_user        the next n user-data events are not sent
double_next_user      the next n are sent twice
user_delay_ms         user data is late by so much, from now on
clock_offset_ms       the venue's clock is off by so much, from now on (all markets); may be below 0
revoke_key            the key of this name opens nothing any more; connections that use it are told
restore_keys          ``true``: all keys open again what they did
===================== ==========================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hftpipe.simulation.market_server.trading.user_events import EventFaults

COUNTS = (
    "order_unknown", "order_unavailable", "order_delayed", "order_delay_ms", "ack_dropped", "answer_cut", "request_cut",
    "drop_next_user", "double_next_user", "user_delay_ms",
)  # fmt: skip
FLAGS = ("restore_keys", "close_idle")
SIGNED = ("clock_offset_ms",)
UNKNOWN, UNAVAILABLE = "unknown", "unavailable"
REQUEST_CUT, ANSWER_CUT = "request", "answer"


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls one request: an answer in place of its own (UNKNOWN, UNAVAILABLE, or none), after so long, or never; or its
    connection breaks, before it is carried out (REQUEST_CUT) or in the middle of its answer (ANSWER_CUT)."""

    answer: str = ""
    delay_ms: int = 0
    is_dropped: bool = False
    cut: str = ""


@dataclass(slots=True)
class OrderFaults:
    """What befalls the next requests of a market. ``events``: its user data."""

    events: EventFaults = field(default_factory=EventFaults)
    unknown: int = 0
    unavailable: int = 0
    delayed: int = 0
    delay_ms: int = 1000
    ack_dropped: int = 0
    answer_cut: int = 0
    request_cut: int = 0

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request asks."""
        own = {"order_unknown": "unknown", "order_unavailable": "unavailable", "order_delayed": "delayed"}
        own |= {"order_delay_ms": "delay_ms"} | {key: key for key in ("ack_dropped", "answer_cut", "request_cut")}
        events = {"drop_next_user": "drop", "double_next_user": "double", "user_delay_ms": "delay_ms"}
        for names, target in ((own, self), (events, self.events)):
            for key, name in names.items():
                if key in asked:
                    setattr(target, name, asked[key])

    @property
    def due(self) -> int:
        """How many requests and events are still to meet one."""
        requests = (
            self.unknown + self.unavailable + self.delayed + self.ack_dropped + self.answer_cut + self.request_cut
        )
        return requests + self.events.drop + self.events.double

    def next_fate(self, is_socket: bool) -> Fate:
        """Of the next request that enters, changes or cancels orders; is_socket: it came over WebSocket."""
        if self.unknown:
            self.unknown -= 1
            return Fate(UNKNOWN)
        if self.unavailable:
            self.unavailable -= 1
            return Fate(UNAVAILABLE)
        if self.delayed:
            self.delayed -= 1
            return Fate(delay_ms=self.delay_ms)
        if is_socket and self.ack_dropped:
            self.ack_dropped -= 1
            return Fate(is_dropped=True)
        for cut in () if is_socket else (REQUEST_CUT, ANSWER_CUT):
            if left := getattr(self, f"{cut}_cut"):
                setattr(self, f"{cut}_cut", left - 1)
                return Fate(cut=cut)
        return Fate()
