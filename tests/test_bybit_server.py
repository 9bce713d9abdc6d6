"""The simulated Bybit venue: books, trades and tickers as documented, rules and refusals of requests, REST, and faults on request."""

import json
import ssl
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from binance_rig import Venue
from bybit_venue import Gap, Topics, book_of, bybit_venue, of, sides

pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")

CATEGORIES = pytest.mark.parametrize("category", ["spot", "linear"])
DEPTHS = (50, 200, 1000)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", 300)
    yield made
    made.close()


@pytest.fixture
def venue(running: Venue) -> Iterator[Venue]:
    yield running
    running.control(
        freeze=False,
        drop_next_book=0,
        refuse_next=0,
        mute_next=0,
        late_acks=True,
        status_5xx=0,
        limit_10006=0,
        stall_ms=0,
    )


def rest(venue: Venue, call: str, **query: object) -> Any:
    body = venue.json(f"/v5/market/{call}", **query)
    assert body["retCode"] == 0 and body["retMsg"] == "OK" and body["retExtInfo"] == {} and body["time"] > 0, body
    return body["result"]


def refused(venue: Venue, call: str, **query: object) -> tuple[int, str]:
    body = venue.json(f"/v5/market/{call}", **query)
    return body["retCode"], body["retMsg"]


# --- books -------------------------------------------------------------------------------------------


@CATEGORIES
def test_books_of_every_depth_are_the_engines(venue: Venue, category: str) -> None:
    line = Topics(venue, category)
    assert line.ask_for("subscribe", *(f"orderbook.{depth}.BTCUSDT" for depth in (1, *DEPTHS)))["success"]
    got = line.data(2.0)
    with venue.frozen():
        got += line.data(0.6)
        now = sides(rest(venue, "orderbook", category=category, symbol="BTCUSDT", limit=1000))
        for depth in (1, *DEPTHS):
            messages = of(got, f"orderbook.{depth}.BTCUSDT")
            assert len(messages) > 5 and messages[0]["type"] == "snapshot"
            numbers = [one["data"]["u"] for one in messages]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            late = [one for one in messages if one["cts"] > one["ts"] or one["data"]["s"] != "BTCUSDT"]
            assert not late, late[0]
            book = book_of(got, f"orderbook.{depth}.BTCUSDT")
            best = [dict(sorted(side.items(), reverse=not at)[:depth]) for at, side in enumerate(now)]
            assert list(book.sides()) == best, depth
    line.close()


@CATEGORIES
def test_keys_stand_where_the_category_puts_them(venue: Venue, category: str) -> None:
    line = Topics(venue, category)
    line.ask_for("subscribe", "orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT")
    got = line.data(0.5)
    first = {"spot": ["topic", "ts", "type"], "linear": ["topic", "type", "ts"]}[category]
    assert {tuple(one)[:3] for one in of(got, "orderbook.50.BTCUSDT")} == {tuple(first)}
    assert {tuple(one)[:3] for one in of(got, "orderbook.1.BTCUSDT")} == {("topic", "ts", "type")}
    line.close()


def test_best_prices_are_whole_each_time_and_told_again_when_nothing_changes(venue: Venue) -> None:
    line = Topics(venue)
    with venue.frozen():
        line.ask_for("subscribe", "orderbook.1.BTCUSDT")
        got = of(line.data(3.6), "orderbook.1.BTCUSDT")
        assert len(got) == 2 and {one["type"] for one in got} == {"snapshot"}
        assert got[0]["data"] == got[1]["data"] and got[1]["ts"] - got[0]["ts"] >= 3000
    line.close()


def test_who_comes_later_gets_the_levels_that_the_next_change_fits(venue: Venue) -> None:
    topic = "orderbook.50.BTCUSDT"
    first, second = Topics(venue), Topics(venue)
    first.ask_for("subscribe", topic)
    first.data(0.3)
    second.ask_for("subscribe", topic)
    got = of(second.data(1.0), topic)
    assert got[0]["type"] == "snapshot" and all(one["type"] == "delta" for one in got[1:]) and len(got) > 5
    book_of(got, topic)
    for line in (first, second):
        line.close()


