"""Market making: quote both sides of the mid, lean against the inventory, stay out of the way of pending changes.

With ``share`` = position / ``max_inventory`` in [-1, 1], all prices 1e-8::

    half  = mid x spread_bps / 20000 x (1 + widening x |share|)
    fair  = mid - skew_factor x share x half
    bid i = fair - half x (1 + i)  down to a tick, at least a tick below the best ask
    ask i = fair + half x (1 + i)  up to a tick, at least a tick above the best bid

A reference to learn from and to test with: it knows nothing about queue position, adverse selection or volatility.
"""

from hftpipe.strategy import (
    BUY,
    EXPIRED,
    PARTIAL,
    POST_ONLY,
    REJECTED,
    SELL,
    WORKING,
    OrderId,
    Qty,
    Strategy,
    param,
    state,
)

MAX_LEVELS = 5
SLOTS = 2 * MAX_LEVELS
INSTRUMENTS = 64
#: After a refused or rejected order its slot stays empty for so long; a rejection repeated on every tick helps no one.
RETRY_NS = 250_000_000


class MarketMaking(Strategy):
    """At most one live order per side and level; each slot of ``ids`` is one of them."""

    #: Full spread around the fair price, in basis points of the mid.
    spread_bps: float = param(5.0, gt=0, le=1000)
    #: Quantity of each quote, in base currency.
    order_size: Qty = param("0.001", gt=0)
    #: Quotes a side; each further one is half a spread away from the one before.
    num_levels: int = param(1, ge=1, le=MAX_LEVELS)
    #: How far the fair price leans at full inventory, in half spreads.
    skew_factor: float = param(1.0, ge=0, le=10)
    #: How much wider the spread is at full inventory: 1 doubles it.
    widening: float = param(1.0, ge=0, le=10)
    #: A quote is moved when its target is farther away than this many basis points of the mid.
    reprice_threshold: float = param(0.5, ge=0, le=1000)
    #: A side is not quoted where its fill could take the position past this, in base currency.
    max_inventory: Qty = param("0.01", gt=0)

    ids: OrderId = state(shape=INSTRUMENTS * SLOTS)
    retry_at: int = state(shape=INSTRUMENTS * SLOTS)

    def on_book(self, ctx, book):
        self._quote(ctx, book)

    def on_fill(self, ctx, fill):
        if ctx.tradable():
            self._quote(ctx, ctx.book())

    def on_params(self, ctx):
        for instrument in range(ctx.n_instruments):
            ctx.select(instrument)
            if ctx.tradable():
                self._quote(ctx, ctx.book())

    def on_timer(self, ctx):
        """Without a book to judge by, no quote may stand."""
        for instrument in range(ctx.n_instruments):
            ctx.select(instrument)
            if not ctx.tradable():
                for slot in range(instrument * SLOTS, instrument * SLOTS + SLOTS):
                    self._withdraw(ctx, slot)

    def _quote(self, ctx, book):
        mid, tick, position = book.mid(), ctx.tick(), ctx.position()
        share = min(1.0, max(-1.0, position / self.max_inventory))
        half = mid * self.spread_bps * 0.00005 * (1.0 + self.widening * abs(share))
        fair = mid - self.skew_factor * share * half
        tolerance = int(mid * self.reprice_threshold * 0.0001)
        first = ctx.instrument * SLOTS
        for level in range(MAX_LEVELS):
            slot = first + 2 * level
            reach = self.order_size * (level + 1)
            distance = half * (level + 1)
            active = level < self.num_levels
            if active and position + reach <= self.max_inventory:
                bid = min(ctx.round_down(fair - distance), book.ask - tick)
                self._place(ctx, slot, BUY, bid, tolerance)
            else:
                self._withdraw(ctx, slot)
            if active and reach - position <= self.max_inventory:
                ask = max(ctx.round_up(fair + distance), book.bid + tick)
                self._place(ctx, slot + 1, SELL, ask, tolerance)
            else:
                self._withdraw(ctx, slot + 1)

    def _place(self, ctx, slot, side, price, tolerance):
        """Bring one slot's order to ``price``: leave it, move it, or make it."""
        if self.ids[slot] == 0:
            self._open(ctx, slot, side, price)
            return
        order = ctx.find(self.ids[slot])
        if order.state == WORKING or order.state == PARTIAL:
            if abs(order.price - price) > tolerance:
                ctx.replace(order.id, price, order.filled + self.order_size)
        elif not ctx.is_open(self.ids[slot]):
            self.ids[slot] = 0
            if order.state == REJECTED or order.state == EXPIRED:
                self.retry_at[slot] = ctx.now + RETRY_NS
            self._open(ctx, slot, side, price)

    def _open(self, ctx, slot, side, price):
        if ctx.halted or ctx.now < self.retry_at[slot]:
            return
        if side == BUY:
            self.ids[slot] = ctx.buy(price, self.order_size, POST_ONLY)
        else:
            self.ids[slot] = ctx.sell(price, self.order_size, POST_ONLY)
        if self.ids[slot] == 0:
            self.retry_at[slot] = ctx.now + RETRY_NS

    def _withdraw(self, ctx, slot):
        """Cancel a slot's order unless a change of it is still under way."""
        if self.ids[slot] == 0:
            return
        order = ctx.find(self.ids[slot])
        if order.state == WORKING or order.state == PARTIAL:
            ctx.cancel(self.ids[slot])
        elif not ctx.is_open(self.ids[slot]):
            self.ids[slot] = 0
