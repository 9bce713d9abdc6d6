"""Orders at Bybit as compiled code says and hears them: answers are receipts, topics are lists, and each thing is told once."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from bybit_orders_rig import ID, Desk
from orders_rig import ONE, Account, forgetful
from websocket_server import frame

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED, ORPHAN_FILL, WRONG_TERMS
from hftpipe.core.schema.records import (
    ANSWERED_HERE,
    BUY,
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
from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    ASKED_ABOUT,
    CANCEL_ASKED,
    CANCELLED,
    GONE,
    LIVE,
    RESYNC,
    STATE,
    TRADE,
    UNSAID,
)
from hftpipe.venues.orders.looks import n_open
from hftpipe.venues.orders.state import EXTRA, MOST_CANCELS, ORDERS

PRICE, QTY = 61_000 * ONE, ONE // 100


@pytest.fixture(params=["linear", "spot"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(request.param)
    yield made
    made.close()


def working(desk: Desk, id_: int = ID, **other: int) -> None:
    assert desk.new(id_, **other) == LEFT
    desk.answer(desk.requests()[0])
    desk.tell("order", desk.order(id_, qty=str(Decimal(other.get("qty", QTY)) / ONE)))
    assert [one[0] for one in desk.poll()] == ["ack"]


def number_of(number: int) -> int:
    return trade_id_of(f"7e2ae69c-0000-5800-a352-{number:012x}")


CASES = [
    ("linear", GTC, {"orderType": "Limit", "price": "61000.0", "timeInForce": "GTC"}),
    ("linear", IOC, {"orderType": "Limit", "price": "61000.0", "timeInForce": "IOC"}),
    ("linear", FOK, {"orderType": "Limit", "price": "61000.0", "timeInForce": "FOK"}),
    ("linear", POST_ONLY, {"orderType": "Limit", "price": "61000.0", "timeInForce": "PostOnly"}),
    ("linear", MARKET, {"orderType": "Market"}),
    ("linear", GTC | REDUCE_ONLY, {"orderType": "Limit", "price": "61000.0", "timeInForce": "GTC", "reduceOnly": True}),
    ("spot", MARKET, {"orderType": "Market", "marketUnit": "baseCoin"}),
    ("spot", GTC, {"orderType": "Limit", "price": "61000.0", "timeInForce": "GTC"}),
]


@pytest.mark.parametrize(("category", "flags", "own"), CASES)
def test_an_order_is_said_in_the_venues_words(category: str, flags: int, own: dict[str, Any]) -> None:
    desk = Desk(category)
    assert desk.new(ID, flags=flags, side=SELL, price=0 if flags == MARKET else PRICE) == LEFT
    (request,) = desk.requests()
    common = {"category": category, "symbol": "BTCUSDT", "side": "Sell", "qty": "0.010", "orderLinkId": desk.text(ID)}
    assert request["op"] == "order.create" and request["args"] == [common | own]
    header = request["header"]
    assert (
        header["X-BAPI-RECV-WINDOW"] == "5000" and header["X-BAPI-TIMESTAMP"].isdigit() and len(request["reqId"]) <= 36
    )
    desk.close()


def test_no_request_has_an_id_that_another_had(desk: Desk) -> None:
    working(desk)
    desk.replace(ID, PRICE - ONE)
    desk.tell("order", desk.order(price="60999"))
    desk.poll()
    desk.replace(ID, PRICE - 2 * ONE)
    ids = [one["reqId"] for one in desk.requests()]
    assert len(ids) == len(set(ids)) == 2 and all(len(one) <= 36 and one.isalnum() for one in ids)


def test_a_reduce_only_order_cannot_be_said_on_spot() -> None:
    desk = Desk("spot")
    assert desk.new(ID, flags=GTC | REDUCE_ONLY) == ANSWERED_HERE
    desk.close()


def test_a_receipt_acknowledges_nothing_and_the_topic_does(desk: Desk) -> None:
    assert desk.new(ID) == LEFT
    desk.answer(desk.requests()[0])
    assert desk.poll() == [] and desk.state(ID) == "PENDING_NEW"
    desk.tell("order", desk.order())
    assert desk.poll() == [("ack", ID, PRICE, QTY, GTC)] and desk.state(ID) == "WORKING"


def test_executions_before_the_order_are_told_behind_an_acknowledgement(desk: Desk) -> None:
    desk.new(ID)
    desk.tell("execution", desk.execution("0.004", 1), desk.execution("0.002", 2))
    desk.tell("order", desk.order(status="PartiallyFilled", cumExecQty="0.006"))
    assert desk.poll() == [
        ("ack", ID, PRICE, QTY, GTC),
        ("fill", ID, PRICE, 400_000, number_of(1), 4_880_000, 1),
        ("fill", ID, PRICE, 200_000, number_of(2), 4_880_000, 1),
    ]


def test_every_item_of_a_topic_is_read_whichever_are_ours(desk: Desk) -> None:
    for at in range(40):
        assert desk.new(ID + at) == LEFT
    others = [desk.order(0, orderLinkId="somebody"), desk.order(0, orderLinkId="")]
    desk.tell("order", *others, *(one for at in range(40) for one in (desk.order(ID + at), others[0])))
    assert [one[1] for one in desk.poll()] == [ID + at for at in range(40)]
    assert desk.counter("external") == 42


def test_an_end_that_overtakes_its_executions_waits_for_them(desk: Desk) -> None:
    working(desk)
    assert desk.cancel(ID) == LEFT
    request = desk.requests()[0]
    assert request["op"] == "order.cancel" and request["args"][0]["orderLinkId"] == desk.text(ID)
    desk.answer(request)
    desk.tell("order", desk.order(status="Cancelled", cumExecQty="0.004", cancelType="CancelByUser"))
    assert desk.poll() == []
    desk.tell("execution", desk.execution("0.004", 1), desk.execution("0.004", 1))
    assert desk.poll() == [
        ("fill", ID, PRICE, 400_000, number_of(1), 4_880_000, 1),
        ("canceled", ID, PRICE, 600_000, reasons.USER_REQUEST),
    ]


ENDS = [
    (POST_ONLY, {"rejectReason": "EC_PostOnlyWillTakeLiquidity"}, ("reject", reasons.POST_ONLY_WOULD_TAKE)),
    (IOC, {"rejectReason": "EC_NoImmediateQtyToFill"}, ("expired", reasons.IOC_REMAINDER)),
    (FOK, {"rejectReason": "EC_CancelForNoFullFill"}, ("expired", reasons.FOK_UNFILLABLE)),
    (GTC, {"cancelType": "CancelBySmp"}, ("expired", reasons.SELF_TRADE)),
    (GTC, {"cancelType": "CancelByAdmin"}, ("expired", reasons.VENUE_ENDED)),
]


@pytest.mark.parametrize(("flags", "why", "told"), ENDS)
def test_an_order_that_the_venue_ends_is_told_why(
    desk: Desk, flags: int, why: dict[str, str], told: tuple[str, int]
) -> None:
    desk.new(ID, flags=flags)
    desk.tell("order", desk.order(status="Cancelled", **why))
    assert [(one[0], one[4]) for one in desk.poll() if one[0] != "ack"] == [told]


def test_a_change_is_told_when_the_topic_shows_its_terms(desk: Desk) -> None:
    working(desk)
    assert desk.replace(ID, PRICE - ONE, 2 * QTY) == LEFT
    request = desk.requests()[0]
    assert request["op"] == "order.amend"
    assert request["args"][0] | {"category": 0} == {
        "category": 0, "symbol": "BTCUSDT", "orderLinkId": desk.text(ID), "qty": "0.020", "price": "60999.0",
    }  # fmt: skip
    desk.answer(request)
    desk.tell("order", desk.order(cumExecQty="0"))
    assert desk.poll() == [] and desk.state(ID) == "PENDING_REPLACE"
    desk.tell("order", desk.order(price="60999", qty="0.02"))
    assert desk.poll() == [("replaced", ID, PRICE - ONE, 2 * QTY, 0)] and desk.state(ID) == "WORKING"


REFUSALS = [
    (110007, reasons.INSUFFICIENT_BALANCE), (110094, reasons.VENUE_FILTER), (170218, reasons.POST_ONLY_WOULD_TAKE),
    (10002, reasons.VENUE_BUSY), (999999, reasons.VENUE_REFUSED),
]  # fmt: skip


@pytest.mark.parametrize(("code", "reason"), REFUSALS)
def test_a_refused_order_is_rejected_with_what_the_code_means(desk: Desk, code: int, reason: int) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], code)
    assert desk.poll() == [("reject", ID, PRICE, QTY, reason)]


@pytest.mark.parametrize("code", [10000, 10016, 110072, 170141, 170149, 170150, 170210, 170311])
def test_an_order_whose_fate_the_venue_does_not_say_is_asked_about(desk: Desk, code: int) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], code)
    assert desk.poll() == [] and desk.unanswered() == [ID] and len(desk.questions()) == 1


def test_a_server_that_restarts_takes_no_more_requests_so_the_session_ends_and_another_begins(desk: Desk) -> None:
    working(desk)
    desk.cancel(ID)
    desk.answer(desk.requests()[0], 10019)
    desk.poll()
    assert desk.account["session"][0] == 0


def test_too_many_requests_hold_new_orders_back_until_the_venue_takes_them_again(desk: Desk) -> None:
    desk.new(ID)
    until_ms = (steady_ns() + int(desk.account["wall_offset_ns"][0])) // 1_000_000 + 60_000
    desk.answer(desk.requests()[0], 10006, **{"X-Bapi-Limit-Reset-Timestamp": str(until_ms)})
    assert desk.poll() == [("reject", ID, PRICE, QTY, reasons.VENUE_BUSY)]
    assert desk.new(ID + 1) == NOT_TAKEN and int(desk.account["paused_ms"][0]) == until_ms


def test_a_refused_key_is_a_fault(desk: Desk) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], 10003)
    assert [one[0::6] for one in desk.poll()] == [("reject",), ("venue_fault", LOGIN_REFUSED)]


def test_funding_is_no_execution(desk: Desk) -> None:
    working(desk)
    desk.tell("execution", desk.execution("5", 9, execType="Funding"))
    assert desk.poll() == [] and desk.counter("unread") == 0


def test_a_spot_purchase_pays_in_what_it_buys() -> None:
    desk = Desk("spot")
    working(desk)
    desk.tell("execution", desk.execution("0.010", 1, feeCurrency="BTC", execFee="0.00001"))
    assert desk.poll() == [("fill", ID, PRICE, QTY, number_of(1), 1000, 1 | 2 << 1)]
    desk.close()


@pytest.mark.parametrize("field", ["execQty", "execPrice", "execId", "execTime", "orderId"])
def test_an_execution_that_cannot_be_read_books_nothing_and_is_asked_about(desk: Desk, field: str) -> None:
    working(desk)
    desk.tell("execution", desk.execution("0.004", 1, **{field: "odd"}), desk.execution("0.002", 2))
    assert [one[0] for one in desk.poll()] == ["fill"] and desk.counter("unread") == 1
    assert desk.unanswered() == [ID] and len(desk.questions()) == 1


def test_the_venue_is_told_on_every_connection_that_somebody_is_there(desk: Desk) -> None:
    desk.account["alive_ns"] = 0
    desk.account["presence_ns"] = 0
    desk.poll()
    assert [desk.requests(0), desk.requests(1)] == [[{"op": "ping"}], [{"op": "ping"}]]
    desk.account["presence_ns"] = 0
    desk.poll()
    assert desk.requests(0) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"topic":"order","data":[',
        '{"topic":"order","data":{}}',
        '{"topic":"order","data":[,]}',
        "[]",
        "{",
        '{"topic":"order.linear","data":[{"orderLinkId":1}',
    ],
)
def test_broken_messages_are_no_facts_and_no_end(desk: Desk, text: str) -> None:
    working(desk)
    desk.theirs[1].sendall(frame(text.encode()))
    assert desk.poll() == [] and desk.state(ID) == "WORKING"
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser"))
    assert [one[0] for one in desk.poll()] == ["canceled"]


def test_prices_keep_every_digit(desk: Desk) -> None:
    assert desk.new(ID, price=int(Decimal("61000.1") * ONE), side=BUY) == LEFT
    text = json.dumps(desk.requests()[0])
    assert '"price": "61000.1"' in text


# --- what an attack has found ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["order", "execution"])
@pytest.mark.parametrize("symbol", ["ETHUSDT", "BTCUSDT-26MAR27", "", None])
def test_what_is_told_of_our_order_in_another_instrument_is_not_booked_and_asked_about(
    desk: Desk, topic: str, symbol: object
) -> None:
    working(desk)
    desk.tell(
        topic,
        desk.order(status="Filled", symbol=symbol) if topic == "order" else desk.execution("0.004", 1, symbol=symbol),
    )
    assert desk.poll() == [] and desk.counter("wrong_symbols") == 1
    assert desk.unanswered() == [ID] and [int(one["what"]) for one in desk.questions()] == [ASK_STATE]


def test_executions_of_others_count_in_what_the_run_trades_alone_and_funding_never(desk: Desk) -> None:
    for symbol in ("ADAUSDT", "ETHUSDT"):
        for kind in ("Trade", "Funding", "CorporateAction", "BlockTrade"):
            desk.tell("execution", desk.execution("0.004", 1, orderLinkId="", symbol=symbol, execType=kind))
    assert desk.poll() == [] and desk.counter("external_fills") == 2


@pytest.mark.parametrize("kind", ["BustTrade", "AdlTrade"])
def test_an_execution_by_the_venue_itself_ends_trading_where_the_run_trades(desk: Desk, kind: str) -> None:
    """A liquidation, say: the position is gone."""
    for symbol, told in (("ADAUSDT", []), ("ETHUSDT", [ORPHAN_FILL])):
        desk.tell("execution", desk.execution("5", 9, execType=kind, orderLinkId="", symbol=symbol))
        assert [one[6] for one in desk.poll()] == told


FEES = [("0.0488", 4_880_000), ("0.000000001", 1), ("0.123456781", 12_345_679), ("-0.000000019", -1), ("0", 0)]


@pytest.mark.parametrize(("text", "fee"), FEES)
def test_a_fee_is_exact_to_1e_8_and_more_decimals_are_rounded_up(desk: Desk, text: str, fee: int) -> None:
    working(desk)
    desk.tell("execution", desk.execution("0.010", 1, execFee=text))
    assert desk.poll() == [("fill", ID, PRICE, QTY, number_of(1), fee, 1)] and desk.counter("unread_fees") == 0


@pytest.mark.parametrize("text", ["odd", "", None, "1E-9"])
def test_an_unreadable_fee_is_counted_and_its_execution_says_so(desk: Desk, text: object) -> None:
    working(desk)
    desk.tell("execution", desk.execution("0.010", 1, execFee=text))
    assert desk.poll() == [("fill", ID, PRICE, QTY, number_of(1), 0, 1 | UNKNOWN_FEE_ASSET << 1)]
    assert desk.counter("unread_fees") == 1


def test_a_fee_in_an_asset_that_nobody_knows_is_counted_and_its_execution_says_so(desk: Desk) -> None:
    working(desk)
    desk.tell("execution", desk.execution("0.010", 1, feeCurrency="XYZ"))
    assert desk.poll() == [("fill", ID, PRICE, QTY, number_of(1), 4_880_000, 1 | UNKNOWN_FEE_ASSET << 1)]
    assert desk.counter("unknown_fees") == 1


def test_an_execution_told_again_after_more_than_are_remembered_is_not_booked_twice() -> None:
    desk, other, limit = Desk(), ID + 1, 8192
    forgetful(desk, limit)
    working(desk)
    desk.tell("execution", desk.execution("0.004", 1))
    assert [one[0] for one in desk.poll()] == ["fill"]
    for at in range(10):
        working(desk, other + at, qty=100 * ONE)
        for start in range(0, limit // 10 + 50, 50):
            numbers = range(1000 * (at + 1) + start, 1000 * (at + 1) + start + 50)
            desk.tell("execution", *(desk.execution("0.001", one, other + at, orderQty="100.000") for one in numbers))
            assert len(desk.poll()) == 50
    desk.tell("execution", desk.execution("0.004", 1))
    assert desk.poll() == [] and desk.counter("repeated") == 1
    # Whether it was new is found out by asking; so is one that is.
    (question,) = desk.questions()
    assert (int(question["id"]), int(question["what"])) == (ID, ASK_STATE)
    desk.tell("execution", desk.execution("0.002", 2))
    assert desk.poll() == []
    told = {"id": ID, "request": ASKED_ABOUT, "state": LIVE, "cum": 600_000}
    for number, qty in ((1, 400_000), (2, 200_000)):
        Account.tell(desk, kind=TRADE, trade_id=number_of(number), last_price=PRICE, last_qty=qty, **told)
    Account.tell(desk, kind=STATE, price=PRICE, qty=QTY, **told)
    assert desk.poll() == [("fill", ID, PRICE, 200_000, number_of(2), 0, 0)]
    desk.close()


def test_a_key_that_looks_like_another_is_none_of_ours(desk: Desk) -> None:
    """The venue's own order items have cumExecFee and cumExecValue beside cumExecQty."""
    working(desk)
    desk.tell("execution", desk.execution("0.004", 1))
    more = {"cumExecQty": "0.004", "cumExecValue": "244", "cumExecFee": "-0.0488", "cumFeeDetail": {"USDT": "-0.0488"}}
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser", **more))
    assert [one[0] for one in desk.poll()] == ["fill", "canceled"] and desk.counter("unread") == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("CancelByDCP", reasons.DISCONNECTED), ("CancelBySmp", reasons.SELF_TRADE), ("CancelByPrepareLiq", reasons.VENUE_ENDED),
        ("CancelByReduceOnly", reasons.REDUCE_ONLY_REJECT), ("CancelByPrepareAdl", reasons.VENUE_ENDED),
    ],
)  # fmt: skip
def test_why_an_order_was_cancelled_is_not_mixed_up(desk: Desk, how: str, reason: int) -> None:
    working(desk)
    desk.tell("order", desk.order(status="Cancelled", cancelType=how))
    assert [(one[0], one[4]) for one in desk.poll()] == [("expired", reason)]