def test_giving_a_topic_up_and_asking_for_it_again_brings_a_snapshot(venue: Venue) -> None:
    topic, line = "orderbook.50.BTCUSDT", Topics(venue)
    line.ask_for("subscribe", topic)
    line.data(0.2)
    assert line.ask_for("unsubscribe", topic)["success"]
    line.kept.clear()
    assert not of(line.data(0.3), topic)
    assert line.ask_for("subscribe", topic)["success"]
    assert of(line.data(0.3), topic)[0]["type"] == "snapshot"
    line.close()


# --- trades and tickers -------------------------------------------------------------------------------


@CATEGORIES
def test_trades_are_those_of_rest_with_the_ids_of_the_category(venue: Venue, category: str) -> None:
    line = Topics(venue, category)
    line.ask_for("subscribe", "publicTrade.BTCUSDT")
    got = line.data(4.0)
    with venue.frozen():
        got += line.data(0.3)
        rows = [row for one in of(got, "publicTrade.BTCUSDT") for row in one["data"]]
        newest = rest(venue, "recent-trade", category=category, symbol="BTCUSDT", limit=60)["list"]
    assert rows and all(row["S"] in ("Buy", "Sell") and row["s"] == "BTCUSDT" and row["BT"] is False for row in rows)
    assert [row["T"] for row in rows] == sorted(row["T"] for row in rows)
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    count = min(len(rows), len(newest))
    assert [row["i"] for row in rows[::-1][:count]] == [one["execId"] for one in newest[:count]]
    assert [(row["S"], row["T"]) for row in rows[::-1][:count]] == [
        (one["side"], int(one["time"])) for one in newest[:count]
    ]
    for row in rows:
        assert row["i"].isdigit() if category == "spot" else str(uuid.UUID(row["i"])) == row["i"]
    line.close()


def test_tickers_of_contracts_are_told_by_what_has_changed_and_of_spot_as_a_whole(venue: Venue) -> None:
    linear, spot = Topics(venue), Topics(venue, "spot")
    for line in (linear, spot):
        line.ask_for("subscribe", "tickers.BTCUSDT")
    got = of(linear.data(3.0), "tickers.BTCUSDT")
    assert [one["type"] for one in got[:2]] == ["snapshot", "delta"] and len(got) > 3
    held: dict[str, str] = {}
    for one in got:
        changed = {key: value for key, value in one["data"].items() if held.get(key) != value}
        assert one["type"] == "snapshot" or set(changed) | {"symbol"} == set(one["data"]), "only what has changed"
        held |= one["data"]
    with venue.frozen():
        for one in of(linear.data(0.4), "tickers.BTCUSDT"):
            held |= one["data"]
        (now,) = rest(venue, "tickers", category="linear", symbol="BTCUSDT")["list"]
        assert held == now
        told = of(spot.data(0.4), "tickers.BTCUSDT")
        assert {one["type"] for one in told} == {"snapshot"} and "bid1Price" not in told[-1]["data"]
        assert told[-1]["data"].keys() < rest(venue, "tickers", category="spot")["list"][0].keys()
    for line in (linear, spot):
        line.close()


# --- requests -----------------------------------------------------------------------------------------


@CATEGORIES
def test_a_ping_is_answered_as_the_public_side_does(venue: Venue, category: str) -> None:
    line = Topics(venue, category)
    said = line.request({"op": "ping", "req_id": "100001"})
    assert (said["success"], said["ret_msg"], said["req_id"], said["op"]) == (True, "pong", "100001", "ping")
    assert line.request({"op": "ping"})["req_id"] == ""
    line.socket.ping(b"as a frame")
    line.socket.settimeout(5)
    assert line.socket.recv_data(control_frame=True)[1] == b"as a frame"
    line.close()


