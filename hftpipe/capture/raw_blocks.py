"""Raw captures of the multicast feed: every datagram as it came, and the proof that books can be rebuilt from them.

``hftpipe record --raw FILE`` joins lines A and B and keeps each datagram with its receive time (the kernel's stamp
where granted) under the tag "A" or "B". Where a re-request server is configured, what neither line brought, and what
was sent before the capture began, is asked for by the production arbiter's rules; the answers have the tag "R".

``hftpipe check-raw FILE`` feeds the datagrams, in time order, to the arbiter and the feed that the market-data stage
runs. It cannot ask for anything: what is not in the file stays a gap.
"""

import heapq
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hftpipe.capture.raw import RawFrame, RawReader, RawWriter
from hftpipe.config.venue_sections import Udp
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import BOOK_STATE_NAMES, RECORD, RECORD_BYTES, TRADE
from hftpipe.core.trading.book import BOOK
from hftpipe.record.tape.format import CORRUPT, RecordError
from hftpipe.venues.nasdaq.itch.arbiter import mold_next, mold_packet, mold_poll, mold_state, mold_take_reset
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.decode import itch_message
from hftpipe.venues.nasdaq.itch.feed import (
    FEED,
    feed_book,
    feed_bytes,
    feed_init,
    feed_line_state,
    feed_reset,
    out_room,
)
from hftpipe.venues.nasdaq.itch.receive import DATAGRAM_BYTES
from hftpipe.venues.nasdaq.itch.sockets import SO_TIMESTAMPNS, open_line, open_request
from hftpipe.venues.nasdaq.itch.wiring import ORDER_SLOTS

#: Tags by line of the arbiter.
TAGS = ("A", "B", "R")
#: How often a capture looks for signals and overdue answers.
IDLE_MS, ASKING_MS = 50, 2
BATCH = 256
#: Datagrams of different sockets are at most this many places out of time order.
REORDER = 4096
#: Larger than the recorder's window, so that whatever that one could put in order fits.
CHECK_SLOTS = 1 << 14
# Linux: datagrams the socket has dropped, as a control message.
_SO_RXQ_OVFL = 40
_CONTROL_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)
_RECORD_SHIFT = np.uint64(RECORD_BYTES.bit_length() - 1)

#: What a check knows besides arbiter and feed: trades seen, messages never seen of sessions that have been replaced.
CHECK = np.dtype(
    [
        ("arbiter", "u8"), ("feed", "u8"), ("out", "u8"), ("request", "u8"),
        ("trades", "i8"), ("lost", "i8"), ("expected", "u8"), ("high", "u8"),
    ],
    align=True,
)  # fmt: skip


@jit
def track(arbiter, line, data, length, now_ns, request):
    """Follow the sequence without decoding; ``length`` -1 only lets time pass. Returns bytes to send of ``request``."""
    if length >= 0:
        mold_packet(arbiter, line, data, length, now_ns, ZERO)
        mold_take_reset(arbiter)
        while mold_next(arbiter):
            pass
    return mold_poll(arbiter, now_ns, request)


@jit
def _elapse(check, now_ns):
    c = view(check, CHECK)
    mold_poll(c.arbiter, now_ns, c.request)
    feed_line_state(c.feed, mold_state(c.arbiter, now_ns), now_ns, c.out)


@jit
def _apply_all(check):
    c = view(check, CHECK)
    a = view(c.arbiter, ARBITER)
    while mold_next(c.arbiter):
        count = itch_message(c.feed, a.message, a.length, a.sequence, a.local_ts, a.origin_tsc, c.out)
        for index in range(count):
            if view(c.out + (U64(index) << _RECORD_SHIFT), RECORD).kind == TRADE:
                c.trades += 1


@jit
def apply_datagram(check, line, data, length, now_ns):
    """One datagram through arbiter and feed (CHECK at address ``check``); length -1 only lets time pass."""
    c = view(check, CHECK)
    a = view(c.arbiter, ARBITER)
    _elapse(check, now_ns)
    if length < 0:
        return
    c.expected, c.high = a.expected, a.high
    mold_packet(c.arbiter, line, data, length, now_ns, ZERO)
    if mold_take_reset(c.arbiter):
        c.lost += np.int64(c.high - c.expected)
        feed_reset(c.feed, now_ns, c.out)
    _apply_all(check)
    _elapse(check, now_ns)


