"""Real orders at separately running simulated exchanges: what the client says it has is what the exchange has, whatever dies."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from binance_account import now_ms
from binance_rig import Venue
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from live_orders_rig import (
    CONFIG,
    KEY,
    NAME,
    SECRET,
    BinanceAccount,
    account_at,
    all_met,
    environment,
    live,
    no_orders_within,
    options,
)
from running import Running, configs, hftpipe

pytest_plugins = ("live_exchanges",)
#: So many fills are enough to compare.
FILLS = 20
NAMES = ("binance_usdm", "binance_spot", "bybit_linear", "bybit_spot")
#: Where only the venue differs, one of its markets says enough.
ONE_EACH = ("binance_usdm", "bybit_linear")
BINANCE = NAMES[:2]


@dataclass
class Recorded:
    """A run that was recorded: what it said, its files, its segment while it ran, and what the exchange says."""

    run: Running
    summary: dict[str, Any]
    folder: Path
    segment: bytes
    fills: int
    position: Decimal
    open: list[str]


@pytest.fixture(scope="module")
def recorded(exchanges: dict[str, Venue], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recorded]:
    """One recorded run for each venue: some seconds, or until there are fills enough."""

    @cache
    def make(name: str) -> Recorded:
        venue, folder, began_ms = exchanges[name.partition("_")[0]], tmp_path_factory.mktemp(name), now_ms()
        account = account_at(venue, name)
        with live(venue, name, folder, "--record", str(folder / "sessions")) as run:
            segment, until = Path(f"/dev/shm/hftpipe-{NAME}").read_bytes(), time.monotonic() + 12
            while account.traded(began_ms)[0] < FILLS and time.monotonic() < until:
                time.sleep(0.5)
            summary = run.end()
        return Recorded(run, summary, folder, segment, *account.traded(began_ms), account.open())

    return make


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_of_orders_and_fills_is_the_exchanges_truth_and_replays_identical(
    recorded: Callable[[str], Recorded], name: str
) -> None:
    made = recorded(name)
    run, summary = made.run, made.summary
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()
    assert made.open == []
    assert summary["orders"] > 0 and summary["fills"] == made.fills
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == made.position
    assert f"LIVE orders to {name}" in run.log.read_text()
    verified = hftpipe(run.env, "replay", str(next((made.folder / "sessions").iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("victim", ["gateway", "supervisor"])
def test_orders_of_a_killed_process_are_cancelled_within_a_second(
    venue: Venue, name: str, victim: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path) as run:
        pid = run.process.pid if victim == "supervisor" else run.says("pipeline started")["processes"][3]
        os.kill(pid, signal.SIGKILL)
        assert no_orders_within(account, 1.0), account.open()
        time.sleep(1.0)
        assert account.open() == [], "and none comes after"


@pytest.mark.parametrize("name", NAMES)
def test_a_session_that_breaks_comes_back_with_all_that_happened_meanwhile(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account, began_ms = account_at(venue, name), now_ms()
    with live(venue, name, tmp_path) as run:
        for _ in range(3):
            # (Bybit's connections for orders are of no category.)
            market = {"market": name.partition("_")[2]} if name in BINANCE else {}
            before = venue.control(disconnect="all", **market)["connections"]
            # What has nothing to be cut in the middle of is cut after half a second.
            time.sleep(0.6)
            until = time.monotonic() + 4
            while venue.control()["connections"] < before and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(1)
        summary = run.end()
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()
    fills, position = account.traded(began_ms)
    assert summary["fills"] == fills
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position
    assert summary["counters"]["orders"]["outages"] >= 1 and account.open() == []


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_gateway_that_stands_still_has_its_orders_cancelled(venue: Venue, name: str, tmp_path: Path) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path, **{"pipeline.heartbeat_timeout_s": "60"}) as run:
        gateway = run.says("pipeline started")["processes"][3]
        os.kill(gateway, signal.SIGSTOP)
        try:
            assert no_orders_within(account, 8.0), account.open()
        finally:
            os.kill(gateway, signal.SIGCONT)


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_wrong_secret_is_named_and_nothing_is_traded(venue: Venue, name: str, tmp_path: Path) -> None:
    env = environment(tmp_path, name) | {f"HFTPIPE_SECRET_{name.upper()}_API_SECRET": "not-the-secret-of-it"}
    out = tmp_path / "out.json"
    done = hftpipe(
        env, "run", *configs("paper", "risk_limits"), "--name", NAME, "--json", str(out), "--duration", "20",
        *options(venue, name, tmp_path, **{"live.login_timeout_s": "8"}),
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert json.loads(out.read_text())["orders"] <= 2 and done.returncode == 1
    assert "login refused" in said.replace("_", " ") and "not-the-secret-of-it" not in said


@pytest.mark.parametrize("name", ONE_EACH)
def test_without_a_key_live_is_refused_by_the_names_of_what_is_missing(venue: Venue, name: str, tmp_path: Path) -> None:
    env = {key: value for key, value in environment(tmp_path, name).items() if "SECRET" not in key}
    done = hftpipe(env, "run", *configs("paper", "risk_limits"), "--name", NAME, *options(venue, name, tmp_path))
    assert done.returncode == 2
    assert f"HFTPIPE_SECRET_{name.upper()}_API_KEY" in done.stderr and "_PRIVATE_KEY" in done.stderr


@pytest.mark.parametrize("name", ONE_EACH)
def test_no_secret_is_in_anything_that_a_run_writes(recorded: Callable[[str], Recorded], name: str) -> None:
    made = recorded(name)
    written = [path.read_bytes() for path in made.folder.rglob("*") if path.is_file()]
    assert len(written) > 3
    for content in (made.segment, *written):
        assert KEY.encode() not in content and SECRET.encode() not in content and b"signature" not in content


#: What befalls trading in a run, one after the other.
FAULTS = (
    {"order_unknown": 3}, {"order_unavailable": 3}, {"order_delayed": 3, "order_delay_ms": 1500}, {"ack_dropped": 3},
    {"drop_next_user": 4}, {"double_next_user": 6}, {"user_delay_ms": 700}, {"user_delay_ms": 0}, {"clock_offset_ms": 3000},
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_lost_late_told_twice_or_unknown_the_truth_is_known_in_the_end(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account, began_ms = account_at(venue, name), now_ms()
    with live(venue, name, tmp_path, "--set", "pipeline.stop_timeout_s=20") as run:
        for fault in FAULTS:
            market = name.partition("_")[2]
            venue.control(market=market, **fault)
            all_met(venue, market)
            time.sleep(1.0)
        time.sleep(3)
        summary = run.end()
    venue.control(clock_offset_ms=0)
    # That requests stay without an answer is a fault of the venue's, and is shown as one.
    assert run.process.returncode == 0 and set(summary["faults"]) <= {"gateway.unanswered"}, run.log.read_text()
    assert account.open() == []
    fills, position = account.traded(began_ms)
    assert summary["fills"] == fills and summary["orders"] > 0
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position
    told = summary["counters"]["orders"]
    assert told["questions_asked"] > 0, told


def check(venue: Venue, name: str, tmp_path: Path, *more: str, **changed: str) -> Any:
    config = tmp_path / "mine.toml"
    text = CONFIG.format(name=name)
    for key, value in changed.items():
        text = text.replace(f"{key} =", f"{key} = {value} #")
    config.write_text(text)
    given = ["--config", str(config), "--set", f"live.server=http://127.0.0.1:{venue.port}", *more]
    return hftpipe(environment(tmp_path, name), "venue-check", name, *given)


@pytest.mark.parametrize("name", NAMES)
def test_venue_check_says_what_there_is_and_leaves_no_order_behind(venue: Venue, name: str, tmp_path: Path) -> None:
    done = check(venue, name, tmp_path, "--order")
    said = " ".join(done.stdout.replace("│", " ").split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "may trade" in said and "as configured" in said and "cancelled" in said
    # The configuration says that nothing is paid: that is no failure, but said.
    assert "change maker_fee_bps" in said and account_at(venue, name).open() == []


@pytest.mark.parametrize("name", BINANCE[:1])
def test_venue_check_names_rules_that_the_venue_would_refuse_and_ends_with_one(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    done = check(venue, name, tmp_path, tick_size='"0.01"')
    assert done.returncode == 1 and "tick_size is 0.01" in " ".join(done.stdout.replace("│", " ").split())


def test_a_real_order_to_look_is_refused_on_a_main_net(tmp_path: Path) -> None:
    done = hftpipe(environment(tmp_path, "binance_usdm"), "venue-check", "binance_usdm", "--order")
    assert done.returncode == 2 and "live.net = test" in done.stderr


def new_key(kind: str) -> Any:
    return Ed25519PrivateKey.generate() if kind == "Ed25519" else generate_private_key(65537, 2048)


@pytest.mark.parametrize("name", BINANCE)
@pytest.mark.parametrize("kind", ["Ed25519", "RSA"])
def test_a_private_key_trades_with_its_orders_signed_or_its_log_on(kind: str, name: str, tmp_path: Path) -> None:
    private = new_key(kind)
    public = tmp_path / "public.pem"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    own = Venue(tmp_path, "--public-key", public, "--rate", "400")
    try:
        head = f"HFTPIPE_SECRET_{name.upper()}"
        env = {key: text for key, text in environment(tmp_path, name).items() if not key.startswith(head)}
        env |= {f"{head}_API_KEY": "sim-public-key", f"{head}_PRIVATE_KEY": pem}
        out = tmp_path / "out.json"
        done = hftpipe(
            env, "run", *configs("paper", "risk_limits"), "--name", NAME, "--json", str(out),
            "--duration", "6", *options(own, name, tmp_path),
        )  # fmt: skip
        summary = json.loads(out.read_text())
        assert done.returncode == 0 and not summary["faults"] and summary["orders"] > 0, done.stdout + done.stderr
        assert not any(len(line) > 20 and line in done.stdout + done.stderr for line in pem.splitlines()[1:-1])
    finally:
        own.process.send_signal(signal.SIGINT)
        own.process.wait(30)


def place(venue: Venue, name: str, text: str) -> None:
    """An order of nobody's run, far below the market."""
    account = account_at(venue, name)
    assert isinstance(account, BinanceAccount)
    account.ask(
        "order", "POST", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="58000",
        newClientOrderId=text,
    )  # fmt: skip


