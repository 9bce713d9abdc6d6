"""A start that is refused, or broken off, is one line and leaves nothing: no marker of a run, no process, no wrong number."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_run import LIMIT_S, MAIN, REPO, assert_clean, command, is_gone, run, stages_of

from hftpipe.app import precompile
from hftpipe.core.schema.records import EPOCH_MAX
from hftpipe.core.shared.shm import HEADER, MAGIC, segment_path


def refusal_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("error: "))


# --- what a refused start leaves ----------------------------------------------------------------------


def test_a_start_whose_session_cannot_be_made_leaves_no_run_under_way(own_state: Path) -> None:
    assert "/proc/x" in refusal_of(run("t-norecord", "--duration", "1", "--record", "/proc/x"))
    assert not (own_state / "t-norecord.run").exists()
    assert_clean("t-norecord", [])
    done = run("t-norecord", "--duration", "1")
    assert done.returncode == 0 and "did not end in order" not in done.stderr


def test_a_refused_start_does_not_take_the_news_of_a_killed_run_away(own_state: Path) -> None:
    own_state.mkdir(parents=True, exist_ok=True)
    (own_state / "t-news.run").write_text('{"epoch": 41}')
    refusal_of(run("t-news", "--duration", "1", "--record", "/proc/x"))
    assert json.loads((own_state / "t-news.run").read_text()) == {"epoch": 41}
    done = run("t-news", "--duration", "1")
    assert "did not end in order" in done.stderr and '"epoch":41' in done.stderr


def test_a_start_that_the_state_folder_refuses_marks_its_session_as_failed(own_state: Path, tmp_path: Path) -> None:
    (own_state / "t-nomark.run").mkdir(parents=True)
    assert "t-nomark.run" in refusal_of(run("t-nomark", "--duration", "1", "--record", str(tmp_path)))
    (facts,) = [json.loads(path.read_text()) for path in tmp_path.glob("*/session.json")]
    assert facts["state"] == "failed" and "t-nomark.run" in facts["cause"]


# --- a network that is not there ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["udp.embedded=false"], "udp.order_port = 0: an exchange elsewhere has one"),
        (["udp.port_a=0"], "udp.port_a = 0: out of range"),
        (["udp.interface=999.1.1.1"], "udp.interface = 999.1.1.1: not an IPv4 address"),
        (["udp.group_a=1.2.3.4"], "udp.group_a = 1.2.3.4: not such an address"),
        (["udp.interface=203.0.113.9"], "Cannot assign requested address"),
        (["udp.interface=203.0.113.9", "udp.embedded=false", "udp.order_port=5000"], "203.0.113.9"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_is_refused_in_one_line(settings: list[str], said: str) -> None:
    flags = [part for one in settings for part in ("--set", one)]
    done = run("t-network", "--duration", "1", "--venue", "udp", *flags)
    assert said in refusal_of(done)
    assert_clean("t-network", [])


# --- what a crashed run has left ----------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [2**63 - 1, 2**64 - 1])
def test_a_damaged_segment_does_not_number_the_runs_after_it(own_state: Path, epoch: int) -> None:
    header = np.zeros(1, HEADER)
    header["magic"], header["epoch"] = MAGIC, epoch
    segment_path("t-damaged").write_bytes(header.tobytes())
    done = run("t-damaged", "--duration", "1")
    assert done.returncode == 0 and f'"damaged_epoch":{epoch}' in done.stderr, done.stderr
    assert 0 < int((own_state / "t-damaged.epoch").read_text()) < EPOCH_MAX // 2


def test_a_folder_in_the_place_of_the_segment_is_refused_in_one_line() -> None:
    segment_path("t-folder").mkdir()
    try:
        assert str(segment_path("t-folder")) in refusal_of(run("t-folder", "--duration", "1"))
    finally:
        segment_path("t-folder").rmdir()


# --- a start that is broken off -----------------------------------------------------------------------


def test_a_start_that_is_ended_while_it_compiles_leaves_no_process(tmp_path: Path) -> None:
    environment = os.environ | {"HFTPIPE_CACHE_DIR": str(tmp_path)}
    process = subprocess.Popen(
        command("t-broken", "--duration", "1"), cwd=REPO, env=environment, stderr=subprocess.PIPE
    )
    deadline, workers = time.monotonic() + LIMIT_S, []
    while time.monotonic() < deadline and process.poll() is None and not workers:
        time.sleep(0.05)
        workers = stages_of(process)
    # A worker is Python that still imports: it must see that its parent has gone, however early that was.
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all(map(is_gone, workers)):
        time.sleep(0.05)
    assert workers and all(map(is_gone, workers))
    assert not list(tmp_path.rglob("compiled-*"))


@pytest.mark.parametrize("works", [True, False])
def test_a_build_counts_as_compiled_only_when_all_of_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    monkeypatch.setattr(precompile, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(precompile, "UNITS", (("json",), ("json" if works else "no_such_module_anywhere",)))
    monkeypatch.setattr(precompile, "compiled_by", lambda name: ())
    precompile.precompile(["no_such_strategy"], ["paper"])
    assert precompile.is_warm(["paper"]) == works, "an author's mistake is none of the build's"


IMPORTING = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "hftpipe.cli.run":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
"""


def test_a_ctrl_c_while_python_imports_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTING + MAIN, "run"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT and err == ""


def test_importing_the_command_line_leaves_ctrl_c_as_it_was() -> None:
    code = "import signal, hftpipe.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPO, text=True) == "True\n"
