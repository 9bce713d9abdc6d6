"""The simulated Binance venue as a process: what its market data promises, checked by a client written from the documents."""

import json
import signal
import ssl
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from binance_rig import Gap, Line, PlainBook, Venue
from typer.testing import CliRunner

from hftpipe.cli import app

pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")

DEPTH = {"spot": "/api/v3/depth", "usdm": "/fapi/v1/depth"}
MOST = {"spot": 5000, "usdm": 1000}
STREAM = {"spot": "/stream", "usdm": "/public/stream"}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 300, "--weight-limit", 100_000)
    yield made
    made.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Any]:
    made: list[Venue] = []

    def start(*arguments: object, config: str | None = None) -> Venue:
        made.append(Venue(tmp_path, *arguments, **({} if config is None else {"config": config})))
        return made[-1]

    yield start
    for one in made:
        one.close()


def snapshot(venue: Venue, market: str, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return dict(venue.json(DEPTH[market], symbol=symbol, limit=MOST[market]))


def open_stream(venue: Venue, market: str, *names: str) -> Line:
    return venue.open(f"{STREAM[market]}?streams={'/'.join(names)}")


# --- books ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_a_book_from_snapshot_and_diffs_is_the_engines_book(venue: Venue, market: str) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")
    line = open_stream(venue, market, *(f"{one.lower()}@depth@100ms" for one in symbols))
    messages = line.for_seconds(0.5)
    books = {one: PlainBook.of(snapshot(venue, market, one), market == "usdm") for one in symbols}
    messages += line.for_seconds(3)
    with venue.frozen():
        messages += line.for_seconds(0.6)
        applied = dict.fromkeys(symbols, 0)
        for message in messages:
            event = message["data"]
            assert message["stream"] == f"{event['s'].lower()}@depth@100ms"
            applied[event["s"]] += books[event["s"]].apply(event)
        for symbol, book in books.items():
            now = PlainBook.of(snapshot(venue, market, symbol), market == "usdm")
            assert applied[symbol] > 15 and book.id == now.id and book.sides() == now.sides()
    line.close()


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_any_snapshot_and_the_event_around_it_make_the_same_book(venue: Venue, market: str) -> None:
    """A snapshot that falls inside an event must lead to the book that all events before lead to."""
    line = open_stream(venue, market, "btcusdt@depth@100ms")
    messages = [line.next()]
    start, others = snapshot(venue, market), []
    for _ in range(25):
        messages += line.for_seconds(0.07)
        others.append(snapshot(venue, market))
    messages += line.for_seconds(0.5)
    book, states = PlainBook.of(start, market == "usdm"), {}
    for message in messages:
        if book.apply(message["data"]):
            states[book.id] = book.sides()
    compared = 0
    for other in others:
        rebuilt = PlainBook.of(other, market == "usdm")
        applied = next((one["data"] for one in messages if rebuilt.apply(one["data"])), None)
        if applied is not None and rebuilt.id in states:
            assert rebuilt.sides() == states[rebuilt.id]
            compared += 1
    assert compared > 20
    line.close()


def test_at_every_update_id_the_usdm_book_is_the_engines(venue: Venue) -> None:
    """``@depth@0ms`` has one event for every change, so whenever a snapshot is taken there is a state to compare it with."""
    line = open_stream(venue, "usdm", "btcusdt@depth@0ms", "btcusdt@bookTicker")
    messages, taken = [line.next()], []
    for _ in range(20):
        taken.append(snapshot(venue, "usdm"))
        messages += line.for_seconds(0.05)
    messages += line.for_seconds(0.3)
    book, states, tops = PlainBook.of(taken[0], True), {}, {}
    for message in messages:
        data = message["data"]
        if data["e"] == "bookTicker":
            tops[data["u"]] = tuple(Decimal(data[name]) for name in "bBaA")
        elif book.apply(data):
            assert data["U"] == data["u"]
            states[book.id] = book.sides(), book.top()
    compared = [one for one in taken if one["lastUpdateId"] in states]
    assert len(compared) > 15
    for one in compared:
        assert PlainBook.of(one, True).sides() == states[one["lastUpdateId"]][0]
    known = [(tops[id_], states[id_][1]) for id_ in tops if id_ in states]
    assert len(known) > 10 and all(told == built for told, built in known)
    line.close()


def test_ids_of_usdm_have_holes_even_for_a_lone_stream_and_those_of_spot_have_none(venue: Venue) -> None:
    spot, usdm = (open_stream(venue, market, "btcusdt@depth@100ms") for market in ("spot", "usdm"))
    events = [one["data"] for one in spot.for_seconds(1.5)]
    assert all(b["U"] == a["u"] + 1 for a, b in pairwise(events)) and len(events) > 8
    events = [one["data"] for one in usdm.for_seconds(0.5)]
    assert all(b["pu"] == a["u"] < b["U"] - 1 for a, b in pairwise(events)) and len(events) > 8
    spot.close()
    usdm.close()


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_a_partial_book_is_the_head_of_the_book(venue: Venue, market: str) -> None:
    with venue.frozen():
        line = open_stream(venue, market, "btcusdt@depth10@100ms")
        book = snapshot(venue, market)
    messages = line.for_seconds(1)
    first = messages[0]["data"]
    names = ("bids", "asks") if market == "spot" else ("b", "a")
    assert all(len(one["data"][name]) == 10 for one in messages for name in names) and len(messages) > 5
    assert set(first) == (
        {"lastUpdateId", "bids", "asks"} if market == "spot" else set("eETsUuba") | {"pu", "ps", "st"}
    )
    assert book["bids"][0] > book["bids"][9]
    line.close()


# --- trades ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "trades", "aggregates"),
    [("spot", "/api/v3/trades", "/api/v3/aggTrades"), ("usdm", "/fapi/v1/trades", "/fapi/v1/aggTrades")],
)
def test_trades_are_contiguous_and_aggregates_are_made_of_them(
    venue: Venue, market: str, trades: str, aggregates: str
) -> None:
    single = open_stream(venue, market, "btcusdt@trade")
    merged = venue.open(f"{'/stream' if market == 'spot' else '/market/stream'}?streams=btcusdt@aggTrade")
    time.sleep(6)
    with venue.frozen():
        rows = [one["data"] for one in single.for_seconds(0.3)]
        made = [one["data"] for one in merged.for_seconds(0.3)]
        kept = venue.json(trades, symbol="BTCUSDT", limit=1000)
        merged_kept = venue.json(aggregates, symbol="BTCUSDT", fromId=made[0]["a"], limit=1000)
    ids = [one["t"] for one in rows]
    assert ids == list(range(ids[0], ids[0] + len(ids))) and len(ids) > 3
    by_id = {one["id"]: one for one in kept}
    assert all((by_id[one["t"]]["price"], by_id[one["t"]]["qty"]) == (one["p"], one["q"]) for one in rows)
    assert all(by_id[one["t"]]["isBuyerMaker"] == one["m"] for one in rows)
    assert all(b["a"] == a["a"] + 1 and b["f"] == a["l"] + 1 for a, b in pairwise(made))
    for one in made:
        parts = [by_id[id_] for id_ in range(one["f"], one["l"] + 1)]
        assert {part["price"] for part in parts} == {one["p"]}
        assert sum(Decimal(part["qty"]) for part in parts) == Decimal(one["q"])
    assert [one["a"] for one in merged_kept][: len(made)] == [one["a"] for one in made]
    single.close()
    merged.close()


