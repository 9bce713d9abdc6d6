"""Instruments: dense ids fixed at start, their filters and fees as one array, and symbol lookup without hashing objects.

All per-instrument state anywhere is an array indexed by the id. Registration happens before the first event.
"""

from collections.abc import Iterable

import numpy as np

MAX_INSTRUMENTS = 64
SYMBOL_WORDS = 3
SYMBOL_BYTES = 8 * SYMBOL_WORDS
VENUES = {"binance_spot": 1, "binance_usdm": 2}

#: One cache line pair an instrument. Sizes and notional in 1e-8; fees in 1e-8 of the notional (2 bps = 20_000).
INSTRUMENT = np.dtype(
    [
        ("symbol", "S24"), ("venue", "i8"), ("tick", "i8"), ("lot", "i8"), ("min_notional", "i8"),
        ("maker_fee", "i8"), ("taker_fee", "i8"), ("reference_price", "i8"), ("_pad", "i8", 6),
    ],
    align=True,
)  # fmt: skip
INSTRUMENT_BYTES = 128
assert INSTRUMENT.itemsize == INSTRUMENT_BYTES

#: Head of the index from symbol to id: ``mask`` is its number of slots, a power of two, less one.
SYMBOLS = np.dtype([("mask", "u8"), ("count", "i8"), ("_pad", "u8", 6)])
#: A slot: the symbol as little-endian words, padded with zero bytes, and the id; -1: free.
SYMBOL_SLOT = np.dtype([("words", "u8", SYMBOL_WORDS), ("id", "i8")])
#: Odd multipliers that spread the words of a symbol over 64 bits (splitmix64's and xxHash64's constants).
SYMBOL_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_WORD = (1 << 64) - 1


def _slots(count: int) -> int:
    """At most half of the slots are used, so that a symbol that is not there is missed after a step or two."""
    return 1 << max(2, (2 * count - 1).bit_length())


def symbols_bytes(count: int) -> int:
    """Memory of the index of ``count`` symbols."""
    return SYMBOLS.itemsize + _slots(count) * SYMBOL_SLOT.itemsize


def symbol_hash(words: Iterable[int]) -> int:
    """Where the search for a symbol begins, before the mask: what :func:`hftpipe.core.trading.symbols.find_symbol` reckons."""
    mixed = 0
    for word, factor in zip(words, SYMBOL_MIX, strict=True):
        mixed ^= word * factor & _WORD
    return (mixed ^ mixed >> 29) * SYMBOL_MIX[0] % (1 << 64) >> 32


def symbols_table(instruments: np.ndarray) -> np.ndarray:
    """Build the index (uint8 array of :func:`symbols_bytes`) of an INSTRUMENT array; of a symbol that stands twice the first."""
    memory = np.zeros(symbols_bytes(len(instruments)), np.uint8)
    head, slots = memory[: SYMBOLS.itemsize].view(SYMBOLS), memory[SYMBOLS.itemsize :].view(SYMBOL_SLOT)
    head["mask"], head["count"], slots["id"] = len(slots) - 1, len(instruments), -1
    for index, row in enumerate(instruments):
        words = np.frombuffer(bytes(row["symbol"]).ljust(SYMBOL_BYTES, b"\0"), np.uint64)
        at = symbol_hash(map(int, words)) % len(slots)
        while slots["id"][at] >= 0:
            at = (at + 1) % len(slots)
        slots["words"][at], slots["id"][at] = words, index
    return memory
