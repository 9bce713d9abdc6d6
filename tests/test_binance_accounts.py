"""Accounts and orders on the simulated Binance venue as a process, checked by a trader written from the documents."""

import time
from decimal import Decimal
from typing import Any

import pytest
from binance_account import MARKETS, Account, Answer, check_balances, code_of, far_below, signature
from binance_rig import PlainBook, wait_until

pytest_plugins = ("binance_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")


# --- orders ---------------------------------------------------------------------------------------------


def test_an_order_rests_in_the_book_and_leaves_it_with_its_cancel(account: Account) -> None:
    price, path = far_below(account), "/api/v3/depth" if account.market == "spot" else "/fapi/v1/depth"

    def level() -> Decimal:
        bids = account.venue.json(path, symbol="BTCUSDT", limit=1000)["bids"]
        return sum((Decimal(qty) for at, qty in bids if Decimal(at) == Decimal(price)), Decimal(0))

    account.venue.control(freeze=True)
    before = level()
    made = account.buy("0.012", price, newClientOrderId="rests").body
    assert (made["status"], made["clientOrderId"]) == ("NEW", "rests") and Decimal(made["origQty"]) == Decimal("0.012")
    assert level() == before + Decimal("0.012")
    found = account.done("GET", "order", symbol="BTCUSDT", origClientOrderId="rests")
    assert found["orderId"] == made["orderId"] and found["status"] == "NEW"
    assert [one["orderId"] for one in account.done("GET", "openOrders", symbol="BTCUSDT")] == [made["orderId"]]
    check_balances(account)
    gone = account.done("DELETE", "order", symbol="BTCUSDT", orderId=made["orderId"])
    assert gone["status"] == "CANCELED" and level() == before
    assert account.done("GET", "openOrders") == []
    again = account.request("DELETE", "order", symbol="BTCUSDT", orderId=made["orderId"])
    assert (again.status, again.code) == (400, -2011)
    assert account.request("GET", "order", symbol="BTCUSDT", orderId=1).code == -2013
    check_balances(account)


def test_an_order_far_from_the_market_is_on_its_level(account: Account) -> None:
    """Farther than the matching engine's window reaches."""
    path = "/api/v3/depth" if account.market == "spot" else "/fapi/v1/depth"
    account.venue.control(freeze=True)
    line = account.venue.open(
        f"{'/stream' if account.market == 'spot' else '/public/stream'}?streams=btcusdt@depth@100ms"
    )
    line.for_seconds(0.3)
    made = account.buy("0.02", "20000").body
    lowest = account.venue.json(path, symbol="BTCUSDT", limit=1000)["bids"][-1]
    assert (Decimal(lowest[0]), Decimal(lowest[1])) == (20000, Decimal("0.02"))
    assert [Decimal(text) for text in line.for_seconds(0.3)[0]["data"]["b"][0]] == [20000, Decimal("0.02")]
    account.done("DELETE", "order", symbol="BTCUSDT", orderId=made["orderId"])
    assert [Decimal(text) for text in line.for_seconds(0.3)[0]["data"]["b"][0]] == [20000, 0]
    line.close()


def test_a_book_from_the_diffs_is_the_engines_while_an_account_trades(account: Account) -> None:
    is_usdm = account.market == "usdm"
    path = "/fapi/v1/depth" if is_usdm else "/api/v3/depth"
    line = account.venue.open(f"{'/public/stream' if is_usdm else '/stream'}?streams=btcusdt@depth@100ms/btcusdt@trade")
    messages = line.for_seconds(0.3)
    book = PlainBook.of(account.venue.json(path, symbol="BTCUSDT", limit=1000), is_usdm)
    for _ in range(4):
        near, far = far_below(account), account.buy("0.01", "21000").body
        rests = [account.buy("0.02", near).body for _ in range(3)]
        assert account.buy("0.2").status == account.sell("0.2").status == 200
        for one in (rests[1], far):
            account.done("DELETE", "order", symbol="BTCUSDT", orderId=one["orderId"])
        messages += line.for_seconds(0.2)
    account.venue.control(freeze=True)
    messages += line.for_seconds(0.4)
    trades = [one["data"]["t"] for one in messages if one["data"]["e"] == "trade"]
    assert trades == list(range(trades[0], trades[0] + len(trades))) and len(trades) > 8
    assert sum(book.apply(one["data"]) for one in messages if one["data"]["e"] == "depthUpdate") > 8
    now = PlainBook.of(account.venue.json(path, symbol="BTCUSDT", limit=1000), is_usdm)
    assert book.id == now.id and book.sides() == now.sides()
    line.close()
    check_balances(account)


