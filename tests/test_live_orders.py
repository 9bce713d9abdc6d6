"""Orders at Binance as compiled code says and hears them: whatever comes first, late, twice or never, each thing is told once."""

import hashlib
import hmac
import time
from collections.abc import Iterator

import pytest
from orders_rig import ONE, SECRET, Desk, forgetful

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED, ORPHAN_FILL, SESSION_LOST, VENUE_FORGOT, WRONG_TERMS
from hftpipe.core.schema.records import (
    ANSWERED_HERE,
    FOK,
    GTC,
    IOC,
    LEFT,
    MARKET,
    NOT_TAKEN,
    POST_ONLY,
    REDUCE_ONLY,
    SELL,
    UNKNOWN_FEE_ASSET,
)
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    ASKED_ABOUT,
    CANCELLED,
    GONE,
    LIVE,
    RESYNC,
    STATE,
    TRADE,
)

ID = 0x0102_0000_65A1_0007
PRICE, QTY = 61_000 * ONE, ONE // 100


@pytest.fixture(params=["usdm", "spot"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(request.param)
    yield made
    made.close()


@pytest.fixture
def usdm() -> Iterator[Desk]:
    made = Desk("usdm")
    yield made
    made.close()


@pytest.fixture
def spot() -> Iterator[Desk]:
    made = Desk("spot")
    yield made
    made.close()


def signed(params: dict[str, object]) -> str:
    text = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def working(desk: Desk, id_: int = ID) -> None:
    """An order that rests, with nothing left to hear of it."""
    assert desk.new(id_) == LEFT
    desk.accept(desk.requests()[0])
    assert desk.poll() == [("ack", id_, PRICE, QTY, GTC)]


# --- what is said ------------------------------------------------------------------------------------------------------------

CASES = [
    ("usdm", GTC, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0"}),
    ("usdm", IOC, {"type": "LIMIT", "timeInForce": "IOC", "price": "61000.0"}),
    ("usdm", FOK, {"type": "LIMIT", "timeInForce": "FOK", "price": "61000.0"}),
    ("usdm", POST_ONLY, {"type": "LIMIT", "timeInForce": "GTX", "price": "61000.0"}),
    ("usdm", MARKET, {"type": "MARKET"}),
    ("usdm", GTC | REDUCE_ONLY, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0", "reduceOnly": "true"}),
    ("spot", GTC, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0"}),
    ("spot", IOC, {"type": "LIMIT", "timeInForce": "IOC", "price": "61000.0"}),
    ("spot", FOK, {"type": "LIMIT", "timeInForce": "FOK", "price": "61000.0"}),
    ("spot", POST_ONLY, {"type": "LIMIT_MAKER", "price": "61000.0"}),
    ("spot", MARKET, {"type": "MARKET"}),
]


@pytest.mark.parametrize(("market", "flags", "own"), CASES)
def test_an_order_is_said_in_the_venues_words_and_signed(market: str, flags: int, own: dict[str, str]) -> None:
    desk = Desk(market)
    assert desk.new(ID, flags=flags, side=SELL, price=0 if flags == MARKET else PRICE) == LEFT
    (request,) = desk.requests()
    params = request["params"]
    common = {
        "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.010", "newClientOrderId": desk.text(ID), "recvWindow": 5000,
        "newOrderRespType": "RESULT", "apiKey": "the-api-key", "timestamp": params["timestamp"],
    }  # fmt: skip
    assert request["method"] == "order.place" and isinstance(params["timestamp"], int)
    assert params == common | own | {"signature": signed(params)}
    desk.close()


def test_a_client_id_is_within_the_venues_rules_and_read_back(desk: Desk) -> None:
    text = desk.text(ID)
    assert text == "cm_t1_000065a1_01020007" and len(text) <= 36
    working(desk)


def test_what_the_venue_cannot_be_told_is_refused_here(spot: Desk) -> None:
    assert spot.new(ID, flags=GTC | REDUCE_ONLY) == ANSWERED_HERE
    assert spot.new(ID + 1, price=PRICE + 1) == ANSWERED_HERE
    assert spot.new(ID + 2, qty=QTY + 1) == ANSWERED_HERE
    assert [one[0::4] for one in spot.poll()] == [("reject", reasons.VENUE_FILTER)] * 3
    assert spot.requests() == []


def test_orders_stop_at_the_share_of_the_venues_window_that_is_ours_and_cancels_do_not() -> None:
    desk = Desk(windows={86_400_000: 10})
    assert [desk.new(ID + at) for at in range(9)] == [LEFT] * 8 + [NOT_TAKEN]
    desk.accept(desk.requests()[0])
    desk.poll()
    assert desk.cancel(ID) == LEFT and desk.counter("limited") == 1
    desk.close()


# --- what is heard -----------------------------------------------------------------------------------------------------------


def test_an_order_is_acknowledged_once_by_answer_or_event_whichever_comes_first(desk: Desk) -> None:
    desk.new(ID)
    request = desk.requests()[0]
    desk.event(ID, "NEW", "NEW")
    assert desk.poll() == [("ack", ID, PRICE, QTY, GTC)]
    desk.accept(request)
    assert desk.poll() == []


def test_a_fill_before_the_answer_is_told_behind_an_acknowledgement(desk: Desk) -> None:
    desk.new(ID)
    request = desk.requests()[0]
    desk.event(
        ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="60999.90", t=77, n="0.00000400", N="BTC", m=False
    )
    fee_asset = 2 << 1
    assert desk.poll() == [
        ("ack", ID, PRICE, QTY, GTC),
        ("fill", ID, 6_099_990_000_000, 400_000, 77, 400, fee_asset),
    ]
    desk.accept(request, status="PARTIALLY_FILLED", executedQty="0.004")
    assert desk.poll() == []


def test_an_execution_told_twice_is_booked_once(desk: Desk) -> None:
    working(desk)
    for _ in range(2):
        desk.event(ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="61000.00", t=77, n="-0.1", N="USDT")
    assert desk.poll() == [("fill", ID, PRICE, 400_000, 77, -10_000_000, 1)]
    assert desk.counter("repeated") == 1


def test_an_order_ends_filled_by_its_executions_alone(desk: Desk) -> None:
    working(desk)
    desk.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=78)
    assert [one[0] for one in desk.poll()] == ["fill"]
    assert desk.state(ID) == "FILLED"


def test_an_end_that_overtakes_its_executions_waits_for_them(desk: Desk) -> None:
    """A cancel is answered on one connection, and what filled before it is told on another."""
    working(desk)
    desk.cancel(ID)
    request = desk.requests()[0]
    assert request["method"] == "order.cancel" and request["params"]["origClientOrderId"] == desk.text(ID)
    result = {"origClientOrderId": desk.text(ID), "clientOrderId": "x", "orderId": 9001, "status": "CANCELED"}
    desk.say({"id": request["id"], "status": 200, "result": result | {"executedQty": "0.004"}})
    assert desk.poll() == [] and desk.state(ID) == "PENDING_CANCEL"
    desk.event(ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="61000.00", t=5)
    assert desk.poll() == [
        ("fill", ID, PRICE, 400_000, 5, 0, 1),
        ("canceled", ID, PRICE, 600_000, reasons.USER_REQUEST),
    ]


def test_executions_that_never_come_are_asked_for(desk: Desk) -> None:
    working(desk)
    desk.event(ID, "CANCELED", "CANCELED", z="0.004", C=desk.text(ID))
    assert desk.poll() == [] and desk.unanswered() == []
    desk.account["answer_ns"] = 1
    assert desk.unanswered() == [ID] and desk.state(ID) == "UNKNOWN"
    (question,) = desk.questions()
    assert (int(question["id"]), int(question["what"])) == (ID, ASK_STATE)


def test_an_order_without_an_answer_is_asked_about_however_often_its_cancel_is_wished(desk: Desk) -> None:
    """A halt cancels again and again; the cancel waits for the order, and must not keep it from being missed."""
    desk.account["answer_ns"] = 60_000_000
    desk.new(ID)
    for _ in range(8):
        time.sleep(0.02)
        desk.cancel(ID)
    assert desk.unanswered() == [ID] and desk.state(ID) == "UNKNOWN"


def test_what_the_venue_ends_by_itself_is_told_with_its_reason(desk: Desk) -> None:
    assert desk.new(ID, flags=IOC) == LEFT
    request = desk.requests()[0]
    desk.event(ID, "EXPIRED", "EXPIRED", f="IOC")
    told = [("ack", ID, PRICE, QTY, IOC), ("expired", ID, PRICE, QTY, reasons.IOC_REMAINDER)]
    assert desk.poll() == told
    desk.accept(request, status="EXPIRED")
    assert desk.poll() == []
    working(desk, ID + 1)
    desk.event(ID + 1, "CANCELED", "CANCELED", C=desk.text(ID + 1), i=9002)
    assert desk.poll() == [("expired", ID + 1, PRICE, QTY, reasons.VENUE_ENDED)]


REFUSALS = [
    ("usdm", -5022, "", reasons.POST_ONLY_WOULD_TAKE),
    ("usdm", -2019, "Margin is insufficient.", reasons.INSUFFICIENT_BALANCE),
    ("usdm", -2022, "ReduceOnly Order is rejected.", reasons.REDUCE_ONLY_REJECT),
    ("usdm", -4164, "notional", reasons.VENUE_FILTER),
    ("usdm", -9876, "nobody has heard of this one", reasons.VENUE_REFUSED),
    ("spot", -2010, "Order would immediately match and take.", reasons.POST_ONLY_WOULD_TAKE),
    ("spot", -2010, "Account has insufficient balance for requested action.", reasons.INSUFFICIENT_BALANCE),
    ("spot", -2010, "Market is closed.", reasons.VENUE_REFUSED),
    ("spot", -2010, "Account may not place or cancel orders.", reasons.VENUE_REFUSED),
    ("spot", -2010, "Order would trigger immediately.", reasons.VENUE_REFUSED),
    ("spot", -1013, "Filter failure: LOT_SIZE", reasons.VENUE_FILTER),
]


@pytest.mark.parametrize(("market", "code", "text", "reason"), REFUSALS)
def test_a_refused_order_is_rejected_with_what_the_code_means(market: str, code: int, text: str, reason: int) -> None:
    desk = Desk(market)
    desk.new(ID)
    desk.refuse(desk.requests()[0], code, text)
    assert desk.poll() == [("reject", ID, PRICE, QTY, reason)] and desk.state(ID) == "REJECTED"
    desk.close()


UNKNOWN = [
    ("usdm", -1007, "Timeout", 408),
    ("usdm", -1000, "Unknown error, please check your request or try again later.", 503),
    ("usdm", -4116, "ClientOrderId is duplicated.", 400),
    ("spot", -2010, "Duplicate order sent.", 400),
    ("spot", 0, "odd", 500),
    # What USD-M means by these words (nothing was done) spot does not.
    ("spot", -1001, "Internal error; unable to process your request. Please try again.", 500),
    ("spot", -1001, "Internal error; unable to process your request. Please try again.", 503),
    ("spot", 0, "Service Unavailable.", 503),
    ("usdm", -1001, "Internal error; unable to process your request. Please try again.", 500),
]


@pytest.mark.parametrize(("market", "code", "text", "status"), UNKNOWN)
def test_an_order_of_which_the_venue_does_not_know_is_unknown_and_asked_about(
    market: str, code: int, text: str, status: int
) -> None:
    desk = Desk(market)
    desk.new(ID)
    desk.refuse(desk.requests()[0], code, text, status)
    assert desk.poll() == [] and desk.unanswered() == [ID]
    assert [int(one["what"]) for one in desk.questions()] == [ASK_STATE]
    desk.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001)
    assert desk.poll() == [("ack", ID, PRICE, QTY, GTC)] and desk.state(ID) == "WORKING"
    desk.close()


def test_an_order_that_the_venue_has_never_had_is_rejected_in_the_end(desk: Desk) -> None:
    desk.new(ID)
    desk.refuse(desk.requests()[0], -1007, status=408)
    desk.poll()
    desk.tell(kind=GONE, id=ID, request=ASKED_ABOUT)
    assert desk.poll() == [("reject", ID, PRICE, QTY, reasons.VENUE_REFUSED)]


def test_an_acknowledged_order_that_the_venue_does_not_know_is_a_fault(desk: Desk) -> None:
    working(desk)
    desk.tell(kind=GONE, id=ID, request=ASKED_ABOUT)
    assert desk.poll() == [("venue_fault", ID, 0, 0, 0, 0, VENUE_FORGOT)]


def test_a_refused_key_is_a_fault_and_the_order_rejected(desk: Desk) -> None:
    desk.new(ID)
    desk.refuse(desk.requests()[0], -2015, "Invalid API-key, IP, or permissions for action.", 401)
    assert [one[0::6] for one in desk.poll()] == [("reject",), ("venue_fault", LOGIN_REFUSED)]


# --- changes -----------------------------------------------------------------------------------------------------------------


def test_a_change_is_told_once_by_answer_or_event(usdm: Desk) -> None:
    working(usdm)
    assert usdm.replace(ID, PRICE - ONE) == LEFT
    request = usdm.requests()[0]
    assert request["method"] == "order.modify"
    assert request["params"]["origClientOrderId"] == usdm.text(ID) and request["params"]["price"] == "60999.0"
    usdm.event(ID, "AMENDMENT", "NEW", p="60999.00")
    assert usdm.poll() == [("replaced", ID, PRICE - ONE, QTY, 0)]
    usdm.accept(request)
    assert usdm.poll() == [] and usdm.state(ID) == "WORKING"


def test_an_execution_on_the_old_terms_is_no_answer_to_a_change(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE)
    usdm.event(ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="61000.00", t=5)
    assert [one[0] for one in usdm.poll()] == ["fill"] and usdm.state(ID) == "PENDING_REPLACE"
    usdm.refuse(usdm.requests()[0], -5027, "No need to modify the order.")
    assert usdm.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_FILTER)] and usdm.state(ID) == "PARTIAL"


def test_a_change_that_was_given_up_and_is_carried_out_all_the_same_is_told(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE, 2 * QTY)
    usdm.refuse(usdm.requests()[0], -1007, status=408)
    usdm.poll()
    usdm.unanswered()
    usdm.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001)
    assert [one[0] for one in usdm.poll()] == ["cancel_reject", "ack"] and usdm.state(ID) == "WORKING"
    usdm.event(ID, "AMENDMENT", "NEW", p="60999.00", q="0.020")
    assert usdm.poll() == [("replaced", ID, PRICE - ONE, 2 * QTY, 0)]


