"""Requests as templates: what is the same in every one is laid out beforehand, and the rest is copied between.

A template is a list of segments, each a piece of fixed text and the value that follows it. It is written twice side by side: as
the message that is sent, and as the text that is signed, which is the same values in another form (Binance: ``k=v&k=v``, sorted by
key). The value SIGNATURE signs the second one, and goes into the first alone.

Where a head comes before the body that it is about (HTTP), what is not known yet gets room in it: for a signature (SIGNATURE_AHEAD)
and for the body's length (BODY_BYTES); both are filled in when the request is whole. The body begins at BODY.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, store_u8, view
from hftpipe.core.schema.layout import aligned
from hftpipe.transport.signing.hmac_sha256 import HEX_BYTES
from hftpipe.transport.signing.signer import sign


class Value(IntEnum):
    """What is filled in."""

    NOTHING = 0
    REQUEST_ID = 1
    CLIENT_ID = 2
    #: The client id that an order is known by, where CLIENT_ID is a new one.
    OLD_CLIENT_ID = 3
    SYMBOL = 4
    PRICE = 5
    QUANTITY = 6
    TIMESTAMP = 7
    SIGNATURE = 8
    SIGNATURE_AHEAD = 9
    BODY_BYTES = 10
    BODY = 11


#: A value: where its text is, and how long.
VALUE = np.dtype([("at", "u8"), ("length", "i8")])
VALUES = len(Value)
_VALUE_SHIFT = np.uint64(4)
#: Fixed text of the message and of what is signed (address, bytes), then a value, and whether that is signed.
SEGMENT = np.dtype(
    [
        ("text", "u8"),
        ("text_bytes", "i8"),
        ("signed", "u8"),
        ("signed_bytes", "i8"),
        ("value", "i8"),
        ("is_signed", "i8"),
    ]
)
_SEGMENT_BYTES = np.uint64(SEGMENT.itemsize)
TEMPLATE = np.dtype([("segments", "u8"), ("count", "i8")])
_TEMPLATE_SHIFT = np.uint64(4)
_SIGNATURE, _AHEAD, _BYTES, _BODY, _NOTHING = (
    int(one) for one in (Value.SIGNATURE, Value.SIGNATURE_AHEAD, Value.BODY_BYTES, Value.BODY, Value.NOTHING)
)
#: Room for a body's length: so many digits, with blanks before them, which HTTP allows there.
LENGTH_DIGITS = 4


@dataclass(frozen=True)
class Piece:
    """A segment: fixed text of the message and of what is signed, then a value, signed unless it is said otherwise."""

    text: str
    signed: str = ""
    value: Value = Value.NOTHING
    is_signed: bool = True


class Templates:
    """Templates in memory of this process alone: they hold the account's key.

    Attributes:
        table: TEMPLATE array, in the order given.
    """

    def __init__(self, templates: Sequence[Sequence[Piece]]) -> None:
        texts = b"".join(part.encode() for one in templates for piece in one for part in (piece.text, piece.signed))
        self._texts = aligned(len(texts) + 8)
        self._texts[: len(texts)] = np.frombuffer(texts, np.uint8)
        self._segments = np.zeros(sum(map(len, templates)), SEGMENT)
        self.table = np.zeros(len(templates), TEMPLATE)
        at, row = self._texts.ctypes.data, 0
        for index, pieces in enumerate(templates):
            self.table["segments"][index] = self._segments.ctypes.data + row * SEGMENT.itemsize
            self.table["count"][index] = len(pieces)
            for piece in pieces:
                text, signed = len(piece.text.encode()), len(piece.signed.encode())
                self._segments[row] = (at, text, at + text, signed, int(piece.value), piece.is_signed)
                at, row = at + text + signed, row + 1

    def __repr__(self) -> str:
        return f"Templates({len(self.table)})"


@jit
def set_value(values, value, at, length):
    """Say where the text of a value is."""
    one = view(values + (U64(value) << _VALUE_SHIFT), VALUE)
    one.at, one.length = at, length


@jit
def _write_length(at, length):
    """A length below 10,000 to its room, blanks before it."""
    for index in range(LENGTH_DIGITS):
        digit = np.uint8(48 + length % 10) if length > 0 or index == 0 else np.uint8(32)
        store_u8(at + U64(LENGTH_DIGITS - 1 - index), digit)
        length //= 10


@jit
def write_request(templates, index, values, signer, signed, text):
    """Write the request of template ``index`` with ``values`` (VALUE array) to ``text``: the end address.

    Args:
        signer: address of a SIGNER; signed: memory for what is signed.
    """
    t = view(templates + (U64(index) << _TEMPLATE_SHIFT), TEMPLATE)
    to_sign = signed
    ahead = length_at = body = ZERO
    segment = t.segments
    for _ in range(t.count):
        s = view(segment, SEGMENT)
        copy_bytes(text, s.text, s.text_bytes)
        text += U64(s.text_bytes)
        copy_bytes(to_sign, s.signed, s.signed_bytes)
        to_sign += U64(s.signed_bytes)
        if s.value == _SIGNATURE:
            text = sign(signer, signed, np.int64(to_sign - signed), text)
        elif s.value == _AHEAD:
            ahead, text = text, text + U64(HEX_BYTES)
        elif s.value == _BYTES:
            length_at, text = text, text + U64(LENGTH_DIGITS)
        elif s.value == _BODY:
            body = text
        elif s.value != _NOTHING:
            value = view(values + (U64(s.value) << _VALUE_SHIFT), VALUE)
            copy_bytes(text, value.at, value.length)
            text += U64(value.length)
            if s.is_signed != 0:
                copy_bytes(to_sign, value.at, value.length)
                to_sign += U64(value.length)
        segment += _SEGMENT_BYTES
    if ahead != ZERO:
        sign(signer, signed, np.int64(to_sign - signed), ahead)
    if length_at != ZERO:
        _write_length(length_at, np.int64(text - body))
    return text
