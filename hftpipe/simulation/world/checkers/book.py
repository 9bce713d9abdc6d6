"""The book checker: a VALID book is right at its sequence number, and nothing is decided on another one."""

from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, store_i64, view
from hftpipe.core.schema.records import ASK, BOOK_STATE, LAST, LEVEL, TOP, VALID
from hftpipe.core.trading.book import BOOK, book_level
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.words import word_of

_MOST = 1024
#: Words of a BOOK.
STATE = word_of(BOOK, "state")
_UPDATE_ID, _TOP_ID = word_of(BOOK, "update_id"), word_of(BOOK, "top_id")
_TOP = tuple(word_of(BOOK, field) for field in ("bid", "bid_qty", "ask", "ask_qty"))


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
    steps_of = ("strategy",)
    EVERY = 12

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        n = len(world.plan.instruments)
        self._states, self._allowed, self._checked = [0] * n, [0] * n, [0] * n
        #: Whether an update of it is not complete.
        self._is_open = [False] * n
        self._out, self._calls = np.zeros((_MOST, 2), np.int64), 0
        self._out_at = np.uint64(self._out.ctypes.data)

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("market"):
            for r in ring.popped:
                if r.kind in (LEVEL, TOP):
                    self._is_open[r.instrument] = not r.flags & LAST
                    self._allowed[r.instrument] += bool(r.flags & LAST) and self._states[r.instrument] == VALID
                elif r.kind == BOOK_STATE:
                    self._states[r.instrument] = r.flags
        self._calls += 1
        self._judge(is_thorough=self._calls % self.EVERY == 0)

    def _judge(self, is_thorough: bool) -> None:
        called = self.world.on_book_calls
        for index, state in enumerate(self._states):
            book = self.world.strategy_books[index]
            for calls in called:
                if calls[index] > self._allowed[index]:
                    self.fail(
                        f"instrument {index}: on_book called {calls[index]} times on {self._allowed[index]} changes"
                    )
            if book[STATE] != state:
                self.fail(f"instrument {index}: the strategy's book is {book[STATE]}, told {state}")
            update_id = book[_UPDATE_ID]
            if not is_thorough or book[STATE] != VALID or update_id in (0, self._checked[index]):
                continue
            if not self._is_open[index]:
                self._compare(index, book, update_id)

    def _compare(self, index: int, book: memoryview, update_id: int) -> None:
        self._checked[index] = update_id
        reference = self.world.lines[index].reference
        truth = reference.at(update_id)
        if truth is None:
            self.fail(f"instrument {index}: the market never had an update {update_id}")
        for side, wanted in enumerate(truth):
            count = int(_dump(self.world.strategy_book_address(index), side, self._out_at))
            found = [(price, qty) for price, qty in self._out[:count].tolist()]
            if found != wanted:
                odd = sorted(set(found) ^ set(wanted))[:4]
                self.fail(f"instrument {index}, side {side}: VALID book differs at update {update_id}: {odd}")
        top = tuple(book[word] for word in _TOP)
        if top != reference.tops.get(book[_TOP_ID]):
            self.fail(f"instrument {index}: top {top} is not that of update {book[_TOP_ID]}")

    def end(self) -> None:
        self._judge(is_thorough=True)
