"""Average price and profit of a position, in Python's own integers: what the compiled code books, read without compiling it.

The formulas and their rounding are those of :mod:`hftpipe.core.trading.position`; a test holds the two against each other.
"""

import numpy as np

SCALE = 10**8


def _muldiv(a: int, b: int, divisor: int) -> int:
    """``a * b / divisor``, rounded toward zero."""
    quotient = abs(a * b) // divisor
    return quotient if (a < 0) == (b < 0) else -quotient


def average_price(row: np.ndarray | np.void) -> int:
    """Average entry price (1e-8) of a POSITION row; 0 when flat."""
    qty = int(row["qty"])
    return abs(_muldiv(int(row["cost"]), SCALE, abs(qty))) if qty else 0


def unrealised(row: np.ndarray | np.void, mark: int) -> int:
    """Profit (1e-8 quote units) of closing everything at ``mark``, before fees; 0 without a mark."""
    qty = int(row["qty"])
    return _muldiv(mark, qty, SCALE) - int(row["cost"]) if qty and mark > 0 else 0


def captured(row: np.ndarray | np.void) -> int:
    """The edge of all fills against their mids (1e-8 quote units), before fees."""
    return int(row["at_mid"]) + int(row["realised"]) - int(row["cost"])


def inventory(row: np.ndarray | np.void, mark: int) -> int:
    """What the position made as the mid moved up to ``mark``; captured + inventory is realised + unrealised."""
    return int(row["realised"]) + unrealised(row, mark) - captured(row)