def test_all_orders_of_a_symbol_are_cancelled_at_once(account: Account) -> None:
    for _ in range(3):
        account.buy("0.01", far_below(account))
    path = "openOrders" if account.market == "spot" else "allOpenOrders"
    account.done("DELETE", path, symbol="BTCUSDT")
    assert account.truth()["openOrders"] == []
    again = account.request("DELETE", path, symbol="BTCUSDT")
    assert again.code == (-2011 if account.market == "spot" else 200)


def test_a_market_order_takes_what_the_book_has_and_prints_it(account: Account) -> None:
    route = "/stream" if account.market == "spot" else "/public/stream"
    account.venue.control(freeze=True)
    line = account.venue.open(f"{route}?streams=btcusdt@trade/btcusdt@depth@100ms")
    line.for_seconds(0.3)
    ask = account.best()[1]
    made = account.buy("0.3", newOrderRespType="RESULT").body
    assert made["status"] == "FILLED"
    told = [one["data"] for one in line.for_seconds(0.4)]
    prints = {one["t"]: one for one in told if one["e"] == "trade"}
    path = "myTrades" if account.market == "spot" else "userTrades"
    fills = account.done("GET", path, symbol="BTCUSDT", orderId=made["orderId"])
    assert [one["id"] for one in fills] == sorted(prints) and Decimal(fills[0]["price"]) == ask
    assert all(
        (prints[one["id"]]["p"], prints[one["id"]]["q"], prints[one["id"]]["m"]) == (one["price"], one["qty"], False)
        for one in fills
    )
    assert sum(Decimal(one["qty"]) for one in fills) == Decimal("0.3")
    gone = [
        Decimal(level[0]) for one in told if one["e"] == "depthUpdate" for level in one["a"] if not Decimal(level[1])
    ]
    assert ask in gone
    line.close()
    check_balances(account)


def test_the_flow_takes_a_resting_order(account: Account) -> None:
    line = account.user_data()
    account.venue.control(freeze=True)
    bid, ask = account.best()
    tick = Decimal("0.01") if account.market == "spot" else Decimal("0.1")
    # So near to those who sell that it is dearer than what the flow takes the thing to be worth.
    made = account.buy("0.005", str(max(bid, ask - tick))).body
    account.venue.control(freeze=False)

    def status() -> str:
        return str(account.done("GET", "order", symbol="BTCUSDT", orderId=made["orderId"])["status"])

    wait_until(lambda: status() == "FILLED", 60)
    events = line.for_seconds(0.5)
    if account.market == "spot":
        fills = [
            one
            for one in events
            if one["e"] == "executionReport" and one["x"] == "TRADE" and one["i"] == made["orderId"]
        ]
        maker = [one["m"] for one in fills]
    else:
        fills = [one["o"] for one in events if one["e"] == "ORDER_TRADE_UPDATE" and one["o"]["x"] == "TRADE"]
        maker = [one["m"] for one in fills]
    assert sum(Decimal(one["l"]) for one in fills) == Decimal("0.005") and all(maker)
    assert all(Decimal(one["L"]) == Decimal(made["price"]) for one in fills)
    line.close()
    check_balances(account)


def test_orders_of_both_markets_are_told_of_in_order(account: Account) -> None:
    line = account.user_data()
    made = account.buy("0.01", far_below(account), newClientOrderId="told").body
    account.done("DELETE", "order", symbol="BTCUSDT", orderId=made["orderId"])
    events = line.for_seconds(0.4)
    if account.market == "spot":
        reports = [one for one in events if one["e"] == "executionReport"]
        assert [(one["x"], one["X"]) for one in reports] == [("NEW", "NEW"), ("CANCELED", "CANCELED")]
        assert reports[0]["c"] == "told" and reports[1]["C"] == "told" and reports[1]["c"] != "told"
        positions = [one["B"] for one in events if one["e"] == "outboundAccountPosition"]
        assert [one[0]["a"] for one in positions] == ["USDT", "USDT"] and Decimal(positions[1][0]["l"]) == 0
        assert reports[0]["I"] < reports[1]["I"]
    else:
        updates = [one["o"] for one in events if one["e"] == "ORDER_TRADE_UPDATE"]
        assert [(one["x"], one["X"], one["c"]) for one in updates] == [
            ("NEW", "NEW", "told"),
            ("CANCELED", "CANCELED", "told"),
        ]
    line.close()


