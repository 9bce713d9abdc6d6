"""Walking JSON text in compiled code, member by member: for messages that are few, and whose keys come in any order.

Whatever the text holds, nothing outside ``[at, end)`` is read, and what is no JSON ends the walk. A key is compared by its code
(:func:`key_code`): its length, and 56 bits of its bytes: up to seven of them as they are, of a longer one a hash of all. Escapes in
keys are not undone: such a key is one that nobody asks for.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8

_QUOTE, _BACKSLASH, _COMMA, _COLON = (np.uint8(ord(one)) for one in '"\\,:')
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = (np.uint8(ord(one)) for one in "{}[]")
_MINUS, _POINT = np.uint8(ord("-")), np.uint8(ord("."))
_DIGIT0 = np.uint64(ord("0"))
_TEN = np.uint64(10)
#: A number above this has no room for one more digit.
_TENTH = np.uint64((2**63 - 1) // 10)
_LIMIT = np.uint64(2**63)
#: Characters that may stand in a number, true, false or null.
_PLAIN = np.zeros(256, np.bool_)
_PLAIN[[ord(one) for one in "+-.0123456789abcdefghijklmnopqrstuvwxyzE"]] = True
#: Nesting beyond this is no message of a venue.
_DEEPEST = np.int64(64)
_KEY_BYTES = np.int64(7)
#: Of a longer text no more than this goes into its code.
_MOST_KEY_BYTES = np.int64(63)
_LENGTH_SHIFT = np.uint64(56)
_LOW56 = np.uint64((1 << 56) - 1)
#: The prime of FNV-1a.
_PRIME = np.uint64(0x100000001B3)


def key_code(text: str) -> np.uint64:
    """The code of a key, as :func:`next_member` gives it."""
    raw = text.encode()
    low = int.from_bytes(raw[:7], "little")
    for byte in raw[7 : int(_MOST_KEY_BYTES)]:
        low = ((low ^ byte) * int(_PRIME)) & (1 << 64) - 1
    if len(raw) > 7:
        low ^= low >> 56
    return np.uint64(low & int(_LOW56) | min(len(raw), 255) << 56)


@jit
def skip_blanks(at, end):
    """Address of the next character that is no blank, at most ``end``."""
    while at < end and load_u8(at) <= np.uint8(32):
        at += ONE
    return at


@jit
def _after_string(at, end):
    """Address after the quote that ends the string whose first character is at ``at``; 0 if it does not end."""
    while at < end:
        letter = load_u8(at)
        if letter == _BACKSLASH:
            at += ONE
        elif letter == _QUOTE:
            return at + ONE
        at += ONE
    return ZERO


@jit
def _after_nested(at, end):
    """Address after the object or list that begins at ``at``; 0 if it does not end."""
    depth = np.int64(0)
    while at < end:
        letter = load_u8(at)
        at += ONE
        if letter == _QUOTE:
            at = _after_string(at, end)
            if at == ZERO:
                return ZERO
        elif letter in (_OPEN, _OPEN_LIST):
            depth += 1
            if depth > _DEEPEST:
                return ZERO
        elif letter in (_CLOSE, _CLOSE_LIST):
            depth -= 1
            if depth == 0:
                return at
    return ZERO


@jit
def after_value(at, end):
    """Address after the value that begins at ``at``; 0 if there is none."""
    if at >= end:
        return ZERO
    letter = load_u8(at)
    if letter == _QUOTE:
        return _after_string(at + ONE, end)
    if letter in (_OPEN, _OPEN_LIST):
        return _after_nested(at, end)
    start = at
    while at < end and _PLAIN[load_u8(at)]:
        at += ONE
    return at if at > start else ZERO


@jit
def open_object(at, end):
    """Address after the brace that opens the object at ``at``; 0 if it is no object."""
    at = skip_blanks(at, end)
    return at + ONE if at < end and load_u8(at) == _OPEN else ZERO


@jit
def _first_bytes(start, length):
    code = ZERO
    for index in range(min(length, _KEY_BYTES)):
        code |= U64(load_u8(start + U64(index))) << U64(8 * index)
    return code


@jit
def _code(start, stop):
    length = np.int64(stop - start)
    code = _first_bytes(start, length)
    if length > _KEY_BYTES:
        for index in range(_KEY_BYTES, min(length, _MOST_KEY_BYTES)):
            code = (code ^ U64(load_u8(start + U64(index)))) * _PRIME
        code ^= code >> _LENGTH_SHIFT
    return (code & _LOW56) | (U64(min(length, np.int64(255))) << _LENGTH_SHIFT)


@jit
def next_member(at, end):
    """The member of an object at ``at``: (code of its key, address of its value, address after it, where the next one is).

    All 0 at the end of the object, and where the text is no JSON; the last one is 0 then, too.
    """
    at = skip_blanks(at, end)
    if at < end and load_u8(at) == _COMMA:
        at = skip_blanks(at + ONE, end)
    if at >= end or load_u8(at) != _QUOTE:
        return ZERO, ZERO, ZERO, ZERO
    after_key = _after_string(at + ONE, end)
    if after_key == ZERO:
        return ZERO, ZERO, ZERO, ZERO
    code = _code(at + ONE, after_key - ONE)
    at = skip_blanks(after_key, end)
    if at >= end or load_u8(at) != _COLON:
        return ZERO, ZERO, ZERO, ZERO
    value = skip_blanks(at + ONE, end)
    after = after_value(value, end)
    if after == ZERO:
        return ZERO, ZERO, ZERO, ZERO
    return code, value, after, after


@jit
def find_member(at, end, code):
    """The value of a member of the object at ``at``: (its address, the address after it); zeros if there is none."""
    at = open_object(at, end)
    while at != ZERO:
        found, value, after, at = next_member(at, end)
        if at != ZERO and found == code:
            return value, after
    return ZERO, ZERO


@jit
def inside_string(at, after):
    """The characters of a string value: (address, how many); (0, -1) if it is no string."""
    if at == ZERO or after < at + U64(2) or load_u8(at) != _QUOTE:
        return ZERO, np.int64(-1)
    return at + ONE, np.int64(after - at) - 2


@jit
def text_code(at, after):
    """The code of a text value, as :func:`key_code` gives it; 0 if it is none."""
    text, length = inside_string(at, after)
    return _code(text, text + U64(length)) if length >= 0 else ZERO


@jit
def read_integer(at, after):
    """A number without a point, or such a text: (whether it is one that fits an int64, its value)."""
    text, length = inside_string(at, after)
    if length >= 0:
        at, after = text, text + U64(length)
    is_negative = at < after and load_u8(at) == _MINUS
    if is_negative:
        at += ONE
    if at >= after:
        return False, np.int64(0)
    value = ZERO
    while at < after:
        digit = U64(load_u8(at)) - _DIGIT0
        if digit >= _TEN or value > _TENTH:
            return False, np.int64(0)
        value = value * _TEN + digit
        at += ONE
    if value >= _LIMIT:
        return False, np.int64(0)
    return True, -np.int64(value) if is_negative else np.int64(value)


@jit
def _digits(at, after, places):
    """A plain decimal: (whether it is one, its amount in units of 10**-places, whether it is below 0, whether digits were cut off)."""
    text, length = inside_string(at, after)
    if length >= 0:
        at, after = text, text + U64(length)
    is_negative = at < after and load_u8(at) == _MINUS
    if is_negative:
        at += ONE
    value, digits, left = ZERO, np.int64(0), places
    is_fraction, is_plain, is_cut = False, True, False
    while at < after:
        letter = load_u8(at)
        digit = U64(letter) - _DIGIT0
        at += ONE
        if letter == _POINT and not is_fraction and digits > 0:
            is_fraction = True
            continue
        is_beyond = is_fraction and left == 0
        if digit >= _TEN or value > _TENTH:
            is_plain = False
            break
        digits += 1
        if is_beyond:
            is_cut = is_cut or digit != ZERO
        else:
            value = value * _TEN + digit
            left -= np.int64(is_fraction)
    if not is_plain or digits == 0:
        return False, ZERO, False, False
    for _ in range(left):
        if value > _TENTH:
            return False, ZERO, False, False
        value *= _TEN
    return value < _LIMIT, value, is_negative, is_cut


@jit
def read_decimal(at, after, places):
    """A plain decimal, a number or a text: (whether it is one, its value in units of 10**-places).

    One with more decimals than ``places``, or too large for an int64, is none: nothing is rounded.
    """
    is_read, value, is_negative, is_cut = _digits(at, after, places)
    if not is_read or is_cut:
        return False, np.int64(0)
    return True, -np.int64(value) if is_negative else np.int64(value)


@jit
def read_decimal_up(at, after, places):
    """The same, with more decimals rounded up (towards plus infinity): what is paid is never understated."""
    is_read, value, is_negative, is_cut = _digits(at, after, places)
    if not is_read or (is_cut and value >= _LIMIT - ONE):
        return False, np.int64(0)
    if is_negative:
        return True, -np.int64(value)
    return True, np.int64(value) + np.int64(is_cut)
