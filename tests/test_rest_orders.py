"""Orders over REST as compiled code says and hears them: by whose connection an answer comes it is known what it answers."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import bybit_orders_rig as bybit
import orders_rig as binance
import pytest
from http_reference import written
from orders_rig import ONE, SECRET, Account, waiting

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import FOK, GTC, IOC, LEFT, MARKET, NOT_TAKEN, POST_ONLY, REDUCE_ONLY, SELL
from hftpipe.transport.websocket.link import ENDED, OPEN
from hftpipe.venues.orders.calls import ANSWER_NS
from hftpipe.venues.orders.facts import ASK_CANCEL, ASK_STATE, ASKED_ABOUT, LIVE, STATE

ID = 0x0102_0000_65A1_0007
PRICE, QTY, CONNECTIONS = 61_000 * ONE, ONE // 100, 3


@dataclass
class Request:
    """One as the venue reads it; ``params``: of query or body."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str
    params: dict[str, Any]


def read_request(data: bytes) -> Request:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert version == "HTTP/1.1" and int(headers["content-length"]) == len(body) and len(headers) == len(lines)
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, body.decode(), json.loads(body) if body else dict(parse_qsl(query)))


def requests_on(desk: Account) -> list[tuple[int, Request]]:
    """What was sent and not read yet, with the connection that it came over."""
    sent = [(at, waiting(line)) for at, line in enumerate(desk.lines) if line.fileno() >= 0]
    return [(at, read_request(data)) for at, data in sent if data]


def answer(desk: Account, at: int, status: int, body: Any, chunks: list[int] | None = None, **headers: str) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    desk.lines[at].sendall(written(status, text, chunks, **headers))


def accepted(desk: binance.Desk, request: Request, status: str = "NEW", **other: Any) -> dict[str, Any]:
    """The order that a request has made or changed, as the venue answers it."""
    params = request.params
    return {
        "orderId": 9001, "symbol": "BTCUSDT", "status": status, "price": params.get("price", "0.00"),
        "clientOrderId": params.get("newClientOrderId", params.get("origClientOrderId")), "executedQty": "0.000",
        "origQty": params.get("quantity", "0.010"), "updateTime": 1790000000000,
    } | other  # fmt: skip


def receipt(code: int = 0) -> dict[str, Any]:
    """What Bybit answers."""
    return {"retCode": code, "retMsg": "x", "result": {"orderId": bybit.ORDER_ID}, "retExtInfo": {}, "time": 1}


@pytest.fixture(params=["usdm", "spot"])
def desk(request: pytest.FixtureRequest) -> Iterator[binance.Desk]:
    made = binance.Desk(request.param, calls=CONNECTIONS)
    yield made
    made.close()


@pytest.fixture
def usdm() -> Iterator[binance.Desk]:
    made = binance.Desk("usdm", calls=CONNECTIONS)
    yield made
    made.close()


@pytest.fixture
def linear() -> Iterator[bybit.Desk]:
    made = bybit.Desk("linear", calls=CONNECTIONS)
    yield made
    made.close()


def working(desk: binance.Desk, id_: int = ID) -> None:
    assert desk.new(id_) == LEFT
    ((at, request),) = requests_on(desk)
    answer(desk, at, 200, accepted(desk, request))
    assert desk.poll() == [("ack", id_, PRICE, QTY, GTC)]


