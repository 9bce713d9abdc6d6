"""A venue with accounts for tests of trading: fixtures."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from binance_account import MARKETS, Account
from binance_rig import Venue


@pytest.fixture(scope="module")
def binance_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 300, "--weight-limit", 1_000_000)
    yield made
    made.close()


@pytest.fixture(params=MARKETS)
def account(binance_running: Venue, request: pytest.FixtureRequest) -> Iterator[Account]:
    yield from flat(Account(binance_running, request.param))


@pytest.fixture
def spot(binance_running: Venue) -> Iterator[Account]:
    yield from flat(Account(binance_running, "spot"))


@pytest.fixture
def usdm(binance_running: Venue) -> Iterator[Account]:
    yield from flat(Account(binance_running, "usdm"))


def flat(account: Account) -> Iterator[Account]:
    """An account whose orders are gone after the test, and whose position on USD-M is closed."""
    yield account
    account.venue.control(freeze=False)
    for one in account.truth()["openOrders"]:
        account.request("DELETE", "order", symbol=one["symbol"], orderId=one["orderId"])
    if account.market == "usdm":
        qty = Decimal(account.truth()["positions"].get("BTCUSDT", {"qty": "0"})["qty"])
        if qty:
            assert (account.sell if qty > 0 else account.buy)(str(abs(qty)), reduceOnly="true").status == 200
