"""A stage that stopped itself is latched whatever trading is halted for already, and until the run is over."""

import logging
from typing import Any

import pytest
from running import configs

from hftpipe.app import supervisor as module
from hftpipe.app.halt_latch import HaltLatch, Latch, read_latch, write_latch
from hftpipe.app.supervisor import Child, Supervisor
from hftpipe.config import load
from hftpipe.config.presets import demo_overrides
from hftpipe.core.schema.cells import LATE_FILL, OPERATOR, STOPPING
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import load_strategies


def built(name: str, files: list[str], overrides: dict[str, Any]) -> tuple[Pipeline, Supervisor]:
    config = load(files, {}, overrides | {"pipeline.name": name})
    pipeline = Pipeline(config, load_strategies(config), 1, 0, PrivateSegment)
    return pipeline, Supervisor(pipeline, latch=HaltLatch(name, 1))


def trip(pipeline: Pipeline, gateway: str = "gateway") -> None:
    state = pipeline.state(gateway)
    state["tripped"], state["trip_cause"], state["fault_id"], state["late_fills"] = 1, LATE_FILL, 77, 1


def poll(supervisor: Supervisor) -> None:
    for _ in range(3):
        supervisor._halt_if_tripped()
        supervisor._latch_halt()


@pytest.mark.parametrize("cause", [OPERATOR, STOPPING])
def test_a_fault_is_latched_although_trading_is_halted_already(caplog: pytest.LogCaptureFixture, cause: int) -> None:
    """Whoever resumes must be shown it, whatever else they were told."""
    pipeline, supervisor = built("a", [], demo_overrides(None))
    if cause == OPERATOR:
        write_latch("a", Latch("operator", "", 1, "maintenance"))
    set_halt(pipeline.halt_cell(), True, cause, 1)
    poll(supervisor)
    trip(pipeline)
    with caplog.at_level(logging.ERROR):
        poll(supervisor)
    found = read_latch("a")
    assert found is not None and found.cause == "late_fill" and "0x4d" in found.what
    assert pipeline.halt_cell()["cause"][0] == cause, "the cell keeps what it was halted for"
    assert [one.message for one in caplog.records].count("halted: a stage stopped itself") == 1


def test_a_fault_of_one_venue_is_latched_although_everything_is_halted() -> None:
    settings = {"pipeline.on_venue_fault": "halt_venue"}
    files = [one.removeprefix("--config=") for one in configs("paper", "risk_limits", "two_venues")]
    pipeline, supervisor = built("a", files, settings)
    set_halt(pipeline.halt_cell(), True, STOPPING, 1)
    trip(pipeline, "gateway@alpha")
    poll(supervisor)
    found = read_latch("a", "venue.alpha")
    assert found is not None and found.cause == "late_fill" and read_latch("a") is None


class Ends:
    """A wind-down in which a fill comes late."""

    def __init__(self, pipeline: Pipeline, *_: object) -> None:
        self._pipeline = pipeline

    def run(self) -> None:
        set_halt(self._pipeline.halt_cell(), True, STOPPING, 1)
        trip(self._pipeline)

    def facts(self, _died: object) -> dict[str, Any]:
        return {"still_open": [], "unknown_because": []}


def test_a_fault_while_orders_end_is_latched_before_the_run_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline, supervisor = built("a", [], demo_overrides(None))

    def fork(index: int, _cpus: list[int]) -> None:
        supervisor._children.append(Child(index, pipeline.processes[index], 0, {0}, status=0))

    monkeypatch.setattr(module, "WindDown", Ends)
    monkeypatch.setattr(module, "_stand_back", lambda: None)
    monkeypatch.setattr(supervisor, "_fork", fork)
    monkeypatch.setattr(supervisor, "_watched", lambda _duration: ("asked to", 0))
    monkeypatch.setattr(supervisor, "_sample_memory", lambda: None)
    assert supervisor.run([0] * len(pipeline.processes), 0).reason == "asked to"
    found = read_latch("a")
    assert found is not None and found.cause == "late_fill"
