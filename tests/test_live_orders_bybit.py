"""Orders at Bybit as compiled code says and hears them: answers are receipts, topics are lists, and each thing is told once."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from orders_rig import ONE, Account
from websocket_server import frame

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED
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
)
from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.bybit.orders.errors import ERRORS
from hftpipe.venues.bybit.orders.market import ALIVE
from hftpipe.venues.bybit.orders.scan import SCAN_BYTES, scan_entry
from hftpipe.venues.bybit.orders.wire import Wire
from hftpipe.venues.orders.setup import Speech, Terms

ID = 0x0102_0000_65A1_0007
PRICE, QTY = 61_000 * ONE, ONE // 100
ORDER_ID = "a4c1718e-0000-4659-a118-1f6ecce04ad9"


class Desk(Account):
    """An account at Bybit."""

    def __init__(self, category: str = "linear") -> None:
        self.category = category
        wire = Wire(category, 5000)
        speech = Speech(wire.templates, wire.variants, ERRORS, scan_entry.address, SCAN_BYTES, ALIVE, 20.0)
        super().__init__(Terms(2, False, 60.0, 60.0, 600.0, {}), speech)
        # The first sign of life is not due yet.
        self.account["alive_ns"] = steady_ns() + 10**12

    def answer(self, request: dict[str, Any], code: int = 0, **header: str) -> None:
        data = {"orderId": ORDER_ID, "orderLinkId": request["args"][0]["orderLinkId"]} if not code else {}
        self.say(
            {
                "reqId": request["reqId"],
                "retCode": code,
                "retMsg": "x",
                "op": request["op"],
                "data": data,
                "header": header,
            }
        )

    def tell(self, topic: str, *items: dict[str, Any], **other: Any) -> None:  # type: ignore[override]
        self.say({"id": "1", "topic": f"{topic}.{self.category}", "creationTime": 1, "data": list(items), **other}, 1)

    def order(self, id_: int = ID, status: str = "New", **fields: Any) -> dict[str, Any]:
        return {
            "category": self.category, "symbol": "BTCUSDT", "orderId": ORDER_ID, "orderLinkId": self.text(id_), "side": "Buy",
            "orderStatus": status, "cancelType": "UNKNOWN", "rejectReason": "EC_NoError", "price": "61000", "qty": "0.010",
            "leavesQty": "", "cumExecQty": "0", "avgPrice": "", "updatedTime": "1790000000128", "reduceOnly": False,
        } | fields  # fmt: skip

    def execution(self, qty: str, number: int, id_: int = ID, **fields: Any) -> dict[str, Any]:
        return {
            "category": self.category, "symbol": "BTCUSDT", "orderId": ORDER_ID, "orderLinkId": self.text(id_),
            "orderPrice": "61000", "orderQty": "0.010", "execId": f"7e2ae69c-0000-5800-a352-{number:012x}", "execPrice": "61000",
            "execQty": qty, "execFee": "0.0488", "feeCurrency": "", "execType": "Trade", "execTime": "1790000000127",
            "isMaker": True,
        } | fields  # fmt: skip


@pytest.fixture(params=["linear", "spot"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(request.param)
    yield made
    made.close()


def working(desk: Desk, id_: int = ID, **other: int) -> None:
    assert desk.new(id_, **other) == LEFT
    desk.answer(desk.requests()[0])
    desk.tell("order", desk.order(id_))
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


@pytest.mark.parametrize("code", [10000, 10016, 110072, 170141])
def test_an_order_whose_fate_the_venue_does_not_say_is_asked_about(desk: Desk, code: int) -> None:
    desk.new(ID)
    desk.answer(desk.requests()[0], code)
    assert desk.poll() == [] and desk.unanswered() == [ID] and len(desk.questions()) == 1


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
