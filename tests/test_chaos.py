"""A pipeline that is killed again and again: what is found wrong by the venue's truth, and that nothing is."""

from dataclasses import replace
from pathlib import Path

import pytest

from hftpipe.journal.query import order_of
from hftpipe.simulation.live_campaign.chaos import ACTS, Campaign, run_rounds
from hftpipe.simulation.live_campaign.truth import Books, Execution, problems_of

E8 = 10**8
RUN = 7
ORDER, OTHER = RUN << 16 | 1, RUN << 16 | 2
LIMIT = 2.0


def execution(number: int, order: int = ORDER, qty: int = E8, time_ns: int = 0) -> Execution:
    return Execution(number, order, 100 * E8, qty, time_ns)


def sound() -> Books:
    """Two executions of two orders, told and written down."""
    there = (execution(1), execution(2, OTHER, -E8, 5))
    here = tuple(replace(one, time_ns=0) for one in there)
    return Books(there, here, (ORDER, OTHER), frozenset({ORDER, OTHER}))


def test_books_that_agree_are_sound() -> None:
    assert problems_of(sound(), [], LIMIT) == []


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ({"here": (execution(1), execution(1), execution(2, OTHER, -E8))}, "1 executions booked twice: 1"),
        ({"here": (execution(1, qty=2 * E8), execution(2, OTHER, -E8))}, "does not know so"),
        ({"here": (execution(1), execution(2, ORDER, -E8))}, "does not know so"),
        ({"here": (*sound().here, execution(3))}, "does not know so"),
        ({"here": (execution(1),)}, "1 executions that are in no journal"),
        ({"orders_here": frozenset({ORDER})}, "1 orders that were sent and not written down"),
        ({"there": (*sound().there, execution(3, 0))}, "1 executions of orders that are none of ours"),
        ({"orders_there": (ORDER, OTHER, ORDER)}, "1 orders sent twice"),
        ({"there": (execution(1, qty=3 * E8),), "here": (execution(1, qty=3 * E8),)}, "beyond the limit of the position"),
    ],
)  # fmt: skip
def test_each_planted_fault_is_found(planted: dict[str, object], named: str) -> None:
    found = problems_of(replace(sound(), **planted), [], LIMIT)
    assert any(named in one for one in found), found


def test_what_happened_around_a_death_may_be_untold_and_nothing_else() -> None:
    books = replace(sound(), here=(execution(1),))
    assert problems_of(books, [(4, 6)], LIMIT) == []
    assert problems_of(books, [(6, 9)], LIMIT) != []


def test_each_run_has_a_position_of_its_own() -> None:
    later = (RUN + 1) << 16 | 1
    there = (execution(1, qty=2 * E8), execution(2, later, 2 * E8))
    books = Books(there, there, (ORDER, later), frozenset({ORDER, later}))
    assert problems_of(books, [], LIMIT) == []
    there = (*there, execution(3, later, E8))
    assert problems_of(replace(books, there=there, here=there), [], LIMIT) != []


def test_an_order_is_known_by_its_text() -> None:
    assert order_of("cm_a_00000007_00010002") == 1 << 48 | 7 << 16 | 2
    assert order_of("web_7") == 0


def test_a_pipeline_killed_in_many_ways_loses_doubles_and_leaves_nothing(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, seed=2)
    try:
        found = run_rounds(campaign, lambda done: done >= 4)
    finally:
        campaign.close()
    assert not found["problems"], "\n".join(found["problems"])
    assert found["kills"] >= 2 and {one["act"] for one in found["rounds"]} <= set(ACTS)
