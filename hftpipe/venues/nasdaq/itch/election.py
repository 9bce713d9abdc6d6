"""Which session, from which sender, is followed: a stray datagram decides nothing, and nobody is shut out for ever.

A packet of the session that is followed is taken; a packet of any other is *foreign*: it is counted, and at most it is a
vote. ``session_votes`` votes for one session make it the one that is followed. What a vote is:

* it is further on than the last vote for that session (copies of one datagram are one vote), or, if a session stands
  still, long enough after it that the votes together take about ``takeover_ns``;
* it is within AHEAD messages of that last vote. One further off has a count of its own, so that a stray under a
  session's name does not spoil the session's count;
* it comes on a line: answers of the re-request server are no votes;
* no sign of life of the session that is followed came after it: that annuls all votes.

Who votes when, by what is known of the packet and of the session that is followed:

================================================== ================================================================
the session that is followed                       packets of others that are votes
================================================== ================================================================
has brought fewer than ``session_votes`` packets   all
has been silent for ``takeover_ns``                all, also of sessions that were followed before
lives                                              of a new session, from the sender that the line's packets come from
has ended, and all of it is here                   of a new session, from any sender of that address, or from one not known
================================================== ================================================================

A sender is an address and a port: two exchanges on one machine have the same address, and may speak on the same groups.

So a venue that begins its next session is followed after a few packets, one that is started again (on another port) likewise
if it had ended the session before, one that fails over to another address or back to an earlier session as soon as the session
before is silent, and a stranger on the group never while it lives. The sender of a line is the one that its packets come
from; those of the same session from another are strangers' too, until the line's own has been silent for ``takeover_ns``. A
session that is followed from another sender than the one before may have another on each line. Where addresses are given,
no other is heard.

Silence is what was listened to: after a standstill of our own it begins anew.

The first packets of a candidate wait in a window until it is decided, so that a session that begins loses none.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view

#: Lines: the two multicast groups, and the answers of the re-request server.
LINE_A, LINE_B, LINE_RETRANSMIT, LINES = 0, 1, 2, 3
#: Messages that a packet may be off others of its own line: what a network holds back for some ms in the worst burst.
REORDER = 1 << 16
#: Messages that one packet may be ahead of all that has been heard: what both lines lose in a bad moment.
AHEAD = 1 << 12
#: Sessions that can be voted for at once, and earlier ones that are remembered.
CANDIDATES, PAST = 16, 4

ELECTION = np.dtype(
    [
        # Settings; ``given``: the only address that may be heard on the line (0: any).
        ("session_votes", "i8"), ("takeover_ns", "i8"), ("given", "u8", LINES),
        # By line: the sender that its packets come from (0: not known), and when it last sent one.
        ("sender", "u8", LINES), ("heard_ns", "i8", LINES),
        # Packets that the present session has brought, no more than are needed; sessions before it, the latest last.
        ("support", "i8"), ("past_low", "u8", PAST), ("past_high", "u8", PAST), ("past", "i8"),
        # Candidates: session, votes, one past the last vote's messages, its time. ``is_settled``: 1 if there are
        # no votes, and the present session needs no more support.
        ("low", "u8", CANDIDATES), ("high", "u8", CANDIDATES), ("votes", "i8", CANDIDATES),
        ("end", "u8", CANDIDATES), ("voted_ns", "i8", CANDIDATES), ("is_settled", "i8"),
        # When the lines were last looked at, and since when that has been without a longer break.
        ("looked_ns", "i8"), ("awake_ns", "i8"),
        # Whose packets wait.
        ("held_low", "u8"), ("held_high", "u8"), ("held_votes", "i8"),
    ],
    align=True,
)  # fmt: skip


def election_init(election: np.ndarray, session_votes: int, takeover_ns: int, senders: tuple[int, int]) -> None:
    """Set up an ELECTION (array of length 1, zeroed).

    Args:
        session_votes: votes that make a session the one that is followed; takeover_ns: silence after which others may.
        senders: the only addresses to listen to on lines A and B, as in the packets' headers read as one number; 0: any.

    Raises:
        ValueError: no votes, or no time.
    """
    if session_votes < 1 or takeover_ns < 1:
        raise ValueError(f"session_votes {session_votes} and takeover_ns {takeover_ns} must be at least 1")
    election["session_votes"], election["takeover_ns"] = session_votes, takeover_ns
    election["given"][0][:2] = senders


@jit
def sender_of(address, port):
    """A sender as one number: its IPv4 address and UDP port (uint64), as they stand in a datagram's headers."""
    return (address << U64(16)) | port


@jit
def address_of_sender(sender):
    return sender >> U64(16)


@jit
def looks(election, now_ns):
    """The lines are being looked at. What was not heard while nobody did (a stopped process) is no silence of theirs."""
    e = view(election, ELECTION)
    if now_ns - e.looked_ns > e.takeover_ns >> 1:
        e.awake_ns = now_ns
    e.looked_ns = now_ns


