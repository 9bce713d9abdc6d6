"""What a start finds: a halt that is latched, a run that did not end in order, an account whose position it does not know."""

import logging
from dataclasses import dataclass
from typing import Any

from hftpipe.app.halt_latch import HaltLatch, Latch, latched_scopes, option_of, read_latch
from hftpipe.app.halt_scope import scope_of
from hftpipe.app.run_marker import begin_run
from hftpipe.app.state import StateError
from hftpipe.config import Config
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
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
        profit_before: today's profit of earlier runs, by quote currency (``app/loss_state.py``).
        positions_from: ``zero`` where the venue may hold others than we count, ``venue`` where it cannot.
    """

    latch: HaltLatch
    unclean: dict[str, Any] | None
    positions_from: str
    profit_before: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "latched_halt": self.latch.facts(),
            "latched_scopes": self.latch.scope_facts(),
            "previous_run_not_ended": self.unclean,
            "positions_from": self.positions_from,
            "profit_today_before": self.profit_before,
        }


def refuse_if_halted(config: Config) -> None:
    """Refuse to start under a latched halt, where that is wanted (``pipeline.on_latched_halt``).

    Raises:
        StateError: there is one, and it is.
    """
    name = config.pipeline.name
    if config.pipeline.on_latched_halt != "refuse":
        return
    if latch := read_latch(name):
        raise StateError(f"pipeline {name!r} is halted: {latch}; `hftpipe resume {name}` clears it")
    for scope, latch in latched_scopes(name).items():
        raise StateError(
            f"pipeline {name!r}: {scope} is halted: {latch}; `hftpipe resume {name}{option_of(scope)}` clears it"
        )


def begin(pipeline: Pipeline, profit_before: dict[str, str]) -> Start:
    """The segment is ours and published, no stage has started: look at what was left, and halt if a halt was.

    The halt file is read after the segment can be attached to: ``hftpipe halt`` is seen in the one or in the other. The run is
    marked as under way last of all that can be refused: a start that is refused had no orders, and leaves what it found.

    Args:
        profit_before: from :func:`hftpipe.app.loss_state.resume_losses`.

    Raises:
        StateError: the state folder cannot be used.
    """
    name, epoch = pipeline.segment.name, pipeline.segment.epoch
    pipeline.segment.publish()
    found, scopes = read_latch(name), latched_scopes(name)
    unclean = begin_run(name, epoch)
    if found:
        set_halt(pipeline.halt_cell(), True, found.code, wall_ns())
        event(
            LOG, logging.WARNING, "the pipeline is halted since an earlier run and trades nothing", cause=found.cause,
            time=found.time, epoch=found.epoch, what=found.what, until=f"hftpipe resume {name}",
        )  # fmt: skip
    for text, latch in scopes.items():
        _halt_scope(pipeline, text, latch)
    if unclean:
        what = (
            "the last run did not end in order: it was killed, or its machine was; its orders may be live at the venue"
        )
        event(LOG, logging.WARNING, what, **unclean)
    return Start(HaltLatch(name, epoch, found, scopes), unclean, _positions_from(pipeline), profit_before)


def _halt_scope(pipeline: Pipeline, text: str, latch: Latch) -> None:
    """A venue, strategy or instrument stays halted; one that this run has not is named, and its halt kept."""
    name = pipeline.segment.name
    try:
        place = scope_of(text).place(pipeline.segment.meta)
    except StateError as error:
        event(LOG, logging.WARNING, "a halt of an earlier run is of something that this run has not", what=str(error))
        return
    pipeline.set_scope(place, latch.code, steady_ns())
    event(
        LOG, logging.WARNING, "a part of the pipeline is halted since an earlier run", scope=text, cause=latch.cause,
        time=latch.time, epoch=latch.epoch, what=latch.what, until=f"hftpipe resume {name}{option_of(text)}",
    )  # fmt: skip


def _positions_from(pipeline: Pipeline) -> str:
    others = [place.about for place in pipeline.venues if not place.about.ends_with_run]
    for one in others:
        event(
            LOG, logging.WARNING, "positions are counted from 0, whatever the account holds at the venue: limits and PnL "
            "are those of this run alone", user=one.user, venue=one.server,
        )  # fmt: skip
    return "zero" if others else "venue"