@pytest.mark.parametrize("is_change", [True, False])
def test_what_has_just_left_is_not_refused_by_what_the_venue_said_before_it_got_there(
    usdm: Desk, is_change: bool
) -> None:
    working(usdm)
    if is_change:
        usdm.replace(ID, PRICE - ONE)
    else:
        usdm.cancel(ID)
    usdm.refuse(usdm.requests()[0], -1007, "Timeout", 408)
    begun = [one[0] for one in usdm.poll()]
    assert len(usdm.questions()) == 1
    usdm.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001, soon=True)
    told = begun + [one[0] for one in usdm.poll()]
    assert told == ([] if is_change else ["cancel_reject"]), "a cancel that the venue has answered is not waited for"
    usdm.account["answer_ns"] = 1
    usdm.unanswered()
    usdm.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001)
    assert ("cancel_reject" in [one[0] for one in usdm.poll()]) == is_change and usdm.state(ID) == "WORKING"


def test_a_request_is_late_though_a_question_about_its_order_has_been_out_for_long(usdm: Desk) -> None:
    working(usdm)
    usdm.account["look_ns"] = 0
    usdm._extra(ID)["looked_ns"] = -(10**15)  # type: ignore[index]
    usdm.unanswered()
    assert len(usdm.questions()) == 1, "a look now and then"
    usdm.cancel(ID)
    usdm.account["answer_ns"] = 1
    assert usdm.unanswered() == [ID] and usdm.counter("unanswered") == 1 and usdm.questions() == []
    assert usdm.unanswered() == [] and usdm.counter("unanswered") == 1, "told once"


