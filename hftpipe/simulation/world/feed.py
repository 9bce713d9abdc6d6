"""The world's market: a synthetic flow per instrument, and the faulty connection over which the pipeline hears of it.

Each event of a flow goes to the :class:`~hftpipe.simulation.world.truth.Reference`, to the venue (if that has a market of its own)
and, as the venue's JSON, onto the connection: depth updates of one or more events, trades, best bid and ask. On the way
messages are lost, delayed, repeated or swapped; a lost connection is a time in which all are lost. Whoever runs the
connection asks for a snapshot when the book has none; it comes late, sometimes stale, sometimes never.
"""

import heapq
import random
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_step
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import BID, BOOK_STATE, LEVEL, RECORD, RECORD_BYTES, TRADE, VALID
from hftpipe.simulation.flow.entries import MAX_RECORDS, snapshot_entry, step_entry
from hftpipe.simulation.flow.flow import flow_init
from hftpipe.simulation.flow.state import FLOW, FLOW_HEADER_BYTES, flow_bytes
from hftpipe.simulation.world.truth import SCALE, Fields, Reference, all_fields_of
from hftpipe.simulation.world.venue import Venue
from hftpipe.simulation.world.words import word_of, words_of

_NS_PER_MS = 1_000_000
_NEXT_TS = word_of(FLOW, "next_ts")
SNAPSHOT_TIMEOUT_NS = 60 * _NS_PER_MS
#: Orders a side of the thinned-out flow, and how long it takes to get there.
_ORDERS, _THINNING_EVENTS = 30, 1500


@jit
def _flow_calls(flow, out, count, step):
    """Call an entry of a flow so many times: how many records the last call has left at address ``out``.

    By its address: called by name, the flow would be compiled once more.
    """
    records = np.int64(0)
    for _ in range(count):
        records = call_step(U64(step), U64(flow), np.int64(out))
    return records


@dataclass(frozen=True)
class FeedFaults:
    """Chances per message, longest delays, and how a snapshot behaves."""

    lose: float = 0.0
    repeat: float = 0.0
    swap: float = 0.0
    delay: float = 0.0
    max_delay_ns: int = 0
    snapshot_delay_ns: int = 2 * _NS_PER_MS
    lose_snapshot: float = 0.0
    disconnect: float = 0.0
    disconnect_ns: int = 0


@dataclass
class _Line:
    """One instrument's side of the connection."""

    flow: np.ndarray
    #: Its words and its address.
    words: memoryview
    address: int
    reference: Reference
    symbol: str
    is_usdm: bool
    first_id: int = 0
    sent_id: int = 0
    changes: list[tuple[int, int, int]] = field(default_factory=list)
    events: int = 0
    snapshot_due: int = 0
    top: tuple[int, int, int, int] = (0, 0, 0, 0)


@lru_cache(1 << 16)
def _decimal(units: int) -> str:
    """As the venue writes it; prices and quantities come again and again."""
    return f"{units // SCALE}.{units % SCALE:08d}"


def _pairs(levels: list[tuple[int, int]]) -> str:
    return ",".join([f'["{_decimal(price)}","{_decimal(qty)}"]' for price, qty in levels])


