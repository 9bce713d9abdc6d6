"""A venue that says again what it said when the session was recorded: behind the gateway in a replay.

A paper venue's answers follow from the market and need no tape. Any other's are on the gateway's tape, in the order the
gateway heard them: this venue takes every request but those that were not taken, and reports when it is told to.
"""

import numpy as np

from hftpipe.core.jit import entry, jit
from hftpipe.core.mem import U64, ZERO, copy_bytes, view
from hftpipe.core.records import RECORD, RECORD_BYTES

#: ``own``: address of the gateway's private request, the cancels of a halt; ``takes``: whether other requests are taken,
#: ``cancels``: the order (an id) whose own cancel is; ``has_report`` and ``unanswered`` (an id): to be said once.
TAPED_VENUE = np.dtype(
    [
        ("own", "u8"), ("takes", "i8"), ("cancels", "u8"), ("has_report", "i8"), ("unanswered", "u8"), ("number", "u8"),
        ("_pad", "u8", 2), ("report", RECORD),
    ],
    align=True,
)  # fmt: skip
_REPORT = np.uint64(TAPED_VENUE.fields["report"][1])


@jit
def tell_report(venue, record):
    """The RECORD at ``record`` is what the venue reports next, with the fill number told before."""
    v = view(venue, TAPED_VENUE)
    copy_bytes(venue + _REPORT, record, np.int64(RECORD_BYTES))
    view(venue + _REPORT, RECORD).seq = v.number
    v.number, v.has_report = ZERO, 1


@entry("int64(uint64, int64)")
def submit_entry(venue, record):
    v = view(venue, TAPED_VENUE)
    if U64(record) != v.own:
        return v.takes
    if v.cancels == ZERO or view(U64(record), RECORD).id != v.cancels:
        return np.int64(0)
    v.cancels = ZERO
    return np.int64(1)


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


def put_behind(state: np.ndarray, address: int) -> np.ndarray:
    """Make a taped venue the gateway's; returns it (an array of length 1 that must outlive the replay).

    Args:
        state: the gateway's STATE array; address: its address.
    """
    venue = np.zeros(1, TAPED_VENUE)
    assert state.dtype.fields is not None
    venue["own"], venue["takes"] = address + state.dtype.fields["request"][1], 1
    state["sim"], state["venue_market"], state["venue_room"], state["venue"] = 0, 0, 0, venue.ctypes.data
    state["venue_submit"], state["venue_poll"] = submit_entry.address, poll_entry.address
    state["venue_unanswered"] = unanswered_entry.address
    return venue
