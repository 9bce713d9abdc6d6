"""A process that does not end as it was told to is a fault by name: of its stage, and of the hook it was in."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_run import run, stages_of
from test_run_strategy import name_of, own_record, running, wait_for

from hftpipe.record.replay.verify import replay_main
from hftpipe.record.tape.format import RecordError

HANGS = """
from hftpipe.strategy import BUY, Strategy, param, state


class Hangs(Strategy):
    \"\"\"Quotes, and after some calls does not come back.\"\"\"

    after: int = param(50)
    calls: int = state()

    def on_book(self, ctx, book):
        ctx.quote(0, BUY, book.bid - 20 * ctx.tick(), 100000)
        self.calls += 1
        while self.calls > self.after:
            self.calls |= 1
"""


def hanging(tmp_path: Path, test: str, *flags: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, text and JSON of a run whose strategy hangs."""
    path, out = tmp_path / "hangs.py", tmp_path / "summary.json"
    path.write_text(HANGS)
    done = run(name_of(test), "--strategy", f"{path}:Hangs", "--json", str(out), *flags)
    return done.returncode, done.stdout + done.stderr, json.loads(out.read_text())


@pytest.mark.parametrize("processes", ["4", "2"])
def test_a_strategy_that_hangs_when_the_run_ends_fails_the_run_by_name(tmp_path: Path, processes: str) -> None:
    flags = ("--duration", "3", "--processes", processes, "--set", "pipeline.heartbeat_timeout_s=30")
    code, text, summary = hanging(tmp_path, f"end{processes}", *flags)
    assert code == 1 == summary["exit_code"] and summary["reason"] == "duration reached", text
    what = "stage strategy did not stop within 5 s and was killed, in on_book of the strategy"
    assert summary["stage_faults"] == {"strategy.hung": what}
    assert summary["faults"]["strategy.hung"] == 1 and summary["halted"] == "heartbeat_lost"
    assert what in text and "strategy.hung 1" in text


def test_of_two_stages_in_one_process_the_one_that_hangs_is_named(tmp_path: Path) -> None:
    flags = ("--duration", "60", "--processes", "2", "--set", "pipeline.heartbeat_timeout_s=1")
    code, text, summary = hanging(tmp_path, "two", *flags)
    assert code == 1 and summary["reason"].startswith("stage strategy has not moved for"), text
    assert summary["reason"].endswith("in on_book of the strategy")
    assert list(summary["stage_faults"]) == ["strategy.hung"]


def test_a_session_whose_hook_never_returned_is_not_replayed_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    flags = ("--duration", "60", "--set", "pipeline.heartbeat_timeout_s=1", "--record", str(folder))
    code, text, summary = hanging(tmp_path, "tape", *flags)
    assert code == 1 and list(summary["stage_faults"]) == ["strategy.hung"], text
    (session,) = folder.iterdir()
    with pytest.raises(RecordError, match="on_book of Hangs never returned, and would not in a replay"):
        replay_main(str(session), True, None, {}, False)


def test_a_death_by_a_signal_inside_a_hook_names_the_hook(tmp_path: Path) -> None:
    path, name = tmp_path / "hangs.py", name_of("dies")
    path.write_text(HANGS)
    spec = f"{path}:Hangs"
    flags = ("--strategy", spec, "--processes", "2", "--set", "pipeline.heartbeat_timeout_s=30")
    with running(name, *flags) as process:
        own = own_record(name, spec)
        wait_for("the hang", lambda: own["calls"] > own["after"])
        os.kill(stages_of(process)[0], signal.SIGSEGV)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "died: killed by SIGSEGV, in on_book of the strategy" in out and "strategy.died 1" in out
