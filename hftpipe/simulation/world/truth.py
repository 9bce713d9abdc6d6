"""What really happened at the simulated venue, in plain Python: written from what crosses the venue's boundary only.

:class:`Truth` follows our orders: a request counts from the instant the gateway hands it over, an execution from the
instant the venue decides it, whenever its report arrives. :class:`Reference` is the market itself, level by level and
update by update, whatever the feed makes of it. Neither shares code or state with the stages; all amounts are integers
in units of 1e-8.
"""

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from hftpipe.core.schema.records import (
    ACK,
    BID,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    NEW,
    REJECT,
    REPLACE,
    REPLACED,
    UNASKED,
)

_LAYOUT = struct.Struct("<QQqqqqQIBBBB")
SCALE = 10**8


class Fields(NamedTuple):
    """One record, as the values of its fields."""

    seq: int
    origin_tsc: int
    exchange_ts: int
    local_ts: int
    price: int
    qty: int
    id: int
    instrument: int
    kind: int
    side: int
    strategy: int
    flags: int


def fields_of(raw: bytes) -> Fields:
    """The fields of 64 bytes."""
    return Fields._make(_LAYOUT.unpack(raw))


def bytes_of(fields: Fields) -> bytes:
    """The 64 bytes of a record."""
    return _LAYOUT.pack(*fields)


@dataclass
class TrueOrder:
    """One order as the venue has it; ``changes`` are the requests it has not answered: (kind, total quantity)."""

    id: int
    instrument: int
    side: int
    qty: int
    filled: int = 0
    is_over: bool = False
    is_accepted: bool = False
    changes: deque[tuple[int, int]] = field(default_factory=deque)

    def may_fill(self) -> int:
        """Worst case of what can still fill."""
        if self.is_over:
            return 0
        return (
            max(self.qty, *(qty for _, qty in self.changes)) - self.filled if self.changes else self.qty - self.filled
        )


@dataclass
class TrueBalance:
    """What the venue's fills add up to for one instrument."""

    bought: int = 0
    sold: int = 0
    buys_value: int = 0
    sells_value: int = 0
    fees: int = 0
    fills: int = 0
    working: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def qty(self) -> int:
        """Net position."""
        return self.bought - self.sold


