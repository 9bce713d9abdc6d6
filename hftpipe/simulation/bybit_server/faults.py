"""What a test may do to the venue while it runs: to book events, to REST, to connections. One JSON object over HTTP asks for it.

================== =============================================================================================================
key                what it does
================== =============================================================================================================
disconnect         ``"all"``, ``"one"`` (the oldest), ``"public"``, ``"private"`` or ``"trade"``: cut connections in the middle of
                   their next message
drop_next_book     the next n events of book streams are not sent
double_next_book   the next n are sent twice
reorder_next_book  the next n are each sent after the one that follows on the same topic
symbol             only the book events of this symbol (``BTCUSDT``) are meant by this request's
restart            ``true``: the service of the books starts anew: whole books, numbered from 1
refuse_next        the next n subscribe requests are refused
mute_next          the next n topics that are subscribed to are confirmed, and stay silent
late_acks          ``true``: subscriptions are confirmed after their first data; ``false``: before
stall_ms           nothing is sent on any WebSocket for so long; then all of it
status_5xx         the next n REST requests are answered 503
limit_10006        the next n are answered "too many visits", with the time from which they may come again
freeze             ``true``: nothing happens in the market any more; ``false``: it goes on
reject_next        the next n new orders are received, and then told as Rejected: they never get to their book
cancel_too_late    the next n cancels of orders that are filled are received; the order is told as Filled once more
limit_per_s        an account may ask for the same thing so often within a second; 0: as often as at the venue
market             ``"spot"`` or ``"linear"``: only that one (not for freeze, stall_ms, clock, keys and user data)
================== =============================================================================================================

What befalls requests of accounts and user data is in :mod:`hftpipe.simulation.market_server.trading.faults`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.market_server.trading import faults as of_trading

_COUNT = (
    "drop_next_book", "double_next_book", "reorder_next_book", "refuse_next", "mute_next", "stall_ms", "status_5xx",
    "limit_10006", "limit_per_s", "reject_next", "cancel_too_late", *of_trading.COUNTS,
)  # fmt: skip
_FLAGS = ("restart", "late_acks", "freeze", *of_trading.FLAGS)
_CHOICES = {"disconnect": ("all", "one", "public", "private", "trade"), "market": ("spot", "linear")}
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
    kinds = (
        (_COUNT, lambda value: type(value) is int and 0 <= value <= _MOST, f"a whole number from 0 to {_MOST}"),
        (_FLAGS, lambda value: type(value) is bool, "true or false"),
        (
            of_trading.SIGNED,
            lambda value: type(value) is int and abs(value) <= _MOST,
            f"a whole number from -{_MOST} to {_MOST}",
        ),
        (("symbol",), lambda value: isinstance(value, str), "the name of a symbol"),
        (of_trading.TEXTS, lambda value: isinstance(value, str), "the name of a key"),
        *(((key,), lambda value, among=among: value in among, " or ".join(among)) for key, among in _CHOICES.items()),
    )
    for key, value in asked.items():
        found = next(((fits, allowed) for keys, fits, allowed in kinds if key in keys), None)
        if found is None:
            known = ", ".join(sorted(one for keys, _, _ in kinds for one in keys))
            raise BadOrder(f"control: {key}: no such key; allowed: {known}")
        if not found[0](value):
            raise BadOrder(f"control: {key} = {value!r}; allowed: {found[1]}")
    return asked


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

    def next(self, name: str) -> bool:
        """Whether one of these is due; it is used up."""
        left: int = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return left > 0
