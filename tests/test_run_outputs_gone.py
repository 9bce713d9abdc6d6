"""Losing the log, the screen or the summary's file never ends trading and never changes what happens."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_run import LIMIT_S, REPO, assert_clean, command, run, stages_of

from hftpipe.app.outputs import Output
from hftpipe.app.summary_file import why_not_writable, write_summary
from hftpipe.core.machine.process import end_process
from hftpipe.core.shared.shm import live_pid

# Every line of the log, and changed parameters for more of them.
TALKATIVE = ("--set", "log.level=debug")


def summary_of(path: Path) -> dict:
    summary = json.loads(path.read_text())
    assert summary["orders"] > 0 and summary["halted"] is None and summary["exit_code"] == 0
    return summary


def until_alive(name: str, process: subprocess.Popen) -> None:
    """Wait until its stages run."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if live_pid(name) and len(stages_of(process)) == 4:
            time.sleep(1)
            return
        time.sleep(0.05)
    pytest.fail(f"did not start: {process.poll()}")


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_a_full_device_for_output_changes_nothing(tmp_path: Path, stream: str) -> None:
    out = tmp_path / "summary.json"
    flags = ("--duration", "2", "--json", str(out), *TALKATIVE)
    with open("/dev/full", "w") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: full}
        done = subprocess.run(command("t-full", *flags), timeout=LIMIT_S, cwd=REPO, **streams)
    assert done.returncode == 0
    summary = summary_of(out)
    assert (summary["lost_output"]["stderr"] > 0) == (stream == "stderr")
    assert_clean("t-full", [])


def test_a_pipe_whose_reader_has_gone_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "summary.json"
    reader, writer = os.pipe()
    process = subprocess.Popen(
        command("t-pipe", "--duration", "4", "--json", str(out), *TALKATIVE), stdout=writer, stderr=writer, cwd=REPO
    )
    os.close(writer)
    until_alive("t-pipe", process)
    os.close(reader)
    assert process.wait(LIMIT_S) == 0
    assert summary_of(out)["lost_output"]["stderr"] > 0
    assert_clean("t-pipe", [])


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    out = tmp_path / "summary.json"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    began = time.monotonic()
    flags = ("--duration", "3", "--json", str(out), *TALKATIVE)
    done = subprocess.run(command("t-stalled", *flags), stdout=writer, stderr=writer, cwd=REPO, timeout=LIMIT_S)
    assert done.returncode == 0 and time.monotonic() - began < LIMIT_S / 2
    assert summary_of(out)["lost_output"]["stderr"] > 0
    os.close(reader)
    os.close(writer)
    assert_clean("t-stalled", [])


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(tmp_path: Path, closed: str) -> None:
    out = tmp_path / "summary.json"
    line = " ".join(f"'{word}'" for word in command("t-closed", "--duration", "2", "--json", str(out)))
    done = subprocess.run(["sh", "-c", f"exec {line} {closed}"], cwd=REPO, timeout=LIMIT_S, capture_output=True)
    assert done.returncode == 0, done.stderr
    summary_of(out)
    assert_clean("t-closed", [])


class Terminal:
    """A run with a terminal of its own, read until it is closed."""

    def __init__(self, name: str, *flags: str) -> None:
        self.name = name
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(REPO)
            words = command(name, *flags)
            os.execv(words[0], words)
        self.text = b""

    def read_until(self, condition: Callable[[], bool]) -> None:
        os.set_blocking(self.fd, False)
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.text[-2000:]
            with suppress(BlockingIOError):
                self.text += os.read(self.fd, 65_536)
            time.sleep(0.01)

    def close(self) -> int:
        """Close the terminal: its exit code."""
        os.close(self.fd)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        pytest.fail("did not end")


def test_a_closed_terminal_is_an_ordinary_stop(tmp_path: Path) -> None:
    """SIGHUP, then EIO for every write, from the live view on."""
    out = tmp_path / "summary.json"
    terminal = Terminal("t-hup", "--json", str(out), *TALKATIVE)
    terminal.read_until(lambda: b"BTCUSDT" in terminal.text)
    assert terminal.close() == 0
    assert json.loads(out.read_text())["reason"] == "SIGHUP received"
    assert_clean("t-hup", [])


def test_a_terminal_that_is_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """Ctrl-S, or a window that hangs, under the live view."""
    out = tmp_path / "summary.json"
    terminal = Terminal("t-ctrl-s", "--json", str(out), "--duration", "6")
    terminal.read_until(lambda: b"BTCUSDT" in terminal.text)
    deadline = time.monotonic() + LIMIT_S
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert summary_of(out)["reason"] == "duration reached"
    assert terminal.close() == 0
    assert_clean("t-ctrl-s", [])


