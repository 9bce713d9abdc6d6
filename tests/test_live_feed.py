"""A live feed through everything that happens to connections: no wrong book is VALID, and every book comes back."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from live_rig import SYMBOLS, StageRig
from websocket_server import PING, PONG, Client, Server, certificate, confirm, frame

from hftpipe.config import load
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.records import INVALID, VALID
from hftpipe.core.schema.refusal import Refusal
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.transport import errands as errands_module
from hftpipe.transport.http import weights as weights_module
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance import streams as streams_module
from hftpipe.venues.binance import wiring as wiring_module
from hftpipe.venues.live import fetched as fetched_module
from hftpipe.venues.live import keeper as keeper_module


class Exchange:
    """USD-M's rules for a book, kept by the test: each change is a diff that chains to the one before."""

    def __init__(self) -> None:
        self.last = dict.fromkeys(SYMBOLS, 100)
        #: The two bids of each symbol, and what they were at each update.
        self.bids = {symbol: [1, 1] for symbol in SYMBOLS}
        self.history = {symbol: {100: (1, 1)} for symbol in SYMBOLS}
        self.fetched, self.odd = list[str](), dict[str, bytes]()
        #: What snapshots were asked with; whose are not answered before these are set.
        self.paths, self.held = list[str](), dict[str, threading.Event]()

    def snapshot(self, path: str) -> tuple[int, bytes]:
        symbol = path.partition("symbol=")[2].partition("&")[0]
        self.fetched.append(symbol)
        self.paths.append(path)
        if symbol in self.held:
            self.held[symbol].wait(30)
        if symbol in self.odd:
            return 200, self.odd[symbol]
        bids = [["100.00", str(self.bids[symbol][0])], ["99.99", str(self.bids[symbol][1])]]
        return 200, json.dumps({"lastUpdateId": self.last[symbol], "bids": bids, "asks": [["100.10", "5"]]}).encode()

    def _change(self, symbol: str) -> int:
        """One bid becomes larger, the one or the other in turn: which."""
        self.last[symbol] += 1
        level = self.last[symbol] % 2
        self.bids[symbol][level] += 1
        self.history[symbol][self.last[symbol]] = tuple(self.bids[symbol])
        return level

    def diff(self, symbol: str, skip: int = 0) -> str:
        """The next change of a book; ``skip``: so many before it are never told."""
        for _ in range(skip):
            self._change(symbol)
        before = self.last[symbol]
        level = self._change(symbol)
        data = {
            "e": "depthUpdate", "E": 5, "T": 5, "s": symbol, "U": before + 1, "u": before + 1, "pu": before,
            "b": [[("100.00", "99.99")[level], str(self.bids[symbol][level])]], "a": [],
        }  # fmt: skip
        return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data}, separators=(",", ":"))


class Rig(StageRig):
    """The market stage of a pipeline on a server of the test's own, stepped by hand."""

    def __init__(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, tls: bool = False, connections: int = 1, silence_s: float = 60,
        **more: object,
    ) -> None:  # fmt: skip
        self.owners, self.exchange, self.asked = dict[str, Client](), Exchange(), list[list[str]]()
        pair = certificate(tmp_path) if tls else None
        server = Server(self._serve, self.exchange.snapshot, pair)
        settings = {
            "pipeline.venue": "binance_usdm", "network.binance_usdm.main.public_streams": f"{server.ws}/public",
            "network.binance_usdm.main.rest": server.http, "live.connections": connections, "live.silence_s": silence_s,
        } | ({"live.ca_file": str(pair[0])} if pair else {})  # fmt: skip
        super().__init__(caplog, server, settings | more)

    def told(self) -> object:
        return self.exchange.fetched

    def _serve(self, client: Client) -> None:
        names = confirm(client)
        self.owners |= {name.partition("@")[0].upper(): client for name in names}
        self.asked.append(names)

    def is_right(self) -> bool:
        """Whether every book is VALID and as the exchange has it."""
        held = [tuple(self.exchange.bids[symbol]) for symbol in SYMBOLS]
        return (
            all(state == VALID for state in self.states()) and [self.bids(one) for one in range(len(SYMBOLS))] == held
        )

    def never_wrong(self) -> None:
        """A VALID book that follows levels is as the exchange had it at that update."""
        for index, (book, symbol) in enumerate(zip(self.books(), SYMBOLS, strict=True)):
            at = int(book["update_id"])
            if book["state"] == VALID and at:
                assert self.bids(index) == self.exchange.history[symbol][at], (symbol, at)

    def tell(self, *symbols: str, skip: int = 0) -> None:
        """Changes of books, each over the connection that was last asked for it."""
        for symbol in symbols or SYMBOLS:
            self.owners[symbol].text(self.exchange.diff(symbol, skip))

    def begin(self) -> None:
        """Until every book is right."""
        self.until(lambda: len(self.exchange.fetched) >= len(SYMBOLS))
        self.tell()
        self.until(self.is_right)


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Rig]:
    made = Rig(tmp_path, caplog)
    yield made
    made.close()


