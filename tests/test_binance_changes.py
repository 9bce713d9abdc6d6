"""Changes of orders on the simulated Binance venue: amend, modify, cancel-replace, batches, and what the venue cancels itself."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from binance_account import Account, check_balances, code_of, far_below
from binance_rig import wait_until

pytest_plugins = ("binance_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")

BTC = {"symbol": "BTCUSDT"}


def status_of(account: Account, id_: int) -> str:
    return str(account.done("GET", "order", **BTC, orderId=id_)["status"])


# --- spot -----------------------------------------------------------------------------------------------


def test_an_amended_order_keeps_its_id_and_its_place(spot: Account) -> None:
    spot.venue.control(freeze=True)
    line, price = spot.user_data(), far_below(spot)
    made = spot.buy("0.03", price, newClientOrderId="whole").body
    got = spot.done(
        "PUT", "order/amend/keepPriority", **BTC, orderId=made["orderId"], newQty="0.02", newClientOrderId="part"
    )
    assert (got["amendedOrder"]["orderId"], got["amendedOrder"]["clientOrderId"]) == (made["orderId"], "part")
    assert Decimal(got["amendedOrder"]["qty"]) == Decimal("0.02")
    refused = spot.request("PUT", "order/amend/keepPriority", **BTC, orderId=made["orderId"], newQty="0.02")
    assert code_of(refused) == (-2038, "Order amend (quantity increase) is not supported.")
    assert spot.done("GET", "order", **BTC, origClientOrderId="part")["status"] == "NEW"
    check_balances(spot)
    told = [one for one in line.for_seconds(0.3) if one["e"] == "executionReport"]
    assert [(one["x"], one["c"], one["C"], Decimal(one["q"])) for one in told] == [
        ("NEW", "whole", "", Decimal("0.03")), ("REPLACED", "part", "whole", Decimal("0.02")),
    ]  # fmt: skip
    for left in range(9):
        spot.done(
            "PUT",
            "order/amend/keepPriority",
            **BTC,
            orderId=made["orderId"],
            newQty=str(Decimal("0.019") - left * Decimal("0.001")),
        )
    last = spot.request("PUT", "order/amend/keepPriority", **BTC, orderId=made["orderId"], newQty="0.001")
    assert code_of(last) == (-1013, "Filter failure: MAX_NUM_ORDER_AMENDS")
    line.close()


def replaced(spot: Account, mode: str, cancel: object, **new: object) -> Any:
    given = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": far_below(spot)}
    return spot.request(
        "POST", "order/cancelReplace", **BTC, cancelReplaceMode=mode, **{"cancelOrderId": cancel}, **(given | new)
    )


def test_cancel_replace_says_what_became_of_each_part(spot: Account) -> None:
    first = spot.buy("0.01", far_below(spot)).body["orderId"]
    got = replaced(spot, "STOP_ON_FAILURE", first)
    assert got.status == 200 and (got.body["cancelResult"], got.body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert status_of(spot, first) == "CANCELED"
    second = got.body["newOrderResponse"]["orderId"]
    got = replaced(spot, "STOP_ON_FAILURE", first)
    assert (got.status, got.code) == (400, -2022)
    assert (got.body["data"]["cancelResult"], got.body["data"]["newOrderResult"]) == ("FAILURE", "NOT_ATTEMPTED")
    assert got.body["data"]["cancelResponse"]["code"] == -2011
    got = replaced(spot, "ALLOW_FAILURE", first)
    assert (got.status, got.code, got.body["data"]["newOrderResult"]) == (409, -2021, "SUCCESS")
    got = replaced(spot, "STOP_ON_FAILURE", second, price="1")
    assert (got.status, got.code) == (409, -2021)
    assert (got.body["data"]["cancelResult"], got.body["data"]["newOrderResult"]) == ("SUCCESS", "FAILURE")
    assert status_of(spot, second) == "CANCELED" and len(spot.done("GET", "openOrders", **BTC)) == 1
    got = replaced(spot, "ALLOW_FAILURE", first, price="1")
    assert (got.status, got.body["data"]["newOrderResult"]) == (400, "FAILURE")


def test_a_cancel_may_be_for_orders_in_one_state_only(spot: Account) -> None:
    made = spot.buy("0.01", far_below(spot)).body
    refused = spot.request(
        "DELETE", "order", **BTC, orderId=made["orderId"], cancelRestrictions="ONLY_PARTIALLY_FILLED"
    )
    assert code_of(refused)[0] == -2011
    gone = spot.done(
        "DELETE", "order", **BTC, orderId=made["orderId"], cancelRestrictions="ONLY_NEW", newClientOrderId="mine"
    )
    assert (gone["clientOrderId"], gone["origClientOrderId"]) == ("mine", made["clientOrderId"])


def test_listen_keys_of_spot_are_gone(spot: Account) -> None:
    assert spot.send("POST", "userDataStream").status == 410


# --- USD-M ----------------------------------------------------------------------------------------------


def test_a_modified_order_keeps_its_ids_and_is_what_was_asked_for(usdm: Account) -> None:
    line, price = usdm.user_data(), int(far_below(usdm))
    made = usdm.buy("0.010", str(price), newClientOrderId="changes").body
    got = usdm.done(
        "PUT", "order", **BTC, side="BUY", origClientOrderId="changes", quantity="0.020", price=price + 1, modifyId=7
    )
    assert (got["orderId"], got["clientOrderId"], got["origQty"], Decimal(got["price"])) == (
        made["orderId"],
        "changes",
        "0.020",
        price + 1,
    )
    same = usdm.request("PUT", "order", **BTC, side="BUY", orderId=made["orderId"], quantity="0.020", price=price + 1)
    assert code_of(same)[0] == -5027
    assert (
        code_of(
            usdm.request("PUT", "order", **BTC, side="SELL", orderId=made["orderId"], quantity="0.01", price=price)
        )[0]
        == -1117
    )
    assert code_of(usdm.request("PUT", "order", **BTC, side="BUY", orderId=1, quantity="0.01", price=price))[0] == -2013
    assert (
        code_of(
            usdm.request("PUT", "order", **BTC, side="BUY", orderId=made["orderId"], quantity="0.01", price="9000000")
        )[0]
        == -4002
    )
    assert status_of(usdm, made["orderId"]) == "NEW"
    told = [one["o"] for one in line.for_seconds(0.3) if one["e"] == "ORDER_TRADE_UPDATE"]
    assert [(one["x"], one["q"], one.get("M")) for one in told] == [("NEW", "0.010", None), ("AMENDMENT", "0.020", 7)]
    line.close()


def test_a_post_only_order_that_a_change_would_make_take_is_cancelled(usdm: Account) -> None:
    made = usdm.buy("0.010", far_below(usdm), timeInForce="GTX").body
    got = usdm.done(
        "PUT", "order", **BTC, side="BUY", orderId=made["orderId"], quantity="0.010", price=int(usdm.best()[1]) + 200
    )
    assert got["status"] == "CANCELED" and usdm.truth()["openOrders"] == []


def test_a_change_below_what_is_executed_cancels(usdm: Account) -> None:
    usdm.venue.control(freeze=True)
    price, qty = usdm.venue.json("/fapi/v1/depth", **BTC, limit=5)["asks"][0]
    made = usdm.buy(str(Decimal(qty) + Decimal("0.01")), price, newOrderRespType="RESULT").body
    assert made["status"] == "PARTIALLY_FILLED"
    got = usdm.done("PUT", "order", **BTC, side="BUY", orderId=made["orderId"], quantity=qty, price=price)
    assert (got["status"], got["executedQty"]) == ("CANCELED", qty)
    check_balances(usdm)


def test_each_of_a_batch_is_answered_for_itself(usdm: Account) -> None:
    one = BTC | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": far_below(usdm)}
    before = usdm.done("GET", "rateLimit/order")
    got = usdm.done("POST", "batchOrders", batchOrders=json.dumps([one, one | {"quantity": "0"}, one]))
    after = usdm.done("GET", "rateLimit/order")
    assert [part.get("code") for part in got] == [None, -4003, None]
    assert {b["interval"]: b["count"] - a["count"] for a, b in zip(before, after, strict=True)} == {
        "SECOND": 5,
        "MINUTE": 1,
    }
    ids = [part["orderId"] for part in got if "orderId" in part]
    changed = [BTC | {"side": "BUY", "orderId": id_, "quantity": "0.02", "price": far_below(usdm)} for id_ in ids]
    assert {part["origQty"] for part in usdm.done("PUT", "batchOrders", batchOrders=json.dumps(changed))} == {"0.020"}
    gone = usdm.done("DELETE", "batchOrders", **BTC, orderIdList=json.dumps([*ids, 1]))
    assert [part.get("status", part.get("code")) for part in gone] == ["CANCELED", "CANCELED", -2011]
    assert code_of(usdm.request("POST", "batchOrders", batchOrders=json.dumps([one] * 6)))[0] == -4082


def test_the_dead_mans_switch_cancels_unless_it_is_held(usdm: Account) -> None:
    made = usdm.buy("0.01", far_below(usdm)).body
    for _ in range(4):
        assert usdm.done("POST", "countdownCancelAll", **BTC, countdownTime=600)["countdownTime"] == "600"
        time.sleep(0.3)
    assert status_of(usdm, made["orderId"]) == "NEW"
    wait_until(lambda: status_of(usdm, made["orderId"]) == "CANCELED", 2)
    kept = usdm.buy("0.01", far_below(usdm)).body
    usdm.done("POST", "countdownCancelAll", **BTC, countdownTime=300)
    usdm.done("POST", "countdownCancelAll", **BTC, countdownTime=0)
    time.sleep(0.5)
    assert status_of(usdm, kept["orderId"]) == "NEW"


def test_a_reduce_only_order_reduces_and_ends_with_the_position(usdm: Account) -> None:
    assert code_of(usdm.sell("0.01", reduceOnly="true"))[0] == -2022
    assert usdm.buy("0.05").status == 200
    dear = str(int(usdm.best()[1]) + 2000)
    assert code_of(usdm.buy("0.01", far_below(usdm), reduceOnly="true"))[0] == -2022
    assert code_of(usdm.sell("0.06", dear, reduceOnly="true"))[0] == -2022
    first = usdm.sell("0.03", dear, reduceOnly="true").body
    second = usdm.sell("0.02", dear, reduceOnly="true").body
    assert code_of(usdm.sell("0.001", dear, reduceOnly="true"))[0] == -2022
    assert usdm.sell("0.01").status == 200
    wait_until(lambda: status_of(usdm, second["orderId"]) == "EXPIRED", 2)
    assert status_of(usdm, first["orderId"]) == "NEW"
    assert usdm.sell("0.04").status == 200
    wait_until(lambda: status_of(usdm, first["orderId"]) == "EXPIRED", 2)
    check_balances(usdm)


def test_a_position_has_its_entry_price_margin_and_profit(usdm: Account) -> None:
    made = usdm.buy("0.1", newOrderRespType="RESULT").body
    held = usdm.done("GET", "/fapi/v3/positionRisk", **BTC)[0]
    average = Decimal(usdm.done("GET", "order", **BTC, orderId=made["orderId"])["cumQuote"]) / Decimal("0.1")
    assert held["positionAmt"] == "0.100" and abs(Decimal(held["entryPrice"]) - average) < Decimal("0.00000001")
    profit = (Decimal(held["markPrice"]) - average) * Decimal("0.1")
    assert abs(Decimal(held["unRealizedProfit"]) - profit) < Decimal("0.00000002")
    account = usdm.done("GET", "/fapi/v3/account")
    assert Decimal(account["totalMarginBalance"]) == Decimal(account["totalWalletBalance"]) + Decimal(
        account["totalUnrealizedProfit"]
    )
    assert Decimal(account["availableBalance"]) == Decimal(account["totalMarginBalance"]) - Decimal(
        account["totalInitialMargin"]
    )
    assert usdm.done("GET", "/fapi/v3/balance")[0]["asset"] == "USDT"
    closed = usdm.sell("0.1", newOrderRespType="RESULT").body
    fills = usdm.done("GET", "userTrades", **BTC, orderId=closed["orderId"])
    got = sum(Decimal(one["quoteQty"]) for one in fills)
    assert sum(Decimal(one["realizedPnl"]) for one in fills) == got - average * Decimal("0.1")
    assert usdm.done("GET", "/fapi/v3/positionRisk", **BTC) == []


def test_how_an_account_is_set_up_can_be_asked(usdm: Account) -> None:
    assert usdm.done("GET", "positionSide/dual") == {"dualSidePosition": False}
    assert usdm.done("GET", "multiAssetsMargin") == {"multiAssetsMargin": False}
    assert usdm.done("GET", "commissionRate", **BTC)["takerCommissionRate"] == "0.000500"
    assert usdm.done("GET", "leverageBracket", **BTC)[0]["symbol"] == "BTCUSDT"
    assert code_of(usdm.request("POST", "marginType", **BTC, marginType="CROSSED"))[0] == -4046
    assert code_of(usdm.request("POST", "leverage", **BTC, leverage=500))[0] == -4028


def test_orders_and_executions_are_found_by_id_and_time(account: Account) -> None:
    ids = [account.buy("0.01", far_below(account)).body["orderId"] for _ in range(3)]
    account.done("DELETE", "order", **BTC, orderId=ids[0])
    path = "myTrades" if account.market == "spot" else "userTrades"
    taken = account.buy("0.02").body["orderId"]
    every = [one["orderId"] for one in account.done("GET", "allOrders", **BTC, orderId=ids[1])]
    assert every == [*ids[1:], taken] == list(range(ids[1], ids[1] + 3))
    assert account.done("GET", "allOrders", **BTC, limit=1)[0]["orderId"] == taken
    fills = account.done("GET", path, **BTC, orderId=taken)
    assert sum(Decimal(one["qty"]) for one in fills) == Decimal("0.02")
    assert account.done("GET", path, **BTC, fromId=fills[0]["id"]) == fills
    assert account.done("GET", path, **BTC, startTime=fills[-1]["time"] + 1) == []


QUESTIONS = {
    "spot": ("openOrders", "allOrders", "myTrades", "account", "account/commission", "rateLimit/order"),
    "usdm": (
        "openOrders", "allOrders", "userTrades", "rateLimit/order", "commissionRate", "positionSide/dual", "accountConfig",
        "multiAssetsMargin", "symbolConfig", "leverageBracket", "/fapi/v2/account", "/fapi/v3/account", "/fapi/v2/balance",
        "/fapi/v3/balance", "/fapi/v2/positionRisk", "/fapi/v3/positionRisk",
    ),
}  # fmt: skip


def test_whatever_can_be_asked_is_answered(account: Account) -> None:
    made = account.buy("0.01", far_below(account)).body
    for path in QUESTIONS[account.market]:
        assert account.request("GET", path, **BTC).status == 200, path
    if account.market == "usdm":
        assert account.done("GET", "openOrder", **BTC, orderId=made["orderId"])["status"] == "NEW"
        assert code_of(account.request("GET", "openOrder", **BTC, orderId=1))[0] == -2013
        assert account.send("DELETE", "listenKey").status == 200
