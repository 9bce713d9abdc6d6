"""A run that brings its simulated Binance along: both markets at once, over real sockets, recorded and replayed."""

import json
import os
from pathlib import Path

from running import configs, hftpipe

NAME = "t-binance"


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state")}


def test_both_markets_trade_on_paper_and_their_session_replays_identical(tmp_path: Path) -> None:
    env, out, sessions = environment(tmp_path), tmp_path / "out.json", tmp_path / "sessions"
    files = configs("paper", "risk_limits", "binance_simulated")
    done = hftpipe(
        env, "run", *files, "--name", NAME, "--duration", "12", "--json", str(out), "--record", str(sessions)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert summary["books_not_valid"] == 0 and not summary["faults"] and summary["orders"] > 0
    assert set(summary["instruments"]) == {"usdm:BTCUSDT", "spot:BTCUSDT"}
    assert all(one["state"] == "VALID" and one["mid"] > 0 for one in summary["instruments"].values())
    said = done.stdout + done.stderr
    assert "binance_usdm simulated; binance_spot simulated" in said and "Traceback" not in said
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr
    assert not list(Path("/dev/shm").glob(f"hftpipe-{NAME}*"))


def test_a_session_of_one_venue_alone_replays_identical_too(tmp_path: Path) -> None:
    env, sessions = environment(tmp_path), tmp_path / "sessions"
    done = hftpipe(
        env, "run", *configs("paper", "risk_limits"), "--name", NAME, "--duration", "6", "--record", str(sessions),
        "--set", "pipeline.venue=binance_usdm", "--set", "live.simulated=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


def test_a_market_that_cannot_be_reached_is_named_and_nothing_is_traded(tmp_path: Path) -> None:
    done = hftpipe(
        environment(tmp_path), "run", *configs("paper", "risk_limits"), "--name", NAME, "--duration", "3",
        "--set", "pipeline.venue=binance_usdm", "--set", "live.server=http://127.0.0.1:9",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "connection 1: attempt 1 failed: ws://127.0.0.1:9: " in said and "Connection refused" in said
    assert "Traceback" not in said and "0 new" in done.stdout


def test_symbols_are_chosen_from_what_the_venue_lists(tmp_path: Path) -> None:
    config, out = tmp_path / "universe.toml", tmp_path / "out.json"
    config.write_text('[[universe]]\nsymbols = ["*USDT"]\nmost = 5\n')
    done = hftpipe(
        environment(tmp_path), "run", *configs("paper", "risk_limits"), "--config", str(config), "--name", NAME,
        "--duration", "10", "--json", str(out), "--set", "pipeline.venue=binance_usdm", "--set", "live.simulated=true",
        "--set", "live.connections=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert len(summary["instruments"]) == 5 and summary["books_not_valid"] == 0
    assert summary["counters"]["connection 2"]["messages"] > 0
