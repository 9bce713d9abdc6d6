"""The fast scanner against the slow decoder: what the first accepts, the second decodes to the same bytes."""

import ctypes
import faulthandler
import gzip
import json
import mmap
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import orjson
import pytest
from data import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, fork, join

from hftpipe.core.schema.instruments import INSTRUMENT, symbols_table
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.binance.fallback import decode
from hftpipe.venues.binance.peek import peek
from hftpipe.venues.binance.scanner import FALLBACK, OK, scan
from hftpipe.venues.message import (
    BOOK_TICKER,
    DEPTH,
    IGNORED,
    MAX_LEVELS,
    MESSAGE,
    MESSAGE_BYTES,
    SNAPSHOT,
    TRADE,
    Symbols,
    message_bytes,
)
from hftpipe.venues.taped.text import symbols_of

SYMBOLS = {"BTCUSDT": 0, "ETHUSDT": 1, "NKNUSDT": 2}
DEPTH_USDM = (
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT",'
    b'"U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"],["61496.50","10.010"],'
    b'["61510.90","0.000"]],"a":[["61800.30","0.500"],["1000000.00","12345.678"]]}}'
)
DEPTH_SPOT = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,'
    b'"u":50093239202,"b":[["61737.63000000","0.00000000"],["0.00001234","813"]],"a":[]}}'
)
TICKER_USDM = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20",'
    b'"B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256314}}'
)
TICKER_SPOT = (
    b'{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}'
)
TRADE_SPOT = (
    b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000",'
    b'"T":1723161255342,"m":true,"M":true}'
)
TRADE_OLD = (
    b'{"stream":"bnbbtc@trade","data":{"e":"trade","E":1554076800945,"s":"BNBBTC","t":40756030,"p":"0.00426990",'
    b'"q":"33.82000000","b":133829535,"a":133829504,"T":1554076800940,"m":false,"M":true}}'
)
TRADE_USDM = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT",'
    b'"t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
)
AGGREGATE_SPOT = (
    b'{"e":"aggTrade","E":1790000000101,"s":"BTCUSDT","a":300,"p":"61000.10000000","q":"0.00500000","f":5000000001,'
    b'"l":5000000003,"T":1790000000100,"m":false,"M":true}'
)
AGGREGATE_USDM = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1790000000110,"s":"BTCUSDT","a":71,"p":"61000.10","q":"0.500",'
    b'"nq":"0.400","f":100,"l":102,"T":1790000000100,"m":true}}'
)
DEPTH_2026 = DEPTH_USDM.replace(b'"s":"BTCUSDT",', b'"s":"BTCUSDT","ps":"BTCUSDT","st":1,')
SAMPLES = (
    DEPTH_USDM,
    DEPTH_SPOT,
    TICKER_USDM,
    TICKER_SPOT,
    TRADE_SPOT,
    TRADE_OLD,
    TRADE_USDM,
    DEPTH_2026,
    AGGREGATE_SPOT,
    AGGREGATE_USDM,
)