class Feed:
    """All flows and the connection.

    Args:
        instruments: INSTRUMENT array.
        symbols: (symbol, whether USD-M) an instrument.
        rng: the seed's generator; seed: of the flows.
        rate_per_s: events a second and instrument.
        start_ts: ns.
        batch: most events in one depth message; tickers: whether best bid and ask are sent ahead of depth.
        faults: what the connection does.
    """

    def __init__(
        self, instruments: np.ndarray, symbols: list[tuple[str, bool]], rng: random.Random, seed: int,
        rate_per_s: float, start_ts: int, batch: int, tickers: bool, faults: FeedFaults,
    ) -> None:  # fmt: skip
        self._rng, self.faults, self._batch, self._tickers = rng, faults, batch, tickers
        self._scratch = aligned(MAX_RECORDS * RECORD_BYTES).reshape(MAX_RECORDS, RECORD_BYTES)
        self._out, self._records = self._scratch.ctypes.data, self._scratch.reshape(-1).data
        self._step = step_entry.address
        self._heap: list[tuple[int, int, str]] = []
        self._pushed = self.lost = self._trade_id = self._down_until = 0
        #: When the newest line that the pipeline has taken had arrived, ns.
        self.taken_ts = 0
        #: Planted bug: lost depth messages are papered over.
        self.hide_gaps = False
        self.is_running, self.is_answering = True, True
        self.lines = [
            self._open(row, index, *symbols[index], seed + index, rate_per_s, start_ts)
            for index, row in enumerate(instruments)
        ]

    def _open(
        self, row: np.void, index: int, symbol: str, is_usdm: bool, seed: int, rate_per_s: float, start_ts: int
    ) -> _Line:
        memory = aligned(flow_bytes())
        flow_init(memory, row, index, seed, rate_per_s, start_ts)
        self._thin_out(memory, start_ts)
        levels, update_id = self._snapshot(memory)
        words = words_of(memory[:FLOW_HEADER_BYTES])
        return _Line(
            memory, words, memory.ctypes.data, Reference(update_id, levels), symbol, is_usdm, sent_id=update_id
        )

    def _thin_out(self, memory: np.ndarray, start_ts: int) -> None:
        """Fewer orders than a real book has: what passes through small rings should be news, not snapshots."""
        header = memory[:FLOW_HEADER_BYTES].view(FLOW)
        header["side_target"] = header["max_distance"] = _ORDERS
        _flow_calls(memory.ctypes.data, self._out, _THINNING_EVENTS, step_entry.address)
        header["next_ts"] += start_ts - header["now_ts"]
        header["now_ts"] = start_ts

    def _snapshot(self, flow: np.ndarray) -> tuple[list[tuple[int, int, int]], int]:
        records = self._taken(int(_flow_calls(flow.ctypes.data, self._out, 1, snapshot_entry.address)))
        return [(r.side, r.price, r.qty) for r in records if r.kind == LEVEL], records[0].id

    def _taken(self, count: int) -> list[Fields]:
        """The first records of the scratch."""
        return all_fields_of(self._records[: count * RECORD_BYTES])

    def introduce(self, venue: Venue, now_ns: int) -> None:
        """Give a venue with its own market the books as they stand."""
        for index, line in enumerate(self.lines):
            count = int(_flow_calls(line.address, self._out, 1, snapshot_entry.address))
            venue.play(self._out, self._taken(count))
            state = self._scratch[0].view(RECORD)
            state[:] = np.zeros(1, RECORD)
            state["kind"], state["flags"], state["instrument"], state["local_ts"] = BOOK_STATE, VALID, index, now_ns
            venue.play(self._out, self._taken(1))

    def run_to(self, now_ns: int, venue: Venue | None) -> None:
        """Let the market happen up to ``now_ns``; ``venue`` is told at once unless it is None."""
        if now_ns >= self._down_until and self._rng.random() < self.faults.disconnect:
            self._down_until = now_ns + self._rng.randrange(self.faults.disconnect_ns + 1)
        for line in self.lines:
            while line.words[_NEXT_TS] <= now_ns and self.is_running:
                records = self._taken(int(_flow_calls(line.address, self._out, 1, self._step)))
                if venue is not None:
                    venue.play(self._out, records)
                self._tell(line, records, now_ns)

    def _tell(self, line: _Line, records: list[Fields], now_ns: int) -> None:
        levels = [r for r in records if r.kind == LEVEL]
        if len(levels) < len(records):
            for trade in (r for r in records if r.kind == TRADE):
                self._trade_id += 1
                self._send(now_ns, _trade_text(line, trade, self._trade_id, now_ns))
        if not levels:
            return
        changes = [(r.side, r.price, r.qty) for r in levels]
        line.reference.update(levels[0].id, changes)
        line.first_id = line.first_id or levels[0].id
        line.changes += changes
        line.events += 1
        top = line.reference.tops[line.reference.last_id]
        if self._tickers and top != line.top:
            line.top = top
            self._send(now_ns, _ticker_text(line, top, now_ns))
        if line.events >= self._rng.randint(1, self._batch):
            self._send_depth(line, now_ns)

    def _send_depth(self, line: _Line, now_ns: int) -> None:
        text = _depth_text(line, now_ns)
        is_sent = self._send(now_ns, text)
        if is_sent or not self.hide_gaps:
            line.sent_id = line.reference.last_id
            line.first_id = 0
        line.changes, line.events = [], 0

    def _send(self, now_ns: int, text: str) -> bool:
        chance = self._rng.random
        if now_ns < self._down_until or chance() < self.faults.lose:
            self.lost += 1
            return False
        due = now_ns
        if chance() < self.faults.delay:
            due += self._rng.randrange(self.faults.max_delay_ns + 1)
        self._push(due, text, chance() < self.faults.swap)
        if chance() < self.faults.repeat:
            self._push(due + self._rng.randrange(self.faults.max_delay_ns + 1), text, False)
        return True

    def _push(self, due: int, text: str, early: bool) -> None:
        self._pushed += 1
        # One that is "early" overtakes the message before it.
        heapq.heappush(self._heap, (due, self._pushed * 2 - (3 if early else 0), text))

    def ask_for_snapshots(self, loaded: list[memoryview], now_ns: int) -> None:
        """What a connection does for the books that have none (their word is 0): ask, wait, ask again."""
        for line, has_snapshot in zip(self.lines, loaded, strict=True):
            if has_snapshot[0]:
                line.snapshot_due = 0
            elif now_ns >= line.snapshot_due and self.is_answering:
                line.snapshot_due = now_ns + SNAPSHOT_TIMEOUT_NS
                delay = self._rng.randrange(self.faults.snapshot_delay_ns + 1)
                if now_ns >= self._down_until and self._rng.random() >= self.faults.lose_snapshot:
                    line.snapshot_due = now_ns + 3 * delay + _NS_PER_MS
                    self._push(now_ns + delay, self._snapshot_text(line), False)

    def _snapshot_text(self, line: _Line) -> str:
        levels, update_id = self._snapshot(line.flow)
        bids = _pairs([(price, qty) for side, price, qty in levels if side == BID])
        asks = _pairs([(price, qty) for side, price, qty in levels if side != BID])
        data = f'{{"lastUpdateId":{update_id},"bids":[{bids}],"asks":[{asks}]}}'
        return f'{{"stream":"{line.symbol.lower()}@depthSnapshot","data":{data}}}'

    def take(self, now_ns: int) -> bytes:
        """The lines that have arrived, as a recording holds them: each with the time it came, whenever it is taken."""
        if not self._heap or self._heap[0][0] > now_ns:
            return b""
        lines = []
        while self._heap and self._heap[0][0] <= now_ns:
            due, _, text = heapq.heappop(self._heap)
            self.taken_ts = max(self.taken_ts, due)
            lines.append(f"{self.taken_ts} {text}\n")
        return "".join(lines).encode()

    def be_silent_until(self, ns: int) -> None:
        """The connection is lost until then."""
        self._down_until = max(self._down_until, ns)

    def end_faults(self) -> None:
        """From now on everything arrives, once, in order, at once."""
        self.faults = FeedFaults()
        self._down_until = 0
        self._heap = [(0, pushed, text) for _, pushed, text in sorted(self._heap, key=lambda waiting: waiting[1])]
        for line in self.lines:
            line.snapshot_due = 0


