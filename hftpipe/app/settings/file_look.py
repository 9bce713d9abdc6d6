"""Whether a file may hold something else than before, without reading it."""

import os
import stat

Look = tuple[int, int, int] | None


def look_at(file: str | os.PathLike[str]) -> Look:
    """What tells one content of a file from another without reading it: time of change, size, inode.

    None for what is not there, and for what is no file: a pipe has been read at the start, and reading it again would wait.
    """
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None
