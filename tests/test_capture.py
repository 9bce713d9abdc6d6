"""Capture files: whole lines in big chunks, damage named and located, nothing before it lost."""

import gzip
import zlib

import numpy as np
import pytest
from data import DATA, needs_data
from hypothesis import given
from hypothesis import strategies as st
from memory import address

from hftpipe.capture import reader as capture
from hftpipe.capture.detect import detect
from hftpipe.capture.reader import (
    LINE_EMPTY,
    LINE_NO_JSON,
    LINE_NO_TIMESTAMP,
    LINE_OK,
    CaptureError,
    CaptureReader,
    next_line,
)

LINES = [
    b'%d {"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"61000.%d0","q":"0.002"}' % (n + 10, n, n, n % 10)
    for n in range(500)
]
LINE_FEED = b"\n"
TEXT = b"\n".join(LINES) + b"\n"


def write(tmp_path, content: bytes):
    path = tmp_path / "feed.gz"
    path.write_bytes(content)
    return path


def read(path, **options) -> tuple[bytes, str]:
    """All text delivered, and the error after it ("" for none)."""
    parts = []
    try:
        for chunk in CaptureReader(path, **options):
            assert chunk.dtype == np.uint8
            parts.append(chunk.tobytes())
    except CaptureError as error:
        return b"".join(parts), str(error)
    return b"".join(parts), ""


def split(text: bytes) -> list[tuple[int, int, bytes]]:
    """Every line as next_line sees it: (status, local_ns, json)."""
    array = np.frombuffer(text, np.uint8)
    base = int(address(array))
    at, rows = base, []
    while at < base + len(text):
        status, local_ns, start, end, after = next_line(np.uint64(at), np.uint64(base + len(text)))
        rows.append((int(status), int(local_ns), text[int(start) - base : int(end) - base]))
        assert at < int(after) <= base + len(text)
        at = int(after)
    return rows


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("chunk_bytes", [1, 100, 5000, 1 << 20])
def test_chunks_are_whole_lines_and_lose_nothing(tmp_path, pack, chunk_bytes):
    path = write(tmp_path, pack(TEXT))
    chunks = [chunk.tobytes() for chunk in CaptureReader(path, chunk_bytes)]
    assert b"".join(chunks) == TEXT
    assert all(chunk.endswith(b"\n") for chunk in chunks)


def test_last_line_needs_no_line_feed_and_a_reader_can_be_read_twice(tmp_path):
    reader = CaptureReader(write(tmp_path, TEXT[:-1]))
    for _ in range(2):
        assert b"".join(chunk.tobytes() for chunk in reader) == TEXT[:-1]


def test_gzip_members_in_a_row_and_zero_padding_are_one_file(tmp_path):
    members = gzip.compress(LINES[0]) + gzip.compress(b"\n" + LINES[1] + b"\n") + b"\0" * 512
    assert read(write(tmp_path, members)) == (b"\n".join(LINES[:2]) + b"\n", "")


def test_a_line_longer_than_a_chunk_makes_a_longer_chunk(tmp_path):
    long_line = b'1 {"x":"' + b"y" * 300_000 + b'"}\n'
    path = write(tmp_path, LINES[0] + b"\n" + long_line + TEXT)
    text, error = read(path, chunk_bytes=1000)
    assert (text, error) == (LINES[0] + b"\n" + long_line + TEXT, "")


def test_a_line_without_end_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(capture, "CHUNK_BYTES", 4096)
    path = write(tmp_path, LINES[0] + b"\n" + b"z" * 50_000)
    text, error = read(path, chunk_bytes=10)
    assert text == LINES[0] + b"\n"
    assert f"{path}: line 2" in error
    assert "longer than 10000 bytes" in error


@pytest.mark.parametrize("cut", [20, 400, 2000])
def test_cut_off_gzip_delivers_the_whole_lines_before_the_cut(tmp_path, cut):
    packed = gzip.compress(TEXT)
    engine = zlib.decompressobj(wbits=31)
    before = engine.decompress(packed[:cut])
    path = write(tmp_path, packed[:cut])
    text, error = read(path)
    assert text == before[: before.rfind(b"\n") + 1]
    assert f"{path}: line {text.count(LINE_FEED) + 1} " in error
    assert "cut off" in error
    assert "lines of '<local_ns> <json>'" in error


def test_damaged_gzip_delivers_everything_before_the_damage(tmp_path):
    packed = bytearray(gzip.compress(TEXT, 6))
    engine = zlib.decompressobj(wbits=31)
    intact = engine.decompress(bytes(packed[:1500]))
    packed[1500:1540] = b"\xff" * 40
    text, error = read(write(tmp_path, bytes(packed)))
    good = intact[: intact.rfind(b"\n") + 1]
    assert text.startswith(good)
    assert len(good) > 1000
    assert "damaged gzip data" in error


def test_wrong_checksum_is_an_error_after_all_the_data(tmp_path):
    packed = bytearray(gzip.compress(TEXT))
    packed[-8] ^= 1
    text, error = read(write(tmp_path, bytes(packed)))
    assert text == TEXT
    assert "incorrect data check" in error


def test_garbage_after_gzip_is_an_error_after_all_the_data(tmp_path):
    text, error = read(write(tmp_path, gzip.compress(TEXT) + b"garbage"))
    assert text == TEXT
    assert "is not gzip" in error


