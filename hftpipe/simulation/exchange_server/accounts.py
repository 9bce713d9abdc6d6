"""The order-entry side of the simulated exchange: accounts, how they are connected, and what they have been told.

Every report goes into its account's log first, numbered from 1, and from there to whatever the account is connected
by: the UDP session as far as its window allows, or a SoupBinTCP connection. A new UDP session goes on at the first
report that the one before had not acknowledged; a SoupBinTCP login says where it wants to go on. A log that overflows
drops its oldest reports (counted).

An account is connected once: while its session lives (is heard from), another login is refused (``in_use``), and so is
whatever comes under its number from elsewhere. A login may ask for *cancel on disconnect*: its orders go when it has
been silent for so long, when its connection breaks, and when it logs out.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.simulation.exchange_server.impair import IMPAIR, impair_is_clean, impair_next, impair_put
from hftpipe.venues.nasdaq.itch.wire import put_be16, put_be32, put_be64
from hftpipe.venues.nasdaq.ouch.datagram import (
    END,
    HEADER_BYTES,
    LOGIN,
    MAGIC,
    REJECT,
    login_cancel_after_ns,
    session_kind,
    session_login_text,
    session_number,
)
from hftpipe.venues.nasdaq.ouch.messages import MESSAGE_BYTES_MAX
from hftpipe.venues.nasdaq.ouch.session import (
    ENDED,
    SESSION,
    UP,
    session_accept,
    session_commit,
    session_next,
    session_poll,
    session_reserve,
    session_take,
)
from hftpipe.venues.nasdaq.ouch.sockets import receive_from, send_to

ACCOUNT = np.dtype(
    [
        # ``owner`` in the matching books, 1 and up; ``connection``: 0 none, 1 UDP, 2 a stream.
        ("owner", "i8"), ("credentials", "u1", 16), ("last_ref", "u8"), ("connection", "i8"),
        ("session", "u8"), ("address", "u1", 16),
        # The log: numbers of the next report to write and to hand on; of the session's first message.
        ("log", "u8"), ("log_capacity", "u8"), ("log_next", "u8"), ("cursor", "u8"), ("base", "u8"),
        ("cancel_due", "i8"), ("lost", "i8"), ("logins", "i8"), ("dropped", "i8"), ("requests", "i8"), ("malformed", "i8"),
        ("repeated", "i8"),
        # Cancel on disconnect, as the login asked for it: after so long a silence; 0: it did not.
        ("cancel_after_ns", "i8"),
    ],
    align=True,
)  # fmt: skip
ACCOUNT_BYTES = 192
assert ACCOUNT.itemsize <= ACCOUNT_BYTES
DESK = np.dtype(
    [
        ("accounts", "u8"), ("n_accounts", "i8"), ("socket", "i8"), ("datagram", "u8"), ("spare", "u8"), ("reply", "u8"),
        ("line_in", "u8"), ("line_out", "u8"), ("cancel_on_new_session", "i8"), ("cancel_on_loss", "i8"),
        ("datagrams", "i8"), ("unknown", "i8"), ("bad_logins", "i8"), ("send_errors", "i8"),
        ("in_use", "i8"),
    ],
    align=True,
)  # fmt: skip
NO_CONNECTION, BY_UDP, BY_TCP = 0, 1, 2
LOG_BYTES = 80
_LOG_TEXT = np.uint64(8)
ADDRESS_BYTES = 16
_ADDRESS = np.uint64(ADDRESS_BYTES)
_DATAGRAM_BYTES = 1024
_MAX_READS = 64
#: Silence after which a session counts as lost, unless its login says otherwise.
_SILENCE_NS = 1_000_000_000
_CREDENTIALS, _ACCOUNT_ADDRESS = (np.uint64(offset_of(ACCOUNT, name)) for name in ("credentials", "address"))


@jit
def account_at(desk, index):
    """Address of account number ``index``."""
    return view(desk, DESK).accounts + U64(index) * U64(ACCOUNT_BYTES)


# The log.


@jit
def _log_slot(account, number):
    a = view(account, ACCOUNT)
    return a.log + (number & (a.log_capacity - ONE)) * U64(LOG_BYTES)


@jit
def log_reserve(account):
    """Address for the text of the next report."""
    return _log_slot(account, view(account, ACCOUNT).log_next) + _LOG_TEXT


@jit
def log_commit(account, length):
    """The reserved report is ``length`` bytes."""
    a = view(account, ACCOUNT)
    slot = _log_slot(account, a.log_next)
    view(slot, _LENGTH).length = length
    a.log_next += ONE
    if a.log_next - a.cursor > a.log_capacity:
        a.cursor += ONE
        a.dropped += 1


_LENGTH = np.dtype([("length", "i8")])


@jit
def log_read(account, number):
    """``(address, length)`` of report ``number``."""
    slot = _log_slot(account, number)
    return slot + _LOG_TEXT, view(slot, _LENGTH).length


@jit
def log_oldest(account):
    """Number of the oldest report that is still kept."""
    a = view(account, ACCOUNT)
    return a.log_next - a.log_capacity if a.log_next > a.log_capacity else ONE


# Datagrams.


@jit
def _transmit(desk, address, data, length, now_ns):
    """Send a datagram, over the bad line if it is one."""
    d = view(desk, DESK)
    if impair_is_clean(d.line_out):
        if send_to(d.socket, data, length, address) != length:
            d.send_errors += 1
        return
    copy_bytes(d.reply, address, np.int64(ADDRESS_BYTES))
    copy_bytes(d.reply + _ADDRESS, data, length)
    impair_put(d.line_out, d.reply, length + ADDRESS_BYTES, now_ns)


@jit
def _refuse(desk, address, number, now_ns):
    """Tell an unknown session so."""
    d = view(desk, DESK)
    at = d.reply + _ADDRESS
    put_be32(at, U64(MAGIC))
    put_be32(at + U64(4), number)
    put_be64(at + U64(8), ONE)
    put_be64(at + U64(16), ONE)
    put_be32(at + U64(24), U64(REJECT << 24))
    put_be16(at + U64(26), ZERO)
    copy_bytes(d.reply, address, np.int64(ADDRESS_BYTES))
    if impair_is_clean(d.line_out):
        send_to(d.socket, at, np.int64(HEADER_BYTES), address)
    else:
        impair_put(d.line_out, d.reply, np.int64(HEADER_BYTES + ADDRESS_BYTES), now_ns)


@jit
def find_account(desk, credentials):
    """Address of the account with this user and password, 0 if there is none."""
    d = view(desk, DESK)
    for index in range(d.n_accounts):
        account = account_at(desk, np.int64(index))
        own = account + _CREDENTIALS
        if load_i64(own) == load_i64(credentials) and load_i64(own + U64(8)) == load_i64(credentials + U64(8)):
            return account
    return ZERO


@jit
def _account_of_session(desk, number):
    d = view(desk, DESK)
    for index in range(d.n_accounts):
        account = account_at(desk, np.int64(index))
        a = view(account, ACCOUNT)
        if a.connection == BY_UDP and view(a.session, SESSION).session == number:
            return account
    return ZERO


# Who is connected.


@jit
def is_live(account):
    """Whether an account has a session that is heard from."""
    a = view(account, ACCOUNT)
    return a.connection == BY_TCP or (a.connection == BY_UDP and view(a.session, SESSION).state == UP)


@jit
def _is_from(account, datagram):
    """Whether a datagram comes from where the account is connected (address and port)."""
    return load_i64(account + _ACCOUNT_ADDRESS) == load_i64(datagram)


@jit
def lose_account(desk, account):
    """An account is not connected any more: its orders go if it asked for that, or the exchange does it with all."""
    a = view(account, ACCOUNT)
    a.lost += 1
    if view(desk, DESK).cancel_on_loss != 0 or a.cancel_after_ns != 0:
        a.cancel_due = 1


@jit
def _may_log_in(account, datagram, number):
    """Whether a login is one of the session that lives (its answer was lost), or none lives."""
    a = view(account, ACCOUNT)
    if not is_live(account):
        return True
    return a.connection == BY_UDP and view(a.session, SESSION).session == number and _is_from(account, datagram)


@jit
def _log_in(desk, account, number, cancel_after_ns, now_ns):
    d, a = view(desk, DESK), view(account, ACCOUNT)
    s = view(a.session, SESSION)
    a.cancel_after_ns = cancel_after_ns
    s.silence_ns = cancel_after_ns if cancel_after_ns != 0 else np.int64(_SILENCE_NS)
    if a.connection != BY_UDP or s.session != number or s.state == ENDED:
        if a.connection == BY_UDP:
            a.base += s.acked - ONE
        else:
            a.base = a.cursor
        a.base = max(a.base, log_oldest(account))
        a.cursor, a.connection = a.base, BY_UDP
        if a.logins > 0 and d.cancel_on_new_session != 0:
            a.cancel_due = 1
        a.logins += 1
    session_accept(a.session, number, now_ns)


@jit
def _take_login(desk, datagram, text, number, now_ns):
    """A LOGIN whose text is at ``text`` (0: none): the account that is logged in now, or 0."""
    d = view(desk, DESK)
    account = find_account(desk, text) if text != ZERO else ZERO
    if account == ZERO:
        d.bad_logins += 1
    elif not _may_log_in(account, datagram, number):
        d.in_use += 1
        return ZERO
    else:
        _log_in(desk, account, number, login_cancel_after_ns(text), now_ns)
    return account


@jit
def take_datagram(desk, datagram, length, now_ns):
    """A datagram behind its sender's address: the account that now may have requests to read, 0 if none."""
    d = view(desk, DESK)
    data, size = datagram + _ADDRESS, length - ADDRESS_BYTES
    number = session_number(data, size)
    d.datagrams += 1
    if number == ZERO:
        d.unknown += 1
        return ZERO
    account = _account_of_session(desk, number)
    if session_kind(data) == LOGIN:
        account = _take_login(desk, datagram, session_login_text(data, size), number, now_ns)
    elif account != ZERO and is_live(account) and not _is_from(account, datagram):
        d.in_use += 1
        account = ZERO
    if account == ZERO:
        d.unknown += 1
        if session_kind(data) != REJECT:
            _refuse(desk, datagram, number, now_ns)
        return ZERO
    a = view(account, ACCOUNT)
    copy_bytes(account + _ACCOUNT_ADDRESS, datagram, np.int64(ADDRESS_BYTES))
    if session_take(a.session, data, size, now_ns) == END:
        lose_account(desk, account)
    return account


