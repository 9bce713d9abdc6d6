"""What thousands of instruments share: books as large as their depth, who is next, who waits for room, and the feed's limit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itch_reference import directory
from memory import address, aligned, fork, join

from hftpipe.core.feed.agenda import agenda_bytes, agenda_first, agenda_init, agenda_move
from hftpipe.core.feed.publish import is_conflating, resume_conflated, set_conflating
from hftpipe.core.feed.state import STATE
from hftpipe.core.schema.instruments import (
    DEPTHS,
    INSTRUMENT,
    MAX_INSTRUMENTS,
    SYMBOL_BYTES,
    TOP_LEVELS,
    side_levels,
    symbols_table,
)
from hftpipe.core.schema.records import BOOK_RESET, INVALID, RECORD, VALID
from hftpipe.core.schema.ring import RING_HEADER_BYTES, ring_bytes
from hftpipe.core.shared.ring import ring_init, ring_pop
from hftpipe.core.shared.shm import Segment
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_bytes, book_init, book_level, book_set
from hftpipe.core.trading.books import book_at, book_offsets, books_bytes, books_init, books_table
from hftpipe.core.trading.levels import LEVELS
from hftpipe.core.trading.symbols import find_symbol
from hftpipe.market.wiring import Pace, region_sizes, wire
from hftpipe.venues.nasdaq.itch.decode import itch_message
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_bytes, feed_init, feed_line_state, feed_reset, out_room
from hftpipe.venues.nasdaq.itch.receive import receiver_bytes, receiver_init

PARTS = ("fences", "ids", "counts", "blocks", "slots", "bits", "summary")


def head_of(book: np.ndarray, side: int) -> np.void:
    at = 128 + 192 * side
    return book[at : at + LEVELS.itemsize].view(LEVELS)[0]


# --- books -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 64, 200, 1024]), st.sampled_from([0, 1, 5, 10**7, 2**61])),
        min_size=1,
        max_size=12,
    )
)
def test_each_book_of_many_is_what_it_is_alone(kinds):
    levels, ticks = (np.array(column, np.int64) for column in zip(*kinds, strict=True))
    memory = aligned(books_bytes(levels))
    table = books_init(memory, levels, ticks)
    assert table == books_table(memory.ctypes.data, levels)
    spans = []
    for index, (size, tick) in enumerate(kinds):
        at = int(book_at(np.uint64(table), np.int64(index))) - memory.ctypes.data
        assert at == book_offsets(levels)[index] and at % 128 == 0
        alone = np.zeros(book_bytes(size), np.uint8)
        book_init(alone, index, size, tick)
        mine, own = (one[: BOOK.itemsize].view(BOOK)[0] for one in (memory[at:], alone))
        for name in BOOK.names:
            assert name.startswith("_") or mine[name] == own[name], name
        for side in (0, 1):
            first, mine, own = 128 + 192 * side, *(head_of(one, side) for one in (memory[at:], alone))
            for name in set(LEVELS.names) - set(PARTS):
                assert np.array_equal(mine[name], own[name]), name
            # Every part lies as far from the others as in a book alone, and holds the same.
            assert len({int(mine[name]) - int(own[name]) for name in PARTS}) == 1
            begin, end = at + first + int(mine["fences"]), first + int(own["fences"])
            part = book_bytes(size) // 2 - 256
            assert (memory[begin : begin + part] == alone[end : end + part]).all()
            spans.append((begin, begin + part))
        spans.append((at, at + BOOK_HEADER_BYTES))
    spans = sorted([*spans, (table - memory.ctypes.data, table - memory.ctypes.data + 8 * len(kinds))])
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans)) and spans[-1][1] <= len(memory)


def test_books_of_different_depths_do_not_touch_one_another():
    levels = np.array([TOP_LEVELS, 256, TOP_LEVELS, 64, 256])
    memory = aligned(books_bytes(levels))
    table = np.uint64(books_init(memory, levels, np.full(5, 10)))
    for index in range(5):
        for price in range(10, 10 + 10 * 400, 10):
            book_set(book_at(table, np.int64(index)), np.int64(0), np.int64(price), np.int64(index + 1))
    for index, size in enumerate(levels.tolist()):
        book = book_at(table, np.int64(index))
        got = [book_level(book, np.int64(0), np.int64(at)) for at in range(size + 1)]
        assert [int(price) for price, _ in got] == [*range(4_000, 4_000 - 10 * size, -10), 0]
        assert {int(qty) for _, qty in got[:-1]} == {index + 1}


def test_memory_follows_the_depth_and_an_empty_book_touches_little_of_it():
    full = 16_384
    levels = np.array([side_levels(depth, full) for depth in DEPTHS])
    assert levels.tolist() == [full, 64, TOP_LEVELS]
    sizes = [books_bytes(levels[index : index + 1]) for index in range(3)]
    assert sizes[0] > 2 << 20 and sizes[1] < 16 << 10 and sizes[2] < 4 << 10
    memory = aligned(sizes[0])
    books_init(memory, levels[:1], np.array([10]))
    used = np.count_nonzero(memory.reshape(-1)[: len(memory) // 4096 * 4096].reshape(-1, 4096).any(axis=1))
    assert used * 4096 < 64 << 10


# --- the index of symbols --------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ABCDE0123456789_-", min_size=1, max_size=24), unique=True, min_size=1, max_size=300))
def test_every_symbol_is_found_where_it_was_registered(symbols):
    rows = np.zeros(len(symbols), INSTRUMENT)
    rows["symbol"] = symbols
    table = symbols_table(rows)
    for index, symbol in enumerate(symbols):
        text = np.frombuffer(symbol.encode().ljust(SYMBOL_BYTES), np.uint8).copy()
        assert int(find_symbol(address(table), address(text), np.int64(len(symbol)))) == index


# --- who is next -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.lists(st.integers(0, 30), max_size=200))
def test_the_agenda_names_the_earliest_as_a_search_of_all_does(times, waits):
    memory = aligned(agenda_bytes(len(times)))
    agenda_init(memory, np.array(times, np.int64))
    agenda, twin = address(memory), list(times)
    for wait in waits:
        first = min(range(len(twin)), key=lambda number: (twin[number], number))
        number, ts = agenda_first(agenda)
        assert (int(number), int(ts)) == (first, twin[first])
        twin[first] += wait
        agenda_move(agenda, np.int64(twin[first]))


# --- who waits for room ----------------------------------------------------------------------------

N, SLOTS, RECORDS_OF_A_RESET, ROOM_OF_A_RESET = 5, 16, 2, 4


class FeedOfMany:
    """The feed's state with empty books and a small ring, and its slow twin: a list of who waits, looked through from its head."""

    def __init__(self) -> None:
        levels = np.full(N, TOP_LEVELS)
        self.memory = {name: aligned(size) for name, size in region_sizes(levels, 8).items()}
        self.memory |= {
            "market": aligned(ring_bytes(SLOTS)),
            "tops": aligned(64 * N),
            "time": aligned(256),
            "h_decode": aligned(1 << 16),
        }
        ring_init(self.memory["market"], SLOTS)
        names = ("market", "tops", "time", "h_decode", "scratch", "top_scratch", "conflating", "conflated")
        addresses = {name: self.memory[name].ctypes.data for name in names} | {"sim": 0}
        state = self.memory["state"].view(STATE)
        wire(state, addresses, self.memory["books"], np.ones(N, np.int64), levels, Pace(1.0, 16, 1, 1))
        self.state, self.at = state[0], address(self.memory["state"])
        self.waiting, self.due, self.used, self.expected = [], set(), 0, []

    def conflate(self, instrument: int) -> None:
        set_conflating(self.at, np.int64(instrument), np.int64(1))
        if instrument not in self.waiting:
            self.waiting.append(instrument)
        self.due.add(instrument)

    def made_whole(self, instrument: int) -> None:
        set_conflating(self.at, np.int64(instrument), np.int64(0))
        self.due.discard(instrument)

    def read(self, count: int) -> None:
        for _ in range(min(count, self.used)):
            ring_pop(address(self.memory["market"]))
            self.used -= 1

    def resume(self) -> None:
        before = len(self.expected)
        while self.waiting:
            if self.waiting[0] in self.due:
                if SLOTS - self.used < ROOM_OF_A_RESET:
                    break
                self.expected.append(self.waiting[0])
                self.due.discard(self.waiting[0])
                self.used += RECORDS_OF_A_RESET
            self.waiting.pop(0)
        assert bool(resume_conflated(self.at)) == (len(self.expected) > before)

    def check(self) -> None:
        assert {index for index in range(N) if is_conflating(self.at, np.int64(index))} == self.due
        assert int(self.state["n_conflating"]) == len(self.due) and int(self.state["resets"]) == len(self.expected)

    def resets(self) -> list[int]:
        """The instruments of the last resets that are still in the ring's memory, in the order of their sequence."""
        slots = self.memory["market"][RING_HEADER_BYTES:].view(RECORD)
        sent = slots[slots["kind"] == BOOK_RESET]
        return sent[np.argsort(sent["seq"])]["instrument"].tolist()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("ccwrs"), st.integers(0, N - 1), st.integers(0, SLOTS)), max_size=80))
