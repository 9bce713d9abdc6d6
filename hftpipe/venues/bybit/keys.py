"""The keys of Bybit's v5 market streams that mean something here, as the scanner tells them; all others are stepped over.

The venue moves and adds keys without notice (``ts`` and ``type`` change places between categories): none is known by its place.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, ZERO
from hftpipe.venues.scan.swar import EIGHT, QUOTE, string_end, text_word, word_at

#: What a key is. Of the envelope; of a book; of a trade (whose symbol and ``seq`` are called as a book's).
(
    OTHER, TOPIC, TYPE, TS, DATA, CTS,
    SYMBOL, BIDS, ASKS, UPDATE, SEQUENCE,
    TIME, SIDE, QTY, PRICE, TRADE_ID, BLOCK,
) = range(17)  # fmt: skip
_NAMES = {
    "topic": TOPIC, "type": TYPE, "ts": TS, "data": DATA, "cts": CTS,
    "s": SYMBOL, "b": BIDS, "a": ASKS, "u": UPDATE, "seq": SEQUENCE,
    "T": TIME, "S": SIDE, "v": QTY, "p": PRICE, "i": TRADE_ID, "BT": BLOCK,
}  # fmt: skip
#: All of them: a key that is repeated would mean what the parser likes.
KEYS = frozenset(_NAMES)
#: No key of one letter is anything else.
_NOT_PLAIN = -1


def _one_letter() -> np.ndarray:
    """By byte: what a key of this one letter is."""
    made = np.full(256, _NOT_PLAIN, np.int8)
    for byte in range(256):
        if chr(byte).isascii() and chr(byte).isalnum():
            made[byte] = _NAMES.get(chr(byte), OTHER)
    return made


_LONG = {name: key for name, key in _NAMES.items() if len(name) > 1}
_WORDS = np.array([text_word(f'"{name}":') for name in _LONG], np.uint64)
_LENGTHS = np.array([len(name) + 3 for name in _LONG], np.uint64)
_MASKS = np.array([(1 << 8 * (len(name) + 3)) - 1 for name in _LONG], np.uint64)
_LONG_KEYS = np.array(list(_LONG.values()), np.int64)
_LETTERS = _one_letter()
_FRAME, _FRAME_MASK = text_word('"\0":'), np.uint64(0xFFFF00FF)
_BYTE, _COLON = np.uint64(0xFF), np.uint64(ord(":"))
_N_LONG = len(_LONG)


@jit
def key_at(at, end):
    """The key at ``at``: (what it is, address of its value; 0 where no plain key stands there)."""
    word = word_at(at, end)
    if word & _FRAME_MASK == _FRAME:
        found = np.int64(_LETTERS[(word >> EIGHT) & _BYTE])
        return found, at + np.uint64(4) if found != _NOT_PLAIN else ZERO
    for index in range(_N_LONG):
        if word & _MASKS[index] == _WORDS[index]:
            return _LONG_KEYS[index], at + _LENGTHS[index]
    if word & _BYTE != QUOTE:
        return np.int64(OTHER), ZERO
    quote = string_end(at + ONE, end)
    if quote == ZERO or (word_at(quote, end) >> EIGHT) & _BYTE != _COLON:
        return np.int64(OTHER), ZERO
    return np.int64(OTHER), quote + np.uint64(2)
