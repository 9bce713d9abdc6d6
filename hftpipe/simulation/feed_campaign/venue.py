"""The exchange of the feed campaign: the simulated exchange's flows, books and publisher, without sockets or clock."""

from functools import cache

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.machine.random import random_init
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.layout import Pieces, aligned
from hftpipe.simulation.exchange_server.publisher import (
    PUBLISHER,
    publish_book,
    publish_directory,
    publish_events,
    publish_flush,
    publish_system,
)
from hftpipe.simulation.exchange_server.retransmit import STORE, store_bytes, store_init
from hftpipe.simulation.feed_campaign.truth import INSTRUMENTS, TICK, History, note_book, note_events
from hftpipe.simulation.flow.decide import decide
from hftpipe.simulation.flow.fair_value import advance_fair_value
from hftpipe.simulation.flow.flow import flow_book, flow_init, perform, wait_ns
from hftpipe.simulation.flow.state import FLOW, flow_bytes
from hftpipe.simulation.matching.engine import match_events_clear
from hftpipe.venues.nasdaq.itch.encode import ENCODER, encoder_init
from hftpipe.venues.nasdaq.itch.mold import END_OF_SESSION, PACKET, PACKET_BYTES_MAX, put_header, session_words

SHARE = 10**8
SYMBOLS = ("TEST", "OTHER")
STORE_MESSAGES = 1 << 14
#: The session starts at 09:30 on its own clock.
OPEN_NS = 34_200 * 10**9
#: Different markets that seeds begin with; each is warmed up once a process.
IMAGES = 4
_SCRATCH_BYTES = 2048


def instruments() -> np.ndarray:
    """The instruments of the campaign, as INSTRUMENT rows."""
    rows = np.zeros(INSTRUMENTS, INSTRUMENT)
    rows["symbol"], rows["tick"], rows["lot"] = [name.encode() for name in SYMBOLS], TICK, SHARE
    rows["reference_price"] = 100 * 10**8, 40 * 10**8
    return rows


@cache
def _image(number: int, instrument: int, rate_per_s: float) -> np.ndarray:
    memory = aligned(flow_bytes())
    flow_init(memory, instruments()[instrument], instrument, 1_000 * number + instrument, rate_per_s, OPEN_NS)
    return memory


@jit
def _play(flow, publisher, history, due_ts, now_ns, max_events):
    """The events of a flow that are due, noted and published; returns their number."""
    f, book = view(flow, FLOW), flow_book(flow)
    done = np.int64(0)
    while f.next_ts <= due_ts and done < max_events:
        advance_fair_value(flow, np.float64(f.next_ts - f.now_ts) * 1e-9)
        f.now_ts = f.next_ts
        decide(flow)
        perform(flow)
        f.next_ts = f.now_ts + wait_ns(flow)
        note_events(history, book, f.instrument, view(view(publisher, PUBLISHER).store, STORE).next_sequence)
        publish_events(publisher, book, f.instrument, f.now_ts, now_ns)
        match_events_clear(book)
        done += 1
    return done


@jit
def _open(flows, stride, publisher, history, now_ns):
    """The start of a session, as the simulated exchange opens one."""
    p = view(publisher, PUBLISHER)
    for code in (79, 83):
        publish_system(publisher, np.int64(code), np.int64(OPEN_NS), now_ns)
    for instrument in range(p.n_instruments):
        publish_directory(publisher, np.int64(instrument), np.int64(OPEN_NS), now_ns)
    publish_system(publisher, np.int64(81), np.int64(OPEN_NS), now_ns)
    for instrument in range(p.n_instruments):
        book = flow_book(flows + stride * U64(instrument))
        note_book(history, book, np.int64(instrument), view(p.store, STORE).next_sequence)
        publish_book(publisher, book, np.int64(instrument), np.int64(OPEN_NS), now_ns)
    publish_flush(publisher, now_ns)