class Decoders:
    """Both decoders with memory of their own; text is laid against the end of a buffer of exactly its length."""

    def __init__(self, power: int = 0) -> None:
        rows = np.zeros(len(SYMBOLS), INSTRUMENT)
        rows["symbol"], rows["power"] = [symbol.encode() for symbol in SYMBOLS], power
        self.symbols, self.listed = symbols_table(rows), symbols_of(rows)
        self.fast, self.slow = (np.zeros(message_bytes(), np.uint8) for _ in range(2))

    def scan(self, text: bytes) -> int:
        array = np.frombuffer(text, np.uint8) if text else np.zeros(1, np.uint8)
        start = address(array)
        return int(scan(start, start + np.uint64(len(text)), address(self.symbols), address(self.fast)))

    def decode(self, text: bytes) -> str | None:
        return decode(text, self.listed, self.slow)

    @staticmethod
    def used(memory: np.ndarray) -> bytes:
        head = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
        return memory[: MESSAGE_BYTES + 16 * int(head["n_bids"] + head["n_asks"])].tobytes()

    def agree(self, text: bytes) -> int:
        """Assert the promise for one text; returns the scanner's status."""
        status, reason = self.scan(text), self.decode(text)
        assert status in (OK, FALLBACK)
        if status == OK:
            assert reason is None, f"scanned, but refused by the slow decoder: {reason}\n{text!r}"
            assert self.used(self.fast) == self.used(self.slow), text
        return status

    def head(self) -> np.void:
        return self.slow[:MESSAGE_BYTES].view(MESSAGE)[0]

    def levels(self) -> list[list[int]]:
        head = self.head()
        end = MESSAGE_BYTES + 16 * int(head["n_bids"] + head["n_asks"])
        return self.slow[MESSAGE_BYTES:end].view(np.int64).reshape(-1, 2).tolist()


DECODERS = Decoders()


def captured_lines(step: int) -> Iterator[bytes]:
    for path in sorted(DATA.glob("binance-*-2024/*.gz")):
        with gzip.open(path) as file:
            for number, line in enumerate(file):
                if number % step == 0:
                    yield line.partition(b" ")[2].strip()


def odd_lines() -> Iterator[bytes]:
    """Messages of other kinds, symbols and years."""
    for path in sorted(DATA.glob("binance-mixed-small/*.jsonl")):
        yield from path.read_bytes().splitlines()
    for path in sorted(DATA.glob("binance-*-2021-cryptofeed/*.ws.1.0")):
        for line in path.read_bytes().splitlines():
            _, found, text = line.partition(b": ")
            if found and text.startswith(b"{"):
                yield text


@pytest.mark.parametrize("text", SAMPLES)
def test_the_venues_own_shapes_take_the_fast_path(text):
    assert DECODERS.agree(text) == OK


def test_depth_fields_and_levels():
    assert DECODERS.agree(DEPTH_USDM) == OK
    head = DECODERS.head()
    assert (head["kind"], head["instrument"], head["has_previous"]) == (DEPTH, 0, 1)
    assert (head["first_id"], head["last_id"], head["previous_id"]) == (5123107832006, 5123107837557, 5123107831937)
    assert (head["event_ts"], head["transaction_ts"]) == (1723161256299_000000, 1723161256298_000000)
    assert (head["n_bids"], head["n_asks"]) == (3, 2)
    assert DECODERS.levels()[1] == [6149650000000, 1001000000]
    assert DECODERS.levels()[4] == [100000000000000, 1234567800000]


def test_ticker_and_trade_fields():
    DECODERS.agree(TICKER_SPOT)
    head = DECODERS.head()
    assert (head["kind"], head["last_id"], head["event_ts"]) == (BOOK_TICKER, 50093239212, 0)
    assert (head["bid"], head["ask_qty"]) == (6183763000000, 154698000)
    DECODERS.agree(TRADE_SPOT)
    assert (DECODERS.head()["kind"], DECODERS.head()["trade_id"]) == (TRADE, 3735683259)


@pytest.mark.parametrize(("maker", "side"), [(b"true", SELL), (b"false", BUY)])
def test_side_is_the_takers(maker, side):
    assert DECODERS.agree(TRADE_SPOT.replace(b'"m":true', b'"m":' + maker)) == OK
    assert DECODERS.head()["side"] == side


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"MARKET", b"NA"), (b"MARKET", b"INSURANCE_FUND"), (b"MARKET", b"MARKETS"), (b'"0.006"', b'"0.000"'),
     (b'"61800.30"', b'"0"')],
)  # fmt: skip
def test_trades_that_are_no_market_trades_are_not_accepted(old, new):
    assert DECODERS.agree(TRADE_USDM) == OK
    assert DECODERS.head()["accepted"] == 1
    assert DECODERS.agree(TRADE_USDM.replace(old, new)) == OK
    assert DECODERS.head()["accepted"] == 0


