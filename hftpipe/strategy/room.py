"""Room in the intents ring, as the engine of a strategy found it: the one thing it sees of another process's progress.

While one record is handled, room is asked for some number of times, and each answer is yes or no. The runs of "no" are
kept here, and the stage puts them on its tape behind the record: a replay is given them, and answers the same, whatever
asked (a hook, or the engine on its own). Nothing is written while there is room.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.shared.ring import ring_has_space
from hftpipe.core.shared.tape import tape_full

#: Runs that are kept for one record; the last one has no end.
RUNS = 32
ENDLESS = 1 << 62
#: Where answers come from: the ring, or (in a replay, or after the last run has begun) the runs.
FROM_RING, FROM_RUNS = 0, 1
ROOM = np.dtype(
    [("asked", "i8"), ("source", "i8"), ("runs", "i8"), ("first", "i8", RUNS), ("count", "i8", RUNS)], align=True
)


@jit
def _was_full(r, number):
    """What the runs say about the ``number``-th time."""
    found = False
    for run in range(r.runs):
        found |= r.first[run] <= number and number - r.first[run] < r.count[run]
    return found


@jit
def _note_full(r, number):
    """One more "no": it goes on with the last run, or begins another."""
    last = r.runs - 1
    if last >= 0 and r.first[last] + r.count[last] == number:
        r.count[last] += 1
        return
    r.first[r.runs], r.count[r.runs] = number, 1
    r.runs += 1
    if r.runs == RUNS:
        r.count[RUNS - 1], r.source = ENDLESS, FROM_RUNS


@jit
def ring_is_full(room, ring, count):
    """Whether ``count`` more records do not fit into the ring (int64; ROOM at address ``room``)."""
    r = view(room, ROOM)
    number = r.asked
    r.asked += 1
    if r.source != FROM_RING:
        return _was_full(r, number)
    if ring_has_space(ring, count):
        return False
    _note_full(r, number)
    return True


@jit
def room_done(room, tape):
    """The record is handled: what was found goes on the tape, and is forgotten."""
    r = view(room, ROOM)
    for run in range(r.runs):
        tape_full(tape, r.first[run], r.count[run])
    r.asked, r.runs, r.source = 0, 0, FROM_RING
