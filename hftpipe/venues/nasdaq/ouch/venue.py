"""The OUCH venue behind the gateway's C pointers: ``int64 f(uint64 venue, int64 record_address)``.

============= ================================================================================================
function      result
============= ================================================================================================
submit        LEFT: encoded and handed to the kernel with one ``send``. ANSWERED_HERE: what the wire cannot say is a
              REJECT or CANCEL_REJECT with VENUE_FILTER at the next poll, a change of an order that is not known here one
              with VENUE_UNKNOWN_ORDER. NOT_TAKEN: no session, window full
poll          1: the next report is in the record; 0: none. Also does what is due: sending again, heartbeats. To be without
              a session for ``login_ns`` is a VENUE_FAULT, once each time: LOGIN_REFUSED if there never was one, or the
              venue refuses us, else SESSION_LOST (number: how many ms). Not after the end of the venue's day, unless
              orders are open. So is a message that does not come through (UNREADABLE_REPORT)
market        1: a real venue has no market to play
unanswered    1: the record names an order (id, instrument, side, strategy; kind 0) about which the venue has said
              nothing for ``answer_ns``, which it has forgotten, or whose session it has ended: apply ON_NO_ANSWER to it.
              It counts as working until its fate is known
============= ================================================================================================

A CANCEL leaves whatever has become of its order here: who asks for it holds the order open. NEW and REPLACE are taken only while the session is up and the next reference number is known. A CANCEL is taken whenever
there is room, and waits for the session if need be. A request is never sent under two numbers. After every login the
venue is first asked for its next number. If it goes on where it was, the requests without answer are sent again under
their own: it takes each number once. If it does not, our orders are UNKNOWN, and ``poll`` brings a VENUE_FAULT.
"""

import socket

import numpy as np

from hftpipe.core.machine.clock import monotonic_ns
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, rdtsc, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import (
    ANSWERED_HERE,
    CANCEL_REJECT,
    LEFT,
    MARKET,
    NEW,
    NOT_TAKEN,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACE,
    REPORT,
    TIF_MASK,
)
from hftpipe.core.shared.halts import show_closed
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    ILLEGAL,
    ON_CANCEL_SENT,
    ON_NO_ANSWER,
    ON_REPLACE_SENT,
    ORDER,
    PENDING_CANCEL,
    PENDING_NEW,
    PENDING_REPLACE,
    TRANSITIONS,
    is_open,
    open_count,
    open_order,
    order_find,
    order_insert,
    order_move,
)
from hftpipe.venues.nasdaq.ouch.encode import encode_enter, encode_query, encode_replace
from hftpipe.venues.nasdaq.ouch.link import (
    LINK,
    UDP,
    link_close,
    link_commit,
    link_is_up,
    link_next,
    link_pump,
    link_read,
    link_reserve,
)
from hftpipe.venues.nasdaq.ouch.messages import PRICE_UNIT, SHARES_MAX
from hftpipe.venues.nasdaq.ouch.presence import note_end, tell_absence, tell_stuck
from hftpipe.venues.nasdaq.ouch.reports import apply_message, cancel_now
from hftpipe.venues.nasdaq.ouch.sockets import open_udp
from hftpipe.venues.nasdaq.ouch.state import (
    ANSWERED,
    CANCELING,
    LOST,
    OWED,
    UNTOLD,
    VENUE,
    fill_record,
    has_ref,
    local_room,
    local_slot,
    lot_of,
    part,
    ref_of,
    take_ref,
    venue_bytes,
    venue_init,
)

#: While no order is open, what the venue says of its own accord may wait this long.
IDLE_READ_NS = np.int64(5_000)
#: So often it is looked at whether the session is there: what is said of it counts in milliseconds, the poll in tens of ns.
PRESENCE_NS = np.int64(100_000)

__all__ = [
    "close", "market_entry", "open_venue", "poll_entry", "submit_entry", "unanswered_entry", "venue_bytes",
    "venue_init", "venue_poll", "venue_submit", "venue_unanswered", "warm",
]  # fmt: skip


