"""A file that is there while a run is under way: found at the next start, that run did not end in order.

A killed supervisor, a machine that lost its power: nobody was there to cancel orders, to sum up, or to say anything.
"""

import contextlib
import os
from typing import Any

import orjson

from hftpipe.app.halt_latch import utc_text
from hftpipe.app.state import refused, state_file
from hftpipe.core.machine.durable import write_whole
from hftpipe.core.machine.system_clock import wall_ns

#: Room that a halt finds in the marker when the disk is full.
MARKER_BYTES = 4095


def begin_run(name: str, epoch: int) -> dict[str, Any] | None:
    """Mark a run of pipeline ``name`` as under way: the facts of the one before if that did not end in order.

    Call it when the pipeline's segment is ours: then no other run of the name is alive.

    Raises:
        StateError: the state folder cannot be written.
    """
    path = state_file(name, "run")
    before = _read(name)
    try:
        facts = orjson.dumps({"epoch": epoch, "started": utc_text(wall_ns()), "pid": os.getpid()})
        write_whole(path, facts.ljust(MARKER_BYTES) + b"\n")
    except OSError as error:
        raise refused(path, error) from error
    return before


def _read(name: str) -> dict[str, Any] | None:
    path = state_file(name, "run")
    try:
        facts = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError):
        facts = None
    return {"file": str(path), **(facts if isinstance(facts, dict) else {})}


def end_run(name: str) -> None:
    """The run has ended in order."""
    with contextlib.suppress(OSError):
        os.unlink(state_file(name, "run"))
