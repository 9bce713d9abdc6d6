"""Decryption in compiled code: our own ``recv``, its bytes into OpenSSL's memory, plain text out of it.

OpenSSL's functions are called by address (:mod:`hftpipe.transport.tls.openssl`). One thread reads and writes a connection.
"""

import numpy as np

from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_words, rdtsc, view
from hftpipe.transport.stream import EAGAIN, EINTR, receive_bytes

TLS = np.dtype(
    [
        # SSL*, the memory BIO it reads from; functions of OpenSSL.
        ("ssl", "u8"), ("bio", "u8"), ("read", "u8"), ("write", "u8"), ("error", "u8"), ("bio_write", "u8"), ("clear", "u8"),
        # Cipher text as it came; whether OpenSSL may still hold plain text of what it was given.
        ("cipher", "u8"), ("cipher_bytes", "i8"), ("pending", "i8"),
        # Time-stamp counter when the socket last gave any.
        ("stamp", "u8"),
    ],
    align=True,
)  # fmt: skip
#: Of SSL_get_error.
_WANT_READ, _CLOSED = np.int64(2), np.int64(6)
_LOW = np.int64(0xFFFFFFFF)
_SIGN = np.int64(0x80000000)
_INT = np.int64(1 << 32)


@jit
def _int(value):
    """A C ``int`` from the register that it was returned in."""
    low = value & _LOW
    return low - _INT if low & _SIGN else low


@jit
def _decrypt(t, target, room):
    """What OpenSSL can make of the cipher text it has: as :func:`tls_receive`."""
    total = np.int64(0)
    while total < room:
        taken = _int(call_words(t.read, (t.ssl, target + U64(total), U64(room - total))))
        if taken <= 0:
            t.pending = 0
            error = _int(call_words(t.error, (t.ssl, U64(taken & _LOW))))
            if error == _WANT_READ:
                return total, np.int64(0)
            return total, np.int64(-1) if error == _CLOSED else error
        total += taken
    t.pending = 1
    return total, np.int64(0)


@jit
def tls_receive(tls, fd, target, room):
    """Plain text to ``target``, at most ``room`` bytes: ``(bytes, problem)``.

    problem: 0: none; -1: the other side has closed; above 0: SSL_get_error's answer, or 1000 and the errno of the socket.
    """
    t = view(tls, TLS)
    # What another use of this thread has left in the queue of errors would be taken for ours.
    call_words(t.clear, (t.ssl,))
    if t.pending != 0:
        return _decrypt(t, target, room)
    got = receive_bytes(fd, t.cipher, t.cipher_bytes)
    if got <= 0:
        if got == 0:
            return np.int64(0), np.int64(-1)
        reason = last_errno()
        return np.int64(0), np.int64(0) if reason in (EAGAIN, EINTR) else np.int64(1000) + reason
    t.stamp = rdtsc()
    if _int(call_words(t.bio_write, (t.bio, t.cipher, U64(got)))) != got:
        return np.int64(0), np.int64(1)
    return _decrypt(t, target, room)


@jit
def tls_send(tls, data, length):
    """Encrypt and send: ``length``, or what is not above 0 if the socket did not take it."""
    t = view(tls, TLS)
    call_words(t.clear, (t.ssl,))
    return _int(call_words(t.write, (t.ssl, data, U64(length))))