def test_books_begin_with_their_snapshots_and_follow_every_change(rig: Rig) -> None:
    rig.begin()
    assert rig.asked == [[f"{s.lower()}@{one}" for s in SYMBOLS for one in ("depth@100ms", "bookTicker", "trade")]]
    for _ in range(20):
        rig.tell()
        rig.until(rig.is_right)
    assert len(rig.exchange.fetched) == len(SYMBOLS) and rig.said() == ""


def test_the_same_over_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(tmp_path, caplog, tls=True)
    rig.begin()
    for _ in range(20):
        rig.tell()
    # More than one TLS record, and frames that lie across them.
    rig.server.clients[0].send(*(frame(rig.exchange.diff("AUSDT").encode()) for _ in range(2_000)))
    rig.until(rig.is_right)
    rig.server.clients[0].send(frame(b"are you there", PING))
    rig.until(lambda: rig.pipeline.segment.region("market.links").size > 0 and int(rig_pings(rig)) == 1)
    assert rig.server.clients[0].read() == (PONG, b"are you there")
    rig.close()


def test_a_snapshot_that_does_not_come_holds_up_no_other_book(rig: Rig) -> None:
    rig.exchange.held["AUSDT"] = threading.Event()
    rig.until(lambda: len(rig.exchange.fetched) >= len(SYMBOLS))
    rig.tell()
    rig.until(lambda: rig.states()[1:] == [VALID, VALID])
    assert rig.states()[0] != VALID
    rig.exchange.held["AUSDT"].set()
    # What comes next bridges to the snapshot.
    rig.until(lambda: rig.states()[0] == VALID or rig.tell("AUSDT"))
    rig.until(rig.is_right)


def test_a_shallow_book_asks_for_no_more_levels_than_it_can_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = [
        {"symbol": one, "tick_size": "0.01", "lot_size": "0.001", "min_notional": "5", "reference_price": "100", "depth": depth}
        for one, depth in zip(SYMBOLS, ("full", "shallow", "shallow"), strict=True)
    ]  # fmt: skip
    rig = Rig(tmp_path, caplog, instruments=tables)
    rig.begin()
    asked = {
        symbol: int(path.partition("limit=")[2].partition("&")[0])
        for symbol, path in zip(rig.exchange.fetched, rig.exchange.paths, strict=True)
    }
    rig.close()
    assert asked == {"AUSDT": 1000, "BUSDT": 100, "CUSDT": 100}


def rig_pings(rig: Rig) -> int:
    from hftpipe.transport.websocket.link import LINK

    return int(rig.pipeline.segment.region("market.links")[: LINK.itemsize].view(LINK)["pings"][0])


def test_a_lost_connection_makes_its_books_invalid_and_they_come_back_by_themselves(rig: Rig) -> None:
    rig.begin()
    rig.server.clients[0].send(frame(rig.exchange.diff("AUSDT").encode())[:40])
    rig.server.clients[0].cut()
    rig.until(lambda: INVALID in rig.states())
    rig.until(lambda: len(rig.asked) == 2)
    rig.until(lambda: len(rig.exchange.fetched) >= 2 * len(SYMBOLS))
    rig.tell()
    rig.until(rig.is_right)
    assert "connection 1: closed by the other side; connecting again" in rig.said()


def test_a_gap_makes_one_book_invalid_and_only_its_snapshot_is_fetched_again(rig: Rig) -> None:
    rig.begin()
    rig.tell("BUSDT", skip=3)
    rig.until(lambda: int(rig.state["invalidations"][0]) == 1)
    assert rig.states()[0] == rig.states()[2] == VALID
    rig.until(lambda: rig.exchange.fetched[len(SYMBOLS) :] == ["BUSDT"])
    rig.tell()
    rig.until(rig.is_right)


