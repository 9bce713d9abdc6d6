"""The lines of the feed campaign: impaired datagrams, some of them damaged, onto socket pairs that the feed reads.

The receive loop under test is the product's own, system calls included; a pair of local datagram sockets loses and
reorders nothing, so a run is what its seed says.
"""

import ctypes
import random
import socket
from dataclasses import dataclass

import numpy as np

from hftpipe.core.schema.layout import aligned
from hftpipe.simulation.exchange_server.impair import (
    IMPAIR,
    Impairment,
    impair_bytes,
    impair_init,
    impair_next,
    impair_put,
)
from hftpipe.simulation.exchange_server.retransmit import store_answer
from hftpipe.simulation.feed_campaign.plan import STRAYS, FeedPlan
from hftpipe.venues.nasdaq.itch.mold import COUNT_AT, END_OF_SESSION, HEADER_BYTES, PACKET_BYTES_MAX, SEQUENCE_AT
from hftpipe.venues.nasdaq.itch.receive import DATAGRAM_BYTES

LINE_A, LINE_B, REQUESTS, ANSWERS = 0, 1, 2, 3
#: What the receive loop reads: line A, line B, answers.
SOCKETS = (LINE_A, LINE_B, ANSWERS)
#: Sessions that the exchange never opens.
_OTHERS = (b"     OTHER", b"        S0", b"TEST000001")
#: How far ahead of the true one a stray under the session's own name is.
_FAR = (20_000, 1 << 17, 1 << 50)


@dataclass(frozen=True)
class Heard:
    """What a whole datagram says: the session's words, and the first and one past the last message."""

    session: tuple[int, int]
    first: int
    end: int


def heard(data: bytes) -> Heard:
    """Read the header of a whole MoldUDP64 packet."""
    at, end = int(SEQUENCE_AT), int(COUNT_AT)
    first, count = int.from_bytes(data[at:end], "big"), int.from_bytes(data[end : end + 2], "big")
    words = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:10], "little")
    return Heard(words, first, first + (0 if count == END_OF_SESSION else count))


class Lines:
    """Four impaired lines, and the sockets behind three of them.

    Attributes:
        ours: the feed's ends, in the order of ``SOCKETS``; sent: damaged datagrams by kind.
        strays_left: how many strays may come before the feed looks again: never as many as make a session.
    """

    def __init__(self, plan: FeedPlan) -> None:
        self.plan, self.rng = plan, random.Random(plan.seed ^ 0xBAD)
        self._impairs = [aligned(impair_bytes()) for _ in plan.lines]
        self.impair(plan.lines)
        self.addresses = [np.uint64(memory.ctypes.data) for memory in self._impairs]
        self.ours, self._theirs = [], []
        for _ in SOCKETS:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.setblocking(False)
            theirs.setblocking(False)
            self.ours.append(ours)
            self._theirs.append(theirs)
        self._out, self.strays_left = aligned(PACKET_BYTES_MAX), 1
        self.sent: dict[str, int] = {}

    def close(self) -> None:
        """Close the sockets."""
        for each in (*self.ours, *self._theirs):
            each.close()

    def impair(self, impairments: tuple[Impairment, ...]) -> None:
        """Make the lines so bad; what is on its way is lost."""
        for index, each in enumerate(impairments):
            impair_init(self._impairs[index], each, self.plan.seed * 1_000_003 + index)
            # The publisher would send past a clean line to a socket it does not have.
            self._impairs[index][: IMPAIR.itemsize].view(IMPAIR)["clean"] = 0

    def impaired(self, line: int) -> np.void:
        """The IMPAIR of a line."""
        impair: np.void = self._impairs[line][: IMPAIR.itemsize].view(IMPAIR)[0]
        return impair

    def put(self, line: int, data: bytes, now_ns: int) -> None:
        """Send a datagram into a line."""
        text = np.frombuffer(data, np.uint8)
        impair_put(self.addresses[line], np.uint64(text.ctypes.data), np.int64(len(data)), np.int64(now_ns))

    def arrived(self, line: int, now_ns: int) -> bytes | None:
        """The next datagram that has come through a line."""
        at = int(impair_next(self.addresses[line], np.int64(now_ns)))
        return ctypes.string_at(at, int(self.impaired(line)["length"])) if at else None

    def serve(self, store: np.uint64, now_ns: int) -> None:
        """Carry the feed's requests to the server, and its answers back onto their line."""
        requests = self._theirs[-1]
        while True:
            try:
                self.put(REQUESTS, requests.recv(HEADER_BYTES), now_ns)
            except BlockingIOError:
                break
        while (request := self.arrived(REQUESTS, now_ns)) is not None:
            text = np.frombuffer(request, np.uint8)
            at, out = np.uint64(text.ctypes.data), np.uint64(self._out.ctypes.data)
            size = int(store_answer(store, at, np.int64(len(request)), out))
            if size:
                self.put(ANSWERS, self._out[:size].tobytes(), now_ns)

    def deliver(self, socket_index: int, data: bytes) -> None:
        """Put a datagram where the feed reads it."""
        self._theirs[socket_index].send(data)

    def damaged(self, socket_index: int, data: bytes) -> list[tuple[bytes, bool]]:
        """What becomes of a datagram on its last yard: datagrams, and whether each is whole."""
        result = [(data, True)]
        for name, chance in self.plan.damages.items():
            if self.rng.random() >= chance or (name in STRAYS and not self.strays_left):
                continue
            self.sent[name] = self.sent.get(name, 0) + 1
            self.strays_left -= name in STRAYS
            result = self._damage(name, data, result)
        return result

    def _damage(self, name: str, data: bytes, result: list[tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
        rng = self.rng
        if name == "cut":
            return [(data[: rng.randrange(len(data))], False)]
        if name == "trailing":
            return [(data + rng.randbytes(rng.choice((1, 40, 3_000))), True)]
        if name == "huge":
            return [(data.ljust(DATAGRAM_BYTES + 1, b"\xff"), False)]
        if name == "noise":
            return [(rng.randbytes(rng.randrange(200)), False), *result]
        if name == "stray":
            return [(self._stray(), False), *result]
        if name == "far":
            at = int.from_bytes(data[10:18], "big") + rng.choice(_FAR)
            return [(data[:10] + at.to_bytes(8, "big") + data[18:], False), *result]
        # A sequence of 0 or past the limit, or more messages than there are.
        sequence = rng.choice((0, 1 << 63, 2**64 - 1))
        bad = data[:10] + sequence.to_bytes(8, "big") + data[18:]
        more = data[:18] + (len(data)).to_bytes(2, "big") + data[20:]
        return [(rng.choice((bad, more)), False), *result]

    def _stray(self) -> bytes:
        """A packet of another session: of its beginning, or from anywhere in it, with messages or without."""
        first = self.rng.choice((1, 1, 2, 77, self.rng.randrange(1, 1 << 40)))
        count = self.rng.choice((0, 0, 1, 3))
        body = (5).to_bytes(2, "big") + b"stray"
        return self.rng.choice(_OTHERS) + first.to_bytes(8, "big") + count.to_bytes(2, "big") + count * body
