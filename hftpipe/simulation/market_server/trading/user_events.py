"""The user data of one account in one market: who hears it, and what tests have asked to befall it on the way."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Hear = Callable[[Event], None]


@dataclass(slots=True)
class EventFaults:
    """What befalls the next user-data events of a market: so many are dropped, doubled; all are late by ``delay_ms``."""

    drop: int = 0
    double: int = 0
    delay_ms: int = 0


@dataclass(slots=True)
class UserEvents:
    """Who hears the events of one account.

    Attributes:
        faults: those of the market.
    """

    faults: EventFaults
    _listeners: dict[object, Hear] = field(default_factory=dict)

    def follow(self, who: object, hear: Hear) -> None:
        """Let somebody hear all events from now on."""
        self._listeners[who] = hear

    def leave(self, who: object) -> None:
        """He hears no more of them."""
        self._listeners.pop(who, None)

    def tell(self, event: Event) -> None:
        """Tell everybody, unless it is dropped; twice if it is doubled; after a while if it is delayed."""
        faults, times = self.faults, 1
        if faults.drop:
            faults.drop -= 1
            return
        if faults.double:
            faults.double -= 1
            times = 2
        for hear in tuple(self._listeners.values()):
            for _ in range(times):
                if faults.delay_ms:
                    asyncio.get_running_loop().call_later(faults.delay_ms / 1000, hear, event)
                else:
                    hear(event)
