"""What must hold between a venue that has outlived a pipeline and the journal of that pipeline, however it died.

* No execution stands in the journal twice, or with another price, quantity or side than the venue's, and none that the venue does not know.
* Every execution of the venue stands in the journal, but for those around a death, of which nobody could be told: those are within the times
  that are given.
* Every order that was executed or rests was written down before it was sent: no client id is unknown to the journal, none is used twice.
* What the executions of one run add up to, in the order of the venue, is never beyond the limit of the position.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import to_fixed
from hftpipe.core.schema.records import BUY, FILL, NEW
from hftpipe.journal.query import Question, answer, order_of
from hftpipe.simulation.live_campaign.venue import SimulatedVenue
from hftpipe.simulation.processes import CampaignError

#: Problems of one kind that are said.
_MOST_SAID = 3
_E8 = 10**8


@dataclass(frozen=True)
class Execution:
    """One execution: the venue's number of it, our number of its order; price and signed quantity in 1e-8; the venue's time, ns."""

    number: int
    order: int
    price: int
    qty: int
    time_ns: int


@dataclass(frozen=True)
class Books:
    """What both sides have: executions in the order of the venue and as they stand in the journal; our numbers of all orders of the venue's
    account that were ours, one for each; numbers of orders in the journal."""

    there: Sequence[Execution]
    here: Sequence[Execution]
    orders_there: Sequence[int]
    orders_here: frozenset[int]


def _run_of(order: int) -> int:
    """The epoch in an order's number: it is of that run."""
    return order >> 16 & 0xFFFF_FFFF


def journal_folder(state: Path, name: str) -> Path:
    """The one journal of a pipeline.

    Raises:
        CampaignError: there is none, or there are several.
    """
    found = sorted((state / "hftpipe" / f"{name}.journal").glob("*/"))
    if len(found) != 1:
        raise CampaignError(f"{state}: {len(found)} journals, not one")
    return found[0]


def venue_books(venue: SimulatedVenue, journal: Path) -> Books:
    """What a simulated Binance USD-M and a journal have, as far back as the venue remembers.

    Raises:
        JournalError: the journal is damaged.
    """
    account = venue.account()[venue.market]
    numbers = {id_: order_of(text) for id_, text in account["names"]}
    # Orders are forgotten before executions are: those are judged whose order is known still.
    fills = account["fills"]
    first = next((at for at, one in enumerate(fills) if one["orderId"] in numbers), len(fills))
    there = [_execution(one, numbers.get(one["orderId"], 0)) for one in fills[first:]]
    here, known = list[Execution](), set[int]()
    for _, entries in answer(journal, Question()):
        known |= set(entries["id"][entries["kind"] == NEW].tolist())
        here += [_entry(one) for one in entries[entries["kind"] == FILL]]
    oldest = min((one.number for one in there), default=0)
    return Books(
        there,
        [one for one in here if one.number >= oldest],
        [number for number in numbers.values() if number],
        frozenset(known),
    )


def _execution(row: dict[str, Any], order: int) -> Execution:
    """A row of ``userTrades``."""
    qty = to_fixed(row["qty"]) * (1 if row["buyer"] else -1)
    return Execution(row["id"], order, to_fixed(row["price"]), qty, row["time"] * 10**6)


def _entry(entry: np.void) -> Execution:
    qty = int(entry["qty"]) if entry["side"] == BUY else -int(entry["qty"])
    return Execution(int(entry["a"]), int(entry["id"]), int(entry["price"]), qty, 0)


def problems_of(books: Books, untold_ns: Sequence[tuple[int, int]], max_position: float) -> list[str]:
    """What does not hold; empty: nothing.

    Args:
        untold_ns: from when to when executions may have been told to nobody; max_position: the limit, in base currency.
    """
    problems = [
        *_unlike(books), *_untold(books, untold_ns), *_orders(books), *_positions(books, round(max_position * _E8)),
    ]  # fmt: skip
    return problems


def _some(what: str, found: Sequence[Any]) -> list[str]:
    shown = ", ".join(map(str, found[:_MOST_SAID]))
    return [f"{len(found)} {what}: {shown}"] if found else []


def _unlike(books: Books) -> list[str]:
    there = {one.number: one for one in books.there}
    counts = Counter(one.number for one in books.here)
    twice = [number for number, count in counts.items() if count > 1]
    unlike = [
        (one, truth)
        for one in books.here
        if (truth := there.get(one.number)) is None
        or (one.order, one.price, one.qty) != (truth.order, truth.price, truth.qty)
    ]
    return _some("executions booked twice", twice) + _some("executions that the venue does not know so", unlike)


def _untold(books: Books, untold_ns: Sequence[tuple[int, int]]) -> list[str]:
    known = {one.number for one in books.here}
    lost = [
        one
        for one in books.there
        if one.order and one.number not in known and not any(first <= one.time_ns <= last for first, last in untold_ns)
    ]
    return _some("executions that are in no journal", lost)


def _orders(books: Books) -> list[str]:
    strange = [one for one in books.there if not one.order]
    unwritten = sorted(set(books.orders_there) - books.orders_here)
    twice = [number for number, count in Counter(books.orders_there).items() if count > 1]
    of_nobody = _some("executions of orders that are none of ours", strange)
    return (
        of_nobody + _some("orders that were sent and not written down", unwritten) + _some("orders sent twice", twice)
    )


def _positions(books: Books, limit: int) -> list[str]:
    held: dict[int, int] = {}
    beyond = []
    for one in books.there:
        run = _run_of(one.order)
        held[run] = held.get(run, 0) + one.qty
        if abs(held[run]) > limit:
            beyond.append((one, held[run]))
    return _some("executions beyond the limit of the position", beyond)
