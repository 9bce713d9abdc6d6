"""A simulated venue that serves HTTP and WebSocket as a process beside a run."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from hftpipe.simulation.beside import BesideProcess
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.tls import Identity

ADDRESS = "127.0.0.1"
_LOOK_S = 0.05


class Server(Protocol):
    """A venue on one port of ADDRESS.

    Attributes:
        port: what is served, once it is bound; identity: its certificate, with TLS; listings: its markets.
    """

    port: int
    identity: Identity | None
    listings: tuple[Listing, ...]

    def bind(self) -> socket.socket:
        """Take the port. Raises OSError."""

    async def serve(self, stop: asyncio.Event, opened: Any, bound: socket.socket | None = None) -> None:
        """Open the port (``bound``, if it has been taken before), call ``opened``, and serve until ``stop`` is set."""

    def figures(self) -> dict[str, int]:
        """Counters for a summary."""


def bind_port(port: int) -> socket.socket:
    """Take a port of ADDRESS; 0: a free one.

    Raises:
        OSError: it cannot be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"port {ADDRESS}:{port}") from error
    return listener


def _do_nothing() -> None:
    return None


class ServerProcess(BesideProcess):
    """One simulated venue on this machine.

    Args:
        make: makes the venue.

    Attributes:
        address: host and port of all its interfaces, taken from the start.

    Raises:
        ValueError: an instrument that makes no market; OSError: no port.
    """

    def __init__(self, make: Callable[[], Server]) -> None:
        super().__init__()
        self._server = make()
        self._listener = self._server.bind()
        self.address = f"{ADDRESS}:{self._server.port}"

    def serve(self) -> None:
        """The venue's event loop."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        over = asyncio.Event()

        async def look() -> None:
            while not self._stop[0]:
                await asyncio.sleep(_LOOK_S)
            over.set()

        looking = asyncio.ensure_future(look())
        try:
            await self._server.serve(over, _do_nothing, self._listener)
        finally:
            looking.cancel()

    def start(self, hot_cpus: set[int]) -> None:
        """Fork it; nobody else keeps the port, so that it is closed when the venue is gone."""
        super().start(hot_cpus)
        self._listener.close()

    def close(self) -> None:
        """Let go of the port here."""
        self._listener.close()
