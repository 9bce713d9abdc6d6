"""Bybit's live feed through everything that happens to connections: no wrong book is VALID, and every book comes back."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from binance_rig import Venue
from bybit_venue import bybit_venue
from live_rig import SYMBOLS, StageRig
from websocket_server import PING, TEXT, Client, Server, certificate, frame

from hftpipe.config import load
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.schema.records import ASK, BID, VALID
from hftpipe.core.schema.refusal import Refusal
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.trading.book import book_level
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.transport.websocket.frames import text_frame
from hftpipe.venues.bybit import wiring as wiring_module
from hftpipe.venues.bybit.streams import complaint, topics
from hftpipe.venues.live import keeper as keeper_module
from hftpipe.venues.live import streamed as streamed_module

BOOK = "orderbook.200"


class Exchange:
    """The venue's rules for a book, kept by the test: each change is a delta numbered one higher."""

    def __init__(self) -> None:
        self.u = {symbol: 100 + 50 * at for at, symbol in enumerate(SYMBOLS)}
        self.seq = dict.fromkeys(SYMBOLS, 9_000)
        #: The two bids of each symbol, and what they were at each sequence.
        self.bids = {symbol: [1, 1] for symbol in SYMBOLS}
        self.history = {symbol: {9_000: (1, 1)} for symbol in SYMBOLS}
        self.lock = threading.Lock()

    def _text(self, symbol: str, kind: str, bids: list[list[str]], asks: list[list[str]]) -> str:
        data = {"s": symbol, "b": bids, "a": asks, "u": self.u[symbol], "seq": self.seq[symbol]}
        message = {
            "topic": f"{BOOK}.{symbol}",
            "type": kind,
            "ts": 1_790_000_000_105,
            "data": data,
            "cts": 1_790_000_000_102,
        }
        return json.dumps(message, separators=(",", ":"))

    def snapshot(self, symbol: str) -> str:
        bids = [["100.00", str(self.bids[symbol][0])], ["99.99", str(self.bids[symbol][1])]]
        return self._text(symbol, "snapshot", bids, [["100.10", "5"]])

    def delta(self, symbol: str, skip: int = 0) -> str:
        """The next change of a book; ``skip``: so many before it are never told."""
        for _ in range(skip + 1):
            self.u[symbol] += 1
            self.seq[symbol] += 3
            level = self.u[symbol] % 2
            self.bids[symbol][level] += 1
            self.history[symbol][self.seq[symbol]] = tuple(self.bids[symbol])
        return self._text(symbol, "delta", [[("100.00", "99.99")[level], str(self.bids[symbol][level])]], [])


class Rig(StageRig):
    """The stage on a server that keeps the venue's protocol. ``refuse``, ``mute``: so many subscriptions fail, or bring nothing."""

    def __init__(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, tls: bool = False, connections: int = 1,
        venue: str = "bybit_linear", refuse: int = 0, mute: int = 0, **more: object,
    ) -> None:  # fmt: skip
        self.owners, self.exchange, self.requests = dict[str, Client](), Exchange(), list[dict[str, object]]()
        self.refuse, self.mute = refuse, mute
        pair = certificate(tmp_path) if tls else None
        server = Server(self._serve, None, pair)
        category = venue.partition("_")[2]
        settings = {
            "pipeline.venue": venue, f"network.bybit.main.{category}_streams": f"{server.ws}/v5/public/{category}",
            "live.connections": connections,
        } | ({"live.ca_file": str(pair[0])} if pair else {})  # fmt: skip
        super().__init__(caplog, server, settings | more)

    def told(self) -> object:
        return self.requests[-4:]

    def of(self, op: str) -> list[dict[str, object]]:
        return [one for one in self.requests if one["op"] == op]

    def _serve(self, client: Client) -> None:
        with suppress(OSError, ValueError):
            while True:
                kind, body = client.read()
                if kind == TEXT:
                    self._answer(client, json.loads(body))

    def _answer(self, client: Client, request: dict[str, object]) -> None:
        op, number = request["op"], request.get("req_id", "")
        with self.exchange.lock:
            is_fine = op != "subscribe" or self.refuse == 0
            if op == "subscribe":
                self.refuse -= not is_fine
                if is_fine:
                    self._begin(client, list(request["args"]))  # type: ignore[call-overload]
            said = "pong" if op == "ping" else "" if is_fine else "error:handler not found,topic:x"
            client.text(json.dumps({"success": is_fine, "ret_msg": said, "conn_id": "c", "req_id": number, "op": op}))
            self.requests.append(request)

    def _begin(self, client: Client, names: list[str]) -> None:
        """What was asked for begins, before that is confirmed; a change follows at once."""
        for name in names:
            symbol = name.rpartition(".")[2]
            if name.startswith(BOOK):
                self.owners[symbol] = client
                if self.mute:
                    self.mute -= 1
                    continue
                client.text(self.exchange.snapshot(symbol))
                client.text(self.exchange.delta(symbol))

    def tell(self, *symbols: str, skip: int = 0) -> None:
        """Changes of books, each over the connection that was last asked for it."""
        with self.exchange.lock:
            for symbol in symbols or SYMBOLS:
                self.owners[symbol].text(self.exchange.delta(symbol, skip))

    def is_right(self) -> bool:
        """Whether every book is VALID and as the exchange has it."""
        with self.exchange.lock:
            held = [tuple(self.exchange.bids[symbol]) for symbol in SYMBOLS]
        return all(state == VALID for state in self.states()) and [self.bids(at) for at in range(len(SYMBOLS))] == held

    def never_wrong(self) -> None:
        """A VALID book is as the exchange had it at that moment."""
        for index, (book, symbol) in enumerate(zip(self.books(), SYMBOLS, strict=True)):
            at = int(book["update_id"])
            if book["state"] == VALID and at:
                assert self.bids(index) == self.exchange.history[symbol][at], (symbol, at)

    def begin(self) -> None:
        self.until(self.is_right)


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Rig]:
    made = Rig(tmp_path, caplog)
    yield made
    made.close()


