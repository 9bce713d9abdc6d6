"""What may go wrong between a trader and the simulated Binance venue, and the sessions of its WebSocket API."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from binance_account import Account, check_balances, code_of, far_below
from binance_rig import Line, Venue

pytest_plugins = ("binance_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")

BTC = {"symbol": "BTCUSDT"}
UNKNOWN = "Unknown error, please check your request or try again later."


def order(account: Account, **more: object) -> dict[str, object]:
    given = BTC | {
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": far_below(account),
    }
    return given | more


def found(account: Account, client_id: str) -> bool:
    return account.request("GET", "order", **BTC, origClientOrderId=client_id).status == 200


# --- unknown outcomes -----------------------------------------------------------------------------------


def test_an_unknown_outcome_may_be_an_order(account: Account) -> None:
    account.venue.control(order_unknown=1, market=account.market)
    got = account.request("POST", "order", **order(account, newClientOrderId="lost"))
    assert (got.status, got.body["msg"]) == (503, UNKNOWN) and found(account, "lost")
    account.venue.control(order_unknown=1, market=account.market)
    assert account.request("DELETE", "order", **BTC, origClientOrderId="lost").status == 503
    assert account.done("GET", "order", **BTC, origClientOrderId="lost")["status"] == "CANCELED"


def test_an_unavailable_venue_has_done_nothing(account: Account) -> None:
    account.venue.control(order_unavailable=1, market=account.market)
    got = account.request("POST", "order", **order(account, newClientOrderId="never"))
    assert (got.status, got.body["msg"]) == (503, "Service Unavailable.") and not found(account, "never")
    assert account.request("POST", "order", **order(account, newClientOrderId="never")).status == 200


def test_a_connection_may_break_before_or_after_the_order_is_there(account: Account) -> None:
    for fault, is_there in (("request_cut", False), ("answer_cut", True)):
        account.venue.control(**{fault: 1}, market=account.market)
        with pytest.raises(requests.RequestException):
            account.request("POST", "order", **order(account, newClientOrderId=fault))
        assert found(account, fault) is is_there


def test_an_idle_connection_may_be_closed(account: Account) -> None:
    with socket.create_connection(("127.0.0.1", account.venue.port), 10) as sock:
        sock.sendall(b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 ")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        account.venue.control(close_idle=True)
        sock.settimeout(10)
        assert sock.recv(1) == b""


def test_an_answer_may_come_late_and_the_event_before_it(account: Account) -> None:
    line = account.user_data()
    account.venue.control(order_delayed=1, order_delay_ms=400, market=account.market)
    asked = time.monotonic()
    assert account.request("POST", "order", **order(account)).status == 200
    assert 0.4 <= time.monotonic() - asked < 2
    events = line.for_seconds(0.2)
    assert any(one["e"] in ("executionReport", "ORDER_TRADE_UPDATE") for one in events)
    line.close()


def test_an_acknowledgement_of_the_websocket_api_may_never_come(account: Account) -> None:
    api = account.api()
    account.venue.control(ack_dropped=1, market=account.market)
    api.send("order.place", **order(account, newClientOrderId="silent"))
    second = api.ask("order.status", **BTC, origClientOrderId="silent")
    assert second["result"]["status"] == "NEW" and not api.events
    account.venue.control(order_unknown=1, market=account.market)
    unknown = api.ask("order.place", **order(account, newClientOrderId="unknown"))
    assert (unknown["status"], unknown["error"]["msg"]) == (503, UNKNOWN) and found(account, "unknown")
    api.close()


def reports(events: list[Any]) -> list[str]:
    return [one.get("x") or one["o"]["x"] for one in events if one["e"] in ("executionReport", "ORDER_TRADE_UPDATE")]


def test_user_data_may_be_lost_doubled_and_late(account: Account) -> None:
    line = account.user_data()
    account.venue.control(drop_next_user=1, market=account.market)
    account.request("POST", "order", **order(account, newClientOrderId="one"))
    assert reports(line.for_seconds(0.3)) == []
    account.venue.control(double_next_user=1, market=account.market)
    account.done("DELETE", "order", **BTC, origClientOrderId="one")
    assert reports(line.for_seconds(0.3)) == ["CANCELED", "CANCELED"]
    account.venue.control(user_delay_ms=400, market=account.market)
    account.request("POST", "order", **order(account))
    account.venue.control(user_delay_ms=0, market=account.market)
    assert reports(line.for_seconds(0.2)) == [] and reports(line.for_seconds(0.5)) == ["NEW"]
    line.close()


# --- clock and keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-3000, 7000])
def test_a_venue_whose_clock_is_off_refuses_what_is_not_of_its_time(account: Account, offset: int) -> None:
    account.venue.control(clock_offset_ms=offset)
    try:
        assert code_of(account.request("GET", "openOrders"))[0] == -1021
        path = "/api/v3/time" if account.market == "spot" else "/fapi/v1/time"
        told = account.venue.json(path)["serverTime"]
        assert abs(told - time.time() * 1000 - offset) < 500
        assert account.request("GET", "openOrders", timestamp=told).status == 200
    finally:
        account.venue.control(clock_offset_ms=0)
    assert account.request("GET", "openOrders").status == 200


def test_a_revoked_key_opens_nothing_and_its_connections_are_told(spot: Account) -> None:
    line = spot.user_data()
    spot.venue.control(revoke_key=spot.key)
    got = spot.request("POST", "order", **order(spot))
    assert (got.status, got.code) == (401, -2015)
    told = [line.line.next(), line.line.next()]
    assert (told[0]["id"], told[0]["status"], told[0]["error"]["code"]) == (None, 401, -2015)
    assert told[1]["event"]["e"] == "eventStreamTerminated"
    spot.venue.control(restore_keys=True)
    assert spot.request("POST", "order", **order(spot)).status == 200
    line.close()


# --- order counts ---------------------------------------------------------------------------------------


def test_too_many_orders_are_refused_until_the_window_is_over(tmp_path: Path) -> None:
    venue = Venue(tmp_path, "--rate", 50, "--market", "spot", "--weight-limit", 1_000_000)
    try:
        spot = Account(venue, "spot")
        # The venue's clock stands: all of this is within one window, however long it takes here.
        venue.control(clock_stands=True)
        now = venue.json("/api/v3/time")["serverTime"]
        end = (now // 10_000 + 1) * 10_000
        got = [spot.buy("0.01", "30000", timestamp=now) for _ in range(130)]
        counts = [int(one.headers["X-MBX-ORDER-COUNT-10S"]) for one in got if one.status == 200]
        assert counts == list(range(1, 101)) and {(one.status, one.code) for one in got[100:]} == {(429, -1015)}
        assert int(got[100].headers["Retry-After"]) == -(-(end - now) // 1000)
        api = spot.api()
        told = api.ask("order.place", **order(spot, timestamp=now))
        assert (told["status"], told["error"]["code"]) == (429, -1015) and 0 <= told["error"]["data"][
            "retryAfter"
        ] - end < 1000
        api.close()
        venue.control(clock_offset_ms=10_000)
        now = venue.json("/api/v3/time")["serverTime"]
        assert spot.done("GET", "rateLimit/order", timestamp=now)[0]["count"] == 0
        before = spot.done("GET", "rateLimit/order", timestamp=now)[1]["count"]
        assert spot.buy("0.01", timestamp=now).status == 200
        assert spot.done("GET", "rateLimit/order", timestamp=now)[1]["count"] == before
    finally:
        venue.close()


# --- user data of USD-M ---------------------------------------------------------------------------------


def test_a_listen_key_is_the_accounts_until_it_ends(usdm: Account) -> None:
    key = usdm.send("POST", "listenKey").body["listenKey"]
    assert usdm.send("POST", "listenKey").body["listenKey"] == key
    assert usdm.send("PUT", "listenKey").status == 200
    forms = [
        f"/private/ws/{key}",
        f"/private/ws?listenKey={key}",
        f"/private/stream?listenKey={key}",
        "/private/stream",
    ]
    lines = [usdm.venue.open(one) for one in forms]
    assert lines[3].ask("SUBSCRIBE", [key]) == {"result": None, "id": 1}
    picky = usdm.venue.open(f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE")
    dead = usdm.venue.open("/private/ws/NoSuchKey")
    usdm.request("POST", "order", **order(usdm))
    for line, is_combined in zip(lines, (False, False, True, True), strict=True):
        told = line.for_seconds(0.2)
        events = [one["data"] if is_combined else one for one in told]
        assert [one["e"] for one in events] == ["ORDER_TRADE_UPDATE"]
        assert not is_combined or told[0]["stream"] == key
    usdm.buy("0.01")
    assert [one["e"] for one in picky.for_seconds(0.2)] == ["ACCOUNT_UPDATE"] and dead.for_seconds(0.1) == []
    for line in lines:
        line.for_seconds(0.1)
    usdm.venue.control(expire_listen_keys=True)
    assert lines[0].for_seconds(0.2)[0] | {"E": 0} == {"e": "listenKeyExpired", "E": 0, "listenKey": key}
    usdm.request("POST", "order", **order(usdm))
    assert lines[0].for_seconds(0.2) == []
    assert usdm.send("PUT", "listenKey").code == -1125
    assert usdm.send("POST", "listenKey").body["listenKey"] != key
    for line in (*lines, picky, dead):
        line.close()


def test_listen_keys_can_be_had_over_the_websocket_api(usdm: Account) -> None:
    api = usdm.api()
    key = api.ask("userDataStream.start", signed=False, apiKey=usdm.key)["result"]["listenKey"]
    assert api.ask("userDataStream.ping", signed=False, apiKey=usdm.key)["status"] == 200
    line = usdm.venue.open(f"/private/ws/{key}")
    placed = api.ask("order.place", **order(usdm))["result"]
    assert line.next()["o"]["i"] == placed["orderId"]
    changed = api.ask(
        "order.modify", **BTC, orderId=placed["orderId"], side="BUY", quantity="0.02", price=placed["price"]
    )
    assert changed["result"]["origQty"] == "0.020"
    assert line.next()["o"]["x"] == "AMENDMENT"
    assert api.ask("userDataStream.stop", signed=False, apiKey=usdm.key)["status"] == 200
    assert api.ask("userDataStream.ping", signed=False, apiKey=usdm.key)["error"]["code"] == -1125
    api.close()
    line.close()


# --- the WebSocket API ----------------------------------------------------------------------------------


def test_user_data_of_spot_is_subscribed_to_once_a_connection(spot: Account) -> None:
    api = spot.api()
    assert api.ask("userDataStream.subscribe")["error"]["code"] == -2015
    assert api.ask("userDataStream.subscribe.signature")["result"] == {"subscriptionId": 0}
    assert api.ask("userDataStream.subscribe.signature")["error"]["code"] == -2035
    assert api.ask("session.subscriptions", signed=False)["result"] == [{"subscriptionId": 0}]
    placed = api.ask("order.place", **order(spot))
    assert [one["e"] for one in api.for_seconds(0.2)] == ["executionReport", "outboundAccountPosition"]
    assert api.ask("userDataStream.unsubscribe", signed=False)["status"] == 200
    assert api.for_seconds(0.2)[0]["e"] == "eventStreamTerminated"
    api.ask("order.cancel", **BTC, orderId=placed["result"]["orderId"])
    assert api.for_seconds(0.2) == []
    assert api.ask("userDataStream.unsubscribe", signed=False)["error"]["code"] == -2036
    assert api.ask("userDataStream.subscribe.signature")["result"] == {"subscriptionId": 1}
    assert api.ask("session.logon")["status"] == 400
    api.close()


def raw(line: Line, text: str) -> Any:
    line.socket.send(text)
    return line.next()


def test_requests_that_are_none_are_answered(account: Account) -> None:
    api = account.api()
    for text in ("{", "[]", '{"id":1}', '{"id":1,"method":"ping","params":[]}', '{"id":1.5,"method":"ping"}'):
        got = raw(api.line, text)
        assert (got["id"], got["status"], got["error"]["code"]) == (None, 400, -1135)
    for id_ in (7, "text-id_1", None):
        assert raw(api.line, json.dumps({"id": id_, "method": "ping"}))["id"] == id_
    assert api.ask("order.place", signed=False, **BTC)["error"]["code"] == -1102
    wrong = api.ask(
        "openOrders.status" if account.market == "spot" else "account.status",
        signed=False,
        apiKey=account.key,
        timestamp=1,
        signature="00",
    )
    assert wrong["error"]["code"] == -1022
    api.close()


def test_everything_of_spot_is_there_over_the_websocket_api(spot: Account) -> None:
    api = spot.api()
    placed = api.ask("order.place", **order(spot, newOrderRespType="ACK"))["result"]
    assert set(placed) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert api.ask("order.test", **order(spot))["result"] == {}
    amended = api.ask("order.amend.keepPriority", **BTC, orderId=placed["orderId"], newQty="0.005")
    assert amended["result"]["amendedOrder"]["status"] == "NEW"
    replaced = api.ask(
        "order.cancelReplace", **order(spot), cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"]
    )
    assert replaced["result"]["cancelResult"] == "SUCCESS"
    again = api.ask(
        "order.cancelReplace", **order(spot), cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=placed["orderId"]
    )
    assert (again["status"], again["error"]["code"], again["error"]["data"]["newOrderResult"]) == (
        409,
        -2021,
        "SUCCESS",
    )
    assert len(api.ask("openOrders.status", **BTC)["result"]) == 2
    assert len(api.ask("openOrders.cancelAll", **BTC)["result"]) == 2
    assert api.ask("account.status")["result"]["accountType"] == "SPOT"
    assert api.ask("account.rateLimits.orders")["result"][0]["interval"] == "SECOND"
    assert api.ask("exchangeInfo", signed=False, symbol="BTCUSDT")["result"]["symbols"]
    api.close()
    check_balances(spot)


def test_the_truth_of_an_account_is_asked_for_by_its_key(spot: Account) -> None:
    got = requests.get(f"http://127.0.0.1:{spot.venue.port}/control/account?key=nobody", timeout=5)
    assert got.status_code == 400 and "allowed: an API key" in got.json()["error"]
