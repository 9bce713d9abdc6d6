"""REDUCING: latched, shown and cleared like any halt; no position grows under it, and a recording of it replays."""

import json
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from running import Running, configs, hftpipe
from test_halt_tripped import built
from test_kill_switch_run import BUSY, Seen, asking, env, until

from hftpipe.app.breaker import TO_REDUCING
from hftpipe.app.halt_latch import HaltLatch, latched_scopes, read_latch
from hftpipe.config.presets import demo_overrides
from hftpipe.core.schema.cells import HALT_CAUSES, JOURNAL_UNWRITABLE
from hftpipe.core.schema.halts import (
    REDUCE,
    REDUCE_PLACE,
    halted_scopes,
    halts_bytes,
    scope_cause,
    scope_words,
    set_scope,
)
from hftpipe.core.schema.position import POSITION
from hftpipe.core.shared.shm import Segment
from hftpipe.gateway.state import STATE

META = {"venues": ["a"], "strategies": ["s"], "symbols": ["x"]}


def test_its_word_is_no_other_scope_s() -> None:
    memory = np.zeros(halts_bytes(1), np.uint8)
    set_scope(memory, REDUCE_PLACE, 3, 7)
    assert halted_scopes(memory, META) == {REDUCE: 3} and not scope_words(memory).any()
    assert scope_cause(memory, REDUCE_PLACE) == 3 and int(memory[:8].view(np.uint64)[0]) == 7
    set_scope(memory, REDUCE_PLACE, 0, 8)
    assert halted_scopes(memory, META) == {}


def test_every_cause_trips_to_one_state_and_those_to_reducing_are_counted_by_the_gateway() -> None:
    assert set(TO_REDUCING) <= set(HALT_CAUSES) and all(counter in STATE.names for counter, _ in TO_REDUCING.values())


def test_orders_that_could_not_be_written_down_trip_to_reducing_and_not_to_a_halt(own_state: Path) -> None:
    pipeline, supervisor = built("a", [], demo_overrides(None))
    supervisor._breaker.look()
    assert latched_scopes("a") == {}
    pipeline.state("gateway")["unjournaled"] = 2
    for _ in range(2):
        supervisor._breaker.look()
        supervisor._latch_halt()
    latch = latched_scopes("a")[REDUCE]
    assert latch.code == JOURNAL_UNWRITABLE and "2 orders were refused by the gateway" in latch.what
    assert scope_cause(pipeline.segment.region("halts"), REDUCE_PLACE) == JOURNAL_UNWRITABLE
    assert read_latch("a") is None and not pipeline.halt_cell()["halted"][0]
    assert len((own_state / "a.halts").read_text().splitlines()) == 1


def test_it_is_latched_once_and_by_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    latch = HaltLatch("a", 1)
    latch.set(JOURNAL_UNWRITABLE, "why", REDUCE)
    latch.set(JOURNAL_UNWRITABLE, "why", REDUCE)
    assert list(latched_scopes("a")) == [REDUCE] and latch.first is None
    assert "only orders that make a position smaller pass" in caplog.text


def test_under_it_no_position_grows_over_a_restart_too_and_the_recording_replays(
    tmp_path: Path, own_state: Path
) -> None:
    name, own = "test-reduce", ("--cpus", "0-1", "--processes", "2", *BUSY)
    one = Running(
        env(),
        tmp_path / "one.json",
        name,
        *own,
        "--record",
        str(tmp_path / "rec"),
        files=configs("paper", "risk_limits"),
    )
    one.says("pipeline started")
    segment, seen = Segment.attach(name), Seen(name)
    position = segment.region("risk.positions")[: POSITION.itemsize].view(POSITION)
    until(lambda: position["qty"][0] != 0, "no position")
    assert hftpipe(env(), "halt", name, "--reduce", "--reason", "looks wrong").returncode == 0
    time.sleep(1.0)
    sizes = []
    for _ in range(100):
        sizes.append(abs(int(position["qty"][0])))
        time.sleep(0.01)
    assert all(after <= before for before, after in pairwise(sizes)), sizes
    shown = hftpipe(env(COLUMNS="140"), "top", "--name", name, "--once").stdout
    assert "REDUCING" in shown
    assert hftpipe(env(), "resume", name, "--reduce", "--yes").returncode == 0
    before = seen.sent
    until(lambda: seen.sent > before + 20, "it does not trade again")
    summary = one.end()
    assert summary["exit_code"] == 0 and summary["rejects"].get("reducing", 0) > 0 and summary["breaker"] == "ACTIVE"
    session = summary["recording"]["session"]
    replayed: subprocess.CompletedProcess[str] = hftpipe(env(), "replay", session, "--verify")
    assert replayed.returncode == 0, replayed.stdout[-3000:] + replayed.stderr[-3000:]
    assert hftpipe(env(), "halt", name, "--reduce").returncode == 0
    again = Running(
        env(), tmp_path / "two.json", name, *own, "--duration", "3", "--set", "kill_switch.enabled=true", "--set",
        "kill_switch.address=127.0.0.1:0", files=configs("paper", "risk_limits"),
    )  # fmt: skip
    host, _, port = again.says("the kill switch serves")["address"].rpartition(":")
    again.says("pipeline started")
    ask = asking((host, int(port)))
    assert ask("GET", "/status")[1]["state"] == "REDUCING" and ask("GET", "/health")[1]["status"] == "reducing"
    again.process.wait(60)
    summary = json.loads(again.out.read_text())
    assert summary["orders"] == 0 and summary["breaker"] == "REDUCING" and summary["halted"] is None
    assert summary["latched_scopes"][REDUCE]["cause"] == "operator"
