"""``hftpipe verdicts``: every verdict of a recorded run, with its reason and the figures that it was reached by."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_replay_verify import QUICK, record_run
from typer.testing import CliRunner

from hftpipe.cli import app


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("verdicts")
    # So little that the second side of a quote finds room, and a position that is held does not.
    summary = record_run(
        folder, "--duration", "3", "--set", "controls.max_gross_notional=70", *QUICK, name="test-verdicts"
    )
    (session,) = [path for path in folder.iterdir() if path.is_dir() and path.name != "state"]
    return session, summary


def asked(session: Path, *options: str) -> list[str]:
    done = CliRunner().invoke(app, ["verdicts", str(session), *options])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_every_refusal_that_the_run_counted_is_there_with_its_figures(recorded: tuple[Path, dict[str, Any]]) -> None:
    session, summary = recorded
    rows = [json.loads(line) for line in asked(session, "--json")]
    passed, refused = ([one for one in rows if (one["verdict"] == "passed") == wanted] for wanted in (True, False))
    assert len(passed) >= summary["orders"] > 0
    gross = [one for one in refused if one["verdict"] == "gross_notional"]
    assert len(gross) == summary["rejects"].get("gross_notional", 0) > 0
    for one in gross:
        figures = one["figures"]
        assert float(figures["bid"]) < float(figures["ask"]) and float(figures["gross"]) <= 70 * 1.01
        assert {"position", "working_buy", "working_sell", "profit_today", "drawdown", "book_age_ms"} <= set(figures)


def test_one_order_and_only_refusals_can_be_asked_for(recorded: tuple[Path, dict[str, Any]]) -> None:
    session, _ = recorded
    refused = [json.loads(line) for line in asked(session, "--json", "--refused")]
    assert refused and all(one["verdict"] != "passed" for one in refused)
    own = [json.loads(line) for line in asked(session, "--json", "--order", refused[0]["order"])]
    assert own and {one["order"] for one in own} == {refused[0]["order"]}
    assert asked(session)[-1].split()[1] == "verdicts:"
    assert CliRunner().invoke(app, ["verdicts", str(session), "--order", "x"]).exit_code == 2
