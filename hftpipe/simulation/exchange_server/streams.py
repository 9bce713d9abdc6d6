"""SoupBinTCP at the simulated exchange: connections, logins, and an account's reports as sequenced messages.

An account has one way in at a time: while it is connected, another login is refused. A login asks for the session by name
or by blanks, and for the number it wants next; number 0 or beyond the end means "whatever comes". A connection whose
login asked for cancel on disconnect is given up after the silence named there, and takes its orders with it.
"""

import numpy as np

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.simulation.exchange_server.accounts import (
    ACCOUNT,
    BY_TCP,
    DESK,
    NO_CONNECTION,
    find_account,
    is_live,
    log_oldest,
    log_read,
    lose_account,
)
from hftpipe.simulation.exchange_server.trading import EXCHANGE, take_request
from hftpipe.transport.stream import EAGAIN, EINTR, receive_bytes, send_bytes
from hftpipe.venues.nasdaq.itch.wire import be16
from hftpipe.venues.nasdaq.ouch.sockets import accept_connection, close_socket
from hftpipe.venues.nasdaq.ouch.soup import (
    CANCEL_AFTER_BYTES,
    CLIENT_BEAT,
    CREDENTIAL_BYTES,
    DEBUG,
    LOGIN,
    LOGIN_BYTES,
    LOGOUT,
    NO_SESSION,
    NOT_AUTHORISED,
    SEQUENCED,
    SESSION_BYTES,
    SILENCE_NS,
    SOUP,
    UNSEQUENCED,
    VENUE_BEAT,
    login_cancel_after_ns,
    read_number,
    soup_accept,
    soup_beat,
    soup_commit,
    soup_next,
    soup_pending,
    soup_received,
    soup_reject,
    soup_reserve,
    soup_reset,
    soup_room,
    soup_sent,
)

#: A connection; fd -1: free. ``account`` is 0 until it has logged in.
STREAM = np.dtype([("fd", "i8"), ("soup", "u8"), ("account", "u8"), ("opened_ns", "i8")], align=True)
STREAM_BYTES = 32
#: A connection must log in within this time.
_LOGIN_NS = 5_000_000_000
_MAX_PACKETS = 256
_SESSION = np.uint64(offset_of(SOUP, "session"))
_BLANKS = int.from_bytes(b" " * 8, "little")
assert STREAM.itemsize == STREAM_BYTES


@jit
def _stream_at(exchange, index):
    return view(exchange, EXCHANGE).streams + U64(index) * U64(STREAM_BYTES)


@jit
def _close(exchange, stream):
    t = view(stream, STREAM)
    if t.account != ZERO:
        view(t.account, ACCOUNT).connection = NO_CONNECTION
        lose_account(view(exchange, EXCHANGE).desk, t.account)
    close_socket(t.fd)
    t.fd, t.account = -1, ZERO


@jit
def _accept(exchange):
    """Take one waiting connection, if there is one and room for it."""
    x = view(exchange, EXCHANGE)
    for index in range(x.n_streams):
        t = view(_stream_at(exchange, np.int64(index)), STREAM)
        if t.fd >= 0:
            continue
        fd = accept_connection(x.listener, view(x.desk, DESK).spare)
        if fd >= 0:
            t.fd, t.account, t.opened_ns = fd, ZERO, x.now_ns
            soup_reset(t.soup, x.now_ns)
        return


@jit
def _is_our_session(soup, text):
    """Whether a login names this session, or none (blanks)."""
    own = soup + _SESSION
    if load_i64(text) == load_i64(own) and be16(text + U64(8)) == be16(own + U64(8)):
        return True
    return load_i64(text) == _BLANKS and be16(text + U64(8)) == U64(_BLANKS & 0xFFFF)


@jit
def _find_account(exchange, soup):
    """The account that a login may have: it exists and is not connected already. 0 if there is none."""
    s, desk = view(soup, SOUP), view(exchange, EXCHANGE).desk
    is_login = s.length == LOGIN_BYTES or s.length == LOGIN_BYTES + CANCEL_AFTER_BYTES
    if not is_login or login_cancel_after_ns(s.text, s.length) < 0:
        return ZERO
    account = find_account(desk, s.text)
    if account == ZERO or not is_live(account):
        return account
    view(desk, DESK).in_use += 1
    return ZERO


