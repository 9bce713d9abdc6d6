"""Signals that ask for an end, from the first shared memory to the end of the process: noted, never obeyed at once.

Without it a second SIGHUP (a closed terminal sends two), or a second Ctrl-C, would end the process before its summary is
written or in the place of its exit code, and one during the start would leave its segment behind.
"""

import contextlib
import signal
from collections.abc import Iterator

#: Kills (:mod:`hftpipe.kill_switch.process`); a signal to a whole group or unit reaches processes that have nothing to do with it.
KILLING = signal.SIGUSR2
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def noted_signals() -> Iterator[list[str]]:
    """The reasons to end that have come as signals so far, as text. Afterwards the process only has to end: ignored."""
    noted: list[str] = []
    signal.signal(KILLING, signal.SIG_IGN)
    for number in ENDING:
        signal.signal(number, lambda n, _: noted.append(f"{signal.Signals(n).name} received"))
    try:
        yield noted
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