@pytest.mark.parametrize("name", BINANCE)
def test_orders_of_an_earlier_run_are_cancelled_at_the_start_and_those_of_others_never(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    place(venue, name, "cm_a_65a10000_01020007")
    place(venue, name, "web_1")
    # The dead man's switch is of a whole symbol, and ends with the run.
    with live(venue, name, tmp_path, **{"live.dead_man_s": "3"}) as run:
        # It has orders of its own when those of the earlier run are gone.
        until = time.monotonic() + 30
        while not set(account.open()) - {"cm_a_65a10000_01020007", "web_1"}:
            assert time.monotonic() < until, run.log.read_text()
            time.sleep(0.1)
        time.sleep(1)
        assert "cm_a_65a10000_01020007" not in account.open()
        assert run.end()["orders"] > 0 and run.process.returncode == 0
    assert "1 open orders of an earlier run under our ids: cancelled" in run.log.read_text()
    time.sleep(5)
    assert account.open() == ["web_1"]
    account.ask("order", "DELETE", symbol="BTCUSDT", origClientOrderId="web_1")


@pytest.mark.parametrize("name", BINANCE)
def test_the_watchdog_cancels_also_when_the_clock_has_jumped(venue: Venue, name: str, tmp_path: Path) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path) as run:
        venue.control(clock_offset_ms=-4000, freeze=True)
        try:
            os.kill(run.says("pipeline started")["processes"][3], signal.SIGKILL)
            time.sleep(3)
        finally:
            venue.control(clock_offset_ms=0, freeze=False)
        assert no_orders_within(account, 2.0), run.log.read_text()


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_clock_that_jumps_is_measured_at_once_and_trading_goes_on(venue: Venue, name: str, tmp_path: Path) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path) as run:
        # All that is sent is too old from now on, cancels too.
        venue.control(clock_offset_ms=8000)
        try:
            time.sleep(4)
            before, until = set(account.open()), time.monotonic() + 8
            while not set(account.open()) - before:
                assert time.monotonic() < until, run.log.read_text()
                time.sleep(0.1)
        finally:
            venue.control(clock_offset_ms=0)
        summary = run.end()
    assert summary["counters"]["orders"]["wrong_times"] > 0 and not summary["halted"]


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_run_whose_watchdog_has_died_does_not_trade_on(venue: Venue, name: str, tmp_path: Path) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path) as run:
        gateway = run.says("pipeline started")["processes"][3]
        (dog,) = map(int, Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split())
        os.kill(dog, signal.SIGKILL)
        run.says(f"{name}: orders: the watchdog has died: trading ends")
        assert no_orders_within(account, 5.0)
        time.sleep(2)
        assert account.open() == [] and run.end()["halted"] == "stage_died"


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_run_whose_account_others_trade_on_says_so_at_once_and_ends_with_one(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path) as run:
        account.buy("0.01")
        time.sleep(3)
        assert "executions of orders that are not of this instance" in run.log.read_text()
        summary = run.end()
    account.sell("0.01")
    assert run.process.returncode == 1 and summary["exit_code"] == 1
    assert summary["faults"] == {"orders.external_fills": summary["faults"]["orders.external_fills"]}
    assert summary["orders"] > 0 and not summary["halted"]