def test_books_begin_with_what_comes_before_the_subscription_is_confirmed(rig: Rig) -> None:
    rig.begin()
    (asked,) = rig.requests
    assert asked["args"] == [f"{one}.{s}" for s in SYMBOLS for one in ("orderbook.200", "orderbook.1", "publicTrade")]
    for _ in range(20):
        rig.tell()
        rig.until(rig.is_right)
    assert rig.said() == "" and rig.server and len(rig.server.clients) == 1


def test_spot_is_asked_for_ten_topics_at_a_time_and_nothing_that_comes_meanwhile_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wiring_module.BYBIT_SPOT.args_most == 10
    few = replace(wiring_module.BYBIT_SPOT, args_most=2)
    made = wiring_module._plan
    monkeypatch.setattr(wiring_module, "_plan", lambda market, config: made(few, config))
    rig = Rig(tmp_path, caplog, venue="bybit_spot")
    rig.begin()
    assert [len(list(one["args"])) for one in rig.of("subscribe")] == [2, 2, 2, 2, 1]  # type: ignore[call-overload]
    assert int(rig.state["invalidations"][0]) == 0
    rig.close()


@pytest.mark.parametrize("tls", [False, True])
def test_after_a_gap_the_topic_is_given_up_and_asked_for_on_the_same_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tls: bool
) -> None:
    rig = Rig(tmp_path, caplog, tls=tls)
    rig.begin()
    for number in range(1, 4):
        rig.tell("BUSDT", skip=2)
        rig.until(lambda number=number: int(rig.state["invalidations"][0]) == number)
        rig.until(rig.is_right)
        rig.tell()
        rig.until(rig.is_right)
    assert [one["args"] for one in rig.of("unsubscribe")] == [["orderbook.200.BUSDT", "orderbook.1.BUSDT"]] * 3
    assert rig.server and len(rig.server.clients) == 1 and rig.said() == ""
    assert int(rig.links()["said"][0]) == 6
    rig.close()


def test_a_refused_request_on_a_running_connection_is_named_and_made_again(rig: Rig) -> None:
    rig.begin()
    rig.refuse = 1
    rig.tell("AUSDT", skip=1)
    rig.until(lambda: "request r.AUSDT.1 refused: error:handler not found,topic:x" in rig.said())
    rig.until(rig.is_right)
    assert "AUSDT: asked for anew: attempt 1 brought no book" in rig.said() and len(rig.of("unsubscribe")) == 2


def test_a_refused_subscription_is_said_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(tmp_path, caplog, refuse=1)
    rig.begin()
    assert "attempt 1 failed: ws://localhost" in rig.said() and "subscription refused: error:handler not" in rig.said()
    rig.close()


def test_a_topic_that_was_confirmed_and_stays_silent_is_said_and_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_DATA_S", 0.5)
    rig = Rig(tmp_path, caplog, mute=1)
    rig.until(lambda: rig.states()[1:] == [VALID, VALID])
    rig.begin()
    assert "connection 1: no book after 0 s: AUSDT" in rig.said()
    rig.close()


