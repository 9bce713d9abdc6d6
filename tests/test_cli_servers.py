"""``hftpipe sim-exchange``, ``record --raw`` and ``check-raw``, as processes on loopback."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ouch_rig import free_port, wait_for
from typer.testing import CliRunner
from usdm_tape import opened

from hftpipe.capture.raw import RAW_HEADER, RawReader, RawWriter
from hftpipe.cli import app
from hftpipe.core.schema.records import BUY

ROOT = Path(__file__).resolve().parents[1]
# A cold start compiles the exchange first.
STARTED_S = 240.0


class Process:
    """A running command; its output so far in ``text``."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-u", "-c", "from hftpipe.cli import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        self.text = ""

    def until(self, word: str) -> str:
        """Read until ``word`` has come."""

        def seen() -> bool:
            if select.select([self.process.stdout], [], [], 0.05)[0]:
                self.text += os.read(self.process.stdout.fileno(), 65_536).decode()
            assert word in self.text or self.process.poll() is None, self.text
            return word in self.text

        wait_for(seen, STARTED_S)
        return self.text

    def end(self, number: int | None = None) -> tuple[int, str]:
        """(exit code, whole output) after it has ended, of itself or by signal ``number``."""
        if number is not None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        self.text += rest.decode()
        return self.process.returncode, self.text


@pytest.fixture
def start() -> Iterator[type[Process]]:
    made: list[Process] = []

    def make(*arguments: object) -> Process:
        made.append(Process(*arguments))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Lines and a re-request port of this test's own."""
    file = tmp_path / "lines.toml"
    file.write_text(
        f'[udp]\ngroup_a = "239.192.7.1"\nport_a = {free_port()}\ngroup_b = "239.192.7.2"\nport_b = {free_port()}\n'
        f"request_port = {free_port()}\n"
    )
    return file


def request_port(config: Path) -> int:
    return int(config.read_text().split()[-1])


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def figure(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == name)


@pytest.fixture
def session(start, config: Path, tmp_path: Path) -> Path:
    """Two seconds of bad lines, captured by one who came late."""
    ports, raw = tmp_path / "ports", tmp_path / "lines.raw"
    bad = ("--loss-a", 0.1, "--loss-b", 0.1, "--dup-a", 0.1, "--reorder-b", 0.1, "--delay-b-us", 100)
    exchange = start(
        "sim-exchange", "--protocol", "itch", "-c", config, "--request-port", request_port(config), "--rate", 2000,
        "--ports-file", ports, *bad,
    )  # fmt: skip
    assert "open: " in exchange.until("request_port=")
    assert f"request_port={request_port(config)}\n" in ports.read_text()
    code, text = start("record", "--raw", raw, "-c", config, "--duration", 2).end()
    assert code == 0 and "0 frames dropped" in text, text
    code, text = exchange.end(signal.SIGINT)
    assert code == 0 and "flow_events=" in text, text
    return raw


def test_what_a_late_capture_of_bad_lines_holds_rebuilds_valid_books(session: Path, config: Path) -> None:
    reader = RawReader(session)
    assert reader.is_closed and {frame.source for frame in reader} == {"A", "B", "R"}
    code, text = invoke("check-raw", session, "-c", config)
    assert code == 0, text
    assert figure(text, "messages") > 1000 and figure(text, "missing") == 0 and figure(text, "damages") == 0
    assert figure(text, "holes") > 0 and figure(text, "trades") > 0 and figure(text, "datagrams") == reader.frames
    (book,) = [line.split() for line in text.splitlines() if line.startswith("book ")]
    assert book[1:3] == ["BTCUSDT", "VALID"] and 0 < float(book[4]) < float(book[8])

    # The same without what had been asked for, and with a byte changed.
    holed = session.with_name("holed.raw")
    with RawWriter(holed) as writer:
        for frame in reader:
            if frame.source != "R":
                writer.append(frame.receive_ns, frame.source, frame.data)
    code, text = invoke("check-raw", holed, "-c", config)
    assert code == 1 and figure(text, "missing") > 0 and "are not in the capture" in text
    data = bytearray(session.read_bytes())
    data[RAW_HEADER.itemsize + 200] ^= 1
    damaged = session.with_name("damaged.raw")
    damaged.write_bytes(data)
    code, text = invoke("check-raw", damaged, "-c", config)
    assert code == 1 and "problem: " in text


