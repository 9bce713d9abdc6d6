"""A halt that comes while another is cleared, or while its disk fails, stands; and nobody clears what another has said."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hftpipe.app import halt_command, halt_latch
from hftpipe.app.halt_command import halt, resume
from hftpipe.app.halt_follow import follow_halt, follow_last, follow_scopes
from hftpipe.app.halt_latch import OUTSIDE, HaltLatch, Latch, clear_latch, latched_scopes, read_latch, write_latch
from hftpipe.app.halt_scope import Scope
from hftpipe.app.run import _exit_code
from hftpipe.app.run_marker import begin_run
from hftpipe.app.state import StateError
from hftpipe.core.machine.durable import write_whole
from hftpipe.core.schema.cells import HALT_CELL, LATE_FILL, OPERATOR, STAGE_DIED, STOPPING
from hftpipe.core.schema.halts import REDUCE, halted_scopes, halts_bytes, set_scope
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.shm import SegmentError

FAULT = Latch("stage_died", "2026-11-28T18:00:00.000+00:00", 7, "process risk (pid 12) died: killed by SIGKILL")
MINE = replace(FAULT, cause="operator", what="maintenance")
YOURS = replace(MINE, time="2026-11-28T18:00:01.000+00:00", what="positions are wrong")
ALPHA, PART = Scope("venue", "alpha"), "venue.alpha"


def quiet(_text: str) -> None:
    pass


# --- clearing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", PART])
@pytest.mark.parametrize("newer", [FAULT, YOURS])
def test_a_halt_written_while_another_is_cleared_is_never_cleared_with_it(
    own_state: Path, monkeypatch: pytest.MonkeyPatch, newer: Latch, scope: str
) -> None:
    """It waits for the lock for half a second only: the disk may take longer to note who has cleared the other."""
    write_latch("a", MINE, scope)
    note, went_on = halt_latch._note, []

    def slow(name: str, facts: dict[str, Any]) -> None:
        note(name, facts)
        if facts["action"] == "resumed":
            write_latch("a", newer, scope)

    monkeypatch.setattr(halt_latch, "_note", slow)
    with pytest.raises(StateError, match=f"halted again meanwhile.*{newer.what[:9]}"):
        clear_latch("a", MINE, scope, lambda: went_on.append(1))
    assert read_latch("a", scope) == newer and not went_on
    assert [path.suffix for path in own_state.glob("a.halt*.aside")] == []


@pytest.mark.parametrize("newer", [FAULT, YOURS])
def test_a_halt_written_just_before_the_file_is_set_aside_is_put_back(
    own_state: Path, monkeypatch: pytest.MonkeyPatch, newer: Latch
) -> None:
    write_latch("a", MINE)
    moved = os.replace

    def late(source: Path, target: Path) -> None:
        if str(target).endswith(".aside"):
            monkeypatch.setattr(os, "replace", moved)
            write_latch("a", newer)
        moved(source, target)

    monkeypatch.setattr(os, "replace", late)
    with pytest.raises(StateError, match="not cleared, as it was halted again meanwhile"):
        clear_latch("a", MINE)
    assert read_latch("a") == newer and [one.name for one in own_state.glob("a.halt*.*")] == []


@pytest.mark.parametrize("scope", ["", PART])
def test_whoever_is_killed_while_clearing_leaves_the_halt(
    own_state: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    write_latch("a", FAULT, scope)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(halt_latch, "_note", killed)
        with pytest.raises(KeyboardInterrupt):
            clear_latch("a", FAULT, scope)
    assert read_latch("a", scope) == FAULT and latched_scopes("a") == ({scope: FAULT} if scope else {})
    write_latch("a", YOURS, scope)
    assert read_latch("a", scope) == FAULT, "the graver of the two is the halt"
    clear_latch("a", FAULT, scope)
    assert read_latch("a", scope) is None and list(own_state.glob("a.halt*.aside")) == []


def test_a_damaged_file_reads_the_same_under_either_name_and_can_be_cleared(own_state: Path) -> None:
    own_state.mkdir(parents=True, exist_ok=True)
    (own_state / "a.halt").write_bytes(b"garbage")
    shown = read_latch("a")
    (own_state / "a.halt").rename(own_state / "a.halt.aside")
    assert shown is not None and read_latch("a") == shown
    clear_latch("a", shown)
    assert read_latch("a") is None


def test_what_is_left_half_written_is_no_scope(own_state: Path) -> None:
    write_latch("a", FAULT, PART)
    (own_state / "a.halt.venue.beta.tmp").write_bytes(b'{"cause":')
    (own_state / "a.halt.venue.beta").mkdir()
    assert set(latched_scopes("a")) == {PART, "venue.beta"}


# --- two persons ----------------------------------------------------------------------------------------


def test_a_person_s_later_halt_replaces_an_earlier_one_and_the_history_has_both(own_state: Path) -> None:
    write_latch("a", MINE)
    write_latch("a", YOURS)
    assert read_latch("a") == YOURS
    write_latch("a", replace(MINE, what=OUTSIDE))
    assert read_latch("a") == YOURS, "that the supervisor saw it is no reason"
    with pytest.raises(StateError, match="halted again meanwhile"):
        clear_latch("a", MINE)
    assert len((own_state / "a.halts").read_text().splitlines()) == 3


def test_a_person_s_halt_while_another_is_asked_is_not_cleared() -> None:
    halt("a", Scope(), "maintenance", quiet)

    def agrees(_text: str) -> bool:
        halt("a", Scope(), "do NOT trade", quiet)
        return True

    with pytest.raises(StateError, match=r"halted again meanwhile.*do NOT trade"):
        resume("a", Scope(), agrees, quiet)


class Running:
    """A pipeline's halt cell and words of halts, and all of a pipeline that follows them."""

    def __init__(self) -> None:
        self.cell = np.zeros(1, HALT_CELL)
        self.words, self.epoch = np.zeros(halts_bytes(1), np.uint8), 7
        self.meta = {"venues": ["alpha"], "strategies": ["s"], "symbols": ["X"]}
        self.segment, self.latch = self, HaltLatch("a", 7)

    def region(self, _name: str) -> np.ndarray:
        return self.words

    def set_scope(self, place: int, cause: int, now_ns: int) -> None:
        set_scope(self.words, place, cause, now_ns)

    def record(self, _name: str, _dtype: np.dtype) -> np.ndarray:
        return self.cell

    def halt_cell(self) -> np.ndarray:
        return self.cell

    def follow(self) -> None:
        follow_halt(self, self.latch)  # type: ignore[arg-type]
        follow_scopes(self, self.latch)  # type: ignore[arg-type]

    def clear(self, scope: Scope) -> None:
        """Its word alone."""
        if scope.kind:
            set_scope(self.words, scope.place(self.meta), 0, 1)
        else:
            set_halt(self.cell, False, 0, 1)

    def halted(self) -> dict[str, int]:
        """Causes by scope; of everything under ""."""
        everything = {"": int(self.cell["cause"][0])} if self.cell["halted"][0] else {}
        return everything | halted_scopes(self.words, self.meta)

    def known(self) -> set[str]:
        """What the latch of the run holds for halted."""
        return {*self.latch.scopes, *([""] if self.latch.first else [])}


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    one = Running()
    monkeypatch.setattr(halt_command, "live_pid", lambda _name: 4242)
    monkeypatch.setattr(halt_command, "Segment", SimpleNamespace(attach=lambda *_, **__: one))
    return one


