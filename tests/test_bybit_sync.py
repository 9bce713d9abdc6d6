"""Bybit's sequencing: the compiled rules against a slow and obvious book, and every rule by itself."""

import json
import random

import pytest
from bybit_rig import E8, Followed, SlowBook, book_text
from data import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st

from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.core.schema.records import ASK, BID, INVALID, SYNCING, VALID
from hftpipe.venues.bybit.sync import OLD_MOST
from hftpipe.venues.message import (
    INVALIDATED,
    LEVELS_APPLIED,
    NOTHING,
    RELOADED,
    TOP_CHANGED,
    TRADE_IGNORED,
    TRADE_SEEN,
)

BIDS, ASKS = [("100.1", "1"), ("100", "2")], [("100.2", "3"), ("100.3", "4")]


def begun(levels: int = 512) -> Followed:
    followed = Followed(levels)
    assert followed.take(book_text("snapshot", 10, 1000, BIDS, ASKS)) == RELOADED
    return followed


def test_a_delta_before_the_first_snapshot_does_nothing():
    followed = Followed()
    assert followed.take(book_text("delta", 10, 1000, BIDS)) == NOTHING
    assert (followed.sync()["state"], followed.sync()["unbegun"]) == (SYNCING, 1)


def test_a_snapshot_begins_the_book_and_the_next_delta_changes_it():
    followed = begun()
    assert followed.book()["state"] == VALID and followed.top() == (int(100.1 * E8), E8, int(100.2 * E8), 3 * E8)
    assert followed.take(book_text("delta", 11, 1000, [("100.1", "0")], [("100.2", "0.5")])) == LEVELS_APPLIED
    assert followed.top() == (100 * E8, 2 * E8, int(100.2 * E8), E8 // 2)
    assert followed.book()["update_id"] == 1000


def test_a_snapshot_replaces_the_whole_book_at_any_time():
    followed = begun()
    assert followed.take(book_text("snapshot", 500, 1001, [("99", "1")], [("101", "1")])) == RELOADED
    assert (followed.levels(BID), followed.levels(ASK)) == ({99 * E8: E8}, {101 * E8: E8})
    # Also one whose numbers are those of before: the service may have gone back.
    assert followed.take(book_text("snapshot", 5, 900, BIDS, ASKS)) == RELOADED and len(followed.levels(BID)) == 2


def test_u_1_is_a_snapshot_whatever_it_is_called():
    followed = begun()
    assert followed.take(book_text("delta", 1, 5, [("99", "1")], [("101", "1")])) == RELOADED
    assert followed.levels(BID) == {99 * E8: E8}
    assert followed.take(book_text("delta", 2, 6, [("99.5", "1")])) == LEVELS_APPLIED


@pytest.mark.parametrize(
    ("u", "seq", "change"),
    [
        (9, 999, NOTHING), (10, 1000, NOTHING), (9, 1001, INVALIDATED), (2, 1001, INVALIDATED), (11, 1000, LEVELS_APPLIED), (11, 2000, LEVELS_APPLIED),
        (11, 999, INVALIDATED), (12, 1001, INVALIDATED), (1_000_000, 1001, INVALIDATED),
    ],
)  # fmt: skip
def test_only_the_next_number_is_applied(u, seq, change):
    followed = begun()
    assert followed.take(book_text("delta", u, seq, [("99", "1")])) == change
    assert followed.book()["state"] == (INVALID if change == INVALIDATED else VALID)
    assert followed.sync()["gaps"] == (change == INVALIDATED) and followed.sync()["stale"] == (change == NOTHING)


def test_numbers_of_a_service_that_started_anew_unheard_do_not_leave_the_book_standing_still():
    """Its first message, number 1, was lost or could not be read."""
    followed = begun()
    assert followed.take(book_text("delta", 2, 1001, [("99", "1")])) == INVALIDATED
    followed = begun()
    changes = [followed.take(book_text("delta", 2 + at % 8, 5 + at, [("99", "1")])) for at in range(OLD_MOST + 1)]
    assert changes == [NOTHING] * OLD_MOST + [INVALIDATED]
    assert followed.book()["state"] == INVALID


def test_after_a_gap_only_a_snapshot_helps_and_that_is_counted():
    followed = begun()
    assert followed.take(book_text("delta", 13, 1002)) == INVALIDATED
    assert followed.levels(BID) == {} and followed.top() == (0, 0, 0, 0)
    assert followed.take(book_text("delta", 14, 1003, BIDS)) == NOTHING
    assert followed.take(book_text("snapshot", 20, 1010, BIDS, ASKS)) == RELOADED
    assert (followed.book()["state"], followed.sync()["resyncs"]) == (VALID, 1)


def test_a_book_that_crosses_is_wrong():
    followed = begun()
    assert followed.take(book_text("delta", 11, 1001, [("100.2", "1")])) == INVALIDATED
    assert (followed.sync()["crossed"], followed.book()["state"]) == (1, INVALID)
    assert followed.take(book_text("snapshot", 11, 1001, ASKS, BIDS)) == INVALIDATED
    assert followed.book()["state"] == INVALID and followed.levels(BID) == {}


def test_a_lost_connection_empties_the_book():
    followed = begun()
    followed.lose()
    assert followed.book()["state"] == INVALID and followed.levels(ASK) == {}
    assert followed.take(book_text("delta", 11, 1001, [("99", "1")])) == NOTHING


def test_of_two_streams_the_deepest_is_followed_and_after_a_loss_whichever_begins_first():
    followed = begun()
    assert followed.take(book_text("snapshot", 77, 1001, BIDS, ASKS, depth=200)) == RELOADED
    assert followed.take(book_text("delta", 11, 1002, [("99", "1")], depth=50)) == NOTHING
    assert followed.take(book_text("snapshot", 12, 1002, BIDS, ASKS, depth=50)) == NOTHING
    assert followed.take(book_text("delta", 78, 1002, [("99", "1")], depth=200)) == LEVELS_APPLIED
    assert followed.sync()["others"] == 2
    followed.lose()
    assert followed.take(book_text("snapshot", 13, 1003, BIDS, ASKS, depth=50)) == RELOADED
    assert followed.take(book_text("delta", 79, 1004, [("98", "1")], depth=200)) == NOTHING


def test_best_prices_are_taken_when_they_are_newer_than_the_levels():
    followed = begun()
    assert followed.take(book_text("snapshot", 500, 1000, [("100.15", "7")], [("100.2", "3")], depth=1)) == NOTHING
    assert followed.take(book_text("snapshot", 501, 1005, [("100.15", "7")], [("100.2", "3")], depth=1)) == TOP_CHANGED
    assert followed.top()[:2] == (int(100.15 * E8), 7 * E8) and len(followed.levels(BID)) == 2
    # The same again after three quiet seconds.
    assert followed.take(book_text("snapshot", 501, 1005, [("100.15", "7")], [("100.2", "3")], depth=1)) == NOTHING
    # Levels of an earlier moment leave them, levels of a later one replace them.
    assert followed.take(book_text("delta", 11, 1004, [("99", "1")])) == LEVELS_APPLIED and followed.top()[1] == 7 * E8
    assert followed.take(book_text("delta", 12, 1006, [("98", "1")])) == LEVELS_APPLIED and followed.top()[1] == E8


def test_best_prices_before_a_book_and_crossed_ones_change_nothing():
    followed = Followed()
    assert followed.take(book_text("snapshot", 500, 2000, [("1", "7")], [("2", "3")], depth=1)) == NOTHING
    assert followed.book()["state"] == SYNCING
    followed = begun()
    assert followed.take(book_text("snapshot", 500, 2000, [("3", "7")], [("2", "3")], depth=1)) == NOTHING
    assert (followed.sync()["crossed_tops"], followed.book()["state"]) == (1, VALID)


def test_a_book_of_best_prices_takes_no_levels_and_counts_by_u():
    followed = Followed(TOP_LEVELS)
    assert followed.take(book_text("snapshot", 10, 1000, BIDS, ASKS)) == NOTHING
    assert followed.take(book_text("snapshot", 500, 2000, [("1", "7")], [("2", "3")], depth=1)) == RELOADED
    assert followed.take(book_text("snapshot", 501, 2000, [("1", "8")], [("2", "3")], depth=1)) == TOP_CHANGED
    assert followed.take(book_text("snapshot", 501, 2000, [("1", "8")], [("2", "3")], depth=1)) == NOTHING
    assert (followed.top(), followed.book()["update_id"]) == ((E8, 8 * E8, 2 * E8, 3 * E8), 0)
    # A service that has started anew.
    assert followed.take(book_text("snapshot", 1, 5, [("3", "1")], [("4", "1")], depth=1)) == RELOADED
    assert followed.top() == (3 * E8, E8, 4 * E8, E8)
    followed.lose()
    assert followed.book()["state"] == INVALID
    assert followed.take(book_text("snapshot", 2, 6, [("3", "2")], [("4", "1")], depth=1)) == RELOADED


def test_deltas_of_best_prices_follow_the_same_rule():
    followed = Followed(TOP_LEVELS)
    assert followed.take(book_text("delta", 500, 2000, [("1", "7")], depth=1)) == NOTHING
    assert followed.take(book_text("snapshot", 500, 2000, [("1", "7")], [("2", "3")], depth=1)) == RELOADED
    assert followed.take(book_text("delta", 501, 2001, [("1.5", "4"), ("1", "0")], depth=1)) == TOP_CHANGED
    assert followed.top() == (int(1.5 * E8), 4 * E8, 2 * E8, 3 * E8)
    assert followed.take(book_text("delta", 502, 2002, (), [("2", "0")], depth=1)) == TOP_CHANGED
    assert followed.top()[2:] == (0, 0)
    assert followed.take(book_text("delta", 502, 2002, [("9", "9")], depth=1)) == NOTHING
    assert followed.take(book_text("delta", 504, 2004, [("9", "9")], depth=1)) == INVALIDATED
    assert followed.book()["state"] == INVALID


def test_trades_are_counted_by_what_counts():
    trade = {"T": 1, "s": "BTCUSDT", "S": "Buy", "v": "1", "p": "2", "i": "5", "BT": False}
    followed = Followed()

    def take(*trades: dict) -> int | str:
        message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": list(trades)}
        return followed.take(json.dumps(message, separators=(",", ":")).encode())

    assert take(trade, trade | {"BT": True}, trade | {"v": "0"}) == TRADE_SEEN
    assert take(trade | {"BT": True}) == TRADE_IGNORED
    assert take() == NOTHING
    assert (followed.sync()["trades"], followed.sync()["trades_ignored"]) == (1, 3)


class Market:
    """A random market as a stream of messages: deltas, snapshots in the middle, services that start anew."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.u, self.seq = rng, rng.randrange(2, 10**6), rng.randrange(10**9)
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.mid = 10_000

    def _change(self, side: int) -> tuple[str, str]:
        away = self.rng.randrange(1, 40)
        price, qty = self.mid - away if side == 0 else self.mid + away, self.rng.choice([0, 0, 1, 5, 123_456])
        self.sides[side][price] = qty
        return f"{price / 100:.2f}", f"{qty / 1000}" if qty else self.rng.choice(["0", "0.000"])

    def next(self) -> bytes:
        kind = self.rng.choices(["delta", "snapshot", "anew"], [30, 1, 1])[0]
        self.seq += self.rng.randrange(3)
        changes = [[self._change(side) for _ in range(self.rng.randrange(6))] for side in (0, 1)]
        if kind == "delta":
            self.u += 1
            return book_text("delta", self.u, self.seq, *changes)
        self.u = 1 if kind == "anew" else self.u + 1
        whole = [[(f"{p / 100:.2f}", f"{q / 1000}") for p, q in side.items() if q] for side in self.sides]
        return book_text(
            self.rng.choice(["snapshot", "delta"]) if self.u == 1 else "snapshot", self.u, self.seq, *whole
        )


def network(rng: random.Random, messages: list[bytes]) -> list[bytes]:
    """The same messages with some lost, doubled, and late by one."""
    made: list[bytes] = []
    for one in messages:
        fate = rng.randrange(40)
        made += [] if fate == 0 else [one, one] if fate == 1 else [one]
        if fate == 2 and len(made) > 1:
            made[-1], made[-2] = made[-2], made[-1]
    return made


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_compiled_book_is_the_obvious_one_whatever_the_network_does(seed):
    rng = random.Random(seed)
    market, followed, slow = Market(rng), Followed(), SlowBook()
    for text in network(rng, [market.next() for _ in range(200)]):
        followed.take(text)
        slow.take(json.loads(text))
        assert slow.agrees(followed), (seed, text)
    assert followed.sync()["applied"] > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_damaged_message_is_refused_or_followed_as_it_reads_and_what_it_hid_shows(seed):
    """Cut short it never does anything; with a byte changed it does what the obvious book does, or nothing at all."""
    rng = random.Random(seed)
    market, followed, slow = Market(rng), Followed(), SlowBook()
    for _ in range(120):
        text = market.next()
        if rng.random() < 0.1:
            before = followed.levels(BID), followed.levels(ASK), int(followed.book()["state"])
            assert isinstance(followed.take(text[: rng.randrange(len(text))]), str)
            assert before == (followed.levels(BID), followed.levels(ASK), int(followed.book()["state"]))
            continue
        if rng.random() < 0.1:
            at = rng.randrange(len(text))
            text = text[:at] + bytes([rng.choice(b'0123456789"{}[],:.bsuqT ')]) + text[at + 1 :]
        said = followed.take(text)
        if isinstance(said, str) or (said == NOTHING and not _is_of_the_book(text)):
            continue
        if not _is_of_the_book(text):
            # It reads like a deeper book, which is followed from here on.
            return
        slow.take(json.loads(text))
        assert slow.agrees(followed), (seed, text)


def _is_of_the_book(text: bytes) -> bool:
    return json.loads(text).get("topic") == "orderbook.50.BTCUSDT"


@needs_data
def test_the_recorded_contract_book_is_rebuilt_without_a_gap():
    path = next(DATA.glob("bybit-linear-ob500-2024/*.jsonl"))
    followed, slow = Followed(1024), SlowBook()
    for text in path.read_bytes().splitlines():
        assert followed.take(text) in (RELOADED, LEVELS_APPLIED)
        slow.take(json.loads(text))
        assert slow.agrees(followed, 2)
        assert (len(slow.bids), len(slow.asks)) == (500, 500)
    assert (followed.sync(2)["applied"], followed.sync(2)["gaps"], followed.book(2)["absent_deletes"]) == (50, 0, 0)
