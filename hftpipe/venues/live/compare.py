"""Whether a book that follows a stream is what the venue says it is: compared at the same update, or not at all.

The venue's own book (a *snapshot*) is of another moment than ours. Ours at the moment of the snapshot is made again from what it was
before, and the updates since::

    ours, before ── updates up to the snapshot's ──▶ ours, then  ==?  snapshot
                                    │ the next update spans the snapshot
                                    ▼
                    prices that it does not name have not changed since: those are compared

An update that spans the snapshot names every price that has changed within it where the venue says so (Binance: its rule for a book
that begins with a snapshot is just that). Where an update names what is different at its end alone (Bybit), a snapshot between two
updates cannot be compared.

What the snapshot has beyond what is known of ours, our book can learn: all of it that no update has named since.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hftpipe.core.schema.records import ASK, BID

Levels = dict[int, int]


class Known(NamedTuple):
    """How far the sides of a book are known: to which bid and which ask; None: all of it."""

    bid: int | None = None
    ask: int | None = None


ALL = Known()


def edges(bids: np.ndarray, asks: np.ndarray, asked: int) -> Known:
    """How far a snapshot (int64[n, 2] a side, best first) is known that ``asked`` levels a side were asked for."""
    bid, ask = (int(side[-1, 0]) if len(side) >= asked else None for side in (bids, asks))
    return Known(bid, ask)


class Whole(NamedTuple):
    """A book at a moment, or (without ``known``) what an update sets in one.

    Attributes:
        moment: the update's number, of which the snapshot has one, too; number: of the stream's own.
        bids, asks: quantities by price; 0 in an update: gone.
    """

    moment: int
    number: int
    bids: Levels
    asks: Levels
    known: Known = ALL


class Difference(NamedTuple):
    """A level that is not the same; side: BID or ASK, quantities as here and as the venue has it."""

    side: int
    price: int
    ours: int
    theirs: int


class NotMade(Exception):
    """The comparison cannot be made; the text says why."""


def _set(levels: Levels, changes: Levels) -> None:
    for price, qty in changes.items():
        if qty:
            levels[price] = qty
        else:
            levels.pop(price, None)


def _then(ours: Whole, updates: Iterable[Whole], moment: int) -> tuple[Whole, Whole | None]:
    """Our book at a moment, and the next update behind it."""
    bids, asks, number, at = dict(ours.bids), dict(ours.asks), ours.number, ours.moment
    for one in updates:
        if one.number <= number:
            continue
        if one.moment > moment:
            return Whole(at, number, bids, asks, ours.known), one
        number, at = one.number, one.moment
        _set(bids, one.bids)
        _set(asks, one.asks)
    return Whole(at, number, bids, asks, ours.known), None


def _is_within(price: int, edge: int | None, side: int) -> bool:
    return edge is None or (price >= edge if side == BID else price <= edge)


def _side(
    side: int, ours: Levels, theirs: Levels, edges: tuple[int | None, int | None], touched: Levels
) -> tuple[list[Difference], list[Difference], int]:
    """Of a side, best first: what differs as far as both are known, and beyond what is known of ours; how many levels were compared."""
    found: tuple[list[Difference], list[Difference]] = [], []
    compared = 0
    for price in ours.keys() | theirs.keys():
        if price in touched or not _is_within(price, edges[1], side):
            continue
        is_known = _is_within(price, edges[0], side)
        compared += is_known
        if ours.get(price, 0) != theirs.get(price, 0):
            found[not is_known].append(Difference(side, price, ours.get(price, 0), theirs.get(price, 0)))
    for one in found:
        one.sort(key=lambda level: level.price, reverse=side == BID)
    return *found, compared


class Compared(NamedTuple):
    """What a comparison has found.

    Attributes:
        wrong: levels that are not the same, bids first, the best first; unknown: the same of what was not known of ours.
        levels: how many were compared; is_far: more of the venue's levels of a side are unknown than known.
    """

    wrong: list[Difference]
    unknown: list[Difference]
    levels: int
    is_far: bool


def reach(ours: Known, theirs: Known) -> Known:
    """How far a book is known that has learned from another one."""
    bid = None if ours.bid is None or theirs.bid is None else min(ours.bid, theirs.bid)
    return Known(bid, None if ours.ask is None or theirs.ask is None else max(ours.ask, theirs.ask))


def _is_far(side: int, levels: Levels, edge: int | None) -> bool:
    return 2 * sum(_is_within(price, edge, side) for price in levels) < len(levels)


def compare(ours: Whole, updates: Iterable[Whole], theirs: Whole, is_named: bool) -> Compared:
    """Compare our book of the snapshot's moment with the snapshot.

    Args:
        ours: our book before the snapshot; updates: all that has been taken since, in order, up to one behind the snapshot's moment.
        theirs: the snapshot.
        is_named: an update names every price that has changed within it.

    Raises:
        NotMade: there is no moment at which both are known.
    """
    if theirs.moment < ours.moment:
        raise NotMade("the venue's book is older than ours was before")
    then, following = _then(ours, updates, theirs.moment)
    touched: tuple[Levels, Levels] = {}, {}
    if then.moment != theirs.moment:
        if following is None:
            raise NotMade("no update has come that reaches the venue's book")
        if not is_named:
            raise NotMade("the venue's book is of a moment between two updates")
        touched = following.bids, following.asks
    bids = _side(BID, then.bids, theirs.bids, (then.known.bid, theirs.known.bid), touched[0])
    asks = _side(ASK, then.asks, theirs.asks, (then.known.ask, theirs.known.ask), touched[1])
    is_far = _is_far(BID, theirs.bids, then.known.bid) or _is_far(ASK, theirs.asks, then.known.ask)
    return Compared(bids[0] + asks[0], bids[1] + asks[1], bids[2] + asks[2], is_far)