def test_data_may_come_before_the_answer_and_after_it(venue: Venue) -> None:
    first, second = Topics(venue), Topics(venue)
    first.ask_for("subscribe", "orderbook.50.BTCUSDT")
    assert [one["type"] for one in first.kept] == ["snapshot"]
    venue.control(late_acks=False)
    assert second.ask_for("subscribe", "orderbook.50.BTCUSDT")["ret_msg"] == "" and not second.kept
    for line in (first, second):
        line.close()


@pytest.mark.parametrize(
    ("category", "topics", "said"),
    [
        ("linear", ["orderbook.7.BTCUSDT"], "error:handler not found,topic:orderbook.7.BTCUSDT"),
        ("linear", ["orderbook.50.NOUSDT"], "error:handler not found,topic:orderbook.50.NOUSDT"),
        ("linear", ["orderbook.50.BTCUSDT", "nothing.BTCUSDT"], "error:handler not found,topic:nothing.BTCUSDT"),
        ("linear", ["tickers.BTCUSDT", "tickers.BTCUSDT"], "error:already subscribed,topic:tickers.BTCUSDT"),
        ("linear", [], "error:args is empty"),
        ("spot", [f"orderbook.{depth}.{symbol}" for depth in (1, 50, 200) for symbol in "ABCD"], "args size >10"),
    ],
)
def test_a_request_that_is_wrong_in_one_topic_is_refused_as_a_whole(
    venue: Venue, category: str, topics: list[str], said: str
) -> None:
    line = Topics(venue, category)
    answer = line.ask_for("subscribe", *topics, req_id="mine")
    assert not answer["success"] and answer["ret_msg"].startswith(said) and answer["req_id"] == "mine"
    assert not line.data(0.3)
    line.close()


def test_other_requests_are_refused_by_name(venue: Venue) -> None:
    line = Topics(venue)
    line.ask_for("subscribe", "tickers.BTCUSDT")
    assert line.ask_for("subscribe", "tickers.BTCUSDT")["ret_msg"] == "error:already subscribed,topic:tickers.BTCUSDT"
    assert line.ask_for("dance", "tickers.BTCUSDT")["ret_msg"] == "error:invalid op,op:dance"
    for text in ("nonsense", "[1]", "7"):
        line.socket.send(text)
        while "op" not in (got := line.next()):
            pass
        assert got["ret_msg"] == "error:invalid request"
    line.close()


# --- REST ---------------------------------------------------------------------------------------------


def test_time_and_candles(venue: Venue) -> None:
    told = rest(venue, "time")
    assert abs(int(told["timeSecond"]) - time.time()) < 5 and told["timeNano"].startswith(told["timeSecond"])
    candles = rest(venue, "kline", category="linear", symbol="BTCUSDT", interval="1", limit=5)["list"]
    assert candles and all(len(row) == 7 for row in candles)
    starts = [int(row[0]) for row in candles]
    assert starts == sorted(starts, reverse=True)
    _, first, high, low, last, *_ = map(float, candles[0])
    assert low <= min(first, last) <= max(first, last) <= high
    assert rest(venue, "kline", category="linear", symbol="BTCUSDT", interval="1", end=starts[-1] - 1)["list"] == []


def test_contracts_are_listed_page_by_page_and_spot_at_once(venue: Venue) -> None:
    first = rest(venue, "instruments-info", category="linear", limit=1)
    assert [one["symbol"] for one in first["list"]] == ["BTCUSDT"] and first["nextPageCursor"]
    # As it came, that is percent-encoded once more than a query needs; and decoded once.
    for cursor in (first["nextPageCursor"], requests.utils.unquote(first["nextPageCursor"])):
        second = rest(venue, "instruments-info", category="linear", limit=1, cursor=cursor)
        assert [one["symbol"] for one in second["list"]] == ["ETHUSDT"] and second["nextPageCursor"] == ""
    (one,) = rest(venue, "instruments-info", category="linear", symbol="BTCUSDT")["list"]
    assert (one["priceFilter"]["tickSize"], one["lotSizeFilter"]["qtyStep"]) == ("0.1", "0.001")
    assert one["lotSizeFilter"]["minNotionalValue"] == "5" and one["settleCoin"] == "USDT"
    whole = rest(venue, "instruments-info", category="spot")
    assert len(whole["list"]) == 2 and "nextPageCursor" not in whole
    assert whole["list"][0]["lotSizeFilter"]["basePrecision"] == "0.00001"


