"""What a run has against what its venue says: sets and sums alone, with no clock and nobody to ask.

While the venue is asked trading goes on. Its answer is of some moment between the question and the answer, and what it tells of may
still be on its way here. So nothing is compared with *one* state of the run, but with all those that it went through meanwhile:

=============== ==============================================================================================================
what differs    it differs if
=============== ==============================================================================================================
an open order   the run held it for resting before the question and after the answer, and the venue does not list it; or the
                venue lists it, and the run had it open neither before nor after
an execution    the venue lists one that the run has not after the answer; or the run had one before the question, of the time
                that was asked about, that the venue does not list
an amount       it is none of those that the run's went through from before the question until after the answer
=============== ==============================================================================================================

What is late differs all the same, once. So a difference is one that is found again and again, with a pause between in which all that
was on its way has come: :func:`lasting`.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple


class Execution(NamedTuple):
    """Which execution: its instrument, the venue's number, its side (both sides of a trade between two of one account have one number)."""

    instrument: int
    trade_id: int
    is_buy: bool


@dataclass(frozen=True)
class OwnOrders:
    """The run's orders at a moment, by client id.

    Attributes:
        open: all that may live; resting: those of them that the venue has acknowledged, and of which nothing is under way.
    """

    open: frozenset[int]
    resting: frozenset[int]


@dataclass(frozen=True)
class OrdersOff:
    """Orders, by client id, that differ: open here and not at the venue; open there and not here."""

    unlisted: frozenset[int]
    unknown: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.unlisted or self.unknown)

    def __and__(self, other: "OrdersOff") -> "OrdersOff":
        return OrdersOff(self.unlisted & other.unlisted, self.unknown & other.unknown)


def orders_off(before: OwnOrders, listed: AbstractSet[int], after: OwnOrders) -> OrdersOff:
    """Compare open orders.

    Args:
        before, after: the run's before the question and after the answer; listed: client ids of the run's that the venue lists.
    """
    return OrdersOff(frozenset((before.resting & after.resting) - listed), frozenset(listed - before.open - after.open))


def missed(listed: Iterable[Execution], own: AbstractSet[Execution]) -> frozenset[Execution]:
    """Executions that the venue lists and the run has not, ``own``: the run's after the answer."""
    return frozenset(listed) - own


def unshown(
    own: Mapping[Execution, int], listed: AbstractSet[Execution], since_ns: int, until_ns: int
) -> frozenset[Execution]:
    """Executions that the run has and the venue does not list.

    Args:
        own: the run's before the question, with the venue's times, ns; since_ns, until_ns: of which times are meant, both included:
            the venue was asked from since_ns on, and shows by now what was before until_ns.
    """
    return frozenset(one for one, ts in own.items() if since_ns <= ts <= until_ns and one not in listed)


def amount_off(start: int, path: Sequence[int], listed: int, slack: int = 0) -> int:
    """By how much, at the least, an amount on the account is more than what the run makes of it; 0: it agrees.

    Args:
        start: on the account at the run's start; path: what the run had added to it, at any moment from before the question until after
            the answer, the newest first; listed: on the account now; slack: what rounding may come to.
    """
    off = min((listed - start - one for one in path), key=abs)
    return 0 if abs(off) <= slack else off


def lasting(before: Mapping[int, int], now: Mapping[int, int]) -> dict[int, int]:
    """Amounts that differ now and did before, by whatever they are called: by how much they do now."""
    return {one: off for one, off in now.items() if one in before}


def is_beyond(off: int, tolerance: int | None) -> bool:
    """Whether a difference is one to end trading for; tolerance: the most that is not, None: none is."""
    return tolerance is not None and abs(off) > tolerance
