"""``hftpipe sim-exchange``: the simulated exchange in the foreground, until a signal or the end of its time.

The exchange runs in a thread whose compiled loop holds no interpreter lock, so that the main thread, the only one
Python gives signals to, can set its stop word.
"""

import math
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.exchange_server.impair import Impairment
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange
from hftpipe.simulation.exchange_server.process import warm
from hftpipe.simulation.exchange_server.settings import ExchangeConfig, SimExchangeOptions, Told

POLL_S = 0.05
STORE_MIN, STORE_MAX = 1 << 10, 1 << 26
_LINES, _SERVED = ("port_a", "port_b"), ("order_port", "tcp_port", "request_port")
_PORTS = (*_LINES, *_SERVED)


def exchange_options(
    settings: dict[str, Any],
    line_a: dict[str, float],
    line_b: dict[str, float],
    cpu: int,
    ports_file: str,
    truth: str = "",
) -> SimExchangeOptions:
    """Options of an exchange.

    Args:
        settings: fields of ExchangeConfig; line_a, line_b: fields of Impairment.
        cpu: to pin to, -1 for none; ports_file, truth: as in SimExchangeOptions.

    Raises:
        ValueError: a value that makes no exchange.
    """
    config = ExchangeConfig(**settings, line_a=Impairment(**line_a), line_b=Impairment(**line_b))
    if not 0 < config.rate_per_s <= 1e7:
        raise ValueError(f"--rate {config.rate_per_s}: events per second, above 0 and up to 1e7")
    if not 0 <= config.speed < math.inf:
        raise ValueError(f"--speed {config.speed}: a multiple of real time, 0 (stands still) or more")
    if config.replay and not config.speed:
        raise ValueError("--speed 0: a capture is played at a multiple of its pace above 0")
    stored = config.store_messages
    if not STORE_MIN <= stored <= STORE_MAX or stored & (stored - 1):
        raise ValueError(f"--store-messages {stored}: a power of two from {STORE_MIN} to {STORE_MAX} (64 bytes each)")
    if cpu >= 0 and cpu not in os.sched_getaffinity(0):
        raise ValueError(f"--cpu {cpu}: this process may use {sorted(os.sched_getaffinity(0))}")
    return SimExchangeOptions(config, cpu, ports_file, truth)


@contextmanager
def stop_on_signals(stop: np.ndarray) -> Iterator[None]:
    """SIGINT and SIGTERM set the stop word (uint64 array of length 1) while this lasts."""

    def on_signal(*_: object) -> None:
        stop[0] = 1

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _opened(file: Path) -> dict[str, int]:
    """The ports that the exchange has written down; empty until all are there."""
    text = file.read_text() if file.exists() else ""
    ports = {name: int(value) for name, _, value in (line.partition("=") for line in text.splitlines()) if value}
    return ports if text.endswith("\n") and len(ports) == len(_PORTS) else {}


def _greeting(config: ExchangeConfig, ports: dict[str, int]) -> str:
    symbols = " ".join(bytes(row["symbol"]).decode() for row in config.instruments)
    lines = f"line_a={config.group_a}:{ports['port_a']} line_b={config.group_b}:{ports['port_b']} on {config.interface}"
    return f"open: {lines} {' '.join(f'{name}={ports[name]}' for name in _SERVED)} instruments={symbols}"


def sim_exchange_main(options: SimExchangeOptions, stop: np.ndarray, told: Told) -> dict[str, int]:
    """Run an exchange until the stop word is set (by a signal handler, say); returns its figures.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ItchExchange`.
    """
    if options.cpu >= 0:
        os.sched_setaffinity(0, {options.cpu})
    exchange = ItchExchange(options.config)
    try:
        if options.ports_file:
            Path(options.ports_file).write_text("".join(f"{name}={getattr(exchange, name)}\n" for name in _PORTS))
        exchange.run(stop, told, options.truth)
        return exchange.figures()
    finally:
        exchange.close()


def run_exchange(options: SimExchangeOptions, duration_s: float | None, say: Callable[[str], None]) -> dict[str, int]:
    """Serve until SIGINT, SIGTERM, the end of ``duration_s`` or of the capture.

    ``say`` gets the ports once they are open, and warnings.

    Returns:
        The figures of :func:`sim_exchange_main`, and ``damages`` found in the capture.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ItchExchange`, and a ports file that cannot be written.
    """
    stop, damages = np.zeros(1, np.uint64), list[str]()

    def end() -> None:
        stop[0] = 1

    told = Told(say, damages.append, end)
    with stop_on_signals(stop), tempfile.TemporaryDirectory(prefix="hftpipe-") as folder, ThreadPoolExecutor(1) as pool:
        file = Path(options.ports_file or f"{folder}/ports")
        # A file of an earlier run would be taken for this one's.
        file.unlink(missing_ok=True)
        # Compiled beforehand: once the ports are open, clients are served at once.
        warm()
        deadline = steady_ns() + int(duration_s * 1e9) if duration_s else 0
        future, greeted = pool.submit(sim_exchange_main, replace(options, ports_file=str(file)), stop, told), False
        try:
            while not wait([future], POLL_S).done:
                if not greeted and (ports := _opened(file)):
                    say(_greeting(options.config, ports))
                    greeted = True
                if deadline and steady_ns() >= deadline:
                    stop[0] = 1
        finally:
            stop[0] = 1
        figures = future.result()
    for damage in damages:
        say(f"problem: {damage}")
    return figures | {"damages": len(damages)}