@pytest.mark.parametrize(
    ("call", "query", "code", "said"),
    [
        ("orderbook", {"symbol": "BTCUSDT"}, 10001, "category is invalid"),
        ("orderbook", {"category": "linear"}, 10001, "symbol is empty"),
        ("orderbook", {"category": "linear", "symbol": "NOUSDT"}, 10001, "Not supported symbols"),
        ("orderbook", {"category": "linear", "symbol": "BTCUSDT", "limit": 1001}, 10001, "limit invalid"),
        ("orderbook", {"category": "linear", "symbol": "BTCUSDT", "limit": "x"}, 10001, "not a whole number"),
        ("kline", {"category": "linear", "symbol": "BTCUSDT", "interval": "7"}, 10001, "Invalid period"),
        ("instruments-info", {"category": "linear", "cursor": "x"}, 10001, "cursor invalid"),
    ],
)
def test_a_request_that_means_nothing_is_refused_with_http_200(
    venue: Venue, call: str, query: dict[str, object], code: int, said: str
) -> None:
    got, text = refused(venue, call, **query)
    assert got == code and said in text


# --- faults -------------------------------------------------------------------------------------------


def test_book_events_are_dropped_doubled_and_reordered_for_whom_it_is_asked(venue: Venue) -> None:
    topic, other = "orderbook.50.BTCUSDT", "orderbook.50.ETHUSDT"
    for fault in ("drop_next_book", "reorder_next_book"):
        line = Topics(venue)
        line.ask_for("subscribe", topic, other)
        line.data(0.2)
        line.ask_for("unsubscribe", topic, other)
        line.kept.clear()
        line.ask_for("subscribe", topic, other)
        venue.control(**{fault: 1, "symbol": "BTCUSDT"})
        got = line.data(1.0)
        with pytest.raises(Gap):
            book_of(got, topic)
        book_of(got, other)
        line.close()
    line = Topics(venue)
    line.ask_for("subscribe", topic)
    venue.control(double_next_book=1)
    got = line.data(0.6)
    numbers = [one["data"]["u"] for one in of(got, topic)]
    assert len(numbers) == len(set(numbers)) + 1
    book_of(got, topic)
    line.close()


def test_books_begin_anew_with_number_1(venue: Venue) -> None:
    topic, line = "orderbook.50.BTCUSDT", Topics(venue)
    line.ask_for("subscribe", topic)
    line.data(0.2)
    venue.control(restart=True)
    got = of(line.data(0.6), topic)
    anew = [at for at, one in enumerate(got) if one["data"]["u"] == 1]
    assert len(anew) == 1 and got[anew[0]]["type"] == "snapshot" and got[anew[0] + 1]["data"]["u"] == 2
    line.close()


def test_connections_are_cut_in_the_middle_of_a_message(venue: Venue) -> None:
    line, other = Topics(venue), Topics(venue, "spot")
    line.ask_for("subscribe", "orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT")
    venue.control(disconnect="all", market="linear")
    assert line.code_at_end() is None
    assert other.request({"op": "ping"})["success"]
    other.close()


def test_a_half_open_connection_neither_ends_nor_says_anything(venue: Venue) -> None:
    line, other = Topics(venue), Topics(venue, "spot")
    line.ask_for("subscribe", "orderbook.1.BTCUSDT")
    venue.control(half_open="all", market="linear")
    line.data(0.3)
    line.socket.send('{"op":"ping"}')
    assert line.data(0.7) == [] and line.socket.connected
    assert other.request({"op": "ping"})["success"]
    other.close()


def test_connections_are_refused_for_as_long_as_asked(venue: Venue) -> None:
    venue.control(refuse_ms=60_000)
    with pytest.raises(websocket.WebSocketBadStatusException):
        Topics(venue)
    venue.control(refuse_ms=0)
    assert Topics(venue).request({"op": "ping"})["success"]


