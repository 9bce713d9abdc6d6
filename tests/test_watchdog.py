"""The watchdog: it cancels until nothing is open, whatever the venue answers, and leaves a gateway alone that moves again."""

from collections.abc import Callable

import numpy as np
import pytest

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.trading.order_table import table_bytes, table_init
from hftpipe.venues.orders import watchdog
from hftpipe.venues.orders.keeper import ANY_EPOCH
from hftpipe.venues.orders.state import ACCOUNT
from hftpipe.venues.orders.watchdog import Watchdog


class Venue:
    """Cancels so many open orders in rounds that a test decides about."""

    def __init__(self, round_: Callable[[], int]) -> None:
        self.rounds, self._round = 0, round_

    def cancel_all(self, last_epoch: int) -> int:
        self.rounds += 1
        return self._round()

    def clock_offset_ns(self) -> int:
        raise AttributeError("a clock that nobody can read")


class Kept:
    """A watchdog that is not forked, and what it says."""

    def __init__(self, round_: Callable[[], int]) -> None:
        self.account, self.said, self.venue = np.zeros(1, ACCOUNT), list[str](), Venue(round_)
        table = np.zeros(table_bytes(16), np.uint8)
        table_init(table, 16)
        self.dog = Watchdog(self.account, table, self.venue, self.said.append, try_s=3.0)

    def stand_still(self) -> None:
        """The gateway has stood still since now."""
        self.account["presence_ns"] = stood_ns = steady_ns()
        self.dog._stand_in(stood_ns)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "ROUND_S", 0.05)


def test_a_gateway_that_moves_again_keeps_its_new_orders() -> None:
    """A market maker has two new quotes at any time: each would be cancelled for an hour."""

    def two_and_on() -> int:
        kept.account["presence_ns"] = steady_ns()
        return 2

    kept = Kept(two_and_on)
    kept.stand_still()
    assert kept.venue.rounds == 1 and kept.said[-1] == "orders: watchdog: the gateway moves again, 2 cancelled"


def test_a_gateway_that_goes_on_standing_still_has_its_orders_cancelled_until_there_are_none() -> None:
    left = [3, 2, 0]
    kept = Kept(lambda: left.pop(0))
    kept.stand_still()
    assert left == [] and kept.said[-1] == "orders: watchdog: nothing is open any more, 5 cancelled"


@pytest.mark.parametrize(
    "wrong", [AttributeError("'NoneType' object has no attribute 'get'"), KeyError("list"), OSError("net")]
)
def test_it_outlives_an_answer_that_nobody_had_foreseen(wrong: Exception) -> None:
    """A venue under maintenance may say anything; the process would have ended without a word, and the orders stayed."""
    left: list[int | Exception] = [wrong, 3, 0]

    def answered() -> int:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    kept = Kept(answered)
    kept.dog._cancel("the gateway's process has ended", 0.0, ANY_EPOCH)
    assert left == [] and kept.said[-1] == "orders: watchdog: nothing is open any more, 3 cancelled"
    assert any(type(wrong).__name__ in line and "attempt 1" in line for line in kept.said)
    assert any("a clock that nobody can read" in line for line in kept.said)


def test_a_watchdog_that_was_told_to_go_has_not_died() -> None:
    """Who looks after it, and who ends it, are two threads."""
    dog = Kept(lambda: 0).dog
    dog.start()
    assert not dog.has_died()
    dog.stop()
    assert not dog.has_died()
