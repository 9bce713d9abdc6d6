"""Arbitrage: where the same thing is cheaper at one venue than at another, buy it here and sell it there.

One *round* at a time for each common name::

    crossing ─▶ both legs, IOC at the prices seen ─▶ both ended, or leg_timeout_ms ─▶ as much sold as bought ─▶ done
                                                          │                                   ▲
                                                          └─▶ mending: IOC of what is open ───┘   again each leg_timeout_ms

*Unhedged* is what has been bought of a name less what has been sold, over all venues. Every order keeps within the worst case:
whatever of the orders of one side fills, and nothing of the other, it stays within ``max_unhedged``.

Mending by hedging trades the leg that is missing, by unwinding it takes the other one back; where one has not worked the next
attempt is the other. After a round that had to be mended there is a pause.

All quantities are in the common unit: that of the largest pack (of 1000PEPE and PEPE a thousand PEPE).
"""

from hftpipe.strategy import BUY, IOC, PENDING_CANCEL, SELL, OrderId, Qty, Strategy, param, state

#: All state is by common name: at the lowest id of its instruments.
NAMES = 8192
NS_PER_MS = 1_000_000
E8_PER_BPS = 10_000.0
HEDGE = 0
IDLE, LEGS, MENDING = 0, 1, 2


class Arbitrage(Strategy):
    """Takes what crosses, and never holds more of one leg alone than it may."""

    #: What both legs must leave after their taker fees, in basis points of the price.
    opportunity_threshold_bps: float = param(5.0, ge=0, le=1000)
    #: An opportunity is over, and can come again, this far below the threshold.
    hysteresis_bps: float = param(1.0, ge=0, le=1000)
    #: A book that has not changed for longer is not traded on.
    max_age_ms: int = param(200, ge=1, le=60_000)
    #: Largest quantity of a round.
    order_size: Qty = param("0.001", gt=0)
    #: Largest position at a venue, long or short.
    max_inventory: Qty = param("0.005", gt=0)
    #: Largest quantity that may be bought and not sold, or sold and not bought.
    max_unhedged: Qty = param("0.002", gt=0)
    #: How long a leg is waited for, and the time from one attempt to mend to the next.
    leg_timeout_ms: int = param(250, ge=1, le=60_000)
    #: What to do about a leg that did not come: 0 hedges (trades it after all), 1 unwinds (takes the other back).
    leg_policy: int = param(0, ge=0, le=1)
    #: How far past the touch an order that mends may go, in basis points.
    slippage_bps: float = param(2.0, ge=0, le=100)
    #: No new round for so long after one that had to be mended.
    pause_ms: int = param(1000, ge=0, le=3_600_000)

    phase: int = state(shape=NAMES)
    #: Instruments of the last round, and the orders that are waited for.
    buy_at: int = state(shape=NAMES)
    sell_at: int = state(shape=NAMES)
    buy_id: OrderId = state(shape=NAMES)
    sell_id: OrderId = state(shape=NAMES)
    #: Until when these are waited for; when the next attempt to mend may come; how many there were; no new round before.
    deadline: int = state(shape=NAMES)
    mend_at: int = state(shape=NAMES)
    tries: int = state(shape=NAMES)
    paused_until: int = state(shape=NAMES)
    rounds: int = state()
    mended: int = state()

    def on_book(self, ctx, book):
        ctx.watch_spreads(
            int(self.opportunity_threshold_bps * E8_PER_BPS + 0.5), int(self.hysteresis_bps * E8_PER_BPS + 0.5),
            self.max_age_ms * NS_PER_MS,
        )  # fmt: skip
        if ctx.counterparts() == 0:
            return
        name = self._name(ctx)
        self._settle(ctx, name)
        spread = ctx.crossing()
        while spread.buy >= 0:
            self._take(ctx, name, spread)
            spread = ctx.crossing()

    def on_fill(self, ctx, fill):
        """A fill that nobody waits for any more has to be evened out too."""
        if ctx.counterparts() > 0:
            name = self._name(ctx)
            if self.phase[name] == IDLE:
                self.phase[name] = MENDING
            self._settle(ctx, name)

    def on_timer(self, ctx):
        for instrument in range(ctx.n_instruments):
            if self.phase[instrument] != IDLE:
                self._settle(ctx, instrument)

    def _name(self, ctx):
        return min(ctx.instrument, ctx.counterpart(0))

    # --- a round ---

    def _take(self, ctx, name, spread):
        if ctx.halted or self.phase[name] != IDLE or ctx.now < self.paused_until[name]:
            return
        qty = self._round_qty(ctx, name, spread)
        if qty <= 0:
            return
        ctx.select(spread.buy)
        self.buy_id[name] = ctx.buy(ctx.book().ask, qty * ctx.units(), IOC)
        ctx.select(spread.sell)
        # Without the first leg there is no second.
        self.sell_id[name] = ctx.sell(ctx.book().bid, qty * ctx.units(), IOC) if self.buy_id[name] != 0 else 0
        self.buy_at[name], self.sell_at[name] = spread.buy, spread.sell
        self.phase[name], self.tries[name], self.mend_at[name] = LEGS, 0, 0
        self.deadline[name] = ctx.now + self.leg_timeout_ms * NS_PER_MS
        self.rounds += 1

    def _round_qty(self, ctx, name, spread):
        """As much as both sides show and all limits allow, in steps that both venues trade; 0: not enough."""
        net, buys, sells = self._unhedged(ctx, name)
        qty = min(self.order_size, self.max_unhedged - max(net + buys, sells - net))
        ctx.select(spread.buy)
        qty = min(qty, ctx.book().ask_qty // ctx.units(), self._room(ctx, BUY))
        ctx.select(spread.sell)
        qty = min(qty, ctx.book().bid_qty // ctx.units(), self._room(ctx, SELL))
        qty -= qty % spread.step
        if qty <= 0 or not self._is_worth_an_order(ctx, ctx.book().bid, qty * ctx.units()):
            return 0
        ctx.select(spread.buy)
        return qty if self._is_worth_an_order(ctx, ctx.book().ask, qty * ctx.units()) else 0

    def _is_worth_an_order(self, ctx, price, own_qty):
        """Whether the venue takes an order of so little, a hair above its least value."""
        return own_qty > 0 and price * (own_qty * 1e-8) > ctx.min_notional() * 1.000001

    def _room(self, ctx, side):
        """How much more the current instrument's position may move to one side, with all that is under way."""
        units = ctx.units()
        held = ctx.position() // units if side == SELL else -(ctx.position() // units)
        return self.max_inventory + held - self._working(ctx, side)

    def _working(self, ctx, side):
        return -(-ctx.open_qty(side) // ctx.units())

    def _unhedged(self, ctx, name):
        """``(net, buys, sells)`` over all venues: bought less sold, and what may still be bought and sold."""
        ctx.select(name)
        net, buys, sells, others = 0, 0, 0, ctx.counterparts()
        for index in range(-1, others):
            ctx.select(name)
            ctx.select(name if index < 0 else ctx.counterpart(index))
            net += ctx.position() // ctx.units()
            buys += self._working(ctx, BUY)
            sells += self._working(ctx, SELL)
        return net, buys, sells

    # --- what became of it ---

    def _settle(self, ctx, name):
        if self.phase[name] == IDLE or ctx.halted or self._is_waiting(ctx, name):
            return
        self.phase[name] = MENDING
        net, buys, sells = self._unhedged(ctx, name)
        if net == 0 or (self._is_dust(ctx, self.buy_at[name], net) and self._is_dust(ctx, self.sell_at[name], net)):
            if buys == 0 and sells == 0:
                self._finish(ctx, name)
        elif ctx.now >= self.mend_at[name]:
            self.mend_at[name] = ctx.now + self.leg_timeout_ms * NS_PER_MS
            if not self._mend(ctx, name, net, buys, sells):
                self._mend(ctx, name, net, buys, sells)

    def _is_waiting(self, ctx, name):
        """Whether an order is still to be answered and may take its time; one that has had it is cancelled."""
        if not ctx.is_open(self.buy_id[name]) and not ctx.is_open(self.sell_id[name]):
            return False
        if ctx.now < self.deadline[name]:
            return True
        self._cancel(ctx, self.buy_id[name])
        self._cancel(ctx, self.sell_id[name])
        return False

    def _cancel(self, ctx, order_id):
        if ctx.is_open(order_id) and ctx.find(order_id).state != PENDING_CANCEL:
            ctx.cancel(order_id)

    def _finish(self, ctx, name):
        if self.tries[name] > 0:
            self.paused_until[name] = ctx.now + self.pause_ms * NS_PER_MS
            self.mended += 1
        self.phase[name], self.tries[name] = IDLE, 0

    def _is_dust(self, ctx, instrument, net):
        """Whether an instrument's venue takes no order of so little."""
        ctx.select(instrument)
        price, qty = ctx.book().ask, abs(net) * ctx.units()
        return price > 0 and not self._is_worth_an_order(ctx, price, qty - qty % ctx.lot())

    def _mend(self, ctx, name, net, buys, sells):
        """One attempt to even out ``net``: False if no order could be sent."""
        is_hedge = (self.leg_policy == HEDGE) == (self.tries[name] % 2 == 0)
        self.tries[name] += 1
        ctx.select(self.sell_at[name] if (net > 0) == is_hedge else self.buy_at[name])
        if not ctx.tradable():
            return False
        side = SELL if net > 0 else BUY
        room = self.max_unhedged - (sells - net if side == SELL else net + buys)
        qty = min(abs(net), room, self._room(ctx, side)) * ctx.units()
        qty -= qty % ctx.lot()
        book = ctx.book()
        if not self._is_worth_an_order(ctx, book.bid if side == SELL else book.ask, qty):
            return False
        slip = self.slippage_bps * 0.0001
        self.buy_id[name], self.sell_id[name] = 0, 0
        if side == SELL:
            self.sell_id[name] = ctx.sell(ctx.round_down(book.bid * (1.0 - slip)), qty, IOC)
        else:
            self.buy_id[name] = ctx.buy(ctx.round_up(book.ask * (1.0 + slip)), qty, IOC)
        self.deadline[name] = ctx.now + self.leg_timeout_ms * NS_PER_MS
        return self.buy_id[name] != 0 or self.sell_id[name] != 0
