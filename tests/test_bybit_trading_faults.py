"""What may go wrong between a trader and the simulated Bybit venue: answers, events, clocks, keys, limits."""

import json
import time
from typing import Any

import pytest
import requests
from binance_rig import wait_until
from bybit_account import KEY, Trader, check_account, now_ms, signature

pytest_plugins = ("bybit_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")

LINKS = iter(range(10**6))


def link() -> str:
    """A client's id that was never used."""
    return f"faults-{next(LINKS)}"


def found(trader: Trader, name: str) -> bool:
    return bool(trader.found(orderLinkId=name))


# --- unknown outcomes -----------------------------------------------------------------------------------


def test_an_unknown_outcome_may_be_an_order(trader: Trader) -> None:
    name = link()
    trader.venue.control(order_unknown=1, market=trader.category)
    got = trader.create("Buy", "0.01", trader.far(), orderLinkId=name)
    assert (got.status, got.code, got.body["retMsg"]) == (200, 10000, "Server Timeout") and found(trader, name)
    trader.venue.control(order_unknown=1, market=trader.category)
    assert trader.cancel(orderLinkId=name).code == 10000
    assert trader.found(orderLinkId=name)[0]["orderStatus"] == "Cancelled"


def test_an_unavailable_venue_has_done_nothing(trader: Trader) -> None:
    name = link()
    trader.venue.control(order_unavailable=1, market=trader.category)
    assert trader.create("Buy", "0.01", trader.far(), orderLinkId=name).code == 10429 and not found(trader, name)
    assert trader.create("Buy", "0.01", trader.far(), orderLinkId=name).code == 0


def test_a_connection_may_break_before_or_after_the_order_is_there(trader: Trader) -> None:
    for fault, is_there in (("request_cut", False), ("answer_cut", True)):
        name = link()
        trader.venue.control(**{fault: 1}, market=trader.category)
        with pytest.raises(requests.RequestException):
            trader.create("Buy", "0.01", trader.far(), orderLinkId=name)
        assert found(trader, name) is is_there


def test_an_answer_may_come_late_and_the_event_before_it(trader: Trader) -> None:
    private, trade = trader.private("order"), trader.trade()
    trader.venue.control(order_delayed=1, order_delay_ms=400, market=trader.category)
    asked = time.monotonic()
    assert trader.create("Buy", "0.01", trader.far()).code == 0 and 0.4 <= time.monotonic() - asked < 2
    assert [one["orderStatus"] for one in private.rows("order", 0.2)] == ["New"]
    trader.venue.control(order_delayed=1, order_delay_ms=300, market=trader.category)
    first = trade.send("order.create", **trader.order("Buy", "0.01", trader.far()))
    second = trade.send("order.create", **trader.order("Buy", "0.01", trader.far()))
    assert [trade.line.next()["reqId"] for _ in range(2)] == [second, first]
    trade.close()
    private.close()


def test_a_receipt_over_websocket_may_never_come(trader: Trader) -> None:
    trade, name = trader.trade(), link()
    trader.venue.control(ack_dropped=1, market=trader.category)
    trade.send("order.create", **trader.order("Buy", "0.01", trader.far(), orderLinkId=name))
    assert trade.do("order.cancel", orderLinkId=name)["retCode"] == 0
    trader.venue.control(order_unknown=1, market=trader.category)
    other = link()
    got = trade.do("order.create", **trader.order("Buy", "0.01", trader.far(), orderLinkId=other))
    assert got["retCode"] == 10000 and got["data"] == {} and found(trader, other)
    trade.close()


