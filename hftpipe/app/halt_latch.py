"""Halts that outlive their run: a file in the state folder that only a person removes (``hftpipe resume NAME``).

The file holds the first cause of a halt as JSON; a later cause, while it is there, goes to the history alone. A file that
cannot be read counts as a halt: whoever damaged it did not clear it. The history (``NAME.halts``) has a line for each
halt and for each clearing: who, and when.
"""

import getpass
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from hftpipe.app.state import StateError, locked, refused, state_file
from hftpipe.core.machine.durable import append_line, sync_folder, within, write_whole
from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.core.schema.cells import HALT_CAUSES
from hftpipe.log import clean, event

LOG = logging.getLogger("hftpipe.halt")
#: Halts that end with their run: none at all, and the orderly stop that ends every run.
NOT_LATCHED = frozenset({"none", "stopping"})
#: The cause shown when the file is there but cannot be read.
UNREADABLE = "unreadable_latch"
CODES = {name: code for code, name in HALT_CAUSES.items()}
#: A halt waits so long for the disk to take its file; the halt itself is in shared memory by then.
DISK_LIMIT_S = 2.0


@dataclass(frozen=True)
class Latch:
    """Why trading is halted.

    Attributes:
        cause: a name of HALT_CAUSES.
        time: when, UTC (ISO 8601); empty if it is not known.
        epoch: number of the run in which it happened; 0 if there was none.
        what: what happened and where, for people.
    """

    cause: str
    time: str
    epoch: int
    what: str

    @property
    def code(self) -> int:
        """The number of the cause."""
        return CODES[self.cause]

    def __str__(self) -> str:
        return f"{self.cause} at {self.time or 'an unknown time'} (run {self.epoch}): {self.what}"


def utc_text(now_ns: int) -> str:
    """A wall time (ns) as ISO 8601, UTC, in milliseconds."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def read_latch(name: str) -> Latch | None:
    """The halt that pipeline ``name`` is under, if any; a file that cannot be read is one (UNREADABLE).

    Raises:
        StateError: there is no state folder and none can be made.
    """
    path = state_file(name, "halt")
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Latch(UNREADABLE, "", 0, f"{path} cannot be read as a halt ({error or type(error).__name__})")


def _parse(raw: bytes) -> Latch:
    """Raises ValueError, KeyError or TypeError: not the text of a latch."""
    facts = orjson.loads(raw)
    latch = Latch(*(facts[field] for field in ("cause", "time", "epoch", "what")))
    is_right = all(isinstance(text, str) for text in (latch.cause, latch.time, latch.what))
    if not is_right or not isinstance(latch.epoch, int) or latch.cause not in CODES or latch.cause in NOT_LATCHED:
        raise ValueError(f"cause {latch.cause!r}")
    return latch


def write_latch(name: str, latch: Latch) -> None:
    """Latch a halt: the file unless there is one already, and a line of the history.

    Raises:
        OSError: it is not on the disk.
        StateError: there is no state folder and none can be made.
    """
    path = state_file(name, "halt")
    if not path.exists():
        _put_latch(path, orjson.dumps(asdict(latch), option=orjson.OPT_INDENT_2) + b"\n", state_file(name, "run"))
    try:
        _note(name, {"action": "halted", **asdict(latch)})
    except OSError as error:
        event(LOG, logging.WARNING, "the halt is latched, but not in the history", reason=str(error))


def _put_latch(path: Path, data: bytes, spare: Path) -> None:
    """Write the latch; on a full disk into the room of the run's own marker, which a halted run needs no more."""
    try:
        write_whole(path, data)
    except OSError:
        if not spare.exists():
            raise
        write_whole(path, data, spare)


def clear_latch(name: str) -> Latch:
    """Remove the halt of pipeline ``name``: what it was. Who and when goes to the history first.

    Raises:
        StateError: there is none, or the state folder cannot be written.
    """
    with locked(name):
        latch, path = read_latch(name), state_file(name, "halt")
        if latch is None:
            raise StateError(f"{path}: there is no such file; pipeline {name!r} is not halted")
        try:
            _note(name, {"action": "resumed", "time": utc_text(wall_ns()), "who": who(), "cleared": asdict(latch)})
            os.unlink(path)
            sync_folder(path.parent)
        except OSError as error:
            raise refused(path, error) from error
    return latch


def who() -> dict[str, Any]:
    """The person at the command line, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    return {"user": user, "uid": os.getuid(), "sudo_user": os.environ.get("SUDO_USER", "")}


def _note(name: str, facts: Mapping[str, Any]) -> None:
    append_line(state_file(name, "halts"), orjson.dumps(clean(facts)))


class HaltLatch:
    """The latch of a running pipeline.

    Args:
        name: the pipeline; epoch: its run.
        found: the halt that the run was started under.

    Attributes:
        first: the halt in force, of this run or found.
        is_stored: whether every halt of this run is on the disk.
    """

    def __init__(self, name: str, epoch: int, found: Latch | None = None) -> None:
        self._name, self._epoch = name, epoch
        self.first, self.is_stored = found, True
        self._known = {found.code} if found else set()

    def set(self, cause: int, what: str) -> None:
        """Latch ``cause`` unless it is known already or one that ends with its run. Never raises, never waits long."""
        name = HALT_CAUSES.get(cause, "")
        if cause in self._known or name in NOT_LATCHED:
            return
        self._known.add(cause)
        latch = Latch(name or f"code_{cause}", utc_text(wall_ns()), self._epoch, what)
        self.first = self.first or latch
        error = within(DISK_LIMIT_S, lambda: self._store(latch))
        self.is_stored = self.is_stored and error is None
        event(
            LOG, logging.ERROR, "trading is halted", cause=latch.cause, what=what, until=f"hftpipe resume {self._name}"
        )
        if error:
            event(LOG, logging.ERROR, "the halt is not latched: a restart would trade", reason=str(error))

    def _store(self, latch: Latch) -> None:
        try:
            write_latch(self._name, latch)
        except StateError as error:
            raise OSError(str(error)) from error

    def facts(self) -> dict[str, Any] | None:
        """For the summary: the halt in force, and whether it is stored; None if there is none."""
        return None if self.first is None else {**asdict(self.first), "stored": self.is_stored}
