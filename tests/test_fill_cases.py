"""The numbered correctness cases of a backtest that live in the simulated venue (docs/fill-model.md has all 50)."""

import pytest
from exchange_reference import Venue, fills, kinds, unit

from hftpipe.core.schema import reasons as why
from hftpipe.core.schema import records as r
from hftpipe.venues.paper.models import SimModel

BUY, SELL, GTC, IOC, FOK, POST_ONLY, MARKET = r.BUY, r.SELL, r.GTC, r.IOC, r.FOK, r.POST_ONLY, r.MARKET
MS = 1_000_000
INSTANT = dict(latency_new_ns=0, latency_cancel_ns=0, latency_report_ns=0)


def booked(model: SimModel | None = None, **more) -> Venue:
    """10 at 100.0 and 99.9, 10 at 100.1 and 100.2, venue time 100."""
    v = Venue(model, **more)
    v.open_book([("100.0", 10), ("99.9", 10)], [("100.1", 10), ("100.2", 10)], ts=100)
    return v


@pytest.fixture
def venue() -> Venue:
    return booked()


def power(n: float) -> Venue:
    return booked(SimModel("power", n, **INSTANT))


def last(reports: list[dict]) -> tuple[str, int]:
    """Kind and reason of the last report."""
    return kinds(reports)[-1], reports[-1]["flags"]


# Book and feed.
def test_case_05_a_reset_replaces_the_book_and_keeps_our_orders(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.feed(kind=r.BOOK_RESET, id=1)
    venue.depth([("100.0", 4)], [("100.1", 2)], update_id=1)
    assert venue.ahead(1) == unit(4)
    assert fills(venue.new(2, BUY, 9, "100.2", IOC)) == [(2, unit("100.1"), unit(2))]


def test_case_06_a_clock_that_steps_back_never_takes_exchange_time_back(venue):
    venue.tick(1000)
    venue.time = 400
    assert venue.new(1, BUY, 1, "100.0")[0]["exchange_ts"] == 1000


def test_case_07_nothing_is_matched_against_a_crossed_book(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.top("100.3", 1, "100.0", 1)
    assert venue.reports() == []
    assert last(venue.new(2, SELL, 1, "99.9")) == ("reject", why.VENUE_BUSY)


def test_case_08_a_newer_top_hides_stale_levels_and_an_older_depth_update_is_ignored(venue):
    venue.top("100.0", 10, "100.2", 3)
    assert fills(venue.new(1, BUY, 20, "100.2", IOC)) == [(1, unit("100.2"), unit(3))]
    venue.new(2, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 1)], update_id=1)
    assert venue.ahead(2) == unit(10)


def test_case_08_a_top_that_confirms_our_level_outdates_older_depth(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.update_id = 8
    venue.top("100.0", 10, "100.1", 10)
    venue.depth(bids=[("100.0", 1)], update_id=5)
    assert venue.ahead(1) == unit(10)


def test_case_10_a_late_trade_of_the_same_time_was_already_in_the_depth(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 6)], ts=200)
    venue.trade(SELL, "100.0", 4, ts=200)
    assert venue.ahead(1) == unit(6)


# Queue.
def test_case_11_front_is_what_is_displayed_when_the_venue_accepts():
    v = booked(SimModel(latency_new_ns=1000, latency_cancel_ns=0, latency_report_ns=0))
    v.submit(kind=r.NEW, id=1, side=BUY, price=unit("100.0"), qty=unit(1), local_ts=0)
    v.time = 900
    v.depth(bids=[("100.0", 3)])
    v.tick(1000)
    assert v.ahead(1) == unit(3)


def test_case_12_a_trade_at_our_price_reduces_the_front_then_fills(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 4)
    assert venue.ahead(1) == unit(6) and venue.reports() == []
    venue.trade(BUY, "100.1", 50)
    venue.trade(SELL, "100.0", 7)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(1))]


def test_case_13_cancels_are_split_by_the_model():
    """Behind us 10 of 20: risk-averse ignores a cancel of 4, n=1 takes half of it, n=3 too (equal sides)."""
    for model, expected in ((None, 10), (SimModel("power", 1.0, **INSTANT), 8), (SimModel("power", 3.0, **INSTANT), 8)):
        v = booked(model)
        v.new(1, BUY, 5, "100.0")
        v.depth(bids=[("100.0", 20)])
        v.depth(bids=[("100.0", 16)])
        assert v.ahead(1) == unit(expected)


