"""Both lines in a ring of packets that the kernel fills: a datagram costs no system call, and neither does looking for one.

::

    interface ─ filter: UDP to the two groups ─▶ frame | frame | frame | ...  (mapped) ─▶ line, address and length of payload

A socket asked in vain costs as much as decoding a few messages, and one that has something costs a call and a copy; of a
frame only the status word is looked at, and its payload is decoded where it lies. What the kernel does above this level is
done here: datagrams in fragments and those of others never pass the filter, lengths are checked against what was captured,
and the checksum is verified unless the kernel vouches for it. A frame goes back to the kernel with :func:`packet_done`;
when none is free, packets are lost and counted by the kernel, and the feed sees a gap.

Needs CAP_NET_RAW. A multicast sender on this machine is seen only on the loopback interface. Source: packet_mmap.rst of
the Linux documentation, TPACKET_V2; filter in classic BPF.
"""

import errno
import mmap
import os
import socket
import struct
from dataclasses import dataclass, field

import numpy as np
import psutil

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_acquire, load_u8, store_release, view
from hftpipe.venues.nasdaq.itch.election import sender_of
from hftpipe.venues.nasdaq.itch.wire import be16, be32

PACKETS = np.dtype(
    [
        # Wiring: the frames, and each line's group and port.
        ("frames", "u8"), ("frame_bytes", "u8"), ("count", "u8"), ("groups", "u8", 2), ("ports", "u8", 2),
        # Position: next frame, and whether it has been given out and not back yet.
        ("next", "u8"), ("is_out", "i8"),
        # The datagram given out: its payload, its sender (election.py), and when the kernel received it (ns).
        ("data", "u8"), ("length", "i8"), ("sender", "u8"), ("kernel_ns", "i8"),
        # Frames behind which the kernel had to drop some; datagrams cut off, damaged, or with lengths that do not fit.
        ("losing", "i8"), ("truncated", "i8"), ("bad_checksum", "i8"), ("malformed", "i8"),
    ],
    align=True,
)  # fmt: skip
#: struct tpacket2_hdr: ``network`` is where the IP header begins.
FRAME = np.dtype(
    [
        ("status", "u4"), ("length", "u4"), ("captured", "u4"), ("link", "u2"), ("network", "u2"),
        ("seconds", "u4"), ("nanoseconds", "u4"), ("_vlan", "u4"), ("_pad", "u4"),
    ]
)  # fmt: skip
_USER, _LOSING, _VOUCHED = 1, 1 << 2, 1 << 3 | 1 << 7
_UDP_HEADER = 8
_MAX_SKIPPED = 64

_SOL_PACKET, _RX_RING, _VERSION, _IGNORE_OUTGOING = 263, 5, 10, 23
_TPACKET_V2, _ETH_P_IP, _SO_ATTACH_FILTER = 1, 0x0800, 26
#: 16 MiB: 8,192 packets of up to 1.9 kB, about what the buffers of two sockets hold.
_FRAME_BYTES, _BLOCK_BYTES, _BLOCKS = 2048, 1 << 17, 128


@jit
def _checksum_holds(ip, udp, length):
    """The UDP checksum (RFC 768): ones' complement sum over pseudo header and datagram; 0 in the field means none."""
    if be16(udp + U64(6)) == ZERO:
        return True
    total = be32(ip + U64(12)) + be32(ip + U64(16)) + U64(17) + U64(length)
    for at in range(0, length - 1, 2):
        total += be16(udp + U64(at))
    if length & 1:
        total += U64(load_u8(udp + U64(length - 1))) << U64(8)
    for _ in range(3):
        total = (total & U64(0xFFFF)) + (total >> U64(16))
    return total == U64(0xFFFF)


@jit
def _line_of(p, ip, udp):
    group, port = be32(ip + U64(16)), be16(udp + U64(2))
    for line in range(2):
        if p.groups[line] == group and p.ports[line] == port:
            return np.int64(line)
    return np.int64(-1)


@jit
def _open_frame(packets, frame):
    """The line of a filled frame, with ``data`` and ``length`` set; -1 (counted) if it is no datagram of ours."""
    p, f = view(packets, PACKETS), view(frame, FRAME)
    if f.status & _LOSING:
        p.losing += 1
    ip = frame + U64(f.network)
    header = np.int64(load_u8(ip) & 15) << 2
    udp, captured = ip + U64(header), np.int64(f.captured) - header
    if captured < _UDP_HEADER:
        p.malformed += 1
        return np.int64(-1)
    length = np.int64(be16(udp + U64(4)))
    if f.captured < f.length or length < _UDP_HEADER or length > captured:
        p.truncated += f.captured < f.length
        p.malformed += f.captured >= f.length
        return np.int64(-1)
    if f.status & _VOUCHED == 0 and not _checksum_holds(ip, udp, length):
        p.bad_checksum += 1
        return np.int64(-1)
    p.data, p.length, p.sender = udp + U64(_UDP_HEADER), length - _UDP_HEADER, sender_of(be32(ip + U64(12)), be16(udp))
    p.kernel_ns = np.int64(f.seconds) * 1_000_000_000 + np.int64(f.nanoseconds)
    return _line_of(p, ip, udp)