def test_connections_share_the_instruments_and_one_that_is_lost_takes_its_own_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, caplog, connections=3)
    rig.until(lambda: len(rig.asked) == 3 and len(rig.exchange.fetched) >= 3)
    rig.tell()
    rig.until(rig.is_right)
    rig.owners["BUSDT"].cut()
    rig.until(lambda: rig.states()[1] == INVALID)
    rig.tell("AUSDT", "CUSDT")
    rig.until(lambda: len(rig.asked) == 4 and rig.exchange.fetched.count("BUSDT") >= 2)
    rig.tell("BUSDT")
    rig.until(rig.is_right)
    assert rig.exchange.fetched.count("AUSDT") == 1
    rig.close()


def test_a_silent_connection_is_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(tmp_path, caplog, silence_s=1)
    rig.begin()
    rig.until(lambda: len(rig.asked) == 2)
    assert "silent for too long" in rig.said()
    rig.close()


def test_a_message_that_the_scanner_passes_on_is_decoded_and_applied_in_its_place(rig: Rig) -> None:
    rig.begin()
    first, second = rig.exchange.diff("AUSDT"), rig.exchange.diff("AUSDT")
    odd = json.dumps(json.loads(first))
    rig.server.clients[0].send(frame(odd.encode()), frame(second.encode()), frame(b"{nonsense}"))
    rig.until(rig.is_right)
    rig.until(lambda: int(rig.state["bad_messages"][0]) == 1)
    assert int(rig.state["slow_decodes"][0]) >= 2 and rig.is_right()


def test_a_refused_subscription_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Rig._serve

    def refuse(self: Rig, client: Client) -> None:
        if not self.asked:
            self.asked.append([])
            client.read()
            client.text('{"code":2,"msg":"Invalid request","id":1}')
        else:
            served(self, client)

    monkeypatch.setattr(Rig, "_serve", refuse)
    rig = Rig(tmp_path, caplog)
    rig.begin()
    assert "attempt 1 failed: ws://localhost" in rig.said() and "Invalid request" in rig.said()
    rig.close()


@pytest.mark.parametrize("number", range(4))
def test_a_hundred_disconnections_leave_no_wrong_book(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.01)
    # So many snapshots in so short a time are more than a venue allows.
    monkeypatch.setattr(weights_module, "SHARE", 10_000)
    rig, random = Rig(tmp_path, caplog), np.random.default_rng(number)
    rig.begin()
    for _ in range(25):
        before = len(rig.asked)
        for _ in range(int(random.integers(0, 5))):
            rig.tell(SYMBOLS[int(random.integers(3))])
        text = frame(rig.exchange.diff(SYMBOLS[int(random.integers(3))]).encode())
        rig.server.clients[-1].send(text[: int(random.integers(0, len(text)))])
        rig.server.clients[-1].cut()
        fetched = len(rig.exchange.fetched)
        rig.until(lambda before=before: len(rig.asked) > before and len(rig.server.clients) == len(rig.asked))
        rig.until(lambda fetched=fetched: len(rig.exchange.fetched) >= fetched + len(SYMBOLS))
        rig.tell()
        rig.until(rig.is_right)
    assert all(len(set(names)) == len(names) for names in rig.asked), "a stream was asked for twice"
    rig.close()


