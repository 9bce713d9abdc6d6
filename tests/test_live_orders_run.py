"""Real orders at a separately running simulated Binance: what the client says it has is what the exchange has, whatever dies."""

import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from binance_rig import Venue
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from running import Running, configs, hftpipe

NAME = "t-live"
KEY, SECRET = "sim-key", "sim-secret"
MARKETS = {
    "usdm": ("/fapi/v1", "userTrades"),
    "spot": ("/api/v3", "myTrades"),
}
#: What a spot account pays (10 bps) is more than the demo market's spread: nobody would quote there who knew.
CONFIG = """
[[instruments]]
symbol = "BTCUSDT"
venue = "binance_{market}"
tick_size = "0.10"
lot_size = "0.001"
min_notional = "5"
reference_price = "60000"
maker_fee_bps = 0
"""
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("venue"), "--rate", "400")
    yield made
    made.process.send_signal(signal.SIGINT)
    made.process.wait(30)


class Account:
    """What the exchange says about the account, asked without any of our code."""

    def __init__(self, venue: Venue, market: str) -> None:
        self._venue, (self._head, self._trades) = venue, MARKETS[market]

    def ask(self, path: str, method: str = "GET", **query: object) -> Any:
        text = urlencode({**query, "timestamp": int(time.time() * 1000), "recvWindow": 10_000})
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        url = f"http://127.0.0.1:{self._venue.port}{self._head}/{path}?{text}&signature={signature}"
        answer = requests.request(method, url, headers={"X-MBX-APIKEY": KEY}, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def open(self) -> list[str]:
        return [one["clientOrderId"] for one in self.ask("openOrders", symbol="BTCUSDT")]

    def traded(self, since_ms: int) -> tuple[int, Decimal]:
        """Executions and their signed quantity since a time."""
        rows = [one for one in self.ask(self._trades, symbol="BTCUSDT", limit=1000) if one["time"] >= since_ms]
        signs = [1 if one.get("isBuyer", one.get("buyer")) else -1 for one in rows]
        return len(rows), sum((sign * Decimal(one["qty"]) for sign, one in zip(signs, rows, strict=True)), Decimal(0))


def environment(tmp_path: Path, market: str) -> dict[str, str]:
    head = f"HFTPIPE_SECRET_BINANCE_{market.upper()}"
    secrets = {f"{head}_API_KEY": KEY, f"{head}_API_SECRET": SECRET}
    return {**os.environ, **secrets, "COLUMNS": "250", "HFTPIPE_STATE_DIR": str(tmp_path / "state")}


def options(venue: Venue, market: str, **more: str) -> list[str]:
    settings = {
        "pipeline.venue": f"binance_{market}", "pipeline.mode": "live",
        "live.server": f"http://127.0.0.1:{venue.port}", **more,
    }  # fmt: skip
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


@contextmanager
def live(venue: Venue, market: str, tmp_path: Path, *more: str, **settings: str) -> Iterator[Running]:
    """A run under way that has orders at the exchange."""
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG.format(market=market))
    given = ["--config", str(config), *options(venue, market, **settings), *more]
    run = Running(
        environment(tmp_path, market), tmp_path / "out.json", NAME, *given, files=configs("paper", "risk_limits")
    )
    try:
        run.says("pipeline started")
        account, until = Account(venue, market), time.monotonic() + LIMIT_S
        while not account.open():
            assert time.monotonic() < until and run.process.poll() is None, run.log.read_text()
            time.sleep(0.1)
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait(30)