def test_figures_tell_what_was_asked_for_twice_and_books_are_those_that_rest_gives(venue: Venue) -> None:
    before, line = venue.control(), Topics(venue)
    line.ask_for("subscribe", "publicTrade.ETHUSDT")
    assert not line.ask_for("subscribe", "publicTrade.ETHUSDT")["success"]
    after = venue.control(freeze=True)
    assert after["linear_asked_twice"] - before["linear_asked_twice"] == 1
    assert after["linear_streams"] > before["linear_streams"]
    truth = venue.json("/control/books", levels=50)["linear"]["BTCUSDT"]
    told = venue.json("/v5/market/orderbook", category="linear", symbol="BTCUSDT", limit=50)["result"]
    for side, key in (("bids", "b"), ("asks", "a")):
        assert truth[side] == [[int(Decimal(one) * 10**8) for one in level] for level in told[key]]


def test_nothing_is_sent_while_the_venue_stalls_and_nothing_is_lost(venue: Venue) -> None:
    topic, line = "orderbook.50.BTCUSDT", Topics(venue)
    line.ask_for("subscribe", topic)
    got = line.data(0.3)
    venue.control(stall_ms=700)
    began = time.monotonic()
    got += line.data(0.1)
    silent = line.next()
    assert time.monotonic() - began > 0.4
    book_of([*got, silent, *line.data(0.5)], topic)
    line.close()


def test_subscriptions_are_refused_or_stay_silent_on_request(venue: Venue) -> None:
    line = Topics(venue)
    venue.control(refuse_next=1)
    assert not line.ask_for("subscribe", "orderbook.50.BTCUSDT")["success"]
    venue.control(mute_next=1)
    assert line.ask_for("subscribe", "orderbook.50.BTCUSDT")["success"]
    assert not line.data(0.5)
    line.close()


def test_rest_fails_on_request(venue: Venue) -> None:
    venue.control(status_5xx=1, limit_10006=1, market="linear")
    assert venue.get("/v5/market/tickers", category="linear").status_code == 503
    answer = venue.get("/v5/market/tickers", category="linear")
    assert answer.json()["retCode"] == 10006 and int(answer.headers["X-Bapi-Limit-Reset-Timestamp"]) > 0
    rest(venue, "tickers", category="linear")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"drop_next_book": -1}, "drop_next_book = -1; allowed: a whole number"), ({"freeze": 1}, "allowed: true or false"),
        ({"market": "usdm"}, "allowed: spot or linear"), ({"explode": True}, "explode: no such key; allowed: "),
        ({"symbol": 7}, "the name of a symbol"), ([1], "allowed: one JSON object"),
    ],
)  # fmt: skip
def test_a_fault_that_there_is_not_is_refused_by_name(venue: Venue, asked: Any, said: str) -> None:
    answer = requests.post(f"http://127.0.0.1:{venue.port}/control", json=asked, timeout=10)
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_who_asks_too_often_is_sent_away(tmp_path: Path) -> None:
    venue = bybit_venue(tmp_path, "--rate", 1)
    with requests.Session() as session:
        url = f"http://127.0.0.1:{venue.port}/v5/market/time"
        statuses = [session.get(url, timeout=10).status_code for _ in range(601)]
    venue.close()
    assert set(statuses[:600]) == {200} and statuses[-1] == 403


def test_the_same_over_tls(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    venue = bybit_venue(tmp_path, "--tls", "--cert-file", certificate)
    venue.scheme, venue.verify = "https", str(certificate)
    assert rest(venue, "time")
    line = Topics(venue, sslopt={"ca_certs": str(certificate), "cert_reqs": ssl.CERT_REQUIRED})
    assert line.ask_for("subscribe", "orderbook.50.BTCUSDT")["success"]
    book_of(line.data(0.5), "orderbook.50.BTCUSDT")
    line.close()
    assert json.loads(requests.get(f"https://127.0.0.1:{venue.port}/control", verify=venue.verify, timeout=5).text)
    venue.close()