def api_place(account: Account, api: Any, **more: object) -> Any:
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    return api.ask("order.place", **(given | {"price": far_below(account)} | more))


def test_the_websocket_api_places_and_cancels(account: Account) -> None:
    api = account.api()
    placed = api_place(account, api, newClientOrderId="by-api")
    assert placed["status"] == 200 and placed["result"]["clientOrderId"] == "by-api"
    kinds = [(one["rateLimitType"], one["interval"]) for one in placed["rateLimits"]]
    assert kinds[-1] == ("REQUEST_WEIGHT", "MINUTE") and len(kinds) == 3
    status = api.ask("order.status", symbol="BTCUSDT", orderId=placed["result"]["orderId"])
    assert status["result"]["status"] == "NEW"
    twice = api_place(account, api, newClientOrderId="by-api")
    assert (twice["status"], twice["error"]["code"]) == (400, -2010 if account.market == "spot" else -4116)
    gone = api.ask(
        "order.cancel", id_="b3b0c2a4-1c52-4d41-a3a4-6e9f1d6b5a11", symbol="BTCUSDT", origClientOrderId="by-api"
    )
    assert gone["result"]["status"] == "CANCELED"
    unknown = api.ask("order.dance")
    assert unknown["status"] == 400 and "rateLimits" in unknown
    api.close()
    quiet = account.api("?returnRateLimits=false")
    assert "rateLimits" not in quiet.ask("time", signed=False)
    quiet.close()


# --- refusals -------------------------------------------------------------------------------------------


def test_a_wrong_signature_key_or_time_opens_nothing(account: Account) -> None:
    query = f"symbol=BTCUSDT&timestamp={1}"
    old = account.send("GET", "openOrders", f"{query}&signature={signature(query)}")
    assert (old.status, old.code) == (400, -1021)
    wrong = account.send("GET", "openOrders", f"{query}&signature={signature('other')}")
    assert (wrong.status, wrong.code) == (400, -1022)
    assert account.send("GET", "openOrders", query, key="nobody").code == -2015
    nobody = account.send("GET", "openOrders", query, key="")
    assert (nobody.status, nobody.code) == (401, -2014)


#: What is asked for beyond symbol, side and a far price, and the refusals of spot and of USD-M: code and the end of the text.
BAD = {
    "tick": ({"price": "50000.001"}, (-1013, "PRICE_FILTER"), (-1111, "precision.")),
    "odd tick": ({"price": "50000.05"}, None, (-4014, "tick size.")),
    "step": ({"quantity": "0.0100001"}, (-1013, "LOT_SIZE"), (-1111, "precision.")),
    "too many decimals": ({"price": "50000.000000001"}, (-1111, "precision."), (-1111, "precision.")),
    "no amount": ({"quantity": "lots"}, (-1100, "$'."), (-1100, "$'.")),
    "nothing": ({"quantity": "0"}, (-1013, "LOT_SIZE"), (-4003, "zero.")),
    "too little": ({"quantity": "0.001", "price": "4000"}, (-1013, "PERCENT_PRICE_BY_SIDE"), (-4164, "only).")),
    "too much": ({"quantity": "90", "price": "110000"}, (-1013, "NOTIONAL"), (-4016, "")),
    "too dear": ({"price": "400000"}, (-1013, "PERCENT_PRICE_BY_SIDE"), (-4016, "")),
    "beyond all": ({"price": "99000000"}, (-1013, "PRICE_FILTER"), (-4002, "max price.")),
    "no side": ({"side": None}, (-1102, "malformed."), (-1102, "malformed.")),
    "wrong side": ({"side": "LONG"}, (-1117, "side."), (-1117, "side.")),
    "wrong type": ({"type": "BEST"}, (-1116, "orderType."), (-1116, "orderType.")),
    "wrong time": ({"timeInForce": "DAY"}, (-1115, "timeInForce."), (-1115, "timeInForce.")),
    "no price": ({"price": None}, (-1102, "malformed."), (-1102, "malformed.")),
    "wrong symbol": ({"symbol": "NOPE"}, (-1121, "symbol."), (-1121, "symbol.")),
    "wrong id": ({"newClientOrderId": "a b"}, (-1100, "$'."), (-1100, "$'.")),
    "long id": ({"newClientOrderId": "a" * 37}, (-1100, "$'."), (-1100, "$'.")),
    "stop": ({"type": "STOP_MARKET"}, (-1116, "orderType."), (-4120, "instead.")),
    "iceberg": ({"icebergQty": "0.001"}, (-1106, "venue."), None),
    "price match": ({"priceMatch": "QUEUE"}, None, (-1106, "venue.")),
    "hedge": ({"positionSide": "LONG"}, None, (-4061, "setting.")),
}