def test_a_capture_from_the_start_needs_no_server_and_ends_with_its_session(
    start, config: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "lines.raw"
    config.write_text("\n".join(config.read_text().splitlines()[:-1]) + "\n")
    recorder = start("record", "--raw", raw, "-c", config)
    recorder.until("capturing")
    exchange = start("sim-exchange", "--protocol", "itch", "-c", config, "--duration", 1)
    assert exchange.end()[0] == 0
    code, text = recorder.end(signal.SIGTERM)
    assert code == 0 and "line R" not in text, text
    code, text = invoke("check-raw", raw, "-c", config)
    assert code == 0 and "the session has ended" in text and figure(text, "missing") == 0, text


def test_a_capture_is_played_as_the_market_and_ends_the_session(start, config: Path, tmp_path: Path) -> None:
    tape = opened().trade("100.01", "5", BUY).depth([["99.97", "1"]], [["100.01", "0"]]).write(tmp_path)
    lines = config.read_text().splitlines()[:-1]
    row = 'symbol = "TEST"\ntick_size = "0.01"\nlot_size = "1"\nmin_notional = "5"\nreference_price = "100"'
    config.write_text("\n".join([*lines, "[[instruments]]", row]) + "\n")
    recorder = start("record", "--raw", tmp_path / "lines.raw", "-c", config)
    recorder.until("capturing")
    code, text = start("sim-exchange", "--protocol", "itch", "-c", config, "--replay", tape, "--speed", 0.5).end()
    assert code == 0 and "depth_updates=1 reloads=2 trades=1" in text and "damages=0" in text, text
    recorder.end(signal.SIGTERM)
    code, text = invoke("check-raw", tmp_path / "lines.raw", "-c", config)
    assert code == 0 and "the session has ended" in text and figure(text, "missing") == 0, text
    (book,) = [line.split() for line in text.splitlines() if line.startswith("book ")]
    assert (book[1], float(book[4]), float(book[8])) == ("TEST", 100.0, 100.02)


def test_a_capture_that_is_cut_off_is_played_so_far_and_fails(start, config: Path, tmp_path: Path) -> None:
    tape = opened()
    tape.lines.append("\0")
    code, text = start("sim-exchange", "--protocol", "itch", "-c", config, "--replay", tape.write(tmp_path)).end()
    assert code == 1 and "reloads=2" in text and "problem: " in text and "zero byte" in text, text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--replay", "/nonexistent/x.gz"), "market.replay = /nonexistent/x.gz: no such readable path"),
        (("--replay", __file__), "no local time in ns"),
        (("--replay", "TAPE", "--rate", 5), "--rate 5"),
        (("--replay", "TAPE", "--speed", 0), "--speed 0"),
    ],
)
def test_a_capture_that_cannot_be_played_is_refused_in_one_line(flags, message: str, tmp_path: Path) -> None:
    tape = opened().write(tmp_path)
    code, text = invoke("sim-exchange", "--protocol", "itch", *(tape if flag == "TAPE" else flag for flag in flags))
    assert code == 2 and message in text and text.strip().splitlines()[-1].startswith("error: "), text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sim-exchange", "--protocol", "fix"), "allowed: itch, binance"),
        (("sim-exchange", "--protocol", "itch", "--group-a", "10.0.0.1"), "not a multicast address"),
        (("sim-exchange", "--protocol", "itch", "--interface", "nowhere"), "not an IPv4 address"),
        (("sim-exchange", "--protocol", "itch", "--loss-a", "1.5"), "not in 0..1"),
        (("sim-exchange", "--protocol", "itch", "--rate", "nan"), "--rate nan"),
        (("sim-exchange", "--protocol", "itch", "--speed", "-1"), "--speed -1"),
        (("sim-exchange", "--protocol", "itch", "--cpu", "9999"), "--cpu 9999"),
        (("sim-exchange", "--protocol", "itch", "--store-messages", "5000"), "--store-messages 5000: a power of two"),
        (("sim-exchange", "--protocol", "itch", "--store-messages", "512"), "from 1024 to"),
        (("sim-exchange", "--protocol", "itch", "--ports-file", "/nonexistent/ports"), "/nonexistent/ports"),
        (("record",), "hftpipe run --record DIR"),
        (("record", "--raw", "/nonexistent/x.raw"), "cannot be written"),
        (("check-raw", __file__), "not a raw capture"),
    ],
)
def test_bad_flags_are_refused_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, text = invoke(*arguments)
    assert code == 2 and message in text and len(text.strip().splitlines()) == 1, text


def test_a_port_taken_is_named(config: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        code, text = invoke("sim-exchange", "--protocol", "itch", "-c", config, "--order-port", port)
    assert code == 2 and str(port) in text and len(text.strip().splitlines()) == 1, text


def test_a_capture_of_something_else_is_refused(tmp_path: Path) -> None:
    with RawWriter(tmp_path / "other.raw") as writer:
        writer.append(1, "binance", b"{}")
    code, text = invoke("check-raw", tmp_path / "other.raw")
    assert code == 2 and "'binance'" in text


def test_an_empty_capture_proves_nothing(tmp_path: Path) -> None:
    RawWriter(tmp_path / "empty.raw").close()
    code, text = invoke("check-raw", tmp_path / "empty.raw")
    assert code == 1 and "no message" in text