def test_what_only_reduces_may_be_cut_down_by_the_venue(usdm: Desk) -> None:
    assert usdm.new(ID, flags=GTC | REDUCE_ONLY) == LEFT
    usdm.event(ID, "NEW", "NEW", q="0.004", R=True)
    usdm.poll()
    usdm.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY * 4 // 10, venue_id=9001)
    assert [one for one in usdm.poll() if one[0] == "venue_fault"] == [] and usdm.state(ID) == "WORKING"


def test_a_spot_order_is_replaced_by_one_with_another_text_and_stays_the_same_here(spot: Desk) -> None:
    working(spot)
    assert spot.replace(ID, PRICE - ONE, 2 * QTY) == LEFT
    request = spot.requests()[0]
    params = request["params"]
    assert request["method"] == "order.cancelReplace" and params["cancelReplaceMode"] == "STOP_ON_FAILURE"
    assert (params["cancelOrigClientOrderId"], params["newClientOrderId"]) == (spot.text(ID), spot.text(ID, 1))
    assert params["cancelRestrictions"] == "ONLY_NEW" and params["signature"] == signed(params)
    spot.event(ID, "CANCELED", "CANCELED", c="cancel-of-it", C=spot.text(ID))
    assert spot.poll() == [], "the end of the old one is none of the order's"
    spot.event(ID, "NEW", "NEW", c=spot.text(ID, 1), p="60999.00", q="0.020", i=9002)
    assert spot.poll() == [("replaced", ID, PRICE - ONE, 2 * QTY, 0)]
    spot.say({"id": request["id"], "status": 200, "result": {
        "cancelResult": "SUCCESS", "newOrderResult": "SUCCESS", "cancelResponse": {"status": "CANCELED"},
        "newOrderResponse": {"orderId": 9002, "clientOrderId": spot.text(ID, 1), "status": "NEW", "price": "60999.00",
                             "origQty": "0.020", "executedQty": "0"}}})  # fmt: skip
    assert spot.poll() == [] and spot.state(ID) == "WORKING"
    spot.cancel(ID)
    assert spot.requests()[0]["params"]["origClientOrderId"] == spot.text(ID, 1)


