"""SoupBinTCP: numbered messages over a stream, both sides, without sockets.

::

    length (2, big-endian, type included) | type (1) | text

    client to venue                                    venue to client
    L login: user 6, password 10, session 10, number 20   A accepted: session 10, number of the next S 20
      (and, of our own: cancel after, ms, 5)
    U unsequenced data                                    S sequenced data, numbered from 1 by counting
    R heartbeat                                           H heartbeat
    O logout                                              J rejected: A not authorised (or the account is in use),
                                                            S no such session
                                                          Z end of session
    + debug, both ways

Numbers are ASCII, padded left with blanks. The client keeps the session's name and the number it wants next, so a login
after a lost connection gets what was missed and nothing twice. Its own messages are not numbered: it must send again
what has not been answered (OUCH ignores a reference number it has seen). A client that asks for it in its login
(``cancel after``, which is not in the specification) has its orders cancelled when the connection breaks or ends, or has
been silent for so long. Source: "SoupBinTCP", version 3.00.

The caller moves bytes: those from ``soup_pending`` to the socket, those read to ``soup_room``.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_u8, store_u8, view
from hftpipe.core.schema.layout import offset_of, whole
from hftpipe.venues.nasdaq.itch.wire import be16, put_be16
from hftpipe.venues.nasdaq.ouch.messages import MESSAGE_BYTES_MAX

LOGIN, UNSEQUENCED, CLIENT_BEAT, LOGOUT = b"LURO"
ACCEPTED, SEQUENCED, VENUE_BEAT, REJECTED, END, DEBUG = b"ASHJZ+"
NOT_AUTHORISED, NO_SESSION = b"AS"
CREDENTIAL_BYTES, SESSION_BYTES, NUMBER_BYTES = 16, 10, 20
LOGIN_BYTES = CREDENTIAL_BYTES + SESSION_BYTES + NUMBER_BYTES
CANCEL_AFTER_BYTES = 5
#: Silence after which a connection is given up, unless something else is agreed.
SILENCE_NS = 15_000_000_000
BUFFER_BYTES = 1 << 16

SOUP = np.dtype(
    [
        ("out_start", "i8"), ("out_end", "i8"), ("in_start", "i8"), ("in_end", "i8"),
        # The packet of the last soup_next: address and length of its text.
        ("text", "u8"), ("length", "i8"),
        # Number of the next sequenced message (client: wanted; venue: to send), and the session's name.
        ("next_number", "u8"), ("session", "u1", 16), ("credentials", "u1", CREDENTIAL_BYTES), ("cancel_after_ms", "i8"),
        # ``rejected``: the code of a refused login; ``skipped``: the session did not go on at the number we wanted.
        ("is_up", "i8"), ("ended", "i8"), ("rejected", "i8"), ("skipped", "i8"), ("broken", "i8"),
        ("heartbeat_ns", "i8"), ("silence_ns", "i8"), ("last_sent_ns", "i8"), ("last_heard_ns", "i8"),
        # When the connection was opened.
        ("opened_ns", "i8"),
        ("packets", "i8"), ("malformed", "i8"), ("logins", "i8"), ("out_full", "i8"),
    ],
    align=True,
)  # fmt: skip
_OUT_AT = whole(SOUP.itemsize)
_OUT, _IN = np.uint64(_OUT_AT), np.uint64(_OUT_AT + BUFFER_BYTES)
_SESSION, _CREDENTIALS = (np.uint64(offset_of(SOUP, name)) for name in ("session", "credentials"))
_TYPE_AT, _TEXT_AT = np.uint64(2), np.uint64(3)
_PREFIX = 3
_BLANK, _ZERO_DIGIT = 32, 48
_NUMBER_MAX = np.uint64(10**18)


def soup_bytes() -> int:
    """Memory of one side of a connection."""
    return _OUT_AT + 2 * BUFFER_BYTES


def soup_init(
    memory: np.ndarray,
    *,
    user: str = "",
    password: str = "",
    session: str = "",
    heartbeat_ns: int = 1_000_000_000,
    silence_ns: int = SILENCE_NS,
    cancel_after_ms: int = 0,
) -> None:
    """Make one side of a connection (uint8 array of :func:`soup_bytes`).

    Args:
        cancel_after_ms: what a client asks for when it logs in, up to 65,535; 0: nothing, as specified.

    Raises:
        ValueError: a name that is too long, or times out of order.
    """
    if len(user) > 6 or len(password) > 10 or len(session) > SESSION_BYTES or not (user + password + session).isascii():
        raise ValueError("user, password and session are at most 6, 10 and 10 ASCII characters")
    if not 0 < heartbeat_ns < silence_ns:
        raise ValueError("0 < heartbeat_ns < silence_ns")
    if not 0 <= cancel_after_ms < 1 << 16:
        raise ValueError(f"cancel_after_ms {cancel_after_ms} is not in 0..65535")
    memory[: soup_bytes()] = 0
    header = memory[: SOUP.itemsize].view(SOUP)
    header["cancel_after_ms"] = cancel_after_ms
    text = user.encode().ljust(6) + password.encode().ljust(10)
    header["credentials"][0] = np.frombuffer(text, np.uint8)
    header["session"][0][:SESSION_BYTES] = np.frombuffer(session.encode().rjust(SESSION_BYTES), np.uint8)
    header["heartbeat_ns"], header["silence_ns"] = heartbeat_ns, silence_ns


@jit
def soup_reset(soup, now_ns):
    """A new connection: empty buffers; session and number stay."""
    s = view(soup, SOUP)
    s.out_start, s.out_end, s.in_start, s.in_end = 0, 0, 0, 0
    s.is_up, s.ended, s.rejected, s.skipped, s.broken = 0, 0, 0, 0, 0
    s.last_sent_ns, s.last_heard_ns, s.opened_ns = now_ns, now_ns, now_ns


# Sending.


@jit
def soup_reserve(soup):
    """Address for the text of the next packet (MESSAGE_BYTES_MAX), or 0 while too much is waiting to be sent."""
    s = view(soup, SOUP)
    if s.out_start == s.out_end:
        s.out_start, s.out_end = 0, 0
    if s.out_end + _PREFIX + MESSAGE_BYTES_MAX > BUFFER_BYTES:
        copy_bytes(soup + _OUT, soup + _OUT + U64(s.out_start), s.out_end - s.out_start)
        s.out_start, s.out_end = 0, s.out_end - s.out_start
    if s.out_end + _PREFIX + MESSAGE_BYTES_MAX > BUFFER_BYTES:
        s.out_full += 1
        return ZERO
    return soup + _OUT + U64(s.out_end) + _TEXT_AT


@jit
def soup_commit(soup, kind, length):
    """The reserved packet is of type ``kind`` (int64) with ``length`` bytes of text."""
    s = view(soup, SOUP)
    at = soup + _OUT + U64(s.out_end)
    put_be16(at, U64(length + 1))
    store_u8(at + _TYPE_AT, np.uint8(kind))
    s.out_end += _PREFIX + length
    if kind == SEQUENCED:
        s.next_number += U64(1)


@jit
def soup_pending(soup):
    """``(address, length)`` of the bytes that wait for the socket."""
    s = view(soup, SOUP)
    return soup + _OUT + U64(s.out_start), s.out_end - s.out_start


@jit
def soup_sent(soup, count, now_ns):
    """The socket took ``count`` bytes."""
    s = view(soup, SOUP)
    s.out_start += count
    s.last_sent_ns = now_ns


@jit
def _put_number(target, number, places):
    for place in range(places):
        digit = np.uint8(_BLANK)
        if place == 0 or number > ZERO:
            digit = np.uint8(_ZERO_DIGIT + np.int64(number % U64(10)))
        store_u8(target + U64(places - 1 - place), digit)
        number //= U64(10)


@jit
def _read_digits(at, places):
    value, digits = ZERO, 0
    for place in range(places):
        letter = np.int64(load_u8(at + U64(place)))
        if letter == _BLANK and digits == 0:
            continue
        if letter < _ZERO_DIGIT or letter > _ZERO_DIGIT + 9 or value >= _NUMBER_MAX:
            return ~ZERO
        value = value * U64(10) + U64(letter - _ZERO_DIGIT)
        digits += 1
    return value if digits > 0 else ~ZERO


@jit
def read_number(at):
    """A number of 20 characters as uint64; 2**64 - 1 if it is none (or beyond 10**18)."""
    return _read_digits(at, np.int64(NUMBER_BYTES))


@jit
def login_cancel_after_ns(text, length):
    """After how long a silence the client of a login wants its orders cancelled, 0: never; -1 if that is no number."""
    if length == LOGIN_BYTES:
        return np.int64(0)
    ms = _read_digits(text + U64(LOGIN_BYTES), np.int64(CANCEL_AFTER_BYTES))
    return np.int64(ms) * 1_000_000 if ms != ~ZERO else np.int64(-1)


@jit
def soup_plain(soup, kind):
    """Send a packet without text (heartbeat, logout, end); False if there is no room."""
    if soup_reserve(soup) == ZERO:
        return False
    soup_commit(soup, kind, np.int64(0))
    return True


@jit
def soup_login(soup):
    """Client: ask for the session, from the number that is wanted next (0: whatever comes)."""
    s = view(soup, SOUP)
    text = soup_reserve(soup)
    copy_bytes(text, soup + _CREDENTIALS, np.int64(CREDENTIAL_BYTES))
    copy_bytes(text + U64(CREDENTIAL_BYTES), soup + _SESSION, np.int64(SESSION_BYTES))
    _put_number(text + U64(CREDENTIAL_BYTES + SESSION_BYTES), s.next_number, np.int64(NUMBER_BYTES))
    length = np.int64(LOGIN_BYTES)
    if s.cancel_after_ms != 0:
        _put_number(text + U64(LOGIN_BYTES), U64(s.cancel_after_ms), np.int64(CANCEL_AFTER_BYTES))
        length += CANCEL_AFTER_BYTES
    soup_commit(soup, np.int64(LOGIN), length)
    s.logins += 1


@jit
def soup_accept(soup, number):
    """Venue: the login is good, the next sequenced message is ``number``."""
    s = view(soup, SOUP)
    text = soup_reserve(soup)
    copy_bytes(text, soup + _SESSION, np.int64(SESSION_BYTES))
    _put_number(text + U64(SESSION_BYTES), number, np.int64(NUMBER_BYTES))
    soup_commit(soup, np.int64(ACCEPTED), np.int64(SESSION_BYTES + NUMBER_BYTES))
    s.next_number, s.is_up = number, 1


@jit
def soup_reject(soup, code):
    """Venue: no; ``code`` is NOT_AUTHORISED or NO_SESSION."""
    text = soup_reserve(soup)
    store_u8(text, np.uint8(code))
    soup_commit(soup, np.int64(REJECTED), np.int64(1))


@jit
def soup_beat(soup, kind, now_ns):
    """Send a heartbeat of type ``kind`` if nothing else was sent for long enough; True while the other side is heard."""
    s = view(soup, SOUP)
    if s.is_up != 0 and now_ns - s.last_sent_ns >= s.heartbeat_ns:
        soup_plain(soup, kind)
        s.last_sent_ns = now_ns
    return now_ns - s.last_heard_ns <= s.silence_ns


# Receiving.


@jit
def soup_room(soup):
    """``(address, length)`` of where bytes may be read to; moves what is there to the front if need be."""
    s = view(soup, SOUP)
    if s.in_start > 0:
        copy_bytes(soup + _IN, soup + _IN + U64(s.in_start), s.in_end - s.in_start)
        s.in_start, s.in_end = 0, s.in_end - s.in_start
    return soup + _IN + U64(s.in_end), BUFFER_BYTES - s.in_end


@jit
def soup_received(soup, count, now_ns):
    """``count`` bytes were read there."""
    s = view(soup, SOUP)
    s.in_end += count
    s.last_heard_ns = now_ns


@jit
def soup_next(soup):
    """Type byte (int64) of the next whole packet, its text in ``text`` and ``length``; 0 if none.

    A packet of length 0 or of more than the buffer can never be one: the connection is ``broken``.
    """
    s = view(soup, SOUP)
    held = s.in_end - s.in_start
    if s.broken != 0 or held < _PREFIX:
        return np.int64(0)
    at = soup + _IN + U64(s.in_start)
    size = np.int64(be16(at))
    if size < 1 or size + 2 > BUFFER_BYTES:
        s.broken = 1
        s.malformed += 1
        return np.int64(0)
    if held < size + 2:
        return np.int64(0)
    s.text, s.length = at + _TEXT_AT, size - 1
    s.in_start += size + 2
    s.packets += 1
    return np.int64(load_u8(at + _TYPE_AT))


@jit
def _accepted(soup):
    s = view(soup, SOUP)
    number = read_number(s.text + U64(SESSION_BYTES)) if s.length == SESSION_BYTES + NUMBER_BYTES else ~ZERO
    # A second one would move the place to go on from past what has never been heard.
    if number == ~ZERO or s.is_up != 0:
        s.malformed += 1
        s.broken = 1
        return
    copy_bytes(soup + _SESSION, s.text, np.int64(SESSION_BYTES))
    s.skipped = 1 if s.next_number != ZERO and number != s.next_number else 0
    s.next_number, s.is_up = number, 1


@jit
def soup_is_unanswered(soup, now_ns, limit_ns):
    """Client: whether the log-in of this connection has waited for its answer for too long; heartbeats are none."""
    s = view(soup, SOUP)
    return s.is_up == 0 and now_ns - s.opened_ns > limit_ns


@jit
def soup_forget(soup):
    """Client: the session is gone; the next login asks for whatever session there is, from its first message."""
    for place in range(SESSION_BYTES):
        store_u8(soup + _SESSION + U64(place), np.uint8(_BLANK))
    view(soup, SOUP).next_number = U64(1)


@jit
def soup_client_next(soup):
    """Client: True if the next packet is a sequenced message (``text``, ``length``); the others are dealt with here."""
    s = view(soup, SOUP)
    kind = soup_next(soup)
    while kind != 0:
        if kind == SEQUENCED and s.is_up != 0:
            s.next_number += U64(1)
            return True
        if kind == ACCEPTED:
            _accepted(soup)
        elif kind == REJECTED:
            s.rejected, s.broken = np.int64(load_u8(s.text)) if s.length == 1 else np.int64(NOT_AUTHORISED), 1
        elif kind == END:
            s.ended = 1
        elif kind != VENUE_BEAT and kind != DEBUG:
            s.malformed += 1
        kind = soup_next(soup)
    return False
