"""What a changed configuration file does to a run: parameters and limits take effect, all else is named and does not."""

import functools
import logging
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_run import MAIN, REPO, run, start

from hftpipe.app import params_watch
from hftpipe.app.cold import Cold
from hftpipe.app.params_watch import ParamsWatch, fixed_changes
from hftpipe.app.settings import sources
from hftpipe.app.settings.leaves import leaves
from hftpipe.app.settings.sources import Sources
from hftpipe.config import load
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.strategy.params import PARAMS_CELL, PARAMS_HEADER_BYTES

BASE = [str(REPO / "configs/paper.toml"), str(REPO / "configs/risk_limits.toml")]
#: Limits are for these; without it those given here for a symbol that is not among the instruments would be refused.
TRADED = ("BTCUSDT", "NEW")


def changes(**overrides: object) -> dict:
    return fixed_changes(
        load(BASE, {}), load(BASE, {}, {name.replace("__", "."): value for name, value in overrides.items()}, TRADED)
    )


def test_every_key_but_parameters_and_limits_is_fixed_and_named_with_both_values() -> None:
    assert changes() == {}
    assert changes(strategy__params__spread_bps="3") == {}
    assert changes(risk__limits__BTCUSDT__max_position="0.05") == {}
    assert changes(risk__limits__NEW__max_position="1") == {}
    assert changes(rings__market="4096") == {"rings.market": (65536, 4096)}
    assert changes(risk__limits__default__max_book_age_ms="7") == {"risk.limits.default.max_book_age_ms": (2000, 7)}
    assert changes(controls__self_match="venue") == {"controls.self_match": ("refuse", "venue")}


def test_instruments_are_told_by_their_number() -> None:
    assert leaves({"a": [{"b": 1}, {"b": 2}], "c": [1, 2]}) == {"a.0.b": 1, "a.1.b": 2, "c": [1, 2]}


