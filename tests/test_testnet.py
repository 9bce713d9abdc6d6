"""The venues' own test nets: off unless HFTPIPE_TESTNET=1 and the keys of a test account are in the environment."""

import json
import os
from pathlib import Path

import pytest
from running import configs, hftpipe

VENUES = ("binance_usdm", "binance_spot", "bybit_linear", "bybit_spot")
NAME = "t-testnet"


def keys_of(venue: str) -> list[str]:
    head = f"HFTPIPE_SECRET_{venue.upper()}"
    return [name for name in (f"{head}_API_KEY", f"{head}_API_SECRET", f"{head}_PRIVATE_KEY") if os.environ.get(name)]


def needs_testnet(venue: str) -> None:
    if os.environ.get("HFTPIPE_TESTNET") != "1":
        pytest.skip("HFTPIPE_TESTNET=1 lets tests trade on the venues' test nets (docs/live-orders.md)")
    if len(keys_of(venue)) < 2:
        pytest.skip(f"no key of a test account: HFTPIPE_SECRET_{venue.upper()}_API_KEY and _API_SECRET or _PRIVATE_KEY")


@pytest.mark.parametrize("venue", VENUES)
def test_the_venue_is_as_configured_and_takes_an_order(venue: str) -> None:
    needs_testnet(venue)
    done = hftpipe({**os.environ}, "venue-check", venue, "--order", "--set", "live.net=test")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("venue", VENUES)
def test_a_run_trades_there_and_leaves_nothing_open(venue: str, tmp_path: Path) -> None:
    needs_testnet(venue)
    out = tmp_path / "out.json"
    done = hftpipe(
        {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path)}, "run", *configs("paper", "risk_limits"), "--name", NAME,
        "--json", str(out), "--duration", "20", "--set", f"pipeline.venue={venue}", "--set", "pipeline.mode=live", "--set",
        "live.net=test",
    )  # fmt: skip
    summary = json.loads(out.read_text())
    assert done.returncode == 0 and not summary["faults"] and summary["orders"] > 0, done.stdout + done.stderr