def signed(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


# --- what is said ------------------------------------------------------------------------------------------------------------

BINANCE = [
    ("usdm", GTC, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0"}),
    ("usdm", IOC, {"type": "LIMIT", "timeInForce": "IOC", "price": "61000.0"}),
    ("usdm", FOK, {"type": "LIMIT", "timeInForce": "FOK", "price": "61000.0"}),
    ("usdm", POST_ONLY, {"type": "LIMIT", "timeInForce": "GTX", "price": "61000.0"}),
    ("usdm", MARKET, {"type": "MARKET"}),
    ("usdm", GTC | REDUCE_ONLY, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0", "reduceOnly": "true"}),
    ("spot", GTC, {"type": "LIMIT", "timeInForce": "GTC", "price": "61000.0"}),
    ("spot", POST_ONLY, {"type": "LIMIT_MAKER", "price": "61000.0"}),
    ("spot", MARKET, {"type": "MARKET"}),
]


@pytest.mark.parametrize(("market", "flags", "own"), BINANCE)
def test_an_order_to_binance_is_a_query_signed_just_as_it_is_sent(market: str, flags: int, own: dict[str, str]) -> None:
    desk = binance.Desk(market, calls=CONNECTIONS)
    assert desk.new(ID, flags=flags, side=SELL, price=0 if flags == MARKET else PRICE) == LEFT
    ((_, request),) = requests_on(desk)
    text, _, signature = request.query.rpartition("&signature=")
    assert signature == signed(text)
    assert (request.method, request.path) == ("POST", "/fapi/v1/order" if market == "usdm" else "/api/v3/order")
    assert (request.headers["host"], request.headers["x-mbx-apikey"]) == ("api.example:8443", "the-api-key")
    common = {
        "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.010", "newClientOrderId": desk.text(ID), "recvWindow": "5000",
        "newOrderRespType": "RESULT", "timestamp": request.params["timestamp"], "signature": signature,
    }  # fmt: skip
    assert request.params == common | own and request.body == ""
    desk.close()


BYBIT = [
    ("linear", GTC, {"orderType": "Limit", "price": "61000.0", "timeInForce": "GTC"}),
    ("linear", POST_ONLY, {"orderType": "Limit", "price": "61000.0", "timeInForce": "PostOnly"}),
    ("linear", IOC | REDUCE_ONLY, {"orderType": "Limit", "price": "61000.0", "timeInForce": "IOC", "reduceOnly": True}),
    ("spot", MARKET, {"orderType": "Market", "marketUnit": "baseCoin"}),
]


@pytest.mark.parametrize(("category", "flags", "own"), BYBIT)
def test_an_order_to_bybit_is_a_body_signed_with_its_time_key_and_window(
    category: str, flags: int, own: dict[str, Any]
) -> None:
    desk = bybit.Desk(category, calls=CONNECTIONS)
    assert desk.new(ID, flags=flags, side=SELL, price=0 if flags == MARKET else PRICE) == LEFT
    ((_, request),) = requests_on(desk)
    assert (request.method, request.path, request.query) == ("POST", "/v5/order/create", "")
    heads = request.headers
    assert heads["x-bapi-sign"] == signed(heads["x-bapi-timestamp"] + "the-api-key" + "5000" + request.body)
    assert (heads["x-bapi-api-key"], heads["x-bapi-recv-window"]) == ("the-api-key", "5000")
    common = {"category": category, "symbol": "BTCUSDT", "side": "Sell", "qty": "0.010", "orderLinkId": desk.text(ID)}
    assert request.params == common | own
    desk.close()


def test_changes_and_cancels_name_the_order_by_our_own_id(usdm: binance.Desk, linear: bybit.Desk) -> None:
    working(usdm)
    assert usdm.replace(ID, PRICE - ONE) == LEFT
    ((at, request),) = requests_on(usdm)
    assert (request.method, request.params["origClientOrderId"]) == ("PUT", usdm.text(ID))
    answer(usdm, at, 200, accepted(usdm, request))
    assert usdm.poll() == [("replaced", ID, PRICE - ONE, QTY, 0)]
    assert usdm.cancel(ID) == LEFT
    ((at, request),) = requests_on(usdm)
    assert (request.method, request.path) == ("DELETE", "/fapi/v1/order")
    answer(usdm, at, 200, accepted(usdm, request, "CANCELED"))
    assert usdm.poll() == [("canceled", ID, PRICE - ONE, QTY, reasons.USER_REQUEST)]
    linear.new(ID)
    ((at, _),) = requests_on(linear)
    answer(linear, at, 200, receipt())
    assert linear.poll() == [], "a receipt acknowledges nothing"
    linear.tell("order", linear.order())
    assert linear.poll() == [("ack", ID, PRICE, QTY, GTC)]
    assert linear.replace(ID, PRICE - ONE) == LEFT and linear.cancel(ID) == LEFT
    assert [one.path for _, one in requests_on(linear)] == ["/v5/order/amend", "/v5/order/cancel"]


# --- what is heard -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, [1, 7, 40]])
def test_an_answer_is_taken_once_its_last_byte_has_come_wherever_it_is_cut(
    usdm: binance.Desk, chunks: list[int] | None
) -> None:
    assert usdm.new(ID) == LEFT
    ((at, request),) = requests_on(usdm)
    data = written(200, json.dumps(accepted(usdm, request)).encode(), chunks)
    for byte in data[:-1]:
        usdm.lines[at].sendall(bytes([byte]))
        assert usdm.poll() == []
    usdm.lines[at].sendall(data[-1:])
    assert usdm.poll() == [("ack", ID, PRICE, QTY, GTC)]
    assert usdm.line_states() == [OPEN] * CONNECTIONS


def test_answers_that_come_in_another_order_are_those_of_their_connections(desk: binance.Desk) -> None:
    assert desk.new(ID) == LEFT and desk.new(ID + 1, qty=2 * QTY) == LEFT
    (first, _), (second, two) = requests_on(desk)
    assert first != second
    answer(desk, second, 200, accepted(desk, two))
    assert desk.poll() == [("ack", ID + 1, PRICE, 2 * QTY, GTC)]
    answer(desk, first, 400, {"code": -1013, "msg": "Filter failure: LOT_SIZE"})
    assert desk.poll() == [("reject", ID, PRICE, QTY, reasons.VENUE_FILTER)]


def test_a_connection_that_says_so_is_closed_after_its_answer_and_the_answer_counts(usdm: binance.Desk) -> None:
    usdm.new(ID)
    ((at, request),) = requests_on(usdm)
    answer(usdm, at, 200, accepted(usdm, request), Connection="close")
    usdm.lines[at].close()
    assert [one[0] for one in usdm.poll()] == ["ack"] and usdm.line_states().count(ENDED) == 1


def test_a_spot_order_is_dead_when_its_replacement_failed_after_its_cancel() -> None:
    spot = binance.Desk("spot", calls=CONNECTIONS)
    working(spot)
    assert spot.replace(ID, PRICE - ONE) == LEFT
    ((at, request),) = requests_on(spot)
    assert request.path == "/api/v3/order/cancelReplace" and request.params["newClientOrderId"] == spot.text(ID, 1)
    parts = {
        "cancelResult": "SUCCESS", "newOrderResult": "FAILURE", "newOrderResponse": {"code": -2010, "msg": "no"},
        "cancelResponse": {"status": "CANCELED", "executedQty": "0.000"},
    }  # fmt: skip
    answer(spot, at, 409, {"code": -2021, "msg": "Order cancel-replace partially failed.", "data": parts})
    assert spot.poll() == [("expired", ID, PRICE, QTY, reasons.DEAD_WHEN_REPLACED)]
    spot.close()


def test_a_refused_post_only_order_is_told_so(usdm: binance.Desk) -> None:
    usdm.new(ID, flags=POST_ONLY)
    ((at, _),) = requests_on(usdm)
    answer(usdm, at, 400, {"code": -5022, "msg": "Post Only order will be rejected."})
    assert usdm.poll() == [("reject", ID, PRICE, QTY, reasons.POST_ONLY_WOULD_TAKE)]


# --- connections -------------------------------------------------------------------------------------------------------------


def test_one_connection_is_kept_for_cancels_and_orders_beyond_the_others_are_not_taken(desk: binance.Desk) -> None:
    working(desk)
    assert [desk.new(ID + at) for at in range(1, CONNECTIONS + 1)] == [LEFT] * (CONNECTIONS - 1) + [NOT_TAKEN]
    assert desk.counter("crowded") == 1
    assert desk.cancel(ID) == LEFT
    assert [one.method for _, one in requests_on(desk)] == ["POST"] * (CONNECTIONS - 1) + ["DELETE"]


def test_a_cancel_without_a_free_connection_goes_by_the_threads_beside(desk: binance.Desk) -> None:
    for at in range(CONNECTIONS):
        working(desk, ID + at)
    for at in range(CONNECTIONS):
        assert desk.cancel(ID + at) == LEFT
    working_id = ID + CONNECTIONS - 1
    assert desk.questions() == []
    desk.new(ID + 9)
    assert desk.cancel(working_id) == LEFT
    assert [int(one["what"]) for one in desk.questions()] == [ASK_CANCEL]


def test_an_idle_connection_that_the_venue_has_closed_takes_no_order_along(desk: binance.Desk) -> None:
    desk.lines[0].close()
    assert desk.new(ID) == LEFT
    ((at, request),) = requests_on(desk)
    assert at == 1 and desk.line_states() == [ENDED, OPEN, OPEN]
    answer(desk, at, 200, accepted(desk, request))
    assert [one[0] for one in desk.poll()] == ["ack"] and desk.counter("calls_lost") == 0


def test_what_is_said_on_an_idle_connection_is_the_answer_to_nothing(desk: binance.Desk) -> None:
    answer(desk, 0, 200, {"orderId": 1})
    assert desk.new(ID) == LEFT
    assert [at for at, _ in requests_on(desk)] == [1] and desk.line_states()[0] == ENDED
    assert desk.poll() == []


def told(desk: Account) -> None:
    """What was asked about is told to rest, and is working."""
    (question,) = desk.questions()
    assert (int(question["id"]), int(question["what"])) == (ID, ASK_STATE)
    Account.tell(desk, kind=STATE, id=ID, request=ASKED_ABOUT, state=LIVE, cum=0, price=PRICE, qty=QTY, venue_id=9001)
    assert desk.poll() == [("ack", ID, PRICE, QTY, GTC)] and desk.state(ID) == "WORKING"


def ended(desk: Account) -> list[tuple[Any, ...]]:
    """What is told once the end of a connection has been seen."""
    return [*desk.poll(), *desk.poll()]


def cut(line: socket.socket) -> None:
    line.close()


def half(line: socket.socket) -> None:
    line.sendall(written(200, b'{"orderId":9001,"status":"NEW"}')[:-9])
    line.close()


def garbage(line: socket.socket) -> None:
    line.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")


def two_lengths(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")


@pytest.mark.parametrize("ends", [cut, half, garbage, two_lengths])
@pytest.mark.parametrize("make", [binance.Desk, bybit.Desk])
def test_a_request_whose_connection_ends_before_its_answer_is_unknown_and_asked_about(make: Any, ends: Any) -> None:
    desk = make(calls=CONNECTIONS)
    desk.new(ID)
    ((at, _),) = requests_on(desk)
    ends(desk.lines[at])
    assert ended(desk) == [] and desk.unanswered() == [ID] and desk.state(ID) == "UNKNOWN"
    assert desk.counter("calls_lost") == 1 and desk.line_states()[at] == ENDED
    told(desk)
    assert desk.new(ID + 1) == LEFT, "the others serve on"
    desk.close()


def test_an_order_that_its_event_has_acknowledged_is_not_doubted_when_its_answer_is_lost(desk: binance.Desk) -> None:
    desk.new(ID)
    ((at, _),) = requests_on(desk)
    desk.event(ID, "NEW", "NEW")
    assert [one[0] for one in desk.poll()] == ["ack"]
    desk.lines[at].close()
    assert ended(desk) == [] and desk.questions() == [] and desk.state(ID) == "WORKING"


def test_a_cancel_whose_connection_ends_is_asked_for_once_more(desk: binance.Desk) -> None:
    working(desk)
    desk.cancel(ID)
    ((at, _),) = requests_on(desk)
    desk.lines[at].close()
    assert ended(desk) == []
    assert [(int(one["id"]), int(one["what"])) for one in desk.questions()] == [(ID, ASK_CANCEL)]


def test_a_change_whose_connection_ends_is_unknown(usdm: binance.Desk) -> None:
    working(usdm)
    usdm.replace(ID, PRICE - ONE)
    ((at, _),) = requests_on(usdm)
    usdm.lines[at].close()
    assert ended(usdm) == [] and usdm.unanswered() == [ID] and len(usdm.questions()) == 1


def test_a_connection_without_an_answer_for_too_long_is_ended(desk: binance.Desk) -> None:
    desk.new(ID)
    ((at, _),) = requests_on(desk)
    desk.calls()["sent_ns"][at] -= int(ANSWER_NS)
    desk.account["presence_ns"] = 0
    desk.poll()
    assert desk.poll() == [] and desk.line_states()[at] == ENDED and desk.unanswered() == [ID]


def test_an_opened_connection_serves_again(desk: binance.Desk) -> None:
    desk.lines[0].close()
    working(desk)
    desk.connect_line(0)
    assert desk.new(ID + 1) == LEFT
    assert [at for at, _ in requests_on(desk)] == [0]


def test_without_the_connection_for_events_no_order_goes_and_cancels_do(desk: binance.Desk) -> None:
    working(desk)
    desk.theirs[0].close()
    desk.poll()
    assert desk.new(ID + 1) == NOT_TAKEN and desk.replace(ID, PRICE - ONE) == NOT_TAKEN
    assert desk.cancel(ID) == LEFT and [one.method for _, one in requests_on(desk)] == ["DELETE"]


# --- how much may be asked ---------------------------------------------------------------------------------------------------

RESTS = [(429, "2"), (418, ""), (403, "")]


@pytest.mark.parametrize(("status", "after"), RESTS)
def test_a_rest_that_the_venue_demands_is_kept_by_orders_and_cancels_alike(status: int, after: str) -> None:
    desk = binance.Desk("usdm", calls=CONNECTIONS)
    working(desk)
    assert desk.new(ID + 1) == LEFT
    ((at, _),) = requests_on(desk)
    answer(
        desk, at, status, b"<html>" if status == 403 else {"code": -1003, "msg": "Too many"}, Retry_After=after or "-"
    )
    assert desk.poll() == [("reject", ID + 1, PRICE, QTY, reasons.VENUE_BUSY)]
    assert desk.new(ID + 2) == NOT_TAKEN and desk.cancel(ID) == LEFT
    assert requests_on(desk) == [] and [int(one["what"]) for one in desk.questions()] == [ASK_CANCEL]
    desk.account["paused_ms"] = 0
    assert desk.new(ID + 2) == NOT_TAKEN, "not only as long as the window for orders"
    desk.account["rest_ns"] -= 2_000_000_000 if after else 10**12
    assert desk.new(ID + 2) == LEFT
    desk.close()


def test_too_many_orders_hold_back_new_ones_alone_and_for_as_long_as_is_said(usdm: binance.Desk) -> None:
    working(usdm)
    usdm.new(ID + 1)
    ((at, _),) = requests_on(usdm)
    answer(usdm, at, 429, {"code": -1015, "msg": "Too many new orders"}, Retry_After="30")
    assert [one[0] for one in usdm.poll()] == ["reject"]
    assert usdm.new(ID + 2) == NOT_TAKEN and usdm.cancel(ID) == LEFT
    assert [one.method for _, one in requests_on(usdm)] == ["DELETE"]


def test_orders_that_others_have_sent_count_against_the_window(usdm: binance.Desk) -> None:
    desk = binance.Desk("usdm", windows={86_400_000: 10}, calls=CONNECTIONS)
    desk.new(ID)
    ((at, request),) = requests_on(desk)
    answer(desk, at, 200, accepted(desk, request), X_MBX_ORDER_COUNT_1D="7", X_MBX_USED_WEIGHT_1M="42")
    desk.poll()
    assert int(desk.account["weight_used"][0]) == 42
    assert [desk.new(ID + 1), desk.new(ID + 2)] == [LEFT, NOT_TAKEN] and desk.counter("limited") == 1
    desk.close()


def test_what_bybit_allows_and_has_left_is_what_counts() -> None:
    desk = bybit.Desk("linear", {10**9: 10}, CONNECTIONS)
    desk.new(ID)
    ((at, _),) = requests_on(desk)
    answer(desk, at, 200, receipt(), X_Bapi_Limit="100", X_Bapi_Limit_Status="21")
    desk.poll()
    assert [desk.new(ID + 1), desk.new(ID + 2)] == [LEFT, NOT_TAKEN]
    desk.close()


def test_too_many_visits_hold_new_orders_back_until_the_time_that_is_said(linear: bybit.Desk) -> None:
    linear.new(ID)
    ((at, _),) = requests_on(linear)
    until_ms = time.time_ns() // 1_000_000 + 60_000
    answer(linear, at, 200, receipt(10006), X_Bapi_Limit_Reset_Timestamp=str(until_ms))
    assert linear.poll() == [("reject", ID, PRICE, QTY, reasons.VENUE_BUSY)]
    assert linear.new(ID + 1) == NOT_TAKEN and int(linear.account["paused_ms"][0]) == until_ms


UNSURE = [
    ("usdm", 503, {"code": -1000, "msg": "Unknown error, please check your request or try again later."}),
    ("usdm", 408, {"code": -1007, "msg": "Timeout"}), ("usdm", 502, b"<html>Bad Gateway"), ("usdm", 200, b'{"orderId":'),
    ("usdm", 200, b""), ("usdm", 404, b"<html>"), ("usdm", 302, b""), ("spot", 500, {"code": 0, "msg": "odd"}),
    ("spot", 400, {"code": -2010, "msg": "Duplicate order sent."}),
]  # fmt: skip


@pytest.mark.parametrize(("market", "status", "body"), UNSURE)
def test_an_answer_that_leaves_open_what_was_done_makes_the_order_unknown(market: str, status: int, body: Any) -> None:
    desk = binance.Desk(market, calls=CONNECTIONS)
    desk.new(ID)
    ((at, _),) = requests_on(desk)
    answer(desk, at, status, body)
    assert desk.poll() == [] and desk.unanswered() == [ID]
    told(desk)
    desk.close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, b"Service Unavailable"), (200, receipt(10000)), (200, receipt(10016)), (200, b"<html>"), (404, receipt(0))],
)
def test_the_same_at_bybit(linear: bybit.Desk, status: int, body: Any) -> None:
    linear.new(ID)
    ((at, _),) = requests_on(linear)
    answer(linear, at, status, body)
    assert linear.poll() == [] and linear.unanswered() == [ID]
    told(linear)


def test_what_the_venue_has_not_done_for_it_was_overloaded_is_refused_at_once(usdm: binance.Desk) -> None:
    usdm.new(ID)
    ((at, _),) = requests_on(usdm)
    answer(usdm, at, 503, {"code": 0, "msg": "Service Unavailable."})
    assert usdm.poll() == [("reject", ID, PRICE, QTY, reasons.VENUE_BUSY)]
