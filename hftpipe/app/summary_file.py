"""The JSON summary: whether it can be written is found out before the start, and it is replaced whole at the end."""

import errno
import os
from pathlib import Path

from hftpipe.core.machine.durable import UNFINISHED, within, write_whole

#: A disk that has not taken the summary by then is not waited for.
DISK_LIMIT_S = 10.0


def why_not_writable(target: str) -> str:
    """Why a summary could not be written to ``target``; empty if it can."""
    path = Path(target).absolute()
    try:
        return _try(path.resolve())
    # A link that leads to itself is a RuntimeError.
    except (OSError, RuntimeError) as error:
        return f"cannot be written: {getattr(error, 'strerror', error)}"


def _try(path: Path) -> str:
    """What is wrong with the place, or nothing. Raises OSError."""
    if not path.parent.is_dir():
        return f"folder {path.parent} does not exist"
    if path.is_dir():
        return "is a folder; give the name of a file"
    if _is_device(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission")
        return ""
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.write_bytes(b"")
    unfinished.unlink()
    return ""


def _is_device(path: Path) -> bool:
    """Whether it is there and is no file that can be replaced: a pipe, a terminal, /dev/null."""
    return path.exists() and not path.is_file()


def write_summary(target: str, data: bytes) -> str:
    """Write the summary; why it could not be, empty if it was. What was there before is gone only if it was."""
    path = Path(target).resolve()
    # Without a buffer an error comes from the write, not from a close that nobody looks at.
    error = within(DISK_LIMIT_S, lambda: _write_device(path, data) if _is_device(path) else write_whole(path, data))
    return f"{target}: {error.strerror}" if error else ""


def _write_device(path: Path, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        written = 0
        while written < len(data):
            written += file.write(data[written:]) or 0