class Venue:
    """Two instruments and one publisher.

    Attributes:
        sessions: History of every session by its two words; session: the words of the present one.
    """

    def __init__(self, seed: int, rate_per_s: float, heartbeat_ns: int, lines: tuple[int, int]) -> None:
        stride = flow_bytes()
        self._flows = aligned(stride * INSTRUMENTS)
        for index in range(INSTRUMENTS):
            flow = self._flows[index * stride : (index + 1) * stride]
            flow[:] = _image(seed % IMAGES, index, rate_per_s)
            random_init(np.uint64(flow.ctypes.data), np.uint64(INSTRUMENTS * seed + index))
        self._stride, self.flows = np.uint64(stride), np.uint64(self._flows.ctypes.data)
        self._memory = Pieces()
        self._publisher_init(lines, heartbeat_ns)
        self.heartbeat_ns, self.session = heartbeat_ns, (0, 0)
        self.sessions: dict[tuple[int, int], History] = {}

    def _publisher_init(self, lines: tuple[int, int], heartbeat_ns: int) -> None:
        encoders = self._memory.make("encoders", (ENCODER, INSTRUMENTS))
        for index, symbol in enumerate(SYMBOLS):
            encoder_init(encoders[index : index + 1], index + 1, symbol, SHARE)
        self.packet = self._memory.make("packet", (PACKET, 1))
        self.packet["data"] = self._memory.make("data", _SCRATCH_BYTES).ctypes.data
        self.packet["capacity"] = PACKET_BYTES_MAX
        self._memory.make("store", store_bytes(STORE_MESSAGES))
        self.state = self._memory.make("publisher", (PUBLISHER, 1))
        for name in ("packet", "store", "encoders"):
            self.state[name] = self._memory.address(name)
        self.state["scratch"] = self._memory.make("scratch", _SCRATCH_BYTES).ctypes.data
        self.state["lines"][0], self.state["n_instruments"] = lines, INSTRUMENTS
        self.state["heartbeat_ns"] = heartbeat_ns
        self.address, self.store = np.uint64(self.state.ctypes.data), np.uint64(self._memory.address("store"))

    @property
    def next_sequence(self) -> int:
        """First message that has not been made."""
        return int(self._memory.piece("store")[: STORE.itemsize].view(STORE)["next_sequence"][0])

    @property
    def history(self) -> History:
        """Of the present session."""
        return self.sessions[self.session]

    def open(self, name: str, now_ns: int) -> None:
        """Begin a session: system events, directory, every resting order."""
        self._before = self._memory.piece("store").copy(), self.packet.copy()
        self.session = session_words(name)
        store_init(self._memory.piece("store"), STORE_MESSAGES, self.session)
        self.packet["session_low"], self.packet["session_high"], self.packet["sequence"] = *self.session, 1
        self.packet["count"] = self.packet["length"] = 0
        self.sessions[self.session] = History()
        _open(self.flows, self._stride, self.address, self.history.address, np.int64(now_ns))

    def back(self) -> None:
        """Go on with the session before the present one, as if this had never been opened."""
        self.session = next(one for one in self.sessions if one != self.session)
        self._memory.piece("store")[:], self.packet[:] = self._before

    def end_mark(self) -> bytes:
        """The datagram that ends the present session; everything made so far must have been flushed."""
        out = np.zeros(32, np.uint8)
        low, high = (np.uint64(word) for word in self.session)
        size = put_header(
            np.uint64(out.ctypes.data), low, high, np.uint64(self.next_sequence), np.int64(END_OF_SESSION)
        )
        return out[:size].tobytes()

    def play(self, now_ns: int, max_events: int, flush: bool) -> None:
        """Let happen what is due; ``flush`` sends a packet that is not full, a heartbeat is sent in any case."""
        for index in range(INSTRUMENTS):
            _play(
                self.flows + self._stride * np.uint64(index), self.address, self.history.address,
                np.int64(OPEN_NS + now_ns), np.int64(now_ns), np.int64(max_events),
            )  # fmt: skip
        is_silent = now_ns - int(self.state["last_sent_ns"][0]) >= self.heartbeat_ns
        if is_silent or (flush and self.packet["count"][0] > 0):
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Send the packet as it is, a heartbeat if it is empty."""
        publish_flush(self.address, np.int64(now_ns))

    def book(self, instrument: int) -> np.uint64:
        """Address of an instrument's matching book."""
        address: np.uint64 = flow_book(self.flows + self._stride * np.uint64(instrument))
        return address
