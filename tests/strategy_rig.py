"""A strategy stage with its rings in plain memory, records pushed by hand: what the strategy tests run on."""

from typing import Any

import numpy as np

from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.schema.halts import halts_bytes
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BOOK_STATE,
    BUY,
    FILL,
    LAST,
    LEVEL,
    RECORD,
    RECORD_BYTES,
    TIMER,
    TOP,
    TRADE,
    VALID,
    layout_of,
)
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.schema.spreads import spreads_bytes, spreads_init
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.ring import ring_consumed, ring_init, ring_peek, ring_pop, ring_push
from hftpipe.core.trading.order_table import ORDER, ORDER_BYTES, TABLE_HEADER_BYTES
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.stage import step
from hftpipe.strategy.stage_state import SEAT, STATE
from hftpipe.strategy.wiring import Seat, init_seat, init_stage, seat_sizes, stage_sizes, wire_seat, wire_stage

E8 = 100_000_000
TICK, LOT = E8 // 10, E8 // 1000


def aligned(size: int) -> np.ndarray:
    """Zeroed uint8 memory starting at a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def address(array: np.ndarray) -> int:
    """Address of an array's first byte."""
    return array.ctypes.data


class Rig:
    """One stage; ``run()`` steps it until it has nothing left to do."""

    def __init__(
        self, loaded: LoadedStrategy, n_instruments: int = 2, levels: int = 64, intents: int = 256, orders: int = 256,
        listed: tuple[str, ...] = (), fees: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """``listed``: symbols, one a venue, whose spreads are followed; ``fees``: of their takers, 1e-8."""
        self.loaded, self.n = loaded, n_instruments
        self.seat = Seat(loaded, orders=orders)
        sizes = stage_sizes(n_instruments, levels) | seat_sizes(self.seat, n_instruments)
        self.memory = {name: aligned(size) for name, size in sizes.items()}
        init_stage(self.memory, [self.seat], n_instruments, levels, np.full(n_instruments, TICK))
        init_seat(self.memory, self.seat)
        for name, capacity in (("market", 1024), ("updates", 1024), ("intents", intents)):
            self.memory[name] = aligned(ring_bytes(capacity))
            ring_init(self.memory[name], capacity)
        for name in ("h_market_to_strategy", "h_strategy"):
            self.memory[name] = aligned(HIST_BYTES)
        self.memory["halt"] = aligned(HALT_CELL.itemsize)
        self.memory["halts"] = aligned(halts_bytes(n_instruments))
        self.instruments = np.zeros(n_instruments, INSTRUMENT)
        self.instruments["tick"], self.instruments["lot"], self.instruments["venue"] = TICK, LOT, 2
        if listed:
            self.instruments["symbol"] = [one.encode() for one in listed]
            self.instruments["at"], self.instruments["taker_fee"] = np.arange(len(listed)), fees
            self.memory["spreads"] = aligned(spreads_bytes(self.instruments))
            spreads_init(self.memory["spreads"], self.instruments)
        addresses = {name: address(array) for name, array in self.memory.items()}
        addresses["instruments"] = address(self.instruments)
        self.state = self.memory["state"].view(STATE)[0]
        state, self.seats = self.memory["state"].view(STATE), self.memory["seats"].view(SEAT)
        feeds = [(addresses["market"], 0)]
        wire_stage(state, addresses, n_instruments=n_instruments, levels=levels, feeds=feeds)
        wire_seat(self.seats, self.seat, state, addresses, strategy=3)
        self.self_record = self.memory["self"].view(loaded.dtype)[0]
        self.now, self._update_id = 1_000_000_000, 0

    @property
    def ctx(self) -> Any:
        """The CONTEXT record."""
        return self.seats[0]["ctx"]

    def ring(self, name: str) -> np.uint64:
        """Address of a ring."""
        return np.uint64(address(self.memory[name]))

    def push(self, ring: str, **fields: Any) -> None:
        """Push one record with the given fields."""
        record = np.zeros(1, layout_of(fields["kind"]))
        for name, value in fields.items():
            record[name] = value
        assert ring_push(self.ring(ring), np.uint64(record.ctypes.data))

    def market(self, kind: int, **fields: Any) -> None:
        """Push a market record one microsecond after the last."""
        self.now += 1000
        self.push("market", kind=kind, local_ts=self.now, **fields)

    def book_state(self, value: int = VALID, instrument: int = 0) -> None:
        """BOOK_STATE."""
        self.market(BOOK_STATE, flags=value, instrument=instrument)

    def levels(self, *changes: tuple[int, float, float], instrument: int = 0, origin: int = 0) -> None:
        """One book update of (side, price, qty) changes."""
        self._update_id += 1
        for index, (side, price, qty) in enumerate(changes):
            self.market(
                LEVEL,
                side=side,
                price=round(price * E8),
                qty=round(qty * E8),
                id=self._update_id,
                instrument=instrument,
                origin_tsc=origin,
                flags=LAST if index == len(changes) - 1 else 0,
            )

    def touch(self, bid: float, ask: float, qty: float = 1.0, instrument: int = 0) -> None:
        """A TOP pair."""
        self._update_id += 1
        for side, price, flags in ((BID, bid, 0), (ASK, ask, LAST)):
            self.market(
                TOP, side=side, price=round(price * E8), qty=round(qty * E8), id=self._update_id, flags=flags,
                instrument=instrument,
            )  # fmt: skip

    def ready(self, bid: float = 100.0, ask: float = 100.1, instrument: int = 0) -> None:
        """A VALID book with one level a side; leads to on_book."""
        self.book_state(VALID, instrument)
        self.levels((BID, bid, 1.0), (ASK, ask, 1.0), instrument=instrument)

    def trade(self, price: float, qty: float, side: int = BUY, instrument: int = 0) -> None:
        """A public trade."""
        self.market(TRADE, price=round(price * E8), qty=round(qty * E8), side=side, id=7, instrument=instrument)

    def timer(self, ns: int = 0) -> None:
        """A TIMER ``ns`` later."""
        self.now += ns
        self.market(TIMER)

    def update(self, kind: int, id_: int, **fields: Any) -> None:
        """Push one answer from risk; an ACK is as asked for."""
        if kind == ACK:
            orders = self.memory["table"][TABLE_HEADER_BYTES:][: self.seat.orders * ORDER_BYTES].view(ORDER)
            for order in orders[orders["id"] == int(id_)]:
                fields = {"price": order["price"], "qty": order["qty"], **fields}
        self.push("updates", kind=kind, id=int(id_), **fields)

    def halt(self, is_halted: bool = True) -> None:
        """Set or clear the halt cell."""
        set_halt(self.memory["halt"].view(HALT_CELL), is_halted, 3, self.now)

    def fill(self, order: np.ndarray, qty: int | None = None, price: int | None = None, **more: int) -> None:
        """Fill an intent."""
        self.update(
            FILL, order["id"], side=order["side"], instrument=order["instrument"],
            qty=order["qty"] if qty is None else qty, price=order["price"] if price is None else price, **more,
        )  # fmt: skip

    def run(self) -> list[np.ndarray]:
        """Step until idle; returns copies of the intents sent."""
        for _ in range(100):
            if step(np.uint64(address(self.memory["state"])), np.int64(0)) == 0:
                break
        return self.intents()

    def step(self) -> int:
        """One step."""
        return int(step(np.uint64(address(self.memory["state"])), np.int64(0)))

    def intents(self) -> list[np.ndarray]:
        """Take all intents out of their ring."""
        taken, ring = [], self.ring("intents")
        while True:
            slot = int(ring_peek(ring))
            if slot == 0:
                return taken
            at = slot - address(self.memory["intents"])
            taken.append(self.memory["intents"][at : at + RECORD_BYTES].copy().view(RECORD)[0])
            ring_pop(ring)

    def consumed(self, ring: str) -> int:
        """How many records of a ring have been read."""
        return int(ring_consumed(self.ring(ring)))

    def position(self, field: str = "qty", instrument: int = 0) -> int:
        """A field of the strategy's own position."""
        return int(self.memory["positions"].view(POSITION)[instrument][field])
