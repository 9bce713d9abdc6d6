"""A gateway's way to its venue: the UDP session or SoupBinTCP behind one set of functions, with the socket calls.

==================== ================================================ ===========================================
function             UDP                                              SoupBinTCP
==================== ================================================ ===========================================
:func:`link_reserve` room in the session's window                     room in the stream's buffer
:func:`link_commit`  one ``send`` of the message's own datagram       one ``send`` of what is in the buffer
:func:`link_read`    one ``recv``                                     one ``recv``
:func:`link_pump`    what is due: again, acknowledgements, heartbeats heartbeats, reconnecting with growing waits
==================== ================================================ ===========================================

A ``send`` that the kernel refuses loses nothing: the session sends again, the stream keeps what it has.

A session that the venue ends, refuses or does not know, and a connection that breaks or on which a log-in is not answered,
is followed by another one, until we close the link ourselves (``ends`` counts the first of these, ``outages`` how often a
session was not there any more):

================================== ===================================================================================
what the venue says                what is tried next
================================== ===================================================================================
END, or Z                          UDP: a session under another number; TCP: another connection
REJECT, or J with "not authorised" likewise, with growing waits, counted in ``refused_logins``
J with "no such session"           another connection at once, for whatever session there is; if it is said again, as above
================================== ===================================================================================
"""

import numpy as np

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.hist import stamp
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.transport.stream import EAGAIN, EINTR, receive_bytes, send_bytes
from hftpipe.venues.nasdaq.ouch.datagram import END, REJECT
from hftpipe.venues.nasdaq.ouch.session import (
    DATAGRAM_BYTES_MAX,
    ENDED,
    SESSION,
    UP,
    session_commit,
    session_end,
    session_is_stuck,
    session_next,
    session_poll,
    session_reserve,
    session_start,
    session_take,
)
from hftpipe.venues.nasdaq.ouch.sockets import close_socket, start_connection
from hftpipe.venues.nasdaq.ouch.soup import (
    CLIENT_BEAT,
    LOGOUT,
    NO_SESSION,
    SOUP,
    UNSEQUENCED,
    soup_beat,
    soup_client_next,
    soup_commit,
    soup_forget,
    soup_is_unanswered,
    soup_login,
    soup_pending,
    soup_plain,
    soup_received,
    soup_reserve,
    soup_reset,
    soup_room,
    soup_sent,
)

UDP, TCP = 0, 1
#: What is known of the venue's session after a login (``restarted``; 0: it goes on).
OTHER_SESSION, REPORTS_LOST = 1, 2
#: Datagrams that one pump may send: a bound, not a rate.
MAX_SENDS = 64
_ENOTCONN, _EINPROGRESS, _EALREADY = 107, 115, 114
#: The longest wait is well within the time after which a session that stays away is a fault (``udp.login_timeout_s``).
_RECONNECT_NS, _RECONNECT_MAX_NS = np.int64(100_000_000), np.int64(1_000_000_000)
#: A stream's log-in that is not answered for so long never will be.
_LOGIN_ANSWER_NS = np.int64(2_000_000_000)

LINK = np.dtype(
    [
        # Wiring: a SESSION or a SOUP, the socket (-1: none), a datagram buffer, the venue's sockaddr_in, a spare word.
        ("transport", "i8"), ("fd", "i8"), ("session", "u8"), ("soup", "u8"), ("data", "u8"),
        ("address", "u1", 16), ("spare", "u8"),
        # The next message: set by link_next.
        ("length", "i8"),
        # Logged in anew: requests may be lost (UDP: the venue has forgotten us; TCP: the stream broke).
        ("renewed", "i8"), ("restarted", "i8"), ("was_up", "i8"), ("retry_ns", "i8"), ("backoff_ns", "i8"),
        ("sends", "i8"), ("send_errors", "i8"), ("reads", "i8"), ("read_errors", "i8"), ("last_errno", "i8"),
        ("connects", "i8"), ("disconnects", "i8"), ("refused_logins", "i8"), ("ends", "i8"), ("outages", "i8"),
        # We have said goodbye: there is no next session.
        ("closed", "i8"),
        # Time-stamp counter just before the last send (0 without metrics).
        ("send_tsc", "u8"),
    ],
    align=True,
)  # fmt: skip
DATA_BYTES = 2048
_SPARE, _ADDRESS = (np.uint64(offset_of(LINK, name)) for name in ("spare", "address"))
assert DATAGRAM_BYTES_MAX <= DATA_BYTES


