"""Halts of a part of the trading: one word for each venue, strategy and instrument, holding the cause (0: not halted).

One more word halts whatever could make a position larger: while it is set only orders pass that make one smaller (REDUCING).

A venue has a second word, its gateway's own: whether it takes no orders now, because there is no session with it (yet).

What halts everything stands in the HALT_CELL (:mod:`hftpipe.core.schema.cells`).

::

    base | HALTS | u64 a venue [MAX_VENUES] | u64 a venue: closed | u64 a strategy [MAX_STRATEGIES] | u64 an instrument
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from hftpipe.core.schema.instruments import MAX_VENUES
from hftpipe.core.schema.layout import whole

#: As many strategies as a word has bits.
MAX_STRATEGIES = 64
#: ``changed``: another value after every change (ns of the monotonic clock), so that readers need not look at every word.
#: ``reducing``: why only orders pass that make a position smaller (0: all do).
HALTS = np.dtype([("changed", "u8"), ("reducing", "u8"), ("_pad", "u8", 6)])
#: Places of the words: of venue, strategy and instrument 0.
VENUE_SCOPE, CLOSED_SCOPE, STRATEGY_SCOPE = 0, MAX_VENUES, 2 * MAX_VENUES
INSTRUMENT_SCOPE = STRATEGY_SCOPE + MAX_STRATEGIES
#: The scope of all that could make a position larger: its kind, and what stands for the place of its word, which is beside the others.
REDUCE, REDUCE_PLACE = "reduce", -1
#: States of the breaker (app/breaker.py): everything trades, only what makes a position smaller, nothing.
ACTIVE, REDUCING, HALTED = "ACTIVE", "REDUCING", "HALTED"
#: Where a segment's facts list the names of each kind of scope.
SCOPE_LISTS = {"venue": "venues", "strategy": "strategies", "instrument": "symbols"}
SCOPES = {"venue": VENUE_SCOPE, "strategy": STRATEGY_SCOPE, "instrument": INSTRUMENT_SCOPE}


def place_of(kind: str, index: int) -> int:
    """Place of the word of a venue, strategy or instrument, or of REDUCE.

    Raises:
        KeyError: there is no such kind of scope.
    """
    return REDUCE_PLACE if kind == REDUCE else SCOPES[kind] + index


def halt_words(n_instruments: int) -> int:
    """How many words there are."""
    return INSTRUMENT_SCOPE + n_instruments


def halts_bytes(n_instruments: int) -> int:
    """Memory of the table, in whole cache lines."""
    return whole(HALTS.itemsize + 8 * halt_words(n_instruments))


def scope_words(memory: np.ndarray) -> np.ndarray:
    """The words (a uint64 view) of a table (uint8 array)."""
    return memory[HALTS.itemsize :].view(np.uint64)


def set_scope(memory: np.ndarray, place: int, cause: int, now_ns: int) -> None:
    """Cold writer: halt one scope for ``cause``, or clear it (0).

    Args:
        memory: uint8 array of :func:`halts_bytes`.
        place: of its word; now_ns: the monotonic time.
    """
    header = memory[: HALTS.itemsize].view(HALTS)
    if place == REDUCE_PLACE:
        header["reducing"] = cause
    else:
        scope_words(memory)[place] = cause
    header["changed"] = now_ns


def scope_cause(memory: np.ndarray, place: int) -> int:
    """Why the scope at ``place`` is halted; 0: it is not."""
    header = memory[: HALTS.itemsize].view(HALTS)
    return int(header["reducing"][0] if place == REDUCE_PLACE else scope_words(memory)[place])


def breaker_state(is_halted: bool, scopes: Collection[str]) -> str:
    """The state of the breaker; ``scopes``: of which parts are halted."""
    return HALTED if is_halted else REDUCING if REDUCE in scopes else ACTIVE


def halted_scopes(memory: np.ndarray, meta: Mapping[str, Any]) -> dict[str, int]:
    """The scopes that are halted, by name, with their causes; ``memory``: the region ``halts``."""
    words, reducing = scope_words(memory), scope_cause(memory, REDUCE_PLACE)
    found = {REDUCE: reducing} if reducing else {}
    for kind, first in SCOPES.items():
        names = meta[SCOPE_LISTS[kind]]
        for index in np.flatnonzero(words[first : first + len(names)]).tolist():
            found[f"{kind}.{names[index]}"] = int(words[first + index])
    return found
