"""The figures of a day and of a contract as the venue tells them, one TICKER an instrument: for people to look at.

They are on no tape and in no strategy's reach. Prices and quantities are in the instrument's units (1e-8, or of packs), money in 1e-8 of
the quote currency, rates in 1e-8; UNKNOWN: the venue does not say, or has not said yet.
"""

import numpy as np

UNKNOWN = -(2**63)
TICKER = np.dtype(
    [
        # When it was last told, ns of the monotonic clock (0: never); how often.
        ("told_ns", "i8"), ("messages", "i8"),
        ("last", "i8"), ("volume_24h", "i8"), ("turnover_24h", "i8"),
        ("mark", "i8"), ("index", "i8"),
        # A funding period's rate; when it is next paid, ms since 1970; how much is held in contracts, in base currency.
        ("funding_rate", "i8"), ("next_funding_ms", "i8"), ("open_interest", "i8"),
        ("_pad", "i8", 6),
    ]
)  # fmt: skip
TICKER_BYTES = 128
assert TICKER.itemsize == TICKER_BYTES
PRICES, QUANTITIES, AMOUNTS = (
    ("last", "mark", "index"),
    ("volume_24h", "open_interest"),
    ("turnover_24h", "funding_rate"),
)
FIGURES = (*PRICES, *QUANTITIES, *AMOUNTS, "next_funding_ms")


def forget(rows: np.ndarray) -> None:
    """Make TICKER rows those of instruments of which nothing was told."""
    rows[:] = 0
    for name in FIGURES:
        rows[name] = UNKNOWN