@jit
def link_is_up(link):
    """Whether the venue hears us, as far as we know."""
    k = view(link, LINK)
    if k.transport == UDP:
        return view(k.session, SESSION).state == UP
    return view(k.soup, SOUP).is_up != 0 and k.fd >= 0


@jit
def link_reserve(link):
    """Address for the text of a message (MESSAGE_BYTES_MAX), or 0 when none can be taken now."""
    k = view(link, LINK)
    if k.transport == UDP:
        return session_reserve(k.session)
    if k.fd < 0 or view(k.soup, SOUP).is_up == 0:
        return ZERO
    return soup_reserve(k.soup)


@jit
def _send_datagram(link, data, length):
    k = view(link, LINK)
    k.sends += 1
    k.send_tsc = stamp()
    if send_bytes(k.fd, data, length) != length:
        k.send_errors += 1
        k.last_errno = last_errno()


@jit
def _flush_stream(link, now_ns):
    """One ``send`` of what is waiting, if anything is."""
    k = view(link, LINK)
    data, length = soup_pending(k.soup)
    if length == 0 or k.fd < 0:
        return
    k.sends += 1
    k.send_tsc = stamp()
    took = send_bytes(k.fd, data, length)
    if took > 0:
        soup_sent(k.soup, took, now_ns)
        return
    error = last_errno()
    if error in (EAGAIN, EINTR, _EINPROGRESS, _EALREADY, _ENOTCONN):
        return
    k.send_errors += 1
    k.last_errno = error
    _disconnect(link, now_ns)


@jit
def link_commit(link, length, now_ns):
    """Send the reserved message of ``length`` bytes."""
    k = view(link, LINK)
    if k.transport == UDP:
        datagram = session_commit(k.session, length, now_ns)
        _send_datagram(link, datagram, view(k.session, SESSION).out_length)
        return
    soup_commit(k.soup, np.int64(UNSEQUENCED), length)
    _flush_stream(link, now_ns)


@jit
def link_next(link):
    """Address of the next message from the venue (``length`` bytes), 0 if none has been read."""
    k = view(link, LINK)
    if k.transport == UDP:
        text = session_next(k.session)
        k.length = view(k.session, SESSION).in_length
        return text
    soup = view(k.soup, SOUP)
    if k.fd < 0 or not soup_client_next(k.soup):
        return ZERO
    k.length = soup.length
    return soup.text


@jit
def _count_error(link):
    k = view(link, LINK)
    error = last_errno()
    if error not in (EAGAIN, EINTR, _ENOTCONN):
        k.read_errors += 1
        k.last_errno = error
        return True
    return False


@jit
def _read_datagram(link, now_ns):
    k = view(link, LINK)
    length = receive_bytes(k.fd, k.data, np.int64(DATA_BYTES))
    if length < 0:
        # ECONNREFUSED: an earlier datagram found nobody; the next read goes on.
        _count_error(link)
        return False
    k.reads += 1
    had_ended = view(k.session, SESSION).state == ENDED
    kind = session_take(k.session, k.data, length, now_ns)
    # What is refused of a session that has ended is no log-in: a last word of it met the venue after its start.
    if kind == REJECT and not had_ended:
        k.refused_logins += 1
        k.retry_ns = now_ns + _RECONNECT_NS
    elif kind == END and not had_ended:
        k.ends += 1
        k.retry_ns = now_ns + _RECONNECT_NS
    return True


@jit
def _read_stream(link, now_ns):
    k = view(link, LINK)
    if k.fd < 0:
        return False
    room, capacity = soup_room(k.soup)
    length = receive_bytes(k.fd, room, capacity)
    if length > 0:
        k.reads += 1
        soup_received(k.soup, length, now_ns)
        return True
    if length == 0 or _count_error(link):
        _disconnect(link, now_ns)
    return False


@jit
def link_read(link, now_ns):
    """Read once from the socket: whether something came."""
    if view(link, LINK).transport == UDP:
        return _read_datagram(link, now_ns)
    return _read_stream(link, now_ns)


