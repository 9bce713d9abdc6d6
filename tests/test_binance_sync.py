"""Binance sequencing: the compiled state machine against the venue's written rules, spelt out in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.schema.instruments import SHALLOW_LEVELS, TOP_LEVELS
from hftpipe.core.schema.records import ASK, BID, BUY, INVALID, SYNCING, VALID
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES, book_bytes, book_init, book_level
from hftpipe.venues.binance import sync as sync_module
from hftpipe.venues.binance.sync import (
    APPLY,
    ARENA_BYTES,
    BUFFER,
    DROP,
    GAP,
    INVALIDATED,
    LEVELS_APPLIED,
    LOADED,
    NOTHING,
    RELOADED,
    SMALLEST_ARENA,
    SPOT,
    SYNC,
    SYNC_BYTES,
    TOO_OLD,
    TOP_CHANGED,
    TRADE_IGNORED,
    TRADE_SEEN,
    USDM,
    feed,
    sync_bytes,
    sync_depth,
    sync_init,
    sync_lose,
    sync_snapshot,
)
from hftpipe.venues.binance.syncs import sync_offsets, syncs_bytes, syncs_init
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    IGNORED,
    MAX_LEVELS,
    MESSAGE,
    MESSAGE_BYTES,
    SNAPSHOT,
    TRADE,
    message_bytes,
)
from hftpipe.venues.taped.cursor import sync_at

SMALL_ARENA = MESSAGE_BYTES + 16 * MAX_LEVELS + 16
Levels = list[tuple[int, int]]


class Instrument:
    """One instrument's sync record and book, fed with messages written as Python values."""

    def __init__(self, market: int, arena_bytes: int = SMALL_ARENA, levels: int = 512):
        self.memory, self.book_memory = aligned(sync_bytes(arena_bytes)), aligned(book_bytes(levels))
        self.message = aligned(message_bytes())
        sync_init(self.memory, market, arena_bytes)
        book_init(self.book_memory, 0, levels)
        self.sync, self.book = address(self.memory), address(self.book_memory)

    @property
    def s(self) -> np.void:
        return self.memory[:SYNC_BYTES].view(SYNC)[0]

    @property
    def b(self) -> np.void:
        return self.book_memory[:BOOK_HEADER_BYTES].view(BOOK)[0]

    def put(self, kind: int, bids: Levels = (), asks: Levels = (), **fields: int) -> np.uint64:
        self.message[:MESSAGE_BYTES] = 0
        head = self.message[:MESSAGE_BYTES].view(MESSAGE)[0]
        head["kind"], head["n_bids"], head["n_asks"] = kind, len(bids), len(asks)
        for name, value in fields.items():
            head[name] = value
        pairs = np.array([*bids, *asks], np.int64).reshape(-1)
        self.message[MESSAGE_BYTES : MESSAGE_BYTES + 8 * len(pairs)].view(np.int64)[:] = pairs
        return address(self.message)

    def depth_message(
        self, first: int, last: int, previous: int | None, bids: Levels = (), asks: Levels = ()
    ) -> np.uint64:
        has = previous is not None
        return self.put(
            DEPTH, bids, asks, first_id=first, last_id=last, previous_id=previous if has else 0, has_previous=int(has)
        )

    def depth(self, first: int, last: int, previous: int | None = None, bids: Levels = (), asks: Levels = ()) -> int:
        return int(feed(self.sync, self.book, self.depth_message(first, last, previous, bids, asks)))

    def snapshot(self, last: int, bids: Levels = ((100, 1),), asks: Levels = ((200, 1),)) -> int:
        return int(feed(self.sync, self.book, self.put(SNAPSHOT, bids, asks, last_id=last)))

    def ticker(self, last: int, bid: int, ask: int) -> int:
        message = self.put(BOOK_TICKER, last_id=last, bid=bid, bid_qty=3, ask=ask, ask_qty=4)
        return int(feed(self.sync, self.book, message))

    def levels(self, side: int) -> dict[int, int]:
        rows = {}
        for index in range(int(self.b["n_bids" if side == BID else "n_asks"])):
            price, qty = book_level(self.book, side, np.int64(index))
            rows[int(price)] = int(qty)
        return rows

    def state(self) -> int:
        assert self.s["state"] == self.b["state"] or self.s["loaded"] == 0
        return int(self.s["state"])


