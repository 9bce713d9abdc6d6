"""The simulated exchange as a process beside the pipeline: started before the stages, stopped after them."""

import errno
import logging
from collections.abc import Callable
from dataclasses import replace

from hftpipe.log import event
from hftpipe.simulation.beside import BesideProcess
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange, exchange_close, exchange_open, serve
from hftpipe.simulation.exchange_server.settings import ExchangeConfig, Told

LOG = logging.getLogger("hftpipe.exchange")


def warm() -> None:
    """Compile (or load) what the process runs, before it is forked."""
    serve.compile("(uint64, uint64, uint64, int64, int64)")
    exchange_open.compile("(uint64, int64)")
    exchange_close.compile("(uint64, int64)")


def _warn(text: str) -> None:
    event(LOG, logging.WARNING, text)


class ExchangeProcess(BesideProcess):
    """One simulated exchange on this machine.

    Attributes:
        exchange: its ports are open from the start, so that they can be wired before anything runs.
        damaged: gets a line of text, in the exchange's process, about a capture that cannot be read on.

    Args:
        config: what it is; truth: as in :meth:`ItchExchange.run`.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ItchExchange`.
    """

    def __init__(self, config: ExchangeConfig, truth: str = "") -> None:
        super().__init__()
        warm()
        self._truth = truth
        self.exchange = ItchExchange(config)
        self.damaged: Callable[[str], None] = _warn

    def serve(self) -> None:
        """The exchange's rounds."""
        self.exchange.run(self._stop, Told(_warn, self.damaged, self.end_market), self._truth)

    def close(self) -> None:
        """Close its ports here."""
        self.exchange.close()


def exchange_of_its_own(config: ExchangeConfig, truth: str = "") -> ExchangeProcess:
    """An exchange on the ports of its lines, or on free ones where another exchange of this machine speaks on those.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ExchangeProcess`.
    """
    try:
        return ExchangeProcess(config, truth)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        exchange = ExchangeProcess(replace(config, port_a=0, port_b=0), truth)
    ports = {name: getattr(exchange.exchange, name) for name in ("port_a", "port_b")}
    event(LOG, logging.WARNING, "another exchange speaks on these lines: free ports are taken", **ports)
    return exchange
