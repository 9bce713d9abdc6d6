"""Bybit's fast scanner against its slow decoder: what the first accepts, the second decodes to the same bytes."""

import ctypes
import faulthandler
import json
import mmap
import uuid

import numpy as np
import pytest
from bybit_rig import SYMBOLS, Decoders, book_text
from data import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, fork, join

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.bybit.peek import peek
from hftpipe.venues.bybit.scanner import scan
from hftpipe.venues.message import BOOK_TICKER, DEPTH, FALLBACK, IGNORED, MAX_TRADES, OK, SNAPSHOT, TRADES

SNAPSHOT_LINEAR = (
    b'{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1790000000105,"data":{"s":"BTCUSDT","b":[["61000.10","1.203"],'
    b'["61000.00","0.500"]],"a":[["61000.20","0.800"]],"u":4100001,"seq":99000000001},"cts":1790000000102}'
)
DELTA_LINEAR = (
    b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1790000000125,"data":{"s":"BTCUSDT","b":[["61000.00","0"]],'
    b'"a":[["61000.30","0.100"],["61000.20","0.750"]],"u":4100002,"seq":99000000009},"cts":1790000000121}'
)
DELTA_SPOT = (
    b'{"topic":"orderbook.200.BTCUSDT","ts":1731035685345,"type":"delta","data":{"s":"BTCUSDT","b":[["75848.62","0.014895"],'
    b'["75844","0.00039"],["75837.13","0"]],"a":[],"u":2876701,"seq":47474967823},"cts":1731035685340}'
)
TOP_LINEAR = (
    b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1680673820717,"data":{"s":"BTCUSDT","b":[["28552.00","0.047"]],'
    b'"a":[["28552.10","25.433"]],"u":7003305,"seq":50193540681}}'
)
TRADE_LINEAR = (
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1790000000110,"data":[{"T":1790000000108,"s":"BTCUSDT","S":"Buy",'
    b'"v":"0.010","p":"61000.20","L":"PlusTick","i":"20f43950-0000-5b31-9112-a178eb6023af","BT":false,"RPI":false,'
    b'"seq":99000000010}]}'
)
TRADES_SPOT = (
    b'{"topic":"publicTrade.BTCUSDT","ts":1680652847526,"type":"snapshot","data":[{"i":"2290000000050703789","T":1680652847524,'
    b'"p":"28165.38","v":"0.041732","S":"Sell","s":"BTCUSDT","BT":false},{"i":"2290000000050703790","T":1680652847525,'
    b'"p":"28165.38","v":"0.008513","S":"Buy","s":"BTCUSDT","BT":true}]}'
)
SAMPLES = (SNAPSHOT_LINEAR, DELTA_LINEAR, DELTA_SPOT, TOP_LINEAR, TRADE_LINEAR, TRADES_SPOT)
DECODERS = Decoders()


def captured() -> list[bytes]:
    paths = sorted(DATA.glob("bybit-*/*.jsonl"))
    return [line for path in paths for line in path.read_bytes().splitlines() if line]


@pytest.mark.parametrize("text", SAMPLES)
def test_the_venues_own_shapes_take_the_fast_path(text):
    assert DECODERS.agree(text) == OK


def test_a_snapshot_says_its_levels_numbers_stream_and_times():
    assert DECODERS.agree(SNAPSHOT_LINEAR) == OK
    head = DECODERS.head()
    assert (head["kind"], head["instrument"], head["stream"]) == (SNAPSHOT, 0, 50)
    assert (head["last_id"], head["sequence"]) == (4100001, 99000000001)
    assert (head["event_ts"], head["transaction_ts"]) == (1790000000105 * 10**6, 1790000000102 * 10**6)
    assert (head["n_bids"], head["n_asks"]) == (2, 1)
    assert DECODERS.levels() == [
        [6100010000000, 120300000],
        [6100000000000, 50000000],
        [6100020000000, 80000000],
    ]


def test_a_delta_is_one_and_with_u_1_it_is_a_snapshot_whatever_it_is_called():
    assert DECODERS.agree(DELTA_LINEAR) == OK and DECODERS.head()["kind"] == DEPTH
    assert DECODERS.agree(DELTA_LINEAR.replace(b'"u":4100002', b'"u":1')) == OK
    assert DECODERS.head()["kind"] == SNAPSHOT


def test_one_level_a_side_is_the_best_prices():
    assert DECODERS.agree(TOP_LINEAR) == OK
    head = DECODERS.head()
    assert (head["kind"], head["first_id"], head["last_id"]) == (BOOK_TICKER, 7003305, 50193540681)
    assert (head["bid"], head["bid_qty"]) == (2855200000000, 4700000)
    assert (head["ask"], head["ask_qty"]) == (2855210000000, 2543300000)
    assert DECODERS.agree(TOP_LINEAR.replace(b'[["28552.10","25.433"]]', b"[]")) == OK
    assert (DECODERS.head()["ask"], DECODERS.head()["ask_qty"]) == (0, 0)
    assert DECODERS.agree(TOP_LINEAR.replace(b'"0.047"', b'"0"')) == OK and DECODERS.head()["bid"] == 0
    two = TOP_LINEAR.replace(b'"a":[', b'"a":[["28552.20","1"],')
    assert DECODERS.agree(two) == FALLBACK and "2 levels" in DECODERS.decode(two)


def test_trades_say_price_quantity_taker_time_and_id_each_and_block_trades_do_not_count():
    assert DECODERS.agree(TRADES_SPOT) == OK
    assert (DECODERS.head()["kind"], DECODERS.head()["n_trades"]) == (TRADES, 2)
    first, second = DECODERS.trades()
    assert (first["price"], first["qty"], first["side"]) == (2816538000000, 4173200, SELL)
    assert (first["trade_id"], first["transaction_ts"]) == (2290000000050703789, 1680652847524 * 10**6)
    assert (second["side"], second["transaction_ts"]) == (BUY, 1680652847525 * 10**6)
    assert (first["accepted"], second["accepted"]) == (1, 0)
    for before, after in ((b'"v":"0.041732"', b'"v":"0"'), (b'"p":"28165.38","v":"0.04', b'"p":"0.00","v":"0.04')):
        assert DECODERS.agree(TRADES_SPOT.replace(before, after)) == OK
        assert DECODERS.trades()["accepted"].tolist() == [0, 0]


def test_a_uuid_is_folded_into_64_bits():
    number = uuid.UUID("20f43950-0000-5b31-9112-a178eb6023af").int
    assert DECODERS.agree(TRADE_LINEAR) == OK
    assert DECODERS.trades()["trade_id"][0] == number >> 64 ^ number & (1 << 64) - 1
    assert DECODERS.agree(TRADE_LINEAR.replace(b"20f43950", b"20F43950")) == OK
    assert DECODERS.trades()["trade_id"][0] == number >> 64 ^ number & (1 << 64) - 1


def test_an_id_of_another_form_is_still_one():
    for odd in (b"20f43950x0000-5b31-9112-a178eb6023af", b"99999999999999999999", b"X-1", b"g" * 36):
        text = TRADE_LINEAR.replace(b"20f43950-0000-5b31-9112-a178eb6023af", odd)
        assert DECODERS.agree(text) == FALLBACK
        assert DECODERS.decode(text) is None and DECODERS.trades()["accepted"][0] == 1
    assert "'i' is not a string" in DECODERS.decode(
        TRADE_LINEAR.replace(b'"20f43950-0000-5b31-9112-a178eb6023af"', b"7")
    )


def test_as_many_trades_as_the_venue_sends_come_at_once():
    one = json.loads(TRADE_LINEAR)
    for count, status in ((1024, OK), (MAX_TRADES, OK), (MAX_TRADES + 1, FALLBACK)):
        text = json.dumps(one | {"data": one["data"] * count}, separators=(",", ":")).encode()
        assert DECODERS.agree(text) == status
    assert "at most" in DECODERS.decode(text)
    empty = json.dumps(one | {"data": []}, separators=(",", ":")).encode()
    assert DECODERS.agree(empty) == FALLBACK and DECODERS.decode(empty) is None and DECODERS.head()["n_trades"] == 0


@given(st.sampled_from(SAMPLES), st.randoms())
def test_keys_come_in_any_order(text, rng):
    """Data before its topic, and asks before bids, take the slow path; all means the same."""

    def mixed(value):
        if isinstance(value, dict):
            return {key: mixed(value[key]) for key in rng.sample(list(value), len(value))}
        return [mixed(one) for one in value] if isinstance(value, list) else value

    assert DECODERS.decode(text) is None
    wanted = DECODERS.used(DECODERS.slow)
    shuffled = json.dumps(mixed(json.loads(text)), separators=(",", ":")).encode()
    DECODERS.agree(shuffled)
    assert DECODERS.decode(shuffled) is None and DECODERS.used(DECODERS.slow) == wanted


def test_unknown_keys_are_stepped_over_and_known_ones_in_the_wrong_place_are_looked_at_slowly():
    more = DELTA_LINEAR.replace(b'"data":{', b'"id":"x-1","cs":77,"data":{"mp":"1","flag":true,"none":null,')
    assert DECODERS.agree(more) == OK
    assert DECODERS.agree(DELTA_LINEAR.replace(b'"ts":', b'"nested":{"a":1},"ts":')) == FALLBACK
    assert DECODERS.decode(DELTA_LINEAR.replace(b'"ts":', b'"nested":{"x":1},"ts":')) is None
    assert DECODERS.agree(DELTA_LINEAR.replace(b'"ts":', b'"u":1,"ts":')) == FALLBACK


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b'"u":4100002,', b"", "'u' is missing"), (b'"seq":99000000009', b'"x":1', "'seq' is missing"),
        (b'"type":"delta",', b"", "'type' is missing"), (b'"type":"delta"', b'"type":"patch"', "neither snapshot nor delta"),
        (b'"ts":1790000000125,', b"", "'ts' is missing"), (b'"u":4100002', b'"u":-1', "'u' is not an integer"),
        (b'"u":4100002', b'"u":4100002,"u":4100003', "more than once"), (b'"61000.30"', b'"6e4"', "not a plain"),
        (b'"61000.30"', b'61000.3', "not a plain"), (b'["61000.30","0.100"]', b'["61000.30"]', "pairs"),
        (b'"s":"BTCUSDT"', b'"s":"ETHUSDT"', "about 'BTCUSDT'"), (b'"data":{', b'"data":[{', "not valid JSON"),
        (b'"0.100"', b'"0.1000000001"', "more than 8 decimals"), (b'"0.100"', b'"99999999999999"', "too large"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(before, after, why):
    assert before in DELTA_LINEAR
    text = DELTA_LINEAR.replace(before, after)
    assert DECODERS.agree(text) == FALLBACK
    assert why in DECODERS.decode(text)


def test_a_time_as_text_is_taken_slowly():
    text = DELTA_LINEAR.replace(b'"ts":1790000000125', b'"ts":"1790000000125"')
    assert DECODERS.agree(text) == FALLBACK and DECODERS.decode(text) is None
    assert DECODERS.head()["event_ts"] == 1790000000125 * 10**6


@pytest.mark.parametrize(
    "text",
    [
        b'{"success":true,"ret_msg":"pong","conn_id":"0970e817","req_id":"100001","op":"ping"}',
        b'{"success":false,"ret_msg":"error:handler not found,topic:orderbook.7.BTCUSDT","req_id":"s1","op":"subscribe"}',
        b'{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"1"},"cs":1,"ts":1790000000120}',
        b'{"topic":"orderbook.full.BTCUSDT","type":"delta","ts":1,"data":{}}', b'{"topic":7}', b'{"op":"pong","args":["1"]}',
    ],
)  # fmt: skip
def test_answers_and_other_topics_are_ignored(text):
    assert DECODERS.agree(text) == FALLBACK
    assert DECODERS.decode(text) is None and DECODERS.head()["kind"] == IGNORED


def test_a_symbol_that_is_none_of_ours_has_no_id():
    text = DELTA_LINEAR.replace(b"BTCUSDT", b"1000PEPEPERP")
    assert DECODERS.agree(text) == OK and DECODERS.head()["instrument"] == -1


def test_packs_move_the_point():
    packed = Decoders(power=3)
    assert packed.agree(SNAPSHOT_LINEAR) == OK
    assert packed.levels()[0] == [6100010000000000, 120300]
    assert packed.agree(TRADE_LINEAR) == OK
    assert (packed.trades()["price"][0], packed.trades()["qty"][0]) == (6100020000000000, 1000)


@needs_data
def test_every_captured_message_is_decoded_alike_or_named():
    texts, scanned = captured(), 0
    for text in texts:
        scanned += DECODERS.agree(text) == OK
        reason = DECODERS.decode(text)
        # One message of the recordings has been cut by its author.
        assert reason is None or text.count(b"{") != text.count(b"}") or b"%s" in text, (reason, text[:200])
    assert scanned >= 60, scanned


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_whatever_is_changed_in_a_message_both_decoders_say_the_same(text, data):
    at = data.draw(st.integers(0, len(text) - 1))
    how = data.draw(st.sampled_from(["flip", "drop", "double", "cut", "swap"]))
    byte = bytes([data.draw(st.sampled_from(b'0123456789"{}[],:.\\ \x00\xffaeubsST'))])
    other = data.draw(st.integers(0, len(text) - 1))
    changed = {
        "flip": text[:at] + byte + text[at + 1 :], "drop": text[:at] + text[at + 1 :],
        "double": text[:at] + text[at : at + 9] + text[at:], "cut": text[:at],
        "swap": text[: min(at, other)] + text[max(at, other) :],
    }[how]  # fmt: skip
    DECODERS.agree(changed)


def _scan_at_the_edge() -> bool:
    """In a child: every text, and every head of it, against a page that may not be touched."""
    faulthandler.enable()
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    whole = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for at in (0, 2 * page):
        assert libc.mprotect(ctypes.c_void_p(whole.ctypes.data + at), page, 0) == 0
    inside, out = whole[page : 2 * page], DECODERS.fast
    for text in SAMPLES:
        for size in range(len(text) + 1):
            inside[page - size :] = np.frombuffer(text[:size], np.uint8)
            end = address(inside) + np.uint64(page)
            status = scan(end - np.uint64(size), end, address(DECODERS.symbols), address(out))
            assert (status == OK) == (size == len(text))
    return True


def test_no_byte_outside_the_text_is_read_and_no_part_of_a_message_is_taken_for_one():
    assert join(fork(_scan_at_the_edge)) == 0


def test_a_glance_tells_whose_message_it_is():
    for symbol, number in (*SYMBOLS.items(), ("1000PEPEPERP", -1)):
        for depth in (1, 50, 200, 1000):
            text = np.frombuffer(book_text("delta", 2, 3, [("1", "2")], depth=depth, symbol=symbol), np.uint8)
            end = address(text) + np.uint64(len(text))
            assert peek(address(text), end, address(DECODERS.symbols)) == number
    trade = np.frombuffer(TRADE_LINEAR, np.uint8)
    assert peek(address(trade), address(trade) + np.uint64(len(trade)), address(DECODERS.symbols)) == 0
    assert peek(address(trade), address(trade) + np.uint64(40), address(DECODERS.symbols)) == -1
