"""A connection as compiled code reads it: bytes into a buffer, frames out of it, pings answered on the way.

::

    socket ─▶ [cipher text ─▶ OpenSSL] ─▶ buffer: ... | unread frames | free ─▶ next_message: a whole text, where it lies

A message that came in one frame is looked at in place; parts of one that came in several are moved together. What breaks the
protocol (RFC 6455: a masked frame of a server, reserved bits, a long or divided control frame, a continuation of nothing, a
message larger than the buffer) ends the connection by name: after that nothing in the stream can be trusted.
"""

import numpy as np

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_u8, rdtsc, store_u8, view
from hftpipe.core.schema.counters import table
from hftpipe.transport.stream import EAGAIN, EINTR, receive_bytes, send_bytes
from hftpipe.transport.tls.reading import TLS, tls_receive, tls_send

#: What a connection is: none, in use, ended and not yet looked at.
CLOSED, OPEN, ENDED = 0, 1, 2
#: Why it ended.
PEER_CLOSED, CONNECTION_LOST, BROKEN_PROTOCOL, TOO_LARGE, SILENT, TLS_FAILED = WHYS = range(1, 7)
WHY = {
    PEER_CLOSED: "closed by the other side", CONNECTION_LOST: "connection lost", BROKEN_PROTOCOL: "broke the protocol",
    TOO_LARGE: "sent a message larger than the buffer", SILENT: "silent for too long", TLS_FAILED: "TLS failed",
}  # fmt: skip

LINK = np.dtype(
    [
        ("fd", "i8"), ("state", "i8"), ("why", "i8"), ("detail", "i8"),
        # Buffer: its address, its bytes; unread bytes; the parts of a divided message so far (0: there are none).
        ("buffer", "u8"), ("capacity", "i8"), ("start", "u8"), ("end", "u8"), ("part", "u8"), ("part_end", "u8"),
        # Memory for a pong. TLS: address of a TLS record (hftpipe.transport.tls.reading), 0 if there is none.
        ("out", "u8"), ("tls", "u8"),
        # When something last came (ns of our clock; time-stamp counter as the socket gave it).
        ("last_ns", "i8"), ("stamp", "u8"),
        # Counters.
        ("received", "i8"), ("messages", "i8"), ("pings", "i8"), ("pongs_lost", "i8"), ("divided", "i8"), ("endings", "i8"),
        ("said", "i8"), ("_pad", "i8", 3),
    ],
    align=True,
)  # fmt: skip
LINK_BYTES = LINK.itemsize
assert LINK_BYTES == 192
COUNTERS = table("""
  messages    messages received
  received    bytes received
  pings       pings answered
  said        requests and signs of life sent
  divided     messages that came in several frames
~ pongs_lost  answers to pings that the socket did not take
~ endings     connections that ended
""")
#: Room for a pong: header, mask and at most 125 bytes.
OUT_BYTES = 192
#: What :func:`next_message` found.
NOTHING, TEXT = 0, 1

_CONTINUED, _TEXT, _CLOSE, _PING, _PONG = 0, 1, 8, 9, 10
_LAST, _RESERVED, _MASKED, _KIND, _SIZE = 0x80, 0x70, 0x80, 0x0F, 0x7F
_LONGEST_CONTROL = np.int64(125)
_HEADERS = np.int64(16)


@jit
def end_link(link, why, detail):
    """The connection is of no more use."""
    k = view(link, LINK)
    if k.state == OPEN:
        k.state, k.why, k.detail = ENDED, why, detail
        k.endings += 1


@jit
def _make_room(k):
    """Move what is unread to the front, where less than half of the buffer is free behind it; free bytes."""
    kept = k.part if k.part != ZERO else k.start
    if k.start == k.end and k.part == ZERO:
        k.start, k.end = k.buffer, k.buffer
    elif np.int64(k.end - k.buffer) > k.capacity >> 1 and kept > k.buffer:
        away = kept - k.buffer
        copy_bytes(k.buffer, kept, np.int64(k.end - kept))
        k.start, k.end = k.start - away, k.end - away
        if k.part != ZERO:
            k.part, k.part_end = k.part - away, k.part_end - away
    return k.capacity - np.int64(k.end - k.buffer)


@jit
def receive(link, now_ns):
    """Take what the socket has: bytes of frames that came; 0 if there are none (or the connection ended)."""
    k = view(link, LINK)
    room = _make_room(k)
    if room <= 0:
        end_link(link, TOO_LARGE, np.int64(0))
        return np.int64(0)
    if k.tls != ZERO:
        got, problem = tls_receive(k.tls, k.fd, k.end, room)
        k.stamp = view(k.tls, TLS).stamp
        if problem != 0:
            end_link(link, TLS_FAILED if problem > 0 else PEER_CLOSED, problem)
    else:
        got = receive_bytes(k.fd, k.end, room)
        k.stamp = rdtsc()
        if got == 0:
            end_link(link, PEER_CLOSED, np.int64(0))
        elif got < 0:
            reason = last_errno()
            if reason != EAGAIN and reason != EINTR:
                end_link(link, CONNECTION_LOST, reason)
            return np.int64(0)
    if got > 0:
        k.end += U64(got)
        k.received += got
        k.last_ns = now_ns
    return got


@jit
def _send(k, at, length):
    """Bytes sent of a frame, or what is not above 0 if the socket took none."""
    return tls_send(k.tls, at, length) if k.tls != ZERO else send_bytes(k.fd, at, length)


