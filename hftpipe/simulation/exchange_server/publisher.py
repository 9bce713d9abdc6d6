"""The market-data side of the simulated exchange: ITCH messages into MoldUDP64 packets, out on two bad lines.

Order numbers on the wire are unique across instruments: the flow's are its own shifted by the instrument, a client's
have the top but one bit set. So are match numbers.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.simulation.exchange_server.impair import IMPAIR, impair_is_clean, impair_next, impair_put
from hftpipe.simulation.exchange_server.retransmit import store_answer, store_put
from hftpipe.simulation.matching.engine import match_event, match_event_count
from hftpipe.simulation.matching.memory import EVENT, MATCHING, ORDER, order_at
from hftpipe.transport.stream import send_bytes
from hftpipe.venues.nasdaq.itch.encode import ENCODER, EVENT_ADD, encode_directory, encode_event, encode_system
from hftpipe.venues.nasdaq.itch.mold import (
    END_OF_SESSION,
    PACKET,
    PACKET_BYTES_MAX,
    packet_add,
    packet_close,
    put_header,
)
from hftpipe.venues.nasdaq.itch.wire import be16
from hftpipe.venues.nasdaq.ouch.sockets import receive_from, send_to

MAX_REQUESTS_PER_STEP = 16

PUBLISHER = np.dtype(
    [
        # Wiring: a PACKET and where it is filled, the STORE, ENCODER[n], the lines' IMPAIRs and connected sockets,
        # the request socket; scratch for one event, for a datagram (an address before it), and for an answer.
        ("packet", "u8"), ("store", "u8"), ("encoders", "u8"), ("n_instruments", "i8"),
        ("lines", "u8", 2), ("sockets", "i8", 2), ("request_socket", "i8"),
        ("scratch", "u8"), ("datagram", "u8"), ("answer", "u8"), ("spare", "u8"),
        ("heartbeat_ns", "i8"), ("last_sent_ns", "i8"), ("packet_bytes", "i8"),
        ("messages", "i8"), ("packets", "i8"), ("heartbeats", "i8"), ("send_errors", "i8"), ("unencodable", "i8"),
    ],
    align=True,
)  # fmt: skip
_ENCODER_SHIFT = np.uint64(6)
_OWN_BIT = np.uint64(1 << 62)
_FLOW_BIT = np.uint64(1 << 63)
_ADDRESS_BYTES = np.uint64(16)
assert ENCODER.itemsize == 1 << int(_ENCODER_SHIFT)


@jit
def encoder_of(publisher, instrument):
    """Address of an instrument's ENCODER."""
    return view(publisher, PUBLISHER).encoders + (U64(instrument) << _ENCODER_SHIFT)


@jit
def wire_number(instrument, id_):
    """An order's (or match's) number in the book as the number on the wire."""
    if id_ == ZERO:
        return ZERO
    if id_ & _FLOW_BIT:
        return ((id_ & ~_FLOW_BIT) << U64(6)) | U64(instrument)
    return _OWN_BIT | (id_ << U64(6)) | U64(instrument)


@jit
def _send_line(publisher, line, data, length, now_ns):
    p = view(publisher, PUBLISHER)
    if impair_is_clean(p.lines[line]):
        if send_bytes(p.sockets[line], data, length) != length:
            p.send_errors += 1
    else:
        impair_put(p.lines[line], data, length, now_ns)


@jit
def publish_flush(publisher, now_ns):
    """Send the packet as it is, a heartbeat if it is empty."""
    p = view(publisher, PUBLISHER)
    k = view(p.packet, PACKET)
    p.heartbeats += 1 if k.count == 0 else 0
    length = packet_close(p.packet)
    for line in range(2):
        _send_line(publisher, np.int64(line), k.data, length, now_ns)
    p.packets += 1
    p.last_sent_ns = now_ns


@jit
def _add(publisher, block, length, now_ns):
    p = view(publisher, PUBLISHER)
    if not packet_add(p.packet, block, length):
        publish_flush(publisher, now_ns)
        packet_add(p.packet, block, length)
    store_put(p.store, block, length)
    p.messages += 1