def test_a_halt_that_comes_while_the_run_ends_is_latched_although_its_file_was_never_written(running: Running) -> None:
    set_halt(running.cell, True, STOPPING, 1)
    follow_last(running, running.latch)  # type: ignore[arg-type]
    assert read_latch("a") is None
    set_halt(running.cell, True, OPERATOR, 1)
    follow_last(running, running.latch)  # type: ignore[arg-type]
    found = read_latch("a")
    assert found is not None and found.code == OPERATOR and running.known() == {""}


def test_what_is_cleared_right_before_the_end_is_no_halt_of_the_run_any_more(running: Running) -> None:
    halt("a", Scope(), "maintenance", quiet)
    running.follow()
    resume("a", Scope(), lambda _: True, quiet)
    set_halt(running.cell, True, STOPPING, 1)
    follow_last(running, running.latch)  # type: ignore[arg-type]
    assert running.known() == set() and read_latch("a") is None


def test_a_run_that_is_ending_does_not_trade_on_when_its_halt_is_cleared(running: Running) -> None:
    halt("a", Scope(), "maintenance", quiet)
    running.cell["ending"] = 1
    said: list[str] = []
    resume("a", Scope(), lambda _: True, said.append)
    assert running.halted() == {"": OPERATOR} and "the next start trades" in said[-1] and read_latch("a") is None


def test_of_a_part_only_what_a_person_set_is_cleared_by_one(running: Running) -> None:
    halt("a", ALPHA, "maintenance", quiet)
    set_scope(running.words, ALPHA.place(running.meta), LATE_FILL, 1)
    said: list[str] = []
    resume("a", ALPHA, lambda _: True, said.append)
    assert running.halted() == {ALPHA.text: LATE_FILL} and "stays halted" in said[-1]


