"""What a pipeline keeps between its runs: small files by its name in the state folder.

============== ==========================================================================================
``NAME.epoch`` number of the last run
``NAME.halt``  why trading is halted until a person clears it; absent when it is not
``NAME.halt.SCOPE`` the same of one ``venue.V``, ``strategy.S`` or ``instrument.I``
``….aside``     a halt's file while it is cleared; where that came to no end, it is a halt still
``NAME.halts`` history: a JSON line for each halt and each clearing
``NAME.params`` limits and parameters that were set while a run went on (:mod:`hftpipe.app.settings`)
``NAME.losses`` what was lost today (:mod:`hftpipe.app.loss_state`)
``NAME.run``   there while a run is under way; found at a start, the run before did not end in order
``NAME.journal`` folder of the journals (:mod:`hftpipe.app.journaling`), unless ``journal.folder`` is set
``NAME.lock``  held while the number or a halt's file is changed
============== ==========================================================================================

The folder is ``$HFTPIPE_STATE_DIR``, else ``$XDG_STATE_HOME``, else ``~/.local/state``, and in it ``hftpipe``.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.refusal import Refusal

LOCK_LIMIT_NS = 5_000_000_000
_RETRY_S = 0.01


class StateError(Refusal, RuntimeError):
    """The state folder does not allow what was asked; the message names the file and what to do."""


def state_file(name: str, ending: str) -> Path:
    """The file ``NAME.ending`` of pipeline ``name``; its folder is made if absent.

    Raises:
        StateError: the folder cannot be made.
    """
    base = os.environ.get("HFTPIPE_STATE_DIR") or os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(base) / "hftpipe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(folder, error) from error
    return folder / f"{name}.{ending}"


def refused(path: Path, error: OSError) -> StateError:
    """What to say of a file of the state folder that cannot be read or written."""
    return StateError(f"{path}: {error.strerror}; the state folder (HFTPIPE_STATE_DIR) must be writable")


@contextlib.contextmanager
def locked(name: str, limit_ns: int = LOCK_LIMIT_NS) -> Iterator[None]:
    """Alone with the state of pipeline ``name``. The lock is a file of its own: the others are replaced under it.

    Raises:
        StateError: another process has held it for ``limit_ns``, or the file cannot be written.
    """
    path = state_file(name, "lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise refused(path, error) from error
    try:
        _take(path, fd, limit_ns)
        yield
    finally:
        os.close(fd)


def _take(path: Path, fd: int, limit_ns: int) -> None:
    deadline_ns = steady_ns() + limit_ns
    while steady_ns() < deadline_ns:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_RETRY_S)
    raise StateError(f"{path}: held by another process for {limit_ns / 1e9:g} s; is one stopped in its start?")