def test_who_waits_longest_gets_its_book_first_and_none_is_forgotten(steps):
    feed = FeedOfMany()
    for what, instrument, count in steps:
        if what == "c":
            feed.conflate(instrument)
        elif what == "w":
            feed.made_whole(instrument)
        elif what == "r":
            feed.read(count)
        else:
            feed.resume()
        feed.check()
    for _ in range(N):
        feed.read(SLOTS)
        feed.resume()
    feed.check()
    assert not feed.due
    sent = feed.resets()
    assert sent == feed.expected[len(feed.expected) - len(sent) :]


# --- the feed of the multicast venue at its limit ---------------------------------------------------


def _at_the_limit(n: int) -> bool:
    """A new session and a message that damages every book, with an array that ends where nobody may write."""
    rows = np.zeros(n, INSTRUMENT)
    rows["symbol"], rows["lot"], rows["tick"] = [f"S{at:06d}" for at in range(n)], 10**8, 10**6
    sizes = {"feed": feed_bytes(n, 64, TOP_LEVELS), "out": out_room(n) * RECORD.itemsize, "after": 64}
    segment = Segment.create(f"uni-limit-{n}", sizes, {}, guard=True)
    segment.unlink()
    memory, out = segment.region("feed"), np.uint64(segment.address("out"))
    feed_init(memory, rows, 64, TOP_LEVELS)
    feed = np.uint64(memory.ctypes.data)

    def apply(text: bytes) -> int:
        buffer = np.frombuffer(text + b"\0", np.uint8)
        return int(
            itch_message(feed, address(buffer), np.int64(len(text)), np.uint64(1), np.int64(1), np.uint64(0), out)
        )

    def list_all() -> None:
        for at in range(n):
            apply(directory(at + 1, f"S{at:06d}"))

    list_all()
    assert int(feed_line_state(feed, np.int64(VALID), np.int64(1), out)) == n
    assert int(feed_reset(feed, np.int64(2), out)) == 2 * n
    list_all()
    assert int(feed_line_state(feed, np.int64(VALID), np.int64(3), out)) == n
    # An order that does not even say which instrument it is about: every book is damaged.
    assert apply(b"A\0") == n
    state = segment.region("out").view(RECORD)
    return bool((state["flags"][:n] == INVALID).all()) and int(state["instrument"][n - 1]) == n - 1