def test_a_halt_is_in_force_before_anything_waits_for_the_disk_though_a_reset_came_between(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, int]] = []
    real = halt_latch._put_latch

    def put(*given: Any) -> None:
        seen.append(running.halted())
        real(*given)

    def locked_behind_a_reset(*given: Any) -> Any:
        running.clear(WHOLE)
        return real_locked(*given)

    real_locked = halt_latch.locked
    monkeypatch.setattr(halt_latch, "_put_latch", put)
    monkeypatch.setattr(halt_latch, "locked", locked_behind_a_reset)
    halt("a", WHOLE, "stop", quiet)
    assert seen == [{"": OPERATOR}]


def test_a_run_of_another_user_is_not_said_to_be_halted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise SegmentError("no permission, it is another user's")

    monkeypatch.setattr(halt_command, "is_foreign", lambda _name: True)
    monkeypatch.setattr(halt_command, "Segment", SimpleNamespace(attach=refused))
    said: list[str] = []
    assert halt("a", WHOLE, "stop", said.append) == 1
    assert "NOT halted: no permission, it is another user's" in said[0] and not any(
        "not running" in one for one in said
    )
    with pytest.raises(StateError, match="another user"):
        resume("a", WHOLE, lambda _: True, quiet)


#: Of everything, of a venue, of what could make a position larger.
WHOLE = Scope()
EACH = pytest.mark.parametrize("scope", [WHOLE, ALPHA, Scope(REDUCE)], ids=["all", "venue", "reduce"])


@EACH
@pytest.mark.parametrize("when", ["_set_aside", "_note", "sync_folder"])
def test_what_a_person_halts_while_another_resumes_it_stays_halted(
    running: Running, monkeypatch: pytest.MonkeyPatch, when: str, scope: Scope
) -> None:
    halt("a", scope, "maintenance", quiet)
    running.follow()
    real = getattr(halt_latch, when)
    done: list[int] = []

    def late(*args: Any) -> None:
        real(*args)
        if not done:
            done.append(1)
            halt("a", scope, "stop it now", quiet)
            running.follow()

    def agrees(_text: str) -> bool:
        monkeypatch.setattr(halt_latch, when, late)
        return True

    with pytest.raises(StateError, match=r"halted again meanwhile.*stop it now"):
        resume("a", scope, agrees, quiet)
    running.follow()
    found = read_latch("a", scope.text)
    assert running.halted() == {scope.text: OPERATOR} and found is not None and "stop it now" in found.what
    assert running.known() == {scope.text}


@EACH
@pytest.mark.parametrize("is_full", [False, True])
def test_a_person_s_halt_sets_the_word_again_that_was_cleared_before_its_file(
    running: Running, monkeypatch: pytest.MonkeyPatch, is_full: bool, scope: Scope
) -> None:
    def write(*_: object) -> None:
        running.clear(scope)
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(halt_command, "write_latch", write)
    with pytest.raises(StateError, match="No space") if is_full else nullcontext():
        halt("a", scope, "stop it now", quiet)
    assert running.halted() == {scope.text: OPERATOR}


