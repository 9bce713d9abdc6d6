"""Orders and positions made again from a journal's entries, by the functions that made them the first time.

The gateway's table is a fold over what the journal holds: each request moves it as in :mod:`hftpipe.gateway.stage` and
:mod:`hftpipe.gateway.stopping`, each report goes through :func:`hftpipe.gateway.orders.apply_report`. So an order is found here in the state in which the
gateway had it, and the same entries give the same state, always. A request at the very end may not have left: it counts as sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_i64, store_i64, view
from hftpipe.core.schema.cells import WRONG_TERMS
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL_REJECT,
    EXECUTION,
    FEE_ASSET,
    FILL,
    FILL_MAKER,
    NEW,
    RECORD,
    RECORD_BYTES,
    REPLACE,
    VENUE_FAULT,
)
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    ON_CANCEL_SENT,
    ON_NO_ANSWER,
    ORDER,
    STATE_NAMES,
    is_open,
    open_count,
    open_order,
    order_find,
    order_insert,
    order_move,
    table_bytes,
    table_init,
)
from hftpipe.core.trading.position import position_fill, quote_fee
from hftpipe.core.trading.seen_fills import seen_bytes, seen_init
from hftpipe.gateway.orders import apply_report
from hftpipe.journal.layout import ENTRY, NO_ANSWER, OWN_REQUEST

#: Orders open at once, and executions remembered: at least as many as any gateway has.
ORDER_SLOTS, SEEN_FILLS = 32_768, 8192
_SHIFT = np.uint64(6)


@jit
def _request(table, entry):
    e = view(entry, ENTRY)
    slot = order_find(table, e.id)
    if e.kind == NEW:
        slot = order_insert(table, e.id) if slot == ZERO else ZERO
        if slot != ZERO:
            o = view(slot, ORDER)
            o.price, o.qty, o.created_ts = e.price, e.qty, np.int64(e.a)
            o.instrument, o.side, o.strategy, o.flags = e.instrument, e.side, e.strategy, e.flags
    elif slot != ZERO and e.kind == REPLACE:
        replace_sent(table, slot, e.price, e.qty)
    elif slot != ZERO:
        order_move(table, slot, np.int64(ON_CANCEL_SENT))
        view(slot, ORDER).own_cancels += np.int16(e.b == OWN_REQUEST)


@jit
def _doubt(table, id_):
    slot = order_find(table, id_)
    if slot != ZERO and is_open(view(slot, ORDER).state):
        order_move(table, slot, np.int64(ON_NO_ANSWER))


@jit
def _report(table, seen, entry, scratch):
    """Apply a report, as the record that the gateway had."""
    e, r, x = view(entry, ENTRY), view(scratch, RECORD), view(scratch, EXECUTION)
    copy_bytes(scratch + U64(32), entry + U64(24), np.int64(16))
    store_i64(scratch + U64(56), load_i64(entry + U64(56)))
    r.id = e.id
    x.trade_id, x.exchange_ts, x.fee = e.a, e.b, np.int64(0)
    if e.kind == FILL:
        x.exchange_ts, x.fee = np.int64(0), e.b
    return apply_report(table, seen, scratch)


@jit
def _book(positions, fees, count, scratch):
    """Book an execution: what the account holds and has paid."""
    x = view(scratch, EXECUTION)
    if x.qty <= 0 or x.price <= 0 or np.int64(x.instrument) >= count:
        return
    position = positions + U64(x.instrument) * U64(128)
    position_fill(position, x.side, x.price, x.qty, quote_fee(x), x.flags & FILL_MAKER != 0)
    asset = U64(x.flags >> FEE_ASSET)
    if asset != ZERO:
        at = fees + (asset << U64(3))
        store_i64(at, load_i64(at) + x.fee)


@jit
def fold_entries(entries, count, table, seen, positions, fees, n_instruments, scratch):
    """Apply entries in order; all addresses. ``positions``: POSITION by instrument; ``fees``: int64 by asset number."""
    for index in range(count):
        entry = entries + (U64(index) << _SHIFT)
        kind = view(entry, ENTRY).kind
        if kind >= NEW and kind <= REPLACE:
            _request(table, entry)
        elif kind >= ACK and kind <= CANCEL_REJECT:
            _report(table, seen, entry, scratch)
            if kind == FILL:
                _book(positions, fees, n_instruments, scratch)
        elif kind == NO_ANSWER or (kind == VENUE_FAULT and view(entry, ENTRY).flags == WRONG_TERMS):
            _doubt(table, view(entry, ENTRY).id)


@jit
def open_slots(table, out):
    """Addresses of all open orders, to an array of uint64."""
    for index in range(open_count(table)):
        out[index] = open_order(table, index)
    return open_count(table)


@dataclass
class Holding:
    """What is held of an instrument, and what it has cost; 1e-8."""

    qty: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    fills: int = 0

    @property
    def average(self) -> int:
        """Average entry price, 1e-8; 0 when flat."""
        return abs(self.cost * 10**8 // self.qty) if self.qty else 0


@dataclass
class Standing:
    """How things stand at the end of a journal.

    Attributes:
        orders: open and unknown ones (ORDER array, copies).
        holdings: by symbol, those that are or were held.
        fees: by asset other than the quote currency, 1e-8.
        symbols: by the pipeline's number.
    """

    orders: np.ndarray
    holdings: dict[str, Holding]
    fees: dict[str, int]
    symbols: dict[int, str] = field(default_factory=dict)

    def order_rows(self) -> list[dict[str, Any]]:
        """The open orders for people."""
        return [
            {
                "id": f"{int(one['id']):#x}", "instrument": self.symbols.get(int(one["instrument"]), "?"),
                "side": "buy" if one["side"] == BUY else "sell", "price": format_fixed(int(one["price"])),
                "qty": format_fixed(int(one["qty"])), "filled": format_fixed(int(one["filled"])),
                "state": STATE_NAMES[int(one["state"])], "venue_id": int(one["venue_id"]),
            }
            for one in self.orders
        ]  # fmt: skip

    def position_rows(self) -> list[dict[str, Any]]:
        """What is held, for people."""
        return [
            {
                "instrument": symbol, "position": format_fixed(one.qty), "average": format_fixed(one.average),
                "realised": format_fixed(one.realised), "fees": format_fixed(one.fees), "fills": one.fills,
            }
            for symbol, one in sorted(self.holdings.items())
        ]  # fmt: skip


class Fold:
    """A table and positions that entries are applied to.

    Args:
        n_instruments: numbers below it are known.
    """

    def __init__(self, n_instruments: int, order_slots: int = ORDER_SLOTS) -> None:
        self._count = n_instruments
        self._table, self._seen = aligned(table_bytes(order_slots)), aligned(seen_bytes(SEEN_FILLS))
        table_init(self._table, order_slots)
        seen_init(self._seen, SEEN_FILLS)
        self.positions = aligned(max(n_instruments, 1) * POSITION.itemsize).view(POSITION)
        self.fees = np.zeros(128, np.int64)
        self._scratch, self._slots = aligned(RECORD_BYTES), np.zeros(order_slots, np.uint64)

    def add(self, entries: np.ndarray) -> None:
        """Apply entries (ENTRY array, contiguous)."""
        entries = np.ascontiguousarray(entries)
        memory = (self._table, self._seen, self.positions, self.fees)
        addresses = [np.uint64(one.ctypes.data) for one in memory]
        scratch = np.uint64(self._scratch.ctypes.data)
        fold_entries(np.uint64(entries.ctypes.data), np.int64(len(entries)), *addresses, np.int64(self._count), scratch)

    def open_orders(self) -> np.ndarray:
        """The open orders (ORDER array, copies)."""
        base = self._table.ctypes.data
        count = int(open_slots(np.uint64(base), self._slots))
        at = [int(slot) - base for slot in self._slots[:count]]
        rows = [self._table[one : one + ORDER.itemsize].view(ORDER) for one in at]
        return np.concatenate(rows) if rows else np.zeros(0, ORDER)


def seeded(fold: Fold, symbols: Mapping[int, str], carried: Mapping[str, Any]) -> None:
    """Begin with what an earlier run has left, of the instruments that this one knows."""
    for number, symbol in symbols.items():
        row = carried.get("holdings", {}).get(symbol, {})
        for name in ("qty", "cost", "realised", "fees", "fills"):
            fold.positions[name][number] = int(row.get(name, 0))


def standing_of(files: Iterable[Any]) -> Standing:
    """How things stood at the end of a run, from its files (:class:`hftpipe.journal.reading.JournalFile`, in order).

    What was carried into the run stands in the first one's names; what the run did not know of it is carried on.
    """
    files = list(files)
    meta = files[0].meta
    symbols = {int(row["id"]): str(row["symbol"]) for row in meta["instruments"]}
    carried: dict[str, Any] = meta.get("carried", {})
    fold = Fold(max(symbols, default=-1) + 1)
    seeded(fold, symbols, carried)
    for one in files:
        fold.add(one.entries)
    holdings = {symbol: Holding(**row) for symbol, row in carried.get("holdings", {}).items()}
    for number, symbol in symbols.items():
        row = fold.positions[number]
        made = Holding(*(int(row[name]) for name in ("qty", "cost", "realised", "fees", "fills")))
        if made != Holding():
            holdings[symbol] = made
    assets = {asset: int(fold.fees[number]) for number, asset in enumerate(meta.get("fee_assets", ()), 1)}
    before = carried.get("fees", {})
    fees = {one: int(before.get(one, 0)) + assets.get(one, 0) for one in {**before, **assets}}
    return Standing(fold.open_orders(), holdings, {one: paid for one, paid in fees.items() if paid}, symbols)
