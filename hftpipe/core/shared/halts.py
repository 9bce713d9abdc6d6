"""Reading the halts of venues, strategies and instruments (:mod:`hftpipe.core.schema.halts`) on the hot path.

A stage that must say on its tape what it saw keeps a copy of the words, and brings it up to date at a step's begin.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_acquire, load_relaxed, store_relaxed, store_release
from hftpipe.core.schema.halts import CLOSED_SCOPE, HALTS, INSTRUMENT_SCOPE, STRATEGY_SCOPE
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import REDUCES
from hftpipe.core.shared.tape import REDUCING, tape_halt, tape_scope

_WORDS = np.uint64(HALTS.itemsize)
_SHIFT = np.uint64(3)
_REDUCING = np.uint64(offset_of(HALTS, "reducing"))


@jit
def scope_word(halts, place):
    """The word at ``place``: 0, or why that scope is halted."""
    return load_relaxed(halts + _WORDS + (U64(place) << _SHIFT))


@jit
def show_closed(halts, venue, is_closed, now_ns):
    """Writer (a venue's gateway): whether the venue takes no orders now; ``now_ns``: the monotonic time."""
    place = halts + _WORDS + ((U64(CLOSED_SCOPE) + U64(venue)) << _SHIFT)
    if load_relaxed(place) != U64(is_closed):
        store_relaxed(place, U64(is_closed))
        store_release(halts, U64(now_ns))


@jit
def order_scope(halts, strategy, instrument):
    """Whether a strategy or an instrument is halted; one relaxed load each."""
    of_strategy = scope_word(halts, np.int64(STRATEGY_SCOPE) + np.int64(strategy))
    return (of_strategy | scope_word(halts, np.int64(INSTRUMENT_SCOPE) + np.int64(instrument))) != ZERO


@jit
def is_reducing(halts):
    """Whether only orders pass that make a position smaller; one relaxed load."""
    return load_relaxed(halts + _REDUCING) != ZERO


@jit
def is_barred(halts, strategy, instrument, flags):
    """Whether an order may not be at the venue: its strategy or instrument is halted, or it may make a position larger."""
    if order_scope(halts, strategy, instrument):
        return True
    return np.int64(flags) & REDUCES == 0 and is_reducing(halts)


@jit
def is_scope_news(halts, copy):
    """Whether the words may have changed since the copy was brought up to date."""
    return load_acquire(halts) != load_relaxed(copy)


@jit
def next_scope_change(halts, copy, place, n_words):
    """Bring the copy up to date from ``place`` on, up to a word that has changed: its place; ``n_words`` at the end.

    A writer that comes in between has changed the time as well: the next call of :func:`is_scope_news` finds it.
    """
    while place < n_words:
        word, known = scope_word(halts, place), scope_word(copy, place)
        if (word != ZERO) != (known != ZERO):
            store_relaxed(copy + _WORDS + (U64(place) << _SHIFT), word)
            return place
        place += 1
    return n_words


@jit
def follow_scopes(halts, copy, n_words, tape):
    """Bring the copy up to date, each change going on the tape: of strategies and instruments, how many became halted, and
    how many changed."""
    changed = load_acquire(halts)
    if changed == load_relaxed(copy):
        return np.int64(0), np.int64(0)
    halted, changes = np.int64(0), np.int64(0)
    place = next_scope_change(halts, copy, np.int64(0), n_words)
    while place < n_words:
        is_halted = np.int64(scope_word(copy, place) != ZERO)
        tape_scope(tape, place, is_halted)
        is_counted = np.int64(place >= STRATEGY_SCOPE)
        halted += is_halted & is_counted
        changes += is_counted
        place = next_scope_change(halts, copy, place + 1, n_words)
    store_relaxed(copy, changed)
    return halted, changes


@jit
def follow_reducing(halts, copy, tape):
    """Bring the copy's word of reducing up to date, a change going on the tape: 1 if it was set, -1 if cleared, 0 if it is the same.

    To be called behind :func:`follow_scopes`, which has looked at the time of the last change.
    """
    is_now = is_reducing(halts)
    if is_now == is_reducing(copy):
        return np.int64(0)
    tape_halt(tape, np.int64(REDUCING) | np.int64(is_now))
    store_relaxed(copy + _REDUCING, U64(np.int64(is_now)))
    return np.int64(1) if is_now else np.int64(-1)
