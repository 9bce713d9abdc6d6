"""The receive loop: datagrams from the sockets, through arbiter and books, out as market records. All native code.

::

    packet ring (both lines) ─┐
    line A ── recv ───────────┤                                            ┌─▶ sink(state, count)
    line B ── recv ───────────┼─ mold_packet ─▶ mold_next ─▶ itch_message ─▶ out[capacity]
    answers ─ recv ───────────┘      └──────── mold_poll ─▶ send to the re-request server

The lines are read from a packet ring where there is one (:mod:`hftpipe.venues.nasdaq.itch.packet_ring`), else from their sockets
in turn, each step beginning behind the line that the last one ended with. A step ends when all are empty or
``max_datagrams`` are read. What a datagram brings is handed over before the next is read: a stage in the same process waits for no other
socket (``max_datagrams`` 1), one in another process for none at all. Answers are listened for only while something is
missing: each socket asked in vain costs as much as all the decoding.

Every record carries as ``origin_tsc`` the time-stamp counter at the moment its datagram was received: for one that had to
wait for a gap, that includes the wait.

``local_ts`` is when it was received, if that is known. A datagram that was found waiting when the lines had not been found empty
for BACKLOG_NS (this process was stopped, or is too slow) may have come any time since: it gets the time when they last were.
So what is old looks old. Up to when the market is known is written to EVENT_TIME: the time of the last packet in sequence,
heartbeats included, as long as nothing is missing.

 If ``out`` runs full, the step stops in the middle of a datagram and the next one
goes on there.

libc is called by name, so a preloaded kernel-bypass stack takes over the sockets.
"""

import ctypes

import numpy as np
from numba import types

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.hist import hist_record
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_step, clock_gettime, load_i64, rdtscp, view
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import LINE, lay_out, offset_of
from hftpipe.core.schema.records import RECORD_BYTES, VALID
from hftpipe.core.shared.event_time import show_known
from hftpipe.venues.nasdaq.itch.arbiter import mold_next, mold_packet_from, mold_poll, mold_state, mold_take_reset
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER
from hftpipe.venues.nasdaq.itch.decode import itch_message
from hftpipe.venues.nasdaq.itch.election import LINE_RETRANSMIT, LINES, sender_of
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_line_state, feed_reset
from hftpipe.venues.nasdaq.itch.packet_ring import PACKETS, packet_done, packet_next
from hftpipe.venues.nasdaq.itch.wire import be16, be32

_recvfrom = types.ExternalFunction(
    "recvfrom", types.int64(types.int32, types.uint64, types.uint64, types.int32, types.uint64, types.uint64)
)
_recvmsg = types.ExternalFunction("recvmsg", types.int64(types.int32, types.uint64, types.int32))
_send = types.ExternalFunction("send", types.int64(types.int32, types.uint64, types.uint64, types.int32))
# A missing symbol would be a crash at the first call.
for _name in ("recvfrom", "recvmsg", "send"):
    if not hasattr(ctypes.CDLL(None), _name):
        raise ImportError(f"libc has no {_name}: the ITCH receive loop needs Linux")

DATAGRAM_BYTES = 65_536
#: How long the lines may go without having been found empty before what they bring counts as a backlog.
BACKLOG_NS = 100_000_000
_MSG_DONTWAIT, _MSG_TRUNC = 0x40, 0x20
_EAGAIN, _EINTR = 11, 4
_CLOCK_REALTIME = 0
_SOL_SOCKET, _SCM_TIMESTAMPNS = 1, 35
_CONTROL_BYTES = 64

