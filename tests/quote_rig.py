"""A strategy that quotes what a test writes into its state, and a venue that answers as it is told."""

from pathlib import Path
from typing import Any

import numpy as np
from strategy_rig import E8, LOT, Rig

from hftpipe.core.schema.reasons import USER_REQUEST
from hftpipe.core.schema.records import ACK, BUY, CANCEL, CANCELED, NEW, POST_ONLY, REPLACE, REPLACED
from hftpipe.core.trading.order_table import TABLE, TABLE_HEADER_BYTES
from hftpipe.strategy.compile.loader import LoadedStrategy, load

SOURCE = '''
from hftpipe.strategy import *


class Quoting(Strategy):
    """At each timer: quotes what ``wish`` says (do, side, price, qty, flags) by instrument and slot, once."""

    wish: int = state(shape=(2, 16, 5))
    taken: int = state(shape=(2, 16))
    told: int = state(shape=(2, 16, 3))
    odd: int = state()
    target: OrderId = state()
    said: int = state(shape=4)
    fills: int = state()
    again: int = state()

    def on_timer(self, ctx):
        for i in range(ctx.n_instruments):
            ctx.select(i)
            for s in range(16):
                if self.wish[i, s, 0] != 0:
                    self.wish[i, s, 0] = 0
                    self.taken[i, s] = ctx.quote(
                        s, self.wish[i, s, 1], self.wish[i, s, 2], self.wish[i, s, 3], self.wish[i, s, 4]
                    )
                self.told[i, s, 0], self.told[i, s, 1] = ctx.quoted(s)
                self.told[i, s, 2] = ctx.quote_id(s)
        self._odd(ctx)

    def on_fill(self, ctx, fill):
        self.fills += 1
        if self.again != 0:
            ctx.quote(0, fill.side, fill.price, self.again)

    def _odd(self, ctx):
        ctx.select(0)
        if self.odd == 1:
            self.said[0] = ctx.quote(-1, BUY, 10000000000, 100000)
            self.said[1] = ctx.quote(16, BUY, 10000000000, 100000)
            self.said[2], self.said[3] = ctx.quoted(99)[1], ctx.quote_id(-5)
        elif self.odd == 2:
            ctx.quote(0, BUY, float("nan"), 100000)
        elif self.odd == 3:
            self.said[0] = ctx.cancel(self.target)
        elif self.odd == 4:
            self.said[0] = ctx.replace(self.target, 10000000000, 300000)
        elif self.odd == 5:
            self.said[0] = ctx.cancel_all()
        elif self.odd == 6:
            ctx.withdraw_all()
        elif self.odd == 7:
            self.said[0], self.said[1] = ctx.maker_fee(), ctx.taker_fee()
        elif self.odd == 8:
            self.said[0] = ctx.withdraw(0)
        self.odd = 0
'''
PRICE = 100 * E8
#: The answer of a venue that does as it is asked.
GRANTED = {NEW: ACK, REPLACE: REPLACED, CANCEL: CANCELED}


def quoting(folder: Path) -> LoadedStrategy:
    """The strategy, compiled."""
    path = folder / "quoting.py"
    path.write_text(SOURCE)
    return load(f"{path}:Quoting")


class Desk:
    """A rig whose book is ready, with the wishes of its strategy and the requests that came of them."""

    def __init__(self, loaded: LoadedStrategy, **sizes: Any) -> None:
        self.rig = Rig(loaded, **sizes)
        for instrument in range(self.rig.n):
            self.rig.ready(instrument=instrument)
        self.rig.run()

    def wish(
        self, price: int, qty: int, side: int = BUY, slot: int = 0, flags: int = POST_ONLY, instrument: int = 0
    ) -> None:
        """What the strategy will quote at the next timer."""
        self.rig.self_record["wish"][instrument, slot] = (1, side, price, qty, flags)

    def quote(self, *wish: int, **where: int) -> list[np.ndarray]:
        """Quote, and the requests it leads to."""
        self.wish(*wish, **where)
        return self.wait()

    def wait(self, ns: int = 0) -> list[np.ndarray]:
        """A timer after ``ns``: the requests sent."""
        self.rig.timer(ns)
        return self.rig.run()

    def odd(self, what: int, target: int = 0) -> list[np.ndarray]:
        """Have the strategy do one odd thing."""
        self.rig.self_record["odd"], self.rig.self_record["target"] = what, target
        return self.wait()

    def answer(self, kind: int, request: np.ndarray, **fields: Any) -> list[np.ndarray]:
        """An answer to a request: what it leads to."""
        fields = {"side": request["side"], "price": request["price"], "qty": request["qty"], **fields}
        self.rig.update(kind, request["id"], instrument=request["instrument"], **fields)
        return self.rig.run()

    def grant(self, sent: list[np.ndarray]) -> list[np.ndarray]:
        """Have the venue carry out requests, and those that its answers lead to: all of them."""
        for request in sent:
            sent += self.answer(GRANTED[int(request["kind"])], request, flags=USER_REQUEST)
        return sent

    def live(self, price: int = PRICE, qty: int = 10 * LOT, **where: int) -> np.ndarray:
        """A quote that stands: its NEW."""
        (new,) = self.quote(price, qty, **where)
        assert new["kind"] == NEW and self.answer(ACK, new) == []
        return new

    def standing(self, slot: int = 0, instrument: int = 0) -> tuple[int, int, int]:
        """``quoted`` and ``quote_id`` as the strategy sees them."""
        self.wait()
        return tuple(int(one) for one in self.rig.self_record["told"][instrument, slot])

    @property
    def illegal(self) -> int:
        """Moves that an order's state did not allow."""
        return int(self.rig.memory["table"][:TABLE_HEADER_BYTES].view(TABLE)[0]["illegal"])
