"""The risk stage: what passes, what is refused and how, what is counted, and what a full ring does."""

from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned
from risk_rig import E8, LOT, N_INSTRUMENTS, N_STRATEGIES, NOW, RiskRig, make, new_ring, pop_all, push

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, load_acquire, sched_yield, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import POSITION_LIMIT, UNBOOKABLE_FILL
from hftpipe.core.schema.halts import REDUCE_PLACE, set_scope
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    FILL_MAKER,
    MARKET,
    NEW,
    NOT_A_NUMBER,
    OWN_CANCEL,
    POST_ONLY,
    REDUCES,
    REJECT,
    REPLACE,
    REPLACED,
    SELL,
    SYNCING,
    UNASKED,
)
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.ring import ring_peek, ring_pop, ring_push
from hftpipe.core.shared.tape import TOP_SEEN
from hftpipe.core.trading import order_table
from hftpipe.risk.stage import step
from hftpipe.risk.state import LANE, STATE


@pytest.fixture
def rig() -> RiskRig:
    return RiskRig()


def working(rig: RiskRig, id_: int = 1, **fields: int) -> None:
    """An acknowledged order; rings empty afterwards."""
    rig.intend(id=id_, **fields)
    rig.step()
    rig.report(kind=ACK, id=id_, **fields)
    rig.step()
    assert len(rig.pop("orders")) == 1
    rig.pop("updates")


