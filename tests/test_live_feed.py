"""A live feed through everything that happens to connections: no wrong book is VALID, and every book comes back."""

import ctypes
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from websocket_server import PING, PONG, Client, Server, certificate, confirm, frame

from hftpipe.config import load
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.records import INVALID, VALID
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import book_offsets
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.transport.http import weights as weights_module
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.live import keeper as keeper_module

STEP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64)
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")


class Exchange:
    """USD-M's rules for a book, kept by the test: each change is a diff that chains to the one before."""

    def __init__(self) -> None:
        self.last, self.bids = dict.fromkeys(SYMBOLS, 100), dict.fromkeys(SYMBOLS, 1)
        self.fetched = list[str]()

    def snapshot(self, path: str) -> tuple[int, bytes]:
        symbol = path.partition("symbol=")[2].partition("&")[0]
        self.fetched.append(symbol)
        body = {
            "lastUpdateId": self.last[symbol],
            "bids": [["100.00", str(self.bids[symbol])]],
            "asks": [["100.10", "5"]],
        }
        return 200, json.dumps(body).encode()

    def diff(self, symbol: str, skip: int = 0) -> str:
        """The next change of a book; ``skip``: so many before it are never told."""
        self.last[symbol] += skip
        before, self.last[symbol], self.bids[symbol] = self.last[symbol], self.last[symbol] + 1, self.bids[symbol] + 1
        data = {
            "e": "depthUpdate", "E": 5, "T": 5, "s": symbol, "U": before + 1, "u": before + 1, "pu": before,
            "b": [["100.00", str(self.bids[symbol])]], "a": [],
        }  # fmt: skip
        return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data}, separators=(",", ":"))


class Rig:
    """The market stage of a pipeline on a server of the test's own, stepped by hand."""

    def __init__(self, tmp_path: Path, tls: bool = False, connections: int = 1, silence_s: float = 60) -> None:
        self.exchange, self.reports, self.asked = Exchange(), list[str](), list[list[str]]()
        pair = certificate(tmp_path) if tls else None
        self.server = Server(self._serve, self.exchange.snapshot, pair)
        tables = [
            {"symbol": one, "tick_size": "0.01", "lot_size": "0.001", "min_notional": "5", "reference_price": "100"}
            for one in SYMBOLS
        ]
        settings = {
            "pipeline.venue": "binance_usdm", "network.binance_usdm.main.public_streams": f"{self.server.ws}/public",
            "network.binance_usdm.main.rest": self.server.http,
            "live.connections": connections, "live.silence_s": silence_s, "instruments": tables,
        }  # fmt: skip
        if pair:
            settings["live.ca_file"] = str(pair[0])
        self.config = load([], {}, settings)
        self.pipeline = Pipeline(
            self.config, [load_strategy("market_making")], 1, 10**18, PrivateSegment, calibrate_once
        )
        self.stage, self.state = self.pipeline.stages["market_data"], self.pipeline.state("market_data")
        self._step = STEP(self.stage.step)
        self.stage.opened()

    def _serve(self, client: Client) -> None:
        self.asked.append(confirm(client))

    def step(self) -> None:
        if self._step(self.stage.state, steady_ns()) == SERVICE:
            assert self.stage.service()

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.states(), self.exchange.fetched, self.source_errors())
            for _ in range(50):
                self.step()
            time.sleep(0.0005)

    def source_errors(self) -> str:
        return bytes(self.pipeline.segment.region("source_errors")).rstrip(b"\0").decode()

    def books(self) -> list[np.void]:
        levels = np.array(self.config.levels())
        memory = self.pipeline.segment.region("market.books")
        return [memory[at : at + BOOK.itemsize].view(BOOK)[0] for at in book_offsets(levels)]

    def states(self) -> list[int]:
        return [int(book["state"]) for book in self.books()]

    def is_right(self) -> bool:
        """Whether every book is VALID and as the exchange has it."""
        want = [self.exchange.bids[symbol] * 10**8 for symbol in SYMBOLS]
        return all(state == VALID for state in self.states()) and [int(b["bid_qty"]) for b in self.books()] == want

    def never_wrong(self) -> None:
        """A VALID book is as the exchange has it, once all that was sent has been read."""
        for book, symbol in zip(self.books(), SYMBOLS, strict=True):
            if book["state"] == VALID:
                assert int(book["bid_qty"]) == self.exchange.bids[symbol] * 10**8, symbol

    def tell(self, *symbols: str, client: int = -1, skip: int = 0) -> None:
        for symbol in symbols or SYMBOLS:
            self.server.clients[client].text(self.exchange.diff(symbol, skip))

    def begin(self) -> None:
        """Until every book is right."""
        self.until(lambda: len(self.exchange.fetched) >= len(SYMBOLS))
        self.tell()
        self.until(self.is_right)

    def close(self) -> None:
        self.stage.closed()
        self.server.close()
        self.pipeline.segment.unlink()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_books_begin_with_their_snapshots_and_follow_every_change(rig: Rig) -> None:
    rig.begin()
    assert rig.asked == [[f"{s.lower()}@{one}" for s in SYMBOLS for one in ("depth@100ms", "bookTicker", "trade")]]
    for _ in range(20):
        rig.tell()
        rig.until(rig.is_right)
    assert len(rig.exchange.fetched) == len(SYMBOLS) and rig.source_errors() == ""


