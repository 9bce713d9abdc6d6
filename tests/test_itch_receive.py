"""The receive loop on real loopback sockets, and the memory safety of everything below it."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from itch_reference import TwinBook, directory, message, packet, random_flow
from itch_rig import SYMBOLS, ArbiterRig, FeedRig, plain
from memory import aligned, record

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import entry
from hftpipe.core.machine.mem import U64, load_i64, store_i64
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.histogram import HIST_BYTES, summarize
from hftpipe.core.schema.records import BOOK_RESET, BOOK_STATE, INVALID, RECORD, SYNCING, VALID
from hftpipe.core.shared.event_time import EVENT_TIME
from hftpipe.venues.nasdaq.itch.feed import out_room
from hftpipe.venues.nasdaq.itch.packet_ring import PACKETS, open_packets
from hftpipe.venues.nasdaq.itch.receive import (
    BACKLOG_NS,
    RECEIVER,
    receive_step,
    receiver_bytes,
    receiver_init,
)
from hftpipe.venues.nasdaq.itch.sockets import open_line, open_request, open_sender
from hftpipe.venues.nasdaq.itch.wiring import PACKET_RING, SOCKET

GROUPS = ("239.255.71.1", "239.255.71.2")
WAIT = 1_000
#: What must be free in the receiver's array before each message.
ROOM = out_room(len(SYMBOLS))


@entry("int64(uint64, int64)")
def count_records(state, count):
    store_i64(state, load_i64(state) + count)
    store_i64(state + U64(8), load_i64(state + U64(8)) + 1)
    return count


class Wire:
    """Two multicast senders, a re-request server, and a receiver of their lines."""

    def __init__(self, way: str = SOCKET, records: int = 4096, sink: bool = False, **settings):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.facts, ways = self._listen(way)
        self.senders = [open_sender(group, self.port) for group in GROUPS]
        self.request = open_request("127.0.0.1", self.server.getsockname()[1])
        self.feed = FeedRig()
        self.arbiter = ArbiterRig(wait_ns=WAIT, retry_ns=WAIT, silence_ns=0)
        self.out, self.sums = np.zeros(records, RECORD), np.zeros(2, np.int64)
        self.memory, self.time = aligned(receiver_bytes()), record(EVENT_TIME)
        extra = {"sink": count_records.address, "sink_state": self.sums.ctypes.data} if sink else {}
        receiver_init(
            self.memory, int(self.arbiter.address), int(self.feed.address), self.out,
            retransmit=self.request.socket.fileno(), time=self.time.ctypes.data, **ways, **extra, **settings,
        )  # fmt: skip
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: RECEIVER.itemsize].view(RECEIVER)[0]
        self.now = 1

    def _listen(self, way: str) -> tuple[list[str], dict[str, int]]:
        """What the system said, and how the receiver reads the lines."""
        if way == PACKET_RING:
            self.packets = np.zeros(1, PACKETS)
            try:
                self.lines = [open_packets(self.packets, [(group, self.port) for group in GROUPS], "127.0.0.1")]
            except PermissionError as error:
                pytest.skip(f"packet sockets are not allowed here: {error}")
            return [], {"packets": self.packets.ctypes.data}
        try:
            opened = [open_line(group, self.port, timestamps=True) for group in GROUPS]
        except OSError as error:
            pytest.skip(f"no multicast on loopback here: {error}")
        self.lines = [line.socket for line in opened]
        return opened[0].facts, {"line_a": self.lines[0].fileno(), "line_b": self.lines[1].fileno()}

    def step(self, passed: int = 1) -> np.ndarray:
        """One step ``passed`` ns later; takes the records out."""
        self.now += passed
        receive_step(self.address, np.int64(self.now))
        records = self.out[: int(self.state["count"])].copy()
        self.state["count"] = 0
        return records

    def close(self) -> None:
        for each in (*self.senders, self.server, self.request.socket, *self.lines):
            each.close()


@pytest.fixture(params=[SOCKET, PACKET_RING])
def wire(request):
    made = []

    def make(**settings) -> Wire:
        made.append(Wire(**{"way": request.param, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def packets(texts: list[bytes], per_packet: int = 7, session: str = "S1") -> list[bytes]:
    return [
        packet(session, at + 1, texts[at : at + per_packet]) for at in range(0, len(texts), per_packet)
    ]  # fmt: skip


def test_both_lines_become_one_stream_of_records(wire):
    w, twin = wire(), TwinBook({7: 0})
    texts = [directory(7, "TEST"), *random_flow(3, 400)]
    expected = [record for text in texts for record in twin.apply(text)]
    got = []
    for number, data in enumerate(packets(texts)):
        for sender in w.senders[number % 2 :] if number % 3 else w.senders:
            sender.send(data)
        got.append(w.step())
    records = np.concatenate(got)
    assert plain(records) == expected
    assert w.feed.book()["state"] == VALID and w.feed.levels(0, 0) == twin.levels(0, 0)
    assert w.state["receive_errors"] == 0 and w.arbiter.state["gaps"] == 0
    stamps = records["origin_tsc"][records["kind"] != BOOK_STATE].astype(np.int64)
    assert (stamps > 0).all() and (np.diff(stamps) >= 0).all()


def test_a_loss_on_both_lines_is_asked_for_and_recovered(wire):
    w = wire()
    texts = [directory(7, "TEST"), *(message("A", 7, n, b"B", 1, b"TEST    ", 10_000) for n in range(1, 4))]
    first, lost, third, fourth = packets(texts, 1)
    w.senders[0].send(first)
    w.step()
    w.senders[0].send(third)
    w.senders[1].send(third)
    assert len(w.step()) == 0 and w.feed.book()["state"] == VALID
    assert [(r["kind"], r["flags"]) for r in w.step(WAIT)] == [(BOOK_STATE, SYNCING)]
    request, client = w.server.recvfrom(100)
    assert request == packet("S1", 2, [], 1)
    w.server.sendto(lost, client)
    records = w.step()
    assert list(records["id"][:2]) == [2, 3] and records[-1]["flags"] == VALID
    w.senders[1].send(fourth)
    assert len(w.step()) == 1 and w.arbiter.state["recovered"] == 1 and w.state["requests_sent"] == 1


def test_a_new_session_resets_the_books(wire):
    w = wire()
    w.senders[0].send(packets([directory(7, "TEST"), message("A", 7, 1, b"B", 1, b"TEST    ", 10_000)])[0])
    w.step()
    assert w.feed.levels(0, 0)
    # One packet is no session; three are.
    w.senders[0].send(packet("S2", 1, [directory(8, "TEST")]))
    assert len(w.step()) == 0 and w.feed.levels(0, 0)
    for sequence in (2, 3):
        w.senders[0].send(packet("S2", sequence, [directory(9, "NONE")]))
    records = np.concatenate([w.step(), w.step()])
    kinds = [(r["kind"], r["flags"]) for r in records if r["instrument"] == 0]
    assert kinds == [(BOOK_RESET, 0), (BOOK_STATE, INVALID), (BOOK_STATE, VALID)]
    assert w.feed.levels(0, 0) == {}


def test_another_exchange_on_the_same_groups_of_the_same_machine_is_not_followed(wire):
    """Its packets differ from ours in their session and in the port that they come from, in nothing else."""
    w = wire()
    others = [open_sender(group, w.port) for group in GROUPS]
    try:
        for sequence in range(1, 5):
            w.senders[0].send(packet("S1", sequence, [directory(7, "TEST")]))
            w.step()
        for sequence in range(1, 40):
            for sender in others:
                sender.send(packet("XX", sequence, [directory(8, "NONE")]))
            w.step()
            w.step()
        assert w.arbiter.state["session_changes"] == 0 and w.arbiter.state["foreign_session"] == 78
    finally:
        for sender in others:
            sender.close()


def known(w: Wire) -> int:
    return int(w.time["known_ts"][0])


def test_every_packet_in_sequence_says_that_the_market_is_known_up_to_then(wire):
    w = wire()
    first, second, third = packets([directory(7, "TEST"), directory(8, "OTHER"), directory(9, "NONE")], 1)
    w.senders[0].send(first)
    w.step()
    assert known(w) == w.now
    w.step(40_000_000)
    assert known(w) == w.now - 40_000_000, "silence says nothing"
    w.senders[1].send(packet("S1", 2, []))
    w.step(40_000_000)
    assert known(w) == w.now, "a heartbeat says that nothing happened"
    before = w.now
    w.senders[0].send(third)
    w.step()
    w.senders[1].send(packet("S1", 4, []))
    w.step()
    assert known(w) == before, "something is missing"
    w.senders[1].send(second)
    w.step()
    assert known(w) == w.now
    w.senders[0].send(packet("S1", 2, []))
    w.step()
    assert known(w) == w.now - 1, "a packet from before proves nothing"


def test_what_waited_while_the_process_stood_still_looks_as_old_as_it_may_be(wire):
    w = wire()
    texts = [directory(7, "TEST"), *(message("A", 7, n, b"B", 1, b"TEST    ", 10_000) for n in range(1, 5))]
    data = packets(texts, 1)
    w.senders[0].send(data[0])
    w.step()
    w.step()
    stopped = w.now
    w.senders[0].send(data[1])
    w.senders[0].send(packet("S1", 3, []))
    old = w.step(4 * 10**9)
    assert set(old["local_ts"]) == {stopped} and known(w) == stopped
    w.senders[0].send(data[2])
    assert set(w.step()["local_ts"]) == {w.now} and known(w) == w.now, "the lines have been found empty since"


def test_a_receiver_that_never_catches_up_gets_old(wire):
    w = wire(max_datagrams=1)
    texts = [directory(7, "TEST"), *(message("A", 7, n, b"B", 1, b"TEST    ", 10_000) for n in range(1, 20))]
    data = packets(texts, 1)
    for each in data:
        w.senders[0].send(each)
    start = w.now + 1
    stamps = [int(ts) for _ in data for ts in w.step(10_000_000)["local_ts"] if ts]
    assert stamps[3] > start and stamps[-1] < w.now and known(w) <= start + BACKLOG_NS


def test_records_that_do_not_fit_wait_for_the_next_step(wire):
    w, count = wire(records=ROOM + 3), 30
    texts = [directory(7, "TEST"), *(message("A", 7, n, b"B", 1, b"TEST    ", 10_000 + n) for n in range(1, count))]
    w.senders[0].send(packets(texts, count)[0])
    got = [w.step() for _ in range(count)]
    assert w.state["held_back"] > 0 and max(len(part) for part in got) <= ROOM + 3
    assert sum(len(plain(part)) for part in got) == count - 1


def test_a_sink_takes_the_records_of_every_step(wire):
    w = wire(sink=True)
    texts = [directory(7, "TEST"), *(message("A", 7, n, b"B", 1, b"TEST    ", 10_000) for n in range(1, 5))]
    w.senders[0].send(packets(texts)[0])
    w.step()
    assert w.state["count"] == 0 and w.sums[0] == w.state["records"] >= 4 and w.sums[1] == 1


def test_kernel_stamps_come_with_the_datagram(wire):
    clock, hist = np.zeros(1, CLOCK), np.zeros(HIST_BYTES // 8, np.int64)
    calibrate(clock)
    w = wire(h_kernel=hist.ctypes.data, clock=clock.ctypes.data)
    if any("TIMESTAMPNS refused" in fact for fact in w.facts):
        pytest.skip("this kernel refuses SO_TIMESTAMPNS")
    w.senders[0].send(packets([directory(7, "TEST")])[0])
    w.step()
    assert w.state["kernel_ns"] > 10**18 and w.feed.state["directory"] == 1
    summary = summarize(hist, float(clock["ns_per_tick"][0]))
    assert summary.count == 1 and 0 < summary.max < 10**9


def test_a_closed_socket_is_an_error_counted_and_named(wire):
    w = wire(way=SOCKET)
    w.state["sockets"][1] = 1_000_000
    w.step()
    assert w.state["receive_errors"] > 0 and w.state["last_errno"] == 9


def test_refusals_name_the_group_and_the_port():
    with pytest.raises(ValueError, match=r"group 10\.0\.0\.1 is not a multicast"):
        open_line("10.0.0.1", 5000)
    with pytest.raises(ValueError, match="port 0 of group"):
        open_line(GROUPS[0], 0)
    with pytest.raises(OSError, match=rf"203\.0\.113\.9 the group {GROUPS[0]}:5000"):
        open_line(GROUPS[0], 5000, interface="203.0.113.9")
    with pytest.raises(ValueError, match="'lo' is not an IPv4"):
        open_sender(GROUPS[0], 5000, interface="lo")


def test_optional_settings_are_reported_one_by_one():
    try:
        opened = open_line(GROUPS[0], 40_071, busy_poll_us=50, timestamps=True)
    except OSError as error:
        pytest.skip(f"no multicast on loopback here: {error}")
    opened.socket.close()
    assert [fact.split()[0] for fact in opened.facts] == ["SO_RCVBUF", "SO_BUSY_POLL", "SO_TIMESTAMPNS"]


GUARDED = """
import ctypes, mmap, random, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from itch_reference import directory, message, packet, random_flow
from itch_rig import ArbiterRig, FeedRig
from hftpipe.venues.nasdaq.itch.arbiter import mold_next, mold_packet, mold_poll, mold_take_reset
from hftpipe.venues.nasdaq.itch.decode import itch_message
from hftpipe.venues.nasdaq.itch.feed import feed_reset

