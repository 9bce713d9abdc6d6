"""What an account has of contracts: a wallet for each margin asset, and one position a symbol (one-way, cross margin). 1e-8, exact.

``paid`` of a position is what was paid for it (negative: received). Closing a part takes its share of the cost, rounded down;
what rounding leaves goes with the last part. So at any time

    wallet = start + what sells brought in - what buys cost + cost of the positions - fees.

The margin that is in use is, for each symbol, the larger of what the position comes to if all buys, or all sells, that are not
reduce-only are executed, at the mark price, divided by the leverage.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.simulation.market_server.trading.orders import Fill, Order, Orders, worth

_SCALE = 10**8


@dataclass(slots=True)
class Position:
    """A position: ``qty`` is signed; ``realized``: profit of all that was closed of it; leverage: as it is set."""

    leverage: int
    qty: int = 0
    paid: int = 0
    realized: int = 0
    updated_ms: int = 0
    margin_type: str = "cross"

    @property
    def entry_price(self) -> int:
        """Mean price that was paid for it, 0 if there is none."""
        return self.paid * _SCALE // self.qty if self.qty else 0

    def unrealized(self, mark: int) -> int:
        """Profit if it were closed at this price."""
        return mark * self.qty // _SCALE - self.paid if self.qty else 0

    def take(self, side: int, price: int, qty: int) -> int:
        """Reckon an execution in; the profit that it realizes."""
        signed, value, profit = (qty if side == BUY else -qty), worth(price, qty), 0
        if self.qty and (self.qty > 0) != (signed > 0):
            closed = min(qty, abs(self.qty))
            closed_value = worth(price, closed)
            share = self.paid if closed == abs(self.qty) else self.paid * closed // abs(self.qty)
            profit = (closed_value if self.qty > 0 else -closed_value) - share
            self.paid -= share
            self.qty += closed if signed > 0 else -closed
            signed, value = (qty - closed if signed > 0 else closed - qty), value - closed_value
        self.qty += signed
        self.paid += value if signed > 0 else -value if signed < 0 else 0
        self.realized += profit
        return profit


@dataclass(slots=True)
class MarginLedger:
    """The wallets and positions of one account.

    Attributes:
        wallets: by margin asset; positions: by index of the symbol; quotes: margin asset of each symbol.
        mark: the mark price of a symbol, by index; changed: assets and symbols that have changed since they were last told of.
    """

    wallets: dict[str, int]
    quotes: list[str]
    mark: Callable[[int], int]
    leverage: int
    positions: dict[int, Position] = field(default_factory=dict)
    changed_assets: set[str] = field(default_factory=set)
    changed_positions: set[int] = field(default_factory=set)

    def position(self, index: int) -> Position:
        """Of a symbol."""
        if index not in self.positions:
            self.positions[index] = Position(self.leverage)
        return self.positions[index]

    def fee_of(self, order: Order, price: int, qty: int, rate: int) -> tuple[int, str]:
        """The fee of an execution: amount and asset."""
        return worth(price, qty) * rate // _SCALE, self.quotes[order.symbol.index]

    def settle(self, fill: Fill) -> None:
        """Pay in and out what an execution comes to; its profit has been reckoned by :meth:`Position.take`."""
        asset = self.quotes[fill.symbol.index]
        self.wallets[asset] = self.wallets.get(asset, 0) + fill.realized - fill.fee
        self.changed_assets.add(asset)
        self.changed_positions.add(fill.symbol.index)

    def unrealized(self, asset: str) -> int:
        """Of all positions with this margin asset."""
        return sum(
            one.unrealized(self.mark(index)) for index, one in self.positions.items() if self.quotes[index] == asset
        )

    def margin(self, index: int, orders: Orders, more: Mapping[int, int] | None = None) -> tuple[int, int]:
        """Margin in use for a symbol: of its position, and what orders add to it. ``more``: quantity by side that is meant to come."""
        sides = defaultdict[int, int](int, more or {})
        for one in orders.of(index):
            if not one.asked.reduce_only:
                sides[one.side] += one.left
        held = self.position(index)
        most = max(abs(held.qty + sides[BUY]), abs(held.qty - sides[SELL]))
        mark = self.mark(index)
        own = -(-worth(mark, abs(held.qty)) // held.leverage)
        return own, max(0, -(-worth(mark, most) // held.leverage) - own)

    def used(self, asset: str, orders: Orders) -> tuple[int, int]:
        """Margin in use of an asset: positions, orders."""
        indexes = {index for index in (*self.positions, *orders.open) if self.quotes[index] == asset}
        parts = [self.margin(index, orders) for index in indexes]
        return sum(own for own, _ in parts), sum(added for _, added in parts)

    def available(self, asset: str, orders: Orders) -> int:
        """What new orders and positions may use."""
        return max(0, self.wallets.get(asset, 0) + self.unrealized(asset) - sum(self.used(asset, orders)))

    def take_changed(self) -> tuple[list[str], list[int]]:
        """Assets and symbols (by index) that have changed since."""
        assets, positions = sorted(self.changed_assets), sorted(self.changed_positions)
        self.changed_assets, self.changed_positions = set(), set()
        return assets, positions