def told_of(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Do something right behind each change of a word or of the cell by the command line."""
    for name, real in (("set_scope", set_scope), ("set_halt", set_halt)):

        def changed(*args: Any, real: Callable[..., None] = real) -> None:
            real(*args)
            then()

        monkeypatch.setattr(halt_command, name, changed)


@EACH
def test_the_word_is_cleared_before_its_file_goes(
    running: Running, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    halt("a", scope, "maintenance", quiet)
    seen: list[bool] = []
    told_of(monkeypatch, lambda: seen.append(read_latch("a", scope.text) is not None))
    assert resume("a", scope, lambda _text: True, quiet) == 0
    assert seen == [True] and not running.halted()


@EACH
def test_a_halt_is_forgotten_only_when_its_file_has_gone(running: Running, scope: Scope) -> None:
    halt("a", scope, "maintenance", quiet)
    running.follow()
    running.clear(scope)
    running.follow()
    assert running.halted() == {scope.text: OPERATOR} and running.known() == {scope.text}
    assert resume("a", scope, lambda _text: True, quiet) == 0
    running.follow()
    assert not running.halted() and not running.known()


@EACH
def test_nothing_is_halted_again_while_it_is_being_resumed(
    running: Running, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    """Between the word and the file: what the supervisor sees then is no halt of anybody's."""
    halt("a", scope, "maintenance", quiet)
    running.follow()
    told_of(monkeypatch, running.follow)
    assert resume("a", scope, lambda _text: True, quiet) == 0
    running.follow()
    assert not running.halted() and not running.known()


@EACH
def test_what_a_fault_has_halted_stays_so_whatever_a_person_clears(running: Running, scope: Scope) -> None:
    """A fault that comes while a person's halt is cleared has its file behind theirs, and its word cleared with theirs."""
    halt("a", scope, "maintenance", quiet)
    running.follow()
    running.latch.set(STAGE_DIED, "risk died", scope.text)
    with pytest.raises(StateError, match=r"is running .* and stays halted"):
        resume("a", scope, lambda _text: True, quiet)
    running.clear(scope)
    running.follow()
    assert running.halted() == {scope.text: STAGE_DIED} and running.known() == {scope.text}


@pytest.mark.parametrize("cause", [STAGE_DIED, STOPPING])
def test_a_reset_clears_no_cell_that_something_else_has_set_since(running: Running, cause: int) -> None:
    said: list[str] = []
    halt("a", WHOLE, "maintenance", quiet)
    set_halt(running.cell, True, cause, 1)
    assert resume("a", WHOLE, lambda _text: True, said.append) == 0
    assert running.halted() == {"": cause} and "stays halted" in said[-1]


def test_a_person_s_halt_hides_no_fault_s(running: Running) -> None:
    set_scope(running.words, ALPHA.place(running.meta), STAGE_DIED, 1)
    halt("a", ALPHA, "maintenance", quiet)
    assert running.halted() == {PART: STAGE_DIED}


# --- the halts of a running pipeline --------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", PART])
def test_a_fault_s_halt_whose_file_has_gone_while_the_run_goes_on_is_stored_again(own_state: Path, scope: str) -> None:
    latch = HaltLatch("a", 7)
    latch.set(STAGE_DIED, "risk died", scope)
    file = halt_latch.latch_file("a", scope)
    latch.look_after()
    file.unlink()
    latch.look_after()
    assert not file.exists(), "it looks once a second"
    latch.look_after(is_last=True)
    found = read_latch("a", scope)
    assert found is not None and found.what == "risk died" and latch.is_stored


def test_a_person_s_halt_whose_file_has_gone_is_not_stored_again() -> None:
    latch = HaltLatch("a", 7)
    write_latch("a", MINE, PART)
    latch.set_by_others(OPERATOR, PART)
    clear_latch("a", MINE, PART)
    latch.look_after(is_last=True)
    assert read_latch("a", PART) is None


def test_a_halt_of_an_earlier_run_is_not_stored_again() -> None:
    HaltLatch("a", 7, replace(FAULT, epoch=6)).look_after(is_last=True)
    assert read_latch("a") is None


def test_a_disk_that_does_not_answer_is_asked_once_and_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    latch, asked = HaltLatch("a", 7, scopes={PART: MINE}), []
    latch.set(STAGE_DIED, "risk died")

    def stuck(*_: object) -> None:
        asked.append(1)
        time.sleep(2)

    monkeypatch.setattr(halt_latch, "read_latch", stuck)
    began = time.monotonic()
    latch.look_after(is_last=False)
    for _ in range(20):
        latch.look_after()
        assert not latch.is_cleared(PART, lambda _cause: None)
    assert len(asked) == 1 and time.monotonic() - began < 1.0


# --- a full disk ----------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def full(path: Path, data: bytes, spare: Path | None = None) -> None:
        if spare is None or not spare.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, data, spare)

    return lambda: monkeypatch.setattr(halt_latch, "write_whole", full)


def test_a_part_s_halt_leaves_the_marker_of_the_run_to_the_halt_of_everything(
    own_state: Path, full_disk: Callable[[], None]
) -> None:
    begin_run("a", 7)
    full_disk()
    latch = HaltLatch("a", 7)
    latch.set(OPERATOR, "one instrument", "instrument.X")
    assert (own_state / "a.run").exists() and not latch.is_stored and latch.facts() is None
    assert not latch.scope_facts()["instrument.X"]["stored"]
    latch.set(LATE_FILL, "late")
    assert read_latch("a") == latch.first and latch.facts()["stored"]


def test_a_halt_that_found_no_room_is_stored_when_there_is_room(
    own_state: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    latch = HaltLatch("a", 7)
    full_disk()
    latch.set(LATE_FILL, "late", PART)
    latch.look_after()
    assert not latch.is_stored
    monkeypatch.setattr(halt_latch, "write_whole", write_whole)
    latch.look_after(is_last=True)
    assert latch.is_stored and read_latch("a", PART) == latch.scopes[PART]


def test_a_part_s_halt_that_is_not_stored_is_told_by_the_exit_code() -> None:
    look = SimpleNamespace(strategies={}, kinds={}, counters={})
    facts = {"source_errors": [], "exit_code": 0, "latched_halt": None}
    assert _exit_code(look, facts, True) == 0 and _exit_code(look, facts, False) == 1  # type: ignore[arg-type]


def test_a_halt_of_a_cause_without_a_name_is_followed_by_others() -> None:
    latch = HaltLatch("a", 7)
    latch.set(99, "from a later build")
    latch.set(STAGE_DIED, "risk died")
    assert latch.first is not None and latch.first.cause == "code_99"
