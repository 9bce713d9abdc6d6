"""Market making: quote both sides of the mid, lean against the inventory.

With ``share`` = position / ``max_inventory`` in [-1, 1], all prices 1e-8::

    half  = mid x spread_bps / 20000 x (1 + widening x |share|)
    fair  = mid - skew_factor x share x half
    least = mid x (maker fee + margin_bps)   what a fill must earn against the mid, however the quotes lean
    bid i = fair - half x (1 + i)  down to a tick, at least ``least`` below the mid and a tick below the best ask
    ask i = fair + half x (1 + i)  up to a tick, at least ``least`` above the mid and a tick above the best bid

A reference to learn from and to test with: it knows its fee, but nothing about queue position, adverse selection or
volatility; ``spread_bps`` has to be wide enough for those.
"""

from hftpipe.strategy import BUY, SELL, Qty, Strategy, param

MAX_LEVELS = 5
SLOTS = 2 * MAX_LEVELS


class MarketMaking(Strategy):
    """Each side of each level is one quote slot: at most one live order there, whose life is the engine's business."""

    #: Full spread around the fair price, in basis points of the mid.
    spread_bps: float = param(5.0, gt=0, le=1000)
    #: What a fill must earn against the mid beyond the maker fee, in basis points; a rebate counts as no fee.
    margin_bps: float = param(0.5, ge=0, le=1000)
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
                for slot in range(SLOTS):
                    ctx.withdraw(slot)

    def _quote(self, ctx, book):
        mid, tick, position = book.mid(), ctx.tick(), ctx.position()
        share = min(1.0, max(-1.0, position / self.max_inventory))
        half = mid * self.spread_bps * 0.00005 * (1.0 + self.widening * abs(share))
        fair = mid - self.skew_factor * share * half
        least = mid * (max(ctx.maker_fee(), 0) * 1e-8 + self.margin_bps * 0.0001)
        tolerance = int(mid * self.reprice_threshold * 0.0001)
        for level in range(MAX_LEVELS):
            slot = 2 * level
            reach = self.order_size * (level + 1)
            distance = half * (level + 1)
            active = level < self.num_levels
            if active and position + reach <= self.max_inventory:
                bid = min(ctx.round_down(min(fair - distance, mid - least)), book.ask - tick)
                self._place(ctx, slot, BUY, bid, tolerance)
            else:
                ctx.withdraw(slot)
            if active and reach - position <= self.max_inventory:
                ask = max(ctx.round_up(max(fair + distance, mid + least)), book.bid + tick)
                self._place(ctx, slot + 1, SELL, ask, tolerance)
            else:
                ctx.withdraw(slot + 1)

    def _place(self, ctx, slot, side, price, tolerance):
        """Quote ``price``, unless what is quoted already is as good."""
        quoted, left = ctx.quoted(slot)
        if left > 0 and abs(quoted - price) <= tolerance:
            price = quoted
        ctx.quote(slot, side, price, self.order_size)
