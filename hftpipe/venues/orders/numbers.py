"""A venue's instruments and decimal texts for cold code: exactly, or not at all."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Instruments:
    """What an account needs to know of each instrument: its symbol at the venue, its quote currency, the power of its pack."""

    symbols: tuple[str, ...]
    quotes: tuple[str, ...]
    powers: tuple[int, ...]

    @classmethod
    def of(cls, rows: np.ndarray) -> "Instruments":
        """Those of an INSTRUMENT array."""
        symbols, quotes = (tuple(bytes(one).decode() for one in rows[column]) for column in ("symbol", "quote"))
        return cls(symbols, quotes, tuple(rows["power"].tolist()))

    def places(self, instrument: int) -> tuple[int, int]:
        """Decimals of a price and of a quantity at the venue that are 1e-8 here: a unit may be a pack of the venue's."""
        power = self.powers[instrument]
        return 8 + power, 8 - power


def scaled(text: Any, places: int) -> int:
    """A decimal text of a venue in units of 10**-places, exactly.

    Raises:
        ValueError: it is none, or has more decimals.
    """
    try:
        number = Decimal(text).scaleb(places)
    except (ArithmeticError, TypeError) as wrong:
        raise ValueError(f"not a decimal number: {text!r}") from wrong
    if not number.is_finite():
        raise ValueError(f"not a decimal number: {text!r}")
    whole = int(number)
    if whole != number or not -(2**63) < whole < 2**63:
        raise ValueError(f"{text!r} does not fit {places} decimals and 64 bits")
    return whole
