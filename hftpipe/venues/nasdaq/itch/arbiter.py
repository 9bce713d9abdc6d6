"""Two multicast lines and a re-request server into one gapless sequence of messages.

Whichever line brings a packet first wins; the other copy is a duplicate. What comes too early is held in the window.
The states, by what is known of the sequence (``expected``: next to deliver; ``high``: one past the last one heard of):

============================================== ======= ==========================================================
situation                                      state   what happens
============================================== ======= ==========================================================
no packet of any session yet                   INVALID
expected == high                               VALID   packets are delivered as they come
expected < high, for less than ``wait_ns``     VALID   a *hole*: later packets are held, the other line may fill it
expected < high, for longer                    SYNCING a *gap*: asked for again and again, with doubling waits
as above, window overflowed                    INVALID later packets are lost for now and asked for when it is their turn
as above, ``max_retries`` unanswered           INVALID *given up*, though still asked for at ``retry_max_ns``
nothing new, no heartbeat, for ``silence_ns``  SYNCING
session ended and all delivered                INVALID no more will come
============================================== ======= ==========================================================

A hole is no worse than having only the slower line, and a book is right as of its last message: that is why it stays
VALID until the other line has had its time. Whatever state, messages are delivered in order and exactly once, so a
book that catches up is right again.

Packets that end before ``expected`` are no sign of life. ``session_votes`` in a row, more than REORDER messages behind what
their line has brought, start the session anew: it was begun again under its own name. Sooner that cannot be told from copies.
Of one more than AHEAD messages ahead nothing is believed until as many have said so (SYNCING meanwhile): it may be a stray, and nobody could
ever fill the gap that it speaks of. If enough have said so and it was not true, it is forgotten when for ``takeover_ns``
nothing has come from there.

Which session is followed, and what is done with packets of others and of strangers, stands in
:mod:`hftpipe.venues.nasdaq.itch.election`. Another session is read from ``first_sequence``.

Refused and counted: packets whose blocks do not lie within the datagram, and sequence numbers of 0 or from 2**63 on.
Call :func:`mold_packet`, then :func:`mold_next` until it says no; the packet's memory must stay until then.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, view
from hftpipe.core.schema.records import INVALID, SYNCING, VALID
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, ELECTION_AT, SEQUENCE_LIMIT, WINDOW
from hftpipe.venues.nasdaq.itch.election import (
    AHEAD,
    LINE_RETRANSMIT,
    LINES,
    REORDER,
    is_established,
    lives,
    looks,
    silent_ns,
    vote,
)
from hftpipe.venues.nasdaq.itch.mold import (
    BLOCKS_AT,
    COUNT_AT,
    END_OF_SESSION,
    HEADER_BYTES,
    HEARTBEAT,
    SEQUENCE_AT,
    blocks_length,
    put_header,
    session_of,
    skip_blocks,
)
from hftpipe.venues.nasdaq.itch.sessions import begin, in_session
from hftpipe.venues.nasdaq.itch.window import (
    ALREADY_HELD,
    HELD,
    SLOT,
    SLOT_DATA,
    TOO_LONG,
    window_clear,
    window_drop_first,
    window_first,
    window_put,
)
from hftpipe.venues.nasdaq.itch.wire import be16, be64

#: What :func:`mold_packet` says of a packet.
REFUSED, DUPLICATE, TOO_EARLY, READY, IDLE, BUSY = 0, 1, 2, 3, 4, 5
_LIMIT = np.uint64(SEQUENCE_LIMIT)


@jit
def _whole(arbiter, line, data, length):
    """The message count of a well-formed packet; -1 (counted) for any other."""
    a = view(arbiter, ARBITER)
    if length < HEADER_BYTES:
        a.malformed[line] += 1
        return np.int64(-1)
    count = np.int64(be16(data + COUNT_AT))
    messages = np.int64(0) if count == END_OF_SESSION else count
    used = blocks_length(data + BLOCKS_AT, length - HEADER_BYTES, messages)
    if used < 0:
        a.malformed[line] += 1
        return np.int64(-1)
    if used != length - HEADER_BYTES:
        a.trailing += 1
    return count


@jit
def _note_hole(arbiter, now_ns):
    """Keep track of when the present hole opened; a hole behind a refilled one is another hole."""
    a = view(arbiter, ARBITER)
    if a.hole == 0 or a.refilled != 0:
        a.recovered += a.gap
        a.hole, a.hole_at, a.hole_since_ns, a.gap = 1, a.expected, now_ns, 0
        a.holes += 1
    elif a.hole_at != a.expected:
        # Part of it came: whoever answers is alive, ask for the rest at once.
        a.hole_at, a.next_request_ns, a.backoff_ns = a.expected, now_ns, a.retry_ns
        a.retries, a.given_up = 0, 0
    a.refilled = 0


@jit
def _note_whole(arbiter):
    """Nothing is missing."""
    a = view(arbiter, ARBITER)
    a.recovered += a.gap
    a.hole, a.gap, a.refilled, a.given_up, a.overflowed = 0, 0, 0, 0, 0


@jit
def _note_position(arbiter, now_ns):
    a = view(arbiter, ARBITER)
    if a.left > 0:
        return
    if a.expected >= a.high:
        _note_whole(arbiter)
    else:
        _note_hole(arbiter, now_ns)


@jit
def _hold(arbiter, line, sequence, end, data, length, now_ns, origin_tsc):
    a = view(arbiter, ARBITER)
    result = window_put(arbiter + WINDOW, sequence, end, data, length, now_ns, origin_tsc)
    if result == HELD:
        a.used[line] += 1
    elif result == ALREADY_HELD:
        a.duplicates[line] += 1
        return np.int64(DUPLICATE)
    elif result == TOO_LONG:
        a.too_long += 1
    else:
        a.overflows += 1
        a.overflowed = 1
    return np.int64(TOO_EARLY)


@jit
def _deliver(arbiter, data, sequence, end, now_ns, origin_tsc):
    """Start delivering a packet at the message that is expected."""
    a = view(arbiter, ARBITER)
    a.at = skip_blocks(data + BLOCKS_AT, np.int64(a.expected - sequence))
    a.left = np.int64(end - a.expected)
    a.local_ts, a.origin_tsc = now_ns, origin_tsc


@jit
def _is_far_behind(arbiter, line, end):
    """Whether a packet is old and far behind its own line; or behind all, as long as those may have been strays."""
    a = view(arbiter, ARBITER)
    if end + U64(REORDER) < a.line_high[line]:
        return end < a.expected or not is_established(arbiter + ELECTION_AT)
    a.line_high[line] = max(a.line_high[line], end)
    return end + U64(AHEAD) < a.high and not is_established(arbiter + ELECTION_AT)


@jit
def _has_begun_again(arbiter, line, sequence, end, now_ns):
    """Whether a packet shows, with others, that the session was begun again under its own name."""
    a, election = view(arbiter, ARBITER), arbiter + ELECTION_AT
    if line == LINE_RETRANSMIT or not _is_far_behind(arbiter, line, end):
        return False
    if a.ended != 0 and silent_ns(election, a.last_packet_ns, now_ns) < a.election.takeover_ns:
        # Late copies.
        return False
    return _is_voted(arbiter, sequence, end, now_ns)


@jit
def _is_believed(arbiter, line, sequence, end, now_ns):
    """Whether a packet can be where it says; one far ahead only if enough others say so. Answers never are."""
    a = view(arbiter, ARBITER)
    if end <= a.high + U64(AHEAD):
        return True
    is_line = line != LINE_RETRANSMIT
    if is_line and (a.election.support == 0 or _is_voted(arbiter, sequence, end, now_ns)):
        return True
    a.far_ahead += 1
    if is_line:
        a.ahead = 1
    return False


@jit
def _is_voted(arbiter, sequence, end, now_ns):
    """Count a packet for a place in the present session that is not the one known: whether it is that now."""
    a, election = view(arbiter, ARBITER), arbiter + ELECTION_AT
    return vote(election, a.session_low, a.session_high, sequence, end, now_ns) >= a.election.session_votes


@jit
def _retract(arbiter, end):
    """What was said to lie far ahead has never come, while all else went on: forget it."""
    a = view(arbiter, ARBITER)
    a.retracted += 1
    a.high = end
    for line in range(LINES):
        a.line_high[line] = ZERO
    window_clear(arbiter + WINDOW)


@jit
def _annul_votes(arbiter):
    """The session lives: whatever has been voted for, another one or a place far ahead, counts no more."""
    a = view(arbiter, ARBITER)
    if a.election.is_settled == 0:
        a.ahead = 0
        lives(arbiter + ELECTION_AT)


@jit
def _note_life(arbiter, line, sequence, end, now_ns):
    """A packet that may be next is a sign of life; one that is near what was heard speaks for the session as well."""
    a, election = view(arbiter, ARBITER), arbiter + ELECTION_AT
    if end < a.expected:
        return
    a.last_packet_ns = now_ns
    if end + U64(AHEAD) >= a.high:
        a.near_ns = now_ns
        _annul_votes(arbiter)
    elif line != LINE_RETRANSMIT and silent_ns(election, a.near_ns, now_ns) >= a.election.takeover_ns:
        if _is_voted(arbiter, sequence, end, now_ns):
            _retract(arbiter, end)
    elif is_established(election) and end + U64(REORDER) >= a.high:
        _annul_votes(arbiter)


@jit
def _accept(arbiter, line, data, length, sequence, end, count, now_ns, origin_tsc):
    """A well-formed packet of the session that is followed."""
    a = view(arbiter, ARBITER)
    if not _is_believed(arbiter, line, sequence, end, now_ns):
        return np.int64(REFUSED)
    if _has_begun_again(arbiter, line, sequence, end, now_ns):
        a.restarts += 1
        begin(arbiter)
    _note_life(arbiter, line, sequence, end, now_ns)
    if end > a.high or count == HEARTBEAT:
        # Whatever said that the session has ended: it goes on.
        a.high, a.ended = max(a.high, end), 0
    if end == sequence:
        a.heartbeats += 1
        a.ended = 1 if count == END_OF_SESSION else a.ended
        return np.int64(IDLE)
    if end <= a.expected:
        a.duplicates[line] += 1
        return np.int64(DUPLICATE)
    if sequence > a.expected:
        return _hold(arbiter, line, sequence, end, data, length, now_ns, origin_tsc)
    a.used[line] += 1
    _deliver(arbiter, data, sequence, end, now_ns, origin_tsc)
    return np.int64(READY)


@jit
def mold_packet(arbiter, line, data, length, now_ns, origin_tsc):
    """:func:`mold_packet_from` an address that is not known."""
    return mold_packet_from(arbiter, line, ZERO, data, length, now_ns, origin_tsc)


@jit
def mold_packet_from(arbiter, line, sender, data, length, now_ns, origin_tsc):
    """Take one datagram.

    Args:
        arbiter: address of an ARBITER; line: int64, one of LINE_*.
        sender: uint64, who sent it (:func:`hftpipe.venues.nasdaq.itch.election.sender_of`); 0 if not known.
        data, length: the datagram (address, int64); now_ns: our monotonic or event time; origin_tsc: uint64, or 0.

    Returns:
        REFUSED, DUPLICATE, TOO_EARLY, IDLE (heartbeat or end of session), READY (there are messages for
        :func:`mold_next`), or BUSY (the packet before has not been delivered to its end; nothing happens).
        ``reset_due`` is 1 when the packet began another session: forget the books first.
    """
    a = view(arbiter, ARBITER)
    if a.left > 0:
        return np.int64(BUSY)
    a.packets[line] += 1
    looks(arbiter + ELECTION_AT, now_ns)
    count = _whole(arbiter, line, data, length)
    if count < 0:
        return np.int64(REFUSED)
    sequence = be64(data + SEQUENCE_AT)
    if sequence == ZERO or sequence >= _LIMIT:
        a.bad_sequence += 1
        return np.int64(REFUSED)
    low, high = session_of(data)
    end = sequence if count == END_OF_SESSION else sequence + U64(count)
    if not in_session(arbiter, line, sender, low, high, sequence, end, data, length, now_ns, origin_tsc):
        return np.int64(REFUSED)
    status = _accept(arbiter, line, data, length, sequence, end, count, now_ns, origin_tsc)
    _note_position(arbiter, now_ns)
    return status


@jit
def _next_held(arbiter):
    """Go on with the first held packet if it is its turn."""
    a = view(arbiter, ARBITER)
    window = arbiter + WINDOW
    slot = window_first(window)
    while slot != ZERO and view(slot, SLOT).sequence <= a.expected:
        s = view(slot, SLOT)
        # The slot's bytes stay until the next packet is held, which is not before this one is delivered.
        window_drop_first(window)
        if s.end > a.expected:
            a.refilled = 1
            _deliver(arbiter, slot + SLOT_DATA, s.sequence, s.end, s.local_ts, s.origin_tsc)
            return True
        slot = window_first(window)
    return False


@jit
def mold_next(arbiter):
    """Step to the next message in order: ``message`` (address), ``length``, ``sequence``, ``local_ts``, ``origin_tsc``.

    Returns:
        False when there is none for now.
    """
    a = view(arbiter, ARBITER)
    if a.left == 0 and not _next_held(arbiter):
        return False
    a.length = np.int64(be16(a.at))
    a.message = a.at + U64(2)
    a.sequence = a.expected
    a.at = a.message + U64(a.length)
    a.left -= 1
    a.expected += ONE
    a.delivered += 1
    return True


@jit
def _request(arbiter, now_ns, target):
    """Write a request for what is missing up to the first held packet, and set the time of the next one."""
    a = view(arbiter, ARBITER)
    slot = window_first(arbiter + WINDOW)
    end = view(slot, SLOT).sequence if slot != ZERO else a.high
    count = min(np.int64(end - a.expected), a.request_limit)
    a.requests += 1
    a.retries += 1
    a.next_request_ns = now_ns + a.backoff_ns
    a.backoff_ns = min(2 * a.backoff_ns, a.retry_max_ns)
    return put_header(target, a.session_low, a.session_high, a.expected, count)


@jit
def mold_poll(arbiter, now_ns, target):
    """Let time pass: call it after delivering, and at least every ``wait_ns`` while nothing comes.

    Returns:
        Bytes of a re-request written at ``target`` (room for HEADER_BYTES) that is to be sent now, or 0.
    """
    a = view(arbiter, ARBITER)
    looks(arbiter + ELECTION_AT, now_ns)
    _note_position(arbiter, now_ns)
    if a.hole == 0 or a.left > 0 or now_ns - a.hole_since_ns < a.wait_ns:
        return np.int64(0)
    if a.gap == 0:
        a.gap = 1
        a.gaps += 1
        a.next_request_ns, a.backoff_ns, a.retries, a.given_up = now_ns, a.retry_ns, 0, 0
    if now_ns < a.next_request_ns:
        return np.int64(0)
    if a.retries >= a.max_retries and a.given_up == 0:
        a.given_up = 1
        a.give_ups += 1
    return _request(arbiter, now_ns, target)


@jit
def mold_state(arbiter, now_ns):
    """INVALID, SYNCING or VALID (int64) by the table above; ask after :func:`mold_poll`."""
    a = view(arbiter, ARBITER)
    whole = a.expected >= a.high
    if a.sessions == 0 or a.given_up != 0 or a.overflowed != 0 or (whole and a.ended != 0):
        return np.int64(INVALID)
    if not whole and (a.hole == 0 or now_ns - a.hole_since_ns >= a.wait_ns):
        return np.int64(SYNCING)
    if a.ahead != 0 or (a.silence_ns > 0 and now_ns - a.last_packet_ns > a.silence_ns):
        return np.int64(SYNCING)
    return np.int64(VALID)


@jit
def mold_take_reset(arbiter):
    """Whether another session has begun since the last call."""
    a = view(arbiter, ARBITER)
    due = a.reset_due != 0
    a.reset_due = 0
    return due