@jit
def silent_ns(election, heard_ns, now_ns):
    """For how long nothing has been heard since ``heard_ns``, as far as somebody listened."""
    return now_ns - max(heard_ns, view(election, ELECTION).awake_ns)


@jit
def is_given_another(election, line, sender):
    """Whether only another address may be heard on this line."""
    e = view(election, ELECTION)
    return e.given[line] != ZERO and address_of_sender(sender) != e.given[line]


@jit
def is_established(election):
    """Whether the session that is followed has brought enough packets to be more than a stray."""
    e = view(election, ELECTION)
    return e.support >= e.session_votes


@jit
def admits(election, line, sender, now_ns):
    """Whether a packet of the session that is followed is taken from this sender (0: not known)."""
    e = view(election, ELECTION)
    own = e.sender[line]
    is_stranger = sender != own and sender != ZERO and own != ZERO
    if is_stranger and is_established(election) and silent_ns(election, e.heard_ns[line], now_ns) < e.takeover_ns:
        return False
    e.heard_ns[line] = now_ns
    if sender != ZERO:
        e.sender[line] = sender
    return True


@jit
def lives(election):
    """A sign of life of the session that is followed."""
    e = view(election, ELECTION)
    if e.is_settled != 0:
        return
    if e.support < e.session_votes:
        e.support += 1
    e.is_settled, e.held_votes = np.int64(e.support >= e.session_votes), 0
    for index in range(CANDIDATES):
        e.votes[index] = 0


@jit
def _is_past(e, low, high):
    found = False
    for index in range(min(e.past, PAST)):
        found |= e.past_low[index] == low and e.past_high[index] == high
    return found


@jit
def may_vote(election, line, low, high, sender, silent, is_over):
    """Whether a packet of a session that is not followed is a vote by the table above."""
    e = view(election, ELECTION)
    if line == LINE_RETRANSMIT:
        return False
    if silent >= e.takeover_ns or not is_established(election):
        return True
    if _is_past(e, low, high):
        return False
    own = e.sender[line]
    if sender == own and own != ZERO:
        return True
    return is_over and (sender == ZERO or own == ZERO or address_of_sender(sender) == address_of_sender(own))


@jit
def _candidate(e, low, high, sequence, end):
    """Number of the candidate, a session at about a place; one without votes, or with the oldest, makes room for it."""
    oldest = np.int64(0)
    for index in range(CANDIDATES):
        is_near = sequence <= e.end[index] + U64(AHEAD) and e.end[index] <= end + U64(AHEAD)
        if e.votes[index] != 0 and e.low[index] == low and e.high[index] == high and is_near:
            return np.int64(index)
        is_older = e.votes[index] == 0 or e.voted_ns[index] < e.voted_ns[oldest]
        if e.votes[oldest] != 0 and is_older:
            oldest = np.int64(index)
    e.low[oldest], e.high[oldest], e.votes[oldest] = low, high, 0
    return oldest


@jit
def vote(election, low, high, sequence, end, now_ns):
    """Count a packet with messages [sequence, end) for a session: the votes that it now has, negative if this was none."""
    e = view(election, ELECTION)
    index = _candidate(e, low, high, sequence, end)
    before = e.votes[index]
    if before > 0 and end <= e.end[index] and now_ns - e.voted_ns[index] < e.takeover_ns // e.session_votes:
        return -before
    e.votes[index], e.end[index], e.voted_ns[index], e.is_settled = before + 1, end, now_ns, 0
    return before + 1


@jit
def wants_held(election, low, high, votes):
    """Whether the packet of a candidate (with what :func:`vote` said) is to wait; (that, whether others' must go first)."""
    e = view(election, ELECTION)
    if e.held_votes != 0 and e.held_low == low and e.held_high == high:
        e.held_votes = max(e.held_votes, votes)
        return True, False
    if votes < e.held_votes or votes < 1:
        return False, False
    e.held_low, e.held_high, e.held_votes = low, high, votes
    return True, True


@jit
def elect(election, line, low, high, old_low, old_high, sender):
    """From now on a session is followed: (whether the packets that wait are its own).

    Args:
        low, high: the session; old_low, old_high: the one before; line, sender: where the deciding vote came from.
    """
    e = view(election, ELECTION)
    place = e.past % PAST
    e.past_low[place], e.past_high[place] = old_low, old_high
    e.past += 1
    if sender != ZERO and sender != e.sender[line]:
        # The other lines have been moved as well.
        for other in range(LINES):
            e.sender[other] = ZERO
        e.sender[line] = sender
    is_held = e.held_votes != 0 and e.held_low == low and e.held_high == high
    lives(election)
    e.support = e.session_votes
    return is_held
