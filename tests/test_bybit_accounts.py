"""Accounts and orders on the simulated Bybit venue as a process, checked by a trader written from the documents."""

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from binance_rig import wait_until
from bybit_account import TICK, Trader, check_account

pytest_plugins = ("bybit_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")


def level(trader: Trader, price: str) -> Decimal:
    book = trader.venue.json("/v5/market/orderbook", category=trader.category, symbol="BTCUSDT", limit=1000)["result"]
    return sum((Decimal(qty) for at, qty in book["b"] if Decimal(at) == Decimal(price)), Decimal(0))


def ends(rows: list[Any]) -> list[tuple[str, str, str]]:
    return [(one["orderStatus"], one["cancelType"], one["rejectReason"]) for one in rows]


# --- lives of orders ------------------------------------------------------------------------------------


def test_an_order_rests_in_the_book_and_leaves_it_with_its_cancel(trader: Trader) -> None:
    price = trader.far()
    trader.venue.control(freeze=True)
    before = level(trader, price)
    made = trader.create("Buy", "0.012", price, orderLinkId=f"rests-{trader.category}").result
    assert set(made) == {"orderId", "orderLinkId"} and made["orderLinkId"] == f"rests-{trader.category}"
    assert (
        made["orderId"].isdigit() if trader.category == "spot" else str(uuid.UUID(made["orderId"])) == made["orderId"]
    )
    assert level(trader, price) == before + Decimal("0.012")
    row = trader.found(orderLinkId=made["orderLinkId"])[0]
    assert row["orderId"] == made["orderId"] and row["orderStatus"] == "New" and Decimal(row["qty"]) == Decimal("0.012")
    assert [one["orderId"] for one in trader.found()] == [made["orderId"]] and trader.found(openOnly=1) == []
    check_account(trader)
    assert trader.cancel(orderId=made["orderId"]).result == made
    assert level(trader, price) == before and trader.found() == []
    assert ends(trader.found(orderId=made["orderId"])) == [("Cancelled", "CancelByUser", "EC_PerCancelRequest")]
    assert trader.found(openOnly=1)[0]["orderId"] == made["orderId"]
    again = trader.cancel(orderId=made["orderId"])
    assert (again.status, again.code) == (200, 170213 if trader.category == "spot" else 110001)
    check_account(trader)


def test_a_link_id_is_used_once_and_for_all(trader: Trader) -> None:
    link, code = f"once-{trader.category}", 170141 if trader.category == "spot" else 110072
    assert trader.create("Buy", "0.01", trader.far(), orderLinkId=link).code == 0
    assert trader.create("Buy", "0.01", trader.far(), orderLinkId=link).code == code
    assert trader.cancel(orderLinkId=link).code == 0
    assert trader.create("Buy", "0.01", trader.far(), orderLinkId=link).code == code


