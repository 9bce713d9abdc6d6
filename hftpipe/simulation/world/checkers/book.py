"""The book checker: a VALID book is right at its sequence number, and nothing is decided on another one."""

from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, store_i64, view
from hftpipe.core.schema.records import ASK, BOOK_STATE, LAST, LEVEL, TOP, VALID
from hftpipe.core.trading.book import BOOK, book_level
from hftpipe.simulation.world.checkers.rules import Checker

_MOST = 1024


@jit
def _dump(book, side, out):
    """Write (price, qty) of the levels of one side, best first, to int64 pairs at ``out``; returns how many."""
    b = view(book, BOOK)
    count = min(b.n_asks if side == ASK else b.n_bids, np.int64(_MOST))
    for index in range(count):
        price, qty = book_level(book, side, np.int64(index))
        store_i64(out + U64(16) * U64(index), price)
        store_i64(out + U64(16) * U64(index) + U64(8), qty)
    return count


class BookChecker(Checker):
    """I8: the strategy's VALID book equals the market's at that update, and on_book is not called on another one."""

    name = "book"
    EVERY = 12

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        n = len(world.plan.instruments)
        self._states, self._allowed, self._checked = [0] * n, [0] * n, [0] * n
        self._out, self._calls = np.zeros((_MOST, 2), np.int64), 0

    def after(self, stage: str) -> None:
        if stage != "strategy":
            return
        for r in self.world.rings["market"].popped:
            if r.kind == BOOK_STATE:
                self._states[r.instrument] = r.flags
            elif r.kind in (LEVEL, TOP) and r.flags & LAST and self._states[r.instrument] == VALID:
                self._allowed[r.instrument] += 1
        self._calls += 1
        self._judge(is_thorough=self._calls % self.EVERY == 0)

    def _judge(self, is_thorough: bool) -> None:
        calls = self.world.on_book_calls()
        for index in range(len(self._states)):
            header = self.world.strategy_book(index)
            if calls is not None and calls[index] > self._allowed[index]:
                self.fail(f"instrument {index}: on_book called {calls[index]} times on {self._allowed[index]} changes")
            if int(header["state"]) != self._states[index]:
                self.fail(f"instrument {index}: the strategy's book is {header['state']}, told {self._states[index]}")
            update_id = int(header["update_id"])
            is_whole = self.world.state("strategy")["in_update"][0] == 0 and update_id != 0
            if is_thorough and is_whole and header["state"] == VALID and update_id != self._checked[index]:
                self._compare(index, header, update_id)

    def _compare(self, index: int, header: Any, update_id: int) -> None:
        self._checked[index] = update_id
        reference = self.world.feed.lines[index].reference
        truth = reference.at(update_id)
        if truth is None:
            self.fail(f"instrument {index}: the market never had an update {update_id}")
        for side, wanted in enumerate(truth):
            count = int(
                _dump(self.world.strategy_book_address(index), np.int64(side), np.uint64(self._out.ctypes.data))
            )
            found = [(int(price), int(qty)) for price, qty in self._out[:count]]
            if found != wanted:
                odd = sorted(set(found) ^ set(wanted))[:4]
                self.fail(f"instrument {index}, side {side}: VALID book differs at update {update_id}: {odd}")
        top = tuple(int(header[name]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
        if top != reference.tops.get(int(header["top_id"])):
            self.fail(f"instrument {index}: top {top} is not that of update {int(header['top_id'])}")

    def end(self) -> None:
        self._judge(is_thorough=True)
