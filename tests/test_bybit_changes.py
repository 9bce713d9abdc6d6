"""Changes and refusals of orders on the simulated Bybit venue: amend, batches, cancel-all, self-match, reduce-only, filters, pages."""

import time
from decimal import Decimal
from typing import Any

import pytest
from bybit_account import TICK, Trader, check_account, now_ms

pytest_plugins = ("bybit_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")


def ends(rows: list[Any]) -> list[tuple[str, str, str]]:
    return [(one["orderStatus"], one["cancelType"], one["rejectReason"]) for one in rows]


# --- amend ----------------------------------------------------------------------------------------------


def test_an_amended_order_keeps_its_id_and_has_another_price_or_total(trader: Trader) -> None:
    price = int(trader.far())
    made = trader.create("Buy", "0.01", str(price)).result
    assert trader.amend(orderId=made["orderId"], qty="0.03").result["orderId"] == made["orderId"]
    assert trader.amend(orderId=made["orderId"], price=str(price - 1)).code == 0
    row = trader.one(made["orderId"])
    assert (Decimal(row["qty"]), Decimal(row["price"]), row["orderStatus"]) == (Decimal("0.03"), price - 1, "New")
    check_account(trader)
    assert trader.amend(orderId=made["orderId"], qty="0.03", price=str(price - 1)).code == 10001
    assert trader.amend(orderId=made["orderId"], qty="0.01").code == 0
    assert trader.amend(orderId=made["orderId"], qty="0").code == (170313 if trader.category == "spot" else 110064)
    assert trader.amend(orderLinkId="nobody", qty="0.01").code == (170213 if trader.category == "spot" else 110001)
    check_account(trader)


def test_a_total_below_what_is_executed_is_refused(trader: Trader) -> None:
    trader.venue.control(freeze=True)
    book = trader.venue.json("/v5/market/orderbook", category=trader.category, symbol="BTCUSDT", limit=1)["result"]
    price, there = book["a"][0]
    made = trader.create("Buy", str(Decimal(there) * 2), price).result
    assert trader.one(made["orderId"])["orderStatus"] == "PartiallyFilled"
    code = 170313 if trader.category == "spot" else 110064
    assert trader.amend(orderId=made["orderId"], qty=there).code == code
    less = str(Decimal(there) + Decimal("0.01"))
    assert trader.amend(orderId=made["orderId"], qty=less).code == 0
    assert trader.one(made["orderId"])["leavesQty"] == "0.01"
    check_account(trader)


