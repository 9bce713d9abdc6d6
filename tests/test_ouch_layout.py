"""OUCH 5.0 layouts byte for byte, from sources that are not ours: docs/decisions/0006-ouch-layouts.md names them.

CAPTURED: payloads of messages that passed between members and Nasdaq in 2023 and 2024. SPECIFIED: messages built from
the field tables of the specification's revision 1.05 (October 2025) by others.
"""

import numpy as np
import pytest

from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, POST_ONLY, SELL
from hftpipe.venues.nasdaq.itch.encode import stock_word
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.decode import WIRE, decode_report, decode_request
from hftpipe.venues.nasdaq.ouch.encode import (
    encode_accepted,
    encode_cancel,
    encode_canceled,
    encode_enter,
    encode_executed,
    encode_rejected,
    encode_replace,
    encode_replaced,
    templates_bytes,
    templates_init,
)

# Enter: sell short 225 CVLT at 63.02, day, agency, firm LIME.
CAPTURED_ENTER = bytes.fromhex(
    "4f 00000071 54 000000e1 43564c5420202020 0000000000099db8 30 59 41 4e 4e 4838465542384956202020202020 0006 05024c494d45"
)
# Accepted: buy 40 ADBE at 477.78, firm and BBO weight appended; cancel it whole; 40 shares cancelled by the user.
CAPTURED_ACCEPTED = bytes.fromhex(
    "41 0000289b4d64af87 00753a8d 42 00000028 4144424520202020 000000000048e748 35 59 000000000f56b4f5 41 4e 4e 4c"
    "3736383237303120202020202020 0009 05024d4c524f 021230"
)
CAPTURED_CANCEL = bytes.fromhex("58 00752e71 00000000")
CAPTURED_CANCELED = bytes.fromhex("43 0000289b4d681317 00753a8d 00000028 55")

SPECIFIED_REPLACE = bytes.fromhex(
    "55 00000005 00000006 00000258 0000000000911c70 30 59 4e 636c69642d3030322020202020 20 0000"
)
SPECIFIED_REPLACED = bytes.fromhex(
    "55 00001f1aced9f3e8 00000005 00000006 42 00000190 4e56444120202020 0000000000911c70 30 59 00000000000004d3"
    "41 4e 4e 4c 636c69642d303032202020202020 0000"
)
SPECIFIED_EXECUTED = bytes.fromhex("45 00001f1aced9fbb8 00000006 00000064 0000000000911c70 52 0000000000000378 0000")
SPECIFIED_REJECTED = bytes.fromhex("4a 00001f1aced9ffa0 00000007 0066 636c69642d303033202020202020")
# The options of an appendage: length (with the tag), tag, value.
MIN_QTY_500, POST_ONLY_P = bytes.fromhex("05 03 000001f4"), bytes.fromhex("02 0c 50")

SYMBOLS = ["CVLT", "NVDA"]
TEMPLATES = np.zeros(templates_bytes(len(SYMBOLS)), np.uint8)
templates_init(TEMPLATES, SYMBOLS)
OUT, WIRE_RECORD = np.zeros(256, np.uint8), np.zeros(1, WIRE)
U, I8 = np.uint64, np.int64
AT, TEMPLATES_AT, WIRE_AT = U(OUT.ctypes.data), U(TEMPLATES.ctypes.data), U(WIRE_RECORD.ctypes.data)
ID = 0xF_0123_4567_89AB


def written(length: int) -> bytes:
    return OUT[:length].tobytes()


def read(decode, text: bytes) -> tuple[int, np.void]:
    data = np.frombuffer(text + b"\xff" * 64, np.uint8)
    return int(decode(WIRE_AT, U(data.ctypes.data), I8(len(text)))), WIRE_RECORD[0].copy()


def enter(symbol: int, tif: int, ref: int, side: int, shares: int, price: int) -> bytes:
    text = (TEMPLATES_AT, I8(symbol), I8(tif), U(ref), I8(side), U(shares), U(price), U(ID), AT)
    return written(encode_enter(*text))


def test_an_enter_order_lies_as_a_captured_one():
    captured, ours = CAPTURED_ENTER, enter(0, GTC, 0x71, SELL, 225, 630_200)
    assert (ours[:5], ours[6:28]) == (captured[:5], captured[6:28])  # not the side: theirs is a short sale
    assert ours[5:6] == b"S" and ours[28:31] == b"PNN" and captured[29:31] == b"NN"
    assert len(ours) == len(captured) - 6 == 47 and ours[45:] == b"\0\0"
    kind, w = read(decode_request, captured)
    assert (kind, w["ref"], w["side"], w["shares"], w["price"]) == (ouch.ENTER, 0x71, SELL, 225, 630_200)
    assert w["stock"] == stock_word("CVLT") and bytes([w["tif"]]) == b"0"