def test_case_13_power_follows_its_formula_with_unequal_sides():
    """F=10, B=30, n=2: p = 900/1000, so a cancel of 10 takes 1 from ahead."""
    v = power(2.0)
    v.new(1, BUY, 5, "100.0")
    v.depth(bids=[("100.0", 40)])
    v.depth(bids=[("100.0", 30)])
    assert v.ahead(1) == unit(9)


def test_case_13_power_takes_from_ahead_what_the_back_cannot_give():
    """F=10, B=0: all of a cancel was ahead; F=B=0: no division of nothing by nothing."""
    v = power(2.0)
    v.new(1, BUY, 5, "100.0")
    v.depth(bids=[("100.0", 7)])
    assert v.ahead(1) == unit(7)
    v.new(2, BUY, 5, "99.8")
    v.depth(bids=[("99.8", 0)])
    assert v.ahead(2) == 0


@pytest.mark.parametrize("model", [SimModel(**INSTANT), SimModel("power", 1.0, **INSTANT)])
@pytest.mark.parametrize("depth_first", [False, True])
def test_case_14_a_trade_and_its_depth_decrease_count_once_in_either_order(model, depth_first):
    v = booked(model)
    v.new(1, BUY, 5, "100.0")
    v.depth(bids=[("100.0", 12)], ts=150)
    steps = [lambda: v.trade(SELL, "100.0", 4, ts=200), lambda: v.depth(bids=[("100.0", 8)], ts=200)]
    for step in reversed(steps) if depth_first else steps:
        step()
    assert v.ahead(1) == unit(6) and v.reports() == []


def test_case_14_a_trade_explains_one_depth_decrease_and_not_the_next():
    """F=6, B=10 once trade and depth agree: of the next cancel of 4, n=1 takes 4 x 6/16 from ahead."""
    v = power(1.0)
    v.new(1, BUY, 5, "100.0")
    v.depth(bids=[("100.0", 20)])
    v.trade(SELL, "100.0", 4)
    v.depth(bids=[("100.0", 16)])
    assert v.ahead(1) == unit(6)
    v.depth(bids=[("100.0", 12)])
    assert v.ahead(1) == unit("4.5")


def test_case_14_a_level_eaten_up_before_its_trade_arrives_does_not_fill_us(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 0)], ts=200)
    venue.trade(SELL, "100.0", 10, ts=200)
    assert venue.ahead(1) == 0 and venue.reports() == []
    venue.trade(SELL, "100.0", 2, ts=201)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(2))]


def test_case_14_a_cut_contains_no_trade_that_is_newer_than_it(venue):
    """10 ahead; at 200 a cut of 4. A trade of 300 is not in it, though newer news (growth, at 400) came before the trade."""
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 6)], ts=200 * MS)
    venue.depth(bids=[("100.0", 9)], ts=400 * MS)
    venue.trade(SELL, "100.0", 4, ts=300 * MS)
    assert venue.ahead(1) == unit(2)
    venue.trade(SELL, "100.0", 3, ts=301 * MS)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(1))]


@pytest.mark.parametrize("second_ts", [200 * MS, 200 * MS + 999_999])
def test_case_14_two_cuts_of_one_millisecond_contain_the_trades_of_both(venue, second_ts):
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 7)], ts=200 * MS)
    venue.depth(bids=[("100.0", 6)], ts=second_ts)
    for qty in (3, 1):
        venue.trade(SELL, "100.0", qty, ts=200 * MS)
        assert venue.ahead(1) == unit(6) and venue.reports() == []
    venue.trade(SELL, "100.0", 1, ts=200 * MS)
    assert venue.ahead(1) == unit(5)


def test_case_14_cuts_of_different_times_are_used_up_by_the_trades_before_them(venue):
    """Cuts of 2 at 200 and of 3 at 300: a trade of 300 finds 3; one of 200, of which 2 are left, both."""
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 8)], ts=200 * MS)
    venue.depth(bids=[("100.0", 5)], ts=300 * MS)
    venue.trade(SELL, "100.0", 4, ts=300 * MS)
    assert venue.ahead(1) == unit(4)
    venue.trade(SELL, "100.0", 3, ts=200 * MS)
    assert venue.ahead(1) == unit(3)