@jit
def _now(venue):
    return monotonic_ns(view(venue, VENUE).clock, rdtsc())


@jit
def _fits(venue, r):
    """Whether the wire can carry a NEW or REPLACE exactly."""
    v = view(venue, VENUE)
    tif = np.int64(r.flags & TIF_MASK)
    if np.int64(r.instrument) >= v.n_instruments or tif > MARKET or r.side > 1:
        return False
    lot = lot_of(venue, r.instrument)
    if r.qty <= 0 or r.qty % lot != 0 or r.qty // lot > SHARES_MAX:
        return False
    return tif == MARKET or (r.price > 0 and r.price % PRICE_UNIT == 0)


@jit
def _answer(venue, r, reason):
    """An answer of our own to a request, for the next poll: ANSWERED_HERE, or NOT_TAKEN if there is no room for it."""
    v = view(venue, VENUE)
    if not local_room(venue):
        return np.int64(NOT_TAKEN)
    a = view(local_slot(venue, v.local_in), REPORT)
    is_new = r.kind == NEW
    a.seq, a.venue_id, a.exchange_ts, a.local_ts = ZERO, ZERO, 0, 0
    a.price, a.qty = (r.price, r.qty) if is_new else (np.int64(0), np.int64(0))
    a.id, a.instrument, a.side, a.strategy = r.id, r.instrument, r.side, r.strategy
    a.kind, a.flags = REJECT if is_new else CANCEL_REJECT, reason
    v.local_in += ONE
    return np.int64(ANSWERED_HERE)