@pytest.mark.parametrize(
    ("why", "reason"),
    [("EC_PostOnlyWillTakeLiquidity", reasons.POST_ONLY_WOULD_TAKE), ("EC_Others", reasons.VENUE_REFUSED)],
)
def test_an_order_that_the_topic_tells_as_rejected_has_a_reason(desk: Desk, why: str, reason: int) -> None:
    desk.new(ID)
    desk.tell("order", desk.order(status="Rejected", rejectReason=why))
    assert [(one[0], one[4]) for one in desk.poll()] == [("reject", reason)]


# --- orders that live though nobody holds them for open ------------------------------------------------------------------------


def kinds(told: list[tuple[Any, ...]]) -> list[str]:
    return [one[0] for one in told]


def found(desk: Desk, id_: int = ID, **fields: int) -> None:
    """REST answers a question about an order."""
    Account.tell(
        desk, **{"id": id_, "kind": STATE, "request": ASKED_ABOUT, "cum": 0, "price": PRICE, "qty": QTY} | fields
    )


def asked(desk: Desk) -> list[int]:
    return [int(one["what"]) for one in desk.questions()]


def receipt_of_cancel(desk: Desk) -> None:
    """REST has taken a cancel."""
    found(desk, request=CANCEL_ASKED, state=UNSAID, cum=-1)
    assert desk.poll() == []


