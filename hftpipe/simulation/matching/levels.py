"""Price levels of a matching book: FIFO queues indexed by tick, a bitmap to find the next one, a window that moves.

A level is found by its tick number minus ``base_tick``. One bitmap (with a summary bit for each of its words) marks
the levels in use: bids lie below asks, so the next bit below the best bid is a bid and above the best ask an ask.

A price outside the window moves the window: to the market's middle, and far enough to hold every resting order and
the new price. It stays refused when they do not all fit, or when the price is half a window from the middle:
one stray order must not pin the window. With 65536 ticks that is a price band of +-32768 ticks.
"""

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_i64, store_i64, view
from hftpipe.core.schema.records import BID
from hftpipe.simulation.matching.memory import LEVEL_BYTES, MATCHING, ORDER, PRICE_LEVEL, order_at

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@jit
def level_at(book, index):
    """Address of the level at window index ``index``."""
    return book + view(book, MATCHING).levels_at + (U64(index) << U64(4))


@jit
def _word(array, index):
    return U64(load_i64(array + (U64(index) << U64(3))))


@jit
def _set_word(array, index, value):
    store_i64(array + (U64(index) << U64(3)), np.int64(value))


@jit
def _mark(book, index):
    m = view(book, MATCHING)
    bits, summary, word = book + m.bits_at, book + m.summary_at, index >> 6
    _set_word(bits, word, _word(bits, word) | (U64(1) << U64(index & 63)))
    _set_word(summary, word >> 6, _word(summary, word >> 6) | (U64(1) << U64(word & 63)))


@jit
def _unmark(book, index):
    m = view(book, MATCHING)
    bits, summary, word = book + m.bits_at, book + m.summary_at, index >> 6
    left = _word(bits, word) & ~(U64(1) << U64(index & 63))
    _set_word(bits, word, left)
    if left == ZERO:
        _set_word(summary, word >> 6, _word(summary, word >> 6) & ~(U64(1) << U64(word & 63)))


@jit
def _first_bit(word):
    return np.int64(trailing_zeros(word))


@jit
def _last_bit(word):
    return np.int64(63) - np.int64(leading_zeros(word))


@jit
def level_above(book, index):
    """Smallest index in use above ``index`` (>= -1); ``window`` if there is none."""
    m = view(book, MATCHING)
    bits, summary, start = book + m.bits_at, book + m.summary_at, index + 1
    if start >= m.window:
        return m.window
    word = start >> 6
    found = _word(bits, word) & (_ALL << U64(start & 63))
    if found != ZERO:
        return (word << 6) + _first_bit(found)
    word += 1
    group, groups = word >> 6, m.window >> 12
    keep = _ALL << U64(word & 63)
    while group < groups:
        found = _word(summary, group) & keep
        if found != ZERO:
            word = (group << 6) + _first_bit(found)
            return (word << 6) + _first_bit(_word(bits, word))
        group += 1
        keep = _ALL
    return m.window


@jit
def level_below(book, index):
    """Largest index in use below ``index`` (<= ``window``); -1 if there is none."""
    m = view(book, MATCHING)
    bits, summary, start = book + m.bits_at, book + m.summary_at, index - 1
    if start < 0:
        return np.int64(-1)
    word = start >> 6
    found = _word(bits, word) & (_ALL >> U64(63 - (start & 63)))
    if found != ZERO:
        return (word << 6) + _last_bit(found)
    if word == 0:
        return np.int64(-1)
    word -= 1
    group = word >> 6
    keep = _ALL >> U64(63 - (word & 63))
    while group >= 0:
        found = _word(summary, group) & keep
        if found != ZERO:
            word = (group << 6) + _last_bit(found)
            return (word << 6) + _last_bit(_word(bits, word))
        group -= 1
        keep = _ALL
    return np.int64(-1)


