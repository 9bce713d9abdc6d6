"""OUCH messages against their twin made with ``struct``, and against noise."""

import numpy as np
import ouch_reference as ref
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY, SELL
from hftpipe.venues.nasdaq.itch.encode import stock_word
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.decode import REFUSED, WIRE, decode_report, decode_request
from hftpipe.venues.nasdaq.ouch.encode import (
    encode_accepted,
    encode_cancel,
    encode_canceled,
    encode_enter,
    encode_executed,
    encode_plain,
    encode_query,
    encode_rejected,
    encode_replace,
    encode_replaced,
    encode_system,
    templates_bytes,
    templates_init,
)

SYMBOLS = ["TEST", "LONGNAME", "A"]
TIFS = {"GTC": GTC, "IOC": IOC, "FOK": FOK, "POST_ONLY": POST_ONLY, "MARKET": MARKET}
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
times, tifs, sides = st.integers(0, 2**47), st.sampled_from(list(TIFS)), st.booleans()
U, I8 = np.uint64, np.int64

TEMPLATES = np.zeros(templates_bytes(len(SYMBOLS)), np.uint8)
templates_init(TEMPLATES, SYMBOLS)
OUT, WIRE_RECORD = np.zeros(256, np.uint8), np.zeros(1, WIRE)
AT, TEMPLATES_AT, WIRE_AT = U(OUT.ctypes.data), U(TEMPLATES.ctypes.data), U(WIRE_RECORD.ctypes.data)


def written(length: int) -> bytes:
    return OUT[:length].tobytes()


def read(decode, text: bytes) -> tuple[int, np.void]:
    """What a decoder makes of exactly these bytes: memory beyond them differs from call to call."""
    data = np.frombuffer(text + bytes([len(text) & 255]) * 64, np.uint8)
    kind = int(decode(WIRE_AT, U(data.ctypes.data), I8(len(text))))
    return kind, WIRE_RECORD[0].copy()


@given(st.integers(0, 2), tifs, u32, sides, u32, u64, u64)
def test_an_enter_order_is_the_specifications(instrument, tif, number, is_buy, shares, price, id_):
    length = encode_enter(
        TEMPLATES_AT,
        I8(instrument),
        I8(TIFS[tif]),
        U(number),
        I8(BUY if is_buy else SELL),
        U(shares),
        U(price),
        U(id_),
        AT,
    )
    text = written(length)
    assert text == ref.enter(SYMBOLS[instrument], tif, number, is_buy, shares, price, id_)
    kind, w = read(decode_request, text)
    assert kind == ouch.ENTER and (w["ref"], w["side"], w["shares"]) == (number, BUY if is_buy else SELL, shares)
    assert w["price"] == (ref.MARKET_PRICE if tif == "MARKET" else price)
    assert w["stock"] == stock_word(SYMBOLS[instrument]) and bytes([w["tif"]]) == ref.TIFS[tif][0]
    assert w["min_shares"] == (shares if tif == "FOK" else 0) and w["post_only"] == (tif == "POST_ONLY")


@given(tifs, u32, u32, u32, u64, u64)
def test_a_replace_is_the_specifications(tif, old, number, shares, price, id_):
    text = written(encode_replace(TEMPLATES_AT, I8(TIFS[tif]), U(old), U(number), U(shares), U(price), U(id_), AT))
    assert text == ref.replace(tif, old, number, shares, price, id_)
    kind, w = read(decode_request, text)
    assert kind == ouch.REPLACE
    assert (w["old_ref"], w["ref"], w["shares"], w["price"]) == (old, number, shares, price)


@given(u32, u32)
def test_cancels_and_queries_are_the_specifications(number, shares):
    text = written(encode_cancel(U(number), U(shares), AT))
    assert text == ref.CANCEL.pack(b"X", number, shares)
    kind, w = read(decode_request, text)
    assert (kind, w["ref"], w["shares"]) == (ouch.CANCEL, number, shares)
    assert written(encode_query(AT)) == b"Q" and read(decode_request, b"Q")[0] == ouch.QUERY


