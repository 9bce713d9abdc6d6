"""Text messages written by compiled code: header, mask and one send.

A frame is written whole or the connection is of no more use: half of one in the stream cannot be taken back, and a peer that does
not take some hundred bytes has stopped reading. What was in it may or may not have reached the other side.
"""

import numpy as np

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, rdtsc, store_i64, store_u8, view
from hftpipe.transport.stream import EAGAIN, EINTR, send_bytes
from hftpipe.transport.tls.reading import tls_send
from hftpipe.transport.websocket.link import CONNECTION_LOST, LINK, OPEN, end_link

#: Bytes before a text, which begins on a multiple of 8, that its frame's header is written to; behind its end as many may change.
HEADER_ROOM = 8
#: What became of a message: nothing of it left; it left; it may have, and the connection has ended.
NOT_SENT, SENT, LOST = 0, 1, 2
LONGEST_TEXT = 0xFFFF
_TEXT = np.uint8(0x81)
_MASKED_SHORT, _MASKED_LONG = np.uint8(0x80), np.uint8(0x80 | 126)
_SHORT = np.int64(125)
#: An odd multiplier that spreads the time-stamp counter over the mask's bits (splitmix64's).
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BYTE, _WORD_BITS = np.uint64(0xFF), np.uint64(32)


@jit
def _mask(text, length, key):
    """Mask a text in place with a key of 32 bits, eight bytes at a time."""
    twice = np.int64(key | (key << _WORD_BITS))
    for at in range(0, length, 8):
        store_i64(text + U64(at), load_i64(text + U64(at)) ^ twice)


@jit
def _frame(text, length):
    """Make a frame of a text: where it begins, how long it is."""
    key = (rdtsc() * _MIX) >> _WORD_BITS
    head = np.int64(6) if length <= _SHORT else np.int64(8)
    start = text - U64(head)
    store_u8(start, _TEXT)
    if length <= _SHORT:
        store_u8(start + U64(1), _MASKED_SHORT | np.uint8(length))
    else:
        store_u8(start + U64(1), _MASKED_LONG)
        store_u8(start + U64(2), np.uint8(length >> 8))
        store_u8(start + U64(3), np.uint8(length & 0xFF))
    for index in range(4):
        store_u8(text - U64(4 - index), np.uint8((key >> U64(8 * index)) & _BYTE))
    _mask(text, length, key)
    return start, head + length


@jit
def send_whole(link, at, size):
    """Send ``size`` bytes at ``at`` with one call of the system: SENT, NOT_SENT or LOST."""
    k = view(link, LINK)
    if k.state != OPEN:
        return NOT_SENT
    if k.tls != U64(0):
        # What OpenSSL has begun to write of a record it keeps: that it did not go through says nothing about what has left.
        if tls_send(k.tls, at, size) == size:
            return SENT
    else:
        taken = send_bytes(k.fd, at, size)
        if taken == size:
            return SENT
        if taken < 0:
            reason = last_errno()
            if reason in (EAGAIN, EINTR):
                return NOT_SENT
    end_link(link, CONNECTION_LOST, np.int64(0))
    return LOST


@jit
def send_text(link, text, length):
    """Send the ``length`` (1..LONGEST_TEXT) bytes at ``text`` as one message; they are masked in place.

    Returns:
        SENT, NOT_SENT (no connection, or the socket takes nothing now), or LOST.
    """
    if view(link, LINK).state != OPEN or length <= 0 or length > LONGEST_TEXT:
        return NOT_SENT
    start, size = _frame(text, length)
    return send_whole(link, start, size)
