"""Symbol text to instrument id: an open-addressing index built at the start (:mod:`hftpipe.core.schema.instruments`)."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view
from hftpipe.core.schema.instruments import SYMBOL_BYTES, SYMBOL_MIX, SYMBOL_SLOT, SYMBOLS

_FIRST, _SECOND, _THIRD = (np.uint64(factor) for factor in SYMBOL_MIX)
_SLOTS, _SLOT_SHIFT = np.uint64(SYMBOLS.itemsize), np.uint64(5)
_WORD_BYTES = np.int64(8)
assert SYMBOL_SLOT.itemsize == 32


@jit
def _word(start, at, length):
    """Bytes [at, at + 8) of a text of ``length`` bytes as a little-endian word; zero bytes behind its end."""
    word, shift = ZERO, ZERO
    for index in range(at, min(length, at + _WORD_BYTES)):
        word |= U64(load_u8(start + U64(index))) << shift
        shift += U64(8)
    return word


@jit
def power_of(table, instrument):
    """The unit of an instrument (id, or -1 for none) is a pack of 10**n of the venue's: n, int64."""
    powers = view(table, SYMBOLS).powers
    if powers == ZERO or instrument < 0:
        return np.int64(0)
    return np.int64(load_u8(table + powers + U64(instrument)))


@jit
def find_symbol(table, start, length):
    """Instrument id of the symbol text at ``start``; -1 if it is not registered."""
    if length <= 0 or length > SYMBOL_BYTES:
        return np.int64(-1)
    first, second = _word(start, np.int64(0), length), _word(start, np.int64(8), length)
    return find_words(table, first, second, _word(start, np.int64(16), length))


@jit
def _kept(word, count):
    """The first ``count`` bytes of a word, zero behind them; no branch, for lengths come in no order."""
    cut = U64(8) * U64(min(max(np.int64(8) - count, np.int64(0)), np.int64(7)))
    return (word << cut) >> cut if count > 0 else ZERO


@jit
def find_in_words(table, first, second, third, length):
    """Instrument id of the symbol that is the first ``length`` bytes of three little-endian words; -1 if it is not registered."""
    if length <= 0 or length > SYMBOL_BYTES:
        return np.int64(-1)
    return find_words(table, _kept(first, length), _kept(second, length - 8), _kept(third, length - 16))


@jit
def find_words(table, first, second, third):
    """Instrument id of the symbol that these words are, little-endian and zero behind its end; -1 if it is not registered."""
    mixed = (first * _FIRST) ^ (second * _SECOND) ^ (third * _THIRD)
    mask = view(table, SYMBOLS).mask
    at = (((mixed ^ (mixed >> U64(29))) * _FIRST) >> U64(32)) & mask
    # At most half of the slots are used: there is a free one.
    for _ in range(np.int64(mask) + 1):
        slot = view(table + _SLOTS + (at << _SLOT_SHIFT), SYMBOL_SLOT)
        if slot.id < 0:
            return np.int64(-1)
        if slot.words[0] == first and slot.words[1] == second and slot.words[2] == third:
            return slot.id
        at = (at + U64(1)) & mask
    return np.int64(-1)