def no_orders_within(account: Account, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while account.open():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("market", MARKETS)
def test_what_is_told_of_orders_and_fills_is_the_exchanges_truth_and_replays_identical(
    venue: Venue, market: str, tmp_path: Path
) -> None:
    account, began_ms, sessions = Account(venue, market), int(time.time() * 1000), tmp_path / "sessions"
    with live(venue, market, tmp_path, "--record", str(sessions)) as run:
        time.sleep(12)
        summary = run.end()
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()
    assert account.open() == []
    fills, position = account.traded(began_ms)
    assert summary["orders"] > 0 and summary["fills"] == fills
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position
    assert f"LIVE orders to binance_{market}" in run.log.read_text()
    verified = hftpipe(run.env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("victim", ["gateway", "supervisor"])
def test_orders_of_a_killed_process_are_cancelled_within_a_second(
    venue: Venue, market: str, victim: str, tmp_path: Path
) -> None:
    account = Account(venue, market)
    with live(venue, market, tmp_path) as run:
        pid = run.process.pid if victim == "supervisor" else run.says("pipeline started")["processes"][3]
        os.kill(pid, signal.SIGKILL)
        assert no_orders_within(account, 1.0), account.open()
        time.sleep(1.0)
        assert account.open() == [], "and none comes after"


@pytest.mark.parametrize("market", MARKETS)
def test_a_session_that_breaks_comes_back_with_all_that_happened_meanwhile(
    venue: Venue, market: str, tmp_path: Path
) -> None:
    account, began_ms = Account(venue, market), int(time.time() * 1000)
    with live(venue, market, tmp_path) as run:
        for _ in range(3):
            venue.control(disconnect="all", market=market)
            time.sleep(4)
        summary = run.end()
    assert run.process.returncode == 0 and not summary["faults"], run.log.read_text()
    fills, position = account.traded(began_ms)
    assert summary["fills"] == fills
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position
    assert summary["counters"]["orders"]["outages"] >= 1 and account.open() == []


def test_a_gateway_that_stands_still_has_its_orders_cancelled(venue: Venue, tmp_path: Path) -> None:
    account = Account(venue, "usdm")
    with live(venue, "usdm", tmp_path, **{"pipeline.heartbeat_timeout_s": "60"}) as run:
        gateway = run.says("pipeline started")["processes"][3]
        os.kill(gateway, signal.SIGSTOP)
        try:
            assert no_orders_within(account, 8.0), account.open()
        finally:
            os.kill(gateway, signal.SIGCONT)


def test_a_wrong_secret_is_named_and_nothing_is_traded(venue: Venue, tmp_path: Path) -> None:
    env = environment(tmp_path, "usdm") | {"HFTPIPE_SECRET_BINANCE_USDM_API_SECRET": "not-the-secret-of-it"}
    out = tmp_path / "out.json"
    done = hftpipe(
        env, "run", *configs("paper", "risk_limits"), "--name", NAME, "--json", str(out), "--duration", "20",
        *options(venue, "usdm", **{"live.login_timeout_s": "60"}),
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert json.loads(out.read_text())["orders"] <= 2 and done.returncode == 1
    assert "login refused" in said.replace("_", " ") and "not-the-secret-of-it" not in said


def test_without_a_key_live_is_refused_by_the_names_of_what_is_missing(venue: Venue, tmp_path: Path) -> None:
    env = {name: value for name, value in environment(tmp_path, "usdm").items() if "SECRET" not in name}
    done = hftpipe(env, "run", *configs("paper", "risk_limits"), "--name", NAME, *options(venue, "usdm"))
    assert done.returncode == 2
    assert "HFTPIPE_SECRET_BINANCE_USDM_API_KEY" in done.stderr and "_PRIVATE_KEY" in done.stderr


def test_no_secret_is_in_anything_that_a_run_writes(venue: Venue, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    with live(venue, "usdm", tmp_path, "--record", str(sessions)) as run:
        segment = Path(f"/dev/shm/hftpipe-{NAME}").read_bytes()
        time.sleep(2)
        run.end()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    for content in (segment, *written):
        assert KEY.encode() not in content and SECRET.encode() not in content and b"signature" not in content


#: What befalls trading in a run, one after the other.
FAULTS = (
    {"order_unknown": 3}, {"order_unavailable": 3}, {"order_delayed": 3, "order_delay_ms": 1500}, {"ack_dropped": 3},
    {"drop_next_user": 4}, {"double_next_user": 6}, {"user_delay_ms": 700}, {"user_delay_ms": 0}, {"clock_offset_ms": 3000},
)  # fmt: skip


@pytest.mark.parametrize("market", MARKETS)
def test_whatever_is_lost_late_told_twice_or_unknown_the_truth_is_known_in_the_end(
    venue: Venue, market: str, tmp_path: Path
) -> None:
    account, began_ms = Account(venue, market), int(time.time() * 1000)
    with live(venue, market, tmp_path, "--set", "pipeline.stop_timeout_s=20") as run:
        for fault in FAULTS:
            venue.control(market=market, **fault)
            time.sleep(1.5)
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


def check(venue: Venue, market: str, tmp_path: Path, *more: str) -> Any:
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG.format(market=market))
    given = ["--config", str(config), "--set", f"live.server=http://127.0.0.1:{venue.port}", *more]
    return hftpipe(environment(tmp_path, market), "venue-check", f"binance_{market}", *given)


@pytest.mark.parametrize("market", MARKETS)
def test_venue_check_says_what_there_is_and_leaves_no_order_behind(venue: Venue, market: str, tmp_path: Path) -> None:
    done = check(venue, market, tmp_path, "--order")
    said = " ".join(done.stdout.replace("│", " ").split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "may trade" in said and "as configured" in said and "cancelled" in said
    # The configuration says that nothing is paid: that is no failure, but said.
    assert "change maker_fee_bps" in said and Account(venue, market).open() == []


def test_venue_check_names_rules_that_the_venue_would_refuse_and_ends_with_one(venue: Venue, tmp_path: Path) -> None:
    done = check(venue, "usdm", tmp_path, "--set", "market.timer_ms=10")
    assert done.returncode == 0
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG.format(market="usdm").replace('"0.10"', '"0.01"'))
    done = hftpipe(
        environment(tmp_path, "usdm"), "venue-check", "binance_usdm", "--config", str(config), "--set",
        f"live.server=http://127.0.0.1:{venue.port}",
    )  # fmt: skip
    assert done.returncode == 1 and "tick_size is 0.01" in " ".join(done.stdout.replace("│", " ").split())


def test_a_real_order_to_look_is_refused_on_a_main_net(tmp_path: Path) -> None:
    done = hftpipe(environment(tmp_path, "usdm"), "venue-check", "binance_usdm", "--order")
    assert done.returncode == 2 and "live.net = test" in done.stderr


@pytest.mark.parametrize("market", MARKETS)
def test_an_ed25519_key_logs_on_once_and_its_orders_need_no_signature(market: str, tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    public = tmp_path / "public.pem"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    own = Venue(tmp_path, "--public-key", public, "--rate", "400")
    try:
        head = f"HFTPIPE_SECRET_BINANCE_{market.upper()}"
        env = {name: text for name, text in environment(tmp_path, market).items() if not name.startswith(head)}
        env |= {f"{head}_API_KEY": "sim-public-key", f"{head}_PRIVATE_KEY": pem}
        config, out = tmp_path / "mine.toml", tmp_path / "out.json"
        config.write_text(CONFIG.format(market=market))
        done = hftpipe(
            env, "run", *configs("paper", "risk_limits"), "--config", str(config), "--name", NAME, "--json", str(out),
            "--duration", "6", *options(own, market),
        )  # fmt: skip
        summary = json.loads(out.read_text())
        assert done.returncode == 0 and not summary["faults"] and summary["orders"] > 0, done.stdout + done.stderr
        assert not any(len(line) > 20 and line in done.stdout + done.stderr for line in pem.splitlines()[1:-1])
    finally:
        own.process.send_signal(signal.SIGINT)
        own.process.wait(30)
