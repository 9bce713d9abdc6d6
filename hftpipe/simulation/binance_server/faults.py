"""What a test may do to the venue while it runs: to depth events, to REST, to connections. One JSON object over HTTP asks for it.

=================== ============================================================================================================
key                 what it does
=================== ============================================================================================================
disconnect          ``"all"`` or ``"one"``: cut connections (one: the oldest) in the middle of their next message
drop_next_depth     the next n depth events are not sent
double_next_depth   the next n are sent twice
reorder_next_depth  the next n are each sent after the one that follows on the same stream
symbol              only the depth events of this symbol (``BTCUSDT``) are meant by this request's
stall_ms            nothing is sent on any WebSocket for so long, pings and pongs included; then all of it
shutdown            ``true``: every connection is told ``serverShutdown`` and closed after grace_ms; the venue stays
expire              ``true``: the same for what has lived for 24 hours
grace_ms            from that warning to the end, 1000 if not given
ping_ms, pong_ms    the server pings so often, and waits so long for the answer, from now on
status_5xx          the next n REST requests are answered 503
ban_429             the next n are answered 429 with Retry-After
ban_418             the next n are answered 418 with Retry-After
retry_after_s       what Retry-After says then, 1 if not given
freeze              ``true``: nothing happens in the market any more; ``false``: it goes on
market              ``"spot"`` or ``"usdm"``: only that one (not for freeze, stall_ms, clock and keys)
=================== ============================================================================================================

What befalls requests of accounts and user data is in :mod:`hftpipe.simulation.binance_server.trading.faults`,
and what may befall those of any venue in :mod:`hftpipe.simulation.market_server.trading.faults`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hftpipe.simulation.binance_server.streams import Build, Stream
from hftpipe.simulation.binance_server.trading import faults as of_binance
from hftpipe.simulation.market_server.trading import faults as of_trading

_COUNT = (
    "drop_next_depth", "double_next_depth", "reorder_next_depth", "status_5xx", "ban_429", "ban_418", "retry_after_s",
    "stall_ms", "grace_ms", "ping_ms", "pong_ms", *of_trading.COUNTS,
)  # fmt: skip
_FLAGS = ("shutdown", "expire", "freeze", *of_binance.FLAGS, *of_trading.FLAGS)
_SIGNED, _TEXTS = of_trading.SIGNED, ("symbol", *of_trading.TEXTS)
_CHOICES = {"disconnect": ("all", "one"), "market": ("spot", "usdm")}
_MOST = 1_000_000


class BadOrder(ValueError):
    """A request to the control endpoint that means nothing; the text says what is allowed."""


def checked(asked: object) -> Mapping[str, Any]:
    """The request as it was, if all of it means something.

    Raises:
        BadOrder: it does not.
    """
    if not isinstance(asked, dict):
        raise BadOrder(f"control: {asked!r}; allowed: one JSON object")
    for key, value in asked.items():
        if key in _COUNT:
            fits, allowed = type(value) is int and 0 <= value <= _MOST, f"a whole number from 0 to {_MOST}"
        elif key in _SIGNED:
            fits, allowed = type(value) is int and abs(value) <= _MOST, f"a whole number from -{_MOST} to {_MOST}"
        elif key in _FLAGS:
            fits, allowed = type(value) is bool, "true or false"
        elif key in _CHOICES:
            fits, allowed = value in _CHOICES[key], " or ".join(_CHOICES[key])
        elif key in _TEXTS:
            fits, allowed = isinstance(value, str), "a name"
        else:
            known = ", ".join(sorted([*_COUNT, *_FLAGS, *_CHOICES, *_SIGNED, *_TEXTS]))
            raise BadOrder(f"control: {key}: no such key; allowed: {known}")
        if not fits:
            raise BadOrder(f"control: {key} = {value!r}; allowed: {allowed}")
    return asked


@dataclass(slots=True)
class DepthFaults:
    """What befalls the next depth events of a market.

    Attributes:
        drop, double, reorder: how many more; symbol: of whom, empty: of all.
    """

    drop: int = 0
    double: int = 0
    reorder: int = 0
    symbol: str = ""
    _held: dict[str, tuple[Stream, Build]] = field(default_factory=dict)

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a checked request asks of depth events; it replaces what was left of an earlier one."""
        if any(f"{name}_next_depth" in asked for name in ("drop", "double", "reorder")):
            self.drop, self.double = asked.get("drop_next_depth", 0), asked.get("double_next_depth", 0)
            self.reorder, self.symbol = asked.get("reorder_next_depth", 0), asked.get("symbol", "")

    def pass_on(self, stream: Stream, symbol: str, build: Build) -> None:
        """Send an event, or what has become of it."""
        held = self._held.pop(stream.name, None)
        if held is None and self.symbol in ("", symbol):
            if self.drop:
                self.drop -= 1
                return
            if self.double:
                self.double -= 1
                stream.tell(build)
            elif self.reorder:
                self.reorder -= 1
                self._held[stream.name] = stream, build
                return
        stream.tell(build)
        if held is not None:
            held[0].tell(held[1])


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

    def next_status(self) -> int:
        """What the next request is answered with; 200: what it deserves."""
        for name, status in (("status_5xx", 503), ("ban_429", 429), ("ban_418", 418)):
            if left := getattr(self, name):
                setattr(self, name, left - 1)
                return status
        return 200
