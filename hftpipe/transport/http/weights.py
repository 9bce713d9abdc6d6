"""How much may be asked of a venue: a bucket of request weight that a minute fills (or another period), and rests that the venue demands.

Venues count the weight of an address's requests by the minute and ban who goes on. A bucket that fills steadily would let twice
its size through within some minutes, a full one first and what comes in after. So each token comes back exactly a minute after it
was taken: within no minute more than the bucket holds is spent, however the venue's minutes lie.
"""

import threading
from collections import deque
from collections.abc import Callable
from time import sleep

from hftpipe.core.machine.system_clock import steady_ns

_SECOND_NS = 1_000_000_000
MINUTE_S = 60.0
#: Per cent of the venue's limit that is used; the rest is for its count running ahead of ours.
SHARE = 80


class Weights:
    """Weight of the requests to one venue; shared by all that ask it from this address, in any thread.

    Args:
        limit: weight a period that the venue allows.
        now_ns: a steady clock, ns.
        wait_s: waits for so many seconds.
        period_s: what the venue counts by, s: most by the minute.

    Raises:
        ValueError: ``limit`` is so low that nothing could be asked.
    """

    def __init__(
        self,
        limit: int,
        now_ns: Callable[[], int] = steady_ns,
        wait_s: Callable[[float], None] = sleep,
        period_s: float = MINUTE_S,
    ) -> None:
        self._period_ns = round(period_s * _SECOND_NS)
        self._now_ns, self._wait_s = now_ns, wait_s
        self._lock = threading.Lock()
        #: (when it comes back, weight), in the order in which it was taken.
        self._spent: deque[tuple[int, int]] = deque()
        self._used = 0
        self._resting_until_ns = 0
        self._room = 0
        self.set_limit(limit)

    @property
    def room(self) -> int:
        """Weight that may be spent within any minute."""
        return self._room

    @property
    def used(self) -> int:
        """Weight spent within the minute that ends now."""
        with self._lock:
            self._forget(self._now_ns())
            return self._used

    def set_limit(self, limit: int) -> None:
        """The venue's weight a minute, as it says itself; ValueError if nothing could be asked within SHARE of it."""
        if limit * SHARE // 100 < 1:
            raise ValueError(f"a weight limit of {limit} a minute leaves nothing to ask; allowed: 2 or more")
        with self._lock:
            self._room = limit * SHARE // 100

    def rest(self, seconds: float) -> None:
        """Nothing is asked for so long: what ``Retry-After`` demands. A longer rest that is under way stays."""
        with self._lock:
            self._resting_until_ns = max(self._resting_until_ns, self._now_ns() + round(seconds * _SECOND_NS))

    @property
    def rest_until_ns(self) -> int:
        """Until when nothing is asked, by the steady clock; in the past: it may be."""
        return self._resting_until_ns

    def note(self, used: int) -> None:
        """What the venue says has been spent this minute; what others of this address spent of it is spent for us too."""
        with self._lock:
            now = self._now_ns()
            self._forget(now)
            if used > self._used:
                self._spend(used - self._used, now)

    def take(self, weight: int, patience_s: float) -> float:
        """Wait until a request may be made, and count its weight.

        Args:
            weight: what the venue counts for it.
            patience_s: how long to wait at most.

        Returns:
            0.0 when it may be made; else nothing was counted, and so many seconds were still to wait.

        Raises:
            ValueError: the weight is more than is ever there.
        """
        give_up_ns = self._now_ns() + round(patience_s * _SECOND_NS)
        while True:
            with self._lock:
                if weight > self._room:
                    raise ValueError(f"a request of weight {weight} never fits; allowed: at most {self._room}")
                now = self._now_ns()
                ready = self._ready_ns(weight, now)
                if ready <= now:
                    self._spend(weight, now)
                    return 0.0
            if ready > give_up_ns:
                return (ready - now) / _SECOND_NS
            self._wait_s((ready - now) / _SECOND_NS)

    def _spend(self, weight: int, now: int) -> None:
        self._spent.append((now + self._period_ns, weight))
        self._used += weight

    def _forget(self, now: int) -> None:
        while self._spent and self._spent[0][0] <= now:
            self._used -= self._spent.popleft()[1]

    def _ready_ns(self, weight: int, now: int) -> int:
        """When a request of this weight may be made, if nobody takes it before."""
        self._forget(now)
        ready, over = now, self._used + weight - self._room
        for back, spent in self._spent:
            if over <= 0:
                break
            ready, over = back, over - spent
        return max(ready, self._resting_until_ns)
