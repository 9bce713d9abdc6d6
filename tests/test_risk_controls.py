"""The controls of the whole run in the risk stage: gross notional, losses, repeated executions, own orders that meet."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address
from risk_rig import ASK, BID, E8, LOT, N_INSTRUMENTS, NOW, TICK, RiskRig

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import DAILY_LOSS, DRAWDOWN
from hftpipe.core.schema.halts import REDUCE_PLACE, set_scope
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCELED,
    FILL,
    GTC,
    IOC,
    MARKET,
    NEW,
    REPLACE,
    REPLACED,
    SELL,
    SYNCING,
    VALID,
)
from hftpipe.risk.losses import BEFORE, DAY_NS, LOSS, book_profit, carry, since_peak, today

MID = (BID + ASK) // 2


def why(rig: RiskRig) -> list[str]:
    return [reasons.NAMES[int(one["flags"])] for one in rig.pop("updates") if int(one["flags"])]


def sent(rig: RiskRig) -> list[int]:
    return [int(one["id"]) for one in rig.pop("orders")]


def move(rig: RiskRig, mid: int, instrument: int = 0) -> None:
    rig.tops["bid"][instrument], rig.tops["ask"][instrument] = mid - TICK, mid + TICK


# Gross notional.


def test_what_one_instrument_holds_and_has_working_leaves_the_others_less_room() -> None:
    rig = RiskRig()
    rig.totals["max_gross"][0] = 300 * E8
    rig.intend(id=1, instrument=0, qty=E8)
    rig.intend(id=2, instrument=1, qty=E8, side=SELL)
    rig.intend(id=3, instrument=0, qty=2 * E8)
    rig.intend(id=4, instrument=1, qty=E8, side=SELL)
    rig.intend(id=5, instrument=0, qty=E8, side=SELL)
    rig.step()
    assert sent(rig) == [1, 2, 4, 5] and why(rig) == ["gross_notional"], (
        "both sides of one instrument: the worse of the two"
    )
    rig.report(kind=CANCELED, id=2, instrument=1)
    rig.step()
    rig.intend(id=6, instrument=0, qty=E8)
    rig.step()
    assert sent(rig) == [6] and int(rig.totals["gross"][0]) == 300 * E8


def test_the_limit_of_a_venue_is_its_own_and_that_of_a_strategy_too() -> None:
    rig = RiskRig()
    rig.own_apart()
    rig.totals["max_gross"][1] = 200 * E8
    rig.totals["max_gross"][2 + 3] = 100 * E8
    rig.intend(id=1, strategy=3)
    rig.intend(id=2, strategy=3, instrument=1)
    rig.intend(id=3, strategy=1, instrument=1)
    rig.intend(id=4, strategy=1, instrument=1)
    rig.step()
    assert sent(rig) == [1, 3] and why(rig) == ["strategy_notional", "gross_notional"]
    assert rig.totals["gross"].tolist() == [200 * E8, 200 * E8, 0, 100 * E8, 0, 100 * E8]


def test_an_unknown_order_counts_until_the_venue_proves_otherwise() -> None:
    rig = RiskRig()
    rig.totals["max_gross"][0] = 100 * E8
    rig.intend(id=1)
    rig.step()
    rig.order(1)["state"] = 6
    rig.intend(id=2)
    rig.step()
    assert sent(rig) == [1] and why(rig) == ["gross_notional"]


def test_what_the_market_makes_of_a_position_counts_and_the_way_down_stays_free() -> None:
    rig = RiskRig()
    rig.totals["max_gross"][0] = 300 * E8
    rig.intend(id=1, qty=2 * E8)
    rig.step()
    rig.report(kind=FILL, id=1, qty=2 * E8, price=100 * E8, fee=0)
    rig.step()
    move(rig, 101 * E8)
    rig.intend(id=2, price=101 * E8)
    rig.intend(id=3, price=101 * E8, side=SELL, qty=2 * E8)
    rig.step()
    assert sent(rig) == [1, 3] and why(rig) == ["gross_notional"] and int(rig.totals["gross"][0]) == 202 * E8


def test_a_strategy_may_always_cover_however_far_the_market_has_moved() -> None:
    rig = RiskRig()
    rig.own_apart()
    rig.totals["max_gross"][2 + 1] = 220 * E8
    rig.limits["collar_e8"] = E8
    rig.intend(id=1, side=SELL, qty=2 * E8, strategy=1)
    rig.step()
    rig.report(kind=FILL, id=1, side=SELL, qty=2 * E8, price=100 * E8, fee=0, strategy=1)
    rig.step()
    move(rig, 120 * E8)
    rig.intend(id=2, price=120 * E8, qty=2 * E8, strategy=1)
    rig.intend(id=3, price=120 * E8, side=SELL, strategy=1)
    rig.step()
    assert sent(rig) == [1, 2] and why(rig) == ["strategy_notional"]


def test_a_value_beyond_all_numbers_leaves_no_room_for_anything_that_adds_to_it() -> None:
    rig = RiskRig()
    for row in rig.positions:
        row["qty"] = 10 * E8
    rig.totals["max_gross"][0] = 10**9 * E8
    rig.limits["collar_e8"] = E8
    for instrument in (0, 1):
        move(rig, 90 * 10**9 * E8, instrument)
        rig.intend(id=1 + instrument, instrument=instrument, price=90 * 10**9 * E8, side=SELL, qty=LOT)
    rig.step()
    move(rig, MID, 0)
    rig.intend(id=3, instrument=0)
    rig.step()
    assert 3 not in sent(rig) and "gross_notional" in why(rig)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.booleans(), st.integers(1, 4), st.sampled_from("afcr"), st.integers(98, 102)),
        max_size=25,
    )
)
def test_sums_are_what_the_rows_come_to_and_never_beyond_the_limit_by_what_was_approved(steps: list[Any]) -> None:
    rig, most = RiskRig(), 1500 * E8
    rig.own_apart()
    rig.limits["max_position"], rig.limits["collar_e8"] = 1000 * E8, E8 // 10
    rig.totals["max_gross"][0] = most
    for number, (instrument, is_sell, lots, fate, mid) in enumerate(steps, 1):
        move(rig, mid * E8, instrument)
        before = int(rig.totals["gross"][0])
        order = {"id": number, "instrument": instrument, "side": int(is_sell), "qty": lots * E8, "strategy": number % 2}
        rig.intend(kind=NEW, **order)
        rig.step()
        if rig.pop("orders"):
            assert int(rig.totals["gross"][0]) <= max(most, before * 102 // 98)
            if fate == "f":
                rig.report(kind=FILL, fee=0, price=100 * E8, **order)
            elif fate == "c":
                rig.report(kind=CANCELED, **order)
            else:
                rig.report(kind=ACK, **order)
            rig.step()
        worths = []
        for row, worth in zip(rig.positions, rig.worths, strict=True):
            worst = max(int(row["qty"] + row["working_buy"]), int(row["working_sell"] - row["qty"]))
            assert int(worth["gross"]) == worst * int(worth["mark"]) // E8
            worths.append(int(worth["gross"]))
        assert int(rig.totals["gross"][0]) == int(rig.totals["gross"][1]) == sum(worths)
        own = rig.own_worths["gross"].reshape(-1, N_INSTRUMENTS).sum(axis=1)
        assert own.tolist() == rig.totals["gross"][2:].tolist()
        rig.pop("updates")


# Losses.


def bought(rig: RiskRig, qty: int = E8, price: int = 100 * E8, id_: int = 1) -> None:
    rig.intend(id=id_, qty=qty)
    rig.step()
    rig.report(kind=FILL, id=id_, qty=qty, price=price, fee=0, exchange_ts=NOW)
    rig.step()


def test_a_market_that_moves_against_what_is_held_trips_risk_without_any_order() -> None:
    rig = RiskRig()
    rig.run_clock()
    rig.losses["max_drawdown"] = 5 * E8
    bought(rig)
    move(rig, 95 * E8)
    rig.step(NOW + 10**8)
    assert rig.count("tripped") == 0, "exactly at the limit"
    rig.tops["state"][0] = SYNCING
    move(rig, 90 * E8)
    rig.step(NOW + 2 * 10**8)
    assert rig.count("tripped") == 0, "a book that is not VALID says nothing"
    move(rig, 95 * E8 - 1)
    rig.tops["state"][0] = VALID
    rig.step(NOW + 3 * 10**8)
    assert (rig.count("tripped"), rig.count("trip_cause")) == (1, DRAWDOWN)
    assert (rig.count("fault_price"), rig.count("fault_qty")) == (5 * E8, 5 * E8 + 1)
    rig.pop("orders")
    rig.intend(id=9, local_ts=NOW + 3 * 10**8)
    rig.step(NOW + 3 * 10**8)
    assert sent(rig) == [] and why(rig) == ["halted"]


def test_a_fill_at_a_bad_price_and_fees_are_losses_too() -> None:
    rig = RiskRig()
    rig.losses["max_daily_loss"] = 3 * E8
    bought(rig, price=103 * E8)
    assert rig.count("tripped") == 0 and int(rig.losses["profit"][0]) == -3 * E8
    rig.intend(id=2)
    rig.step()
    rig.report(kind=FILL, id=2, qty=E8, price=100 * E8, fee=1, exchange_ts=NOW)
    rig.step()
    assert (rig.count("tripped"), rig.count("trip_cause")) == (1, DAILY_LOSS)


def loss(window_s: int = 3600, most: int = INT64_MAX, daily: int = INT64_MAX) -> np.ndarray:
    row = np.zeros(1, LOSS)
    row["slice_ns"], row["max_drawdown"], row["max_daily_loss"] = window_s * 10**9 // BEFORE, most, daily
    return row


def book(row: np.ndarray, change: int, at: int) -> int:
    return int(book_profit(address(row), np.int64(change), np.int64(at)))


START = 1_700_000_000 // 86_400 * DAY_NS


def test_the_best_moment_is_forgotten_after_the_window_and_never_before() -> None:
    row = loss(most=100)
    book(row, 90, START)
    book(row, -80, START + 10**9)
    assert book(row, -20, START + 3600 * 10**9) == 0 and int(row["peak"][0]) == 90
    assert book(row, -1, START + 3600 * 10**9) == DRAWDOWN
    late = loss(most=100)
    book(late, 90, START)
    book(late, -80, START + 10**9)
    assert book(late, -21, START + 3661 * 10**9) == 0 and int(late["peak"][0]) == 10


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(-50, 50)), max_size=60))
def test_drawdown_is_never_less_than_that_of_the_exact_window(steps: list[tuple[int, int]]) -> None:
    row, now, profit, seen = loss(), START, 0, [(START - 10**18, 0)]
    for seconds, change in steps:
        now, profit = now + seconds * 10**9, profit + change
        book(row, change, now)
        # What stood until a change within the window counts, too.
        inside = [value for (_, value), (until, _) in zip(seen, [*seen[1:], (now, 0)]) if until > now - 3600 * 10**9]
        longest = [value for (_, value), (until, _) in zip(seen, [*seen[1:], (now, 0)]) if until >= now - 3661 * 10**9]
        seen.append((now, profit))
        assert max([profit, *inside]) <= int(row["peak"][0]) <= max([profit, *longest])


def test_today_begins_at_midnight() -> None:
    row = loss(daily=100)
    assert book(row, -100, START + DAY_NS - 1) == 0
    assert book(row, -100, START + DAY_NS) == 0 and today(row[0], START + DAY_NS) == -100
    assert book(row, -1, START + DAY_NS + 1) == DAILY_LOSS
    assert (int(row["fault_lost"][0]), int(row["fault_limit"][0])) == (101, 100)


def test_a_run_goes_on_where_an_earlier_one_of_the_day_ended() -> None:
    first = loss(most=100, daily=500)
    book(first, 60, START)
    book(first, -120, START + 10**9)
    row = loss(most=100, daily=500)
    carry(row, START + 600 * 10**9, today(first[0], START + 10**9), 10, since_peak(first[0]))
    assert today(row[0], START + 600 * 10**9) == -60
    assert book(row, 0, START + 601 * 10**9) == DRAWDOWN, "120 below the best moment, as it was then"


def test_a_day_of_the_monotonic_clock_ends_at_midnight_utc_too() -> None:
    """Event time of a live feed is the machine's uptime; executions and restarts come with UTC."""
    row, uptime = loss(daily=100), 5 * 10**14
    row["utc_ns"] = START + DAY_NS - 10**9 - uptime
    assert book(row, -60, uptime) == 0 and book(row, -40, START + DAY_NS - 1) == 0
    assert today(row[0], uptime) == -100 and today(row[0], uptime + 2 * 10**9) == 0
    assert book(row, 40, uptime + 2 * 10**9) == 0
    assert book(row, -140, uptime + 3 * 10**9) == 0, "of the new day"
    assert book(row, -1, START + DAY_NS + 4 * 10**9) == DAILY_LOSS


