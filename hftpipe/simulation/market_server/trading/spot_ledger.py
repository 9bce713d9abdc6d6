"""What an account has on spot: free, and locked by its open orders. All in 1e-8, exact.

A buy order locks what the rest of it costs at its limit; a sell order locks the rest of it. So what is locked of an asset is
always the sum over the open orders, and free and locked together change by executions and fees alone.
"""

from collections import defaultdict
from collections.abc import Mapping

from hftpipe.core.schema.records import BUY
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth

_SCALE = 10**8


class SpotLedger:
    """The balances of one account.

    Attributes:
        free, locked: by asset; changed: assets that have changed since they were last told of.

    Args:
        start: what it has, by asset; currencies: base and quote of each symbol.
    """

    def __init__(self, start: Mapping[str, int], currencies: list[tuple[str, str]]) -> None:
        self.free, self.locked = defaultdict(int, start), defaultdict[str, int](int)
        self.changed: set[str] = set()
        self._currencies = currencies

    def lock_of(self, order: Order) -> tuple[str, int]:
        """What an open order locks: asset and amount."""
        base, quote = self._currencies[order.symbol.index]
        asked = order.asked
        return (quote, worth(asked.price, order.left)) if asked.side == BUY else (base, order.left)

    def lock(self, order: Order, before: int = 0) -> None:
        """Lock what an order locks now, of which ``before`` is locked already."""
        asset, amount = self.lock_of(order)
        self.free[asset] -= amount - before
        self.locked[asset] += amount - before
        self.changed.add(asset)

    def unlock(self, order: Order, amount: int) -> None:
        """Give back what an order has locked."""
        asset, _ = self.lock_of(order)
        self.free[asset] += amount
        self.locked[asset] -= amount
        self.changed.add(asset)

    def fee_of(self, order: Order, price: int, qty: int, rate: int) -> tuple[int, str]:
        """The fee of an execution, in what it brings in: amount and asset."""
        base, quote = self._currencies[order.symbol.index]
        got = qty if order.side == BUY else worth(price, qty)
        return got * rate // _SCALE, base if order.side == BUY else quote

    def settle(self, fill: Fill) -> None:
        """Exchange what an execution exchanges; nothing is locked for it any more."""
        base, quote = self._currencies[fill.symbol.index]
        sign = 1 if fill.side == BUY else -1
        self.free[base] += sign * fill.qty
        self.free[quote] -= sign * fill.worth
        self.free[fill.fee_asset] -= fill.fee
        self.changed |= {base, quote, fill.fee_asset}

    def take_changed(self) -> list[tuple[str, int, int]]:
        """Assets that have changed since: (asset, free, locked)."""
        changed, self.changed = sorted(self.changed), set()
        return [(asset, self.free[asset], self.locked[asset]) for asset in changed]