def never_found(desk: Desk) -> None:
    desk.new(ID)
    desk.account["answer_ns"] = 0
    desk.unanswered()
    desk.questions()
    found(desk, kind=GONE)
    assert kinds(desk.poll()) == ["reject"]
    desk.requests()


def refused(desk: Desk) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], 110007)
    assert kinds(desk.poll()) == ["reject"]


@pytest.mark.parametrize("rejected", [never_found, refused])
def test_an_order_that_lives_after_its_rejection_counts_is_a_fault_and_is_cancelled_until_it_ends(
    desk: Desk, rejected: Callable[[Desk], None]
) -> None:
    rejected(desk)
    desk.tell("order", desk.order())
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", WRONG_TERMS)]
    assert desk.state(ID) == "UNKNOWN" and n_open(desk.table) == 1 and asked(desk) == [ASK_CANCEL]
    receipt_of_cancel(desk)
    desk.account["answer_ns"] = 0
    desk.unanswered()
    assert asked(desk) == [ASK_STATE]
    found(desk, state=LIVE)
    assert desk.poll() == [] and asked(desk) == [ASK_CANCEL]
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser"))
    assert desk.poll() == [] and n_open(desk.table) == 0 and desk.counter("revived") == 1


def test_what_fills_of_an_order_after_its_rejection_is_told_and_so_is_its_end(desk: Desk) -> None:
    refused(desk)
    desk.tell("order", desk.order())
    desk.tell("execution", desk.execution("0.004", 1))
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser", cumExecQty="0.004"))
    assert kinds(desk.poll()) == ["fill", "canceled", "venue_fault"] and n_open(desk.table) == 0


