"""One market of the venue: the synthetic flow of each instrument through its matching book, and what changed.

Whose event is next stands in an agenda. An event leaves its records one behind the other: the TRADEs, the LEVELs that changed
(all with one update id, LAST on the final one), and a TOP pair where the best prices are not what they were. Update ids

* of one instrument (Binance spot): each event that changes its book takes the next;
* or of the whole market (Binance USD-M, Bybit): an order takes one, what it changes in a book the one after. So even a lone
  instrument's ids have holes, as they have at these venues.

Orders of accounts are in the same books: :meth:`Market.order` enters, reduces and cancels them, and what befalls them, then or in
an event of the flow, is in :attr:`Market.happened`. An order priced farther from the market than a book reaches is *far*: it is in
no book, but on its level, and :meth:`Market.order` keeps that level too.

Book, update id and records are of one moment: nothing here runs while Python looks at them.
"""

import mmap
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from hftpipe.core.feed.agenda import agenda_bytes, agenda_init
from hftpipe.core.schema.layout import Pieces, whole
from hftpipe.core.schema.records import ASK, BID, RECORD
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.flow.entries import step_entry
from hftpipe.simulation.flow.flow import flow_init
from hftpipe.simulation.flow.state import FLOW, flow_bytes
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market_steps import (
    ASKED,
    HAPPENED,
    MARKET,
    PAIR,
    REMOVE,
    SET_FAR,
    SHOWN,
    market_order,
    market_step,
    next_ts,
    read_levels,
)
from hftpipe.simulation.matching.memory import MATCHING

_CAPACITY, _MOST_HAPPENED, _MOST_LEVELS = 1 << 15, 1 << 13, 8192


