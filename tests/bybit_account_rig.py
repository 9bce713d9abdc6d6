"""A Bybit venue with accounts for tests of trading: fixtures."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from binance_rig import Venue
from bybit_account import CATEGORIES, Trader
from bybit_venue import bybit_venue


@pytest.fixture(scope="module")
def bybit_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", 300)
    made.control(limit_per_s=1000)
    yield made
    made.close()


@pytest.fixture(params=CATEGORIES)
def trader(bybit_running: Venue, request: pytest.FixtureRequest) -> Iterator[Trader]:
    yield from flat(Trader(bybit_running, request.param))


@pytest.fixture
def spot_trader(bybit_running: Venue) -> Iterator[Trader]:
    yield from flat(Trader(bybit_running, "spot"))


@pytest.fixture
def linear_trader(bybit_running: Venue) -> Iterator[Trader]:
    yield from flat(Trader(bybit_running, "linear"))


def flat(trader: Trader) -> Iterator[Trader]:
    """An account whose orders are gone after the test, and whose position is closed."""
    yield trader
    trader.venue.control(freeze=False, limit_per_s=1000)
    for one in trader.truth()[trader.category]["openOrders"]:
        assert trader.cancel(symbol=one["symbol"], orderId=one["orderId"]).status == 200
    if trader.category == "linear":
        qty = Decimal(trader.truth()["positions"].get("BTCUSDT", {"qty": "0"})["qty"])
        if qty:
            assert trader.create("Sell" if qty > 0 else "Buy", str(abs(qty)), reduceOnly=True).code == 0
