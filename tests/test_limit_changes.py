"""Limits that change while a run goes on: all of a change at once, between two orders, and replayed alike."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned
from risk_rig import E8, RiskRig, new_ring, pop_all
from running import Running, configs, hftpipe

from hftpipe.config import ConfigError, load
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import POSITION_LIMIT
from hftpipe.core.schema.records import BUY, CANCELED, FILL
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.tape import LIMIT_SEEN
from hftpipe.risk.changes import AREAS, CHANGE, CHANGES
from hftpipe.risk.limits import LIMITS
from hftpipe.topology.limit_words import WORDS, changed_words, changes_bytes, limit_rows, may_change, with_limits_of

BASE = configs("paper", "risk_limits")
FILES = [one.removeprefix("--config=") for one in BASE]


# The risk stage.


class Changing(RiskRig):
    """A risk stage whose limits somebody changes."""

    def __init__(self) -> None:
        super().__init__()
        self.area = aligned(changes_bytes(2, 1, 4, 1))
        self.tape = new_ring(256)
        self.state["changes"], self.state["tape"] = address(self.area), address(self.tape)

    def change(self, *words: tuple[str, str, int, int]) -> None:
        """Publish a batch: (area, field, row, value) each."""
        head, rows = self.area[: CHANGES.itemsize].view(CHANGES), self.area[CHANGES.itemsize :].view(CHANGE)
        for at, (area, field, row, value) in enumerate(words):
            dtype = WORDS[area][0]
            rows[at]["area"], rows[at]["value"] = AREAS.index(area), value
            rows[at]["offset"] = row * dtype.itemsize + dtype.fields[field][1]
        head["count"] = len(words)
        head["published"] += 1


def why(rig: RiskRig) -> list[str]:
    return [reasons.NAMES[int(one["flags"])] for one in rig.pop("updates") if int(one["flags"])]


def test_a_changed_limit_holds_from_the_next_order_on_and_stands_on_the_tape_before_it() -> None:
    rig = Changing()
    rig.intend(id=1, qty=2 * E8)
    rig.step()
    rig.change(("limits", "max_order_qty", 0, E8), ("limits", "max_position", 1, 3 * E8))
    rig.intend(id=2, qty=2 * E8)
    rig.intend(id=3, qty=E8)
    rig.step()
    assert [int(one["id"]) for one in rig.pop("orders")] == [1, 3] and why(rig) == ["max_order_qty"]
    assert int(rig.limits["max_position"][1]) == 3 * E8 and int(rig.state["limits_changed"][0]) == 2
    tape = pop_all(rig.tape)
    kinds = [int(one["kind"]) for one in tape]
    first = kinds.index(LIMIT_SEEN)
    assert kinds.count(LIMIT_SEEN) == 2 and int(tape[first]["qty"]) == E8
    assert [int(one["id"]) for one in tape[first + 2 :] if int(one["kind"]) < 10 or int(one["id"]) in (2, 3)][:1] == [2]


def test_a_batch_is_taken_once_and_the_next_when_it_is_there() -> None:
    rig = Changing()
    rig.change(("limits", "max_order_qty", 0, E8))
    rig.step()
    rig.limits["max_order_qty"][0] = 7 * E8
    rig.step()
    assert int(rig.limits["max_order_qty"][0]) == 7 * E8, "taken once"
    rig.change(("totals", "max_gross", 0, 5), ("losses", "max_drawdown", 0, 6), ("standings", "most", 3, 7))
    rig.change(("repeats", "window_ns", 0, 8))
    rig.step()
    assert int(rig.repeats[:8].view(np.int64)[0]) == 8


@pytest.mark.parametrize("area", AREAS)
def test_every_area_is_the_one_it_says(area: str) -> None:
    rig = Changing()
    dtype, fields = WORDS[area]
    rig.change(*((area, field, 0, 1000 + at) for at, field in enumerate(fields)))
    rig.step()
    rows = getattr(rig, area)
    row = rows[: dtype.itemsize].view(dtype)[0] if area == "repeats" else rows[0]
    assert [int(row[field]) for field in fields] == [1000 + at for at in range(len(fields))]


def test_what_was_approved_before_the_limit_was_lowered_may_still_be_executed_and_nothing_more() -> None:
    rig = Changing()
    rig.intend(id=1, qty=5 * E8)
    rig.step()
    rig.change(("limits", "max_position", 0, 2 * E8))
    rig.step()
    rig.report(kind=FILL, id=1, qty=4 * E8, price=100 * E8, fee=0, side=BUY)
    rig.step()
    assert int(rig.state["tripped"][0]) == 0 and int(rig.positions["qty"][0]) == 4 * E8
    rig.report(kind=FILL, id=99, qty=2 * E8, price=100 * E8, fee=0, side=BUY)
    rig.step()
    assert int(rig.state["tripped"][0]) != 0 and int(rig.state["trip_cause"][0]) == POSITION_LIMIT


def test_without_a_lowered_limit_an_execution_that_nobody_asked_for_leaves_no_more_room_than_there_is() -> None:
    rig = RiskRig()
    rig.limits["max_position"][0] = 5 * E8
    rig.intend(id=1, qty=5 * E8)
    rig.step()
    rig.report(kind=FILL, id=99, qty=2 * E8, price=100 * E8, fee=0, side=BUY)
    rig.step()
    assert int(rig.state["tripped"][0]) == 0
    rig.report(kind=FILL, id=1, qty=4 * E8, price=100 * E8, fee=0, side=BUY)
    rig.step()
    assert int(rig.state["trip_cause"][0]) == POSITION_LIMIT


def test_executions_that_nobody_asked_for_make_no_room_for_themselves_under_a_lowered_limit() -> None:
    rig = Changing()
    rig.intend(id=1, qty=5 * E8)
    rig.step()
    rig.change(("limits", "max_position", 0, 2 * E8))
    rig.step()
    for order in (98, 99):
        rig.report(kind=FILL, id=order, qty=5 * E8, price=100 * E8, fee=0, side=BUY)
        rig.step()
    assert int(rig.state["trip_cause"][0]) == POSITION_LIMIT


def test_once_everything_is_within_the_lowered_limit_it_is_strict_again() -> None:
    rig = Changing()
    rig.intend(id=1, qty=5 * E8)
    rig.step()
    rig.change(("limits", "max_position", 0, 2 * E8))
    rig.step()
    assert int(rig.limits["is_lowered"][0]) == 1
    rig.report(kind=CANCELED, id=1)
    rig.step()
    rig.intend(id=2, qty=E8)
    rig.step()
    rig.report(kind=FILL, id=2, qty=E8, price=100 * E8, fee=0, side=BUY)
    rig.step()
    assert int(rig.limits["is_lowered"][0]) == 0 and int(rig.state["tripped"][0]) == 0


def test_a_loss_limit_below_what_is_lost_already_trips_at_the_next_look() -> None:
    rig = Changing()
    rig.intend(id=1, qty=E8)
    rig.step()
    rig.report(kind=FILL, id=1, qty=E8, price=101 * E8, fee=0, side=BUY)
    rig.step()
    rig.change(("losses", "max_daily_loss", 0, E8 // 2))
    rig.step()
    rig.intend(id=2, qty=E8)
    rig.step()
    assert int(rig.state["tripped"][0]) != 0 and why(rig) == ["halted"]


# What a configuration makes of it.

LIMITS_KEYS = ("max_order_qty", "max_order_notional", "max_position", "orders_per_s", "collar_bps", "max_book_age_ms")
CONTROLS_KEYS = ("max_gross_notional", "max_daily_loss", "max_drawdown", "executions_per_min", "duplicate_window_ms")
some_limits = st.fixed_dictionaries(
    {},
    optional={f"risk.limits.BTCUSDT.{key}": st.integers(1, 900).map(str) for key in LIMITS_KEYS}
    | {f"controls.{key}": st.integers(1, 900).map(str) for key in CONTROLS_KEYS}
    | {"controls.restricted": st.just('["BTC*"]')},
)


def config_with(overrides: dict[str, str]) -> Any:
    return load(FILES, {}, {**overrides, "risk.limits.BTCUSDT.max_market_order_qty": "0.000001"})


class _Seat:
    own = None


@given(some_limits, some_limits)
def test_the_words_that_change_make_of_the_rows_of_one_configuration_those_of_another(
    before: dict[str, str], after: dict[str, str]
) -> None:
    running, found = config_with(before), config_with(after)
    rows, wanted = limit_rows(running, [_Seat()]), limit_rows(with_limits_of(running, found), [_Seat()])
    untouched = {area: one.copy() for area, one in rows.items()}
    for word in changed_words(rows, wanted):
        at = rows[AREAS[int(word["area"])]].view(np.uint8)[int(word["offset"]) :][:8]
        at.view(np.int64)[0] = word["value"]
    for area, (dtype, fields) in WORDS.items():
        for name in dtype.names or ():
            expected = wanted if name in fields else untouched
            assert (rows[area][name] == expected[area][name]).all(), (area, name)
    fresh = limit_rows(found, [_Seat()])
    for area, (_, fields) in WORDS.items():
        assert all((rows[area][name] == fresh[area][name]).all() for name in fields), area


def test_what_may_change_is_what_the_words_come_from_and_ages_may_not() -> None:
    assert may_change("risk.limits.BTCUSDT.max_position") and may_change("controls.restricted")
    assert may_change("strategies.3.max_position") and may_change("venues.0.max_gross_notional")
    for key in (
        "risk.limits.BTCUSDT.max_book_age_ms",
        "controls.self_match",
        "controls.drawdown_window_s",
        "rings.market",
    ):
        assert not may_change(key)


# Runs.


def row_of(name: str) -> np.void:
    segment = Segment.attach(name, is_writable=False)
    row: np.void = segment.region("risk.limits")[: LIMITS.itemsize].view(LIMITS)[0].copy()
    segment.let_go()
    return row


def until(check: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "250"}


def test_an_edited_limit_is_in_force_without_a_restart_and_the_run_replays_identical(
    env: dict[str, str], tmp_path: Path
) -> None:
    mine, sessions = tmp_path / "mine.toml", tmp_path / "sessions"

    def write(position: str, more: str = "") -> None:
        fresh = mine.with_suffix(".new")
        fresh.write_text(f'[strategy]\nreload_s = 0.1\n[risk.limits.BTCUSDT]\nmax_position = "{position}"\n{more}')
        fresh.rename(mine)

    write("0.05")
    run = Running(
        env, tmp_path / "out.json", "t-limits", f"--config={mine}", "--record", str(sessions), "--processes", "2",
        "--set", "risk.limits.BTCUSDT.orders_per_min=60000", files=BASE,
    )  # fmt: skip
    try:
        run.says("pipeline started")
        write("0.0001")
        said = run.says("risk limits changed")
        assert said["changes"] == {"risk.limits.BTCUSDT.max_position": {"old": "0.05", "new": "0.0001"}}
        until(lambda: int(row_of("t-limits")["max_position"]) == 10_000)
        time.sleep(1)
        # What is left out changes nothing: it is said.
        write("0.05", more='max_order_notional = "none"\n')
        wrong = run.says("parameters and limits not changed")
        assert "max_order_notional" in wrong["reason"] and int(row_of("t-limits")["max_position"]) == 10_000
    finally:
        summary = run.end()
    assert run.process.returncode == 0 and summary["rejects"].get("max_position", 0) > 0, run.log.read_text()
    assert summary["counters"]["risk"]["limits_changed"] == 1
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr


def test_a_control_that_is_no_longer_given_does_not_fall_back_to_its_default(
    env: dict[str, str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[strategy]\nreload_s = 0.1\n[controls]\nmax_daily_loss = "50"\n')
    run = Running(env, tmp_path / "out.json", "t-limits", *BASE[1:], f"--config={mine}", files=BASE[:1])
    try:
        run.says("pipeline started")
        mine.write_text("[strategy]\nreload_s = 0.1\n")
        time.sleep(1.0)
        # (risk_limits.toml gives it too: it is the default of neither.)
        assert run.says("risk limits changed")["changes"]["controls.max_daily_loss"] == {"old": "50", "new": "500"}
        mine.write_text(
            '[strategy]\nreload_s = 0.1\n[controls]\ndrawdown_window_s = 60\n[risk.limits.default]\ncollar_bps = "50"\n'
        )
        run.says("not changed: risk limits are fixed for the run, restart to apply")
        mine.write_text("[strategy]\nreload_s = 0.1\n")
        said = run.says("parameters and limits not changed")
        assert "no longer given: risk.limits.default.collar_bps" in said["reason"]
    finally:
        run.process.send_signal(signal.SIGINT)
        run.process.wait(60)


def test_a_limit_that_is_no_longer_given_changes_nothing_and_is_named(env: dict[str, str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    whole = '[strategy]\nreload_s = 0.1\n[risk.limits.BTCUSDT]\nmax_order_qty = "0.01"\nmax_market_order_qty = "0.005"\nmax_order_notional = "2000"\n'
    mine.write_text(whole + 'max_position = "0.05"\n')
    files = configs("paper")
    run = Running(env, tmp_path / "out.json", "t-limits", f"--config={mine}", files=files)
    try:
        run.says("pipeline started")
        fresh = mine.with_suffix(".new")
        fresh.write_text(whole)
        fresh.rename(mine)
        said = run.says("parameters and limits not changed")
        assert "no longer given: risk.limits.BTCUSDT.max_position" in said["reason"]
        assert int(row_of("t-limits")["max_position"]) == 5_000_000
    finally:
        run.process.send_signal(signal.SIGINT)
        run.process.wait(60)
    assert json.loads(run.out.read_text())["exit_code"] == 0


def test_a_pattern_that_names_nothing_is_refused_and_nothing_changes() -> None:
    config = load(FILES, {})
    wrong = load(FILES, {}, {"controls.restricted": '["NOPE"]'})
    with pytest.raises(ConfigError, match="NOPE"):
        limit_rows(with_limits_of(config, wrong), [_Seat()])
