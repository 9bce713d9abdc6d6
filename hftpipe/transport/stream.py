"""A connected stream socket from compiled code: one ``recv`` or ``send`` that never waits.

libc is called by name, so a preloaded kernel-bypass stack takes over the sockets.
"""

import ctypes
import errno

import numpy as np
from numba import types

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64

_send = types.ExternalFunction("send", types.int64(types.int32, types.uint64, types.uint64, types.int32))
_recv = types.ExternalFunction("recv", types.int64(types.int32, types.uint64, types.uint64, types.int32))
# A missing symbol would be a crash at the first call.
for _name in ("send", "recv"):
    if not hasattr(ctypes.CDLL(None), _name):
        raise ImportError(f"libc has no {_name}: sockets need Linux")

EAGAIN, EINTR = errno.EAGAIN, errno.EINTR
#: MSG_DONTWAIT | MSG_NOSIGNAL: never wait, and no SIGPIPE from a closed stream.
FLAGS = 0x4040


@jit
def send_bytes(fd, data, length):
    """One ``send`` on a connected socket, never waiting: bytes taken, or -1."""
    return _send(np.int32(fd), data, U64(length), np.int32(FLAGS))


@jit
def receive_bytes(fd, data, capacity):
    """One ``recv``, never waiting: bytes read, 0 at the end of a stream, or -1."""
    return _recv(np.int32(fd), data, U64(capacity), np.int32(FLAGS))
