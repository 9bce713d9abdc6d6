"""Halts that outlive their run: a file in the state folder that only a person removes (``hftpipe resume NAME``).

The file holds the first cause of a halt as JSON; a later cause, while it is there, goes to the history alone (a person's
gives way: see :func:`graver`). A file that cannot be read counts as a halt: whoever damaged it did not clear it. Who clears
a halt sets its file aside first (ASIDE) and reads it again: what is written meanwhile has the name to itself, and a file
found aside was never cleared to the end and is a halt like any other. The history (``NAME.halts``) has a line for each
halt and for each clearing: who, and when.
"""

import contextlib
import getpass
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from hftpipe.app.state import StateError, locked, refused, state_file
from hftpipe.core.machine.durable import UNFINISHED, append_line, sync_folder, within, write_whole
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.cells import HALT_CAUSES, NOT_TRADED, OPERATOR, RULES_CHANGED
from hftpipe.core.schema.halts import REDUCE, SCOPES
from hftpipe.log import clean, event

LOG = logging.getLogger("hftpipe.halt")
#: Halts that end with their run: none at all, and the orderly stop that ends every run.
NOT_LATCHED = frozenset({"none", "stopping"})
#: The cause shown when the file is there but cannot be read.
UNREADABLE = "unreadable_latch"
#: What the supervisor says of a halt that it knows no reason of.
OUTSIDE = "set from outside the supervisor"
#: And of those that a feed sets, for an instrument.
_SAID = {
    RULES_CHANGED: "the venue has changed its rules; the next start takes the new ones where they are not configured",
    NOT_TRADED: "the venue does not trade it any more",
}
_REDUCED = "only orders that make a position smaller pass"
#: Behind the name of a latch that is being cleared.
ASIDE = ".aside"
CODES = {name: code for code, name in HALT_CAUSES.items()}
#: A halt waits so long for the disk to take its file; the halt itself is in shared memory by then.
DISK_LIMIT_S = 2.0
#: Another writer of the file is waited for so long before it is written all the same.
_ALONE_LIMIT_NS = 500_000_000
#: What a person says of a halt is waited for so long: `hftpipe halt` sets the cell first and writes the file behind it.
_SAID_LIMIT_NS = 500_000_000
#: A running pipeline looks so often whether its halts still have their files, and waits so long for the disk's answer.
_LOOK_NS, _LOOK_LIMIT_S = 1_000_000_000, 0.2
#: The lock is tried for so long where the next look will do as well.
_TRY_NS = 5_000_000


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
        """The number of the cause; that of UNREADABLE where the cause has no name yet."""
        return CODES.get(self.cause, CODES[UNREADABLE])

    def __str__(self) -> str:
        return f"{self.cause} at {self.time or 'an unknown time'} (run {self.epoch}): {self.what}"