def test_candles_and_tickers_are_made_of_the_trades(venue: Venue) -> None:
    time.sleep(1)
    with venue.frozen():
        trades = venue.json("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=0, limit=1000)
        day = venue.json("/api/v3/ticker/24hr", symbol="BTCUSDT")
        minutes = venue.json("/api/v3/klines", symbol="BTCUSDT", interval="1m")
        hours = venue.json("/api/v3/klines", symbol="BTCUSDT", interval="1h")
        last = venue.json("/api/v3/ticker/price", symbol="BTCUSDT")
    assert day["count"] == len(trades) and (day["firstId"], day["lastId"]) == (trades[0]["id"], trades[-1]["id"])
    assert sum(Decimal(one["qty"]) for one in trades) == Decimal(day["volume"])
    assert day["lastPrice"] == last["price"] == trades[-1]["price"] == minutes[-1][4]
    for rows in (minutes, hours):
        assert sum(Decimal(row[5]) for row in rows) == Decimal(day["volume"])
        assert sum(row[8] for row in rows) == len(trades)
        assert max(Decimal(row[2]) for row in rows) == Decimal(day["highPrice"])
        assert all(b[0] == a[6] + 1 for a, b in pairwise(rows))


# --- what messages look like ----------------------------------------------------------------------------

KEYS = {
    ("spot", "depth@100ms"): "e E s U u b a",
    ("spot", "bookTicker"): "u s b B a A",
    ("spot", "trade"): "e E s t p q T m M",
    ("spot", "aggTrade"): "e E s a p q f l T m M",
    ("spot", "ticker"): "e E s p P w x c Q b B a A o h l v q O C F L n",
    ("spot", "miniTicker"): "e E s c o h l v q",
    ("usdm", "depth@100ms"): "e E T s ps st U u pu b a",
    ("usdm", "bookTicker"): "e u E T s b B a A ps st",
    ("usdm", "trade"): "e E T s t p q X m",
    ("usdm", "aggTrade"): "e E s a p q nq f l T m",
    ("usdm", "ticker"): "e E s p P w c Q o h l v q O C F L n",
}


def test_messages_have_the_keys_of_their_market(venue: Venue) -> None:
    lines = {
        "spot": [venue.open("/stream")],
        "usdm": [venue.open("/public/stream"), venue.open("/market/stream")],
    }
    wanted = {market: [f"btcusdt@{name}" for at, name in KEYS if at == market] for market in lines}
    for market, opened in lines.items():
        for line in opened:
            assert line.ask("SUBSCRIBE", wanted[market]) == {"result": None, "id": 1}
    for market, opened in lines.items():
        seen: dict[str, Any] = {}
        deadline = time.monotonic() + 30
        while len(seen) < len(wanted[market]) and time.monotonic() < deadline:
            for line in opened:
                seen |= {one["stream"]: one["data"] for one in line.for_seconds(0.3)}
        assert {name: " ".join(data) for name, data in seen.items()} == {
            f"btcusdt@{name}": keys for (at, name), keys in KEYS.items() if at == market
        }
        decimals = 8 if market == "spot" else 2
        assert len(seen["btcusdt@trade"]["p"].partition(".")[2]) == decimals
        assert len(seen["btcusdt@trade"]["q"].partition(".")[2]) == (8 if market == "spot" else 3)
        for line in opened:
            line.close()


def test_times_in_microseconds_if_asked_for(venue: Venue) -> None:
    line = venue.open("/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND")
    assert abs(line.next()["E"] / 1e6 - time.time()) < 60
    line.close()


def test_all_tickers_of_a_market_are_one_array(venue: Venue) -> None:
    line = venue.open("/stream?streams=!miniTicker@arr")
    data = line.next()["data"]
    assert isinstance(data, list) and {one["e"] for one in data} == {"24hrMiniTicker"}
    line.close()


# --- subscriptions --------------------------------------------------------------------------------------


def test_commands_are_answered_as_documented(venue: Venue) -> None:
    line = venue.open("/ws/nope@trade")
    uuid = "7d1cf4ee-96b4-4b0a-9d4b-0d0f1cbb7ad5"
    assert line.ask("SUBSCRIBE", ["btcusdt@trade"], uuid) == {"result": None, "id": uuid}
    assert line.ask("LIST_SUBSCRIPTIONS", id_=None) == {"result": ["nope@trade", "btcusdt@trade"], "id": None}
    assert line.ask("UNSUBSCRIBE", ["nope@trade"], "a") == {"result": None, "id": "a"}
    assert line.ask("GET_PROPERTY", ["combined"], 4) == {"result": False, "id": 4}
    line.close()
    line = venue.open("/ws")
    assert line.ask("SET_PROPERTY", ["combined", True], 5) == {"result": None, "id": 5}
    assert line.ask("SUBSCRIBE", ["btcusdt@bookTicker"]) == {"result": None, "id": 1}
    assert line.next()["stream"] == "btcusdt@bookTicker"
    line.close()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"method":"SUBSCRIB","params":["a@trade"],"id":12}', 2, "unknown variant `SUBSCRIB`, expected one of"),
        ('{"params":[],"id":1}', 2, "missing field `method`"),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "must be a string"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0, "Unknown property"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "too many parameters"),
        ("{nonsense", 3, "Invalid JSON"),
        ("[1]", 2, "an object is expected"),
        (json.dumps({"method": "SUBSCRIBE", "params": [f"s{n}@trade" for n in range(1025)], "id": 1}), 2, "1024"),
    ],
)
def test_what_makes_no_command_is_refused(venue: Venue, text: str, code: int, message: str) -> None:
    line = venue.open("/ws")
    got = line.say(text)
    assert got["code"] == code and message in got["msg"]
    assert line.ask("LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
    line.close()


def test_a_raw_path_may_name_several_streams_and_their_messages_come_bare(venue: Venue) -> None:
    line = venue.open("/ws/btcusdt@depth@100ms/ethusdt@depth@100ms")
    assert {(one["e"], one["s"]) for one in line.for_seconds(1)} == {
        ("depthUpdate", "BTCUSDT"),
        ("depthUpdate", "ETHUSDT"),
    }
    line.close()


def test_a_request_that_is_no_websocket_is_refused_and_leaves_nothing_behind(venue: Venue) -> None:
    before = venue.json("/control")["connections"]
    assert venue.get("/ws/btcusdt@trade").status_code == 400
    assert venue.json("/control")["connections"] == before
    too_many = "/".join(f"s{number}@trade" for number in range(1025))
    assert venue.get(f"/stream?streams={too_many}").status_code in (400, 414)


def test_unknown_and_upper_case_streams_are_acked_and_silent(venue: Venue) -> None:
    line = venue.open("/stream")
    names = ["BTCUSDT@bookTicker", "nope@trade", "btcusdt@depth@250ms", "btcusdt@depth7", "btcusdt@nothing"]
    assert line.ask("SUBSCRIBE", names) == {"result": None, "id": 1}
    assert line.for_seconds(1.2) == []
    line.close()


def test_a_usdm_stream_on_the_wrong_route_is_acked_and_silent(venue: Venue) -> None:
    for route, heard, silent in (("public", "bookTicker", "miniTicker"), ("market", "miniTicker", "bookTicker")):
        line = venue.open(f"/{route}/stream")
        assert line.ask("SUBSCRIBE", [f"btcusdt@{heard}", f"btcusdt@{silent}"]) == {"result": None, "id": 1}
        assert {one["stream"] for one in line.for_seconds(4.2)} == {f"btcusdt@{heard}"}
        line.close()
    line = venue.open("/private/ws/listenkey")
    assert line.ask("SUBSCRIBE", ["btcusdt@bookTicker"]) == {"result": None, "id": 1}
    assert line.for_seconds(0.5) == []
    line.close()


def test_where_there_is_no_spot_the_old_paths_serve_what_is_public_of_usdm(own: Any) -> None:
    venue = own("--market", "usdm", "--rate", 300)
    line = venue.open("/stream?streams=btcusdt@bookTicker/btcusdt@miniTicker")
    assert {one["stream"] for one in line.for_seconds(4.2)} == {"btcusdt@bookTicker"}
    assert line.next()["data"]["e"] == "bookTicker"
    assert venue.get("/api/v3/ping").status_code == 404
    line.close()


@pytest.mark.parametrize(("path", "most"), [("/ws", 5), ("/public/ws", 10)])
def test_who_sends_too_much_is_cut(venue: Venue, path: str, most: int) -> None:
    line = venue.open(path)
    for number in range(most):
        assert line.ask("LIST_SUBSCRIPTIONS", id_=number)["id"] == number
    line.socket.ping()
    assert line.code_at_end() == 1008


def test_a_ping_is_answered_and_who_does_not_answer_one_is_cut(own: Any) -> None:
    venue = own("--rate", 50)
    line = venue.open("/ws")
    line.socket.ping(b"mine")
    assert line.socket.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"mine")
    venue.control(ping_ms=200, pong_ms=600)
    kind, payload = line.socket.recv_data(control_frame=True)
    assert kind == websocket.ABNF.OPCODE_PING and payload.isdigit()
    # Reading answers them, so it lives on for longer than an answer may take.
    for _ in range(6):
        assert line.socket.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PING
    line.close()
    silent, frames = venue.open("/ws"), []
    # Frames that are read one by one are not answered; a pong of other words is no answer.
    while not frames or frames[-1].opcode == websocket.ABNF.OPCODE_PING:
        frames.append(silent.socket.recv_frame())
        if len(frames) == 1:
            silent.socket.pong(b"not asked for")
    assert len(frames) > 2 and int.from_bytes(frames[-1].data[:2], "big") == 1008