def test_case_14_without_room_the_oldest_cuts_become_one_of_the_later_time(venue):
    """Ten cuts of 1 and room for eight: a trade of the oldest's time finds all ten, none is counted twice."""
    venue.open_book([("99.8", 20)], [])
    venue.new(1, BUY, 5, "99.8")
    for n in range(1, 11):
        venue.depth(bids=[("99.8", 20 - n)], ts=(200 + n) * MS)
    for n in range(1, 11):
        venue.trade(SELL, "99.8", 1, ts=(200 + n) * MS)
        assert venue.ahead(1) == unit(10)
    venue.trade(SELL, "99.8", 1, ts=210 * MS)
    assert venue.ahead(1) == unit(9)


def test_case_14_a_best_price_without_a_time_contains_the_trades_that_can_have_made_it():
    """Depth and trades need 2 ms or more: what arrives at 1010 happened at 1008 at the latest."""
    v = Venue()
    v.time = 1002 * MS
    v.open_book([("100.0", 10)], [("100.1", 10)], ts=1000 * MS)
    v.new(1, BUY, 5, "100.0")
    v.time = 1010 * MS
    v.top("100.0", 6, "100.1", 10)
    v.trade(SELL, "100.0", 3, ts=1008 * MS)
    assert v.ahead(1) == unit(6)
    v.trade(SELL, "100.0", 1, ts=1009 * MS)
    assert v.ahead(1) == unit(5)


def test_case_09_a_clock_that_is_set_right_is_forgotten_after_two_minutes():
    """Each best price shows one less. Whether it contains the next trade depends on how fast records were of late."""
    v = Venue()
    v.open_book([("100.0", 50)], [("100.1", 10)])
    v.new(1, BUY, 5, "100.0")
    for second, lead, age, is_contained in ((10, 900, 500, 0), (20, 2, 500, 1), (90, 900, 500, 1), (170, 900, 400, 0)):
        v.time = second * 1000 * MS
        v.trade(BUY, "100.1", 1, ts=v.time - lead * MS)
        shown = v.ahead(1) // unit(1) - 1
        v.top("100.0", shown, "100.1", 10)
        v.trade(SELL, "100.0", 1, ts=v.time - age * MS)
        assert v.ahead(1) == unit(shown - 1 + is_contained), second