@jit
def next_datagram(desk, now_ns):
    """``(address, length)`` of the next datagram that has arrived, its sender's address in front; length 0: none."""
    d = view(desk, DESK)
    for _ in range(_MAX_READS):
        length = receive_from(d.socket, d.datagram + _ADDRESS, np.int64(_DATAGRAM_BYTES), d.datagram, d.spare)
        if length < 0:
            break
        if impair_is_clean(d.line_in):
            return d.datagram, length + ADDRESS_BYTES
        impair_put(d.line_in, d.datagram, length + ADDRESS_BYTES, now_ns)
    at = impair_next(d.line_in, now_ns)
    if at == ZERO:
        return ZERO, np.int64(0)
    return at, view(d.line_in, IMPAIR).length


@jit
def next_request(account):
    """``(address, length)`` of the next request of an account over UDP; address 0: none."""
    a = view(account, ACCOUNT)
    if a.connection != BY_UDP:
        return ZERO, np.int64(0)
    text = session_next(a.session)
    return text, view(a.session, SESSION).in_length


@jit
def _pump_account(desk, account, now_ns):
    """Hand on reports, then what else is due; returns datagrams sent."""
    a = view(account, ACCOUNT)
    s, sent = view(a.session, SESSION), np.int64(0)
    address = account + _ACCOUNT_ADDRESS
    while a.cursor < a.log_next and s.state == UP and s.next_out - s.acked < s.window:
        text, length = log_read(account, a.cursor)
        copy_bytes(session_reserve(a.session), text, min(length, np.int64(MESSAGE_BYTES_MAX)))
        datagram = session_commit(a.session, length, now_ns)
        _transmit(desk, address, datagram, s.out_length, now_ns)
        a.cursor += ONE
        sent += 1
    losses = s.losses
    for _ in range(_MAX_READS):
        datagram = session_poll(a.session, now_ns)
        if datagram == ZERO:
            break
        _transmit(desk, address, datagram, s.out_length, now_ns)
    if s.losses > losses:
        lose_account(desk, account)
    return sent


@jit
def desk_pump(desk, now_ns):
    """Send what every account is due, and what the bad line has kept until now; returns datagrams sent."""
    d, sent = view(desk, DESK), np.int64(0)
    for index in range(d.n_accounts):
        account = account_at(desk, np.int64(index))
        if view(account, ACCOUNT).connection == BY_UDP:
            sent += _pump_account(desk, account, now_ns)
    at = impair_next(d.line_out, now_ns)
    while at != ZERO:
        length = view(d.line_out, IMPAIR).length - ADDRESS_BYTES
        if send_to(d.socket, at + _ADDRESS, length, at) != length:
            d.send_errors += 1
        sent += 1
        at = impair_next(d.line_out, now_ns)
    return sent
