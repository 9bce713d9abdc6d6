"""A halt outlives its run, its supervisor and its machine, until a person clears it."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_run import LIMIT_S, assert_clean, run, stages_of, start
from typer.testing import CliRunner

from hftpipe.app import halt_latch
from hftpipe.app.halt_latch import NOT_LATCHED, HaltLatch, Latch, clear_latch, read_latch, write_latch
from hftpipe.app.run_marker import begin_run
from hftpipe.app.start import begin
from hftpipe.app.state import StateError, locked
from hftpipe.cli import app
from hftpipe.config import load
from hftpipe.core.machine.durable import write_whole
from hftpipe.core.schema.cells import HALT_CAUSES, OPERATOR
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline

LATCH = Latch("stage_died", "2026-11-28T18:00:00.000+00:00", 7, "process risk (pid 12) died: killed by SIGKILL")


def history(own_state: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (own_state / f"{name}.halts").read_text().splitlines()]


def invoke(*arguments: str, text: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), input=text)
    return result.exit_code, result.output


# --- the file -------------------------------------------------------------------------------------------


def test_a_latch_reads_back_as_it_was_and_keeps_its_first_cause(own_state: Path) -> None:
    assert read_latch("a") is None
    write_latch("a", LATCH)
    write_latch("a", replace(LATCH, cause="invariant"))
    assert read_latch("a") == LATCH and read_latch("b") is None
    assert [line["cause"] for line in history(own_state, "a")] == ["stage_died", "invariant"]


def test_a_person_s_own_halt_gives_way_to_what_comes_behind_it_and_nothing_else_does(own_state: Path) -> None:
    mine = replace(LATCH, cause="operator", what="maintenance")
    write_latch("a", mine)
    write_latch("a", LATCH)
    assert read_latch("a") == LATCH
    write_latch("a", mine)
    write_latch("a", replace(LATCH, cause="invariant"))
    assert read_latch("a") == LATCH and len(history(own_state, "a")) == 4


def test_a_person_s_halt_that_comes_at_the_same_moment_never_replaces_a_graver_one(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path, data: bytes, *spare: Path) -> None:
        time.sleep(0.2 if b"operator" in data else 0.0)
        write_whole(path, data, *spare)

    monkeypatch.setattr(halt_latch, "write_whole", slow)
    mine = threading.Thread(target=write_latch, args=("a", replace(LATCH, cause="operator", what="maintenance")))
    mine.start()
    time.sleep(0.1)
    write_latch("a", LATCH)
    mine.join()
    assert read_latch("a") == LATCH


def test_a_lock_that_somebody_keeps_keeps_no_halt_from_its_file(own_state: Path) -> None:
    with locked("a"):
        write_latch("a", LATCH)
    assert read_latch("a") == LATCH


@pytest.mark.parametrize("scope", ["", "venue.beta"])
def test_a_person_s_reason_is_kept_where_the_halt_is_seen_before_its_file(own_state: Path, scope: str) -> None:
    mine = replace(LATCH, cause="operator", what="maintenance")
    late = threading.Timer(0.1, write_latch, ("a", mine, scope))
    late.start()
    latch = HaltLatch("a", 7)
    latch.set_by_others(OPERATOR, scope)
    late.join()
    assert read_latch("a", scope) == mine and len(history(own_state, "a")) == 1
    assert (latch.scopes[scope] if scope else latch.first).what == "maintenance"  # type: ignore[union-attr]


def test_a_halt_that_came_while_the_person_was_asked_is_not_cleared(own_state: Path) -> None:
    mine = replace(LATCH, cause="operator", what="maintenance")
    write_latch("a", mine)
    write_latch("a", LATCH)
    with pytest.raises(StateError, match="halted again meanwhile: stage_died"):
        clear_latch("a", mine)
    assert read_latch("a") == LATCH


def test_a_latch_that_cannot_be_read_says_why_even_where_the_error_has_no_text(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_bytes(path: Path) -> bytes:
        raise OSError

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found = read_latch("a")
    assert found is not None and found.what.endswith("(OSError)")


@given(st.binary(max_size=200))
def test_any_garbage_counts_as_a_halt(data: bytes) -> None:
    path = halt_latch.state_file("a", "halt")
    path.write_bytes(data)
    found = read_latch("a")
    assert found is not None and found.cause == "unreadable_latch" and str(path) in found.what


@pytest.mark.parametrize(
    "change",
    [
        {"cause": "none"},
        {"cause": "stopping"},
        {"cause": "nothing like it"},
        {"epoch": "7"},
        {"what": None},
        {"time": 1},
    ],
)
def test_a_file_that_says_no_known_halt_is_a_halt(own_state: Path, change: dict) -> None:
    write_latch("a", LATCH)
    path = own_state / "a.halt"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_latch("a").cause == "unreadable_latch"


def test_every_byte_cut_off_or_changed_is_still_a_halt(own_state: Path) -> None:
    write_latch("a", LATCH)
    path = own_state / "a.halt"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        assert read_latch("a") is not None
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        assert read_latch("a") is not None


def test_every_cause_but_the_orderly_stop_is_latched() -> None:
    assert {"none"} <= NOT_LATCHED <= {"none", "stopping"}
    for code, name in HALT_CAUSES.items():
        latch = HaltLatch(f"p{code}", 1)
        latch.set(code, "for a test")
        assert (read_latch(f"p{code}") is None) == (name in NOT_LATCHED)
        if name not in NOT_LATCHED:
            assert read_latch(f"p{code}").cause == name and latch.facts()["stored"]


def test_a_halt_of_a_cause_without_a_name_is_latched() -> None:
    HaltLatch("a", 1).set(99, "from a later build")
    assert read_latch("a").cause == "unreadable_latch"


def test_a_halt_is_latched_once_and_the_one_found_is_not_latched_again(own_state: Path) -> None:
    latch = HaltLatch("a", 1)
    for _ in range(3):
        latch.set(1, "first")
    latch.set(4, "second")
    assert read_latch("a").what == "first" and len(history(own_state, "a")) == 2
    HaltLatch("a", 2, read_latch("a")).set(1, "again")
    assert len(history(own_state, "a")) == 2


def test_a_disk_that_does_not_answer_holds_a_halt_up_for_a_stated_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halt_latch, "DISK_LIMIT_S", 0.05)
    monkeypatch.setattr(halt_latch, "write_latch", lambda *_: time.sleep(1))
    latch = HaltLatch("a", 1)
    latch.set(1, "x")
    assert latch.facts()["cause"] == "stage_died" and not latch.facts()["stored"]


def test_a_state_folder_that_cannot_be_written_is_told_not_raised(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(tmp_path / "file"))
    latch = HaltLatch("a", 1)
    latch.set(1, "x")
    assert not latch.facts()["stored"]


# --- clearing -------------------------------------------------------------------------------------------


def test_only_a_person_who_agrees_clears_it_and_the_history_says_who(own_state: Path) -> None:
    write_latch("a", LATCH)
    code, text = invoke("resume", "a", text="n\n")
    assert code == 1 and "not cleared" in text and "stage_died" in text and "killed by SIGKILL" in text
    assert read_latch("a") == LATCH
    code, text = invoke("resume", "a", text="")
    assert code == 1 and read_latch("a") == LATCH
    code, text = invoke("resume", "a", text="y\n")
    assert code == 0 and read_latch("a") is None
    last = history(own_state, "a")[-1]
    assert last["action"] == "resumed" and last["cleared"]["cause"] == "stage_died" and last["time"]
    assert last["who"]["uid"] == os.getuid()


def test_yes_does_not_ask(own_state: Path) -> None:
    own_state.mkdir(parents=True, exist_ok=True)
    (own_state / "a.halt").write_bytes(b"garbage")
    code, text = invoke("resume", "a", "--yes")
    assert code == 0 and "unreadable_latch" in text and read_latch("a") is None


def test_resuming_what_is_not_halted_is_refused_by_name() -> None:
    code, text = invoke("resume", "a", "--yes")
    assert code == 2 and "a.halt" in text and "not halted" in text
    with pytest.raises(StateError, match="not halted"):
        clear_latch("a", LATCH)


@pytest.mark.parametrize("command", ["halt", "resume"])
def test_a_name_no_pipeline_can_have_is_refused(command: str) -> None:
    code, text = invoke(command, "../../etc/passwd")
    assert code == 2 and "allowed are 1 to 32" in text


def test_a_history_that_cannot_be_written_keeps_the_halt(own_state: Path) -> None:
    write_latch("a", LATCH)
    (own_state / "a.halts").unlink()
    (own_state / "a.halts").mkdir()
    code, text = invoke("resume", "a", "--yes")
    assert (code == 2 and "a.halts" in text) or "a.halt" in text
    assert read_latch("a") == LATCH


# --- with a whole pipeline ------------------------------------------------------------------------------


def test_a_full_disk_keeps_no_halt_from_being_latched(own_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own marker gives its room."""

    def on_a_full_disk(path: Path, data: bytes, spare: Path | None = None) -> None:
        if spare is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        assert len(data) <= spare.stat().st_size, "it would need more room than there is"
        write_whole(path, data, spare)

    begin_run("full", 7)
    monkeypatch.setattr(halt_latch, "write_whole", on_a_full_disk)
    latch = HaltLatch("full", 7)
    latch.set(1, "process strategy died")
    assert latch.is_stored and read_latch("full") == latch.first
    assert not (own_state / "full.run").exists()