@jit
def _send_enter(venue, o, now_ns):
    """Encode and send an order under its number; False if the link cannot take it."""
    v = view(venue, VENUE)
    text = link_reserve(v.link)
    if text == ZERO:
        return False
    length = encode_enter(
        v.templates, o.instrument, np.int64(o.flags & TIF_MASK), ref_of(o), o.side,
        U64(o.qty // lot_of(venue, o.instrument)), U64(o.price // PRICE_UNIT), o.id, text,
    )  # fmt: skip
    link_commit(v.link, length, now_ns)
    o.created_ts = now_ns
    return True


@jit
def _send_replace(venue, o, now_ns):
    """Encode and send the replace that an order waits for; False if the link cannot take it."""
    v = view(venue, VENUE)
    text = link_reserve(v.link)
    if text == ZERO:
        return False
    length = encode_replace(
        v.templates, np.int64(o.flags & TIF_MASK), ref_of(o), U64(o.user),
        U64(o.new_qty // lot_of(venue, o.instrument)), U64(o.new_price // PRICE_UNIT), o.id, text,
    )  # fmt: skip
    link_commit(v.link, length, now_ns)
    o.created_ts = now_ns
    return True


@jit
def _new(venue, r, now_ns):
    v = view(venue, VENUE)
    if not _fits(venue, r) or order_find(v.table, r.id) != ZERO:
        v.unsendable += 1
        return _answer(venue, r, reasons.VENUE_FILTER)
    if not has_ref(venue):
        return _answer(venue, r, reasons.VENUE_NUMBERS_USED_UP)
    if link_reserve(v.link) == ZERO:
        return np.int64(NOT_TAKEN)
    slot = order_insert(v.table, r.id)
    if slot == ZERO:
        return np.int64(NOT_TAKEN)
    o = view(slot, ORDER)
    o.price, o.qty, o.instrument, o.side = r.price, r.qty, r.instrument, r.side
    o.strategy, o.flags, o.venue_id = r.strategy, r.flags, take_ref(venue, r.id)
    _send_enter(venue, o, now_ns)
    v.entered += 1
    return np.int64(LEFT)


@jit
def _replace(venue, slot, r, now_ns):
    v, o = view(venue, VENUE), view(slot, ORDER)
    if not _fits(venue, r) or o.user != 0 or TRANSITIONS[o.state, ON_REPLACE_SENT] == ILLEGAL:
        v.unsendable += 1
        return _answer(venue, r, reasons.VENUE_FILTER)
    if not has_ref(venue):
        return _answer(venue, r, reasons.VENUE_NUMBERS_USED_UP)
    if link_reserve(v.link) == ZERO:
        return np.int64(NOT_TAKEN)
    replace_sent(v.table, slot, r.price, r.qty)
    o.user = np.int64(take_ref(venue, o.id))
    _send_replace(venue, o, now_ns)
    v.replaces += 1
    return np.int64(LEFT)


@jit
def _cancel(venue, slot, now_ns):
    """Cancel under the newest number: a replace on its way is carried out before."""
    v, o = view(venue, VENUE), view(slot, ORDER)
    ref = U64(o.user) if o.user != 0 else ref_of(o)
    if not cancel_now(venue, slot, ref, now_ns):
        return np.int64(NOT_TAKEN)
    if is_open(o.state):
        o.venue_id |= CANCELING
        o.cancels += 1
        order_move(v.table, slot, np.int64(ON_CANCEL_SENT))
    else:
        o.venue_id |= OWED
    return np.int64(LEFT)


@jit
def _is_ready(v):
    """Whether orders can be sent: there is a session, and the venue has been asked whether it goes on where it was."""
    k = view(v.link, LINK)
    return v.ready != 0 and k.was_up != 0 and k.renewed == 0 and link_is_up(v.link)


@jit
def venue_submit(venue, record):
    """Take the request RECORD at address ``record`` (uint64); see the module for the result."""
    v, r = view(venue, VENUE), view(record, RECORD)
    now_ns, is_change = _now(venue), r.kind != NEW
    if (r.kind == NEW or r.kind == REPLACE) and not _is_ready(v):
        v.not_ready += 1
        return np.int64(NOT_TAKEN)
    if not is_change:
        return _new(venue, r, now_ns)
    slot = order_find(v.table, r.id)
    if slot == ZERO or (r.kind == REPLACE and not is_open(view(slot, ORDER).state)):
        return _answer(venue, r, reasons.VENUE_UNKNOWN_ORDER)
    return _replace(venue, slot, r, now_ns) if r.kind == REPLACE else _cancel(venue, slot, now_ns)


# Polling.


@jit
def _send_again(venue, slot, now_ns):
    """After a login: what this order waits for goes out once more. False when the link is full."""
    o = view(slot, ORDER)
    sent = True
    if o.venue_id & ANSWERED == ZERO:
        sent = _send_enter(venue, o, now_ns)
    if sent and o.user != 0:
        sent = _send_replace(venue, o, now_ns)
    if sent and o.venue_id & CANCELING:
        sent = cancel_now(venue, slot, U64(o.user) if o.user != 0 else ref_of(o), now_ns)
    return sent


@jit
def _greet(venue, now_ns):
    """First thing after a login: the question for the next reference number. Nothing new is sent before its answer."""
    v = view(venue, VENUE)
    text = link_reserve(v.link)
    if text != ZERO:
        link_commit(v.link, encode_query(text), now_ns)
        view(v.link, LINK).renewed, v.ready, v.resend = 0, 0, 0


@jit
def _resend(venue, now_ns):
    """The venue goes on where it was: what waits for an answer goes out once more."""
    v = view(venue, VENUE)
    for index in range(open_count(v.table)):
        slot = open_order(v.table, np.int64(index))
        if view(slot, ORDER).venue_id & LOST == ZERO and not _send_again(venue, slot, now_ns):
            return
        v.again += 1
    v.resend = 0


@jit
def _local_report(venue, record):
    v = view(venue, VENUE)
    if v.local_in == v.local_out:
        return False
    copy_bytes(record, local_slot(venue, v.local_out), np.int64(RECORD_BYTES))
    v.local_out += ONE
    return True


@jit
def _is_due(v, now_ns):
    """Whether to ask the socket: at once while the venue owes an answer, else every IDLE_READ_NS (a call in vain is dear)."""
    if open_count(v.table) == 0 and v.ready != 0 and now_ns < v.read_ns:
        return False
    v.read_ns = now_ns + IDLE_READ_NS
    return True


@jit
def _tell_presence(venue, record, now_ns):
    """Every PRESENCE_NS: strategies and the gateway are told whether there is a session; whether ``record`` now holds a fault."""
    v = view(venue, VENUE)
    if now_ns < v.presence_ns:
        return False
    v.presence_ns = now_ns + PRESENCE_NS
    if v.halts != ZERO:
        # Strategies see in time that there is nobody to quote to.
        show_closed(v.halts, v.venue_index, np.int64(not _is_ready(v)), now_ns)
    return tell_absence(venue, record, now_ns)


@jit
def venue_poll(venue, record):
    """Write the next report to the RECORD at address ``record`` (uint64): 1, or 0 if there is none."""
    v = view(venue, VENUE)
    if _local_report(venue, record):
        return np.int64(1)
    now_ns, k = _now(venue), view(v.link, LINK)
    for _ in range(v.max_reads):
        text = link_next(v.link)
        while text != ZERO:
            if apply_message(venue, text, k.length, record, now_ns):
                return np.int64(1)
            text = link_next(v.link)
        if not _is_due(v, now_ns) or not link_read(v.link, now_ns):
            break
    link_pump(v.link, now_ns)
    note_end(venue)
    if k.renewed != 0:
        _greet(venue, now_ns)
    if v.resend != 0:
        _resend(venue, now_ns)
    return np.int64(1 if tell_stuck(venue, record) or _tell_presence(venue, record, now_ns) else 0)


@jit
def venue_unanswered(venue, record):
    """Name the next order that has waited too long for an answer: 1, or 0 if there is none; looks at all every so often."""
    v = view(venue, VENUE)
    now_ns = _now(venue)
    if now_ns < v.check_ns:
        return np.int64(0)
    for index in range(open_count(v.table)):
        slot = open_order(v.table, np.int64(index))
        o = view(slot, ORDER)
        waits = o.state == PENDING_NEW or o.state == PENDING_REPLACE or o.state == PENDING_CANCEL
        untold = o.venue_id & UNTOLD != ZERO
        if untold or (waits and now_ns - o.created_ts >= v.answer_ns):
            o.venue_id &= ~UNTOLD
            order_move(v.table, slot, np.int64(ON_NO_ANSWER))
            fill_record(record, o, 0, o.price, o.qty, np.uint8(0))
            v.unanswered += 1
            return np.int64(1)
    v.check_ns = now_ns + (v.answer_ns >> 2)
    return np.int64(0)


@entry("int64(uint64, int64)")
def submit_entry(venue, record):
    """:func:`venue_submit` with a C address."""
    return venue_submit(venue, U64(record))


@entry("int64(uint64, int64)")
def market_entry(venue, record):
    """A real venue plays its own market."""
    return np.int64(1)


@entry("int64(uint64, int64)")
def poll_entry(venue, record):
    """:func:`venue_poll` with a C address."""
    return venue_poll(venue, U64(record))


@entry("int64(uint64, int64)")
def unanswered_entry(venue, record):
    """:func:`venue_unanswered` with a C address."""
    return venue_unanswered(venue, U64(record))


# Cold code, in the gateway's own process.


def warm() -> None:
    """Compile (or load) what the end needs, before the gateway is forked: then there is no time for it."""
    link_close.compile("(uint64, int64)")


def open_venue(memory: np.ndarray) -> socket.socket | None:
    """Open the UDP socket of a venue (``Stage.opened``); a stream connects by itself. Keep what is returned.

    Raises:
        OSError: the order port cannot be reached; names it.
    """
    link = part(memory, "link")
    if link["transport"][0] != UDP:
        return None
    raw = bytes(link["address"][0])
    sock = open_udp(".".join(str(byte) for byte in raw[4:8]), int.from_bytes(raw[2:4], "big"))
    link["fd"] = sock.fileno()
    return sock


def close(memory: np.ndarray, sock: socket.socket | None, now_ns: int) -> None:
    """Log out and close (``Stage.closed``)."""
    link = part(memory, "link")
    link_close(np.uint64(link.ctypes.data), np.int64(now_ns))
    if sock is not None:
        sock.close()
        link["fd"] = -1