@pytest.mark.parametrize("n", [1, 64, 65, 1_000, MAX_INSTRUMENTS])
def test_no_number_of_instruments_makes_the_multicast_feed_write_past_its_records(n):
    assert join(fork(lambda: _at_the_limit(n))) == 0, "-11: something was written past the end of the array"


def test_a_receiver_without_room_for_a_new_session_of_all_instruments_is_refused():
    rows = np.zeros(100, INSTRUMENT)
    rows["symbol"], rows["lot"], rows["tick"] = [f"S{at}" for at in range(100)], 10**8, 10**6
    memory = aligned(feed_bytes(100, 64, TOP_LEVELS))
    feed_init(memory, rows, 64, TOP_LEVELS)
    assert int(memory[: FEED.itemsize].view(FEED)["room"][0]) == 200
    out = np.zeros(199, RECORD)
    with pytest.raises(ValueError, match="needs 200 records"):
        receiver_init(aligned(receiver_bytes()), 1, memory.ctypes.data, out, line_a=3)


def test_headers_of_books_lie_at_the_start_of_each():
    levels = np.array([64, TOP_LEVELS])
    memory = aligned(books_bytes(levels))
    books_init(memory, levels)
    heads = [memory[at : at + BOOK_HEADER_BYTES].view(BOOK)[0] for at in book_offsets(levels)]
    assert [(int(one["instrument"]), int(one["capacity"])) for one in heads] == [(0, 64), (1, 1)]