def utc_text(now_ns: int) -> str:
    """A wall time (ns) as ISO 8601, UTC, in milliseconds."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def latch_file(name: str, scope: str = "") -> Path:
    """Where a halt of pipeline ``name`` is latched; ``scope``: all of it, or ``venue.V``, ``strategy.S``, ``instrument.I``."""
    return state_file(name, f"halt.{scope}" if scope else "halt")


def latched_scopes(name: str) -> dict[str, Latch]:
    """The halts of single venues, strategies and instruments that pipeline ``name`` is under, by scope.

    Raises:
        StateError: there is no state folder and none can be made.
    """
    path = latch_file(name)
    names = {one.name.removeprefix(f"{path.name}.") for one in path.parent.glob(f"{path.name}.*")}
    # What a crash left half-written is no scope of that name: nobody could clear it.
    found = {one.removesuffix(ASIDE) for one in names if not one.endswith(UNFINISHED)}
    latches = {
        scope: read_latch(name, scope) for scope in sorted(found) if scope.partition(".")[0] in (*SCOPES, REDUCE)
    }
    return {scope: latch for scope, latch in latches.items() if latch}


def read_latch(name: str, scope: str = "") -> Latch | None:
    """The halt that pipeline ``name`` (or one scope of it) is under, if any; a file that cannot be read is one (UNREADABLE).

    Raises:
        StateError: there is no state folder and none can be made.
    """
    path = latch_file(name, scope)
    latch, aside = _read(path, path), _read(_aside(path), path)
    # Neither: it may have been put back between the two looks.
    latch = latch or (None if aside else _read(path, path))
    return graver(aside, latch) if latch else aside


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ASIDE)


def _read(file: Path, path: Path) -> Latch | None:
    """The halt in ``file``, told as that of ``path``: the same text under whichever name it is found."""
    try:
        return _parse(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        return Latch(UNREADABLE, "", 0, f"{path} cannot be read as a halt ({why})")


def _parse(raw: bytes) -> Latch:
    """Raises ValueError, KeyError or TypeError: not the text of a latch."""
    facts = orjson.loads(raw)
    cause, time, epoch, what = (facts[field] for field in ("cause", "time", "epoch", "what"))
    is_right = all(isinstance(text, str) for text in (cause, time, what))
    if not is_right or not isinstance(epoch, int) or cause not in CODES or cause in NOT_LATCHED:
        raise ValueError(f"cause {cause!r}")
    return Latch(cause, time, epoch, what)


def graver(known: Latch | None, new: Latch) -> Latch:
    """The halt that stands where two have come: the first, but a person's own gives way to whatever else came behind it.

    A person who resumes must be shown what a person did not do, and what another person has said since. That the supervisor
    saw a halt is no news, whoever's it is.
    """
    if known is None or (known.code == OPERATOR and not (new.code == OPERATOR and new.what == OUTSIDE)):
        return new
    return known


def write_latch(name: str, latch: Latch, scope: str = "", when_alone: Callable[[], object] = lambda: None) -> None:
    """Latch a halt: the file (see :func:`graver` where there is one already), and a line of the history. ``when_alone`` is called when
    nobody can be clearing a halt any more, before anything waits for the disk. Raises OSError: it is not on the disk; StateError.
    """
    path = latch_file(name, scope)
    with contextlib.ExitStack() as alone:
        # Alone, so that a lesser cause never replaces one that comes at the same moment; but a lock that somebody
        # keeps, or a full disk, does not keep a halt from its file.
        with contextlib.suppress(StateError):
            alone.enter_context(locked(name, _ALONE_LIMIT_NS))
        when_alone()
        # Whatever is set aside is being cleared: this halt is not, so it does not stand behind that one.
        if graver(_read(path, path), latch) is latch:
            # The marker's room is for the halt of everything: under that of a part the run goes on, and needs its marker
            # to be found after a crash.
            spare = None if scope else state_file(name, "run")
            _put_latch(path, orjson.dumps(asdict(latch), option=orjson.OPT_INDENT_2) + b"\n", spare)
    try:
        _note(name, {"action": "halted", **_of(scope), **asdict(latch)})
    except OSError as error:
        event(LOG, logging.WARNING, "the halt is latched, but not in the history", reason=str(error))


def _put_latch(path: Path, data: bytes, spare: Path | None) -> None:
    """Write the latch; on a full disk into the room of ``spare``, if there is one."""
    try:
        write_whole(path, data)
    except OSError:
        if not (spare and spare.exists()):
            raise
        write_whole(path, data, spare)


def _of(scope: str) -> dict[str, str]:
    return {"scope": scope} if scope else {}


def clear_latch(
    name: str, shown: Latch, scope: str = "", go_on: Callable[[], None] = lambda: None, how: str = ""
) -> None:
    """Remove the halt of pipeline ``name``, or of one scope of it. Who and when goes to the history first.

    Args:
        shown: the halt that the person was shown and agreed to clear; another one is not cleared.
        go_on: called when nothing stands in the way of trading any more, before the file goes: a crash leaves a halt.
        how: the way by which the person asked, where it was not the command line.

    Raises:
        StateError: there is none, there is another by now, or the state folder cannot be written.
    """
    with locked(name):
        latch, path = read_latch(name, scope), latch_file(name, scope)
        aside = _aside(path)
        if latch is None:
            raise StateError(f"{path}: there is no such file; pipeline {name!r} is not halted")
        if latch != shown:
            raise StateError(f"{path}: not cleared, as it was halted again meanwhile: {latch}")
        try:
            _set_aside(path, aside, shown)
            facts = {
                "time": utc_text(wall_ns()),
                "who": who() | ({"how": how} if how else {}),
                "cleared": asdict(latch),
            }
            _note(name, {"action": "resumed", **_of(scope), **facts})
            if not os.path.lexists(path):
                go_on()
            os.unlink(aside)
            sync_folder(path.parent)
        except OSError as error:
            _put_back(path, aside)
            raise refused(path, error) from error
        # Whoever halts waits for the lock only so long: what came since the file was set aside has the name now.
        if again := read_latch(name, scope):
            raise StateError(f"{path}: it was halted again meanwhile, and stays halted: {again}")


def _set_aside(path: Path, aside: Path, shown: Latch) -> None:
    """Take the file from its name, and see that it is still what was shown.

    Raises:
        StateError: it is another one, which is back at its place.
        OSError: it could not be moved.
    """
    before = _read(path, path)
    if before is None:
        return
    # One that is aside already, of a clearing that came to no end, goes for good: it is in the history, and was shown or
    # stands behind what was.
    os.replace(path, aside)
    found = _read(aside, path)
    if found not in (before, shown):
        _put_back(path, aside)
        raise StateError(f"{path}: not cleared, as it was halted again meanwhile: {found}")


def _put_back(path: Path, aside: Path) -> None:
    """Give a latch its name again, unless a later one has it: the graver of the two is the halt then.

    Where it cannot be put back it stays aside, and a halt.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        later = _read(path, path)
        if later is None or graver(_read(aside, path), later) is not later:
            return
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.unlink(aside)


