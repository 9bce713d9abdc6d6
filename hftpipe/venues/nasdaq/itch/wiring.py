"""Memory and sockets of the ITCH feed: how much, how it starts, and what it joins.

One region holds arbiter, feed (order table and books), receiver and the array of records that the receive loop fills.
"""

import os
import socket
from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.jit import entry
from hftpipe.core.schema.layout import LINE_PAIR, Content, Layout, lay_out
from hftpipe.core.schema.records import RECORD
from hftpipe.core.trading.books import Levels
from hftpipe.venues.nasdaq.itch.arbiter_state import arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_bytes, feed_init, out_room
from hftpipe.venues.nasdaq.itch.packet_ring import PACKETS, PacketRing, open_packets
from hftpipe.venues.nasdaq.itch.receive import receive_step, receiver_bytes, receiver_init
from hftpipe.venues.nasdaq.itch.sockets import open_line, open_request

AUTO, PACKET_RING, SOCKET = RECEIVE_WAYS = ("auto", "packet_ring", "socket")
Closable = socket.socket | PacketRing
#: Resting orders kept: three quarters of this.
ORDER_SLOTS = 1 << 17


@entry("int64(uint64, int64)")
def receive_entry(receiver, now_ns):
    return receive_step(receiver, now_ns)


@dataclass(frozen=True)
class Lines:
    """Where the market data is.

    Attributes:
        group_a, port_a, group_b, port_b: the multicast lines; interface: address of the interface to join on.
        request_address, request_port: the re-request server (port 0: there is none).
        busy_poll_us: SO_BUSY_POLL for the lines, 0 leaves it alone.
        receive: one of RECEIVE_WAYS; ``auto`` is a packet ring where that is allowed.
        kernel_stamps: whether to note when the kernel received each datagram.
        max_datagrams: most datagrams read in one step; 1 where other stages of the same process wait for the step's end.
    """

    group_a: str
    port_a: int
    group_b: str
    port_b: int
    interface: str
    request_address: str
    request_port: int
    busy_poll_us: int = 0
    receive: str = AUTO
    kernel_stamps: bool = False
    max_datagrams: int = 64


@dataclass
class Joined:
    """An ITCH feed ready to be received.

    Attributes:
        receiver, out, books: addresses of the RECEIVER, its record array, and the table of books.
        sockets: kept open for as long as this lives.
        facts: how the lines are read, and what the system granted and refused, as text.
    """

    receiver: int
    out: int
    books: int
    sockets: list[Closable]
    facts: list[str]


def out_records(n_instruments: int) -> int:
    """Records of the receive loop's array: what one message may write, twice."""
    return 2 * out_room(n_instruments)


def itch_layout(n_instruments: int, levels: Levels) -> Layout:
    """Memory of the feed; ``levels`` price levels a side of each book, one number or int64[n]."""
    parts: dict[str, Content] = {
        "arbiter": arbiter_bytes(),
        "feed": feed_bytes(n_instruments, ORDER_SLOTS, levels),
        "receiver": receiver_bytes(),
        "out": (RECORD, out_records(n_instruments)),
        "packets": (PACKETS, 1),
    }
    return lay_out(parts, LINE_PAIR)


def join(
    memory: np.ndarray,
    instruments: np.ndarray,
    levels: Levels,
    lines: Lines,
    midnight_ns: int,
    sink: int,
    sink_state: int,
    h_kernel: int = 0,
    clock: int = 0,
    time: int = 0,
) -> Joined:
    """Lay out the feed in ``memory`` (uint8 array, as of :func:`itch_layout`) and join its lines.

    Args:
        midnight_ns: the session's midnight on the clock that ``exchange_ts`` shall show.
        sink, sink_state: C function ``int64 f(uint64 state, int64 count)`` for the records, and its state.
        h_kernel, clock: addresses of a histogram and a CLOCK, needed with ``kernel_stamps``.
        time: address of an EVENT_TIME to keep up to date, or 0.

    Raises:
        OSError: a group or port that cannot be had, by name. ValueError: an instrument the wire cannot carry.
    """
    layout = itch_layout(len(instruments), levels)
    parts = {name: layout.view(memory, name) for name in layout.parts}
    ways, sockets, facts = _open_lines(lines, parts["packets"])
    if lines.request_port:
        request = open_request(lines.request_address, lines.request_port, interface=lines.interface)
        sockets.append(request.socket)
        facts += [f"re-requests: {fact}" for fact in request.facts]
        ways["retransmit"] = request.socket.fileno()
    arbiter_init(parts["arbiter"])
    feed_init(parts["feed"], instruments, ORDER_SLOTS, levels, midnight_ns)
    receiver_init(
        parts["receiver"], parts["arbiter"].ctypes.data, parts["feed"].ctypes.data, parts["out"], **ways,
        max_datagrams=lines.max_datagrams, sink=sink, sink_state=sink_state,
        h_kernel=h_kernel if lines.kernel_stamps else 0, clock=clock, time=time,
    )  # fmt: skip
    feed = parts["feed"][: FEED.itemsize].view(FEED)
    receiver = parts["receiver"].ctypes.data
    return Joined(receiver, parts["out"].ctypes.data, int(feed["books"][0]), sockets, facts)


def _open_lines(lines: Lines, packets: np.ndarray) -> tuple[dict[str, int], list[Closable], list[str]]:
    """Open the lines as asked for: arguments of :func:`receiver_init`, what must stay open, and what is to be said."""
    facts: list[str] = []
    if lines.receive == AUTO and os.environ.get("LD_PRELOAD"):
        facts.append(
            "lines read from sockets: LD_PRELOAD is set, and a kernel-bypass library does not see a packet ring"
        )
    elif lines.receive != SOCKET:
        try:
            ring = open_packets(
                packets,
                [(lines.group_a, lines.port_a), (lines.group_b, lines.port_b)],
                lines.interface,
            )
            return {"packets": packets.ctypes.data}, [ring], ["lines read from a packet ring"]
        except OSError as error:
            if lines.receive == PACKET_RING:
                raise
            facts.append(f"lines read from sockets, packet ring refused: {error.strerror}")
    opened = [
        open_line(
            group, port, interface=lines.interface, busy_poll_us=lines.busy_poll_us, timestamps=lines.kernel_stamps
        )
        for group, port in ((lines.group_a, lines.port_a), (lines.group_b, lines.port_b))
    ]
    facts += [f"line {name}: {fact}" for name, line in zip("AB", opened, strict=True) for fact in line.facts]
    a, b = (line.socket for line in opened)
    return {"line_a": a.fileno(), "line_b": b.fileno()}, [a, b], facts