def replacing(spot: Desk) -> dict[str, object]:
    working(spot)
    spot.replace(ID, PRICE - ONE)
    (request,) = spot.requests()
    return request


def test_a_replacement_refused_after_its_cancel_ends_the_order(spot: Desk) -> None:
    request = replacing(spot)
    spot.event(ID, "CANCELED", "CANCELED", c="x", C=spot.text(ID))
    spot.refuse(
        request, -2021, "Order cancel-replace partially failed.", 409, cancelResult="SUCCESS", newOrderResult="FAILURE",
        cancelResponse={"status": "CANCELED", "executedQty": "0.000"}, newOrderResponse={"code": -2010, "msg": "no"},
    )  # fmt: skip
    assert spot.poll() == [("expired", ID, PRICE, QTY, reasons.DEAD_WHEN_REPLACED)]


def test_a_replacement_that_was_there_after_all_and_has_ended_is_not_told_of_an_order_that_has(spot: Desk) -> None:
    request = replacing(spot)
    spot.event(ID, "CANCELED", "CANCELED", c="x", C=spot.text(ID))
    spot.refuse(
        request, -2021, "Order cancel-replace partially failed.", 409, cancelResult="SUCCESS", newOrderResult="FAILURE",
        cancelResponse={"status": "CANCELED", "executedQty": "0.000"}, newOrderResponse={"code": -2010, "msg": "no"},
    )  # fmt: skip
    assert [one[0] for one in spot.poll()] == ["expired"]
    spot.event(ID, "EXPIRED", "EXPIRED", c=spot.text(ID, 1), p="60999.00", i=9002)
    assert spot.poll() == [] and spot.state(ID) == "EXPIRED"


def test_a_change_that_is_heard_of_after_the_end_is_not_told(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE, 2 * QTY)
    usdm.event(ID, "CANCELED", "CANCELED")
    assert [one[0] for one in usdm.poll()] == ["expired"]
    usdm.event(ID, "CANCELED", "CANCELED", p="60999.00", q="0.020", T=1790000000009)
    assert usdm.poll() == [] and usdm.state(ID) == "EXPIRED"


def test_a_replacement_not_attempted_leaves_the_order_as_it_is(spot: Desk) -> None:
    request = replacing(spot)
    spot.refuse(
        request, -2022, "Order cancel-replace failed.", 400, cancelResult="FAILURE", newOrderResult="NOT_ATTEMPTED",
        cancelResponse={"code": -2011, "msg": "Unknown order sent."}, newOrderResponse=None,
    )  # fmt: skip
    assert spot.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_UNKNOWN_ORDER)] and spot.state(ID) == "WORKING"
    spot.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=8)
    assert [one[0] for one in spot.poll()] == ["fill"] and spot.state(ID) == "FILLED"