def who() -> dict[str, Any]:
    """The person at the command line, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    return {"user": user, "uid": os.getuid(), "sudo_user": os.environ.get("SUDO_USER", "")}


def _note(name: str, facts: Mapping[str, Any]) -> None:
    append_line(state_file(name, "halts"), orjson.dumps(clean(facts)))


def option_of(scope: str) -> str:
    """The option of ``hftpipe halt`` and ``resume`` for a scope."""
    kind, _, label = scope.partition(".")
    return f" --{kind} {label}".rstrip() if scope else ""


class HaltLatch:
    """The latch of a running pipeline.

    Args:
        name: the pipeline; epoch: its run.
        found: the halt that the run was started under; scopes: those of single venues, strategies and instruments.

    Attributes:
        first: the halt in force, of this run or found; scopes: those of a part of the trading.
    """

    def __init__(
        self, name: str, epoch: int, found: Latch | None = None, scopes: Mapping[str, Latch] | None = None
    ) -> None:
        self._name, self._epoch = name, epoch
        self.first = found
        self.scopes: dict[str, Latch] = dict(scopes or {})
        self._known = {("", found.code)} if found else set()
        self._known |= {(scope, latch.code) for scope, latch in self.scopes.items()}
        self._unstored: set[str] = set()
        #: Called for each new halt and its scope; must not wait.
        self.tell: Callable[[Latch, str], None] = lambda latch, scope: None
        self._next_look_ns, self._is_asking = 0, False

    @property
    def is_stored(self) -> bool:
        """Whether every halt of this run, of a part of the trading too, is on the disk."""
        return not self._unstored

    def set_by_others(self, cause: int, scope: str = "") -> None:
        """Latch a halt that was set from outside the supervisor; a person's has its reason in the file."""
        said = ""
        if cause == OPERATOR and (scope, cause) not in self._known:
            said = self._said_by_a_person(scope)
        self.set(cause, said or _SAID.get(cause, OUTSIDE), scope)

    def _said_by_a_person(self, scope: str) -> str:
        """The reason in the file that `hftpipe halt` writes; empty if none comes within _SAID_LIMIT_NS."""
        deadline_ns = steady_ns() + _SAID_LIMIT_NS
        while steady_ns() < deadline_ns:
            with contextlib.suppress(StateError):
                found = read_latch(self._name, scope)
                if found:
                    return found.what if found.code == OPERATOR else ""
            time.sleep(0.01)
        return ""

    def set(self, cause: int, what: str, scope: str = "") -> None:
        """Latch ``cause`` unless it is known already or one that ends with its run. Never raises, never waits long."""
        name = HALT_CAUSES.get(cause, "")
        if (scope, cause) in self._known or name in NOT_LATCHED:
            return
        self._known.add((scope, cause))
        latch = Latch(name or f"code_{cause}", utc_text(wall_ns()), self._epoch, what)
        self._know(scope, graver(self.scopes.get(scope) if scope else self.first, latch))
        self.tell(latch, scope)
        error = within(DISK_LIMIT_S, lambda: self._store(latch, scope))
        if error:
            self._unstored.add(scope)
        event(
            LOG, logging.ERROR, _REDUCED if scope == REDUCE else "trading is halted", cause=latch.cause, what=what, **_of(scope),
            until=f"hftpipe resume {self._name}{option_of(scope)}",
        )  # fmt: skip
        if error:
            event(LOG, logging.ERROR, "the halt is not latched: a restart would trade", reason=str(error))

    def _know(self, scope: str, latch: Latch) -> None:
        if scope:
            self.scopes[scope] = latch
        else:
            self.first = latch

    def forget(self, scope: str) -> None:
        """A person has cleared the halt of a scope (empty: of everything) while the pipeline runs."""
        self.scopes.pop(scope, None)
        self.first = self.first if scope else None
        self._known = {known for known in self._known if known[0] != scope}
        self._unstored.discard(scope)

    def is_cleared(self, scope: str, set_again: Callable[[int], None]) -> bool:
        """Whether a person has cleared the halt of a scope whose word is gone. Never raises, never waits long.

        Args:
            set_again: called with the cause where the file is still there, and nobody is clearing it.
        """
        gone: list[bool] = []

        def look() -> None:
            with locked(self._name, _TRY_NS):
                found = read_latch(self._name, scope)
                if found:
                    self._know(scope, found)
                    set_again(found.code)
                gone.append(found is None)

        self._ask(_LOOK_LIMIT_S, look)
        return any(gone)

    def look_after(self, is_last: bool = False) -> None:
        """Store again what of this run is not on the disk, or not any more. Never raises, never waits long.

        A person's own is left alone once it was stored: a person may have cleared it.
        """
        if steady_ns() < self._next_look_ns and not is_last:
            return
        self._next_look_ns = steady_ns() + _LOOK_NS
        halts = {**({"": self.first} if self.first else {}), **self.scopes}
        own = {
            scope: latch
            for scope, latch in halts.items()
            if scope in self._unstored or (latch.epoch == self._epoch and latch.code != OPERATOR)
        }
        if own:
            self._ask(DISK_LIMIT_S if is_last else _LOOK_LIMIT_S, lambda: self._store_again(own))

    def _store_again(self, own: Mapping[str, Latch]) -> None:
        for scope, latch in own.items():
            try:
                found = read_latch(self._name, scope)
                if found is None or (found.code == OPERATOR != latch.code):
                    self._store(latch, scope)
                    event(
                        LOG, logging.ERROR, "a halt that was not on the disk is latched", **_of(scope), **asdict(latch)
                    )
                self._unstored.discard(scope)
            except (OSError, StateError):
                self._unstored.add(scope)

    def _ask(self, seconds: float, action: Callable[[], None]) -> None:
        """Do what may wait for the disk, unless it still owes an answer: then the next time will do."""
        if self._is_asking:
            return
        self._is_asking = True

        def attempt() -> None:
            try:
                action()
            except StateError as error:
                raise OSError(str(error)) from error
            finally:
                self._is_asking = False

        within(seconds, attempt)

    def _store(self, latch: Latch, scope: str) -> None:
        try:
            found = read_latch(self._name, scope)
            if not (found and found.code == latch.code == OPERATOR):
                write_latch(self._name, latch, scope)
        except StateError as error:
            raise OSError(str(error)) from error

    def facts(self) -> dict[str, Any] | None:
        """For the summary: the halt in force, and whether it is stored; None if there is none."""
        return None if self.first is None else {**asdict(self.first), "stored": "" not in self._unstored}

    def scope_facts(self) -> dict[str, Any]:
        """For the summary: the halts in force of single venues, strategies and instruments."""
        return {scope: {**asdict(latch), "stored": scope not in self._unstored} for scope, latch in self.scopes.items()}
