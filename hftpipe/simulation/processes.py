"""``hftpipe`` as processes of a campaign, and waiting for what they come to."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

#: What a command of ``hftpipe`` begins with.
COMMAND = (sys.executable, "-c", "from hftpipe.cli import main; main()")

T = TypeVar("T")


class CampaignError(RuntimeError):
    """The campaign itself cannot go on: what did not start, or never answered."""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port (of UDP, if nothing else is asked for) that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true value of ``condition()`` within so many seconds.

    Raises:
        CampaignError: it never came to that; names ``what``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise CampaignError(f"{what}: not within {seconds:g} s")


def with_parent() -> None:
    """Of a process that is being started: end with the campaign, however that ends."""
    from hftpipe.core.machine.process import die_with_parent

    die_with_parent(os.getppid())


def stop_on_sigterm() -> None:
    """Have a campaign that is told to end leave nothing behind, as one that is interrupted."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def say(text: str) -> None:
    """Show a text at once, also where nobody's terminal is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def report(found: Mapping[str, Any], file: str, summary: str) -> int:
    """Say what a campaign has come to, its ``problems`` one by one, and write all figures to ``file`` if one is named: the exit code."""
    if file:
        Path(file).write_text(json.dumps(found, indent=1))
    problems = found["problems"]
    say(f"{summary}; {len(problems)} problems\n" + "".join(f"  {problem}\n" for problem in problems))
    return int(bool(problems))