def test_a_topic_that_never_comes_is_asked_for_more_and_more_seldom_and_keeps_no_other_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_DATA_S", 0.2)
    monkeypatch.setattr(streamed_module, "CHECK_S", 0.02)
    rig = Rig(tmp_path, caplog, mute=1_000)
    deadline = time.monotonic() + 4.0
    rig.until(lambda: time.monotonic() > deadline)
    asked = [one for one in rig.of("subscribe") if "AUSDT" in str(one["args"])]
    assert 3 <= len(asked) <= 6, "once, then in longer and longer pauses"
    rig.mute = 0
    rig.until(rig.is_right)
    rig.close()


def test_a_sign_of_life_is_given_as_often_as_the_venue_wants_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring_module, "ALIVE_S", 0.2)
    rig = Rig(tmp_path, caplog, tls=True)
    rig.begin()
    began = time.monotonic()
    rig.until(lambda: len(rig.of("ping")) >= 5)
    assert 0.8 <= time.monotonic() - began < 5
    rig.tell()
    rig.until(rig.is_right)
    assert int(rig.state["bad_messages"][0]) == 0 and rig.said() == "", "the answers are no market data, and no fault"
    # Pings of the protocol are answered all the same.
    rig.server.clients[0].send(frame(b"are you there", PING))  # type: ignore[union-attr]
    rig.until(lambda: int(rig.links()["pings"][0]) == 1)
    rig.close()


def test_a_service_that_starts_anew_changes_books_without_a_loss(rig: Rig) -> None:
    rig.begin()
    with rig.exchange.lock:
        rig.exchange.u["BUSDT"], rig.exchange.seq["BUSDT"] = 1, 5
        rig.exchange.history["BUSDT"][5] = tuple(rig.exchange.bids["BUSDT"])
        rig.owners["BUSDT"].text(rig.exchange.snapshot("BUSDT"))
    rig.tell()
    rig.until(rig.is_right)
    assert int(rig.state["invalidations"][0]) == 0


def test_a_service_that_starts_anew_unheard_leaves_no_book_standing_still(rig: Rig) -> None:
    rig.begin()
    with rig.exchange.lock:
        rig.exchange.u["BUSDT"] = 1
    rig.tell("BUSDT")
    rig.until(lambda: int(rig.state["invalidations"][0]) == 1)
    rig.until(rig.is_right)
    assert len(rig.of("unsubscribe")) == 1


def test_a_message_that_nobody_can_read_is_missed_by_the_next_one_and_the_book_begins_again(rig: Rig) -> None:
    rig.begin()
    with rig.exchange.lock:
        rig.owners["AUSDT"].text(rig.exchange.delta("AUSDT").replace('"u":', '"u":x'))
    rig.tell("AUSDT")
    rig.until(lambda: int(rig.state["invalidations"][0]) == 1)
    rig.until(rig.is_right)
    assert int(rig.state["bad_messages"][0]) == 1


def test_a_message_with_blanks_is_read_slowly_and_in_its_place(rig: Rig) -> None:
    rig.begin()
    with rig.exchange.lock:
        rig.owners["AUSDT"].text(json.dumps(json.loads(rig.exchange.delta("AUSDT"))))
    rig.tell()
    rig.until(rig.is_right)
    assert int(rig.state["invalidations"][0]) == 0 and int(rig.state["slow_decodes"][0]) >= 1