def test_a_spot_order_that_has_filled_in_part_is_not_replaced(spot: Desk) -> None:
    """A replacement has all of the new quantity: what has filled of the old one would come on top."""
    working(spot)
    spot.event(ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="61000.00", t=5)
    spot.poll()
    assert spot.replace(ID, PRICE - ONE) == ANSWERED_HERE
    assert spot.poll() == [("cancel_reject", ID, 0, 0, reasons.AMEND_BELOW_FILLED)] and spot.requests() == []


def test_a_change_that_crosses_with_the_execution_is_refused_and_nothing_is_in_doubt(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE)
    usdm.refuse(usdm.requests()[0], -2013, "Order does not exist.")
    assert usdm.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_UNKNOWN_ORDER)]
    assert usdm.unanswered() == [] and [int(one["what"]) for one in usdm.questions()] == [ASK_STATE]
    usdm.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=8)
    assert [one[0] for one in usdm.poll()] == ["fill"] and usdm.state(ID) == "FILLED"


# --- cancels -----------------------------------------------------------------------------------------------------------------


def test_a_cancel_waits_for_the_order_to_be_known_there(desk: Desk) -> None:
    desk.new(ID)
    request = desk.requests()[0]
    assert desk.cancel(ID) == LEFT and desk.requests() == []
    desk.accept(request)
    assert [one[0] for one in desk.poll()] == ["ack"]
    assert [one["method"] for one in desk.requests()] == ["order.cancel"]


def test_a_refused_cancel_is_told_and_the_order_asked_about(desk: Desk) -> None:
    working(desk)
    desk.cancel(ID)
    desk.refuse(desk.requests()[0], -2011, "Unknown order sent.")
    assert desk.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_UNKNOWN_ORDER)]
    assert [int(one["what"]) for one in desk.questions()] == [ASK_STATE]


def test_without_a_connection_orders_are_not_taken_and_cancels_go_over_rest(desk: Desk) -> None:
    working(desk)
    desk.theirs[0].close()
    desk.poll()
    assert desk.new(ID + 1) == NOT_TAKEN and desk.cancel(ID) == LEFT
    (question,) = desk.questions()
    assert (int(question["id"]), int(question["what"]), int(question["venue_id"])) == (ID, ASK_CANCEL, 9001)


def test_after_an_outage_every_open_order_is_asked_about(desk: Desk) -> None:
    working(desk)
    working(desk, ID + 1)
    desk.tell(kind=RESYNC)
    desk.poll()
    assert sorted(int(one["id"]) for one in desk.questions()) == [ID, ID + 1]


# --- other people's orders, and trouble --------------------------------------------------------------------------------------


def test_events_of_other_peoples_orders_are_counted_and_not_believed_to_be_ours(desk: Desk) -> None:
    for text in ("web_123", "cm_t2_000065a1_01020007", "cm_t1_000065a1_0102000Z", "cm_t1_", ""):
        desk.event(ID, "TRADE", "FILLED", c=text, l="0.010", z="0.010", L="1.00", t=5)
    assert desk.poll() == [] and desk.counter("external_fills") == 5


def test_an_execution_under_an_id_of_ours_that_we_do_not_know_is_a_fault(desk: Desk) -> None:
    desk.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5)
    assert desk.poll() == [("venue_fault", ID, 0, 0, 0, 0, ORPHAN_FILL)]


@pytest.mark.parametrize("field", ["l", "L", "t", "z", "X", "i", "q", "T"])
def test_an_event_that_cannot_be_read_books_nothing_and_is_asked_about(desk: Desk, field: str) -> None:
    working(desk)
    fields = {"l": "0.004", "z": "0.004", "L": "61000.00", "t": 5, "X": "PARTIALLY_FILLED"} | {field: "odd"}
    desk.event(ID, "TRADE", state=str(fields.pop("X")), **fields)
    assert desk.poll() == [] and desk.counter("unread") == 1
    assert desk.unanswered() == [ID] and [int(one["id"]) for one in desk.questions()] == [ID]


def test_a_session_that_stays_away_is_a_fault_once(desk: Desk) -> None:
    desk.poll()
    desk.account["session"], desk.account["login_ns"] = 0, 50_000_000
    found = []
    for _ in range(100):
        time.sleep(0.002)
        found += desk.poll()
    assert [one[6] for one in found] == [SESSION_LOST]


# --- what an attack has found -----------------------------------------------------------------------------------------------


def asked_about(desk: Desk) -> int:
    """An order that a question is out about; the number that its answer will bear."""
    working(desk)
    desk.tell(kind=RESYNC)
    desk.poll()
    return int(desk.questions()[0]["number"])


def test_an_answer_from_before_a_change_is_no_refusal_of_it(usdm: Desk) -> None:
    number = asked_about(usdm)
    assert usdm.replace(ID, PRICE - ONE, 10 * QTY) == LEFT
    usdm.tell(
        kind=STATE, id=ID, request=ASKED_ABOUT, number=number, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001
    )
    assert usdm.poll() == [] and usdm.state(ID) == "PENDING_REPLACE"
    usdm.event(ID, "AMENDMENT", "NEW", p="60999.00", q="0.100")
    assert usdm.poll() == [("replaced", ID, PRICE - ONE, 10 * QTY, 0)]


