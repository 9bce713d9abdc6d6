"""A WebSocket connection as compiled code reads it: whatever the network cuts, the messages are whole and in order."""

import ctypes
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address
from websocket_server import BINARY, CLOSE, MORE, PING, PONG, TEXT, Client, frame

from hftpipe.transport.websocket import link as ws
from hftpipe.transport.websocket.link import LINK, OUT_BYTES, link_init, link_open, next_message, receive, why_ended

NOW = np.int64(1)


class Ends:
    """Both ends of a connection: a LINK with a small buffer, and the other side's socket."""

    def __init__(self, capacity: int = 4096) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.ours, self.link = ours, np.zeros(1, LINK)
        self._buffer, self._out = np.zeros(capacity, np.uint8), np.zeros(OUT_BYTES, np.uint8)
        link_init(self.link, self._buffer, self._out)
        link_open(self.link, ours.fileno(), 0)

    def read(self) -> list[bytes]:
        """All whole messages that have come."""
        found, at = [], address(self.link)
        while True:
            kind, start, end = next_message(at)
            if kind == ws.TEXT:
                found.append(ctypes.string_at(int(start), int(end - start)))
            elif int(receive(at, NOW)) == 0:
                return found

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    @property
    def state(self) -> tuple[int, int]:
        return int(self.link["state"][0]), int(self.link["why"][0])


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


MESSAGES = st.lists(st.binary(max_size=1500), max_size=20)


@settings(max_examples=200)
@given(messages=MESSAGES, data=st.data())
def test_messages_arrive_whole_and_in_order_however_they_are_divided_and_cut(messages: list[bytes], data) -> None:
    ends, stream, pings = Ends(), b"", []
    for message in messages:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=3)))
        parts = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        for index, part in enumerate(parts):
            stream += frame(part, TEXT if index == 0 else MORE, index == len(parts) - 1)
            if data.draw(st.booleans()) and data.draw(st.booleans()):
                pings.append(data.draw(st.binary(max_size=125)))
                stream += frame(pings[-1], PING)
    found, at = [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 3000))
        ends.theirs.sendall(stream[at : at + size])
        at += size
        found += ends.read()
    assert found == messages and ends.state == (ws.OPEN, 0)
    ends.theirs.setblocking(False)
    client = Client(ends.theirs)
    assert [client.read() for _ in pings] == [(PONG, ping) for ping in pings]
    ends.close()


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (frame(b"x", BINARY), ws.BROKEN_PROTOCOL), (frame(b"x", MORE), ws.BROKEN_PROTOCOL),
        (frame(b"a", TEXT, False) + frame(b"b"), ws.BROKEN_PROTOCOL), (b"\xc1\x00", ws.BROKEN_PROTOCOL),
        (b"\x81\x81\x00\x00\x00\x00x", ws.BROKEN_PROTOCOL), (frame(b"x" * 126, PING), ws.BROKEN_PROTOCOL),
        (frame(b"", PING, False), ws.BROKEN_PROTOCOL), (b"\x8b\x00", ws.BROKEN_PROTOCOL), (b"\x83\x00", ws.BROKEN_PROTOCOL),
        (frame(b"x" * 5000), ws.TOO_LARGE), (b"\x81\x7f" + b"\xff" * 8, ws.TOO_LARGE),
        (b"".join(frame(b"x" * 900, TEXT if at == 0 else MORE, False) for at in range(6)), ws.TOO_LARGE),
        (frame(b"\x03\xe9bye", CLOSE), ws.PEER_CLOSED), (frame(b"", CLOSE), ws.PEER_CLOSED),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_ends_the_connection_by_name(ends: Ends, stream: bytes, why: int) -> None:
    ends.theirs.sendall(frame(b"before") + stream)
    assert ends.read() == [b"before"]
    assert ends.state == (ws.ENDED, why) and ws.WHY[why] in why_ended(ends.link)
    ends.theirs.sendall(frame(b"after"))
    assert ends.read() == [], "nothing in that stream can be trusted any more"


def test_the_end_of_the_stream_is_an_end_by_name(ends: Ends) -> None:
    ends.theirs.sendall(frame(b"whole") + frame(b"cut off")[:5])
    ends.theirs.close()
    assert ends.read() == [b"whole"] and ends.state == (ws.ENDED, ws.PEER_CLOSED)


def test_a_message_as_large_as_the_buffer_allows_arrives(ends: Ends) -> None:
    large = bytes(range(256)) * 15
    ends.theirs.sendall(frame(b"a" * 3000) + frame(large) + frame(b"b"))
    assert ends.read() == [b"a" * 3000, large, b"b"]


@settings(max_examples=200)
@given(st.binary(max_size=600))
def test_whatever_comes_nothing_beyond_it_is_read_and_it_ends_or_waits(stream: bytes) -> None:
    ends = Ends(capacity=1024)
    ends.theirs.sendall(stream)
    ends.read()
    state, why = ends.state
    assert (state == ws.OPEN) == (why == 0) and int(ends.link["end"][0] - ends.link["buffer"][0]) <= 1024
    ends.close()
