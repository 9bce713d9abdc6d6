"""Quotes: what the author wants to stand is brought about, whatever venue and market do meanwhile."""

from pathlib import Path

import pytest
from quote_rig import PRICE, Desk, quoting
from strategy_rig import LOT, TICK

from hftpipe.core.schema.reasons import (
    ILLEGAL_TRANSITION,
    INTENTS_RING_FULL,
    INVALID_VALUE,
    POST_ONLY_WOULD_TAKE,
    RATE_PER_S,
    UNKNOWN_ORDER,
    USER_REQUEST,
    VENUE_ENDED,
    VENUE_UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    GTC,
    IOC,
    MARKET,
    NEW,
    POST_ONLY,
    REDUCE_ONLY,
    REJECT,
    REPLACE,
    REPLACED,
    SELL,
)
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.pacing import pace_row

MS = 1_000_000


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedStrategy:
    return quoting(Path(tmp_path_factory.mktemp("quotes")))


@pytest.fixture
def desk(loaded: LoadedStrategy) -> Desk:
    return Desk(loaded)


def kinds(sent: list) -> list[int]:
    return [int(request["kind"]) for request in sent]


# --- what stands becomes what is wanted ------------------------------------------------------------


def test_a_wish_becomes_one_order_with_all_its_fields(desk):
    (new,) = desk.quote(PRICE, 3 * LOT, side=SELL, flags=POST_ONLY | REDUCE_ONLY)
    assert (new["kind"], new["side"], new["price"], new["qty"]) == (NEW, SELL, PRICE, 3 * LOT)
    assert new["flags"] == POST_ONLY | REDUCE_ONLY
    assert desk.standing() == (PRICE, 3 * LOT, int(new["id"]))


