"""Orders over UDP: a small reliable session, the same code on both sides, without sockets.

What a datagram says stands in :mod:`hftpipe.venues.nasdaq.ouch.datagram`.

Messages are numbered from 1 in each direction. Each is kept until the other side has acknowledged it, and sent again
after ``rto_ns``, doubling up to ``rto_max_ns``, for as long as the session lives; so a lost datagram costs time and
never a message. What arrives twice is dropped, what arrives early is held, and messages come out in order, once. One
that is longer than any message comes out in its turn, too, with its length and as much of it as is held: it is for the
reader to refuse. A datagram with the next message that is not sound is counted in ``stuck``, until the message comes.
Nothing is sent beyond the window: then :func:`session_reserve` says no, and nothing is lost by it.

A session is LOST when nothing has been heard for ``silence_ns``; it goes on trying, and is UP again at the first sign
of life. A venue that then accepts it from an earlier number than it had reached has forgotten it: that is a REJECT. A
new number is a new session; the venue decides what becomes of the old one's orders.

With ``cancel after`` (0: not) a client asks for its orders to be cancelled after such a silence, or when it logs out.
All functions work on memory: the caller sends the datagram whose address he gets (``out_length`` bytes).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, store_u8, view
from hftpipe.core.schema.layout import offset_of, whole
from hftpipe.venues.nasdaq.itch.wire import be16, be64, put_be16, put_be32, put_be64
from hftpipe.venues.nasdaq.ouch.datagram import (
    ACCEPT,
    ACK_AT,
    BLOCKS_AT,
    CANCEL_AFTER_AT,
    COUNT_AT,
    CREDENTIAL_BYTES,
    DATA,
    END,
    HEADER_BYTES,
    HEARTBEAT,
    KIND_AT,
    LOGIN,
    LOGIN_BYTES,
    MAGIC,
    REJECT,
    SEQ_AT,
    SESSION_AT,
    blocks_whole,
    session_kind,
    session_number,
)
from hftpipe.venues.nasdaq.ouch.messages import MESSAGE_BYTES_MAX

DOWN, UP, LOST, ENDED = 0, 1, 2, 3
STATE_NAMES = {DOWN: "DOWN", UP: "UP", LOST: "LOST", ENDED: "ENDED"}
CLIENT, VENUE_SIDE = 0, 1
DATAGRAM_BYTES_MAX = HEADER_BYTES + 2 + MESSAGE_BYTES_MAX

SESSION = np.dtype(
    [
        # Settings.
        ("role", "i8"), ("session", "u8"), ("window", "u8"), ("rto_ns", "i8"), ("rto_max_ns", "i8"),
        ("ack_delay_ns", "i8"), ("heartbeat_ns", "i8"), ("silence_ns", "i8"), ("credentials", "u1", CREDENTIAL_BYTES),
        ("cancel_after_ms", "i8"),
        # Position: next number to send and the oldest not acknowledged; the next number to deliver.
        ("state", "i8"), ("next_out", "u8"), ("acked", "u8"), ("expected", "u8"),
        # Timers (ns) and a control datagram that is due (its kind, 0: none); logins sent without answer.
        ("last_sent_ns", "i8"), ("last_heard_ns", "i8"), ("ack_due_ns", "i8"), ("login_due_ns", "i8"),
        ("control", "i8"), ("tries", "i8"),
        # Lengths of what the last function returned the address of.
        ("out_length", "i8"), ("in_length", "i8"),
        ("sent", "i8"), ("resent", "i8"), ("received", "i8"), ("delivered", "i8"), ("duplicates", "i8"),
        ("early", "i8"), ("too_far", "i8"), ("malformed", "i8"), ("wrong_session", "i8"), ("bad_ack", "i8"),
        ("heartbeats", "i8"), ("window_full", "i8"), ("losses", "i8"), ("recoveries", "i8"),
        # Unsound datagrams in a row that should have brought the next message.
        ("stuck", "i8"), ("_pad", "i8", 1),
    ],
    align=True,
)  # fmt: skip
COUNTERS = (
    "sent", "resent", "received", "delivered", "duplicates", "early", "too_far", "malformed", "wrong_session",
    "bad_ack", "heartbeats", "window_full", "losses", "recoveries",
)  # fmt: skip
#: A message on its way out, its datagram behind it; or one that came early, its text behind it. seq 0: unused.
SLOT = np.dtype([("seq", "u8"), ("length", "i8"), ("due_ns", "i8"), ("tries", "i8")], align=True)
SLOT_BYTES = 256
_CONTROL_AT = whole(SESSION.itemsize)
_OUT_AT = _CONTROL_AT + 64
_CONTROL, _OUT = np.uint64(_CONTROL_AT), np.uint64(_OUT_AT)
_SLOT_SHIFT, _TEXT_AT, _PAYLOAD_AT = np.uint64(8), np.uint64(32), np.uint64(32 + HEADER_BYTES + 2)
_CREDENTIALS = np.uint64(offset_of(SESSION, "credentials"))
_MAX_SHIFT = 16
_LIMIT = np.uint64(1 << 62)
#: Unsound datagrams in a row that say that the next message will never be had; the other side sends it again for seconds.
STUCK_MAX = 16
assert SLOT.itemsize + DATAGRAM_BYTES_MAX <= SLOT_BYTES and HEADER_BYTES + 2 + LOGIN_BYTES <= 64


def session_bytes(window: int = 256) -> int:
    """Memory of a session that may have ``window`` messages in flight each way.

    Raises:
        ValueError: not a power of two of at least 2.
    """
    if window < 2 or window & (window - 1):
        raise ValueError(f"session window {window} is not a power of two of at least 2")
    return _OUT_AT + 2 * window * SLOT_BYTES


def session_init(
    memory: np.ndarray,
    role: int,
    *,
    window: int = 256,
    session: int = 0,
    user: str = "",
    password: str = "",
    rto_ns: int = 2_000_000,
    rto_max_ns: int = 200_000_000,
    ack_delay_ns: int = 200_000,
    heartbeat_ns: int = 200_000_000,
    silence_ns: int = 1_000_000_000,
    cancel_after_ms: int = 0,
) -> None:
    """Make a session: a client's starts to log in at its first poll, a venue's waits for :func:`session_accept`.

    Args:
        memory: uint8 array of :func:`session_bytes`, 64-byte aligned.
        session: 1 to 2**32 - 1 for a client, 0 for a venue.
        user, password: at most 6 and 10 ASCII characters.
        cancel_after_ms: what a client asks for when it logs in, up to 65,535; 0: nothing.

    Raises:
        ValueError: a setting that makes no session.
    """
    if len(user) > 6 or len(password) > 10 or not (user + password).isascii():
        raise ValueError("user and password are at most 6 and 10 ASCII characters")
    if not 0 <= session < 1 << 32 or (role == CLIENT) != (session > 0):
        raise ValueError(f"session {session}: 1 to 2**32 - 1 for a client, 0 for a venue")
    if not 0 < rto_ns <= rto_max_ns or not 0 < heartbeat_ns < silence_ns or not 0 <= ack_delay_ns < rto_ns:
        raise ValueError("0 < rto_ns <= rto_max_ns, 0 < heartbeat_ns < silence_ns and 0 <= ack_delay_ns < rto_ns")
    if not 0 <= cancel_after_ms < 1 << 16:
        raise ValueError(f"cancel_after_ms {cancel_after_ms} is not in 0..65535")
    memory[: session_bytes(window)] = 0
    header = memory[: SESSION.itemsize].view(SESSION)
    header["cancel_after_ms"] = cancel_after_ms
    header["role"], header["window"] = role, window
    header["rto_ns"], header["rto_max_ns"], header["ack_delay_ns"] = rto_ns, rto_max_ns, ack_delay_ns
    header["heartbeat_ns"], header["silence_ns"] = heartbeat_ns, silence_ns
    text = user.encode().ljust(6) + password.encode().ljust(10)
    header["credentials"][0] = np.frombuffer(text, np.uint8)
    session_start(np.uint64(memory.ctypes.data), np.uint64(session))


@jit
def _out_slot(session, seq):
    mask = view(session, SESSION).window - ONE
    return session + _OUT + ((seq & mask) << _SLOT_SHIFT)


@jit
def _in_slot(session, seq):
    window = view(session, SESSION).window
    return session + _OUT + ((window + (seq & (window - ONE))) << _SLOT_SHIFT)


@jit
def _put_header(session, target, kind, seq, count):
    s = view(session, SESSION)
    put_be32(target, U64(MAGIC))
    put_be32(target + SESSION_AT, s.session)
    put_be64(target + SEQ_AT, seq)
    put_be64(target + ACK_AT, s.expected)
    store_u8(target + KIND_AT, np.uint8(kind))
    store_u8(target + KIND_AT + ONE, np.uint8(0))
    put_be16(target + COUNT_AT, U64(count))


@jit
def session_start(session, number):
    """Begin as session ``number`` (uint64), forgetting everything in flight; counters go on."""
    s = view(session, SESSION)
    s.session, s.state = number, DOWN
    s.next_out, s.acked, s.expected = ONE, ONE, ONE
    s.ack_due_ns, s.login_due_ns, s.control, s.tries = 0, 0, 0, 0
    for index in range(np.int64(s.window)):
        slot = session + _OUT + (U64(index) << _SLOT_SHIFT)
        view(slot, SLOT).seq = ZERO
        view(_in_slot(session, U64(index)), SLOT).seq = ZERO
        _put_header(session, slot + _TEXT_AT, np.int64(DATA), ZERO, np.int64(1))


@jit
def session_accept(session, number, now_ns):
    """Venue: a client has logged in as ``number``; the same number again only repeats the answer."""
    s = view(session, SESSION)
    if s.session != number or s.state == ENDED or s.state == DOWN:
        session_start(session, number)
    s.state, s.control, s.last_heard_ns = UP, ACCEPT, now_ns


@jit
def session_end(session):
    """Say goodbye: an END goes out with the next poll, and the session is over."""
    s = view(session, SESSION)
    s.control, s.state = END, ENDED


# Sending.


@jit
def session_reserve(session):
    """Address for the text of the next message (MESSAGE_BYTES_MAX), or 0 while the window is full or nobody listens."""
    s = view(session, SESSION)
    if s.next_out - s.acked >= s.window or s.state == ENDED:
        s.window_full += 1
        return ZERO
    return _out_slot(session, s.next_out) + _PAYLOAD_AT


@jit
def session_commit(session, length, now_ns):
    """The reserved message is ``length`` bytes: address of the datagram to send now, ``out_length`` bytes."""
    s = view(session, SESSION)
    slot = _out_slot(session, s.next_out)
    o, datagram = view(slot, SLOT), slot + _TEXT_AT
    put_be64(datagram + SEQ_AT, s.next_out)
    put_be64(datagram + ACK_AT, s.expected)
    put_be16(datagram + BLOCKS_AT, U64(length))
    s.out_length = HEADER_BYTES + 2 + length
    o.seq, o.length, o.tries, o.due_ns = s.next_out, s.out_length, 0, now_ns + s.rto_ns
    s.next_out += ONE
    s.sent += 1
    s.ack_due_ns, s.last_sent_ns = 0, now_ns
    return datagram


@jit
def session_unacknowledged(session):
    """Messages in flight (int64)."""
    s = view(session, SESSION)
    return np.int64(s.next_out - s.acked)


@jit
def _backoff(session, tries):
    s = view(session, SESSION)
    return min(s.rto_ns << min(tries, np.int64(_MAX_SHIFT)), s.rto_max_ns)


@jit
def _overdue(session, now_ns):
    """The oldest message whose answer is overdue, as a datagram; 0 if none."""
    s = view(session, SESSION)
    if s.state == DOWN or s.state == ENDED:
        return ZERO
    for index in range(np.int64(s.next_out - s.acked)):
        slot = _out_slot(session, s.acked + U64(index))
        o = view(slot, SLOT)
        if now_ns >= o.due_ns:
            o.tries += 1
            o.due_ns = now_ns + _backoff(session, o.tries)
            put_be64(slot + _TEXT_AT + ACK_AT, s.expected)
            s.out_length = o.length
            s.resent += 1
            return slot + _TEXT_AT
    return ZERO


@jit
def _control(session, kind):
    s = view(session, SESSION)
    target = session + _CONTROL
    s.out_length = HEADER_BYTES
    _put_header(session, target, kind, s.next_out, np.int64(1 if kind == LOGIN else 0))
    if kind == LOGIN:
        text = target + BLOCKS_AT + U64(2)
        put_be16(target + BLOCKS_AT, U64(LOGIN_BYTES))
        copy_bytes(text, session + _CREDENTIALS, np.int64(CREDENTIAL_BYTES))
        put_be16(text + CANCEL_AFTER_AT, U64(s.cancel_after_ms))
        s.out_length += 2 + LOGIN_BYTES
    return target


@jit
def _due_control(session, now_ns):
    """Kind of the control datagram that is due, 0 if none."""
    s = view(session, SESSION)
    if s.control != 0:
        kind = s.control
        s.control = 0
        return kind
    if s.role == CLIENT and (s.state == DOWN or s.state == LOST) and now_ns >= s.login_due_ns:
        s.login_due_ns = now_ns + _backoff(session, s.tries)
        s.tries += 1
        return np.int64(LOGIN)
    is_ack_due = s.ack_due_ns != 0 and now_ns >= s.ack_due_ns
    is_beat_due = (s.state == UP or s.state == LOST) and now_ns - s.last_sent_ns >= s.heartbeat_ns
    return np.int64(HEARTBEAT) if is_ack_due or is_beat_due else np.int64(0)


@jit
def session_poll(session, now_ns):
    """Address of a datagram that is due now (``out_length`` bytes), 0 if none: call it until it says 0, with a bound.

    Due are messages to be sent again, logins, acknowledgements and heartbeats. Also notices a silent other side.
    """
    s = view(session, SESSION)
    if s.state == UP and now_ns - s.last_heard_ns > s.silence_ns:
        s.state, s.login_due_ns, s.tries = LOST, now_ns, 0
        s.losses += 1
    kind = _due_control(session, now_ns)
    datagram = _control(session, kind) if kind != 0 else _overdue(session, now_ns)
    if datagram != ZERO:
        s.ack_due_ns, s.last_sent_ns = 0, now_ns
    return datagram


# Receiving.


@jit
def _hold(session, seq, text, length, now_ns):
    """Keep one message until its turn."""
    s = view(session, SESSION)
    slot = _in_slot(session, seq)
    i = view(slot, SLOT)
    if seq < s.expected or i.seq == seq:
        s.duplicates += 1
        s.ack_due_ns = now_ns
        return
    if seq - s.expected >= s.window:
        s.too_far += 1
        return
    if seq > s.expected:
        s.early += 1
        s.ack_due_ns = now_ns
    elif s.ack_due_ns == 0:
        s.ack_due_ns = now_ns + s.ack_delay_ns
    i.seq, i.length = seq, length
    copy_bytes(slot + _TEXT_AT, text, min(length, np.int64(MESSAGE_BYTES_MAX)))


@jit
def _take_data(session, data, seq, now_ns):
    at = data + BLOCKS_AT
    for index in range(np.int64(be16(data + COUNT_AT))):
        size = be16(at)
        _hold(session, seq + U64(index), at + U64(2), np.int64(size), now_ns)
        at += U64(2) + size


@jit
def _hear(session, kind, now_ns):
    """Something valid came: the other side lives, and what it says may change the state."""
    s = view(session, SESSION)
    s.last_heard_ns = now_ns
    if s.state == ENDED:
        return
    if kind in (END, REJECT):
        s.state = ENDED
    elif s.state == LOST:
        s.recoveries += 1
        s.state, s.tries = UP, 0
    elif s.role == CLIENT:
        s.state, s.tries = UP, 0


@jit
def _is_sound(session, data, length, kind):
    """Whether a datagram of this session makes sense as a whole; counted if not."""
    s = view(session, SESSION)
    seq, ack = be64(data + SEQ_AT), be64(data + ACK_AT)
    if kind < DATA or kind > END or seq == ZERO or seq >= _LIMIT or not blocks_whole(data, length):
        s.malformed += 1
        return False
    if kind != LOGIN and ack > s.next_out:
        s.bad_ack += 1
        return False
    return True


@jit
def _note_unsound(session, data, kind):
    """A datagram of this session that cannot be taken: was the next message to come with it?"""
    s = view(session, SESSION)
    seq, count = be64(data + SEQ_AT), max(be16(data + COUNT_AT), ONE)
    if kind == DATA and seq <= s.expected and s.expected - seq < count:
        s.stuck += 1


@jit
def session_is_stuck(session):
    """Whether the next message does not come through however often it is sent, and so none behind it either."""
    return view(session, SESSION).stuck >= STUCK_MAX


@jit
def session_take(session, data, length, now_ns):
    """Take one datagram; then call :func:`session_next` until it says 0.

    Returns:
        Its kind (int64); 0 if it is not of this session or not sound (counted), and then nothing has changed.
    """
    s = view(session, SESSION)
    number = session_number(data, length)
    if number == ZERO:
        s.malformed += 1
        return np.int64(0)
    if number != s.session:
        s.wrong_session += 1
        return np.int64(0)
    kind = session_kind(data)
    if not _is_sound(session, data, length, kind):
        _note_unsound(session, data, kind)
        return np.int64(0)
    s.received += 1
    if kind == ACCEPT and s.state == LOST and (be64(data + SEQ_AT) < s.expected or be64(data + ACK_AT) < s.acked):
        kind = np.int64(REJECT)
    _hear(session, kind, now_ns)
    if kind in (LOGIN, REJECT):
        return kind
    s.acked = max(s.acked, be64(data + ACK_AT))
    if kind == DATA:
        _take_data(session, data, be64(data + SEQ_AT), now_ns)
    elif kind == HEARTBEAT:
        s.heartbeats += 1
    return kind


@jit
def session_next(session):
    """Address of the next message in order (``in_length`` bytes, good until the next datagram is taken); 0 if none.

    Of one longer than MESSAGE_BYTES_MAX only so many bytes are there.
    """
    s = view(session, SESSION)
    slot = _in_slot(session, s.expected)
    i = view(slot, SLOT)
    if i.seq != s.expected:
        return ZERO
    s.in_length, s.stuck = i.length, 0
    i.seq = ZERO
    s.expected += ONE
    s.delivered += 1
    return slot + _TEXT_AT