def test_options_are_appended_as_captured_length_and_tag_first():
    assert enter(1, FOK, 5, BUY, 500, 1)[45:] == b"\0\6" + MIN_QTY_500
    assert enter(1, POST_ONLY, 5, BUY, 500, 1)[45:] == b"\0\3" + POST_ONLY_P
    assert enter(1, IOC, 5, BUY, 500, 1)[26:27] == b"3"


def test_a_cancel_and_its_answer_are_the_captured_bytes():
    assert written(encode_cancel(U(0x752E71), U(0), AT)) == CAPTURED_CANCEL
    assert read(decode_request, CAPTURED_CANCEL)[1]["ref"] == 0x752E71
    text = written(encode_canceled(I8(0x289B4D681317), U(0x753A8D), U(40), I8(ord("U")), AT))
    assert text == CAPTURED_CANCELED
    kind, w = read(decode_report, CAPTURED_CANCELED)
    assert (kind, w["ref"], w["shares"], w["code"]) == (ouch.CANCELED, 0x753A8D, 40, ord("U"))


def test_an_accepted_lies_as_a_captured_one():
    captured = CAPTURED_ACCEPTED
    id_text = np.frombuffer(captured[48:62], np.uint8)
    body = (I8(BUY), U(40), U(stock_word("ADBE")), U(4_777_800), I8(ord("5")), U(0xF56B4F5))
    text = written(encode_accepted(I8(0x289B4D64AF87), U(0x753A8D), *body, U(id_text.ctypes.data), AT))
    assert (text[:44], text[45:62]) == (captured[:44], captured[45:62]) and len(text) == len(captured) - 9 == 64
    kind, w = read(decode_report, captured)
    assert (kind, w["ref"], w["side"], w["shares"], w["price"]) == (ouch.ACCEPTED, 0x753A8D, BUY, 40, 4_777_800)
    assert (w["order"], w["code"], w["time_ns"]) == (0xF56B4F5, ouch.STATE_LIVE, 0x289B4D64AF87)


def test_a_replace_and_its_answer_lie_as_specified():
    text = written(encode_replace(TEMPLATES_AT, I8(GTC), U(5), U(6), U(600), U(9_510_000), U(ID), AT))
    assert (text[:24], text[38:]) == (SPECIFIED_REPLACE[:24], SPECIFIED_REPLACE[38:]) and len(text) == 40
    id_text = np.frombuffer(SPECIFIED_REPLACED[52:66], np.uint8)
    body = (I8(BUY), U(400), U(stock_word("NVDA")), U(9_510_000), I8(ouch.TIF_DAY), U(1235), U(id_text.ctypes.data), AT)
    text = written(encode_replaced(I8(34_200_000_001_000), U(5), U(6), *body))
    assert (text[:48], text[49:]) == (SPECIFIED_REPLACED[:48], SPECIFIED_REPLACED[49:])  # not the capacity
    kind, w = read(decode_report, SPECIFIED_REPLACED)
    assert (kind, w["old_ref"], w["ref"], w["shares"], w["price"]) == (ouch.REPLACED, 5, 6, 400, 9_510_000)


def test_an_execution_is_the_specified_bytes_with_a_price_of_8():
    text = written(
        encode_executed(I8(34_200_000_003_000), U(6), U(100), U(9_510_000), I8(ouch.LIQUIDITY_REMOVED), U(888), AT)
    )
    assert text == SPECIFIED_EXECUTED
    kind, w = read(decode_report, SPECIFIED_EXECUTED)
    assert (kind, w["ref"], w["shares"], w["price"]) == (ouch.EXECUTED, 6, 100, 9_510_000)
    assert (w["code"], w["match"]) == (ouch.LIQUIDITY_REMOVED, 888)


def test_a_reject_is_the_specified_bytes_with_a_reason_of_2():
    id_text = np.frombuffer(SPECIFIED_REJECTED[15:], np.uint8)
    text = written(encode_rejected(I8(34_200_000_004_000), U(7), I8(0x66), U(id_text.ctypes.data), AT))
    assert text == SPECIFIED_REJECTED
    kind, w = read(decode_report, SPECIFIED_REJECTED)
    assert (kind, w["ref"], w["code"]) == (ouch.REJECTED, 7, 0x66)


@pytest.mark.parametrize("text", [CAPTURED_CANCELED, SPECIFIED_REJECTED, SPECIFIED_EXECUTED])
def test_a_report_with_an_appendage_says_what_it_says_without(text):
    """Nasdaq appends UserRefIdx (tag 28) to its reports on a port with several order flows."""
    head = text[:-2] if text[:1] == b"E" else text
    kind, w = read(decode_report, text)
    kind_longer, longer = read(decode_report, head + bytes.fromhex("0003 02 1c 01"))
    assert kind == kind_longer != 0 and w == longer
