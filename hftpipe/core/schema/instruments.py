"""Instruments: dense ids fixed at start, their filters and fees as one array, and symbol lookup without hashing objects.

All per-instrument state anywhere is an array indexed by the id. Registration happens before the first event.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view

MAX_INSTRUMENTS = 64
SYMBOL_BYTES = 16
VENUES = {"binance_spot": 1, "binance_usdm": 2}
VENUE_NAMES = {code: name for name, code in VENUES.items()}

#: One cache line pair an instrument. Sizes and notional in 1e-8; fees in 1e-8 of the notional (2 bps = 20_000).
INSTRUMENT = np.dtype(
    [
        ("symbol", "S16"), ("venue", "i8"), ("tick", "i8"), ("lot", "i8"), ("min_notional", "i8"),
        ("maker_fee", "i8"), ("taker_fee", "i8"), ("reference_price", "i8"), ("_pad", "i8", 7),
    ],
    align=True,
)  # fmt: skip
INSTRUMENT_BYTES = 128
assert INSTRUMENT.itemsize == INSTRUMENT_BYTES

#: Symbols as two little-endian words, compared whole; ``count`` used entries.
SYMBOLS = np.dtype([("count", "i8"), ("_pad", "i8"), ("low", "u8", MAX_INSTRUMENTS), ("high", "u8", MAX_INSTRUMENTS)])


def symbols_table(instruments: np.ndarray) -> np.ndarray:
    """Build the lookup table (SYMBOLS array of length 1) for an INSTRUMENT array."""
    table = np.zeros(1, SYMBOLS)
    table["count"] = len(instruments)
    for index, row in enumerate(instruments):
        words = np.frombuffer(bytes(row["symbol"]).ljust(SYMBOL_BYTES, b"\0"), np.uint64)
        table["low"][0][index], table["high"][0][index] = words
    return table


@jit
def find_symbol(table, start, length):
    """Instrument id of the symbol text at ``start``; -1 if it is not registered."""
    if length <= 0 or length > SYMBOL_BYTES:
        return np.int64(-1)
    low, high = ZERO, ZERO
    for i in range(length):
        byte = U64(load_u8(start + U64(i)))
        if i < 8:
            low |= byte << U64(8 * i)
        else:
            high |= byte << U64(8 * (i - 8))
    t = view(table, SYMBOLS)
    for index in range(t.count):
        if t.low[index] == low and t.high[index] == high:
            return np.int64(index)
    return np.int64(-1)
