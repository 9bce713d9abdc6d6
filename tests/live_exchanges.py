"""Simulated exchanges that real orders go to, for all tests of a file: fixtures."""

import signal
import time
from collections.abc import Iterator

import pytest
from binance_rig import Venue
from bybit_venue import bybit_venue

from hftpipe.venues.orders.watchdog import UNDER_WAY_S


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Venue]]:
    made = {
        "binance": Venue(tmp_path_factory.mktemp("binance"), "--rate", "400"),
        "bybit": bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", "400"),
    }
    yield made
    # The watchdog of a run that was killed looks at its exchange for some seconds, and for an hour at one that is gone.
    time.sleep(UNDER_WAY_S + 2)
    for one in made.values():
        one.process.send_signal(signal.SIGINT)
        one.process.wait(30)


@pytest.fixture
def venue(exchanges: dict[str, Venue], name: str) -> Venue:
    """The exchange that has the market of a test's ``name``."""
    return exchanges[name.partition("_")[0]]
