"""``hftpipe halt`` and ``hftpipe resume``: what a person does about trading, from another terminal or between runs."""

import re
from collections.abc import Callable

from hftpipe.app.halt_latch import CODES, Latch, clear_latch, read_latch, utc_text, who, write_latch
from hftpipe.app.state import StateError, refused, state_file
from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.shm import Segment, SegmentError, live_pid

OPERATOR = CODES["operator"]
_NAME = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise StateError(f"pipeline {name!r}: allowed are 1 to 32 of a-z, 0-9, _ and -")


def halt(name: str, reason: str, say: Callable[[str], None]) -> int:
    """Halt pipeline ``name`` at once if it runs, and have it start halted until it is resumed.

    The halt cell is set first: no disk stands between a person and the end of trading.

    Returns:
        0 if it is halted and latched; 1 if a running pipeline could not be halted.

    Raises:
        StateError: another name than a pipeline can have, or the halt could not be latched.
    """
    _check(name)
    problem, epoch = _halt_running(name)
    latch = Latch("operator", utc_text(wall_ns()), epoch, f"{reason or 'no reason given'} ({who()['user']})")
    try:
        write_latch(name, latch)
    except OSError as error:
        raise refused(state_file(name, "halt"), error) from error
    if problem or not epoch:
        # It may have been starting: it looks for the file after it can be attached to.
        problem, epoch = _halt_running(name)
    say(f"{name}: trading is halted" if epoch else f"{name}: not running; it will start halted")
    if problem:
        say(f"{name}: its process {live_pid(name)} is NOT halted: {problem}; end it with SIGTERM")
    say(f"`hftpipe resume {name}` clears it")
    return int(bool(problem))


def _halt_running(name: str) -> tuple[str, int]:
    """Set the halt cell: (why it could not be set, the run's number); ("", 0) if nothing runs."""
    if not live_pid(name):
        return "", 0
    try:
        segment = Segment.attach(name, is_writable=True)
    except SegmentError as error:
        return (str(error), 0) if live_pid(name) else ("", 0)
    set_halt(segment.record("halt", HALT_CELL), True, OPERATOR, wall_ns())
    return "", segment.epoch


def resume(name: str, agrees: Callable[[str], bool], say: Callable[[str], None]) -> int:
    """Clear the halt of pipeline ``name``, if the person agrees who has been shown it.

    Returns:
        0 if it was cleared, 1 if not.

    Raises:
        StateError: there is none, or the pipeline is running (it stays halted until it ends, so the file does).
    """
    _check(name)
    latch = read_latch(name)
    if latch is None:
        raise StateError(f"{state_file(name, 'halt')}: there is no such file; pipeline {name!r} is not halted")
    say(f"{name} is halted: {latch}")
    if pid := live_pid(name):
        raise StateError(f"pipeline {name!r} is running (pid {pid}) and stays halted; end it first, then resume")
    if not agrees("clear the halt, so that the next start trades?"):
        say("not cleared")
        return 1
    clear_latch(name)
    say(f"{name}: cleared; the next start trades")
    return 0
