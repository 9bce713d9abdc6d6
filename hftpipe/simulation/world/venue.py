"""The venue's boundary: the simulated exchange behind C pointers, with everything that crosses it noted and bent.

::

    gateway ─ submit ─▶ log ─▶ exchange ─ its outbound reports (the truth) ─▶ released ─▶ faults ─▶ inbox ─ poll ─▶ gateway

The compiled half only logs, forwards and hands out; what is delayed, repeated or swapped is decided in Python by the
seed. Executions are numbered in ``seq``, so that a repeated fill carries its number again. Reports of one order keep
their order, as on one connection; those of different orders need not.
"""

import random
from collections import deque
from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, view
from hftpipe.core.schema.reasons import VENUE_BUSY
from hftpipe.core.schema.records import (
    ACK,
    CANCEL,
    CANCEL_REJECT,
    FILL,
    NEW,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACED,
    UNASKED,
)
from hftpipe.simulation.world.truth import Fields, Truth, bytes_of, fields_of
from hftpipe.venues.paper.exchange import EXCHANGE, exchange_advance, exchange_report_room, market, poll, submit
from hftpipe.venues.paper.own_orders import OWN
from hftpipe.venues.paper.reports import report_order
from hftpipe.venues.paper.requests import find_own
from hftpipe.venues.paper.state import MARKET, market_at

INBOX = 1 << 12
LOG = 1 << 10
VENUE = np.dtype(
    [
        ("exchange", "u8"), ("log", "u8"), ("logged", "u8"), ("inbox", "u8"), ("head", "u8"), ("tail", "u8"),
        # Faults: take nothing; refuse so many NEWs with a REJECT, CANCELs with a CANCEL_REJECT. Planted bug: send
        # everything twice.
        ("busy", "i8"), ("reject", "i8"), ("refuse_cancels", "i8"), ("twice", "i8"), ("_pad", "u8", 6),
    ],
    align=True,
)  # fmt: skip
_LOG_MASK, _INBOX_MASK = np.uint64(LOG - 1), np.uint64(INBOX - 1)
#: Fate of a logged request, in its ``seq``.
TAKEN, REFUSED = 1, 2


@entry("int64(uint64, int64)")
def submit_entry(venue, request):
    """Log a request and hand it to the exchange: 1, or 0 when it cannot be taken now."""
    v = view(venue, VENUE)
    if v.busy != 0:
        return np.int64(0)
    slot = v.log + U64(RECORD_BYTES) * (v.logged & _LOG_MASK)
    copy_bytes(slot, np.uint64(request), np.int64(RECORD_BYTES))
    r = view(slot, RECORD)
    if r.kind == NEW and v.reject > 0:
        v.reject -= 1
        r.seq = U64(REFUSED)
    elif r.kind == CANCEL and v.refuse_cancels > 0:
        v.refuse_cancels -= 1
        r.seq = U64(REFUSED)
    else:
        if submit(v.exchange, np.uint64(request)) == 0:
            return np.int64(0)
        r.seq = U64(TAKEN)
    v.logged += ONE
    if v.twice != 0:
        again = v.log + U64(RECORD_BYTES) * (v.logged & _LOG_MASK)
        copy_bytes(again, slot, np.int64(RECORD_BYTES))
        v.logged += ONE
    return np.int64(1)


@entry("int64(uint64, int64)")
def market_entry(venue, record):
    """The paper venue's market."""
    return market(view(venue, VENUE).exchange, np.uint64(record))


@entry("int64(uint64, int64)")
def poll_entry(venue, out):
    """The next report that has come through: 1, or 0."""
    v = view(venue, VENUE)
    if v.head == v.tail:
        return np.int64(0)
    copy_bytes(np.uint64(out), v.inbox + U64(RECORD_BYTES) * (v.head & _INBOX_MASK), np.int64(RECORD_BYTES))
    v.head += ONE
    return np.int64(1)


