"""How connections are lost: the kinds of a campaign, what each asks of the venues, and what bringing its books back may cost."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.live_campaign.venue import SimulatedVenue

Asked = dict[str, Any]
REFUSED_MS = (300, 1500)
MINUTE_S = 60.0
#: What snapshots may cost within a minute: the client spends 1920 of the weight at most, and asks for other things, too (checks of books,
#: the account, snapshots that came too early). Without that room a loss would wait a minute for weight, which is the limit, no fault.
WEIGHT_PER_MIN, SNAPSHOT_WEIGHT = 1500, {"shallow": 5, "full": 20}


@dataclass(frozen=True)
class Kind:
    """A kind of loss.

    Attributes:
        name: in the table.
        ask: (venue's protocol, random numbers): what the venue is asked for.
        share: of the books of the venue that may be lost by it (``one``: those of a connection).
        is_both: whether it befalls both venues at once; is_unnoticed: whether books stay VALID, and stand still, until the silence is
            noticed.
    """

    name: str
    ask: Callable[[str, random.Random], Asked]
    share: str = "all"
    is_both: bool = False
    is_unnoticed: bool = False


def _service(protocol: str, _rng: random.Random) -> Asked:
    """The venue's own way of a break: Binance announces one, Bybit begins its books anew."""
    return {"shutdown": True, "grace_ms": 3000} if protocol == "binance" else {"restart": True}


def _of_account(protocol: str, rng: random.Random) -> Asked:
    return {"disconnect": "one" if protocol == "binance" else rng.choice(("private", "trade"))}


KINDS = (
    Kind("cut: all connections", lambda _protocol, _rng: {"disconnect": "all"}),
    Kind("cut: one connection", lambda _protocol, _rng: {"disconnect": "one"}, share="one"),
    Kind("cut: both venues", lambda _protocol, _rng: {"disconnect": "all"}, is_both=True),
    Kind("cut, then refused",
         lambda _protocol, rng: {"disconnect": "all", "refuse_ms": rng.randint(*REFUSED_MS)}),
    Kind("half-open: all", lambda _protocol, _rng: {"half_open": "all"}, is_unnoticed=True),
    Kind("half-open: one", lambda _protocol, _rng: {"half_open": "one"}, share="one", is_unnoticed=True),
    Kind("venue's own break", _service),
    Kind("cut: order connections", _of_account, share="one"),
)  # fmt: skip


@dataclass(frozen=True)
class Loss:
    """One loss: its kind, and what each venue that it befalls (by its number) is asked for."""

    kind: Kind
    asked: dict[int, Asked]

    @property
    def possible_s(self) -> float:
        """How long after it a connection can be had again."""
        return float(max(one.get("refuse_ms", 0) for one in self.asked.values())) / 1000


class Plan:
    """Draws losses at random, of those whose snapshots the venue's request weight allows now.

    Args:
        venues: what they befall; books: of each; connections: of each for market data; depth: how much of the books is followed.
    """

    def __init__(
        self, rng: random.Random, venues: Sequence[SimulatedVenue], books: Sequence[int], connections: int, depth: str
    ) -> None:
        self._rng, self._venues, self._books, self._connections = rng, venues, books, connections
        self._weight = SNAPSHOT_WEIGHT[depth]
        self._spent = deque[tuple[float, int]]()

    def _cost(self, loss: Loss) -> int:
        """Weight of the snapshots that it may take: of Binance's books alone."""
        cost = 0
        for number in loss.asked:
            if self._venues[number].protocol == "binance":
                books = self._books[number]
                cost += self._weight * (books if loss.kind.share == "all" else -(-books // self._connections))
        return cost

    def spend(self, now_s: float, cost: int) -> None:
        """Know of snapshots that have been asked for otherwise."""
        self._spent.append((now_s, cost))

    def _draw(self) -> Loss:
        kind = self._rng.choice(KINDS)
        numbers = range(len(self._venues)) if kind.is_both else [self._rng.randrange(len(self._venues))]
        return Loss(kind, {one: kind.ask(self._venues[one].protocol, self._rng) for one in numbers})

    def next(self, now_s: float) -> Loss | None:
        """A loss that may happen now; None: none of some that were drawn."""
        while self._spent and self._spent[0][0] < now_s - MINUTE_S:
            self._spent.popleft()
        left = WEIGHT_PER_MIN - sum(cost for _, cost in self._spent)
        for _ in range(len(KINDS)):
            loss = self._draw()
            if (cost := self._cost(loss)) <= left:
                self._spent.append((now_s, cost))
                return loss
        return None