def test_an_answer_from_before_a_replacement_ends_nothing(spot: Desk) -> None:
    number = asked_about(spot)
    assert spot.replace(ID, PRICE - ONE) == LEFT
    spot.tell(kind=STATE, id=ID, request=ASKED_ABOUT, number=number, state=CANCELLED, cum=0, price=PRICE, qty=QTY)
    assert spot.poll() == [] and spot.state(ID) == "PENDING_REPLACE"
    spot.event(ID, "NEW", "NEW", c=spot.text(ID, 1), p="60999.00", i=9002)
    assert spot.poll() == [("replaced", ID, PRICE - ONE, QTY, 0)] and spot.cancel(ID) == LEFT


def test_an_order_that_was_never_found_and_was_asked_something_since_is_not_given_up(desk: Desk) -> None:
    number = asked_about(desk)
    desk.cancel(ID)
    desk.tell(kind=GONE, id=ID, request=ASKED_ABOUT, number=number)
    assert desk.poll() == [] and desk.state(ID) == "PENDING_CANCEL"


def test_a_late_refusal_is_not_that_of_a_later_change(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE)
    first = usdm.requests()[0]
    usdm.event(ID, "AMENDMENT", "NEW", p="60999.00")
    usdm.poll()
    usdm.replace(ID, PRICE - 2 * ONE, 10 * QTY)
    second = usdm.requests()[0]
    usdm.refuse(first, -5027, "No need to modify the order.")
    assert usdm.poll() == [] and usdm.state(ID) == "PENDING_REPLACE"
    usdm.accept(second)
    assert usdm.poll() == [("replaced", ID, PRICE - 2 * ONE, 10 * QTY, 0)]


def test_an_event_of_the_past_does_not_prove_a_change_back(usdm: Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE, 10 * QTY)
    usdm.event(ID, "AMENDMENT", "NEW", q="0.100", T=1790000000500)
    usdm.poll()
    usdm.requests()
    usdm.replace(ID, PRICE, QTY)
    usdm.event(ID, "NEW", "NEW", T=1790000000001)
    assert usdm.poll() == [] and usdm.state(ID) == "PENDING_REPLACE"
    usdm.refuse(usdm.requests()[0], -5027, "no")
    assert usdm.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_FILTER)]


@pytest.mark.parametrize("code", [-1015, -1003])
def test_too_many_orders_hold_new_ones_back_to_the_end_of_the_window(code: int) -> None:
    desk = Desk(windows={10_000: 300})
    desk.poll()
    assert desk.new(ID) == LEFT
    desk.refuse(desk.requests()[0], code, "Too many new orders.", 429)
    assert [one[0] for one in desk.poll()] == ["reject"] and desk.new(ID + 1) == NOT_TAKEN
    now_ms = (time.monotonic_ns() + int(desk.account["wall_offset_ns"][0])) // 1_000_000
    assert now_ms < int(desk.account["paused_ms"][0]) <= now_ms + 10_000
    desk.close()


def test_a_replacement_whose_fate_is_unknown_after_its_cancel_is_asked_about(spot: Desk) -> None:
    request = replacing(spot)
    spot.refuse(
        request, -2021, "Order cancel-replace partially failed.", 409, cancelResult="SUCCESS", newOrderResult="FAILURE",
        cancelResponse={"status": "CANCELED", "executedQty": "0.000"}, newOrderResponse={"code": -1007, "msg": "Timeout"},
    )  # fmt: skip
    assert spot.poll() == [] and spot.unanswered() == [ID] and len(spot.questions()) == 1


def test_a_text_of_an_order_is_never_used_twice(spot: Desk) -> None:
    working(spot)
    for revision in range(1, 256):
        price = PRICE - revision * ONE
        assert spot.replace(ID, price) == LEFT
        spot.requests()
        spot.event(ID, "NEW", "NEW", c=spot.text(ID, revision), p=str(price // ONE), i=9001 + revision)
        assert [one[0] for one in spot.poll()] == ["replaced"]
    assert spot.replace(ID, PRICE) == ANSWERED_HERE
    assert spot.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_NUMBERS_USED_UP)]


def test_a_replacement_that_lives_on_after_the_end_is_cancelled_and_a_fault(spot: Desk) -> None:
    replacing(spot)
    spot.event(ID, "CANCELED", "CANCELED", c="x", C=spot.text(ID))
    spot.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=CANCELLED, cum=0, price=PRICE, qty=QTY)
    assert [one[0] for one in spot.poll()] == ["expired"]
    spot.questions()
    spot.event(ID, "NEW", "NEW", c=spot.text(ID, 1), p="60999.00", i=9002)
    assert [one[0::6] for one in spot.poll()] == [("venue_fault", WRONG_TERMS)]
    (question,) = spot.questions()
    assert (int(question["what"]), int(question["revision"])) == (ASK_CANCEL, 1)