def test_case_15_growth_goes_behind_us(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.depth(bids=[("100.0", 30)])
    assert venue.ahead(1) == unit(10)


@pytest.mark.parametrize("n", [None, 1.0, 3.0])
def test_case_16_a_level_smaller_than_our_front_caps_it(n):
    v = power(n) if n else booked()
    v.new(1, BUY, 5, "100.0")
    v.depth(bids=[("100.0", 3)])
    assert v.ahead(1) == unit(3)


def test_case_17_a_vanished_level_leaves_us_in_front(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.new(2, BUY, 5, "99.9")
    venue.depth(bids=[("100.0", 0)])
    assert venue.ahead(1) == 0
    venue.top("99.7", 1, "100.1", 10)
    assert venue.ahead(2) == 0


def test_case_18_own_orders_at_a_price_share_a_trade_in_time_order(venue):
    venue.new(1, BUY, 2, "100.0")
    venue.depth(bids=[("100.0", 14)])
    venue.new(2, BUY, 2, "100.0")
    venue.trade(SELL, "100.0", 17)
    assert fills(venue.reports()) == [(1, unit("100.0"), unit(2)), (2, unit("100.0"), unit(1))]


def test_case_19_a_trade_through_several_of_our_prices_fills_the_best_first(venue):
    venue.new(1, BUY, 2, "99.9")
    venue.new(2, BUY, 2, "100.0")
    venue.trade(SELL, "99.8", 3)
    assert fills(venue.reports()) == [(2, unit("100.0"), unit(2)), (1, unit("99.9"), unit(1))]


def test_case_21_price_or_size_up_goes_to_the_back_and_size_down_keeps_the_place(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 4)
    venue.replace(1, BUY, 4, "100.0")
    assert (venue.ahead(1), venue.left(1)) == (unit(6), unit(4))
    venue.replace(1, BUY, 5, "100.0")
    assert venue.ahead(1) == unit(10)
    venue.trade(SELL, "100.0", 4)
    venue.replace(1, BUY, 5, "99.9")
    assert venue.ahead(1) == unit(10)


def test_case_22_amend_below_filled_ends_the_order(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 12)
    venue.reports()
    assert last(venue.replace(1, BUY, 3, "100.0")) == ("replaced", 0) and venue.left(1) == unit(1)
    got = venue.replace(1, BUY, 2, "100.0")
    assert last(got) == ("canceled", why.AMEND_BELOW_FILLED) and got[-1]["qty"] == unit(1)
    assert venue.left(1) == -1


def test_case_23_an_order_inside_the_spread_has_nobody_ahead():
    v = Venue()
    v.open_book([("100.0", 10)], [("100.4", 10)])
    v.new(1, BUY, 5, "100.2")
    assert v.ahead(1) == 0
    v.trade(SELL, "100.0", 2)
    assert fills(v.reports()) == [(1, unit("100.2"), unit(2))]


# Matching.
def test_case_25_post_only_is_judged_by_the_book_at_the_venue():
    v = booked(SimModel(latency_new_ns=1000, latency_cancel_ns=0, latency_report_ns=0))
    v.submit(kind=r.NEW, id=1, side=BUY, price=unit("100.1"), qty=unit(1), flags=POST_ONLY)
    v.time = 500
    v.depth(asks=[("100.1", 0)])
    v.submit(kind=r.NEW, id=2, side=BUY, price=unit("100.2"), qty=unit(1), flags=POST_ONLY)
    v.tick(2000)
    got = v.reports()
    assert kinds(got) == ["ack", "reject"] and got[1]["flags"] == why.POST_ONLY_WOULD_TAKE


def test_case_26_a_market_order_takes_each_level_at_its_price(venue):
    got = venue.new(1, SELL, 15, flags=MARKET)
    assert fills(got) == [(1, unit("100.0"), unit(10)), (1, unit("99.9"), unit(5))]
    assert kinds(got)[0] == "ack" and got[0]["price"] == 0


def test_case_27_leftovers_of_each_time_in_force(venue):
    assert last(venue.new(1, BUY, 25, "100.2", FOK)) == ("expired", why.FOK_UNFILLABLE)
    assert venue.position() == 0
    assert [x[2] for x in fills(venue.new(2, BUY, 12, "100.2", FOK))] == [unit(10), unit(2)]
    assert last(venue.new(3, BUY, 25, "100.2", IOC)) == ("expired", why.IOC_REMAINDER)
    venue.depth(asks=[("100.1", 0), ("100.2", 0)])
    assert last(venue.new(4, BUY, 1, flags=MARKET)) == ("expired", why.NO_LIQUIDITY)
    venue.new(5, BUY, 1, "100.2", GTC)
    assert venue.left(5) == unit(1)


def test_case_28_consumed_liquidity_is_per_level_and_survives_changes_of_others(venue):
    venue.new(1, BUY, 4, "100.1", IOC)
    venue.depth(asks=[("100.2", 9)])
    assert fills(venue.new(2, BUY, 50, "100.2", IOC)) == [(2, unit("100.1"), unit(6)), (2, unit("100.2"), unit(9))]


@pytest.mark.parametrize("left", [9, 4, 1])
def test_case_28_what_leaves_a_level_is_what_we_took_of_it(venue, left):
    venue.new(1, BUY, 4, "100.1", IOC)
    venue.depth(asks=[("100.1", left)])
    assert sum(x[2] for x in fills(venue.new(2, BUY, 50, "100.1", IOC))) == unit(min(left, 6))


def test_case_28_only_what_is_added_to_a_level_is_new(venue):
    venue.new(1, BUY, 10, "100.1", IOC)
    for shown, new in ((10, 0), (8, 0), (11, 3), (2, 0), (0, 0), (5, 5)):
        venue.depth(asks=[("100.1", shown)])
        assert sum(x[2] for x in fills(venue.new(100 + shown, BUY, 50, "100.1", IOC))) == unit(new), shown


def test_case_28_a_level_behind_a_better_top_is_not_new_when_old_depth_shows_it_again(venue):
    """7 of 10 are left at 100.1 by the newest word; a better ask appears and the depth stream still says 10."""
    venue.new(1, BUY, 3, "100.1", IOC)
    venue.top("100.0", 10, "100.1", 7)
    venue.new(2, BUY, 7, "100.1", IOC)
    venue.top("100.0", 10, "100.05", 1)
    assert fills(venue.new(3, BUY, 50, "100.1", IOC)) == [(3, unit("100.05"), unit(1))]
    venue.depth(asks=[("100.1", 9)])
    assert fills(venue.new(4, BUY, 50, "100.1", IOC)) == [(4, unit("100.1"), unit(2))]


def test_case_28_a_replaced_book_gives_back_nothing_that_we_took(venue):
    venue.new(1, BUY, 10, "100.1", IOC)
    venue.feed(kind=r.BOOK_RESET, id=1)
    venue.depth([("100.0", 4)], [("100.1", 12)], update_id=1)
    assert fills(venue.new(2, BUY, 50, "100.1", IOC)) == [(2, unit("100.1"), unit(2))]


def test_case_29_self_trade_cancels_the_resting_order_and_the_taker_goes_on(venue):
    venue.new(1, SELL, 3, "100.1")
    assert kinds(venue.new(2, BUY, 10, "100.1", IOC)) == ["ack", "fill"]
    venue.depth(asks=[("100.1", 21)])
    got = venue.new(3, BUY, 11, "100.1", IOC)
    assert kinds(got) == ["ack", "canceled", "fill"]
    assert got[1]["id"] == 1 and got[1]["flags"] == why.SELF_TRADE and got[1]["qty"] == unit(3)
    assert fills(got) == [(3, unit("100.1"), unit(11))]


def test_case_29_an_own_order_inside_the_spread_is_met_first():
    v = Venue()
    v.open_book([("100.0", 10)], [("100.4", 10)])
    v.new(1, SELL, 3, "100.2")
    assert last(v.new(2, BUY, 1, "100.3", POST_ONLY)) == ("reject", why.POST_ONLY_WOULD_TAKE)
    assert kinds(v.new(3, BUY, 1, "100.3")) == ["ack", "canceled"]
    assert v.left(3) == unit(1)


def test_case_30_a_market_order_has_no_cap_but_the_end_of_the_book(venue):
    got = venue.new(1, BUY, 30, flags=MARKET)
    assert sum(x[2] for x in fills(got)) == unit(20)
    assert last(got) == ("expired", why.IOC_REMAINDER) and got[-1]["qty"] == unit(10)


def test_case_31_reduce_only_is_rejected_trimmed_and_ended_with_the_position(venue):
    reduce_only = r.REDUCE_ONLY
    assert last(venue.new(1, SELL, 1, "100.3", reduce_only)) == ("reject", why.REDUCE_ONLY_REJECT)
    venue.new(2, BUY, 3, "100.1", IOC)
    got = venue.new(3, SELL, 5, "100.0", IOC | reduce_only)
    assert fills(got) == [(3, unit("100.0"), unit(3))]
    assert last(got) == ("expired", why.REDUCE_ONLY_REJECT) and got[-1]["qty"] == unit(2)
    venue.new(4, BUY, 3, "100.1", IOC)
    venue.new(5, SELL, 5, "100.2", reduce_only)
    got = venue.new(6, SELL, 3, "99.9", IOC)
    assert last(got) == ("expired", why.REDUCE_ONLY_REJECT) and got[-1]["id"] == 5
    assert venue.position() == 0


@pytest.mark.parametrize(
    ("side", "qty", "price", "flags"),
    [
        (BUY, 1, "100.05", GTC),
        (BUY, "1.0005", "100.0", GTC),
        (BUY, 0, "100.0", GTC),
        (BUY, 1, 0, GTC),
        (BUY, "0.999", "100.0", GTC),
        (BUY, "0.998", 0, MARKET),
        (2, 1, "100.0", GTC),
        (BUY, 1, "100.0", 5),
        (BUY, 1, "100.0", r.NOT_A_NUMBER),
        (BUY, 90_000_000_000, "100.0", GTC),
    ],
)
def test_case_32_filters_use_integers(side, qty, price, flags):
    v = booked(min_notional=100)
    assert last(v.new(1, side, qty, price, flags)) == ("reject", why.VENUE_FILTER)
    assert kinds(v.new(2, BUY, 1, "100.0")) == ["ack"]


def test_case_33_cancel_of_a_partly_filled_order_returns_what_is_left(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 12)
    venue.reports()
    got = venue.cancel(1)
    assert last(got) == ("canceled", why.USER_REQUEST) and got[-1]["qty"] == unit(3)
    assert venue.position() == unit(2)


def test_case_34_each_partial_fill_moves_the_position(venue):
    venue.new(1, BUY, 5, "100.0")
    for trade, expected in ((11, 1), (2, 3), (9, 5)):
        venue.trade(SELL, "100.0", trade)
        assert venue.position() == unit(expected)


# Latency and races.
def test_case_35_cancel_after_the_fill_is_rejected(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.trade(SELL, "100.0", 15)
    venue.reports()
    assert last(venue.cancel(1)) == ("cancel_reject", why.VENUE_UNKNOWN_ORDER)
    assert last(venue.replace(1, BUY, 6, "100.0")) == ("cancel_reject", why.VENUE_UNKNOWN_ORDER)


def test_case_36_a_fill_before_the_cancel_arrives_is_kept_and_the_rest_is_canceled():
    v = booked(SimModel(latency_new_ns=0, latency_cancel_ns=1000, latency_report_ns=0))
    v.new(1, BUY, 5, "100.0")
    v.submit(kind=r.CANCEL, id=1, side=BUY)
    v.time = 999
    v.trade(SELL, "100.0", 12)
    v.tick(1000)
    got = v.reports()
    assert kinds(got) == ["fill", "canceled"] and got[1]["qty"] == unit(3)


def test_case_40_a_replace_and_a_fill_crossing_in_flight_leave_new_total_minus_filled():
    v = booked(SimModel(latency_new_ns=1000, latency_cancel_ns=0, latency_report_ns=0))
    v.submit(kind=r.NEW, id=1, side=BUY, price=unit("100.0"), qty=unit(5), local_ts=0)
    v.tick(1000)
    v.submit(kind=r.REPLACE, id=1, side=BUY, price=unit("100.0"), qty=unit(3))
    v.time = 1500
    v.trade(SELL, "100.0", 12)
    v.tick(2000)
    assert kinds(v.reports()) == ["ack", "fill", "replaced"] and v.left(1) == unit(1)


def test_case_42_a_venue_whose_book_is_not_valid_refuses_orders_and_takes_cancels(venue):
    venue.new(1, BUY, 5, "100.0")
    venue.feed(kind=r.BOOK_STATE, flags=r.SYNCING)
    assert last(venue.new(2, BUY, 5, "100.0")) == ("reject", why.VENUE_BUSY)
    assert last(venue.replace(1, BUY, 6, "100.0")) == ("cancel_reject", why.VENUE_BUSY)
    assert last(venue.cancel(1)) == ("canceled", why.USER_REQUEST)


def test_case_43_report_latency_delays_what_we_know_and_not_what_happened():
    v = booked(SimModel(latency_new_ns=0, latency_cancel_ns=0, latency_report_ns=500))
    v.time = 100
    assert v.new(1, BUY, 1, "100.1") == [] and v.position() == unit(1)
    v.tick(599)
    assert v.reports() == []
    v.tick(600)
    ack, fill = v.reports()
    assert (ack["exchange_ts"], ack["local_ts"], ack["venue_id"]) == (100, 600, 1)
    assert (fill["exchange_ts"], fill["fee"], fill["trade_id"]) == (100, 0, 1)


def test_case_44_a_fast_cancel_never_overtakes_the_order_it_cancels():
    v = booked(SimModel(latency_new_ns=1000, latency_cancel_ns=10, latency_report_ns=0))
    v.submit(kind=r.NEW, id=1, side=BUY, price=unit("100.0"), qty=unit(1), local_ts=0)
    v.submit(kind=r.CANCEL, id=1, side=BUY, local_ts=5)
    v.tick(999)
    assert v.reports() == []
    v.tick(1000)
    assert kinds(v.reports()) == ["ack", "canceled"]


# Accounting.
def test_case_45_a_maker_rebate_is_negative_and_a_taker_fee_positive():
    v = booked(maker=-10_000, taker=50_000)
    v.new(1, BUY, 1, "100.0")
    v.trade(SELL, "100.0", 11)
    maker = v.reports()[-1]
    taker = v.new(2, SELL, 1, "100.0", IOC)[1]
    assert (maker["flags"], maker["fee"]) == (r.FILL_MAKER, -unit("0.01"))
    assert (taker["flags"], taker["fee"]) == (0, unit("0.05"))


@pytest.mark.parametrize(("rate", "expected"), [(1, 151), (-1, -150), (0, 0)])
def test_case_46_fees_round_against_us(rate, expected):
    """100.1 x 1.5 = 150.15: a rate of 1e-8 of it is 150.15 units of 1e-8."""
    v = booked(maker=0, taker=rate)
    assert v.new(1, BUY, "1.5", "100.1", IOC)[1]["fee"] == expected


def test_case_48_the_position_passes_through_zero(venue):
    venue.new(1, BUY, 2, "100.1", IOC)
    venue.new(2, SELL, 5, "100.0", IOC)
    assert venue.position() == -unit(3)


def test_case_50_fills_sum_to_what_the_order_has_filled_and_cash_is_conserved(venue):
    got = venue.new(1, BUY, 15, "100.2") + venue.new(2, SELL, 15, "99.9")
    bought = [x for x in got if x["kind"] == r.FILL and x["side"] == BUY]
    sold = [x for x in got if x["kind"] == r.FILL and x["side"] == SELL]
    assert sum(x["qty"] for x in bought) == sum(x["qty"] for x in sold) == unit(15)
    assert venue.position() == 0
    cash = sum(x["price"] * x["qty"] for x in sold) - sum(x["price"] * x["qty"] for x in bought)
    assert cash == unit("-2.5") * unit(1)


# What is not in the list of fifty.
def test_a_duplicate_open_id_is_rejected_and_the_open_order_stays(venue):
    venue.new(1, BUY, 5, "100.0")
    assert last(venue.new(1, SELL, 5, "100.2")) == ("reject", why.DUPLICATE_ID)
    assert venue.left(1) == unit(5)


def test_the_open_order_limit_refuses_resting_orders_and_still_takes():
    v = booked(max_orders=1)
    v.new(1, BUY, 1, "99.9")
    assert last(v.new(2, BUY, 1, "99.9")) == ("reject", why.TOO_MANY_OPEN_ORDERS)
    assert kinds(v.new(3, BUY, 1, "100.1", IOC)) == ["ack", "fill"]
    v.cancel(1)
    assert kinds(v.new(4, BUY, 1, "99.9")) == ["ack"]


def test_an_unknown_instrument_is_rejected(venue):
    assert last(venue.new(1, BUY, 1, "100.0", instrument=7)) == ("reject", why.UNKNOWN_INSTRUMENT)


def test_a_replace_that_crosses_takes_and_a_post_only_one_ends_the_order(venue):
    venue.new(1, BUY, 5, "100.0")
    got = venue.replace(1, BUY, 12, "100.1")
    assert kinds(got) == ["replaced", "fill"] and venue.left(1) == unit(2)
    venue.new(2, SELL, 5, "100.3", POST_ONLY)
    assert last(venue.replace(2, SELL, 5, "100.0")) == ("canceled", why.POST_ONLY_WOULD_TAKE)


def test_a_book_update_of_several_records_takes_effect_at_its_last(venue):
    venue.feed(kind=r.LEVEL, side=r.ASK, price=unit("100.1"), qty=0, id=9)
    venue.submit(kind=r.NEW, id=1, side=BUY, price=unit("100.2"), qty=unit(1), flags=IOC)
    venue.feed(kind=r.LEVEL, side=r.ASK, price=unit("100.2"), qty=unit(4), id=9)
    assert venue.reports() == []
    venue.feed(kind=r.LEVEL, side=r.ASK, price=unit("100.3"), qty=unit(4), id=9, flags=r.LAST)
    venue.tick()
    assert fills(venue.reports()) == [(1, unit("100.2"), unit(1))]