def test_a_certificate_that_nobody_vouches_for_is_refused_by_name(tmp_path: Path) -> None:
    server = Server(lambda client: None, None, certificate(tmp_path))
    with pytest.raises(ConnectError, match=r"wss://localhost:\d+: .*certificate verify failed"):
        Connection(server.ws)
    with pytest.raises(ConnectError, match=r"wss://127\.0\.0\.2:\d+: "):
        Connection(server.ws.replace("localhost", "127.0.0.2"), str(tmp_path / "cert.pem"))
    server.close()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 500 Oops\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\nbad", "Handshake status 500 Oops$"),
        (b"HTTP/1.1 301 Gone\r\nLocation: ws://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "Redirect"),
        (b"no HTTP at all\r\n\r\n", "Invalid status line"), (b"", "lost"),
    ],
)  # fmt: skip
def test_an_upgrade_that_is_refused_is_said_in_a_few_words(reply: bytes, said: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        sock, _ = listener.accept()
        sock.recv(4096)
        sock.sendall(reply)
        sock.close()

    threading.Thread(target=answer, daemon=True).start()
    with pytest.raises(ConnectError, match=rf"^ws://127\.0\.0\.1:\d+: .*{said}"):
        Connection(f"ws://127.0.0.1:{listener.getsockname()[1]}/private?listenKey=secret", timeout_s=5)
    listener.close()


# --- what other sides have done ------------------------------------------------------------------


def test_snapshots_that_are_of_no_use_are_said_and_leave_weight_for_other_books(rig: Rig) -> None:
    """A server behind the others: its snapshots are older than the stream."""
    rig.begin()
    rig.exchange.odd["BUSDT"] = json.dumps({"lastUpdateId": 1, "bids": [["1", "1"]], "asks": []}).encode()
    rig.tell("BUSDT", skip=3)
    deadline = time.monotonic() + 3.0
    rig.until(lambda: time.monotonic() > deadline)
    assert 2 <= rig.exchange.fetched.count("BUSDT") - 1 <= 6, "once, then in longer and longer pauses"
    assert "BUSDT: snapshot: attempt 1 failed: it" in rig.said() and rig.states()[1] != VALID
    rig.tell("AUSDT", skip=3)
    rig.until(lambda: rig.states()[0] == VALID and rig.exchange.fetched.count("AUSDT") == 2)
    del rig.exchange.odd["BUSDT"]
    rig.until(lambda: rig.exchange.fetched.count("BUSDT") >= 4)
    rig.tell()
    rig.until(rig.is_right)


@pytest.mark.parametrize(
    "body", [b"{}", b"[" * 300 + b"]" * 300, b'{"lastUpdateId":"x"}', b'{"lastUpdateId":1,"bids":[["a"]]}']
)
def test_an_answer_that_is_no_snapshot_is_said_and_asked_for_again(rig: Rig, body: bytes) -> None:
    rig.begin()
    rig.exchange.odd["BUSDT"] = body
    rig.tell("BUSDT", skip=3)
    rig.until(lambda: rig.exchange.fetched.count("BUSDT") >= 3)
    assert "BUSDT: snapshot: attempt 1 failed: " in rig.said()
    rig.exchange.odd.clear()
    rig.until(lambda: rig.exchange.fetched.count("BUSDT") >= 4)
    rig.tell()
    rig.until(rig.is_right)


def test_a_snapshot_from_far_ahead_is_given_up_and_the_book_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_module, "CHECK_S", 0.1)
    rig = Rig(tmp_path, caplog)
    rig.exchange.odd["BUSDT"] = json.dumps({"lastUpdateId": 9_000_000, "bids": [], "asks": []}).encode()
    rig.until(lambda: len(rig.exchange.fetched) >= 3)
    rig.exchange.odd.clear()
    rig.until(lambda: "nothing that the stream has brought since bridges to it" in rig.said())
    rig.until(lambda: rig.exchange.fetched.count("BUSDT") >= 2)
    rig.tell()
    rig.until(rig.is_right)
    rig.close()


def test_a_server_that_only_pings_is_given_up_and_keeps_no_other_connection_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "CONFIRM_S", 1.0)
    pinged: list[Client] = []

    def serve(self: Rig, client: Client) -> None:
        if pinged:
            self.asked.append(confirm(client))
            return
        pinged.append(client)
        while True:
            client.send(frame(b"", PING))
            time.sleep(0.2)

    monkeypatch.setattr(Rig, "_serve", serve)
    rig = Rig(tmp_path, caplog, connections=3)
    rig.until(lambda: len(rig.asked) == 2, seconds=3)
    rig.until(lambda: len(rig.asked) == 3)
    assert "attempt 1 failed: ws://localhost" in rig.said() and re.search("no message within 1 s|timed out", rig.said())
    rig.close()


def test_a_text_that_nobody_foresaw_ends_no_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands_module, "_AGAIN_S", 0.1)
    calls = [0]
    ask_for = streams_module.ask_for

    def odd(*arguments):
        calls[0] += 1
        if calls[0] == 1:
            raise KeyError("nobody foresaw this")
        return ask_for(*arguments)

    monkeypatch.setattr(streams_module, "ask_for", odd)
    rig = Rig(tmp_path, caplog)
    rig.begin()
    assert "live-connect-1: KeyError: 'nobody foresaw this'; again in" in rig.said()
    rig.close()


