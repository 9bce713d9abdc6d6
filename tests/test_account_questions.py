"""What became of an order, asked over REST: all its executions, its replacements, and never a word that was not the venue's."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from rest_venue import ASSETS, BOTH, ID, KEY, PREFIX, Answering, RestVenue, question, serving, told
from websocket_server import Server

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import UNKNOWN_FEE_ASSET
from hftpipe.transport.websocket.connect import ConnectError
from hftpipe.venues.binance.orders.account import BinanceAccount
from hftpipe.venues.binance.orders.market import SPOT, USDM
from hftpipe.venues.bybit.orders.account import BybitAccount
from hftpipe.venues.bybit.orders.market import LINEAR
from hftpipe.venues.bybit.orders.market import SPOT as BYBIT_SPOT
from hftpipe.venues.bybit.orders.market import AccountMarket as BybitMarket
from hftpipe.venues.orders.client_text import client_text
from hftpipe.venues.orders.errors import ASK
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    CANCEL_ASKED,
    CANCELLED,
    DONE,
    GONE,
    LIVE,
    REFUSED,
    STATE,
    TRADE,
)
from hftpipe.venues.orders.keeper import ANY_EPOCH, NotNow
from hftpipe.venues.orders.rest_facts import NOT_FOUND_NS

MARKETS = {"spot": SPOT, "usdm": USDM}
LONG_S = NOT_FOUND_NS / 1e9 + 1
NO_ORDER = (400, {"code": -2013, "msg": "Order does not exist."})
BAD_TIME = (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."})


@pytest.fixture
def venue() -> Iterator[RestVenue]:
    with serving(lambda method, path, given: (404, {})) as made:
        yield made


def binance(venue: RestVenue, market: str, answer: Answering) -> BinanceAccount:
    venue.answer = answer
    return BinanceAccount(MARKETS[market], KEY, venue.client, "", "", BOTH, PREFIX, ASSETS)


def bybit(venue: RestVenue, answer: Answering, market: BybitMarket = LINEAR) -> BybitAccount:
    venue.answer = answer
    return BybitAccount(market, KEY, venue.client, "", "", BOTH, PREFIX, ASSETS)


def order(status: str = "NEW", revision: int = 0, filled: str = "0.000", **fields: Any) -> dict[str, Any]:
    """An order as Binance has it."""
    return {
        "symbol": "BTCUSDT", "orderId": 9001 + revision, "clientOrderId": client_text(PREFIX, ID, revision), "status": status,
        "price": "61000.00", "origQty": "0.010", "executedQty": filled, "updateTime": 1790000000000,
    } | fields  # fmt: skip


def trade(number: int, qty: str = "0.001", **fields: Any) -> dict[str, Any]:
    """One of its executions."""
    return {
        "symbol": "BTCUSDT", "id": number, "orderId": 9001, "price": "61000.00", "qty": qty, "commission": "0.0122",
        "commissionAsset": "USDT", "time": 1790000000000, "isMaker": True, "maker": True,
    } | fields  # fmt: skip


def bybit_order(status: str = "New", filled: str = "0", **fields: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "orderId": "a4c1718e-0000-4659-a118-1f6ecce04ad9", "orderLinkId": client_text(PREFIX, ID),
        "orderStatus": status, "price": "61000", "qty": "100", "cumExecQty": filled, "updatedTime": "1790000000128",
    } | fields  # fmt: skip


def bybit_trade(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "execId": f"7e2ae69c-0000-5800-a352-{number:012x}", "execPrice": "61000", "execQty": "0.001",
        "execFee": "0.0122", "feeCurrency": "", "execType": "Trade", "execTime": "1790000000127", "isMaker": True,
    } | fields  # fmt: skip


def well(result: Any) -> tuple[int, Any]:
    return 200, {"retCode": 0, "retMsg": "OK", "result": result}


# --- many executions ---------------------------------------------------------------------------------------------------------


def paged(count: int) -> Answering:
    """Binance with an order of so many executions: the newest ones, or those from an id on, 1,000 at most."""
    every = [trade(7 * number) for number in range(1, count + 1)]

    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("order"):
            return 200, order("PARTIALLY_FILLED", filled=f"{count / 1000:.3f}", origQty="1000.000")
        assert given["orderId"] == "9001" and given["limit"] == "1000"
        rows = [one for one in every if one["id"] >= int(given.get("fromId", 0))]
        return 200, rows[:1000] if "fromId" in given else rows[-1000:]

    return answer


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_all_executions_of_an_order_are_told_however_many(venue: RestVenue, market: str, count: int) -> None:
    facts = binance(venue, market, paged(count)).find(question())
    assert told(facts[:-1], "kind", "trade_id", "last_qty") == [(TRADE, 7 * at, 100_000) for at in range(1, count + 1)]
    assert told(facts[-1:], "kind", "state", "cum") == [(STATE, LIVE, count * 100_000)]


def test_more_pages_than_anybody_reads_are_an_answer_for_later(venue: RestVenue) -> None:
    """A venue that gives the same page again and again, too."""

    def endless(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("order"):
            return 200, order("PARTIALLY_FILLED", filled="0.001")
        return 200, [trade(1)] * 1000

    account = binance(venue, "usdm", endless)
    with pytest.raises(NotNow, match="more than 100 pages of executions of order 9001"):
        account.find(question())
    assert len(venue.asked) < 110


def bybit_paged(count: int, is_endless: bool = False) -> Answering:
    """Bybit with an order of so many executions: the newest first, 100 at most, a cursor that is percent-encoded."""
    every = [bybit_trade(number) for number in range(count, 0, -1)]

    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("realtime"):
            return well({"list": [bybit_order("PartiallyFilled", f"{count / 1000:.3f}")]})
        start = int(unquote(given.get("cursor", "")).partition("=")[2] or 0)
        more = is_endless or start + 100 < count
        return well({"list": every[start : start + 100], "nextPageCursor": f"at%3D{start + 100}" if more else ""})

    return answer


def test_all_executions_of_an_order_are_told_from_the_oldest_on(venue: RestVenue) -> None:
    facts = bybit(venue, bybit_paged(1234)).find(question())
    numbers = [number for (number,) in told(facts[:-1], "trade_id")]
    assert len(set(numbers)) == 1234 and told(facts, "cum") == [(123_400_000,)] * 1235
    first = bybit(venue, bybit_paged(1)).find(question())
    assert numbers[0] == int(first[0]["trade_id"][0])


def test_more_pages_than_anybody_reads_are_an_answer_for_later_at_bybit(venue: RestVenue) -> None:
    account = bybit(venue, bybit_paged(10, is_endless=True))
    with pytest.raises(NotNow, match="more than 100 pages of executions"):
        account.find(question())


# --- fees, symbols, answers that are none ------------------------------------------------------------------------------------

FEES = [
    ("0.000000001", "USDT", (1, 0, 0)), ("0.123456781", "BNB", (12_345_679, 1, 0)), ("-0.000000019", "USDT", (-1, 0, 0)),
    ("odd", "USDT", (0, UNKNOWN_FEE_ASSET, 1)), ("1E+40", "USDT", (0, UNKNOWN_FEE_ASSET, 1)),
    ("0.5", "XYZ", (50_000_000, UNKNOWN_FEE_ASSET, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "asset", "fee"), FEES)
def test_fees_over_rest_are_those_of_the_events(
    venue: RestVenue, text: str, asset: str, fee: tuple[int, int, int]
) -> None:
    def at_binance(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        row = trade(5, commission=text, commissionAsset=asset)
        return 200, order("PARTIALLY_FILLED", filled="0.001") if path.endswith("order") else [row]

    def at_bybit(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        rows = [bybit_trade(5, execFee=text, feeCurrency=asset)]
        return well({"list": [bybit_order(filled="0.001")] if path.endswith("realtime") else rows})

    for account in (binance(venue, "usdm", at_binance), bybit(venue, at_bybit)):
        venue.answer = at_binance if isinstance(account, BinanceAccount) else at_bybit
        assert told(account.find(question())[:1], "fee", "fee_asset", "fee_is_unread") == [fee]


UNNAMED = [
    ("linear", "Buy", "0.0122", 0), ("linear", "Sell", "-0.0122", 0), ("spot", "Buy", "0.00001", 2), ("spot", "Sell", "0.6", 0),
    ("spot", "Buy", "-0.6", 0), ("spot", "Sell", "-0.00001", 2), ("spot", "", "0.00001", UNKNOWN_FEE_ASSET),
]  # fmt: skip


@pytest.mark.parametrize(("category", "side", "fee", "asset"), UNNAMED)
@pytest.mark.parametrize("coin", ["", None])
def test_a_fee_that_names_no_coin_is_in_what_was_received(
    venue: RestVenue, category: str, side: str, fee: str, asset: int, coin: object
) -> None:
    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        rows = [bybit_trade(5, execFee=fee, feeCurrency=coin, side=side)]
        return well({"list": [bybit_order(filled="0.001")] if path.endswith("realtime") else rows})

    facts = bybit(venue, answer, BYBIT_SPOT if category == "spot" else LINEAR).find(question())
    assert told(facts[:1], "fee_asset") == [(asset,)]


@pytest.mark.parametrize("wrong", ["order", "trade"])
def test_an_answer_about_another_instrument_tells_nothing(venue: RestVenue, wrong: str) -> None:
    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        symbols = {"order": "BTCUSDT", "trade": "BTCUSDT"} | {wrong: "ETHUSDT"}
        if path.endswith("order"):
            return 200, order("PARTIALLY_FILLED", filled="0.001", symbol=symbols["order"])
        return 200, [trade(5, symbol=symbols["trade"])]

    with pytest.raises(NotNow, match="told of 'ETHUSDT', not of BTCUSDT"):
        binance(venue, "usdm", answer).find(question())


@pytest.mark.parametrize("account_of", ["binance", "bybit"])
def test_a_question_refused_for_its_time_waits_also_when_the_clock_cannot_be_measured(
    venue: RestVenue, account_of: str
) -> None:
    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("time"):
            return 503, {}
        return BAD_TIME if account_of == "binance" else (200, {"retCode": 10002, "retMsg": "timestamp", "result": {}})

    account = binance(venue, "usdm", answer) if account_of == "binance" else bybit(venue, answer)
    with pytest.raises(NotNow):
        account.find(question())
    assert any(path.endswith("time") for path in venue.paths())
    ((kind, request),) = told(account.cancel(question(ASK_CANCEL)), "kind", "request")
    assert (kind, request) == (REFUSED, CANCEL_ASKED)


def test_a_request_refused_for_its_time_has_the_clock_measured(venue: RestVenue) -> None:
    ahead_ms = 4000

    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        now_ms = int(time.time() * 1000) + ahead_ms
        if path.endswith("time"):
            return 200, {"serverTime": now_ms}
        return (200, order()) if abs(int(given["timestamp"]) - now_ms) < 1000 else BAD_TIME

    account = binance(venue, "usdm", answer)
    with pytest.raises(NotNow):
        account.find(question())
    assert told(account.find(question()), "state") == [(LIVE,)]


# --- replacements on spot ----------------------------------------------------------------------------------------------------


def revisions(*found: dict[str, Any]) -> Answering:
    """A venue that has these orders."""
    known = {one["clientOrderId"]: one for one in found}

    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if not path.endswith("order"):
            return 200, [trade(5, "0.010", orderId=int(given["orderId"]))]
        one = known.get(given["origClientOrderId"])
        return (200, one) if one else NO_ORDER

    return answer


def test_a_replacement_that_nobody_told_of_is_found(venue: RestVenue) -> None:
    account = binance(venue, "spot", revisions(order("CANCELED"), order("FILLED", 1, "0.010")))
    facts = account.find(question(was_changed=1, is_changing=1))
    assert told(facts, "kind", "revision", "state", "cum") == [
        (TRADE, 1, LIVE, 1_000_000),
        (STATE, 1, DONE, 1_000_000),
    ]


def test_an_order_whose_replacement_was_not_made_is_as_it_was(venue: RestVenue) -> None:
    account = binance(venue, "spot", revisions(order("NEW")))
    facts = account.find(question(was_changed=1, is_changing=1))
    assert told(facts, "kind", "revision", "state") == [(STATE, 0, LIVE)]


def test_the_end_of_the_old_one_is_no_end_while_its_replacement_may_be_found_yet(venue: RestVenue) -> None:
    account = binance(venue, "spot", revisions(order("CANCELED")))
    with pytest.raises(NotNow, match="replacement"):
        account.find(question(was_changed=1, is_changing=1))
    for later in (question(was_changed=1, is_changing=1, waited_s=LONG_S), question(was_changed=1)):
        assert told(account.find(later), "kind", "revision", "state") == [(STATE, 0, CANCELLED)]


def listed_nowhere(*executions: dict[str, Any]) -> Answering:
    """Bybit after a restart: its recent orders are forgotten, and the history lags."""

    def answer(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        rows = (
            [one for one in executions if given["orderLinkId"] == one["orderLinkId"]]
            if "orderLinkId" in given
            else executions
        )
        return well({"list": rows if path.endswith("execution/list") else [], "nextPageCursor": ""})

    return answer


def execution_of(number: int, qty: str) -> dict[str, Any]:
    return bybit_trade(
        number, execQty=qty, orderId="a4c1718e-0000-4659-a118-1f6ecce04ad9", orderLinkId=client_text(PREFIX, ID), orderQty="0.010",
        orderPrice="61000",
    )  # fmt: skip


def test_an_order_that_no_list_shows_is_found_by_its_executions(venue: RestVenue) -> None:
    """It would be told as refused, and what has filled of it be booked nowhere."""
    account = bybit(venue, listed_nowhere(execution_of(2, "0.006"), execution_of(1, "0.004")))
    for waited_s in (0.0, LONG_S):
        facts = account.find(question(waited_s=waited_s))
        assert told(facts, "kind", "last_qty", "cum") == [
            (TRADE, 400_000, 1_000_000), (TRADE, 600_000, 1_000_000), (STATE, 0, 1_000_000),
        ]  # fmt: skip
        assert told(facts[-1:], "state", "qty", "price") == [(DONE, 1_000_000, 61_000 * 10**8)]


def test_an_order_that_no_list_shows_and_that_filled_in_part_has_ended_when_it_would_be_listed_else(
    venue: RestVenue,
) -> None:
    account = bybit(venue, listed_nowhere(execution_of(1, "0.004")))
    with pytest.raises(NotNow, match="on no list yet"):
        account.find(question())
    assert told(account.find(question(waited_s=LONG_S)), "kind", "state", "cum") == [
        (TRADE, LIVE, 400_000),
        (STATE, CANCELLED, 400_000),
    ]


def test_an_order_without_executions_is_gone_after_long_at_bybit_too(venue: RestVenue) -> None:
    account = bybit(venue, listed_nowhere())
    with pytest.raises(NotNow, match="not found yet"):
        account.find(question())
    assert told(account.find(question(waited_s=LONG_S)), "kind") == [(GONE,)]
    assert venue.paths()[-1] == "/v5/execution/list"


@pytest.mark.parametrize("result", [None, {}, {"list": None}, []])
@pytest.mark.parametrize("path", ["realtime", "history", "list"])
def test_an_answer_without_a_list_is_not_taken_for_an_empty_one(venue: RestVenue, result: Any, path: str) -> None:
    def answer(method: str, asked: str, given: dict[str, str]) -> tuple[int, Any]:
        return well(result if asked.endswith(path) else {"list": []})

    with pytest.raises(NotNow, match="without a list"):
        bybit(venue, answer).find(question(waited_s=LONG_S))


@pytest.mark.parametrize("changed", [0, 1])
def test_an_order_that_is_not_found_is_gone_only_after_long(venue: RestVenue, changed: int) -> None:
    account = binance(venue, "spot", revisions())
    with pytest.raises(NotNow, match="not found yet"):
        account.find(question(was_changed=changed))
    assert told(account.find(question(was_changed=changed, waited_s=LONG_S)), "kind") == [(GONE,)]


def test_after_the_last_revision_there_is_none_to_look_for(venue: RestVenue) -> None:
    account = binance(venue, "spot", revisions(order("NEW", 255)))
    assert told(account.find(question(revision=255, was_changed=1)), "revision", "state") == [(255, LIVE)]
    assert len(venue.asked) == 1


def test_on_usdm_no_replacement_is_looked_for(venue: RestVenue) -> None:
    account = binance(venue, "usdm", revisions(order("CANCELED")))
    assert told(account.find(question(was_changed=1, is_changing=1)), "state") == [(CANCELLED,)]
    assert len(venue.asked) == 1


# --- cancelling --------------------------------------------------------------------------------------------------------------

CANCELS = [
    ((200, order("CANCELED", filled="0.004")), (STATE, 0, reasons.USER_REQUEST)),
    ((400, {"code": -2011, "msg": "Unknown order sent."}), (REFUSED, ASK, reasons.VENUE_UNKNOWN_ORDER)),
    ((503, {"code": -1000, "msg": "Unknown error"}), (REFUSED, ASK, reasons.VENUE_BUSY)),
    ((502, {}), (REFUSED, ASK, reasons.VENUE_BUSY)),
    ((404, {}), (REFUSED, ASK, reasons.VENUE_BUSY)),
]


@pytest.mark.parametrize(("answer", "fact"), CANCELS)
def test_a_cancel_over_rest_is_told_as_far_as_the_venue_knows(
    venue: RestVenue, answer: tuple[int, Any], fact: tuple[int, int, int]
) -> None:
    account = binance(venue, "usdm", lambda method, path, given: answer)
    assert told(account.cancel(question(ASK_CANCEL)), "kind", "action", "reason") == [fact]


def test_all_of_ours_up_to_an_epoch_are_cancelled_and_nothing_else(venue: RestVenue) -> None:
    texts = ["cm_t1_00000005_01020007", "cm_t1_00000006_01020007", "cm_t2_00000005_01020007", "web_1", ""]

    def at_binance(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if method == "DELETE":
            return 200, {}
        return 200, [{"symbol": given["symbol"], "orderId": at, "clientOrderId": text} for at, text in enumerate(texts)]

    def at_bybit(method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        if method == "POST":
            return well({})
        rows = [{"symbol": "BTCUSDT", "orderId": str(at), "orderLinkId": text} for at, text in enumerate(texts)]
        return well({"list": rows if given["settleCoin"] == "USDT" else []})

    assert binance(venue, "usdm", at_binance).cancel_all(5) == 2
    assert {(one["symbol"], one["orderId"]) for how, _, one in venue.asked if how == "DELETE"} == {
        ("BTCUSDT", "0"),
        ("ETHUSDT", "0"),
    }
    assert bybit(venue, at_bybit).cancel_all(6) == 2
    assert [one["orderId"] for how, _, one in venue.asked if how == "POST"] in (["0", "1"], ["1", "0"])


CANCEL_ANSWERS = {
    "binance": [({"code": -2011, "msg": "Unknown order sent."}, True), (BAD_TIME[1], False), ({"code": -2015, "msg": "key"}, False)],
    "bybit": [(110001, True), (10006, False), (10005, False), (10000, False)],
}  # fmt: skip


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_all_are_cancelled_when_they_are_and_a_refusal_for_another_reason_is_said(venue: RestVenue, name: str) -> None:
    """Who may not cancel, or may not so often, has not cancelled: whoever asked asks again."""
    text = client_text(PREFIX, ID)
    for said, is_gone in CANCEL_ANSWERS[name]:

        def at_binance(method: str, path: str, given: dict[str, str], said: Any = said) -> tuple[int, Any]:
            rows = [{"symbol": "BTCUSDT", "orderId": 1, "clientOrderId": text}]
            return (400, said) if method == "DELETE" else (200, rows if given["symbol"] == "BTCUSDT" else [])

        def at_bybit(method: str, path: str, given: dict[str, str], said: Any = said) -> tuple[int, Any]:
            rows = (
                [{"symbol": "BTCUSDT", "orderId": "1", "orderLinkId": text}]
                if given.get("settleCoin") == "USDT"
                else []
            )
            return (200, {"retCode": said, "retMsg": "no"}) if method == "POST" else well({"list": rows})

        account = binance(venue, "usdm", at_binance) if name == "binance" else bybit(venue, at_bybit)
        if is_gone:
            assert account.cancel_all(ANY_EPOCH - 1) == 1
        else:
            with pytest.raises(OSError, match="cancel"):
                account.cancel_all(ANY_EPOCH - 1)


@pytest.mark.parametrize(
    "body", [None, 7, "odd", {"list": None}, {"list": [7]}, {"list": [{"orderLinkId": "x"}, None]}, [7], {}]
)
def test_open_orders_that_cannot_be_read_are_said_and_end_nobody(venue: RestVenue, body: Any) -> None:
    for account in (
        bybit(venue, lambda method, path, given: well(body)),
        binance(venue, "usdm", lambda method, path, given: (200, body)),
    ):
        venue.answer = (
            (lambda method, path, given: well(body))
            if isinstance(account, BybitAccount)
            else (lambda method, path, given: (200, body))
        )
        try:
            account.cancel_all(5)
        except OSError as wrong:
            assert "open orders" in str(wrong)


def test_what_weighs_less_is_asked_the_symbols_of_a_run_or_all_there_are(venue: RestVenue) -> None:
    account = binance(venue, "spot", lambda method, path, given: (200, []))
    account.cancel_all(5)
    assert [given.get("symbol") for _, _, given in venue.asked] == ["BTCUSDT", "ETHUSDT"]
    account.cancel_all(ANY_EPOCH)
    assert [given.get("symbol") for _, _, given in venue.asked[2:]] == [None], (
        "of an earlier run nobody knows the symbols"
    )


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_a_request_is_stamped_when_there_is_weight_for_it_not_before(
    venue: RestVenue, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    account: BinanceAccount | BybitAccount = (
        binance(venue, "usdm", lambda method, path, given: (200, order()))
        if name == "binance"
        else bybit(venue, lambda method, path, given: well({"list": [bybit_order()]}))
    )
    waited_s, take = 0.3, venue.client.weights.take

    def slow(weight: int, patience_s: float) -> float:
        time.sleep(waited_s)
        return take(weight, patience_s)

    monkeypatch.setattr(venue.client.weights, "take", slow)
    began_ms = time.time() * 1000
    account.find(question())
    stamp = venue.asked[0][2].get("timestamp") or venue.headers[0]["X-BAPI-TIMESTAMP"]
    assert int(stamp) >= began_ms + waited_s * 1000 - 1


# --- the key for events ------------------------------------------------------------------------------------------------------


def listened(account: BinanceAccount) -> None:
    """Have the account keep its key as it does every so often."""
    (job,) = account.upkeep
    job.do()


def test_a_key_for_events_that_is_gone_ends_the_session_and_another_refusal_does_not(venue: RestVenue) -> None:
    said: list[tuple[int, Any]] = [(200, {"listenKey": "k"})]
    venue.answer, sockets = lambda method, path, given: said[-1], Server(lambda client: None)
    account = BinanceAccount(USDM, KEY, venue.client, sockets.ws, sockets.ws, BOTH, PREFIX, ASSETS)
    # Without a session there is none to keep.
    listened(account)
    assert venue.asked == []
    opened = account.connect()
    assert len(opened) == 2 and venue.paths() == ["/fapi/v1/listenKey"]
    listened(account)
    said.append((400, {"code": -1125, "msg": "This listenKey does not exist."}))
    with pytest.raises(ConnectError, match="-1125"):
        listened(account)
    said.append((500, {}))
    with pytest.raises(OSError) as wrong:
        listened(account)
    assert not isinstance(wrong.value, ConnectError)
    for one in (*opened, sockets):
        one.close()