def test_the_day_and_the_hour_of_a_fill_are_those_of_our_clock_whatever_the_venue_says() -> None:
    rig = RiskRig()
    rig.losses["max_daily_loss"] = 3 * E8
    bought(rig, price=102 * E8)
    rig.intend(id=2)
    rig.step()
    rig.report(kind=FILL, id=2, qty=E8, price=102 * E8, fee=0, exchange_ts=NOW + 10 * DAY_NS)
    rig.step()
    assert (rig.count("tripped"), rig.count("trip_cause")) == (1, DAILY_LOSS) and rig.count("seen_ts") == NOW


def test_the_order_whose_own_look_finds_the_loss_is_not_sent() -> None:
    rig = RiskRig()
    rig.losses["max_drawdown"] = 5 * E8
    bought(rig)
    rig.pop("orders")
    move(rig, 94 * E8)
    rig.intend(id=2, price=94 * E8)
    rig.step()
    assert sent(rig) == [] and why(rig) == ["halted"] and rig.count("trip_cause") == DRAWDOWN


def test_a_loss_limit_of_nothing_lets_nothing_be_lost() -> None:
    assert book(loss(daily=0), -1, START) == DAILY_LOSS
    assert book(loss(most=0), -1, START) == DRAWDOWN


# Repeated executions.


