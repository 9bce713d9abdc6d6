"""Kept connections for compiled code: open before they are needed, closed ones opened again, and nobody asked too often."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from http_reference import written
from memory import address
from websocket_server import certificate

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.connect import Address
from hftpipe.transport.http.exchange import is_still_there, next_response
from hftpipe.transport.http.pool import Pool
from hftpipe.transport.http.response import RESPONSE, WHOLE, header_code
from hftpipe.transport.websocket.connect import ConnectError
from hftpipe.transport.websocket.link import ENDED, LINK, OPEN, receive
from hftpipe.transport.websocket.sending import SENT, send_whole

COUNT, LIMIT_S = 3, 20.0
WANTED = np.array([header_code("Retry-After")], np.uint64)


class Server:
    """Listens on loopback; ``greet(sock)`` is done with each connection, which is kept in ``socks``."""

    def __init__(
        self, greet: Callable[[socket.socket], None] = lambda sock: None, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._greet, self.socks, self.accepted = greet, list[socket.socket](), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self.address = f"http{'s' if tls else ''}://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
                self.accepted += 1
                sock.settimeout(5.0)
                sock = self._context.wrap_socket(sock, server_side=True) if self._context else sock
            except ssl.SSLError:
                continue
            except OSError:
                return
            self.socks.append(sock)
            self._greet(sock)

    def close(self) -> None:
        self._listener.close()
        for sock in self.socks:
            sock.close()


class Kept:
    """A pool with what compiled code has of it."""

    def __init__(self, where: str, ca_file: str = "", count: int = COUNT) -> None:
        self.links, self.busy, self.said = np.zeros(count, LINK), np.zeros(count, np.int64), list[str]()
        self.pool = Pool(self.links, self.busy, Address(where, ca_file), self.said.append)
        self.pool.open()

    def at(self, index: int) -> np.uint64:
        return address(self.links[index : index + 1])

    def wait(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + LIMIT_S
        while not happened():
            assert time.monotonic() < until, (self.links["state"], self.said)
            time.sleep(0.005)

    def all_open(self) -> bool:
        return bool((self.links["state"] == OPEN).all())

    def ask(self, index: int, text: bytes, sent: Callable[[], None]) -> tuple[int, bytes]:
        """One request, ``sent`` is called behind it: the status and the body of its answer."""
        given, made = np.frombuffer(text, np.uint8), np.zeros(1, RESPONSE)
        assert int(send_whole(self.at(index), address(given), np.int64(len(text)))) == SENT
        sent()
        until = time.monotonic() + LIMIT_S
        while int(next_response(self.at(index), address(made), address(WANTED), np.int64(1))) != WHOLE:
            receive(self.at(index), np.int64(steady_ns()))
            assert time.monotonic() < until and self.links["state"][index] == OPEN
        start, end = int(made["body"][0]), int(made["body_end"][0])
        at = start - int(self.links["buffer"][index])
        return int(made["status"][0]), bytes(self.pool._buffers[index][at : at + end - start])


@pytest.fixture
def kept() -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make(*args: object, **more: object) -> Kept:
        made.append(Kept(*args, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.pool.close()


@pytest.mark.parametrize("has_tls", [False, True])
def test_every_connection_is_open_and_answers(kept: Callable[..., Kept], has_tls: bool, tmp_path: Path) -> None:
    tls = certificate(tmp_path) if has_tls else None
    server = Server(tls=tls)
    one = kept(server.address, str(tls[0]) if tls else "")
    one.pool.wait()
    one.wait(one.all_open)
    one.wait(lambda: len(server.socks) == COUNT)
    assert server.accepted == COUNT and one.pool.why_gone == ""
    for round_ in range(3):
        for index in range(COUNT):
            text = b"POST /order HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
            body = b"%d" % round_
            # Which of theirs it is, is found out by what comes on it.
            assert one.ask(index, text, lambda body=body: _answer_one(server.socks, body)) == (200, body)
    assert server.accepted == COUNT, "kept, not opened again"
    server.close()


def _answer_one(socks: list[socket.socket], body: bytes) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for sock in socks:
            sock.settimeout(0.02)
            try:
                if sock.recv(1 << 16):
                    sock.settimeout(5.0)
                    sock.sendall(written(200, body))
                    return
            except TimeoutError:
                continue


def test_a_connection_that_the_server_closes_while_idle_is_open_again_and_nothing_is_said(
    kept: Callable[..., Kept],
) -> None:
    server = Server()
    one = kept(server.address)
    one.wait(lambda: one.all_open() and len(server.socks) == COUNT)
    time.sleep(1.1)
    server.socks[0].close()
    one.wait(lambda: not all([bool(is_still_there(one.at(at), np.int64(steady_ns()))) for at in range(COUNT)]))
    one.wait(one.all_open)
    one.wait(lambda: server.accepted == COUNT + 1)
    assert one.said == [] and one.pool.why_gone == ""
    server.close()


def test_a_connection_stays_ended_until_compiled_code_has_seen_what_became_of_its_request(
    kept: Callable[..., Kept],
) -> None:
    server = Server()
    one = kept(server.address, count=1)
    one.wait(one.all_open)
    one.busy[0] = 1
    one.wait(lambda: len(server.socks) == 1)
    server.socks[0].close()
    one.wait(lambda: not is_still_there(one.at(0), np.int64(steady_ns())))
    time.sleep(0.3)
    assert one.links["state"][0] == ENDED
    one.busy[0] = 0
    one.wait(one.all_open)
    server.close()


def test_a_server_that_hangs_up_at_once_is_asked_again_after_pauses_and_said_to_be_gone(
    kept: Callable[..., Kept],
) -> None:
    server = Server(lambda sock: sock.close())
    one = kept(server.address, count=2)

    def look() -> bool:
        for at in range(2):
            is_still_there(one.at(at), np.int64(steady_ns()))
        return bool(one.said)

    one.wait(look)
    assert server.accepted < 40 and "attempt 5 failed" in one.said[0] and "closed by the other side" in one.said[0]
    server.close()


def test_a_server_that_is_not_there_is_named(kept: Callable[..., Kept]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        one = kept(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectError, match=r"http://127\.0\.0\.1:\d+: .*refused"):
            one.pool.wait()
        one.wait(lambda: "refused" in one.pool.why_gone)


def test_a_server_that_cannot_prove_who_it_is_is_sent_nothing(kept: Callable[..., Kept], tmp_path: Path) -> None:
    server = Server(tls=certificate(tmp_path))
    one = kept(server.address)
    with pytest.raises(ConnectError, match=r"(?i)certificate.verify.failed"):
        one.pool.wait()
    assert server.socks == []
    server.close()