def summary_of(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("victim", range(4))
def test_after_a_stage_died_the_next_start_says_so_and_trades_nothing(
    own_state: Path, tmp_path: Path, victim: int
) -> None:
    out, name = tmp_path / "s.json", f"t-latch{victim}"
    process = start(name)
    os.kill(stages_of(process)[victim], signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "halt latched" in text
    assert json.loads((own_state / f"{name}.halt").read_text())["cause"] == "stage_died"
    done = run(name, "--duration", "3", "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "the pipeline is halted since an earlier run" in done.stderr and f"hftpipe resume {name}" in done.stderr
    summary = summary_of(out)
    assert summary["orders"] == summary["fills"] == 0 and summary["events"] > 1000
    assert summary["halted"] == "stage_died" == summary["latched_halt"]["cause"]
    refused = run(name, "--duration", "3", "--set", "pipeline.on_latched_halt=refuse")
    assert refused.returncode == 2 and "is halted: stage_died" in refused.stderr and "Traceback" not in refused.stderr
    assert invoke("resume", name, "--yes")[0] == 0
    done = run(name, "--duration", "4", "--json", str(out))
    assert done.returncode == 0 and summary_of(out)["orders"] > 0 and summary_of(out)["halted"] is None
    assert_clean(name, [])


def test_a_supervisor_killed_while_halted_leaves_the_halt(own_state: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    process = start("t-latchsup")
    code, text = invoke("halt", "t-latchsup", "--reason", "looks wrong")
    assert code == 0 and "trading is halted" in text
    process.kill()
    process.communicate(timeout=60)
    done = run("t-latchsup", "--duration", "2", "--json", str(out))
    assert done.returncode == 0 and summary_of(out)["orders"] == 0
    assert "did not end in order" in done.stderr and "looks wrong" in done.stderr
    assert summary_of(out)["previous_run_not_ended"]["file"].endswith("t-latchsup.run")
    assert "run before         did not end in order" in done.stdout
    again = run("t-latchsup", "--duration", "1", "--json", str(out))
    assert "did not end in order" not in again.stderr and summary_of(out)["previous_run_not_ended"] is None


def test_an_operator_s_halt_acts_at_once_and_is_seen(own_state: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    process = start("t-operator", "--json", str(out), "--set", "risk.limits.BTCUSDT.orders_per_min=60000")
    time.sleep(1)
    top = [sys.executable, "-c", "from hftpipe.cli import main; main()", "top", "--name", "t-operator", "--once"]
    assert invoke("halt", "t-operator")[0] == 0
    time.sleep(0.3)
    seen = subprocess.run(top, capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, "COLUMNS": "140"})
    assert "operator" in seen.stdout
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    summary = summary_of(out)
    assert process.returncode == 0 and summary["halted"] == "operator"
    assert summary["latched_halt"]["cause"] == "operator" and "trading is halted" in err
    assert json.loads((own_state / "t-operator.halt").read_text())["epoch"] == summary["epoch"]


def test_halting_what_does_not_run_makes_its_next_start_halted(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    code, text = invoke("halt", "t-later")
    assert code == 0 and "not running yet; it will start with trading halted" in text
    done = run("t-later", "--duration", "2", "--json", str(out))
    assert done.returncode == 0 and summary_of(out)["orders"] == 0 and summary_of(out)["halted"] == "operator"


@pytest.mark.parametrize("scope", [(), ("--instrument", "BTCUSDT")])
def test_a_halt_of_a_pipeline_that_is_still_starting_is_no_failure(own_state: Path, scope: tuple[str, ...]) -> None:
    """It reads what was latched once it has published its segment, which no stage precedes."""
    pipeline = Pipeline(load([], {}, {"pipeline.name": "t-starting"}), [load_strategy("market_making")], 1, 0)
    try:
        code, text = invoke("halt", "t-starting", *scope)
        assert code == 0 and "not running yet; it will start with trading" in text and "NOT halted" not in text
        begin(pipeline, {})
        words = pipeline.segment.region("halts").view(np.uint64)[1:]
        assert pipeline.halt_cell()["halted"][0] == (not scope) and words[7:].any() == bool(scope)
    finally:
        pipeline.segment.unlink()


def test_a_garbage_halt_file_is_named_at_the_start_and_nothing_is_traded(own_state: Path, tmp_path: Path) -> None:
    own_state.mkdir(parents=True, exist_ok=True)
    (own_state / "t-garbage.halt").write_bytes(b"\x00garbage")
    out = tmp_path / "s.json"
    done = run("t-garbage", "--duration", "2", "--json", str(out))
    assert done.returncode == 0 and str(own_state / "t-garbage.halt") in done.stderr
    assert summary_of(out)["orders"] == 0 and summary_of(out)["halted"] == "unreadable_latch"


def test_an_orderly_end_latches_nothing(own_state: Path) -> None:
    done = run("t-orderly", "--duration", "1")
    assert done.returncode == 0 and not (own_state / "t-orderly.halt").exists()
    assert not (own_state / "t-orderly.run").exists()


def test_a_halt_that_cannot_be_stored_is_told_by_the_exit_code(own_state: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    process = start("t-unstored", "--json", str(out))
    (own_state / "t-unstored.halt.tmp").mkdir()
    (own_state / "t-unstored.run").unlink()
    os.kill(stages_of(process)[2], signal.SIGKILL)
    text, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "NOT STORED: a restart would trade" in text and "not latched" in err
    assert not summary_of(out)["latched_halt"]["stored"]


def test_garbage_in_the_run_number_refuses_the_start(own_state: Path) -> None:
    own_state.mkdir(parents=True, exist_ok=True)
    (own_state / "t-number.epoch").write_text("seventeen\n")
    done = run("t-number", "--duration", "1")
    assert done.returncode == 2 and "t-number.epoch" in done.stderr and "'seventeen" in done.stderr
    assert "Traceback" not in done.stderr
    assert_clean("t-number", [])