def test_a_strategy_that_is_executed_too_often_has_no_more_orders_in_that_instrument() -> None:
    rig = RiskRig()
    rig.standings["most"] = 2
    for number in range(1, 4):
        rig.intend(id=number)
        rig.step()
        rig.report(kind=FILL, id=number, qty=E8, price=100 * E8, fee=0, exchange_ts=NOW)
        rig.step()
    rig.intend(id=4)
    rig.intend(id=5, instrument=1)
    rig.intend(id=6, strategy=2)
    rig.step()
    assert sent(rig) == [1, 2, 3, 5, 6] and why(rig) == ["repeated_executions"] and rig.count("throttled") == 1
    rig.intend(id=7, local_ts=NOW + 3600 * 10**9)
    rig.tops["local_ts"] = NOW + 3600 * 10**9
    rig.step()
    assert sent(rig) == [] and why(rig) == ["repeated_executions"], "it never ends by itself"


def test_executions_of_more_than_a_minute_are_not_repeated() -> None:
    rig = RiskRig()
    rig.standings["most"] = 2
    for number in range(1, 6):
        at = NOW + number * 31 * 10**9
        rig.tops["local_ts"] = at
        rig.intend(id=number, local_ts=at)
        rig.step()
        rig.report(kind=FILL, id=number, qty=E8, price=100 * E8, fee=0, exchange_ts=at)
        rig.step()
    assert sent(rig) == [1, 2, 3, 4, 5] and rig.count("throttled") == 0


