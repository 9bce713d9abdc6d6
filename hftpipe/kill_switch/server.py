"""The kill switch's HTTP server: Python's own, with a bound on everything that a client could take.

============================== ===========================================================================================
bound                          what happens beyond it
============================== ===========================================================================================
MOST_CLIENTS at a time         the one that has been longest about its request is hung up on, if that is GRACE_S or more;
                               else the new one
MOST_HEAD bytes of a head      431
MOST_BODY bytes of a body      413
LIMIT_S for a whole request    408, and the connection is closed; the same time for the answer to be taken
one request a connection       the connection is closed behind the answer
============================== ===========================================================================================

A thread serves a client, so one that is slow holds up nobody but itself.
"""

import contextlib
import io
import logging
import socket
import socketserver
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.kill_switch.routes import Answer, Request, answer
from hftpipe.kill_switch.switch import Switch
from hftpipe.log import clean, event

LOG = logging.getLogger("hftpipe.kill_switch")
MOST_CLIENTS = 64
GRACE_S, LIMIT_S = 0.05, 2.0
MOST_HEAD, MOST_BODY = 8192, 4096
#: What a refused client still sends is taken in for so long, and so much of it, so that it reads the answer.
_DRAIN_S, _MOST_DRAINED = 0.25, 1 << 20
_END = b"\r\n\r\n"


class _BadRequest(Exception):
    """What is wrong with a request: (status, words)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Handler(BaseHTTPRequestHandler):
    """One request of one client."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hftpipe", ""
    # Of a request that is refused before it has been parsed.
    requestline, request_version = "", "HTTP/1.1"
    rbufsize = 0

    def setup(self) -> None:
        """Nothing that a client does not do takes longer than LIMIT_S."""
        self.request.settimeout(LIMIT_S)
        super().setup()

    def handle(self) -> None:
        """Read, answer, hang up."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            try:
                self._serve()
            except _BadRequest as bad:
                self._send(Answer(bad.code, {"error": str(bad)}))
                self._drain()

    def _serve(self) -> None:
        head, rest = self._head()
        if not head:
            return
        self.rfile.close()
        self.rfile = io.BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            return
        body = self._body(rest)
        self.server.has_read(self.request)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, self.path, headers, body, self.client_address[0])
        told = answer(self.server.switch, asked)
        event(
            LOG, logging.INFO, "kill switch asked", method=self.command[:8], status=int(told.code), client=asked.client
        )
        self._send(told)

    def _receive(self) -> bytes:
        """What has come; empty where the client, or its time, has ended."""
        try:
            return bytes(self.request.recv(MOST_HEAD))
        except TimeoutError:
            return b""

    def _head(self) -> tuple[bytes, bytes]:
        """The head with its last empty line, and what came behind it; empty where a client has left without a word."""
        data = b""
        while _END not in data:
            if len(data) > MOST_HEAD:
                raise _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"head: at most {MOST_HEAD} bytes")
            more = self._receive()
            if not more and data:
                raise _BadRequest(HTTPStatus.REQUEST_TIMEOUT, f"a whole request within {LIMIT_S:g} s")
            if not more:
                return b"", b""
            data += more
        head, _, rest = data.partition(_END)
        if len(head) > MOST_HEAD:
            raise _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"head: at most {MOST_HEAD} bytes")
        return head + _END, rest

    def _body(self, data: bytes) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise _BadRequest(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding: allowed is Content-Length alone")
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise _BadRequest(HTTPStatus.BAD_REQUEST, "Content-Length: allowed is one number")
        if len(lengths[0]) > 9 or int(lengths[0]) > MOST_BODY:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: at most {MOST_BODY} bytes")
        length = int(lengths[0])
        while len(data) < length:
            more = self._receive()
            if not more:
                raise _BadRequest(HTTPStatus.REQUEST_TIMEOUT, f"a whole request within {LIMIT_S:g} s")
            data += more
        return data[:length]

    def _send(self, told: Answer) -> None:
        data = orjson.dumps(clean(told.facts)) + b"\n"
        self.send_response(told.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if told.allow:
            self.send_header("Allow", told.allow)
        if told.code == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard parser refuses is said as JSON, and nothing that the client sent is repeated."""
        self.request_version = "HTTP/1.1"
        self._send(Answer(code, {"error": HTTPStatus(code).phrase}))

    def _drain(self) -> None:
        self.request.settimeout(_DRAIN_S)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            taken, deadline = 0, steady_ns() + int(_DRAIN_S * 1e9)
            while taken < _MOST_DRAINED and steady_ns() < deadline and (more := self.request.recv(65536)):
                taken += len(more)

    def log_message(self, format: str, *args: Any) -> None:
        """What a request says goes to no log: it may hold a token."""


@dataclass
class _Client:
    since_ns: int
    #: Whether its request is there: then it is being answered, and is not hung up on.
    is_read: bool = False


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens at once; serves while somebody calls :meth:`serve_once`.

    Args:
        address: IPv4 address and port (0: a free one).
        switch: what it answers with.

    Raises:
        OSError: the address cannot be had.
    """

    allow_reuse_address = True
    daemon_threads, block_on_close = True, False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], switch: Switch) -> None:
        self.switch = switch
        self._clients: dict[socket.socket, _Client] = {}
        self._guard = threading.Lock()
        super().__init__(address, Handler)

    def serve_once(self, seconds: float) -> None:
        """Take in the next client, if one comes within this time, and hang up on those whose time is over."""
        self.timeout = seconds
        self.handle_request()
        self._hang_up()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client in a thread of its own, if there is room."""
        with self._guard:
            has_room = len(self._clients) < MOST_CLIENTS or self._make_room()
            if has_room:
                self._clients[request] = _Client(steady_ns())
        if has_room:
            super().process_request(request, client_address)
        else:
            super().shutdown_request(request)

    def _make_room(self) -> bool:
        """Hang up on the client that has been longest about its request: whether there is one."""
        latest = steady_ns() - int(GRACE_S * 1e9)
        slow = [(one.since_ns, request) for request, one in self._clients.items() if not one.is_read]
        since_ns, request = min(slow, key=lambda pair: pair[0], default=(latest + 1, None))
        if request is None or since_ns > latest:
            return False
        del self._clients[request]
        _shut(request, socket.SHUT_RDWR)
        return True

    def has_read(self, request: socket.socket) -> None:
        """A client's request is there."""
        with self._guard:
            if request in self._clients:
                self._clients[request] = _Client(steady_ns(), is_read=True)

    def is_answering(self) -> bool:
        """Whether a request that has been read waits for its answer."""
        with self._guard:
            return any(one.is_read for one in self._clients.values())

    def _hang_up(self) -> None:
        with self._guard:
            now_ns = steady_ns()
            for request, one in self._clients.items():
                age_s = (now_ns - one.since_ns) / 1e9
                if age_s > 2 * LIMIT_S:
                    _shut(request, socket.SHUT_RDWR)
                elif age_s > LIMIT_S and not one.is_read:
                    # Its thread reads the end, and still can say why.
                    _shut(request, socket.SHUT_RD)

    def shutdown_request(self, request: Any) -> None:
        """A client has been served."""
        with self._guard:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A fault of our own in answering: said in the log; the server goes on."""
        kind, error, _ = sys.exc_info()
        LOG.error("the kill switch failed to answer: %s", kind and kind.__name__, exc_info=error)


def _shut(request: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(how)
