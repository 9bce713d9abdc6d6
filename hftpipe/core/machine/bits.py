"""A set of small numbers as a bitmap with a summary: the next member is found in a few instructions, however far it is.

Bit ``i`` of the bitmap says whether ``i`` is a member, bit ``w`` of the summary whether word ``w`` of the bitmap has
any: one word of the summary stands for 4,096 numbers.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, store_i64

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_WORD_SHIFT = np.uint64(3)


@intrinsic
def lowest_bit(typingctx: Any, word: Any) -> Any:
    """Place (0 to 63) of the lowest bit of a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def highest_bit(typingctx: Any, word: Any) -> Any:
    """Place (0 to 63) of the highest bit of a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))
        return builder.xor(zeros, ir.Constant(ir.IntType(64), 63))

    return types.int64(types.uint64), codegen


@intrinsic
def count_bits(typingctx: Any, word: Any) -> Any:
    """How many bits of a word are set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@jit
def word_at(array, index):
    """Word ``index`` of an array."""
    return U64(load_i64(array + (U64(index) << _WORD_SHIFT)))


@jit
def set_word(array, index, word):
    """Write word ``index`` of an array."""
    store_i64(array + (U64(index) << _WORD_SHIFT), np.int64(word))


@jit
def bit_put(bits, summary, index, is_member):
    """Make ``index`` a member or not. The summary is written only when a word of the bitmap empties or begins."""
    word, shift = index >> 6, U64(index & 63)
    before = word_at(bits, word)
    after = (before & ~(ONE << shift)) | (U64(is_member) << shift)
    set_word(bits, word, after)
    if (before == ZERO) != (after == ZERO):
        mark_word(summary, word, after != ZERO)


@jit
def mark_word(summary, word, is_used):
    """Say whether ``word`` of the bitmap has any bit set."""
    shift = U64(word & 63)
    marks = word_at(summary, word >> 6)
    set_word(summary, word >> 6, (marks & ~(ONE << shift)) | (U64(is_used) << shift))


@jit
def _word_from(summary, word, size):
    """First used word, ``word`` or behind it, of a bitmap of ``size`` bits; negative if there is none."""
    group, groups, keep = word >> 6, (size + 4095) >> 12, _ALL << U64(word & 63)
    while group < groups:
        found = word_at(summary, group) & keep
        if found != ZERO:
            return (group << 6) + lowest_bit(found)
        group += 1
        keep = _ALL
    return np.int64(-1)


@jit
def member_from(bits, summary, start, size):
    """Least member that is ``start`` (0 to ``size``) or greater; negative if there is none."""
    if start >= size:
        return np.int64(-1)
    found = word_at(bits, start >> 6) >> U64(start & 63)
    if found != ZERO:
        return start + lowest_bit(found)
    word = _word_from(summary, (start >> 6) + 1, size)
    if word < 0:
        return np.int64(-1)
    return (word << 6) + lowest_bit(word_at(bits, word))


@jit
def first_member(bits, summary, size):
    """Least member; negative if there is none."""
    word = _word_from(summary, np.int64(0), size)
    if word < 0:
        return np.int64(-1)
    return (word << 6) + lowest_bit(word_at(bits, word))


@jit
def last_member(bits, summary, size):
    """Greatest member; negative if there is none."""
    group = ((size + 4095) >> 12) - 1
    while group >= 0:
        marks = word_at(summary, group)
        if marks != ZERO:
            word = (group << 6) + highest_bit(marks)
            return (word << 6) + highest_bit(word_at(bits, word))
        group -= 1
    return np.int64(-1)


@jit
def nth_member(bits, count):
    """The member with ``count`` lesser ones; there must be one. Skips whole words."""
    word, marks = np.int64(0), word_at(bits, np.int64(0))
    here = count_bits(marks)
    while count >= here:
        count -= here
        word += 1
        marks = word_at(bits, word)
        here = count_bits(marks)
    for _ in range(count):
        marks &= marks - ONE
    return (word << 6) + lowest_bit(marks)