# Repetitions.


def test_a_thousand_identical_orders_are_one() -> None:
    rig = RiskRig()
    rig.repeats[:8].view(np.int64)[:] = 10**6
    for number in range(1, 1001):
        rig.intend(id=number)
    for _ in range(4):
        rig.step()
    assert sent(rig) == [1] and set(why(rig)) == {"duplicate_order"}


def test_the_same_order_twice_is_one_while_only_reducing_too() -> None:
    rig = RiskRig()
    rig.repeats[:8].view(np.int64)[:] = 10**9
    bought(rig, qty=4 * E8)
    rig.pop("orders")
    set_scope(rig.halts, REDUCE_PLACE, 3, 1)
    for number in (2, 3):
        rig.intend(id=number, side=SELL)
        rig.step()
    assert sent(rig) == [2] and why(rig) == ["duplicate_order"]


# Self match.


@pytest.mark.parametrize("flags", [GTC, IOC, MARKET])
def test_an_order_that_could_trade_with_one_of_another_strategy_is_refused(flags: int) -> None:
    rig = RiskRig()
    rig.prevent_self_match()
    rig.intend(id=1, strategy=1, price=100 * E8)
    rig.intend(id=2, strategy=2, side=SELL, price=0 if flags == MARKET else 100 * E8, flags=flags)
    rig.intend(id=3, strategy=2, side=SELL, price=100 * E8 + TICK)
    rig.intend(id=4, strategy=2, instrument=1, side=SELL, price=100 * E8)
    rig.step()
    assert sent(rig) == [1, 3, 4] and why(rig) == ["self_match"]


