"""A WebSocket server of a test's own, frame by frame, with REST on the same port: what it sends is what the test says."""

import base64
import hashlib
import json
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0


def frame(payload: bytes, kind: int = TEXT, is_last: bool = True) -> bytes:
    """One frame as a server sends it."""
    size = len(payload)
    head = bytes([(0x80 if is_last else 0) | kind])
    if size < 126:
        head += bytes([size])
    elif size < 1 << 16:
        head += bytes([126]) + struct.pack(">H", size)
    else:
        head += bytes([127]) + struct.pack(">Q", size)
    return head + payload


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key (PEM), made by the openssl command."""
    key, made = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


class Client:
    """A connection of the server's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.pongs, self.requests = sock, list[bytes](), list[dict]()
        self._file = sock.makefile("rb")

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def text(self, payload: bytes | str) -> None:
        self.send(frame(payload.encode() if isinstance(payload, str) else payload))

    def cut(self) -> None:
        """Be gone, mid-frame or not."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def read(self) -> tuple[int, bytes]:
        """The next frame of the client, which must be masked."""
        first, second = self._file.read(2)
        assert second & 0x80, "a client's frame is masked"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._file.read(2))
        mask, body = self._file.read(4), self._file.read(size)
        return first & 15, bytes(byte ^ mask[at & 3] for at, byte in enumerate(body))


class Server:
    """Listens on loopback; ``serve(client)`` runs in a thread for each WebSocket connection once its first request is answered.

    ``rest``: path with query -> (status, body).
    """

    def __init__(
        self, serve: Callable[[Client], None], rest: Callable[[str], tuple[int, bytes]] | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:  # fmt: skip
        self._serve, self._rest, self.clients = serve, rest, list[Client]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def ws(self) -> str:
        return f"{'wss' if self._context else 'ws'}://localhost:{self.port}"

    @property
    def http(self) -> str:
        return f"{'https' if self._context else 'http'}://localhost:{self.port}"

    def close(self) -> None:
        self._listener.close()
        for client in self.clients:
            client.cut()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(sock,), daemon=True).start()

    def _greet(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._answer(sock)
        except (OSError, ValueError):
            sock.close()

    def _answer(self, sock: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := sock.recv(1)):
                return
            head += byte
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if "sec-websocket-key" not in fields:
            status, body = self._rest(lines[0].split()[1]) if self._rest else (404, b"{}")
            sock.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            return self._answer(sock)
        key = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n"
        )
        client = Client(sock)
        self.clients.append(client)
        self._serve(client)
        return None


def confirm(client: Client) -> list[str]:
    """Read a SUBSCRIBE and confirm it: the streams it asks for."""
    kind, body = client.read()
    assert kind == TEXT
    request = json.loads(body)
    assert request["method"] == "SUBSCRIBE"
    client.requests.append(request)
    client.text(json.dumps({"result": None, "id": request["id"]}))
    return list(request["params"])