# (market, U, u, pu, what the event does right after a snapshot with lastUpdateId 1000)
BRIDGES = [
    (SPOT, 990, 999, None, NOTHING), (SPOT, 990, 1000, None, NOTHING), (SPOT, 990, 1001, None, RELOADED),
    (SPOT, 1000, 1005, None, RELOADED), (SPOT, 1001, 1001, None, RELOADED), (SPOT, 1001, 1005, None, RELOADED),
    (SPOT, 1002, 1005, None, INVALIDATED),
    (USDM, 990, 999, 980, NOTHING), (USDM, 990, 1000, 980, RELOADED), (USDM, 990, 1010, 980, RELOADED),
    (USDM, 1000, 1000, 980, RELOADED), (USDM, 1000, 1010, 980, RELOADED), (USDM, 1001, 1010, 1000, RELOADED),
    (USDM, 1500, 1600, 1000, RELOADED), (USDM, 1001, 1010, 999, INVALIDATED), (USDM, 1001, 1010, 1001, INVALIDATED),
]  # fmt: skip
# (market, U, u, pu, what the event does when the last one applied ended at 1010)
STEPS = [
    (SPOT, 1011, 1011, None, LEVELS_APPLIED), (SPOT, 1005, 1011, None, LEVELS_APPLIED), (SPOT, 1005, 1010, None, NOTHING),
    (SPOT, 1012, 1020, None, INVALIDATED),
    (USDM, 1500, 1600, 1010, LEVELS_APPLIED), (USDM, 1011, 1020, 1009, INVALIDATED), (USDM, 1011, 1020, 1011, INVALIDATED),
    (USDM, 1011, 1020, None, INVALIDATED), (USDM, 1000, 1010, 990, NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("market", "first", "last", "previous", "expected"), BRIDGES)
def test_first_event_after_a_snapshot_bridges_to_it_or_not(market, first, last, previous, expected):
    i = Instrument(market)
    assert i.snapshot(1000) == RELOADED
    assert i.state() == SYNCING
    assert i.depth(first, last, previous, bids=[(101, 7)]) == expected
    assert i.state() == {NOTHING: SYNCING, RELOADED: VALID, INVALIDATED: INVALID}[expected]
    assert (101 in i.levels(BID)) == (expected == RELOADED)
    assert int(i.s["gaps"]) == (expected == INVALIDATED)
    assert int(i.s["stale"]) == (expected == NOTHING)


@pytest.mark.parametrize(("market", "first", "last", "previous", "expected"), BRIDGES)
def test_buffered_events_follow_the_same_rules(market, first, last, previous, expected):
    i = Instrument(market)
    assert i.depth(first, last, previous, bids=[(101, 7)]) == NOTHING
    change = i.snapshot(1000)
    # An event that the snapshot does not reach means that the snapshot is too old, not that the stream has a gap.
    assert change == (NOTHING if expected == INVALIDATED else RELOADED)
    assert (101 in i.levels(BID)) == (expected == RELOADED)
    assert int(i.s["too_old"]) == (expected == INVALIDATED)
    assert i.state() == (VALID if expected == RELOADED else SYNCING)


@pytest.mark.parametrize(("market", "first", "last", "previous", "expected"), STEPS)
def test_later_events_continue_the_sequence_or_break_it(market, first, last, previous, expected):
    i = Instrument(market)
    i.snapshot(1000)
    i.depth(1000, 1010, 999)
    assert i.state() == VALID
    assert i.depth(first, last, previous, bids=[(101, 7)]) == expected
    assert i.state() == (INVALID if expected == INVALIDATED else VALID)
    if expected == INVALIDATED:
        assert i.levels(BID) == {} == i.levels(ASK)
        assert int(i.b["state"]) == INVALID


def test_sync_functions_name_their_decisions():
    i = Instrument(SPOT)
    assert sync_depth(i.sync, i.depth_message(990, 995, None)) == BUFFER
    assert sync_snapshot(i.sync, i.put(SNAPSHOT, last_id=980)) == TOO_OLD
    assert sync_snapshot(i.sync, i.put(SNAPSHOT, last_id=1000)) == LOADED
    assert sync_depth(i.sync, i.depth_message(996, 1000, None)) == DROP
    assert sync_depth(i.sync, i.depth_message(1001, 1005, None)) == APPLY
    assert sync_depth(i.sync, i.depth_message(1007, 1009, None)) == GAP


def test_after_a_gap_only_a_newer_snapshot_makes_the_book_valid_again():
    i = Instrument(SPOT)
    i.snapshot(1000)
    i.depth(1001, 1010)
    assert i.depth(1020, 1030, bids=[(150, 9)]) == INVALIDATED
    assert i.depth(1031, 1040, bids=[(151, 9)]) == NOTHING
    assert i.ticker(1041, 151, 200) == NOTHING
    assert i.snapshot(1015) == NOTHING, "a snapshot from before the hole does not close it"
    assert i.state() == INVALID
    assert i.snapshot(1025) == RELOADED
    assert i.state() == VALID
    assert i.levels(BID) == {100: 1, 150: 9, 151: 9}
    assert (int(i.s["resyncs"]), int(i.s["gaps"]), int(i.s["too_old"])) == (1, 1, 1)


def test_a_snapshot_replaces_the_book_and_keeps_no_ghost_levels():
    i = Instrument(USDM)
    i.snapshot(1000, bids=[(100, 1), (99, 1)])
    i.depth(1001, 1010, 1000, bids=[(98, 5)])
    assert i.snapshot(1010, bids=[(97, 2)]) == RELOADED
    assert (i.levels(BID), i.state()) == ({97: 2}, SYNCING)
    assert i.depth(1011, 1020, 1010) == RELOADED
    assert i.state() == VALID
    assert i.snapshot(1005) == NOTHING, "older than the book"
    assert i.levels(BID) == {97: 2}


def test_a_gap_inside_the_buffer_keeps_what_follows_for_the_next_snapshot():
    i = Instrument(SPOT)
    for first, last, price in ((990, 1000, 90), (1001, 1010, 91), (1015, 1020, 92), (1021, 1030, 93)):
        i.depth(first, last, bids=[(price, 1)])
    assert i.snapshot(995) == INVALIDATED
    assert (i.state(), int(i.s["buffered"]), i.levels(BID)) == (INVALID, 2, {})
    assert i.snapshot(1016, bids=[(80, 1)]) == RELOADED
    assert i.levels(BID) == {80: 1, 92: 1, 93: 1}


def test_full_buffer_loses_the_oldest_and_counts_them():
    i = Instrument(SPOT)
    levels = [(price, 1) for price in range(1, 101)]
    for n in range(500):
        i.depth(n, n, bids=[*levels, (1000 + n, 1)])
    lost, kept = int(i.s["overflows"]), int(i.s["buffered"])
    assert lost > 0
    assert lost + kept == 500
    assert i.snapshot(lost - 2, asks=[]) == NOTHING, "events between this snapshot and the buffer are lost"
    assert i.snapshot(lost - 1, bids=[], asks=[]) == RELOADED
    assert i.state() == VALID
    assert set(i.levels(BID)) - {price for price, _ in levels} == {1000 + n for n in range(lost, 500)}


def test_the_largest_message_fits_the_smallest_buffer():
    i = Instrument(SPOT)
    i.depth(1, 1)
    i.depth(2, 2, bids=[(1, 0)] * MAX_LEVELS)
    assert (int(i.s["overflows"]), int(i.s["buffered"])) == (1, 1)
    assert i.snapshot(1) == RELOADED
    assert i.state() == VALID


def test_a_crossed_depth_book_is_invalid_and_counted():
    i = Instrument(SPOT)
    i.snapshot(1000)
    i.depth(1001, 1010)
    assert i.depth(1011, 1012, bids=[(200, 1)]) == INVALIDATED
    assert (i.state(), int(i.s["crossed"]), i.levels(BID)) == (INVALID, 1, {})
    assert i.snapshot(1012) == RELOADED, "the snapshot covers the update that crossed"
    assert i.depth(1013, 1013) == RELOADED
    assert i.state() == VALID


def test_a_crossed_snapshot_is_refused():
    i = Instrument(SPOT)
    assert i.snapshot(1000, bids=[(201, 1)]) == INVALIDATED
    assert (i.state(), int(i.s["crossed"])) == (INVALID, 1)


def test_book_ticker_is_merged_by_id_and_only_into_a_valid_book():
    i = Instrument(SPOT)
    assert i.ticker(5000, 110, 120) == NOTHING
    i.snapshot(1000)
    assert i.ticker(5000, 110, 120) == NOTHING
    i.depth(1001, 1010)
    assert i.ticker(1010, 110, 120) == NOTHING, "not newer than the book"
    assert i.ticker(1015, 110, 120) == TOP_CHANGED
    assert (int(i.b["bid"]), int(i.b["ask"])) == (110, 120)
    assert i.depth(1011, 1012, bids=[(105, 1)]) == LEVELS_APPLIED
    assert int(i.b["bid"]) == 110, "the ticker is still newer"
    assert i.depth(1013, 1020) == LEVELS_APPLIED
    assert int(i.b["bid"]) == 105
    assert i.ticker(1030, 120, 120) == NOTHING
    assert int(i.s["crossed_tops"]) == 1


def test_trades_pass_in_any_state_and_odd_ones_are_only_counted():
    i = Instrument(USDM)
    assert feed(i.sync, i.book, i.put(TRADE, price=1, qty=1, side=BUY, accepted=1)) == TRADE_SEEN
    assert feed(i.sync, i.book, i.put(TRADE, accepted=0)) == TRADE_IGNORED
    assert feed(i.sync, i.book, i.put(IGNORED)) == NOTHING
    assert (int(i.s["trades"]), int(i.s["trades_ignored"]), i.state()) == (1, 1, SYNCING)


def test_absent_deletes_are_normal():
    i = Instrument(SPOT)
    i.snapshot(1000)
    assert i.depth(1001, 1002, bids=[(55, 0)], asks=[(300, 0)]) == RELOADED
    assert i.state() == VALID


def test_lost_connection_discards_the_book_and_the_buffer():
    i = Instrument(SPOT)
    i.snapshot(1000)
    i.depth(1001, 1010)
    assert sync_lose(i.sync, i.book) == INVALIDATED
    assert (i.state(), i.levels(ASK), int(i.s["buffered"])) == (INVALID, {}, 0)


@pytest.mark.parametrize(("market", "arena"), [(2, SMALL_ARENA), (SPOT, 1024), (SPOT, SMALL_ARENA + 8)])
def test_impossible_setups_are_refused(market, arena):
    with pytest.raises(ValueError, match=r"market 2|arena of"):
        sync_init(np.zeros(sync_bytes(SMALL_ARENA + 16), np.uint8), market, arena)


class Twin:
    """The documented procedure with lists and dicts; the buffer is unbounded."""

    def __init__(self, market: int):
        self.market, self.buffer, self.id, self.bridged, self.lost = market, [], None, False, False
        self.book: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.gaps = self.crossed = self.too_old = self.stale = self.applied = 0

    def state(self) -> int:
        if self.id is None:
            return INVALID if self.lost else SYNCING
        return VALID if self.bridged else SYNCING

    def judge(self, event) -> str:
        first, last, previous, _, _ = event
        if self.market == SPOT:
            if last <= self.id:
                return "old"
            return "apply" if first <= self.id + 1 else "gap"
        if self.bridged:
            if last <= self.id:
                return "old"
            return "apply" if previous == self.id else "gap"
        if last < self.id:
            return "old"
        return "apply" if first <= self.id <= last or previous == self.id else "gap"

    def lose(self) -> None:
        self.id, self.bridged, self.lost, self.book = None, False, True, ({}, {})

    def is_crossed(self) -> bool:
        bids, asks = self.book
        return bool(bids and asks) and max(bids) >= min(asks)

    def put(self, bids, asks) -> bool:
        for side, rows in zip(self.book, (bids, asks)):
            for price, qty in rows:
                if qty:
                    side[price] = qty
                else:
                    side.pop(price, None)
        if self.is_crossed():
            self.crossed += 1
            self.lose()
            return False
        return True

    def take(self, event) -> bool:
        """One event with a snapshot in place; False if the book was lost to it."""
        verdict = self.judge(event)
        if verdict == "old":
            self.stale += 1
        elif verdict == "gap":
            self.gaps += 1
            self.lose()
            return False
        else:
            self.id, self.bridged, self.lost = event[1], True, False
            self.applied += 1
            return self.put(event[3], event[4])
        return True

    def depth(self, event) -> None:
        if self.id is None or not self.take(event):
            self.buffer.append(event)

    def snapshot(self, last: int, bids, asks) -> None:
        if self.buffer:
            first_u, last_u, previous, _, _ = self.buffer[0]
            reaches = (
                first_u <= last + 1 if self.market == SPOT else (first_u <= last or last_u < last or previous == last)
            )
        else:
            reaches = self.id is None or last >= self.id
        if not reaches:
            self.too_old += 1
            return
        self.id, self.bridged, self.book = last, False, ({}, {})
        if not self.put(bids, asks):
            return
        while self.buffer:
            if not self.take(self.buffer[0]):
                return
            self.buffer.pop(0)


_SIDE = st.lists(st.tuples(st.integers(90, 112), st.integers(0, 3)), max_size=4)
_OTHER = st.lists(st.tuples(st.integers(108, 130), st.integers(0, 3)), max_size=4)
_ACTIONS = st.lists(
    st.tuples(
        # What comes next: the next event, with ids moved from where they should be; or a snapshot so far back.
        st.sampled_from(["event"] * 6 + ["snapshot"]), st.sampled_from([0] * 12 + [-3, -1, 1, 4]), st.integers(0, 5), _SIDE, _OTHER
    ),
    max_size=40,
)  # fmt: skip


@pytest.mark.parametrize("market", [SPOT, USDM])
@given(actions=_ACTIONS)
def test_any_sequence_ends_like_the_written_rules(market, actions):
    i, twin = Instrument(market), Twin(market)
    last = 1000
    for what, slip, size, bids, asks in actions:
        if what == "snapshot":
            at = max(1, last + slip * 2 - size)
            i.snapshot(at, bids, asks)
            twin.snapshot(at, bids, asks)
        else:
            first, previous = last + 1 + slip, last + slip
            last = first + size
            i.depth(first, last, previous if market == USDM else None, bids, asks)
            twin.depth((first, last, previous, bids, asks))
        assert (i.levels(BID), i.levels(ASK), i.state()) == (*twin.book, twin.state())
        counters = [int(i.s[name]) for name in ("gaps", "crossed", "too_old", "stale", "applied", "buffered")]
        assert counters == [twin.gaps, twin.crossed, twin.too_old, twin.stale, twin.applied, len(twin.buffer)]


@given(st.lists(st.integers(0, 120), min_size=1, max_size=60))
def test_buffer_hands_back_what_was_put_in_in_order(sizes):
    """Entries of many sizes around a ring of the smallest size: what is not counted as lost is intact."""
    i = Instrument(SPOT)
    for n, size in enumerate(sizes):
        i.depth(n, n, bids=[(n, k) for k in range(size * 100)])
    kept = int(i.s["buffered"])
    assert int(i.s["overflows"]) == len(sizes) - kept
    for n in range(len(sizes) - kept, len(sizes)):
        at = int(sync_module._oldest(i.sync)) - int(i.sync)
        head = i.memory[at : at + MESSAGE_BYTES].view(MESSAGE)[0]
        count = sizes[n] * 100
        pairs = i.memory[at + MESSAGE_BYTES : at + MESSAGE_BYTES + 16 * count].view(np.int64).reshape(-1, 2)
        assert (int(head["last_id"]), int(head["n_bids"])) == (n, count)
        assert np.array_equal(pairs, np.column_stack([np.full(count, n), np.arange(count)]))
        sync_module._drop_oldest(i.sync)
    assert int(i.s["buffered"]) == 0


@pytest.mark.parametrize("market", [SPOT, USDM])
def test_a_book_of_best_prices_needs_no_snapshot_and_takes_no_depth(market):
    one = Instrument(market, arena_bytes=0, levels=TOP_LEVELS)
    assert one.depth(1, 5, 0, bids=((90, 1),)) == NOTHING and one.snapshot(7) == NOTHING
    assert int(one.b["state"]) != VALID and int(one.b["n_bids"]) == 0
    assert one.ticker(8, 100, 102) == RELOADED
    assert (int(one.b["state"]), int(one.b["bid"]), int(one.b["ask"])) == (VALID, 100, 102)
    assert one.ticker(9, 101, 102) == TOP_CHANGED and one.ticker(9, 55, 60) == NOTHING
    assert one.depth(10, 11, 9, bids=((90, 1),)) == NOTHING and int(one.b["bid"]) == 101


def test_a_book_of_best_prices_that_was_lost_begins_again_with_the_next_pair():
    one = Instrument(USDM, arena_bytes=0, levels=TOP_LEVELS)
    one.ticker(8, 100, 102)
    assert int(sync_lose(one.sync, one.book)) == INVALIDATED and int(one.b["state"]) != VALID
    assert one.ticker(9, 103, 104) == RELOADED
    assert (int(one.b["state"]), int(one.b["bid"]), int(one.s["resyncs"])) == (VALID, 103, 1)


def test_the_records_of_many_instruments_have_room_by_their_depth():
    levels = np.array([512, TOP_LEVELS, SHALLOW_LEVELS, TOP_LEVELS])
    memory = aligned(syncs_bytes(levels))
    syncs_init(memory, levels, [USDM, SPOT, USDM, SPOT])
    at = [int(sync_at(address(memory), np.int64(index))) - memory.ctypes.data for index in range(4)]
    assert at == sync_offsets(levels)[:-1] and all(one % 64 == 0 for one in at)
    rows = [memory[one : one + SYNC_BYTES].view(SYNC)[0] for one in at]
    assert [int(row["arena_bytes"]) for row in rows] == [ARENA_BYTES, 0, SMALLEST_ARENA, 0]
    assert [int(row["market"]) for row in rows] == [USDM, SPOT, USDM, SPOT]
    assert all(
        end - one >= SYNC_BYTES + int(row["arena_bytes"])
        for one, end, row in zip(at, [*at[1:], len(memory)], rows, strict=True)
    )
