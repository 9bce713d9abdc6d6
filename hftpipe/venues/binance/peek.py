"""Whose message comes next, by the name of its stream alone: among thousands of instruments their memory can then be asked for
while the message before is still worked on.

A name in lower case up to its ``@`` is the symbol. It is a guess that costs nothing if it is wrong: what the message is about the
scanner says.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64
from hftpipe.core.trading.symbols import find_in_words
from hftpipe.venues.scan.swar import EIGHT, load_word, text_word, trailing_zeros

_STREAM_A, _STREAM_B = text_word('{"stream'), text_word('":"')
_THREE = np.uint64(0xFFFFFF)
_NAME_AT = np.uint64(11)
_ATS = text_word("@" * 8)
_LOW_BITS, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
#: Takes ``a`` and what is above it to a byte with its high bit set.
_TO_HIGH = np.uint64(0x1F1F1F1F1F1F1F1F)


@jit
def _length(word):
    """How many bytes of a word stand before its first ``@``: 0 to 8."""
    odd = word ^ _ATS
    return np.int64(trailing_zeros((odd - _LOW_BITS) & ~odd & _HIGH_BITS) >> U64(3))


@jit
def _capitals(word):
    """Eight characters of a name in capitals."""
    return word - (((word + _TO_HIGH) & _HIGH_BITS) >> U64(2))


@jit
def peek(text, end, symbols):
    """Instrument id of the message whose text begins at ``text`` and may go on to ``end``; -1 where its stream does not say."""
    if end < text + U64(48) or load_word(text) != _STREAM_A or load_word(text + EIGHT) & _THREE != _STREAM_B:
        return np.int64(-1)
    # Names are of any length, one after the other: all three words are looked at, so that nothing is there to be guessed wrong.
    first, second, third = (
        load_word(text + _NAME_AT),
        load_word(text + _NAME_AT + EIGHT),
        load_word(text + _NAME_AT + U64(16)),
    )
    one, two, three = _length(first), _length(second), _length(third)
    length = one if one < 8 else np.int64(8) + (two if two < 8 else np.int64(8) + three)
    return find_in_words(symbols, _capitals(first), _capitals(second), _capitals(third), length)
