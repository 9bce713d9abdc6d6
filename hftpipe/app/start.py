"""What a start finds: a halt that is latched, a run that did not end in order, an account whose position it does not know."""

import logging
from dataclasses import dataclass
from typing import Any

from hftpipe.app.halt_latch import HaltLatch, read_latch
from hftpipe.app.run_marker import begin_run
from hftpipe.app.state import StateError
from hftpipe.config import Config
from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.core.shared.cell import set_halt
from hftpipe.log import event
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")


@dataclass(frozen=True)
class Start:
    """How a run has started.

    Attributes:
        latch: where its halts go; holds the one that was found.
        unclean: the marker of the run before, if that did not end in order.
        positions_from: ``zero`` where the venue may hold others than we count, ``venue`` where it cannot.
    """

    latch: HaltLatch
    unclean: dict[str, Any] | None
    positions_from: str

    def facts(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "latched_halt": self.latch.facts(),
            "previous_run_not_ended": self.unclean,
            "positions_from": self.positions_from,
        }


def refuse_if_halted(config: Config) -> None:
    """Refuse to start under a latched halt, where that is wanted (``pipeline.on_latched_halt``).

    Raises:
        StateError: there is one, and it is.
    """
    name = config.pipeline.name
    if config.pipeline.on_latched_halt == "refuse" and (latch := read_latch(name)):
        raise StateError(f"pipeline {name!r} is halted: {latch}; `hftpipe resume {name}` clears it")


def begin(pipeline: Pipeline) -> Start:
    """The segment is ours and published, no stage has started: look at what was left, and halt if a halt was.

    The halt file is read after the segment can be attached to: ``hftpipe halt`` is seen in the one or in the other.

    Raises:
        StateError: the state folder cannot be used.
    """
    name, epoch = pipeline.segment.name, pipeline.segment.epoch
    unclean = begin_run(name, epoch)
    pipeline.segment.publish()
    found = read_latch(name)
    if found:
        set_halt(pipeline.halt_cell(), True, found.code, wall_ns())
        event(
            LOG, logging.WARNING, "the pipeline is halted since an earlier run and trades nothing", cause=found.cause,
            time=found.time, epoch=found.epoch, what=found.what, until=f"hftpipe resume {name}",
        )  # fmt: skip
    if unclean:
        what = (
            "the last run did not end in order: it was killed, or its machine was; its orders may be live at the venue"
        )
        event(LOG, logging.WARNING, what, **unclean)
    return Start(HaltLatch(name, epoch, found), unclean, _positions_from(pipeline.config))


def _positions_from(config: Config) -> str:
    if config.pipeline.venue != "udp" or config.udp.embedded:
        return "venue"
    event(
        LOG, logging.WARNING, "positions are counted from 0, whatever the account holds at the venue: limits and PnL "
        "are those of this run alone", user=config.udp.user, venue=f"{config.udp.order_address}:{config.udp.order_port}",
    )  # fmt: skip
    return "zero"
