"""Collects the rows of all benches: one percentile table at the end, and one JSON file for machines."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import context_switches, machine, since

COMPARE = {
    "<=": lambda ratio, limit: ratio <= limit,
    ">=": lambda ratio, limit: ratio >= limit,
    "<": lambda ratio, limit: ratio < limit,
    ">": lambda ratio, limit: ratio > limit,
}


@dataclass
class Row:
    """One figure, in ``unit``: ours without a rival, else the rival's, with ``ratio`` ours over the rival's."""

    bench: str
    what: str
    rival: str | None
    unit: str
    p50: float | None
    p99: float | None
    p99_9: float | None
    max: float | None
    ratio: float | None
    bar: str | None
    ok: bool | None
    note: str | None
    context_switches: dict[str, int]


def judge(ratio: float | None, bar: str | None) -> bool | None:
    """Whether ``ratio`` keeps ``bar`` (such as ``"<= 1.10"``); None without a bar."""
    if bar is None or ratio is None:
        return None
    sign, limit = bar.split()
    return bool(COMPARE[sign](ratio, float(limit)))


class Report:
    """Where one bench puts its rows. A row whose bar fails fails the bench, after all its rows are in."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows, self._before, self.failures = rows, context_switches(), []

    def row(
        self,
        bench: str,
        what: str,
        rival: str | None = None,
        unit: str = "ns",
        p50: float | None = None,
        p99: float | None = None,
        p99_9: float | None = None,
        max: float | None = None,
        ratio: float | None = None,
        bar: str | None = None,
        ok: bool | None = None,
        note: str | None = None,
    ) -> bool:
        """Add a row; False if its bar fails. ``ok`` is worked out from ``ratio`` and ``bar`` unless given.

        Only a bar on a same-run ratio fails the bench; an absolute figure says ``ok`` or not, and the reader judges
        how disturbed the machine was.
        """
        ok = judge(ratio, bar) if ok is None else ok
        self._rows.append(
            Row(bench, what, rival, unit, p50, p99, p99_9, max, ratio, bar, ok, note, since(self._before))
        )
        if ok is False and bar is not None:
            self.failures.append(f"{bench}: {what} against {rival}: ratio {ratio}, bar {bar}")
        return ok is not False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-json", metavar="FILE", help="write machine facts and all rows to FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.bench_rows = []


@pytest.fixture(autouse=True)
def _own_cpus() -> Iterator[None]:
    """A bench may pin itself: the next one has all CPUs again."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """The bench's report; bars are judged when the bench is over."""
    made = Report(request.config.bench_rows)
    yield made
    if made.failures:
        pytest.fail("\n".join(made.failures), pytrace=False)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    figures = [_number(value) for value in (row.p50, row.p99, row.p99_9, row.max)]
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    verdict = {None: "", True: "ok", False: "FAILED"}[row.ok]
    switches = f"{row.context_switches['involuntary']}/{row.context_switches['voluntary']}"
    return [row.bench, row.what, row.rival or "(ours)", row.unit, *figures, ratio, row.bar or "", verdict, switches]


HEADINGS = ["bench", "what", "whose", "unit", "p50", "p99", "p99.9", "max", "ratio", "bar", "ok", "invol/vol"]


def _table(rows: list[Row]) -> list[str]:
    cells = [HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = []
    for index, line in enumerate(cells):
        text = "  ".join(
            cell.ljust(width) if column < 4 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        note = rows[index - 1].note if index else None
        lines.append(f"{text}  {note}" if note else text)
    return lines


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.bench_rows
    if not rows:
        return
    terminalreporter.section("benches")
    terminalreporter.write_line("  ".join(f"{key}: {value}" for key, value in machine().items()))
    for line in _table(rows):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--bench-json")
    if target:
        document = {"machine": machine(), "rows": [asdict(row) for row in session.config.bench_rows]}
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(json.dumps(document, indent=1) + "\n")