# --- REST -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v3/depth", -1102),
        ("/api/v3/depth?symbol=NOPE", -1121),
        ("/api/v3/depth?symbol=btcusdt", -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=0", -1130),
        ("/api/v3/depth?symbol=BTCUSDT&limit=x", -1100),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7", -4021),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7m", -1120),
        ("/api/v3/ticker/price?symbols=BTCUSDT", -1100),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(venue: Venue, path: str, code: int) -> None:
    answer = venue.get(path)
    assert answer.status_code == 400 and answer.json()["code"] == code


def test_each_request_weighs_what_is_documented(own: Any) -> None:
    venue = own("--rate", 50, "--weight-limit", 400)
    used = 0
    # Minutes are those of the clock: one must not begin in between.
    time.sleep(61 - time.time() % 60 if time.time() % 60 > 50 else 0)
    for path, weight in (("ping", 1), ("depth?symbol=BTCUSDT&limit=100", 5), ("depth?symbol=BTCUSDT&limit=500", 25),
                         ("depth?symbol=BTCUSDT&limit=1000", 50), ("depth?symbol=BTCUSDT&limit=5000", 250),
                         ("exchangeInfo", 20), ("trades?symbol=BTCUSDT", 25)):  # fmt: skip
        answer = venue.get(f"/api/v3/{path}")
        used += weight
        assert answer.status_code == 200 and int(answer.headers["X-MBX-USED-WEIGHT-1M"]) == used
    answer = venue.get("/api/v3/depth?symbol=BTCUSDT&limit=500")
    assert answer.status_code == 429 and 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.json()["code"] == -1003
    assert venue.get("/fapi/v1/ping").headers["X-MBX-USED-WEIGHT-1M"] == "1"