@pytest.mark.parametrize("rests", [{"state": LIVE}, {"request": CANCEL_ASKED, "state": UNSAID, "cum": -1}])
def test_an_order_of_ours_that_the_table_does_not_have_is_asked_about_and_cancelled(
    desk: Desk, rests: dict[str, int]
) -> None:
    desk.tell("order", desk.order(ID + 1))
    assert desk.poll() == [] and n_open(desk.table) == 1
    questions = desk.questions()
    assert [int(one["what"]) for one in questions] == [ASK_STATE, ASK_CANCEL] and int(questions[0]["id"]) == ID + 1
    found(desk, ID + 1, **rests)
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", WRONG_TERMS)]
    found(desk, ID + 1, state=CANCELLED, cum=400_000)
    assert desk.poll() == [] and n_open(desk.table) == 0


def test_a_very_late_event_of_an_order_that_has_ended_is_no_fault(desk: Desk) -> None:
    desk.tell("order", desk.order(ID + 1))
    desk.poll()
    desk.questions()
    found(desk, ID + 1, state=CANCELLED)
    assert desk.poll() == [] and n_open(desk.table) == 0 and desk.counter("revived") == 0


def test_an_execution_of_an_order_that_the_table_does_not_have_is_a_fault_and_the_order_cancelled(desk: Desk) -> None:
    desk.tell("execution", desk.execution("0.004", 1, ID + 1))
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", ORPHAN_FILL)]
    assert asked(desk) == [ASK_STATE, ASK_CANCEL]


