"""Real orders over REST at separately running simulated exchanges: what the client says it has is what the exchange has."""

import json
import os
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance_rig import Venue
from live_orders_rig import KEY, NAME, SECRET, account_at, all_met, environment, live, no_orders_within, options
from running import configs, hftpipe

pytest_plugins = ("live_exchanges",)
NAMES = ("binance_usdm", "binance_spot", "bybit_linear", "bybit_spot")
ONE_EACH = ("binance_usdm", "bybit_linear")
REST = {"live.order_entry": "rest"}
ROOT = Path(__file__).resolve().parents[1]


def check_truth(venue: Venue, name: str, began_ms: int, summary: dict[str, Any], log: str) -> None:
    """Fills, position and open orders are the exchange's."""
    account = account_at(venue, name)
    assert account.open() == [], log
    fills, position = account.traded(began_ms)
    assert summary["orders"] > 0 and summary["fills"] == fills, log
    assert Decimal(str(summary["instruments"]["BTCUSDT"]["position"])) == position, log


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_of_orders_and_fills_is_the_exchanges_truth_and_replays_identical(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    began_ms, sessions = int(time.time() * 1000), tmp_path / "sessions"
    with live(venue, name, tmp_path, "--record", str(sessions), **REST) as run:
        segment = Path(f"/dev/shm/hftpipe-{NAME}").read_bytes()
        time.sleep(8)
        summary = run.end()
    said = run.log.read_text()
    assert run.process.returncode == 0 and not summary["faults"], said
    check_truth(venue, name, began_ms, summary, said)
    for content in (segment, said.encode(), run.out.read_bytes()):
        assert KEY.encode() not in content and SECRET.encode() not in content and b"signature" not in content
    verified = hftpipe(run.env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


#: What befalls requests over REST in a run, one after the other.
FAULTS = (
    {"order_unknown": 3}, {"order_unavailable": 3}, {"order_delayed": 3, "order_delay_ms": 1500}, {"answer_cut": 3},
    {"request_cut": 3}, {"close_idle": True}, {"status_5xx": 2}, {"drop_next_user": 4}, {"double_next_user": 6},
    {"disconnect": "all"},
)  # fmt: skip
#: What only one of the venues says.
OWN = {"binance": ({"ban_429": 2, "retry_after_s": 1},), "bybit": ({"limit_10006": 2},)}


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_cut_lost_late_or_refused_the_truth_is_known_in_the_end(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    began_ms = int(time.time() * 1000)
    protocol, _, market = name.partition("_")
    with live(venue, name, tmp_path, "--set", "pipeline.stop_timeout_s=20", **REST) as run:
        for fault in (*FAULTS, *OWN[protocol]):
            # (Bybit's connections for events are of no category.)
            venue.control(**({} if "disconnect" in fault and protocol == "bybit" else {"market": market}), **fault)
            all_met(venue, market)
            time.sleep(1.0)
        time.sleep(3)
        summary = run.end()
    said = run.log.read_text()
    # That requests stay without an answer is a fault of the venue's, and is shown as one.
    assert run.process.returncode == 0 and set(summary["faults"]) <= {"gateway.unanswered"}, said
    check_truth(venue, name, began_ms, summary, said)
    counted = summary["counters"]["orders"]
    assert counted["calls_lost"] >= 2 and counted["questions_asked"] > 0 and counted["outages"] >= 1, counted


@pytest.mark.parametrize("name", ONE_EACH)
def test_orders_of_a_killed_gateway_are_cancelled_within_a_second(venue: Venue, name: str, tmp_path: Path) -> None:
    account = account_at(venue, name)
    with live(venue, name, tmp_path, **REST) as run:
        os.kill(run.says("pipeline started")["processes"][3], signal.SIGKILL)
        assert no_orders_within(account, 1.0), account.open()
        time.sleep(1.0)
        assert account.open() == [], "and none comes after"


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_run_beside_a_simulated_venue_trades_over_rest(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = subprocess.run(
        ["make", "--no-print-directory", "run", f"VENUE={name}", "MODE=live", "SIMULATED=1", "DURATION=6", f"JSON={out}",
         "ARGS=--set live.order_entry=rest --name t-live-rest"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
        env={**os.environ, "COLUMNS": "250", "HFTPIPE_STATE_DIR": str(tmp_path / "state")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert summary["orders"] > 0 and not summary["faults"], done.stdout + done.stderr


@pytest.mark.parametrize(("name", "kind"), [("binance_usdm", "ed25519"), ("bybit_linear", "rsa")])
def test_a_key_that_cannot_sign_each_order_is_refused_by_what_is_allowed(
    venue: Venue, name: str, kind: str, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, 2048)
    head = f"HFTPIPE_SECRET_{name.upper()}"
    env = {key: text for key, text in environment(tmp_path, name).items() if not key.startswith(head)}
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    env |= {f"{head}_API_KEY": "k", f"{head}_PRIVATE_KEY": pem}
    done = hftpipe(
        env, "run", *configs("paper", "risk_limits"), "--name", NAME, *options(venue, name, tmp_path, **REST)
    )
    assert done.returncode == 2 and "live.order_entry = rest" in done.stderr and "HMAC-SHA256" in done.stderr
