"""A market maker for many instruments: follows all of them, quotes those whose whole book is followed.

Quotes are sized in quote currency, for prices from fractions of a cent to tens of thousands. An example to start from: it knows
its fee and its inventory, and nothing else.
"""

from hftpipe.strategy import BUY, MAX_INSTRUMENTS, SELL, Price, Strategy, param, state


class UniverseMaker(Strategy):
    """One quote a side of each instrument with a whole book; ``seen`` counts what came of all the others."""

    #: Full spread around the mid, in basis points of it.
    spread_bps: float = param(8.0, gt=0, le=1000)
    #: Value of each quote, in quote currency.
    order_notional: float = param(50.0, gt=0)
    #: No quote whose fill could take the position's value past this, in quote currency.
    max_notional: float = param(150.0, gt=0)
    #: A quote is moved when its target is farther away than this many basis points of the mid.
    reprice_bps: float = param(1.0, ge=0, le=1000)

    quoted_mid: Price = state(shape=MAX_INSTRUMENTS)
    seen: int = state(shape=MAX_INSTRUMENTS)

    def on_book(self, ctx, book):
        i = ctx.instrument
        self.seen[i] += 1
        if book.n_bids == 0 or book.n_asks == 0:
            return
        mid = book.mid()
        if abs(mid - self.quoted_mid[i]) > int(mid * self.reprice_bps * 0.0001):
            self.quoted_mid[i] = mid
            self._quote(ctx, book, mid)

    def on_fill(self, ctx, fill):
        self.quoted_mid[ctx.instrument] = 0

    def _quote(self, ctx, book, mid):
        lot, tick, position = ctx.lot(), ctx.tick(), ctx.position()
        qty = max(int(self.order_notional * 1e16 / mid) // lot, 1) * lot
        most = int(self.max_notional * 1e16 / mid)
        half = mid * self.spread_bps * 0.00005
        if position + qty <= most:
            ctx.quote(0, BUY, min(ctx.round_down(mid - half), book.ask - tick), qty)
        else:
            ctx.withdraw(0)
        if qty - position <= most:
            ctx.quote(1, SELL, max(ctx.round_up(mid + half), book.bid + tick), qty)
        else:
            ctx.withdraw(1)