def test_a_post_only_order_that_is_amended_to_take_is_cancelled(trader: Trader) -> None:
    trader.venue.control(freeze=True)
    private = trader.private("order")
    made = trader.create("Buy", "0.01", trader.far(), timeInForce="PostOnly").result
    assert trader.amend(orderId=made["orderId"], price=str(trader.best()[1])).code == 0
    assert ends(private.rows("order"))[-1] == ("Cancelled", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity")
    check_account(trader)
    private.close()


# --- several at once ------------------------------------------------------------------------------------


def test_each_order_of_a_batch_is_answered_for_itself(trader: Trader) -> None:
    head, price = {"symbol": "BTCUSDT"}, trader.far()
    orders = [head | trader.order("Buy", qty, price) for qty in ("0.01", "1000", "0.02")]
    got = trader.post("/v5/order/create-batch", request=orders)
    made = got.result["list"]
    assert [one["code"] == 0 for one in got.body["retExtInfo"]["list"]] == [True, False, True]
    assert [bool(one["orderId"]) for one in made] == [True, False, True]
    ids = [one["orderId"] for one in made if one["orderId"]]
    changes = [head | {"orderId": one, "qty": "0.03"} for one in ids]
    assert [
        one["code"] for one in trader.post("/v5/order/amend-batch", request=changes).body["retExtInfo"]["list"]
    ] == [0, 0]
    assert {one["qty"] for one in trader.found()} == {"0.03"}
    cancels = [head | {"orderId": one} for one in (*ids, ids[0])]
    codes = [one["code"] for one in trader.post("/v5/order/cancel-batch", request=cancels).body["retExtInfo"]["list"]]
    assert codes == [0, 0, 170213 if trader.category == "spot" else 110001] and trader.found() == []
    most = 10 if trader.category == "spot" else 20
    assert trader.post("/v5/order/create-batch", request=orders * most).code == 10001
    trade = trader.trade()
    told = trade.do("order.create-batch", request=orders)
    assert [one["code"] == 0 for one in told["retExtInfo"]["list"]] == [True, False, True] and told["retCode"] == 0
    trade.close()


def test_all_orders_of_a_symbol_are_cancelled_at_once(trader: Trader) -> None:
    made = [trader.create("Buy", "0.01", trader.far()).result["orderId"] for _ in range(3)]
    got = trader.post("/v5/order/cancel-all")
    assert [one["orderId"] for one in got.result["list"]] == made and trader.found() == []
    scope = {"symbol": "", "settleCoin": "USDT"} if trader.category == "linear" else {"symbol": ""}
    trader.create("Buy", "0.01", trader.far())
    assert trader.post("/v5/order/cancel-all", symbol="").code == (0 if trader.category == "spot" else 10001)
    trader.post("/v5/order/cancel-all", **scope)
    assert trader.truth()[trader.category]["openOrders"] == []


def test_lists_come_in_pages_newest_first(trader: Trader) -> None:
    made = [trader.create("Buy", "0.01", trader.far()).result["orderId"] for _ in range(5)]
    found: list[str] = []
    query = f"category={trader.category}&symbol=BTCUSDT&limit=2"
    cursor = ""
    while True:
        if len(found) == 2:
            # What is over between two pages moves nothing.
            trader.cancel(orderId=made[-1])
        # A cursor goes back as it came: it is percent-encoded already.
        page = trader.send("GET", "/v5/order/realtime", query + (f"&cursor={cursor}" if cursor else "")).result
        found += [one["orderId"] for one in page["list"]]
        cursor = page["nextPageCursor"]
        if not cursor:
            break
        assert "%" in cursor and len(page["list"]) == 2
    assert found == made[::-1]
    assert trader.get("/v5/order/realtime", symbol="BTCUSDT", cursor="nonsense").code == 10001
    unscoped = trader.get("/v5/order/realtime")
    assert unscoped.code == (0 if trader.category == "spot" else 10001)


def test_executions_come_in_pages_newest_first(trader: Trader) -> None:
    for _ in range(5):
        trader.create("Buy", "0.01")
    fills = [one["execId"] for one in trader.truth()[trader.category]["fills"]]
    query, cursor, found = f"category={trader.category}&limit=2", "", list[str]()
    for _ in range(len(fills)):
        page = trader.send("GET", "/v5/execution/list", query + (f"&cursor={cursor}" if cursor else "")).result
        if not found:
            trader.create("Sell", "0.01")
        found += [one["execId"] for one in page["list"]]
        cursor = page["nextPageCursor"]
        if not cursor:
            break
    assert found == fills[::-1] and len(found) >= 5
    last = trader.executions(startTime=now_ms() - 60_000)[0]
    assert trader.executions(startTime=int(last["execTime"]) + 1) == []
    assert trader.get("/v5/execution/list", startTime=1, endTime=8 * 86_400_000).code == 10001


# --- self-match -----------------------------------------------------------------------------------------

#: By smpType: what becomes of the resting order and of the one that meets it.
MATCHED = {"CancelMaker": (True, False), "CancelTaker": (False, True), "CancelBoth": (True, True)}


@pytest.mark.parametrize("kind", MATCHED)
def test_an_order_that_meets_its_owners_ends_as_it_asks(trader: Trader, kind: str) -> None:
    trader.venue.control(freeze=True)
    bid, ask = trader.best()
    if ask - bid <= TICK[trader.category]:
        # Make room between the best prices.
        trader.create("Buy", str(sum(Decimal(qty) for _, qty in top(trader, "a", 1))))
        bid, ask = trader.best()
    price = str(ask - TICK[trader.category])
    rests = trader.create("Buy", "0.01", price).result["orderId"]
    takes = trader.create("Sell", "0.01", price, smpType=kind).result["orderId"]
    for order, other, is_cancelled in zip((rests, takes), (takes, rests), MATCHED[kind], strict=True):
        row = trader.one(order)
        assert (row["cancelType"] == "CancelBySmp") == is_cancelled
        assert row["orderStatus"] == "Cancelled" if is_cancelled else row["orderStatus"] != "Cancelled"
        assert not is_cancelled or (row["smpOrderId"], row["rejectReason"]) == (other, "EC_BySelfMatch")
    check_account(trader)


def test_an_account_may_trade_with_itself_and_is_told_of_both_sides(trader: Trader) -> None:
    trader.venue.control(freeze=True)
    bid, ask = trader.best()
    if ask - bid <= TICK[trader.category]:
        trader.create("Buy", str(sum(Decimal(qty) for _, qty in top(trader, "a", 1))))
        bid, ask = trader.best()
    price = str(ask - TICK[trader.category])
    trader.create("Buy", "0.01", price, orderLinkId=f"self-{trader.category}")
    trader.create("Sell", "0.01", price, timeInForce="IOC")
    taker, maker = trader.executions()[:2]
    assert (taker["isMaker"], maker["isMaker"], taker["execPrice"]) == (False, True, maker["execPrice"])
    assert taker["execId"] != maker["execId"] and maker["orderLinkId"] == f"self-{trader.category}"
    check_account(trader)


def top(trader: Trader, side: str, count: int) -> list[list[str]]:
    got = trader.venue.json("/v5/market/orderbook", category=trader.category, symbol="BTCUSDT", limit=count)["result"]
    return list(got[side])


# --- contracts ------------------------------------------------------------------------------------------


def test_a_reduce_only_order_is_cut_down_to_the_position(linear_trader: Trader) -> None:
    linear_trader.venue.control(freeze=True)
    assert linear_trader.create("Sell", "0.01", reduceOnly=True).code == 110017
    linear_trader.create("Buy", "0.05")
    high = str(int(linear_trader.best()[1]) + 50)
    first = linear_trader.create("Sell", "0.02", high, reduceOnly=True).result["orderId"]
    rest = linear_trader.create("Sell", "0.2", high, reduceOnly=True).result["orderId"]
    assert (
        linear_trader.one(rest)["qty"] == "0.03"
        and linear_trader.create("Sell", "0.01", high, reduceOnly=True).code == 110017
    )
    assert linear_trader.create("Buy", "0.01", linear_trader.far(), reduceOnly=True).code == 110017
    linear_trader.create("Sell", "0.03")
    # The youngest goes first, when the position has become smaller than what would reduce it.
    assert ends([linear_trader.one(rest)])[0][:2] == ("Cancelled", "CancelByReduceOnly")
    assert linear_trader.one(first)["orderStatus"] == "New"
    linear_trader.cancel(orderId=first)
    closed = linear_trader.create("Sell", "0", reduceOnly=True, closeOnTrigger=True).result["orderId"]
    assert linear_trader.one(closed)["qty"] == "0.02" and linear_trader.one(closed)["orderStatus"] == "Filled"
    row = linear_trader.executions(orderId=closed)[0]
    assert row["closedSize"] == row["execQty"]
    check_account(linear_trader)


def test_positions_are_told_as_the_account_has_them(linear_trader: Trader) -> None:
    linear_trader.venue.control(freeze=True)
    assert linear_trader.get("/v5/position/list", settleCoin="USDT").result["list"] == []
    flat = linear_trader.get("/v5/position/list", symbol="BTCUSDT").result["list"][0]
    assert (flat["side"], flat["size"]) == ("", "0")
    linear_trader.create("Sell", "0.03")
    row = linear_trader.get("/v5/position/list", settleCoin="USDT").result["list"][0]
    fills = linear_trader.truth()["linear"]["fills"]
    assert (row["symbol"], row["side"], row["size"], row["positionIdx"]) == ("BTCUSDT", "Sell", "0.03", 0)
    assert (
        abs(Decimal(row["avgPrice"]) - Decimal(fills[-1]["execPrice"])) < 50
        and linear_trader.get("/v5/position/list").code == 10001
    )
    set_leverage = {"buyLeverage": "5", "sellLeverage": "5"}
    assert linear_trader.post("/v5/position/set-leverage", **set_leverage).code in (0, 110043)
    assert linear_trader.post("/v5/position/set-leverage", **set_leverage).code == 110043
    assert linear_trader.get("/v5/position/list", symbol="BTCUSDT").result["list"][0]["leverage"] == "5"
    assert linear_trader.post("/v5/position/switch-mode", mode=0).code == 110025
    assert linear_trader.create("Buy", "0.01", linear_trader.far(), positionIdx=1).code == 10001


def test_a_price_beyond_the_limit_is_moved_or_refused(trader: Trader) -> None:
    trader.venue.control(freeze=True)
    high = str(int(trader.best()[1] * 2))
    got = trader.create("Sell", "0.01", str(int(trader.best()[0] / 2)))
    if trader.category == "spot":
        assert got.code == 170194 and trader.create("Buy", "0.01", high).code == 170193
        return
    private = trader.private("order")
    trader.create("Buy", "0.01", high)
    assert Decimal(private.rows("order")[-1]["price"]) < Decimal(high) * 6 / 10
    assert trader.post("/v5/account/set-limit-px-action", modifyEnable=False).code == 0
    assert trader.create("Buy", "0.01", high).code == 110003
    assert trader.post("/v5/account/set-limit-px-action", modifyEnable=True).code == 0
    private.close()


# --- spot -----------------------------------------------------------------------------------------------


def test_a_market_buy_is_by_value_unless_it_says_otherwise(spot_trader: Trader) -> None:
    spot_trader.venue.control(freeze=True)
    made = spot_trader.create("Buy", "1000", marketUnit=None).result["orderId"]
    row = spot_trader.one(made)
    assert (row["orderStatus"], row["qty"], row["marketUnit"]) == ("PartiallyFilledCanceled", "1000", "quoteCoin")
    spent = Decimal(row["cumExecValue"])
    assert 999 < spent < 1000 and Decimal(row["leavesValue"]) == 1000 - spent and Decimal(row["leavesQty"]) == 0
    by_base = spot_trader.one(spot_trader.create("Buy", "0.01", marketUnit="baseCoin").result["orderId"])
    assert (by_base["orderStatus"], by_base["cumExecQty"]) == ("Filled", "0.01")
    sold = spot_trader.one(spot_trader.create("Sell", "500", marketUnit="quoteCoin").result["orderId"])
    assert 499 < Decimal(sold["cumExecValue"]) <= 500
    check_account(spot_trader)


def test_what_is_locked_on_spot_is_no_margin(spot_trader: Trader, linear_trader: Trader) -> None:
    def coin() -> dict[str, str]:
        got = spot_trader.get("/v5/account/wallet-balance", accountType="UNIFIED", coin="USDT").result["list"][0]
        return dict(got["coin"][0]) | {"available": got["totalAvailableBalance"]}

    before = coin()
    spot_trader.create("Buy", "1", spot_trader.far())
    linear_trader.create("Buy", "1", linear_trader.far())
    after = coin()
    assert Decimal(after["locked"]) == Decimal(spot_trader.found()[0]["price"]) and Decimal(after["totalOrderIM"]) > 0
    assert after["walletBalance"] == before["walletBalance"]
    assert Decimal(before["available"]) - Decimal(after["available"]) > 60_000
    assert spot_trader.create("Buy", "15.9", spot_trader.far()).code == 170131
    assert linear_trader.create("Buy", "2000", linear_trader.far()).code == 110007


# --- refusals -------------------------------------------------------------------------------------------

#: What is asked for beyond a buy of 0.01 at a far price, and the codes of spot and linear.
BAD: dict[str, tuple[dict[str, object], int, int]] = {
    "tick": ({"price": "59000.001"}, 170134, 10001),
    "step": ({"qty": "0.0100001"}, 170137, 10001),
    "nothing": ({"qty": "0"}, 170136, 10001),
    "too much": ({"qty": "999999"}, 170124, 10001),
    "value": ({"qty": "0.001", "price": "1"}, 170140, 110094),
    "no price": ({"price": None}, 10001, 10001),
    "no quantity": ({"qty": None}, 10001, 10001),
    "price": ({"price": "0"}, 170132, 110003),
    "number": ({"qty": 0.01}, 10001, 10001),
    "side": ({"side": "BUY"}, 10001, 10001),
    "type": ({"orderType": "Stop"}, 10001, 10001),
    "life": ({"timeInForce": "GTX"}, 10001, 10001),
    "not served": ({"triggerPrice": "59000"}, 10001, 10001),
    "rpi": ({"timeInForce": "RPI"}, 10001, 10001),
    "symbol": ({"symbol": "NOUSDT"}, 170121, 10001),
    "no symbol": ({"symbol": None}, 170121, 10001),
    "link": ({"orderLinkId": "not allowed!"}, 10001, 10001),
    "long link": ({"orderLinkId": "x" * 37}, 10001, 10001),
    "reduce": ({"reduceOnly": "true"}, 10001, 10001),
    "smp": ({"smpType": "Cancel"}, 10001, 10001),
    "category": ({"category": "inverse"}, 10001, 10001),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused_with_its_code(trader: Trader, name: str) -> None:
    wrong, *codes = BAD[name]
    given = trader.order("Buy", "0.01", trader.far()) | wrong
    got = trader.post("/v5/order/create", **given)
    assert (got.status, got.code) == (200, codes[0 if trader.category == "spot" else 1]), got.body
    assert got.body["result"] == {} and trader.found() == []


def test_too_many_open_orders_are_refused(linear_trader: Trader) -> None:
    orders = [{"symbol": "BTCUSDT"} | linear_trader.order("Buy", "0.001", linear_trader.far()) for _ in range(20)]
    got = [linear_trader.post("/v5/order/create-batch", request=orders).body["retExtInfo"]["list"] for _ in range(26)]
    codes = [one["code"] for batch in got for one in batch]
    assert codes == [0] * 500 + [110020] * 20
    assert len(linear_trader.post("/v5/order/cancel-all").result["list"]) == 500


# --- dead man's switch ----------------------------------------------------------------------------------


def test_orders_of_a_product_end_when_nobody_watches_it(linear_trader: Trader, spot_trader: Trader) -> None:
    assert linear_trader.post("/v5/order/disconnected-cancel-all", product="DERIVATIVES", timeWindow=2).code == 10001
    assert linear_trader.post("/v5/order/disconnected-cancel-all", product="DERIVATIVES", timeWindow=3).code == 0
    infos = {one["product"]: one for one in linear_trader.get("/v5/account/query-dcp-info").result["dcpInfos"]}
    assert (infos["DERIVATIVES"]["dcpStatus"], infos["DERIVATIVES"]["timeWindow"], infos["SPOT"]["dcpStatus"]) == (
        "ON", "3", "OFF",
    )  # fmt: skip
    watching = [linear_trader.private("dcp.future", "order") for _ in range(2)]
    kept = linear_trader.create("Buy", "0.01", linear_trader.far()).result["orderId"]
    other = spot_trader.create("Buy", "0.01", spot_trader.far()).result["orderId"]
    watching[0].close()
    time.sleep(3.5)
    assert linear_trader.one(kept)["orderStatus"] == "New"
    watching[1].close()
    time.sleep(3.5)
    assert (
        ends([linear_trader.one(kept)])[0][:2] == ("Cancelled", "CancelByDCP")
        and spot_trader.one(other)["orderStatus"] == "New"
    )