def test_what_is_approved_of_a_strategy_counts_against_its_own_limits_and_no_other_s(rig):
    rig.desks["max_position"], rig.desks["orders_per_s"], rig.desks["orders_per_min"] = 10**18, 10**6, 10**6
    own = aligned(N_STRATEGIES * N_INSTRUMENTS * POSITION.itemsize).view(POSITION).reshape(N_STRATEGIES, N_INSTRUMENTS)
    rig.desks["positions"] = [row.ctypes.data for row in own]
    rig.desks["is_limited"][1], rig.desks["orders_per_s"][1] = 1, 2
    rig.desks["is_limited"][2], rig.desks["max_position"][2] = 1, 2 * E8
    for number, (strategy, qty) in enumerate([(1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (0, 1)], 1):
        rig.intend(id=number, strategy=strategy, qty=qty * E8)
    rig.step()
    assert [int(one["id"]) for one in rig.pop("orders")] == [1, 2, 4, 6]
    assert [reasons.NAMES[int(one["flags"])] for one in rig.pop("updates")] == ["strategy_rate", "strategy_position"]
    rig.report(kind=FILL, id=4, strategy=2, qty=2 * E8, fee=0)
    rig.step()
    assert own["qty"].tolist() == [[0, 0], [0, 0], [2 * E8, 0], [0, 0]] and rig.positions["qty"][0] == 2 * E8
    assert own["working_buy"][:, 0].tolist() == [E8, 2 * E8, 0, 0] and rig.positions["working_buy"][0] == 3 * E8


@pytest.mark.parametrize("strategy", [N_STRATEGIES, 64, 255])
def test_an_order_of_no_strategy_of_this_run_is_refused_whatever_is_halted(rig, strategy):
    rig.halts[:] = 255
    rig.intend(id=7, strategy=strategy)
    assert rig.step() == 1 and rig.pop("orders") == []
    (refused,) = rig.pop("updates")
    assert reasons.NAMES[int(refused["flags"])] == "invalid_value"


def test_approved_order_goes_to_the_gateway_unchanged(rig):
    rig.intend(id=7, origin_tsc=123, instrument=1, side=SELL, strategy=3, flags=POST_ONLY)
    assert rig.step() == 1
    (sent,) = rig.pop("orders")
    wanted = make(id=7, origin_tsc=123, instrument=1, side=SELL, strategy=3, flags=POST_ONLY)[0]
    same = [n for n in sent.dtype.names if n not in ("seq", "exchange_ts")]
    assert [int(sent[n]) for n in same] == [int(wanted[n]) for n in same]
    assert rig.pop("updates") == []
    assert (rig.count("approved"), rig.count("intents_seen")) == (1, 1)


def test_exposure_grows_at_the_verdict_not_at_the_acknowledgement(rig):
    rig.intend(qty=3 * E8)
    rig.intend(id=2, side=SELL, qty=2 * E8)
    rig.step()
    assert (rig.position("working_buy"), rig.position("working_sell")) == (3 * E8, 2 * E8)


def test_working_orders_count_against_the_position_limit(rig):
    for id_ in range(1, 5):
        rig.intend(id=id_, qty=5 * E8)
    rig.intend(id=5, qty=LOT * 50_000)
    rig.step()
    assert rig.rejects(reasons.MAX_POSITION) == 1, "20 of 20 are working: not one lot more"
    rig.report(kind=EXPIRED, id=4)
    rig.step()
    rig.intend(id=6, qty=5 * E8)
    rig.step()
    assert rig.rejects(reasons.MAX_POSITION) == 1, "what has expired is free again"


def test_refused_order_comes_back_as_reject_with_its_reason(rig):
    rig.intend(id=9, qty=11 * E8, price=10 * E8)
    rig.step()
    (answer,) = rig.pop("updates")
    assert (answer["kind"], answer["flags"], answer["id"]) == (REJECT, reasons.MAX_ORDER_QTY, 9)
    assert (answer["price"], answer["qty"], answer["exchange_ts"]) == (10 * E8, 11 * E8, 0)
    assert rig.pop("orders") == []
    assert rig.position("working_buy") == 0


def test_refused_replace_leaves_the_order_working(rig):
    working(rig)
    rig.intend(kind=REPLACE, price=50 * E8)
    rig.step()
    (answer,) = rig.pop("updates")
    assert (answer["kind"], answer["flags"], answer["id"]) == (CANCEL_REJECT, reasons.PRICE_COLLAR, 1)
    assert (answer["price"], answer["qty"]) == (0, 0)
    assert rig.order(1)["state"] == order_table.WORKING
    rig.intend(kind=CANCEL)
    rig.step()
    assert [r["kind"] for r in rig.pop("orders")] == [CANCEL]


def test_halt_refuses_orders_and_replaces_but_no_cancel(rig):
    working(rig)
    set_halt(rig.halt, True, 3, NOW)
    rig.intend(id=2)
    rig.intend(kind=REPLACE)
    rig.intend(kind=CANCEL)
    rig.step()
    assert rig.rejects(reasons.HALTED) == 2
    assert [r["kind"] for r in rig.pop("orders")] == [CANCEL]
    set_halt(rig.halt, False, 0, NOW)
    rig.intend(id=3)
    rig.step()
    assert [r["id"] for r in rig.pop("orders")] == [3]


def reduce(rig: RiskRig, is_reducing: bool = True) -> None:
    """From now on only orders pass that make a position smaller."""
    set_scope(rig.halts, REDUCE_PLACE, 3 if is_reducing else 0, NOW)


def test_while_reducing_what_passes_bears_that_it_does_and_no_other_order_ever(rig):
    working(rig, 1, qty=2 * E8)
    rig.report(kind=FILL, id=1, qty=2 * E8, price=100 * E8)
    rig.step()
    rig.pop("updates")
    reduce(rig)
    rig.intend(id=2, side=SELL, qty=E8)
    rig.intend(id=3, side=SELL, qty=E8 + LOT)
    rig.intend(id=4, qty=E8)
    rig.step()
    assert [(r["id"], r["flags"]) for r in rig.pop("orders")] == [(2, REDUCES)] and rig.rejects(reasons.REDUCING) == 2
    rig.report(kind=ACK, id=2, side=SELL, qty=E8)
    rig.step()
    reduce(rig, False)
    rig.intend(id=2, side=SELL, kind=REPLACE, qty=5 * E8)
    rig.step()
    assert [(r["kind"], r["flags"]) for r in rig.pop("orders")] == [(REPLACE, 0)], "judged by what holds now"


def test_a_strategy_cannot_say_itself_that_its_order_reduces(rig):
    rig.intend(id=1, flags=REDUCES)
    rig.step()
    assert rig.pop("orders") == [] and rig.rejects(reasons.INVALID_VALUE) == 1


def test_cancel_passes_every_check_that_stops_an_order(rig):
    working(rig)
    rig.limits["max_position"][0] = 0
    rig.tops["state"][0] = 0
    rig.limits["orders_per_s"][0] = 0
    rig.intend(kind=CANCEL, instrument=99, side=7, price=-1, qty=-(2**63), flags=NOT_A_NUMBER)
    rig.step()
    (sent,) = rig.pop("orders")
    assert (sent["kind"], sent["instrument"], sent["side"], sent["flags"]) == (CANCEL, 0, BUY, 0), "the order's own"
    assert rig.count("cancels") == 1


@pytest.mark.parametrize("end", [None, CANCELED])
def test_cancel_of_no_working_order_is_refused(rig, end):
    if end is not None:
        working(rig)
        rig.report(kind=end)
    rig.intend(kind=CANCEL)
    rig.step()
    answer = rig.pop("updates")[-1]
    assert (answer["kind"], answer["flags"]) == (CANCEL_REJECT, reasons.UNKNOWN_ORDER)
    assert rig.pop("orders") == []


@pytest.mark.parametrize("kind", [0, FILL, 255])
def test_what_is_no_intent_is_refused_and_ends_no_order(rig, kind):
    working(rig)
    rig.intend(kind=kind)
    rig.step()
    assert [(r["kind"], r["flags"]) for r in rig.pop("updates")] == [(CANCEL_REJECT, reasons.INVALID_VALUE)]


def test_rates_count_approved_orders_and_replaces_and_never_stop_a_cancel(rig):
    rig.limits["orders_per_s"][0] = 2
    working(rig)
    rig.intend(kind=REPLACE, qty=2 * E8)
    rig.intend(id=2)
    rig.intend(id=3, instrument=1)
    rig.intend(kind=CANCEL)
    rig.intend(id=4, local_ts=NOW + 1_100_000_000)
    rig.step()
    assert [(r["kind"], r["id"]) for r in rig.pop("orders")] == [(REPLACE, 1), (NEW, 3), (CANCEL, 1), (NEW, 4)]
    assert rig.rejects(reasons.RATE_PER_S) == 1


def test_refused_orders_use_up_no_rate(rig):
    rig.limits["orders_per_s"][0] = 1
    rig.intend(id=1, qty=0)
    rig.intend(id=2)
    rig.step()
    assert [r["id"] for r in rig.pop("orders")] == [2]


def test_client_id_used_twice_is_refused(rig):
    working(rig)
    rig.intend(id=1)
    rig.report(kind=CANCELED, id=1)
    rig.step()
    rig.intend(id=1)
    rig.step()
    assert rig.rejects(reasons.DUPLICATE_ID) == 2, "working or ended makes no difference"


def test_full_table_refuses_before_an_order_is_sent():
    rig = RiskRig(slots=16)
    rig.limits["max_position"][:] = 100 * E8
    for id_ in range(1, 18):
        rig.intend(id=id_)
    rig.step()
    assert rig.rejects(reasons.TOO_MANY_OPEN_ORDERS) == 1
    assert len(rig.pop("orders")) == 16
    assert rig.position("working_buy") == 16 * E8


# Time.


def test_an_intent_that_lay_too_long_is_refused_when_it_is_judged(rig):
    rig.run_clock()
    rig.tops["local_ts"][:] = NOW + 5 * 10**9
    rig.intend(id=1)
    rig.intend(id=2, local_ts=NOW + 1)
    rig.step(NOW + 10**9 + 1)
    assert rig.rejects(reasons.INTENT_STALE) == 1
    assert [r["id"] for r in rig.pop("orders")] == [2]


def test_a_book_that_stands_still_gets_old_while_intents_go_on(rig):
    rig.run_clock()
    rig.intend(id=1, local_ts=NOW + 2 * 10**9)
    rig.step(NOW + 2 * 10**9)
    rig.intend(id=2, local_ts=NOW + 2 * 10**9)
    rig.step(NOW + 2 * 10**9 + 1)
    assert [r["id"] for r in rig.pop("orders")] == [1] and rig.rejects(reasons.BOOK_STALE) == 1


def test_a_quiet_book_is_as_fresh_as_the_market_is_known(rig):
    rig.run_clock()
    rig.time["known_ts"] = NOW + 9 * 10**9
    rig.intend(id=1, local_ts=NOW + 11 * 10**9)
    rig.step(NOW + 11 * 10**9)
    rig.intend(id=2, local_ts=NOW + 11 * 10**9)
    rig.step(NOW + 11 * 10**9 + 1)
    assert [r["id"] for r in rig.pop("orders")] == [1] and rig.rejects(reasons.BOOK_STALE) == 1


def test_a_market_that_is_known_does_not_make_a_book_valid(rig):
    rig.run_clock()
    rig.time["known_ts"], rig.tops["state"][0] = NOW + 9 * 10**9, SYNCING
    rig.intend(id=1, local_ts=NOW + 9 * 10**9)
    rig.step(NOW + 9 * 10**9)
    assert rig.rejects(reasons.BOOK_INVALID) == 1


def test_a_backlog_counts_as_sent_now(rig):
    """Four seconds of intents, each fresh enough by its limit, and a hundred orders a second."""
    rig.run_clock()
    rig.limits["orders_per_s"][0], rig.limits["max_intent_age_ns"][0] = 100, 10 * 10**9
    rig.limits["max_book_age_ns"][0], rig.limits["max_position"][0] = 10 * 10**9, 10_000 * E8
    for index in range(400):
        rig.intend(id=index + 1, local_ts=NOW + index * 10**7)
    while rig.step(NOW + 4 * 10**9):
        pass
    assert (rig.count("approved"), rig.rejects(reasons.RATE_PER_S)) == (100, 300)


def test_what_a_verdict_saw_of_the_time_is_on_the_tape(rig):
    tape = new_ring(64)
    rig.state["tape"] = address(tape)
    rig.run_clock()
    rig.time["known_ts"] = NOW + 3 * 10**9
    rig.intend(id=1, local_ts=NOW + 3 * 10**9)
    rig.step(NOW + 3 * 10**9 + 5)
    seen = [row for row in pop_all(tape) if row["kind"] == TOP_SEEN]
    assert [(int(r["local_ts"]), int(r["exchange_ts"])) for r in seen] == 2 * [(NOW + 3 * 10**9, NOW + 3 * 10**9 + 5)]


# Reports.


def test_reports_are_forwarded_unchanged_and_in_order(rig):
    working(rig)
    rig.report(kind=FILL, qty=E8 // 2, fee=77, exchange_ts=5, flags=1)
    rig.report(kind=CANCELED, qty=E8 // 2, flags=reasons.USER_REQUEST)
    rig.step()
    fill, canceled = rig.pop("updates")
    assert (fill["kind"], fill["qty"], fill["local_ts"], fill["exchange_ts"], fill["flags"]) == (
        FILL,
        E8 // 2,
        77,
        5,
        1,
    )
    assert (canceled["kind"], canceled["flags"]) == (CANCELED, reasons.USER_REQUEST)


def test_fill_moves_quantity_from_working_to_position(rig):
    working(rig, qty=3 * E8)
    rig.report(kind=FILL, qty=E8, price=99 * E8, fee=-5)
    rig.step()
    assert (rig.position(), rig.position("working_buy")) == (E8, 2 * E8)
    assert (rig.position("cost"), rig.position("fees")) == (99 * E8, -5)
    assert rig.order(1)["state"] == order_table.PARTIAL
    rig.report(kind=FILL, qty=2 * E8)
    rig.step()
    assert (rig.position(), rig.position("working_buy")) == (3 * E8, 0)
    assert rig.order(1)["state"] == order_table.FILLED


@pytest.mark.parametrize("end", [CANCELED, EXPIRED])
def test_end_of_an_order_releases_what_is_left(rig, end):
    working(rig, side=SELL, qty=3 * E8)
    rig.report(kind=FILL, side=SELL, qty=E8, fee=0)
    rig.report(kind=end, side=SELL, qty=2 * E8)
    rig.step()
    assert (rig.position(), rig.position("working_sell")) == (-E8, 0)


def test_reject_by_the_venue_releases_the_order(rig):
    rig.intend()
    rig.step()
    rig.report(kind=REJECT, flags=reasons.VENUE_BUSY)
    rig.step()
    assert rig.position("working_buy") == 0
    assert rig.order(1)["state"] == order_table.REJECTED


def test_late_fill_is_booked_and_counted(rig):
    working(rig)
    rig.report(kind=CANCELED)
    rig.report(kind=FILL, qty=E8, fee=0)
    rig.step()
    # What else the venue may execute of it counts again.
    left = int(rig.order(1)["qty"] - E8)
    assert (rig.position(), rig.position("working_buy"), rig.count("late_fills")) == (E8, left, 1)
    assert rig.order(1)["state"] == order_table.UNKNOWN
    rig.report(kind=CANCELED)
    rig.step()
    assert rig.position("working_buy") == 0


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_fill_that_takes_the_position_beyond_its_limit_stops_all_new_orders_by_name(rig, side):
    most, sign = int(rig.limits["max_position"][0]), 1 if side == BUY else -1
    rig.report(kind=FILL, id=404, side=side, qty=most, fee=0)
    rig.step()
    assert (rig.count("beyond_limit"), rig.count("tripped")) == (0, 0), "exactly at the limit"
    rig.report(kind=FILL, id=405, side=side, qty=1, fee=0)
    rig.report(kind=FILL, id=406, side=1 - side, qty=5, fee=0)
    rig.step()
    assert rig.position() == sign * (most - 4), "the position follows the venue"
    assert (rig.count("beyond_limit"), rig.count("tripped"), rig.count("trip_cause")) == (1, 1, POSITION_LIMIT)
    assert (rig.count("fault_id"), rig.count("fault_qty")) == (405, 1)
    rig.intend(id=9)
    rig.step()
    assert rig.rejects(reasons.HALTED) == 1


def test_terms_that_nobody_asked_for_do_not_move_what_counts(rig):
    working(rig)
    asked = int(rig.order(1)["qty"])
    rig.report(kind=REPLACED, qty=100 * asked)
    rig.step()
    assert (rig.position("working_buy"), rig.count("illegal"), rig.order(1)["state"]) == (asked, 1, order_table.UNKNOWN)
    rig.report(kind=FILL, qty=asked + 1, fee=0)
    rig.step()
    assert rig.count("overfills") == 1


def test_fill_of_an_unknown_order_is_booked_and_counted(rig):
    rig.report(kind=FILL, id=404, side=SELL, instrument=1, qty=E8, fee=0)
    rig.report(kind=ACK, id=405)
    rig.step()
    assert rig.position(instrument=1) == -E8
    assert rig.count("unknown_reports") == 2


@pytest.mark.parametrize("bad", [{"qty": 0}, {"qty": -E8}, {"price": 0}, {"price": 2**62, "qty": 2**62}])
def test_fill_that_cannot_be_booked_stops_all_new_orders(rig, bad):
    working(rig)
    rig.report(**{"kind": FILL, "fee": 0, **bad})
    rig.step()
    assert rig.position() == 0
    rig.intend(id=2)
    rig.intend(kind=CANCEL)
    rig.step()
    assert rig.rejects(reasons.HALTED) == 1
    assert [r["kind"] for r in rig.pop("orders")] == [CANCEL]


def test_fill_of_an_unregistered_instrument_touches_no_position(rig):
    rig.report(kind=FILL, id=404, instrument=2, fee=0)
    rig.step()
    assert (rig.count("not_booked"), rig.count("tripped")) == (1, 1)
    assert (rig.count("trip_cause"), rig.count("fault_id")) == (UNBOOKABLE_FILL, 404)


def test_illegal_report_is_counted_and_moves_nothing(rig):
    working(rig, qty=2 * E8)
    rig.report(kind=FILL, qty=E8, fee=0)
    rig.report(kind=REJECT)
    rig.step()
    assert rig.count("illegal") == 1
    assert rig.order(1)["state"] == order_table.PARTIAL
    assert rig.position("working_buy") == E8


def test_a_rejected_order_whose_cancel_was_refused_first_holds_no_exposure(rig):
    rig.intend(kind=NEW)
    rig.step()
    rig.intend(kind=CANCEL)
    rig.step()
    rig.report(kind=CANCEL_REJECT, flags=reasons.VENUE_BUSY)
    rig.report(kind=REJECT)
    rig.step()
    assert (rig.count("illegal"), rig.position("working_buy")) == (0, 0)
    assert rig.order(1)["state"] == order_table.REJECTED


def test_refused_cancel_of_an_order_that_just_filled_is_no_alarm(rig):
    working(rig)
    rig.report(kind=FILL, fee=0)
    rig.report(kind=CANCEL_REJECT, flags=reasons.VENUE_UNKNOWN_ORDER)
    rig.step()
    assert (rig.count("illegal"), rig.count("late_fills")) == (0, 0)


# Replace.


def test_replace_counts_the_larger_quantity_until_it_is_answered(rig):
    working(rig, qty=2 * E8)
    rig.intend(kind=REPLACE, qty=5 * E8)
    rig.step()
    assert rig.position("working_buy") == 5 * E8
    rig.report(kind=REPLACED, qty=5 * E8)
    rig.step()
    assert rig.position("working_buy") == 5 * E8
    rig.intend(kind=REPLACE, qty=E8)
    rig.step()
    assert rig.position("working_buy") == 5 * E8, "a smaller quantity frees nothing before the venue says so"
    rig.report(kind=REPLACED, qty=E8)
    rig.step()
    assert rig.position("working_buy") == E8


def test_a_change_of_the_venues_own_does_not_hide_a_replace_that_is_under_way(rig):
    rig.intend(id=1, qty=E8)
    rig.step()
    rig.report(kind=ACK, id=1, qty=E8)
    rig.step()
    rig.intend(id=1, kind=REPLACE, qty=3 * E8)
    rig.step()
    # The venue has taken half away of its own accord; the replace is still on its way there.
    rig.report(kind=REPLACED, id=1, qty=E8 // 2, flags=UNASKED)
    rig.step()
    assert (rig.position("working_buy"), rig.order(1)["qty"]) == (3 * E8, E8 // 2)
    rig.report(kind=REPLACED, id=1, qty=3 * E8)
    rig.report(kind=FILL, id=1, qty=2 * E8, fee=0)
    rig.step()
    assert (rig.position("working_buy"), rig.position("qty")) == (E8, 2 * E8)
    assert (rig.count("overfills"), rig.count("illegal")) == (0, 0)


def test_a_change_of_the_venues_own_counts_until_the_replace_is_refused(rig):
    rig.intend(id=1, qty=E8)
    rig.step()
    rig.report(kind=ACK, id=1, qty=E8)
    rig.step()
    rig.intend(id=1, kind=REPLACE, qty=3 * E8)
    rig.report(kind=REPLACED, id=1, qty=E8 // 2, flags=UNASKED)
    rig.step()
    rig.report(kind=CANCEL_REJECT, id=1, qty=0)
    rig.step()
    assert rig.position("working_buy") == E8 // 2


def test_a_replace_that_the_venue_carries_out_in_part_is_answered(rig):
    working(rig, qty=2 * E8)
    rig.intend(kind=REPLACE, qty=5 * E8)
    rig.step()
    rig.report(kind=REPLACED, qty=3 * E8)
    rig.step()
    assert rig.position("working_buy") == 3 * E8
    assert rig.order(1)["state"] == order_table.WORKING


def test_a_change_of_the_venues_own_does_not_end_a_cancel_that_is_under_way(rig):
    working(rig, qty=2 * E8)
    rig.intend(kind=CANCEL)
    rig.step()
    rig.report(kind=REPLACED, qty=E8, flags=UNASKED)
    rig.step()
    assert (rig.order(1)["state"], rig.position("working_buy")) == (order_table.PENDING_CANCEL, E8)


def test_refused_replace_gives_its_growth_back(rig):
    working(rig, qty=2 * E8)
    rig.intend(kind=REPLACE, qty=5 * E8)
    rig.step()
    rig.report(kind=CANCEL_REJECT)
    rig.step()
    assert rig.position("working_buy") == 2 * E8
    assert rig.order(1)["state"] == order_table.WORKING


def test_cancel_behind_a_replace_does_not_hide_the_larger_quantity(rig):
    working(rig, qty=2 * E8)
    rig.intend(kind=REPLACE, qty=5 * E8)
    rig.intend(kind=CANCEL)
    rig.step()
    assert rig.position("working_buy") == 5 * E8
    rig.report(kind=REPLACED, qty=5 * E8)
    rig.report(kind=CANCELED, qty=5 * E8)
    rig.step()
    assert rig.position("working_buy") == 0


def test_replace_keeps_the_time_in_force_of_its_order(rig):
    working(rig, flags=POST_ONLY, price=100 * E8)
    rig.intend(kind=REPLACE, price=100 * E8 - E8 // 4, flags=0)
    rig.step()
    assert [r["flags"] for r in rig.pop("orders")] == [POST_ONLY]


# Full rings.


def test_full_updates_ring_holds_reports_back_and_loses_none():
    rig = RiskRig(updates=4)
    for id_ in range(1, 9):
        rig.report(kind=FILL, id=id_, fee=0)
    seen = []
    for _ in range(4):
        rig.step()
        seen += [int(r["id"]) for r in rig.pop("updates")]
    assert seen == list(range(1, 9))
    assert rig.count("updates_held") > 0
    assert rig.position("fills") == 8, "each booked once"


def test_full_updates_ring_holds_new_orders_but_lets_cancels_pass():
    rig = RiskRig(updates=2)
    working(rig)
    for _ in range(2):
        rig.report(kind=ACK)
    rig.step()
    rig.intend(kind=CANCEL)
    rig.intend(id=2)
    rig.step()
    assert [r["kind"] for r in rig.pop("orders")] == [CANCEL]
    rig.pop("updates")
    rig.step()
    assert [r["id"] for r in rig.pop("orders")] == [2], "held, not lost"


def test_full_orders_ring_refuses_new_orders_and_holds_cancels():
    rig = RiskRig(orders=2)
    rig.intend(id=1)
    rig.intend(id=2)
    rig.intend(id=3)
    rig.intend(id=1, kind=CANCEL)
    rig.step()
    (answer,) = rig.pop("updates")
    assert (answer["id"], answer["flags"]) == (3, reasons.ORDERS_RING_FULL)
    assert rig.count("orders_held") == 1
    assert rig.position("working_buy") == 2 * E8, "what was not sent counts for nothing"
    assert [r["id"] for r in rig.pop("orders")] == [1, 2]
    rig.step()
    assert [(r["kind"], r["id"]) for r in rig.pop("orders")] == [(CANCEL, 1)]


# Progress.


def consume_market(rig: RiskRig, records: int) -> None:
    for _ in range(records):
        push(rig.rings["market"], make())
    rig.pop("market")


def test_progress_follows_the_strategy_once_its_intents_are_sent_on(rig):
    consume_market(rig, 5)
    rig.intend()
    rig.step()
    assert rig.progress[0] == 5


def test_progress_waits_while_intents_are_unread():
    rig = RiskRig(orders=2)
    working(rig)
    consume_market(rig, 5)
    rig.intend(id=2)
    rig.intend(id=3)
    rig.intend(kind=CANCEL)
    rig.step()
    assert rig.progress[0] == 0, "a cancel is still to be sent on"
    rig.pop("orders")
    rig.step()
    assert rig.progress[0] == 5


def test_progress_waits_when_one_step_cannot_take_all_intents():
    rig = RiskRig()
    consume_market(rig, 3)
    for id_ in range(1, 400):
        rig.intend(id=id_, qty=0)
    rig.step()
    assert rig.progress[0] == 0
    rig.step()
    assert rig.progress[0] == 3


@jit
def strategy_side(intents, market, intent, count):
    """A strategy: the intent of a market record first, then the record is given back."""
    for _ in range(count):
        while not ring_push(intents, intent):
            sched_yield()
        ring_pop(market)


@jit
def risk_side(state, count, max_steps):
    """Steps of risk: (intents taken, how often progress was ahead of the intents taken)."""
    s, ahead = view(state, STATE), 0
    for _ in range(max_steps):
        if s.intents_seen >= count:
            break
        step(state, np.int64(0))
        if load_acquire(view(s.lanes, LANE).progress) > np.uint64(s.intents_seen):
            ahead += 1
        while ring_peek(s.updates) != ZERO:
            ring_pop(s.updates)
    return s.intents_seen, ahead


def test_progress_never_runs_ahead_of_a_strategy_at_work(rig):
    """Both sides at once: a market record is played only when the intent it caused has been judged."""
    count, intent = 400_000, make(qty=0)
    arguments = [address(rig.rings["intents"]), address(rig.rings["market"]), address(intent)]
    strategy_side(*arguments, np.int64(0))
    risk_side(address(rig.state), np.int64(0), np.int64(0))
    other = Thread(target=strategy_side, args=(*arguments, np.int64(count)), daemon=True)
    other.start()
    taken, ahead = risk_side(address(rig.state), np.int64(count), np.int64(2_000_000_000))
    other.join(60)
    assert (taken, ahead) == (count, 0)


def test_unreadable_top_of_book_refuses(rig):
    rig.tops["version"][0] = 1
    rig.intend()
    rig.step()
    assert rig.rejects(reasons.BOOK_INVALID) == 1


def test_position_is_marked_at_the_mid(rig):
    rig.intend()
    rig.step()
    assert rig.position("mark") == 100 * E8


# Property: the limit, judged by what a venue could do.


class Venue:
    """The truth: what the venue holds, and what it may still do."""

    def __init__(self) -> None:
        self.orders: dict[int, dict[str, int]] = {}
        self.position = 0

    def take(self, record) -> list[dict[str, int]]:
        """Carry out a request: its reports."""
        id_, kind = int(record["id"]), int(record["kind"])
        base = {"id": id_, "side": int(record["side"])}
        if kind == NEW:
            self.orders[id_] = {"side": int(record["side"]), "left": int(record["qty"]), "filled": 0}
            return [{"kind": ACK, **base}]
        order = self.orders.get(id_)
        if order is None or (kind == REPLACE and int(record["qty"]) <= order["filled"]):
            return [{"kind": CANCEL_REJECT, **base}]
        if kind == CANCEL:
            del self.orders[id_]
            return [{"kind": CANCELED, **base}]
        order["left"] = int(record["qty"]) - order["filled"]
        return [{"kind": REPLACED, "qty": int(record["qty"]), **base}]

    def fill(self, pick: int, share: int) -> list[dict[str, int]]:
        """Fill part of some order."""
        if not self.orders:
            return []
        id_ = sorted(self.orders)[pick % len(self.orders)]
        order = self.orders[id_]
        qty = max(1, order["left"] * share // 4)
        order["left"], order["filled"] = order["left"] - qty, order["filled"] + qty
        self.position += qty if order["side"] == BUY else -qty
        if order["left"] == 0:
            del self.orders[id_]
        return [{"kind": FILL, "id": id_, "side": order["side"], "qty": qty, "fee": 0}]

    def worst(self) -> tuple[int, int]:
        """Largest long and short position that could follow."""
        buys = sum(o["left"] for o in self.orders.values() if o["side"] == BUY)
        sells = sum(o["left"] for o in self.orders.values() if o["side"] == SELL)
        return self.position + buys, -self.position + sells


ACTIONS = st.one_of(
    st.tuples(st.just("new"), st.sampled_from([BUY, SELL]), st.integers(1, 5)),
    st.tuples(st.just("market"), st.sampled_from([BUY, SELL]), st.integers(1, 5)),
    st.tuples(st.just("replace"), st.integers(0, 30), st.integers(1, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("venue"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("fill"), st.integers(0, 30), st.integers(1, 4)),
    st.tuples(st.just("report"), st.integers(1, 3), st.just(0)),
)


@settings(max_examples=100)
@given(st.lists(ACTIONS, min_size=10, max_size=60))
def test_no_sequence_of_events_lets_the_venue_pass_the_limit(actions):
    rig, venue, limit = RiskRig(), Venue(), 8 * E8
    rig.limits["max_position"][0] = limit
    sides: dict[int, int] = {}
    to_venue: list = []
    to_risk: list[dict[str, int]] = []
    for what, a, b in actions:
        id_ = a % (len(sides) + 1)
        if what in ("new", "market"):
            sides[len(sides) + 1] = a
            typed = {"flags": MARKET, "price": 0} if what == "market" else {}
            rig.intend(id=len(sides), side=a, qty=b * E8, **typed)
        elif what == "replace":
            rig.intend(kind=REPLACE, id=id_, side=sides.get(id_, 0), qty=b * E8)
        elif what == "cancel":
            rig.intend(kind=CANCEL, id=id_)
        elif what == "venue":
            for record in to_venue[:a]:
                to_risk += venue.take(record)
            del to_venue[:a]
        elif what == "fill":
            to_risk += venue.fill(a, b)
        else:
            for report in to_risk[:a]:
                rig.report(**report)
            del to_risk[:a]
        rig.step()
        to_venue += rig.pop("orders")
        assert max(venue.worst()) <= limit
    for record in to_venue:
        to_risk += venue.take(record)
        assert max(venue.worst()) <= limit
    for report in to_risk:
        rig.report(**report)
    rig.step()
    assert rig.position() == venue.position
    assert rig.count("illegal") == rig.count("late_fills") == rig.count("unknown_reports") == rig.count("tripped") == 0
    long, short = rig.position() + rig.position("working_buy"), -rig.position() + rig.position("working_sell")
    assert all(ours >= truth for ours, truth in zip((long, short), venue.worst(), strict=True))


def test_exposure_is_the_sum_over_open_orders(rig):
    rng = np.random.default_rng(1)
    for id_ in range(1, 60):
        rig.intend(id=id_, side=id_ % 2, qty=int(rng.integers(1, 3)) * E8 // 10)
    rig.step()
    for record in rig.pop("orders")[::3]:
        rig.report(kind=FILL, id=int(record["id"]), side=int(record["side"]), qty=E8 // 20, fee=0)
    rig.step()
    assert rig.position("working_buy") > 0
    for side, field in ((BUY, "working_buy"), (SELL, "working_sell")):
        orders = [rig.order(i) for i in range(1, 60)]
        assert rig.position(field) == sum(int(o["qty"] - o["filled"]) for o in orders if o["side"] == side)


# What a fill earned.


def test_a_fill_is_measured_against_the_mid_that_stands_when_it_is_booked(rig):
    working(rig)
    rig.tops["bid"][0], rig.tops["ask"][0] = 101 * E8, 103 * E8
    rig.report(kind=FILL, fee=0)
    rig.step()
    assert rig.position("at_mid") == 102 * E8 and rig.position("mark") == 102 * E8


@pytest.mark.parametrize("change", [{"state": SYNCING}, {"bid": 0}])
def test_without_a_mid_a_fill_is_measured_against_the_last_one(rig, change):
    working(rig)
    for name, value in {"bid": 150 * E8, **change}.items():
        rig.tops[name][0] = value
    rig.report(kind=FILL, fee=0)
    rig.step()
    assert rig.position("at_mid") == 100 * E8


def test_taking_is_told_from_resting_by_the_report(rig):
    working(rig)
    rig.report(kind=FILL, qty=E8 // 2, fee=7, flags=FILL_MAKER)
    rig.report(kind=FILL, qty=E8 // 2, fee=9)
    rig.step()
    assert [rig.position(name) for name in ("fees", "taker_fees", "fills", "taker_fills")] == [16, 9, 2, 1]


def test_the_refusal_of_the_gateways_own_cancel_lets_the_replace_go_on_counting(rig):
    """A person halts one strategy while its order is being replaced to more; the venue refuses the gateway's cancel."""
    rig.limits["max_position"], rig.limits["max_order_notional"] = 10 * E8, 10**6 * E8
    working(rig, qty=E8)
    rig.intend(kind=REPLACE, id=1, qty=9 * E8)
    rig.step()
    assert rig.position("working_buy") == 9 * E8
    rig.report(kind=CANCEL_REJECT, id=1, venue_id=int(OWN_CANCEL))
    rig.step()
    assert rig.position("working_buy") == 9 * E8
    rig.intend(id=2, qty=9 * E8, strategy=2)
    rig.step()
    assert rig.rejects(reasons.MAX_POSITION) == 1
    # The answer to the replace comes too: it is refused, or carried out.
    rig.report(kind=CANCEL_REJECT, id=1)
    rig.step()
    assert rig.position("working_buy") == E8
