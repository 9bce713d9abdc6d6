"""A venue that says again what it said when the session was recorded: behind the gateway in a replay.

A paper venue's answers follow from the market and need no tape. Any other's are on the gateway's tape, in the order the
gateway heard them: this venue takes every request but those that were not taken, and reports when it is told to.
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import RECORD, RECORD_BYTES

#: ``takes``: whether requests are taken; ``has_report`` and ``unanswered`` (an id): to be said once.
TAPED_VENUE = np.dtype(
    [
        ("takes", "i8"), ("has_report", "i8"), ("unanswered", "u8"), ("_pad", "u8", 5),
        ("report", RECORD),
    ],
    align=True,
)  # fmt: skip
_REPORT = np.uint64(offset_of(TAPED_VENUE, "report"))


@jit
def tell_report(venue, record):
    """The RECORD at ``record`` is what the venue reports next."""
    copy_bytes(venue + _REPORT, record, np.int64(RECORD_BYTES))
    view(venue, TAPED_VENUE).has_report = 1


@entry("int64(uint64, int64)")
def submit_entry(venue, record):
    return view(venue, TAPED_VENUE).takes


@entry("int64(uint64, int64)")
def poll_entry(venue, record):
    v = view(venue, TAPED_VENUE)
    if v.has_report == 0:
        return np.int64(0)
    v.has_report = 0
    copy_bytes(U64(record), venue + _REPORT, np.int64(RECORD_BYTES))
    return np.int64(1)


@entry("int64(uint64, int64)")
def unanswered_entry(venue, record):
    v = view(venue, TAPED_VENUE)
    if v.unanswered == ZERO:
        return np.int64(0)
    view(U64(record), RECORD).id = v.unanswered
    v.unanswered = ZERO
    return np.int64(1)


def put_behind(state: np.ndarray) -> np.ndarray:
    """Make a taped venue the gateway's (``state``: its STATE array); keep what is returned as long as the replay."""
    venue = np.zeros(1, TAPED_VENUE)
    venue["takes"] = 1
    state["sim"], state["venue_market"], state["venue_room"], state["venue"] = 0, 0, 0, venue.ctypes.data
    state["venue_submit"], state["venue_poll"] = submit_entry.address, poll_entry.address
    state["venue_unanswered"] = unanswered_entry.address
    # What is on a tape has the pipeline's numbers of instruments.
    state["first"] = 0
    return venue