@jit
def _disconnect(link, now_ns):
    k = view(link, LINK)
    soup = view(k.soup, SOUP)
    close_socket(k.fd)
    k.fd = -1
    k.disconnects += 1
    k.ends += soup.ended
    soup.is_up, soup.ended = 0, 0
    k.backoff_ns = min(max(k.backoff_ns * 2, _RECONNECT_NS), _RECONNECT_MAX_NS)
    k.retry_ns = now_ns + k.backoff_ns


@jit
def _connect(link, now_ns):
    k = view(link, LINK)
    k.fd = start_connection(link + _ADDRESS, link + _SPARE)
    if k.fd < 0:
        k.retry_ns = now_ns + _RECONNECT_MAX_NS
        return
    k.connects += 1
    soup_reset(k.soup, now_ns)
    soup_login(k.soup)


@jit
def _note_up(link):
    """Notice the moment of a new login, and that of a loss."""
    k = view(link, LINK)
    is_up = link_is_up(link)
    k.outages += np.int64(k.was_up != 0 and not is_up)
    if is_up and k.was_up == 0:
        k.renewed, k.backoff_ns = 1, 0
        if k.transport == TCP and view(k.soup, SOUP).skipped != 0:
            k.restarted = REPORTS_LOST
    k.was_up = 1 if is_up else 0


@jit
def _refused(link, now_ns):
    """The venue has rejected the log-in of a stream."""
    k = view(link, LINK)
    is_news = view(k.soup, SOUP).rejected == NO_SESSION and k.restarted != OTHER_SESSION
    _disconnect(link, now_ns)
    if not is_news:
        k.refused_logins += 1
        return
    # It says nothing against us: there is another session, and we are let into that one at once.
    soup_forget(k.soup)
    k.restarted, k.backoff_ns, k.retry_ns = OTHER_SESSION, 0, now_ns


@jit
def _pump_stream(link, now_ns):
    k = view(link, LINK)
    soup = view(k.soup, SOUP)
    if k.fd < 0:
        if now_ns >= k.retry_ns and k.closed == 0:
            _connect(link, now_ns)
        return
    if soup.rejected != 0:
        _refused(link, now_ns)
        return
    is_over = soup.broken != 0 or soup.ended != 0 or soup_is_unanswered(k.soup, now_ns, _LOGIN_ANSWER_NS)
    if is_over or not soup_beat(k.soup, np.int64(CLIENT_BEAT), now_ns):
        _disconnect(link, now_ns)
        return
    _flush_stream(link, now_ns)


@jit
def _pump_datagrams(link, now_ns):
    k = view(link, LINK)
    s = view(k.session, SESSION)
    if s.state == ENDED and k.closed == 0 and now_ns >= k.retry_ns:
        # The venue has ended the session, or does not know it (any more): a new one, under the next number.
        k.restarted = OTHER_SESSION
        session_start(k.session, (s.session + U64(1)) & U64(0xFFFFFFFF) | U64(1))
    for _ in range(MAX_SENDS):
        datagram = session_poll(k.session, now_ns)
        if datagram == ZERO:
            return
        _send_datagram(link, datagram, s.out_length)


@jit
def link_pump(link, now_ns):
    """Do what is due by the clock."""
    if view(link, LINK).transport == UDP:
        _pump_datagrams(link, now_ns)
    else:
        _pump_stream(link, now_ns)
    _note_up(link)


@jit
def link_is_stuck(link):
    """Whether a message of the venue does not come through, and so none behind it. A stream is begun anew instead."""
    k = view(link, LINK)
    return k.transport == UDP and session_is_stuck(k.session)


@jit
def link_close(link, now_ns):
    """Say goodbye; the descriptor of a stream is closed, that of a UDP socket belongs to Python."""
    k = view(link, LINK)
    k.closed = 1
    if k.transport == UDP:
        session_end(k.session)
        _pump_datagrams(link, now_ns)
    elif k.fd >= 0:
        soup_plain(k.soup, np.int64(LOGOUT))
        _flush_stream(link, now_ns)
        if k.fd >= 0:
            _disconnect(link, now_ns)
