"""``hftpipe replay`` on recorded sessions: identical or refused, and every difference named (a recording is evidence)."""

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import DATA, needs_data
from record_files import append
from typer.testing import CliRunner

from hftpipe.cli import app
from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.schema.records import NEW, RECORD, REPLACE, SCHEMA_VERSION
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.tape import TAPE_GAP
from hftpipe.record.replay.compare import MARKET_KINDS, first_difference, of_kinds, order_changes
from hftpipe.record.replay.rebuild import config_from
from hftpipe.record.replay.verify import replay_main
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.reader import open_session
from hftpipe.record.tape.recorder import RECORDER
from hftpipe.record.tape.session import COMPLETE, SESSION_FILE, read_session, write_session
from hftpipe.record.tape.writer import TapeWriter

ROOT = Path(__file__).resolve().parents[1]
CAPTURE = DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
CAPTURE_NS = 20_000_000_000
QUICK = ("--set", "strategy.params.reprice_threshold=0", "--set", "market.event_rate_per_s=4000")


def record_run(
    folder: Path, *arguments: str, name: str = f"test-replay-{os.getpid()}", code: int = 0
) -> dict[str, Any]:
    """Record a run of the product in a process of its own, which ends with ``code``: the summary."""
    files = [text for name in ("paper", "risk_limits") for text in ("--config", str(ROOT / "configs" / f"{name}.toml"))]
    command = [
        sys.executable, "-c", "from hftpipe.cli import main; main()", "run", *files, "--record", str(folder),
        "--name", name, "--json", str(folder / "summary.json"), *arguments,
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HFTPIPE_STATE_DIR": str(folder / "state")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=ROOT)
    assert done.returncode == code, done.stderr[-3000:]
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of three recorded seconds of the synthetic market."""
    return record_run(tmp_path_factory.mktemp("recorded"), "--duration", "3", "--processes", "1", *QUICK)


@pytest.fixture(scope="module")
def session(recorded: dict[str, Any]) -> Path:
    return Path(recorded["recording"]["session"])


def copy_of(
    session: Path,
    folder: Path,
    change: Callable[[dict[str, np.ndarray]], None] = lambda tapes: None,
    header: Callable[[dict[str, Any]], None] = lambda facts: None,
    lost: dict[str, int] | None = None,
) -> Path:
    """A session like ``session``, written by the product's own writer (all checksums right), with something changed."""
    source, facts = open_session(session), read_session(session)
    tapes = {stage: source.records(stage).array() for stage in source.stages}
    change(tapes)
    header(facts)
    folder.mkdir()
    totals = {}
    for stage, rows in tapes.items():
        writer = TapeWriter(folder, stage, facts["session_id"], facts["epoch"])
        writer.open()
        append(writer, rows)
        writer.close((lost or {}).get(stage, 0))
        totals[stage] = writer.totals()
    write_session(folder, {**facts, "totals": totals, "state": COMPLETE})
    return folder


def verify(session: Path, force: bool = False) -> int:
    return replay_main(str(session), True, None, {}, force)


# --- identical -------------------------------------------------------------------------------------


def test_a_recorded_run_says_so_and_loses_nothing(recorded: dict[str, Any]) -> None:
    recording = recorded["recording"]
    assert recording["complete"] and set(recording["lost"].values()) == {0} == set(recording["untaken"].values())
    assert all(count > 0 for count in recording["records"].values())
    assert {f"tape.{stage}" for stage in recording["records"]} <= set(recorded["drops"])


def test_a_dead_recorder_does_not_stop_trading_and_is_shown(tmp_path: Path) -> None:
    folder, name = tmp_path / "killed", f"test-killed-{os.getpid()}"

    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            # The recorder has made its first file, so it is there; what it is called is in the pipeline's memory.
            if any(folder.glob("*/gateway-*.tape")):
                pid = int(Segment.attach(name).record("recorder", RECORDER)["pid"][0])
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = record_run(folder, "--duration", "3", "--processes", "1", *QUICK, name=name, code=1)
    killer.join()
    assert summary["reason"] == "duration reached" and summary["halted"] is None and summary["events"] > 1000
    recording = summary["recording"]
    assert not recording["complete"] and recording["untaken"]["market_data"] > 0
    assert summary["counters"]["market_data"]["records"] == (
        recording["records"]["market_data"] + recording["untaken"]["market_data"] + recording["lost"]["market_data"]
    )
    with pytest.raises(RecordError, match=r"cannot be replayed: it is failed: the recorder .* killed by SIGKILL"):
        verify(Path(recording["session"]))


def test_a_recorded_run_replays_identically(
    recorded: dict[str, Any], session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(session) == 0
    text = capsys.readouterr().out
    sent = recorded["orders"] + recorded["replaces"] + recorded["cancels"]
    assert sent > 0
    assert text.startswith(f"identical: {recorded['intents']} intents, ") and " orders, " in text


@pytest.mark.parametrize(("transport", "receive"), [("udp", "auto"), ("tcp", "socket")])
def test_a_run_on_the_udp_venue_replays_identically_with_the_answers_of_its_venue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], transport: str, receive: str
) -> None:
    given = (f"udp.transport={transport}", f"udp.receive={receive}", "udp.kernel_stamps=true", QUICK[1], QUICK[3])
    settings = [text for setting in given for text in ("--set", setting)]
    summary = record_run(tmp_path, "--duration", "3", "--processes", "1", "--venue", "udp", *settings)
    assert summary["orders"] > 0 and summary["fills"] > 0
    assert summary["latency_ns"]["kernel_to_market"]["count"] > 1000
    assert verify(Path(summary["recording"]["session"])) == 0
    out = capsys.readouterr().out
    reports = int(re.search(r"^identical: .* (\d+) reports", out).group(1))
    assert reports >= summary["orders"]


