"""The venue's boundary: the simulated exchange behind C pointers, with everything that crosses it noted and bent.

::

    gateway ─ submit ─▶ log ─▶ exchange ─ its outbound reports (the truth) ─▶ released ─▶ faults ─▶ inbox ─ poll ─▶ gateway

The compiled half only logs, forwards and hands out; what is delayed, repeated or swapped is decided in Python by the
seed. A repeated fill carries its number again. Reports of one order keep their order, as on one connection; those of
different orders need not.

:class:`Boundary` is that of any venue, of which nothing is known but what it says; :class:`Venue` is that of the simulated
exchange, whose decisions are seen when they are made.
"""

import random
from collections import deque
from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, call_step, copy_bytes, view
from hftpipe.core.schema.layout import aligned, offset_of
from hftpipe.core.schema.reasons import VENUE_BUSY
from hftpipe.core.schema.records import (
    ACK,
    CANCEL,
    CANCEL_REJECT,
    EXECUTION,
    FILL,
    NEW,
    RECORD,
    RECORD_BYTES,
    REJECT,
    REPLACED,
    UNASKED,
)
from hftpipe.journal.layout import JOURNAL
from hftpipe.simulation.world.truth import Fields, Truth, bytes_of, fields_of
from hftpipe.simulation.world.words import word_of, words_of
from hftpipe.venues.paper.exchange import EXCHANGE, exchange_advance, exchange_report_room, market, poll
from hftpipe.venues.paper.own_orders import OWN
from hftpipe.venues.paper.reports import report_order
from hftpipe.venues.paper.requests import find_own
from hftpipe.venues.paper.state import MARKET, market_at

INBOX = 1 << 12
LOG = 1 << 10
VENUE = np.dtype(
    [
        # The venue behind it, and its function that takes a request.
        ("inner", "u8"), ("inner_submit", "u8"),
        ("log", "u8"), ("logged", "u8"), ("inbox", "u8"), ("head", "u8"), ("tail", "u8"),
        # Faults: take nothing; refuse so many NEWs with a REJECT, CANCELs with a CANCEL_REJECT. Planted bug: send
        # everything twice.
        ("busy", "i8"), ("reject", "i8"), ("refuse_cancels", "i8"), ("twice", "i8"),
        # The gateway's JOURNAL (0: none): the number of its last entry is noted with each request.
        ("journal", "u8"), ("_pad", "u8", 4),
    ],
    align=True,
)  # fmt: skip
_LOG_MASK, _INBOX_MASK = np.uint64(LOG - 1), np.uint64(INBOX - 1)
_LOGGED, _HEAD, _TAIL, _BUSY = (word_of(VENUE, field) for field in ("logged", "head", "tail", "busy"))
_REJECT, _REFUSE_CANCELS = word_of(VENUE, "reject"), word_of(VENUE, "refuse_cancels")
_IN_NEXT, _IN_DONE = word_of(EXCHANGE, "in_next"), word_of(EXCHANGE, "in_done")
_OPEN_UPDATE = word_of(EXCHANGE, "open_update")
_OUT_NEXT, _OUT_DONE = word_of(EXCHANGE, "out_next"), word_of(EXCHANGE, "out_done")
_KIND_AT, _NUMBER_AT = offset_of(EXECUTION, "kind"), offset_of(EXECUTION, "trade_id")
_NEVER, _LAST_ID = 1 << 63, 0xFFFFFFFF
#: Fate of a logged request, in its ``seq``.
TAKEN, REFUSED = 1, 2


def _refusal(request: Fields, kind: int) -> Fields:
    """A report of ``kind`` on a request, without a number of the venue's and without a time."""
    return request._replace(seq=0, origin_tsc=0, exchange_ts=0, kind=kind, flags=VENUE_BUSY)


