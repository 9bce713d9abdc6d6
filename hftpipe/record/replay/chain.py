"""The stages chained in one thread, in virtual time: recorded market records through another strategy.

Each market record goes through strategy, risk, gateway and the paper venue until nothing is left to do, then comes the
next: there is no scheduling, so two runs of the same strategy send the same orders. The tops of book that risk looks at
are those of the strategy's own books, which are made of the same records.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_step, view
from hftpipe.core.schema.event_time import EVENT_TIME
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES, MAX_VENUES
from hftpipe.core.schema.records import LEVEL, NEW, RECORD, REPLACE, TIMER, TOP
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES, ring_bytes
from hftpipe.core.shared.cell import write_top
from hftpipe.core.shared.event_time import show_known
from hftpipe.core.shared.ring import ring_init, ring_push
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import book_at
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.recorder import drain
from hftpipe.topology.pipeline import Pipeline

_ALIGN = 128
_SHIFT = np.uint64(6)
_TIME_BYTES = np.uint64(EVENT_TIME.itemsize)

CHAIN = np.dtype(
    [
        # Strategy, risk and the gateways.
        ("step", "u8", 2 + MAX_VENUES), ("state", "u8", 2 + MAX_VENUES), ("n_stages", "i8"),
        # Every record goes through the first market ring; to the gateways each its own.
        ("market", "u8"), ("sim", "u8", MAX_VENUES), ("instruments", "u8"),
        ("books", "u8"), ("tops", "u8"), ("top_scratch", "u8"), ("time", "u8"),
    ],
    align=True,
)  # fmt: skip
#: Rounds of the stages after one market record; an answer may lead to a request, but each costs the venue's latency.
MAX_ROUNDS = 100_000
CHAIN_PIECE = 4096
CHAIN_TAPE = 1 << 18


@jit
def _top_from_book(c, instrument):
    """What market data would have published of this book."""
    b = view(book_at(c.books, instrument), BOOK)
    cell = c.tops + (U64(instrument) << _SHIFT)
    write_top(cell, c.top_scratch, b.bid, b.bid_qty, b.ask, b.ask_qty, b.local_ts, b.state, b.top_id)


@jit
def chain_many(chain, records, count):
    """Play market records through all stages, each until nothing is left to do: how many; fewer when one stays stuck."""
    c = view(chain, CHAIN)
    for index in range(count):
        record = records + (U64(index) << _SHIFT)
        r = view(record, RECORD)
        at = view(c.instruments + U64(r.instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT).at
        if not ring_push(c.market, record) or not ring_push(c.sim[at], record):
            return index
        if r.kind != TIMER:
            show_known(c.time + U64(at) * _TIME_BYTES, r.local_ts)
        work = call_step(c.step[0], c.state[0], np.int64(0))
        is_last = (r.kind != LEVEL and r.kind != TOP) or r.flags != 0
        if is_last and r.kind < NEW:
            _top_from_book(c, r.instrument)
        rounds = 0
        while work > 0 and rounds < MAX_ROUNDS:
            work = np.int64(0)
            for stage in range(1, c.n_stages):
                work += call_step(c.step[stage], c.state[stage], np.int64(0))
            work += call_step(c.step[0], c.state[0], np.int64(0))
            rounds += 1
        if work > 0:
            return index
    return np.int64(count)


class Chain:
    """Strategy, risk, gateway and paper venue in one thread, driven by recorded market records alone.

    Args:
        pipeline: from :func:`build`.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        address = pipeline.address
        self._chain = np.zeros(1, CHAIN)
        gateways, at = pipeline.graph.each("gateway"), pipeline.graph.at
        for index, name in enumerate(("strategy", "risk", *gateways)):
            self._chain["step"][0][index], self._chain["state"][0][index] = (
                pipeline.stages[name].step,
                address(f"state.{name}"),
            )
        self._chain["n_stages"] = 2 + len(gateways)
        first = pipeline.venues[0].name
        for name, region in {"market": f"ring.{at('market', first)}", "tops": "tops",
                             "top_scratch": at("market.top_scratch", first), "time": "time",
                             "instruments": "instruments"}.items():  # fmt: skip
            self._chain[name] = address(region)
        for place in pipeline.venues:
            self._chain["sim"][0][place.index] = address(f"ring.{at('sim', place.name)}")
        state = pipeline.state("strategy")
        state["n_markets"], state["in_time"] = 1, 0
        self._chain["books"] = state["books"]
        memory = np.zeros(ring_bytes(CHAIN_TAPE) + _ALIGN, np.uint8)
        self._tape = memory[-memory.ctypes.data % _ALIGN :][: ring_bytes(CHAIN_TAPE)]
        ring_init(self._tape, CHAIN_TAPE)
        # Each ring of orders has a reader of its own; all of them write down what reached them here, one at a time.
        for name in gateways:
            pipeline.state(name)["tape"] = self._tape.ctypes.data

    def run(self, market: np.ndarray) -> np.ndarray:
        """Play the market records; the requests that reached the gateway, as RECORDs.

        Raises:
            RecordError: the stages do not come to rest, or send more than can be kept.
        """
        orders = []
        scratch = np.zeros(CHAIN_TAPE, RECORD)
        for first in range(0, len(market), CHAIN_PIECE):
            piece = np.ascontiguousarray(market[first : first + CHAIN_PIECE])
            done = int(
                chain_many(np.uint64(self._chain.ctypes.data), np.uint64(piece.ctypes.data), np.int64(len(piece)))
            )
            if done < len(piece):
                raise RecordError(f"market record {first + done}: the stages do not come to rest after it")
            count = int(drain(np.uint64(self._tape.ctypes.data), np.uint64(scratch.ctypes.data), np.int64(CHAIN_TAPE)))
            if int(self._tape[:RING_HEADER_BYTES].view(RING)["lost"][0]):
                raise RecordError(f"market records from {first} on: more orders than can be kept")
            part = scratch[:count]
            orders.append(part[(part["kind"] >= NEW) & (part["kind"] <= REPLACE)].copy())
        return np.concatenate([np.empty(0, RECORD), *orders])
