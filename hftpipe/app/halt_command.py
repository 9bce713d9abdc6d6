"""``hftpipe halt`` and ``hftpipe resume``: what a person does about trading, from another terminal or between runs."""

import re
from collections.abc import Callable

import numpy as np

from hftpipe.app.halt_latch import (
    Latch,
    clear_latch,
    latch_file,
    option_of,
    read_latch,
    utc_text,
    who,
    write_latch,
)
from hftpipe.app.halt_scope import Scope
from hftpipe.app.state import StateError, refused
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import HALT_CELL, OPERATOR, STOPPING
from hftpipe.core.schema.halts import scope_cause, set_scope
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.shm import Segment, SegmentError, StillStarting, is_foreign, live_pid

_NAME = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise StateError(f"pipeline {name!r}: allowed are 1 to 32 of a-z, 0-9, _ and -")


#: Attaches to the segment of a running pipeline, as :meth:`Segment.attach` does: who has done so before need not do it again.
Attach = Callable[..., Segment]


def halt(name: str, scope: Scope, reason: str, say: Callable[[str], None], attach: Attach | None = None) -> int:
    """Halt pipeline ``name``, or a part of it, at once if it runs, and have it start halted until it is resumed.

    The halt cell is set first: no disk stands between a person and the end of trading. It is set again behind the file: a
    pipeline may have been starting (it looks for the file after it can be attached to), and another person's resume may
    have cleared the word of a scope before it could see that file.

    Returns:
        0 if it is halted and latched; 1 if a running pipeline could not be halted.

    Raises:
        StateError: another name than a pipeline can have, a scope that it has not, or the halt could not be latched.
    """
    _check(name)
    problem, epoch = _halt_running(name, scope, attach)
    latch = Latch("operator", utc_text(wall_ns()), epoch, f"{reason or 'no reason given'} ({who()['user']})")
    try:
        # A reset that was under way may have cleared the cell since: it is set again before anything waits for the disk.
        write_latch(name, latch, scope.text, lambda: _halt_running(name, scope, attach))
    except OSError as error:
        raise refused(latch_file(name, scope.text), error) from error
    finally:
        problem, later = _halt_running(name, scope, attach)
    epoch = later or epoch
    what = scope.shown
    if problem:
        say(f"{name}: its process {live_pid(name) or ''} is NOT halted: {problem}; end it with SIGTERM")
    else:
        say(f"{name}: {what} is halted" if epoch else f"{name}: not running yet; it will start with {what} halted")
    say(f"`hftpipe resume {name}{option_of(scope.text)}` clears it")
    return int(bool(problem))


def _halt_running(name: str, scope: Scope, attach: Attach | None) -> tuple[str, int]:
    """Set the halt cell, or the scope's word: (why it could not be set, the run's number).

    ("", 0) if nothing runs, or nothing yet: a pipeline that is still starting reads what is latched after this. What is
    halted already keeps its cause: a fault's is not hidden behind a person's.
    """
    if not live_pid(name) and not is_foreign(name):
        return "", 0
    try:
        segment = (attach or Segment.attach)(name, is_writable=True)
    except StillStarting:
        return "", 0
    except SegmentError as error:
        return (str(error), 0) if live_pid(name) or is_foreign(name) else ("", 0)
    if scope.kind:
        words, place = segment.region("halts"), scope.place(segment.meta)
        if not scope_cause(words, place):
            set_scope(words, place, OPERATOR, steady_ns())
        return "", segment.epoch
    cell = segment.record("halt", HALT_CELL)
    if not cell["halted"][0] or cell["cause"][0] == STOPPING:
        set_halt(cell, True, OPERATOR, wall_ns())
    return "", segment.epoch


def resume(
    name: str, scope: Scope, agrees: Callable[[str], bool], say: Callable[[str], None], how: str = "",
    attach: Attach | None = None, latch: Latch | None = None,
) -> int:  # fmt: skip
    """Clear the halt of pipeline ``name``, or of a part of it, if the person agrees who has been shown it.

    What an operator halted trades on at once if the pipeline runs; whatever else halted it asks for a new start.

    Args:
        how: the way by which the person asks, where it is not the command line; goes to the history.
        latch: the halt that is meant; whichever there is if not given.

    Returns:
        0 if it was cleared, 1 if not.

    Raises:
        StateError: there is none, or the pipeline is running and was not halted by a person (it stays halted until it ends,
            so the file does).
    """
    _check(name)
    latch, shown = latch or read_latch(name, scope.text), f"{name} {scope.kind} {scope.label}".strip()
    if latch is None:
        path = latch_file(name, scope.text)
        raise StateError(f"{path}: there is no such file; pipeline {shown!r} is not halted")
    say(f"{shown} is halted: {latch}")
    if is_foreign(name):
        raise StateError(f"pipeline {name!r} is another user's: only that user, or root, can clear its halt")
    pid = live_pid(name)
    if pid and latch.code != OPERATOR:
        raise StateError(f"pipeline {name!r} is running (pid {pid}) and stays halted; end it first, then resume")
    if not agrees(
        "clear the halt, so that it trades again?" if pid else "clear the halt, so that the next start trades?"
    ):
        say("not cleared")
        return 1
    said = ["the next start trades"]

    def go_on() -> None:
        if live_pid(name):
            said[0] = _go_on(name, scope, attach)

    # The word goes before the file and under its lock: a halt that comes behind finds both gone, and sets both.
    clear_latch(name, latch, scope.text, go_on, how)
    say(f"{shown}: cleared; {said[0]}")
    return 0


def _go_on(name: str, scope: Scope, attach: Attach | None) -> str:
    """Clear the halt cell, or the scope's word, in the running pipeline: what is to be said of it."""
    try:
        segment = (attach or Segment.attach)(name, is_writable=True)
    except SegmentError as error:
        return f"the pipeline could not be told ({error}); it goes on with the next start"
    if not scope.kind:
        return _go_on_with_all(segment.record("halt", HALT_CELL))
    if not scope.is_in(segment.meta):
        return f"the pipeline that runs has no {scope.kind} {scope.label}"
    words, place = segment.region("halts"), scope.place(segment.meta)
    if scope_cause(words, place) not in (0, OPERATOR):
        return "it stays halted, as something else has halted it since"
    set_scope(words, place, 0, steady_ns())
    return "it trades again"


def _go_on_with_all(cell: np.ndarray) -> str:
    """Clear what a person has set in the halt cell, and nothing else."""
    if cell["ending"][0] or (cell["halted"][0] and cell["cause"][0] != OPERATOR):
        return "the run stays halted, as it is ending or something else has halted it; the next start trades"
    set_halt(cell, False, 0, wall_ns())
    return "it trades again"