def test_the_same_wish_again_sends_nothing_in_any_state(desk):
    (new,) = desk.quote(PRICE, LOT)
    assert desk.quote(PRICE, LOT) == []
    desk.answer(ACK, new)
    assert desk.quote(PRICE, LOT) == []
    assert desk.answer(FILL, new, qty=LOT // 2) == []
    assert desk.quote(PRICE, LOT) == [], "what was filled is not topped up"


def test_another_price_or_quantity_is_a_replace_and_the_newest_wish_goes_after_it(desk):
    new = desk.live()
    (change,) = desk.quote(PRICE - TICK, 10 * LOT)
    assert (change["kind"], change["id"], change["price"]) == (REPLACE, new["id"], PRICE - TICK)
    assert desk.quote(PRICE - 2 * TICK, 10 * LOT) == [] and desk.quote(PRICE - 3 * TICK, 12 * LOT) == []
    (again,) = desk.answer(REPLACED, change)
    assert (again["kind"], again["price"], again["qty"]) == (REPLACE, PRICE - 3 * TICK, 12 * LOT)
    assert desk.answer(REPLACED, again) == [] and desk.illegal == 0


def test_nothing_is_changed_before_the_order_is_acknowledged(desk):
    (new,) = desk.quote(PRICE, LOT)
    assert desk.quote(PRICE - TICK, LOT) == []
    (change,) = desk.answer(ACK, new)
    assert (change["kind"], change["price"]) == (REPLACE, PRICE - TICK)


def test_quantity_0_withdraws_at_once_whatever_is_under_way(desk):
    (new,) = desk.quote(PRICE, LOT)
    (cancel,) = desk.quote(0, 0)
    assert (cancel["kind"], cancel["id"]) == (CANCEL, new["id"])
    assert desk.answer(ACK, new) == [] and desk.quote(0, 0) == []
    assert desk.answer(CANCELED, cancel, flags=USER_REQUEST) == [] and desk.standing() == (0, 0, 0)
    (new,) = desk.quote(PRICE, LOT)
    desk.answer(ACK, new)
    assert kinds(desk.quote(PRICE - TICK, LOT)) == [REPLACE] and kinds(desk.quote(0, 0)) == [CANCEL]
    assert desk.illegal == 0


@pytest.mark.parametrize("where", [{"side": SELL}, {"flags": GTC}])
def test_another_side_or_other_flags_are_a_cancel_and_a_new_order_after_it(desk, where):
    new = desk.live()
    (cancel,) = desk.quote(PRICE, 10 * LOT, **where)
    assert (cancel["kind"], cancel["id"]) == (CANCEL, new["id"])
    (other,) = desk.answer(CANCELED, cancel, flags=USER_REQUEST)
    assert other["kind"] == NEW and other["id"] != new["id"]
    assert (other["side"], other["flags"]) == (where.get("side", BUY), where.get("flags", POST_ONLY))


def test_slots_and_instruments_are_independent(desk):
    sent = [desk.quote(PRICE, LOT, slot=s, instrument=i)[0] for i in (0, 1) for s in (0, 15)]
    assert len({int(one["id"]) for one in sent}) == 4
    assert [int(one["instrument"]) for one in sent] == [0, 0, 1, 1]
    (cancel,) = desk.quote(0, 0, slot=15, instrument=1)
    assert cancel["id"] == sent[3]["id"]


def test_more_slots_than_one_callback_may_ask_for_are_all_brought_about(desk):
    for instrument in (0, 1):
        for slot in range(16):
            desk.wish(PRICE - slot * TICK, LOT, slot=slot, instrument=instrument)
    sent = desk.wait()
    assert kinds(sent) == [NEW] * 32 and len({int(one["price"]) for one in sent}) == 16
    assert not desk.rig.ctx["refused"].any()


# --- fills and ends --------------------------------------------------------------------------------


def test_a_whole_fill_empties_the_slot_until_it_is_quoted_again(desk):
    new = desk.live()
    assert desk.answer(FILL, new, qty=10 * LOT) == [] and desk.wait(10**10) == []
    assert desk.standing() == (0, 0, 0)
    (again,) = desk.quote(PRICE, 10 * LOT)
    assert again["kind"] == NEW


def test_a_quote_in_on_fill_is_placed_at_once(desk):
    new = desk.live()
    desk.rig.self_record["again"] = 2 * LOT
    (again,) = desk.answer(FILL, new, qty=10 * LOT)
    assert (again["kind"], again["qty"]) == (NEW, 2 * LOT)


def test_what_fills_after_the_wish_counts_towards_it(desk):
    new = desk.live()
    (change,) = desk.quote(PRICE - TICK, 6 * LOT)
    assert change["qty"] == 6 * LOT
    assert desk.answer(FILL, new, qty=LOT) == [] and desk.standing()[1] == 5 * LOT
    assert desk.answer(REPLACED, change) == [], "six in all, one of them filled: five show"
    (more,) = desk.quote(PRICE - TICK, 8 * LOT)
    assert (more["kind"], more["qty"]) == (REPLACE, 9 * LOT), "a replace names the total, the filled one included"


def test_a_quote_that_fills_whole_while_it_is_being_enlarged_is_placed_anew_for_the_rest_at_once(desk):
    """There is nothing left at the venue to enlarge: a quote that waited for that answer might wait for ever."""
    new = desk.live()
    (change,) = desk.quote(PRICE, 14 * LOT)
    (rest,) = desk.answer(FILL, new, qty=10 * LOT)
    assert (rest["kind"], rest["qty"]) == (NEW, 4 * LOT)
    assert desk.answer(CANCEL_REJECT, change, flags=VENUE_UNKNOWN_ORDER) == [] and desk.illegal == 0
    assert desk.standing() == (PRICE, 4 * LOT, int(rest["id"]))


def test_a_cancel_refused_before_the_replace_it_followed_leaves_the_quote_alone_until_that_is_answered(desk):
    new = desk.live()
    (change,) = desk.quote(PRICE - TICK, 6 * LOT)
    (cancel,) = desk.quote(0, 0)
    assert desk.answer(CANCEL_REJECT, cancel, flags=VENUE_UNKNOWN_ORDER) == [] and desk.wait(10**10) == []
    (again,) = desk.answer(REPLACED, change)
    assert (again["kind"], again["id"], desk.illegal) == (CANCEL, new["id"], 0)


def test_a_fill_of_the_other_side_on_its_way_out_leaves_the_wish_alone(desk):
    new = desk.live()
    desk.quote(PRICE, 4 * LOT, side=SELL)
    (other,) = desk.answer(FILL, new, qty=10 * LOT)
    assert (other["kind"], other["side"], other["qty"]) == (NEW, SELL, 4 * LOT)


def test_an_order_that_the_venue_ends_is_placed_again_after_a_pause(desk):
    new = desk.live()
    assert desk.answer(CANCELED, new) == [] and desk.wait(90 * MS) == []
    (again,) = desk.wait(20 * MS)
    assert (again["kind"], again["price"]) == (NEW, PRICE)


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "pause_ms"), [(REJECT, RATE_PER_S, 250), (EXPIRED, POST_ONLY_WOULD_TAKE, 5)]
)
def test_pauses_after_refusals_double_and_a_success_ends_them(desk, kind, reason, pause_ms):
    (new,) = desk.quote(PRICE, LOT)
    for _ in range(4):
        assert desk.answer(kind, new, flags=reason) == []
        desk.wish(PRICE - TICK, LOT)
        assert desk.wait(pause_ms * MS - MS) == [], "not even a new wish is sent earlier"
        (new,) = desk.wait(MS)
        assert new["kind"] == NEW
        pause_ms *= 2
    # A new order that stands for as long as the last pause was a success.
    desk.answer(ACK, new)
    desk.wait(pause_ms * MS)
    (change,) = desk.quote(PRICE, LOT)
    desk.answer(CANCEL_REJECT, change, flags=UNKNOWN_ORDER)
    assert desk.wait(4 * MS) == [] and kinds(desk.wait(MS)) == [REPLACE], "the first pause again"