@pytest.mark.parametrize("number", range(3))
def test_disconnections_gaps_and_refusals_leave_no_wrong_book(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(streamed_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(streamed_module, "CHECK_S", 0.02)
    rig, rng = Rig(tmp_path, caplog, connections=2), random.Random(number)
    rig.begin()
    for _ in range(30):
        for _ in range(rng.randrange(4)):
            rig.tell(rng.choice(SYMBOLS))
        what = rng.randrange(3)
        if what == 0:
            rig.tell(rng.choice(SYMBOLS), skip=rng.randrange(1, 4))
        elif what == 1:
            rig.refuse = rng.randrange(2)
            rig.tell(rng.choice(SYMBOLS), skip=1)
        else:
            symbol = rng.choice(SYMBOLS)
            with rig.exchange.lock:
                text = frame(rig.exchange.delta(symbol).encode())
                rig.owners[symbol].send(text[: rng.randrange(len(text))])
                rig.owners[symbol].cut()
        rig.until(rig.is_right)
    rig.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_of_any_size_reads_as_it_was_said(size: int) -> None:
    text = bytes(at % 251 for at in range(size))
    made = text_frame(text, b"\x01\x02\x03\xff")
    head = 2 if size < 126 else 4 if size < 65_536 else 10
    assert made[0] == 0x81 and made[1] & 0x80 and len(made) == head + 4 + size
    assert bytes(byte ^ b"\x01\x02\x03\xff"[at & 3] for at, byte in enumerate(made[head + 4 :])) == text
    with pytest.raises(ValueError, match="a mask of 3 bytes; allowed: 4"):
        text_frame(text, b"abc")


def test_what_is_a_refusal_is_told_from_all_else() -> None:
    assert complaint(b'{"success":false,"ret_msg":"no","req_id":"s1","op":"subscribe"}') == "request s1 refused: no"
    for text in (b'{"success":true,"ret_msg":"pong","op":"ping"}', b'{"topic":"x","data":{}}', b"[1]", b"{", b"7"):
        assert complaint(text) == ""


def test_the_topics_of_a_book_are_those_of_its_depth() -> None:
    assert topics("X", 1) == ["orderbook.1.X", "publicTrade.X"]
    assert topics("X", 64)[0] == "orderbook.50.X" and topics("X", 65)[0] == "orderbook.200.X"


def test_more_topics_than_a_connection_may_have_are_refused_before_the_start() -> None:
    tables = [
        {
            "symbol": f"C{at}USDT",
            "tick_size": "0.01",
            "lot_size": "0.001",
            "min_notional": "5",
            "reference_price": "100",
        }
        for at in range(600)
    ]
    config = load([], {}, {"pipeline.venue": "bybit_linear", "instruments": tables})
    with pytest.raises(
        Refusal, match=r"live\.connections = 1: \d+ characters of topics on one; allowed: at most 21000"
    ):
        Pipeline(config, [load_strategy("market_making")], 1, 10**18, PrivateSegment, calibrate_once)


# --- against the simulated venue --------------------------------------------------------------------------


class SimulatedRig(StageRig):
    """The stage on the simulated venue, whose market can be made to stand still."""

    def __init__(self, caplog: pytest.LogCaptureFixture, venue: Venue, category: str) -> None:
        self.venue, self.category = venue, category
        tables = [
            {
                "symbol": symbol, "tick_size": "0.01", "lot_size": "0.00001", "min_notional": "5", "reference_price": "100",
                "depth": depth,
            }
            for symbol, depth in (("BTCUSDT", "full"), ("ETHUSDT", "shallow"))
        ]  # fmt: skip
        super().__init__(
            caplog, None,
            {"pipeline.venue": f"bybit_{category}", "live.server": f"http://127.0.0.1:{venue.port}", "instruments": tables},
        )  # fmt: skip

    def levels(self, index: int, side: int) -> list[tuple[int, int]]:
        at, count = np.uint64(self.books_at[index]), int(self.books()[index]["n_bids" if side == BID else "n_asks"])
        rows = (book_level(at, side, np.int64(level)) for level in range(count))
        return [(int(price), int(qty)) for price, qty in rows]

    def is_the_engines(self) -> bool:
        """Whether every book is VALID and, to the last level, the engine's."""
        for index, (symbol, depth) in enumerate((("BTCUSDT", 200), ("ETHUSDT", 50))):
            answer = self.venue.json("/v5/market/orderbook", category=self.category, symbol=symbol, limit=depth)
            for side, name in ((BID, "b"), (ASK, "a")):
                held = [
                    (round(float(price) * 10**8), round(float(qty) * 10**8)) for price, qty in answer["result"][name]
                ]
                if self.states()[index] != VALID or self.levels(index, side) != held:
                    return False
        return True


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", 400)
    yield made
    made.close()


@pytest.mark.parametrize("category", ["spot", "linear"])
def test_whatever_the_venue_does_the_books_are_the_engines_again(
    venue: Venue, caplog: pytest.LogCaptureFixture, category: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(streamed_module, "CHECK_S", 0.05)
    rig = SimulatedRig(caplog, venue, category)
    faults: list[dict[str, object]] = [
        {}, {"drop_next_book": 1}, {"double_next_book": 3}, {"reorder_next_book": 1}, {"restart": True},
        {"disconnect": "all"}, {"stall_ms": 400}, {"drop_next_book": 2, "refuse_next": 1}, {"mute_next": 1, "disconnect": "one"},
    ]  # fmt: skip
    monkeypatch.setattr(keeper_module, "FIRST_DATA_S", 1.0)
    for fault in faults:
        if fault:
            venue.control(**fault)
        deadline = time.monotonic() + 0.7
        rig.until(lambda deadline=deadline: time.monotonic() > deadline)
        rig.until(lambda: all(state == VALID for state in rig.states()))
        with venue.frozen():
            rig.until(rig.is_the_engines)
    counted = rig.state
    assert int(counted["trades"][0]) > 0 and int(counted["top_updates"][0]) > 0 and int(counted["bad_messages"][0]) == 0
    assert int(counted["invalidations"][0]) >= 4
    rig.close()
