"""Answers over HTTP as compiled code reads them: just what a slow and plain reader makes of the same bytes, wherever they are cut."""

import ctypes
import mmap

import http_reference as plain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address

from hftpipe.transport.http import response as http
from hftpipe.transport.http.response import RESPONSE, header_code, read_response

WANTED = ("retry-after", "x-mbx-used-weight-1m", "x-mbx-order-count-10s", "x-mbx-order-count-1m")
CODES = np.array([header_code(name) for name in WANTED], np.uint64)
_PAGE = mmap.PAGESIZE
_ROOM = 1 << 18
_MAP = mmap.mmap(-1, _ROOM + _PAGE)
_START = ctypes.addressof(ctypes.c_char.from_buffer(_MAP))
# Whoever reads a byte too far is ended.
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(_START + _ROOM), _PAGE, 0) == 0


def read(data: bytes) -> plain.Plain:
    """As :func:`http_reference.read`, by compiled code; the bytes end where memory does."""
    at, made = _START + _ROOM - len(data), np.zeros(1, RESPONSE)
    ctypes.memmove(at, data, len(data))
    found = int(
        read_response(np.uint64(at), np.uint64(at + len(data)), address(CODES), np.int64(len(CODES)), address(made))
    )
    if found != http.WHOLE:
        raise plain.More if found == http.MORE else plain.Broken
    row = made[0]
    body = ctypes.string_at(int(row["body"]), int(row["body_end"] - row["body"]))
    values = [
        (name, str(value).encode()) for name, value in zip(WANTED, row["values"].tolist(), strict=False) if value >= 0
    ]
    return plain.Plain(int(row["status"]), values, body, int(row["next"]) - at, bool(row["keeps"]))


def outcome(reader, data: bytes) -> object:
    try:
        said = reader(data)
    except (plain.More, plain.Broken) as none:
        return type(none)
    return said.status, said.body, said.length, said.keeps, [said.number(name) for name in WANTED]


def check_every_cut(data: bytes) -> None:
    for cut in range(len(data) + 1):
        assert outcome(read, data[:cut]) == outcome(plain.read, data[:cut]), data[:cut]


ANSWERS = [
    plain.written(200, b'{"orderId":1}'),
    plain.written(200, b'{"orderId":1}', [1, 5]),
    plain.written(400, b"", retry_after="7", X_MBX_USED_WEIGHT_1M="12", x_mbx_order_count_10S="3"),
    plain.written(503, b"Service Unavailable", Connection="keep-alive, Close"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + plain.written(200, b"{}"),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204\r\n\r\n", b"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\ncontent-length:\t 2\t\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\nA \r\n0123456789\r\n0;last\r\nTrailer: x\r\n\r\n",
    plain.written(200, b"{}") + plain.written(200, b"[]"),
]  # fmt: skip
NONE = [
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 X\r\n\r\n",
    b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", b"HTTP/1.1 200 OK\r\na b: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", ANSWERS)
def test_an_answer_is_read_just_when_all_of_it_is_there(data: bytes) -> None:
    assert isinstance(outcome(read, data), tuple)
    check_every_cut(data)


@pytest.mark.parametrize("data", NONE)
def test_what_can_be_understood_in_two_ways_is_broken(data: bytes) -> None:
    assert outcome(read, data) is plain.Broken
    check_every_cut(data)


def test_numbers_of_the_headers_that_were_asked_for_are_kept() -> None:
    said = read(plain.written(429, b"{}", Retry_After="30", X_Mbx_Used_Weight_1m="2400", X_MBX_ORDER_COUNT_10S="soon"))
    assert [said.number(name) for name in WANTED] == [30, 2400, -1, -1]


@settings(max_examples=300)
@given(
    status=st.integers(200, 599), body=st.binary(max_size=300), chunks=st.none() | st.lists(st.integers(1, 40), max_size=5),
    cut=st.integers(0, 1000),
)  # fmt: skip
def test_bodies_are_whole_however_they_are_divided_and_cut(
    status: int, body: bytes, chunks: list[int] | None, cut: int
) -> None:
    data = plain.written(status, body, chunks, Retry_After="5")
    said = read(data)
    assert (said.status, said.length) == (status, said.length) and said.body == (b"" if status in (204, 304) else body)
    assert outcome(read, data[:cut]) == outcome(plain.read, data[:cut])


_PARTS = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"100 Continue", b"\r\n", b"\r", b"\n", b"Content-Length: 3", b"Content-Length:", b"4",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close", b": ", b" ", b"3\r\nabc\r\n", b"0\r\n", b"{}", b"retry-after: 1", b",", b"\t",
    b"\xff\x00",
]  # fmt: skip


@settings(max_examples=1500)
@given(st.lists(st.sampled_from(_PARTS) | st.binary(max_size=3), max_size=14).map(b"".join), st.booleans())
def test_whatever_comes_is_read_as_the_plain_reader_reads_it(data: bytes, has_begun: bool) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + data if has_begun else data
    assert outcome(read, data) == outcome(plain.read, data)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_change_of_any_byte_is_read_as_the_plain_reader_reads_it(answer: bytes) -> None:
    for at in range(len(answer)):
        for byte in b"\0\r\n :;0aZ\xff":
            data = answer[:at] + bytes([byte]) + answer[at + 1 :]
            assert outcome(read, data) == outcome(plain.read, data), data


@pytest.mark.parametrize("line", [b"x" * 9000, b"a: " + b"x" * 8180 + b"\r\n", b"a: b\r\n" * 1400])
def test_a_head_without_end_is_broken_before_it_fills_the_memory(line: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + line
    assert outcome(read, data) is outcome(plain.read, data) is plain.Broken