# --- what is found out by asking -------------------------------------------------------------------------------------------------


def test_how_much_has_filled_by_the_end_is_what_asking_says(desk: Desk) -> None:
    working(desk)
    desk.tell("execution", desk.execution("0.004", 1))
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser", cumExecQty="0.006"))
    assert kinds(desk.poll()) == ["fill"]
    found(desk, state=CANCELLED, cum=400_000)
    assert kinds(desk.poll()) == ["canceled"]


def test_after_an_outage_an_order_is_asked_about_again_and_the_answer_from_before_says_nothing(desk: Desk) -> None:
    """The answer under way may be from before a fill that nobody was connected for."""
    working(desk)
    desk.cancel(ID)
    desk.account["answer_ns"] = 0
    desk.unanswered()
    (before,) = desk.questions()
    Account.tell(desk, kind=RESYNC)
    desk.poll()
    (again,) = desk.questions()
    assert int(again["number"]) > int(before["number"])
    found(desk, state=LIVE, number=int(before["number"]))
    assert desk.poll() == []
    found(desk, state=LIVE, number=int(again["number"]))
    assert kinds(desk.poll()) == ["cancel_reject", "ack"]


def grown_old(desk: Desk, seconds: int) -> None:
    """So long ago orders were asked about last."""
    start = int(desk.account["extras"][0]) - desk.memory.ctypes.data
    desk.memory[start:][: ORDERS * EXTRA.itemsize].view(EXTRA)["looked_ns"] -= seconds * 10**9
    desk.account["look_ns"] = 0