def test_nothing_replayed_is_a_difference_only_when_something_was_recorded() -> None:
    none, one = np.zeros(0, RECORD), np.zeros(1, RECORD)
    assert [first_difference(*pair) for pair in ((none, none), (one, none), (none, one), (one, one))] == [-1, 0, -1, -1]


def test_stages_in_two_processes_replay_identically(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = record_run(tmp_path / "two", "--duration", "3", "--processes", "2", *QUICK)
    assert verify(Path(summary["recording"]["session"])) == 0
    assert summary["orders"] > 0 and "identical" in capsys.readouterr().out


@needs_data
def test_a_replayed_capture_replays_identically(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "capture"
    with gzip.open(CAPTURE, "rb") as source:
        first = int(source.readline().split()[0])
        source.seek(0)
        lines = itertools.takewhile(lambda line: int(line.split()[0]) < first + CAPTURE_NS, source)
        part.write_bytes(b"".join(lines))
    summary = record_run(tmp_path / "r", "--replay", str(part), "--speed", "max", "--processes", "2")
    assert summary["recording"]["records"]["market_data"] > 1000 and summary["orders"] > 0
    assert verify(Path(summary["recording"]["session"])) == 0
    assert "identical" in capsys.readouterr().out


def test_the_command_line_verifies(session: Path) -> None:
    result = CliRunner().invoke(app, ["replay", str(session), "--verify"])
    assert result.exit_code == 0 and result.stdout.startswith("identical: ")


def test_the_configuration_comes_back_as_it_was(session: Path) -> None:
    facts = read_session(session)
    config = config_from(facts["config"])
    assert config.fingerprint() == facts["fingerprint"] and config.as_dict() == facts["config"]
    with pytest.raises(RecordError, match="recorded configuration"):
        config_from({**facts["config"], "sim": {"queue": "unknown"}})


# --- different -------------------------------------------------------------------------------------


def test_a_changed_intent_is_shown_beside_the_replayed_one(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places: list[int] = []

    def change(tapes: dict[str, np.ndarray]) -> None:
        risk = tapes["risk"]
        places.extend(np.flatnonzero((risk["kind"] >= NEW) & (risk["kind"] <= REPLACE))[5:6])
        risk["price"][places[0]] += 10_000_000

    assert verify(copy_of(session, tmp_path / "changed", change)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("DIFFERENT") and "intents[5] (strategy to risk)" in lines[1]
    assert "recorded: " in lines[2] and "replayed: " in lines[3] and lines[4].strip() == "fields: price"
    assert sum("    strategy[" in line for line in lines) == 6
    assert any(line.startswith(f"    risk[{places[0]}]") for line in lines)


def test_another_parameter_in_the_session_is_found(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def header(facts: dict[str, Any]) -> None:
        facts["config"]["strategy"]["params"]["order_size"] = 0.002
        facts["fingerprint"] = config_from(facts["config"]).fingerprint()

    assert verify(copy_of(session, tmp_path / "changed", header=header)) == 1
    assert "intents[0]" in capsys.readouterr().out


def test_an_input_that_was_left_out_is_found(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(tapes: dict[str, np.ndarray]) -> None:
        places = of_kinds(tapes["strategy"], MARKET_KINDS)
        tapes["strategy"] = np.delete(tapes["strategy"], places[len(places) // 2])

    assert verify(copy_of(session, tmp_path / "changed", change)) == 1
    assert "market[" in capsys.readouterr().out


# --- refused ---------------------------------------------------------------------------------------


def test_lost_records_are_refused_by_name(session: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"the tape of gateway has lost 3 records.*--force"):
        verify(copy_of(session, tmp_path / "lost", lost={"gateway": 3}))


def test_a_gap_is_refused_with_its_place(session: Path, tmp_path: Path) -> None:
    def change(tapes: dict[str, np.ndarray]) -> None:
        mark = np.zeros(1, tapes["risk"].dtype)
        mark["kind"], mark["id"] = TAPE_GAP, 17
        tapes["risk"] = np.concatenate([tapes["risk"][:4], mark, tapes["risk"][21:]])

    with pytest.raises(RecordError, match=r"tape of risk has lost 17 records \(17 before record 5\)"):
        verify(copy_of(session, tmp_path / "gap", change, lost={"risk": 17}))


def test_another_build_is_refused_unless_forced(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of(session, tmp_path / "other", header=lambda facts: facts.update(build="0" * 64))
    with pytest.raises(
        RecordError,
        match=rf"recorded by build 000000000000, this is build {BUILD_HASH[:12]} \(both of schema {SCHEMA_VERSION}\)",
    ):
        verify(copy)
    assert verify(copy, force=True) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [(), ("--verify",), ("--verify", "--force"), ("--strategy", "momentum", "--force")]
)
def test_a_session_of_another_schema_is_refused_by_name_even_if_forced(
    session: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def header(facts: dict[str, Any]) -> None:
        facts.update(schema=SCHEMA_VERSION - 1, build="1" * 64)

    copy = copy_of(session, tmp_path / "old", header=header)
    result = CliRunner().invoke(app, ["replay", str(copy), *arguments])
    assert result.exit_code == 2 and "identical" not in result.output
    assert result.output.strip() == (
        f"error: {copy}: a session of schema {SCHEMA_VERSION - 1}, recorded by build 111111111111; this is build "
        f"{BUILD_HASH[:12]}, which reads schema {SCHEMA_VERSION}: it has to be recorded again"
    )


def test_a_changed_strategy_source_is_refused(session: Path, tmp_path: Path) -> None:
    copy = copy_of(session, tmp_path / "s", header=lambda facts: facts["strategies"][0].update(source_hash="0" * 64))
    with pytest.raises(RecordError, match=r"market_making\.py has changed since"):
        verify(copy)


@pytest.mark.parametrize("stage", ["market_data", "strategy", "risk", "gateway"])
def test_a_flipped_byte_is_named(session: Path, tmp_path: Path, stage: str) -> None:
    copy = copy_of(session, tmp_path / "flipped")
    path = copy / f"{stage}-000001.tape"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(RecordError, match=rf"{stage}-000001\.tape: corrupt at block \d+, byte \d+"):
        verify(copy)
    result = CliRunner().invoke(app, ["replay", str(copy), "--verify"])
    assert result.exit_code == 2 and f"{stage}-000001.tape" in result.output


def test_an_unfinished_recording_is_refused(session: Path, tmp_path: Path) -> None:
    copy = copy_of(session, tmp_path / "torn")
    facts = read_session(copy)
    write_session(copy, {key: value for key, value in facts.items() if key != "totals"} | {"state": "recording"})
    with pytest.raises(RecordError, match="cannot be replayed: it was not closed"):
        verify(copy)


def test_a_key_that_is_no_parameter_is_refused(session: Path) -> None:
    with pytest.raises(RecordError, match=r"strategy\.params\.KEY only"):
        replay_main(str(session), False, None, {"sim.latency_new_us": "1"}, False)


def test_a_folder_that_is_no_session_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "none"), "--verify"])
    assert result.exit_code == 2 and SESSION_FILE not in result.output and "is not a session folder" in result.output


# --- another strategy ------------------------------------------------------------------------------


def test_the_same_strategy_sends_the_same_orders(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_main(str(session), False, "market_making", {}, False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "orders: 0 added, 0 missing, 0 changed"
    assert lines[2].split(": ", 1)[1] == lines[3].split(": ", 1)[1] and "pnl realised" in lines[2]


def test_another_parameter_changes_the_orders_and_the_account(
    session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"strategy.params.order_size": "0.002"}
    assert replay_main(str(session), False, None, given, False) == 0
    text = capsys.readouterr().out
    assert "qty 0.001 -> 0.002" in text and "orders: 0 added, 0 missing, 0 changed" not in text
    assert "recorded market_making: " in text and "changed  market_making: " in text


def test_another_strategy_replaces_every_order(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_main(str(session), False, "momentum", {}, False) == 0
    text = capsys.readouterr().out
    assert "changed  momentum: " in text and "orders: 0 added, 0 missing, 0 changed" not in text


def orders_of(*rows: tuple[int, int, int]) -> np.ndarray:
    made = np.zeros(len(rows), RECORD)
    made["kind"] = NEW
    for row, (ts, price, qty) in zip(made, rows, strict=True):
        row["local_ts"], row["price"], row["qty"] = ts, price, qty
    return made


def test_orders_are_added_missing_or_changed() -> None:
    old = orders_of((1, 10, 1), (2, 10, 1), (5, 10, 1), (9, 10, 1))
    new = orders_of((1, 10, 1), (2, 11, 2), (6, 10, 1), (9, 10, 1), (12, 10, 1))
    found = [(change.what, change.fields) for change in order_changes(old, new)]
    assert found == [("changed", ("price", "qty")), ("changed", ("local_ts",)), ("added", ())]
    back = [(change.what, change.fields) for change in order_changes(new, old)]
    assert back == [("changed", ("price", "qty")), ("changed", ("local_ts",)), ("missing", ())]
    assert order_changes(old, old) == []
