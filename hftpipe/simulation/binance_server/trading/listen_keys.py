"""Listen keys of USD-M: one of an account at a time, alive for an hour after it was last asked for.

A stream of a key that is not alive connects and is silent, as at the venue.
"""

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.market_server.trading.trader import NowMs
from hftpipe.simulation.market_server.trading.user_events import Event, UserEvents

_LIFE_MS = 3_600_000
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 64


@dataclass(slots=True)
class _Alive:
    key: str
    account: int
    ends_ms: int
    listeners: dict[object, Callable[[str, Event], None]] = field(default_factory=dict)


class ListenKeys:
    """The keys of the market.

    Args:
        events: user data by account; now_ms: the venue's time.
    """

    def __init__(self, events: list[UserEvents], now_ms: NowMs) -> None:
        self._events, self._now_ms = events, now_ms
        self._alive: dict[str, _Alive] = {}

    def _of(self, account: int) -> _Alive | None:
        return next((one for one in self._alive.values() if one.account == account), None)

    def start(self, account: int) -> str:
        """The account's key, alive for another hour."""
        found = self._of(account)
        if found is None:
            key = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
            found = self._alive[key] = _Alive(key, account, 0)
        found.ends_ms = self._now_ms() + _LIFE_MS
        return found.key

    def extend(self, account: int) -> str:
        """Its key for another hour.

        Raises:
            Refused: it has none.
        """
        if self._of(account) is None:
            raise Refused(-1125, "This listenKey does not exist.")
        return self.start(account)

    def end(self, account: int) -> None:
        """It has no key any more."""
        found = self._of(account)
        if found is not None:
            self._close(found)

    def expire(self) -> None:
        """All keys are over; who listens is told once, and hears nothing after that."""
        for one in tuple(self._alive.values()):
            self._expire(one)

    def advance(self) -> None:
        """End what has not been asked for within an hour."""
        now = self._now_ms()
        for one in [one for one in self._alive.values() if one.ends_ms <= now]:
            self._expire(one)

    def _expire(self, one: _Alive) -> None:
        event = {"e": "listenKeyExpired", "E": self._now_ms(), "listenKey": one.key}
        for hear in tuple(one.listeners.values()):
            hear(one.key, event)
        self._close(one)

    def _close(self, one: _Alive) -> None:
        del self._alive[one.key]
        for who in one.listeners:
            self._events[one.account].leave((one.key, who))

    def follow(self, key: str, who: object, hear: Callable[[str, Event], None]) -> None:
        """Let somebody hear the events of a key; of one that is not alive there are none."""
        one = self._alive.get(key)
        if one is not None:
            one.listeners[who] = hear
            self._events[one.account].follow((key, who), lambda event: hear(key, event))

    def leave(self, key: str, who: object) -> None:
        """He hears no more of it."""
        one = self._alive.get(key)
        if one is not None and who in one.listeners:
            del one.listeners[who]
            self._events[one.account].leave((key, who))