@pytest.mark.parametrize("name", BAD)
def test_an_order_that_breaks_a_rule_is_refused_with_its_code(account: Account, name: str) -> None:
    more, *refusals = BAD[name]
    refusal = refusals[MARKETS.index(account.market)]
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    given = {key: value for key, value in (given | {"price": "50000"} | more).items() if value is not None}
    for path in ("order/test", "order"):
        got = account.request("POST", path, **given)
        if refusal is None:
            assert got.status == 200
        else:
            assert code_of(got)[0] == refusal[0] and code_of(got)[1].endswith(refusal[1])
    assert bool(account.truth()["openOrders"]) is (refusal is None)


def test_both_names_of_an_order_must_fit(account: Account) -> None:
    made = account.buy("0.01", far_below(account)).body
    got = account.request("GET", "order", symbol="BTCUSDT", orderId=made["orderId"], origClientOrderId="other")
    assert got.status == 200 if account.market == "usdm" else code_of(got)[0] == -2039


def used(answer: Answer) -> int:
    return int(answer.headers["X-MBX-USED-WEIGHT-1M"])


def test_an_order_that_is_taken_weighs_nothing_on_spot(spot: Account) -> None:
    price = far_below(spot)
    if (left_s := 60 - time.time() % 60) < 3:
        time.sleep(left_s)  # Weights are counted anew every minute.
    before = used(spot.request("GET", "order", symbol="BTCUSDT", orderId=1))
    assert used(spot.buy("0.01", price)) == before
    assert spot.buy("0.01", "1").status == 400
    assert used(spot.request("GET", "order", symbol="BTCUSDT", orderId=1)) == before + 5


def test_bytes_that_are_no_text_are_refused(account: Account) -> None:
    got = account.send("GET", "openOrders", "symbol=%FF\u00ff&timestamp=1&signature=%ED%A0%80")
    assert (got.status, got.code) == (400, -1022)
    api = account.api()
    told = api.ask("order.status", signed=False, apiKey=account.key, timestamp=1, symbol="\ud800", signature="\ud800")
    assert (told["status"], told["error"]["code"]) == (400, -1022)
    api.close()


def test_an_account_cannot_spend_what_it_does_not_have(spot: Account, usdm: Account) -> None:
    assert code_of(spot.buy("25", "50000"))[0] == -2010
    free = Decimal(spot.truth()["balances"]["BTC"]["free"])
    assert code_of(spot.sell(str(int(free) + 1), "70000"))[0] == -2010
    assert code_of(spot.sell(str(int(free) + 1)))[0] == -2010
    assert spot.sell(str(int(free) - 1), "70000").status == 200
    assert code_of(spot.sell("2.5", "70000"))[0] == -2010
    assert spot.sell("0.9", "70000").status == 200
    assert code_of(usdm.buy("400", "50000"))[0] == -2019
    assert usdm.buy("300", "50000").status == 200
    assert code_of(usdm.buy("100", "50000"))[0] == -2019
    assert usdm.request("POST", "leverage", symbol="BTCUSDT", leverage=40).body["leverage"] == 40
    assert usdm.buy("100", "50000").status == 200
    check_balances(spot)
    check_balances(usdm)


def test_a_clients_id_is_its_own_while_the_order_is_open(account: Account) -> None:
    made = account.buy("0.01", far_below(account), newClientOrderId="same").body
    twice = code_of(account.buy("0.01", far_below(account), newClientOrderId="same"))
    assert twice == (
        (-2010, "Duplicate order sent.") if account.market == "spot" else (-4116, "ClientOrderId is duplicated.")
    )
    account.done("DELETE", "order", symbol="BTCUSDT", origClientOrderId="same")
    again = account.buy("0.01", far_below(account), newClientOrderId="same").body
    assert again["orderId"] == made["orderId"] + 1


# --- how long orders live -------------------------------------------------------------------------------