@jit
def say(link, frame, length):
    """Send a whole frame of a client; False, and the connection has ended, where the socket does not take all of it at once."""
    k = view(link, LINK)
    if k.state != OPEN:
        return False
    if _send(k, frame, length) != length:
        end_link(link, CONNECTION_LOST, np.int64(0))
        return False
    k.said += 1
    return True


@jit
def _pong(k, at, size):
    """Answer a ping with its own bytes, masked, as a client's frames are."""
    out, mask = k.out, rdtsc()
    store_u8(out, np.uint8(_LAST | _PONG))
    store_u8(out + ONE, np.uint8(_MASKED | size))
    for index in range(4):
        store_u8(out + U64(2 + index), np.uint8(mask >> U64(8 * index)))
    for index in range(size):
        key = np.uint8(mask >> U64(8 * (index & 3)))
        store_u8(out + U64(6 + index), load_u8(at + U64(index)) ^ key)
    length = np.int64(6) + size
    sent = _send(k, out, length)
    k.pings += 1
    k.pongs_lost += sent != length
    # Half a frame in the stream cannot be taken back: what is left would be read as the head of the next one. Nor can a TLS record
    # of which the socket took a part: it would have to be sent again just as it was, before anything else.
    return sent == length or (sent <= 0 and k.tls == ZERO)


@jit
def _control(link, kind, is_whole, at, size):
    k = view(link, LINK)
    if not is_whole or size > _LONGEST_CONTROL or kind > _PONG:
        end_link(link, BROKEN_PROTOCOL, np.int64(kind))
    elif kind == _CLOSE:
        code = np.int64(load_u8(at)) << 8 | np.int64(load_u8(at + ONE)) if size >= 2 else np.int64(0)
        end_link(link, PEER_CLOSED, code)
    elif kind == _PING and not _pong(k, at, size):
        end_link(link, CONNECTION_LOST, np.int64(0))


@jit
def _add_part(k, is_first, at, size):
    """Put a part of a divided message behind those before it."""
    if is_first:
        k.part, k.part_end = at, at + U64(size)
    else:
        copy_bytes(k.part_end, at, size)
        k.part_end += U64(size)


@jit
def _frame(k):
    """The frame at ``start``: (bytes of its header, of its body); a body of -1: it is not all there; -2: no legal length."""
    have = np.int64(k.end - k.start)
    if have < 2:
        return np.int64(0), np.int64(-1)
    size, header = np.int64(load_u8(k.start + ONE) & _SIZE), np.int64(2)
    if size > _LONGEST_CONTROL:
        header = np.int64(4) if size == 126 else np.int64(10)
        if have < header:
            return header, np.int64(-1)
        size = np.int64(0)
        for index in range(2, header):
            size = size << 8 | np.int64(load_u8(k.start + U64(index)))
        if size < 0:
            return header, np.int64(-2)
    return header, size if have - header >= size else np.int64(-1) if size <= k.capacity - _HEADERS else np.int64(-2)


@jit
def next_message(link):
    """The next whole message of a connection: ``(TEXT, its address, its end)``; (NOTHING, 0, 0) before more bytes have come.

    It lies there until the next :func:`receive`.
    """
    k = view(link, LINK)
    while k.state == OPEN:
        header, size = _frame(k)
        if size == -1:
            break
        first, second = np.int64(load_u8(k.start)), np.int64(load_u8(k.start + ONE))
        kind, is_whole = first & _KIND, first & _LAST != 0
        if size < 0:
            end_link(link, TOO_LARGE, np.int64(0))
            break
        if first & _RESERVED or second & _MASKED:
            end_link(link, BROKEN_PROTOCOL, kind)
            break
        at = k.start + U64(header)
        k.start = at + U64(size)
        if kind >= _CLOSE:
            _control(link, kind, is_whole, at, size)
        elif kind > _TEXT or (kind == _TEXT) != (k.part == ZERO):
            # Binary frames, a continuation of nothing, a new message in the middle of another.
            end_link(link, BROKEN_PROTOCOL, kind)
        elif kind == _TEXT and is_whole:
            k.messages += 1
            return TEXT, at, k.start
        else:
            _add_part(k, kind == _TEXT, at, size)
            if is_whole:
                whole, whole_end = k.part, k.part_end
                k.part = ZERO
                k.messages += 1
                k.divided += 1
                return TEXT, whole, whole_end
    return NOTHING, ZERO, ZERO


def link_init(link: np.ndarray, buffer: np.ndarray, out: np.ndarray) -> None:
    """Make a LINK array (length 1) a closed connection with a buffer of its own (uint8) and room for a pong (OUT_BYTES)."""
    link[:] = 0
    link["fd"], link["capacity"] = -1, len(buffer)
    link["buffer"] = link["start"] = link["end"] = buffer.ctypes.data
    link["out"] = out.ctypes.data


def link_open(link: np.ndarray, fd: int, now_ns: int, tls: int = 0) -> None:
    """Give a closed LINK (array of length 1) a connected, non-blocking socket whose handshake is done."""
    link["fd"], link["tls"], link["last_ns"] = fd, tls, now_ns
    link["start"] = link["end"] = link["buffer"]
    link["part"] = link["part_end"] = link["why"] = link["detail"] = 0
    link["state"] = OPEN


def link_close(link: np.ndarray) -> None:
    """The connection is none any more; its socket is the caller's to close."""
    link["state"], link["fd"], link["tls"] = CLOSED, -1, 0


def why_ended(link: np.ndarray) -> str:
    """Why a LINK (array of length 1) ended, in words."""
    why, detail = int(link["why"][0]), int(link["detail"][0])
    return f"{WHY[why]} ({detail})" if detail else WHY[why]
