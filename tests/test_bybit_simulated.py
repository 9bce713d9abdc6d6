"""A run that brings its simulated Bybit along: over real sockets, beside Binance too, recorded and replayed."""

import json
import os
from pathlib import Path

import pytest
from running import configs, hftpipe

NAME = "t-bybit"


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state")}


def replays_identical(env: dict[str, str], sessions: Path) -> None:
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


@pytest.mark.parametrize("venue", ["bybit_linear", "bybit_spot"])
def test_a_category_trades_on_paper_and_its_session_replays_identical(tmp_path: Path, venue: str) -> None:
    env, out, sessions = environment(tmp_path), tmp_path / "out.json", tmp_path / "sessions"
    done = hftpipe(
        env, "run", *configs("paper", "risk_limits"), "--name", NAME, "--duration", "8", "--json", str(out),
        "--record", str(sessions), "--set", f"pipeline.venue={venue}", "--set", "live.simulated=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert summary["books_not_valid"] == 0 and not summary["faults"] and summary["orders"] > 0
    counted = summary["counters"]["market_data"]
    assert counted["book_updates"] > 20 and counted["top_updates"] > 20 and counted["trades"] > 0
    assert counted["bad_messages"] == counted["invalidations"] == 0
    replays_identical(env, sessions)
    assert not list(Path("/dev/shm").glob(f"hftpipe-{NAME}*"))


def test_binance_and_bybit_trade_at_once_and_their_session_replays_identical(tmp_path: Path) -> None:
    env, out, sessions = environment(tmp_path), tmp_path / "out.json", tmp_path / "sessions"
    files = configs("paper", "risk_limits", "binance_bybit_simulated")
    done = hftpipe(
        env, "run", *files, "--name", NAME, "--duration", "12", "--json", str(out), "--record", str(sessions)
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    summary = json.loads(out.read_text())
    assert set(summary["instruments"]) == {"binance:BTCUSDT", "bybit:BTCUSDT"}
    assert all(one["state"] == "VALID" and one["mid"] > 0 for one in summary["instruments"].values())
    assert summary["books_not_valid"] == 0 and not summary["faults"] and summary["orders"] > 0
    assert "binance_usdm simulated; bybit_linear simulated" in said and "Traceback" not in said
    replays_identical(env, sessions)


def test_symbols_are_chosen_from_what_the_venue_lists_and_shared_out(tmp_path: Path) -> None:
    config, out = tmp_path / "universe.toml", tmp_path / "out.json"
    config.write_text('[[universe]]\nsymbols = ["*USDT"]\nmost = 5\n')
    done = hftpipe(
        environment(tmp_path), "run", *configs("paper", "risk_limits"), "--config", str(config), "--name", NAME,
        "--duration", "10", "--json", str(out), "--set", "pipeline.venue=bybit_spot", "--set", "live.simulated=true",
        "--set", "live.connections=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert len(summary["instruments"]) == 5 and summary["books_not_valid"] == 0
    assert summary["counters"]["connection 2"]["messages"] > 0


def test_a_venue_that_cannot_be_reached_is_named_and_nothing_is_traded(tmp_path: Path) -> None:
    done = hftpipe(
        environment(tmp_path), "run", *configs("paper", "risk_limits"), "--name", NAME, "--duration", "3",
        "--set", "pipeline.venue=bybit_linear", "--set", "live.server=http://127.0.0.1:9",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "connection 1: attempt 1 failed: ws://127.0.0.1:9: " in said and "Connection refused" in said
    assert "Traceback" not in said and "0 new" in done.stdout