def test_an_order_that_rests_is_asked_about_every_so_often_and_one_at_a_time(desk: Desk) -> None:
    working(desk)
    working(desk, ID + 1)
    assert desk.unanswered() == [] and desk.questions() == []
    grown_old(desk, 11)
    assert desk.unanswered() == [] and len(desk.questions()) == 1
    assert desk.unanswered() == [] and desk.questions() == []
    desk.account["look_ns"] = 0
    assert desk.unanswered() == [] and len(desk.questions()) == 1
    for at in range(2):
        found(desk, ID + at, state=LIVE)
    assert desk.poll() == [] and desk.state(ID) == "WORKING"


def test_events_that_come_no_more_end_the_session(desk: Desk) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0])
    desk.account["answer_ns"] = 0
    desk.unanswered()
    found(desk, state=LIVE)
    assert kinds(desk.poll()) == ["ack"] and not int(desk.account["session"][0]) and desk.counter("quiet") == 1


def test_an_event_that_is_only_late_does_not_end_the_session(desk: Desk) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0])
    desk.account["answer_ns"] = 0
    desk.unanswered()
    working(desk, ID + 1)
    found(desk, state=LIVE)
    assert kinds(desk.poll()) == ["ack"] and int(desk.account["session"][0])


def test_an_execution_that_no_event_tells_is_found_and_ends_the_session(desk: Desk) -> None:
    working(desk)
    desk.account["answer_ns"], desk.account["heard_ns"] = 10**9, 0
    wall_ns = steady_ns() + int(desk.account["wall_offset_ns"][0])
    told = {"id": ID, "request": ASKED_ABOUT, "state": LIVE, "cum": 400_000}
    Account.tell(desk, kind=TRADE, trade_id=7, last_price=PRICE, last_qty=400_000, ts=wall_ns - 3 * 10**9, **told)
    assert kinds(desk.poll()) == ["fill"] and not int(desk.account["session"][0]) and desk.counter("missed_fills") == 1


