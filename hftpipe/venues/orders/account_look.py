"""What a venue is asked for a comparison, and how it gives way to whatever else needs its request weight."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.answer import Answer
from hftpipe.transport.http.weights import Weights
from hftpipe.venues.orders.compare import Execution
from hftpipe.venues.orders.rest_error import RestError

#: Beyond this share of what may be asked of the venue, in per cent, nothing is asked for a comparison: snapshots and orders come first.
MOST_USED = 50


class PutOff(RestError):
    """What may be asked of the venue is needed elsewhere: later."""


@dataclass(frozen=True)
class ListedOrder:
    """An open order as a venue lists it.

    Attributes:
        id, revision: what its client id says, 0: it is not one of ours; venue_id: the venue's number of it, 64 bits.
        instrument: of the run, -1: none; name: for people; row: as the venue told it.
    """

    id: int
    revision: int
    venue_id: int
    instrument: int
    name: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class ListedExecution:
    """An execution as a venue lists it: which, of which order (client id, 0: not told; the venue's number), when (the venue's time, ns)."""

    key: Execution
    id: int
    venue_id: int
    ts_ns: int


class AccountLook(Protocol):
    """An account as a comparison asks about it; each call may take long, and raise RestError (PutOff where it gives way).

    Attributes:
        gives_way: whether what else needs the venue's weight comes first; most_at_once: instruments whose executions are asked for at once.
    """

    gives_way: bool
    most_at_once: int

    def open_orders(self) -> list[ListedOrder]:
        """All that is open in the instruments of the run, and perhaps more."""

    def executions(self, instruments: Iterable[int], since_ns: int) -> list[ListedExecution]:
        """Executions in some instruments from a time on (the venue's, ns), and perhaps in others."""

    def owner(self, execution: ListedExecution) -> int:
        """The client id of an execution's order; 0: it is not one of ours."""

    def holdings(self) -> Mapping[str, int | None]:
        """What the account holds, by the names of its lines and in their decimals; 0 of what is left out; None: it cannot be compared."""

    def cancel_listed(self, order: ListedOrder) -> Answer:
        """Cancel an open order, in its turn."""

    def has_ended(self, refused: Answer) -> bool:
        """Whether a refused cancel says that there is no such order."""


def give_way(weights: Weights, weight: int, where: str) -> None:
    """Raise PutOff if what may be asked of a venue is needed elsewhere."""
    if steady_ns() < weights.rest_until_ns or weights.used + weight > weights.room * MOST_USED // 100:
        raise PutOff(f"{where}: a comparison is put off: the venue's weight is needed elsewhere")


@contextmanager
def readable(where: str, what: str) -> Iterator[None]:
    """Raise RestError where an answer is not what it should be."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as wrong:
        raise RestError(f"{where}: {what}: {type(wrong).__name__}: {wrong}") from wrong
