"""Files that are whole or not there, also after a crash of the machine; and waits for a disk that have an end."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

#: Behind the name of a file that is being written.
UNFINISHED = ".tmp"


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes, spare: Path | None = None) -> None:
    """Replace the file ``path`` by one that holds ``data``: on the disk, under its name, or not at all.

    Args:
        spare: a file in the same folder that gives its room, so that a full disk is no obstacle; ignored if absent.

    Raises:
        OSError: nothing has been replaced (or, of the last sync, it may be undone by a crash of the machine).
    """
    unfinished, mode = path.with_name(path.name + UNFINISHED), "wb"
    if spare and spare.exists():
        unfinished, mode = spare, "r+b"
    try:
        with open(unfinished, mode) as file:
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError:
        if mode == "wb":
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
        raise
    sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Put one line at the end of a file, made if absent. Raises OSError."""
    with open(path, "ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def within(seconds: float, action: Callable[[], None]) -> OSError | None:
    """Do what may wait for a disk, but wait for it no longer than ``seconds``.

    Returns:
        None when it was done, its OSError, or a TimeoutError; after that it goes on in its thread.
    """
    result: list[OSError | None] = []

    def attempt() -> None:
        try:
            action()
            result.append(None)
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=attempt, name="bounded", daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else TimeoutError(errno.ETIMEDOUT, f"the disk has not answered for {seconds:g} s")
