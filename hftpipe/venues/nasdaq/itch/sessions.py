"""Sessions of the lines: whether a packet is one of the session that is followed, and what another session changes.

Who decides which session that is stands in :mod:`hftpipe.venues.nasdaq.itch.election`.
"""

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, ELECTION_AT, WINDOW
from hftpipe.venues.nasdaq.itch.election import (
    AHEAD,
    ELECTION,
    LINES,
    admits,
    elect,
    is_given_another,
    may_vote,
    silent_ns,
    vote,
    wants_held,
)
from hftpipe.venues.nasdaq.itch.window import SLOT, SLOT_DATA, window_clear, window_drop_first, window_first, window_put


@jit
def begin(arbiter):
    """From the first message of the current session, forgetting what another, or the same before, has brought."""
    a = view(arbiter, ARBITER)
    a.reset_due = 1 if a.sessions > 0 else 0
    a.sessions += 1
    a.expected, a.high = a.first_sequence, a.first_sequence
    a.ended, a.ahead, a.hole, a.gap, a.given_up, a.overflowed = 0, 0, 0, 0, 0, 0
    for line in range(LINES):
        a.line_high[line] = ZERO
    window_clear(arbiter + WINDOW)


@jit
def _follow(arbiter, low, high):
    a = view(arbiter, ARBITER)
    if a.sessions > 0:
        a.session_changes += 1
    a.session_low, a.session_high = low, high
    begin(arbiter)


@jit
def _wait_for_votes(arbiter, low, high, votes, sequence, end, data, length, now_ns, origin_tsc):
    """Keep a candidate's packet until it is known which session is followed."""
    is_kept, is_another = wants_held(arbiter + ELECTION_AT, low, high, votes)
    hold = arbiter + view(arbiter, ARBITER).hold_at
    if is_another:
        window_clear(hold)
    if is_kept and end > sequence:
        window_put(hold, sequence, end, data, length, now_ns, origin_tsc)


@jit
def _take_held(arbiter, end):
    """The packets that waited for the session to be followed are its first; one far ahead of the last vote was a stray."""
    a = view(arbiter, ARBITER)
    hold = arbiter + a.hold_at
    slot = window_first(hold)
    while slot != ZERO:
        s = view(slot, SLOT)
        if s.sequence <= end + U64(AHEAD):
            window_put(arbiter + WINDOW, s.sequence, s.end, slot + SLOT_DATA, s.length, s.local_ts, s.origin_tsc)
            a.high = max(a.high, s.end)
        window_drop_first(hold)
        slot = window_first(hold)


@jit
def _foreign(arbiter, line, sender, low, high, sequence, end, data, length, now_ns, origin_tsc):
    """A packet of a session that is not followed: whether it is from now on."""
    a = view(arbiter, ARBITER)
    election = arbiter + ELECTION_AT
    a.foreign_session += 1
    is_over = a.ended != 0 and a.expected >= a.high
    silent = silent_ns(election, a.last_packet_ns, now_ns)
    if not may_vote(election, line, low, high, sender, silent, is_over):
        return False
    votes = vote(election, low, high, sequence, end, now_ns)
    if votes < view(election, ELECTION).session_votes:
        _wait_for_votes(arbiter, low, high, votes, sequence, end, data, length, now_ns, origin_tsc)
        return False
    is_held = elect(election, line, low, high, a.session_low, a.session_high, sender)
    _follow(arbiter, low, high)
    if is_held:
        _take_held(arbiter, end)
    a.high = max(a.high, end)
    return True


@jit
def in_session(arbiter, line, sender, low, high, sequence, end, data, length, now_ns, origin_tsc):
    """Whether a packet belongs to the session that is followed, or makes its own the one."""
    a = view(arbiter, ARBITER)
    is_ours = a.sessions != 0 and low == a.session_low and high == a.session_high
    if is_ours and sender == a.election.sender[line]:
        a.election.heard_ns[line] = now_ns
        return True
    if is_given_another(arbiter + ELECTION_AT, line, sender):
        a.strangers += 1
        return False
    if a.sessions == 0:
        _follow(arbiter, low, high)
        is_ours = True
    if not is_ours:
        return _foreign(arbiter, line, sender, low, high, sequence, end, data, length, now_ns, origin_tsc)
    if admits(arbiter + ELECTION_AT, line, sender, now_ns):
        return True
    a.strangers += 1
    return False