@jit
def level_append(book, order_index):
    """Queue an order (id, tick, side, qty set) behind all others at its price."""
    m = view(book, MATCHING)
    order = view(order_at(book, order_index), ORDER)
    index = order.tick - m.base_tick
    level = view(level_at(book, index), PRICE_LEVEL)
    tail = np.int64(level.tail)
    order.previous, order.next = tail, 0
    level.tail = order_index
    level.qty += order.qty
    m.side_orders[order.side] += 1
    if tail != 0:
        view(order_at(book, tail), ORDER).next = order_index
        return
    level.head = order_index
    _mark(book, index)
    if order.side == BID:
        m.best_bid = max(m.best_bid, index)
    else:
        m.best_ask = min(m.best_ask, index)


@jit
def level_remove(book, order_index):
    """Take an order out of its queue, wherever in it; the best price moves on when that was the last one there."""
    m = view(book, MATCHING)
    order = view(order_at(book, order_index), ORDER)
    index = order.tick - m.base_tick
    level = view(level_at(book, index), PRICE_LEVEL)
    level.qty -= order.qty
    m.side_orders[order.side] -= 1
    if order.previous != 0:
        view(order_at(book, order.previous), ORDER).next = order.next
    else:
        level.head = order.next
    if order.next != 0:
        view(order_at(book, order.next), ORDER).previous = order.previous
    else:
        level.tail = order.previous
    if level.head != 0:
        return
    _unmark(book, index)
    if index == m.best_bid:
        m.best_bid = level_below(book, index)
    elif index == m.best_ask:
        m.best_ask = level_above(book, index)


@jit
def _middle_tick(book):
    """Tick between the best prices, or the best price of the only side there is."""
    m = view(book, MATCHING)
    if m.best_bid < 0:
        return m.base_tick + m.best_ask
    if m.best_ask >= m.window:
        return m.base_tick + m.best_bid
    return m.base_tick + ((m.best_bid + m.best_ask) >> 1)


@jit
def _clear_levels(book, start, stop):
    for index in range(start, stop):
        level = view(level_at(book, index), PRICE_LEVEL)
        level.head, level.tail, level.qty = 0, 0, 0


@jit
def _move_window(book, base, lowest, highest):
    """Start the window at tick ``base``; ``lowest`` and ``highest`` are the outermost indices in use."""
    m = view(book, MATCHING)
    by = base - m.base_tick
    copy_bytes(level_at(book, lowest - by), level_at(book, lowest), LEVEL_BYTES * (highest - lowest + 1))
    if by > 0:
        _clear_levels(book, max(lowest, highest - by + 1), highest + 1)
    else:
        _clear_levels(book, lowest, min(highest + 1, lowest - by))
    for word in range(m.window >> 6):
        _set_word(book + m.bits_at, word, ZERO)
    for group in range(m.window >> 12):
        _set_word(book + m.summary_at, group, ZERO)
    for index in range(lowest - by, highest - by + 1):
        if view(level_at(book, index), PRICE_LEVEL).head != 0:
            _mark(book, index)
    if m.best_bid >= 0:
        m.best_bid -= by
    if m.best_ask < m.window:
        m.best_ask -= by
    m.base_tick = base
    m.recentred += 1


@jit
def _recentre(book, tick):
    m = view(book, MATCHING)
    half = m.window >> 1
    lowest, highest = level_above(book, np.int64(-1)), level_below(book, m.window)
    if highest < 0:
        m.base_tick = max(tick - half, np.int64(0))
        m.recentred += 1
        return True
    middle = _middle_tick(book)
    low, high = min(tick, m.base_tick + lowest), max(tick, m.base_tick + highest)
    if high - low >= m.window or abs(tick - middle) >= half:
        return False
    base = max(min(max(middle - half, high - m.window + 1), low), np.int64(0))
    _move_window(book, base, lowest, highest)
    return True


@jit
def window_holds(book, tick):
    """Whether an order may rest at ``tick``; moves the window (tens of us, rare) if that is what it takes."""
    m = view(book, MATCHING)
    index = tick - m.base_tick
    if index >= 0 and index < m.window:
        return True
    return _recentre(book, tick)