def test_exchange_info_has_the_steps_that_books_keep_to(venue: Venue) -> None:
    for market, path in (("spot", "/api/v3/exchangeInfo"), ("usdm", "/fapi/v1/exchangeInfo")):
        for listed in venue.json(path)["symbols"]:
            filters = {one["filterType"]: one for one in listed["filters"]}
            tick, lot = Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"])
            book = snapshot(venue, market, listed["symbol"])
            assert all(Decimal(p) % tick == 0 and Decimal(q) % lot == 0 for p, q in book["bids"] + book["asks"])
            assert listed["status"] == "TRADING" and listed["baseAsset"] + listed["quoteAsset"] == listed["symbol"]


def test_premium_index_is_about_the_book(venue: Venue) -> None:
    row, book = venue.json("/fapi/v1/premiumIndex", symbol="BTCUSDT"), snapshot(venue, "usdm")
    middle = (Decimal(book["bids"][0][0]) + Decimal(book["asks"][0][0])) / 2
    assert abs(Decimal(row["markPrice"]) / middle - 1) < Decimal("0.01")
    assert abs(Decimal(row["indexPrice"]) / middle - 1) < Decimal("0.01")
    assert row["nextFundingTime"] % (8 * 3_600_000) == 0 and row["nextFundingTime"] > row["time"]


