"""The simulated Binance venue as a process beside a run."""

import asyncio

from hftpipe.simulation.beside import BesideProcess
from hftpipe.simulation.binance_server.server import ADDRESS, BinanceServer
from hftpipe.simulation.binance_server.settings import BinanceConfig

_LOOK_S = 0.05


def _do_nothing() -> None:
    return None


class BinanceProcess(BesideProcess):
    """One simulated venue on this machine.

    Attributes:
        address: host and port of all its interfaces, taken from the start.

    Raises:
        ValueError: an instrument that makes no market; OSError: no port.
    """

    def __init__(self, config: BinanceConfig) -> None:
        super().__init__()
        self._server = BinanceServer(config)
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
