"""The venue ends a session, or takes it away: our orders are not known any more, we log in again, and a person is told.

A venue on the other end of the socket says what the test tells it to, over both transports.
"""

import socket
import struct
from collections.abc import Callable, Iterator

import numpy as np
import ouch_reference as ref
import pytest
from memory import aligned
from ouch_rig import ACCOUNTS, PRICE, TICK, Client, Exchange, free_port, wait_for
from test_ouch_false_reports import Desk, accepted, canceled, executed

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import HALT_CAUSES, SESSION_LOST, VENUE_FORGOT
from hftpipe.core.schema.halts import CLOSED_SCOPE, HALTS, halts_bytes
from hftpipe.core.schema.records import ACK, BUY, CANCELED, FILL, VENUE_FAULT
from hftpipe.simulation.exchange_server.process import warm
from hftpipe.venues.nasdaq.ouch.datagram import END
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
from hftpipe.venues.nasdaq.ouch.venue import PRESENCE_NS

LOGIN_NS = 300_000_000
NEVER_NS = 600_000_000_000


@pytest.fixture
def desk_of() -> Iterator[Callable[..., Desk]]:
    """Makes gateways with an OUCH venue over UDP, logged in."""
    made: list[Desk] = []

    def make(**settings: int) -> Desk:
        made.append(Desk(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def end_session(desk: Desk) -> None:
    """The venue says goodbye, and the gateway has heard it."""
    ends = int(desk.client.part("link")["ends"])
    desk.wire.send(END)
    wait_for(lambda: desk.step() * 0 or desk.client.part("link")["ends"] > ends)
    desk.step()


def test_a_session_that_the_venue_ends_makes_orders_unknown_and_the_log_in_goes_on(desk_of):
    desk = desk_of(login_ns=NEVER_NS)
    desk.accepted()
    desk.accepted(2)
    end_session(desk)
    assert {desk.state_of(1), desk.state_of(2)} == {"UNKNOWN"}
    before = desk.wire.session
    desk.client.state["ready"] = 0
    desk.log_in(3)
    assert desk.wire.session != before and desk.tripped() == ""
    # It is known there what became of them.
    desk.hear(executed(1, 10, 5), canceled(2, 10))
    assert (desk.state_of(1), desk.state_of(2), desk.tripped()) == ("FILLED", "CANCELED", "")
    desk.enter(3)


def test_after_an_end_nothing_new_is_sent_before_the_venue_has_said_where_it_goes_on(desk_of):
    desk = desk_of(login_ns=NEVER_NS)
    desk.wire.is_deaf = True
    end_session(desk)
    desk.order(kind=16, id=1, price=PRICE, qty=10**9, instrument=0)
    desk.step()
    assert desk.state_of(1) == "REJECTED" and desk.wire.take() == []


def test_a_session_that_stays_away_halts_by_name_and_what_rests_is_cancelled_once_it_is_back(desk_of):
    desk = desk_of(login_ns=LOGIN_NS)
    desk.accepted()
    desk.wire.is_deaf = True
    end_session(desk)
    assert desk.tripped() == "", "it may be back at once"
    wait_for(lambda: desk.step() * 0 or desk.tripped())
    assert (desk.tripped(), desk.count("session_lost"), desk.state_of(1)) == ("session_lost", 1, "UNKNOWN")
    desk.wire.is_deaf = False
    desk.client.state["ready"] = 0
    desk.log_in(2)
    cancels: list[int] = []
    wait_for(lambda: desk.step(10**10) * 0 or cancels.extend(desk.cancels()) or cancels)
    assert set(cancels) == {1}
    desk.hear(canceled(1, 10))
    assert (desk.state_of(1), desk.count("session_lost")) == ("CANCELED", 1)


def test_a_session_that_falls_silent_for_good_halts_by_name(desk_of):
    """No goodbye: the venue, or the way to it, is gone."""
    desk = desk_of(login_ns=LOGIN_NS, heartbeat_ns=20_000_000, silence_ns=100_000_000)
    desk.accepted()
    wait_for(lambda: desk.step() * 0 or desk.tripped())
    assert (desk.tripped(), desk.state_of(1)) == ("session_lost", "UNKNOWN")


def test_a_session_that_is_back_in_time_halts_nothing_and_a_later_loss_is_told_anew(desk_of):
    desk = desk_of(login_ns=LOGIN_NS)
    for number in range(2):
        desk.wire.is_deaf = number == 1
        end_session(desk)
        if number == 0:
            desk.client.state["ready"] = 0
            desk.log_in(1)
            assert desk.tripped() == ""
    wait_for(lambda: desk.step() * 0 or desk.tripped())
    assert desk.tripped() == "session_lost"


def test_after_the_end_of_the_day_a_session_without_orders_may_stay_away(desk_of):
    desk = desk_of(login_ns=LOGIN_NS)
    desk.hear(ref.SYSTEM.pack(b"S", 5, b"E"))
    desk.wire.is_deaf = True
    end_session(desk)
    until = int(desk.client.state["down_ns"]) + 3 * LOGIN_NS
    wait_for(lambda: desk.step() * 0 or desk.client.state["read_ns"] > until)
    assert desk.tripped() == ""


def test_it_is_looked_at_ten_thousand_times_a_second_whether_the_session_is_there(desk_of):
    """Not at every poll, of which there are millions; and no less often, whatever is polled in between."""
    words = aligned(halts_bytes(2))
    desk = desk_of(login_ns=NEVER_NS, halts=words.ctypes.data, venue_index=1)
    closed = words[HALTS.itemsize :].view(np.uint64)[CLOSED_SCOPE + 1 :]
    wait_for(lambda: desk.step() * 0 or closed[0] == 0)
    desk.wire.is_deaf = True
    end_session(desk)
    wait_for(lambda: desk.step() * 0 or closed[0] == 1)
    desk.client.poll()  # compiles it
    state, looks, polls = desk.client.state, set[int](), 0
    began_ns = steady_ns()
    while (lasted_ns := steady_ns() - began_ns) < 20_000_000:
        desk.client.poll()
        looks.add(int(state["looked_ns"]))
        polls += 1
    assert len(looks) <= lasted_ns // PRESENCE_NS + 2 < polls // 2
    times = sorted(looks)
    assert len(times) > 20 and min(np.diff(times)) >= PRESENCE_NS, (
        "a venue that stands still is looked at when it goes on"
    )


class Stream:
    """The venue's end of SoupBinTCP: takes packets, answers a log-in as it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port, self.peer, self.buffer = self.listener.getsockname()[1], None, b""
        self.answer, self.next_number, self.logins = b"A", 1, list[str]()

    def packet(self, kind: bytes, text: bytes = b"") -> None:
        if self.peer:
            self.peer.sendall(struct.pack(">H", len(text) + 1) + kind + text)

    def drop(self) -> None:
        if self.peer:
            self.peer.close()
        self.peer, self.buffer = None, b""

    def pump(self) -> None:
        if self.peer is None:
            try:
                self.peer, _ = self.listener.accept()
            except BlockingIOError:
                return
            self.peer.setblocking(False)
        try:
            got = self.peer.recv(65536)
        except BlockingIOError:
            got = None
        if got == b"":
            self.drop()
        self.buffer += got or b""
        while len(self.buffer) > 2 and len(self.buffer) >= 2 + (size := int.from_bytes(self.buffer[:2], "big")):
            text, self.buffer = self.buffer[2 : 2 + size], self.buffer[2 + size :]
            self._take(text[:1], text[1:])

    def _take(self, kind: bytes, text: bytes) -> None:
        if kind == b"L":
            self.logins.append(text[16:46].decode())
            if self.answer == b"A":
                self.packet(b"A", b"   SESSION" + str(int(text[26:46]) or 1).rjust(20).encode())
            elif self.answer:
                self.packet(b"J", self.answer)
        elif kind == b"U" and text[:1] == b"Q":
            self.packet(b"S", ref.PLAIN.pack(b"Q", 0, self.next_number))
        elif kind == b"U" and text[:1] == b"O":
            self.next_number += 1
            self.packet(b"S", accepted(self.next_number - 1, 5))

    def close(self) -> None:
        self.drop()
        self.listener.close()


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    yield made
    made.close()


@pytest.fixture
def client_of(stream: Stream) -> Iterator[Callable[..., Client]]:
    """Makes clients of the stream, logged in, with one order that rests."""
    made: list[Client] = []

    def make(**settings: int) -> Client:
        timing = {"heartbeat_ns": 50_000_000, "silence_ns": NEVER_NS}
        client = Client(stream.port, TCP, **(timing | settings))
        made.append(client)
        until(stream, client, lambda: client.state["ready"])
        id_ = client.new(BUY, PRICE, 5)
        until(stream, client, lambda: client.about(id_))
        return client

    yield make
    for one in made:
        one.close()


def until(stream: Stream, client: Client, condition: Callable[[], object]) -> None:
    wait_for(lambda: stream.pump() or client.poll() or condition())


def faults(client: Client) -> list[str]:
    return [HALT_CAUSES[int(r["flags"])] for r in client.reports if r["kind"] == VENUE_FAULT]


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "left-open"])
def test_a_stream_that_is_ended_is_opened_again_and_its_orders_are_unknown_meanwhile(stream, client_of, closes):
    client = client_of(login_ns=NEVER_NS)
    (id_,) = {int(r["id"]) for r in client.reports}
    stream.packet(b"Z")
    if closes:
        stream.drop()
    until(stream, client, lambda: client.part("link")["ends"])
    assert client.unanswered() == [id_]
    stream.drop()
    until(stream, client, lambda: len(stream.logins) == 2 and client.state["ready"])
    assert faults(client) == [] and client.unanswered() == []
    stream.packet(b"S", canceled(1, 5))
    until(stream, client, lambda: len(client.about(id_)) == 2)
    assert [int(r["kind"]) for r in client.about(id_)] == [ACK, CANCELED]


def test_a_log_in_that_is_swallowed_is_given_up_and_tried_again_until_it_is_named(stream, client_of):
    client = client_of(login_ns=4_000_000_000)
    stream.answer = b""
    stream.drop()
    until(stream, client, lambda: stream.packet(b"H") or len(stream.logins) == 3)
    assert client.part("link")["refused_logins"] == 0
    until(stream, client, lambda: faults(client))
    assert faults(client) == ["session_lost"]


def test_an_unknown_session_is_no_refusal_and_another_one_is_asked_for_at_once(stream, client_of):
    client = client_of(login_ns=NEVER_NS)
    stream.answer, stream.next_number = b"S", 1
    # As after a long absence.
    client.part("link")["backoff_ns"] = 5_000_000_000
    stream.drop()
    until(stream, client, lambda: len(stream.logins) == 2)
    stream.answer = b"A"
    wait_for(lambda: stream.pump() or client.poll() or faults(client), 2)
    assert faults(client) == ["venue_forgot"] and client.part("link")["refused_logins"] == 0
    assert stream.logins[2] == " " * 10 + "1".rjust(20)


def test_a_venue_that_knows_no_session_at_all_is_not_asked_without_a_pause(stream, client_of):
    client = client_of(login_ns=1_000_000_000)
    stream.answer = b"S"
    stream.drop()
    until(stream, client, lambda: faults(client))
    assert faults(client) == ["login_refused"] and len(stream.logins) < 10


def test_a_session_begins_once_on_a_connection(stream, client_of):
    """A second acceptance would move the place that the next log-in asks to go on from, past what was never heard."""
    client = client_of(login_ns=NEVER_NS)
    stream.packet(b"A", b" OTHERSESS" + b"9999".rjust(20))
    until(stream, client, lambda: len(stream.logins) == 2)
    assert stream.logins[1] == "   SESSION" + "3".rjust(20)


@pytest.mark.parametrize("transport", [UDP, TCP], ids=["udp", "tcp"])
def test_an_exchange_that_ends_in_order_and_starts_again_has_forgotten_us_and_that_is_said(transport):
    names = ("port_a", "port_b", "order_port", "tcp_port", "request_port")
    settings = {name: free_port() for name in names} | {"speed": 0.0, "accounts": ACCOUNTS}
    warm()
    first = Exchange(**settings).start()
    client = Client(settings["tcp_port" if transport == TCP else "order_port"], transport, login_ns=NEVER_NS)
    second = None
    try:
        client.log_in()
        ids = [client.new(BUY, PRICE - (100 + n) * TICK, 5) for n in range(2)]
        for id_ in ids:
            client.wait(id_, 1)
        first.stop()
        wait_for(lambda: client.poll() or not client.part("link")["was_up"])
        second = Exchange(**settings).start()
        wait_for(lambda: client.poll() or (client.state["ready"] and faults(client)))
        assert faults(client) == [HALT_CAUSES[VENUE_FORGOT]] and client.part("link")["refused_logins"] == 0
        assert set(client.unanswered()) <= set(ids) and FILL not in [int(r["kind"]) for r in client.reports]
        client.wait(client.new(BUY, PRICE - 300 * TICK, 1), 1)
    finally:
        client.close()
        (second or first).stop()


def test_the_cause_has_a_number_of_its_own():
    assert HALT_CAUSES[SESSION_LOST] == "session_lost"
