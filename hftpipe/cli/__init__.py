"""The command line. Each command reads its flags and calls one function; compiled code is imported only when needed.

A file holds one group of commands; importing it adds them to ``app``. ``top`` starts without the option parser (:mod:`hftpipe.cli.quick`).
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """While Python still imports Ctrl-C ends the process: there is nothing to unwind, and a traceback would tell nobody anything."""
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _commands() -> Any:
    """The application with all of its commands, in the order in which the help lists them."""
    from hftpipe.cli.common import app

    # isort: off
    from hftpipe.cli import run, operate, kill_switch, journal, venue_check, exchange, captures  # noqa: F401

    # isort: on
    return app


def __getattr__(name: str) -> Any:
    """``app``, imported when somebody asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _ended_by_ctrl_c():
        return _commands()


def main() -> None:
    """Entry point of the ``hftpipe`` command."""
    with _ended_by_ctrl_c():
        from hftpipe.cli.quick import quick

        # The parser's application is called the same way.
        action = quick(sys.argv[1:]) or _commands()
    sys.exit(action())
