"""What was lost today outlives the run: the file, what is taken over from it, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from memory import address

from hftpipe.app import loss_state
from hftpipe.app.loss_state import LossKeeper, go_on, lost_text, resume_losses
from hftpipe.app.state import StateError
from hftpipe.config import Config, load
from hftpipe.core.schema.cells import DAILY_LOSS, DRAWDOWN
from hftpipe.risk.losses import DAY_NS, book_profit, loss_rows, today

E8 = 10**8
NOON = 1_700_000_000 * 10**9 // DAY_NS * DAY_NS + 12 * 3600 * 10**9


def rows(config: Config | None = None) -> np.ndarray:
    made: np.ndarray = loss_rows((config or Config()).controls, 1)
    return made


def book(row: np.ndarray, change: int, at: int) -> int:
    return int(book_profit(address(row), np.int64(change), np.int64(at)))


def test_the_day_and_its_drawdown_go_on_in_the_next_run() -> None:
    first = rows()
    book(first, 30 * E8, NOON)
    book(first, -110 * E8, NOON + 60 * 10**9)
    text = lost_text(first, ["USDT"], NOON + 60 * 10**9)
    second = rows()
    assert go_on(second, ["USDT"], text, NOON + 120 * 10**9) == {"USDT": "-80"}
    assert today(second[0], NOON + 120 * 10**9) == -80 * E8
    assert book(second, 10 * E8, NOON + 121 * 10**9) == 0, "exactly 100 below the best moment of the first run"
    assert book(second, -1, NOON + 122 * 10**9) == DRAWDOWN
    late = rows()
    go_on(late, ["USDT"], text, NOON + 3 * 3600 * 10**9)
    assert book(late, -100 * E8, NOON + 3 * 3600 * 10**9 + 1) == 0, "that moment is long past"
    assert today(late[0], NOON + 4 * 3600 * 10**9) == -180 * E8


def test_losses_of_several_runs_of_a_day_add_up_to_its_limit() -> None:
    now, text, tripped = NOON, b"", 0
    for _ in range(7):
        row = rows()
        if text:
            go_on(row, ["USDT"], text, now)
        tripped = book(row, -80 * E8, now + 1)
        if tripped:
            break
        now += 2 * 3600 * 10**9 if now < NOON + 9 * 3600 * 10**9 else 0
        text = lost_text(row, ["USDT"], now)
    assert tripped == DAILY_LOSS and today(row[0], now) == -560 * E8


def test_another_day_another_currency_and_another_window_begin_anew() -> None:
    first = rows()
    book(first, -90 * E8, NOON)
    text = lost_text(first, ["USDT"], NOON)
    for now, quotes in ((NOON + DAY_NS, ["USDT"]), (NOON, ["USDC"])):
        row = rows()
        assert go_on(row, quotes, text, now) == {} and today(row[0], now) == 0
    other = rows(load([], {}, {"controls.drawdown_window_s": 60}))
    go_on(other, ["USDT"], text, NOON + 1)
    assert today(other[0], NOON + 1) == -90 * E8 and book(other, -50 * E8, NOON + 2) == 0


def test_what_was_lost_yesterday_is_not_written_down_as_lost_today() -> None:
    first, second = rows(), rows()
    book(first, -501 * E8, NOON + 11 * 3600 * 10**9)
    text = lost_text(first, ["USDT"], NOON + 12 * 3600 * 10**9 + 1)
    assert go_on(second, ["USDT"], text, NOON + 20 * 3600 * 10**9) == {"USDT": "0"}
    assert book(second, -1, NOON + 20 * 3600 * 10**9) == 0


def test_what_was_lost_in_a_currency_that_a_run_does_not_trade_is_kept_as_long_as_its_day_lasts(folder: Path) -> None:
    first = rows()
    book(first, -450 * E8, NOON)
    folder.parent.mkdir(parents=True)
    folder.write_bytes(lost_text(first, ["USDC"], NOON))
    between: Any = _Pipeline(is_paper=False)
    assert resume_losses(between) == {}
    keeper(between).look(is_last=True)
    later = rows()
    assert go_on(later, ["USDC"], folder.read_bytes(), NOON + 1) == {"USDC": "-450"}
    assert book(later, -51 * E8, NOON + 2) == DAILY_LOSS


class _Pipeline:
    """As much of a running pipeline as its losses need."""

    def __init__(self, is_paper: bool) -> None:
        self.config, self.rows = Config(), rows()
        self.venues = [SimpleNamespace(about=SimpleNamespace(ends_with_run=is_paper))]
        self.segment = SimpleNamespace(name="test-losses", region=lambda name: self.rows.view(np.uint8))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(loss_state, "wall_ns", lambda: NOON)
    yield tmp_path / "hftpipe" / "test-losses.losses"


def keeper(pipeline: Any) -> LossKeeper:
    return LossKeeper(pipeline)


def test_the_file_is_written_at_once_then_each_second_and_at_the_end_and_the_next_start_reads_it(folder: Path) -> None:
    pipeline: Any = _Pipeline(is_paper=False)
    assert resume_losses(pipeline) == {}
    kept = keeper(pipeline)
    kept.look()
    book(pipeline.rows, -7 * E8, NOON)
    kept.look()
    assert b'"today":"0"' in folder.read_bytes()
    kept.look(is_last=True)
    assert b'"today":"-7"' in folder.read_bytes()
    again: Any = _Pipeline(is_paper=False)
    assert resume_losses(again) == {"USDT": "-7"} and today(again.rows[0], NOON) == -7 * E8


def test_on_paper_there_is_no_such_file(folder: Path) -> None:
    pipeline: Any = _Pipeline(is_paper=True)
    keeper(pipeline).look(is_last=True)
    assert not folder.exists() and resume_losses(pipeline) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"time_ns": 1}', '{"time_ns": 1, "slice_ns": 0, "lost": {"USDT": {"today": "x"}}}']
)
def test_a_file_that_cannot_be_read_refuses_the_start_by_its_name(folder: Path, text: str) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text(text.replace('"time_ns": 1,', f'"time_ns": {NOON},'))
    pipeline: Any = _Pipeline(is_paper=False)
    with pytest.raises(StateError, match=r"test-losses\.losses cannot be read"):
        resume_losses(pipeline)


def test_a_disk_that_cannot_be_written_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipeline: Any = _Pipeline(is_paper=False)
    folder.mkdir(parents=True)
    kept = keeper(pipeline)
    kept.look()
    kept._next_ns = 0
    kept.look()
    said = [one for one in caplog.records if "not on the disk" in one.getMessage()]
    kept.look(is_last=True)
    again = [one for one in caplog.records if "not on the disk" in one.getMessage()]
    assert (len(said), len(again)) == (1, 2), "once, and at the end, when it will not be tried again"