def test_a_second_signal_does_not_take_the_summary(tmp_path: Path) -> None:
    """A closed terminal sends SIGHUP twice; an impatient person presses Ctrl-C again."""
    out = tmp_path / "summary.json"
    process = subprocess.Popen(command("t-twosigs", "--json", str(out)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until_alive("t-twosigs", process)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) * 200:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        if process.poll() is not None:
            break
        time.sleep(0.003)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and b"run ended" in text
    assert json.loads(out.read_text())["reason"].endswith("received")
    assert_clean("t-twosigs", [])


# --- the summary's file ---------------------------------------------------------------------------------


def test_a_summary_that_cannot_be_written_at_the_end_is_on_standard_output_and_the_exit_code_tells() -> None:
    done = run("t-nojson", "--duration", "2", "--json", "/dev/full")
    assert done.returncode == 1 and "No space left on device; here it is:" in done.stdout
    summary = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert summary["orders"] > 0 and summary["exit_code"] == 0
    assert_clean("t-nojson", [])


def test_a_folder_that_vanishes_during_the_run_is_told_by_the_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    process = subprocess.Popen(
        command("t-vanish", "--duration", "3", "--json", str(folder / "s.json")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO,
    )  # fmt: skip
    until_alive("t-vanish", process)
    folder.rmdir()
    text, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "No such file or directory; here it is:" in text
    assert json.loads(text[text.index("\n{") :])["orders"] > 0


def test_where_a_summary_cannot_go_is_found_before_the_start(tmp_path: Path) -> None:
    assert "does not exist" in why_not_writable(str(tmp_path / "no" / "s.json"))
    assert "is a folder" in why_not_writable(str(tmp_path))
    assert "File name too long" in why_not_writable(str(tmp_path / ("x" * 300)))
    assert why_not_writable("/dev/null") == "" == why_not_writable(str(tmp_path / "s.json"))
    assert list(tmp_path.iterdir()) == []
    done = run("t-badjson", "--json", str(tmp_path))
    assert done.returncode == 2 and "is a folder" in done.stderr


def test_a_summary_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "s.json"
    assert write_summary(str(target), b"first") == "" and target.read_bytes() == b"first"

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        assert write_summary(str(target), b"second").endswith("No space left on device")
    assert target.read_bytes() == b"first"
    link = tmp_path / "link"
    link.symlink_to(target)
    assert write_summary(str(link), b"third") == "" and link.is_symlink() and target.read_bytes() == b"third"


# --- the parts ------------------------------------------------------------------------------------------


def test_an_output_counts_what_it_loses_and_goes_on_when_there_is_room_again() -> None:
    reader, writer = os.pipe()
    output = Output(writer)
    output.wait_s = 0.01
    while not output.lost:
        output.write("x" * 4096)
    assert output.write("lost") == 4 and output.lost == 2
    os.set_blocking(reader, False)
    with suppress(BlockingIOError):
        while True:
            os.read(reader, 65_536)
    output.write("kept ☃\n")
    assert os.read(reader, 100) == "kept ☃\n".encode() and output.lost == 2
    os.close(reader)
    output.write("nobody")
    os.close(writer)
    output.write("nowhere")
    assert output.lost == 4 and not output.isatty()


def test_an_encoding_that_does_not_have_a_character_loses_nothing() -> None:
    reader, writer = os.pipe()
    output = Output(writer, "ascii")
    output.write("a☃")
    assert os.read(reader, 100) == b"a\\u2603" and output.lost == 0
    os.close(reader)
    os.close(writer)


def test_a_child_whose_last_words_cannot_be_written_still_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

        flush = write

    pid = os.fork()
    if pid == 0:
        sys.stderr = Broken()
        try:
            raise ValueError
        finally:
            end_process(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_log_whose_stream_fails_counts_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from hftpipe import log

    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        logger_root = log.logging.getLogger()
        handlers, level, before = list(logger_root.handlers), logger_root.level, log.lost_records()
        try:
            log.setup("json", "info", full)
            log.event(log.logging.getLogger("hftpipe.test"), "info", "nobody hears")
        finally:
            logger_root.handlers[:] = handlers
            logger_root.setLevel(level)
        assert log.lost_records() == before + 1
        with suppress(OSError):
            full.close()
