"""A recording that failed says so: in the exit code, in the summary, and in session.json, which never stays "recording"."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_run import assert_clean, run, start

from hftpipe.app import recording as record_process
from hftpipe.app.recording import Recording
from hftpipe.core.machine import process as process_module
from hftpipe.core.shared.shm import Segment
from hftpipe.record.replay.verify import replay_main
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.reader import open_session
from hftpipe.record.tape.recorder import RECORDER
from hftpipe.record.tape.session import COMPLETE, FAILED, INCOMPLETE, RECORDING, SESSION_FILE, SPARE_FILE

SMALL = ("--set", "rings.tape=4096", "--set", "record.buffer_mb=1", "--set", "market.book_levels=1024")


def recorder_of(name: str) -> int:
    """Process id of a running pipeline's recorder, when it records."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        segment = Segment.attach(name)
        status = segment.record("recorder", RECORDER)
        if int(status["pid"][0]) and int(status["rounds"][0]) > 10:
            return int(status["pid"][0])
        time.sleep(0.05)
    raise AssertionError("the recorder did not start")


def session_of(folder: Path) -> Path:
    (found,) = [path for path in folder.iterdir() if path.is_dir()]
    return found


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def test_a_recorder_that_is_killed_fails_the_run_and_its_session(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    process = start("t-reckill", "--record", str(tmp_path / "rec"), "--json", str(out), *SMALL)
    os.kill(recorder_of("t-reckill"), signal.SIGKILL)
    time.sleep(0.5)
    code, text = end(process)
    assert code == 1 and "died: killed by SIGKILL" in text and "INCOMPLETE: the recorder (pid" in text
    recording = json.loads(out.read_text())["recording"]
    assert not recording["complete"] and "killed by SIGKILL" in recording["cause"]
    session = open_session(session_of(tmp_path / "rec"))
    assert session.header["state"] == FAILED and session.header["cause"] == recording["cause"]
    with pytest.raises(RecordError, match=r"it is failed: the recorder \(pid \d+\) died: killed by SIGKILL"):
        replay_main(str(session.path), True, None, {}, False)
    assert_clean("t-reckill", [])


def test_a_recorder_that_does_not_go_on_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    process = start("t-recstop", "--record", str(tmp_path / "rec"), *SMALL)
    pid = recorder_of("t-recstop")
    os.kill(pid, signal.SIGSTOP)
    code, text = end(process)
    assert code == 1 and f"the recorder (pid {pid}) did not end and was killed" in text
    assert open_session(session_of(tmp_path / "rec")).header["state"] == FAILED
    assert_clean("t-recstop", [pid])


def test_a_run_whose_processes_are_all_killed_leaves_a_session_that_was_not_closed(tmp_path: Path) -> None:
    process = start("t-recall", "--record", str(tmp_path / "rec"), *SMALL)
    os.kill(recorder_of("t-recall"), signal.SIGKILL)
    process.kill()
    process.communicate(timeout=60)
    session = open_session(session_of(tmp_path / "rec"))
    assert session.header["state"] == RECORDING
    with pytest.raises(RecordError, match="cannot be replayed: it was not closed: its run was killed, or goes on"):
        replay_main(str(session.path), True, None, {}, False)
    Path("/dev/shm/hftpipe-t-recall").unlink(missing_ok=True)


def test_a_whole_recording_ends_with_0_and_keeps_no_spare_room(tmp_path: Path) -> None:
    done = run("t-recwhole", "--duration", "1", "--record", str(tmp_path / "rec"), *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    session = session_of(tmp_path / "rec")
    assert open_session(session).header["state"] == COMPLETE and not (session / SPARE_FILE).exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_run_and_session_json_says_so_all_the_same(small_disk: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    process = start("t-recfull", "--record", str(small_disk), "--json", str(out), *SMALL)
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline and int(Segment.attach("t-recfull").record("recorder", RECORDER)["errno"][0]) == 0
    ):
        time.sleep(0.1)
    # Whatever room the tapes gave back is taken too.
    with open(small_disk / "more", "wb", buffering=0) as more:
        try:
            while True:
                more.write(bytes(512))
        except OSError:
            os.fstat(more.fileno())
    code, text = end(process)
    assert code == 1 and "INCOMPLETE: No space left on device" in text
    header = open_session(session_of(small_disk)).header
    assert header["state"] == INCOMPLETE and "No space left on device" in header["cause"]
    summary = json.loads(out.read_text())
    assert summary["exit_code"] == 1 and summary["orders"] > 0 and summary["halted"] is None
    assert_clean("t-recfull", [])


# --- a disk that never answers: the process cannot even be killed ---------------------------------------


NO_STRATEGIES: Any = SimpleNamespace(names=[], seat_rows=lambda: [])
#: As it is before a test replaces it.
SEND = os.kill


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A child process that is still there after it was killed, as one that waits for a device is."""
    child = subprocess.Popen(["sleep", "600"])
    yield child.pid
    SEND(child.pid, signal.SIGKILL)
    child.wait()


@pytest.fixture
def no_kill(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    killed: list[int] = []
    monkeypatch.setattr(process_module.os, "kill", lambda pid, _: killed.append(pid))
    monkeypatch.setattr(process_module, "KILL_LIMIT_NS", 50_000_000)
    monkeypatch.setattr(record_process, "CLOSE_NS", 50_000_000)
    monkeypatch.setattr(record_process, "FINAL_DRAIN_NS", 0)
    return killed


def test_a_recorder_that_cannot_be_killed_is_left_behind_and_named(
    sleeper: int, no_kill: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []
    recording = Recording.__new__(Recording)
    recording.folder, recording.pid, recording._cause, recording._pipeline = tmp_path, sleeper, "", NO_STRATEGIES
    recording._recorder = SimpleNamespace(request_stop=lambda: stopped.append(True))
    began = time.monotonic()
    left = recording.stop()
    assert time.monotonic() - began < 30 and stopped == [True] and no_kill == [sleeper]
    assert left == f"the recorder (pid {sleeper}) did not end and was killed; it has not gone"
    monkeypatch.undo()


def test_a_disk_that_does_not_take_the_note_either_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_process, "NOTE_LIMIT_S", 0.05)
    monkeypatch.setattr(record_process, "mark_failed", lambda *_: time.sleep(1))
    recording = Recording.__new__(Recording)
    recording.folder, recording.pid, recording._cause = tmp_path, 0, "the recorder died"
    recording._pipeline = NO_STRATEGIES
    assert recording.stop() == ""
    assert not (tmp_path / SESSION_FILE).exists()
