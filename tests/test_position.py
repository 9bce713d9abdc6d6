"""Positions and PnL in integers: exact against fractions, through zero, with rebates, and refusing what does not fit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, record

from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.core.trading.position import average_price, position_fill, unrealised
from hftpipe.monitor import pnl

E8 = 10**8
#: A venue's grid: 0.01 x 0.000001 is exactly one unit of 1e-8, so no fill's value is ever rounded.
TICK, LOT = 10**6, 100
SIDES = st.sampled_from([BUY, SELL])
FILLS = st.lists(
    st.tuples(
        SIDES, st.integers(1, 10**7).map(lambda n: n * TICK), st.integers(1, 10**6).map(lambda n: n * LOT),
        st.integers(-(10**9), 10**9),
    ),
    min_size=1, max_size=60,
)  # fmt: skip
MARKS = st.integers(1, 10**7).map(lambda n: n * TICK)


class Twin:
    """Average cost in exact fractions."""

    def __init__(self) -> None:
        self.qty, self.cost, self.realised, self.cash, self.fees = (Fraction(0) for _ in range(5))

    def fill(self, side: int, price: int, qty: int, fee: int) -> None:
        signed = Fraction(qty if side == BUY else -qty)
        self.cash -= signed * price / E8
        self.fees += fee
        closing = Fraction(0)
        if self.qty * signed < 0:
            closing = min(abs(self.qty), abs(signed)) * (1 if signed > 0 else -1)
            share = self.cost * -closing / self.qty
            self.realised += -closing * price / E8 - share
            self.cost -= share
        self.cost += (signed - closing) * price / E8
        self.qty += signed


def book(position: np.ndarray, side: int, price: int, qty: int, fee: int = 0, is_maker: bool = True) -> bool:
    return bool(position_fill(address(position), side, np.int64(price), np.int64(qty), np.int64(fee), is_maker))


def parts(position: np.ndarray, mark: int) -> tuple[int, int]:
    return pnl.captured(position[0]), pnl.inventory(position[0], int(mark))


def profit(position: np.ndarray, mark: int) -> int:
    result = int(unrealised(address(position), np.int64(mark)))
    assert pnl.unrealised(position[0], int(mark)) == result
    assert pnl.average_price(position[0]) == int(average_price(address(position)))
    return result


@given(FILLS, MARKS)
def test_money_is_conserved_exactly(fills, mark):
    """cash + value of the position == realised + unrealised, to the last unit, after every fill."""
    position, cash = record(POSITION), 0
    for side, price, qty, fee in fills:
        assert book(position, side, price, qty, fee)
        value, rest = divmod(price * qty, E8)
        assert rest == 0
        cash += value if side == SELL else -value
        marked, rest = divmod(mark * int(position["qty"][0]), E8)
        assert rest == 0
        assert cash + marked == int(position["realised"][0]) + profit(position, mark)


@given(FILLS)
def test_position_follows_the_average_cost_twin(fills):
    position, twin = record(POSITION), Twin()
    for done, fill in enumerate(fills, 1):
        book(position, *fill)
        twin.fill(*fill)
        p = position[0]
        assert (int(p["qty"]), int(p["fees"])) == (twin.qty, twin.fees)
        # Each closing fill may leave less than one unit (1e-8 of the quote currency) in the cost.
        assert abs(int(p["cost"]) - twin.cost) <= done
        assert abs(int(p["realised"]) - twin.realised) <= done
        assert int(p["fills"]) == done
        assert int(p["bought_qty"]) - int(p["sold_qty"]) == twin.qty
        assert int(p["qty"]) != 0 or int(p["cost"]) == 0, "flat costs nothing, and no remainder is left behind"
    assert int(position["turnover"][0]) == sum(price * qty // E8 for _, price, qty, _ in fills)


@pytest.mark.parametrize("first, sign", [(BUY, 1), (SELL, -1)])
def test_fill_through_zero_closes_at_cost_and_opens_at_its_own_price(first, sign):
    position, other = record(POSITION), SELL if first == BUY else BUY
    book(position, first, 100 * E8, 3 * E8)
    book(position, other, 110 * E8, 5 * E8)
    p = position[0]
    assert int(p["qty"]) == -sign * 2 * E8
    assert int(p["realised"]) == sign * 30 * E8
    assert int(p["cost"]) == -sign * 220 * E8
    assert int(average_price(address(position))) == 110 * E8
    assert profit(position, 100 * E8) == sign * 20 * E8


def test_average_price_of_several_fills_and_of_none():
    position = record(POSITION)
    assert average_price(address(position)) == 0
    book(position, SELL, 100 * E8, E8)
    book(position, SELL, 104 * E8, 3 * E8)
    assert average_price(address(position)) == 103 * E8


def test_closing_part_leaves_the_average_price():
    position = record(POSITION)
    book(position, BUY, 100 * E8, 4 * E8)
    book(position, SELL, 120 * E8, E8)
    assert average_price(address(position)) == 100 * E8
    assert position["realised"][0] == 20 * E8


def test_fees_add_up_and_a_rebate_is_negative():
    position = record(POSITION)
    book(position, BUY, 100 * E8, E8, fee=500)
    book(position, BUY, 100 * E8, E8, fee=-200)
    assert position["fees"][0] == 300
    assert position["cost"][0] == 200 * E8, "fees are beside the cost, not in it"


@pytest.mark.parametrize("price, qty", [(2**62, 2**62), (2**63 - 1, E8 + 1)])
def test_fill_whose_value_does_not_fit_changes_nothing_but_the_counter(price, qty):
    position = record(POSITION)
    book(position, BUY, 100 * E8, E8)
    before = position.copy()
    assert not book(position, SELL, price, qty)
    before["overflows"] += 1
    assert position.tobytes() == before.tobytes()


def test_nothing_is_earned_without_a_mark_or_a_position():
    position = record(POSITION)
    assert profit(position, 100 * E8) == 0
    book(position, BUY, 100 * E8, E8)
    assert profit(position, 0) == 0
    assert profit(position, 101 * E8) == E8


# --- what the profit came from ---


class Parts:
    """Edge of each fill against its mid, and the position carried over each move of the mid, in exact fractions."""

    def __init__(self) -> None:
        self.captured, self.inventory, self.qty, self.mid = Fraction(0), Fraction(0), Fraction(0), Fraction(0)

    def move(self, mid: int) -> None:
        self.inventory += self.qty * (mid - self.mid) / E8
        self.mid = Fraction(mid)

    def fill(self, side: int, price: int, qty: int) -> None:
        signed = Fraction(qty if side == BUY else -qty)
        self.captured += signed * (self.mid - price) / E8
        self.qty += signed


@given(st.lists(st.tuples(MARKS, FILLS.map(lambda fills: fills[0])), min_size=1, max_size=60), MARKS)
def test_profit_is_the_edge_of_each_fill_and_what_the_mid_did_after_it(steps, last_mid):
    """Against the twin that carries the position from mid to mid; exact on a venue's grid, to the last unit."""
    position, twin = record(POSITION), Parts()
    for mid, (side, price, qty, fee) in steps:
        position["mark"] = mid
        twin.move(mid)
        book(position, side, price, qty, fee)
        twin.fill(side, price, qty)
        assert parts(position, mid) == (twin.captured, twin.inventory)
    twin.move(last_mid)
    assert parts(position, last_mid) == (twin.captured, twin.inventory)


@given(st.lists(st.tuples(st.integers(0, 10**15), SIDES, st.integers(1, 10**15), st.integers(1, 10**9)), min_size=1),
       st.integers(0, 10**15))  # fmt: skip
def test_parts_add_up_to_the_profit_whatever_was_rounded(steps, mark):
    position = record(POSITION)
    for mid, side, price, qty in steps:
        position["mark"] = mid
        book(position, side, price, qty)
        total = int(position["realised"][0]) + profit(position, mark)
        assert sum(parts(position, mark)) == total


def test_without_a_mid_a_fill_has_no_edge():
    position = record(POSITION)
    book(position, BUY, 100 * E8, E8)
    assert parts(position, 103 * E8) == (0, 3 * E8)


def test_what_taking_cost_is_kept_apart():
    position = record(POSITION)
    book(position, BUY, 100 * E8, E8, fee=200)
    book(position, SELL, 101 * E8, 2 * E8, fee=500, is_maker=False)
    p = position[0]
    assert (int(p["fees"]), int(p["taker_fees"])) == (700, 500)
    assert (int(p["fills"]), int(p["taker_fills"]), int(p["taker_turnover"])) == (2, 1, 202 * E8)