class _Source:
    """A socket of the capture, and what it has brought."""

    def __init__(self, tag: str, sock: socket.socket) -> None:
        self.tag, self.socket = tag, sock
        self.datagrams = self.bytes = self.stamped = self.kernel_drops = self.truncated = self.errors = 0
        for option in (SO_TIMESTAMPNS, _SO_RXQ_OVFL):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            except OSError:
                # Optional: without stamps the time of reading is kept, and ``stamped`` says so.
                continue

    def receive(self, buffer: memoryview) -> tuple[int, int]:
        """(length, receive time) of the next datagram, now in ``buffer``; length -1 if there is none."""
        try:
            length, control, flags, _ = self.socket.recvmsg_into([buffer], _CONTROL_BYTES)
        except BlockingIOError:
            return -1, 0
        except OSError:
            # Such as an ICMP answer of a re-request server that is gone.
            self.errors += 1
            return -1, 0
        receive_ns = self._stamp(control)
        self.datagrams, self.bytes = self.datagrams + 1, self.bytes + length
        self.truncated += bool(flags & socket.MSG_TRUNC)
        return length, receive_ns

    def _stamp(self, control: list[tuple[int, int, bytes]]) -> int:
        receive_ns = 0
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == 16:
                seconds, nanoseconds = struct.unpack("=qq", data)
                receive_ns = seconds * 1_000_000_000 + nanoseconds
                self.stamped += 1
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self.kernel_drops = struct.unpack("=I", data)[0]
        return receive_ns or wall_ns()


class RawCapture:
    """Lines A and B, and the re-request server if there is one, into a raw capture. Close it when done.

    Args:
        path: the file; made new.
        udp: where the feed is.

    Raises:
        RecordError: the file exists or cannot be made. ValueError, OSError: a line that cannot be joined, by name.
    """

    def __init__(self, path: str | Path, udp: Udp) -> None:
        self.facts: list[str] = []
        self.sources: list[_Source] = []
        self._buffer = np.zeros(DATAGRAM_BYTES, np.uint8)
        self._arbiter, self._request = aligned(arbiter_bytes()), np.zeros(64, np.uint8)
        arbiter_init(self._arbiter)
        self.requests = 0
        try:
            self._open(udp)
            self.writer = RawWriter(path)
        except (OSError, ValueError, RecordError):
            self._close_sockets()
            raise

    def _open(self, udp: Udp) -> None:
        if udp.request_port:
            # Compiled before there are datagrams to pile up.
            track.compile("(uint64, int64, uint64, int64, int64, uint64)")
        for tag, group, port in (("A", udp.group_a, udp.port_a), ("B", udp.group_b, udp.port_b)):
            opened = open_line(group, port, interface=udp.interface)
            self.sources.append(_Source(tag, opened.socket))
            self.facts += [f"{tag} {fact}" for fact in opened.facts]
        if udp.request_port:
            opened = open_request(udp.request_address, udp.request_port, interface=udp.interface)
            self.sources.append(_Source("R", opened.socket))

    def run(self, stop: np.ndarray, duration_s: float | None) -> None:
        """Keep datagrams until the stop word (uint64 array of length 1) is set or the time is over."""
        deadline = steady_ns() + int(duration_s * 1e9) if duration_s else 0
        by_fd = {source.socket.fileno(): line for line, source in enumerate(self.sources)}
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        idle_ms = ASKING_MS if len(self.sources) == len(TAGS) else IDLE_MS
        while not stop[0] and not (deadline and steady_ns() >= deadline):
            for fd, _ in poll.poll(idle_ms):
                self._drain(by_fd[fd])
            self._track(0, -1)

    def _drain(self, line: int) -> None:
        source, buffer = self.sources[line], self._buffer.data
        for _ in range(BATCH):
            length, receive_ns = source.receive(buffer)
            if length < 0:
                return
            self.writer.append(receive_ns, source.tag, buffer[:length])
            self._track(line, length)

    def _track(self, line: int, length: int) -> None:
        """Ask for what is missing, if there is anyone to ask."""
        if len(self.sources) < len(TAGS):
            return
        size = track(
            np.uint64(self._arbiter.ctypes.data), np.int64(line), np.uint64(self._buffer.ctypes.data),
            np.int64(length), np.int64(steady_ns()), np.uint64(self._request.ctypes.data),
        )  # fmt: skip
        if size > 0:
            self.requests += 1
            try:
                self.sources[-1].socket.send(self._request[:size].data)
            except OSError:
                self.sources[-1].errors += 1

    def _close_sockets(self) -> None:
        for source in self.sources:
            source.socket.close()

    def close(self) -> None:
        """Close the sockets and the file; what went wrong with the file is in ``writer.error``."""
        self._close_sockets()
        self.writer.close()

    def summary(self) -> str:
        """What was kept and what could not be; after :meth:`close`."""
        rows = [
            f"line {s.tag}: {s.datagrams} datagrams, {s.bytes} bytes, {s.stamped} with the kernel's stamp; not taken: "
            f"{s.kernel_drops} dropped by the kernel, {s.truncated} cut, {s.errors} receive errors"
            for s in self.sources
        ]
        if len(self.sources) == len(TAGS):
            rows.append(f"re-requests sent: {self.requests}")
        rows.append(
            f"{self.writer.path}: {self.writer.frames} frames, {self.writer.bytes_written} bytes; "
            f"{self.writer.dropped} frames dropped"
        )
        return "\n".join(rows)