@jit
def _shrink(exchange, instrument, id_):
    """Halve what is left of a resting order (in lots), and report it: 1, or 0 if there is nothing to take away."""
    ex = view(exchange, EXCHANGE)
    m = view(market_at(ex, instrument), MARKET)
    slot = find_own(m, id_)
    if slot == ZERO or exchange_report_room(exchange) == 0:
        return np.int64(0)
    order = view(slot, OWN)
    left = (order.qty - order.filled) // m.lot
    if left < 2:
        return np.int64(0)
    order.qty -= left // 2 * m.lot
    report_order(ex, order, np.int64(REPLACED), order.price, order.qty, np.int64(UNASKED))
    return np.int64(1)


@dataclass(frozen=True)
class ReportFaults:
    """Chances per report, and the longest delay."""

    delay: float = 0.0
    max_delay_ns: int = 0
    repeat_fill: float = 0.0
    repeat_ack: float = 0.0
    swap: float = 0.0


class Venue:
    """The Python half of the boundary.

    Args:
        exchange: the exchange's memory.
        truth: told of every request and execution.
        rng: the seed's generator.
        faults: what happens to reports on their way.
    """

    def __init__(self, exchange: np.ndarray, truth: Truth, rng: random.Random, faults: ReportFaults) -> None:
        self.truth, self._rng, self.faults = truth, rng, faults
        self._log = _records(LOG)
        self._inbox = _records(INBOX)
        self.state = _records(2).reshape(-1).view(VENUE)
        self.state["exchange"], self.state["log"] = exchange.ctypes.data, self._log.ctypes.data
        self.state["inbox"] = self._inbox.ctypes.data
        header = exchange[: EXCHANGE.itemsize].view(EXCHANGE)
        self._header, self._exchange = header, np.uint64(exchange.ctypes.data)
        at = int(header["outbound"][0]) - exchange.ctypes.data
        slots = int(header["out_mask"][0]) + 1
        self._outbound = exchange[at : at + slots * RECORD_BYTES].reshape(slots, RECORD_BYTES)
        self._seen_log = self._seen_out = self._numbered = self.delivered = 0
        self._out = _records(1)
        self._under_way: deque[tuple[int, bytes]] = deque()
        self._held: dict[int, int] = {}
        self.repeated_acks = self.repeated_fills = self.lost = self.refused_cancels = self.shrunk = 0
        #: Planted bugs: the next fill never arrives; repeated fills cannot be told from new ones.
        self.lose_next = self.hide_numbers = False
        self.requests: list[Fields] = []
        #: What its own market played to the exchange, and what the exchange decided; whoever checks them clears them.
        self.played: list[Fields] = []
        self.executed: list[Fields] = []

    @property
    def address(self) -> int:
        """Address of the VENUE record."""
        return self.state.ctypes.data

    def advance(self, now_ns: int) -> None:
        """Time of a venue that has its own market (not the paper wiring)."""
        exchange_advance(self._exchange, np.int64(now_ns))

    def play(self, raw: np.ndarray) -> None:
        """Play one market record (a RECORD array of length 1) to a venue that has its own market."""
        while market(self._exchange, np.uint64(raw.ctypes.data)) == 0:
            self.collect(0)
        self.played.append(fields_of(raw.tobytes()))

    def shrink(self, id_: int, instrument: int) -> None:
        """The venue takes half of what is left of an order away, of its own accord."""
        self.shrunk += int(_shrink(self._exchange, np.int64(instrument), np.uint64(id_)))

    def has_news(self) -> bool:
        """Whether something crossed the boundary since the last :meth:`observe`."""
        return self.state["logged"][0] != self._seen_log or self._header["out_next"][0] != self._seen_out

    def observe(self, now_ns: int) -> list[Fields]:
        """Tell the truth what crossed the boundary since the last call: the requests among it."""
        logged, sent = int(self.state["logged"][0]), []
        while self._seen_log < logged:
            request = fields_of(self._log[self._seen_log % LOG].tobytes())
            self._seen_log += 1
            sent.append(request)
            self.truth.send(request, request.seq == TAKEN)
            if request.seq == REFUSED and request.kind == NEW:
                self._put(now_ns, request._replace(kind=REJECT, flags=VENUE_BUSY, seq=0))
            elif request.seq == REFUSED:
                self.refused_cancels += 1
                self._put(now_ns, request._replace(kind=CANCEL_REJECT, flags=VENUE_BUSY, price=0, qty=0, seq=0))
        decided = int(self._header["out_next"][0])
        while self._seen_out < decided:
            report = fields_of(self._outbound[self._seen_out % len(self._outbound)].tobytes())
            self.truth.execute(report)
            self.executed.append(report)
            self._seen_out += 1
        self.requests += sent
        return sent

    def collect(self, now_ns: int) -> None:
        """Take the reports that have travelled back, number the fills, and send them through the faults."""
        if self._header["out_next"][0] == self._header["out_done"][0]:
            return
        out = np.uint64(self._out.ctypes.data)
        while poll(self._exchange, out) == 1:
            report = fields_of(self._out[0].tobytes())
            if report.kind == FILL:
                self._numbered += 1
                report = report._replace(seq=self._numbered)
            if self.lose_next and report.kind == FILL:
                self.lose_next, self.lost = False, self.lost + 1
                continue
            self._put(now_ns, report)

    def _put(self, now_ns: int, report: Fields) -> None:
        chance, raw = self._rng.random, bytes_of(report)
        due = now_ns
        if chance() < self.faults.delay:
            due += self._rng.randrange(self.faults.max_delay_ns + 1)
        # One connection: an order's reports never overtake one another.
        due = self._held[report.id] = max(due, self._held.get(report.id, 0))
        entry_ = (due, raw)
        if self._under_way and chance() < self.faults.swap and self._may_swap(report):
            self._under_way.insert(len(self._under_way) - 1, entry_)
        else:
            self._under_way.append(entry_)
        if report.kind == FILL and report.seq and chance() < self.faults.repeat_fill:
            self.repeated_fills += 1
            self._under_way.append((due + self._rng.randrange(self.faults.max_delay_ns + 1), raw))
        elif report.kind == ACK and chance() < self.faults.repeat_ack:
            self.repeated_acks += 1
            self._under_way.append(entry_)

    def _may_swap(self, report: Fields) -> bool:
        return fields_of(self._under_way[-1][1]).id != report.id

    def deliver(self, now_ns: int) -> None:
        """Put what is due into the inbox, as far as there is room."""
        if not self._under_way:
            return
        head, tail = int(self.state["head"][0]), int(self.state["tail"][0])
        waiting: deque[tuple[int, bytes]] = deque()
        while self._under_way and tail - head < INBOX:
            due, raw = self._under_way.popleft()
            if due > now_ns:
                waiting.append((due, raw))
                continue
            self._inbox[tail % INBOX] = np.frombuffer(raw, np.uint8)
            if self.hide_numbers:
                self._inbox[tail % INBOX][:8] = 0
            tail += 1
            self.delivered += 1
        waiting.extend(self._under_way)
        self._under_way = waiting
        self.state["tail"] = tail

    def end_faults(self) -> None:
        """From now on everything arrives, once, in order."""
        self.faults = ReportFaults()
        self.state["busy"] = self.state["reject"] = self.state["refuse_cancels"] = 0

    def is_quiet(self) -> bool:
        """Nothing is under way in either direction."""
        h = self._header
        is_idle = h["in_next"][0] == h["in_done"][0] and h["out_next"][0] == h["out_done"][0]
        return bool(is_idle and not self._under_way and self.state["head"][0] == self.state["tail"][0])


def _records(count: int) -> np.ndarray:
    """``count`` zeroed records as rows of 64 bytes, on a cache line."""
    raw = np.zeros(count * RECORD_BYTES + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * RECORD_BYTES].reshape(count, RECORD_BYTES)