def _sparse(size: int) -> np.ndarray:
    """Zeroed memory, uint8[size], of which small pages are taken as they come to be used.

    A book uses a tenth of what it may need: with huge pages thousands of them would take gigabytes.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)


class Happened(NamedTuple):
    """One of HAPPENED: what befell an order of an account."""

    instrument: int
    ts: int
    order_id: int
    maker_id: int
    trade_id: int
    price: int
    qty: int
    owner: int
    maker_owner: int
    kind: int
    reason: int


class Asked(NamedTuple):
    """One of ASKED, without its time. ``owner`` is above 0."""

    kind: int
    id: int
    owner: int
    side: int
    price: int
    qty: int
    tif: int
    stp: int


class Market:
    """The engine side of one market.

    Attributes:
        listing: as given; symbols: by index, as text; statuses: by index, as the venue words them, of those that do not trade.

    Args:
        seed: of the flows; demo: what market they are; start_ts: their time at the start, ns.
        first_id, first_trade: update and trade ids come after these.

    Raises:
        ValueError: an instrument that makes no market (:func:`flow_init`).
    """

    def __init__(
        self,
        listing: Listing,
        seed: int,
        demo: DemoMarket | None,
        start_ts: int,
        first_id: int,
        first_trade: int,
    ) -> None:
        self.listing, rows = listing, listing.instruments
        self.statuses: dict[int, str] = {}
        self.symbols = [bytes(symbol).decode() for symbol in rows["symbol"]]
        self._memory = Pieces()
        stride = whole(flow_bytes())
        flows = _sparse(stride * len(rows))
        for index, row in enumerate(rows):
            part = flows[index * stride : (index + 1) * stride]
            flow_init(part, row, index, seed + index, float(listing.rates[index]), start_ts, demo)
        self._flows = flows.reshape(len(rows), stride)
        agenda = self._memory.make("agenda", agenda_bytes(len(rows)))
        agenda_init(agenda, np.full(len(rows), start_ts))
        self._shown = self._memory.make("shown", (SHOWN, len(rows)))
        self._shown["update_id"] = first_id
        self._out = self._memory.make("out", (RECORD, _CAPACITY))
        self._pairs = self._memory.make("pairs", (PAIR, _MOST_LEVELS))
        happened = self._happened = self._memory.make("happened", (HAPPENED, _MOST_HAPPENED))
        self._asked = self._memory.make("asked", (ASKED, 1))
        self._far: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        state = self._state = self._memory.make("market", (MARKET, 1))
        for name, piece in (
            ("flows", flows),
            ("agenda", agenda),
            ("shown", self._shown),
            ("out", self._out),
            ("happened", happened),
        ):
            state[name] = piece.ctypes.data
        state["flow_stride"], state["step"], state["capacity"] = stride, step_entry.address, _CAPACITY
        state["happened_capacity"] = _MOST_HAPPENED
        state["n_instruments"], state["shared_ids"] = len(rows), listing.rules.shared_ids
        state["last_id"], state["first_trade"] = first_id, first_trade
        self._address = np.uint64(state.ctypes.data)
        for index in range(len(rows)):
            self._show(index)
        # Compiled (or loaded) before anybody waits for it.
        self.play(start_ts - 1, 1)
        self.next_ts()
        self._compile_order()

    def _show(self, index: int) -> None:
        """Know the best prices that the market opens with."""
        for side, (price, qty) in ((BID, ("bid", "bid_qty")), (ASK, ("ask", "ask_qty"))):
            best = self.side(index, side, 1)
            self._shown[price][index], self._shown[qty][index] = best[0] if best else (0, 0)

    def _compile_order(self) -> None:
        """A cancel of an order that there is not changes nothing."""
        self.order(0, Asked(REMOVE, 1, 1, BID, 0, 0, 0, 0), 0)

    def order(self, index: int, asked: Asked, ts: int) -> tuple[int, np.ndarray]:
        """Carry out what an account asks of an instrument's book, at the flows' time ``ts`` (ns).

        Returns:
            What it came to (:mod:`hftpipe.core.schema.reasons`; NONE: as asked), and RECORDs, valid until the next call.
        """
        self._asked[0] = (*asked, ts)
        if asked.kind == SET_FAR:
            far = self._far[index, asked.side]
            far[asked.price] = asked.qty
            if not asked.qty:
                del far[asked.price]
        count = int(market_order(self._address, np.int64(index), np.uint64(self._asked.ctypes.data)))
        return int(self._state["reason"][0]), self._out[:count]

    @property
    def has_happened(self) -> bool:
        """Whether anything has befallen an order of an account that :meth:`happened` has not told yet."""
        return bool(self._state["n_happened"][0])

    def far_qty(self, index: int, side: int, price: int) -> int:
        """What is far on a level: LEVEL records do not have it."""
        far = self._far.get((index, side))
        return far.get(price, 0) if far else 0

    def happened(self) -> list[Happened]:
        """What has befallen orders of accounts since this was last asked, oldest first."""
        count = int(self._state["n_happened"][0])
        if not count:
            return []
        self._state["n_happened"] = 0
        return [Happened(*row) for row in self._happened[:count].tolist()]

    def reaches(self, index: int, price: int) -> bool:
        """Whether a price is well within what an instrument's book can hold now: a quarter of it from the middle."""
        book = self._flows[index][FLOW.itemsize :][: MATCHING.itemsize].view(MATCHING)[0]
        bid, _, ask, _ = self.top(index)
        return bool(bid and ask and abs(price - (bid + ask) // 2) < int(book["window"]) * int(book["tick"]) // 4)

    def play(self, due_ns: int, most: int) -> np.ndarray:
        """Let at most ``most`` events happen that are due by ``due_ns``: their RECORDs, valid until the next call."""
        count = int(market_step(self._address, np.int64(due_ns), np.int64(most)))
        return self._out[:count]

    def next_ts(self) -> int:
        """Time of the next event, the flows' time in ns."""
        return int(next_ts(self._address))

    @property
    def events(self) -> int:
        """Events so far."""
        return int(self._state["events"][0])

    def update_id(self, index: int) -> int:
        """Id of the last change of an instrument's book."""
        return int(self._shown["update_id"][index])

    def top(self, index: int) -> tuple[int, int, int, int]:
        """Best bid, its quantity, best ask, its quantity (1e-8)."""
        row = self._shown[index]
        return int(row["bid"]), int(row["bid_qty"]), int(row["ask"]), int(row["ask_qty"])

    def side(self, index: int, side: int, most: int) -> list[tuple[int, int]]:
        """Up to ``most`` levels of a side (BID or ASK), best first: (price, quantity), 1e-8."""
        count = int(
            read_levels(
                self._address, np.int64(index), np.int64(side), np.int64(min(most, _MOST_LEVELS)),
                np.uint64(self._pairs.ctypes.data),
            )
        )  # fmt: skip
        found: list[tuple[int, int]] = self._pairs[:count].tolist()
        far = self._far.get((index, side))
        if far:
            levels = dict(found)
            for price, qty in far.items():
                levels[price] = levels.get(price, 0) + qty
            found = sorted(levels.items(), reverse=side == BID)[:most]
        return found

    def fair_price(self, index: int) -> int:
        """What the flow takes the instrument to be worth, whole ticks in 1e-8."""
        flow = self._flows[index][: FLOW.itemsize].view(FLOW)[0]
        return round(float(flow["reference"]) + float(flow["deviation"])) * int(flow["tick"])