# --- faults ---------------------------------------------------------------------------------------------


def first_gap(line: Line, usdm: bool, book: PlainBook, seconds: float) -> tuple[int, int, bool]:
    """(events applied, events that were old, whether one was missing)."""
    applied = old = 0
    for message in line.for_seconds(seconds):
        try:
            if book.apply(message["data"]):
                applied += 1
            else:
                old += 1
        except Gap:
            return applied, old, True
    return applied, old, False


def linked(venue: Venue, market: str) -> tuple[Line, PlainBook]:
    """A stream and a book that has taken its first events."""
    line = open_stream(venue, market, "btcusdt@depth@100ms")
    messages = line.for_seconds(0.4)
    book = PlainBook.of(snapshot(venue, market), market == "usdm")
    for message in messages + line.for_seconds(0.5):
        book.apply(message["data"])
    assert book.is_linked
    return line, book


@pytest.mark.parametrize("market", ["spot", "usdm"])
@pytest.mark.parametrize("fault", ["drop", "reorder"])
def test_a_depth_event_that_is_dropped_or_late_is_a_gap(venue: Venue, market: str, fault: str) -> None:
    line, book = linked(venue, market)
    venue.control(market=market, symbol="BTCUSDT", **{f"{fault}_next_depth": 1})
    assert first_gap(line, market == "usdm", book, 2)[2]
    line.close()


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_a_depth_event_that_comes_twice_does_no_harm(venue: Venue, market: str) -> None:
    line, book = linked(venue, market)
    venue.control(market=market, symbol="BTCUSDT", double_next_depth=2)
    applied, old, gap = first_gap(line, market == "usdm", book, 1.5)
    assert applied > 8 and old == 2 and not gap
    with venue.frozen():
        first_gap(line, market == "usdm", book, 0.5)
        assert book.sides() == PlainBook.of(snapshot(venue, market), market == "usdm").sides()
    line.close()


