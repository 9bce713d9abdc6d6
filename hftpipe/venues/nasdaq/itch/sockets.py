"""Opening the sockets of a feed: multicast lines, their senders, the re-request socket. Cold code.

What the kernel is asked for beyond the necessary (large buffer, busy polling, kernel time stamps) may be refused;
each attempt is reported as one line of text, so that a run can say what it had.
"""

import errno
import os
import socket
import struct
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
DEFAULT_BUFFER_BYTES = 8 << 20
# Linux numbers that the socket module does not name.
SO_BUSY_POLL = 46
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
SOCKADDR_BYTES = 16


class Opened(NamedTuple):
    """A socket and what was tried on it.

    Attributes:
        socket: non-blocking UDP socket; the caller closes it.
        facts: one line for each optional setting, such as "SO_BUSY_POLL refused: Operation not permitted".
    """

    socket: socket.socket
    facts: list[str]


def _named(what: str, address: str, port: int, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    return OSError(error.errno or errno.EINVAL, f"{what} {address}:{port}: {reason}")


def _check(group: str, port: int, interface: str) -> None:
    for name, text in (("group", group), ("interface", interface)):
        try:
            socket.inet_aton(text)
        except OSError as error:
            raise ValueError(f"{name} {text!r} is not an IPv4 address") from error
    if not 224 <= int(group.split(".")[0]) <= 239:
        raise ValueError(f"group {group} is not a multicast address (224.0.0.0 to 239.255.255.255)")
    if not 0 < port < 65_536:
        raise ValueError(f"port {port} of group {group} is not in 1..65535")


def _try(sock: socket.socket, name: str, option: int, value: int, facts: list[str]) -> bool:
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError as error:
        facts.append(f"{name} refused: {os.strerror(error.errno or errno.EINVAL)}")
        return False
    facts.append(f"{name} {value}")
    return True


def _set_buffer(sock: socket.socket, wanted: int, facts: list[str]) -> None:
    """Ask for the buffer, past the system limit where that is allowed, and say what there is now."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    # The kernel doubles the value for its own bookkeeping and reports the double.
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    short = f" (asked for {wanted}: raise net.core.rmem_max)" if granted < wanted else ""
    facts.append(f"SO_RCVBUF {granted}{short}")


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


def open_line(
    group: str,
    port: int,
    *,
    interface: str = LOOPBACK,
    buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    busy_poll_us: int = 0,
    timestamps: bool = False,
) -> Opened:
    """Join one multicast line.

    Args:
        group: its multicast address; port: its UDP port; interface: address of the interface to join on.
        buffer_bytes: receive buffer to ask for.
        busy_poll_us: SO_BUSY_POLL, 0 leaves it alone; timestamps: ask for kernel receive stamps (SO_TIMESTAMPNS).

    Raises:
        ValueError: an address or port that cannot be a line.
        OSError: the group cannot be bound or joined; names group and port.
    """
    _check(group, port, interface)
    sock, facts = _udp(), list[str]()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound to the group, not to any address: another group on the same port stays out.
        sock.bind((group, port))
        membership = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        _set_buffer(sock, buffer_bytes, facts)
    except OSError as error:
        sock.close()
        raise _named(f"cannot join on {interface} the group", group, port, error) from error
    if busy_poll_us > 0:
        _try(sock, "SO_BUSY_POLL", SO_BUSY_POLL, busy_poll_us, facts)
    if timestamps:
        _try(sock, "SO_TIMESTAMPNS", SO_TIMESTAMPNS, 1, facts)
    return Opened(sock, facts)


def claim_line(group: str, port: int) -> socket.socket:
    """Become the only exchange of this machine that speaks on a line, for as long as the returned socket is open.

    Receivers cannot tell exchanges apart before they have followed one of them. A multicast group may have any number of
    senders; a name of the kernel's (abstract, so that nothing of it stays behind) has one owner.

    Raises:
        OSError: EADDRINUSE, another one speaks there; names the line.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(f"\0hftpipe line {group}:{port}")
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        what = f"line {group}:{port}: another exchange on this machine speaks there (--port-a, --port-b: other ports)"
        raise OSError(errno.EADDRINUSE, what) from error
    return sock


def free_port(group: str) -> int:
    """A UDP port that nobody on this machine receives a group on.

    Raises:
        OSError: there is none.
    """
    with _udp() as sock:
        sock.bind((group, 0))
        return int(sock.getsockname()[1])


def open_sender(group: str, port: int, *, interface: str = LOOPBACK, ttl: int = 0) -> socket.socket:
    """A socket connected to a group, for a simulated venue: looped back, and with ``ttl`` 0 never off this machine.

    Raises:
        ValueError: an address or port that cannot be a line; OSError: refused by the system, with group and port.
    """
    _check(group, port, interface)
    sock = _udp()
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        sock.connect((group, port))
    except OSError as error:
        sock.close()
        raise _named("cannot send to the group", group, port, error) from error
    return sock


def open_request(
    server: str, port: int, *, interface: str = LOOPBACK, buffer_bytes: int = DEFAULT_BUFFER_BYTES
) -> Opened:
    """The socket that re-requests go out from and their answers come back to, connected to the server.

    Raises:
        OSError: refused by the system; names server and port.
    """
    sock, facts = _udp(), list[str]()
    try:
        sock.bind((interface, 0))
        sock.connect((server, port))
        _set_buffer(sock, buffer_bytes, facts)
    except OSError as error:
        sock.close()
        raise _named("cannot reach the re-request server", server, port, error) from error
    return Opened(sock, facts)


def socket_address(address: str, port: int) -> bytes:
    """A ``struct sockaddr_in`` for :func:`sendto`."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(address))
