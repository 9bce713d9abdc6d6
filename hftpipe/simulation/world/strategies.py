"""A strategy that does everything the strategy API lets it do, sensible or not, as its own random numbers say."""

import numpy as np

from hftpipe.strategy import BUY, FOK, GTC, IOC, MARKET, POST_ONLY, REDUCE_ONLY, Strategy, param, state

#: What it does: everything; cancel and nothing else; one harmless order.
HOSTILE, WITHDRAW, PROBE = 0, 1, 2
INSTRUMENTS = 64


class Hostile(Strategy):
    """Random orders of all types, floods, values that are no numbers, cancels and replaces of anything."""

    mode: int = param(0, ge=0, le=2)
    #: Of a probe: its instrument, and its side (1: buy, 2: sell, 0: whichever shrinks the position).
    target: int = param(0, ge=0)
    side: int = param(0, ge=0, le=2)
    seed: int = param(1, ge=0)
    #: Chance in 1000 that an event leads to an action.
    eagerness: int = param(200, ge=0, le=1000)
    #: Largest order, in lots, and farthest price, in ticks from the touch.
    lots: int = param(20, ge=1)
    reach: int = param(20, ge=1)

    random: int = state()
    probed: int = state()
    #: Calls of on_book, an instrument.
    books: int = state(shape=INSTRUMENTS)

    def on_book(self, ctx, book):
        self.books[ctx.instrument] += 1
        self._act(ctx, book)

    def on_trade(self, ctx, trade):
        self._act(ctx, ctx.book())

    def on_fill(self, ctx, fill):
        self._act(ctx, ctx.book())

    def on_timer(self, ctx):
        if self.mode == WITHDRAW:
            ctx.cancel_all()
        else:
            self._act(ctx, ctx.book())

    def _next(self, below):
        if self.random == 0:
            self.random = np.int64(np.uint64(self.seed) * np.uint64(2654435761) + np.uint64(88172645463325252))
        # A generator wraps: only unsigned numbers may.
        self.random = np.int64(np.uint64(self.random) * np.uint64(6364136223846793005) + np.uint64(1442695040888963407))
        return ((self.random >> 33) & 0x3FFFFFFF) % below

    def _act(self, ctx, book):
        if self.mode == WITHDRAW:
            return
        if self.mode == PROBE:
            self._probe(ctx, book)
        elif self._next(1000) < self.eagerness:
            self._anything(ctx, book)

    def _probe(self, ctx, book):
        """Now and then a passive order of the smallest size."""
        if ctx.instrument != self.target or not ctx.tradable():
            return
        self.probed += 1
        if self.probed % 20 != 1:
            return
        if self.side == 2 or (self.side == 0 and ctx.position() > 0):
            ctx.sell(book.ask, self._smallest(ctx, book), GTC)
        else:
            ctx.buy(book.bid, self._smallest(ctx, book), GTC)

    def _smallest(self, ctx, book):
        """A legal quantity worth about ten units of quote currency."""
        if book.bid == 0:
            return ctx.lot()
        lots = 1_000_000_000 / (book.bid * 0.00000001) / ctx.lot()
        return ctx.lot() * (1 + int(lots))

    def _qty(self, ctx, book):
        return self._smallest(ctx, book) + ctx.lot() * self._next(self.lots)

    def _anything(self, ctx, book):
        kind = self._next(18)
        if kind < 9:
            self._order(ctx, book, kind)
        elif kind < 11:
            self._replace(ctx, book)
        elif kind < 13:
            ctx.cancel(ctx.order(self._next(64)).id)
        elif kind == 13:
            for _ in range(self._next(40)):
                self._order(ctx, book, self._next(9))
        elif kind == 14:
            self._no_number(ctx)
        elif kind == 15:
            self._extreme(ctx, book)
        elif kind == 16:
            self._misfit(ctx, book)
        elif self._next(4) == 0:
            ctx.cancel_all()

    def _order(self, ctx, book, kind):
        side, qty = self._next(2), self._qty(ctx, book)
        touch = book.bid if side == BUY else book.ask
        away = ctx.tick() * self._next(self.reach)
        price = touch - away if side == BUY else touch + away
        if kind < 4:
            self._send(ctx, side, price, qty, GTC)
        elif kind == 4:
            self._send(ctx, side, price, qty, POST_ONLY)
        elif kind == 5:
            self._send(ctx, side, 2 * touch - price, qty, IOC)
        elif kind == 6:
            self._send(ctx, side, 2 * touch - price, qty, FOK)
        elif kind == 7:
            self._send(ctx, side, 0, qty, MARKET)
        else:
            self._send(ctx, side, price, qty, GTC | REDUCE_ONLY)

    def _send(self, ctx, side, price, qty, flags):
        if side == BUY:
            ctx.buy(price, qty, flags)
        else:
            ctx.sell(price, qty, flags)

    def _replace(self, ctx, book):
        order = ctx.order(self._next(8))
        away = ctx.tick() * (self._next(2 * self.reach) - self.reach)
        price = max(min(order.price, 1 << 60), -(1 << 60))
        ctx.replace(order.id, price + away, order.filled + self._qty(ctx, book))

    def _no_number(self, ctx):
        nothing = float("nan")
        choice = self._next(4)
        if choice == 0:
            ctx.buy(nothing, nothing)
        elif choice == 1:
            ctx.sell(float("inf"), 1.0)
        elif choice == 2:
            ctx.buy(1e300, 1e8)
        else:
            ctx.replace(ctx.order(0).id, nothing, 1.0)

    def _extreme(self, ctx, book):
        largest = 9223372036854775807
        choice = self._next(7)
        if choice == 0:
            ctx.buy(largest, largest)
        elif choice == 1:
            ctx.sell(-largest, 1)
        elif choice == 2:
            ctx.buy(book.bid, -largest)
        elif choice == 3:
            ctx.sell(book.ask, 0)
        elif choice == 4:
            ctx.sell(book.ask, largest - largest % ctx.lot(), IOC)
        elif choice == 5:
            ctx.replace(ctx.order(0).id, -1, largest)
        else:
            ctx.buy(book.bid * 3, self._qty(ctx, book))

    def _misfit(self, ctx, book):
        """Off the grid, with flags that do not exist, on instruments that do not exist."""
        choice = self._next(5)
        if choice == 0:
            ctx.buy(book.bid - 1, self._qty(ctx, book))
        elif choice == 1:
            ctx.sell(book.ask, self._qty(ctx, book) + 1)
        elif choice == 2:
            ctx.buy(book.bid, self._qty(ctx, book), 5 + self._next(120))
        elif choice == 3:
            ctx.select(self._next(1000) - 500)
            ctx.sell(1000, 1000)
        else:
            ctx.cancel(self._next(1 << 20) - 5)