def test_a_stalled_venue_is_silent_and_then_sends_everything(venue: Venue) -> None:
    line, book = linked(venue, "spot")
    venue.control(stall_ms=1500)
    line.for_seconds(0.1)
    begun = time.monotonic()
    book.apply(line.next()["data"])
    assert time.monotonic() - begun > 1
    assert first_gap(line, False, book, 0.5)[0] > 8
    line.close()


def test_connections_break_off_in_the_middle_of_a_message(venue: Venue) -> None:
    lines = [open_stream(venue, "spot", "btcusdt@depth@100ms") for _ in range(2)]
    for line in lines:
        line.next()
    venue.control(disconnect="one", market="spot")
    assert lines[0].code_at_end() is None
    assert lines[1].for_seconds(0.5)
    venue.control(disconnect="all", market="spot")
    assert lines[1].code_at_end() is None
    again = open_stream(venue, "spot", "btcusdt@depth@100ms")
    assert again.next()
    again.close()


def test_a_half_open_connection_neither_ends_nor_says_anything(venue: Venue) -> None:
    line, other = (open_stream(venue, market, "btcusdt@depth@100ms") for market in ("spot", "usdm"))
    line.next()
    venue.control(half_open="all", market="spot")
    line.for_seconds(0.3)
    line.socket.ping("there?")
    assert line.for_seconds(0.7) == [] and line.socket.connected and other.next()
    other.close()


def test_connections_are_refused_for_as_long_as_asked(venue: Venue) -> None:
    venue.control(refuse_ms=60_000)
    with pytest.raises(websocket.WebSocketBadStatusException):
        venue.open("/ws")
    venue.control(refuse_ms=0)
    assert open_stream(venue, "spot", "btcusdt@depth@100ms").next()


def test_figures_tell_what_is_subscribed_to_on_two_connections_and_what_was_asked_for_twice(venue: Venue) -> None:
    before = venue.control()
    lines = [open_stream(venue, "spot", "btcusdt@trade") for _ in range(2)]
    lines[0].ask("SUBSCRIBE", ["btcusdt@trade"])
    after = venue.control()
    assert after["spot_streams"] - before["spot_streams"] == 2
    assert after["spot_streams_doubled"] > before["spot_streams_doubled"]
    assert after["spot_asked_twice"] - before["spot_asked_twice"] == 1


def test_books_in_truth_are_those_that_rest_gives(venue: Venue) -> None:
    with venue.frozen():
        truth = venue.json("/control/books", levels=50)["usdm"]["BTCUSDT"]
        told = venue.json("/fapi/v1/depth", symbol="BTCUSDT", limit=50)
    assert truth["id"] == told["lastUpdateId"]
    for side in ("bids", "asks"):
        assert truth[side] == [[int(Decimal(one) * 10**8) for one in level] for level in told[side]]
    assert venue.get("/control/books", levels="many").status_code == 400


@pytest.mark.parametrize("word", ["shutdown", "expire"])
def test_a_planned_close_is_told_beforehand(venue: Venue, word: str) -> None:
    combined, raw = venue.open("/stream"), venue.open("/ws")
    venue.control(grace_ms=300, market="spot", **{word: True})
    told = combined.next()
    assert told["stream"] == "!serverShutdown" and told["data"]["e"] == "serverShutdown"
    assert raw.next()["e"] == "serverShutdown"
    begun = time.monotonic()
    assert combined.code_at_end() == 1001 and raw.code_at_end() == 1001
    assert 0.1 < time.monotonic() - begun < 2


