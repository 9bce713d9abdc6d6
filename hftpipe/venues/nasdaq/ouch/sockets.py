"""Sockets of order entry: the system calls that compiled code makes, and the cold code that opens them.

libc is called by name, so a preloaded kernel-bypass stack takes over the sockets.
"""

import ctypes
import errno
import os
import socket
import struct

import numpy as np
from numba import types

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, store_i64
from hftpipe.transport.stream import FLAGS

_sendto = types.ExternalFunction(
    "sendto", types.int64(types.int32, types.uint64, types.uint64, types.int32, types.uint64, types.uint32)
)
_recvfrom = types.ExternalFunction(
    "recvfrom", types.int64(types.int32, types.uint64, types.uint64, types.int32, types.uint64, types.uint64)
)
_socket = types.ExternalFunction("socket", types.int32(types.int32, types.int32, types.int32))
_connect = types.ExternalFunction("connect", types.int32(types.int32, types.uint64, types.uint32))
_accept4 = types.ExternalFunction("accept4", types.int32(types.int32, types.uint64, types.uint64, types.int32))
_setsockopt = types.ExternalFunction(
    "setsockopt", types.int32(types.int32, types.int32, types.int32, types.uint64, types.uint32)
)
_close = types.ExternalFunction("close", types.int32(types.int32))
# A missing symbol would be a crash at the first call.
for _name in (
    "sendto", "recvfrom", "socket", "connect", "accept4", "setsockopt", "close"
):  # fmt: skip
    if not hasattr(ctypes.CDLL(None), _name):
        raise ImportError(f"libc has no {_name}: order entry needs Linux")

_AF_INET, _SOCK_STREAM_NONBLOCK_CLOEXEC, _SOCK_NONBLOCK_CLOEXEC = 2, 1 | 0o2004000, 0o2004000
_IPPROTO_TCP, _TCP_NODELAY = 6, 1
SOCKADDR_BYTES = 16
DEFAULT_BUFFER_BYTES = 4 << 20


@jit
def send_to(fd, data, length, address):
    """One ``sendto`` to the sockaddr_in at ``address``: bytes taken, or -1."""
    return _sendto(np.int32(fd), data, U64(length), np.int32(FLAGS), address, np.uint32(SOCKADDR_BYTES))


@jit
def receive_from(fd, data, capacity, address, size_at):
    """One ``recvfrom``; the sender's sockaddr_in goes to ``address``, ``size_at`` is a spare word. Bytes, or -1."""
    store_i64(size_at, np.int64(SOCKADDR_BYTES))
    return _recvfrom(np.int32(fd), data, U64(capacity), np.int32(FLAGS), address, size_at)


@jit
def set_no_delay(fd, spare):
    """Send small segments at once (TCP_NODELAY); ``spare`` is the address of a word to use."""
    store_i64(spare, np.int64(1))
    _setsockopt(np.int32(fd), np.int32(_IPPROTO_TCP), np.int32(_TCP_NODELAY), spare, np.uint32(4))


@jit
def start_connection(address, spare):
    """A non-blocking stream that has begun to connect to the sockaddr_in at ``address``: its descriptor, or -1."""
    fd = _socket(np.int32(_AF_INET), np.int32(_SOCK_STREAM_NONBLOCK_CLOEXEC), np.int32(0))
    if fd >= 0:
        set_no_delay(np.int64(fd), spare)
        _connect(fd, address, np.uint32(SOCKADDR_BYTES))
    return np.int64(fd)


@jit
def accept_connection(fd, spare):
    """The next connection of a listening socket, non-blocking: its descriptor, or -1."""
    got = _accept4(np.int32(fd), U64(0), U64(0), np.int32(_SOCK_NONBLOCK_CLOEXEC))
    if got >= 0:
        set_no_delay(np.int64(got), spare)
    return np.int64(got)


@jit
def close_socket(fd):
    """Close a descriptor that compiled code owns."""
    _close(np.int32(fd))


def socket_address(address: str, port: int) -> np.ndarray:
    """A ``struct sockaddr_in`` as 16 bytes (uint8).

    Raises:
        ValueError: not an IPv4 address, or a port outside 1..65535.
    """
    try:
        packed = socket.inet_aton(address)
    except OSError as error:
        raise ValueError(f"{address!r} is not an IPv4 address") from error
    if not 0 < port < 65_536:
        raise ValueError(f"port {port} is not in 1..65535")
    return np.frombuffer(struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, packed), np.uint8)


def _named(what: str, address: str, port: int, error: OSError) -> OSError:
    code = error.errno or errno.EINVAL
    return OSError(code, f"{what} {address}:{port}: {os.strerror(code)}")


def open_udp(server: str, port: int, interface: str = "0.0.0.0") -> socket.socket:
    """A non-blocking UDP socket connected to the venue; the caller closes it.

    Raises:
        OSError: refused by the system; names the venue.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEFAULT_BUFFER_BYTES)
        sock.bind((interface, 0))
        sock.connect((server, port))
    except OSError as error:
        sock.close()
        raise _named("cannot reach the order port", server, port, error) from error
    return sock


def bind_udp(address: str, port: int) -> socket.socket:
    """A non-blocking UDP socket that serves ``address``:``port`` (0: any free port).

    Raises:
        OSError: refused by the system; names the address.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEFAULT_BUFFER_BYTES)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise _named("cannot serve", address, port, error) from error
    return sock


def listen_tcp(address: str, port: int) -> socket.socket:
    """A non-blocking listening socket on ``address``:``port`` (0: any free port).

    Raises:
        OSError: refused by the system; names the address.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(8)
    except OSError as error:
        sock.close()
        raise _named("cannot listen on", address, port, error) from error
    return sock
