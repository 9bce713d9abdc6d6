"""Datagrams of the UDP order session (:mod:`hftpipe.venues.nasdaq.ouch.session`): their layout, and reading them.

::

    offset bytes field                       kinds
    0      4     magic "HOS1"                DATA       one or more messages
    4      4     session, chosen by client   HEARTBEAT  nothing but the acknowledgement
    8      8     sequence of first message   LOGIN      client: user (6), password (10), cancel after (2, ms)
    16     8     next sequence wanted (ack)  ACCEPT     venue: logged in
    24     1     kind                        REJECT     venue: no such user or session, or the account is in use
    25     1     0                           END        venue: the day is over; client: logs out
    26     2     message count
    28           blocks: length (2), text
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_u8
from hftpipe.venues.nasdaq.itch.wire import be16, be32

DATA, HEARTBEAT, LOGIN, ACCEPT, REJECT, END = 1, 2, 3, 4, 5, 6
MAGIC = int.from_bytes(b"HOS1", "big")
HEADER_BYTES, CREDENTIAL_BYTES, LOGIN_BYTES = 28, 16, 18
SESSION_AT, SEQ_AT, ACK_AT, KIND_AT, COUNT_AT, BLOCKS_AT = (np.uint64(n) for n in (4, 8, 16, 24, 26, HEADER_BYTES))
#: In the text of a LOGIN.
CANCEL_AFTER_AT = np.uint64(CREDENTIAL_BYTES)


@jit
def session_number(data, length):
    """The session number of a datagram that has a whole header of ours; 0 for any other."""
    if length < HEADER_BYTES or be32(data) != U64(MAGIC):
        return ZERO
    return be32(data + SESSION_AT)


@jit
def session_kind(data):
    """The kind of a datagram for which :func:`session_number` is not 0."""
    return np.int64(load_u8(data + KIND_AT))


@jit
def session_login_text(data, length):
    """Address of user and password of a LOGIN (LOGIN_BYTES with what else it says), 0 if it has none."""
    whole = length >= HEADER_BYTES + 2 + LOGIN_BYTES and be16(data + BLOCKS_AT) == U64(LOGIN_BYTES)
    return data + BLOCKS_AT + U64(2) if whole and session_kind(data) == LOGIN else ZERO


@jit
def login_cancel_after_ns(text):
    """After how long a silence the client of a LOGIN wants its orders cancelled, 0: never."""
    return np.int64(be16(text + CANCEL_AFTER_AT)) * 1_000_000


@jit
def blocks_whole(data, length):
    """Whether the blocks of a datagram end exactly at its end."""
    at = np.int64(HEADER_BYTES)
    for _ in range(np.int64(be16(data + COUNT_AT))):
        if at + 2 > length:
            return False
        at += 2 + np.int64(be16(data + U64(at)))
        if at > length:
            return False
    return at == length