def test_best_prices_that_begin_locked_begin_with_the_next_pair(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = [
        {"symbol": one, "tick_size": "0.01", "lot_size": "0.001", "min_notional": "5", "reference_price": "100", "depth": "top"}
        for one in SYMBOLS
    ]  # fmt: skip
    rig = Rig(tmp_path, caplog, instruments=tables)
    rig.until(lambda: len(rig.server.clients) == 1 and len(rig.asked) == 1)
    for number, (bid, ask) in enumerate([("100.00", "100.00"), ("100.00", "100.10")], 1):
        data = f'{{"e":"bookTicker","u":{number},"s":"AUSDT","b":"{bid}","B":"1","a":"{ask}","A":"1","T":5,"E":5}}'
        rig.server.clients[0].text(f'{{"stream":"ausdt@bookTicker","data":{data}}}')
        rig.until(lambda number=number: int(rig.state["events"][0]) == number)
        assert (rig.states()[0] == VALID) == (number == 2)
    assert int(rig.state["resets"][0]) == 1, "the strategies are told"
    rig.close()


def test_what_lay_in_the_socket_while_the_stage_stood_still_is_as_old_as_it_can_be(rig: Rig) -> None:
    rig.begin()
    before = steady_ns()
    time.sleep(0.4)
    rig.tell()
    time.sleep(0.1)
    rig.until(rig.is_right)
    assert all(int(book["local_ts"]) <= before for book in rig.books()), "nobody knows when it came"
    rig.tell()
    rig.until(rig.is_right)
    assert all(int(book["local_ts"]) > before for book in rig.books())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"live.simulated": True, "live.server": "http://127.0.0.1:9"}, "allowed: one of them"),
        ({"live.server": "http://127.0.0.1:99999"}, r"live\.server = http://127\.0\.0\.1:99999"),
        ({"live.server": "ftp://127.0.0.1"}, r"live\.server = ftp://127\.0\.0\.1: not of"),
    ],
)
def test_addresses_that_make_no_sense_are_refused_by_name(more: dict[str, object], said: str) -> None:
    def run() -> None:
        config = load([], {}, {"pipeline.venue": "binance_usdm", **more})
        wiring_module.USDM.beside(config, np.zeros(0), lambda line: None)

    with pytest.raises(Exception, match=said):
        run()


def test_more_streams_than_a_connection_may_have_are_refused_before_the_start() -> None:
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
    config = load([], {}, {"pipeline.venue": "binance_usdm", "instruments": tables})
    with pytest.raises(
        Refusal, match=r"live\.connections = 1: 1800 streams on one; allowed: at most 1024, so at least 2 conn"
    ):
        Pipeline(config, [load_strategy("market_making")], 1, 10**18, PrivateSegment, calibrate_once)


def is_gone(client: Client) -> bool:
    """Whether the other side has closed."""
    try:
        return client.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_connection_that_the_venue_will_close_is_replaced_without_a_gap(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "SETTLED_S", 0.3)
    rig.begin()
    (old,) = rig.server.clients
    old.text('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":5}}')
    rig.until(lambda: len(rig.asked) == 2)
    new = rig.server.clients[1]
    for _ in range(40):
        # Both connections bring everything, as the venue's do.
        for symbol in SYMBOLS:
            text = rig.exchange.diff(symbol)
            new.text(text)
            with suppress(OSError):
                old.text(text)
        rig.until(rig.is_right)
    rig.until(lambda: is_gone(old))
    rig.tell()
    rig.until(rig.is_right)
    assert len(rig.exchange.fetched) == len(SYMBOLS), "no book began anew"
    assert int(rig.pipeline.state("market_data")["invalidations"][0]) == 0 and "connecting again" not in rig.said()


def test_a_connection_is_replaced_before_its_day_is_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper_module, "SETTLED_S", 0.05)
    monkeypatch.setattr("hftpipe.venues.binance.wiring.LIFETIME_S", 0.5)
    other = Rig(tmp_path, caplog)
    other.begin()
    other.until(lambda: len(other.asked) >= 3)
    other.tell()
    other.until(other.is_right)
    assert len(other.exchange.fetched) == len(SYMBOLS)
    other.close()