@given(times, u32, u32, sides, u32, u64, u64, st.sampled_from(SYMBOLS), st.one_of(st.none(), u64))
def test_accepted_and_replaced_are_the_specifications(time, number, new, is_buy, shares, price, order, symbol, id_):
    id_text = ref.cl_ord_id(id_) if id_ is not None else b" " * 14
    held = np.frombuffer(id_text, np.uint8)
    id_at = U(held.ctypes.data if id_ is not None else 0)
    body = (
        I8(BUY if is_buy else SELL),
        U(shares),
        U(stock_word(symbol)),
        U(price),
        I8(ouch.TIF_DAY),
        U(order),
        id_at,
        AT,
    )
    tail = (ref.side(is_buy), shares, ref.stock(symbol), price, b"0", b"Y", order, b"P", b"N", b"N", b"L", id_text, 0)
    text = written(encode_accepted(I8(time), U(number), *body))
    assert text == ref.ACCEPTED.pack(b"A", time, number, *tail)
    kind, w = read(decode_report, text)
    if price > ouch.PRICE_MAX:
        assert kind == REFUSED
        return
    assert w["stock"] == stock_word(symbol)
    assert kind == ouch.ACCEPTED and (w["time_ns"], w["ref"], w["shares"], w["price"]) == (time, number, shares, price)
    text = written(encode_replaced(I8(time), U(number), U(new), *body))
    assert text == ref.REPLACED.pack(b"U", time, number, new, *tail)
    kind, w = read(decode_report, text)
    assert kind == ouch.REPLACED and (w["old_ref"], w["ref"], w["order"]) == (number, new, order)
    assert (w["shares"], w["price"], w["side"]) == (shares, price, BUY if is_buy else SELL)


@given(times, u32, u32, u64, u64, st.integers(0, 2**16 - 1))
def test_the_other_reports_are_the_specifications(time, number, shares, price, match, code):
    held = np.frombuffer(b" " * 14, np.uint8)
    cases = (
        (
            encode_canceled(I8(time), U(number), U(shares), I8(85), AT),
            ref.CANCELED.pack(b"C", time, number, shares, b"U"),
            85,
        ),
        (
            lambda: encode_executed(I8(time), U(number), U(shares), U(price), I8(65), U(match), AT),
            ref.EXECUTED.pack(b"E", time, number, shares, price, b"A", match, 0),
            65,
        ),
        (
            lambda: encode_rejected(I8(time), U(number), I8(code), U(held.ctypes.data), AT),
            ref.REJECTED.pack(b"J", time, number, code, b" " * 14),
            code,
        ),
        (lambda: encode_system(I8(83), I8(time), AT), ref.SYSTEM.pack(b"S", time, b"S"), 83),
        (lambda: encode_plain(I8(ouch.CANCEL_REJECT), I8(time), U(number), AT), ref.PLAIN.pack(b"I", time, number), 0),
    )
    for encode, text, letter in cases:
        length = encode() if callable(encode) else encode
        assert written(length) == text
        kind, w = read(decode_report, text)
        if text[:1] == b"E" and price > ouch.PRICE_MAX:
            assert kind == REFUSED
            continue
        assert kind == text[0] and (w["time_ns"], w["code"]) == (time, letter)
        assert w["ref"] == (0 if text[:1] == b"S" else number)


SAMPLES = [
    ref.enter("TEST", tif, 1, True, 100, 1_500_000, 7) for tif in TIFS
] + [ref.replace(tif, 1, 2, 100, 1_500_000, 7) for tif in TIFS] + [ref.CANCEL.pack(b"X", 1, 0)]  # fmt: skip


@pytest.mark.parametrize("text", SAMPLES)
def test_a_request_cut_anywhere_is_refused(text):
    for size in range(len(text)):
        assert read(decode_request, text[:size])[0] == 0


@given(st.sampled_from(SAMPLES), st.integers(0, 60), st.integers(0, 255), st.binary(max_size=20))
def test_a_damaged_request_is_taken_only_if_the_twin_takes_it(text, at, byte, more):
    damaged = bytearray(text + more)
    damaged[at % len(damaged)] = byte
    kind, _ = read(decode_request, bytes(damaged))
    assert (kind != 0) == ref.request_is_sound(bytes(damaged))


@given(st.binary(max_size=140))
def test_noise_is_taken_only_if_the_twin_takes_it(noise):
    assert (read(decode_request, noise)[0] != 0) == ref.request_is_sound(noise)
    kind, _ = read(decode_report, noise)
    if chr(noise[0]) in ouch.IGNORED_REPORTS if noise else False:
        assert kind == (-1 if len(noise) <= ouch.MESSAGE_BYTES_MAX else 0)
    else:
        assert (kind != 0) == ref.report_is_sound(noise)
