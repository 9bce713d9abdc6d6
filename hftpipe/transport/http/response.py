"""Answers over HTTP/1.1 (RFC 9112) as compiled code reads them, from the bytes that a connection has brought since the last one.

::

    100 Continue, if any | status line | headers | body, by Content-Length or in chunks, which are moved together where they lie

It is read from its beginning each time more has come: an answer about an order is a few hundred bytes. What can be understood in two
ways (two lengths, a length and chunks, a line that is continued, a line that ends without CR) is broken, and nothing of it is
believed. An answer without any length would end with its connection; its body is left alone.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_i64, load_u8, view

#: The most headers that a venue tells something by.
VALUES = 8
#: ``status``; the body; where the next answer would begin; whether the connection stays; whole numbers of the headers that were asked
#: for (-1: not there, or no number).
RESPONSE = np.dtype(
    [("status", "i8"), ("body", "u8"), ("body_end", "u8"), ("next", "u8"), ("keeps", "i8"), ("values", "i8", VALUES)]
)
#: What was found: more has to come; an answer; something that is none.
MORE, WHOLE, BROKEN = 0, 1, -1
#: Bytes of status line and headers, or of a line among chunks; of a body.
LONGEST_HEAD, LONGEST_BODY = 8192, 1 << 15

_CR, _LF, _COLON, _COMMA, _SEMICOLON = (np.uint8(ord(one)) for one in "\r\n:,;")
_BLANK, _TAB, _DIGIT0, _A = np.uint8(32), np.uint8(9), np.uint8(48), np.uint8(ord("a"))
_VERSION = np.frombuffer(b"HTTP/1.", np.uint8).copy()
#: What a header's name is made of (RFC 9110, 5.6.2).
_NAME = np.zeros(256, np.bool_)
_NAME[[ord(one) for one in "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = True
_BASIS, _PRIME = 0xCBF29CE484222325, 0x100000001B3
_BASIS_U64, _PRIME_U64 = np.uint64(_BASIS), np.uint64(_PRIME)
_MOST_DIGITS, _MOST_HEX = np.int64(18), np.int64(8)
_NO_BODY = (204, 304)


def header_code(name: str) -> np.uint64:
    """The code that a header's name is looked for by, whatever its case (FNV-1a)."""
    code = _BASIS
    for letter in name.lower().encode():
        code = (code ^ letter) * _PRIME & 0xFFFFFFFFFFFFFFFF
    return np.uint64(code)


_LENGTH, _ENCODING, _CONNECTION = (header_code(name) for name in ("content-length", "transfer-encoding", "connection"))
_CHUNKED, _CLOSE, _KEEP = (header_code(word) for word in ("chunked", "close", "keep-alive"))


@jit
def _code(at, end):
    """The code of a word, as :func:`header_code` gives it."""
    code = _BASIS_U64
    while at < end:
        letter = load_u8(at)
        if np.uint8(65) <= letter <= np.uint8(90):
            letter |= np.uint8(32)
        code = (code ^ U64(letter)) * _PRIME_U64
        at += ONE
    return code


@jit
def _is_blank(letter):
    return letter in (_BLANK, _TAB)


@jit
def _trim(at, end):
    """Without the blanks around it."""
    while at < end and _is_blank(load_u8(at)):
        at += ONE
    while at < end and _is_blank(load_u8(end - ONE)):
        end -= ONE
    return at, end


@jit
def _line(at, end):
    """The line at ``at``: (WHOLE, address of its CR), (MORE, 0) or (BROKEN, 0)."""
    start = at
    while at < end:
        letter = load_u8(at)
        if letter == _LF:
            return BROKEN, ZERO
        if letter == _CR:
            if at + ONE == end:
                return MORE, ZERO
            return (WHOLE, at) if load_u8(at + ONE) == _LF else (BROKEN, ZERO)
        at += ONE
        if np.int64(at - start) > LONGEST_HEAD:
            return BROKEN, ZERO
    return MORE, ZERO


@jit
def _number(at, end):
    """A whole number of digits alone; -1: it is none."""
    if at >= end or np.int64(end - at) > _MOST_DIGITS:
        return np.int64(-1)
    value = np.int64(0)
    while at < end:
        digit = np.int64(load_u8(at)) - np.int64(_DIGIT0)
        if digit < 0 or digit > 9:
            return np.int64(-1)
        value = value * 10 + digit
        at += ONE
    return value


@jit
def _status_line(at, end):
    """(status, minor version) of a status line; a status of -1: it is none."""
    if np.int64(end - at) < 12:
        return np.int64(-1), np.int64(0)
    for index in range(len(_VERSION)):
        if load_u8(at + U64(index)) != _VERSION[index]:
            return np.int64(-1), np.int64(0)
    minor = np.int64(load_u8(at + U64(7))) - np.int64(_DIGIT0)
    has_reason = np.int64(end - at) == 12 or load_u8(at + U64(12)) == _BLANK
    status = _number(at + U64(9), at + U64(12))
    if minor < 0 or minor > 1 or load_u8(at + U64(8)) != _BLANK or not has_reason or status < 100 or status > 599:
        return np.int64(-1), np.int64(0)
    return status, minor


@jit
def _says(at, end, word):
    """Whether a list of words, with commas between them, has one by its code."""
    while at < end:
        stop = at
        while stop < end and load_u8(stop) != _COMMA:
            stop += ONE
        first, last = _trim(at, stop)
        if _code(first, last) == word:
            return True
        at = stop + ONE
    return False


@jit
def _header(at, end):
    """A header's line: (code of its name, address and end of its value); a code of 0: it is none."""
    stop = at
    while stop < end and _NAME[load_u8(stop)]:
        stop += ONE
    if stop in (at, end) or load_u8(stop) != _COLON:
        return ZERO, ZERO, ZERO
    value, value_end = _trim(stop + ONE, end)
    return _code(at, stop), value, value_end


