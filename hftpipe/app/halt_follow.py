"""Halts that came or went in shared memory while the pipeline runs: a person's doing."""

from hftpipe.app.halt_latch import HaltLatch
from hftpipe.app.halt_scope import Scope, scope_of
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import OPERATOR, STOPPING
from hftpipe.core.schema.halts import halted_scopes
from hftpipe.core.shared.cell import set_halt
from hftpipe.topology.pipeline import Pipeline


def follow_halt(pipeline: Pipeline, latch: HaltLatch) -> None:
    """The same of the halt of everything as :func:`follow_scopes` of parts."""
    cell = pipeline.halt_cell()
    if cell["halted"][0]:
        latch.set_by_others(int(cell["cause"][0]))
        return
    if latch.first is None:
        return

    def set_again(cause: int) -> None:
        set_halt(cell, True, cause, wall_ns())

    if (cause := latch.first.code) != OPERATOR:
        set_again(cause)
    elif latch.is_cleared("", set_again):
        latch.forget("")


def follow_last(pipeline: Pipeline, latch: HaltLatch) -> None:
    """At the end of a run: latch a halt that came while it was ending, and forget what a person has cleared since the last look, for the
    cell says by now that the run has stopped."""
    cell = pipeline.halt_cell()
    if cell["halted"][0]:
        latch.set_by_others(int(cell["cause"][0]))
    if (
        cell["cause"][0] == STOPPING
        and latch.first
        and latch.first.code == OPERATOR
        and latch.is_cleared("", lambda cause: None)
    ):
        latch.forget("")
    follow_scopes(pipeline, latch)


def follow_scopes(pipeline: Pipeline, latch: HaltLatch) -> None:
    """Latch the halts of parts of the trading that a person has set, and forget those that a person has cleared.

    A person clears only what a person has set: whatever else halted a part, of which the word was cleared at the same
    moment, is set again; and so is a word whose file is there, as somebody has halted the part again meanwhile.
    """
    segment = pipeline.segment
    now = halted_scopes(segment.region("halts"), segment.meta)
    for scope, cause in now.items():
        latch.set_by_others(cause, scope)
    for scope in set(latch.scopes) - set(now):
        part = scope_of(scope)
        if not part.is_in(segment.meta):
            continue
        if (cause := latch.scopes[scope].code) != OPERATOR:
            _set(pipeline, part, cause)
        elif latch.is_cleared(scope, lambda cause, part=part: _set(pipeline, part, cause)):  # type: ignore[misc]
            latch.forget(scope)


def _set(pipeline: Pipeline, part: Scope, cause: int) -> None:
    pipeline.set_scope(part.place(pipeline.segment.meta), cause, steady_ns())