def test_an_edited_key_that_is_fixed_is_said_to_be_without_effect_once_for_each_value(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"

    def write(age_ms: int, spread: float, more: str = "") -> None:
        mine.write_text(
            f"[strategy]\nreload_s = 0.1\n[strategy.params]\nspread_bps = {spread}\n"
            f"[risk.limits.BTCUSDT]\nmax_book_age_ms = {age_ms}\n{more}"
        )
        time.sleep(0.8)

    write(1000, 0.5)
    process = start("t-limits", "--config", str(mine))
    write(900, 0.5)
    write(900, 0.6)
    write(800, 0.6, "[rings]\nmarket = 4096\n")
    write(1000, 0.6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = [line for line in err.splitlines() if "fixed for the run" in line]
    ages = [line for line in lines if "risk.limits.BTCUSDT.max_book_age_ms" in line]
    assert len(ages) == 2 and '"running":1000,"file":900' in ages[0] and '"file":800' in ages[1]
    assert "restart to apply" in ages[0] and "risk limits are fixed" in ages[0]
    assert sum("rings.market" in line for line in lines) == 1 and len(lines) == 3
    assert err.count("strategy parameters changed") == 1 and err.count("says again what the run has") == 2


# --- a file that is being written -------------------------------------------------------------------

WHOLE = "[strategy.params]\nspread_bps = 12.5\nmargin_bps = 2.25\n"


@functools.cache
def market_making() -> LoadedStrategy:
    return load_strategy("market_making")


class Watched:
    """A watch over one file, on a clock of the test's: each look a period after the one before."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.file, self._log, self._now = file, caplog, 10**9
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(params_watch, "steady_ns", lambda: self._now)
        config = load([file], {})
        self._strategy = market_making()
        self._area = np.zeros(PARAMS_HEADER_BYTES + 8 * len(self._strategy.schema), np.uint8)
        self._area[:PARAMS_HEADER_BYTES].view(PARAMS_CELL)["count"] = len(self._strategy.schema)
        pipeline = SimpleNamespace(
            config=config,
            strategies=[self._strategy],
            names=["market_making"],
            of_strategy=lambda name, index: name,
            segment=SimpleNamespace(region=lambda name: self._area, record=lambda name, dtype: np.zeros(1, dtype)),
        )
        limits = SimpleNamespace(want=lambda found, taken_back: None, flush=lambda: None)
        store = SimpleNamespace(read=dict, look=lambda: None)
        self.watch = ParamsWatch(pipeline, limits, config, Sources([str(file)], {}, {}, store))

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._now += 10**9
            self.watch.poll()

    def published(self) -> int:
        """How often parameters were given out."""
        return int(self._area[:8].view(np.uint64)[0]) // 2

    def value(self, name: str) -> float:
        index = [one.name for one in self._strategy.schema].index(name)
        at = PARAMS_HEADER_BYTES + 8 * index
        return float(self._area[at : at + 8].view(np.float64)[0])

    def reasons(self) -> list[str]:
        """Why nothing was changed, as logged."""
        return [one._fields["reason"] for one in self._log.records if "not changed" in one.message]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Watched:
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE)
    return Watched(file, monkeypatch, caplog)


def test_a_file_that_still_changes_is_not_read(watched: Watched) -> None:
    watched.look(3)
    for length in range(len(WHOLE) + 1):
        watched.file.write_text(WHOLE[:length].replace("12.5", "13.5"))
        watched.look()
    assert watched.published() == 0 and not watched.reasons()
    watched.look()
    assert watched.published() == 1 and watched.value("spread_bps") == 13.5 and watched.value("margin_bps") == 2.25


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_no_part_of_a_file_is_taken_for_the_whole_however_long_it_stands(watched: Watched, length: int) -> None:
    """A writer that stalls in the middle: defaults in the place of keys not yet there, and numbers cut short."""
    text = WHOLE.replace("12.5", "13.5").replace("2.25", "2.75")
    watched.look(3)
    watched.file.write_text(text[:length])
    watched.look(10)
    assert watched.published() == 0 and len(watched.reasons()) == 1, watched.reasons()
    watched.file.write_text(text)
    watched.look(2)
    assert watched.published() == 1 and (watched.value("spread_bps"), watched.value("margin_bps")) == (13.5, 2.75)


def test_a_parameter_that_is_no_longer_given_is_named_and_nothing_changes(watched: Watched) -> None:
    watched.look(3)
    watched.file.write_text("[strategy.params]\nspread_bps = 9.0\n")
    watched.look(3)
    assert watched.published() == 0
    assert watched.reasons() == ["no longer given: margin_bps; to have a default back, write it down"]


def test_a_cut_line_is_named(watched: Watched) -> None:
    watched.look(3)
    watched.file.write_text(WHOLE[: WHOLE.index(".25")])
    watched.look(3)
    (reason,) = watched.reasons()
    assert reason == f"{watched.file}: the last line has no end, it may not be written yet: 'margin_bps = 2'"


def test_a_file_that_is_gone_for_a_while_is_named_and_found_again(watched: Watched) -> None:
    watched.look(3)
    watched.file.unlink()
    watched.look(3)
    assert watched.reasons() == [f"not there, or no file: {watched.file}"]
    watched.file.write_text(WHOLE.replace("12.5", "14.5"))
    watched.look(2)
    assert watched.published() == 1 and watched.value("spread_bps") == 14.5


def test_a_pipe_is_not_read_a_second_time(watched: Watched) -> None:
    """Reading it would wait for a writer for ever."""
    watched.look(3)
    watched.file.unlink()
    os.mkfifo(watched.file)
    watched.look(3)
    assert watched.published() == 0 and watched.reasons() == [f"not there, or no file: {watched.file}"]


def test_a_file_that_is_changed_between_being_found_and_being_read_is_looked_at_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.look(3)
    watched.file.write_text(WHOLE.replace("12.5", "15.5"))
    real = sources.load

    def load_and_change(*given: object) -> object:
        found = real(*given)
        watched.file.write_text(WHOLE.replace("12.5", "16.25"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(sources, "load", load_and_change)
        watched.look(2)
    assert watched.published() == 0
    watched.look(2)
    assert watched.published() == 1 and watched.value("spread_bps") == 16.25


def test_what_was_edited_while_the_run_was_starting_takes_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Compiling takes a minute; the file was read before it, and is watched after it."""
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE)
    real = ParamsWatch.__init__

    def late(self: ParamsWatch, *given: object) -> None:
        file.write_text(WHOLE.replace("12.5", "17.5"))
        real(self, *given)

    monkeypatch.setattr(ParamsWatch, "__init__", late)
    watched = Watched(file, monkeypatch, caplog)
    watched.look(2)
    assert watched.published() == 1 and watched.value("spread_bps") == 17.5


# --- what is beside trading must not end it -----------------------------------------------------------


def test_cold_work_that_raises_is_counted_and_logged_once_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    cold, calls = Cold(), []

    def fails() -> None:
        calls.append(1)
        raise FileNotFoundError(2, f"no such file {len(calls)}")

    for _ in range(3):
        cold.run("reading", fails)
    cold.run("the view", lambda: calls.append(1))
    assert cold.errors == {"reading": 3} and len(calls) == 4
    (record,) = caplog.records
    assert record.message == "reading failed; the run goes on" and "no such file 1" in record._fields["reason"]


BROKEN_VIEW = (
    "from hftpipe.app import run\n\ndef poll(self):\n    raise FileNotFoundError(2, 'gone')\n\nrun.Screen.poll = poll\n"
)


def test_a_view_that_breaks_ends_no_run_and_the_summary_says_so(tmp_path: Path) -> None:
    done = run("t-brokenview", "--duration", "2", "--json", str(tmp_path / "summary.json"), code=BROKEN_VIEW + MAIN)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("the live view failed; the run goes on") == 1
    assert "run ended: duration reached" in done.stdout and "the live view, " in done.stdout


BROKEN_WATCH = (
    "from hftpipe.app.supervisor import Supervisor\n\ndef fails(self):\n    raise RuntimeError('nobody expected this')\n\n"
    "Supervisor._latch_halt = fails\n"
)


def test_a_fault_of_the_supervisor_s_own_ends_the_run_in_order_with_a_summary(tmp_path: Path) -> None:
    out = tmp_path / "summary.json"
    done = run("t-brokenwatch", "--duration", "20", "--json", str(out), code=BROKEN_WATCH + MAIN)
    assert done.returncode == 1
    assert "run ended: the supervisor failed: RuntimeError: nobody expected this" in done.stdout, done.stderr
    assert '"still_open": []' in out.read_text()