# --- terms that nobody asked for -------------------------------------------------------------------------------------------------

LATER = 1_790_000_000_200


def test_a_change_that_the_venue_makes_on_another_price_is_a_fault_and_not_told_as_refused(desk: Desk) -> None:
    """A price beyond its band is moved to the band."""
    working(desk)
    assert desk.replace(ID, PRICE + 100 * ONE, 2 * QTY) == LEFT
    desk.answer(desk.requests()[0])
    desk.tell("order", desk.order(price="61050", qty="0.02", updatedTime=str(LATER)))
    assert desk.poll() == [] and asked(desk) == [ASK_STATE]
    found(desk, state=LIVE, price=PRICE + 50 * ONE, qty=2 * QTY, ts=LATER * 10**6)
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", WRONG_TERMS)]


def test_a_change_that_shows_up_after_it_was_told_as_refused_is_not_forgotten(desk: Desk) -> None:
    working(desk)
    desk.replace(ID, PRICE + ONE, 3 * QTY)
    desk.account["answer_ns"] = 0
    desk.unanswered()
    found(desk, state=LIVE, ts=1)
    assert "cancel_reject" in kinds(desk.poll())
    desk.questions()
    desk.replace(ID, PRICE + 2 * ONE, QTY)
    second = desk.requests()[-1]
    desk.tell("order", desk.order(price="61001", qty="0.03", updatedTime=str(LATER)))
    desk.answer(second, 110003)
    assert kinds(desk.poll()) == ["cancel_reject"] and asked(desk) == [ASK_STATE]
    found(desk, state=LIVE, price=PRICE + ONE, qty=3 * QTY, ts=LATER * 10**6)
    assert [one[0::6] for one in desk.poll()] == [("venue_fault", WRONG_TERMS)]