@pytest.mark.parametrize("kind", [CANCELED, EXPIRED])
def test_a_venue_that_takes_every_order_and_ends_it_at_once_is_asked_more_and_more_seldom(desk, kind):
    (new,) = desk.quote(PRICE, LOT)
    sent = 1
    for _ in range(600):
        desk.answer(ACK, new)
        desk.answer(kind, new, flags=VENUE_ENDED)
        for request in desk.wait(100 * MS):
            new, sent = request, sent + 1
    assert sent <= 14, "a minute: pauses of 0.1, 0.2, 0.4, ... 10 s"


def test_an_order_that_can_never_be_changed_is_cancelled_and_placed_anew(desk):
    """The gateway does not know its fate: what it cannot replace, it can cancel."""
    new = desk.live(side=BUY)
    (change,) = desk.quote(PRICE + TICK, 10 * LOT)
    assert desk.answer(CANCEL_REJECT, change, flags=ILLEGAL_TRANSITION) == [], "once may be a race"
    (change,) = desk.wait(5 * MS)
    (cancel,) = desk.answer(CANCEL_REJECT, change, flags=ILLEGAL_TRANSITION)
    assert (cancel["kind"], cancel["id"]) == (CANCEL, new["id"])
    assert desk.answer(CANCELED, cancel, flags=USER_REQUEST) == []
    (again,) = desk.wait(10 * MS)
    assert (again["kind"], again["price"]) == (NEW, PRICE + TICK)


def test_an_execution_ends_the_pauses(desk):
    (new,) = desk.quote(PRICE, 2 * LOT)
    for _ in range(4):
        desk.answer(ACK, new)
        desk.answer(EXPIRED, new, flags=VENUE_ENDED)
        (new,) = desk.wait(10_000 * MS)
    desk.answer(ACK, new)
    desk.answer(FILL, new, qty=LOT)
    assert desk.answer(EXPIRED, new, flags=VENUE_ENDED) == []
    assert desk.wait(99 * MS) == [] and kinds(desk.wait(MS)) == [NEW], "the first pause again"


