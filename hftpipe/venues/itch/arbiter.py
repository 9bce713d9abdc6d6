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

A packet of another session starts that session (from ``first_sequence``) at once if the current one has ended or the
packet is the new one's first; otherwise after ``session_votes`` such packets without one of the current session
between them, so that a stray packet cannot wipe the books. Packets of the session before are dropped.

Refused and counted: packets whose blocks do not lie within the datagram, and sequence numbers of 0 or from 2**63 on.
Call :func:`mold_packet`, then :func:`mold_next` until it says no; the packet's memory must stay until then.
"""

import numpy as np

from hftpipe.core.jit import jit
from hftpipe.core.mem import ONE, U64, ZERO, view
from hftpipe.core.records import INVALID, SYNCING, VALID
from hftpipe.venues.itch.mold import (
    BLOCKS_AT,
    COUNT_AT,
    END_OF_SESSION,
    HEADER_BYTES,
    SEQUENCE_AT,
    blocks_length,
    put_header,
    session_of,
    skip_blocks,
)
from hftpipe.venues.itch.window import (
    ALREADY_HELD,
    HELD,
    SLOT,
    SLOT_DATA,
    TOO_LONG,
    window_bytes,
    window_clear,
    window_drop_first,
    window_first,
    window_init,
    window_put,
)
from hftpipe.venues.itch.wire import be16, be64

#: Lines: the two multicast groups, and the answers of the re-request server.
LINE_A, LINE_B, LINE_RETRANSMIT, LINES = 0, 1, 2, 3
#: What :func:`mold_packet` says of a packet.
REFUSED, DUPLICATE, TOO_EARLY, READY, IDLE, BUSY = 0, 1, 2, 3, 4, 5
#: First sequence number that is refused.
SEQUENCE_LIMIT = 1 << 63
#: Messages that a packet may be behind others of its own line: what a network holds back for some ms in the worst burst.
REORDER = 1 << 16

ARBITER = np.dtype(
    [
        # Settings; see :func:`arbiter_init`.
        ("first_sequence", "u8"), ("wait_ns", "i8"), ("retry_ns", "i8"), ("retry_max_ns", "i8"), ("max_retries", "i8"),
        ("request_limit", "i8"), ("silence_ns", "i8"), ("session_votes", "i8"),
        # Sessions: the current one, the one before, and the one that packets are voting for.
        ("session_low", "u8"), ("session_high", "u8"), ("old_low", "u8"), ("old_high", "u8"),
        ("new_low", "u8"), ("new_high", "u8"), ("votes", "i8"), ("sessions", "i8"), ("reset_due", "i8"),
        # Position.
        ("expected", "u8"), ("high", "u8"), ("ended", "i8"), ("last_packet_ns", "i8"),
        # By line: one past its latest message, and how many packets in a row have lain far behind that.
        ("line_high", "u8", LINES), ("line_back", "i8", LINES),
        # The hole in front of ``expected``.
        ("hole", "i8"), ("hole_at", "u8"), ("hole_since_ns", "i8"), ("refilled", "i8"), ("gap", "i8"),
        ("next_request_ns", "i8"), ("backoff_ns", "i8"), ("retries", "i8"), ("given_up", "i8"), ("overflowed", "i8"),
        # The packet being delivered, and its message under way.
        ("at", "u8"), ("left", "i8"), ("local_ts", "i8"), ("origin_tsc", "u8"), ("held", "i8"),
        ("message", "u8"), ("length", "i8"), ("sequence", "u8"),
        # Counters. By line:
        ("packets", "i8", LINES), ("duplicates", "i8", LINES), ("malformed", "i8", LINES), ("used", "i8", LINES),
        # Altogether:
        ("delivered", "i8"), ("heartbeats", "i8"), ("trailing", "i8"), ("bad_sequence", "i8"), ("old_session", "i8"),
        ("stray_session", "i8"), ("session_changes", "i8"), ("restarts", "i8"), ("holes", "i8"), ("gaps", "i8"), ("recovered", "i8"),
        ("requests", "i8"), ("give_ups", "i8"), ("overflows", "i8"), ("too_long", "i8"),
    ],
    align=True,
)  # fmt: skip
COUNTERS = (
    "delivered", "heartbeats", "trailing", "bad_sequence", "old_session", "stray_session", "session_changes", "restarts", "holes",
    "gaps", "recovered", "requests", "give_ups", "overflows", "too_long",
)  # fmt: skip
_WINDOW_AT = -(-ARBITER.itemsize // 64) * 64
_WINDOW = np.uint64(_WINDOW_AT)
_LIMIT = np.uint64(SEQUENCE_LIMIT)
DEFAULT_SLOTS, DEFAULT_PACKET_BYTES = 1024, 1500


def arbiter_bytes(slots: int = DEFAULT_SLOTS, packet_bytes: int = DEFAULT_PACKET_BYTES) -> int:
    """Memory of an arbiter with its window of ``slots`` packets of at most ``packet_bytes``."""
    return _WINDOW_AT + window_bytes(slots, packet_bytes)


def arbiter_init(
    memory: np.ndarray,
    *,
    slots: int = DEFAULT_SLOTS,
    packet_bytes: int = DEFAULT_PACKET_BYTES,
    first_sequence: int = 1,
    wait_ns: int = 200_000,
    retry_ns: int = 2_000_000,
    retry_max_ns: int = 1_000_000_000,
    max_retries: int = 8,
    request_limit: int = 1000,
    silence_ns: int = 3_000_000_000,
    session_votes: int = 3,
) -> None:
    """Make an arbiter that waits for its first packet.

    Args:
        memory: uint8 array of :func:`arbiter_bytes`, 64-byte aligned.
        first_sequence: where a session is read from; whoever joins late asks for all since then.
        wait_ns: how long the other line may take to fill a hole; max_retries: requests without answer until it is given up.
        retry_ns: wait after a first request; doubles with every one that brings nothing, up to ``retry_max_ns``.
        request_limit: most messages in one request.
        silence_ns: silence on all lines after which the books are not VALID; 0 turns that off.
        session_votes: packets that make a session change.

    Raises:
        ValueError: a setting that makes no arbiter.
    """
    if not 1 <= first_sequence < SEQUENCE_LIMIT or not 1 <= request_limit < END_OF_SESSION:
        raise ValueError(f"first_sequence {first_sequence} or request_limit {request_limit} is out of range")
    if wait_ns < 0 or not 0 < retry_ns <= retry_max_ns or max_retries < 1 or silence_ns < 0 or session_votes < 1:
        raise ValueError("wait_ns and silence_ns must be >= 0, 0 < retry_ns <= retry_max_ns, retries and votes >= 1")
    memory[:_WINDOW_AT] = 0
    header = memory[: ARBITER.itemsize].view(ARBITER)
    header["first_sequence"], header["expected"], header["high"] = first_sequence, first_sequence, first_sequence
    header["wait_ns"], header["retry_ns"], header["retry_max_ns"] = wait_ns, retry_ns, retry_max_ns
    header["max_retries"], header["request_limit"] = max_retries, request_limit
    header["silence_ns"], header["session_votes"] = silence_ns, session_votes
    window_init(memory[_WINDOW_AT:], slots, packet_bytes)


@jit
def _begin(arbiter):
    """From the first message of the current session, forgetting what another, or the same before, has brought."""
    a = view(arbiter, ARBITER)
    a.reset_due = 1 if a.sessions > 0 else 0
    a.sessions += 1
    a.expected, a.high = a.first_sequence, a.first_sequence
    a.votes, a.ended, a.hole, a.gap, a.given_up, a.overflowed = 0, 0, 0, 0, 0, 0
    for line in range(LINES):
        a.line_high[line], a.line_back[line] = ZERO, 0
    window_clear(arbiter + _WINDOW)


@jit
def _start_session(arbiter, low, high):
    a = view(arbiter, ARBITER)
    if a.sessions > 0:
        a.old_low, a.old_high = a.session_low, a.session_high
        a.session_changes += 1
    a.session_low, a.session_high = low, high
    _begin(arbiter)


@jit
def _vote(arbiter, low, high, sequence):
    """Whether a packet of another session may start it."""
    a = view(arbiter, ARBITER)
    if a.new_low != low or a.new_high != high:
        a.new_low, a.new_high, a.votes = low, high, 0
    a.votes += 1
    finished = a.ended != 0 and a.expected >= a.high
    return finished or sequence <= a.first_sequence or a.votes >= a.session_votes


@jit
def _in_session(arbiter, low, high, sequence):
    """Whether a packet belongs to the current session, or starts the next."""
    a = view(arbiter, ARBITER)
    if a.sessions > 0 and low == a.session_low and high == a.session_high:
        a.votes = 0
        return True
    if a.sessions > 1 and low == a.old_low and high == a.old_high:
        a.old_session += 1
        return False
    if a.sessions == 0 or _vote(arbiter, low, high, sequence):
        _start_session(arbiter, low, high)
        return True
    a.stray_session += 1
    return False


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
    result = window_put(arbiter + _WINDOW, sequence, end, data, length, now_ns, origin_tsc)
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
def _has_gone_back(a, line, end):
    """Whether a line has begun the session again: several of its packets in a row lie far behind what it has had."""
    if end + U64(REORDER) >= a.line_high[line]:
        a.line_high[line] = max(a.line_high[line], end)
        a.line_back[line] = 0
        return False
    a.line_back[line] += 1
    return a.ended == 0 and a.line_back[line] >= a.session_votes


@jit
def _accept(arbiter, line, data, length, sequence, count, now_ns, origin_tsc):
    """A well-formed packet of the current session."""
    a = view(arbiter, ARBITER)
    messages = np.int64(0) if count == END_OF_SESSION else count
    end = sequence + U64(messages)
    if end >= a.expected:
        a.last_packet_ns = now_ns
    if line != LINE_RETRANSMIT and _has_gone_back(a, line, end):
        a.restarts += 1
        _begin(arbiter)
    a.high = max(a.high, end)
    if messages == 0:
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
    """Take one datagram.

    Args:
        arbiter: address of an ARBITER; line: int64, one of LINE_*.
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
    count = _whole(arbiter, line, data, length)
    if count < 0:
        return np.int64(REFUSED)
    sequence = be64(data + SEQUENCE_AT)
    if sequence == ZERO or sequence >= _LIMIT:
        a.bad_sequence += 1
        return np.int64(REFUSED)
    low, high = session_of(data)
    if not _in_session(arbiter, low, high, sequence):
        return np.int64(REFUSED)
    status = _accept(arbiter, line, data, length, sequence, count, now_ns, origin_tsc)
    _note_position(arbiter, now_ns)
    return status


@jit
def _next_held(arbiter):
    """Go on with the first held packet if it is its turn."""
    a = view(arbiter, ARBITER)
    window = arbiter + _WINDOW
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
    slot = window_first(arbiter + _WINDOW)
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
    if a.silence_ns > 0 and now_ns - a.last_packet_ns > a.silence_ns:
        return np.int64(SYNCING)
    return np.int64(VALID)


@jit
def mold_take_reset(arbiter):
    """Whether another session has begun since the last call."""
    a = view(arbiter, ARBITER)
    due = a.reset_due != 0
    a.reset_due = 0
    return due
