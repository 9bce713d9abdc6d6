"""``hftpipe sim-exchange --protocol binance``, ``bybit``: the venue in the foreground, until a signal or the end of its time."""

import asyncio
import math
import signal
from collections.abc import Callable
from pathlib import Path

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.process import ADDRESS, Server

_NAMES_SHOWN = 8
_NS = 1_000_000_000


def check(listings: tuple[Listing, ...], speed: float) -> None:
    """Refuse what makes no venue.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    if not 0 <= speed < math.inf:
        raise ValueError(f"--speed {speed}: a multiple of real time, 0 (stands still) or more")
    for listing in listings:
        names, counts = listing.instruments["symbol"].tolist(), set[bytes]()
        for name in names:
            if name in counts:
                raise ValueError(f"instruments: {name.decode()}: listed twice in {listing.rules.name}; allowed: once")
            counts.add(name)
        slowest, fastest = float(listing.rates.min()), float(listing.rates.max())
        if not 0 < slowest <= fastest <= 1e6:
            raise ValueError(f"--rate {fastest}: events a second and instrument, above 0 and up to 1e6")


def _greeting(server: Server) -> str:
    scheme = "https" if server.identity else "http"
    parts = [f"open: {scheme}://{ADDRESS}:{server.port}"]
    for listing in server.listings:
        names = [name.decode() for name in listing.instruments["symbol"].tolist()]
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        parts.append(f"{listing.rules.name}={','.join(names[:_NAMES_SHOWN])}{more}")
    return " ".join(parts)


async def _serve(server: Server, duration_s: float | None, opened: Callable[[], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if duration_s:
        loop.call_later(duration_s, stop.set)
    try:
        await server.serve(stop, opened)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def run_server(
    make: Callable[[], Server], duration_s: float | None, ports_file: str, cert_file: str, say: Callable[[str], None]
) -> dict[str, int]:
    """Serve until SIGINT, SIGTERM or the end of ``duration_s``; returns figures.

    Args:
        make: makes the venue; what it is told has been looked at (:func:`check`).
        ports_file: the port is written there as ``port=number`` once it is open; empty: nowhere.
        cert_file: the certificate (PEM) is written there, for clients to trust; empty: nowhere.
        say: gets the address once it is open.

    Raises:
        ValueError: an instrument that makes no market; OSError: a port that cannot be had, a file that cannot be written.
    """
    for name in filter(None, (ports_file, cert_file)):
        # A file of an earlier run would be taken for this one's.
        Path(name).unlink(missing_ok=True)
    started, server = steady_ns(), make()

    def opened() -> None:
        if cert_file and server.identity:
            Path(cert_file).write_text(server.identity.certificate)
        if ports_file:
            Path(ports_file).write_text(f"port={server.port}\n")
        say(f"{_greeting(server)} ready_s={(steady_ns() - started) / _NS:.1f}")

    asyncio.run(_serve(server, duration_s, opened))
    return server.figures()
