"""What a run has against what its venue says: whatever is under way is no difference, and whatever is lost is one, to the last unit."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftpipe.core.schema.records import BUY, SELL, UNKNOWN_FEE_ASSET
from hftpipe.venues.orders.booked import Booked, balance_lines, position_lines
from hftpipe.venues.orders.compare import (
    Execution,
    OrdersOff,
    OwnOrders,
    amount_off,
    is_beyond,
    lasting,
    missed,
    orders_off,
    unshown,
)
from hftpipe.venues.orders.executed import EXECUTED, EXECUTED_SLOTS, ExecutedReader
from hftpipe.venues.orders.numbers import Instruments, exact

E8, E16 = 10**8, 10**16
BOTH = Instruments(("BTCUSDT", "PEPEUSDT"), ("USDT", "USDT"), (0, 3), ("BTC", "PEPE"))
FEES = ("BNB", "BTC", "PEPE")


# --- a world that knows everything -------------------------------------------------------------------------------------------

#: A fill: the venue's time, its amount, how long the run hears of it later (in order), whether somebody else made it.
FILLS = st.lists(st.tuples(st.integers(0, 100), st.integers(-5, 5), st.integers(0, 20)), max_size=12)


class World:
    """Fills at the venue, and what the run has heard of at each moment."""

    def __init__(self, fills: Iterable[tuple[int, int, int]], lost: frozenset[int] = frozenset()) -> None:
        self.fills = sorted(fills)
        self.heard, last = list[tuple[int, int]](), 0
        for at, (when, amount, late) in enumerate(self.fills):
            last = max(last, when + late)
            if at not in lost:
                self.heard.append((last, amount))

    def venue(self, when: int) -> int:
        return sum(amount for then, amount, _ in self.fills if then <= when)

    def run(self, when: int) -> int:
        return sum(amount for then, amount in self.heard if then <= when)

    def path(self, first: int, last: int) -> list[int]:
        """All that the run had from one moment to another, the newest first: also between two that it heard of at one moment."""
        before, after = (sum(then <= when for then, _ in self.heard) for when in (first, last))
        return [sum(amount for _, amount in self.heard[:count]) for count in range(after, before - 1, -1)]


@given(FILLS, st.integers(0, 100), st.integers(0, 30), st.integers(0, 30), st.integers(-1000, 1000))
def test_what_is_under_way_while_the_venue_is_asked_is_no_difference(
    fills: list[tuple[int, int, int]], asked: int, until: int, took: int, start: int
) -> None:
    world, answered = World(fills), asked + until + took
    of_moment = asked + until
    # All that was on its way has come 20 after the answer.
    assert amount_off(start, world.path(asked - 1, answered + 20), start + world.venue(of_moment)) == 0


@given(FILLS, st.data(), st.integers(-1000, 1000), st.integers(-50, 50))
def test_what_is_lost_or_somebody_elses_is_a_difference_to_the_unit_once_all_is_quiet(
    fills: list[tuple[int, int, int]], data: st.DataObject, start: int, others: int
) -> None:
    lost = frozenset(data.draw(st.sets(st.integers(0, len(fills) - 1)))) if fills else frozenset()
    world = World(fills, lost)
    slow = others + sum(amount for at, (_, amount, _) in enumerate(world.fills) if at in lost)
    found = amount_off(start, world.path(500, 520), start + world.venue(510) + others)
    assert found == slow


def test_while_trading_goes_on_a_difference_is_the_least_that_explains_the_venue() -> None:
    assert amount_off(0, [-1, 0, 4], 10) == 6 and amount_off(0, [-1, 0, 4], -10) == -9


def test_rounding_is_no_difference_and_more_than_rounding_is() -> None:
    assert amount_off(0, [100], 103, slack=3) == 0
    assert amount_off(0, [100], 104, slack=3) == 4 and amount_off(0, [100], 96, slack=3) == -4


@given(
    st.dictionaries(st.integers(1, 8), st.tuples(*(st.integers(0, 9) for _ in range(4)))),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sets(st.integers(1, 8)),
)
def test_orders_differ_as_one_by_one_look_says(
    lives: dict[int, tuple[int, int, int, int]], asked: int, took: int, listed: set[int]
) -> None:
    """``lives``: of each order when it is open here, from and until, and when it rests."""

    def own(when: int) -> OwnOrders:
        is_open = {id_ for id_, (first, last, _, _) in lives.items() if first <= when <= last}
        rests = {id_ for id_ in is_open if lives[id_][2] <= when <= lives[id_][3]}
        return OwnOrders(frozenset(is_open), frozenset(rests))

    off = orders_off(own(asked), listed, own(asked + took))
    for id_ in range(1, 9):
        first, last, rests_from, rests_to = lives.get(id_, (1, 0, 1, 0))
        opens = [first <= when <= last for when in (asked, asked + took)]
        rests = [
            is_open and rests_from <= when <= rests_to
            for is_open, when in zip(opens, (asked, asked + took), strict=True)
        ]
        assert (id_ in off.unlisted) == (all(rests) and id_ not in listed)
        assert (id_ in off.unknown) == (not any(opens) and id_ in listed)


def test_only_orders_that_differ_at_each_look_do() -> None:
    first = OrdersOff(frozenset({1, 2}), frozenset({3, 4}))
    assert first & OrdersOff(frozenset({2}), frozenset({4, 5})) == OrdersOff(frozenset({2}), frozenset({4}))
    assert not first & OrdersOff(frozenset({3}), frozenset({1}))


KEYS = st.builds(Execution, st.integers(0, 2), st.integers(1, 5), st.booleans())


@given(st.dictionaries(KEYS, st.integers(0, 20)), st.sets(KEYS), st.integers(0, 20), st.integers(0, 20))
def test_executions_differ_as_one_by_one_look_says(
    own: dict[Execution, int], listed: set[Execution], since: int, until: int
) -> None:
    slowly_missed = {one for one in listed if not any(other == one for other in own)}
    slowly_unshown = {
        one for one in own if own[one] >= since and own[one] <= until and not any(other == one for other in listed)
    }
    assert missed(listed, own.keys()) == slowly_missed and unshown(own, listed, since, until) == slowly_unshown


def test_both_sides_of_a_trade_with_oneself_are_two_executions() -> None:
    buy, sell = Execution(0, 7, True), Execution(0, 7, False)
    assert missed([buy, sell], {buy}) == {sell} and unshown({buy: 1, sell: 1}, {sell}, 0, 5) == {buy}


@pytest.mark.parametrize(
    ("off", "tolerance", "ends"), [(11, 10, True), (-11, 10, True), (10, 10, False), (-10, 10, False), (11, None, False), (1, 0, True)]
)  # fmt: skip
def test_trading_ends_beyond_the_tolerance_and_not_at_it(off: int, tolerance: int | None, ends: bool) -> None:
    assert is_beyond(off, tolerance) == ends


def test_only_amounts_that_differed_before_go_on_differing() -> None:
    assert lasting({1: 5, 2: 6}, {2: 7, 3: 8}) == {2: 7}


# --- what executions come to -------------------------------------------------------------------------------------------------


def executions(*rows: tuple[int, int, int, int, int, int, int]) -> np.ndarray:
    """EXECUTED of (ts, instrument, side, price, qty, fee, asset of the fee); numbered from 1."""
    made = np.zeros(len(rows), EXECUTED)
    for at, (ts, instrument, side, price, qty, fee, asset) in enumerate(rows):
        made[at] = (1, at + 1, ts, price, qty, fee, instrument, side, asset, 0, 0, 0)
    return made


ROWS = st.lists(
    st.tuples(
        st.integers(0, 50), st.integers(0, 1), st.sampled_from((BUY, SELL)), st.integers(1, 10**13), st.integers(1, 10**12),
        st.integers(-(10**6), 10**6), st.sampled_from((0, 1, 2, 3, UNKNOWN_FEE_ASSET)),
    ),
    max_size=10,
)  # fmt: skip


def slow_balances(rows: Sequence[tuple[int, ...]]) -> dict[str, Decimal]:
    """Coins that executions have brought, in decimals."""
    held = dict.fromkeys(("BTC", "PEPE", "USDT", "BNB"), Decimal(0))
    for _, instrument, side, price, qty, fee, asset in rows:
        base, pack, sign = ("BTC", "PEPE")[instrument], (1, 1000)[instrument], 1 if side == BUY else -1
        held[base] += sign * pack * Decimal(qty).scaleb(-8)
        held["USDT"] -= sign * (Decimal(price).scaleb(-8) * Decimal(qty).scaleb(-8))
        if asset != UNKNOWN_FEE_ASSET:
            held[("USDT", *FEES)[asset]] -= Decimal(fee).scaleb(-8)
    return held


@given(ROWS, st.integers(0, 10), st.integers(0, 60))
def test_balances_and_the_way_they_came_are_those_of_a_slow_sum(
    rows: list[tuple[int, int, int, int, int, int, int]], mark: int, since: int
) -> None:
    lines = balance_lines(BOTH, (E8 // 1000, E8), FEES)
    booked = Booked(lines, BOTH, True, FEES)
    booked.take(executions(*rows))
    first = next((at for at, row in enumerate(rows) if row[0] >= since or at >= mark), len(rows))
    for at, line in enumerate(lines):
        slow = [int(slow_balances(rows[:count])[line.name].scaleb(16)) for count in range(len(rows), first - 1, -1)]
        path = booked.path(at, since, mark)
        assert path[0] == slow[0] and set(path) == set(slow)


@given(ROWS, st.integers(0, 60))
def test_positions_are_those_of_a_slow_sum_and_what_is_forgotten_changes_none(
    rows: list[tuple[int, int, int, int, int, int, int]], before: int
) -> None:
    booked = Booked(position_lines(BOTH, (1, 1)), BOTH, False, ())
    booked.take(executions(*rows))
    booked.forget(before)
    for instrument in range(2):
        net = sum(qty if side == BUY else -qty for _, at, side, _, qty, _, _ in rows if at == instrument)
        assert booked.path(instrument, 1000, len(rows)) == [net]
    assert booked.count == len(rows)


def test_a_balance_whose_fee_could_not_be_read_is_known_to_be_unknown() -> None:
    booked = Booked(balance_lines(BOTH, (1, 1), FEES), BOTH, True, FEES)
    one = executions((0, 0, BUY, E8, E8, 0, UNKNOWN_FEE_ASSET))
    one["fee_is_unread"] = 1
    booked.take(one)
    assert {booked.lines[at].name for at in booked.unread} == {"BTC", "USDT"}


def test_what_is_bought_and_sold_has_a_tolerance_in_its_own_coins_and_money_has_none() -> None:
    lines = {line.name: line for line in balance_lines(BOTH, (E8 // 1000, E8), FEES)}
    assert lines["BTC"].tolerance == E16 // 1000 and lines["PEPE"].tolerance == 1000 * E16
    assert lines["USDT"].tolerance is None and lines["BNB"].tolerance is None
    assert lines["PEPE"].unit == 1000 * E8 and lines["USDT"].instruments == (0, 1)


def test_amounts_beyond_64_bits_are_read_exactly_and_nonsense_is_refused() -> None:
    assert exact("1234567890123.1234567890123456", 16) == 12345678901231234567890123456
    for text in ("", "1e999", "nan", None, "1.00000000000000001"):
        with pytest.raises(ValueError, match=r"decimal number|an amount|does not fit"):
            exact(text, 16)


def test_executions_are_read_once_each_in_their_order_and_lost_ones_are_noticed() -> None:
    account, ring = np.zeros(1, np.dtype([("n_executed", "u8")])), np.zeros(EXECUTED_SLOTS, EXECUTED)
    ring["trade_id"] = np.arange(EXECUTED_SLOTS)
    reader = ExecutedReader(account, ring)
    account["n_executed"] = 3
    assert reader.take()["trade_id"].tolist() == [0, 1, 2] and len(reader.take()) == 0
    account["n_executed"] = EXECUTED_SLOTS + 1
    assert reader.take()["trade_id"].tolist()[-2:] == [EXECUTED_SLOTS - 1, 0]
    account["n_executed"] = 3 * EXECUTED_SLOTS
    with pytest.raises(OverflowError, match="written over"):
        reader.take()