def test_a_pause_has_an_end(desk):
    (new,) = desk.quote(PRICE, LOT)
    for _ in range(20):
        desk.answer(REJECT, new, flags=RATE_PER_S)
        (new,) = desk.wait(10_000 * MS)


def test_a_refused_replace_withdraws_a_quote_that_is_too_good_meanwhile(desk):
    new = desk.live(side=BUY)
    (change,) = desk.quote(PRICE - TICK, 10 * LOT)
    (cancel,) = desk.answer(CANCEL_REJECT, change, flags=RATE_PER_S)
    assert (cancel["kind"], cancel["id"]) == (CANCEL, new["id"])
    assert desk.answer(CANCELED, cancel, flags=USER_REQUEST) == []
    (again,) = desk.wait(300 * MS)
    assert (again["kind"], again["price"]) == (NEW, PRICE - TICK)


def test_a_refused_replace_leaves_a_quote_that_is_only_too_far_away(desk):
    desk.live(side=BUY)
    (change,) = desk.quote(PRICE + TICK, 10 * LOT)
    assert desk.answer(CANCEL_REJECT, change, flags=RATE_PER_S) == []
    (again,) = desk.wait(250 * MS)
    assert (again["kind"], again["price"]) == (REPLACE, PRICE + TICK)


def test_a_refused_cancel_is_sent_again(desk):
    new = desk.live()
    (cancel,) = desk.quote(0, 0)
    assert desk.answer(CANCEL_REJECT, cancel, flags=VENUE_UNKNOWN_ORDER) == []
    (again,) = desk.wait(5 * MS)
    assert (again["kind"], again["id"]) == (CANCEL, new["id"])


def test_a_full_ring_costs_a_pause_not_a_quote(loaded):
    desk = Desk(loaded, intents=8)
    for slot in range(16):
        desk.wish(PRICE, LOT, slot=slot)
    desk.rig.timer()
    while desk.rig.step():
        continue
    first = desk.rig.intents()
    assert kinds(first) == [NEW] * 8 and desk.rig.ctx["refused"][INTENTS_RING_FULL] > 0
    assert kinds(desk.wait(10 * MS)) == [NEW] * 8


def test_a_replace_that_the_venue_changes_is_not_insisted_on_at_once(desk):
    desk.live()
    (change,) = desk.quote(PRICE, 4 * LOT)
    assert desk.answer(REPLACED, change, qty=3 * LOT) == []
    (again,) = desk.wait(100 * MS)
    assert (again["kind"], again["qty"]) == (REPLACE, 4 * LOT)


# --- pace ------------------------------------------------------------------------------------------


def paced(loaded, per_s, per_min):
    desk = Desk(loaded)
    for instrument in (0, 1):
        desk.rig.memory["paces"].view(pace_row(1, 1).dtype)[instrument] = pace_row(per_s, per_min)[0]
    return desk


@pytest.mark.parametrize(("per_s", "per_min"), [(1, 1000), (2, 1000), (10, 10_000), (100, 6000), (10, 20)])
def test_wishes_that_change_all_the_time_keep_within_the_limits_of_risk(loaded, per_s, per_min):
    desk, times = paced(loaded, per_s, per_min), []
    for n in range(4000):
        desk.wish(PRICE + (n % 7) * TICK, LOT)
        times += [desk.rig.now for request in desk.grant(desk.wait(5 * MS)) if request["kind"] != CANCEL]
    assert len(times) > 1
    for n, first in enumerate(times):
        assert sum(one < first + 1_024 * MS for one in times[n:]) <= per_s
        assert sum(one < first + 61_300 * MS for one in times[n:]) <= per_min
    assert len(times) >= min(per_s * 20 * 0.7, per_min / 4), "most of what is allowed is used"


