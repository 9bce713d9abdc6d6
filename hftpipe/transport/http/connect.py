"""Opening a kept connection for compiled code: name, TCP, TLS. Cold code."""

import socket
import ssl
from contextlib import ExitStack
from urllib.parse import urlsplit

from hftpipe.transport.tls.openssl import TlsReader, handed_over
from hftpipe.transport.websocket.connect import ConnectError, server_of

#: For the connection, TLS included.
CONNECT_S = 2.0
_PORTS = {"http": 80, "https": 443}
_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))


class Address:
    """Where a server is, and who is believed to be it.

    Attributes:
        server: scheme, host and port, as messages name it.

    Args:
        address: ``http://`` or ``https://``, host, perhaps a port; a path is not looked at.
        ca_file: certificates to trust instead of the system's (PEM).
    """

    def __init__(self, address: str, ca_file: str = "") -> None:
        parts = urlsplit(address)
        self.server = server_of(address)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._has_tls, self._ca_file = parts.scheme == "https", ca_file
        self._made: ssl.SSLContext | None = None

    def _context(self) -> ssl.SSLContext:
        """Made once: it reads all certificates there are. Raises OSError."""
        if self._made is None:
            self._made = ssl.create_default_context(cafile=self._ca_file or None)
            self._made.set_alpn_protocols(["http/1.1"])
        return self._made

    def connect(self) -> socket.socket:
        """A connected socket, verified if it is one with TLS.

        Raises:
            ConnectError: no connection, or no trusted certificate.
        """
        try:
            with ExitStack() as undo:
                context = self._context() if self._has_tls else None
                sock = socket.create_connection((self._host, self._port), CONNECT_S)
                undo.callback(sock.close)
                for level, option, value in _OPTIONS:
                    sock.setsockopt(level, option, value)
                made = context.wrap_socket(sock, server_hostname=self._host) if context else sock
                undo.pop_all()
            return made
        except (OSError, ValueError) as wrong:
            raise ConnectError(f"{self.server}: {str(wrong) or type(wrong).__name__}") from wrong


class KeptConnection:
    """A connection to an address, handed over to compiled code.

    Attributes:
        fd, tls: its descriptor, and the address of its TLS record (0: plain), for a LINK.

    Raises:
        ConnectError: as :meth:`Address.connect`; TlsError: OpenSSL cannot be reached from compiled code.
    """

    def __init__(self, address: Address) -> None:
        self._sock = address.connect()
        self._tls: TlsReader | None = None
        with ExitStack() as undo:
            undo.callback(self._sock.close)
            self.fd, self._tls = handed_over(self._sock)
            undo.pop_all()
        self.tls = self._tls.address if self._tls else 0

    def close(self) -> None:
        """Close the socket; compiled code does not use it any more."""
        self._sock.close()
