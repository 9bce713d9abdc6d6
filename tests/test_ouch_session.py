"""The UDP order session over a bad network in memory: nothing lost, nothing twice, always in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import aligned

from hftpipe.simulation.exchange_server.impair import (
    IMPAIR,
    Impairment,
    impair_bytes,
    impair_init,
    impair_next,
    impair_put,
)
from hftpipe.venues.nasdaq.ouch.datagram import (
    ACCEPT,
    HEADER_BYTES,
    LOGIN,
    MAGIC,
    REJECT,
    session_login_text,
    session_number,
)
from hftpipe.venues.nasdaq.ouch.messages import MESSAGE_BYTES_MAX
from hftpipe.venues.nasdaq.ouch.session import (
    CLIENT,
    DOWN,
    ENDED,
    LOST,
    SESSION,
    SLOT_BYTES,
    STUCK_MAX,
    UP,
    VENUE_SIDE,
    session_accept,
    session_bytes,
    session_commit,
    session_end,
    session_init,
    session_is_stuck,
    session_next,
    session_poll,
    session_reserve,
    session_take,
    session_unacknowledged,
)

MS = 1_000_000
STEP_NS = 50_000
NUMBER = 7


def text_at(address: np.uint64, length: int) -> bytes:
    import ctypes

    return ctypes.string_at(int(address), length)


class Side:
    """One end: a session and what it has delivered."""

    def __init__(self, role: int, window: int = 16, **settings):
        self.memory = aligned(session_bytes(window))
        names = {"session": NUMBER, "user": "ME", "password": "SECRET"} if role == CLIENT else {}
        session_init(self.memory, role, window=window, **names, **settings)
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: SESSION.itemsize].view(SESSION)[0]
        self.received: list[bytes] = []
        self.buffer = np.zeros(2048, np.uint8)

    def put(self, text: bytes, now: int) -> bytes | None:
        """The datagram of a new message, or None while the window is full."""
        at = session_reserve(self.address)
        if not at:
            return None
        start = int(at) - self.memory.ctypes.data
        self.memory[start : start + len(text)] = np.frombuffer(text, np.uint8)
        datagram = session_commit(self.address, np.int64(len(text)), np.int64(now))
        return text_at(datagram, int(self.state["out_length"]))

    def take(self, data: bytes, now: int) -> int:
        self.buffer[: len(data)] = np.frombuffer(data, np.uint8)
        at, size = np.uint64(self.buffer.ctypes.data), np.int64(len(data))
        if self.state["role"] == VENUE_SIDE and session_number(at, size) and session_login_text(at, size):
            session_accept(self.address, np.uint64(session_number(at, size)), np.int64(now))
        kind = int(session_take(self.address, at, size, np.int64(now)))
        text = session_next(self.address)
        while text:
            self.received.append(text_at(text, min(int(self.state["in_length"]), MESSAGE_BYTES_MAX)))
            text = session_next(self.address)
        return kind

    def poll(self, now: int) -> list[bytes]:
        found = []
        for _ in range(64):
            datagram = session_poll(self.address, np.int64(now))
            if not datagram:
                break
            found.append(text_at(datagram, int(self.state["out_length"])))
        return found


class Line:
    """One direction of a bad network."""

    def __init__(self, impairment: Impairment, seed: int):
        self.memory = aligned(impair_bytes())
        impair_init(self.memory, impairment, seed)
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: IMPAIR.itemsize].view(IMPAIR)[0]

    def put(self, data: bytes, now: int) -> None:
        raw = np.frombuffer(data, np.uint8)
        impair_put(self.address, np.uint64(raw.ctypes.data), np.int64(len(raw)), np.int64(now))

    def due(self, now: int) -> list[bytes]:
        found = []
        while at := impair_next(self.address, np.int64(now)):
            found.append(text_at(at, int(self.state["length"])))
        return found


CLEAN = Impairment()


class Network:
    """A client, a venue and a line each way; time is a number."""

    def __init__(self, impairment: Impairment = CLEAN, seed: int = 1, **settings):
        self.client, self.venue = Side(CLIENT, **settings), Side(VENUE_SIDE, **settings)
        self.up, self.down = Line(impairment, seed), Line(impairment, seed + 1)
        self.now = MS
        self.cut = False

    def send(self, side: Side, text: bytes) -> bool:
        datagram = side.put(text, self.now)
        if datagram is None:
            return False
        (self.up if side is self.client else self.down).put(datagram, self.now)
        return True

    def step(self) -> None:
        self.now += STEP_NS
        for source, line, target in ((self.client, self.up, self.venue), (self.venue, self.down, self.client)):
            for data in source.poll(self.now):
                line.put(data, self.now)
            for data in line.due(self.now):
                if not self.cut:
                    target.take(data, self.now)

    def run(self, until, steps: int = 60_000) -> None:
        for _ in range(steps):
            if until():
                return
            self.step()
        pytest.fail("the network never got there")

    def log_in(self) -> None:
        self.run(lambda: self.client.state["state"] == UP)


def numbered(kind: str, count: int) -> list[bytes]:
    return [f"{kind}{index}".encode().ljust(10 + index % 60) for index in range(count)]


BAD = Impairment(loss=0.3, duplicate=0.3, reorder=0.3, delay_us=100, reorder_us=1500)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_a_bad_network_both_ways_loses_and_doubles_nothing(seed, count):
    net = Network(BAD, seed)
    net.log_in()
    up, down = numbered("u", count), numbered("d", count)
    sent_up = sent_down = 0

    def finished() -> bool:
        nonlocal sent_up, sent_down
        sent_up += sent_up < count and net.send(net.client, up[sent_up])
        sent_down += sent_down < count and net.send(net.venue, down[sent_down])
        return len(net.venue.received) == count and len(net.client.received) == count

    net.run(finished)
    net.run(lambda: not session_unacknowledged(net.client.address) and not session_unacknowledged(net.venue.address))
    assert net.venue.received == up and net.client.received == down


def test_a_clean_network_sends_every_message_once():
    net = Network(Impairment(delay_us=50))
    net.log_in()
    for text in numbered("u", 40):
        assert net.send(net.client, text)
        net.step()
    net.run(lambda: len(net.venue.received) == 40)
    assert net.client.state["resent"] == 0 and net.venue.state["duplicates"] == 0


def test_a_full_window_takes_nothing_until_acknowledged():
    net = Network()
    net.log_in()
    net.cut = True
    sent = sum(net.send(net.client, text) for text in numbered("u", 40))
    assert sent == 16 and net.client.state["window_full"] == 24
    net.cut = False
    net.run(lambda: len(net.venue.received) == 16)
    net.run(lambda: net.send(net.client, b"next"))


def test_retries_wait_longer_each_time():
    net = Network()
    net.log_in()
    net.cut = True
    net.send(net.client, b"x")
    times = []
    for _ in range(3000):
        net.now += STEP_NS
        before = int(net.client.state["resent"])
        net.client.poll(net.now)
        if net.client.state["resent"] > before:
            times.append(net.now)
    waits = np.diff(times)
    assert len(times) >= 4 and (waits[1:] >= waits[:-1]).all() and waits[-1] >= 2 * waits[0]


def test_a_silent_venue_is_a_lost_session_that_comes_back_with_everything():
    net = Network()
    net.log_in()
    net.cut = True
    net.run(lambda: net.client.state["state"] == LOST)
    assert net.send(net.client, b"kept")
    net.cut = False
    net.run(lambda: net.client.state["state"] == UP and net.venue.received == [b"kept"])
    assert net.client.state["losses"] == 1 and net.client.state["recoveries"] == 1


def test_an_idle_session_stays_up_by_heartbeats():
    net = Network()
    net.log_in()
    end = net.now + 3_000 * MS
    net.run(lambda: net.now >= end, steps=80_000)
    assert net.client.state["losses"] == 0 and net.venue.state["losses"] == 0
    assert net.client.state["heartbeats"] > 5


def test_a_logout_ends_both_sides():
    net = Network()
    net.log_in()
    session_end(net.client.address)
    net.run(lambda: net.venue.state["state"] == ENDED)
    assert net.client.put(b"late", net.now) is None


def test_a_lost_login_is_repeated():
    net = Network()
    net.cut = True
    for _ in range(200):
        net.step()
    assert net.client.state["state"] == DOWN
    net.cut = False
    net.log_in()
    assert net.client.state["tries"] == 0


def header(
    seq: int = 1, ack: int = 1, kind: int = 1, count: int = 0, session: int = NUMBER, magic: int = MAGIC
) -> bytes:
    parts = ((magic, 4), (session, 4), (seq, 8), (ack, 8), (kind, 1), (0, 1), (count, 2))
    return b"".join(value.to_bytes(size, "big") for value, size in parts)


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"", "malformed"),
        (header()[:-1], "malformed"),
        (header(magic=1), "malformed"),
        (header(session=8), "wrong_session"),
        (header(kind=0), "malformed"),
        (header(kind=9), "malformed"),
        (header(seq=0), "malformed"),
        (header(seq=2**63), "malformed"),
        (header(ack=99), "bad_ack"),
        (header(count=1), "malformed"),
        (header(count=1) + b"\0\5abcd", "malformed"),
        (header(count=1) + b"\0\3abcd", "malformed"),
        (header(count=65535) + b"\0\0" * 9, "malformed"),
    ],
)
def test_a_datagram_that_is_not_sound_is_counted_and_changes_nothing(data, counter):
    side = Side(CLIENT)
    before = {name: int(side.state[name]) for name in ("state", "expected", "acked", "last_heard_ns")}
    assert side.take(data, 5) == 0
    assert side.state[counter] == 1
    assert {name: int(side.state[name]) for name in before} == before


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_never_crash_and_are_never_delivered_out_of_turn(noise, with_header):
    side = Side(CLIENT)
    side.take((header(seq=2, count=1) if with_header else b"") + noise, 5)
    assert side.received == []


@pytest.mark.parametrize("length", [129, 200, 1900])
def test_a_message_longer_than_any_comes_in_its_turn_with_its_length_and_no_more_of_it_than_fits(length):
    side = Side(CLIENT)
    slots = side.memory[-SLOT_BYTES * 16 :]
    side.take(header(seq=2, count=1) + length.to_bytes(2, "big") + b"x" * length, 5)
    assert side.received == [], "the one before it is missing"
    assert (slots == ord("x")).sum() == MESSAGE_BYTES_MAX
    side.take(header(seq=1, count=1) + b"\0\1a", 5)
    assert side.received == [b"a", b"x" * MESSAGE_BYTES_MAX] and side.state["in_length"] == length


def test_a_next_message_that_never_comes_whole_is_noticed_and_one_that_did_come_ends_that():
    side = Side(CLIENT)
    for _ in range(STUCK_MAX):
        assert not session_is_stuck(side.address)
        side.take(header(count=1), 5)
    assert session_is_stuck(side.address)
    side.take(header(count=1) + b"\0\1a", 5)
    assert side.received == [b"a"] and not session_is_stuck(side.address)
    for _ in range(2 * STUCK_MAX):
        # What has come already, and what is not next.
        side.take(header(seq=1, count=1), 5)
        side.take(header(seq=3, count=1), 5)
    assert not session_is_stuck(side.address)


def test_a_refused_login_ends_the_session():
    side = Side(CLIENT)
    assert side.take(header(kind=REJECT), 5) == REJECT
    assert side.state["state"] == ENDED


def test_a_second_login_with_the_same_number_keeps_the_sequence():
    net = Network()
    net.log_in()
    net.send(net.client, b"one")
    net.run(lambda: net.venue.received == [b"one"])
    (login,) = (d for d in Side(CLIENT).poll(MS) if d[24] == LOGIN)
    net.venue.take(login, net.now)
    assert net.venue.state["expected"] == 2
    assert next(d[24] for d in net.venue.poll(net.now)) == ACCEPT
    net.send(net.client, b"two")
    net.run(lambda: net.venue.received == [b"one", b"two"])


def test_several_messages_in_one_datagram_are_all_taken():
    side = Side(CLIENT)
    blocks = b"".join(len(text).to_bytes(2, "big") + text for text in (b"a", b"bc"))
    side.take(header(count=2) + blocks, 5)
    assert side.received == [b"a", b"bc"] and len(header()) == HEADER_BYTES


@pytest.mark.parametrize(
    "bad",
    [{"window": 3}, {"rto_ns": 0}, {"ack_delay_ns": 10**9}, {"silence_ns": 1}, {"session": 0}, {"user": "TOOLONG"}],
)
def test_settings_that_make_no_session_are_refused(bad):
    with pytest.raises(ValueError, match=r"window|rto|session|user"):
        session_init(aligned(session_bytes(16)), CLIENT, **({"window": 16, "session": 1} | bad))
