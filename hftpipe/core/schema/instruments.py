"""Instruments: dense ids fixed at start, their filters and fees as one array, and symbol lookup without hashing objects.

All per-instrument state anywhere is an array indexed by the id. Registration happens before the first event.
"""

import numpy as np

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
