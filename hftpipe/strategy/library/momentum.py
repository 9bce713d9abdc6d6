"""Momentum: take liquidity in the direction of trades and price over the last window, leave after a while.

A window is closed by the first trade after its end. Its imbalance is (bought - sold) / (bought + sold) of the takers'
quantities, its change that of the mid in basis points. When both are beyond their thresholds in one direction, an
immediate-or-cancel order follows it, up to ``max_position``. The position is closed, reduce-only, when it has been held
for ``hold_ms`` or when a window signals the other way. A reference for taking strategies, as simple as can be.
"""

from hftpipe.strategy import BUY, IOC, MAX_INSTRUMENTS, REDUCE_ONLY, Price, Qty, Strategy, param, state

NS_PER_MS = 1_000_000


class Momentum(Strategy):
    """All state is per instrument."""

    #: Length of the window the signal is taken over.
    window_ms: int = param(500, ge=1, le=600_000)
    #: Smallest imbalance of taker quantities, 0 to 1.
    min_imbalance: float = param(0.6, gt=0, le=1)
    #: Smallest change of the mid over the window, in basis points.
    min_change_bps: float = param(0.5, ge=0, le=1000)
    #: Quantity of each order, in base currency.
    order_size: Qty = param("0.001", gt=0)
    #: No entry that could take the position past this, in base currency.
    max_position: Qty = param("0.005", gt=0)
    #: How far past the touch the order's limit is, in basis points.
    slippage_bps: float = param(1.0, ge=0, le=100)
    #: Time between two orders of an instrument.
    cooldown_ms: int = param(1000, ge=0, le=3_600_000)
    #: Longest time a position is held after the last entry.
    hold_ms: int = param(5000, ge=1, le=86_400_000)

    window_from: int = state(shape=MAX_INSTRUMENTS)
    window_mid: Price = state(shape=MAX_INSTRUMENTS)
    bought: Qty = state(shape=MAX_INSTRUMENTS)
    sold: Qty = state(shape=MAX_INSTRUMENTS)
    ordered_at: int = state(shape=MAX_INSTRUMENTS)
    entered_at: int = state(shape=MAX_INSTRUMENTS)

    def on_trade(self, ctx, trade):
        i = ctx.instrument
        if trade.side == BUY:
            self.bought[i] += trade.qty
        else:
            self.sold[i] += trade.qty
        if ctx.now - self.window_from[i] < self.window_ms * NS_PER_MS or not ctx.tradable():
            return
        signal = self._signal(ctx)
        self._restart_window(ctx)
        if signal != 0:
            self._act(ctx, signal)

    def on_timer(self, ctx):
        for instrument in range(ctx.n_instruments):
            ctx.select(instrument)
            held_ns = ctx.now - self.entered_at[instrument]
            if ctx.position() != 0 and held_ns >= self.hold_ms * NS_PER_MS and ctx.tradable():
                self._exit(ctx)

    def _signal(self, ctx):
        """1 up, -1 down, 0 none; the very first window has no mid to compare with and gives none."""
        i = ctx.instrument
        total, before = self.bought[i] + self.sold[i], self.window_mid[i]
        if total <= 0 or before <= 0:
            return 0
        imbalance = (self.bought[i] - self.sold[i]) / total
        change_bps = 1e4 * (ctx.book().mid() - before) / before
        if imbalance >= self.min_imbalance and change_bps >= self.min_change_bps:
            return 1
        if imbalance <= -self.min_imbalance and change_bps <= -self.min_change_bps:
            return -1
        return 0

    def _restart_window(self, ctx):
        i = ctx.instrument
        self.window_from[i], self.window_mid[i] = ctx.now, ctx.book().mid()
        self.bought[i], self.sold[i] = 0, 0

    def _act(self, ctx, signal):
        position = ctx.position()
        if position * signal < 0:
            self._exit(ctx)
        elif abs(position) + self.order_size <= self.max_position and self._may_order(ctx):
            self.entered_at[ctx.instrument] = ctx.now
            self._take(ctx, signal, self.order_size, IOC)

    def _may_order(self, ctx):
        """Trading is on, nothing of ours is under way, and the cooldown is over."""
        i = ctx.instrument
        if ctx.halted or ctx.open_qty(0) + ctx.open_qty(1) > 0:
            return False
        return self.ordered_at[i] == 0 or ctx.now - self.ordered_at[i] >= self.cooldown_ms * NS_PER_MS

    def _exit(self, ctx):
        position = ctx.position()
        if self._may_order(ctx):
            self._take(ctx, -1 if position > 0 else 1, abs(position), IOC | REDUCE_ONLY)

    def _take(self, ctx, direction, qty, flags):
        book, i = ctx.book(), ctx.instrument
        self.ordered_at[i] = ctx.now
        if direction > 0:
            ctx.buy(ctx.round_up(book.ask * (1.0 + self.slippage_bps * 0.0001)), qty, flags)
        else:
            ctx.sell(ctx.round_down(book.bid * (1.0 - self.slippage_bps * 0.0001)), qty, flags)
