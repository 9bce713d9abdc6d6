"""Orders that an earlier run has left: they are gone when it is said so, however many the venue takes at a time, and before trading begins."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from bybit_account import KEY, SECRET, Trader
from memory import address
from rest_venue import ASSETS, BOTH, ID, PREFIX

from hftpipe.config import Secret
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import aligned
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.transport.signing.keys import Key
from hftpipe.venues.bybit.discovery import MANNERS
from hftpipe.venues.bybit.orders.account import BybitAccount
from hftpipe.venues.bybit.orders.market import LINEAR, SPOT
from hftpipe.venues.orders.client_text import client_text
from hftpipe.venues.orders.keeper import ANY_EPOCH, AccountKeeper
from hftpipe.venues.orders.setup import Terms, account_bytes, account_init

pytest_plugins = ("bybit_account_rig",)
pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")

MARKETS = {"spot": SPOT, "linear": LINEAR}
LIMIT_S = 30.0


@pytest.fixture(autouse=True)
def directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def account(trader: Trader) -> Iterator[BybitAccount]:
    """Ours, at the simulated venue."""
    address = f"127.0.0.1:{trader.venue.port}"
    client = RestClient(f"http://{address}", Weights(1_000_000), MANNERS)
    yield BybitAccount(
        MARKETS[trader.category], Key(Secret(KEY), Secret(SECRET)), client, f"ws://{address}/v5/trade", f"ws://{address}/v5/private",
        BOTH, PREFIX, ASSETS,
    )  # fmt: skip
    client.close()


def leave(trader: Trader, count: int, start: int) -> None:
    """Orders of an earlier run, and one of somebody else."""
    price = trader.far()
    for at in range(count):
        assert trader.create("Buy", "0.01", price, orderLinkId=client_text(PREFIX, ID + start + at)).code == 0
    assert trader.create("Buy", "0.01", price).code == 0


def test_more_orders_than_the_venue_cancels_in_a_second_are_all_cancelled_and_those_of_others_are_not(
    trader: Trader, account: BybitAccount
) -> None:
    leave(trader, 30, 0)
    # The venue's own limits: 10 cancels a second, on spot 20.
    trader.venue.control(limit_per_s=0)
    assert account.cancel_all(ANY_EPOCH) == 30
    assert [one["orderLinkId"] for one in trader.found()] == [""]
    assert account.cancel_all(ANY_EPOCH) == 0


def test_there_is_no_session_before_all_is_gone_also_where_the_venue_takes_fewer_than_it_says(
    trader: Trader, account: BybitAccount
) -> None:
    leave(trader, 8, 100)
    trader.venue.control(limit_per_s=3)
    said, clock, memory = list[str](), np.zeros(1, CLOCK), aligned(account_bytes(), 128)
    made = account_init(memory, 2, int(address(clock)), Terms(2, False, 1.0, 10.0, 60.0, {}))
    keeper = AccountKeeper(made, account, (), said.append)
    keeper.open()
    try:
        until = time.monotonic() + LIMIT_S
        while not made.account["session"][0]:
            assert time.monotonic() < until, said
            time.sleep(0.01)
        trader.venue.control(limit_per_s=1000)
        assert [one["orderLinkId"] for one in trader.found()] == [""]
        assert any("of an earlier run under our ids: cancelled" in line for line in said)
    finally:
        keeper.close()