PAGE = mmap.PAGESIZE
pages = mmap.mmap(-1, 17 * PAGE)
base = np.frombuffer(pages, np.uint8).ctypes.data
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(base + 16 * PAGE), PAGE, 0) == 0
END = base + 16 * PAGE

def place(data):
    # The last byte lies right before a page that may not be touched.
    ctypes.memmove(END - len(data), data, len(data))
    return np.uint64(END - len(data)), np.int64(len(data))

rng = random.Random(int(sys.argv[2]))
feed, arbiter = FeedRig(order_capacity=64, level_capacity=8), ArbiterRig(slots=4, packet_bytes=200)
out, zero = np.uint64(feed.out.ctypes.data), np.uint64(0)
feed.apply(directory(7, "TEST"))
flow = random_flow(1, 300, (7, 8, 9)) + [directory(8, "OTHER")]

def one(text):
    address, length = place(text)
    assert 0 <= itch_message(feed.address, address, length, np.uint64(1), np.int64(1), zero, out) <= 64

def datagram(data, line, now):
    address, length = place(data)
    mold_packet(arbiter.address, np.int64(line), address, length, np.int64(now), zero)
    if mold_take_reset(arbiter.address):
        feed_reset(feed.address, np.int64(now), out)
    while mold_next(arbiter.address):
        a = arbiter.state
        itch_message(feed.address, np.uint64(a["message"]), np.int64(a["length"]), np.uint64(a["sequence"]), np.int64(now), zero, out)
    mold_poll(arbiter.address, np.int64(now), np.uint64(arbiter.request.ctypes.data))