@jit
def _add_all(publisher, size, now_ns):
    """Publish the messages in the scratch memory, ``size`` bytes of them."""
    p = view(publisher, PUBLISHER)
    at = np.int64(0)
    while at < size:
        block = p.scratch + U64(at)
        length = np.int64(be16(block)) + 2
        _add(publisher, block, length, now_ns)
        at += length


@jit
def publish_events(publisher, book, instrument, time_ns, now_ns):
    """Publish the events of a book, oldest first; they stay in its list."""
    p = view(publisher, PUBLISHER)
    encoder = encoder_of(publisher, instrument)
    for index in range(match_event_count(book)):
        e = view(match_event(book, np.int64(index)), EVENT)
        size = encode_event(
            encoder, np.int64(e.kind), wire_number(instrument, e.order_id), wire_number(instrument, e.maker_id),
            np.int64(e.side), e.price, e.qty, wire_number(instrument, e.match_id), time_ns, p.scratch,
        )  # fmt: skip
        if size < 0:
            p.unencodable += 1
        else:
            _add_all(publisher, size, now_ns)


@jit
def publish_system(publisher, code, time_ns, now_ns):
    """An S message; ``code`` is its byte (int64)."""
    p = view(publisher, PUBLISHER)
    _add_all(publisher, encode_system(p.encoders, code, time_ns, p.scratch), now_ns)


@jit
def publish_directory(publisher, instrument, time_ns, now_ns):
    """An R message."""
    p = view(publisher, PUBLISHER)
    size = encode_directory(encoder_of(publisher, instrument), time_ns, p.scratch)
    _add_all(publisher, size, now_ns)


@jit
def publish_book(publisher, book, instrument, time_ns, now_ns):
    """An A message for every order that rests, from the first slot to the last."""
    p = view(publisher, PUBLISHER)
    encoder, tick = encoder_of(publisher, instrument), view(book, MATCHING).tick
    for index in range(1, view(book, MATCHING).max_orders + 1):
        order = view(order_at(book, np.int64(index)), ORDER)
        if order.id == ZERO or order.qty <= 0:
            continue
        size = encode_event(
            encoder, np.int64(EVENT_ADD), wire_number(instrument, order.id), ZERO, np.int64(order.side),
            order.tick * tick, order.qty, ZERO, time_ns, p.scratch,
        )  # fmt: skip
        if size < 0:
            p.unencodable += 1
        else:
            _add_all(publisher, size, now_ns)


@jit
def publish_end(publisher, now_ns):
    """End of session: the packet under way, then the mark."""
    p = view(publisher, PUBLISHER)
    k = view(p.packet, PACKET)
    if k.count > 0:
        publish_flush(publisher, now_ns)
    length = put_header(k.data, k.session_low, k.session_high, k.sequence, np.int64(END_OF_SESSION))
    for line in range(2):
        if send_bytes(p.sockets[line], k.data, length) != length:
            p.send_errors += 1


@jit
def _answer_requests(publisher):
    p = view(publisher, PUBLISHER)
    data = p.datagram + _ADDRESS_BYTES
    for done in range(MAX_REQUESTS_PER_STEP):
        length = receive_from(p.request_socket, data, np.int64(PACKET_BYTES_MAX), p.datagram, p.spare)
        if length < 0:
            return np.int64(done)
        size = store_answer(p.store, data, length, p.answer)
        if size > 0 and send_to(p.request_socket, p.answer, size, p.datagram) != size:
            p.send_errors += 1
    return np.int64(MAX_REQUESTS_PER_STEP)


@jit
def publisher_step(publisher, now_ns):
    """Send what is ready or due, answer re-requests; returns the number of things done."""
    p = view(publisher, PUBLISHER)
    work = _answer_requests(publisher)
    if view(p.packet, PACKET).count > 0:
        publish_flush(publisher, now_ns)
        work += 1
    elif now_ns - p.last_sent_ns >= p.heartbeat_ns:
        publish_flush(publisher, now_ns)
    for line in range(2):
        at = impair_next(p.lines[line], now_ns)
        while at != ZERO:
            if send_bytes(p.sockets[line], at, view(p.lines[line], IMPAIR).length) < 0:
                p.send_errors += 1
            work += 1
            at = impair_next(p.lines[line], now_ns)
    return work