def test_an_order_that_lives_after_its_rejection_is_a_fault_and_cancelled(desk: Desk) -> None:
    desk.new(ID)
    desk.refuse(desk.requests()[0], -1007, status=408)
    desk.poll()
    desk.unanswered()
    desk.tell(id=ID, kind=GONE, request=ASKED_ABOUT)
    assert [one[0] for one in desk.poll()] == ["reject"]
    desk.questions()
    desk.event(ID, "NEW", "NEW")
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", WRONG_TERMS)] and desk.state(ID) == "UNKNOWN"
    assert [int(one["what"]) for one in desk.questions()] == [ASK_CANCEL]
    is_cancelled(desk)
    assert desk.poll() == [] and desk.state(ID) == "CANCELED"


def test_executions_that_were_all_told_are_not_told_again_however_old(desk: Desk) -> None:
    working(desk)
    desk.event(ID, "TRADE", "PARTIALLY_FILLED", l="0.004", z="0.004", L="61000.00", t=5)
    desk.poll()
    desk.tell(
        kind=TRADE, id=ID, request=ASKED_ABOUT, state=LIVE, trade_id=4, last_price=PRICE, last_qty=400_000, cum=400_000
    )
    assert desk.poll() == [] and desk.counter("repeated") == 1


def test_a_liquidation_is_an_execution_of_others_and_ends_trading_where_the_run_trades(usdm: Desk) -> None:
    for symbol, told in (("ADAUSDT", []), ("BTCUSDT", [ORPHAN_FILL])):
        usdm.event(ID, "CALCULATED", "FILLED", s=symbol, c="autoclose-1", l="0.010", z="0.010", L="61000.00", t=5)
        assert [one[6] for one in usdm.poll()] == told
    assert usdm.counter("external_fills") == 1


def test_a_key_of_a_digit_is_not_taken_for_one_of_a_letter(usdm: Desk) -> None:
    """Their low bits are the same: 0 is p, 1 is q, 8 is x."""
    working(usdm)
    digits = {str(digit): "odd" for digit in range(10)}
    usdm.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5, **digits)
    assert [one[0] for one in usdm.poll()] == ["fill"] and usdm.counter("unread") == 0


def test_executions_of_others_count_in_what_the_run_trades_alone(desk: Desk) -> None:
    for symbol in ("ADAUSDT", "BTCUSDT2", "BTC", "ETHUSDT"):
        desk.event(ID, "TRADE", "FILLED", c="web_1", s=symbol, l="0.010", z="0.010", L="1.00", t=5)
    assert desk.poll() == [] and (desk.counter("external"), desk.counter("external_fills")) == (4, 1)


@pytest.mark.parametrize("symbol", ["ETHUSDT", "BTCUSDT_260327", "", None, 7])
def test_what_is_told_of_our_order_in_another_instrument_is_not_booked_and_asked_about(
    desk: Desk, symbol: object
) -> None:
    working(desk)
    desk.event(ID, "TRADE", "FILLED", s=symbol, l="0.010", z="0.010", L="61000.00", t=5)
    assert desk.poll() == [] and desk.counter("wrong_symbols") == 1
    assert desk.unanswered() == [ID] and [int(one["what"]) for one in desk.questions()] == [ASK_STATE]
    desk.tell(kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001)
    assert desk.poll() == [("ack", ID, PRICE, QTY, GTC)] and desk.state(ID) == "WORKING"


def test_an_answer_about_another_instrument_is_not_believed(usdm: Desk) -> None:
    usdm.new(ID)
    usdm.accept(usdm.requests()[0], symbol="ETHUSDT")
    assert usdm.poll() == [] and usdm.unanswered() == [ID]


FEES = [
    ("0.12202000", 12_202_000), ("0.000000001", 1), ("0.123456780000", 12_345_678), ("0.123456781", 12_345_679),
    ("-0.000000019", -1), ("-0.000000009", 0), ("-0.25", -25_000_000), ("0", 0), ("92233720368.54775807", 2**63 - 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fee"), FEES)
def test_a_fee_is_exact_to_1e_8_and_more_decimals_are_rounded_up(desk: Desk, text: str, fee: int) -> None:
    working(desk)
    desk.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5, n=text, N="USDT")
    assert desk.poll() == [("fill", ID, PRICE, QTY, 5, fee, 1)]
    assert desk.counter("unread_fees") == desk.counter("unknown_fees") == 0


@pytest.mark.parametrize("text", ["odd", "", None, "1e-9", "92233720368.547758071"])
def test_an_unreadable_fee_is_counted_and_its_execution_says_so(desk: Desk, text: object) -> None:
    working(desk)
    desk.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5, n=text, N="USDT")
    assert desk.poll() == [("fill", ID, PRICE, QTY, 5, 0, 1 | UNKNOWN_FEE_ASSET << 1)]
    assert desk.counter("unread_fees") == 1


@pytest.mark.parametrize("asset", ["XYZ", None])
def test_a_fee_in_an_asset_that_nobody_knows_is_counted_and_its_execution_says_so(desk: Desk, asset: object) -> None:
    working(desk)
    desk.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5, n="0.5", N=asset)
    assert desk.poll() == [("fill", ID, PRICE, QTY, 5, 50_000_000, 1 | UNKNOWN_FEE_ASSET << 1)]
    assert desk.counter("unknown_fees") == 1


# --- a cancel whose fate was not told ----------------------------------------------------------------------------------------


def rests(desk: Desk, number: int) -> None:
    """REST says of the order that it rests, to the question of a number."""
    desk.tell(
        kind=STATE, id=ID, request=ASKED_ABOUT, number=number, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001
    )