def test_slots_take_turns_when_there_is_not_room_for_all(loaded):
    desk, moved, top = paced(loaded, 8, 100_000), [0] * 16, 100 * PRICE
    for n in range(2000):
        for slot in range(16):
            desk.wish(top - slot * TICK - n * 20 * TICK, LOT, slot=slot)
        for request in desk.grant(desk.wait(50 * MS)):
            if request["kind"] != CANCEL:
                moved[(top - int(request["price"])) // TICK % 20] += 1
    assert min(moved) >= 0.9 * max(moved), moved


# --- what is refused, and what ends a wish ---------------------------------------------------------


def test_a_slot_that_does_not_exist_is_refused_and_counted(desk):
    assert desk.odd(1) == [] and list(desk.rig.self_record["said"]) == [0, 0, 0, 0]
    assert desk.rig.ctx["refused"][INVALID_VALUE] == 2


@pytest.mark.parametrize(
    "wish",
    [
        (0, LOT, BUY, POST_ONLY), (-PRICE, LOT, BUY, POST_ONLY), (PRICE, -LOT, BUY, POST_ONLY),
        (PRICE, LOT, 2, POST_ONLY), (PRICE, LOT, -1, POST_ONLY), (PRICE, LOT, BUY, IOC), (PRICE, LOT, BUY, MARKET),
        (PRICE, LOT, BUY, 64), (PRICE, 2**63 - 1, BUY, POST_ONLY),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused_and_withdraws_the_slot(desk, wish):
    price, qty, side, flags = wish
    new = desk.live()
    (cancel,) = desk.quote(price, qty, side=side, flags=flags)
    assert (cancel["kind"], cancel["id"]) == (CANCEL, new["id"])
    assert desk.rig.self_record["taken"][0, 0] == 0 and desk.rig.ctx["refused"][INVALID_VALUE] == 1


def test_no_number_withdraws_the_slot(desk):
    desk.live()
    assert kinds(desk.odd(2)) == [CANCEL] and desk.rig.ctx["refused"][INVALID_VALUE] == 1


def test_a_cancel_by_hand_drops_the_wish_and_a_second_one_is_told_at_once(desk):
    new = desk.live()
    assert kinds(desk.odd(3, new["id"])) == [CANCEL]
    assert desk.odd(3, new["id"]) == [] and desk.rig.self_record["said"][0] == 0
    assert desk.answer(CANCELED, new, flags=USER_REQUEST) == [] and desk.wait(10**10) == []


def test_a_replace_by_hand_of_a_quote_is_refused(desk):
    new = desk.live()
    assert desk.odd(4, new["id"]) == [] and desk.rig.ctx["refused"][ILLEGAL_TRANSITION] == 1


@pytest.mark.parametrize("odd", [5, 6])
def test_cancel_all_and_withdraw_all_drop_every_wish(desk, odd):
    sent = [desk.live(slot=0), desk.live(slot=3, instrument=1)]
    (refused,) = desk.quote(PRICE, LOT, slot=5)
    desk.answer(REJECT, refused, flags=RATE_PER_S)
    assert kinds(desk.odd(odd)) == [CANCEL, CANCEL]
    for new in sent:
        assert desk.answer(CANCELED, new, flags=USER_REQUEST) == []
    assert desk.wait(10**10) == []


def test_one_slot_can_be_withdrawn_by_name(desk):
    desk.live()
    assert kinds(desk.odd(8)) == [CANCEL]


def test_fees_of_the_instrument_are_there(desk):
    desk.rig.instruments["maker_fee"], desk.rig.instruments["taker_fee"] = -5_000, 50_000
    desk.odd(7)
    assert list(desk.rig.self_record["said"][:2]) == [-5_000, 50_000]