def test_zero_bytes_end_the_text_with_an_error(tmp_path):
    text, error = read(write(tmp_path, TEXT + b"12 {" + b"\0" * 4096 + TEXT))
    assert text == TEXT
    assert "line 501 " in error
    assert "binary data" in error


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"), (gzip.compress(b"", mtime=0), "is empty"), (bytes(range(1, 256)), "no local time"),
        (b'{"e":"trade"}\n', "no local time"), (b"1723161255.5 {}\n", "no local time"), (b"12\n", "no local time"),
        (b"12 [1]\n", "no JSON object"), (b'wss://stream <-> 12\n12 {"a":1}\n', "no local time"),
        (b'99999999999999999999 {"a":1}\n', "no local time"), (b'9223372036854775808 {"a":1}\n', "no local time"),
        (b"\n12 {}\n", "empty line"), (b"\x1f\x8b", "cut off"), (b"\x1f\x8bnonsense", "damaged gzip"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_capture_says_what_one_is(tmp_path, content, what):
    path = write(tmp_path, content)
    text, error = read(path)
    assert text == b""
    assert str(path) in error
    assert what in error
    assert "lines of '<local_ns> <json>', plain or gzip, are expected" in error


def test_a_missing_file_and_a_directory_are_capture_errors(tmp_path):
    for path in (tmp_path / "nothing.gz", tmp_path):
        text, error = read(path)
        assert text == b""
        assert f"{path}: cannot be read" in error


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'12 {"a":1}', LINE_OK), (b'12 {"a":1}\r', LINE_OK), (b'9223372036854775807 {"a":1}', LINE_OK), (b"", LINE_EMPTY),
        (b"\r", LINE_EMPTY), (b'{"a":1}', LINE_NO_TIMESTAMP), (b'-12 {"a":1}', LINE_NO_TIMESTAMP),
        (b'12\t{"a":1}', LINE_NO_TIMESTAMP), (b"12", LINE_NO_TIMESTAMP), (b"12 ", LINE_NO_JSON), (b"12  {}", LINE_NO_JSON),
        (b'12 {"a":1', LINE_NO_JSON), (b'9223372036854775808 {"a":1}', LINE_NO_TIMESTAMP),
        (b'18446744073709551628 {"a":1}', LINE_NO_TIMESTAMP), (b'00000000000000000012 {"a":1}', LINE_NO_TIMESTAMP),
    ],
)  # fmt: skip
def test_each_line_is_split_or_named_bad(line, status):
    rows = split(b'11 {"b":2}\n' + line + b'\n13 {"c":3}')
    assert rows[0] == (LINE_OK, 11, b'{"b":2}')
    assert rows[2] == (LINE_OK, 13, b'{"c":3}')
    assert rows[1][0] == status
    if status == LINE_OK:
        assert rows[1][1:] == (int(line.split()[0]), b'{"a":1}')


def slow_status(line: bytes) -> int:
    """Reference twin of next_line."""
    line = line.removesuffix(b"\r")
    if not line:
        return LINE_EMPTY
    stamp, blank, rest = line.partition(b" ")
    digits = bool(stamp) and all(48 <= byte <= 57 for byte in stamp)
    if not blank or not digits or len(stamp) > 19 or int(stamp) >= 2**63:
        return LINE_NO_TIMESTAMP
    return LINE_OK if len(rest) > 0 and rest.startswith(b"{") and rest.endswith(b"}") else LINE_NO_JSON


@given(st.lists(st.text(alphabet="0129 {}\r\tx\x00é", max_size=12).map(str.encode), min_size=1, max_size=8))
def test_any_bytes_split_like_the_reference(lines):
    text = b"\n".join(lines) + b"\n"
    assert [row[0] for row in split(text)] == [slow_status(line) for line in text.split(b"\n")[:-1]]


@needs_data
@pytest.mark.parametrize(
    ("name", "market", "symbol", "decimals", "lot"),
    [
        ("binance-usdm-2024/usdm_btcusdt_20240808.gz", "binance_usdm", "BTCUSDT", 1, 100_000),
        ("binance-spot-2024/spot_btcusdt_20240808.gz", "binance_spot", "BTCUSDT", 2, 1_000),
        ("binance-spot-2024/spot_ethusdt_20240808.gz", "binance_spot", "ETHUSDT", 2, 10_000),
    ],
)
def test_a_capture_says_what_it_is(name, market, symbol, decimals, lot):
    info = detect(DATA / name)
    assert (info.market, info.symbols, info.price_decimals(), info.snapshots) == (market, (symbol,), decimals, 1)
    assert lot % info.lots[0] == 0
    assert info.first_ts > 1_723_161_000_000_000_000
    assert info.lines == 3000


def test_detect_reads_what_there_is_of_a_damaged_file(tmp_path):
    info = detect(write(tmp_path, gzip.compress(TEXT)[:-20]))
    assert (info.symbols, info.market, info.ticks, info.lots) == (
        ("BTCUSDT",),
        "binance_spot",
        (10_000_000,),
        (200_000,),
    )
    assert info.price_decimals() == 1


def test_detect_refuses_a_capture_of_something_else(tmp_path):
    path = write(tmp_path, b'12 {"topic":"tickers.BTCUSDT"}\n13 not json {}\n14 {"s":"X","e":"kline"}\n')
    with pytest.raises(CaptureError, match=r"none of the first 3 lines is a Binance depthUpdate"):
        detect(path)
