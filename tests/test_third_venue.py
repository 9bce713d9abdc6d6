"""A venue of one module outside the package and one line that registers it runs through the whole product."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MAIN = "from hftpipe.cli import main; main()"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment in which the venue is installed: its module, and the entry point that names it."""
    shutil.copy(HERE / "third_venue.py", tmp_path)
    info = tmp_path / "third_venue-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-venue\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hftpipe.venues]\nthird = third_venue:VENUE\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def hftpipe(environment: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *flags], capture_output=True, text=True, timeout=300, env=environment
    )


def test_a_third_venue_trades_records_and_replays(installed: dict[str, str], tmp_path: Path) -> None:
    out, sessions = tmp_path / "summary.json", tmp_path / "sessions"
    done = hftpipe(
        installed, "run", "--name", "t-third", "--venue", "third", "--duration", "4", "--json", str(out),
        "--record", str(sessions),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(out.read_text())
    assert summary["orders"] > 0 and summary["fills"] > 0 and summary["faults"] == {}, done.stdout
    assert summary["counters"]["feed"]["ticks"] > 1000 and "the walk has begun" in done.stderr
    assert summary["stop"]["still_open"] == [] and summary["orders_to"] == "orders to a counter"
    (session,) = sessions.iterdir()
    verified = hftpipe(installed, "replay", str(session), "--verify")
    assert verified.returncode == 0 and "identical" in verified.stdout.lower(), verified.stdout + verified.stderr


def test_a_venue_nobody_has_installed_is_refused_with_those_there_are(installed: dict[str, str]) -> None:
    refused = hftpipe(installed, "run", "--name", "t-fourth", "--venue", "fourth", "--duration", "1")
    assert refused.returncode == 2
    assert "pipeline.venue = fourth: no such venue" in refused.stderr and "(third)" in refused.stderr


def world(environment: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hftpipe.simulation.world", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_the_world_stands_between_a_third_venue_and_its_gateway(installed: dict[str, str]) -> None:
    held = world(installed, "--venue", "third", "--seeds", "40")
    assert held.returncode == 0 and held.stdout.startswith("40 seeds, 0 failed"), held.stdout + held.stderr
    requests, fills = (int(word) for word in re.findall(r"(\d+) (?:requests|fills)", held.stdout))
    assert requests > 500 and fills > 20
    for bug in ("gateway_counts_repeated_fills", "gateway_ignores_halt"):
        caught = world(installed, "--venue", "third", "--seeds", "40", "--mutant", bug)
        assert caught.returncode == 0, f"{bug}: {caught.stdout}{caught.stderr}"


@pytest.mark.parametrize(("venue", "why"), [("fourth", "no such venue"), ("sim", "no orders of its own")])
def test_the_world_refuses_a_venue_that_it_cannot_stand_before(installed: dict[str, str], venue: str, why: str) -> None:
    refused = world(installed, "--venue", venue, "--seed", "1")
    assert refused.returncode == 2 and why in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