def is_cancelled(desk: Desk) -> None:
    """The venue says that it is cancelled."""
    desk.tell(kind=STATE, id=ID, state=CANCELLED, cum=0, price=PRICE, qty=QTY, venue_id=9001)


def test_an_answer_from_before_a_cancel_over_rest_is_no_refusal_of_it(desk: Desk) -> None:
    number = asked_about(desk)
    desk.theirs[0].close()
    desk.poll()
    assert desk.cancel(ID) == LEFT and [int(one["what"]) for one in desk.questions()] == [ASK_CANCEL]
    rests(desk, number)
    assert desk.poll() == [] and desk.state(ID) == "PENDING_CANCEL"
    is_cancelled(desk)
    assert desk.poll() == [("canceled", ID, PRICE, QTY, reasons.USER_REQUEST)]


def test_a_cancel_that_an_old_answer_refuses_and_that_is_carried_out_is_ours(desk: Desk) -> None:
    """REST may answer from before a cancel that was sent before the question."""
    working(desk)
    desk.cancel(ID)
    rests(desk, desk.last_number(ID))
    assert desk.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_BUSY)] and desk.state(ID) == "WORKING"
    is_cancelled(desk)
    assert desk.poll() == [("canceled", ID, PRICE, QTY, reasons.USER_REQUEST)]


@pytest.mark.parametrize(("code", "status"), [(-1007, 408), (-2011, 400)])
def test_a_cancel_that_may_have_been_carried_out_all_the_same_is_ours(desk: Desk, code: int, status: int) -> None:
    working(desk)
    desk.cancel(ID)
    desk.refuse(desk.requests()[0], code, "no", status)
    assert [one[0] for one in desk.poll()] == ["cancel_reject"]
    is_cancelled(desk)
    assert desk.poll() == [("canceled", ID, PRICE, QTY, reasons.USER_REQUEST)]


def test_an_end_after_a_cancel_that_was_refused_for_good_is_the_venues(desk: Desk) -> None:
    working(desk)
    desk.cancel(ID)
    desk.refuse(desk.requests()[0], -1021, "Timestamp for this request is outside of the recvWindow.")
    assert [one[0] for one in desk.poll()] == ["cancel_reject"]
    is_cancelled(desk)
    assert desk.poll() == [("expired", ID, PRICE, QTY, reasons.VENUE_ENDED)]


# --- executions that are too old to be remembered ----------------------------------------------------------------------------

OTHER, LIMIT = ID + 1, 8192


def many_executions(desk: Desk, count: int) -> None:
    """So many executions of another order."""
    assert desk.new(OTHER, qty=100 * ONE) == LEFT
    desk.accept(desk.requests()[0], order_id=9002)
    for number in range(1, count + 1):
        desk.event(
            OTHER, "TRADE", "PARTIALLY_FILLED", i=9002, q="100.000", l="0.001", z=f"{number / 1000:.3f}", L="61000.00",
            t=1000 + number,
        )  # fmt: skip
        if number % 20 == 0 or number == count:
            desk.poll()


def test_an_execution_told_again_after_more_than_are_remembered_is_not_booked_twice(usdm: Desk) -> None:
    forgetful(usdm, LIMIT)
    working(usdm)
    first = {"l": "0.004", "z": "0.004", "L": "61000.00"}
    usdm.event(ID, "TRADE", "PARTIALLY_FILLED", t=5, **first)
    assert [one[0] for one in usdm.poll()] == ["fill"]
    many_executions(usdm, LIMIT + 8)
    usdm.event(ID, "TRADE", "PARTIALLY_FILLED", t=5, **first)
    assert usdm.poll() == [] and usdm.counter("repeated") == 1
    usdm.event(ID, "TRADE", "FILLED", t=99_999, l="0.006", z="0.010", L="61000.00")
    assert usdm.poll() == [("fill", ID, PRICE, 600_000, 99_999, 0, 1)] and usdm.state(ID) == "FILLED"
    usdm.event(ID, "TRADE", "PARTIALLY_FILLED", t=5, **first)
    assert usdm.poll() == [] and usdm.state(ID) == "FILLED"


def test_an_execution_told_again_when_its_order_is_forgotten_is_no_fault(usdm: Desk) -> None:
    for at in range(300):
        assert usdm.new(ID + at) == LEFT
        usdm.requests()
        usdm.event(ID + at, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5 + at)
        usdm.poll()
    assert usdm.state(ID) == "GONE"
    usdm.event(ID, "TRADE", "FILLED", l="0.010", z="0.010", L="61000.00", t=5)
    assert usdm.poll() == [] and usdm.counter("repeated") == 1


# --- a standstill ------------------------------------------------------------------------------------------------------------


def test_a_standstill_of_ours_is_no_absence_of_the_venue(desk: Desk) -> None:
    """Whoever did not look for long does not know for how long there was no session."""
    desk.poll()
    desk.account["session"], desk.account["login_ns"] = 0, 300_000_000
    assert desk.poll() == []
    time.sleep(0.4)
    assert desk.poll() == [] and desk.counter("outages") == 1
    found, until = list[object](), time.monotonic() + 5
    while not found and time.monotonic() < until:
        time.sleep(0.002)
        found = [one[6] for one in desk.poll()]
    assert found == [SESSION_LOST]