def record_raw(path: str, udp: Udp, duration_s: float | None, say: Callable[[str], None]) -> int:
    """Capture the configured lines until SIGINT, SIGTERM or the end of ``duration_s``.

    Returns:
        1 if the file lacks frames that were received, else 0.

    Raises:
        RecordError, ValueError, OSError: as :class:`RawCapture`.
    """
    capture, stop = RawCapture(path, udp), np.zeros(1, np.uint64)

    def on_signal(*_: object) -> None:
        stop[0] = 1

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        lines = f"{udp.group_a}:{udp.port_a} and {udp.group_b}:{udp.port_b} on {udp.interface}"
        say(f"capturing {lines} to {path} ({'; '.join(capture.facts)})")
        capture.run(stop, duration_s)
    finally:
        capture.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    say(capture.summary())
    if capture.writer.error is not None:
        say(f"the file is incomplete: {capture.writer.error}")
    return int(bool(capture.writer.dropped or capture.writer.error))


@dataclass
class RawCheck:
    """What a raw capture holds.

    Attributes:
        counts: counters by name; missing: messages known to exist that are not in the file.
        books: (symbol, state, bid, bid_qty, ask, ask_qty), prices and quantities in 1e-8.
        problems: why it is not ``ok``; notes: what else is worth knowing.
    """

    counts: dict[str, int]
    missing: int
    books: list[tuple[str, str, int, int, int, int]]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing corrupt, nothing missing, every change applied, and something there at all."""
        return not self.problems

    def render(self) -> str:
        """The result as text: one ``name value`` line each, the books, then notes and problems."""
        rows = [f"{name} {value}" for name, value in self.counts.items()] + [f"missing {self.missing}"]
        for symbol, state, *top in self.books:
            bid, bid_qty, ask, ask_qty = map(format_fixed, top)
            rows.append(f"book {symbol} {state} bid {bid} x {bid_qty} ask {ask} x {ask_qty}")
        return "\n".join([*rows, *(f"note: {n}" for n in self.notes), *(f"problem: {p}" for p in self.problems)])


def _in_time_order(reader: RawReader) -> Iterator[tuple[int, int, RawFrame]]:
    """(time, number, frame): frames of one source as written, those of different sources by time."""
    waiting: list[tuple[int, int, RawFrame]] = []
    for number, frame in enumerate(reader):
        heapq.heappush(waiting, (frame.receive_ns, number, frame))
        if len(waiting) > REORDER:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


class _Rig:
    """Arbiter and feed in plain memory."""

    def __init__(self, instruments: np.ndarray, levels: int) -> None:
        self.instruments = instruments
        self._arbiter = aligned(arbiter_bytes(slots=CHECK_SLOTS))
        self._feed = aligned(feed_bytes(len(instruments), ORDER_SLOTS, levels))
        self._out, self._request = np.zeros(out_room(len(instruments)), RECORD), np.zeros(64, np.uint8)
        arbiter_init(self._arbiter, slots=CHECK_SLOTS)
        feed_init(self._feed, instruments, ORDER_SLOTS, levels)
        self.arbiter, self.feed = (
            self._arbiter[: ARBITER.itemsize].view(ARBITER),
            self._feed[: FEED.itemsize].view(FEED),
        )
        self.check = np.zeros(1, CHECK)
        for name, memory in (
            ("arbiter", self._arbiter),
            ("feed", self._feed),
            ("out", self._out),
            ("request", self._request),
        ):
            self.check[name] = memory.ctypes.data

    def apply(self, line: int, data: np.ndarray, length: int, now_ns: int) -> None:
        apply_datagram(
            np.uint64(self.check.ctypes.data),
            np.int64(line),
            np.uint64(data.ctypes.data),
            np.int64(length),
            np.int64(now_ns),
        )

    def books(self) -> list[tuple[str, str, int, int, int, int]]:
        result = []
        for index, row in enumerate(self.instruments):
            start = int(feed_book(np.uint64(self._feed.ctypes.data), np.int64(index))) - self._feed.ctypes.data
            book = self._feed[start : start + BOOK.itemsize].view(BOOK)[0]
            bid, bid_qty, ask, ask_qty = (int(book[name]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
            symbol, state = bytes(row["symbol"]).decode(), BOOK_STATE_NAMES[int(book["state"])]
            result.append((symbol, state, bid, bid_qty, ask, ask_qty))
        return result


def check_raw(path: str | Path, instruments: np.ndarray, levels: int) -> RawCheck:
    """Rebuild the books of a raw capture of ITCH lines with the production decoder.

    Args:
        instruments: INSTRUMENT array; levels: price levels a side of each book.

    Raises:
        RecordError: no raw capture, or one of something else. ValueError: an instrument the wire cannot carry.
    """
    reader, rig = RawReader(path, valid_prefix=True), _Rig(instruments, levels)
    data, last_ns, datagrams = np.zeros(DATAGRAM_BYTES, np.uint8), 0, 0
    for receive_ns, number, frame in _in_time_order(reader):
        if frame.source not in TAGS or len(frame.data) > DATAGRAM_BYTES:
            raise RecordError(f"{path}: frame {number} from {frame.source!r} is no datagram of an ITCH line")
        data[: len(frame.data)] = np.frombuffer(frame.data, np.uint8)
        # The wall clock may have been set back; time here does not go back.
        last_ns, datagrams = max(last_ns, receive_ns), datagrams + 1
        rig.apply(TAGS.index(frame.source), data, len(frame.data), last_ns)
    # What is still open is a gap by now.
    rig.apply(0, data, -1, last_ns + int(rig.arbiter["wait_ns"][0]))
    return _result(reader, rig, datagrams)


def _result(reader: RawReader, rig: _Rig, datagrams: int) -> RawCheck:
    a, f = rig.arbiter[0], rig.feed[0]
    missing = int(a["high"]) - int(a["expected"]) + int(rig.check["lost"][0])
    counts = {"datagrams": datagrams, "messages": int(f["messages"]), "sessions": int(a["sessions"])}
    counts |= {name: int(a[name]) for name in ("holes", "gaps", "recovered", "overflows", "too_long")}
    counts |= {name: int(a[name].sum()) for name in ("duplicates", "malformed")}
    counts |= {"trades": int(rig.check["trades"][0]), "damages": int(f["damages"]), "dropped": reader.dropped}
    check = RawCheck(counts, missing, rig.books())
    for problem in reader.problems:
        (check.problems if problem.kind == CORRUPT else check.notes).append(str(problem))
    if missing:
        check.problems.append(f"{missing} messages are not in the capture, the next of them {int(a['expected'])}")
    if counts["damages"]:
        check.problems.append(f"{counts['damages']} changes could not be applied")
    if not counts["messages"]:
        check.problems.append("no message could be applied")
    if int(a["ended"]):
        check.notes.append("the session has ended: no book is VALID after that")
    return check
