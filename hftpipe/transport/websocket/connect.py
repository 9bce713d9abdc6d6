"""Opening a WebSocket connection: name, TCP, TLS and the upgrade by websocket-client, then the socket for compiled code. Cold code."""

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import websocket

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.tls.openssl import TlsReader, handed_over

TIMEOUT_S = 5.0
_REASON_CHARS = 200
RECEIVE_BYTES = 4 << 20
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


class ConnectError(Refusal, OSError):
    """A connection could not be opened; the message names the server and the reason."""


def server_of(url: str) -> str:
    """Scheme, host and port of a URL: what may stand in a message, for a path can hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reason(wrong: Exception) -> str:
    """Why, in a few words: a refused upgrade brings the server's headers and page along."""
    said = str(wrong).partition(" -+-+- ")[0][:_REASON_CHARS]
    return said or type(wrong).__name__


def _tls(url: str, ca_file: str) -> dict[str, Any]:
    if urlsplit(url).scheme != "wss":
        return {}
    return {"context": ssl.create_default_context(cafile=ca_file or None)}


class Connection:
    """A connection whose upgrade is done.

    Until :meth:`hand_over` it is used from Python (:meth:`send`, :meth:`receive`): to subscribe, say. No byte beyond what was
    received is read from the socket.

    Args:
        url: ``ws://`` or ``wss://``; ca_file: certificates to trust instead of the system's (PEM).

    Raises:
        ConnectError: no connection, no trusted certificate, or no upgrade.
    """

    def __init__(self, url: str, ca_file: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.server = server_of(url)
        try:
            self._client = websocket.create_connection(
                url, timeout=timeout_s, sslopt=_tls(url, ca_file), sockopt=_OPTIONS, skip_utf8_validation=True,
                redirect_limit=0,
            )  # fmt: skip
        except (OSError, ValueError, websocket.WebSocketException) as wrong:
            raise ConnectError(f"{self.server}: {_reason(wrong)}") from wrong
        self._tls: TlsReader | None = None

    @property
    def _socket(self) -> socket.socket:
        sock = self._client.sock
        if sock is None:
            raise ConnectError(f"{self.server}: connection lost")
        return sock

    def send(self, text: bytes) -> None:
        """Send one text message. Raises ConnectError."""
        try:
            self._client.send(text)
        except (OSError, websocket.WebSocketException) as wrong:
            raise ConnectError(f"{self.server}: {_reason(wrong)}") from wrong

    def receive(self, timeout_s: float) -> bytes:
        """The next text message; pings are answered on the way. Raises ConnectError, also when none comes in time."""
        deadline = steady_ns() + int(timeout_s * 1e9)
        while (left_ns := deadline - steady_ns()) > 0:
            try:
                self._client.settimeout(left_ns / 1e9)
                # Also pings, so that a server that sends nothing else is not waited for without end.
                kind, frame = self._client.recv_data_frame(control_frame=True)
            except (OSError, ValueError, websocket.WebSocketException) as wrong:
                raise ConnectError(f"{self.server}: {_reason(wrong)}") from wrong
            if kind in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
                return bytes(frame.data)
            if kind == websocket.ABNF.OPCODE_CLOSE:
                raise ConnectError(f"{self.server}: closed by the other side")
        raise ConnectError(f"{self.server}: no message within {timeout_s:.0f} s")

    def hand_over(self) -> tuple[int, int]:
        """Descriptor (non-blocking) and address of the TLS record (0: plain), for a LINK. Only compiled code uses it from now on.

        Raises:
            TlsError: OpenSSL cannot be reached from compiled code.
        """
        fd, self._tls = handed_over(self._socket)
        return fd, self._tls.address if self._tls else 0

    def close(self) -> None:
        """Close the socket, without a word to the other side: it may be mid-frame."""
        try:
            self._socket.close()
        except OSError:
            return