def test_a_market_order_executes_by_the_ids_of_the_public_trades(trader: Trader) -> None:
    trader.venue.control(freeze=True)
    line = trader.venue.open(f"/v5/public/{trader.category}")
    line.socket.send(json.dumps({"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}))
    private = trader.private()
    made = trader.create("Buy", "0.3").result
    rows = private.rows("execution")
    prints = [row for one in line.for_seconds(0.4) if one.get("topic") for row in one["data"]]
    assert [one["execId"] for one in rows] == [one["i"] for one in prints] and rows
    for own, public in zip(rows, prints, strict=True):
        assert Decimal(own["execPrice"]) == Decimal(public["p"]) and Decimal(own["execQty"]) == Decimal(public["v"])
        assert (own["side"], own["isMaker"], own["execType"]) == ("Buy", False, "Trade") and public["S"] == "Buy"
        assert own["seq"] == public["seq"] and own["execTime"] == str(public["T"])
    assert [one["execId"] for one in trader.executions(orderId=made["orderId"])] == [one["execId"] for one in rows][
        ::-1
    ]
    assert sum(Decimal(one["execQty"]) for one in rows) == Decimal("0.3")
    row = trader.one(made["orderId"])
    assert (row["orderStatus"], row["timeInForce"], row["orderType"]) == ("Filled", "IOC", "Market")
    assert Decimal(row["cumExecQty"]) == Decimal("0.3") and Decimal(row["leavesQty"]) == 0
    check_account(trader)
    line.close()
    private.close()


def test_what_befalls_an_order_is_told_on_the_private_topics(trader: Trader) -> None:
    private = trader.private()
    made = trader.create("Buy", "0.01", trader.far(), timeInForce="PostOnly").result
    trader.amend(orderId=made["orderId"], qty="0.02")
    trader.cancel(orderId=made["orderId"])
    events = private.for_seconds(0.4)
    orders = [row for one in events if one["topic"] == "order" for row in one["data"]]
    assert [(one["orderStatus"], Decimal(one["qty"])) for one in orders] == [
        ("New", Decimal("0.01")), ("New", Decimal("0.02")), ("Cancelled", Decimal("0.02")),
    ]  # fmt: skip
    assert {one["orderId"] for one in orders} == {made["orderId"]} and orders[0]["timeInForce"] == "PostOnly"
    assert all(one["id"] and one["creationTime"] > 0 for one in events) and len({one["id"] for one in events}) == len(
        events
    )
    topics = {one["topic"] for one in events}
    assert topics == ({"order", "wallet"} if trader.category == "spot" else {"order", "position"})
    private.close()


def test_topics_of_one_category_tell_of_that_alone(spot_trader: Trader, linear_trader: Trader) -> None:
    private = spot_trader.private("order.linear", "execution.linear", "position.linear")
    refused = private.ask({"op": "subscribe", "args": ["wallet", "order", "order.spot"]})
    assert not refused["success"] and not private.ask({"op": "subscribe", "args": ["order.linear"]})["success"]
    assert not private.ask({"op": "subscribe", "args": ["dance"]})["success"]
    assert private.ask({"op": "ping", "req_id": "p1"})["op"] == "pong"
    for one in (spot_trader, linear_trader):
        one.create("Buy", "0.01", one.far())
    told = private.for_seconds(0.4)
    assert {one["topic"] for one in told} == {"order.linear", "position.linear"}
    assert all(row["category"] == "linear" for one in told for row in one["data"])
    private.close()


# --- times in force -------------------------------------------------------------------------------------


def test_a_post_only_order_that_would_take_is_received_and_then_cancelled(trader: Trader) -> None:
    private = trader.private("order")
    trader.venue.control(freeze=True)
    made = trader.create("Buy", "0.01", str(trader.best()[1]), timeInForce="PostOnly").result
    assert ends(private.rows("order")) == [("Cancelled", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity")]
    assert trader.executions(orderId=made["orderId"]) == []
    check_account(trader)
    private.close()


def test_what_is_left_of_an_immediate_order_is_cancelled(trader: Trader) -> None:
    private = trader.private("order", "execution")
    trader.venue.control(freeze=True)
    book = trader.venue.json("/v5/market/orderbook", category=trader.category, symbol="BTCUSDT", limit=1)["result"]
    price, there = book["a"][0]
    made = trader.create("Buy", str(Decimal(there) + 1), price, timeInForce="IOC").result
    row = private.rows("order")[-1]
    status = "PartiallyFilledCanceled" if trader.category == "spot" else "Cancelled"
    assert ends([row]) == [(status, "UNKNOWN", "EC_NoImmediateQtyToFill")]
    assert Decimal(row["cumExecQty"]) == Decimal(there) and row["orderId"] == made["orderId"]
    trader.create("Buy", "0.01", trader.far(), timeInForce="IOC")
    assert ends(private.rows("order")) == [("Cancelled", "UNKNOWN", "EC_NoImmediateQtyToFill")]
    bid = trader.best()[1]
    trader.create("Buy", "8", str(bid), timeInForce="FOK")
    assert ends(private.rows("order")) == [("Cancelled", "UNKNOWN", "EC_CancelForNoFullFill")]
    check_account(trader)
    private.close()


def test_the_flow_takes_a_resting_order(trader: Trader) -> None:
    private = trader.private("order", "execution")
    trader.venue.control(freeze=True)
    bid, ask = trader.best()
    made = trader.create("Buy", "0.005", str(max(bid, ask - TICK[trader.category])), timeInForce="PostOnly").result
    trader.venue.control(freeze=False)
    wait_until(lambda: trader.found(openOnly=1, orderId=made["orderId"])[0]["orderStatus"] == "Filled", 60)
    rows = [one for one in private.rows("execution", 0.5) if one["orderId"] == made["orderId"]]
    assert rows and all(one["isMaker"] for one in rows)
    assert sum(Decimal(one["execQty"]) for one in rows) == Decimal("0.005")
    check_account(trader)
    private.close()


# --- order entry over WebSocket -------------------------------------------------------------------------


def test_orders_are_entered_changed_and_cancelled_over_websocket(trader: Trader) -> None:
    trade, private = trader.trade(), trader.private("order")
    got = trade.do("order.create", **trader.order("Buy", "0.01", trader.far(), orderLinkId=f"ws-{trader.category}"))
    assert got["retCode"] == 0 and got["data"]["orderLinkId"] == f"ws-{trader.category}" and got["connId"]
    assert {"X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp", "Timenow"} <= set(got["header"])
    order_id = got["data"]["orderId"]
    assert trade.do("order.amend", orderId=order_id, price=str(int(trader.far()) - 1))["retCode"] == 0
    assert trade.do("order.cancel", orderLinkId=f"ws-{trader.category}")["data"]["orderId"] == order_id
    gone = trade.do("order.cancel", orderId=order_id)
    assert gone["retCode"] == (170213 if trader.category == "spot" else 110001) and gone["data"] == {}
    assert [one["orderStatus"] for one in private.rows("order")] == ["New", "New", "Cancelled"]
    assert trade.do("order.dance")["retCode"] == 10404
    assert trade.ask({"op": "ping"})["op"] == "pong"
    assert trade.ask({"reqId": "again", "op": "auth", "args": trader.auth()})["retCode"] == 20001
    trade.close()
    private.close()