@jit
def _log_in(exchange, stream):
    t = view(stream, STREAM)
    s = view(t.soup, SOUP)
    account = _find_account(exchange, t.soup)
    if account == ZERO:
        soup_reject(t.soup, np.int64(NOT_AUTHORISED))
        return
    number = read_number(s.text + U64(CREDENTIAL_BYTES + SESSION_BYTES))
    if not _is_our_session(t.soup, s.text + U64(CREDENTIAL_BYTES)) or number == ~ZERO:
        soup_reject(t.soup, np.int64(NO_SESSION))
        return
    a = view(account, ACCOUNT)
    a.cancel_after_ns = login_cancel_after_ns(s.text, s.length)
    s.silence_ns = a.cancel_after_ns if a.cancel_after_ns != 0 else np.int64(SILENCE_NS)
    if number == ZERO or number > a.log_next:
        number = a.log_next
    number = max(number, log_oldest(account))
    a.connection, a.cursor, t.account = BY_TCP, number, account
    a.logins += 1
    soup_accept(t.soup, number)


@jit
def _take_packet(exchange, stream, kind):
    """One packet of a client; False ends the connection."""
    t = view(stream, STREAM)
    s = view(t.soup, SOUP)
    if kind == LOGIN and t.account == ZERO:
        _log_in(exchange, stream)
        return True
    if kind == UNSEQUENCED and t.account != ZERO:
        take_request(exchange, t.account, s.text, s.length)
        return True
    return kind in (CLIENT_BEAT, DEBUG)


@jit
def _read(exchange, stream):
    """Read and carry out what a client has sent; False ends the connection."""
    t, x = view(stream, STREAM), view(exchange, EXCHANGE)
    room, capacity = soup_room(t.soup)
    length = receive_bytes(t.fd, room, capacity)
    if length == 0:
        return False
    if length < 0:
        error = last_errno()
        return error in (EAGAIN, EINTR)
    soup_received(t.soup, length, x.now_ns)
    for _ in range(_MAX_PACKETS):
        kind = soup_next(t.soup)
        if kind == 0:
            break
        if kind == LOGOUT or not _take_packet(exchange, stream, kind):
            return False
    return view(t.soup, SOUP).broken == 0


@jit
def _hand_on(stream):
    """Reports of the account into the stream's buffer, as far as it goes."""
    t = view(stream, STREAM)
    a = view(t.account, ACCOUNT)
    while a.cursor < a.log_next:
        room = soup_reserve(t.soup)
        if room == ZERO:
            return
        text, length = log_read(t.account, a.cursor)
        copy_bytes(room, text, length)
        soup_commit(t.soup, np.int64(SEQUENCED), length)
        a.cursor += U64(1)


@jit
def _write(stream, now_ns):
    """Send what waits; False ends the connection."""
    t = view(stream, STREAM)
    data, length = soup_pending(t.soup)
    if length == 0:
        return True
    took = send_bytes(t.fd, data, length)
    if took > 0:
        soup_sent(t.soup, took, now_ns)
        return True
    error = last_errno()
    return error in (EAGAIN, EINTR)


@jit
def _serve(exchange, stream):
    t, x = view(stream, STREAM), view(exchange, EXCHANGE)
    before = view(t.soup, SOUP).packets
    alive = _read(exchange, stream)
    if t.account != ZERO:
        _hand_on(stream)
        alive = soup_beat(t.soup, np.int64(VENUE_BEAT), x.now_ns) and alive
    elif x.now_ns - t.opened_ns > _LOGIN_NS:
        alive = False
    alive = _write(stream, x.now_ns) and alive
    if not alive:
        _close(exchange, stream)
    return view(t.soup, SOUP).packets - before


@jit
def streams_step(exchange):
    """Serve every connection once; returns packets read."""
    x, work = view(exchange, EXCHANGE), np.int64(0)
    if x.listener < 0:
        return work
    _accept(exchange)
    for index in range(x.n_streams):
        stream = _stream_at(exchange, np.int64(index))
        if view(stream, STREAM).fd >= 0:
            work += _serve(exchange, stream)
    return work


@jit
def streams_close(exchange):
    """Close every connection."""
    for index in range(view(exchange, EXCHANGE).n_streams):
        stream = _stream_at(exchange, np.int64(index))
        if view(stream, STREAM).fd >= 0:
            _close(exchange, stream)