def _depth_text(line: _Line, now_ns: int) -> str:
    bids = _pairs([(price, qty) for side, price, qty in line.changes if side == BID])
    asks = _pairs([(price, qty) for side, price, qty in line.changes if side != BID])
    first = min(line.first_id, line.sent_id + 1)
    ids = f'"U":{first},"u":{line.reference.last_id}'
    ms = now_ns // _NS_PER_MS
    if line.is_usdm:
        ids = f'"T":{ms},"s":"{line.symbol}",{ids},"pu":{line.sent_id}'
    else:
        ids = f'"s":"{line.symbol}",{ids}'
    return f'{{"e":"depthUpdate","E":{ms},{ids},"b":[{bids}],"a":[{asks}]}}'


def _trade_text(line: _Line, trade: Fields, trade_id: int, now_ns: int) -> str:
    ms, seller_took = now_ns // _NS_PER_MS, "true" if trade.side else "false"
    return (
        f'{{"e":"trade","E":{ms},"T":{ms},"s":"{line.symbol}","t":{trade_id},"p":"{_decimal(trade.price)}",'
        f'"q":"{_decimal(trade.qty)}","X":"MARKET","m":{seller_took}}}'
    )


def _ticker_text(line: _Line, top: tuple[int, int, int, int], now_ns: int) -> str:
    bid, bid_qty, ask, ask_qty = (_decimal(value) for value in top)
    ms = now_ns // _NS_PER_MS
    return (
        f'{{"e":"bookTicker","u":{line.reference.last_id},"s":"{line.symbol}","b":"{bid}","B":"{bid_qty}",'
        f'"a":"{ask}","A":"{ask_qty}","T":{ms},"E":{ms}}}'
    )