@entry("int64(uint64, int64)")
def submit_entry(venue, request):
    """Log a request and hand it to the venue: as that takes it, or 0 when it cannot be taken now."""
    v, taken = view(venue, VENUE), np.int64(1)
    if v.busy != 0:
        return np.int64(0)
    slot = v.log + U64(RECORD_BYTES) * (v.logged & _LOG_MASK)
    copy_bytes(slot, np.uint64(request), np.int64(RECORD_BYTES))
    r = view(slot, RECORD)
    if v.journal != ZERO:
        r.exchange_ts = np.int64(view(v.journal, JOURNAL).seq)
    if r.kind == NEW and v.reject > 0:
        v.reject -= 1
        r.seq = U64(REFUSED)
    elif r.kind == CANCEL and v.refuse_cancels > 0:
        v.refuse_cancels -= 1
        r.seq = U64(REFUSED)
    else:
        taken = call_step(v.inner_submit, v.inner, request)
        if taken == 0:
            return np.int64(0)
        r.seq = U64(TAKEN)
    v.logged += ONE
    if v.twice != 0:
        again = v.log + U64(RECORD_BYTES) * (v.logged & _LOG_MASK)
        copy_bytes(again, slot, np.int64(RECORD_BYTES))
        v.logged += ONE
    return taken


@jit
def _poll_inner(function, inner, out):
    return call_step(function, inner, np.int64(out))


@entry("int64(uint64, int64)")
def market_entry(venue, record):
    """The paper venue's market."""
    return market(view(venue, VENUE).inner, np.uint64(record))


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
def _play(exchange, records, first, count):
    """Play market records from number ``first`` on: how far it came, short of ``count`` if reports must be collected first."""
    index = first
    while index < count and market(exchange, U64(records) + U64(RECORD_BYTES) * U64(index)) != 0:
        index += 1
    return index


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


