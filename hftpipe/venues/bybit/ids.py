"""Trade ids to 64 bits: spot's are numbers, those of contracts are UUIDs.

Of a UUID the two halves are folded into one (exclusive or): nothing here asks the venue about a public trade, and two that are the
same by chance (once in 2**61 pairs) are two trades all the same.
"""

import hashlib
import re

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8
from hftpipe.venues.scan.swar import string_end

UUID_CHARS = 36
_DASHES = (8, 13, 18, 23)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
#: So many digits always fit.
_MOST_DIGITS = 19
_NUMBER = re.compile(rf"[0-9]{{1,{_MOST_DIGITS}}}", re.ASCII)
_NO_DIGIT, _DASH = 255, 254


def _digits() -> np.ndarray:
    """By byte: its value as a hexadecimal digit."""
    made = np.full(256, _NO_DIGIT, np.uint8)
    for value, letters in enumerate([*"0123456789", "aA", "bB", "cC", "dD", "eE", "fF"]):
        for letter in letters:
            made[ord(letter)] = value
    made[ord("-")] = _DASH
    return made


def _places() -> np.ndarray:
    """By place in a UUID: whether a dash belongs there."""
    made = np.zeros(UUID_CHARS, np.bool_)
    made[list(_DASHES)] = True
    return made


_HEX, _IS_DASH = _digits(), _places()
_HALF = np.uint64(16)


@jit
def _number(at, quote):
    value = ZERO
    while at < quote:
        digit = U64(load_u8(at)) - U64(48)
        if digit > U64(9):
            return ZERO, False
        value = value * U64(10) + digit
        at += ONE
    return value, True


@jit
def _folded(at):
    first, second, digits = ZERO, ZERO, ZERO
    for place in range(UUID_CHARS):
        digit = U64(_HEX[load_u8(at + U64(place))])
        if _IS_DASH[place]:
            if digit != U64(_DASH):
                return ZERO, False
            continue
        if digit > U64(15):
            return ZERO, False
        if digits < _HALF:
            first = first << U64(4) | digit
        else:
            second = second << U64(4) | digit
        digits += ONE
    return first ^ second, True


@jit
def trade_id(at, end):
    """A trade id from its first letter on: (address after its quote or 0, its 64 bits)."""
    quote = string_end(at, end)
    length = np.int64(quote - at)
    if quote == ZERO or length == 0 or (length > _MOST_DIGITS and length != UUID_CHARS):
        return ZERO, ZERO
    value, is_one = _folded(at) if length == UUID_CHARS else _number(at, quote)
    return quote + ONE if is_one else ZERO, value


def trade_id_of(text: str) -> int:
    """The same for the slow decoder, which also takes ids of a form that nobody has seen: a hash of them."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if _UUID.fullmatch(text):
        whole = int(text.replace("-", ""), 16)
        return whole >> 64 ^ whole & (1 << 64) - 1
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