@jit
def packet_done(packets):
    """Give the datagram of the last :func:`packet_next` back; nothing if there is none."""
    p = view(packets, PACKETS)
    if p.is_out == 0:
        return
    p.is_out = 0
    store_release(p.frames + p.next * p.frame_bytes, ZERO)
    p.next = p.next + ONE if p.next + ONE < p.count else ZERO


@jit
def packet_next(packets):
    """The line (0 or 1) of the next datagram, at ``data`` until :func:`packet_done`; -1 if there is none."""
    p = view(packets, PACKETS)
    for _ in range(_MAX_SKIPPED):
        frame = p.frames + p.next * p.frame_bytes
        if load_acquire(frame) & U64(_USER) == ZERO:
            break
        p.is_out = 1
        line = _open_frame(packets, frame)
        if line >= 0:
            return line
        packet_done(packets)
    return np.int64(-1)


# Cold code: opening.


@dataclass
class PacketRing:
    """An open ring; close it when done.

    Attributes:
        memory: the mapped frames; sockets: what must stay open, the packet socket first.
    """

    memory: mmap.mmap
    sockets: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        # The mapping holds a descriptor of its own.
        self.memory.close()
        for sock in self.sockets:
            sock.close()


def interface_of(address: str) -> str:
    """Name of the network interface that has ``address``.

    Raises:
        OSError: none has.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family == socket.AF_INET and one.address == address for one in addresses):
            return name
    raise OSError(errno.EADDRNOTAVAIL, f"no interface has the address {address}")


def _filter(groups: list[tuple[str, int]]) -> bytes:
    """A classic BPF program: UDP, no fragment, to one of ``groups`` (address, port); everything else is dropped."""
    byte, half, word, half_at_x, ip_header_to_x, if_equal, if_bits, give = (
        0x30,
        0x28,
        0x20,
        0x48,
        0xB1,
        0x15,
        0x45,
        0x06,
    )
    drop = 4 + 5 * len(groups)
    program = [(byte, 0, 0, 9), (if_equal, 0, drop - 2, 17), (half, 0, 0, 6), (if_bits, drop - 4, 0, 0x3FFF)]
    for group, port in groups:
        address, at = int.from_bytes(socket.inet_aton(group), "big"), len(program)
        program += [
            (word, 0, 0, 16), (if_equal, 0, 3, address),
            (ip_header_to_x, 0, 0, 0), (half_at_x, 0, 0, 2), (if_equal, drop - at - 4, 0, port),
        ]  # fmt: skip
    program += [(give, 0, 0, 0), (give, 0, 0, 0xFFFF)]
    return b"".join(struct.pack("HBBI", *one) for one in program)


def _attach(sock: socket.socket, program: bytes) -> None:
    code = np.frombuffer(program, np.uint8)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", len(program) // 8, code.ctypes.data))


def _member(group: str, interface: str) -> socket.socket:
    """A socket that only keeps this host in the group."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        membership = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot join on {interface} the group {group}: {os.strerror(error.errno or 0)}"
        ) from error
    return sock


def open_packets(memory: np.ndarray, groups: list[tuple[str, int]], interface: str) -> PacketRing:
    """Open a ring for two lines.

    Args:
        memory: PACKETS array of length 1, where the wiring goes.
        groups: address and port of line A, then B; interface: address of the interface to join on.

    Raises:
        OSError: not allowed (CAP_NET_RAW), no such interface, or a group that cannot be joined.
    """
    name, frames = interface_of(interface), _BLOCKS * _BLOCK_BYTES // _FRAME_BYTES
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
        sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        sock.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("IIII", _BLOCK_BYTES, _BLOCKS, _FRAME_BYTES, frames))
        ring = PacketRing(mmap.mmap(sock.fileno(), _BLOCKS * _BLOCK_BYTES), [sock])
    except OSError:
        sock.close()
        raise
    try:
        # Filtered first, bound second: nothing of others' is ever in the ring.
        _attach(sock, _filter(groups))
        sock.bind((name, _ETH_P_IP))
        for group, _ in groups:
            ring.sockets.append(_member(group, interface))
    except OSError:
        ring.close()
        raise
    memory["frames"], memory["frame_bytes"] = np.frombuffer(ring.memory, np.uint8).ctypes.data, _FRAME_BYTES
    memory["count"], memory["ports"][0] = frames, [port for _, port in groups]
    memory["groups"][0] = [int.from_bytes(socket.inet_aton(group), "big") for group, _ in groups]
    return ring