class Boundary:
    """The Python half of the boundary of any venue, of which nothing is known but what it says.

    Args:
        inner: address of the venue behind it; submit, poll: addresses of its functions.
        truth: told of every request and of everything the venue says.
        rng: the seed's generator.
        faults: what happens to reports on their way.

    The venue numbers its instruments from 0; what is said of requests and executions has the pipeline's ids.
    """

    def __init__(
        self, inner: int, submit: int, poll_at: int, truth: Truth, rng: random.Random, faults: ReportFaults
    ) -> None:
        self.truth, self._rng, self.faults, self._first = truth, rng, faults, truth.first
        self._log = _records(LOG)
        self._inbox = _records(INBOX)
        self.state = _records(2).reshape(-1).view(VENUE)
        self.state["inner"], self.state["inner_submit"] = inner, submit
        self.state["log"], self.state["inbox"] = self._log.ctypes.data, self._inbox.ctypes.data
        self._words = words_of(self.state)
        self._inner, self._poll = np.uint64(inner), np.uint64(poll_at)
        self._seen_log = self.delivered = 0
        self._out = _records(1)
        self._out_at = np.uint64(self._out.ctypes.data)
        self._under_way: deque[tuple[int, bytes]] = deque()
        #: When the first of them is due.
        self._next_due = _NEVER
        self._held: dict[int, int] = {}
        self.repeated_acks = self.repeated_fills = self.lost = self.refused_cancels = self.shrunk = 0
        #: Planted bugs: the next fill never arrives; repeated fills cannot be told from new ones.
        self.lose_next = self.hide_numbers = False
        self.requests: list[Fields] = []
        #: What its own market played to the exchange, and what the venue decided; whoever checks them clears them.
        self.played: list[Fields] = []
        self.executed: list[Fields] = []
        #: What it has said since the last :meth:`observe`.
        self._said: list[Fields] = []

    @property
    def address(self) -> int:
        """Address of the VENUE record."""
        return self.state.ctypes.data

    def _ours(self, record: Fields) -> Fields:
        """A record as the pipeline numbers instruments."""
        return record._replace(instrument=(record.instrument + self._first) & _LAST_ID) if self._first else record

    def _hear(self) -> None:
        """Take what the venue says."""
        while _poll_inner(self._poll, self._inner, self._out_at) == 1:
            self._said.append(fields_of(self._out[0].tobytes()))

    def note_journal(self, journal: int) -> None:
        """Note with each request (in its second time stamp) the number of the last entry of the JOURNAL at this address."""
        self.state["journal"] = journal

    @property
    def n_logged(self) -> int:
        """How many requests have been handed over."""
        logged: int = self._words[_LOGGED]
        return logged

    def logged_since(self, number: int) -> list[bytes]:
        """The requests from that number on."""
        return [self._log[at % LOG].tobytes() for at in range(number, self.n_logged)]

    def shrink(self, id_: int, instrument: int) -> None:
        """Not known of this venue: it takes nothing away of its own accord."""

    def advance(self, now_ns: int) -> None:
        """Time passes, of which it knows by itself."""

    def is_between_updates(self) -> bool:
        """Whether it is in the midst of no update of its market, as far as one knows."""
        return True

    def is_still(self, now_ns: int) -> bool:
        """Whether nothing has crossed the boundary since the last :meth:`observe`, and there is nothing to take or deliver."""
        self._hear()
        return not self._said and now_ns < self._next_due and self._words[_LOGGED] == self._seen_log

    def has_news(self) -> bool:
        """Whether something crossed the boundary since the last :meth:`observe`."""
        return bool(self._said) or self._words[_LOGGED] != self._seen_log

    def observe(self, now_ns: int) -> list[Fields]:
        """Tell the truth what crossed the boundary since the last call: the requests among it."""
        sent = self._observe_requests(now_ns)
        for report in self._said:
            self._decided(self._ours(report))
        return sent

    def _observe_requests(self, now_ns: int) -> list[Fields]:
        logged, sent = self._words[_LOGGED], []
        while self._seen_log < logged:
            request = fields_of(self._log[self._seen_log % LOG].tobytes())
            self._seen_log += 1
            sent.append(self._ours(request))
            self.truth.send(sent[-1], request.seq == TAKEN)
            if request.seq == REFUSED and request.kind == NEW:
                self._put(now_ns, _refusal(request, REJECT))
            elif request.seq == REFUSED:
                self.refused_cancels += 1
                self._put(now_ns, _refusal(request, CANCEL_REJECT)._replace(price=0, qty=0))
        self.requests += sent
        return sent

    def _decided(self, report: Fields) -> None:
        self.truth.execute(report)
        self.executed.append(report)

    def collect(self, now_ns: int) -> None:
        """Send what the venue said through the faults."""
        said, self._said = self._said, []
        for report in said:
            self._send(now_ns, report)

    def _send(self, now_ns: int, report: Fields) -> None:
        if self.lose_next and report.kind == FILL:
            self.lose_next, self.lost = False, self.lost + 1
        else:
            self._put(now_ns, report)

    def _put(self, now_ns: int, report: Fields) -> None:
        chance, raw = self._rng.random, bytes_of(report)
        due = now_ns
        if chance() < self.faults.delay:
            due += self._rng.randrange(self.faults.max_delay_ns + 1)
        # One connection: an order's reports never overtake one another.
        due = self._held[report.id] = max(due, self._held.get(report.id, 0))
        entry_ = (due, raw)
        self._next_due = min(self._next_due, due)
        if self._under_way and chance() < self.faults.swap and self._may_swap(report):
            self._under_way.insert(len(self._under_way) - 1, entry_)
        else:
            self._under_way.append(entry_)
        # What is repeated is due no earlier.
        if report.kind == FILL and chance() < self.faults.repeat_fill:
            self.repeated_fills += 1
            self._under_way.append((due + self._rng.randrange(self.faults.max_delay_ns + 1), raw))
        elif report.kind == ACK and chance() < self.faults.repeat_ack:
            self.repeated_acks += 1
            self._under_way.append(entry_)

    def _may_swap(self, report: Fields) -> bool:
        return fields_of(self._under_way[-1][1]).id != report.id

    def deliver(self, now_ns: int) -> None:
        """Put what is due into the inbox, as far as there is room."""
        if now_ns < self._next_due:
            return
        head, tail = self._words[_HEAD], self._words[_TAIL]
        waiting: deque[tuple[int, bytes]] = deque()
        while self._under_way and tail - head < INBOX:
            due, raw = self._under_way.popleft()
            if due > now_ns:
                waiting.append((due, raw))
                continue
            self._inbox[tail % INBOX] = np.frombuffer(raw, np.uint8)
            if self.hide_numbers and raw[_KIND_AT] == FILL:
                self._inbox[tail % INBOX][_NUMBER_AT : _NUMBER_AT + 8] = 0
            tail += 1
            self.delivered += 1
        waiting.extend(self._under_way)
        self._under_way = waiting
        self._next_due = min((due for due, _ in waiting), default=_NEVER)
        self._words[_TAIL] = tail

    def be_busy(self, is_busy: bool) -> None:
        """Whether it takes nothing."""
        self._words[_BUSY] = is_busy

    def refuse(self, news: int) -> None:
        """Refuse the next NEWs, so many."""
        self._words[_REJECT] = news

    def refuse_cancels(self, cancels: int) -> None:
        """Refuse the next CANCELs, so many."""
        self._words[_REFUSE_CANCELS] = cancels

    def end_faults(self) -> None:
        """From now on everything arrives, once, in order."""
        self.faults = ReportFaults()
        self.be_busy(False)
        self.refuse(0)
        self.refuse_cancels(0)

    def is_quiet(self) -> bool:
        """Nothing is under way in either direction."""
        self._hear()
        return not self._said and self.has_delivered()

    def has_delivered(self) -> bool:
        """Nothing that has left it is on its way."""
        return not self._under_way and self._words[_HEAD] == self._words[_TAIL]


