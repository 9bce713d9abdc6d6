"""ITCH messages onto orders and books: equal to the twin, and never wrong in silence."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itch_reference import SHARE, TwinBook, block, directory, message, random_flow
from itch_rig import FeedRig, instruments, plain
from memory import aligned

from hftpipe.core.schema.records import BOOK_RESET, BOOK_STATE, INVALID, LAST, LEVEL, RECORD, SYNCING, TRADE, VALID
from hftpipe.venues.nasdaq.itch.decode import itch_blocks
from hftpipe.venues.nasdaq.itch.feed import feed_bytes, feed_init, feed_line_state, feed_reset
from hftpipe.venues.nasdaq.itch.messages import MESSAGE_LENGTHS

ADD = message("A", 7, 11, b"B", 100, b"TEST    ", 10_000)


@pytest.fixture
def rig() -> FeedRig:
    feed = FeedRig()
    feed.apply(directory(7, "TEST"))
    return feed


def test_the_directory_makes_a_book_valid():
    rig = FeedRig()
    records = rig.apply(directory(7, "TEST"))
    assert [(r["kind"], r["flags"], r["instrument"]) for r in records] == [(BOOK_STATE, VALID, 0)]
    assert rig.book(1)["state"] == INVALID


def test_an_add_is_one_last_level_with_its_stamps(rig):
    (record,) = rig.apply(message("A", 7, 11, b"S", 3, b"TEST    ", 10_001, time_ns=34_200_000_000_123))
    assert (record["kind"], record["flags"], record["side"]) == (LEVEL, LAST, 1)
    assert (record["price"], record["qty"]) == (100_010_000, 3 * SHARE)
    assert (record["exchange_ts"], record["local_ts"], record["origin_tsc"]) == (34_200_000_000_123, 5, 6)
    assert record["id"] == rig.sequence


def test_an_execution_prints_the_taker_before_the_level_changes(rig):
    rig.apply(ADD)
    trade, level = rig.apply(message("E", 7, 11, 40, 77))
    assert (trade["kind"], trade["side"], trade["price"], trade["qty"], trade["id"]) == (
        TRADE,
        1,
        10**8,
        40 * SHARE,
        77,
    )
    assert (level["kind"], level["side"], level["qty"], level["flags"]) == (LEVEL, 0, 60 * SHARE, LAST)


@pytest.mark.parametrize(("printable", "kinds"), [(b"Y", [TRADE, LEVEL]), (b"N", [LEVEL])])
def test_only_a_printable_execution_is_a_trade(rig, printable, kinds):
    rig.apply(ADD)
    records = rig.apply(message("C", 7, 11, 100, 1, printable, 10_050))
    assert list(records["kind"]) == kinds
    assert rig.levels(0, 0) == {}
    if printable == b"Y":
        assert records[0]["price"] == 10_050 * 10_000


def test_a_replace_moves_the_order_in_one_update(rig):
    rig.apply(ADD)
    old, new = rig.apply(message("U", 7, 11, 12, 30, 10_010))
    assert (old["price"], old["qty"], old["flags"]) == (10**8, 0, 0)
    assert (new["price"], new["qty"], new["flags"]) == (100_100_000, 30 * SHARE, LAST)
    (gone,) = rig.apply(message("D", 7, 12))
    assert gone["qty"] == 0 and rig.book()["state"] == VALID


def test_a_replace_at_the_same_price_is_one_level(rig):
    rig.apply(ADD)
    (level,) = rig.apply(message("U", 7, 11, 12, 30, 10_000))
    assert (level["qty"], level["flags"]) == (30 * SHARE, LAST)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.0, 0.05]))
@settings(max_examples=60, deadline=None)
def test_random_flow_equals_the_twin_message_by_message(seed, faults):
    rig, twin = FeedRig(), TwinBook({7: 0, 8: 1})
    rig.apply(directory(7, "TEST"))
    rig.apply(directory(8, "OTHER"))
    for text in random_flow(seed, 150, (7, 8), faults):
        assert plain(rig.apply(text)) == twin.apply(text)
    for instrument in (0, 1):
        for side in (0, 1):
            assert rig.levels(instrument, side) == twin.levels(instrument, side)
        assert (rig.book(instrument)["state"] == INVALID) == (instrument in twin.damaged)


BAD = {
    "unknown_order": message("D", 7, 999),
    "wrong_instrument": message("D", 8, 11),
    "duplicate_order": ADD,
    "zero_shares": message("X", 7, 11, 0),
    "zero_price": message("A", 7, 12, b"B", 1, b"TEST    ", 0),
    "bad_side": message("A", 7, 12, b"x", 1, b"TEST    ", 1),
    "too_many_shares": message("E", 7, 11, 101, 1),
    "wrong_length": message("D", 7, 11) + b"\0",
}


@pytest.mark.parametrize("counter", sorted(BAD))
def test_what_cannot_be_applied_is_counted_and_leaves_the_book_invalid(rig, counter):
    rig.apply(directory(8, "OTHER"))
    rig.apply(ADD)
    records = rig.apply(BAD[counter])
    damaged = 1 if counter == "wrong_instrument" else 0
    assert rig.state[counter] == 1
    assert [(r["kind"], r["flags"], r["instrument"]) for r in records] == [(BOOK_STATE, INVALID, damaged)]
    assert rig.levels(0, 0) == {10**8: 100 * SHARE}


def test_a_bad_hidden_trade_is_counted_and_harmless(rig):
    assert len(rig.apply(message("P", 7, 0, b"B", 0, b"TEST    ", 10_000, 1))) == 0
    assert rig.state["zero_shares"] == 1 and rig.book()["state"] == VALID


def test_a_message_too_short_to_name_its_stock_damages_every_book(rig):
    rig.apply(directory(8, "OTHER"))
    assert len(rig.apply(b"D")) == 2
    assert rig.book(0)["state"] == INVALID and rig.book(1)["state"] == INVALID


def test_unknown_types_and_empty_messages_are_counted_and_harmless(rig):
    for text in (b"z" * 30, b"", b"\0", b"\xff" * 36):
        assert len(rig.apply(text)) == 0
    assert rig.state["unknown_type"] == 4 and rig.book()["state"] == VALID


def test_other_stocks_are_counted_and_skipped(rig):
    assert len(rig.apply(message("A", 9, 1, b"B", 1, b"XXXX    ", 1))) == 0
    assert len(rig.apply(message("D", 9, 12345))) == 0
    assert rig.state["unlisted"] == 2 and rig.book()["state"] == VALID


def test_a_full_order_table_is_counted_and_invalid():
    rig = FeedRig(order_capacity=64)
    rig.apply(directory(7, "TEST"))
    for ref in range(48):
        assert rig.apply(message("A", 7, ref + 1, b"B", 1, b"TEST    ", 10_000))[0]["kind"] == LEVEL
    records = rig.apply(message("A", 7, 99, b"B", 1, b"TEST    ", 10_000))
    assert list(records["kind"]) == [BOOK_STATE] and rig.state["table_full"] == 1
    assert rig.levels(0, 0) == {10**8: 48 * SHARE}


def test_a_book_out_of_levels_is_counted_and_invalid():
    rig = FeedRig(level_capacity=4)
    rig.apply(directory(7, "TEST"))
    for price in range(4):
        rig.apply(message("A", 7, price + 1, b"B", 1, b"TEST    ", 10_000 + price))
    assert rig.book()["state"] == VALID
    records = rig.apply(message("A", 7, 50, b"B", 1, b"TEST    ", 20_000))
    assert list(records["kind"]) == [LEVEL, BOOK_STATE] and rig.state["book_full"] == 1


def test_damage_survives_the_transport_but_not_the_session(rig):
    out = np.uint64(rig.out.ctypes.data)
    rig.apply(message("D", 7, 999))
    for state in (SYNCING, VALID):
        assert feed_line_state(rig.address, np.int64(state), np.int64(9), out) == 0
    assert feed_reset(rig.address, np.int64(9), out) == 2
    assert list(rig.out[:2]["kind"]) == [BOOK_RESET, BOOK_RESET]
    feed_line_state(rig.address, np.int64(VALID), np.int64(9), out)
    assert rig.apply(directory(7, "TEST"))[0]["flags"] == VALID


def test_a_session_forgets_orders_and_locates(rig):
    rig.apply(ADD)
    feed_reset(rig.address, np.int64(9), np.uint64(rig.out.ctypes.data))
    assert rig.levels(0, 0) == {}
    assert len(rig.apply(ADD)) == 0 and rig.state["unlisted"] == 1
    rig.apply(directory(7, "TEST"))
    assert rig.apply(ADD)[0]["qty"] == 100 * SHARE


def test_the_transport_marks_the_books_once_each_way(rig):
    out = np.uint64(rig.out.ctypes.data)
    assert feed_line_state(rig.address, np.int64(SYNCING), np.int64(9), out) == 1
    assert feed_line_state(rig.address, np.int64(SYNCING), np.int64(9), out) == 0
    assert rig.out[0]["flags"] == SYNCING
    assert feed_line_state(rig.address, np.int64(VALID), np.int64(9), out) == 1


def test_a_locate_that_changes_its_meaning_damages_the_old_book(rig):
    records = rig.apply(directory(7, "OTHER"))
    assert [(r["instrument"], r["flags"]) for r in records] == [(0, INVALID), (1, VALID)]


def test_every_type_of_the_table_is_accepted_at_its_length_only(rig):
    for kind, length in MESSAGE_LENGTHS.items():
        if kind in "AFECXDUR":
            continue
        rig.apply(kind.encode() + struct.pack(">H", 7) + bytes(length - 3))
    assert rig.state["wrong_length"] == 0 and rig.state["unknown_type"] == 0
    for kind, length in MESSAGE_LENGTHS.items():
        rig.apply(kind.encode() + struct.pack(">H", 9) + bytes(length - 4))
    assert rig.state["wrong_length"] == len(MESSAGE_LENGTHS)


def test_a_run_of_blocks_stops_before_a_torn_message(rig):
    data = np.frombuffer(block(ADD) + block(message("D", 7, 11))[:-1], np.uint8)
    out = np.zeros(64, RECORD)
    result = itch_blocks(
        rig.address, np.uint64(data.ctypes.data), np.int64(len(data)), np.uint64(2), np.int64(0),
        np.uint64(out.ctypes.data),
    )  # fmt: skip
    assert result == (38, 1, 1)


def test_a_lot_that_overflows_is_refused():
    memory = aligned(feed_bytes(1, 64, 4))
    with pytest.raises(ValueError, match="TEST: lot"):
        feed_init(memory, instruments(("TEST",), lot=2**31 + 1), 64, 4)
    with pytest.raises(ValueError, match="power of two"):
        feed_bytes(1, 100, 4)
