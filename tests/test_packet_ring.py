"""The packet ring: what a frame says, against a slow twin; and a real one on loopback, with its filter."""

import os
import socket
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import aligned

from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.venues.nasdaq.itch.packet_ring import FRAME, PACKETS, interface_of, open_packets, packet_done, packet_next
from hftpipe.venues.nasdaq.itch.sockets import open_sender
from hftpipe.venues.nasdaq.itch.wiring import Lines, itch_layout, join

GROUPS = ["239.255.72.1", "239.255.72.2"]
FRAMES, FRAME_BYTES, IP_AT = 4, 2048, 80
USER, LOSING, NOT_READY, VALID_SUM = 1, 4, 8, 128


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(payload: bytes, group: str = GROUPS[0], port: int = 5000, options: int = 0, **udp: int) -> bytes:
    """An IP packet; ``udp`` overrides the header's ``length`` and ``checksum``."""
    source, target = socket.inet_aton("127.0.0.1"), socket.inet_aton(group)
    length = udp.get("length", 8 + len(payload))
    pseudo = source + target + struct.pack(">BBH", 0, 17, length)
    right = checksum(pseudo + struct.pack(">HHHH", 9, port, length, 0) + payload) or 0xFFFF
    body = struct.pack(">HHHH", 9, port, length, udp.get("checksum", right)) + payload
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45 + options, 0, 20 + 4 * options + len(body), 1, 0, 1, 17, 0, source, target
    )  # fmt: skip
    return ip + b"\1" * 4 * options + body


class Ring:
    """A ring in plain memory that a test fills in the kernel's place."""

    def __init__(self) -> None:
        self.memory, self.state = aligned(FRAMES * FRAME_BYTES), np.zeros(1, PACKETS)
        self.state["frames"], self.state["frame_bytes"], self.state["count"] = (
            self.memory.ctypes.data, FRAME_BYTES, FRAMES,
        )  # fmt: skip
        self.state["groups"][0] = [int.from_bytes(socket.inet_aton(group), "big") for group in GROUPS]
        self.state["ports"][0] = [5000, 5001]
        self.address, self.written = np.uint64(self.state.ctypes.data), 0

    def put(self, ip: bytes, status: int = USER, length: int = 0) -> None:
        at = self.written % FRAMES * FRAME_BYTES
        frame = self.memory[at : at + FRAME.itemsize].view(FRAME)[0]
        assert frame["status"] == 0, "the kernel never overwrites a frame that is not given back"
        self.memory[at + IP_AT : at + IP_AT + len(ip)] = np.frombuffer(ip, np.uint8)
        frame["length"], frame["captured"], frame["network"] = length or len(ip), len(ip), IP_AT
        frame["seconds"], frame["nanoseconds"], frame["status"] = 7, 8, status
        self.written += 1

    def next(self) -> tuple[int, bytes]:
        line = int(packet_next(self.address))
        at = int(self.state["data"][0]) - self.memory.ctypes.data
        return line, bytes(self.memory[at : at + int(self.state["length"][0])]) if line >= 0 else b""

    def done(self) -> None:
        packet_done(self.address)

    def counts(self) -> dict[str, int]:
        names = ("losing", "truncated", "bad_checksum", "malformed")
        return {name: int(self.state[name][0]) for name in names if self.state[name][0]}


def test_frames_come_in_order_round_and_round_and_each_is_given_back():
    ring = Ring()
    for number in range(3 * FRAMES):
        assert ring.next() == (-1, b"")
        ring.put(datagram(b"n%d" % number, GROUPS[number % 2], 5000 + number % 2, options=number % 3))
        assert ring.next() == (number % 2, b"n%d" % number)
        assert ring.next() == (number % 2, b"n%d" % number), "it stays until it is given back"
        ring.done()
        ring.done()
    assert ring.state["kernel_ns"] == 7_000_000_008 and ring.counts() == {}


def test_a_sender_is_its_address_and_its_port():
    ring = Ring()
    ring.put(datagram(b"abc"))
    ring.next()
    assert int(ring.state["sender"][0]) == 0x7F000001 << 16 | 9


def test_a_full_ring_is_read_to_its_end():
    ring = Ring()
    for number in range(FRAMES):
        ring.put(datagram(bytes([number])), USER | (LOSING if number == 2 else 0))
    for number in range(FRAMES):
        assert ring.next() == (0, bytes([number]))
        ring.done()
    assert ring.next()[0] == -1 and ring.counts() == {"losing": 1}


@pytest.mark.parametrize(
    ("ip", "status", "length", "counted"),
    [
        (datagram(b"abc", checksum=0x1234), USER, 0, {"bad_checksum": 1}),
        (datagram(b"abc", length=12), USER | NOT_READY, 0, {"malformed": 1}),
        (datagram(b"abc", length=7), USER | NOT_READY, 0, {"malformed": 1}),
        (datagram(b"abc")[:24], USER | NOT_READY, 0, {"malformed": 1}),
        (datagram(b"abc"), USER | NOT_READY, 5000, {"truncated": 1}),
        (datagram(b"abc", port=5001), USER, 0, {}),
        (datagram(b"abc", "239.255.72.9"), USER, 0, {}),
    ],
    ids=["checksum", "too-long", "too-short", "no-header", "cut-off", "other-port", "other-group"],
)
def test_what_is_no_whole_datagram_of_a_line_is_skipped_and_counted(ip, status, length, counted):
    ring = Ring()
    ring.put(ip, status, length)
    ring.put(datagram(b"good"))
    assert ring.next() == (0, b"good") and ring.counts() == counted