def kill_all(pid: int) -> None:
    """A machine that is gone: nobody of a process's family does anything any more."""
    root = psutil.Process(pid)
    family = [root, *root.children(recursive=True)]
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for one in family:
            one.send_signal(how)


@pytest.mark.parametrize("name", ["bybit_linear", "bybit_spot"])
def test_orders_of_a_machine_that_is_gone_are_cancelled_by_bybits_dead_mans_switch(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    # Quotes so wide that nobody meets them: what ends them is the switch.
    settings = {"live.dead_man_s": "3", "strategy.params.spread_bps": "100"}
    with live(venue, name, tmp_path, **settings) as run:
        kill_all(run.process.pid)
        run.process.wait(10)
        time.sleep(1)
        assert account.open(), "nobody of ours is left to cancel them"
        assert no_orders_within(account, 6.0)
    for left in Path("/dev/shm").glob(f"hftpipe-{NAME}*"):
        left.unlink()


@pytest.mark.parametrize("name", ["bybit_linear"])
def test_a_switch_that_the_account_may_not_have_is_said_once_and_the_watchdog_does_its_work(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    account = account_at(venue, name)
    venue.control(dcp_refused=True)
    try:
        with live(venue, name, tmp_path, **{"live.dead_man_s": "3"}) as run:
            venue.control(disconnect="all")
            time.sleep(4)
            os.kill(run.says("pipeline started")["processes"][3], signal.SIGKILL)
            assert no_orders_within(account, 1.5)
        (said,) = [line for line in run.log.read_text().splitlines() if "dead man's switch" in line]
        assert "Permission denied" in said and "the watchdog alone looks after the orders" in said
    finally:
        venue.control(dcp_refused=False)


@pytest.mark.parametrize("name", ["bybit_linear"])
def test_a_wait_that_bybits_switch_does_not_have_is_refused(venue: Venue, name: str, tmp_path: Path) -> None:
    given = options(venue, name, tmp_path, **{"live.dead_man_s": "2"})
    done = hftpipe(environment(tmp_path, name), "run", *configs("paper", "risk_limits"), "--name", NAME, *given)
    assert done.returncode == 2 and "live.dead_man_s = 2: Bybit waits 3 to 300 s" in done.stderr