def test_terms_from_before_a_change_are_no_fault(desk: Desk) -> None:
    working(desk)
    for price in (PRICE - ONE, PRICE - 2 * ONE):
        desk.replace(ID, price)
        desk.tell("order", desk.order(price=str(price // ONE), updatedTime=str(LATER)))
        assert kinds(desk.poll()) == ["replaced"]
    desk.tell("order", desk.order())
    assert desk.poll() == [] and desk.questions() == []


# --- cancels ---------------------------------------------------------------------------------------------------------------------


def test_cancels_over_rest_are_not_piled_up_and_each_is_answered(desk: Desk) -> None:
    """A stopped gateway cancels again every second while the connection for requests is away."""
    working(desk)
    desk.theirs[0].close()
    desk.poll()
    assert desk.cancel(ID) == LEFT
    for _ in range(300):
        assert desk.cancel(ID) == ANSWERED_HERE
        assert desk.poll() == [("cancel_reject", ID, 0, 0, reasons.VENUE_BUSY)]
    assert asked(desk) == [ASK_CANCEL]
    found(desk, state=LIVE)
    assert kinds(desk.poll()) == ["cancel_reject"]
    # Once it has been answered another one may be asked for.
    receipt_of_cancel(desk)
    assert desk.cancel(ID) == LEFT and asked(desk) == [ASK_CANCEL]


def test_of_cancels_that_nobody_answers_no_more_are_waited_for_than_can_be_told(desk: Desk) -> None:
    working(desk)
    taken = [desk.cancel(ID) for _ in range(100)]
    assert taken.count(LEFT) == MOST_CANCELS and len(desk.requests()) == 100
    assert kinds(desk.poll()) == ["cancel_reject"] * (100 - MOST_CANCELS)
    desk.account["answer_ns"] = 0
    assert desk.unanswered() == [ID]
    found(desk, state=LIVE)
    assert kinds(desk.poll()) == ["cancel_reject"] * MOST_CANCELS + ["ack"]


def test_a_receipt_lets_a_cancel_go(desk: Desk) -> None:
    """The topic may be late, and REST take nothing."""
    desk.new(ID)
    request = desk.requests()[0]
    assert desk.cancel(ID) == LEFT and desk.requests() == []
    desk.answer(request)
    assert desk.poll() == [] and [one["op"] for one in desk.requests()] == ["order.cancel"]
    desk.tell("order", desk.order(status="Cancelled", cancelType="CancelByUser"))
    assert kinds(desk.poll()) == ["ack", "canceled"]


@pytest.mark.parametrize("code", [10002, -1])
def test_a_refusal_for_its_time_is_counted_so_that_the_clock_is_measured(desk: Desk, code: int) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], code)
    assert [one[0] for one in desk.poll()] == ["reject"] and desk.counter("wrong_times") == 1
    working(desk, ID + 1)
    assert desk.cancel(ID + 1) == LEFT
    desk.answer(desk.requests()[0], code)
    assert [one[0] for one in desk.poll()] == ["cancel_reject"] and desk.counter("wrong_times") == 2


UNNAMED = [
    ("linear", BUY, "0.0122", 0), ("linear", SELL, "-0.0122", 0), ("spot", BUY, "0.00001", 2), ("spot", SELL, "0.6", 0),
    ("spot", BUY, "-0.6", 0), ("spot", SELL, "-0.00001", 2),
]  # fmt: skip


@pytest.mark.parametrize(("category", "side", "fee", "asset"), UNNAMED)
@pytest.mark.parametrize("coin", ["", None])
def test_a_fee_that_names_no_coin_is_in_what_was_received_and_a_rebate_in_what_was_paid(
    category: str, side: int, fee: str, asset: int, coin: object
) -> None:
    desk = Desk(category)
    working(desk, side=side)
    desk.tell("execution", desk.execution("0.010", 1, execFee=fee, feeCurrency=coin))
    assert [(one[0], one[6]) for one in desk.poll()] == [("fill", 1 | asset << 1)] and desk.counter("unknown_fees") == 0
    desk.close()
