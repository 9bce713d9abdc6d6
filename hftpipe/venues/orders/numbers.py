"""A venue's instruments and decimal texts for cold code: exactly, or not at all."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

import numpy as np

#: No number of 64 bits has more.
_MOST_DIGITS = 19
#: Digits of an amount on an account, before or behind its point.
_MOST_OF_AN_AMOUNT = 30
_EXACT = Context(prec=4 * _MOST_OF_AN_AMOUNT)


@dataclass(frozen=True)
class Instruments:
    """What an account needs to know of each instrument: its symbol at the venue, its quote and base currency, the power of its pack."""

    symbols: tuple[str, ...]
    quotes: tuple[str, ...]
    powers: tuple[int, ...]
    bases: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: np.ndarray) -> "Instruments":
        """Those of an INSTRUMENT array."""
        symbols, quotes, bases = (
            tuple(bytes(one).decode() for one in rows[column]) for column in ("symbol", "quote", "base")
        )
        return cls(symbols, quotes, tuple(rows["power"].tolist()), bases)

    def places(self, instrument: int) -> tuple[int, int]:
        """Decimals of a price and of a quantity at the venue that are 1e-8 here: a unit may be a pack of the venue's."""
        power = self.powers[instrument]
        return 8 + power, 8 - power


def _number(text: Any, places: int) -> Decimal:
    try:
        number = Decimal(text).scaleb(places)
    except (ArithmeticError, TypeError, ValueError) as wrong:
        raise ValueError(f"not a decimal number: {text!r}") from wrong
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
        raise ValueError(f"not a decimal number: {text!r}")
    return number


def _fitting(number: Decimal, text: Any, places: int) -> int:
    whole = int(number)
    if whole != number or not -(2**63) < whole < 2**63:
        raise ValueError(f"{text!r} does not fit {places} decimals and 64 bits")
    return whole


def scaled(text: Any, places: int) -> int:
    """A decimal text of a venue in units of 10**-places, exactly.

    Raises:
        ValueError: it is none, or has more decimals.
    """
    return _fitting(_number(text, places), text, places)


def scaled_up(text: Any, places: int) -> int:
    """The same, with more decimals rounded up (towards plus infinity). Raises ValueError: it is none."""
    return _fitting(_number(text, places).to_integral_value(ROUND_CEILING), text, places)


def exact(text: Any, places: int) -> int:
    """A decimal text of a venue in units of 10**-places, exactly, and beyond 64 bits: an amount on an account.

    Raises:
        ValueError: it is none, has more decimals, or more than _MOST_OF_AN_AMOUNT digits in all.
    """
    try:
        number = Decimal(text)
    except (ArithmeticError, TypeError, ValueError) as wrong:
        raise ValueError(f"not a decimal number: {text!r}") from wrong
    if not number.is_finite() or abs(number.adjusted()) > _MOST_OF_AN_AMOUNT:
        raise ValueError(f"not an amount: {text!r}")
    units = number.scaleb(places, _EXACT)
    if units != int(units):
        raise ValueError(f"{text!r} does not fit {places} decimals")
    return int(units)
