"""Amounts (1e-8) as venues write them: with as many decimals as they give a symbol."""

from dataclasses import dataclass

_SCALE, _DECIMALS = 10**8, 8


def decimals_of(step: int) -> int:
    """Decimals that multiples of ``step`` (1e-8, positive) need: 0 to 8."""
    count = _DECIMALS
    while count and step % 10 == 0:
        step, count = step // 10, count - 1
    return count


def decimal_text(value: int, decimals: int) -> str:
    """A 1e-8 amount with exactly so many decimals (0 to 8); what lies behind them is cut."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if not decimals:
        return f"{sign}{size // _SCALE}"
    return f"{sign}{size // _SCALE}.{size % _SCALE // 10 ** (_DECIMALS - decimals):0{decimals}d}"


@dataclass(frozen=True, slots=True)
class Decimals:
    """How many decimals a symbol's prices and quantities are written with."""

    price: int
    qty: int

    def price_text(self, value: int) -> str:
        """A price."""
        return decimal_text(value, self.price)

    def qty_text(self, value: int) -> str:
        """A quantity."""
        return decimal_text(value, self.qty)

    def quote_text(self, value: int) -> str:
        """A sum of price x quantity (1e-16) in the quote currency."""
        return decimal_text(value // _SCALE, _DECIMALS)

    def pairs(self, levels: list[tuple[int, int]]) -> list[tuple[str, str]]:
        """Levels (price, quantity) as text."""
        return [(decimal_text(price, self.price), decimal_text(qty, self.qty)) for price, qty in levels]