for text in flow:
    for length in range(len(text) + 1):
        one(text[:length])
for _ in range(20_000):
    text = bytearray(rng.choice(flow))
    for _ in range(rng.randint(1, 4)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    one(bytes(text[: rng.choice([len(text), rng.randint(0, len(text))])]))
    one(rng.randbytes(rng.randint(0, 64)))
for now in range(20_000):
    sequence = int(arbiter.state["expected"])
    texts = rng.sample(flow, rng.randint(0, 4))
    data = bytearray(packet(rng.choice(["S1", "S1", "S2", "S3"]), max(0, sequence + rng.choice([0, 0, 0, 1, 2, -1])), texts))
    choice = rng.random()
    if choice < 0.2:
        data = data[: rng.randint(0, len(data))]
    elif choice < 0.4:
        data[rng.randrange(len(data))] = rng.randrange(256)
    elif choice < 0.5:
        data = bytearray(rng.randbytes(rng.randint(0, 300)))
    elif choice < 0.6:
        data += rng.randbytes(rng.randint(1, 40_000))
    datagram(bytes(data), rng.randrange(3), now * 1000)
a = arbiter.state
assert sum(a["malformed"]) > 0 and a["delivered"] > 0 and feed.state["wrong_length"] > 0
print("survived", int(feed.state["messages"]))
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_no_datagram_reads_past_its_end(seed):
    command = [sys.executable, "-c", GUARDED, str(Path(__file__).parent), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.startswith("survived")
