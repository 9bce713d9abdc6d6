"""Whether the venue is there: its connections, signs of life, and what the gateway is told of the session itself."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_acquire, view
from hftpipe.core.schema.cells import LOGIN_REFUSED, SESSION_LOST
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import EXECUTION, VENUE_FAULT
from hftpipe.core.shared.halts import show_closed
from hftpipe.core.trading.order_table import open_count
from hftpipe.transport.websocket.link import LINK, LINK_BYTES, OPEN, SILENT, end_link
from hftpipe.transport.websocket.sending import send_text
from hftpipe.venues.orders.calls import mind_calls
from hftpipe.venues.orders.requests import TEXT_AT
from hftpipe.venues.orders.state import ACCOUNT

#: So often it is looked at whether the session is there.
PRESENCE_NS = np.int64(100_000)
_SESSION = np.uint64(offset_of(ACCOUNT, "session"))


@jit
def is_ready(account):
    """Whether orders can be sent: every connection of the session is there, so that what becomes of them is heard."""
    a = view(account, ACCOUNT)
    is_up = load_acquire(account + _SESSION) != ZERO
    for index in range(a.n_links):
        is_up = is_up and view(a.links + U64(LINK_BYTES * index), LINK).state == OPEN
    return is_up


@jit
def _fault(record, cause, id_, qty):
    x = view(record, EXECUTION)
    x.seq, x.trade_id, x.exchange_ts, x.fee = ZERO, ZERO, 0, 0
    x.price, x.qty, x.id, x.instrument = 0, qty, id_, 0
    x.kind, x.side, x.strategy, x.flags = VENUE_FAULT, 0, 0, np.uint8(cause)


@jit
def _say_alive(a, link):
    """Tell the venue that somebody is there, in the words that it wants."""
    text = a.text + TEXT_AT
    copy_bytes(text, a.alive, a.alive_bytes)
    send_text(link, text, a.alive_bytes)


@jit
def _mind_links(account, now_ns):
    """Let go of connections without a session, and of one on which nothing has come for too long (the venue pings, or is pinged)."""
    a = view(account, ACCOUNT)
    is_due = a.alive_bytes > 0 and now_ns >= a.alive_ns
    if is_due:
        a.alive_ns = now_ns + a.alive_every_ns
    has_session = load_acquire(account + _SESSION) != ZERO
    for index in range(a.n_links):
        link = a.links + U64(LINK_BYTES * index)
        k = view(link, LINK)
        if k.state == OPEN and (not has_session or now_ns - k.last_ns > a.silence_ns):
            end_link(link, SILENT, np.int64(0))
        elif k.state == OPEN and is_due:
            _say_alive(a, link)
    mind_calls(account, now_ns)


@jit
def _is_away_too_long(account, now_ns):
    """Whether there has been no session for too long, as far as we have looked: a standstill of our own is none of its."""
    a = view(account, ACCOUNT)
    if a.down_ns == 0 or now_ns - a.looked_ns > a.login_ns >> 1:
        a.outages += np.int64(a.down_ns == 0 and a.has_been_up != 0)
        a.down_ns = now_ns
    a.looked_ns = now_ns
    return a.told_down == 0 and now_ns - a.down_ns >= a.login_ns


@jit
def tell_presence(account, record, now_ns):
    """Every PRESENCE_NS: strategies and the gateway are told whether there is a session; whether ``record`` now holds a fault."""
    a = view(account, ACCOUNT)
    if a.fault != 0:
        _fault(record, a.fault, a.fault_id, a.fault_qty)
        a.fault, a.fault_id, a.fault_qty = 0, ZERO, 0
        return True
    if now_ns < a.presence_ns:
        return False
    a.presence_ns = now_ns + PRESENCE_NS
    _mind_links(account, now_ns)
    has_session = is_ready(account)
    if a.halts != ZERO:
        show_closed(a.halts, a.venue_index, np.int64(not has_session), now_ns)
    if has_session:
        a.down_ns, a.told_down, a.has_been_up = 0, 0, 1
        return False
    if not _is_away_too_long(account, now_ns):
        return False
    a.told_down = 1
    if a.has_been_up == 0:
        _fault(record, np.int64(LOGIN_REFUSED), U64(a.refused_logins), np.int64(0))
    else:
        _fault(record, np.int64(SESSION_LOST), U64((now_ns - a.down_ns) // 1_000_000), open_count(a.table))
    return True