def test_events_may_be_lost_doubled_and_late(trader: Trader) -> None:
    private, name = trader.private("order"), link()
    trader.venue.control(drop_next_user=1, market=trader.category)
    trader.create("Buy", "0.01", trader.far(), orderLinkId=name)
    assert private.rows("order") == []
    trader.venue.control(double_next_user=1, market=trader.category)
    trader.cancel(orderLinkId=name)
    assert [one["orderStatus"] for one in private.rows("order")] == ["Cancelled", "Cancelled"]
    trader.venue.control(user_delay_ms=400, market=trader.category)
    trader.create("Buy", "0.01", trader.far())
    trader.venue.control(user_delay_ms=0, market=trader.category)
    assert private.rows("order", 0.2) == [] and [one["orderStatus"] for one in private.rows("order", 0.5)] == ["New"]
    private.close()


def test_what_was_received_may_be_rejected_and_a_cancel_too_late(trader: Trader) -> None:
    private, name = trader.private("order"), link()
    trader.venue.control(reject_next=1, freeze=True, market=trader.category)
    made = trader.create("Buy", "0.01", trader.far(), orderLinkId=name).result
    row = private.rows("order")[-1]
    assert (row["orderId"], row["orderStatus"], row["rejectReason"]) == (made["orderId"], "Rejected", "EC_Others")
    assert trader.cancel(orderLinkId=name).code in (170213, 110001)
    check_account(trader)
    filled = trader.create("Buy", "0.01").result["orderId"]
    trader.venue.control(cancel_too_late=1, market=trader.category)
    assert trader.cancel(orderId=filled).code == 0 and trader.cancel(orderId=filled).code in (170213, 110001)
    told = [(one["orderStatus"], one["cancelType"], one["rejectReason"]) for one in private.rows("order")]
    assert told == [("Filled", "UNKNOWN", "EC_NoError"), ("Filled", "CancelByUser", "EC_OrigClOrdIDDoesNotExist")]
    private.close()


def test_a_connection_breaks_off_and_the_orders_stay(trader: Trader) -> None:
    private, trade = trader.private("order"), trader.trade()
    order_id = trade.do("order.create", **trader.order("Buy", "0.01", trader.far()))["data"]["orderId"]
    private.rows("order")
    trader.venue.control(disconnect="private")
    assert private.line.code_at_end() is None
    assert trade.do("order.amend", orderId=order_id, qty="0.02")["retCode"] == 0
    trader.venue.control(disconnect="trade")
    assert trade.line.code_at_end() is None
    assert trader.one(order_id)["orderStatus"] == "New"


# --- clock, keys, limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-3000, 7000])
def test_a_venue_whose_clock_is_off_refuses_what_is_not_of_its_time(trader: Trader, offset: int) -> None:
    trade = trader.trade()
    trader.venue.control(clock_offset_ms=offset)
    try:
        assert trader.get("/v5/account/info").code == 10002
        assert trade.do("order.create", **trader.order("Buy", "0.01", trader.far()))["retCode"] == 10002
        told = trader.venue.json("/v5/market/time")["time"]
        assert abs(told - time.time() * 1000 - offset) < 500
        query = f"category={trader.category}"
        signed = trader.headers(query, sent=str(told))
        assert trader.send("GET", "/v5/account/info", query, headers=signed).code == 0
    finally:
        trader.venue.control(clock_offset_ms=0)
    assert trader.get("/v5/account/info").code == 0
    trade.close()


def test_a_venues_clock_stands_while_it_is_told_to_and_goes_on_from_there(spot_trader: Trader) -> None:
    def now_ms() -> int:
        return int(spot_trader.venue.json("/v5/market/time")["time"])

    spot_trader.venue.control(clock_stands=True)
    try:
        stood = now_ms()
        time.sleep(0.3)
        assert now_ms() == stood
        spot_trader.venue.control(clock_stands=False)
        time.sleep(0.1)
        assert stood < now_ms() <= time.time() * 1000 - 290
    finally:
        spot_trader.venue.control(clock_stands=False, clock_offset_ms=0)
    assert spot_trader.get("/v5/account/info").code == 0