@pytest.mark.parametrize(("status", "field"), [(USER | NOT_READY, 0x1234), (USER | VALID_SUM, 0x1234), (USER, 0)])
def test_a_checksum_is_not_asked_for_where_the_kernel_vouches_or_the_sender_gave_none(status, field):
    ring = Ring()
    ring.put(datagram(b"abc", checksum=field), status)
    assert ring.next() == (0, b"abc")


@given(payload=st.binary(max_size=64), at=st.integers(0, 2**16), flip=st.integers(0, 255), options=st.integers(0, 10))
def test_every_flipped_byte_of_a_datagram_is_noticed_and_no_whole_one_is_refused(payload, at, flip, options):
    whole = datagram(payload, options=options)
    # From the UDP header on, but for the port (another line's, or nobody's), as the checksum covers it.
    start = 24 + 4 * options
    place = start + at % (len(whole) - start)
    damaged = bytearray(whole)
    damaged[place] ^= flip
    ring = Ring()
    ring.put(bytes(damaged))
    # A checksum of 0 says that there is none.
    expected = flip == 0 or not any(damaged[start + 2 : start + 4])
    assert (ring.next()[0] == 0) == expected or damaged[start : start + 2] != whole[start : start + 2]


# A real ring.


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Real:
    """A ring on the loopback interface, and senders of both lines."""

    def __init__(self) -> None:
        self.port, self.state = free_port(), np.zeros(1, PACKETS)
        self.address = np.uint64(self.state.ctypes.data)
        try:
            self.ring = open_packets(self.state, [(group, self.port) for group in GROUPS], "127.0.0.1")
        except PermissionError as error:
            pytest.skip(f"packet sockets are not allowed here: {error}")
        self.senders = [open_sender(group, self.port) for group in GROUPS]

    def raw(self, ip: bytes, group: str = GROUPS[0]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sock.sendto(ip, (group, 0))

    def read(self) -> list[tuple[int, int]]:
        """(line, length) of everything there is."""
        got = []
        while (line := int(packet_next(self.address))) >= 0:
            got.append((line, int(self.state["length"][0])))
            packet_done(self.address)
        return got

    def close(self) -> None:
        for one in (self.ring, *self.senders):
            one.close()


@pytest.fixture
def real():
    made = Real()
    yield made
    made.close()


def test_both_lines_come_in_the_order_sent_and_nothing_else_passes(real):
    others = [open_sender(GROUPS[0], free_port()), open_sender("239.255.72.3", real.port)]
    for sender in others:
        sender.send(b"not ours")
        sender.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unicast:
        unicast.sendto(b"not ours", ("127.0.0.1", real.port))
    for line in (0, 1, 1, 0):
        real.senders[line].send(b"x" * (line + 1))
    assert real.read() == [(0, 1), (1, 2), (1, 2), (0, 1)]


def test_fragments_and_damaged_datagrams_never_become_data(real):
    real.raw(datagram(b"whole", port=real.port))
    fragment = bytearray(datagram(b"first half", port=real.port))
    fragment[6] = 0x20
    real.raw(bytes(fragment))
    real.raw(datagram(b"damaged", port=real.port, checksum=0x1234))
    assert real.read() == [(0, 5)] and real.state["bad_checksum"] == 1


def test_a_reader_that_is_too_slow_loses_the_newest_and_is_told(real):
    count = int(real.state["count"][0])
    for _ in range(count + 100):
        real.senders[0].send(b"tick")
    assert len(real.read()) == count
    real.senders[0].send(b"tick")
    assert len(real.read()) == 1 and real.state["losing"] > 0


def as_nobody(promise: Callable[[], None]) -> bool:
    """Whether ``promise`` holds in a child process without privileges (which can compile nothing any more)."""
    for one in joined("socket", free_port()).sockets:
        one.close()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    try:
        os.setuid(65534)
        promise()
        os._exit(0)
    finally:
        os._exit(1)


def lines(receive: str, port: int) -> Lines:
    return Lines(GROUPS[0], port, GROUPS[1], port, "127.0.0.1", "127.0.0.1", 0, receive=receive)


def joined(receive: str, port: int):
    rows = np.zeros(1, INSTRUMENT)
    rows["symbol"], rows["lot"] = b"TEST", 10**8
    return join(aligned(itch_layout(1, 64).size), rows, 64, lines(receive, port), 0, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give privileges up")
def test_without_the_privilege_auto_reads_sockets_and_says_why_and_packet_ring_refuses():
    def promise() -> None:
        port = free_port()
        feed = joined("auto", port)
        assert feed.facts[0] == "lines read from sockets, packet ring refused: Operation not permitted"
        with pytest.raises(PermissionError):
            joined("packet_ring", free_port())

    assert as_nobody(promise)


def test_with_the_privilege_auto_reads_the_ring(real):
    feed = joined("auto", free_port())
    assert feed.facts == ["lines read from a packet ring"]
    for one in feed.sockets:
        one.close()
    feed = joined("socket", free_port())
    assert any(fact.startswith("line A: SO_RCVBUF") for fact in feed.facts)
    for one in feed.sockets:
        one.close()


def test_an_address_of_no_interface_is_named():
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(OSError, match=r"no interface has the address 203\.0\.113\.9"):
        open_packets(np.zeros(1, PACKETS), [(group, 5000) for group in GROUPS], "203.0.113.9")