def test_post_only_is_refused_if_it_would_take(spot: Account, usdm: Account) -> None:
    dear = str(int(spot.best()[1]) + 100)
    assert code_of(spot.buy("0.01", dear, type="LIMIT_MAKER", timeInForce=None)) == (
        -2010,
        "Order would immediately match and take.",
    )
    assert code_of(spot.buy("0.01", dear, type="LIMIT_MAKER"))[0] == -1106
    # Farther than the matching engine's window reaches, too.
    assert code_of(spot.buy("0.01", "90000", type="LIMIT_MAKER", timeInForce=None))[0] == -2010
    assert code_of(usdm.buy("0.01", dear, timeInForce="GTX"))[0] == -5022
    for _ in range(3):
        before = usdm.done("GET", "rateLimit/order")[0]["count"]
        rests = usdm.buy("0.01", far_below(usdm), timeInForce="GTX").body
        assert rests["status"] == "NEW" and rests["orderId"]
        # The venue counts in windows: another one may have begun in between.
        if usdm.done("GET", "rateLimit/order")[0]["count"] == before + 1:
            return
    pytest.fail("the order was not counted")


def test_what_is_left_of_an_immediate_order_expires(account: Account) -> None:
    account.venue.control(freeze=True)
    path = "/api/v3/depth" if account.market == "spot" else "/fapi/v1/depth"
    price, qty = account.venue.json(path, symbol="BTCUSDT", limit=5)["asks"][0]
    more = str(Decimal(qty) + Decimal("0.01"))
    line = account.user_data()
    fok = account.buy(more, price, timeInForce="FOK")
    if account.market == "spot":
        assert (fok.status, fok.body["status"], Decimal(fok.body["executedQty"])) == (200, "EXPIRED", 0)
    else:
        assert code_of(fok)[0] == -5021
    ioc = account.buy(more, price, timeInForce="IOC", newOrderRespType="RESULT").body
    assert (ioc["status"], Decimal(ioc["executedQty"])) == ("EXPIRED", Decimal(qty))
    events = line.for_seconds(0.4)
    if account.market == "spot":
        assert [one["eR"] for one in events if one.get("x") == "EXPIRED"] == [
            "UNFILLED_FOK_ORDER_EXPIRED",
            "UNFILLED_IOC_QUANTITY_EXPIRED",
        ]
    else:
        assert [one["o"]["x"] for one in events if one["e"] == "ORDER_TRADE_UPDATE"][-1] == "EXPIRED"
    line.close()
    check_balances(account)


@pytest.mark.parametrize("mode", ["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"])
def test_an_order_does_not_trade_with_its_own_account(account: Account, mode: str) -> None:
    account.venue.control(freeze=True)
    bid, ask = account.best()
    tick = Decimal("0.01") if account.market == "spot" else Decimal("0.1")
    own = account.buy("0.01", str(bid + tick if bid + tick < ask else bid)).body
    if bid + tick >= ask:
        account.sell("5", str(bid), timeInForce="IOC")
    met = account.sell("0.01", own["price"], selfTradePreventionMode=mode, newOrderRespType="RESULT").body
    resting = account.done("GET", "order", symbol="BTCUSDT", orderId=own["orderId"])["status"]
    expected = {
        "EXPIRE_MAKER": ("EXPIRED_IN_MATCH", "NEW"), "EXPIRE_TAKER": ("NEW", "EXPIRED_IN_MATCH"),
        "EXPIRE_BOTH": ("EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
    }  # fmt: skip
    assert (resting, met["status"]) == expected[mode]
    check_balances(account)


def test_an_order_far_through_the_market_takes_and_does_not_rest(spot: Account) -> None:
    made = spot.buy("0.01", "90000").body
    assert (made["status"], Decimal(made["executedQty"])) == ("FILLED", Decimal("0.01"))
    check_balances(spot)


def test_a_quote_quantity_buys_and_sells_what_it_is_worth(spot: Account) -> None:
    spot.venue.control(freeze=True)
    bought = spot.buy("", quoteOrderQty="1000").body
    assert bought["status"] == "FILLED" and 990 < Decimal(bought["cummulativeQuoteQty"]) <= 1000
    assert Decimal(bought["origQuoteOrderQty"]) == 1000
    sold = spot.sell("", quoteOrderQty="1000").body
    assert sold["status"] == "FILLED" and 990 < Decimal(sold["cummulativeQuoteQty"]) <= 1000
    assert code_of(spot.buy("1", quoteOrderQty="1000"))[0] == -1128
    check_balances(spot)
