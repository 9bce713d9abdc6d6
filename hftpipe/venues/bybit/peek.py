"""Whose message comes next, by its topic alone: among thousands of instruments their memory can then be asked for while the message
before is still worked on.

It is a guess that costs nothing if it is wrong: what the message is about the scanner says.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64
from hftpipe.core.trading.symbols import find_in_words
from hftpipe.venues.scan.swar import EIGHT, load_word, string_end, text_word

#: ``{"topic":"orderbook.200.BTCUSDT"`` and ``{"topic":"publicTrade.BTCUSDT"``: the symbol stands behind the last point.
_TOPIC_A, _TOPIC_B, _TWO = text_word('{"topic"'), text_word(':"'), np.uint64(0xFFFF)
_NAME_AT, _SYMBOL_AT = np.uint64(10), np.uint64(20)
_TRADE, _POINT = text_word("publicTr"), np.uint64(ord("."))
_BYTE = np.uint64(0xFF)
_MOST_DIGITS = 4


@jit
def _symbol_at(text):
    """Where the symbol begins: behind ``publicTrade.``, or behind the point after the digits of ``orderbook.``."""
    if load_word(text + _NAME_AT) == _TRADE:
        return text + U64(22)
    word = load_word(text + _SYMBOL_AT)
    for index in range(1, _MOST_DIGITS + 1):
        if word >> U64(8 * index) & _BYTE == _POINT:
            return text + _SYMBOL_AT + U64(index + 1)
    return text + _SYMBOL_AT


@jit
def peek(text, end, symbols):
    """Instrument id of the message whose text begins at ``text`` and may go on to ``end``; -1 where its topic does not say."""
    if end < text + U64(64) or load_word(text) != _TOPIC_A or load_word(text + EIGHT) & _TWO != _TOPIC_B:
        return np.int64(-1)
    at = _symbol_at(text)
    first, second, third = load_word(at), load_word(at + EIGHT), load_word(at + U64(16))
    quote = string_end(at, at + U64(24))
    return find_in_words(symbols, first, second, third, np.int64(quote - at)) if quote != U64(0) else np.int64(-1)