def test_rest_is_refused_as_often_as_asked(venue: Venue) -> None:
    venue.control(market="spot", status_5xx=1, ban_429=2, ban_418=1, retry_after_s=7)
    answers = [venue.get("/api/v3/ping") for _ in range(5)]
    assert [one.status_code for one in answers] == [503, 429, 429, 418, 200]
    assert [one.headers.get("Retry-After") for one in answers] == [None, "7", "7", "7", None]
    assert venue.get("/fapi/v1/ping").status_code == 200


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"explode": 1}, "explode: no such key; allowed: ack_dropped"),
        ({"drop_next_depth": -1}, "drop_next_depth = -1; allowed: a whole number"),
        ({"disconnect": "some"}, "allowed: all or one"),
        ({"freeze": 1}, "true or false"),
        ([], "one JSON object"),
    ],
)
def test_a_control_request_that_means_nothing_is_refused(venue: Venue, asked: Any, message: str) -> None:
    answer = requests.post(f"http://127.0.0.1:{venue.port}/control", json=asked, timeout=10)
    assert answer.status_code == 400 and message in answer.json()["error"]


# --- TLS, start and end ---------------------------------------------------------------------------------


def test_over_tls_its_certificate_alone_is_trusted(own: Any, tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    venue = own("--tls", "--cert-file", cert, "--rate", 100)
    venue.scheme, venue.verify = "https", str(cert)
    assert venue.json("/api/v3/ping") == {}
    venue.verify = None
    with pytest.raises(requests.exceptions.SSLError):
        venue.get("/api/v3/ping")
    line = Line(f"wss://localhost:{venue.port}/ws/btcusdt@depth@100ms", sslopt={"ca_certs": str(cert)})
    assert line.next()["e"] == "depthUpdate"
    assert isinstance(line.socket.sock, ssl.SSLSocket)
    line.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_clients_are_told(own: Any, number: int) -> None:
    venue = own("--rate", 100)
    line = venue.open("/ws/btcusdt@bookTicker")
    line.next()
    assert venue.end(number) == 0
    said = []
    while (got := line.socket.recv_data())[0] != websocket.ABNF.OPCODE_CLOSE:
        said.append(json.loads(got[1]))
    assert said[-1]["e"] == "serverShutdown" and int.from_bytes(got[1][:2], "big") == 1001
    text = venue.log.read_text()
    assert "spot=BTCUSDT,ETHUSDT usdm=BTCUSDT,ETHUSDT" in text and "spot_events=" in text and "Traceback" not in text


def test_the_same_seed_opens_with_the_same_book(tmp_path: Path) -> None:
    books = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        venue = Venue(folder, "--seed", 7, "--speed", 0)
        books.append({key: value for key, value in snapshot(venue, "spot").items() if key != "lastUpdateId"})
        venue.close()
    assert books[0] == books[1]


def test_hundreds_of_symbols_of_the_embedded_universe_are_listed_and_live(own: Any) -> None:
    config = "[market]\ntotal_rate_per_s = 2000.0\n"
    venue = own("--listed", 300, config=config)
    names = [one["symbol"] for one in venue.json("/fapi/v1/exchangeInfo")["symbols"]]
    assert len(names) == len(set(names)) == 300
    line = venue.open("/public/stream?streams=" + "/".join(f"{name.lower()}@depth@100ms" for name in names))
    books = {name: PlainBook.of(snapshot(venue, "usdm", name), True) for name in names[:40]}
    messages = line.for_seconds(2)
    with venue.frozen():
        messages += line.for_seconds(0.6)
        assert len({one["stream"] for one in messages}) > 200
        for message in messages:
            event = message["data"]
            if event["s"] in books:
                books[event["s"]].apply(event)
        for name, book in books.items():
            now = snapshot(venue, "usdm", name)
            assert (book.id, book.sides()) == (now["lastUpdateId"], PlainBook.of(now, True).sides())
    line.close()


def test_a_port_that_is_taken_is_one_line(venue: Venue, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"error: port 127.0.0.1:{venue.port}"):
        Venue(tmp_path, "--port", venue.port)


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_the_books_of_a_recording_agree_in_our_own_decoder(venue: Venue, market: str, tmp_path: Path) -> None:
    """Depth and best prices are told apart from one another; ``check-book`` rebuilds the one and compares it with the other."""
    line = open_stream(venue, market, *(f"btcusdt@{name}" for name in ("depth@100ms", "bookTicker", "trade")))
    messages = line.for_seconds(0.5)
    messages.append(snapshot(venue, market))
    messages += line.for_seconds(4)
    line.close()
    file = tmp_path / "capture"
    file.write_text(
        "".join(f"{at} {json.dumps(one, separators=(',', ':'))}\n" for at, one in enumerate(messages, 10**18))
    )
    result = CliRunner().invoke(app, ["check-book", str(file)])
    assert result.exit_code == 0, result.output