def test_unknown_symbol_is_minus_one():
    assert DECODERS.agree(TRADE_OLD) == OK
    assert DECODERS.head()["instrument"] == -1


def test_microseconds_are_told_from_milliseconds():
    assert DECODERS.agree(TRADE_SPOT.replace(b'"E":1723161255343', b'"E":1723161255343999')) == OK
    assert DECODERS.head()["event_ts"] == 1723161255343_999000


def test_any_key_order_is_read():
    data = orjson.loads(TRADE_USDM)["data"]
    for keys in (sorted(data), sorted(data, reverse=True)):
        text = orjson.dumps({"stream": "btcusdt@trade", "data": {key: data[key] for key in keys}})
        assert DECODERS.agree(text) == OK


@pytest.mark.parametrize(
    ("sample", "old", "new"),
    [
        # More than 8 decimals, exponent, sign, empty parts, overflow.
        (TICKER_USDM, b'"2.507"', b'"2.507000001"'), (TICKER_USDM, b'"2.507"', b'"2e3"'),
        (TICKER_USDM, b'"2.507"', b'"-2.507"'), (TICKER_USDM, b'"2.507"', b'".507"'),
        (TICKER_USDM, b'"2.507"', b'"2."'), (TICKER_USDM, b'"2.507"', b'""'), (TICKER_USDM, b'"2.507"', b'"NaN"'),
        (TICKER_USDM, b'"2.507"', b'"92233720368.54775808"'), (TICKER_USDM, b'"2.507"', b"2.507"),
        # Integers: sign, leading zero, fraction, quotes, too big.
        (TICKER_USDM, b"5123107839020", b"-1"), (TICKER_USDM, b"5123107839020", b"0123"),
        (TICKER_USDM, b"5123107839020", b"5.0"), (TICKER_USDM, b"5123107839020", b'"5"'),
        (TICKER_USDM, b"5123107839020", b"99999999999999999999"), (TICKER_USDM, b"1723161256313", b"99999999999999"),
        # Keys: missing, twice, wrong types, ids that run backwards.
        (TICKER_USDM, b'"A":"2.510",', b""), (TICKER_USDM, b'"A":"2.510"', b'"A":"2.510","A":"2.510"'),
        (DEPTH_USDM, b'"u":5123107837557', b'"u":5123107832005'), (DEPTH_USDM, b'"a":[', b'"b":['),
        (TRADE_USDM, b"false", b'"false"'), (TRADE_USDM, b'"MARKET"', b"1"), (DEPTH_USDM, b'"0.014"]', b'"0.014","1"]'),
        (DEPTH_USDM, b'["58710.20","0.014"]', b'["58710.20"]'), (DEPTH_USDM, b'"BTCUSDT"', b"null"),
        (DEPTH_USDM, b'"e":"depthUpdate",', b'"e":"depthUpdate","data":1,"data":2,'),
        # Not JSON.
        (DEPTH_USDM, b"]]}}", b"]]}"), (DEPTH_USDM, b"]]}}", b"]],}}"), (DEPTH_USDM, b"BTCUSDT", b"BTC\nUSDT"),
        (DEPTH_USDM, b"BTCUSDT", b"BTC\xffUSDT"), (DEPTH_USDM, b'],["', b']["'), (DEPTH_USDM, b"{", b""),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_a_reason(sample, old, new):
    text = sample.replace(old, new, 1)
    assert text != sample
    assert DECODERS.agree(text) == FALLBACK
    reason = DECODERS.decode(text)
    assert isinstance(reason, str) and 0 < len(reason) < 200


@pytest.mark.parametrize(
    "text",
    [b"", b"{}x", b"[]", b"3", b"null", b"[" * 100_000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"\xff\xfe", b"NaN",
     b'{"e":"trade","x":' + b"[" * 990 + b"]" * 990 + b"}", b'{"u":' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_no_input_raises(text):
    assert DECODERS.agree(text) == FALLBACK
    reason = DECODERS.decode(text)
    assert reason is None or isinstance(reason, str)


@pytest.mark.parametrize(
    "text",
    [b'{"result":null,"id":1}', b'{"code":2,"msg":"Invalid request","id":12}', b"{}",
     b'{"stream":"!markPrice@arr","data":[]}', b'{"e":"serverShutdown","E":1723161256322}',
     AGGREGATE_SPOT.replace(b"aggTrade", b"aggTrad"), AGGREGATE_SPOT.replace(b"aggTrade", b"aggTrades"),
     b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":160,"bids":[["1","2"]],"asks":[]}}',
     DEPTH_USDM.replace(b"@depth@0ms", b"@depth20@100ms"), DEPTH_USDM.replace(b"@depth@0ms", b"@rpiDepth@500ms")],
)  # fmt: skip
def test_other_events_and_partial_books_are_ignored_not_errors(text):
    assert DECODERS.agree(text) == FALLBACK
    assert DECODERS.decode(text) is None
    assert DECODERS.head()["kind"] == IGNORED


@pytest.mark.parametrize(
    ("text", "id_", "price", "side"),
    [(AGGREGATE_SPOT, 300, 6100010000000, BUY), (AGGREGATE_USDM, 71, 6100010000000, SELL)],
)
def test_an_aggregate_is_one_trade_of_several(text, id_, price, side):
    assert DECODERS.agree(text) == OK
    head = DECODERS.head()
    assert (head["kind"], head["trade_id"], head["price"], head["side"], head["accepted"]) == (
        TRADE,
        id_,
        price,
        side,
        1,
    )
    assert head["n_trades"] == 3 and head["transaction_ts"] == 1790000000100 * 10**6 and head["ask"] == 0
    for wrong in (b'"f":', b'"l":', b'"a":'):
        assert DECODERS.agree(text.replace(wrong, b'"k":')) == FALLBACK and DECODERS.decode(
            text.replace(wrong, b'"k":')
        )
    backwards = text.replace(b'"f":', b'"f":9')
    assert DECODERS.agree(backwards) == FALLBACK and "greater than 'l'" in DECODERS.decode(backwards)


def test_escapes_blanks_and_spare_zeros_are_read_by_the_slow_decoder():
    for text in (
        DEPTH_USDM.replace(b"BTCUSDT", rb"\u0042TCUSDT"),
        json.dumps(orjson.loads(DEPTH_USDM)).encode(),
        DEPTH_USDM.replace(b'"0.014"', b'"0.01400000000000"'),
    ):
        assert DECODERS.agree(text) == FALLBACK
        assert DECODERS.decode(text) is None
        assert DECODERS.levels()[0] == [5871020000000, 1400000]


def test_snapshot_goes_to_the_only_instrument_or_to_none():
    text = b'{"lastUpdateId":5123107852948,"E":1723161256501,"bids":[["61800.20","2.909"]],"asks":[["61800.30","1"]]}'
    memory = np.zeros(message_bytes(), np.uint8)
    for ids, owner in (({"BTCUSDT": 0}, 0), (SYMBOLS, -1)):
        assert decode(text, Symbols(ids, [0] * len(ids)), memory) is None
        head = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
        assert (head["kind"], head["instrument"], head["last_id"]) == (SNAPSHOT, owner, 5123107852948)


@pytest.mark.parametrize(("count", "status"), [(MAX_LEVELS, OK), (MAX_LEVELS + 1, FALLBACK)])
def test_levels_up_to_the_limit_fit_and_no_more(count, status):
    half = count // 2
    data = orjson.loads(DEPTH_USDM)
    data["data"]["b"] = [[f"{n}.5", "1.25"] for n in range(half)]
    data["data"]["a"] = [[f"{n}.5", "1.25"] for n in range(count - half)]
    text = orjson.dumps(data)
    assert DECODERS.agree(text) == status
    assert (DECODERS.decode(text) is None) == (status == OK)


@needs_data
def test_captured_messages_decode_alike_and_fast():
    fast = 0
    total = 0
    for text in captured_lines(step=7):
        is_snapshot = text.startswith(b'{"lastUpdateId"')
        total += not is_snapshot
        fast += DECODERS.agree(text) == OK
    assert total > 20_000
    assert fast == total, "a captured message needed the slow decoder"


@needs_data
def test_messages_of_other_years_and_kinds_decode_alike():
    statuses = [DECODERS.agree(text) for text in odd_lines()]
    assert statuses.count(OK) > 1000
    assert FALLBACK in statuses


@needs_data
def test_every_truncation_of_real_messages_is_refused():
    shortest: dict[bytes, bytes] = {}
    for text in captured_lines(step=50):
        kind = text[:40]
        if len(text) < len(shortest.get(kind, b"x" * 3000)):
            shortest[kind] = text
    texts = [text for text in shortest.values() if not text.startswith(b'{"last')]
    for text in [*texts[:6], *SAMPLES]:
        for length in range(len(text)):
            assert DECODERS.agree(text[:length]) == FALLBACK


_SPECIAL = list(b'"\\,:[]{}.0123456789-+eE \n\x00\x7f\x80\xff')


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message with some bytes flipped, inserted or deleted."""
    text = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text) - 1))
        byte = draw(st.one_of(st.sampled_from(_SPECIAL), st.integers(0, 255)))
        action = draw(st.sampled_from("fid"))
        if action == "f":
            text[at] = byte
        elif action == "i":
            text.insert(at, byte)
        elif len(text) > 1:
            del text[at]
    return bytes(text)


_VALUES = st.one_of(
    st.integers(-2, 2**65), st.booleans(), st.none(), st.floats(),
    st.decimals(allow_nan=True, min_value=0, max_value=10**12).map(str),
    st.decimals(0, 10**6, places=3).map(str), st.text(max_size=6), st.lists(st.lists(st.sampled_from(["1.5", "0", 2]))),
)  # fmt: skip
_KEYS = st.sampled_from([*"eEsTUuptqbBaAXmMzi", "pu", "ps", "st", "nq", "data", "stream", "lastUpdateId", "bids"])


@st.composite
def rearranged(draw: st.DrawFn) -> bytes:
    """A real message with its keys in another order, some dropped, some added or given other values."""
    sample = orjson.loads(draw(st.sampled_from(SAMPLES)))
    data = dict(sample.get("data", sample))
    for key in draw(st.lists(st.sampled_from(sorted(data)), max_size=2)):
        data.pop(key, None)
    data.update(draw(st.dictionaries(_KEYS, _VALUES, max_size=2)))
    pairs = [
        f"{json.dumps(key)}:{json.dumps(data[key], separators=(',', ':'))}"
        for key in draw(st.permutations(sorted(data)))
    ]
    pairs += draw(st.lists(st.sampled_from(pairs), max_size=1)) if pairs else []
    text = "{" + ",".join(pairs) + "}"
    return (f'{{"stream":"{sample["stream"]}","data":{text}}}' if "stream" in sample else text).encode()


@given(mutated())
@settings(max_examples=200)
def test_mutated_messages_decode_alike_or_not_at_all(text):
    DECODERS.agree(text)


@given(rearranged())
@settings(max_examples=200)
def test_rearranged_messages_decode_alike_or_not_at_all(text):
    DECODERS.agree(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 92233720367), st.integers(0, 8), st.integers(0, 10**8 - 1)), min_size=2, max_size=40
    )
)
def test_numbers_of_any_shape_are_exact(numbers):
    values = [
        (f"{whole}.{part:08d}"[: len(str(whole)) + 1 + places].rstrip("."), places) for whole, places, part in numbers
    ]
    rows = [[a[0], b[0]] for a, b in pairwise(values)]
    data = orjson.loads(DEPTH_SPOT)
    data["data"]["b"] = rows
    assert DECODERS.agree(orjson.dumps(data)) == OK
    expected = [[round_exact(price), round_exact(qty)] for price, qty in rows]
    assert DECODERS.levels() == expected


def round_exact(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * 10**8 + int(part.ljust(8, "0") or 0)


class GuardedPage:
    """Text that ends at the last byte before memory that may not be read (and starts after such memory)."""

    def __init__(self, size: int):
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self.memory = np.frombuffer(mmap.mmap(-1, self.size + 2 * page), np.uint8)
        self.start = self.memory.ctypes.data + page
        libc = ctypes.CDLL(None, use_errno=True)
        for guard in (self.start - page, self.start + self.size):
            assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0

    def scan(self, text: bytes, at_end: bool) -> int:
        start = self.start + (self.size - len(text) if at_end else 0)
        ctypes.memmove(start, text, len(text))
        begin, end = np.uint64(start), np.uint64(start + len(text))
        return int(scan(begin, end, address(DECODERS.symbols), address(DECODERS.fast)))


def _scan_against_guards() -> None:
    page = GuardedPage(4096)
    rng = np.random.default_rng(7)
    for text in SAMPLES:
        assert page.scan(text, True) == page.scan(text, False) == OK
        for length in range(len(text)):
            page.scan(text[:length], True)
            page.scan(text[-length:], False)
        for _ in range(300):
            noisy = bytearray(text[: rng.integers(1, len(text) + 1)])
            noisy[rng.integers(len(noisy))] = rng.choice(_SPECIAL)
            page.scan(bytes(noisy), True)


def test_no_byte_outside_the_text_is_read():
    scan.compile("(uint64, uint64, uint64, uint64)")
    assert join(fork(_scan_against_guards)) == 0, "-11: the scanner read outside its text"


def test_the_guard_page_does_catch_an_over_read():
    def read_past() -> None:
        faulthandler.disable()
        page = GuardedPage(4096)
        ctypes.string_at(page.start + page.size - 4, 8)

    assert join(fork(read_past)) == -11


@needs_data
def test_what_a_glance_says_of_a_message_is_what_it_is_about():
    told = 0
    for text in captured_lines(step=40):
        array = np.frombuffer(text + b" ", np.uint8)
        glance = int(peek(address(array), address(array) + np.uint64(len(array)), address(DECODERS.symbols)))
        if glance >= 0:
            assert DECODERS.decode(text) is None and glance == int(DECODERS.head()["instrument"])
            told += 1
    assert told > 1_000


@given(st.text('abcXYZ019_@" {', max_size=40), st.integers(0, 80))
def test_a_glance_at_any_text_is_one_of_ours_or_none_and_reads_nothing_beyond_it(name, cut):
    text = (b'{"stream":"' + name.encode() + b'@depth","data":{"e":"depthUpdate","s":"BTCUSDT"}}')[:cut]
    array = np.frombuffer(text, np.uint8) if text else np.zeros(1, np.uint8)
    start = address(array)
    assert -1 <= int(peek(start, start + np.uint64(len(text)), address(DECODERS.symbols))) < len(SYMBOLS)


@pytest.mark.parametrize(
    ("stream", "instrument"),
    [("btcusdt@depth", 0), ("ethusdt@trade", 1), ("nknusdt@bookTicker", 2), ("btcusdtx@depth", -1), ("BTCUSDT", -1)],
)
def test_a_stream_is_named_by_its_symbol_in_lower_case(stream, instrument):
    text = f'{{"stream":"{stream}","data":{{"e":"trade","E":1723161255343}}}}'.encode()
    array = np.frombuffer(text, np.uint8)
    assert int(peek(address(array), address(array) + np.uint64(len(text)), address(DECODERS.symbols))) == instrument