class Venue(Boundary):
    """The boundary of the simulated exchange, with its memory: what it decides is seen when it does, not when it is told."""

    def __init__(
        self, exchange: np.ndarray, submit: int, truth: Truth, rng: random.Random, faults: ReportFaults
    ) -> None:
        super().__init__(exchange.ctypes.data, submit, 0, truth, rng, faults)
        header = exchange[: EXCHANGE.itemsize].view(EXCHANGE)
        self._exchange_words = words_of(header)
        at = int(header["outbound"][0]) - exchange.ctypes.data
        slots = int(header["out_mask"][0]) + 1
        self._outbound = exchange[at : at + slots * RECORD_BYTES].reshape(slots, RECORD_BYTES)
        self._seen_out = 0

    def advance(self, now_ns: int) -> None:
        """Time of a venue that has its own market (not the paper wiring)."""
        exchange_advance(self._inner, now_ns)

    def play(self, at: int, records: list[Fields]) -> None:
        """Play market records, of which the first is at address ``at``, to a venue that has its own market."""
        played, count = 0, len(records)
        while (played := int(_play(self._inner, at, played, count))) < count:
            self.collect(0)
        self.played += [self._ours(record) for record in records] if self._first else records

    def shrink(self, id_: int, instrument: int) -> None:
        """The venue takes half of what is left of an order away, of its own accord."""
        self.shrunk += int(_shrink(self._inner, np.int64(instrument - self._first), np.uint64(id_)))

    def is_between_updates(self) -> bool:
        """As of any venue."""
        return self._exchange_words[_OPEN_UPDATE] == 0

    def is_still(self, now_ns: int) -> bool:
        """As of any venue."""
        decided = self._exchange_words[_OUT_NEXT]
        return (
            decided == self._seen_out
            and now_ns < self._next_due
            and decided == self._exchange_words[_OUT_DONE]
            and self._words[_LOGGED] == self._seen_log
        )

    def has_news(self) -> bool:
        """As of any venue."""
        return self._words[_LOGGED] != self._seen_log or self._exchange_words[_OUT_NEXT] != self._seen_out

    def observe(self, now_ns: int) -> list[Fields]:
        """As of any venue."""
        sent, decided = self._observe_requests(now_ns), self._exchange_words[_OUT_NEXT]
        while self._seen_out < decided:
            self._decided(self._ours(fields_of(self._outbound[self._seen_out % len(self._outbound)].tobytes())))
            self._seen_out += 1
        return sent

    def collect(self, now_ns: int) -> None:
        """Take the reports that have travelled back, and send them through the faults."""
        if self._exchange_words[_OUT_NEXT] == self._exchange_words[_OUT_DONE]:
            return
        while poll(self._inner, self._out_at) == 1:
            self._send(now_ns, fields_of(self._out[0].tobytes()))

    def is_quiet(self) -> bool:
        """As of any venue."""
        words = self._exchange_words
        if words[_IN_NEXT] != words[_IN_DONE] or words[_OUT_NEXT] != words[_OUT_DONE]:
            return False
        return self.has_delivered()


def _records(count: int) -> np.ndarray:
    """``count`` zeroed records as rows of 64 bytes, on a cache line."""
    return aligned(count * RECORD_BYTES).reshape(count, RECORD_BYTES)
