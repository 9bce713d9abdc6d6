"""What really happened at the simulated venue, in plain Python: written from what crosses the venue's boundary only.

:class:`Truth` follows our orders: a request counts from the instant the gateway hands it over, an execution from the
instant the venue decides it, whenever its report arrives. :class:`Reference` is the market itself, level by level and
update by update, whatever the feed makes of it. Neither shares code or state with the stages; all amounts are integers
in units of 1e-8.
"""

import struct
from collections import deque
from collections.abc import Callable
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
_STRATEGY_BITS, _STRATEGY_MASK = 48, 0xFF


class Fields(NamedTuple):
    """One record, as the values of the fields of a RECORD; an EXECUTION has its own names for two of them."""

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

    @property
    def trade_id(self) -> int:
        return self.origin_tsc

    @property
    def fee(self) -> int:
        return self.local_ts


def fields_of(raw: bytes) -> Fields:
    """The fields of 64 bytes."""
    return Fields._make(_LAYOUT.unpack(raw))


def all_fields_of(raw: bytes | memoryview) -> list[Fields]:
    """The fields of records that lie one behind the other."""
    return [Fields._make(values) for values in _LAYOUT.iter_unpack(raw)]


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
    strategy: int = 0
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
    """What the venue's fills add up to for one instrument: of the account, or of one strategy."""

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

    @property
    def worst(self) -> int:
        """Largest position, long or short, that what is known to the venue can still lead to."""
        return max(self.qty + self.working[0], self.working[1] - self.qty)


class Truth:
    """Our orders and positions as one venue knows them; whose an order is stands in its client id.

    Args:
        n_instruments: so many of its instruments exist, from id ``first`` on.
        used_ids: client ids of earlier runs on this account.
        n_strategies: so many strategies exist.

    Attributes:
        balances: of the account, an instrument; owned: those of each strategy (of one that is alone, the same).
    """

    def __init__(
        self, n_instruments: int, used_ids: frozenset[int] = frozenset(), first: int = 0, n_strategies: int = 1
    ) -> None:
        self.orders: dict[int, TrueOrder] = {}
        #: Those the venue has not ended, in the order in which they were sent.
        self._open: dict[int, TrueOrder] = {}
        self.first, self.balances = first, [TrueBalance() for _ in range(n_instruments)]
        self.owned = [self.balances]
        if n_strategies > 1:
            self.owned = [[TrueBalance() for _ in range(n_instruments)] for _ in range(n_strategies)]
        #: Orders accepted, a strategy.
        self.accepted_by = [0] * n_strategies
        self.used_ids = used_ids
        self.repeated_ids: list[int] = []
        self.problems: list[str] = []
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
        strategy, at = request.id >> _STRATEGY_BITS & _STRATEGY_MASK, request.instrument - self.first
        if not 0 <= at < len(self.balances) or request.side > 1:
            self.problems.append(f"NEW {request.id:#x} for instrument {request.instrument}, side {request.side}")
            return
        if strategy >= len(self.owned) or strategy != request.strategy:
            self.problems.append(f"NEW {request.id:#x} of strategy {request.strategy}")
            return
        order = TrueOrder(
            request.id, request.instrument, request.side, request.qty, is_over=not is_taken, strategy=strategy
        )
        self.orders[request.id] = order
        if is_taken:
            self._open[request.id] = order
            for balance in self._rows_of(order):
                balance.working[request.side] += order.may_fill()

    def _rows_of(self, order: TrueOrder) -> tuple[TrueBalance, ...]:
        """What an order counts in: the account, and its strategy where there are several."""
        at = order.instrument - self.first
        if len(self.owned) == 1:
            return (self.balances[at],)
        return self.balances[at], self.owned[order.strategy][at]

    def _change(self, order: TrueOrder, do: Callable[[], None]) -> None:
        before = order.may_fill()
        do()
        change = order.may_fill() - before
        for balance in self._rows_of(order):
            balance.working[order.side] += change

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
        if order.is_over:
            self._open.pop(order.id, None)

    def _apply(self, order: TrueOrder, report: Fields) -> None:
        if report.kind == ACK:
            order.is_accepted = True
            self.accepted += 1
            self.accepted_by[order.strategy] += 1
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
        order.filled += report.qty
        order.is_over = order.filled >= order.qty
        for balance in self._rows_of(order):
            _book(balance, order.side, report)

    def open_orders(self) -> list[TrueOrder]:
        """Orders the venue has not ended."""
        return list(self._open.values())


def _book(balance: TrueBalance, side: int, fill: Fields) -> None:
    value = fill.price * fill.qty // SCALE
    balance.fees += fill.fee
    balance.fills += 1
    if side == BUY:
        balance.bought += fill.qty
        balance.buys_value += value
    else:
        balance.sold += fill.qty
        balance.sells_value += value


class Account:
    """What all venues know, together; instruments have the ids that strategies and risk know."""

    def __init__(self, truths: list[Truth]) -> None:
        self.truths = truths
        self.balances = [balance for truth in truths for balance in truth.balances]
        self.owned = [
            [balance for truth in truths for balance in truth.owned[strategy]]
            for strategy in range(len(truths[0].owned))
        ]

    @property
    def sent(self) -> int:
        """Requests that were handed over."""
        return sum(truth.sent for truth in self.truths)

    @property
    def ids(self) -> frozenset[int]:
        """Every client id there was."""
        return frozenset(id_ for truth in self.truths for id_ in truth.orders)

    def open_orders(self) -> list[TrueOrder]:
        """Orders that their venues have not ended."""
        return [order for truth in self.truths for order in truth.open_orders()]


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
        self._bid, self._ask = max(self.live[0], default=0), min(self.live[1], default=0)
        self._note_top()

    def _rewind(self) -> None:
        self._at: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, price, qty in self._start:
            self._at[side][price] = qty
        self._at_id = self._start_id

    def _note_top(self) -> None:
        bids, asks = self.live
        self.tops[self.last_id] = (self._bid, bids.get(self._bid, 0), self._ask, asks.get(self._ask, 0))

    def update(self, update_id: int, changes: list[tuple[int, int, int]]) -> None:
        """The market moved."""
        self._changes[update_id] = changes
        _apply(self.live, changes)
        bids, asks = self.live
        for side, price, _qty in changes:
            # A best price is only searched for where one went away.
            if side == BID and price >= self._bid:
                self._bid = price if price in bids else max(bids, default=0)
            elif side != BID and (price <= self._ask or not self._ask):
                self._ask = price if price in asks else min(asks, default=0)
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