def test_the_same_over_tls(tmp_path: Path) -> None:
    rig = Rig(tmp_path, tls=True)
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
    assert "connection 1: closed by the other side; connecting again" in rig.source_errors()


def test_a_gap_makes_one_book_invalid_and_only_its_snapshot_is_fetched_again(rig: Rig) -> None:
    rig.begin()
    rig.tell("BUSDT", skip=3)
    rig.until(lambda: int(rig.state["invalidations"][0]) == 1)
    assert rig.states()[0] == rig.states()[2] == VALID
    rig.until(lambda: rig.exchange.fetched[len(SYMBOLS) :] == ["BUSDT"])
    rig.tell()
    rig.until(rig.is_right)


def test_connections_share_the_instruments_and_one_that_is_lost_takes_its_own_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path, connections=3)
    rig.until(lambda: len(rig.server.clients) == 3 and len(rig.asked) == 3)
    owner = {names[0].partition("@")[0].upper(): at for at, names in enumerate(rig.asked)}
    rig.until(lambda: len(rig.exchange.fetched) >= 3)
    for symbol in SYMBOLS:
        rig.tell(symbol, client=owner[symbol])
    rig.until(rig.is_right)
    rig.server.clients[owner["BUSDT"]].cut()
    rig.until(lambda: rig.states()[1] == INVALID)
    for symbol in ("AUSDT", "CUSDT"):
        rig.tell(symbol, client=owner[symbol])
    rig.until(lambda: len(rig.asked) == 4 and rig.exchange.fetched.count("BUSDT") >= 2)
    rig.tell("BUSDT")
    rig.until(rig.is_right)
    assert rig.exchange.fetched.count("AUSDT") == 1
    rig.close()


def test_a_silent_connection_is_opened_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, silence_s=1)
    rig.begin()
    rig.until(lambda: len(rig.asked) == 2)
    assert "silent for too long" in rig.source_errors()
    rig.close()


def test_a_message_that_the_scanner_passes_on_is_decoded_and_applied_in_its_place(rig: Rig) -> None:
    rig.begin()
    first, second = rig.exchange.diff("AUSDT"), rig.exchange.diff("AUSDT")
    odd = json.dumps(json.loads(first))
    rig.server.clients[0].send(frame(odd.encode()), frame(second.encode()), frame(b"{nonsense}"))
    rig.until(rig.is_right)
    rig.until(lambda: int(rig.state["bad_messages"][0]) == 1)
    assert int(rig.state["slow_decodes"][0]) >= 2 and rig.is_right()


def test_a_refused_subscription_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Rig, client: Client) -> None:
        if not self.asked:
            self.asked.append([])
            client.read()
            client.text('{"code":2,"msg":"Invalid request","id":1}')
        else:
            self.asked.append(confirm(client))

    monkeypatch.setattr(Rig, "_serve", refuse)
    rig = Rig(tmp_path)
    rig.begin()
    assert "attempt 1 failed: ws://localhost" in rig.source_errors() and "Invalid request" in rig.source_errors()
    rig.close()


@pytest.mark.parametrize("number", range(4))
def test_a_hundred_disconnections_leave_no_wrong_book(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.01)
    # So many snapshots in so short a time are more than a venue allows.
    monkeypatch.setattr(weights_module, "SHARE", 10_000)
    rig, random = Rig(tmp_path), np.random.default_rng(number)
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
