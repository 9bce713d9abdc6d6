"""``hftpipe top``: the live view of a pipeline that somebody else runs."""

import time

from rich.console import Console
from rich.live import Live

from hftpipe.core.shared.shm import Segment, SegmentError, process_started
from hftpipe.monitor.metrics import snapshot
from hftpipe.monitor.view import View

PERIOD_S = 0.25


def _is_alive(segment: Segment) -> bool:
    header = segment.header()
    return process_started(int(header["pid"])) == int(header["pid_started"])


def watch(name: str, once: bool) -> None:
    """Show pipeline ``name`` until it ends or Ctrl-C.

    Raises:
        SegmentError: there is no such pipeline, or it is of another build.
    """
    segment = Segment.attach(name)
    view = View(f"hftpipe {name}: {segment.meta['strategy']}", segment.meta["orders"])
    console = Console()
    if once:
        console.print(view.render(snapshot(segment)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while _is_alive(segment):
                live.update(view.render(snapshot(segment)), refresh=True)
                time.sleep(PERIOD_S)
    except KeyboardInterrupt:
        return
    raise SegmentError(f"pipeline {name!r} has ended")
