"""The jitted book beside a dictionary that is obviously right."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from random import Random

import numpy as np
import orjson
import pytest
from data import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory import address, aligned

from hftpipe.capture.reader import CaptureReader
from hftpipe.core.machine.vectors import FILLING, RUN
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import ASK, BID, INVALID, VALID
from hftpipe.core.trading.book import (
    BOOK,
    BOOK_HEADER_BYTES,
    book_best,
    book_bytes,
    book_clear,
    book_commit,
    book_first_live,
    book_init,
    book_level,
    book_qty_at,
    book_set,
    book_set_top,
    book_sum,
    book_tradable,
    book_walk,
    book_walk_level,
    book_walk_next,
)
from hftpipe.core.trading.levels import LEVELS

CAPACITY = 6
SIDES = (np.int64(BID), np.int64(ASK))
PRICES = st.integers(1, 20)
QTYS = st.integers(0, 3) | st.just(2**62)


@dataclass
class Twin:
    """A book as a dictionary a side."""

    capacity: int
    levels: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    top: tuple[int, int, int, int] = (0, 0, 0, 0)
    top_id: int = 0
    update_id: int = 0
    evicted: int = 0
    absent_deletes: int = 0

    def ranked(self, side: int) -> list[tuple[int, int]]:
        """Levels from the best."""
        return sorted(self.levels[side].items(), reverse=side == BID)

    def set(self, side: int, price: int, qty: int) -> int:
        levels = self.levels[side]
        before = levels.get(price, 0)
        if qty == 0:
            self.absent_deletes += price not in levels
            levels.pop(price, None)
            return before
        levels[price] = qty
        if len(levels) > self.capacity:
            self.evicted += 1
            del levels[min(levels) if side == BID else max(levels)]
        return before

    def commit(self, update_id: int) -> None:
        self.update_id = update_id
        if self.top_id <= update_id:
            best = [self.ranked(side)[0] if self.levels[side] else (0, 0) for side in (BID, ASK)]
            self.top, self.top_id = (*best[0], *best[1]), update_id

    def set_top(self, top: tuple[int, int, int, int], update_id: int) -> bool:
        if update_id <= self.top_id:
            return False
        self.top, self.top_id = top, update_id
        return True

    def first_live(self, side: int) -> int:
        top = self.top[0 if side == BID else 2]
        if self.top_id <= self.update_id or top == 0:
            return 0
        return sum(price > top if side == BID else price < top for price in self.levels[side])


def new_book(capacity: int = CAPACITY, tick: int = 0, window: int | None = None) -> tuple[np.ndarray, np.uint64]:
    memory = aligned(book_bytes(capacity, window) + 64)
    memory[:] = 0xEE
    book_init(memory[: book_bytes(capacity, window)], 3, capacity, tick, window)
    return memory, address(memory)


def header_of(memory: np.ndarray) -> np.ndarray:
    return memory[:BOOK_HEADER_BYTES].view(BOOK)[0]


def set_level(book: np.uint64, side: int, price: int, qty: int) -> int:
    return int(book_set(book, SIDES[side], np.int64(price), np.int64(qty)))


def levels_of(book: np.uint64, side: int, count: int) -> list[tuple[int, int]]:
    return [tuple(map(int, book_level(book, SIDES[side], np.int64(index)))) for index in range(count)]


def walk(book: np.uint64, side: int, index: int = 0) -> list[tuple[int, int]]:
    """Levels from number ``index`` on, by cursor."""
    levels = []
    cursor = book_walk(book, SIDES[side], np.int64(index))
    while cursor >= 0:
        levels.append(tuple(map(int, book_walk_level(book, SIDES[side], np.int64(cursor)))))
        cursor = book_walk_next(book, SIDES[side], np.int64(cursor))
    return levels


def side_of(memory: np.ndarray, side: int) -> tuple[int, np.void]:
    """Where the LEVELS header of a side begins, and that header."""
    start = offset_of(BOOK, "n_bids" if side == BID else "n_asks")
    return start, memory[start : start + LEVELS.itemsize].view(LEVELS)[0]


def check_window(memory: np.ndarray, side: int) -> list[int]:
    """Every promise of the layout about the window of one side; returns the keys in it."""
    start, header = side_of(memory, side)
    span, size, top, tick = (int(header[name]) for name in ("span", "n_slots", "top", "tick"))
    assert size in (0, span)
    slots, words, groups = (
        memory[start + int(header[name]) :][: 8 * count].view(np.uint64).tolist()
        for name, count in (("slots", span), ("bits", span // 64), ("summary", -(-span // 4096)))
    )
    assert not any(slots[size:])
    assert sum(word << 64 * at for at, word in enumerate(words)) == sum(1 << at for at in range(span) if slots[at])
    assert sum(group << 64 * at for at, group in enumerate(groups)) == sum(1 << at for at, w in enumerate(words) if w)
    return [top - tick * slot for slot in range(size) if slots[slot]]


def check_blocks(memory: np.ndarray, side: int) -> int:
    """Every promise of the layout about one side; returns its number of blocks."""
    start, header = side_of(memory, side)
    inside = check_window(memory, side)
    top, tick, slots = int(header["top"]), int(header["tick"]), int(header["n_slots"])
    fences, ids, counts, blocks = (start + int(header[name]) for name in ("fences", "ids", "counts", "blocks"))
    n, words, most = int(header["n_blocks"]), (ids - fences) // 8, 2 * (int(header["capacity"]) // (RUN // 2 + 1)) + 1
    fence, order, count = (memory[at : at + 8 * words].view(np.int64).tolist() for at in (fences, ids, counts))
    assert 1 <= n <= most <= words and sorted(order) == list(range(words))
    assert fence[0] == -(2**63) and fence[:n] == sorted(set(fence[:n])) and set(fence[n:]) <= {int(FILLING)}
    sizes = [count[block] for block in order[:n]]
    assert sum(sizes) + len(inside) == int(header["n"]) and (n == 1 or min(sizes) > 0)
    assert sum(sizes) == int(header["spilled"])
    assert all(left + right > RUN // 2 for left, right in pairwise(sizes))
    for index, (block, size) in enumerate(zip(order, sizes)):
        at = blocks + 16 * RUN * block
        keys = memory[at : at + 8 * RUN].view(np.int64).tolist()
        assert keys[:size] == sorted(set(keys[:size])) and set(keys[size:]) <= {int(FILLING)}
        assert all(fence[index] <= key for key in keys[:size])
        assert index + 1 == n or all(key < fence[index + 1] for key in keys[:size])
        low = top - tick * (slots - 1)
        assert not any(low <= key <= top and (top - key) % tick == 0 for key in keys[:size] if slots)
        assert int(header["mixed"]) or not slots or all(key < low for key in keys[:size])
    return n


def assert_same(memory: np.ndarray, book: np.uint64, twin: Twin) -> None:
    """Levels, counts and counters of a book and its twin, and the layout."""
    header = header_of(memory)
    for side in (BID, ASK):
        ranked = twin.ranked(side)
        assert walk(book, side) == levels_of(book, side, len(ranked)) == ranked
        check_blocks(memory, side)
    assert (int(header["n_bids"]), int(header["n_asks"])) == tuple(map(len, twin.levels))
    assert (int(header["evicted"]), int(header["absent_deletes"])) == (twin.evicted, twin.absent_deletes)


def commit(book: np.uint64, update_id: int) -> None:
    book_commit(book, np.uint64(update_id), np.int64(update_id * 10), np.int64(update_id * 20))


def set_top(book: np.uint64, top: tuple[int, int, int, int], update_id: int) -> bool:
    return bool(book_set_top(book, *map(np.int64, top), np.uint64(update_id), np.int64(7), np.int64(8)))


class BookAgainstDictionary(RuleBasedStateMachine):
    """Sets, deletes, evictions, commits and newer tops in any order."""

    @initialize(capacity=st.sampled_from([1, 2, 3, 6, 16]))
    def make(self, capacity: int) -> None:
        self.memory, self.book = new_book(capacity)
        self.twin = Twin(capacity)

    @rule(side=st.sampled_from([BID, ASK]), price=PRICES, qty=QTYS)
    def set_level(self, side: int, price: int, qty: int) -> None:
        assert set_level(self.book, side, price, qty) == self._expected(side, price, qty)

    def _expected(self, side: int, price: int, qty: int) -> int:
        return self.twin.set(side, price, qty)

    @rule(step=st.integers(0, 3))
    def commit(self, step: int) -> None:
        update_id = self.twin.update_id + step
        commit(self.book, update_id)
        self.twin.commit(update_id)

    @rule(top=st.tuples(PRICES, st.integers(1, 9), PRICES, st.integers(1, 9)), step=st.integers(-1, 5))
    def newer_top(self, top: tuple[int, int, int, int], step: int) -> None:
        update_id = max(0, self.twin.top_id + step)
        assert set_top(self.book, top, update_id) == self.twin.set_top(top, update_id)

    @rule()
    def clear(self) -> None:
        book_clear(self.book)
        self.twin = Twin(self.twin.capacity, evicted=self.twin.evicted, absent_deletes=self.twin.absent_deletes)

    @invariant()
    def agree(self) -> None:
        header, twin = header_of(self.memory), self.twin
        for side in (BID, ASK):
            ranked = twin.ranked(side)
            assert levels_of(self.book, side, len(ranked)) == walk(self.book, side) == ranked
            assert levels_of(self.book, side, len(ranked) + 1)[-1] == (0, 0)
            assert tuple(map(int, book_best(self.book, SIDES[side]))) == (ranked[0] if ranked else (0, 0))
            assert int(book_first_live(self.book, SIDES[side])) == twin.first_live(side)
        assert (int(header["n_bids"]), int(header["n_asks"])) == tuple(map(len, twin.levels))
        assert tuple(int(header[f]) for f in ("bid", "bid_qty", "ask", "ask_qty")) == twin.top
        assert (int(header["top_id"]), int(header["update_id"])) == (twin.top_id, twin.update_id)
        assert (int(header["evicted"]), int(header["absent_deletes"])) == (twin.evicted, twin.absent_deletes)

    @invariant()
    def nothing_outside_is_touched(self) -> None:
        assert (self.memory[-64:] == 0xEE).all()


class WindowAgainstDictionary(BookAgainstDictionary):
    """The same with a window of a few ticks, and prices at whole ticks and between, in it, far off and very far off."""

    @initialize(
        capacity=st.sampled_from([1, 2, 3, 6, 16]), tick=st.sampled_from([1, 2, 5, 1000]),
        ticks=st.sampled_from([64, 128, 512]),
    )  # fmt: skip
    def make(self, capacity: int, tick: int, ticks: int) -> None:
        self.memory, self.book = new_book(capacity, tick, ticks)
        self.twin = Twin(capacity)
        self.tick, self.ticks = tick, ticks

    @rule(side=st.sampled_from([BID, ASK]), at=st.integers(-3, 3), price=st.integers(-20, 20), qty=QTYS)
    def set_at_a_tick(self, side: int, at: int, price: int, qty: int) -> None:
        self.set_level(side, (at * self.ticks // 4 + price) * self.tick, qty)

    @rule(side=st.sampled_from([BID, ASK]), at=st.sampled_from([-(2**63) + 1, -(2**61), 0, 2**40, 2**61, 2**63 - 40]),
          price=PRICES, qty=QTYS)  # fmt: skip
    def set_far_off(self, side: int, at: int, price: int, qty: int) -> None:
        self.set_level(side, at + price, qty)

    @rule(side=st.sampled_from([BID, ASK]), at=st.integers(-3, 3), n=st.integers(60, 200))
    def miss_the_window(self, side: int, at: int, n: int) -> None:
        for count in range(n):
            self.set_level(side, (at * 2 * self.ticks + 7) * self.tick, count & 1)

    @invariant()
    def layout(self) -> None:
        for side in (BID, ASK):
            check_blocks(self.memory, side)


TestBookAgainstDictionary = BookAgainstDictionary.TestCase
TestBookAgainstDictionary.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWindowAgainstDictionary = WindowAgainstDictionary.TestCase
TestWindowAgainstDictionary.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@given(st.lists(st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 400), QTYS), max_size=300), st.integers(1, 400))
def test_a_deep_book_finds_every_price(changes: list[tuple[int, int, int]], price: int) -> None:
    _, book = new_book(512)
    twin = Twin(512)
    for side, at, qty in changes:
        assert set_level(book, side, at, qty) == twin.set(side, at, qty)
    for side in (BID, ASK):
        assert levels_of(book, side, len(twin.levels[side])) == twin.ranked(side)
        for wanted in [price, *list(twin.levels[side])[:20]]:
            found = int(book_qty_at(book, SIDES[side], np.int64(wanted)))
            assert found == twin.levels[side].get(wanted, 0)


class BlocksAgainstDictionary(RuleBasedStateMachine):
    """Stretches of levels set and deleted in both directions, so that blocks split, merge, fill and evict."""

    @initialize(capacity=st.sampled_from([33, 65, 150, 300, 400]), step=st.sampled_from([-3, -1, 1, 2]))
    def make(self, capacity: int, step: int) -> None:
        self.memory, self.book = new_book(capacity)
        self.twin = Twin(capacity)
        for side in (BID, ASK):
            self.stretch(side, 150, 200, step, 1)

    def _set(self, side: int, price: int, qty: int) -> None:
        assert set_level(self.book, side, price, qty) == self.twin.set(side, price, qty)

    @rule(
        side=st.sampled_from([BID, ASK]), first=st.integers(1, 300), count=st.integers(20, 200),
        step=st.sampled_from([-2, -1, 1, 2, 7]), qty=st.integers(0, 2),
    )  # fmt: skip
    def stretch(self, side: int, first: int, count: int, step: int, qty: int) -> None:
        for price in range(first, first + count * step, step):
            self._set(side, price, qty)

    @rule(
        side=st.sampled_from([BID, ASK]), seed=st.integers(0, 99), count=st.integers(20, 150), share=st.integers(0, 9)
    )
    def scattered(self, side: int, seed: int, count: int, share: int) -> None:
        random = Random(seed)
        for _ in range(count):
            self._set(side, random.randint(1, 300), random.randint(1, 9) if random.randrange(10) < share else 0)

    @rule(side=st.sampled_from([BID, ASK]), n=st.integers(0, 150), best=st.booleans())
    def delete_from_an_end(self, side: int, n: int, best: bool) -> None:
        ranked = self.twin.ranked(side)
        for price, _ in ranked[:n] if best else ranked[::-1][:n]:
            self._set(side, price, 0)

    @rule()
    def clear(self) -> None:
        book_clear(self.book)
        self.twin = Twin(self.twin.capacity, evicted=self.twin.evicted, absent_deletes=self.twin.absent_deletes)

    @rule(side=st.sampled_from([BID, ASK]), index=st.integers(0, 400), price=st.integers(-1, 700))
    def read(self, side: int, index: int, price: int) -> None:
        ranked = self.twin.ranked(side)
        assert walk(self.book, side, index) == ranked[index:]
        assert levels_of(self.book, side, index + 1)[-1] == (ranked[index] if index < len(ranked) else (0, 0))
        assert int(book_qty_at(self.book, SIDES[side], np.int64(price))) == self.twin.levels[side].get(price, 0)

    @invariant()
    def agree(self) -> None:
        assert_same(self.memory, self.book, self.twin)
        assert (self.memory[-64:] == 0xEE).all()


class MovingWindowAgainstDictionary(BlocksAgainstDictionary):
    """The same with a window, smaller and larger than what is in it, and a market that goes away and comes back."""

    @initialize(
        capacity=st.sampled_from([33, 65, 150, 300, 400]), step=st.sampled_from([-3, -1, 1, 2]),
        tick=st.sampled_from([1, 1, 2, 3]), ticks=st.sampled_from([64, 128, 256, 4096, 8192]),
    )  # fmt: skip
    def make(self, capacity: int, step: int, tick: int, ticks: int) -> None:
        self.memory, self.book = new_book(capacity, tick, ticks)
        self.twin = Twin(capacity)
        for side in (BID, ASK):
            self.stretch(side, 150, 200, step, 1)

    @rule(side=st.sampled_from([BID, ASK]), by=st.integers(-400, 400), n=st.integers(1, 300))
    def touch_moves(self, side: int, by: int, n: int) -> None:
        """Levels on the new side of the touch come, those on the old side go."""
        ranked = self.twin.ranked(side)
        best = ranked[0][0] if ranked else 200
        worse = -1 if side == BID else 1
        for price, _ in ranked:
            if (price - (best + by)) * worse < 0:
                self._set(side, price, 0)
        for depth in range(n):
            self._set(side, best + by + worse * depth, depth + 1)

    @rule(side=st.sampled_from([BID, ASK]), to=st.sampled_from([-(2**62), -(10**12), 10**9, 2**60, 2**62]))
    def one_price_far_off(self, side: int, to: int) -> None:
        for qty in (5, 0):
            for price in range(to, to + 70):
                self._set(side, price, qty)

    @rule(side=st.sampled_from([BID, ASK]), index=st.integers(0, 400), n=st.integers(-1, 400))
    def sums(self, side: int, index: int, n: int) -> None:
        expected = sum(qty for _, qty in self.twin.ranked(side)[index : index + max(n, 0)])
        assert int(book_sum(self.book, SIDES[side], np.int64(index), np.int64(n))) == expected


TestBlocksAgainstDictionary = BlocksAgainstDictionary.TestCase
TestBlocksAgainstDictionary.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestMovingWindowAgainstDictionary = MovingWindowAgainstDictionary.TestCase
TestMovingWindowAgainstDictionary.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


def test_a_side_of_more_blocks_than_one_scan_finds_every_price() -> None:
    memory, book = new_book(20_000)
    prices = [3 * index for index in range(1, 20_001)]
    for price in prices:
        set_level(book, BID, price, price)
    assert check_blocks(memory, BID) > 512
    assert walk(book, BID) == [(price, price) for price in reversed(prices)]
    for price in Random(1).sample(range(60_004), 3000):
        expected = price if price % 3 == 0 and 0 < price <= 60_000 else 0
        assert int(book_qty_at(book, SIDES[BID], np.int64(price))) == expected
    for price in prices[::2]:
        assert set_level(book, BID, price, 0) == price
    check_blocks(memory, BID)
    assert walk(book, BID) == [(price, price) for price in prices[-1::-2]]


def test_nothing_of_a_cleared_book_is_left_to_mislead_a_search() -> None:
    memory, book = new_book(400)
    for first in (1, 5000, 1, 2500):
        twin = Twin(400)
        for side in (BID, ASK):
            for price in range(first, first + 300):
                assert set_level(book, side, price, price) == twin.set(side, price, price)
            assert check_blocks(memory, side) > 4
        assert_same(memory, book, twin)
        book_clear(book)
        assert_same(memory, book, Twin(400))


@pytest.mark.parametrize("side", [BID, ASK])
def test_thinning_out_and_filling_again_never_needs_more_memory(side: int) -> None:
    memory, book = new_book(500)
    twin, random = Twin(500), Random(2)
    for keep in (2, 5, 17, 33, 3):
        for price in random.sample(range(1, 2000), 700):
            assert set_level(book, side, price, 1) == twin.set(side, price, 1)
        for index, price in enumerate(sorted(twin.levels[side])):
            if index % keep:
                assert set_level(book, side, price, 0) == twin.set(side, price, 0)
        assert_same(memory, book, twin)
    assert (memory[-64:] == 0xEE).all()


@pytest.mark.parametrize("price", [2**63 - 1, -(2**63) + 1, 0, -5])
@pytest.mark.parametrize("others", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("tick", [0, 1])
def test_a_price_at_the_end_of_the_range_is_a_price_like_any(price: int, others: int, tick: int) -> None:
    memory, book = new_book(300, tick)
    twin = Twin(300)
    for side in (BID, ASK):
        for other in range(others):
            twin.set(side, 1000 + other, set_level(book, side, 1000 + other, 1) + 1)
        for qty in (0, 5, 6, 0, 0, 7):
            assert set_level(book, side, price, qty) == twin.set(side, price, qty)
            assert int(book_qty_at(book, SIDES[side], np.int64(price))) == qty
    assert_same(memory, book, twin)


@pytest.mark.parametrize("capacity", [1, 64, 100])
def test_a_full_side_of_several_blocks_drops_its_worst_level(capacity: int) -> None:
    memory, book = new_book(capacity)
    twin = Twin(capacity)
    for price in range(1, 3 * capacity):
        for side in (BID, ASK):
            assert set_level(book, side, price, price) == twin.set(side, price, price)
    assert_same(memory, book, twin)
    assert int(header_of(memory)["evicted"]) == 2 * (2 * capacity - 1)


def _e8(text: str) -> int:
    return int(Decimal(text) * 10**8)


def _real_updates(limit: int) -> Iterator[tuple[int, int, int]]:
    """(side, price, qty) of the snapshot and of depth updates of a capture, in file order."""
    seen = 0
    for chunk in CaptureReader(DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"):
        for line in chunk.tobytes().splitlines():
            text = line.partition(b" ")[2]
            if text.startswith(b'{"lastUpdateId"'):
                message = orjson.loads(text)
                rows = (message["bids"], message["asks"])
            elif b'"e":"depthUpdate"' in text:
                message = orjson.loads(text)["data"]
                rows = (message["b"], message["a"])
            else:
                continue
            for side in (BID, ASK):
                yield from ((side, _e8(price), _e8(qty)) for price, qty in rows[side])
            seen += 1
            if seen > limit:
                return


@needs_data
@pytest.mark.parametrize("window", [0, 64, 1024, 16384])
@pytest.mark.parametrize("capacity", [16384, 1200])
def test_real_updates_leave_the_levels_that_a_dictionary_has(capacity: int, window: int) -> None:
    memory, book = new_book(capacity, 10_000_000, window)
    twin = Twin(capacity)
    for count, (side, price, qty) in enumerate(_real_updates(600)):
        assert set_level(book, side, price, qty) == twin.set(side, price, qty)
        if count % 10_000 == 0:
            assert_same(memory, book, twin)
    assert_same(memory, book, twin)
    assert min(map(len, twin.levels)) > 1000 and (twin.evicted > 0) == (capacity == 1200)


def test_the_window_follows_the_touch_and_every_move_is_counted() -> None:
    memory, book = new_book(4096, 10, 256)
    twin, changes = Twin(4096), 0
    for best in [*range(5_000, 60_000, 70), *range(60_000, 5_000, -70)]:
        for side, worse in ((BID, -10), (ASK, 10)):
            for price in range(best - 9 * worse, best + 40 * worse, worse):
                qty = 0 if (price - best) * worse < 0 else price
                assert set_level(book, side, price, qty) == twin.set(side, price, qty)
                changes += 1
    assert_same(memory, book, twin)
    for side in (BID, ASK):
        header = side_of(memory, side)[1]
        assert len(check_window(memory, side)) > 20
        assert 20 < int(header["moves"]) < changes // 64 and 0 < int(header["moved"]) < changes


@pytest.mark.parametrize("side", [BID, ASK])
def test_a_price_between_two_ticks_is_found_in_its_place(side: int) -> None:
    memory, book = new_book(512, 10, 128)
    twin = Twin(512)
    prices = [*range(1000, 1400, 10), 1005, 1199, 1200 + 7, 995, 1401, 3, 5000, 5001]
    for price in prices:
        assert set_level(book, side, price, price) == twin.set(side, price, price)
    assert len(check_window(memory, side)) > 20 and int(side_of(memory, side)[1]["mixed"]) == 1
    assert_same(memory, book, twin)
    for price in prices:
        assert int(book_qty_at(book, SIDES[side], np.int64(price))) == price
        assert set_level(book, side, price, 0) == twin.set(side, price, 0)
    assert_same(memory, book, twin)


def test_a_side_is_mixed_no_longer_than_a_level_in_a_block_is_better() -> None:
    memory, book = new_book(512, 1, 64)
    set_level(book, BID, 100, 1)
    set_level(book, BID, 1000, 1)
    assert int(side_of(memory, BID)[1]["mixed"]) == 1
    for _ in range(200):
        set_level(book, BID, 1000, 2)
    assert int(side_of(memory, BID)[1]["mixed"]) == 0
    assert walk(book, BID) == [(1000, 2), (100, 1)]


@pytest.mark.parametrize("window", [-64, 1, 32, 100, 1 << 19])
def test_a_window_that_is_no_power_of_two_or_out_of_range_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=rf"a window of {window} ticks: it is 0 or a power of two in 64..262144"):
        book_bytes(512, window)


@pytest.mark.parametrize(
    ("capacity", "ticks"), [(1, 0), (2, 64), (64, 64), (65, 128), (16384, 16384), (1_000_000, 32768)]
)
def test_a_book_has_as_many_ticks_as_levels_within_limits(capacity: int, ticks: int) -> None:
    assert book_bytes(capacity) == book_bytes(capacity, ticks)
    assert book_bytes(capacity) - book_bytes(capacity, 0) == pytest.approx(2 * ticks * 8.125, abs=256)


@pytest.mark.parametrize("tick", [0, -5, 2**62, 2**63 - 1])
def test_a_tick_that_is_not_known_or_too_large_leaves_a_book_of_blocks(tick: int) -> None:
    memory, book = new_book(300, tick, 64)
    twin = Twin(300)
    for count in range(300):
        for side in (BID, ASK):
            price = 7 * (count * 37 % 300)
            assert set_level(book, side, price, count + 1) == twin.set(side, price, count + 1)
    assert_same(memory, book, twin)
    assert int(side_of(memory, BID)[1]["n_slots"]) == 0


def test_a_new_book_is_empty_and_not_valid() -> None:
    memory, book = new_book()
    header = header_of(memory)
    assert (int(header["instrument"]), int(header["state"]), int(header["capacity"])) == (3, INVALID, CAPACITY)
    assert levels_of(book, BID, 1) == levels_of(book, ASK, 1) == [(0, 0)]
    assert not book_tradable(book)


def test_a_full_side_drops_its_worst_level_and_counts_it() -> None:
    memory, book = new_book(3)
    for price in (100, 101, 102, 103):
        set_level(book, BID, price, price)
    assert levels_of(book, BID, 4) == [(103, 103), (102, 102), (101, 101), (0, 0)]
    set_level(book, BID, 99, 1)  # worse than all: it is the one dropped
    assert levels_of(book, BID, 1) == [(103, 103)] and int(header_of(memory)["evicted"]) == 2


def test_a_level_before_the_first_or_beyond_the_last_is_nothing() -> None:
    _, book = new_book()
    set_level(book, ASK, 100, 5)
    for index in (-1, 1, 2**40):
        assert tuple(book_level(book, SIDES[ASK], np.int64(index))) == (0, 0)


def test_a_newer_top_wins_over_the_levels_and_skips_the_stale_ones() -> None:
    memory, book = new_book()
    for price, qty in ((100, 1), (99, 2), (98, 3)):
        set_level(book, BID, price, qty)
    set_level(book, ASK, 101, 4)
    commit(book, 10)
    assert set_top(book, (98, 9, 101, 4), 11)
    header = header_of(memory)
    assert (int(header["bid"]), int(header["bid_qty"])) == (98, 9)
    assert int(book_first_live(book, SIDES[BID])) == 2
    assert int(book_first_live(book, SIDES[ASK])) == 0
    assert int(book_qty_at(book, SIDES[BID], np.int64(100))) == 1  # the levels themselves are left alone


@pytest.mark.parametrize("update_id", [9, 10])
def test_a_top_that_is_not_newer_is_ignored(update_id: int) -> None:
    memory, book = new_book()
    set_level(book, BID, 100, 1)
    commit(book, 10)
    before = memory.tobytes()
    assert not set_top(book, (99, 9, 102, 4), update_id)
    assert memory.tobytes() == before


def test_depth_older_than_the_top_changes_levels_but_not_the_top() -> None:
    memory, book = new_book()
    set_top(book, (98, 9, 101, 4), 20)
    set_level(book, BID, 100, 1)
    commit(book, 15)
    header = header_of(memory)
    assert (int(header["bid"]), int(header["top_id"]), int(header["update_id"])) == (98, 20, 15)
    assert levels_of(book, BID, 1) == [(100, 1)]


@pytest.mark.parametrize("update_id", [20, 25])
def test_depth_as_new_as_the_top_takes_it_back(update_id: int) -> None:
    memory, book = new_book()
    set_top(book, (98, 9, 101, 4), 20)
    set_level(book, BID, 100, 1)
    commit(book, update_id)
    header = header_of(memory)
    assert (int(header["bid"]), int(header["ask"]), int(header["top_id"])) == (100, 0, update_id)
    assert (int(header["exchange_ts"]), int(header["local_ts"])) == (update_id * 10, update_id * 20)


@pytest.mark.parametrize(
    ("bid", "ask", "state", "tradable"),
    [(100, 101, VALID, True), (100, 100, VALID, False), (101, 100, VALID, False), (0, 101, VALID, False),
     (100, 0, VALID, False), (100, 101, INVALID, False)],
)  # fmt: skip
def test_only_a_valid_uncrossed_two_sided_book_is_tradable(bid: int, ask: int, state: int, tradable: bool) -> None:
    memory, book = new_book()
    set_top(book, (bid, 1, ask, 1), 1)
    memory[:BOOK_HEADER_BYTES].view(BOOK)["state"] = state
    assert bool(book_tradable(book)) == tradable
