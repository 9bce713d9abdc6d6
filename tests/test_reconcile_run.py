"""Live runs compared with separately running simulated exchanges: what was missed is found and booked within one period, what somebody
else does is dealt with by policy, and under load, or while the venue does not answer, nothing is found that is not so."""

import json
import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance_account import now_ms
from binance_rig import Venue
from live_orders_rig import KEY, account_at, environment, live, options
from running import Running, configs, hftpipe

pytest_plugins = ("live_exchanges",)
NAMES = ("binance_usdm", "binance_spot", "bybit_linear", "bybit_spot")
ONE_EACH = ("binance_spot", "bybit_linear")
#: Period of the comparisons, and how long one takes that finds something.
EVERY_S, TAKES_S = 2.0, 6.0
OFTEN = {"live.reconcile_s": str(EVERY_S)}
DIFFERENCES = (
    "missed",
    "unshown",
    "unlisted",
    "unknown",
    "external_orders",
    "positions_off",
    "balances_off",
    "overdue",
    "blind",
)


def counted(summary: dict[str, Any]) -> dict[str, int]:
    return dict(summary["counters"]["reconcile"])


def wait_for(run: Running, is_so: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until or run.process.poll() is not None:
            return False
        time.sleep(0.1)
    return True


def executed(venue: Venue, market: str) -> int:
    """Executions of the account so far, asked where it weighs nothing: a comparison would give way."""
    return len(venue.json("/control/account", key=KEY)[market]["fills"])


def says(run: Running, text: str, seconds: float) -> bool:
    return wait_for(run, lambda: text in run.log.read_text(), seconds)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_under_load_that_misses_nothing_is_found_to_differ_in_nothing(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account, began_ms = account_at(venue, name), now_ms()
    with live(venue, name, tmp_path, **{"live.reconcile_s": "1"}) as run:
        time.sleep(12)
        summary = run.end()
    told, fills = counted(summary), account.traded(began_ms)[0]
    assert told["compared"] >= 5 and summary["fills"] == fills > 0, told
    assert not any(told[one] for one in DIFFERENCES), (told, run.log.read_text())
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()


#: An order a side that is never touched: whoever changes or cancels one hears at once that it has filled.
PATIENT = """
from hftpipe.strategy import BUY, POST_ONLY, SELL, OrderId, Qty, Strategy, param, state


class Patient(Strategy):
    order_size: Qty = param("0.001", gt=0)
    spread_bps: float = param(8.0)
    reprice_threshold: float = param(0.5)
    max_inventory: Qty = param("0.005")
    bought: OrderId = state()
    sold: OrderId = state()

    def on_book(self, ctx, book):
        if not ctx.is_open(self.bought):
            self.bought = ctx.buy(book.bid, self.order_size, POST_ONLY)
        if not ctx.is_open(self.sold):
            self.sold = ctx.sell(book.ask, self.order_size, POST_ONLY)
"""


#: How an order that has filled whole is found, and one that has filled in part.
FOUND = ("the venue does not list it", "the venue has execution")


@pytest.mark.parametrize(
    ("name", "size"), [*((name, "0.001") for name in NAMES), *((name, "0.05") for name in ONE_EACH)]
)
def test_an_execution_that_was_never_told_is_found_and_booked_within_one_period(
    venue: Venue, name: str, size: str, tmp_path: Path
) -> None:
    account, began_ms, market = account_at(venue, name), now_ms(), name.partition("_")[2]
    (tmp_path / "patient.py").write_text(PATIENT)
    given = {
        "strategy.name": f"{tmp_path}/patient.py:Patient", "strategy.params.order_size": size,
        "risk.limits.BTCUSDT.max_position": "1", "risk.limits.BTCUSDT.max_order_qty": "0.05",
        "risk.limits.BTCUSDT.max_order_notional": "9000",
    }  # fmt: skip
    with live(venue, name, tmp_path, **OFTEN, **given) as run:
        # What has filled is found as well when the order is looked at, or fills again: mostly the comparison comes first.
        for _ in range(5):
            before = executed(venue, market)
            venue.control(market=market, drop_next_user=100_000)
            wait_for(run, lambda before=before: executed(venue, market) > before, 20)  # type: ignore[misc]
            venue.control(market=market, drop_next_user=0)
            if wait_for(run, lambda: any(one in run.log.read_text() for one in FOUND), EVERY_S + TAKES_S):
                break
        time.sleep(TAKES_S)
        summary = run.end()
    fills, position = account.traded(began_ms)
    told = counted(summary)
    assert told["missed"] + told["unlisted"] >= 1, run.log.read_text()
    assert summary["counters"]["orders"]["missed_fills"] >= 1, run.log.read_text()
    assert summary["fills"] == fills and Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position
    assert not counted(summary)["positions_off"] and not summary["halted"], run.log.read_text()


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("policy", ["leave", "cancel"])
def test_orders_of_others_are_counted_and_left_alone_or_cancelled(
    venue: Venue, name: str, policy: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path, **OFTEN, **{"live.external_orders": policy, "live.dead_man_s": "0"}) as run:
        name_of_theirs = f"web-{policy}"
        account.place(name_of_theirs)
        assert says(run, "is not of this instance", EVERY_S + TAKES_S), run.log.read_text()
        time.sleep(1)
        left = name_of_theirs in account.open()
        time.sleep(EVERY_S)
        summary = run.end()
    assert left == (policy == "leave")
    if left:
        account.withdraw(name_of_theirs)
    told = counted(summary)
    assert (told["external_orders"], told["external_cancels"]) == (1, int(not left)), "once, however often it is seen"
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_position_that_somebody_else_moved_beyond_the_tolerance_ends_trading_by_name(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path, **OFTEN) as run:
        account.buy("0.01")
        try:
            assert wait_for(run, lambda: "trading is halted" in run.log.read_text(), EVERY_S + TAKES_S), (
                run.log.read_text()
            )
            time.sleep(1)
            assert account.open() == []
            summary = run.end()
        finally:
            account.sell("0.01")
    assert summary["halted"] == "position_differs" and run.process.returncode == 1
    assert counted(summary)["positions_off"] >= 1 and "of BTCUSDT more than the run" in run.log.read_text()
    given, out = options(venue, name, tmp_path), tmp_path / "again.json"
    hftpipe(
        environment(tmp_path, name), "run", *configs("paper", "risk_limits"), "--name", run.name, "--duration", "2",
        "--json", str(out), *given, seconds=60,
    )  # fmt: skip
    again = json.loads(out.read_text())
    assert again["halted"] == "position_differs" and again["orders"] == 0, "it is latched"


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_position_that_differs_within_the_tolerance_is_said_and_trading_goes_on(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    # Quotes so wide that nobody meets them: an execution of its own would be as large as the difference, and might explain it.
    with live(venue, name, tmp_path, **OFTEN, **{"strategy.params.spread_bps": "100"}) as run:
        # (On spot the fee of a purchase is in what was bought.)
        account.sell("0.001")
        assert says(run, "more than the run", EVERY_S + TAKES_S), run.log.read_text()
        time.sleep(2 * EVERY_S)
        summary = run.end()
    account.buy("0.001")
    assert not summary["halted"] and run.process.returncode == 1
    assert counted(summary)["positions_off"] == 1, "once, as long as it stays the same"
    assert summary["faults"]["reconcile.positions_off"] == 1


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_venue_that_does_not_answer_is_found_to_differ_in_nothing(venue: Venue, name: str, tmp_path: Path) -> None:
    account, began_ms = account_at(venue, name), now_ms()
    with live(venue, name, tmp_path, **{"live.reconcile_s": "1", "live.dead_man_s": "0"}) as run:
        for _ in range(4):
            venue.control(market=name.partition("_")[2], status_5xx=3)
            time.sleep(1.5)
        # Beyond the time that an answer is waited for.
        os.kill(venue.process.pid, signal.SIGSTOP)
        try:
            time.sleep(6.5)
        finally:
            os.kill(venue.process.pid, signal.SIGCONT)
        time.sleep(8)
        summary = run.end()
    told = counted(summary)
    assert told["unanswered"] >= 1 and told["compared"] >= 2, told
    assert not any(told[one] for one in DIFFERENCES if one != "overdue"), (told, run.log.read_text())
    assert summary["fills"] == account.traded(began_ms)[0] and summary["halted"] != "position_differs"


@pytest.mark.parametrize("name", ONE_EACH)
def test_without_a_period_nothing_is_asked_or_compared(venue: Venue, name: str, tmp_path: Path) -> None:
    with live(venue, name, tmp_path, **{"live.reconcile_s": "0"}) as run:
        time.sleep(2)
        summary = run.end()
    assert not any(counted(summary).values()) and "at the start the account has" not in run.log.read_text()