# struct msghdr, iovec, the first control message (a timespec), a spare timespec, and the sender's sockaddr_in with its
# length, as Linux on x86-64 lays them out.
_MESSAGE_HEADER = np.dtype(
    [
        ("name", "u8"), ("name_length", "u8"), ("iov", "u8"), ("iov_length", "u8"),
        ("control", "u8"), ("control_length", "u8"), ("flags", "u8"),
        ("base", "u8"), ("size", "u8"),
        ("control_bytes", "u8", _CONTROL_BYTES // 8), ("now_s", "i8"), ("now_ns", "i8"),
        ("from_family", "u2"), ("from_port", "u2"), ("from_address", "u4"), ("from_zero", "u8"), ("from_length", "u8"),
    ],
    align=True,
)  # fmt: skip
_FROM_AT = np.uint64(offset_of(_MESSAGE_HEADER, "from_family"))
_FROM_ADDRESS_AT = np.uint64(offset_of(_MESSAGE_HEADER, "from_address"))
_FROM_PORT_AT = np.uint64(offset_of(_MESSAGE_HEADER, "from_port"))
_FROM_LENGTH_AT = np.uint64(offset_of(_MESSAGE_HEADER, "from_length"))
_FROM_BYTES = np.uint64(16)
_AF_INET = 2
_NOW_AT = np.uint64(offset_of(_MESSAGE_HEADER, "now_s"))
_CONTROL = np.dtype(
    [("length", "u8"), ("level", "i4"), ("kind", "i4"), ("seconds", "i8"), ("nanoseconds", "i8")], align=True
)

RECEIVER = np.dtype(
    [
        # Sockets by line (-1: none). Answers come to the socket that requests go out from.
        ("sockets", "i8", LINES), ("max_datagrams", "i8"), ("line", "i8"),
        # Wiring (addresses). ``sink`` is a C function int64 f(sink_state, count), or 0: then the caller empties ``out``.
        ("arbiter", "u8"), ("feed", "u8"), ("out", "u8"), ("capacity", "i8"), ("sink", "u8"), ("sink_state", "u8"),
        # ``packets``: PACKETS of a packet ring, in place of the lines' sockets (0: none).
        ("data", "u8"), ("request", "u8"), ("header", "u8"), ("packets", "u8"),
        # Where kernel times go (0: they are not asked for), and the CLOCK they are compared with.
        ("h_kernel", "u8"), ("clock", "u8"),
        # EVENT_TIME (0: nobody asks). When the lines were last found empty; the time of what is being read; that of the last
        # packet in sequence.
        ("time", "u8"), ("empty_ns", "i8"), ("local_ns", "i8"), ("heard_ns", "i8"),
        # Records in ``out`` that nobody has taken yet.
        ("count", "i8"),
        # Who sent the last datagram (address and port; 0: not known), and where asked for, when the kernel received
        # it (ns of the wall clock).
        ("sender", "u8"), ("kernel_ns", "i8"),
        ("datagrams", "i8"), ("bytes", "i8"), ("records", "i8"), ("truncated", "i8"), ("receive_errors", "i8"),
        ("requests_sent", "i8"), ("send_errors", "i8"), ("unanswerable", "i8"), ("held_back", "i8"), ("last_errno", "i8"),
    ],
    align=True,
)  # fmt: skip
_RECORD_SHIFT = np.uint64(RECORD_BYTES.bit_length() - 1)
_LAYOUT = lay_out({
    "receiver": (RECEIVER, 1), "request": LINE, "header": (_MESSAGE_HEADER, 1), "data": DATAGRAM_BYTES
})  # fmt: skip


def receiver_bytes() -> int:
    """Memory of a receiver, with its datagram buffer."""
    return _LAYOUT.size


def receiver_init(
    memory: np.ndarray,
    arbiter: int,
    feed: int,
    out: np.ndarray,
    *,
    line_a: int = -1,
    line_b: int = -1,
    retransmit: int = -1,
    packets: int = 0,
    max_datagrams: int = 64,
    h_kernel: int = 0,
    clock: int = 0,
    time: int = 0,
    sink: int = 0,
    sink_state: int = 0,
) -> None:
    """Wire a receiver.

    Args:
        memory: uint8 array of :func:`receiver_bytes`, 64-byte aligned.
        arbiter, feed: addresses of an ARBITER and a FEED.
        out: RECORD array with room for what one message, session reset or change of state writes (FEED ``room``); must
            outlive the receiver.
        line_a, line_b: file descriptors of the lines (-1: none); retransmit: a connected socket to the server, or -1.
        packets: address of the PACKETS of a ring that brings both lines; the lines have no sockets then.
        max_datagrams: most datagrams read in one step.
        h_kernel: address of a histogram for the time from the kernel's receive stamp (SO_TIMESTAMPNS on the lines, the
            frame's in a packet ring) to ours, 0 for none; clock: address of a CLOCK then.
        time: address of an EVENT_TIME to keep up to date, or 0.
        sink: address of a C function ``int64 f(uint64 state, int64 count)`` called with the records of each step.

    Raises:
        ValueError: no room in ``out``, no line, or no datagrams.
    """
    room = int(np.ctypeslib.as_array((ctypes.c_uint8 * FEED.itemsize).from_address(feed)).view(FEED)["room"][0])
    if len(out) < room or (line_a < 0) == (packets == 0) or max_datagrams < 1:
        raise ValueError(
            f"needs {room} records (has {len(out)}), a line A or a packet ring, and at least one datagram a step"
        )
    memory[: receiver_bytes()] = 0
    state, header = (_LAYOUT.view(memory, name) for name in ("receiver", "header"))
    state["sockets"][0] = (line_a, line_b, retransmit)
    state["max_datagrams"], state["h_kernel"], state["clock"] = max_datagrams, h_kernel, clock
    state["arbiter"], state["feed"], state["out"], state["capacity"] = arbiter, feed, out.ctypes.data, len(out)
    state["sink"], state["sink_state"], state["packets"], state["time"] = sink, sink_state, packets, time
    for name in ("data", "request", "header"):
        state[name] = memory.ctypes.data + _LAYOUT.at(name)
    header["base"], header["size"] = state["data"], DATAGRAM_BYTES
    header["iov"], header["iov_length"] = header["base"].ctypes.data, 1
    header["control"] = header["control_bytes"].ctypes.data


@jit
def _note_kernel(s):
    """How long ago by the wall clock the kernel received the last datagram, in ticks as all histograms are."""
    now = s.header + _NOW_AT
    clock_gettime(np.int32(_CLOCK_REALTIME), now)
    ns = load_i64(now) * 1_000_000_000 + load_i64(now + U64(8)) - s.kernel_ns
    hist_record(s.h_kernel, np.int64(np.float64(ns) / view(s.clock, CLOCK).ns_per_tick))


@jit
def _receive_stamped(state, socket):
    """recvmsg: the datagram and its kernel time."""
    s = view(state, RECEIVER)
    m = view(s.header, _MESSAGE_HEADER)
    m.name, m.name_length = s.header + _FROM_AT, _FROM_BYTES
    m.control_length, m.flags = _CONTROL_BYTES, ZERO
    length = _recvmsg(np.int32(socket), s.header, np.int32(_MSG_DONTWAIT | _MSG_TRUNC))
    c = view(m.control, _CONTROL)
    if length >= 0 and m.control_length >= U64(32) and c.level == _SOL_SOCKET and c.kind == _SCM_TIMESTAMPNS:
        s.kernel_ns = c.seconds * 1_000_000_000 + c.nanoseconds
        _note_kernel(s)
    return length


@jit
def _receive_plain(state, socket):
    """recvfrom: the datagram alone."""
    s = view(state, RECEIVER)
    view(s.header, _MESSAGE_HEADER).from_length = _FROM_BYTES
    flags = np.int32(_MSG_DONTWAIT | _MSG_TRUNC)
    return _recvfrom(
        np.int32(socket), s.data, U64(DATAGRAM_BYTES), flags, s.header + _FROM_AT, s.header + _FROM_LENGTH_AT
    )  # fmt: skip


@jit
def _sender(state):
    """Who sent the last datagram (address and port); 0 if the socket does not say (or is no IPv4 socket)."""
    header = view(state, RECEIVER).header
    m = view(header, _MESSAGE_HEADER)
    if m.from_family != _AF_INET:
        return ZERO
    return sender_of(be32(header + _FROM_ADDRESS_AT), be16(header + _FROM_PORT_AT))


@jit
def _receive(state, socket):
    """Length of the next datagram, now in the buffer; -1 if there is none (errors are counted)."""
    s = view(state, RECEIVER)
    if s.h_kernel != ZERO:
        length = _receive_stamped(state, socket)
    else:
        length = _receive_plain(state, socket)
    if length >= 0:
        s.sender = _sender(state)
        s.datagrams += 1
        s.bytes += length
        return length
    error = last_errno()
    if error != _EAGAIN and error != _EINTR:
        s.receive_errors += 1
        s.last_errno = error
    return np.int64(-1)


@jit
def _flush(state):
    """Hand the records over, if there is anyone to take them."""
    s = view(state, RECEIVER)
    if s.sink != ZERO and s.count > 0:
        call_step(s.sink, s.sink_state, s.count)
        s.records += s.count
        s.count = 0


@jit
def _has_room(state):
    """Whether the next message or state change fits into ``out``, after handing over if need be."""
    s = view(state, RECEIVER)
    room = view(s.feed, FEED).room
    if s.capacity - s.count < room:
        _flush(state)
    return s.capacity - s.count >= room


@jit
def _out(state):
    s = view(state, RECEIVER)
    return s.out + (U64(s.count) << _RECORD_SHIFT)


@jit
def _drain(state):
    """Apply every message that is next in order; False when ``out`` is full before the end."""
    s = view(state, RECEIVER)
    a = view(s.arbiter, ARBITER)
    while _has_room(state):
        if not mold_next(s.arbiter):
            return True
        local_ts = min(a.local_ts, s.local_ns)
        s.count += itch_message(s.feed, a.message, a.length, a.sequence, local_ts, a.origin_tsc, _out(state))
    s.held_back += 1
    return False


@jit
def _apply(state, line, data, length, now_ns):
    """Hand over what a datagram brings: 1, or -1 if ``out`` is full before its end."""
    s = view(state, RECEIVER)
    mold_packet_from(s.arbiter, line, s.sender, data, length, now_ns, rdtscp())
    if mold_take_reset(s.arbiter):
        s.count += feed_reset(s.feed, now_ns, _out(state))
    drained = _drain(state)
    _flush(state)
    return np.int64(1) if drained else np.int64(-1)


@jit
def _take(state, line, now_ns):
    """Read one datagram of a line's socket: 1 if there was one, -1 if ``out`` is full, else 0."""
    s = view(state, RECEIVER)
    if s.sockets[line] < 0 or (line == LINE_RETRANSMIT and view(s.arbiter, ARBITER).hole == 0):
        return np.int64(0)
    if not _has_room(state):
        s.held_back += 1
        return np.int64(-1)
    length = _receive(state, s.sockets[line])
    if length < 0:
        return np.int64(0)
    if length > DATAGRAM_BYTES:
        s.truncated += 1
        return np.int64(1)
    return _apply(state, line, s.data, length, now_ns)


@jit
def _take_packet(state, now_ns):
    """The same for the packet ring. A datagram whose records do not all fit stays in it until they do."""
    s = view(state, RECEIVER)
    if not _has_room(state):
        s.held_back += 1
        return np.int64(-1)
    line = packet_next(s.packets)
    if line < 0:
        return np.int64(0)
    p = view(s.packets, PACKETS)
    s.datagrams += 1
    s.bytes += p.length
    s.sender, s.kernel_ns = p.sender, p.kernel_ns
    if s.h_kernel != ZERO:
        _note_kernel(s)
    taken = _apply(state, line, p.data, p.length, now_ns)
    if taken > 0:
        packet_done(s.packets)
    return taken


@jit
def _read_packets(state, now_ns):
    """Read one answer if any is awaited (a backlog in the ring must not keep it waiting), then the ring.

    Returns as :func:`_read_lines`.
    """
    s = view(state, RECEIVER)
    total = _take(state, np.int64(LINE_RETRANSMIT), now_ns)
    if total < 0:
        return total
    for _ in range(s.max_datagrams):
        got = _take_packet(state, now_ns)
        if got < 0:
            return -1 - total
        if got == 0:
            break
        total += 1
    return total


@jit
def _read_lines(state, now_ns):
    """Read the lines in turn until all are empty; returns the datagrams, or -1 - datagrams if ``out`` is full."""
    s = view(state, RECEIVER)
    total, empty = np.int64(0), np.int64(0)
    while total < s.max_datagrams and empty < LINES:
        line = s.line
        s.line = line + 1 if line + 1 < LINES else np.int64(0)
        got = _take(state, line, now_ns)
        if got < 0:
            return -1 - total
        total += got
        empty = np.int64(0) if got > 0 else empty + 1
    return total


@jit
def _send_request(state, length):
    s = view(state, RECEIVER)
    socket = s.sockets[LINES - 1]
    if socket < 0:
        s.unanswerable += 1
    elif _send(np.int32(socket), s.request, U64(length), np.int32(_MSG_DONTWAIT)) == length:
        s.requests_sent += 1
    else:
        s.send_errors += 1
        s.last_errno = last_errno()


@jit
def _note_backlog(s, now_ns):
    """The time that what is read in this step gets."""
    if s.empty_ns == 0:
        s.empty_ns = now_ns
    s.local_ns = now_ns if now_ns - s.empty_ns <= BACKLOG_NS else s.empty_ns


@jit
def _note_heard(s, got, line_state, now_ns):
    """What this step (``got`` datagrams) says about up to when the market is known."""
    a = view(s.arbiter, ARBITER)
    if a.last_packet_ns == now_ns:
        s.heard_ns = s.local_ns
    if got < s.max_datagrams:
        s.empty_ns = now_ns
    if s.time != ZERO and line_state == VALID and a.expected >= a.high:
        show_known(s.time, s.heard_ns)


@jit
def receive_step(state, now_ns):
    """One turn.

    Args:
        state: address of a RECEIVER; now_ns: our monotonic time, which becomes ``local_ts`` of the records.

    Returns:
        Datagrams read plus records not yet taken (int64); 0 when there was nothing to do.
    """
    s = view(state, RECEIVER)
    _note_backlog(s, now_ns)
    if not _drain(state):
        return s.count
    if s.packets != ZERO:
        packet_done(s.packets)
    got = _read_packets(state, now_ns) if s.packets != ZERO else _read_lines(state, now_ns)
    if got < 0:
        _flush(state)
        return s.count - got
    length = mold_poll(s.arbiter, now_ns, s.request)
    if length > 0:
        _send_request(state, length)
    line_state = mold_state(s.arbiter, now_ns)
    if line_state != view(s.feed, FEED).line_state and _has_room(state):
        s.count += feed_line_state(s.feed, line_state, now_ns, _out(state))
    work = got + s.count
    _flush(state)
    _note_heard(s, got, line_state, now_ns)
    return work
