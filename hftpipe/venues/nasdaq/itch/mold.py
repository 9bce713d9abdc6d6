"""MoldUDP64 packets: numbered, length-prefixed messages in UDP datagrams.

::

    offset bytes field                      request packet (client to server): the same header
    0      10    session                    session
    10     8     sequence of first message  first message wanted
    18     2     message count              messages wanted
    20           blocks: length (2), text

Count 0 is a heartbeat and 0xFFFF the end of the session; both carry the next sequence number to come. Numbers are
big-endian, the first message of a session is number 1. Source: "MoldUDP64 Protocol Specification", V 1.00.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, copy_bytes, view
from hftpipe.venues.nasdaq.itch.wire import be16, put_be16, put_be64

SESSION_BYTES = 10
SEQUENCE_AT, COUNT_AT = np.uint64(10), np.uint64(18)
HEADER_BYTES = 20
BLOCKS_AT = np.uint64(HEADER_BYTES)
HEARTBEAT, END_OF_SESSION = 0, 0xFFFF
COUNT_MAX = END_OF_SESSION - 1
_PREFIX = np.uint64(2)
#: A session as two words, as its ten bytes lie in memory: eight, then two.
_TEN_BYTES = np.dtype([("low", "u8"), ("high", "u2")])
PACKET_BYTES_MAX = 1472

#: A packet being filled at ``data`` (address, room for ``capacity`` bytes); ``sequence`` is its first message's.
PACKET = np.dtype(
    [
        ("session_low", "u8"), ("session_high", "u8"), ("sequence", "u8"), ("data", "u8"),
        ("count", "i8"), ("length", "i8"), ("capacity", "i8"), ("_pad", "i8"),
    ],
    align=True,
)  # fmt: skip


def session_words(session: str) -> tuple[int, int]:
    """A session name (at most 10 ASCII characters, padded left with blanks) as the two words used here.

    Raises:
        ValueError: it does not fit.
    """
    if len(session) > SESSION_BYTES or not session.isascii():
        raise ValueError(f"session {session!r} is not at most {SESSION_BYTES} ASCII characters")
    raw = session.encode().rjust(SESSION_BYTES)
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


@jit
def session_of(data):
    """The session of a packet as two words."""
    s = view(data, _TEN_BYTES)
    return s.low, U64(s.high)


@jit
def put_header(target, session_low, session_high, sequence, count):
    """Write a header (or a whole heartbeat, end of session, or request); returns its length."""
    s = view(target, _TEN_BYTES)
    s.low, s.high = session_low, session_high
    put_be64(target + SEQUENCE_AT, sequence)
    put_be16(target + COUNT_AT, U64(count))
    return np.int64(HEADER_BYTES)


@jit
def blocks_length(data, length, count):
    """Bytes that ``count`` message blocks take from ``data``, or -1 if they do not all lie within ``length``."""
    at = np.int64(0)
    for _ in range(count):
        if at + 2 > length:
            return np.int64(-1)
        at += 2 + np.int64(be16(data + U64(at)))
        if at > length:
            return np.int64(-1)
    return at


@jit
def skip_blocks(data, count):
    """Address after ``count`` blocks that are known to be whole."""
    for _ in range(count):
        data += _PREFIX + be16(data)
    return data


@jit
def packet_add(packet, block, length):
    """Append one length-prefixed message; False, and nothing happens, when it does not fit."""
    p = view(packet, PACKET)
    if HEADER_BYTES + p.length + length > p.capacity or p.count >= COUNT_MAX:
        return False
    copy_bytes(p.data + BLOCKS_AT + U64(p.length), block, length)
    p.length += length
    p.count += 1
    return True


@jit
def packet_close(packet):
    """Write the header and move on to the next packet; returns the bytes to send from ``data``.

    Without messages the packet is a heartbeat.
    """
    p = view(packet, PACKET)
    size = put_header(p.data, p.session_low, p.session_high, p.sequence, p.count) + p.length
    p.sequence += U64(p.count)
    p.count, p.length = 0, 0
    return size
