"""Bybit's dead man's switch: the venue cancels what is open when the account's connections have been gone for a while (6).

It is set once, and told by the connection itself: one that subscribes to its topic watches. It is of a whole account and product, and
the venue allows it to some accounts alone: of another one that is said once, and the watchdog is all there is.
"""

from collections.abc import Callable, Mapping
from math import ceil

from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.http.answer import Answer, Outcome

PATH = "/v5/order/disconnected-cancel-all"
_PRODUCTS = {"spot": ("SPOT", "dcp.spot"), "linear": ("DERIVATIVES", "dcp.future")}
#: How long the venue can be made to wait, s.
LEAST_S, MOST_S = 3, 300
Ask = Callable[[Mapping[str, str | int | bool]], Answer]


class DisconnectCancel:
    """The switch of a category.

    Args:
        category: of the orders; wait_s: how long the connections may be gone (rounded up to whole seconds), 0: it is not asked for.
        report: takes one line about what the venue says against it.

    Raises:
        Refusal: the venue does not wait for so long.
    """

    def __init__(self, category: str, wait_s: float, report: Callable[[str], None]) -> None:
        if wait_s and not LEAST_S <= ceil(wait_s) <= MOST_S:
            raise Refusal(
                f"live.dead_man_s = {wait_s:g}: Bybit waits {LEAST_S} to {MOST_S} s; allowed: that, or 0 (do not ask)"
            )
        self._product, self._topic = _PRODUCTS[category]
        self._wait_s, self._report, self._is_allowed = ceil(wait_s), report, True

    def topics(self, ask: Ask) -> list[str]:
        """Set it, and what a private connection must subscribe to so that it counts; nothing if it is not to be, or cannot be had.

        Args:
            ask: makes the request with these parameters.
        """
        if not self._wait_s or not self._is_allowed:
            return []
        answer = ask({"product": self._product, "timeWindow": self._wait_s})
        if answer.outcome is Outcome.OK:
            return [self._topic]
        self._is_allowed = answer.outcome is not Outcome.REFUSED
        again = (
            "asked for again with the next session" if self._is_allowed else "the watchdog alone looks after the orders"
        )
        self._report(f"orders: dead man's switch: the venue says {answer.message} (code {answer.code}); {again}")
        return []

    def refused(self, why: str) -> None:
        """The venue does not let a connection watch."""
        self._is_allowed = False
        self._report(f"orders: dead man's switch: {why}; the watchdog alone looks after the orders")
