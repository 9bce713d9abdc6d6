"""Run numbers never repeat: not after garbage, not after a lost folder, not with the clock set back."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftpipe.app.epoch import next_epoch, raise_epoch
from hftpipe.app.state import StateError, locked
from hftpipe.core.schema.records import EPOCH_MAX, EPOCH_STEP, client_id

NOW_S = 1_790_000_000


def test_a_run_is_numbered_by_the_second_of_its_start_and_numbers_only_rise(own_state: Path) -> None:
    assert [next_epoch("a", NOW_S + later) for later in (0, 5, 6)] == [NOW_S, NOW_S + 5, NOW_S + 6]
    assert (own_state / "a.epoch").read_text() == f"{NOW_S + 6}\n" and next_epoch("b", NOW_S) == NOW_S


def test_a_lost_folder_does_not_begin_again_at_one(own_state: Path) -> None:
    first = next_epoch("a", NOW_S)
    (own_state / "a.epoch").unlink()
    assert next_epoch("a", NOW_S + 3) > first


@pytest.mark.parametrize("back_s", [0, 1, 86_400])
def test_a_clock_set_back_leaves_room_for_all_ids_of_the_last_run(back_s: int) -> None:
    last = next_epoch("a", NOW_S)
    again = next_epoch("a", NOW_S - back_s)
    assert again == last + EPOCH_STEP
    assert client_id(1, 0, again, 1) > client_id(1, 0, last, 2**28 - 1)


@given(st.lists(st.integers(1, EPOCH_MAX // 2), min_size=2, max_size=20))
def test_whatever_the_clock_says_numbers_rise(clock: list[int]) -> None:
    name = f"p{abs(hash(tuple(clock))) % 10**12}"
    numbers = [next_epoch(name, now_s) for now_s in clock]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"garbage", b"12x", b"-3", b"0", b"1.5", b"\xff\xfe", b"9" * 11, b"4294967295", b"1\n2\n"]
)
def test_garbage_is_refused_by_name_and_left_as_it_is(own_state: Path, text: bytes) -> None:
    next_epoch("a", NOW_S)
    (own_state / "a.epoch").write_bytes(text)
    with pytest.raises(
        StateError, match=r"a\.epoch: holds .* which is no run number; allowed: a whole number in 1\.\."
    ):
        next_epoch("a", NOW_S + 1)
    assert (own_state / "a.epoch").read_bytes() == text


def test_the_number_is_replaced_whole_or_not_at_all(own_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next_epoch("a", NOW_S)
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(StateError, match=r"a\.epoch: Input/output error"):
            next_epoch("a", NOW_S + 1)
    assert (own_state / "a.epoch").read_text() == f"{NOW_S}\n"
    synced.clear()
    next_epoch("a", NOW_S + 2)
    assert [Path(name).name for name in synced] == ["a.epoch.tmp", own_state.name]


def test_a_crashed_run_s_higher_number_is_remembered(own_state: Path) -> None:
    next_epoch("a", NOW_S)
    raise_epoch("a", NOW_S + 100)
    raise_epoch("a", NOW_S + 50)
    assert next_epoch("a", NOW_S + 60) == NOW_S + 100 + EPOCH_STEP


@pytest.mark.parametrize("epoch", [0, -1, EPOCH_MAX + 1, 2**63])
def test_what_is_no_run_number_is_not_remembered(own_state: Path, epoch: int) -> None:
    next_epoch("a", NOW_S)
    with pytest.raises(StateError, match="is no run number"):
        raise_epoch("a", epoch)
    assert (own_state / "a.epoch").read_text() == f"{NOW_S}\n"


def test_numbers_that_are_used_up_are_not_begun_again(own_state: Path) -> None:
    own_state.mkdir(parents=True)
    (own_state / "a.epoch").write_text(f"{EPOCH_MAX}")
    with pytest.raises(StateError, match="no run number left"):
        next_epoch("a", NOW_S)


def test_a_lock_that_is_never_given_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hftpipe.app.state.LOCK_LIMIT_NS", 50_000_000)
    with locked("a"), pytest.raises(StateError, match=r"a\.lock: held by another process"):
        next_epoch("a", NOW_S)
    assert next_epoch("a", NOW_S) == NOW_S


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(StateError, match="file/hftpipe: Not a directory; the state folder"):
        next_epoch("a", NOW_S)