def test_a_price_counts_as_long_as_its_order_is_open_and_of_a_replace_both_do() -> None:
    rig = RiskRig()
    rig.prevent_self_match()
    rig.intend(id=1, price=100 * E8)
    rig.step()
    rig.report(kind=ACK, id=1)
    rig.step()
    rig.intend(id=1, kind=REPLACE, price=99 * E8 + 50 * TICK)
    rig.step()
    rig.intend(id=2, strategy=2, side=SELL, price=100 * E8)
    rig.step()
    assert why(rig) == ["self_match"], "the replace may be refused"
    rig.report(kind=REPLACED, id=1, price=99 * E8 + 50 * TICK, qty=E8)
    rig.intend(id=3, strategy=2, side=SELL, price=99 * E8 + 51 * TICK)
    rig.step()
    assert sent(rig)[-1] == 3
    rig.intend(id=4, price=99 * E8 + 51 * TICK)
    rig.intend(id=3, kind=CANCEL)
    rig.step()
    assert why(rig) == ["self_match"]
    rig.report(kind=CANCELED, id=3)
    rig.intend(id=5, price=99 * E8 + 51 * TICK)
    rig.step()
    assert sent(rig)[-1] == 5


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4), st.booleans(), st.booleans()), max_size=40))
def test_no_two_open_orders_of_ours_could_ever_trade_with_one_another(
    steps: list[tuple[bool, int, bool, bool]],
) -> None:
    rig, open_orders = RiskRig(), dict[int, tuple[bool, int]]()
    rig.prevent_self_match()
    rig.limits["max_position"] = 1000 * E8
    for number, (is_sell, ticks, ends, is_market) in enumerate(steps, 1):
        price = 0 if is_market else MID + ticks * TICK
        rig.intend(
            id=number,
            strategy=number % 3,
            side=SELL if is_sell else BUY,
            price=price,
            flags=MARKET if is_market else GTC,
        )
        rig.step()
        limit = (0 if is_sell else INT64_MAX) if is_market else price
        against = [one for other, one in open_orders.values() if other != is_sell]
        may = all(limit > one for one in against) if is_sell else all(limit < one for one in against)
        assert bool(sent(rig)) == may
        if may:
            open_orders[number] = (is_sell, limit)
        if ends and open_orders:
            gone = next(iter(open_orders))
            del open_orders[gone]
            rig.report(kind=CANCELED, id=gone)
            rig.step()
        rig.pop("updates")