class Truth:
    """Our orders and positions as the venue knows them.

    Args:
        n_instruments: dense ids below this exist.
        used_ids: client ids of earlier runs on this account.
    """

    def __init__(self, n_instruments: int, used_ids: frozenset[int] = frozenset()) -> None:
        self.orders: dict[int, TrueOrder] = {}
        self.balances = [TrueBalance() for _ in range(n_instruments)]
        self.used_ids, self.repeated_ids, self.problems = used_ids, [], []
        self.accepted, self.sent, self.sent_by_kind = 0, 0, {NEW: 0, CANCEL: 0, REPLACE: 0}

    def send(self, request: Fields, is_taken: bool) -> None:
        """The gateway handed a request over; ``is_taken`` is False when the venue refused it on the spot."""
        self.sent += 1
        self.sent_by_kind[request.kind] = self.sent_by_kind.get(request.kind, 0) + 1
        if request.kind == NEW:
            self._send_new(request, is_taken)
            return
        order = self.orders.get(request.id)
        if order is None:
            self.problems.append(f"request kind {request.kind} for id {request.id:#x}, which was never sent")
        elif not order.is_over and is_taken:
            with_qty = request.qty if request.kind == REPLACE else 0
            self._change(order, lambda: order.changes.append((request.kind, with_qty)))

    def _send_new(self, request: Fields, is_taken: bool) -> None:
        if request.id in self.orders or request.id in self.used_ids:
            self.repeated_ids.append(request.id)
            return
        if request.instrument >= len(self.balances) or request.side > 1:
            self.problems.append(f"NEW {request.id:#x} for instrument {request.instrument}, side {request.side}")
            return
        order = TrueOrder(request.id, request.instrument, request.side, request.qty, is_over=not is_taken)
        self.orders[request.id] = order
        if is_taken:
            self.balances[request.instrument].working[request.side] += order.may_fill()

    def _change(self, order: TrueOrder, do) -> None:
        before = order.may_fill()
        do()
        self.balances[order.instrument].working[order.side] += order.may_fill() - before

    def execute(self, report: Fields) -> None:
        """The venue decided something (in its order of deciding)."""
        order = self.orders.get(report.id)
        if order is None:
            self.problems.append(f"the venue reports on id {report.id:#x}, which was never sent")
            return
        if order.is_over and report.kind not in (CANCEL_REJECT, REJECT):
            self.problems.append(f"the venue reports kind {report.kind} on ended id {report.id:#x}")
            return
        self._change(order, lambda: self._apply(order, report))

    def _apply(self, order: TrueOrder, report: Fields) -> None:
        if report.kind == ACK:
            order.is_accepted = True
            self.accepted += 1
        elif report.kind == FILL:
            self._fill(order, report)
        elif report.kind == REPLACED and report.flags == UNASKED:
            order.qty = report.qty
        elif report.kind in (REPLACED, CANCEL_REJECT):
            kind, _qty = order.changes.popleft() if order.changes else (0, 0)
            if report.kind == REPLACED and kind == REPLACE:
                order.qty = report.qty
                order.is_over = order.filled >= order.qty
        elif report.kind in (CANCELED, EXPIRED, REJECT):
            order.is_over = True

    def _fill(self, order: TrueOrder, report: Fields) -> None:
        balance, value = self.balances[order.instrument], report.price * report.qty // SCALE
        order.filled += report.qty
        order.is_over = order.filled >= order.qty
        balance.fees += report.local_ts
        balance.fills += 1
        if order.side == BUY:
            balance.bought += report.qty
            balance.buys_value += value
        else:
            balance.sold += report.qty
            balance.sells_value += value

    def worst(self, instrument: int) -> int:
        """Largest position, long or short, that what is known to the venue can still lead to."""
        balance = self.balances[instrument]
        return max(balance.qty + balance.working[0], balance.working[1] - balance.qty)

    def open_orders(self) -> list[TrueOrder]:
        """Orders the venue has not ended."""
        return [order for order in self.orders.values() if not order.is_over]


class Reference:
    """The market of one instrument after each of its updates.

    Args:
        levels: (side, price, qty) at ``update_id``.
    """

    def __init__(self, update_id: int, levels: list[tuple[int, int, int]]) -> None:
        self._start, self._start_id = levels, update_id
        self._changes: dict[int, list[tuple[int, int, int]]] = {}
        self.tops: dict[int, tuple[int, int, int, int]] = {}
        self.last_id = update_id
        self._rewind()
        self.live: tuple[dict[int, int], dict[int, int]] = (dict(self._at[0]), dict(self._at[1]))
        self._note_top()

    def _rewind(self) -> None:
        self._at: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, price, qty in self._start:
            self._at[side][price] = qty
        self._at_id = self._start_id

    def _note_top(self) -> None:
        bids, asks = self.live
        bid, ask = max(bids, default=0), min(asks, default=0)
        self.tops[self.last_id] = (bid, bids.get(bid, 0), ask, asks.get(ask, 0))

    def update(self, update_id: int, changes: list[tuple[int, int, int]]) -> None:
        """The market moved."""
        self._changes[update_id] = changes
        _apply(self.live, changes)
        self.last_id = update_id
        self._note_top()

    def at(self, update_id: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]] | None:
        """Bids and asks, best first, after an update; None for an id that never was."""
        if update_id != self._start_id and update_id not in self._changes:
            return None
        if update_id < self._at_id:
            self._rewind()
        while self._at_id < update_id:
            self._at_id += 1
            _apply(self._at, self._changes.get(self._at_id, []))
        bids, asks = self._at
        return sorted(bids.items(), reverse=True), sorted(asks.items())


def _apply(book: tuple[dict[int, int], dict[int, int]], changes: list[tuple[int, int, int]]) -> None:
    for side, price, qty in changes:
        levels = book[0] if side == BID else book[1]
        if qty:
            levels[price] = qty
        else:
            levels.pop(price, None)
