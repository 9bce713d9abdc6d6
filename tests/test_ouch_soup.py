"""SoupBinTCP in memory: bytes in any pieces, logins, numbers, and streams that make no sense."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import aligned

from hftpipe.venues.nasdaq.ouch.soup import (
    ACCEPTED,
    BUFFER_BYTES,
    LOGIN,
    SEQUENCED,
    SOUP,
    UNSEQUENCED,
    VENUE_BEAT,
    read_number,
    soup_accept,
    soup_beat,
    soup_bytes,
    soup_client_next,
    soup_commit,
    soup_init,
    soup_login,
    soup_next,
    soup_pending,
    soup_received,
    soup_reserve,
    soup_reset,
    soup_room,
    soup_sent,
)

SECOND = 10**9


class Side:
    def __init__(self, **names):
        self.memory = aligned(soup_bytes())
        soup_init(self.memory, **names)
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: SOUP.itemsize].view(SOUP)[0]

    def put(self, kind: int, text: bytes) -> bool:
        at = soup_reserve(self.address)
        if not at:
            return False
        ctypes.memmove(int(at), text, len(text))
        soup_commit(self.address, np.int64(kind), np.int64(len(text)))
        return True

    def sent(self) -> bytes:
        at, length = soup_pending(self.address)
        text = ctypes.string_at(int(at), int(length))
        soup_sent(self.address, np.int64(length), np.int64(1))
        return text

    def feed(self, data: bytes) -> None:
        at, capacity = soup_room(self.address)
        assert len(data) <= capacity
        ctypes.memmove(int(at), data, len(data))
        soup_received(self.address, np.int64(len(data)), np.int64(1))

    def text(self) -> bytes:
        return ctypes.string_at(int(self.state["text"]), int(self.state["length"]))


def packet(kind: bytes, text: bytes = b"") -> bytes:
    return (len(text) + 1).to_bytes(2, "big") + kind + text


def accepted(number: int, session: bytes = b"DAY1") -> bytes:
    return packet(b"A", session.rjust(10) + str(number).encode().rjust(20))


def up(number: int = 1) -> Side:
    side = Side(user="ME", password="PW")
    side.feed(accepted(number))
    assert not soup_client_next(side.address) and side.state["is_up"]
    return side


def test_a_login_is_the_specifications():
    side = Side(user="ME", password="PW", session="DAY1")
    side.state["next_number"] = 42
    soup_login(side.address)
    assert side.sent() == packet(b"L", b"ME    PW        " + b"DAY1".rjust(10) + b"42".rjust(20))


def test_an_accept_is_the_specifications_and_sets_the_next_number():
    venue, client = Side(session="DAY1"), Side()
    soup_accept(venue.address, np.uint64(7))
    data = venue.sent()
    assert data == accepted(7)
    client.feed(data)
    assert not soup_client_next(client.address)
    assert client.state["next_number"] == 7 and bytes(client.state["session"])[:10] == b"      DAY1"


@given(st.lists(st.binary(max_size=100), max_size=20), st.randoms(use_true_random=False))
def test_a_stream_in_any_pieces_gives_the_same_messages(texts, rng):
    side, received = up(5), []
    data = b"".join(packet(b"S", text) + (packet(b"H") if len(text) % 2 else b"") for text in texts)
    while data:
        size = rng.randint(1, max(1, len(data)))
        side.feed(data[:size])
        data = data[size:]
        while soup_client_next(side.address):
            received.append(side.text())
    assert received == texts and side.state["next_number"] == 5 + len(texts)


@given(st.binary(max_size=400))
def test_noise_never_crashes(noise):
    side = up()
    side.feed(noise)
    for _ in range(500):
        if not soup_client_next(side.address):
            break
    assert side.state["in_start"] <= side.state["in_end"] <= BUFFER_BYTES


@pytest.mark.parametrize("data", [b"\0\0S", b"\xff\xffS"])
def test_a_length_that_cannot_be_breaks_the_connection(data):
    side = up()
    side.feed(data)
    assert not soup_client_next(side.address) and side.state["broken"] and side.state["malformed"] == 1


def test_a_rejected_login_breaks_the_connection():
    side = Side()
    side.feed(packet(b"J", b"A"))
    assert not soup_client_next(side.address) and side.state["rejected"]


def test_an_accept_without_a_number_is_refused():
    side = Side()
    side.feed(packet(b"A", b" " * 30))
    assert not soup_client_next(side.address) and not side.state["is_up"] and side.state["malformed"] == 1


def test_a_new_connection_keeps_session_and_number():
    side = up(9)
    side.feed(packet(b"S", b"x") + b"\0")
    assert soup_client_next(side.address)
    soup_reset(side.address, np.int64(5))
    assert side.state["next_number"] == 10 and side.state["is_up"] == 0 and side.state["in_end"] == 0


def test_a_full_buffer_takes_no_more_until_sent():
    side = up()
    count = 0
    while side.put(UNSEQUENCED, bytes(100)):
        count += 1
    assert count >= BUFFER_BYTES // 140 and side.state["out_full"] == 1
    assert len(side.sent()) == 103 * count
    assert side.put(UNSEQUENCED, b"next") and side.sent() == packet(b"U", b"next")


def test_a_heartbeat_goes_out_after_silence_and_a_silent_peer_is_noticed():
    side = up()
    assert soup_beat(side.address, np.int64(VENUE_BEAT), np.int64(SECOND // 2)) and side.sent() == b""
    assert soup_beat(side.address, np.int64(VENUE_BEAT), np.int64(2 * SECOND)) and side.sent() == packet(b"H")
    assert not soup_beat(side.address, np.int64(VENUE_BEAT), np.int64(16 * SECOND))


@given(st.text("0123456789 ", min_size=20, max_size=20))
def test_numbers_are_read_like_the_twin(text):
    raw = np.frombuffer(text.encode(), np.uint8)
    stripped = text.lstrip(" ")
    expected = int(stripped) if stripped and " " not in stripped and int(stripped) < 10**19 else None
    value = int(read_number(np.uint64(raw.ctypes.data)))
    assert value == (2**64 - 1 if expected is None else expected)


def test_the_venue_reads_login_and_orders():
    client, venue = Side(user="ME", password="PW"), Side()
    soup_login(client.address)
    client.put(UNSEQUENCED, b"O...")
    venue.feed(client.sent())
    assert soup_next(venue.address) == LOGIN and len(venue.text()) == 46
    assert soup_next(venue.address) == UNSEQUENCED and venue.text() == b"O..."
    assert soup_next(venue.address) == 0
    assert (ord("A"), ord("S")) == (ACCEPTED, SEQUENCED)


@pytest.mark.parametrize("names", [{"user": "TOOLONG"}, {"session": "12345678901"}, {"silence_ns": 1}])
def test_settings_that_make_no_connection_are_refused(names):
    with pytest.raises(ValueError, match=r"at most|silence"):
        Side(**names)