@jit
def _note(r, code, value, value_end, wanted, n_wanted):
    """Keep the number of a header that was asked for."""
    for index in range(n_wanted):
        if U64(load_i64(wanted + U64(8 * index))) == code:
            r.values[index] = _number(value, value_end)


@jit
def _head(at, end, wanted, n_wanted, response):
    """Status line and headers: (MORE, BROKEN or WHOLE, address after them, length of the body: -1: not said, -2: in chunks)."""
    r, start = view(response, RESPONSE), at
    found, line_end = _line(at, end)
    if found != WHOLE:
        return found, ZERO, np.int64(0)
    r.status, minor = _status_line(at, line_end)
    if r.status < 0:
        return BROKEN, ZERO, np.int64(0)
    for index in range(VALUES):
        r.values[index] = -1
    r.keeps, length, is_chunked, closes = minor, np.int64(-1), False, False
    while True:
        at = line_end + U64(2)
        found, line_end = _line(at, end)
        if found != WHOLE:
            return found, ZERO, np.int64(0)
        if np.int64(line_end - start) > LONGEST_HEAD:
            return BROKEN, ZERO, np.int64(0)
        if line_end == at:
            break
        code, value, value_end = _header(at, line_end)
        if code == ZERO:
            return BROKEN, ZERO, np.int64(0)
        if code == _LENGTH:
            number = _number(value, value_end)
            if number < 0 or (length >= 0 and number != length):
                return BROKEN, ZERO, np.int64(0)
            length = number
        elif code == _ENCODING:
            if is_chunked or _code(value, value_end) != _CHUNKED:
                return BROKEN, ZERO, np.int64(0)
            is_chunked = True
        elif code == _CONNECTION:
            closes |= _says(value, value_end, _CLOSE)
            r.keeps |= np.int64(_says(value, value_end, _KEEP))
        else:
            _note(r, code, value, value_end, wanted, n_wanted)
    r.keeps = np.int64(r.keeps != 0 and not closes)
    if is_chunked and (length >= 0 or minor == 0):
        return BROKEN, ZERO, np.int64(0)
    return WHOLE, at + U64(2), np.int64(-2) if is_chunked else length


@jit
def _chunk_size(at, end):
    """The size at the beginning of a chunk's line; -1: it is none."""
    start, size = at, np.int64(0)
    while at < end:
        letter = load_u8(at)
        digit = np.int64(letter) - np.int64(_DIGIT0)
        if digit < 0 or digit > 9:
            digit = np.int64(letter | np.uint8(32)) - np.int64(_A) + 10
            if digit < 10 or digit > 15:
                break
        size = size * 16 + digit
        at += ONE
        if np.int64(at - start) > _MOST_HEX:
            return np.int64(-1)
    if at == start:
        return np.int64(-1)
    at, end = _trim(at, end)
    return size if at == end or load_u8(at) == _SEMICOLON else np.int64(-1)


@jit
def _chunks(at, end, target):
    """A body in chunks: (MORE, BROKEN or WHOLE, address after it, its bytes), moved together to ``target`` if that is not 0."""
    total = np.int64(0)
    while True:
        found, line_end = _line(at, end)
        if found != WHOLE:
            return found, ZERO, total
        size = _chunk_size(at, line_end)
        at = line_end + U64(2)
        if size == 0:
            break
        if size < 0 or total + size > LONGEST_BODY:
            return BROKEN, ZERO, total
        if np.int64(end - at) < size + 2:
            return MORE, ZERO, total
        if load_u8(at + U64(size)) != _CR or load_u8(at + U64(size + 1)) != _LF:
            return BROKEN, ZERO, total
        if target != ZERO:
            copy_bytes(target + U64(total), at, size)
        total += size
        at += U64(size + 2)
    while True:
        # Trailers say nothing that is asked for.
        found, line_end = _line(at, end)
        if found != WHOLE:
            return found, ZERO, total
        is_last = line_end == at
        at = line_end + U64(2)
        if is_last:
            return WHOLE, at, total


@jit
def _body(at, end, length, r):
    """The body of an answer whose head ends at ``at``: MORE, BROKEN or WHOLE."""
    r.body = at
    if length == -2:
        found, _after, _total = _chunks(at, end, ZERO)
        if found != WHOLE:
            return found
        # Only once all of it is there: until then it is read again from its beginning.
        _found, r.next, total = _chunks(at, end, at)
        r.body_end = at + U64(total)
        return WHOLE
    if length > LONGEST_BODY:
        return BROKEN
    if np.int64(end - at) < length:
        return MORE
    r.body_end = r.next = at + U64(length)
    return WHOLE


@jit
def read_response(at, end, wanted, n_wanted, response):
    """Read an answer in ``[at, end)`` into the RESPONSE at ``response``: WHOLE; MORE: it is not all there; BROKEN: it is none.

    Args:
        wanted: address of the codes (:func:`header_code`, uint64) of ``n_wanted`` (up to VALUES) headers, whose numbers are
            kept in this order.
    """
    r = view(response, RESPONSE)
    while True:
        found, at, length = _head(at, end, wanted, n_wanted, response)
        if found != WHOLE:
            return found
        if r.status >= 200:
            break
        if r.status == 101:
            # A protocol that nobody has asked for.
            return BROKEN
    if r.status in _NO_BODY:
        r.body = r.body_end = r.next = at
        return WHOLE
    if length == -1:
        # It ends with the connection: nobody can say whether all of it is there.
        r.body = r.body_end = at
        r.next, r.keeps = end, 0
        return WHOLE
    return _body(at, end, length, r)
