"""Standard output and error of a run: what cannot be written is lost and counted, and holds nobody up.

A log on a full disk, a pipe whose reader has gone or stands still, a terminal that was closed or stopped: none of them is
a reason to end trading or to wait. :func:`guard` puts an :class:`Output` in the place of both streams; everything that
writes (logging, the live view, the summary, a traceback) goes through it.
"""

import contextlib
import io
import os
import select
import sys
import time
from typing import TextIO

from hftpipe.core.machine.system_clock import steady_ns

#: What a pipe takes without waiting when it says that it takes anything (PIPE_BUF).
_PIECE = 4096
_NAP_S = 0.001
#: A write waits so long in all for a reader that does not read.
WAIT_S = 0.1
#: When nothing runs any more there is time.
LAST_WAIT_S = 5.0


class Output(io.TextIOBase):
    """A text stream over a descriptor; never raises when writing.

    Args:
        fd: the descriptor.
        encoding: of its text; what cannot be encoded is written as an escape.

    Attributes:
        lost: writes that were not, or not wholly, written.
        wait_s: how long a write may wait. Once one has waited in vain the next do not, until there is room again.
    """

    #: In the class as well: the base has both as properties that nobody can set.
    encoding = "utf-8"
    errors: str = "backslashreplace"

    def __init__(self, fd: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self._fd, self.encoding = fd, encoding
        self._target = _without_waiting(fd)
        self.lost, self.wait_s = 0, WAIT_S
        self._is_stalled = False

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal (still)."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, text: str) -> int:
        """Write as much as can be written now; the number of characters given."""
        data = text.encode(self.encoding, self.errors)
        deadline_ns = steady_ns() + int(0 if self._is_stalled else self.wait_s * 1e9)
        try:
            while data:
                data = data[self._write_piece(data[:_PIECE], deadline_ns) :]
            self._is_stalled = False
        except OSError:
            self.lost += 1
        return len(text)

    def _write_piece(self, piece: bytes, deadline_ns: int) -> int:
        """How much of a piece was written. Raises OSError, a TimeoutError if there was no room in time."""
        poll = select.poll()
        poll.register(self._target, select.POLLOUT)
        if not poll.poll(max(0, deadline_ns - steady_ns()) / 1e6):
            self._is_stalled = True
            raise TimeoutError
        try:
            return os.write(self._target, piece)
        except BlockingIOError:
            # A terminal with room for less than one line's end.
            time.sleep(_NAP_S)
            return 0


def _without_waiting(fd: int) -> int:
    """A terminal's own descriptor that never waits: one with room for a character takes a whole write, and waits in it.

    Opened anew, so that whoever shares the old one still waits; that itself where it cannot be opened, or is no terminal.
    """
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return fd


def guard() -> None:
    """Put an :class:`Output` in the place of standard output and of standard error, where they have a descriptor.

    A standard descriptor that is closed is opened on /dev/null first: else the next file or socket would be it.
    """
    _open_standard()
    sys.stdout, sys.stderr = (_guarded(stream, fd) for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)))


def _open_standard() -> None:
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _guarded(stream: TextIO | None, fd: int) -> TextIO | Output:
    if stream is None:
        return Output(fd)
    try:
        own = stream.fileno()
    except (OSError, ValueError):
        # Not over a descriptor: a test's own stream, which cannot fail either.
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return stream if isinstance(stream, Output) else Output(own, stream.encoding)


def lost() -> dict[str, int]:
    """Writes lost so far, by stream."""
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return {name: stream.lost for name, stream in streams.items() if isinstance(stream, Output)}


def be_patient() -> None:
    """From now on a write may wait LAST_WAIT_S: the run is over, and its summary is worth it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Output):
            stream.wait_s = LAST_WAIT_S