def test_a_revoked_key_opens_nothing_and_its_connections_are_closed(spot_trader: Trader) -> None:
    private, trade = spot_trader.private("order"), spot_trader.trade()
    spot_trader.venue.control(revoke_key=KEY)
    assert spot_trader.create("Buy", "0.01", "59000").code == 10003
    assert private.line.next()["ret_msg"] == "API key is invalid." and private.line.code_at_end() == 1008
    assert trade.line.next()["retCode"] == 10003 and trade.line.code_at_end() == 1008
    spot_trader.venue.control(restore_keys=True)
    assert spot_trader.get("/v5/account/info").code == 0


def test_a_wrong_signature_opens_nothing(trader: Trader) -> None:
    query = f"category={trader.category}"
    signed = trader.headers(query)
    assert (
        trader.send("GET", "/v5/account/info", query, headers=signed | {"X-BAPI-SIGN": signature("other")}).code
        == 10004
    )
    assert trader.send("GET", "/v5/account/info", query, headers={}).code == 10003
    body = json.dumps({"category": trader.category})
    with_body = trader.send("GET", "/v5/account/info", query, body, signed)
    assert with_body.status == 403
    trade = trader.venue.open("/v5/trade")

    def ask(**request: object) -> Any:
        trade.socket.send(json.dumps(request))
        return trade.next()

    assert ask(reqId="1", op="order.create", header={}, args=[{}])["retCode"] == 10004
    assert ask(reqId="2", op="auth", args=trader.auth(now_ms() - 1))["retCode"] == 10004
    assert ask(reqId="3", op="auth", args=trader.auth())["retCode"] == 0
    header = {"X-BAPI-TIMESTAMP": now_ms()}
    assert ask(reqId="4", op="order.create", header=header, args=[])["retCode"] == 10001
    assert ask(reqId="4", op="order.create", header=header, args=[{}])["retCode"] == 20006
    assert ask(reqId="x" * 37, op="order.create", header=header, args=[{}])["retCode"] == 20006
    assert ask(reqId="5", op="order.create", args=[{}])["retCode"] == 10001
    trade.close()
    private = trader.venue.open("/v5/private")
    private.socket.send(json.dumps({"op": "subscribe", "args": ["order"]}))
    assert not private.next()["success"]
    private.close()


def test_too_many_requests_of_a_second_are_refused_and_told_when_to_come_again(trader: Trader) -> None:
    most = {"linear": 10, "spot": 20}[trader.category]
    price = trader.far()
    trader.venue.control(limit_per_s=0)
    trade = trader.trade()
    for _ in range(most + 4):
        trade.send("order.create", **trader.order("Buy", "0.01", price))
    got = [trade.line.next() for _ in range(most + 4)]
    assert [one["retCode"] for one in got] == [0] * most + [10006] * 4
    assert [one["header"]["X-Bapi-Limit-Status"] for one in got[:most]] == [str(left) for left in range(most)][::-1]
    by_rest = trader.create("Buy", "0.01", price)
    assert by_rest.code == 10006 and by_rest.headers["X-Bapi-Limit"] == str(most)
    wait_until(lambda: now_ms() >= int(by_rest.headers["X-Bapi-Limit-Reset-Timestamp"]), 2)
    assert trader.create("Buy", "0.01", price).code == 0
    trader.venue.control(limit_per_s=1000)
    trade.close()
    check_account(trader)


def test_faults_of_requests_befall_those_of_accounts_too(trader: Trader) -> None:
    price = trader.far()
    trader.venue.control(status_5xx=1, limit_10006=1, market=trader.category)
    assert trader.create("Buy", "0.01", price).status == 503
    assert trader.create("Buy", "0.01", price).code == 10006 and trader.found() == []


def test_the_truth_of_an_account_is_asked_for_by_its_key(spot_trader: Trader) -> None:
    got = requests.get(f"http://127.0.0.1:{spot_trader.venue.port}/control/account?key=nobody", timeout=5)
    assert got.status_code == 400 and "allowed: an API key" in got.json()["error"]
